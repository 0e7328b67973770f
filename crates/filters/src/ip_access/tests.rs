use std::borrow::Cow;

use transom_api::testing::{FakeStream, FakeUse, FakeWorker, placed};
use transom_api::{Attribute, Direction, attribute};

use super::*;

fn rule(action: &str, addresses: &[&str]) -> Node {
    let addresses = Node::list(addresses.iter().map(|text| Node::from(*text)));
    Node::map([("action", action.into()), ("addresses", addresses)])
}

fn config(default: &str, rules: Vec<Node>) -> Node {
    Node::map([("default", default.into()), ("rules", Node::list(rules))])
}

fn by_header(default: &str, rules: Vec<Node>) -> Node {
    Node::map([
        ("default", default.into()),
        ("rules", Node::list(rules)),
        ("header", "CF-Connecting-IP".into()),
    ])
}

fn built(config: &Node) -> FakeUse {
    FakeWorker::new().builtin::<IpAccess>(config).unwrap()
}

fn from(used: &FakeUse, address: &str) -> FakeStream {
    let address = Attribute::Bytes(Cow::Owned(address.as_bytes().to_vec()));
    used.stream()
        .with_attribute(attribute::SOURCE_ADDRESS, address)
}

fn passes(mut stream: FakeStream) -> bool {
    stream.request_headers(true);
    stream.has_passed(Direction::Request)
}

#[test]
fn the_first_rule_that_has_the_address_decides() {
    let used = built(&config(
        "deny",
        vec![
            rule("deny", &["10.0.13.0/24"]),
            rule("allow", &["10.0.0.0/8", "::1"]),
            rule("deny", &["::1"]),
        ],
    ));
    for (address, expected) in [
        ("10.0.12.1:1234", true),
        ("10.0.13.1:1234", false),
        ("[::ffff:10.0.12.1]:1234", true),
        ("[::1]:1234", true),
        ("192.0.2.1:1234", false),
        ("[2001:db8::1]:1234", false),
    ] {
        assert_eq!(passes(from(&used, address)), expected, "{address}");
    }
}

#[test]
fn who_is_refused_gets_403_and_is_counted() {
    let mut worker = FakeWorker::new().with_instance("office");
    let used = worker
        .builtin::<IpAccess>(&config("allow", vec![rule("deny", &["192.0.2.0/24"])]))
        .unwrap();
    let mut refused = from(&used, "192.0.2.1:80");
    refused.request_headers(false);
    let reply = refused.reply().unwrap();
    assert_eq!((reply.status, &*reply.details), (403, "ip_access_denied"));
    assert!(passes(from(&used, "192.0.3.1:80")));
    let process = worker.process();
    assert_eq!(process.metric("ip_access_denied_total"), 1);
    assert_eq!(process.metric("ip_access_allowed_total"), 1);
    let label = ("filter".to_owned(), "office".to_owned());
    assert_eq!(process.labels("ip_access_denied_total"), [[label]]);
}

#[test]
fn a_client_without_an_address_gets_the_default() {
    for (default, expected) in [("allow", true), ("deny", false)] {
        let used = built(&config(
            default,
            vec![rule("allow", &["0.0.0.0/0", "::/0"])],
        ));
        assert_eq!(passes(used.stream()), expected, "{default}");
    }
}

#[test]
fn the_last_address_of_the_header_counts() {
    let used = built(&by_header("deny", vec![rule("allow", &["10.0.0.0/8"])]));
    let inside = || from(&used, "10.0.0.1:80");
    let outside = || from(&used, "192.0.2.1:80");
    for (value, expected) in [
        ("10.1.1.1", true),
        ("192.0.2.9, 10.1.1.1", true),
        ("10.1.1.1:443", true),
        ("::ffff:10.1.1.1", true),
        ("10.1.1.1, 192.0.2.9", false),
        ("[2001:db8::1]:443", false),
        ("[2001:db8::1]", false),
    ] {
        let stream = outside().with_header("cf-connecting-ip", value);
        assert_eq!(passes(stream), expected, "{value}");
    }
    // Without the header the connection counts; an unreadable one is nobody's.
    assert!(passes(inside()));
    assert!(!passes(outside()));
    for value in ["", "unknown", "10.1.1.1,", "10.1.1.1, \u{e9}"] {
        let stream = inside().with_header("cf-connecting-ip", value);
        assert!(!passes(stream), "{value}");
    }
    let lenient = built(&by_header("allow", vec![]));
    assert!(passes(from(&lenient, "10.0.0.1:80")));
    let unreadable = from(&lenient, "10.0.0.1:80").with_header("cf-connecting-ip", "unknown");
    assert!(!passes(unreadable), "whatever the default");
    let several = outside()
        .with_header("cf-connecting-ip", "10.1.1.1")
        .with_header("cf-connecting-ip", "192.0.2.9");
    assert!(!passes(several));
}

#[test]
fn a_routes_rules_replace_the_listeners() {
    let used = built(&config("allow", vec![]));
    let route = used.route(&config("deny", vec![])).unwrap();
    assert!(passes(from(&used, "10.0.0.1:80")));
    assert!(!passes(from(&used, "10.0.0.1:80").with_route(route)));
}

#[test]
fn a_response_that_has_begun_stays() {
    let used = built(&config("deny", vec![]));
    let mut stream = used.stream();
    stream.response_headers(200, &[], true);
    stream.request_headers(true);
    assert!(stream.reply().is_none());
}

#[test]
fn mistakes_are_shown_at_their_place() {
    for (config, expected) in [
        (
            Node::null(),
            "line 1, column 1: the key `default` is missing",
        ),
        (
            Node::map([("default", "drop".into())]),
            "line 1, column 10: unknown action \"drop\" (write `allow` or `deny`)",
        ),
        (
            config("deny", vec![rule("allow", &["10.0.0.0/40"])]),
            "line 5, column 9: \"10.0.0.0/40\" has no prefix length from 0 to 32 (a network is written as its address and the number of its bits: 10.0.0.0/8)",
        ),
        (
            config("deny", vec![Node::map([("action", "allow".into())])]),
            "line 3, column 5: the key `addresses` is missing",
        ),
        (
            Node::map([("default", "deny".into()), ("header", "a b".into())]),
            "line 2, column 9: \"a b\" is no header name (a name is made of letters, digits and any of !#$%&'*+-.^_`|~)",
        ),
        (
            Node::map([
                ("default", "deny".into()),
                ("header", "X-Forwarded-For".into()),
            ]),
            "line 2, column 9: `X-Forwarded-For` is believed by the `http` filter or by nobody (leave `header` out, and say whom to trust in the `http` filter: `forwarded: {trusted_networks: [10.0.0.0/8]}`)",
        ),
    ] {
        let error = IpAccess::parse(&placed(&config)).unwrap_err();
        assert_eq!(error.to_string(), expected);
    }
}
