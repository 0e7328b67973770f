//! An upstream that writes down each byte and answers each whole request.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{JoinHandle, spawn};

const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// What came on one connection.
#[derive(Debug, Default)]
pub(crate) struct Received {
    /// Whole requests, to the byte.
    pub(crate) requests: Vec<Vec<u8>>,
    /// What came behind the last of them.
    pub(crate) rest: Vec<u8>,
}

pub(crate) struct Upstream {
    pub(crate) address: SocketAddr,
    over: Arc<AtomicBool>,
    thread: JoinHandle<Vec<Received>>,
}

impl Upstream {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let address = listener.local_addr().expect("an address");
        let over = Arc::new(AtomicBool::new(false));
        let ends = Arc::clone(&over);
        let thread = spawn(move || {
            let mut connections = Vec::new();
            while let Ok((connection, _)) = listener.accept() {
                if ends.load(Ordering::SeqCst) {
                    break;
                }
                connections.push(spawn(move || serve(connection)));
            }
            connections
                .into_iter()
                .map(|connection| connection.join().expect("the upstream does not panic"))
                .collect()
        });
        Self {
            address,
            over,
            thread,
        }
    }

    /// What each connection received, in the order in which they came; all must be closed by now.
    pub(crate) fn finish(self) -> Vec<Received> {
        self.over.store(true, Ordering::SeqCst);
        // Only wakes the thread that accepts.
        drop(TcpStream::connect(self.address));
        self.thread.join().expect("the upstream does not panic")
    }
}

fn serve(mut connection: TcpStream) -> Received {
    let mut received = Received::default();
    let mut buffer = [0; 16 << 10];
    while let Ok(count @ 1..) = connection.read(&mut buffer) {
        received.rest.extend_from_slice(&buffer[..count]);
        while let Some(length) = request_length(&received.rest) {
            let request = received.rest.drain(..length).collect();
            received.requests.push(request);
            if connection.write_all(ANSWER).is_err() {
                return received;
            }
        }
    }
    received
}

/// How long the first request is, when it is whole. Knows only what a proxy of ours may send, and panics at all else.
fn request_length(bytes: &[u8]) -> Option<usize> {
    let head_length = find(bytes, b"\r\n\r\n")? + 4;
    match framing(&bytes[..head_length]) {
        Framing::Length(length) => {
            Some(head_length + length).filter(|&length| length <= bytes.len())
        }
        Framing::Chunked => Some(head_length + chunked(&bytes[head_length..])?.length),
    }
}

enum Framing {
    Length(usize),
    Chunked,
}

fn framing(head: &[u8]) -> Framing {
    let head = String::from_utf8_lossy(head);
    let mut framing = None;
    for line in head.lines().skip(1) {
        let Some((name, value)) = line.split_once(": ") else {
            continue;
        };
        let found = match name.to_ascii_lowercase().as_str() {
            "content-length" => Framing::Length(value.parse().expect("a length")),
            "transfer-encoding" => {
                assert_eq!(value, "chunked");
                Framing::Chunked
            }
            _ => continue,
        };
        assert!(framing.replace(found).is_none(), "framed twice: {head}");
    }
    framing.unwrap_or(Framing::Length(0))
}

/// A chunked body taken apart.
struct Chunked {
    data: Vec<u8>,
    trailers: Vec<u8>,
    length: usize,
}

fn chunked(body: &[u8]) -> Option<Chunked> {
    let mut at = 0;
    let mut data = Vec::new();
    loop {
        let line = find(&body[at..], b"\r\n")?;
        let digits = std::str::from_utf8(&body[at..at + line]).expect("a chunk's size is text");
        let size = usize::from_str_radix(digits, 16).expect("a chunk's size is hexadecimal");
        at += line + 2;
        if size == 0 {
            break;
        }
        let chunk = body.get(at..at + size + 2)?;
        assert!(chunk.ends_with(b"\r\n"), "a chunk ends in CR LF");
        data.extend_from_slice(&chunk[..size]);
        at += size + 2;
    }
    let start = at;
    while !body[at..].starts_with(b"\r\n") {
        at += find(&body[at..], b"\r\n")? + 2;
    }
    Some(Chunked {
        data,
        trailers: body[start..at].to_vec(),
        length: at + 2,
    })
}

/// The request with its chunks made one: where data was cut on its way is nobody's promise.
pub(crate) fn in_one_chunk(request: &[u8]) -> Vec<u8> {
    let head_length = find(request, b"\r\n\r\n").map_or(request.len(), |at| at + 4);
    let (head, body) = request.split_at(head_length);
    match (framing(head), chunked(body)) {
        (Framing::Chunked, Some(parts)) => {
            let size = format!("{:x}\r\n", parts.data.len());
            [
                head,
                size.as_bytes(),
                &parts.data,
                b"\r\n0\r\n",
                &parts.trailers,
                b"\r\n",
            ]
            .concat()
        }
        _ => request.to_vec(),
    }
}

fn find(bytes: &[u8], pattern: &[u8]) -> Option<usize> {
    bytes
        .windows(pattern.len())
        .position(|window| window == pattern)
}
