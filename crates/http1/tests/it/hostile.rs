//! Forty-eight inputs that are known to divide proxies, each with what this codec makes of it.
//!
//! Every row is at least as strict as the strictest of six engines that were tried with it, but for `OPTIONS *`, CONNECT and
//! upgrades, which are served as the RFC has it.

use transom_http1::DecodeError::{self, *};
use transom_http1::Limits;

use crate::transcript::{Answer, Transcript, request, requests};

enum Verdict {
    /// So many requests, and the connection goes on.
    Served(usize),
    /// This status for this reason, and nothing after it.
    Refused(u16, DecodeError),
}
use Verdict::{Refused, Served};

const ROWS: &[(&str, &[u8], Verdict)] = &[
    ("plain GET", b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", Served(1)),
    ("CL+TE (smuggle tail)", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /x HTTP/1.1\r\nHost: a\r\n\r\n", Refused(400, ContentLengthAndTransferEncoding)),
    ("TE+CL order", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 6\r\n\r\n0\r\n\r\nGET /x HTTP/1.1\r\nHost: a\r\n\r\n", Refused(400, ContentLengthAndTransferEncoding)),
    ("TE: chunked twice", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /x HTTP/1.1\r\nHost: a\r\n\r\n", Refused(400, TransferEncoding)),
    ("TE: chunked, identity", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\nGET /x HTTP/1.1\r\nHost: a\r\n\r\n", Refused(501, TransferCoding)),
    ("TE: identity, chunked", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: identity, chunked\r\n\r\n0\r\n\r\nGET /x HTTP/1.1\r\nHost: a\r\n\r\n", Refused(501, TransferCoding)),
    ("TE: xchunked", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\nGET /x HTTP/1.1\r\nHost: a\r\n\r\n", Refused(501, TransferCoding)),
    ("TE: <VT>chunked", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\nGET /x HTTP/1.1\r\nHost: a\r\n\r\n", Refused(400, FieldValue { byte: 0x0b })),
    ("TE space before colon", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\nGET /x HTTP/1.1\r\nHost: a\r\n\r\n", Refused(400, BlankBeforeColon)),
    ("TE on HTTP/1.0", b"POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /x HTTP/1.1\r\nHost: a\r\n\r\n", Refused(400, TransferEncodingInHttp10)),
    ("CL dup differ", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nContent-Length: 5\r\n\r\naaaaa", Refused(400, ContentLengthRepeated)),
    ("CL dup same", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\naaaaa", Refused(400, ContentLengthRepeated)),
    ("CL: 5, 5", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5, 5\r\n\r\naaaaa", Refused(400, ContentLength)),
    ("CL: +5", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +5\r\n\r\naaaaa", Refused(400, ContentLength)),
    ("CL: -1", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n", Refused(400, ContentLength)),
    ("CL: 2^64+5", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 18446744073709551621\r\n\r\naaaaa", Refused(400, ContentLength)),
    ("obs-fold header", b"POST / HTTP/1.1\r\nHost: a\r\nX: a\r\n b\r\n\r\n", Refused(400, ObsFold)),
    ("obs-fold TE", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\nGET /x HTTP/1.1\r\nHost: a\r\n\r\n", Refused(400, ObsFold)),
    ("bare LF lines", b"GET / HTTP/1.1\nHost: a\n\n", Refused(400, BareLf)),
    ("NUL in value", b"GET / HTTP/1.1\r\nHost: a\r\nX: a\x00b\r\n\r\n", Refused(400, FieldValue { byte: 0 })),
    ("bare CR in value", b"GET / HTTP/1.1\r\nHost: a\r\nX: a\rb\r\n\r\n", Refused(400, BareCr)),
    ("no Host 1.1", b"GET / HTTP/1.1\r\n\r\n", Refused(400, HostMissing)),
    ("two Host", b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", Refused(400, HostRepeated)),
    ("abs-form vs Host", b"GET http://evil/ HTTP/1.1\r\nHost: a\r\n\r\n", Refused(400, HostMismatch)),
    ("bad header name", b"GET / HTTP/1.1\r\nHost: a\r\nX(y): 1\r\n\r\n", Refused(400, FieldName { byte: b'(' })),
    ("empty header name", b"GET / HTTP/1.1\r\nHost: a\r\n: 1\r\n\r\n", Refused(400, EmptyFieldName)),
    ("chunk size 0x5", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0x5\r\naaaaa\r\n0\r\n\r\n", Refused(400, ChunkSize { byte: b'x' })),
    ("chunk size +5", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n+5\r\naaaaa\r\n0\r\n\r\n", Refused(400, ChunkSize { byte: b'+' })),
    ("chunk size overflow", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1ffffffffffffffff5\r\naaaaa\r\n0\r\n\r\n", Refused(400, ChunkSizeTooLarge)),
    ("chunk ext bare LF", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5;a\naaaaa\r\n0\r\n\r\n", Refused(400, BareLf)),
    ("chunk data no CRLF", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\naaaaaXX0\r\n\r\n", Refused(400, ChunkEnd { byte: b'X' })),
    ("chunked trailers", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTrailer: X-T\r\n\r\n1\r\na\r\n0\r\nX-T: v\r\n\r\n", Served(1)),
    ("Upgrade+pipelined, 200 up", b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: foo\r\n\r\nGET /x HTTP/1.1\r\nHost: a\r\n\r\n", Served(2)),
    ("Upgrade+CL", b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 5\r\n\r\naaaaa", Served(1)),
    ("Connection: close, x; X: 1", b"GET / HTTP/1.1\r\nHost: a\r\nConnection: x\r\nX: 1\r\n\r\n", Served(1)),
    ("GET with CL body", b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\naaaaa", Served(1)),
    ("target with space", b"GET /a b HTTP/1.1\r\nHost: a\r\n\r\n", Refused(400, RequestLine)),
    ("HTTP/1.2", b"GET / HTTP/1.2\r\nHost: a\r\n\r\n", Refused(505, Version { major: 1, minor: 2 })),
    ("HTTP/2.0 text", b"GET / HTTP/2.0\r\nHost: a\r\n\r\n", Refused(505, Version { major: 2, minor: 0 })),
    ("method lower ge(t", b"ge(t / HTTP/1.1\r\nHost: a\r\n\r\n", Refused(400, Method { byte: b'(' })),
    ("CONNECT a:80", b"CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n", Served(1)),
    ("OPTIONS *", b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", Served(1)),
    ("leading CRLF", b"\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", Served(1)),
    ("pipelined 3 GET", b"GET / HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", Served(3)),
    ("path %00 /../", b"GET /a/../b%00 HTTP/1.1\r\nHost: a\r\n\r\n", Refused(400, TargetNul)),
];

fn judge(name: &str, seen: &Transcript, verdict: &Verdict) {
    match verdict {
        Served(count) => {
            assert_eq!(seen.error, None, "{name}");
            assert_eq!(seen.heads().len(), *count, "{name}");
            assert_eq!(seen.left, 0, "{name}");
        }
        Refused(status, error) => {
            assert_eq!(seen.error, Some(*error), "{name}");
            assert_eq!(error.status(), *status, "{name}");
            // Faults of chunks come after their head; what was hidden behind any fault is never a request.
            let heads = seen.heads();
            assert!(
                heads.iter().all(|head| head.starts_with("POST / ")),
                "{name}: {heads:?}"
            );
        }
    }
}

fn built_rows() -> [(&'static str, Vec<u8>, Verdict); 3] {
    let fields = |count| {
        let lines: String = (0..count).map(|n| format!("X{n}: 1\r\n")).collect();
        format!("GET / HTTP/1.1\r\nHost: a\r\n{lines}\r\n").into_bytes()
    };
    let long = format!(
        "GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n",
        "a".repeat(65536)
    );
    [
        (
            "header 64 KiB",
            long.into_bytes(),
            Refused(431, HeadTooLarge { limit: 61440 }),
        ),
        (
            "150 headers",
            fields(150),
            Refused(431, TooManyFields { limit: 100 }),
        ),
        (
            "300 headers",
            fields(300),
            Refused(431, TooManyFields { limit: 100 }),
        ),
    ]
}

#[test]
fn hostile_inputs_at_once() {
    assert_eq!(ROWS.len() + built_rows().len(), 48);
    for (name, input, verdict) in ROWS {
        judge(name, &request(input), verdict);
    }
    for (name, input, verdict) in &built_rows() {
        judge(name, &request(input), verdict);
    }
}

#[test]
fn hostile_inputs_byte_by_byte() {
    let drip = |input: &[u8]| {
        let pieces: Vec<&[u8]> = input.chunks(1).collect();
        requests(&pieces, Limits::default(), Answer::Proceed)
    };
    for (name, input, verdict) in ROWS {
        judge(name, &drip(input), verdict);
    }
    for (name, input, verdict) in &built_rows() {
        judge(name, &drip(input), verdict);
    }
}
