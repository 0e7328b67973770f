//! Heads and bodies: events in, bytes out.

use transom_http1::EncodeError::{self, *};
use transom_http1::encode::{self, BodyEncoder, Connection, Line, Request, Response};
use transom_http1::{Framing, RequestKind, Version};

const GET: Request<'_> = Request {
    method: b"GET",
    target: b"/",
    version: Version::Http11,
    framing: Framing::None,
    connection: Connection::Default,
};

const OK: Response<'_> = Response {
    version: Version::Http11,
    status: 200,
    reason: b"OK",
    answers: RequestKind::Other,
    framing: Framing::Length(2),
    connection: Connection::Default,
};

type Fields<'a> = &'a [(&'a str, &'a str)];

const HOST: Fields<'_> = &[("Host", "a")];

fn request(
    request: &Request<'_>,
    fields: Fields<'_>,
) -> Result<(String, BodyEncoder), EncodeError> {
    written(|out| encode::request_head(out, request, bytes(fields)))
}

fn response(
    response: &Response<'_>,
    fields: Fields<'_>,
) -> Result<(String, BodyEncoder), EncodeError> {
    written(|out| encode::response_head(out, response, bytes(fields)))
}

fn bytes<'a>(fields: Fields<'a>) -> impl Iterator<Item = (&'a [u8], &'a [u8])> {
    fields
        .iter()
        .map(|(name, value)| (name.as_bytes(), value.as_bytes()))
}

/// What was appended; a failure appends nothing.
fn written<T>(
    write: impl FnOnce(&mut Vec<u8>) -> Result<T, EncodeError>,
) -> Result<(String, T), EncodeError> {
    let mut out = b"before ".to_vec();
    let result = write(&mut out);
    let appended = out.strip_prefix(b"before ").unwrap();
    if result.is_err() {
        assert!(
            appended.is_empty(),
            "half a message: {}",
            appended.escape_ascii()
        );
    }
    Ok((String::from_utf8(appended.to_vec()).unwrap(), result?))
}

#[test]
fn request_heads() {
    let line = "GET / HTTP/1.1\r\nHost: a\r\n";
    let rows = [
        (GET, String::new()),
        (
            Request {
                framing: Framing::Length(0),
                ..GET
            },
            "Content-Length: 0\r\n".into(),
        ),
        (
            Request {
                framing: Framing::Length(u64::MAX),
                ..GET
            },
            format!("Content-Length: {}\r\n", u64::MAX),
        ),
        (
            Request {
                framing: Framing::Chunked,
                ..GET
            },
            "Transfer-Encoding: chunked\r\n".into(),
        ),
        (
            Request {
                connection: Connection::Close,
                ..GET
            },
            "Connection: close\r\n".into(),
        ),
        (
            Request {
                connection: Connection::KeepAlive,
                ..GET
            },
            "Connection: keep-alive\r\n".into(),
        ),
        (
            Request {
                connection: Connection::Upgrade(b"websocket"),
                ..GET
            },
            "Connection: upgrade\r\nUpgrade: websocket\r\n".into(),
        ),
    ];
    for (head, tail) in rows {
        assert_eq!(request(&head, HOST).unwrap().0, format!("{line}{tail}\r\n"));
    }
    let old = Request {
        version: Version::Http10,
        ..GET
    };
    assert_eq!(request(&old, &[]).unwrap().0, "GET / HTTP/1.0\r\n\r\n");
}

#[test]
fn fields_that_frame_or_belong_to_the_connection_are_passed_over() {
    let fields = [
        ("content-length", "5"),
        ("Transfer-Encoding", "chunked"),
        ("CONNECTION", "close, x"),
        ("Keep-Alive", "5"),
        ("Proxy-Connection", "keep-alive"),
        ("TE", "trailers"),
        ("Upgrade", "x"),
        ("Host", "a"),
        ("X-Empty", ""),
        ("Trailer", "x"),
    ];
    assert_eq!(
        request(&GET, &fields).unwrap().0,
        "GET / HTTP/1.1\r\nHost: a\r\nX-Empty: \r\nTrailer: x\r\n\r\n"
    );
    assert_eq!(
        response(&OK, &fields).unwrap().0,
        "HTTP/1.1 200 OK\r\nHost: a\r\nX-Empty: \r\nTrailer: x\r\nContent-Length: 2\r\n\r\n"
    );
}

#[test]
fn decoded_lines_are_written_as_they_are() {
    let lines = [
        Line::Field(b"Host", b"a"),
        Line::Decoded(b"User-Agent: x\r\naccept: */*\r\n"),
        Line::Field(b"TE", b"passed over"),
        Line::Field(b"b", b"c"),
    ];
    let (head, _) = written(|out| encode::request_head(out, &GET, lines)).unwrap();
    assert_eq!(
        head,
        "GET / HTTP/1.1\r\nHost: a\r\nUser-Agent: x\r\naccept: */*\r\nb: c\r\n\r\n"
    );
}

#[test]
#[cfg(debug_assertions)]
fn lines_that_no_decoder_gives_are_noticed_where_assertions_are() {
    let lines = [Line::Decoded(b"a: b\r\nHost: other\r\n")];
    let result = std::panic::catch_unwind(|| encode::response_head(&mut Vec::new(), &OK, lines));
    assert!(result.is_err());
}

#[test]
fn bad_request_heads() {
    let rows: &[(Request<'_>, Fields<'_>, EncodeError)] = &[
        (Request { method: b"", ..GET }, HOST, Method),
        (
            Request {
                method: b"GE T",
                ..GET
            },
            HOST,
            Method,
        ),
        (
            Request {
                method: b"GET\r\n",
                ..GET
            },
            HOST,
            Method,
        ),
        (Request { target: b"", ..GET }, HOST, Target),
        (
            Request {
                target: b"/ HTTP/1.1\r\n",
                ..GET
            },
            HOST,
            Target,
        ),
        (
            Request {
                target: b"/\xe9",
                ..GET
            },
            HOST,
            Target,
        ),
        (
            Request {
                target: b"/#",
                ..GET
            },
            HOST,
            Target,
        ),
        (
            Request {
                framing: Framing::UntilClose,
                ..GET
            },
            HOST,
            RequestUntilClose,
        ),
        (
            Request {
                framing: Framing::Chunked,
                version: Version::Http10,
                ..GET
            },
            HOST,
            ChunkedToHttp10,
        ),
        (
            Request {
                method: b"CONNECT",
                target: b"a:80",
                framing: Framing::Chunked,
                ..GET
            },
            HOST,
            BodyForbidden,
        ),
        (
            Request {
                connection: Connection::Upgrade(b"a\r\nX: 1"),
                ..GET
            },
            HOST,
            FieldValue { byte: b'\r' },
        ),
        (GET, &[], Host { count: 0 }),
        (GET, &[("Host", "a"), ("host", "a")], Host { count: 2 }),
        (
            Request {
                version: Version::Http10,
                ..GET
            },
            &[("Host", "a"), ("host", "a")],
            Host { count: 2 },
        ),
        (GET, &[("Host", "a"), ("", "a")], FieldName),
        (GET, &[("Host", "a"), ("a b", "a")], FieldName),
        (GET, &[("Host", "a"), ("a:", "a")], FieldName),
        (GET, &[("Host", "a"), ("a\r\nb", "a")], FieldName),
        (GET, &[("Host", "a"), ("\u{e9}", "a")], FieldName),
        (GET, &[("Host", "a\r\nX: 1")], FieldValue { byte: b'\r' }),
        (
            GET,
            &[("Host", "a"), ("X", "a\nb")],
            FieldValue { byte: b'\n' },
        ),
        (GET, &[("Host", "a"), ("X", "a\0")], FieldValue { byte: 0 }),
        (
            GET,
            &[("Host", "a"), ("X", "\x7f")],
            FieldValue { byte: 0x7f },
        ),
    ];
    for (head, fields, error) in rows {
        assert_eq!(
            request(head, fields).map(|(out, _)| out),
            Err(*error),
            "{head:?} {fields:?}"
        );
    }
}

/// The fields that are written, and how much body is then promised.
type Expected = Result<(&'static str, Option<u64>), EncodeError>;

/// Status, kind of request and framing asked for; what the head then says, and whether a body is taken.
#[test]
fn responses_say_what_their_status_allows() {
    use RequestKind::{Connect, Head, Other, Upgrade};
    let (length, none, chunked) = (
        "Content-Length: 2\r\n",
        "",
        "Transfer-Encoding: chunked\r\n",
    );
    let rows: &[(u16, RequestKind, Framing, Expected)] = &[
        (200, Other, Framing::Length(2), Ok((length, Some(2)))),
        (200, Other, Framing::Chunked, Ok((chunked, None))),
        (200, Other, Framing::UntilClose, Ok((none, None))),
        (
            200,
            Other,
            Framing::None,
            Ok(("Content-Length: 0\r\n", Some(0))),
        ),
        (
            205,
            Other,
            Framing::None,
            Ok(("Content-Length: 0\r\n", Some(0))),
        ),
        (200, Upgrade, Framing::Length(2), Ok((length, Some(2)))),
        (200, Head, Framing::Length(2), Ok((length, Some(0)))),
        (200, Head, Framing::Chunked, Ok((chunked, Some(0)))),
        (200, Head, Framing::None, Ok((none, Some(0)))),
        (304, Other, Framing::Length(2), Ok((length, Some(0)))),
        (304, Other, Framing::None, Ok((none, Some(0)))),
        (204, Other, Framing::None, Ok((none, Some(0)))),
        (204, Other, Framing::Length(0), Ok((none, Some(0)))),
        (204, Other, Framing::Length(2), Err(BodyForbidden)),
        (204, Other, Framing::Chunked, Err(BodyForbidden)),
        (204, Other, Framing::UntilClose, Err(BodyForbidden)),
        (200, Connect, Framing::None, Ok((none, None))),
        (200, Connect, Framing::Length(2), Err(BodyForbidden)),
        (403, Connect, Framing::Length(2), Ok((length, Some(2)))),
        (999, Other, Framing::Length(2), Ok((length, Some(2)))),
        (1000, Other, Framing::None, Err(Status { status: 1000 })),
        (100, Other, Framing::None, Err(Status { status: 100 })),
        (99, Other, Framing::None, Err(Status { status: 99 })),
        (101, Upgrade, Framing::None, Err(Switch)),
    ];
    for (status, answers, framing, expected) in rows {
        let head = Response {
            status: *status,
            answers: *answers,
            framing: *framing,
            ..OK
        };
        let seen = response(&head, &[]);
        let expected =
            expected.map(|(fields, body)| (format!("HTTP/1.1 {status} OK\r\n{fields}\r\n"), body));
        assert_eq!(
            seen.map(|(out, body)| (out, body.remaining())),
            expected,
            "{head:?}"
        );
    }
}

#[test]
fn switching() {
    let switch = Response {
        status: 101,
        reason: b"",
        framing: Framing::None,
        connection: Connection::Upgrade(b"websocket"),
        answers: RequestKind::Upgrade,
        ..OK
    };
    let (out, mut body) = response(&switch, &[("Sec-WebSocket-Accept", "x")]).unwrap();
    assert_eq!(
        out,
        "HTTP/1.1 101 \r\nSec-WebSocket-Accept: x\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"
    );
    assert!(body.lasts_until_close());
    let (data, ()) = written(|out| body.data(out, b"raw")).unwrap();
    assert_eq!(data, "raw", "a tunnel has no framing");
    for status in [200, 426] {
        let head = Response { status, ..switch };
        assert_eq!(response(&head, &[]).is_ok(), status == 426);
    }
    assert_eq!(
        response(
            &Response {
                framing: Framing::Length(1),
                ..switch
            },
            &[]
        )
        .map(|(out, _)| out),
        Err(BodyForbidden)
    );
}

#[test]
fn bad_responses() {
    let rows: &[(Response<'_>, Fields<'_>, EncodeError)] = &[
        (
            Response {
                reason: b"a\r\nX: 1",
                ..OK
            },
            &[],
            Reason,
        ),
        (
            Response {
                framing: Framing::Chunked,
                version: Version::Http10,
                ..OK
            },
            &[],
            ChunkedToHttp10,
        ),
        (
            Response {
                connection: Connection::Upgrade(b"x"),
                ..OK
            },
            &[],
            Switch,
        ),
        (OK, &[("X", "a\nb")], FieldValue { byte: b'\n' }),
        (OK, &[("X Y", "a")], FieldName),
    ];
    for (head, fields, error) in rows {
        assert_eq!(
            response(head, fields).map(|(out, _)| out),
            Err(*error),
            "{head:?}"
        );
    }
    assert_eq!(
        Framing::Chunked.for_client(Version::Http10),
        Framing::UntilClose
    );
    assert_eq!(
        Framing::Chunked.for_client(Version::Http11),
        Framing::Chunked
    );
    assert_eq!(
        Framing::Length(1).for_client(Version::Http10),
        Framing::Length(1)
    );
}

#[test]
fn interim_heads() {
    let link: Fields<'_> = &[("Link", "</a>"), ("Content-Length", "1")];
    let seen = written(|out| encode::interim_head(out, 103, b"Early Hints", bytes(link)));
    assert_eq!(
        seen.unwrap().0,
        "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
    );
    let seen = written(|out| encode::interim_head(out, 100, b"", []));
    assert_eq!(seen.unwrap().0, "HTTP/1.1 100 \r\n\r\n");
    for status in [99, 101, 200] {
        let seen = written(|out| encode::interim_head(out, status, b"", []));
        assert_eq!(seen, Err(Status { status }));
    }
}

fn body(framing: Framing) -> BodyEncoder {
    response(&Response { framing, ..OK }, &[]).unwrap().1
}

#[test]
fn chunked_bodies() {
    let mut body = body(Framing::Chunked);
    let mut out = Vec::new();
    body.data(&mut out, b"").unwrap();
    assert!(out.is_empty(), "an empty chunk would be the end");
    body.data(&mut out, b"hello, world, hello").unwrap();
    // A big piece goes apart.
    body.begin_chunk(&mut out, 0x1_0000_abcd).unwrap();
    assert_eq!(body.begin_chunk(&mut out, 1), Err(Order));
    assert_eq!(body.finish(&mut out, []), Err(Order));
    out.extend_from_slice(b"...");
    body.end_chunk(&mut out);
    body.end_chunk(&mut out);
    let trailers: Fields<'_> = &[("X-Sum", "1"), ("Content-Length", "5"), ("Host", "b")];
    assert!(body.takes_trailers());
    body.finish(&mut out, bytes(trailers)).unwrap();
    assert_eq!(
        out.escape_ascii().to_string(),
        "13\\r\\nhello, world, hello\\r\\n10000abcd\\r\\n...\\r\\n0\\r\\nX-Sum: 1\\r\\n\\r\\n"
    );
    assert!(body.is_over());
    assert_eq!(body.data(&mut out, b"a"), Err(Order));
    assert_eq!(body.finish(&mut out, []), Err(Order));
}

#[test]
fn a_bad_trailer_leaves_the_body_open() {
    let mut body = body(Framing::Chunked);
    let bad: Fields<'_> = &[("X", "a\r\n")];
    let seen = written(|out| body.finish(out, bytes(bad)));
    assert_eq!(seen, Err(FieldValue { byte: b'\r' }));
    let (out, ()) = written(|out| body.finish(out, [])).unwrap();
    assert_eq!(out, "0\r\n\r\n");
}

#[test]
fn a_length_is_kept_to_the_byte() {
    let mut out = Vec::new();
    let mut body = body(Framing::Length(5));
    body.data(&mut out, b"hel").unwrap();
    assert_eq!(body.remaining(), Some(2));
    assert_eq!(body.finish(&mut out, []), Err(BodyTooShort { missing: 2 }));
    assert_eq!(body.data(&mut out, b"loo"), Err(BodyTooLong { excess: 1 }));
    assert!(!body.is_over());
    body.begin_chunk(&mut out, 2).unwrap();
    body.end_chunk(&mut out);
    assert!(body.is_over());
    assert_eq!(out, b"hel", "nothing but the data");
    let trailers: Fields<'_> = &[("X", "1")];
    assert!(!body.takes_trailers());
    body.finish(&mut out, bytes(trailers)).unwrap();
    assert_eq!(out, b"hel", "no place for trailers");
}

#[test]
fn until_close_is_open() {
    let mut out = Vec::new();
    let mut body = body(Framing::UntilClose);
    assert!(body.lasts_until_close() && !body.is_over());
    body.data(&mut out, b"a").unwrap();
    body.finish(&mut out, []).unwrap();
    assert_eq!(out, b"a");
}
