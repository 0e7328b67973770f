//! Servers: protocols that clients speak to the proxy.
//!
//! The mirror image of a [client](crate::client): a codec without I/O that reads requests into pseudo-headers, fields and
//! body, and writes answers in its protocol. Listener, TLS, filters, routes and timeouts are the proxy's.
//!
//! ```text
//! Parsed ── prepare ──▶ ServerProtocol ── connection() ──▶ ServerConnection   one per connection, !Send
//!                                             read(bytes) ─────────▶ Asked: head, data, end
//!                                             head, data, end ─────▶ bytes to the client
//! ```
//!
//! A connection has one request at a time: the next is read when the answer to the one before is written.

use crate::client::ProtocolError;
use crate::headers::Headers;

/// A prepared configuration of a server, shared by all workers.
pub trait ServerProtocol: Send + Sync {
    /// What logs call the protocol: `HTTP/1.1`.
    fn name(&self) -> &str;

    /// The codec of a fresh connection.
    fn connection(&self) -> Box<dyn ServerConnection>;
}

/// A connection of a client: what was read and written on it, without the socket.
pub trait ServerConnection {
    /// Reads of what the client sent: all bytes that it has not used before are there again. Says how many of them it has
    /// used, and tells `asked` what they mean: of one request at most in one call. It is called again as long as it uses some, and
    /// else when more have come. `eof`: no more will come.
    fn read(
        &mut self,
        bytes: &[u8],
        eof: bool,
        asked: &mut dyn Asked,
    ) -> Result<usize, ProtocolError>;

    /// Begins the answer: appends its head to `out`. `:status` is there. `end`: that is all of it; `close`: the connection
    /// ends behind it.
    fn response(
        &mut self,
        head: Headers<'_>,
        end: bool,
        close: bool,
        out: &mut Vec<u8>,
    ) -> Result<(), ProtocolError>;

    /// A piece of the answer's body.
    fn data(&mut self, data: &[u8], out: &mut Vec<u8>) -> Result<(), ProtocolError>;

    /// The answer is over.
    fn end(&mut self, trailers: Headers<'_>, out: &mut Vec<u8>) -> Result<(), ProtocolError>;

    /// Whether another request may follow, asked when an answer is over.
    fn is_reusable(&self) -> bool;
}

/// Where the parts of a request go, in this order: a head, data, the end.
pub trait Asked {
    /// The head begins. A protocol without methods says `POST`, one without paths `/`, one without names of hosts nothing.
    fn request(&mut self, method: &[u8], path: &[u8], authority: &[u8]);
    /// A field of the head. A name or value that is none in HTTP makes the request a bad one.
    fn field(&mut self, name: &[u8], value: &[u8]);
    /// The head is over.
    fn head_end(&mut self);
    /// A piece of the body.
    fn data(&mut self, data: &[u8]);
    /// The request is over.
    fn end(&mut self);
}
