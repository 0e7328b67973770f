//! What an exchange needs of either end: the client's connection or the host's.
//!
//! [`Peer`] is what both are while a message flows; [`Downstream`] and [`Upstream`] add what only the one or the other
//! is asked. A protocol is one implementation of each. The exchange is generic over its client, which is known where it
//! is made; which protocol a host speaks is known when it is chosen, and so the upstream end is the enum
//! [`HostPeer`](super::host_peer::HostPeer). Neither costs an indirect call.

use std::io;
use std::task::{Context, Poll};

use bytes::Bytes;
use thiserror::Error;
use transom_api::ProtocolError;
use transom_http1::{DecodeError, EncodeError};

use super::head::Head;
use crate::cluster::Identity;
use crate::stream::Message;

/// One end of an exchange: for the length of one request and its response.
pub(crate) trait Peer {
    /// The next event of the message that this end sends. Heads and trailers are put into `message`; data is in
    /// [`Peer::data`] until the next call.
    fn poll_event(
        &mut self,
        cx: &mut Context<'_>,
        message: &mut Message,
    ) -> Poll<Result<PeerEvent, PeerError>>;

    /// The data of the last [`PeerEvent::Data`].
    fn data(&self) -> &[u8];

    /// No event will be asked for before something else has happened: what the last one lent is given back.
    fn pause(&mut self);

    /// Sends body bytes: at once as far as this end takes them, the rest is kept.
    fn send_data(&mut self, cx: &mut Context<'_>, data: &[u8]) -> Result<(), PeerError>;

    /// The same data, given and not lent, for who keeps it: after this there is none. An end that has its data in pieces of
    /// its own gives the piece; one that lends it from where it reads copies it.
    fn take_data(&mut self) -> Bytes {
        Bytes::copy_from_slice(self.data())
    }

    /// Sends a piece that is given. An end that keeps pieces keeps this one without a copy.
    fn send_bytes(&mut self, cx: &mut Context<'_>, data: Bytes) -> Result<(), PeerError> {
        self.send_data(cx, &data)
    }

    /// Sends the data of the other end's last [`PeerEvent::Data`], lent or given, as this end prefers it. When that fails
    /// the data may be gone.
    #[inline]
    fn send_from(&mut self, cx: &mut Context<'_>, from: &mut impl Peer) -> Result<(), PeerError> {
        self.send_data(cx, from.data())
    }

    /// Ends the message. In a tunnel nothing more is sent, and the other side is told so.
    fn send_end(&mut self, trailers: Option<&Head>) -> Result<(), PeerError>;

    /// Writes what is kept.
    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), PeerError>>;

    /// Bytes that are kept to be written.
    fn unsent(&self) -> usize;
}

/// The client's end.
pub(crate) trait Downstream: Peer {
    /// Whether the client went away, looked for while nothing of it is awaited.
    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()>;

    /// Whether all of the request has come. An answer before that must say that the connection closes: the rest of the
    /// request will not be read.
    fn request_ended(&self) -> bool;

    /// The body is wanted now: tells a client that waits for this word (RFC 9110 section 10.1.1).
    fn invite_body(&mut self) -> Result<(), PeerError>;

    /// Whether the client waits for that word.
    fn awaits_invitation(&self) -> bool;

    /// Passes an interim response on, unless this client does not know such.
    fn send_interim(&mut self, status: u16, head: &Head) -> Result<(), PeerError>;

    /// Sends the response's head. `complete`: no body follows. `close`: the connection will not be used again. A head that
    /// opens a tunnel makes what the client sends from now on data of the request.
    fn send_head(
        &mut self,
        message: &Message,
        complete: bool,
        close: bool,
    ) -> Result<(), PeerError>;
}

/// The host's end.
pub(crate) trait Upstream: Peer {
    /// Sends the request's head. `complete`: no body follows. Data behind the head of a request for a tunnel is the tunnel's.
    fn send_head(&mut self, message: &Message, complete: bool) -> Result<(), PeerError>;

    /// The fields of the last interim response.
    fn interim(&self) -> &Head;

    /// Whether a byte of the answer has come.
    fn is_answered(&self) -> bool;

    /// Whether anything of this request may have reached the host.
    fn has_sent(&self) -> bool {
        true
    }

    /// Requests that were sent on this connection.
    fn requests(&self) -> u64;

    /// What the connection's TLS was made with.
    fn identity(&self) -> &Identity;

    /// Ends the exchange and gives back its memory. True when the connection can be used again: both messages are over,
    /// and the host keeps it open. One step, as the memory holds what tells whether the request was sent whole: a host
    /// that still waits for the rest of a body would take the next request for it.
    #[must_use]
    fn rest(&mut self) -> bool;

    /// Whether anything came while nothing was asked: bytes, or the end. A connection for which this is true is bad.
    fn has_unasked(&mut self) -> bool;
}

/// What an end sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PeerEvent {
    /// A head; `end`: it is the whole message.
    Head { end: bool },
    /// A head before the head: 100 to 199.
    Interim { status: u16 },
    /// A piece of the body.
    Data,
    /// Trailers; the message is over.
    Trailers,
    /// The message is over.
    End,
}

/// Why an end cannot go on.
#[derive(Debug, Error)]
pub(crate) enum PeerError {
    /// Its bytes are no message.
    #[error("{0}")]
    Decode(DecodeError),
    /// What it was to be sent is no message.
    #[error("{0}")]
    Encode(#[from] EncodeError),
    /// It went away in the middle of its message.
    #[error("it ended within a message")]
    CutOff,
    /// A host went away before the first byte of its answer.
    #[error("it ended before its answer")]
    Unanswered,
    /// Its body is over the limit.
    #[error("its body is over the limit")]
    TooLarge,
    /// An extension's codec says so.
    #[error("{0}")]
    Foreign(#[from] ProtocolError),
    /// It is gone.
    #[error("{0}")]
    Io(#[from] io::Error),
}

impl From<DecodeError> for PeerError {
    fn from(error: DecodeError) -> Self {
        match error {
            DecodeError::Truncated => Self::CutOff,
            DecodeError::ClosedBeforeAnswer => Self::Unanswered,
            error => Self::Decode(error),
        }
    }
}

impl PeerError {
    /// Whether the end went away, rather than said or did something wrong.
    pub(crate) fn is_gone(&self) -> bool {
        match self {
            Self::CutOff | Self::Unanswered => true,
            Self::Io(error) => matches!(
                error.kind(),
                io::ErrorKind::ConnectionReset
                    | io::ErrorKind::BrokenPipe
                    | io::ErrorKind::UnexpectedEof
                    | io::ErrorKind::ConnectionAborted
            ),
            Self::Decode(_) | Self::Encode(_) | Self::Foreign(_) | Self::TooLarge => false,
        }
    }
}
