use transom_api::HeaderMap;
use transom_api::testing::{Action, FakeProcess, FakeStream, FakeUse, FakeWorker, placed};

use super::encoder::tests::decode;
use super::*;

const RESPONSE: Direction = Direction::Response;

fn built(config: &Node) -> (FakeProcess, FakeUse) {
    let mut worker = FakeWorker::new();
    let used = worker.builtin::<Compressor>(config).unwrap();
    (worker.process().clone(), used)
}

fn accepting(used: &FakeUse, codings: &str) -> FakeStream {
    let mut stream = used.stream().with_header("accept-encoding", codings);
    stream.request_headers(true);
    stream
}

fn value(stream: &FakeStream, name: &str) -> Option<String> {
    let headers = stream.headers(HeaderMap::ResponseHeaders);
    let values: Vec<_> = headers.get_all(name).map(|v| v.to_string()).collect();
    (!values.is_empty()).then(|| values.join(" | "))
}

fn text() -> String {
    "all work and no play ".repeat(100)
}

#[test]
fn a_body_is_compressed_as_it_comes() {
    for coding in Coding::ALL {
        let (process, used) = built(&Node::null());
        let mut stream = accepting(&used, coding.name());
        let headers = [
            ("Content-Type", "text/html; charset=utf-8"),
            ("content-length", "4200"),
            ("ETag", "\"abc\""),
            ("Accept-Ranges", "bytes"),
            ("content-digest", "sha-256=:x:"),
        ];
        stream.response_headers(200, &headers, false);
        for (name, expected) in [
            ("content-encoding", Some(coding.name())),
            ("vary", Some("accept-encoding")),
            ("etag", Some("W/\"abc\"")),
            ("accept-ranges", None),
            ("content-digest", None),
        ] {
            assert_eq!(value(&stream, name).as_deref(), expected, "{name}");
        }
        assert!(stream.wants().contains(Wants::CHANGES_RESPONSE_LENGTH));
        stream.response_body(text(), false);
        assert_eq!(decode(coding, stream.sent(RESPONSE)), text().as_bytes());
        stream.response_body(text(), true);
        assert!(stream.has_ended(RESPONSE));
        assert_eq!(
            decode(coding, stream.sent(RESPONSE)),
            text().repeat(2).as_bytes()
        );
        let sent = stream.sent(RESPONSE).len() as i64;
        assert!(sent < 400, "{sent}");
        assert_eq!(process.metric("compressor_compressed_total"), 1);
        assert_eq!(process.metric("compressor_bytes_in_total"), 4_200);
        assert_eq!(process.metric("compressor_bytes_out_total"), sent);
    }
}

#[test]
fn trailers_come_behind_the_end_of_the_coding() {
    for coding in Coding::ALL {
        let (process, used) = built(&Node::null());
        let mut stream = accepting(&used, coding.name());
        stream.response_headers(200, &[("content-type", "text/plain")], false);
        stream.response_body(text(), false);
        stream.response_trailers(&[("x-sum", "1")]);
        assert_eq!(decode(coding, stream.sent(RESPONSE)), text().as_bytes());
        let sent = stream.sent(RESPONSE).len() as i64;
        assert_eq!(process.metric("compressor_bytes_out_total"), sent);
        assert!(stream.has_ended(RESPONSE));
        // Without what ends the coding, decoders call it cut short.
        let (_, used) = built(&Node::null());
        let mut plain = accepting(&used, coding.name());
        plain.response_headers(200, &[("content-type", "text/plain")], false);
        plain.response_body(text(), false);
        assert!(plain.sent(RESPONSE).len() < stream.sent(RESPONSE).len());
    }
}

/// Sends a response of 2,100 bytes through; true when it was compressed.
fn is_compressed(stream: &mut FakeStream, status: u16, headers: &[(&str, &str)]) -> bool {
    stream.response_headers(status, headers, false);
    let encoded = value(stream, "content-encoding")
        .is_some_and(|coding| Coding::ALL.iter().any(|known| known.name() == coding));
    let changed = stream.wants().contains(Wants::CHANGES_RESPONSE_LENGTH);
    stream.response_body(text(), true);
    assert_eq!(stream.sent(RESPONSE) != text().as_bytes(), changed);
    encoded && changed
}

#[test]
fn responses_that_must_not_be_changed_are_not() {
    let html = ("content-type", "text/html");
    for (status, headers, expected) in [
        (200, &[html][..], true),
        (200, &[html, ("content-encoding", "Identity")], true),
        (404, &[("content-type", "TEXT/HTML")], true),
        (500, &[("content-type", " application/json ;x=y")], true),
        (200, &[html, ("content-length", "256")], true),
        (200, &[html, ("content-length", "255")], false),
        (200, &[html, ("content-encoding", "br")], false),
        (200, &[html, ("content-encoding", "gzip")], false),
        (
            200,
            &[html, ("cache-control", "public, No-Transform")],
            false,
        ),
        (206, &[html], false),
        (200, &[html, ("content-range", "bytes 0-1/2")], false),
        (200, &[("content-type", "image/png")], false),
        (200, &[("content-type", "text/html2")], false),
        (200, &[("content-type", "text/event-stream")], false),
        (200, &[], false),
    ] {
        let (process, used) = built(&Node::null());
        let mut stream = used.stream().with_header("accept-encoding", "zstd");
        stream.request_headers(true);
        stream.response_headers(status, headers, false);
        let changes = stream.wants().contains(Wants::CHANGES_RESPONSE_LENGTH);
        assert_eq!(changes, expected, "{status} {headers:?}");
        assert_eq!(value(&stream, "vary").is_some(), expected);
        let counted = process.metric("compressor_not_compressed_total");
        assert_eq!(counted, i64::from(!expected));
        stream.response_body(text(), true);
        assert_eq!(stream.sent(RESPONSE) != text().as_bytes(), expected);
    }
}

#[test]
fn who_does_not_accept_it_gets_the_bytes_and_is_told_that_others_get_others() {
    for accepted in ["", "identity", "deflate", "gzip;q=0"] {
        let (_, used) = built(&Node::null());
        let mut stream = accepting(&used, accepted);
        let headers = [("content-type", "text/html"), ("etag", "\"a\"")];
        assert!(!is_compressed(&mut stream, 200, &headers), "{accepted}");
        assert_eq!(value(&stream, "vary").as_deref(), Some("accept-encoding"));
        assert_eq!(value(&stream, "etag").as_deref(), Some("\"a\""));
    }
}

#[test]
fn a_response_without_a_body_is_not_compressed() {
    let (_, used) = built(&Node::null());
    for (status, headers) in [
        (
            200,
            &[("content-type", "text/html"), ("content-length", "9000")][..],
        ),
        (204, &[]),
    ] {
        let mut stream = accepting(&used, "gzip");
        stream.response_headers(status, headers, true);
        assert_eq!(value(&stream, "content-encoding"), None);
        assert!(stream.has_ended(RESPONSE));
        assert_eq!(stream.sent(RESPONSE), b"");
    }
}

#[test]
fn a_client_that_has_it_compressed_is_told_the_etag_that_it_knows() {
    let (_, used) = built(&Node::null());
    for (asked, etag, expected) in [
        ("W/\"a\"", "\"a\"", "W/\"a\""),
        ("\"x\", W/\"a\"", "\"a\"", "W/\"a\""),
        ("\"a\"", "\"a\"", "\"a\""),
        ("*", "\"a\"", "\"a\""),
        ("W/\"a\"", "W/\"a\"", "W/\"a\""),
    ] {
        let mut stream = used
            .stream()
            .with_header("accept-encoding", "gzip")
            .with_header("if-none-match", asked);
        stream.request_headers(true);
        stream.response_headers(304, &[("etag", etag)], true);
        assert_eq!(value(&stream, "etag").as_deref(), Some(expected), "{asked}");
    }
}

#[test]
fn weak_and_odd_etags_stay() {
    let (_, used) = built(&Node::null());
    for etag in ["W/\"a\"", "a", ""] {
        let mut stream = accepting(&used, "gzip");
        let headers = [("content-type", "text/html"), ("etag", etag)];
        assert!(is_compressed(&mut stream, 200, &headers));
        assert_eq!(value(&stream, "etag").as_deref(), Some(etag));
    }
}

#[test]
fn types_algorithms_and_length_are_configured() {
    let config = Node::map([
        ("algorithms", Node::list(["gzip".into(), "br".into()])),
        (
            "content_types",
            Node::list(["text/*".into(), "application/x-ours".into()]),
        ),
        ("min_bytes", 0.into()),
        ("gzip_level", 9.into()),
    ]);
    let (_, used) = built(&config);
    for (kind, expected) in [
        ("text/event-stream", Some("gzip")),
        ("Text/X", Some("gzip")),
        ("application/x-ours", Some("gzip")),
        ("application/json", None),
        ("text", None),
    ] {
        let mut stream = accepting(&used, "zstd, br, gzip");
        stream.response_headers(
            200,
            &[("content-type", kind), ("content-length", "1")],
            false,
        );
        assert_eq!(
            value(&stream, "content-encoding").as_deref(),
            expected,
            "{kind}"
        );
    }
}

#[test]
fn a_routes_configuration_replaces_the_listeners() {
    let (_, used) = built(&Node::null());
    let route = Node::map([("algorithms", Node::list(["gzip".into()]))]);
    let route = used.route(&route).unwrap();
    let mut stream = used
        .stream()
        .with_header("accept-encoding", "br, gzip")
        .with_route(route);
    stream.request_headers(true);
    stream.response_headers(200, &[("content-type", "text/html")], false);
    assert_eq!(value(&stream, "content-encoding").as_deref(), Some("gzip"));
}

#[test]
fn answers_of_the_proxys_own_are_compressed_too() {
    let (_, used) = built(&Node::null());
    let mut stream = accepting(&used, "gzip");
    let reply = transom_api::LocalReply::new(503).body(text());
    stream
        .with_context(|stream| stream.send_local_reply(reply))
        .unwrap();
    assert_eq!(
        decode(Coding::Gzip, stream.sent(RESPONSE)),
        text().as_bytes()
    );
}

#[test]
fn a_head_that_is_full_fails_the_stream() {
    let (_, used) = built(&Node::null());
    let mut stream = accepting(&used, "gzip");
    let mut headers = vec![("x", "y"); 999];
    headers.push(("content-type", "text/html"));
    stream.response_headers(200, &headers, false);
    assert_eq!(stream.reply().map(|reply| reply.status), Some(500));
}

#[test]
fn a_coding_that_breaks_ends_the_stream() {
    let mut stream = FakeStream::new(crate::noop::Noop);
    stream.with_context(|stream| give_up(stream, &std::io::Error::other("broken")));
    assert_eq!(stream.actions(), [Action::Terminate]);
    assert_eq!(stream.process().log_lines().len(), 1);
}

#[test]
fn mistakes_are_shown_at_their_place() {
    let list = |key, item: &'static str| Node::map([(key, Node::list([item.into()]))]);
    for (config, expected) in [
        (
            list("algorithms", "deflate"),
            "line 2, column 5: unknown algorithm \"deflate\" (known are zstd, br and gzip)",
        ),
        (
            Node::map([("algorithms", Node::list(["br".into(), "br".into()]))]),
            "line 3, column 5: br is named twice",
        ),
        (
            Node::map([("algorithms", Node::list([]))]),
            "line 1, column 13: at least one algorithm must be named",
        ),
        (
            list("content_types", "text/html; charset=utf-8"),
            "line 2, column 5: \"text/html; charset=utf-8\" is no content type (write text/html or text/*, without parameters)",
        ),
        (
            list("content_types", "*/*"),
            "line 2, column 5: \"*/*\" is no content type (write text/html or text/*, without parameters)",
        ),
        (
            Node::map([("brotli_level", 11.into())]),
            "line 1, column 15: expected a number from 0 to 6, found 11",
        ),
        (
            Node::map([("min_length", 1.into())]),
            "line 1, column 1: unknown key `min_length` (known keys: algorithms, content_types, min_bytes, gzip_level, brotli_level, zstd_level)",
        ),
    ] {
        let error = Compressor::parse(&placed(&config)).unwrap_err();
        assert_eq!(error.to_string(), expected);
    }
}
