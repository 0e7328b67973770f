//! A filter that takes bytes away and says when it can take more.

use std::rc::Rc;

use transom_api::{DataVerdict, Direction, Event, Stream as FilterContext, StreamFilter, Wants};

use super::by_hand::{BOTH, Part, Side};

/// Takes one piece, and no more before it is told to go on.
struct Taker;

impl Taker {
    fn take(stream: &mut FilterContext<'_>, direction: Direction) -> DataVerdict {
        stream.hold_back(direction, true);
        DataVerdict::StopIterationNoBuffer
    }
}

impl StreamFilter for Taker {
    fn request_body(&mut self, stream: &mut FilterContext<'_>, _end: bool) -> DataVerdict {
        Self::take(stream, Direction::Request)
    }

    fn response_body(&mut self, stream: &mut FilterContext<'_>, _end: bool) -> DataVerdict {
        Self::take(stream, Direction::Response)
    }

    fn on_event(&mut self, stream: &mut FilterContext<'_>, _event: Event) {
        for direction in BOTH {
            stream.hold_back(direction, false);
        }
    }
}

fn taker() -> Part {
    Part {
        name: "taker",
        wants: Wants::EVERYTHING,
        make: Rc::new(|| Box::new(Taker)),
    }
}

#[test]
fn nothing_is_read_while_a_filter_holds_its_sender_back() {
    for direction in BOTH {
        let mut side = Side::new(direction, vec![taker()]);
        side.head(false);
        assert!(side.stream.wants_input(direction), "{direction:?}");
        side.data(b"taken", false);
        // The bytes are gone, so nothing waits that could stop the sender.
        assert!(!side.stream.wants_input(direction), "{direction:?}");
        side.resume(0);
        assert!(side.stream.wants_input(direction), "{direction:?}");
    }
}
