//! The upstream end of a protocol that the proxy does not know: an extension's codec on a connection to a host.

use std::borrow::Cow;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use transom_api::headers::{HeaderEntry, HeaderHost};
use transom_api::{
    Answer, ClientConnection, ClientProtocol, HeaderError, HeaderMap, Headers, ProtocolError,
};

use super::head::{Head, Presence, Pseudo};
use super::peer::{Peer, PeerError, PeerEvent, Upstream};
use super::wire::{LARGEST_READ, Wire};
use crate::cluster::{Connected, Identity};
use crate::stream::Message;
use crate::worker::Worker;

/// A connection to a host that is spoken to by an extension.
pub(crate) struct ForeignClient {
    wire: Wire,
    codec: Box<dyn ClientConnection>,
    got: Got,
    /// The piece of the body that the last event told of.
    shown: Vec<u8>,
    head_told: bool,
    /// The request was written to its end.
    request_over: bool,
    /// The codec has failed and is not called again.
    broken: bool,
    answered: bool,
    requests: u64,
    identity: Identity,
    interim: Head,
}

/// What the codec has read and nobody was told of.
#[derive(Default)]
struct Got {
    status: u16,
    fields: Vec<(Vec<u8>, Vec<u8>)>,
    head: bool,
    data: Vec<u8>,
    over: bool,
}

impl ForeignClient {
    pub(crate) fn new(
        connected: Connected,
        worker: Rc<Worker>,
        protocol: &dyn ClientProtocol,
    ) -> Self {
        let codec = catch_unwind(AssertUnwindSafe(|| protocol.connection()));
        Self {
            wire: Wire::new(connected.io, worker),
            broken: codec.is_err(),
            codec: codec.unwrap_or_else(|_| Box::new(Broken)),
            got: Got::default(),
            shown: Vec::new(),
            head_told: false,
            request_over: false,
            answered: false,
            requests: 0,
            identity: connected.identity,
            interim: Head::default(),
        }
    }

    /// Has the codec do something. One that panics is not called again.
    fn call<T>(
        &mut self,
        what: impl FnOnce(&mut Self) -> Result<T, ProtocolError>,
    ) -> Result<T, PeerError> {
        if self.broken {
            return Err(ProtocolError::new("its codec has failed").into());
        }
        let done = catch_unwind(AssertUnwindSafe(|| what(self)));
        let done = done.unwrap_or_else(|_| Err(ProtocolError::new("its codec panicked")));
        self.broken |= done.is_err();
        Ok(done?)
    }

    /// What there is to tell of what was read.
    fn next_event(&mut self, message: &mut Message) -> Result<Option<PeerEvent>, PeerError> {
        if self.got.head && !self.head_told {
            self.head_told = true;
            self.fill(&mut message.head)?;
            let end = self.got.over && self.got.data.is_empty();
            message.content_length = match self.got.over {
                true => Some(self.got.data.len() as u64),
                false => None,
            };
            return Ok(Some(PeerEvent::Head { end }));
        }
        if !self.head_told {
            return Ok(None);
        }
        if !self.got.data.is_empty() {
            std::mem::swap(&mut self.shown, &mut self.got.data);
            return Ok(Some(PeerEvent::Data));
        }
        Ok(self.got.over.then_some(PeerEvent::End))
    }

    fn fill(&mut self, head: &mut Head) -> Result<(), PeerError> {
        let status = self.got.status;
        if !(200..=599).contains(&status) {
            let message = format!("its answer has the status {status}");
            return Err(ProtocolError::new(message).into());
        }
        head.set_presence(Presence::Here);
        head.set_pseudo(Pseudo::Status, status.to_string().as_bytes());
        for (name, value) in self.got.fields.drain(..) {
            if is_of_connection(&name) {
                continue;
            }
            head.add(HeaderMap::ResponseHeaders, &name, &value)
                .map_err(|_| {
                    let name = String::from_utf8_lossy(&name).into_owned();
                    ProtocolError::new(format!("its answer has a bad field {name:?}"))
                })?;
        }
        Ok(())
    }

    /// Reads of what has come. True when the codec used some of it, or told something.
    fn decode(&mut self) -> Result<bool, PeerError> {
        let eof = self.wire.eof;
        if self.wire.read.is_empty() && !eof {
            return Ok(false);
        }
        let before = (self.got.head, self.got.data.len(), self.got.over);
        let consumed = self.call(|it| it.codec.read(it.wire.read.bytes(), eof, &mut it.got))?;
        let there = self.wire.read.bytes().len();
        self.wire.read.consume(consumed.min(there));
        let after = (self.got.head, self.got.data.len(), self.got.over);
        if consumed == 0 && before == after {
            // More than this is not read ahead for anybody.
            if there >= LARGEST_READ {
                return Err(ProtocolError::new("it does not come to an end").into());
            }
            return Ok(false);
        }
        Ok(true)
    }
}

/// Fields that say how HTTP/1 is framed. What frames an answer here is the other protocol.
pub(super) fn is_of_connection(name: &[u8]) -> bool {
    const NAMES: [&[u8]; 5] = [
        b"connection",
        b"content-length",
        b"keep-alive",
        b"transfer-encoding",
        b"upgrade",
    ];
    NAMES.iter().any(|known| name.eq_ignore_ascii_case(known))
}

impl Peer for ForeignClient {
    fn poll_event(
        &mut self,
        cx: &mut Context<'_>,
        message: &mut Message,
    ) -> Poll<Result<PeerEvent, PeerError>> {
        self.shown.clear();
        loop {
            self.answered |= !self.wire.read.is_empty();
            if self.got.head && !self.head_told {
                // An answer that is there as a whole has a length.
                while !self.got.over && self.got.data.len() < LARGEST_READ && self.decode()? {}
            }
            if let Some(event) = self.next_event(message)? {
                return Poll::Ready(Ok(event));
            }
            if self.decode()? {
                continue;
            }
            if self.wire.eof {
                return Poll::Ready(Err(match self.answered {
                    true => PeerError::CutOff,
                    false => PeerError::Unanswered,
                }));
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
        self.call(|it| it.codec.data(data, it.wire.tail()))
    }

    fn send_end(&mut self, trailers: Option<&Head>) -> Result<(), PeerError> {
        if std::mem::replace(&mut self.request_over, true) {
            // The head was all of it.
            return Ok(());
        }
        let none = Head::default();
        let shown = Shown(trailers.unwrap_or(&none));
        let trailers = Headers::new(&shown, HeaderMap::RequestTrailers);
        self.call(|it| it.codec.end(trailers, it.wire.tail()))
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), PeerError>> {
        self.wire.poll_flush(cx)
    }

    fn unsent(&self) -> usize {
        self.wire.unsent()
    }
}

impl Upstream for ForeignClient {
    fn send_head(&mut self, message: &Message, complete: bool) -> Result<(), PeerError> {
        if message.tunnel.is_some() {
            return Err(ProtocolError::unspeakable("it has no tunnels").into());
        }
        self.got = Got::default();
        self.head_told = false;
        self.answered = false;
        self.request_over = complete;
        self.requests += 1;
        self.wire.change_task();
        self.wire.write.forget_sent();
        let shown = Shown(&message.head);
        let head = Headers::new(&shown, HeaderMap::RequestHeaders);
        self.call(|it| it.codec.request(head, complete, it.wire.tail()))
    }

    fn interim(&self) -> &Head {
        &self.interim
    }

    fn is_answered(&self) -> bool {
        self.answered
    }

    fn has_sent(&self) -> bool {
        self.wire.write.has_sent()
    }

    fn requests(&self) -> u64 {
        self.requests
    }

    fn identity(&self) -> &Identity {
        &self.identity
    }

    fn rest(&mut self) -> bool {
        self.shown.clear();
        let is_over = self.got.over && self.got.data.is_empty() && self.request_over;
        let is_quiet = !self.wire.eof && self.wire.read.is_empty() && self.wire.write.is_empty();
        self.wire.read.release(&self.wire.worker.buffers);
        is_over && is_quiet && self.call(|it| Ok(it.codec.is_reusable())).unwrap_or(false)
    }

    fn has_unasked(&mut self) -> bool {
        self.wire.eof || !self.wire.read.is_empty() || self.wire.io.has_unread()
    }
}

impl Answer for Got {
    fn status(&mut self, status: u16) {
        self.status = status;
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

/// In place of a codec that could not be made.
struct Broken;

impl ClientConnection for Broken {
    fn request(
        &mut self,
        _head: Headers<'_>,
        _end: bool,
        _out: &mut Vec<u8>,
    ) -> Result<(), ProtocolError> {
        Ok(())
    }

    fn data(&mut self, _data: &[u8], _out: &mut Vec<u8>) -> Result<(), ProtocolError> {
        Ok(())
    }

    fn end(&mut self, _trailers: Headers<'_>, _out: &mut Vec<u8>) -> Result<(), ProtocolError> {
        Ok(())
    }

    fn read(
        &mut self,
        _bytes: &[u8],
        _eof: bool,
        _answer: &mut dyn Answer,
    ) -> Result<usize, ProtocolError> {
        Ok(0)
    }

    fn is_reusable(&self) -> bool {
        false
    }
}

/// A map as an extension reads it.
pub(super) struct Shown<'h>(pub(super) &'h Head);

impl HeaderHost for Shown<'_> {
    fn header(&self, _map: HeaderMap, name: &[u8], nth: usize) -> Option<Cow<'_, [u8]>> {
        self.0.get(name, nth).map(Cow::Borrowed)
    }

    fn header_at(&self, _map: HeaderMap, index: usize) -> Option<HeaderEntry<'_>> {
        self.0.at(index)
    }

    fn set_header(
        &mut self,
        _map: HeaderMap,
        _name: &[u8],
        _value: &[u8],
    ) -> Result<(), HeaderError> {
        Err(HeaderError::Released)
    }

    fn add_header(
        &mut self,
        _map: HeaderMap,
        _name: &[u8],
        _value: &[u8],
    ) -> Result<(), HeaderError> {
        Err(HeaderError::Released)
    }

    fn remove_header(&mut self, _map: HeaderMap, _name: &[u8]) -> Result<usize, HeaderError> {
        Err(HeaderError::Released)
    }
}

impl fmt::Debug for ForeignClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ForeignClient")
            .field("requests", &self.requests)
            .finish_non_exhaustive()
    }
}
