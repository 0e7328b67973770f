//! The downstream end of a protocol that the proxy does not know: an extension's codec on a client's connection.

use std::fmt;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use transom_api::{Asked, HeaderMap, Headers, ProtocolError, ServerConnection, ServerProtocol};
use transom_config::HalfClose;

use super::foreign::{Shown, is_of_connection};
use super::head::{Head, Presence, Pseudo};
use super::peer::{Downstream, Peer, PeerError, PeerEvent};
use super::wire::{LARGEST_READ, Wire};
use crate::io::Io;
use crate::stream::Message;
use crate::worker::Worker;

/// A connection of a client that speaks an extension's protocol, and the request on it that is being served.
pub(crate) struct ForeignServer {
    wire: Wire,
    half_close: HalfClose,
    secure: bool,
    /// `None`: it could not be made, or has failed and is not called again.
    codec: Option<Box<dyn ServerConnection>>,
    got: Got,
    /// The piece of the body that the last event told of.
    shown: Vec<u8>,
    answer_over: bool,
}

/// What the codec has read and nobody was told of.
#[derive(Default)]
struct Got {
    method: Vec<u8>,
    path: Vec<u8>,
    authority: Vec<u8>,
    fields: Vec<(Vec<u8>, Vec<u8>)>,
    head: bool,
    data: Vec<u8>,
    over: bool,
}

impl ForeignServer {
    pub(crate) fn new(
        io: Io,
        worker: Rc<Worker>,
        half_close: HalfClose,
        secure: bool,
        protocol: Option<&dyn ServerProtocol>,
    ) -> Self {
        Self {
            wire: Wire::new(io, worker),
            half_close,
            secure,
            codec: protocol
                .and_then(|protocol| catch_unwind(AssertUnwindSafe(|| protocol.connection())).ok()),
            got: Got::default(),
            shown: Vec::new(),
            answer_over: false,
        }
    }

    /// Waits until the head of a request is there. False when the client went away before one.
    pub(super) fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<Result<bool, PeerError>> {
        loop {
            if self.got.head {
                return Poll::Ready(Ok(true));
            }
            if self.decode()? {
                continue;
            }
            if self.wire.eof {
                return Poll::Ready(Ok(false));
            }
            ready!(self.wire.poll_fill(cx, LARGEST_READ))?;
        }
    }

    /// Makes the request of its head. True when that is all of it.
    pub(super) fn take_head(&mut self, message: &mut Message) -> Result<bool, PeerError> {
        let head = &mut message.head;
        head.set_presence(Presence::Here);
        let scheme: &[u8] = if self.secure { b"https" } else { b"http" };
        let got = &mut self.got;
        for (name, value) in [
            (":method", &got.method),
            (":path", &got.path),
            (":authority", &got.authority),
        ] {
            if name == ":authority" && value.is_empty() {
                continue;
            }
            head.set(HeaderMap::RequestHeaders, name.as_bytes(), value)
                .map_err(|_| ProtocolError::new(format!("a request has a bad {name}")))?;
        }
        if got.method == b"CONNECT" {
            return Err(ProtocolError::new("it has no tunnels").into());
        }
        head.set_pseudo(Pseudo::Scheme, scheme);
        for (name, value) in got.fields.drain(..) {
            if is_of_connection(&name) {
                continue;
            }
            head.add(HeaderMap::RequestHeaders, &name, &value)
                .map_err(|_| {
                    let name = String::from_utf8_lossy(&name).into_owned();
                    ProtocolError::new(format!("a request has a bad field {name:?}"))
                })?;
        }
        self.answer_over = false;
        if self.got.over {
            message.content_length = Some(self.got.data.len() as u64);
        }
        Ok(self.got.over && self.got.data.is_empty())
    }

    /// Between requests, with nothing of one there.
    pub(super) fn is_idle(&self) -> bool {
        self.wire.read.is_empty() && !self.got.head
    }

    /// Whether another request may follow, and makes ready for it.
    pub(super) fn rest(&mut self) -> bool {
        let is_over = self.got.over && self.answer_over;
        self.got = Got::default();
        self.shown.clear();
        let expects_more = !self.wire.eof || !self.wire.read.is_empty();
        self.wire.release_if_empty();
        is_over
            && expects_more
            && self
                .call(|codec, _| Ok(codec.is_reusable()))
                .unwrap_or(false)
    }

    pub(super) fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.wire.io.poll_shutdown(cx)
    }

    /// Has the codec do something. One that fails or panics is not called again.
    fn call<T>(
        &mut self,
        what: impl FnOnce(&mut dyn ServerConnection, &mut Vec<u8>) -> Result<T, ProtocolError>,
    ) -> Result<T, PeerError> {
        let Some(codec) = self.codec.as_deref_mut() else {
            return Err(ProtocolError::new("its codec has failed").into());
        };
        let tail = self.wire.tail();
        let done = catch_unwind(AssertUnwindSafe(|| what(codec, tail)));
        let done = done.unwrap_or_else(|_| Err(ProtocolError::new("its codec panicked")));
        if done.is_err() {
            self.codec = None;
        }
        Ok(done?)
    }

    /// Reads of what has come. True when the codec used some of it, or told something.
    fn decode(&mut self) -> Result<bool, PeerError> {
        let eof = self.wire.eof;
        // What comes behind a request is another one: it waits.
        if self.got.over || self.wire.read.is_empty() && !eof {
            return Ok(false);
        }
        let Some(codec) = self.codec.as_deref_mut() else {
            return Err(ProtocolError::new("its codec has failed").into());
        };
        let (bytes, got) = (self.wire.read.bytes(), &mut self.got);
        let before = (got.head, got.data.len(), got.over);
        let read = catch_unwind(AssertUnwindSafe(|| codec.read(bytes, eof, got)));
        let read = read.unwrap_or_else(|_| Err(ProtocolError::new("its codec panicked")));
        let there = bytes.len();
        let consumed = match read {
            Ok(consumed) => consumed,
            Err(error) => {
                self.codec = None;
                return Err(error.into());
            }
        };
        self.wire.read.consume(consumed.min(there));
        let after = (self.got.head, self.got.data.len(), self.got.over);
        if consumed == 0 && before == after {
            // More than this is not read ahead for anybody.
            if there >= LARGEST_READ {
                return Err(ProtocolError::new("a request does not come to an end").into());
            }
            return Ok(false);
        }
        Ok(true)
    }
}

impl Peer for ForeignServer {
    fn poll_event(
        &mut self,
        cx: &mut Context<'_>,
        _message: &mut Message,
    ) -> Poll<Result<PeerEvent, PeerError>> {
        self.shown.clear();
        loop {
            if !self.got.data.is_empty() {
                std::mem::swap(&mut self.shown, &mut self.got.data);
                return Poll::Ready(Ok(PeerEvent::Data));
            }
            if self.got.over {
                return Poll::Ready(Ok(PeerEvent::End));
            }
            if self.decode()? {
                continue;
            }
            if self.wire.eof {
                return Poll::Ready(Err(PeerError::CutOff));
            }
            ready!(self.wire.poll_fill(cx, LARGEST_READ))?;
        }
    }

    fn data(&self) -> &[u8] {
        &self.shown
    }

    fn pause(&mut self) {
        self.shown.clear();
        self.wire.pause();
    }

    fn send_data(&mut self, _cx: &mut Context<'_>, data: &[u8]) -> Result<(), PeerError> {
        self.call(|codec, out| codec.data(data, out))
    }

    fn send_end(&mut self, trailers: Option<&Head>) -> Result<(), PeerError> {
        if std::mem::replace(&mut self.answer_over, true) {
            // The head was all of it.
            return Ok(());
        }
        let none = Head::default();
        let shown = Shown(trailers.unwrap_or(&none));
        let trailers = Headers::new(&shown, HeaderMap::ResponseTrailers);
        self.call(|codec, out| codec.end(trailers, out))
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), PeerError>> {
        self.wire.poll_flush(cx)
    }

    fn unsent(&self) -> usize {
        self.wire.unsent()
    }
}

impl Downstream for ForeignServer {
    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while !self.wire.eof && self.wire.read.is_empty() {
            if ready!(self.wire.poll_fill(cx, LARGEST_READ)).is_err() {
                return Poll::Ready(());
            }
        }
        if self.wire.eof && self.half_close == HalfClose::Abort {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }

    fn request_ended(&self) -> bool {
        self.got.over && self.got.data.is_empty()
    }

    fn invite_body(&mut self) -> Result<(), PeerError> {
        Ok(())
    }

    fn awaits_invitation(&self) -> bool {
        false
    }

    /// Interim responses are HTTP's.
    fn send_interim(&mut self, _status: u16, _head: &Head) -> Result<(), PeerError> {
        Ok(())
    }

    fn send_head(
        &mut self,
        message: &Message,
        complete: bool,
        close: bool,
    ) -> Result<(), PeerError> {
        if message.tunnel.is_some() {
            return Err(ProtocolError::unspeakable("it has no tunnels").into());
        }
        self.answer_over = complete;
        let shown = Shown(&message.head);
        let head = Headers::new(&shown, HeaderMap::ResponseHeaders);
        self.call(|codec, out| codec.response(head, complete, close, out))
    }
}

impl Asked for Got {
    fn request(&mut self, method: &[u8], path: &[u8], authority: &[u8]) {
        self.method = method.to_vec();
        self.path = path.to_vec();
        self.authority = authority.to_vec();
    }

    fn field(&mut self, name: &[u8], value: &[u8]) {
        self.fields.push((name.to_vec(), value.to_vec()));
    }

    fn head_end(&mut self) {
        self.head = true;
    }

    fn data(&mut self, data: &[u8]) {
        self.data.extend_from_slice(data);
    }

    fn end(&mut self) {
        self.head = true;
        self.over = true;
    }
}

impl fmt::Debug for ForeignServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ForeignServer").finish_non_exhaustive()
    }
}
