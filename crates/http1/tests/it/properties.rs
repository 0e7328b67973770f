//! What holds for all bytes and all cuts.

use proptest::collection::vec;
use proptest::prelude::*;
use transom_http1::encode::{self, Connection, Request, Response};
use transom_http1::{
    DecodeError, Framing, Limits, RequestDecoder, RequestKind, ResponseDecoder, Version,
};

use crate::transcript::{Answer, Transcript, requests, responses};

/// Messages to mutate: between them every rule of the decoders is near.
const REQUESTS: &[&[u8]] = &[
    b"GET /a HTTP/1.1\r\nHost: a\r\n\r\nGET /b HTTP/1.0\r\n\r\n",
    b"\r\n\r\nPOST /a?b HTTP/1.1\r\nHost: a:80\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\nhello\r\nGET / HTTP/1.1\r\nHost: b\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTrailer: X-T\r\n\r\n5;a=b\r\nhello\r\n10\r\n0123456789abcdef\r\n0\r\nX-T: v\r\n\r\nGET / HTTP/1.1\r\nHost: b\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, x\r\nX: 1\r\nUpgrade: websocket\r\n\r\nGET / HTTP/1.1\r\nHost: b\r\n\r\n",
    b"CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\nbytes bytes",
    b"GET http://a/b HTTP/1.1\r\nHost: a\r\nX:  y \t\r\nTE: trailers\r\n\r\nOPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
];

const RESPONSES: &[&[u8]] = &[
    b"HTTP/1.1 200 OK\r\nServer: x\r\nContent-Length: 5\r\n\r\nhelloHTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\nHTTP/1.0 200 OK\r\n\r\nrest",
    b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX: 1\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n",
    b"HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\ntunnel",
];

const KINDS: &[RequestKind] = &[
    RequestKind::Other,
    RequestKind::Head,
    RequestKind::Connect,
    RequestKind::Upgrade,
];

/// Pieces that faults are made of.
const SPLINTERS: &[&[u8]] = &[
    b"\r",
    b"\n",
    b"\r\n",
    b"\r\n\r\n",
    b" ",
    b"\t",
    b"\0",
    b":",
    b",",
    b";",
    b"0",
    b"5",
    b"f",
    b"\x7f",
    b"\x80",
    b"#",
    b"%00",
    b"a",
    b"HTTP/1.0",
    b"HTTP/1.1",
    b"HTTP/2.0",
    b"Host: a\r\n",
    b"Host: b\r\n",
    b"Content-Length: 5\r\n",
    b"Content-Length: 0\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Transfer-Encoding: gzip\r\n",
    b"Connection: close\r\n",
    b"Connection: upgrade\r\n",
    b"Upgrade: y\r\n",
    b"Connection: x, y\r\n",
    b"chunked",
    b"\r\n \r\n",
    b"X: 1\r\n",
];

/// Where to change what: replaced bytes, and what is put in their place.
type Mutation = (prop::sample::Index, usize, prop::sample::Index);

fn mutations() -> impl Strategy<Value = Vec<Mutation>> {
    vec(
        (
            any::<prop::sample::Index>(),
            0..4_usize,
            any::<prop::sample::Index>(),
        ),
        0..4,
    )
}

fn mutate(seed: &[u8], mutations: &[Mutation]) -> Vec<u8> {
    let mut bytes = seed.to_vec();
    for (at, removed, splinter) in mutations {
        let start = at.index(bytes.len() + 1);
        let end = (start + removed).min(bytes.len());
        bytes.splice(start..end, splinter.get(SPLINTERS).iter().copied());
    }
    bytes
}

fn cut<'a>(bytes: &'a [u8], cuts: &[prop::sample::Index]) -> Vec<&'a [u8]> {
    let mut places: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
    places.sort_unstable();
    let mut pieces = Vec::new();
    let mut start = 0;
    for place in places {
        pieces.push(&bytes[start..place]);
        start = place;
    }
    pieces.push(&bytes[start..]);
    pieces
}

/// The default limits, and some that bite.
fn limits() -> impl Strategy<Value = Limits> {
    let tight = (8..60_u32, 20..200_u32, 0..5_u16, any::<bool>());
    let tight = tight.prop_map(
        |(request_line, head, fields, allow_bare_lf_in_head)| Limits {
            request_line,
            head,
            fields,
            chunk_extension: 3,
            chunk_extensions: 5,
            allow_bare_lf_in_head,
        },
    );
    prop_oneof![
        2 => Just(Limits::default()),
        1 => Just(Limits { allow_bare_lf_in_head: true, ..Limits::default() }),
        2 => tight,
    ]
}

/// The verdict must not hang on the cuts; and the two parsers must agree on what is well formed.
fn same(whole: &Transcript, cut: &Transcript) -> Result<(), TestCaseError> {
    prop_assert_eq!(&whole.lines, &cut.lines);
    prop_assert_eq!(whole.error, cut.error);
    prop_assert_ne!(whole.error, Some(DecodeError::Malformed));
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4096, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn requests_do_not_hang_on_their_cuts(
        seed in prop::sample::select(REQUESTS),
        mutations in mutations(),
        cuts in vec(any::<prop::sample::Index>(), 0..6),
        limits in limits(),
        answer in prop::sample::select(&[Answer::Proceed, Answer::Tunnel, Answer::Wait][..]),
    ) {
        let bytes = mutate(seed, &mutations);
        let whole = requests(&[&bytes], limits, answer);
        same(&whole, &requests(&cut(&bytes, &cuts), limits, answer))?;
        let single: Vec<&[u8]> = bytes.chunks(1).collect();
        same(&whole, &requests(&single, limits, answer))?;
    }

    #[test]
    fn responses_do_not_hang_on_their_cuts(
        seed in prop::sample::select(RESPONSES),
        mutations in mutations(),
        cuts in vec(any::<prop::sample::Index>(), 0..6),
        limits in limits(),
        kinds in vec(prop::sample::select(KINDS), 1..4),
    ) {
        let bytes = mutate(seed, &mutations);
        let whole = responses(&kinds, &[&bytes], limits);
        same(&whole, &responses(&kinds, &cut(&bytes, &cuts), limits))?;
        let single: Vec<&[u8]> = bytes.chunks(1).collect();
        same(&whole, &responses(&kinds, &single, limits))?;
    }

    #[test]
    fn no_bytes_panic(bytes in vec(any::<u8>(), 0..300), limits in limits()) {
        let single: Vec<&[u8]> = bytes.chunks(1).collect();
        same(&requests(&[&bytes], limits, Answer::Proceed), &requests(&single, limits, Answer::Proceed))?;
        same(&responses(KINDS, &[&bytes], limits), &responses(KINDS, &single, limits))?;
        // Behind a good head, where chunks are read.
        let chunked = [b"P / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", &bytes[..]].concat();
        let single: Vec<&[u8]> = chunked.chunks(1).collect();
        same(
            &requests(&[&chunked], Limits::default(), Answer::Proceed),
            &requests(&single, Limits::default(), Answer::Proceed),
        )?;
    }

    /// A caller that breaks the rule and shows other bytes than before gets nonsense, but no panic.
    #[test]
    fn inputs_that_shrink_or_change_do_not_panic(
        inputs in vec((prop::sample::select(REQUESTS), any::<prop::sample::Index>()), 1..6)
    ) {
        let mut decoder = RequestDecoder::new(Limits::default());
        let mut answers = ResponseDecoder::new(Limits::default());
        answers.begin(RequestKind::Other);
        for (input, end) in inputs {
            let input = &input[..end.index(input.len() + 1)];
            let _ = decoder.decode(input, &mut Vec::new());
            let _ = answers.decode(input, &mut Vec::new());
        }
    }
}

/// Bytes of a field that a filter might set: mostly good, sometimes not.
fn name() -> impl Strategy<Value = String> {
    prop_oneof![8 => "[a-zA-Z0-9-]{1,12}", 1 => "[ -~\r\n\t]{0,6}"].prop_map(|name: String| name)
}

fn value() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        6 => "[!-~]{1,4}( [!-~]{0,4}[!-~])?|".prop_map(String::into_bytes),
        1 => vec(any::<u8>(), 0..6),
    ]
}

fn framed_line(framing: Framing) -> String {
    match framing {
        Framing::None => "none".into(),
        Framing::Length(length) => format!("{length} bytes"),
        Framing::Chunked => "chunked".into(),
        Framing::UntilClose => "until close".into(),
    }
}

/// What is left of fields on their way through the encoder: all but those that it writes itself.
fn passed(fields: &[(String, Vec<u8>)]) -> Vec<String> {
    let own = [
        "connection",
        "content-length",
        "keep-alive",
        "proxy-connection",
        "te",
        "transfer-encoding",
        "upgrade",
    ];
    let passed = fields
        .iter()
        .filter(|(name, _)| !own.contains(&name.to_lowercase().as_str()));
    passed
        .map(|(name, value)| {
            format!(
                "  {}: {}",
                name.as_bytes().escape_ascii(),
                value.trim_ascii().escape_ascii()
            )
        })
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2048, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever a filter sets: the encoder refuses it, or exactly one message with exactly these fields comes out.
    #[test]
    fn what_is_encoded_is_decoded(
        method in prop_oneof![4 => "[A-Z]{1,7}", 1 => "[ -~]{1,5}"],
        path in prop_oneof![4 => "/[!-\"$&-~]{0,10}", 1 => "[ -~\r\n]{1,8}"],
        mut fields in vec((name(), value()), 0..6),
        framing in prop_oneof![
            Just(Framing::None), Just(Framing::Chunked), (0..40_u64).prop_map(Framing::Length)
        ],
        pieces in vec(vec(any::<u8>(), 0..20), 0..4),
        trailers in vec((name(), value()), 0..3),
        cuts in vec(any::<prop::sample::Index>(), 0..4),
    ) {
        fields.push(("Host".into(), b"a".to_vec()));
        let request = Request {
            method: method.as_bytes(),
            target: path.as_bytes(),
            version: Version::Http11,
            framing,
            connection: Connection::Default,
        };
        let as_bytes = |fields: &[(String, Vec<u8>)]| {
            let fields = fields.iter().map(|(name, value)| (name.clone().into_bytes(), value.clone()));
            fields.collect::<Vec<_>>()
        };
        let (head, tail) = (as_bytes(&fields), as_bytes(&trailers));
        let mut out = Vec::new();
        let head = head.iter().map(|(name, value)| (&name[..], &value[..]));
        let Ok(mut body) = encode::request_head(&mut out, &request, head) else {
            prop_assert!(out.is_empty());
            return Ok(());
        };
        let mut sent = Vec::new();
        for piece in &pieces {
            if body.data(&mut out, piece).is_ok() {
                sent.extend_from_slice(piece);
            }
        }
        let padding = vec![b'p'; usize::try_from(body.remaining().unwrap_or(0)).unwrap()];
        body.data(&mut out, &padding).unwrap();
        sent.extend_from_slice(&padding);
        let trailer = tail.iter().map(|(name, value)| (&name[..], &value[..]));
        let with_trailers = body.takes_trailers() && body.finish(&mut out, trailer).is_ok();
        if !with_trailers {
            body.finish(&mut out, []).unwrap();
        }

        let seen = requests(&cut(&out, &cuts), Limits::default(), Answer::Wait);
        // The decoder knows more of targets and hosts than the encoder.
        if let Some(
            DecodeError::TargetForm | DecodeError::TargetNul | DecodeError::HostSyntax
            | DecodeError::HostMismatch | DecodeError::Expectation,
        ) = seen.error {
            return Ok(());
        }
        prop_assert_eq!(seen.error, None);
        let (first, rest) = seen.lines.split_first().unwrap();
        let line = format!(
            "head {} {} 1.1 {}",
            method.as_bytes().escape_ascii(),
            path.as_bytes().escape_ascii(),
            framed_line(framing)
        );
        prop_assert!(first.starts_with(&line), "{} is not {}", first, line);
        let mut expected = passed(&fields);
        match framing {
            Framing::Length(length) => expected.push(format!("  Content-Length: {length}")),
            Framing::Chunked => expected.push("  Transfer-Encoding: chunked (hop)".into()),
            _ => {}
        }
        if !sent.is_empty() {
            expected.push(format!("data {}", sent.escape_ascii()));
        }
        if with_trailers {
            let forbidden = ["host", "expect", "trailer"];
            let mut passed = passed(&trailers);
            passed.retain(|line| {
                !forbidden.iter().any(|name| line.to_lowercase().starts_with(&format!("  {name}:")))
            });
            if !passed.is_empty() {
                expected.push("trailers".into());
                expected.append(&mut passed);
            }
        }
        if !framing.is_empty() {
            expected.push("end".into());
        }
        expected.push("eof between messages".into());
        prop_assert_eq!(rest, expected);
    }

    #[test]
    fn responses_that_are_encoded_are_decoded(
        status in 200..1000_u16,
        reason in value(),
        answers in prop::sample::select(&[RequestKind::Other, RequestKind::Head][..]),
        fields in vec((name(), value()), 0..5),
        framing in prop_oneof![
            Just(Framing::None), Just(Framing::Chunked), Just(Framing::UntilClose),
            (0..30_u64).prop_map(Framing::Length)
        ],
        piece in vec(any::<u8>(), 0..20),
        cuts in vec(any::<prop::sample::Index>(), 0..4),
    ) {
        let response = Response {
            version: Version::Http11,
            status,
            reason: &reason,
            answers,
            framing,
            connection: Connection::Default,
        };
        let mut out = Vec::new();
        encode::interim_head(&mut out, 100, b"", []).unwrap();
        let interim = out.len();
        let head = fields.iter().map(|(name, value)| (name.as_bytes(), &value[..]));
        let Ok(mut body) = encode::response_head(&mut out, &response, head) else {
            prop_assert_eq!(out.len(), interim);
            return Ok(());
        };
        let mut sent = Vec::new();
        if body.data(&mut out, &piece).is_ok() {
            sent.extend_from_slice(&piece);
        }
        let padding = vec![b'p'; usize::try_from(body.remaining().unwrap_or(0)).unwrap()];
        body.data(&mut out, &padding).unwrap();
        sent.extend_from_slice(&padding);
        let until_close = body.lasts_until_close();
        body.finish(&mut out, []).unwrap();

        let seen = responses(&[answers], &cut(&out, &cuts), Limits::default());
        if seen.error == Some(DecodeError::Expectation) {
            return Ok(());
        }
        prop_assert_eq!(seen.error, None);
        prop_assert_eq!(&seen.lines[0], "interim 1.1 100 () none keep-alive");
        prop_assert_eq!(seen.heads().len(), 1);
        let expected = format!("1.1 {status} ({})", reason.escape_ascii());
        prop_assert!(seen.heads()[0].starts_with(&expected), "{} is not {}", seen.heads()[0], expected);
        let mut said = seen.lines[2..].to_vec();
        said.retain(|line| line != "end" && !line.starts_with("  Content-Length: ") && !line.starts_with("  Transfer-Encoding: "));
        let mut expected = passed(&fields);
        if !sent.is_empty() {
            expected.push(format!("data {}", sent.escape_ascii()));
        }
        expected.push(if until_close { "eof is the end" } else { "eof between messages" }.into());
        prop_assert_eq!(said, expected);
    }
}
