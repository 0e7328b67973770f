//! Requests: bytes in, events out.

use transom_http1::DecodeError::{self, *};
use transom_http1::{Limits, RequestDecoder};

use crate::transcript::{Answer, request, requests};

/// What is said of good bytes, line for line.
#[test]
fn good_requests() {
    let rows: &[(&[u8], &[&str])] = &[
        (
            b"GET /a?b=c HTTP/1.1\r\nhOsT: Example.org:80\r\nX-Empty:\r\nX-Blank: \t v w\t \r\n\r\n",
            &[
                "head GET /a?b=c 1.1 none keep-alive over Origin path=/a?b=c for=Example.org:80",
                "  hOsT: Example.org:80",
                "  X-Empty: ",
                "  X-Blank: v w",
            ],
        ),
        (
            b"GET / HTTP/1.0\r\n\r\n",
            &["head GET / 1.0 none over Origin path=/"],
        ),
        (
            b"GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n",
            &[
                "head GET / 1.0 none keep-alive over Origin path=/",
                "  Connection: Keep-Alive (hop)",
            ],
        ),
        (
            b"GET / HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, CLOSE\r\n\r\n",
            &[
                "head GET / 1.1 none over Origin path=/ for=a",
                "  Host: a",
                "  Connection: keep-alive, CLOSE (hop)",
            ],
        ),
        (
            b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n",
            &[
                "head POST / 1.1 0 bytes keep-alive over Origin path=/ for=a",
                "  Host: a",
                "  Content-Length: 0",
            ],
        ),
        (
            b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 005\r\nExpect: 100-Continue\r\n\r\nhello",
            &[
                "head POST / 1.1 5 bytes keep-alive expects Origin path=/ for=a",
                "  Host: a",
                "  Content-Length: 005",
                "  Expect: 100-Continue",
                "data hello",
                "end",
            ],
        ),
        (
            b"PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\n\r\n\
              5\r\nhello\r\n00A;x=\"y z\";w\r\n, world!!!\r\n1 \t;q\r\n.\r\n0;last\r\n\r\n",
            &[
                "head PUT / 1.1 chunked keep-alive Origin path=/ for=a",
                "  Host: a",
                "  Transfer-Encoding: Chunked (hop)",
                "data hello, world!!!.",
                "end",
            ],
        ),
        (
            b"PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nConnection: x-hop\r\n\r\n\
              0\r\nX-Sum: 1 \r\nx-Hop: 2\r\n\r\n",
            &[
                "head PUT / 1.1 chunked keep-alive Origin path=/ for=a",
                "  Host: a",
                "  Transfer-Encoding: chunked (hop)",
                "  Connection: x-hop (hop)",
                "trailers",
                "  X-Sum: 1",
                "  x-Hop: 2 (hop)",
                "end",
            ],
        ),
        (
            b"GET / HTTP/1.1\r\nKeep-Alive: 5\r\nProxy-Connection: a\r\nTE: trailers\r\nTrailer: x\r\nX-A: 1\r\n\
              Connection: , x-a ,,te\r\nHost: a\r\nX-B: 2\r\n\r\n",
            &[
                "head GET / 1.1 none keep-alive over Origin path=/ for=a",
                "  Keep-Alive: 5 (hop)",
                "  Proxy-Connection: a (hop)",
                "  TE: trailers (hop)",
                "  Trailer: x",
                "  X-A: 1 (hop)",
                "  Connection: , x-a ,,te (hop)",
                "  Host: a",
                "  X-B: 2",
            ],
        ),
        (
            b"GET HTTP://A:080/b HTTP/1.1\r\nHost: a\r\n\r\n",
            &[
                "head GET HTTP://A:080/b 1.1 none keep-alive over Absolute path=/b for=A:080",
                "  Host: a",
            ],
        ),
        (
            b"OPTIONS https://[::1]?q HTTP/1.1\r\nHost: [::1]:443\r\n\r\n",
            &[
                "head OPTIONS https://[::1]?q 1.1 none keep-alive over Absolute path=?q for=[::1]",
                "  Host: [::1]:443",
            ],
        ),
        (
            b"CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n",
            &[
                "head CONNECT a:443 1.1 none keep-alive connect over Authority path= for=a:443",
                "  Host: a:443",
            ],
        ),
        // Obs-text has no meaning, but is a value.
        (
            b"GET / HTTP/1.1\r\nHost: a\r\nX: \xe9\xff\r\n\r\n",
            &[
                "head GET / 1.1 none keep-alive over Origin path=/ for=a",
                "  Host: a",
                "  X: \\xe9\\xff",
            ],
        ),
    ];
    for (input, lines) in rows {
        let seen = request(input);
        let input = input.escape_ascii();
        assert_eq!(seen.error, None, "{input}");
        let (eof, said) = seen.lines.split_last().unwrap();
        assert_eq!(said, *lines, "{input}");
        assert_eq!(eof, "eof between messages", "{input}");
    }
}

/// Heads that are refused, at once and byte by byte.
#[test]
fn bad_heads() {
    let rows: &[(&str, DecodeError)] = &[
        // Request lines.
        ("\r\n\r\n\r\n{GET}{HOST}\r\n", EmptyLines { limit: 2 }),
        ("\n{GET}{HOST}\r\n", BareLf),
        ("\r{GET}{HOST}\r\n", BareCr),
        (" GET / HTTP/1.1\r\n{HOST}\r\n", Method { byte: b' ' }),
        ("\x16\x03\x01", Method { byte: 0x16 }),
        ("GET\t/ HTTP/1.1\r\n{HOST}\r\n", Method { byte: b'\t' }),
        ("GET  / HTTP/1.1\r\n{HOST}\r\n", RequestLine),
        ("GET /  HTTP/1.1\r\n{HOST}\r\n", RequestLine),
        ("GET / HTTP/1.1 \r\n{HOST}\r\n", RequestLine),
        ("GET /\r\n\r\n", RequestLine),
        ("GET\r\n\r\n", RequestLine),
        ("GET / \r\n{HOST}\r\n", VersionSyntax),
        ("GET / http/1.1\r\n{HOST}\r\n", VersionSyntax),
        ("GET / HTTP/1\r\n{HOST}\r\n", VersionSyntax),
        ("GET / HTTP/1.10\r\n{HOST}\r\n", VersionSyntax),
        ("GET / HTTP/11\r\n{HOST}\r\n", VersionSyntax),
        ("GET / HTTP/1.1\r\r\n{HOST}\r\n", BareCr),
        ("GET /\r HTTP/1.1\r\n{HOST}\r\n", BareCr),
        (
            "GET / HTTP/0.9\r\n{HOST}\r\n",
            Version { major: 0, minor: 9 },
        ),
        (
            "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            Version { major: 2, minor: 0 },
        ),
        (
            "GET / HTTP/3.0\r\n{HOST}\r\n",
            Version { major: 3, minor: 0 },
        ),
        ("GET /#f HTTP/1.1\r\n{HOST}\r\n", Target { byte: b'#' }),
        ("GET /\t HTTP/1.1\r\n{HOST}\r\n", Target { byte: b'\t' }),
        ("GET /\0 HTTP/1.1\r\n{HOST}\r\n", Target { byte: 0 }),
        ("GET /\x7f HTTP/1.1\r\n{HOST}\r\n", Target { byte: 0x7f }),
        ("GET /\u{e9} HTTP/1.1\r\n{HOST}\r\n", Target { byte: 0xc3 }),
        ("GET * HTTP/1.1\r\n{HOST}\r\n", TargetForm),
        ("GET a:80 HTTP/1.1\r\n{HOST}\r\n", TargetForm),
        ("GET ftp://a/ HTTP/1.1\r\n{HOST}\r\n", TargetForm),
        ("CONNECT a HTTP/1.1\r\n{HOST}\r\n", TargetForm),
        ("CONNECT a:0 HTTP/1.1\r\n{HOST}\r\n", TargetForm),
        ("CONNECT / HTTP/1.1\r\n{HOST}\r\n", HostSyntax),
        ("CONNECT http://a:80 HTTP/1.1\r\n{HOST}\r\n", HostSyntax),
        ("GET http:///b HTTP/1.1\r\n{HOST}\r\n", HostSyntax),
        ("GET http://u@a/ HTTP/1.1\r\n{HOST}\r\n", HostSyntax),
        ("GET /%00 HTTP/1.1\r\n{HOST}\r\n", TargetNul),
        // Host.
        ("{GET}\r\n", HostMissing),
        ("{GET}Host:\r\n\r\n", HostSyntax),
        ("GET / HTTP/1.0\r\nHost:\r\n\r\n", HostSyntax),
        ("GET / HTTP/1.0\r\nHost: a\r\nHost: a\r\n\r\n", HostRepeated),
        ("{GET}Host: a, b\r\n\r\n", HostSyntax),
        ("{GET}Host: a/b\r\n\r\n", HostSyntax),
        ("{GET}Host: a:b\r\n\r\n", HostSyntax),
        ("{GET}{HOST}Host: a\r\n\r\n", HostRepeated),
        (
            "GET http://a/ HTTP/1.1\r\nHost: a:8080\r\n\r\n",
            HostMismatch,
        ),
        (
            "GET https://a/ HTTP/1.1\r\nHost: a:80\r\n\r\n",
            HostMismatch,
        ),
        ("GET http://a/ HTTP/1.0\r\nHost: b\r\n\r\n", HostMismatch),
        ("CONNECT a:80 HTTP/1.1\r\nHost: a:81\r\n\r\n", HostMismatch),
        ("CONNECT a:80 HTTP/1.1\r\nHost: b\r\n\r\n", HostMismatch),
        // Field lines.
        ("{GET}{HOST}X: 1\n\r\n", BareLf),
        ("{GET}{HOST}X: 1\r\n\n", BareLf),
        ("{GET}{HOST}X: 1\r\r\n\r\n", BareCr),
        ("{GET}{HOST}X\r: 1\r\n\r\n", BareCr),
        ("{GET}{HOST}X\r\r\n\r\n", BareCr),
        ("{GET}{HOST}X 1\r\n\r\n", NoColon),
        ("{GET}{HOST}X\0\r\n\r\n", FieldName { byte: 0 }),
        ("{GET}{HOST}X : 1\r\n\r\n", BlankBeforeColon),
        ("{GET}{HOST}X\t: 1\r\n\r\n", BlankBeforeColon),
        ("{GET}{HOST}X Y: 1\r\n\r\n", FieldName { byte: b' ' }),
        ("{GET}{HOST}\u{e9}: 1\r\n\r\n", FieldName { byte: 0xc3 }),
        ("{GET}{HOST}\t: 1\r\n\r\n", ObsFold),
        ("{GET} Host: a\r\n\r\n", ObsFold),
        ("{GET}{HOST}X: \x7f\r\n\r\n", FieldValue { byte: 0x7f }),
        ("{GET}{HOST}X: \x0c\r\n\r\n", FieldValue { byte: 0x0c }),
        // Framing.
        ("{GET}{HOST}Content-Length:\r\n\r\n", ContentLength),
        ("{GET}{HOST}Content-Length: 0x5\r\n\r\n", ContentLength),
        ("{GET}{HOST}Content-Length: 5 5\r\n\r\n", ContentLength),
        (
            "{GET}{HOST}Content-Length: 9223372036854775808\r\n\r\n",
            ContentLength,
        ),
        (
            "{GET}{HOST}Content-Length: 0\r\nContent-Length: 0\r\n\r\n",
            ContentLengthRepeated,
        ),
        ("{GET}{HOST}Transfer-Encoding:\r\n\r\n", TransferEncoding),
        (
            "{GET}{HOST}Transfer-Encoding: chunked,\r\n\r\n",
            TransferEncoding,
        ),
        (
            "{GET}{HOST}Transfer-Encoding: chunked, chunked\r\n\r\n",
            TransferEncoding,
        ),
        (
            "{GET}{HOST}Transfer-Encoding: chunked;a=b\r\n\r\n",
            TransferEncoding,
        ),
        (
            "{GET}{HOST}Transfer-Encoding: \"chunked\"\r\n\r\n",
            TransferEncoding,
        ),
        (
            "{GET}{HOST}Transfer-Encoding: gzip, chunked\r\n\r\n",
            TransferCoding,
        ),
        (
            "{GET}{HOST}Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n",
            TransferCoding,
        ),
        (
            "{GET}{HOST}Transfer-Encoding: x\r\nContent-Length: 0\r\n\r\n",
            ContentLengthAndTransferEncoding,
        ),
        (
            "GET / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n",
            TransferEncodingInHttp10,
        ),
        (
            "CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\nContent-Length: 0\r\n\r\n",
            BodyForbidden,
        ),
        (
            "CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\nTransfer-Encoding: chunked\r\n\r\n",
            BodyForbidden,
        ),
        // The rest.
        (
            "{GET}{HOST}Connection: a b\r\n\r\n",
            DecodeError::Connection,
        ),
        ("{GET}{HOST}Connection: host\r\n\r\n", ConnectionNominates),
        (
            "{GET}{HOST}Connection: close, Content-length\r\n\r\n",
            ConnectionNominates,
        ),
        (
            "{GET}{HOST}Connection: a,b,c,d,e,f,g,h\r\nConnection: i,j,k,l,m,n,o,p,q\r\n\r\n",
            TooManyNominated { limit: 16 },
        ),
        ("{GET}{HOST}Expect: 200-ok\r\n\r\n", Expectation),
    ];
    for (short, error) in rows {
        let input = short
            .replace("{GET}", "GET / HTTP/1.1\r\n")
            .replace("{HOST}", "Host: a\r\n");
        let seen = request(input.as_bytes());
        assert_eq!(seen.error, Some(*error), "{input:?}");
        assert!(seen.lines.is_empty(), "{input:?}: {:?}", seen.lines);
        let pieces: Vec<&[u8]> = input.as_bytes().chunks(1).collect();
        let drip = requests(&pieces, Limits::default(), Answer::Proceed);
        assert_eq!(drip.error, Some(*error), "byte by byte: {input:?}");
    }
}

/// Chunked bodies that are refused, and what was handed out before.
#[test]
fn bad_chunks() {
    let rows: &[(&str, &str, DecodeError)] = &[
        ("\r\n", "", ChunkSize { byte: b'\r' }),
        (";a\r\n", "", ChunkSize { byte: b';' }),
        (" 5\r\n", "", ChunkSize { byte: b' ' }),
        ("5 \r\n", "", ChunkSize { byte: b'\r' }),
        ("5 5\r\n", "", ChunkSize { byte: b'5' }),
        ("-1\r\n", "", ChunkSize { byte: b'-' }),
        ("g\r\n", "", ChunkSize { byte: b'g' }),
        ("5\n", "", BareLf),
        ("5;a\n", "", BareLf),
        ("5\rhello", "", BareCr),
        ("5;a\rhello", "", BareCr),
        ("5;a\0\r\n", "", ChunkExtension { byte: 0 }),
        ("5;a\x7f\r\n", "", ChunkExtension { byte: 0x7f }),
        ("8000000000000000\r\n", "", ChunkSizeTooLarge),
        ("00000000000000001\r\n", "", ChunkSizeTooLarge),
        ("5\r\nhello\n0\r\n\r\n", "hello", ChunkEnd { byte: b'\n' }),
        ("5\r\nhello\rX", "hello", ChunkEnd { byte: b'X' }),
        ("5\r\nhello5\r\n", "hello", ChunkEnd { byte: b'5' }),
        ("0\r\nX: 1\n\r\n", "", BareLf),
        ("0\r\n X: 1\r\n\r\n", "", ObsFold),
        ("0\r\nX\r\n\r\n", "", NoColon),
        ("0\r\nX: \0\r\n\r\n", "", FieldValue { byte: 0 }),
        ("0\r\nHost: b\r\n\r\n", "", TrailerForbidden),
        (
            "0\r\nX: 1\r\ncontent-length: 5\r\n\r\n",
            "",
            TrailerForbidden,
        ),
        (
            "0\r\nTransfer-Encoding: chunked\r\n\r\n",
            "",
            TrailerForbidden,
        ),
        ("0\r\nConnection: x\r\n\r\n", "", TrailerForbidden),
        ("0\r\nX: 1\r\n", "", Truncated),
        ("5\r\nhel", "hel", Truncated),
    ];
    for (body, data, error) in rows {
        let input =
            format!("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{body}");
        let at_once = request(input.as_bytes());
        let pieces: Vec<&[u8]> = input.as_bytes().chunks(1).collect();
        let drip = requests(&pieces, Limits::default(), Answer::Proceed);
        for seen in [at_once, drip] {
            assert_eq!(seen.error, Some(*error), "{body:?}");
            let said = seen
                .lines
                .iter()
                .find_map(|line| line.strip_prefix("data "));
            assert_eq!(said.unwrap_or_default(), *data, "{body:?}");
        }
    }
}

#[test]
fn limits_hold_to_the_byte() {
    let limits = Limits {
        request_line: 20,
        head: 60,
        fields: 2,
        chunk_extension: 4,
        chunk_extensions: 6,
        allow_bare_lf_in_head: false,
    };
    let chunked = "P / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    assert!(chunked.len() <= 60);
    let rows: [(String, Option<DecodeError>); 16] = [
        ("GET /12345 HTTP/1.0\r\n\r\n".into(), None),
        ("GET /123456 HTTP/1.0\r\n\r\n".into(), None),
        (
            "GET /1234567 HTTP/1.0\r\n\r\n".into(),
            Some(RequestLineTooLong { limit: 20 }),
        ),
        ("GET /1234567890123".into(), Some(Truncated)),
        ("GET /123456 HTTP/1.00".into(), Some(Truncated)),
        (
            "GET /12345678901234567".into(),
            Some(RequestLineTooLong { limit: 20 }),
        ),
        (
            format!("GET / HTTP/1.0\r\nX: {}\r\n\r\n", "a".repeat(37)),
            None,
        ),
        (
            format!("GET / HTTP/1.0\r\nX: {}\r\n\r\n", "a".repeat(38)),
            Some(HeadTooLarge { limit: 60 }),
        ),
        (
            format!("GET / HTTP/1.0\r\nX: {}", "a".repeat(42)),
            Some(HeadTooLarge { limit: 60 }),
        ),
        ("GET / HTTP/1.0\r\na: 1\r\nb: 2\r\n\r\n".into(), None),
        (
            "GET / HTTP/1.0\r\na: 1\r\nb: 2\r\nc: 3\r\n\r\n".into(),
            Some(TooManyFields { limit: 2 }),
        ),
        (
            format!("{chunked}1;abc\r\na\r\n1;\r\na\r\n0;\r\n\r\n"),
            None,
        ),
        (
            format!("{chunked}1;abcd\r\na\r\n"),
            Some(ChunkExtensionTooLong { limit: 4 }),
        ),
        (
            format!("{chunked}1;abc\r\na\r\n1;a\r\na\r\n0;\r\n\r\n"),
            Some(ChunkExtensionTooLong { limit: 6 }),
        ),
        (
            format!("{chunked}0\r\na: 1\r\nb: 2\r\nc: 3\r\n\r\n"),
            Some(TooManyFields { limit: 2 }),
        ),
        (
            format!("{chunked}0\r\na: {}\r\n\r\n", "a".repeat(60)),
            Some(HeadTooLarge { limit: 60 }),
        ),
    ];
    for (input, error) in rows {
        let input = input.as_bytes();
        let pieces: Vec<&[u8]> = input.chunks(1).collect();
        for pieces in [&[input][..], &pieces] {
            let seen = requests(pieces, limits, Answer::Proceed);
            assert_eq!(seen.error, error, "{}", input.escape_ascii());
        }
    }
}

#[test]
fn more_than_the_usual_fields_can_be_allowed() {
    let lines: String = (0..1000).map(|n| format!("X{n}: 1\r\n")).collect();
    let input = format!("GET / HTTP/1.1\r\nHost: a\r\n{lines}\r\n");
    let limits = Limits {
        fields: u16::MAX,
        ..Limits::default()
    };
    let seen = requests(&[input.as_bytes()], limits, Answer::Proceed);
    assert_eq!(seen.error, None);
    assert_eq!(seen.lines.len(), 1003);
}

#[test]
fn bare_lf_in_heads_is_a_switch() {
    let limits = Limits {
        allow_bare_lf_in_head: true,
        ..Limits::default()
    };
    let input =
        b"\nPOST / HTTP/1.1\nHost: a\r\nTransfer-Encoding: chunked\n\n1\r\na\r\n0\r\nX: 1\r\n\r\n";
    let seen = requests(&[input], limits, Answer::Proceed);
    assert_eq!(seen.error, None);
    assert_eq!(
        seen.lines,
        [
            "head POST / 1.1 chunked keep-alive Origin path=/ for=a",
            "  Host: a",
            "  Transfer-Encoding: chunked (hop)",
            "data a",
            "trailers",
            "  X: 1",
            "end",
            "eof between messages",
        ]
    );
    let inputs: [&[u8]; 2] = [
        b"POST / HTTP/1.1\nHost: a\nTransfer-Encoding: chunked\n\n1\na\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\nHost: a\nTransfer-Encoding: chunked\n\n0\r\nX: 1\n\r\n",
    ];
    for input in inputs {
        let seen = requests(&[input], limits, Answer::Proceed);
        assert_eq!(seen.error, Some(BareLf), "chunks and trailers stay strict");
    }
}

#[test]
fn pipelined_requests_keep_their_order_and_bodies() {
    let seen = request(
        b"GET /1 HTTP/1.1\r\nHost: a\r\n\r\nPOST /2 HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nab\r\n\
          POST /3 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nc\r\n0\r\n\r\n\r\n\r\nGET /4 HTTP/1.0\r\n\r\n",
    );
    assert_eq!(seen.error, None);
    let shape: Vec<&str> = seen
        .lines
        .iter()
        .filter(|line| !line.starts_with(' '))
        .map(|line| line.get(..6).unwrap_or(line))
        .collect();
    assert_eq!(
        shape,
        [
            "head G", "head P", "data a", "end", "head P", "data c", "end", "head G", "eof be"
        ]
    );
}

const UPGRADE: &[u8] =
    b"GET / HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\r\n";

#[test]
fn bytes_behind_an_upgrade_wait_for_the_answer() {
    let bytes = [UPGRADE, b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n"].concat();
    let wait = requests(&[&bytes], Limits::default(), Answer::Wait);
    assert_eq!(wait.heads().len(), 1);
    assert!(
        wait.heads()[0].contains("upgrade=websocket"),
        "{:?}",
        wait.heads()
    );
    assert_eq!(
        wait.left,
        bytes.len() - UPGRADE.len(),
        "nothing behind it is read"
    );

    let proceed = requests(&[&bytes], Limits::default(), Answer::Proceed);
    assert_eq!(proceed.heads().len(), 2);
    assert_eq!(proceed.left, 0);

    let tunnel = requests(&[&bytes], Limits::default(), Answer::Tunnel);
    assert_eq!(tunnel.heads().len(), 1);
    assert_eq!(
        tunnel.lines[tunnel.lines.len() - 2..],
        [
            "data GET /x HTTP/1.1\\r\\nHost: a\\r\\n\\r\\n",
            "eof is the end"
        ]
    );
}

#[test]
fn an_upgrade_with_a_body_is_held_behind_the_body() {
    let bytes = b"POST / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: x\r\nContent-Length: 2\r\n\r\nabTUNNEL";
    let wait = requests(&[bytes], Limits::default(), Answer::Wait);
    assert_eq!(wait.lines[5..], ["data ab", "end", "eof between messages"]);
    assert_eq!(wait.left, 6);
    let tunnel = requests(&[bytes], Limits::default(), Answer::Tunnel);
    assert_eq!(
        tunnel.lines[5..],
        ["data ab", "end", "data TUNNEL", "eof is the end"]
    );
}

#[test]
fn an_upgrade_that_is_not_asked_for_properly_is_none() {
    for fields in [
        "Upgrade: x\r\n",
        "Connection: upgrade\r\n",
        "Connection: upgrade\r\nUpgrade:\r\n",
        "Connection: upgrade\r\nUpgrade: x\r\nUpgrade: y\r\n",
    ] {
        let input =
            format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\n");
        let seen = requests(&[input.as_bytes()], Limits::default(), Answer::Wait);
        assert_eq!(seen.heads().len(), 2, "{fields:?}");
    }
    let old = b"GET / HTTP/1.0\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\nGET / HTTP/1.0\r\n\r\n";
    assert_eq!(
        requests(&[old], Limits::default(), Answer::Wait)
            .heads()
            .len(),
        2
    );
}

#[test]
fn connect_becomes_a_tunnel() {
    let bytes = b"CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n\x16\x03";
    let wait = requests(&[bytes], Limits::default(), Answer::Wait);
    assert_eq!((wait.heads().len(), wait.left), (1, 2));
    let tunnel = requests(&[bytes], Limits::default(), Answer::Tunnel);
    assert_eq!(tunnel.lines[2..], ["data \\x16\\x03", "eof is the end"]);
}

#[test]
fn tunnel_and_proceed_do_nothing_elsewhere() {
    let mut decoder = RequestDecoder::new(Limits::default());
    decoder.tunnel();
    decoder.proceed();
    let (_, event) = decoder
        .decode(
            b"POST / HTTP/1.0\r\nContent-Length: 1\r\n\r\n",
            &mut Vec::new(),
        )
        .unwrap();
    assert!(matches!(event, transom_http1::Event::Head(_)));
    decoder.tunnel();
    decoder.decode(b"a", &mut Vec::new()).unwrap();
    decoder.decode(b"", &mut Vec::new()).unwrap();
    assert!(decoder.is_idle());
}

#[test]
fn idle_is_between_messages_only() {
    let mut decoder = RequestDecoder::new(Limits::default());
    let mut sink = Vec::new();
    assert!(decoder.is_idle());
    decoder.decode(b"\r\n", &mut sink).unwrap();
    assert!(decoder.is_idle(), "an empty line is no request");
    decoder.decode(b"P", &mut sink).unwrap();
    assert!(!decoder.is_idle());
    let head = b"POST / HTTP/1.0\r\nContent-Length: 1\r\n\r\n";
    decoder.decode(head, &mut sink).unwrap();
    assert!(!decoder.is_idle() && decoder.is_in_body());
    decoder.decode(b"a", &mut sink).unwrap();
    decoder.decode(b"", &mut sink).unwrap();
    assert!(decoder.is_idle() && !decoder.is_in_body());
}
