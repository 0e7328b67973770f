//! What an exchange needs of either end: the client's connection or the host's.

use std::io;
use std::task::{Context, Poll};

use thiserror::Error;
use transom_http1::{DecodeError, EncodeError};

use super::head::Head;
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

    /// Whether this end went away, looked for while nothing of it is awaited.
    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()>;

    /// Sends body bytes: at once as far as this end takes them, the rest is kept.
    fn send_data(&mut self, cx: &mut Context<'_>, data: &[u8]) -> Result<(), PeerError>;

    /// Ends the message.
    fn send_end(&mut self, trailers: Option<&Head>) -> Result<(), PeerError>;

    /// Writes what is kept.
    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), PeerError>>;

    /// Bytes that are kept to be written.
    fn unsent(&self) -> usize;
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
    Decode(#[from] DecodeError),
    /// What it was to be sent is no message.
    #[error("{0}")]
    Encode(#[from] EncodeError),
    /// It is gone.
    #[error("{0}")]
    Io(#[from] io::Error),
}
