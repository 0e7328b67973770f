use transom_api::testing::{FakeProcess, FakeStream, FakeUse, FakeWorker, placed};
use transom_api::{Direction, HeaderMap};

use super::*;

/// So slow that none comes back while a test runs.
fn config(burst: i64, more: &[(&str, Node)]) -> Node {
    let entries = [
        ("requests", 1.into()),
        ("per", "10h".into()),
        ("burst", burst.into()),
    ];
    Node::map(entries.into_iter().chain(more.iter().cloned()))
}

fn built(process: &FakeProcess, name: &str, config: &Node) -> FakeUse {
    FakeWorker::of(process, 0, 1)
        .with_instance(name)
        .builtin::<RateLimit>(config)
        .unwrap()
}

fn passes(mut stream: FakeStream) -> bool {
    stream.request_headers(true);
    stream.has_passed(Direction::Request)
}

/// How many of ten requests pass.
fn passing(used: &FakeUse) -> usize {
    (0..10).filter(|_| passes(used.stream())).count()
}

fn value(stream: &FakeStream, name: &str) -> Option<String> {
    let headers = stream.headers(HeaderMap::ResponseHeaders);
    headers.get(name).map(|value| value.to_string())
}

#[test]
fn what_is_over_the_limit_is_answered_and_counted() {
    let process = FakeProcess::new();
    let used = built(&process, "api", &config(2, &[]));
    assert_eq!(passing(&used), 2);
    let mut stream = used.stream();
    stream.request_headers(false);
    let reply = stream.reply().unwrap();
    assert_eq!((reply.status, &*reply.details), (429, "rate_limited"));
    assert_eq!(stream.response_flags(), ResponseFlags::RATE_LIMITED);
    // The first of the two tokens is back ten hours after it was taken, a moment ago.
    assert_eq!(value(&stream, "retry-after").as_deref(), Some("36000"));
    assert_eq!(process.metric("rate_limit_allowed_total"), 2);
    assert_eq!(process.metric("rate_limit_limited_total"), 9);
    let label = ("filter".to_owned(), "api".to_owned());
    assert_eq!(process.labels("rate_limit_limited_total"), [[label]]);
}

#[test]
fn all_workers_take_from_one_bucket() {
    let process = FakeProcess::new();
    let first = built(&process, "api", &config(5, &[]));
    let mut other = FakeWorker::of(&process, 1, 2);
    let second = other.rebuild(&first).unwrap();
    assert!(passes(first.stream()) && passes(first.stream()));
    assert_eq!(passing(&second), 3);
    assert_eq!(passing(&first), 0);
}

#[test]
fn a_reload_does_not_fill_it_even_with_another_limit() {
    let process = FakeProcess::new();
    let before = built(&process, "api", &config(5, &[]));
    assert_eq!(passing(&before), 5);
    let after = built(&process, "api", &config(5, &[("status", 503.into())]));
    drop(before);
    assert_eq!(passing(&after), 0);
    let wider = built(&process, "api", &config(8, &[]));
    drop(after);
    assert_eq!(passing(&wider), 3);
    assert_eq!(passing(&built(&process, "other", &config(5, &[]))), 5);
}

#[test]
fn a_route_has_a_bucket_of_its_own_or_a_named_one() {
    let process = FakeProcess::new();
    let used = built(&process, "api", &config(1, &[]));
    let own = used.route(&config(2, &[])).unwrap();
    let named = |burst| {
        let config = config(burst, &[("bucket", "uploads".into())]);
        used.route(&config).unwrap()
    };
    let count = |route: &transom_api::RouteConfig| {
        (0..10)
            .filter(|_| passes(used.stream().with_route(route.clone())))
            .count()
    };
    assert_eq!(count(&own), 2);
    assert_eq!(count(&used.route(&config(2, &[])).unwrap()), 2, "read anew");
    assert_eq!(count(&named(3)), 3);
    assert_eq!(count(&named(3)), 0, "read anew, the same bucket");
    assert_eq!(passing(&used), 1);
    let sharing = built(
        &process,
        "other",
        &config(3, &[("bucket", "uploads".into())]),
    );
    assert_eq!(passing(&sharing), 0);
}

#[test]
fn responses_tell_the_limit_where_they_should() {
    let process = FakeProcess::new();
    let used = built(&process, "api", &config(3, &[("headers", true.into())]));
    let mut stream = used.stream();
    stream.request_headers(true);
    stream.response_headers(200, &[("x-ratelimit-limit", "the upstream's own")], true);
    for (name, expected) in [
        ("x-ratelimit-limit", "3"),
        ("x-ratelimit-remaining", "2"),
        ("x-ratelimit-reset", "36000"),
    ] {
        assert_eq!(value(&stream, name).as_deref(), Some(expected), "{name}");
    }
    assert_eq!(passing(&used), 2);
    let mut refused = used.stream();
    refused.request_headers(true);
    assert_eq!(
        value(&refused, "x-ratelimit-remaining").as_deref(),
        Some("0")
    );
    let silent = used.route(&config(1, &[])).unwrap();
    let mut stream = used.stream().with_route(silent);
    stream.request_headers(true);
    stream.response_headers(200, &[], true);
    assert_eq!(value(&stream, "x-ratelimit-limit"), None);
}

#[test]
fn a_head_that_is_full_fails_the_stream() {
    let used = built(
        &FakeProcess::new(),
        "api",
        &config(1, &[("headers", true.into())]),
    );
    let mut stream = used.stream();
    stream.request_headers(true);
    stream.response_headers(200, &[("x", "y"); 1_000], true);
    assert_eq!(stream.reply().map(|reply| reply.status), Some(500));
}

#[test]
fn a_response_that_has_begun_stays() {
    let used = built(&FakeProcess::new(), "api", &config(1, &[]));
    assert_eq!(passing(&used), 1);
    let mut stream = used.stream();
    stream.response_headers(200, &[], true);
    stream.request_headers(true);
    assert!(stream.reply().is_none());
}

#[test]
fn mistakes_are_shown_at_their_place() {
    let with = |entries: &[(&'static str, Node)]| {
        let requests = [("requests", Node::from(1))];
        Node::map(requests.into_iter().chain(entries.iter().cloned()))
    };
    for (config, expected) in [
        (
            Node::null(),
            "line 1, column 1: the key `requests` is missing",
        ),
        (
            Node::map([("requests", 0.into())]),
            "line 1, column 11: expected a number from 1 to 1000000000, found 0",
        ),
        (
            Node::map([("requests", 20_000_000.into())]),
            "line 1, column 11: so many requests in so short a time are no limit (at most ten for each microsecond)",
        ),
        (
            with(&[("per", "0s".into())]),
            "line 2, column 6: so many requests in so short a time are no limit (at most ten for each microsecond)",
        ),
        (
            with(&[("per", 5.into())]),
            "line 2, column 6: expected a duration, found the number 5 (write a number and its unit: 100ms, 5s, 1m, 2h)",
        ),
        (
            with(&[("status", 200.into())]),
            "line 2, column 9: expected a number from 400 to 599, found 200",
        ),
        (
            with(&[("bucket", "".into())]),
            "line 2, column 9: a bucket's name cannot be empty",
        ),
    ] {
        let error = RateLimit::parse(&placed(&config)).unwrap_err();
        assert_eq!(error.to_string(), expected);
    }
}
