//! A protocol of frames: a client for it, and a host that speaks it.
//!
//! A frame is its length in four bytes and so many bytes. A request is `METHOD PATH`, then frames of its body, then an empty
//! frame; an answer is its status, then frames of its body, then an empty frame.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use transom_api::{
    Answer, ClientConnection, ClientProtocol, Clients, Factory, Headers, Node, ParseError, Parsed,
    Prepare, PrepareContext, ProtocolError, Schema,
};

pub(super) struct Framed;

impl Factory<Clients> for Framed {
    fn schema(&self) -> Schema {
        Schema::object()
    }

    fn parse(&self, _: &Node) -> Result<Arc<dyn Parsed<Clients>>, ParseError> {
        Ok(Arc::new(Self))
    }
}

impl Parsed<Clients> for Framed {
    fn prepare(&self, _: PrepareContext) -> Prepare<Clients> {
        let this: Arc<dyn ClientProtocol> = Arc::new(Self);
        Box::pin(std::future::ready(Ok(this)))
    }
}

impl ClientProtocol for Framed {
    fn name(&self) -> &str {
        "framed"
    }

    fn connection(&self) -> Box<dyn ClientConnection> {
        Box::new(Connection::default())
    }
}

#[derive(Default)]
struct Connection {
    has_head: bool,
    over: bool,
}

fn frame(bytes: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(&(bytes.len() as u32).to_be_bytes());
    out.extend_from_slice(bytes);
}

impl ClientConnection for Connection {
    fn request(
        &mut self,
        head: Headers<'_>,
        end: bool,
        out: &mut Vec<u8>,
    ) -> Result<(), ProtocolError> {
        *self = Self::default();
        let path = head.get(":path").unwrap();
        assert!(path != "/panic-in-request", "as the test wants it");
        if path == "/unspeakable" {
            return Err(ProtocolError::unspeakable("this path cannot be said"));
        }
        let method = head.get(":method").unwrap();
        frame(&[method.as_bytes(), b" ", path.as_bytes()].concat(), out);
        if end {
            frame(b"", out);
        }
        Ok(())
    }

    fn data(&mut self, data: &[u8], out: &mut Vec<u8>) -> Result<(), ProtocolError> {
        frame(data, out);
        Ok(())
    }

    fn end(&mut self, _: Headers<'_>, out: &mut Vec<u8>) -> Result<(), ProtocolError> {
        frame(b"", out);
        Ok(())
    }

    fn read(
        &mut self,
        bytes: &[u8],
        _eof: bool,
        answer: &mut dyn Answer,
    ) -> Result<usize, ProtocolError> {
        let Some((length, rest)) = bytes.split_first_chunk::<4>() else {
            return Ok(0);
        };
        let length = u32::from_be_bytes(*length) as usize;
        if length > 1 << 16 {
            return Err(ProtocolError::new("a frame is too large"));
        }
        let Some(frame) = rest.get(..length) else {
            return Ok(0);
        };
        assert!(frame != b"panic", "as the test wants it");
        if !self.has_head {
            self.has_head = true;
            let status = std::str::from_utf8(frame).unwrap().parse();
            answer.status(status.map_err(|_| ProtocolError::new("this is no status"))?);
            let name: &[u8] = if frame == b"201" {
                b"bad name"
            } else {
                b"x-framed"
            };
            answer.field(name, b"yes");
            answer.head_end();
        } else if frame.is_empty() {
            self.over = true;
            answer.end();
        } else {
            answer.data(frame);
        }
        Ok(4 + length)
    }

    fn is_reusable(&self) -> bool {
        self.over
    }
}

/// A host.
pub(super) struct FramedHost {
    pub(super) address: SocketAddr,
    connections: Arc<AtomicUsize>,
}

impl FramedHost {
    /// Its thread ends with the process.
    pub(super) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let connections = Arc::new(AtomicUsize::new(0));
        let this = Self {
            address: listener.local_addr().unwrap(),
            connections: Arc::clone(&connections),
        };
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                connections.fetch_add(1, Ordering::SeqCst);
                std::thread::spawn(move || serve(stream));
            }
        });
        this
    }

    pub(super) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

fn read_frame(stream: &mut TcpStream) -> Option<Vec<u8>> {
    let mut length = [0; 4];
    stream.read_exact(&mut length).ok()?;
    let mut frame = vec![0; u32::from_be_bytes(length) as usize];
    stream.read_exact(&mut frame).ok()?;
    Some(frame)
}

fn serve(mut stream: TcpStream) {
    while let Some(asked) = read_frame(&mut stream) {
        let mut body = Vec::new();
        loop {
            match read_frame(&mut stream) {
                Some(piece) if piece.is_empty() => break,
                Some(piece) => body.extend_from_slice(&piece),
                None => return,
            }
        }
        let path = asked.split(|byte| *byte == b' ').nth(1).unwrap();
        let mut out = Vec::new();
        let status: &[u8] = match path {
            b"/nonsense" => b"nonsense",
            b"/bad-field" => b"201",
            b"/bad-status" => b"999",
            b"/panic-in-answer" => b"panic",
            b"/hangup" => return,
            _ => b"200",
        };
        frame(status, &mut out);
        let answer = [&asked, &b": "[..], &body].concat();
        for piece in answer.chunks(50_000) {
            frame(piece, &mut out);
        }
        frame(b"", &mut out);
        stream.write_all(&out).unwrap();
    }
}
