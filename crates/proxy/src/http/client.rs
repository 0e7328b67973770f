//! The upstream end: an HTTP/1 connection to a host.

use std::fmt;
use std::iter;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use transom_http1::encode::{self, Connection, Line, Request};
use transom_http1::{
    DecodeError, EncodeError, Eof, Event, Framing, Limits, RequestKind, ResponseDecoder, Version,
};

use super::head::{Head, Presence, Pseudo};
use super::peer::{Peer, PeerError, PeerEvent, Upstream};
use super::tunnel::{Tunnel, is_asked};
use super::wire::{LARGEST_READ, Wire};
use crate::cluster::{Connected, Identity};
use crate::stream::Message;
use crate::worker::Worker;

/// A connection to a host, and the exchange on it.
pub(crate) struct Http1Client {
    wire: Wire,
    decoder: ResponseDecoder,
    keep_alive: bool,
    answered: bool,
    requests: u64,
    identity: Identity,
    interim: Head,
    /// What the last request asked to switch to; empty for most.
    asked: Vec<u8>,
}

impl Http1Client {
    pub(crate) fn new(connected: Connected, worker: Rc<Worker>) -> Self {
        Self {
            wire: Wire::new(connected.io, worker),
            decoder: ResponseDecoder::new(Limits::default()),
            keep_alive: true,
            answered: false,
            requests: 0,
            identity: connected.identity,
            interim: Head::default(),
            asked: Vec::new(),
        }
    }

    fn next_event(&mut self, message: &mut Message) -> Result<Option<PeerEvent>, PeerError> {
        self.wire.take_back();
        // The end of a body is told without further bytes, so an empty buffer is no reason to stop here.
        self.answered |= !self.wire.read.is_empty();
        loop {
            // Until the head is there fields belong to it, afterwards to the trailers.
            let in_head = message.head.presence() == Presence::Absent;
            let target = if in_head {
                &mut message.head
            } else {
                &mut message.trailers
            };
            let mut filler = target.filler();
            let (consumed, event) = self.decoder.decode(self.wire.read.bytes(), &mut filler)?;
            let bytes = self.wire.read.bytes().get(..consumed).unwrap_or_default();
            match event {
                Event::Head(head) => {
                    let base = message.head.adopt(bytes);
                    message.head.adopt_reason(base, head.reason);
                    message
                        .head
                        .set_pseudo(Pseudo::Status, &digits(head.status));
                    message.content_length = head.content_length;
                    self.keep_alive =
                        head.keep_alive && head.framing != Framing::UntilClose && !head.tunnel;
                    if head.tunnel {
                        let protocol = head.upgrade.map(|span| span.of(bytes));
                        if protocol.is_some_and(|protocol| !is_asked(protocol, &self.asked)) {
                            return Err(DecodeError::Switch.into());
                        }
                        if let Some(body) = &mut self.wire.body {
                            body.switch()?;
                        }
                        self.wire.tunnel = true;
                        open_tunnel(message, protocol);
                    }
                    self.wire.read.consume(consumed);
                    return Ok(Some(PeerEvent::Head { end: head.end }));
                }
                Event::Interim(head) => {
                    message.head.adopt(bytes);
                    self.interim.clear();
                    std::mem::swap(&mut self.interim, &mut message.head);
                    self.wire.read.consume(consumed);
                    return Ok(Some(PeerEvent::Interim {
                        status: head.status,
                    }));
                }
                event => {
                    let told = self
                        .wire
                        .take_event(consumed, &event, &mut message.trailers);
                    // Behind trailers comes the end.
                    if told.is_some() || event != Event::Trailers {
                        return Ok(told);
                    }
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
            if self.wire.eof {
                return Poll::Ready(match self.decoder.eof()? {
                    Eof::End => Ok(PeerEvent::End),
                    Eof::Idle => Err(DecodeError::Truncated.into()),
                });
            }
            ready!(self.wire.poll_fill(cx, LARGEST_READ))?;
        }
    }

    #[inline]
    fn data(&self) -> &[u8] {
        self.wire.data()
    }

    fn pause(&mut self) {
        self.wire.pause();
    }

    #[inline]
    fn send_data(&mut self, cx: &mut Context<'_>, data: &[u8]) -> Result<(), PeerError> {
        self.wire.send_data(cx, data)
    }

    #[inline]
    fn send_end(&mut self, trailers: Option<&Head>) -> Result<(), PeerError> {
        self.wire.send_end(trailers)
    }

    #[inline]
    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), PeerError>> {
        self.wire.poll_flush(cx)
    }

    #[inline]
    fn unsent(&self) -> usize {
        self.wire.unsent()
    }
}

impl Upstream for Http1Client {
    fn has_unasked(&mut self) -> bool {
        self.wire.eof || !self.wire.read.is_empty() || self.wire.io.has_unread()
    }

    fn send_head(&mut self, message: &Message, complete: bool) -> Result<(), PeerError> {
        let head = &message.head;
        let method = head.pseudo(Pseudo::Method).unwrap_or_default();
        let connect = message.tunnel == Some(Tunnel::Connect);
        // A filter may not make a request one for a tunnel, nor the reverse.
        if connect != (method == b"CONNECT") {
            return Err(EncodeError::Method.into());
        }
        let upgrade = match message.tunnel {
            Some(Tunnel::Upgrade) => head.get(b"upgrade", 0),
            _ => None,
        };
        if upgrade.is_some() || !self.asked.is_empty() {
            self.asked.clear();
            self.asked.extend_from_slice(upgrade.unwrap_or_default());
        }
        let framing = match message.known_length() {
            // What follows the head is the tunnel's.
            _ if message.tunnel.is_some() => Framing::None,
            // An empty body that was announced is announced again (RFC 9110 section 8.6).
            Some(length) if !complete || length == 0 => Framing::Length(length),
            _ if complete => Framing::None,
            _ => Framing::Chunked,
        };
        let request = Request {
            method,
            target: head
                .pseudo(if connect {
                    Pseudo::Authority
                } else {
                    Pseudo::Path
                })
                .unwrap_or_default(),
            version: Version::Http11,
            framing,
            connection: upgrade.map_or(Connection::Default, Connection::Upgrade),
        };
        let host = Line::Field(b"Host", head.pseudo(Pseudo::Authority).unwrap_or_default());
        let tail = self.wire.tail();
        self.wire.body = Some(encode::request_head(
            tail,
            &request,
            iter::once(host).chain(head.wire_lines()),
        )?);
        self.decoder
            .begin(RequestKind::of(method, upgrade.is_some()));
        self.requests += 1;
        self.answered = false;
        self.keep_alive = true;
        self.wire.forget_data();
        self.wire.change_task();
        self.wire.write.forget_sent();
        Ok(())
    }

    fn has_sent(&self) -> bool {
        self.wire.write.has_sent()
    }

    #[inline]
    fn requests(&self) -> u64 {
        self.requests
    }

    #[inline]
    fn identity(&self) -> &Identity {
        &self.identity
    }

    #[inline]
    fn is_answered(&self) -> bool {
        self.answered
    }

    fn rest(&mut self) -> bool {
        self.wire.take_back();
        let request_is_sent =
            self.wire.write.is_empty() && (self.wire.body.take()).is_none_or(|body| body.is_over());
        let is_reusable = self.keep_alive
            && !self.wire.eof
            && self.decoder.is_idle()
            && self.wire.read.is_empty()
            && request_is_sent;
        self.wire.read.release(&self.wire.worker.buffers);
        is_reusable
    }

    #[inline]
    fn interim(&self) -> &Head {
        &self.interim
    }
}

/// The host has switched: its answer is the head of a tunnel.
#[cold]
fn open_tunnel(message: &mut Message, protocol: Option<&[u8]>) {
    message.tunnel = Some(match protocol {
        Some(protocol) => {
            message.head.push_own(b"Upgrade", protocol);
            Tunnel::Upgrade
        }
        None => Tunnel::Connect,
    });
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
