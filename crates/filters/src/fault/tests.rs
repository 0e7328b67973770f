use std::time::Duration;

use transom_api::testing::{FakeProcess, FakeStream, FakeUse, FakeWorker, placed};
use transom_api::{Direction, ResetReason};

use super::*;

const REQUEST: Direction = Direction::Request;

fn delay(duration: &str, percentage: f64) -> (&str, Node) {
    let delay = Node::map([
        ("duration", duration.into()),
        ("percentage", percentage.into()),
    ]);
    ("delay", delay)
}

fn abort(status: i64, percentage: f64) -> (&'static str, Node) {
    let abort = Node::map([("status", status.into()), ("percentage", percentage.into())]);
    ("abort", abort)
}

fn built<const N: usize>(config: [(&str, Node); N]) -> (FakeProcess, FakeUse) {
    let mut worker = FakeWorker::new();
    let used = worker.builtin::<Fault>(&Node::map(config)).unwrap();
    (worker.process().clone(), used)
}

#[test]
fn a_delayed_request_goes_on_when_its_time_is_over() {
    let (process, used) = built([delay("200ms", 100.0)]);
    let mut stream = used.stream();
    assert_eq!(
        stream.request_headers(false),
        Some(HeadersVerdict::StopAllIterationAndWatermark)
    );
    assert_eq!(stream.request_body("body", true), None);
    stream.advance(Duration::from_millis(199));
    assert!(!stream.has_passed(REQUEST));
    stream.advance(Duration::from_millis(1));
    assert_eq!(stream.sent(REQUEST), b"body");
    assert!(stream.has_ended(REQUEST) && stream.reply().is_none());
    assert_eq!(process.metric("fault_delays_total"), 1);
    assert_eq!(process.metric("fault_aborts_total"), 0);
}

#[test]
fn an_aborted_request_is_answered_here() {
    let (process, used) = built([abort(429, 100.0)]);
    let mut stream = used.stream();
    assert_eq!(
        stream.request_headers(true),
        Some(HeadersVerdict::StopIteration)
    );
    let reply = stream.reply().unwrap();
    assert_eq!((reply.status, &*reply.details), (429, "fault_filter_abort"));
    assert_eq!(stream.response_flags(), ResponseFlags::FAULT_INJECTED);
    assert!(stream.has_ended(Direction::Response) && !stream.has_passed(REQUEST));
    assert_eq!(process.metric("fault_aborts_total"), 1);
}

#[test]
fn a_request_that_draws_both_waits_and_is_answered_then() {
    let (process, used) = built([delay("1s", 100.0), abort(503, 100.0)]);
    let mut stream = used.stream();
    stream.request_headers(true);
    assert!(stream.reply().is_none());
    stream.advance(Duration::from_secs(1));
    assert_eq!(stream.reply().map(|reply| reply.status), Some(503));
    assert_eq!(stream.response_flags().to_string(), "DI,FI");
    assert_eq!(process.metric("fault_delays_total"), 1);
    assert_eq!(process.metric("fault_aborts_total"), 1);
}

#[test]
fn faults_are_drawn_by_their_share() {
    let config = Fault::parse(&Node::map([abort(500, 20.0)])).unwrap();
    let aborted_of_ten_thousand = |seed| {
        let worker = FaultWorker::new(config.clone(), seed);
        let count = || {
            let mut stream = FakeStream::new(worker.filter());
            stream.request_headers(true);
            usize::from(stream.reply().is_some())
        };
        (0..10_000).map(|_| count()).sum::<usize>()
    };
    // Two thousand; five standard deviations are 200.
    let aborted = aborted_of_ten_thousand(42);
    assert!((1_800..2_200).contains(&aborted), "{aborted}");
    assert_eq!(aborted_of_ten_thousand(42), aborted, "the seed decides");
}

#[test]
fn none_and_all_are_exact() {
    for (percentage, expected) in [(0.0, 0), (100.0, 2_000)] {
        let (process, used) = built([abort(500, percentage)]);
        for _ in 0..2_000 {
            used.stream().request_headers(true);
        }
        assert_eq!(process.metric("fault_aborts_total"), expected);
    }
}

#[test]
fn only_requests_with_the_headers_meet_a_fault() {
    let headers = ("headers", Node::map([("X-Chaos", "yes".into())]));
    let (_, used) = built([abort(500, 100.0), headers]);
    for (value, aborted) in [("yes", true), ("no", false)] {
        let mut stream = used.stream().with_header("x-chaos", value);
        stream.request_headers(true);
        assert_eq!(stream.reply().is_some(), aborted, "{value}");
    }
}

#[test]
fn more_than_the_bound_do_not_wait() {
    let (process, used) = built([delay("1s", 100.0), ("max_delays", 2.into())]);
    let mut waiting = [used.stream(), used.stream()];
    for stream in &mut waiting {
        stream.request_headers(true);
    }
    let mut third = used.stream();
    assert_eq!(third.request_headers(true), Some(HeadersVerdict::Continue));
    assert_eq!(process.metric("fault_delays_skipped_total"), 1);

    // One goes on, the client of the other leaves: room for two again.
    let [first, second] = &mut waiting;
    first.advance(Duration::from_secs(1));
    second.reset(ResetReason::Downstream);
    for _ in 0..2 {
        let mut stream = used.stream();
        stream.request_headers(true);
        assert!(!stream.has_passed(REQUEST));
        stream.complete();
    }
    assert_eq!(process.metric("fault_delays_skipped_total"), 1);
    assert_eq!(process.metric("fault_delays_total"), 4);
}

#[test]
fn each_worker_has_a_bound_of_its_own() {
    let process = FakeProcess::new();
    let mut first = FakeWorker::of(&process, 0, 2);
    let config = Node::map([delay("1s", 100.0), ("max_delays", 1.into())]);
    let on_first = first.builtin::<Fault>(&config).unwrap();
    let on_second = FakeWorker::of(&process, 1, 2).rebuild(&on_first).unwrap();
    let mut streams = [on_first.stream(), on_second.stream()];
    for stream in &mut streams {
        stream.request_headers(true);
        assert!(!stream.has_passed(REQUEST));
    }
}

#[test]
fn a_routes_configuration_replaces_the_listeners() {
    let (process, used) = built([abort(500, 100.0)]);
    let other = used.route(&Node::map([abort(418, 100.0)])).unwrap();
    let mut stream = used.stream().with_route(other);
    stream.request_headers(true);
    assert_eq!(stream.reply().map(|reply| reply.status), Some(418));

    let none = used.route(&Node::null()).unwrap();
    let mut stream = used.stream().with_route(none);
    stream.request_headers(true);
    assert!(stream.reply().is_none());
    assert_eq!(process.metric("fault_aborts_total"), 1);
}

#[test]
fn an_answer_that_comes_too_late_is_not_counted() {
    let (process, used) = built([delay("1s", 100.0), abort(500, 100.0)]);
    let mut stream = used.stream();
    stream.request_headers(true);
    // Another filter answered meanwhile.
    stream.response_headers(200, &[], true);
    stream.advance(Duration::from_secs(1));
    assert!(stream.reply().is_none());
    assert_eq!(process.metric("fault_aborts_total"), 0);
}

#[test]
fn workers_and_restarts_draw_differently() {
    assert_ne!(Random::seed(0), Random::seed(1));
    let first = Random::seed(0);
    std::iter::repeat_with(|| Random::seed(0))
        .find(|again| *again != first)
        .unwrap();
}

#[test]
fn mistakes_are_shown_at_their_place() {
    let delay_of =
        |duration: &str| Node::map([("delay", Node::map([("duration", duration.into())]))]);
    for (config, expected) in [
        (
            Node::map([("dealy", Node::null())]),
            "line 1, column 1: unknown key `dealy` (did you mean `delay`? Known keys: delay, abort, headers, max_delays)",
        ),
        (
            Node::map([("delay", Node::map([("percentage", 1.into())]))]),
            "line 2, column 3: the key `duration` is missing",
        ),
        (
            delay_of("5"),
            "line 2, column 13: \"5\" is no duration (write a number and its unit: 100ms, 5s, 1m, 2h)",
        ),
        (
            delay_of("0s"),
            "line 2, column 13: a delay must be longer than nothing (leave `delay` out for none)",
        ),
        (
            Node::map([abort(199, 1.0)]),
            "line 2, column 11: expected a number from 200 to 599, found 199",
        ),
        (
            Node::map([abort(500, 100.5)]),
            "line 3, column 15: expected a percentage from 0 to 100, found 100.5",
        ),
        (
            Node::map([abort(500, f64::NAN)]),
            "line 3, column 15: expected a percentage from 0 to 100, found NaN",
        ),
        (
            Node::map([("headers", Node::map([("a:b", "c".into())]))]),
            "line 2, column 3: \"a:b\" is no header name (a name is made of letters, digits and any of !#$%&'*+-.^_`|~)",
        ),
        (
            Node::map([("max_delays", (-1).into())]),
            "line 1, column 13: -1 is out of range here",
        ),
    ] {
        let error = Fault::parse(&placed(&config)).unwrap_err();
        assert_eq!(error.to_string(), expected);
    }
    let route = placed(&Node::map([("max_delays", 1.into())]));
    assert_eq!(
        Fault::parse_route(&route).unwrap_err().to_string(),
        "line 1, column 13: `max_delays` holds for the filter, not for a route (set it where the filter is used in the listener)"
    );
}
