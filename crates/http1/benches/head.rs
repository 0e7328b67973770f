//! What a head costs, in nanoseconds: `cargo bench -p transom-http1 [-- PART OF A NAME]`.
//!
//! Each row is the best and the median of rounds, so that a busy machine shows.

use std::hint::black_box;
use std::mem::MaybeUninit;
use std::time::Instant;

use transom_http1::{
    Event, Field, FieldSink, Framing, Limits, RequestDecoder, RequestKind, ResponseDecoder,
    Version, encode,
};

/// What a browser sends: ten fields, 504 bytes.
const BROWSER: &[u8] = b"GET /api/v1/users/12345?expand=profile HTTP/1.1\r\n\
    Host: www.example.com\r\n\
    User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0\r\n\
    Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\n\
    Accept-Language: en-US,en;q=0.5\r\n\
    Accept-Encoding: gzip, deflate, br, zstd\r\n\
    Referer: https://www.example.com/\r\n\
    Cookie: session=0123456789abcdef0123456789abcdef; theme=dark\r\n\
    Connection: keep-alive\r\n\
    Cache-Control: no-cache\r\n\
    X-Request-Id: 7b1c0f52-3c1a-4a3f-8a52-0d5b6a1f0c11\r\n\r\n";

/// What a load generator sends.
const SMALL: &[u8] = b"GET / HTTP/1.1\r\nHost: 127.0.0.1:2046\r\nUser: admin\r\n\r\n";

/// What nginx answers.
const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\n\
    Server: nginx/1.22.1\r\n\
    Date: Sat, 21 Nov 2026 11:08:00 GMT\r\n\
    Content-Type: text/plain\r\n\
    Content-Length: 100\r\n\
    Last-Modified: Sat, 21 Nov 2026 11:00:00 GMT\r\n\
    Connection: keep-alive\r\n\
    ETag: \"6560a0c0-64\"\r\n\
    Accept-Ranges: bytes\r\n\r\n";

const ROUNDS: usize = 15;
const HEADS: u32 = 200_000;

/// A field store as a proxy has one: spans in a vector that is used again.
#[derive(Default)]
struct Store(Vec<Field>);

impl FieldSink for Store {
    fn field(&mut self, field: Field) {
        self.0.push(field);
    }
}

fn main() {
    floor("httparse alone, 10 fields", BROWSER);
    decode_request("decode request, 10 fields", BROWSER);
    decode_request("decode request, 2 fields", SMALL);
    decode_response("decode response, 8 fields", ANSWER);
    encode_request("encode request, 10 fields", BROWSER);
    encode_response("encode response, 8 fields", ANSWER);
    drip("drip of 504 bytes, byte by byte", BROWSER);
}

/// What the parser underneath costs by itself: the rest of the decoder's time is ours.
fn floor(name: &str, input: &[u8]) {
    measure(name, || {
        let mut slots = [const { MaybeUninit::uninit() }; 128];
        let mut request = httparse::Request::new(&mut []);
        let status = request.parse_with_uninit_headers(black_box(input), &mut slots);
        black_box((&status, &request));
    });
}

fn decode_request(name: &str, input: &[u8]) {
    let mut store = Store::default();
    let mut decoder = RequestDecoder::new(Limits::default());
    measure(name, || {
        store.0.clear();
        let (consumed, event) = decoder.decode(black_box(input), &mut store).unwrap();
        assert!(matches!(event, Event::Head(head) if head.end));
        black_box((consumed, &event, &store.0));
    });
}

fn decode_response(name: &str, input: &[u8]) {
    let body = [0; 100];
    let mut store = Store::default();
    let mut decoder = ResponseDecoder::new(Limits::default());
    measure(name, || {
        store.0.clear();
        decoder.begin(RequestKind::Other);
        let (consumed, event) = decoder.decode(black_box(input), &mut store).unwrap();
        black_box((consumed, &event, &store.0));
        for _ in 0..2 {
            black_box(decoder.decode(&body, &mut store).unwrap());
        }
    });
}

fn drip(name: &str, input: &[u8]) {
    let mut store = Store::default();
    let mut decoder = RequestDecoder::new(Limits::default());
    measure(name, || {
        store.0.clear();
        for end in 1..=input.len() {
            black_box(
                decoder
                    .decode(black_box(&input[..end]), &mut store)
                    .unwrap(),
            );
        }
        assert!(decoder.is_idle());
    });
}

fn fields_of(input: &[u8]) -> Vec<(&[u8], &[u8])> {
    let text = input.split(|&byte| byte == b'\n').skip(1);
    text.filter_map(|line| {
        let line = line.strip_suffix(b"\r")?;
        let colon = line.iter().position(|&byte| byte == b':')?;
        Some((&line[..colon], &line[colon + 2..]))
    })
    .collect()
}

fn encode_request(name: &str, input: &[u8]) {
    let fields = fields_of(input);
    let mut out = Vec::new();
    let request = encode::Request {
        method: b"GET",
        target: b"/api/v1/users/12345?expand=profile",
        version: Version::Http11,
        framing: Framing::None,
        connection: encode::Connection::Default,
    };
    measure(name, || {
        out.clear();
        let fields = black_box(&fields).iter().copied();
        let body = encode::request_head(&mut out, black_box(&request), fields).unwrap();
        black_box((&out, &body));
    });
}

fn encode_response(name: &str, input: &[u8]) {
    let fields = fields_of(input);
    let mut out = Vec::new();
    let response = encode::Response {
        version: Version::Http11,
        status: 200,
        reason: b"OK",
        answers: RequestKind::Other,
        framing: Framing::Length(100),
        connection: encode::Connection::Default,
    };
    measure(name, || {
        out.clear();
        let fields = black_box(&fields).iter().copied();
        let body = encode::response_head(&mut out, black_box(&response), fields).unwrap();
        black_box((&out, &body));
    });
}

fn measure(name: &str, mut one: impl FnMut()) {
    // Cargo passes `--bench`; any other argument is a part of the names to run.
    if std::env::args()
        .skip(1)
        .any(|part| !part.starts_with("--") && !name.contains(&part))
    {
        return;
    }
    // A few are enough for a profiler that counts instructions.
    let heads = std::env::var("BENCH_HEADS").map_or(HEADS, |heads| heads.parse().unwrap());
    let heads = if name.contains("byte by byte") {
        heads / 50
    } else {
        heads
    };
    let mut rounds: Vec<f64> = (0..ROUNDS)
        .map(|_| {
            let start = Instant::now();
            for _ in 0..heads {
                one();
            }
            start.elapsed().as_nanos() as f64 / f64::from(heads)
        })
        .collect();
    rounds.sort_by(f64::total_cmp);
    println!(
        "{name:<42} best {:>7.1} ns/head, median {:>7.1}",
        rounds[0],
        rounds[ROUNDS / 2]
    );
}
