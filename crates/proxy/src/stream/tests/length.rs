//! What a head announces of its body's length, and when a body goes by the chain.

use std::rc::Rc;

use transom_api::{
    DataVerdict, Direction, HeadersVerdict, Stream as FilterContext, StreamFilter, Wants,
};

use super::by_hand::{Part, Side};

/// A filter of responses that may change lengths and, if it forgoes that, says so with the head.
struct Changer {
    forgoes: bool,
}

const CHANGES: Wants = Wants::RESPONSE_HEADERS
    .and(Wants::RESPONSE_BODY)
    .and(Wants::CHANGES_RESPONSE_LENGTH);

impl StreamFilter for Changer {
    fn response_headers(&mut self, stream: &mut FilterContext<'_>, _end: bool) -> HeadersVerdict {
        if self.forgoes {
            stream.forgo(Wants::RESPONSE_BODY.and(Wants::CHANGES_RESPONSE_LENGTH));
        }
        HeadersVerdict::Continue
    }

    fn response_body(&mut self, stream: &mut FilterContext<'_>, _end: bool) -> DataVerdict {
        stream.body_mut(Direction::Response).append("!").unwrap();
        DataVerdict::Continue
    }
}

/// A response of announced length whose chain has such filters.
fn response(forgoing: &[bool]) -> Side {
    let parts = forgoing.iter().map(|forgoes| {
        let forgoes = *forgoes;
        Part {
            name: "changer",
            wants: CHANGES,
            make: Rc::new(move || Box::new(Changer { forgoes })),
        }
    });
    let mut side = Side::new(Direction::Response, parts.collect());
    side.stream.core_mut().response.content_length = Some(2);
    side
}

fn known_length(side: &Side) -> Option<u64> {
    side.stream.core().message(side.direction).known_length()
}

#[test]
fn a_length_that_a_filter_may_change_is_not_announced() {
    let mut side = response(&[false]);
    side.head(false);
    assert_eq!(known_length(&side), None);
    assert!(!side.stream.is_open(Direction::Response));
    side.data(b"ab", false);
    assert_eq!(side.left().join(" "), "head ab !");
}

#[test]
fn a_filter_that_forgoes_the_change_leaves_the_length_and_the_quick_way() {
    let mut side = response(&[true, true]);
    side.head(false);
    assert_eq!(known_length(&side), Some(2));
    assert!(side.stream.is_open(Direction::Response));
    side.data(b"ab", true);
    assert_eq!(side.left().join(" "), "head ab end");
}

#[test]
fn another_filter_that_may_change_it_still_counts() {
    let mut side = response(&[true, false]);
    side.head(false);
    assert_eq!(known_length(&side), None);
    assert!(!side.stream.is_open(Direction::Response));
    side.data(b"ab", true);
    assert_eq!(side.left().join(" "), "head ab ! end");
}

/// Keeps a request until it is whole.
struct Keeper;

impl StreamFilter for Keeper {
    fn request_headers(&mut self, _: &mut FilterContext<'_>, _end: bool) -> HeadersVerdict {
        HeadersVerdict::StopIteration
    }

    fn request_body(&mut self, _: &mut FilterContext<'_>, end: bool) -> DataVerdict {
        if end {
            DataVerdict::Continue
        } else {
            DataVerdict::StopIterationAndBuffer
        }
    }
}

fn kept() -> Side {
    let part = Part {
        name: "keeper",
        wants: Wants::REQUEST_HEADERS
            .and(Wants::REQUEST_BODY)
            .and(Wants::REQUEST_TRAILERS),
        make: Rc::new(|| Box::new(Keeper)),
    };
    Side::new(Direction::Request, vec![part])
}

#[test]
fn a_body_that_is_whole_when_its_head_leaves_has_a_length() {
    let mut side = kept();
    side.head(false);
    side.data(b"ab", false);
    assert_eq!(known_length(&side), None);
    side.data(b"cde", true);
    assert_eq!(known_length(&side), Some(5));
    assert_eq!(side.left().join(" "), "head ab cde end");
}

#[test]
fn a_body_with_trailers_and_a_head_that_is_all_have_none() {
    let mut side = kept();
    side.head(false);
    side.data(b"ab", false);
    side.trailers();
    assert_eq!(side.left().last().map(String::as_str), Some("trailers"));
    assert_eq!(known_length(&side), None);
    let mut side = Side::new(Direction::Request, vec![]);
    side.head(true);
    assert_eq!(side.left().join(" "), "head end");
    assert_eq!(known_length(&side), None);
}
