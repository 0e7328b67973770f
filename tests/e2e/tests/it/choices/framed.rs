//! A protocol of frames: a client for it, and a host that speaks it.
//!
//! A frame is its length in four bytes and so many bytes. A request is `METHOD PATH`, then frames of its body, then an empty
//! frame; an answer is its status, then frames of its body, then an empty frame.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use transom_api::{
    Answer, Asked, ClientConnection, ClientProtocol, Clients, Factory, Headers, Node, ParseError,
    Parsed, Prepare, PrepareContext, ProtocolError, Schema, ServerConnection, ServerProtocol,
    Servers,
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

impl Factory<Servers> for Framed {
    fn schema(&self) -> Schema {
        Schema::object()
    }

    fn parse(&self, _: &Node) -> Result<Arc<dyn Parsed<Servers>>, ParseError> {
        Ok(Arc::new(Self))
    }
}

impl Parsed<Servers> for Framed {
    fn prepare(&self, _: PrepareContext) -> Prepare<Servers> {
        let this: Arc<dyn ServerProtocol> = Arc::new(Self);
        Box::pin(std::future::ready(Ok(this)))
    }
}

impl ServerProtocol for Framed {
    fn name(&self) -> &str {
        "framed"
    }

    fn connection(&self) -> Box<dyn ServerConnection> {
        Box::new(Served { has_head: false })
    }
}

struct Served {
    has_head: bool,
}

impl ServerConnection for Served {
    fn read(
        &mut self,
        bytes: &[u8],
        _eof: bool,
        asked: &mut dyn Asked,
    ) -> Result<usize, ProtocolError> {
        let Some((length, rest)) = bytes.split_first_chunk::<4>() else {
            return Ok(0);
        };
        let length = u32::from_be_bytes(*length) as usize;
        let Some(frame) = rest.get(..length) else {
            return Ok(0);
        };
        if !self.has_head {
            assert!(frame != b"panic", "as the test wants it");
            let mut words = frame.split(|byte| *byte == b' ');
            let (Some(method), Some(path)) = (words.next(), words.next()) else {
                return Err(ProtocolError::new("this is no head"));
            };
            self.has_head = true;
            asked.request(method, path, b"framed.test");
            asked.head_end();
        } else if frame.is_empty() {
            self.has_head = false;
            asked.end();
        } else {
            asked.data(frame);
        }
        Ok(4 + length)
    }

    fn response(
        &mut self,
        head: Headers<'_>,
        end: bool,
        _close: bool,
        out: &mut Vec<u8>,
    ) -> Result<(), ProtocolError> {
        let status = head.get(":status").unwrap();
        let filtered: &[u8] = match head.contains("x-filtered") {
            true => b" filtered",
            false => b"",
        };
        frame(&[status.as_bytes(), filtered].concat(), out);
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

    fn is_reusable(&self) -> bool {
        true
    }
}

/// A client.
pub(super) struct FramedClient(TcpStream);

impl FramedClient {
    pub(super) fn connect(to: SocketAddr) -> Self {
        let stream = TcpStream::connect(to).unwrap();
        stream
            .set_read_timeout(Some(transom_e2e::PATIENCE))
            .unwrap();
        Self(stream)
    }

    /// The head of the answer, and its body.
    pub(super) fn ask(&mut self, head: &str, body: &[&str]) -> (String, String) {
        self.try_ask(head, body).unwrap()
    }

    /// `None`: the connection was closed.
    pub(super) fn try_ask(&mut self, head: &str, body: &[&str]) -> Option<(String, String)> {
        let mut out = Vec::new();
        frame(head.as_bytes(), &mut out);
        for piece in body
            .iter()
            .flat_map(|piece| piece.as_bytes().chunks(50_000))
        {
            frame(piece, &mut out);
        }
        frame(b"", &mut out);
        self.0.write_all(&out).unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        let head = text(read_frame(&mut self.0)?);
        let mut body = String::new();
        loop {
            let piece = read_frame(&mut self.0)?;
            if piece.is_empty() {
                return Some((head, body));
            }
            body += &text(piece);
        }
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
