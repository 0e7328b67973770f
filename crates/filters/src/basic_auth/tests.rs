use transom_api::testing::{FakeStream, FakeUse, FakeWorker, placed};
use transom_api::{Direction, HeaderMap};

use super::*;

/// `abc`, and no password at all.
const USERS: &str = "ada:{SHA}qZk+NkcGgWq6PiVxeFDCbJzQ2J0=\neve:{SHA}2jmj7l5rSw0yVb/vlWAYkK/YBwk=";

fn config(more: &[(&str, &str)]) -> Node {
    let entries = more.iter().map(|(key, value)| (*key, Node::from(*value)));
    Node::map(std::iter::once(("users", USERS.into())).chain(entries))
}

fn built(config: &Node) -> FakeUse {
    FakeWorker::new().builtin::<BasicAuth>(config).unwrap()
}

fn credentials(text: &str) -> String {
    format!("Basic {}", STANDARD.encode(text))
}

fn with(used: &FakeUse, value: &str) -> FakeStream {
    used.stream().with_header("Authorization", value)
}

fn passes(mut stream: FakeStream) -> bool {
    stream.request_headers(true);
    stream.has_passed(Direction::Request)
}

#[test]
fn good_credentials_pass() {
    let used = built(&config(&[]));
    assert!(passes(with(&used, &credentials("ada:abc"))));
    assert!(passes(with(&used, &credentials("eve:"))));
    let other_case = credentials("ada:abc").replace("Basic ", "bAsIC   ");
    assert!(passes(with(&used, &other_case)));
}

#[test]
fn all_others_are_refused_with_a_challenge() {
    let mut worker = FakeWorker::new().with_instance("staff");
    let used = worker
        .builtin::<BasicAuth>(&config(&[("realm", "the office")]))
        .unwrap();
    let mut refused = 0;
    for (value, details) in [
        (None, "basic_auth_missing"),
        (Some(String::new()), "basic_auth_invalid"),
        (Some("Basic".to_owned()), "basic_auth_invalid"),
        (Some("Basic ".to_owned()), "basic_auth_invalid"),
        (Some("Basic ???".to_owned()), "basic_auth_invalid"),
        (Some("Bearer YWRhOmFiYw==".to_owned()), "basic_auth_invalid"),
        (Some(credentials("ada")), "basic_auth_invalid"),
        (Some(credentials("ada:abd")), "basic_auth_invalid"),
        (Some(credentials("ada:abc:")), "basic_auth_invalid"),
        (Some(credentials("bob:abc")), "basic_auth_invalid"),
        (Some(credentials(":")), "basic_auth_invalid"),
    ] {
        let mut stream = match &value {
            Some(value) => with(&used, value),
            None => used.stream(),
        };
        stream.request_headers(false);
        let reply = stream.reply().unwrap();
        assert_eq!((reply.status, &*reply.details), (401, details), "{value:?}");
        let headers = stream.headers(HeaderMap::ResponseHeaders);
        assert!(
            headers
                .get("www-authenticate")
                .is_some_and(|value| value == "Basic realm=\"the office\", charset=\"UTF-8\"")
        );
        assert!(!stream.has_passed(Direction::Request));
        refused += 1;
    }
    let process = worker.process();
    assert_eq!(process.metric("basic_auth_denied_total"), refused);
    assert_eq!(process.metric("basic_auth_allowed_total"), 0);
    let label = ("filter".to_owned(), "staff".to_owned());
    assert_eq!(process.labels("basic_auth_denied_total"), [[label]]);
}

#[test]
fn credentials_given_twice_are_none() {
    let good = credentials("ada:abc");
    let used = built(&config(&[]));
    assert!(!passes(
        with(&used, &good).with_header("authorization", &good)
    ));
}

#[test]
fn the_upstream_gets_the_name_that_was_proved() {
    let used = built(&config(&[("forward_username", "x-user")]));
    let mut stream = with(&used, &credentials("ada:abc"))
        .with_header("X-User", "root")
        .with_header("x-user", "admin");
    stream.request_headers(true);
    let headers = stream.headers(HeaderMap::RequestHeaders);
    let names: Vec<_> = headers.get_all("x-user").collect();
    assert_eq!(names, [transom_api::Value(b"ada"[..].into())]);
}

#[test]
fn a_name_that_cannot_be_told_fails_closed() {
    let used = built(&config(&[("forward_username", "x-user")]));
    let full = with(&used, &credentials("ada:abc"));
    let mut stream = (0..1_000).fold(full, |stream, _| stream.with_header("x", "y"));
    stream.request_headers(true);
    assert_eq!(stream.reply().map(|reply| reply.status), Some(500));
}

#[test]
fn credentials_may_come_in_another_header() {
    let used = built(&config(&[("header", "X-Authorization")]));
    assert!(!passes(with(&used, &credentials("ada:abc"))));
    let stream = used.stream();
    assert!(passes(
        stream.with_header("x-authorization", credentials("ada:abc"))
    ));
}

#[test]
fn a_routes_users_replace_the_listeners() {
    let used = built(&config(&[]));
    let other = "bob:{SHA}qZk+NkcGgWq6PiVxeFDCbJzQ2J0=";
    let route = used.route(&Node::map([("users", other.into())])).unwrap();
    for (user, expected) in [("ada:abc", false), ("bob:abc", true)] {
        let stream = with(&used, &credentials(user)).with_route(route.clone());
        assert_eq!(passes(stream), expected, "{user}");
    }
}

#[test]
fn a_response_that_has_begun_stays() {
    let mut stream = built(&config(&[])).stream();
    stream.response_headers(200, &[], true);
    stream.request_headers(true);
    assert!(stream.reply().is_none());
}

#[test]
fn mistakes_are_shown_at_their_place() {
    for (config, expected) in [
        (Node::null(), "line 1, column 1: the key `users` is missing"),
        (
            Node::map([("users", "ada:abc".into())]),
            "line 1, column 8: line 1 of `users` has no {SHA} behind its name (`htpasswd -nbs NAME PASSWORD` prints such a line: name:{SHA}…)",
        ),
        (
            config(&[("realm", "a\"b")]),
            "line 2, column 8: \"a\\\"b\" is no realm (write it in ASCII, without quotes and backslashes)",
        ),
        (
            config(&[("forward_username", "content-length")]),
            "line 2, column 19: the header `content-length` belongs to the proxy (name a field of the message that neither frames nor routes it)",
        ),
        (
            config(&[("header", ":path")]),
            "line 2, column 9: the header `:path` belongs to the proxy (name a field of the message that neither frames nor routes it)",
        ),
    ] {
        let error = BasicAuth::parse(&placed(&config)).unwrap_err();
        assert_eq!(error.to_string(), expected);
    }
}
