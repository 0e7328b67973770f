use transom_api::testing::{FakeProcess, FakeUse, FakeWorker, placed};
use transom_api::{Direction, MetadataValue};

use super::*;

fn config(more: &[(&str, &str)]) -> Node {
    let entries = more.iter().map(|(key, value)| (*key, Node::from(*value)));
    Node::map(std::iter::once(("path", "/healthz".into())).chain(entries))
}

fn cached() -> Node {
    config(&[("mode", "pass_through"), ("cache", "10h")])
}

fn built(process: &FakeProcess, config: &Node) -> FakeUse {
    FakeWorker::of(process, 0, 1)
        .builtin::<HealthCheck>(config)
        .unwrap()
}

/// What a check gets here; `None`: it is for the upstream, which answers with `status`.
fn check(used: &FakeUse, status: u16) -> Option<u16> {
    let mut stream = used.stream().with_path("/healthz");
    stream.request_headers(true);
    let reply = stream.reply().map(|reply| reply.status);
    if reply.is_none() {
        stream.response_headers(status, &[], true);
    }
    reply
}

#[test]
fn a_check_is_answered_here() {
    let process = FakeProcess::new();
    let used = built(&process, &config(&[]));
    for path in ["/healthz", "/healthz?from=lb"] {
        let mut stream = used.stream().with_path(path);
        stream.request_headers(false);
        let reply = stream.reply().unwrap();
        assert_eq!((reply.status, &*reply.details), (200, "health_check_ok"));
        assert_eq!(
            stream.metadata("transom", "health_check"),
            Some(&MetadataValue::Bool(true))
        );
    }
    assert_eq!(process.metric("health_check_answered_total"), 2);
}

#[test]
fn other_requests_pass_without_a_filter() {
    let process = FakeProcess::new();
    let used = built(&process, &config(&[]));
    for path in ["/", "/healthz/", "/healthzz", "/Healthz", "/x/healthz"] {
        let mut stream = used.stream().with_path(path);
        assert_eq!(stream.request_headers(true), None, "{path}");
        assert!(stream.has_passed(Direction::Request));
        assert_eq!(stream.metadata("transom", "health_check"), None);
    }
    assert_eq!(process.metric("health_check_answered_total"), 0);
}

#[test]
fn only_requests_with_the_headers_are_checks() {
    let headers = Node::map([("user-agent", "lb".into())]);
    let config = Node::map([("path", "/healthz".into()), ("headers", headers)]);
    let used = built(&FakeProcess::new(), &config);
    assert_eq!(check(&used, 404), None);
    let mut stream = used
        .stream()
        .with_path("/healthz")
        .with_header("User-Agent", "lb");
    stream.request_headers(true);
    assert!(stream.reply().is_some());
}

#[test]
fn a_check_that_passes_through_is_marked() {
    let process = FakeProcess::new();
    let used = built(&process, &config(&[("mode", "pass_through")]));
    let mut stream = used.stream().with_path("/healthz");
    stream.request_headers(true);
    assert!(stream.has_passed(Direction::Request));
    assert!(stream.metadata("transom", "health_check").is_some());
    for _ in 0..2 {
        assert_eq!(check(&used, 200), None);
    }
    assert_eq!(process.metric("health_check_passed_total"), 3);
}

#[test]
fn the_upstreams_status_is_kept_for_all_workers_and_through_reloads() {
    let process = FakeProcess::new();
    let used = built(&process, &cached());
    let second = FakeWorker::of(&process, 1, 2).rebuild(&used).unwrap();
    assert_eq!(check(&used, 503), None);
    assert_eq!(check(&used, 200), Some(503));
    assert_eq!(check(&second, 200), Some(503));
    let mut stream = used.stream().with_path("/healthz");
    stream.request_headers(true);
    assert_eq!(stream.details(), "health_check_cached");
    assert_eq!(stream.response_flags().to_string(), "LH");
    let reloaded = built(&process, &cached());
    drop((used, second, stream));
    assert_eq!(check(&reloaded, 200), Some(503));
    drop(reloaded);
    assert_eq!(check(&built(&process, &cached()), 200), None);
}

#[test]
fn a_status_is_kept_no_longer_than_its_time() {
    let used = built(
        &FakeProcess::new(),
        &config(&[("mode", "pass_through"), ("cache", "0.001ms")]),
    );
    assert_eq!(check(&used, 503), None);
    assert_eq!(check(&used, 503), None);
}

#[test]
fn the_proxys_own_answer_is_kept_too() {
    let used = built(&FakeProcess::new(), &cached());
    let mut stream = used.stream().with_path("/healthz");
    stream.request_headers(true);
    stream
        .with_context(|stream| stream.send_local_reply(LocalReply::new(502)))
        .unwrap();
    assert_eq!(check(&used, 200), Some(502));
}

#[test]
fn a_routes_configuration_replaces_the_listeners() {
    let process = FakeProcess::new();
    let used = built(&process, &config(&[]));
    let route = used.route(&Node::map([("path", "/ping".into())])).unwrap();
    for (path, answered) in [("/ping", true), ("/healthz", false)] {
        let mut stream = used.stream().with_path(path).with_route(route.clone());
        stream.request_headers(true);
        assert_eq!(stream.reply().is_some(), answered, "{path}");
    }
    assert_eq!(process.metric("health_check_answered_total"), 1);
}

#[test]
fn a_response_that_has_begun_stays() {
    let used = built(&FakeProcess::new(), &config(&[]));
    let mut stream = used.stream().with_path("/healthz");
    stream.response_headers(200, &[], true);
    stream.request_headers(true);
    assert!(stream.reply().is_none());
}

#[test]
fn mistakes_are_shown_at_their_place() {
    for (config, expected) in [
        (Node::null(), "line 1, column 1: the key `path` is missing"),
        (
            Node::map([("path", "healthz".into())]),
            "line 1, column 7: \"healthz\" is no path (a path begins with a slash and has no `?`, `#` or white space)",
        ),
        (
            config(&[("mode", "pass")]),
            "line 2, column 7: unknown mode \"pass\" (write `answer` or `pass_through`)",
        ),
        (
            config(&[("cache", "1s")]),
            "line 2, column 8: there is nothing to keep when the proxy answers by itself (leave `cache` out, or add `mode: pass_through`)",
        ),
        (
            config(&[("mode", "pass_through"), ("cache", "0s")]),
            "line 3, column 8: a status must be kept for longer than nothing (leave `cache` out to keep none)",
        ),
    ] {
        let error = HealthCheck::parse(&placed(&config)).unwrap_err();
        assert_eq!(error.to_string(), expected);
    }
}
