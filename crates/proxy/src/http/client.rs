//! The upstream end: an HTTP/1 connection to a host.

use std::fmt;
use std::io;
use std::iter;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use transom_http1::encode::{self, BodyEncoder, Connection, Line, Request};
use transom_http1::{
    DecodeError, Eof, Event, Framing, Limits, RequestKind, ResponseDecoder, Span, Version,
};

use super::head::{Head, Presence, Pseudo};
use super::peer::{Peer, PeerError, PeerEvent};
use super::server::send_data;
use crate::io::{Io, ReadBuffer, WriteBuffer};
use crate::stream::Message;
use crate::worker::Worker;

/// A read that may grow to this, so that big bodies take few system calls.
const LARGEST_READ: usize = 64 << 10;

/// A connection to a host, and the exchange on it.
pub(crate) struct Http1Client {
    io: Io,
    worker: Rc<Worker>,
    decoder: ResponseDecoder,
    read: ReadBuffer,
    write: WriteBuffer,
    data: Span,
    consumed: usize,
    eof: bool,
    body: Option<BodyEncoder>,
    keep_alive: bool,
    answered: bool,
    /// Requests that were sent on this connection.
    pub(crate) requests: u64,
    /// Which TLS of the host the connection was made with; 0 for none.
    pub(crate) generation: u64,
    interim: Head,
}

impl Http1Client {
    pub(crate) fn new(io: Io, generation: u64, worker: Rc<Worker>) -> Self {
        Self {
            io,
            worker,
            decoder: ResponseDecoder::new(Limits::default()),
            read: ReadBuffer::default(),
            write: WriteBuffer::default(),
            data: Span::default(),
            consumed: 0,
            eof: false,
            body: None,
            keep_alive: true,
            answered: false,
            requests: 0,
            generation,
            interim: Head::default(),
        }
    }

    /// Whether anything came while nothing was asked: bytes, or the end. A connection for which this is ready is bad.
    pub(crate) fn poll_unasked(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.eof || !self.read.is_empty() {
            return Poll::Ready(());
        }
        if ready!(self.io.poll_readable(cx)).is_err() {
            return Poll::Ready(());
        }
        // The event loop may only think so: the last read may have filled its buffer exactly.
        let mut byte = [0];
        match self.io.poll_read(cx, &mut byte) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(_) => Poll::Ready(()),
        }
    }

    /// Sends the request's head. `complete`: no body follows.
    pub(crate) fn send_head(&mut self, message: &Message, complete: bool) -> Result<(), PeerError> {
        let head = &message.head;
        let method = head.pseudo(Pseudo::Method).unwrap_or_default();
        let framing = match message.known_length() {
            // An empty body that was announced is announced again (RFC 9110 section 8.6).
            Some(length) if !complete || length == 0 => Framing::Length(length),
            _ if complete => Framing::None,
            _ => Framing::Chunked,
        };
        let request = Request {
            method,
            target: head.pseudo(Pseudo::Path).unwrap_or_default(),
            version: Version::Http11,
            framing,
            connection: Connection::Default,
        };
        let host = Line::Field(b"Host", head.pseudo(Pseudo::Authority).unwrap_or_default());
        let tail = self.write.tail(&self.worker.buffers);
        self.body = Some(encode::request_head(
            tail,
            &request,
            iter::once(host).chain(head.wire_lines()),
        )?);
        self.decoder.begin(RequestKind::of(method, false));
        self.requests += 1;
        self.answered = false;
        self.keep_alive = true;
        self.data = Span::default();
        self.consumed = 0;
        Ok(())
    }

    /// Whether a byte of the answer has come.
    pub(crate) fn is_answered(&self) -> bool {
        self.answered
    }

    /// Whether the connection can be used again: both messages are over, and the host keeps it open.
    pub(crate) fn is_reusable(&self) -> bool {
        self.keep_alive
            && !self.eof
            && self.decoder.is_idle()
            && self.read.is_empty()
            && self.write.is_empty()
            && self.body.as_ref().is_none_or(BodyEncoder::is_over)
    }

    /// Gives back the memory of the exchange.
    pub(crate) fn rest(&mut self) {
        self.read.consume(std::mem::take(&mut self.consumed));
        self.read.release(&self.worker.buffers);
        self.body = None;
    }

    /// The fields of the last interim response.
    pub(crate) fn interim(&self) -> &Head {
        &self.interim
    }

    fn next_event(&mut self, message: &mut Message) -> Result<Option<PeerEvent>, PeerError> {
        self.read.consume(std::mem::take(&mut self.consumed));
        // The end of a body is told without further bytes, so an empty buffer is no reason to stop here.
        self.answered |= !self.read.is_empty();
        loop {
            // Until the head is there fields belong to it, afterwards to the trailers.
            let in_head = message.head.presence() == Presence::Absent;
            let target = if in_head {
                &mut message.head
            } else {
                &mut message.trailers
            };
            let mut filler = target.filler();
            let (consumed, event) = self.decoder.decode(self.read.bytes(), &mut filler)?;
            let bytes = self.read.bytes().get(..consumed).unwrap_or_default();
            match event {
                Event::NeedMore => {
                    self.read.consume(consumed);
                    return Ok(None);
                }
                Event::Head(head) => {
                    message.head.adopt(bytes);
                    message
                        .head
                        .set_pseudo(Pseudo::Status, &digits(head.status));
                    message.content_length = head.content_length;
                    self.keep_alive =
                        head.keep_alive && head.framing != Framing::UntilClose && !head.tunnel;
                    self.read.consume(consumed);
                    return Ok(Some(PeerEvent::Head { end: head.end }));
                }
                Event::Interim(head) => {
                    message.head.adopt(bytes);
                    self.interim.clear();
                    std::mem::swap(&mut self.interim, &mut message.head);
                    self.read.consume(consumed);
                    return Ok(Some(PeerEvent::Interim {
                        status: head.status,
                    }));
                }
                Event::Data(span) => {
                    self.data = span;
                    self.consumed = consumed;
                    return Ok(Some(PeerEvent::Data));
                }
                Event::Trailers => {
                    message.trailers.adopt(bytes);
                    self.read.consume(consumed);
                }
                Event::End => {
                    self.read.consume(consumed);
                    let trailers = message.trailers.presence() == Presence::Here
                        && !message.trailers.has_no_fields();
                    return Ok(Some(if trailers {
                        PeerEvent::Trailers
                    } else {
                        PeerEvent::End
                    }));
                }
            }
        }
    }
}

impl Peer for Http1Client {
    fn poll_event(
        &mut self,
        cx: &mut Context<'_>,
        message: &mut Message,
    ) -> Poll<Result<PeerEvent, PeerError>> {
        loop {
            if let Some(event) = self.next_event(message)? {
                return Poll::Ready(Ok(event));
            }
            if self.eof {
                return Poll::Ready(match self.decoder.eof()? {
                    Eof::End => Ok(PeerEvent::End),
                    Eof::Idle => Err(DecodeError::Truncated.into()),
                });
            }
            if self.read.is_full() {
                self.read.grow(LARGEST_READ);
            }
            if ready!(
                self.read
                    .poll_fill(cx, &mut self.io, &self.worker.buffers, LARGEST_READ)
            )? == 0
            {
                self.eof = true;
            }
        }
    }

    fn data(&self) -> &[u8] {
        self.data.of(self.read.bytes())
    }

    fn poll_gone(&mut self, _cx: &mut Context<'_>) -> Poll<()> {
        // A host that goes away is seen where its answer is awaited.
        Poll::Pending
    }

    fn send_data(&mut self, cx: &mut Context<'_>, data: &[u8]) -> Result<(), PeerError> {
        send_data(
            &mut self.body,
            &mut self.write,
            cx,
            &mut self.io,
            &self.worker,
            data,
        )
    }

    fn send_end(&mut self, trailers: Option<&Head>) -> Result<(), PeerError> {
        let Some(body) = &mut self.body else {
            return Ok(());
        };
        let tail = self.write.tail(&self.worker.buffers);
        body.finish(tail, trailers.into_iter().flat_map(Head::wire_fields))?;
        Ok(())
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), PeerError>> {
        self.write
            .poll_flush(cx, &mut self.io, &self.worker.buffers)
            .map_err(PeerError::from)
    }

    fn unsent(&self) -> usize {
        self.write.len().max(usize::from(self.io.holds()))
    }
}

/// A status as three digits.
fn digits(status: u16) -> [u8; 3] {
    let digit = |place: u16| b'0' + (status / place % 10) as u8;
    [digit(100), digit(10), digit(1)]
}

impl fmt::Debug for Http1Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Http1Client")
            .field("requests", &self.requests)
            .finish_non_exhaustive()
    }
}

/// Whether an I/O error says that the peer is gone, rather than that something is wrong here.
pub(crate) fn is_gone(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionReset
            | io::ErrorKind::BrokenPipe
            | io::ErrorKind::UnexpectedEof
            | io::ErrorKind::ConnectionAborted
    )
}
