use transom_api::testing::{FakeProcess, FakeStream, FakeUse, FakeWorker, placed};
use transom_api::{Direction, HeaderMap};

use super::*;

const RESPONSE: HeaderMap = HeaderMap::ResponseHeaders;

fn texts(items: &[&str]) -> Node {
    Node::list(items.iter().map(|item| Node::from(*item)))
}

fn config() -> Node {
    Node::map([
        (
            "allow_origins",
            texts(&["https://a.test", "https://*.b.test"]),
        ),
        ("allow_methods", texts(&["GET", "PUT"])),
        ("allow_headers", texts(&["content-type", "x-a"])),
        ("expose_headers", texts(&["x-b"])),
        ("allow_credentials", true.into()),
        ("max_age", "1.5m".into()),
    ])
}

fn built(config: &Node) -> (FakeProcess, FakeUse) {
    let mut worker = FakeWorker::new();
    let used = worker.builtin::<Cors>(config).unwrap();
    (worker.process().clone(), used)
}

fn preflight(used: &FakeUse, origin: &str) -> FakeStream {
    used.stream()
        .with_method("OPTIONS")
        .with_header("Origin", origin)
        .with_header("Access-Control-Request-Method", "PUT")
}

fn value(stream: &FakeStream, name: &str) -> Option<String> {
    let headers = stream.headers(RESPONSE);
    let values: Vec<_> = headers.get_all(name).map(|v| v.to_string()).collect();
    (!values.is_empty()).then(|| values.join(" | "))
}

#[test]
fn a_preflight_of_an_origin_that_may_is_answered() {
    let (process, used) = built(&config());
    let mut stream = preflight(&used, "https://x.b.test");
    stream.request_headers(true);
    assert_eq!(stream.reply().map(|reply| reply.status), Some(200));
    assert_eq!(stream.details(), "cors_preflight");
    assert!(!stream.has_passed(Direction::Request));
    for (name, expected) in [
        ("access-control-allow-origin", "https://x.b.test"),
        ("access-control-allow-methods", "GET, PUT"),
        ("access-control-allow-headers", "content-type, x-a"),
        ("access-control-allow-credentials", "true"),
        ("access-control-max-age", "90"),
        ("vary", "origin"),
    ] {
        assert_eq!(value(&stream, name).as_deref(), Some(expected), "{name}");
    }
    assert_eq!(process.metric("cors_preflights_total"), 1);
    assert_eq!(process.metric("cors_origin_valid_total"), 1);
}

#[test]
fn a_response_to_an_origin_that_may_says_so_in_place_of_the_upstream() {
    let (_, used) = built(&config());
    let mut stream = used.stream().with_header("origin", "https://a.test");
    stream.request_headers(true);
    let upstream = [
        ("Access-Control-Allow-Origin", "*"),
        ("Vary", "accept-encoding"),
    ];
    stream.response_headers(200, &upstream, true);
    for (name, expected) in [
        ("access-control-allow-origin", Some("https://a.test")),
        ("access-control-allow-credentials", Some("true")),
        ("access-control-expose-headers", Some("x-b")),
        ("access-control-allow-methods", None),
        ("vary", Some("accept-encoding | origin")),
    ] {
        assert_eq!(value(&stream, name).as_deref(), expected, "{name}");
    }
}

#[test]
fn others_go_on_and_are_told_nothing() {
    let (process, used) = built(&config());
    let mut foreign = preflight(&used, "https://evil.test");
    let mut plain = used.stream();
    let mut options = used
        .stream()
        .with_method("OPTIONS")
        .with_header("origin", "https://a.test");
    for stream in [&mut foreign, &mut plain, &mut options] {
        assert_eq!(stream.request_headers(true), Some(HeadersVerdict::Continue));
        stream.response_headers(204, &[], true);
        assert_eq!(value(stream, "vary").as_deref(), Some("origin"));
    }
    for stream in [&foreign, &plain] {
        assert_eq!(value(stream, "access-control-allow-origin"), None);
    }
    assert!(value(&options, "access-control-allow-origin").is_some());
    assert_eq!(process.metric("cors_origin_invalid_total"), 1);
    assert_eq!(process.metric("cors_preflights_total"), 0);
}

#[test]
fn vary_is_not_said_twice_nor_where_every_origin_may() {
    let (_, used) = built(&config());
    for said in ["Origin", "accept, ORIGIN", "*"] {
        let mut stream = used.stream();
        stream.request_headers(true);
        stream.response_headers(200, &[("vary", said)], true);
        assert_eq!(value(&stream, "vary").as_deref(), Some(said));
    }
    let (_, used) = built(&Node::map([("allow_origins", texts(&["*"]))]));
    let mut stream = used.stream().with_header("origin", "https://any.test");
    stream.request_headers(true);
    stream.response_headers(200, &[], true);
    assert_eq!(
        value(&stream, "access-control-allow-origin").as_deref(),
        Some("https://any.test")
    );
    assert_eq!(value(&stream, "vary"), None);
}

#[test]
fn answers_of_the_proxys_own_are_marked_too() {
    let (_, used) = built(&config());
    let mut stream = used.stream().with_header("origin", "https://a.test");
    stream.request_headers(true);
    stream
        .with_context(|stream| stream.send_local_reply(LocalReply::new(503)))
        .unwrap();
    assert_eq!(
        value(&stream, "access-control-allow-origin").as_deref(),
        Some("https://a.test")
    );
}

#[test]
fn a_routes_configuration_replaces_the_listeners() {
    let (_, used) = built(&Node::null());
    let mut stream = preflight(&used, "https://a.test");
    stream.request_headers(true);
    assert!(stream.reply().is_none());
    stream.response_headers(200, &[], true);
    assert_eq!(value(&stream, "vary"), None, "nothing is configured");
    let route = used.route(&config()).unwrap();
    let mut stream = preflight(&used, "https://a.test").with_route(route);
    stream.request_headers(true);
    assert!(stream.reply().is_some());
}

#[test]
fn a_head_that_is_full_fails_the_stream() {
    let (_, used) = built(&config());
    let mut stream = used.stream();
    stream.request_headers(true);
    stream.response_headers(200, &[("x", "y"); 1_000], true);
    assert_eq!(stream.reply().map(|reply| reply.status), Some(500));
}

#[test]
fn mistakes_are_shown_at_their_place() {
    for (config, expected) in [
        (
            Node::map([("allow_origins", texts(&["a.test"]))]),
            "line 2, column 5: \"a.test\" is no origin (an origin is a scheme, a host and maybe a port: https://app.example:8443, without a slash at its end)",
        ),
        (
            Node::map([("allow_origins", texts(&["https://*a.test"]))]),
            "line 2, column 5: the star in \"https://*a.test\" stands for no whole part (it stands for what is before a dot, https://*.app.example, or for a port, http://localhost:*)",
        ),
        (
            Node::map([("allow_methods", texts(&["GET, PUT"]))]),
            "line 2, column 5: \"GET, PUT\" is no method and no header name (each is an item of the list by itself; `*` stands for all)",
        ),
        (
            Node::map([("expose_headers", texts(&[]))]),
            "line 1, column 17: the list is empty (leave the key out)",
        ),
        (
            Node::map([
                ("allow_origins", texts(&["*"])),
                ("allow_credentials", true.into()),
            ]),
            "line 3, column 20: credentials cannot be allowed to every origin (any page could act as its visitor then; name the origins)",
        ),
        (
            Node::map([("allow_origin", texts(&["*"]))]),
            "line 1, column 1: unknown key `allow_origin` (did you mean `allow_origins`? Known keys: allow_origins, allow_methods, allow_headers, expose_headers, allow_credentials, max_age)",
        ),
    ] {
        let error = Cors::parse(&placed(&config)).unwrap_err();
        assert_eq!(error.to_string(), expected);
    }
}
