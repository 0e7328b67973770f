//! Clients: protocols that hosts are spoken to with.
//!
//! A request is the same whatever the host speaks: pseudo-headers, fields, a body, trailers. A client is a codec without I/O
//! that writes such a request in its protocol and reads the answer back into the same shape. The connection, its pool, TLS,
//! timeouts and retries are the proxy's.
//!
//! ```text
//! Parsed ── prepare ──▶ ClientProtocol ── connection() ──▶ ClientConnection   one per connection, !Send
//!                        one per use          request, data, end ──▶ bytes to the host
//!                                             read(bytes) ─────────▶ Answer: head, data, trailers
//! ```
//!
//! A connection has one request at a time: the next begins when the answer to the one before is over.

use std::fmt;

use crate::headers::Headers;

/// A prepared configuration of a client, shared by all workers.
pub trait ClientProtocol: Send + Sync {
    /// What logs call the protocol: `HTTP/1.1`.
    fn name(&self) -> &str;

    /// The codec of a fresh connection.
    fn connection(&self) -> Box<dyn ClientConnection>;
}

/// A connection to a host: what was written and read on it, without the socket.
pub trait ClientConnection {
    /// Begins a request: appends its head to `out`. `end`: that is all of it. The pseudo-headers `:method`, `:path` and
    /// `:authority` are there.
    fn request(
        &mut self,
        head: Headers<'_>,
        end: bool,
        out: &mut Vec<u8>,
    ) -> Result<(), ProtocolError>;

    /// A piece of the request's body.
    fn data(&mut self, data: &[u8], out: &mut Vec<u8>) -> Result<(), ProtocolError>;

    /// The request is over. `trailers` is empty for most.
    fn end(&mut self, trailers: Headers<'_>, out: &mut Vec<u8>) -> Result<(), ProtocolError>;

    /// Reads of what the host sent: all bytes that it has not used before are there again. Says how many of them it has used,
    /// and tells `answer` what they mean. It is called again as long as it uses some, and else when more have come. `eof`: no
    /// more will come.
    ///
    /// With bytes that are there before anything was asked, or behind the end of an answer, it is not called: such a connection
    /// is closed.
    fn read(
        &mut self,
        bytes: &[u8],
        eof: bool,
        answer: &mut dyn Answer,
    ) -> Result<usize, ProtocolError>;

    /// Whether the connection may be used for another request, asked when an answer is over.
    fn is_reusable(&self) -> bool;
}

/// Where the parts of an answer go, in this order: a head, data, the end.
pub trait Answer {
    /// The head begins: its status, 200 to 599.
    fn status(&mut self, status: u16);
    /// A field of the head. A name or value that is none in HTTP makes the answer a bad one.
    fn field(&mut self, name: &[u8], value: &[u8]);
    /// The head is over.
    fn head_end(&mut self);
    /// A piece of the body.
    fn data(&mut self, data: &[u8]);
    /// The answer is over.
    fn end(&mut self);
}

/// What a peer sent is not the protocol, or what it is to be sent cannot be said in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProtocolError {
    /// What was read or to be written, and what is wrong with it.
    pub message: String,
    /// The request cannot be said in this protocol: not the peer is at fault.
    pub of_request: bool,
}

impl ProtocolError {
    /// The peer's bytes are wrong.
    #[must_use]
    pub fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            of_request: false,
        }
    }

    /// What is to be sent cannot be said in the protocol.
    #[must_use]
    pub fn unspeakable(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            of_request: true,
        }
    }
}

impl fmt::Display for ProtocolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for ProtocolError {}
