//! The stream machine without sockets: tables of verdicts and what they lead to, in both directions.

mod by_hand;
mod held_back;
mod length;
mod simulation;

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

use transom_api::{
    DataVerdict, Direction, Event, HeadersVerdict, Stream as FilterContext, StreamFilter,
    TrailersVerdict, Wants,
};

use self::by_hand::{BOTH, Part, Side, WATERMARK, in_both_directions};

/// What filters saw, in order.
type Log = Rc<RefCell<Vec<String>>>;

/// A filter with verdicts to give one after the other, then `Continue`; an event has it continue.
///
/// Verdicts are letters, by callback. Headers (`h:`): `C`ontinue, `S`topIteration, continue and `E`nd stream, stop
/// `A`ll and buffer, stop all and `W`atermark. Data (`d:`): `C`, stop and `B`uffer, stop and `W`atermark, `N`o buffer.
/// Trailers (`t:`): `C`, `S`.
struct Script {
    name: &'static str,
    log: Log,
    headers: VecDeque<char>,
    data: VecDeque<char>,
    trailers: VecDeque<char>,
}

impl Script {
    fn new(name: &'static str, verdicts: &str, log: Log) -> Self {
        let of = |callback: &str| {
            let found = verdicts
                .split(' ')
                .find_map(|part| part.strip_prefix(callback));
            found.unwrap_or_default().chars().collect()
        };
        Self {
            name,
            log,
            headers: of("h:"),
            data: of("d:"),
            trailers: of("t:"),
        }
    }

    fn note(&self, what: &str) {
        self.log.borrow_mut().push(format!("{}.{what}", self.name));
    }

    fn on_headers(&mut self, end: bool) -> HeadersVerdict {
        self.note(if end { "head." } else { "head" });
        match self.headers.pop_front() {
            Some('S') => HeadersVerdict::StopIteration,
            Some('E') => HeadersVerdict::ContinueAndEndStream,
            Some('A') => HeadersVerdict::StopAllIterationAndBuffer,
            Some('W') => HeadersVerdict::StopAllIterationAndWatermark,
            _ => HeadersVerdict::Continue,
        }
    }

    fn on_data(
        &mut self,
        stream: &FilterContext<'_>,
        direction: Direction,
        end: bool,
    ) -> DataVerdict {
        let shown = String::from_utf8(stream.body(direction).to_vec()).unwrap();
        self.note(&format!("{shown}{}", if end { "." } else { "" }));
        match self.data.pop_front() {
            Some('B') => DataVerdict::StopIterationAndBuffer,
            Some('W') => DataVerdict::StopIterationAndWatermark,
            Some('N') => DataVerdict::StopIterationNoBuffer,
            _ => DataVerdict::Continue,
        }
    }

    fn on_trailers(&mut self) -> TrailersVerdict {
        self.note("trailers");
        match self.trailers.pop_front() {
            Some('S') => TrailersVerdict::StopIteration,
            _ => TrailersVerdict::Continue,
        }
    }
}

in_both_directions!(Script);

/// Which callbacks a scripted filter wants in one direction: all, or what its verdicts mention (`-` for an empty list).
fn wants(direction: Direction, verdicts: &str) -> Wants {
    let (headers, body, trailers) = match direction {
        Direction::Request => (
            Wants::REQUEST_HEADERS,
            Wants::REQUEST_BODY,
            Wants::REQUEST_TRAILERS,
        ),
        Direction::Response => (
            Wants::RESPONSE_HEADERS,
            Wants::RESPONSE_BODY,
            Wants::RESPONSE_TRAILERS,
        ),
    };
    let mut wants = Wants::NOTHING.buffer_limit(8);
    for (callback, want) in [("h:", headers), ("d:", body), ("t:", trailers)] {
        if !verdicts
            .split(' ')
            .any(|part| part == format!("{callback}-"))
        {
            wants = wants.and(want).buffer_limit(8);
        }
    }
    match (direction, verdicts.contains("whole")) {
        (Direction::Request, true) => wants.whole_request_body(8),
        (Direction::Response, true) => wants.whole_response_body(8),
        _ => wants,
    }
}

/// Runs a table of steps through filters `a` and `b` in both directions. A step is what comes (`head`, bytes,
/// `trailers`; with a dot, the end) or `resume` and a filter; what it must lead to is the calls, `>`, and what left.
fn check(filters: [&str; 2], steps: &[(&str, &str)]) {
    for direction in BOTH {
        let log = Log::default();
        let parts = ["a", "b"].into_iter().zip(filters).map(|(name, verdicts)| {
            let (verdicts, log) = (verdicts.to_owned(), Rc::clone(&log));
            Part {
                name,
                // The request of a response is of no interest.
                wants: wants(direction, &verdicts),
                make: Rc::new(move || Box::new(Script::new(name, &verdicts, Rc::clone(&log)))),
            }
        });
        let mut side = Side::new(direction, parts.collect());
        for (step, expected) in steps {
            match *step {
                "head" => side.head(false),
                "head." => side.head(true),
                "trailers" => side.trailers(),
                "resume a" => side.resume(0),
                "resume b" => side.resume(1),
                bytes => match bytes.strip_suffix('.') {
                    Some(last) => side.data(last.as_bytes(), true),
                    None => side.data(bytes.as_bytes(), false),
                },
            }
            let calls = log.take().join(" ");
            let left = side.left().join(" ");
            let happened = format!("{calls} > {left}");
            let context = format!("{direction:?} {filters:?}, at {step:?}");
            assert_eq!(happened.trim(), *expected, "{context}");
        }
    }
}

#[test]
fn all_goes_by_filters_that_continue() {
    check(
        ["", ""],
        &[
            ("head", "a.head b.head > head"),
            ("ab", "a.ab b.ab > ab"),
            ("cd.", "a.cd. b.cd. > cd end"),
        ],
    );
    check(["", ""], &[("head.", "a.head. b.head. > head end")]);
    check(
        ["", ""],
        &[
            ("head", "a.head b.head > head"),
            ("ab", "a.ab b.ab > ab"),
            ("trailers", "a.trailers b.trailers > trailers"),
        ],
    );
}

#[test]
fn a_stopped_head_waits_and_data_takes_it_along() {
    check(
        ["h:S d:BC", ""],
        &[
            ("head", "a.head >"),
            ("ab", "a.ab >"),
            ("cd.", "a.abcd. b.head b.abcd. > head ab cd end"),
        ],
    );
    check(
        ["h:S d:B", ""],
        &[
            ("head", "a.head >"),
            ("ab", "a.ab >"),
            ("resume a", "b.head b.ab > head ab"),
            ("resume a", ">"),
            ("cd.", "a.cd. b.cd. > cd end"),
        ],
    );
    check(
        ["h:S", ""],
        &[("head.", "a.head. >"), ("resume a", "b.head. > head end")],
    );
    check(
        ["h:S d:W t:S", ""],
        &[
            ("head", "a.head >"),
            ("ab", "a.ab >"),
            ("trailers", "a.trailers >"),
            ("resume a", "b.head b.ab b.trailers > head ab trailers"),
        ],
    );
}

#[test]
fn what_comes_while_all_is_stopped_is_shown_when_it_goes_on() {
    for stop in ["h:A", "h:W"] {
        check(
            [stop, ""],
            &[
                ("head", "a.head >"),
                ("ab", ">"),
                ("cd", ">"),
                ("resume a", "b.head a.abcd b.abcd > head ab cd"),
                ("ef.", "a.ef. b.ef. > ef end"),
            ],
        );
        check(
            [stop, ""],
            &[
                ("head", "a.head >"),
                ("trailers", ">"),
                ("resume a", "b.head a.trailers b.trailers > head trailers"),
            ],
        );
    }
}

#[test]
fn each_filter_keeps_what_it_stopped() {
    check(
        ["d:BC", "h:S d:WC"],
        &[
            ("head", "a.head b.head >"),
            ("ab", "a.ab >"),
            ("cd", "a.abcd b.abcd >"),
            ("ef.", "a.ef. b.abcdef. > head ab cd ef end"),
        ],
    );
    check(
        ["d:CB", "d:B"],
        &[
            ("head", "a.head b.head > head"),
            ("ab", "a.ab b.ab >"),
            ("cd.", "a.cd. >"),
            ("resume b", "> ab"),
            ("resume a", "b.cd. > cd end"),
        ],
    );
}

#[test]
fn data_that_is_taken_is_gone_and_its_end_waits() {
    check(
        ["d:NN", ""],
        &[
            ("head", "a.head b.head > head"),
            ("ab", "a.ab >"),
            ("cd.", "a.cd. >"),
            ("resume a", "b.. > end"),
        ],
    );
}

#[test]
fn a_head_that_is_made_the_whole_message_cuts_off_the_rest() {
    check(
        ["h:E", ""],
        &[
            ("head", "a.head b.head. > head end"),
            ("ab", "a.ab >"),
            ("cd.", "a.cd. >"),
        ],
    );
    check(
        ["", "h:E"],
        &[
            ("head", "a.head b.head > head end"),
            ("ab", "a.ab b.ab >"),
            ("trailers", "a.trailers b.trailers >"),
        ],
    );
}

#[test]
fn a_filter_is_passed_by_in_what_it_does_not_want() {
    check(
        ["h:- d:- t:-", "d:-"],
        &[
            ("head", "b.head > head"),
            ("ab", "> ab"),
            ("trailers", "b.trailers > trailers"),
        ],
    );
    check(
        ["h:S d:- t:-", ""],
        &[
            ("head", "a.head >"),
            ("ab", ">"),
            ("trailers", ">"),
            ("resume a", "b.head b.ab b.trailers > head ab trailers"),
        ],
    );
}

#[test]
fn a_whole_body_is_shown_once_and_its_head_waits_for_it() {
    check(
        ["whole", ""],
        &[
            ("head", "a.head >"),
            ("ab", ">"),
            ("cd.", "a.abcd. b.head b.abcd. > head ab cd end"),
        ],
    );
    for verdicts in ["whole", "whole h:-"] {
        let head = if verdicts == "whole" { "a.head >" } else { ">" };
        check(
            [verdicts, ""],
            &[
                ("head", head),
                ("ab", ">"),
                (
                    "trailers",
                    "a.ab b.head b.ab a.trailers b.trailers > head ab trailers",
                ),
            ],
        );
    }
    // Trailers behind no body: the body is shown as the empty one that it is.
    check(
        ["whole t:-", ""],
        &[
            ("head", "a.head >"),
            ("trailers", "a. b.head b.trailers > head trailers"),
        ],
    );
    check(["whole", ""], &[("head.", "a.head. b.head. > head end")]);
}

#[test]
fn more_than_a_limit_is_answered_here() {
    for verdicts in ["h:S d:BBB", "h:A", "whole"] {
        for (direction, status) in [(Direction::Request, 413), (Direction::Response, 502)] {
            let part = Part {
                name: "a",
                wants: wants(direction, verdicts),
                make: Rc::new(move || Box::new(Script::new("a", verdicts, Log::default()))),
            };
            let mut side = Side::new(direction, vec![part]);
            side.head(false);
            side.data(b"12345678", false);
            assert_eq!(side.left(), [] as [&str; 0], "{verdicts}");
            side.data(b"9", false);
            assert_eq!(
                side.stream.core().response.head.status(),
                status,
                "{verdicts}"
            );
            let mut answer = side.response();
            let left = answer.left();
            assert_eq!(
                (
                    left.first().unwrap().as_str(),
                    left.last().unwrap().as_str()
                ),
                ("head", "end")
            );
            // Whatever the client still sends changes nothing of it.
            answer.direction = Direction::Request;
            answer.data(b"more", true);
            answer.direction = Direction::Response;
            assert_eq!(answer.left(), [] as [&str; 0]);
            assert!(!answer.stream.wants_input(direction));
        }
    }
}

#[test]
fn input_is_not_welcome_above_the_watermark() {
    for direction in BOTH {
        let part = |verdicts: &'static str| Part {
            name: "a",
            wants: wants(direction, verdicts).buffer_limit(1 << 20),
            make: Rc::new(move || Box::new(Script::new("a", verdicts, Log::default()))),
        };
        let mut side = Side::new(direction, vec![part("d:W")]);
        side.head(false);
        side.data(&[b'x'; WATERMARK - 1], false);
        assert!(side.stream.wants_input(direction));
        let mut side = Side::new(direction, vec![part("d:W")]);
        side.head(false);
        side.data(&[b'x'; WATERMARK], false);
        assert!(!side.stream.wants_input(direction));
        side.resume(0);
        // Now it waits for the wire.
        assert!(!side.stream.wants_input(direction));
        side.left();
        assert!(side.stream.wants_input(direction));
        // A filter that buffers has a limit of its own.
        let mut side = Side::new(direction, vec![part("d:B")]);
        side.head(false);
        side.data(&[b'x'; 2 * WATERMARK], false);
        assert!(side.stream.wants_input(direction));
    }
}
