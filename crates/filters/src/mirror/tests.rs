use transom_api::testing::{Callout, FakeStream, FakeUse, FakeWorker, placed};
use transom_api::{CalloutError, CalloutResponse, ResetReason};

use super::*;

const REQUEST: Direction = Direction::Request;

fn config(more: &[(&'static str, Node)]) -> Node {
    let cluster = [("cluster", Node::from("next"))];
    Node::map(cluster.into_iter().chain(more.iter().cloned()))
}

fn built(config: &Node) -> (FakeWorker, FakeUse) {
    let mut worker = FakeWorker::new().with_cluster("next").with_cluster("other");
    let used = worker.builtin::<Mirror>(config).unwrap();
    (worker, used)
}

/// The copies that are on their way to the other cluster.
fn copies(worker: &mut FakeWorker, used: &FakeUse) -> Vec<HttpCall> {
    worker.deliver(&**used.part());
    worker
        .callouts()
        .iter()
        .map(|(_, callout)| match callout {
            Callout::Http(call) => call.clone(),
            Callout::Grpc(_) => panic!("an HTTP call"),
        })
        .collect()
}

fn whole(used: &FakeUse) -> FakeStream {
    let mut stream = used.stream();
    stream.request_headers(true);
    stream
}

fn header(call: &HttpCall, name: &str) -> Option<String> {
    let mut found = call
        .headers
        .iter()
        .filter(|(other, _)| other == name.as_bytes());
    let value = found.next()?.1.clone();
    assert!(found.next().is_none(), "{name} comes once");
    Some(String::from_utf8(value).unwrap())
}

#[test]
fn a_whole_request_is_copied_and_waits_for_nothing() {
    let (mut worker, used) = built(&config(&[]));
    let mut stream = used
        .stream()
        .with_method("POST")
        .with_path("/a?b")
        .with_header("host", "a.test:8080")
        .with_header("x-a", "1")
        .with_header("content-length", "6")
        .with_header("connection", "close");
    stream.request_headers(false);
    stream.request_body("abc", false);
    assert_eq!(stream.sent(REQUEST), b"abc");
    assert_eq!(copies(&mut worker, &used), []);
    stream.request_body("def", true);
    assert_eq!(stream.sent(REQUEST), b"abcdef");
    stream.complete();
    let copies = copies(&mut worker, &used);
    let [call] = &copies[..] else {
        panic!("one copy")
    };
    assert_eq!((&*call.cluster, &*call.body), ("next", &b"abcdef"[..]));
    assert_eq!(call.timeout, Some(Duration::from_secs(5)));
    for (name, expected) in [
        (":method", Some("POST")),
        (":path", Some("/a?b")),
        (":authority", Some("a.test-shadow:8080")),
        ("x-a", Some("1")),
        ("content-length", None),
        ("connection", None),
    ] {
        assert_eq!(header(call, name).as_deref(), expected, "{name}");
    }
    assert_eq!(worker.process().metric("mirror_sent_total"), 1);
}

#[test]
fn trailers_are_copied() {
    let (mut worker, used) = built(&config(&[]));
    let mut stream = used.stream();
    stream.request_headers(false);
    stream.request_body("abc", false);
    stream.request_trailers(&[("x-sum", "1")]);
    let copies = copies(&mut worker, &used);
    assert_eq!(copies[0].trailers, [(b"x-sum".to_vec(), b"1".to_vec())]);
}

#[test]
fn a_host_is_marked_before_its_port_and_an_address_is_not() {
    let rule = Mirror::parse(&config(&[])).unwrap().rule;
    for (authority, expected) in [
        ("a.test", "a.test-shadow"),
        ("a.test:80", "a.test-shadow:80"),
        ("[::1]:80", "[::1]:80"),
        ("[::1]", "[::1]"),
        ("", ""),
    ] {
        assert_eq!(rule.mark(authority.as_bytes()), expected.as_bytes());
    }
}

#[test]
fn what_becomes_of_a_copy_is_counted_and_makes_room() {
    let (mut worker, used) = built(&config(&[("max_pending", 2.into())]));
    for _ in 0..3 {
        assert!(whole(&used).has_ended(REQUEST));
    }
    assert_eq!(copies(&mut worker, &used).len(), 2);
    assert_eq!(worker.process().metric("mirror_skipped_total"), 1);
    let part = Rc::clone(used.part());
    assert_eq!(worker.drain(&*part), Drain::More);
    let ids: Vec<_> = worker.callouts().iter().map(|(id, _)| *id).collect();
    worker.end_callout(&*part, ids[0], Err(CalloutError::Timeout));
    let result = Ok(CalloutResponse::default());
    let done = Event::Callout(transom_api::CalloutDone { id: ids[1], result });
    assert!(worker.event(&*part, done), "it says that it is drained");
    assert_eq!(worker.drain(&*part), Drain::Done);
    assert_eq!(worker.process().metric("mirror_failed_total"), 1);
    whole(&used);
    copies(&mut worker, &used);
    assert_eq!(worker.process().metric("mirror_sent_total"), 3);
}

#[test]
fn a_part_that_was_not_asked_to_end_does_not_say_that_it_has() {
    let (mut worker, used) = built(&config(&[]));
    whole(&used);
    assert_eq!(copies(&mut worker, &used).len(), 1);
    let id = worker.callouts()[0].0;
    let result = Ok(CalloutResponse::default());
    let done = Event::Callout(transom_api::CalloutDone { id, result });
    assert!(!worker.event(&**used.part(), done));
}

#[test]
fn a_long_body_is_not_copied_and_goes_by() {
    let (mut worker, used) = built(&config(&[("max_body", 4.into())]));
    let mut stream = used.stream();
    stream.request_headers(false);
    stream.request_body("abcd", false);
    stream.request_body("e", false);
    assert_eq!(
        stream.request_body("f", true),
        None,
        "nobody looks any more"
    );
    assert_eq!(stream.sent(REQUEST), b"abcdef");
    assert_eq!(copies(&mut worker, &used), []);
    assert_eq!(worker.process().metric("mirror_skipped_total"), 1);
}

#[test]
fn a_request_that_does_not_become_whole_is_not_copied() {
    let (mut worker, used) = built(&config(&[]));
    let mut stream = used.stream();
    stream.request_headers(false);
    stream.request_body("abc", false);
    stream.reset(ResetReason::Downstream);
    assert_eq!(copies(&mut worker, &used), []);
}

#[test]
fn so_many_of_a_hundred_are_copied_so_many_times() {
    let (mut worker, used) = built(&config(&[("copies", 3.into())]));
    whole(&used);
    assert_eq!(copies(&mut worker, &used).len(), 3);
    let (mut worker, used) = built(&config(&[("percentage", 0.into())]));
    for _ in 0..100 {
        whole(&used);
    }
    assert_eq!(copies(&mut worker, &used), []);
    let (mut worker, used) = built(&config(&[("percentage", 50.into())]));
    for _ in 0..1_000 {
        whole(&used);
    }
    // Five hundred; five standard deviations are 79.
    let count = copies(&mut worker, &used).len();
    assert!((421..579).contains(&count), "{count}");
}

#[test]
fn a_route_has_its_own_cluster_if_the_listener_allows_it() {
    let allowed = Node::list(["other".into()]);
    let (mut worker, used) = built(&config(&[("clusters", allowed)]));
    assert_eq!(used.clusters(), ["next", "other"]);
    let route = |name: &str| {
        used.route(&Node::map([
            ("cluster", name.into()),
            ("suffix", "".into()),
        ]))
        .unwrap()
    };
    let mut stream = used.stream().with_route(route("other"));
    stream.request_headers(true);
    let made = copies(&mut worker, &used);
    assert_eq!(made[0].cluster, "other");
    assert_eq!(
        header(&made[0], ":authority").as_deref(),
        Some("example.test")
    );
    let mut stream = used.stream().with_route(route("unknown"));
    stream.request_headers(true);
    assert_eq!(copies(&mut worker, &used).len(), 1);
    let process = worker.process();
    assert_eq!(process.metric("mirror_failed_total"), 1);
    assert_eq!(process.metric("mirror_sent_total"), 1);
    assert_eq!(process.log_lines().len(), 1);
}

#[test]
fn mistakes_are_shown_at_their_place() {
    for (config, expected) in [
        (
            Node::null(),
            "line 1, column 1: the key `cluster` is missing",
        ),
        (
            config(&[("percentage", 101.into())]),
            "line 2, column 13: expected a percentage from 0 to 100, found 101",
        ),
        (
            config(&[("copies", 0.into())]),
            "line 2, column 9: expected a number from 1 to 100, found 0",
        ),
        (
            config(&[("suffix", ":80".into())]),
            "line 2, column 9: \":80\" cannot stand in a host's name (it may have letters, digits, dots, `-` and `_`)",
        ),
        (
            config(&[("timeout", "0s".into())]),
            "line 2, column 10: a timeout must be longer than nothing",
        ),
    ] {
        let error = Mirror::parse(&placed(&config)).unwrap_err();
        assert_eq!(error.to_string(), expected);
    }
    let route = placed(&config(&[("max_pending", 1.into())]));
    assert_eq!(
        Mirror::parse_route(&route).unwrap_err().to_string(),
        "line 2, column 14: `max_pending` holds for the filter, not for a route (set it where the filter is used in the listener)"
    );
}
