//! Responses: bytes in, events out.

use transom_http1::DecodeError::{self, *};
use transom_http1::RequestKind::{self, Connect, Head, Other, Upgrade};
use transom_http1::{Eof, Limits, ResponseDecoder};

use crate::transcript::{response, responses};

#[test]
fn good_responses() {
    let rows: &[(RequestKind, &[u8], &[&str])] = &[
        (
            Other,
            b"HTTP/1.1 200 OK\r\nServer: x\r\nContent-Length: 2\r\n\r\nab",
            &[
                "head 1.1 200 (OK) 2 bytes length=2 keep-alive",
                "  Server: x",
                "  Content-Length: 2",
                "data ab",
                "end",
                "eof between messages",
            ],
        ),
        (
            Other,
            b"HTTP/1.1 200 \r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
            &[
                "head 1.1 200 () 0 bytes length=0 over",
                "  Content-Length: 0",
                "  Connection: close (hop)",
                "eof between messages",
            ],
        ),
        // No blank behind the status.
        (
            Other,
            b"HTTP/1.1 204\r\n\r\n",
            &["head 1.1 204 () none keep-alive over", "eof between messages"],
        ),
        (
            Other,
            b"HTTP/1.1 999 \xe9 b\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\nX: 1\r\n\r\n",
            &[
                "head 1.1 999 (\\xe9 b) chunked keep-alive",
                "  Transfer-Encoding: chunked (hop)",
                "data a",
                "trailers",
                "  X: 1",
                "end",
                "eof between messages",
            ],
        ),
        (
            Other,
            b"HTTP/1.1 200 OK\r\n\r\nall the rest",
            &["head 1.1 200 (OK) until close", "data all the rest", "eof is the end"],
        ),
        (
            Other,
            b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 1\r\n\r\na",
            &[
                "head 1.0 200 (OK) 1 bytes length=1 keep-alive",
                "  Connection: keep-alive (hop)",
                "  Content-Length: 1",
                "data a",
                "end",
                "eof between messages",
            ],
        ),
        (
            Head,
            b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n",
            &[
                "head 1.1 200 (OK) none length=5 keep-alive over",
                "  Content-Length: 5",
                "eof between messages",
            ],
        ),
        (
            Head,
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            &[
                "head 1.1 200 (OK) none keep-alive over",
                "  Transfer-Encoding: chunked (hop)",
                "eof between messages",
            ],
        ),
        (
            Other,
            b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n",
            &[
                "head 1.1 304 (Not Modified) none length=5 keep-alive over",
                "  Content-Length: 5",
                "eof between messages",
            ],
        ),
        (
            Other,
            b"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n",
            &[
                "head 1.1 204 (No Content) none length=0 keep-alive over",
                "  Content-Length: 0",
                "eof between messages",
            ],
        ),
        (
            Other,
            b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
            &[
                "interim 1.1 100 (Continue) none keep-alive",
                "interim 1.1 103 (Early Hints) none keep-alive",
                "  Link: </a>",
                "head 1.1 200 (OK) 0 bytes length=0 keep-alive over",
                "  Content-Length: 0",
                "eof between messages",
            ],
        ),
        (
            Upgrade,
            b"HTTP/1.1 101 Switching\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n\x81\x00",
            &[
                "head 1.1 101 (Switching) none tunnel",
                "  Connection: Upgrade (hop)",
                "  Upgrade: websocket (hop)",
                "data \\x81\\x00",
                "eof is the end",
            ],
        ),
        (
            Upgrade,
            b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\na",
            &[
                "head 1.1 200 (OK) 1 bytes length=1 keep-alive",
                "  Content-Length: 1",
                "data a",
                "end",
                "eof between messages",
            ],
        ),
        (
            Connect,
            b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\nbytes",
            &[
                "head 1.1 200 (OK) none length=0 tunnel",
                "  Content-Length: 0",
                "data bytes",
                "eof is the end",
            ],
        ),
        (
            Connect,
            b"HTTP/1.1 403 No\r\nContent-Length: 2\r\n\r\nno",
            &[
                "head 1.1 403 (No) 2 bytes length=2 keep-alive",
                "  Content-Length: 2",
                "data no",
                "end",
                "eof between messages",
            ],
        ),
    ];
    for (kind, input, lines) in rows {
        let seen = response(*kind, input);
        let input = input.escape_ascii();
        assert_eq!(seen.error, None, "{input}");
        assert_eq!(seen.lines, *lines, "{input}");
    }
}

#[test]
fn bad_responses() {
    let rows: &[(RequestKind, &str, DecodeError)] = &[
        // Status lines.
        (Other, "\r\nHTTP/1.1 200 OK\r\n\r\n", StatusLine),
        (Other, "<html>", StatusLine),
        (Other, "HTTP/1.1  200 OK\r\n\r\n", StatusLine),
        (Other, "HTTP/1.1 20 OK\r\n\r\n", StatusLine),
        (Other, "HTTP/1.1 099 OK\r\n\r\n", StatusLine),
        (Other, "HTTP/1.1 2000 OK\r\n\r\n", StatusLine),
        (Other, "HTTP/1.1 +20 OK\r\n\r\n", StatusLine),
        (Other, "HTTP/1.1\r\n\r\n", StatusLine),
        (Other, "HTTP/1.1 200 O\0K\r\n\r\n", Reason { byte: 0 }),
        (Other, "HTTP/1.1 200 O\rK\r\n\r\n", BareCr),
        (
            Other,
            "HTTP/1.2 200 OK\r\n\r\n",
            Version { major: 1, minor: 2 },
        ),
        (Other, "HTTP/2 200\r\n\r\n", VersionSyntax),
        (Other, "HTTP/1.1 200 OK\n\r\n", BareLf),
        // Fields.
        (Other, "HTTP/1.1 200 OK\r\nX: a\r\n b\r\n\r\n", ObsFold),
        (Other, "HTTP/1.1 200 OK\r\nX : a\r\n\r\n", BlankBeforeColon),
        (
            Other,
            "HTTP/1.1 200 OK\r\nX: a\0\r\n\r\n",
            FieldValue { byte: 0 },
        ),
        (Other, "HTTP/1.1 200 OK\r\nX\r\n\r\n", NoColon),
        // Framing.
        (
            Other,
            "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
            ContentLengthAndTransferEncoding,
        ),
        (
            Other,
            "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n",
            ContentLengthRepeated,
        ),
        (
            Other,
            "HTTP/1.1 200 OK\r\nContent-Length: 1, 1\r\n\r\n",
            ContentLength,
        ),
        (
            Other,
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
            TransferCoding,
        ),
        (
            Other,
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, chunked\r\n\r\n",
            TransferEncoding,
        ),
        (
            Other,
            "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            TransferEncodingInHttp10,
        ),
        (
            Other,
            "HTTP/1.1 204 OK\r\nContent-Length: 1\r\n\r\n",
            BodyForbidden,
        ),
        (
            Other,
            "HTTP/1.1 204 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            BodyForbidden,
        ),
        (
            Other,
            "HTTP/1.1 103 Hints\r\nTransfer-Encoding: chunked\r\n\r\n",
            BodyForbidden,
        ),
        (
            Connect,
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            BodyForbidden,
        ),
        (
            Connect,
            "HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n",
            BodyForbidden,
        ),
        (
            Head,
            "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
            ContentLengthRepeated,
        ),
        // Switching.
        (
            Other,
            "HTTP/1.1 101 S\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n",
            Switch,
        ),
        (Upgrade, "HTTP/1.1 101 S\r\nUpgrade: x\r\n\r\n", Switch),
        (
            Upgrade,
            "HTTP/1.1 101 S\r\nConnection: upgrade\r\n\r\n",
            Switch,
        ),
        // What follows a message.
        (
            Head,
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
            Unasked,
        ),
        (
            Other,
            "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nab",
            Unasked,
        ),
        (Other, "HTTP/1.1 204 OK\r\n\r\n\r\n", Unasked),
        // Ends.
        (Other, "", ClosedBeforeAnswer),
        (Other, "H", Truncated),
        (Other, "HTTP/1.1 100 Continue\r\n\r\n", Truncated),
        (
            Other,
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\na",
            Truncated,
        ),
        (
            Other,
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n",
            Truncated,
        ),
    ];
    for (kind, input, error) in rows {
        let pieces: Vec<&[u8]> = input.as_bytes().chunks(1).collect();
        for seen in [
            response(*kind, input.as_bytes()),
            responses(&[*kind], &pieces, Limits::default()),
        ] {
            assert_eq!(seen.error, Some(*error), "{input:?}");
            assert_ne!(seen.heads().len(), 2, "{input:?}");
        }
    }
}

#[test]
fn limits_hold_for_responses() {
    let limits = Limits {
        head: 40,
        fields: 1,
        ..Limits::default()
    };
    let rows = [
        (
            "HTTP/1.1 204 OK\r\nX: 01234567890123456\r\n\r\n",
            Some(HeadTooLarge { limit: 40 }),
        ),
        (
            "HTTP/1.1 204 OK\r\nX: 012345678901234567\r\n\r\n",
            Some(HeadTooLarge { limit: 40 }),
        ),
        ("HTTP/1.1 204 OK\r\nX: 0123456789012345\r\n\r\n", None),
        (
            "HTTP/1.1 204 a very long reason that goes",
            Some(HeadTooLarge { limit: 40 }),
        ),
        (
            "HTTP/1.1 204 OK\r\nX: 1\r\nY: 1\r\n\r\n",
            Some(TooManyFields { limit: 1 }),
        ),
    ];
    for (input, error) in rows {
        let pieces: Vec<&[u8]> = input.as_bytes().chunks(1).collect();
        for pieces in [&[input.as_bytes()][..], &pieces] {
            let seen = responses(&[Other], pieces, limits);
            assert_eq!(seen.error, error, "{input:?} of {} bytes", input.len());
        }
    }
}

#[test]
fn one_connection_answers_several_requests() {
    let input = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\naHTTP/1.1 304 X\r\n\r\nHTTP/1.1 200 OK\r\n\r\nrest";
    let seen = responses(&[Head, Other, Other, Other], &[input], Limits::default());
    assert_eq!(seen.error, None);
    assert_eq!(seen.heads().len(), 4);
    assert_eq!(
        seen.lines[seen.lines.len() - 2..],
        ["data rest", "eof is the end"]
    );
}

#[test]
fn a_server_that_speaks_unasked_is_refused() {
    let mut decoder = ResponseDecoder::new(Limits::default());
    assert!(decoder.is_idle());
    assert!(decoder.decode(b"", &mut Vec::new()).is_ok());
    let error = decoder.decode(b"HTTP/1.1 408 Timeout\r\n\r\n", &mut Vec::new());
    assert_eq!(error, Err(Unasked));
    assert_eq!(decoder.eof(), Err(Unasked));
}

#[test]
fn a_request_begun_too_early_is_refused() {
    let mut decoder = ResponseDecoder::new(Limits::default());
    decoder.begin(Other);
    decoder.begin(Other);
    assert_eq!(decoder.decode(b"H", &mut Vec::new()), Err(Overlap));
}

#[test]
fn the_end_before_an_answer_is_told_from_the_end_within() {
    let mut decoder = ResponseDecoder::new(Limits::default());
    assert_eq!(decoder.eof(), Ok(Eof::Idle));
    decoder.begin(Other);
    assert_eq!(decoder.eof(), Err(ClosedBeforeAnswer));

    let mut decoder = ResponseDecoder::new(Limits::default());
    decoder.begin(Other);
    decoder
        .decode(b"HTTP/1.1 204 X\r\n\r\n", &mut Vec::new())
        .unwrap();
    decoder.begin(Other);
    assert_eq!(
        decoder.eof(),
        Err(ClosedBeforeAnswer),
        "the last answer does not count"
    );
}

#[test]
fn kinds_of_requests() {
    assert_eq!(RequestKind::of(b"HEAD", true), Head);
    assert_eq!(RequestKind::of(b"CONNECT", false), Connect);
    assert_eq!(RequestKind::of(b"GET", true), Upgrade);
    assert_eq!(RequestKind::of(b"head", false), Other);
}
