use transom_api::testing::{FakeProcess, FakeStream, FakeUse, FakeWorker, placed};

use super::*;

const DEFAULT: &str = "header_to_metadata";

fn entry(entries: &[(&'static str, &str)]) -> Node {
    Node::map(
        entries
            .iter()
            .map(|(key, value)| (*key, Node::from(*value))),
    )
}

fn rules(direction: &'static str, rules: Vec<Node>) -> Node {
    Node::map([(direction, Node::list(rules))])
}

fn built(config: &Node) -> (FakeProcess, FakeUse) {
    let mut worker = FakeWorker::new();
    let used = worker.builtin::<HeaderToMetadata>(config).unwrap();
    (worker.process().clone(), used)
}

fn version() -> Node {
    rules(
        "request_rules",
        vec![Node::map([
            ("header", "X-Version".into()),
            ("on_present", entry(&[("namespace", "lb"), ("key", "v")])),
            (
                "on_missing",
                entry(&[("namespace", "lb"), ("key", "v"), ("value", "stable")]),
            ),
            ("remove", true.into()),
        ])],
    )
}

fn text(stream: &FakeStream, namespace: &str, key: &str) -> Option<String> {
    match stream.metadata(namespace, key)? {
        MetadataValue::String(text) => Some(text.clone()),
        other => panic!("{other:?} is no text"),
    }
}

#[test]
fn a_header_is_set_and_removed_or_stood_in_for() {
    let (process, used) = built(&version());
    let mut stream = used
        .stream()
        .with_header("x-version", "a")
        .with_header("X-VERSION", "b");
    stream.request_headers(true);
    assert_eq!(text(&stream, "lb", "v").as_deref(), Some("a,b"));
    assert!(
        !stream
            .headers(HeaderMap::RequestHeaders)
            .contains("x-version")
    );
    let mut without = used.stream();
    without.request_headers(true);
    assert_eq!(text(&without, "lb", "v").as_deref(), Some("stable"));
    assert_eq!(process.metric("header_to_metadata_set_total"), 2);
    assert_eq!(process.metric("header_to_metadata_skipped_total"), 0);
}

#[test]
fn a_cookie_is_found_among_others() {
    let rule = Node::map([
        ("cookie", "id".into()),
        ("on_present", entry(&[("key", "id")])),
    ]);
    let (_, used) = built(&rules("request_rules", vec![rule]));
    for (cookies, expected) in [
        ("id=5", Some("5")),
        ("a=1; id=\"5 6\" ;b=2", Some("5 6")),
        ("a=id=7; xid=8;id=a=b", Some("a=b")),
        ("ID=5", None),
        ("id", None),
    ] {
        let mut stream = used
            .stream()
            .with_header("cookie", "first=1")
            .with_header("Cookie", cookies);
        stream.request_headers(true);
        assert_eq!(
            text(&stream, DEFAULT, "id").as_deref(),
            expected,
            "{cookies}"
        );
    }
}

#[test]
fn responses_have_rules_too() {
    let rule = Node::map([
        ("header", "x-cost".into()),
        ("on_present", entry(&[("key", "cost"), ("type", "number")])),
        ("remove", true.into()),
    ]);
    let (process, used) = built(&rules("response_rules", vec![rule]));
    for (value, expected) in [
        ("2.5", Some(2.5)),
        (" -1 ", Some(-1.0)),
        ("many", None),
        ("inf", None),
        ("NaN", None),
        ("", None),
    ] {
        let mut stream = used.stream();
        stream.request_headers(true);
        stream.response_headers(200, &[("X-Cost", value)], true);
        let expected = expected.map(MetadataValue::Number);
        assert_eq!(
            stream.metadata(DEFAULT, "cost"),
            expected.as_ref(),
            "{value}"
        );
        assert!(
            !stream
                .headers(HeaderMap::ResponseHeaders)
                .contains("x-cost")
        );
    }
    assert_eq!(process.metric("header_to_metadata_set_total"), 2);
    assert_eq!(process.metric("header_to_metadata_skipped_total"), 4);
}

#[test]
fn what_is_no_text_or_too_long_is_left_out() {
    let rule = Node::map([
        ("header", "x".into()),
        ("on_present", entry(&[("key", "x")])),
    ]);
    let (process, used) = built(&rules("request_rules", vec![rule]));
    let longest = vec![b'x'; LONGEST_VALUE];
    let longer = vec![b'x'; LONGEST_VALUE + 1];
    for (value, is_set) in [
        (&longest[..], true),
        (&longer, false),
        (b"\xff", false),
        (b"", false),
    ] {
        let mut stream = used.stream().with_header("x", value);
        stream.request_headers(true);
        assert_eq!(text(&stream, DEFAULT, "x").is_some(), is_set);
    }
    assert_eq!(process.metric("header_to_metadata_skipped_total"), 3);
}

#[test]
fn a_fixed_value_takes_the_place_of_the_headers() {
    let rule = Node::map([
        ("header", "authorization".into()),
        ("on_present", entry(&[("key", "who"), ("value", "known")])),
    ]);
    let (_, used) = built(&rules("request_rules", vec![rule]));
    let mut stream = used.stream().with_header("authorization", "secret");
    stream.request_headers(true);
    assert_eq!(text(&stream, DEFAULT, "who").as_deref(), Some("known"));
    assert!(
        stream
            .headers(HeaderMap::RequestHeaders)
            .contains("authorization")
    );
}

#[test]
fn a_routes_rules_replace_the_listeners() {
    let (_, used) = built(&version());
    let route = used.route(&Node::null()).unwrap();
    let mut stream = used
        .stream()
        .with_header("x-version", "a")
        .with_route(route);
    stream.request_headers(true);
    assert_eq!(text(&stream, "lb", "v"), None);
    assert!(
        stream
            .headers(HeaderMap::RequestHeaders)
            .contains("x-version")
    );
}

#[test]
fn a_head_that_has_left_fails_the_stream() {
    let rule = Node::map([("header", "x".into()), ("remove", true.into())]);
    let config = HeaderToMetadata::parse(&rules("request_rules", vec![rule])).unwrap();
    let mut stream = FakeStream::new(crate::noop::Noop).with_header("x", "1");
    stream.request_headers(true);
    stream.with_context(|stream| {
        HeaderToMetadataFilter(config).run(stream, Direction::Request);
    });
    assert_eq!(stream.reply().map(|reply| reply.status), Some(500));
}

#[test]
fn mistakes_are_shown_at_their_place() {
    let rule = |entries: &[(&'static str, Node)]| {
        let entries = entries.iter().cloned();
        rules("request_rules", vec![Node::map(entries)])
    };
    let header = || ("header", Node::from("x"));
    for (config, expected) in [
        (
            rule(&[("remove", true.into())]),
            "line 2, column 5: a rule has either `header` or `cookie` (name one of the two)",
        ),
        (
            rule(&[header()]),
            "line 2, column 5: the rule does nothing (give it `on_present`, `on_missing` or `remove: true`)",
        ),
        (
            rule(&[("header", ":path".into()), ("remove", true.into())]),
            "line 2, column 13: the header `:path` belongs to the proxy (name a field of the message that neither frames nor routes it)",
        ),
        (
            rule(&[("header", "a b".into()), ("remove", true.into())]),
            "line 2, column 13: \"a b\" is no header name (a name is made of letters, digits and any of !#$%&'*+-.^_`|~)",
        ),
        (
            rule(&[("cookie", "a".into()), ("remove", true.into())]),
            "line 3, column 13: one cookie of several cannot be removed",
        ),
        (
            rule(&[header(), ("on_missing", entry(&[("key", "a")]))]),
            "line 4, column 7: the key `value` is missing (what is not there has no value of its own)",
        ),
        (
            rule(&[header(), ("on_present", entry(&[("key", "")]))]),
            "line 4, column 12: this cannot be empty",
        ),
        (
            rule(&[
                header(),
                ("on_present", entry(&[("key", "a"), ("type", "bool")])),
            ]),
            "line 5, column 13: unknown type \"bool\" (write `string` or `number`)",
        ),
        (
            rule(&[
                header(),
                (
                    "on_present",
                    entry(&[("key", "a"), ("value", "b"), ("type", "number")]),
                ),
            ]),
            "line 5, column 14: this is no number, or longer than 8 KiB",
        ),
        (
            rules(
                "response_rules",
                vec![Node::map([
                    ("cookie", "a".into()),
                    ("on_present", entry(&[("key", "a")])),
                ])],
            ),
            "line 2, column 13: a response sends no cookies (its header `set-cookie` can be named)",
        ),
    ] {
        let error = HeaderToMetadata::parse(&placed(&config)).unwrap_err();
        assert_eq!(error.to_string(), expected);
    }
}
