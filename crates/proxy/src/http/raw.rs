//! The upstream end of a tunnel that ends here: a host that gets bytes and no HTTP.

use std::fmt;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use transom_http1::{Event, Span};

use super::head::{Head, Presence, Pseudo};
use super::peer::{Peer, PeerError, PeerEvent, Upstream};
use super::tunnel::Tunnel;
use super::wire::{LARGEST_READ, Wire};
use crate::cluster::{Connected, Identity};
use crate::stream::Message;
use crate::worker::Worker;

/// A connection to a host for the bytes of one tunnel. To the exchange it looks like a host that answers a CONNECT.
pub(crate) struct RawClient {
    wire: Wire,
    answered: bool,
    identity: Identity,
    interim: Head,
}

impl RawClient {
    pub(crate) fn new(connected: Connected, worker: Rc<Worker>) -> Self {
        Self {
            wire: Wire::new(connected.io, worker),
            answered: false,
            identity: connected.identity,
            interim: Head::default(),
        }
    }
}

impl Peer for RawClient {
    fn poll_event(
        &mut self,
        cx: &mut Context<'_>,
        message: &mut Message,
    ) -> Poll<Result<PeerEvent, PeerError>> {
        if !self.answered {
            self.answered = true;
            message.head.set_presence(Presence::Here);
            message.head.set_pseudo(Pseudo::Status, b"200");
            message.tunnel = Some(Tunnel::Connect);
            return Poll::Ready(Ok(PeerEvent::Head { end: false }));
        }
        self.wire.take_back();
        loop {
            let len = self.wire.read.bytes().len();
            if len > 0 {
                let data: Event<()> = Event::Data(Span {
                    start: 0,
                    len: len as u32,
                });
                self.wire.take_event(len, &data, &mut message.trailers);
                return Poll::Ready(Ok(PeerEvent::Data));
            }
            if self.wire.eof {
                return Poll::Ready(Ok(PeerEvent::End));
            }
            ready!(self.wire.poll_fill(cx, LARGEST_READ))?;
        }
    }

    fn data(&self) -> &[u8] {
        self.wire.data()
    }

    fn pause(&mut self) {
        self.wire.pause();
    }

    fn send_data(&mut self, cx: &mut Context<'_>, data: &[u8]) -> Result<(), PeerError> {
        self.wire.send_raw(cx, data)
    }

    fn send_end(&mut self, _trailers: Option<&Head>) -> Result<(), PeerError> {
        self.wire.shut();
        Ok(())
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), PeerError>> {
        self.wire.poll_flush(cx)
    }

    fn unsent(&self) -> usize {
        self.wire.unsent()
    }
}

impl Upstream for RawClient {
    fn send_head(&mut self, _message: &Message, _complete: bool) -> Result<(), PeerError> {
        Ok(())
    }

    fn interim(&self) -> &Head {
        &self.interim
    }

    fn is_answered(&self) -> bool {
        self.answered
    }

    fn requests(&self) -> u64 {
        1
    }

    fn identity(&self) -> &Identity {
        &self.identity
    }

    fn rest(&mut self) -> bool {
        false
    }

    fn has_unasked(&mut self) -> bool {
        true
    }
}

impl fmt::Debug for RawClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RawClient").finish_non_exhaustive()
    }
}
