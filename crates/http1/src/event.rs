//! What a decoder says.

use crate::span::Span;
use crate::target::TargetForm;

/// One step of a message.
///
/// A message is: interim heads (responses only), `Head`, and unless the head says `end` any number of `Data`,
/// `Trailers` at most once, and `End`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event<H> {
    /// Nothing more can be said before more bytes come. Bytes may have been consumed all the same.
    NeedMore,
    /// A head; its fields went to the sink.
    Head(H),
    /// A 1xx response other than 101; its fields went to the sink, and the real head is still to come
    /// (RFC 9110 section 15.2).
    Interim(H),
    /// A piece of the body, or of the tunnel; never empty.
    Data(Span),
    /// The trailers went to the sink. `End` is next.
    Trailers,
    /// The message is over.
    End,
}

/// What the end of the peer's stream meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Eof {
    /// Nothing was cut: the decoder was between messages.
    Idle,
    /// The message that ran until the connection closes, or the tunnel, is complete with this.
    End,
}

/// The versions that this codec speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Version {
    /// HTTP/1.0
    Http10,
    /// HTTP/1.1
    Http11,
}

impl Version {
    /// As it is written in a start line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http10 => "HTTP/1.0",
            Self::Http11 => "HTTP/1.1",
        }
    }
}

/// How a message says where its body ends (RFC 9112 section 6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// There is no body.
    None,
    /// This many bytes.
    Length(u64),
    /// Chunks, then trailers.
    Chunked,
    /// All until the connection closes: responses only.
    UntilClose,
}

impl Framing {
    /// Whether no byte of a body can follow.
    pub fn is_empty(self) -> bool {
        matches!(self, Self::None | Self::Length(0))
    }

    /// What to use instead towards a peer of `version`, for a response: a 1.0 client knows no chunks
    /// (RFC 9112 section 6.1), so its message lasts until the connection closes.
    #[must_use]
    pub fn for_client(self, version: Version) -> Self {
        match (self, version) {
            (Self::Chunked, Version::Http10) => Self::UntilClose,
            (framing, _) => framing,
        }
    }
}

/// The head of a request. Its fields went to the sink before this is returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestHead {
    /// The method, a token, as it was spelt.
    pub method: Span,
    /// The request target as it was sent: visible ASCII without `#`.
    pub target: Span,
    /// Which of the four forms the target has (RFC 9112 section 3.2).
    pub form: TargetForm,
    /// Path and query within the target: the target itself in origin form. In absolute form it may be empty or begin
    /// with `?` (then `/` goes before it, or `*` stands for it in an `OPTIONS`); in the other forms it is empty.
    pub path: Span,
    /// Whom the request is for: from the target in absolute and authority form, else the value of Host. Never empty
    /// and of valid syntax; `None` only in HTTP/1.0.
    pub authority: Option<Span>,
    /// The sender's version.
    pub version: Version,
    /// How the body is framed; never [`Framing::UntilClose`].
    pub framing: Framing,
    /// Whether the sender keeps the connection open for another request (RFC 9112 section 9.3).
    pub keep_alive: bool,
    /// Whether the sender waits for a 100 before it sends the body (RFC 9110 section 10.1.1). Only where there is a
    /// body to wait with.
    pub expect_continue: bool,
    /// The value of Upgrade when the sender asks to switch (RFC 9110 section 7.8): `Connection: upgrade`, one Upgrade
    /// field, HTTP/1.1. The decoder then stops after this request; see
    /// [`RequestDecoder::is_held`](crate::RequestDecoder::is_held).
    pub upgrade: Option<Span>,
    /// The method is CONNECT. The decoder stops after this request as it does for an upgrade.
    pub connect: bool,
    /// The message is over with this head: no `End` follows.
    pub end: bool,
}

/// The head of a response. Its fields went to the sink before this is returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResponseHead {
    /// The sender's version.
    pub version: Version,
    /// 100 to 999.
    pub status: u16,
    /// The reason phrase, often empty; not for programs.
    pub reason: Span,
    /// How the body is framed. [`Framing::None`] where the status or the request's method forbids a body, whatever
    /// the fields say.
    pub framing: Framing,
    /// The value of Content-Length. With a `framing` of `None` (an answer to HEAD, a 304) it tells what the body would
    /// have been (RFC 9110 section 8.6), and may be passed on.
    pub content_length: Option<u64>,
    /// Whether the sender keeps the connection open for another request (RFC 9112 section 9.3).
    pub keep_alive: bool,
    /// A 101, or a 2xx to CONNECT: all that follows is the tunnel, given as `Data`.
    pub tunnel: bool,
    /// What a 101 switches to, the value of its Upgrade; whether that was asked for is the caller's to see.
    pub upgrade: Option<Span>,
    /// The message is over with this head: no `End` follows. Never with `tunnel` or on an interim head.
    pub end: bool,
}

/// What kind of request a response answers: on it depends where the response ends (RFC 9112 section 6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestKind {
    /// HEAD: the answer has no body.
    Head,
    /// CONNECT: a 2xx makes a tunnel.
    Connect,
    /// A request with Upgrade: a 101 makes a tunnel.
    Upgrade,
    /// Every other.
    Other,
}

impl RequestKind {
    /// The kind of a request with this method. A HEAD or CONNECT stays what it is even if it asks for an upgrade, so
    /// a 101 to it is refused: do not send Upgrade with these.
    pub fn of(method: &[u8], upgrade: bool) -> Self {
        match method {
            b"HEAD" => Self::Head,
            b"CONNECT" => Self::Connect,
            _ if upgrade => Self::Upgrade,
            _ => Self::Other,
        }
    }
}
