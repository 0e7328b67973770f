//! The upstream end of whatever protocol the host speaks.

use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;

use super::client::Http1Client;
use super::foreign::ForeignClient;
use super::head::Head;
use super::peer::{Peer, PeerError, PeerEvent, Upstream};
use super::raw::RawClient;
use crate::cluster::{Connected, Identity, WorkerHost};
use crate::stream::Message;
use crate::worker::Worker;

/// A connection to a host, or a stream of one. An enum and not a trait object: what pools, exchanges and callouts do with
/// it on each request is no indirect call.
#[derive(Debug)]
pub(crate) enum HostPeer {
    Http1(Box<Http1Client>),
    /// A tunnel that ends here.
    Raw(Box<RawClient>),
    /// An extension's protocol.
    Foreign(Box<ForeignClient>),
}

impl HostPeer {
    /// The end that speaks to a host on a fresh connection.
    pub(crate) fn new(connected: Connected, worker: &Rc<Worker>, host: &WorkerHost) -> Self {
        if let Some(client) = &host.choices.client {
            let worker = Rc::clone(worker);
            let foreign = ForeignClient::new(connected, worker, &*client.config);
            return Self::Foreign(Box::new(foreign));
        }
        Self::Http1(Box::new(Http1Client::new(connected, Rc::clone(worker))))
    }

    /// The end of a tunnel on a fresh connection.
    pub(crate) fn raw(connected: Connected, worker: &Rc<Worker>) -> Self {
        Self::Raw(Box::new(RawClient::new(connected, Rc::clone(worker))))
    }
}

/// Does the same with whichever it is.
macro_rules! each {
    ($self:ident, $peer:ident => $call:expr) => {
        match $self {
            Self::Http1($peer) => $call,
            Self::Raw($peer) => $call,
            Self::Foreign($peer) => $call,
        }
    };
}

impl Peer for HostPeer {
    #[inline]
    fn poll_event(
        &mut self,
        cx: &mut Context<'_>,
        message: &mut Message,
    ) -> Poll<Result<PeerEvent, PeerError>> {
        each!(self, peer => peer.poll_event(cx, message))
    }

    #[inline]
    fn data(&self) -> &[u8] {
        each!(self, peer => peer.data())
    }

    #[inline]
    fn pause(&mut self) {
        each!(self, peer => peer.pause());
    }

    #[inline]
    fn send_data(&mut self, cx: &mut Context<'_>, data: &[u8]) -> Result<(), PeerError> {
        each!(self, peer => peer.send_data(cx, data))
    }

    fn take_data(&mut self) -> Bytes {
        each!(self, peer => peer.take_data())
    }

    fn send_bytes(&mut self, cx: &mut Context<'_>, data: Bytes) -> Result<(), PeerError> {
        each!(self, peer => peer.send_bytes(cx, data))
    }

    #[inline]
    fn send_from(&mut self, cx: &mut Context<'_>, from: &mut impl Peer) -> Result<(), PeerError> {
        each!(self, peer => peer.send_from(cx, from))
    }

    #[inline]
    fn send_end(&mut self, trailers: Option<&Head>) -> Result<(), PeerError> {
        each!(self, peer => peer.send_end(trailers))
    }

    #[inline]
    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), PeerError>> {
        each!(self, peer => peer.poll_flush(cx))
    }

    #[inline]
    fn unsent(&self) -> usize {
        each!(self, peer => peer.unsent())
    }
}

impl Upstream for HostPeer {
    #[inline]
    fn send_head(&mut self, message: &Message, complete: bool) -> Result<(), PeerError> {
        each!(self, peer => peer.send_head(message, complete))
    }

    #[inline]
    fn interim(&self) -> &Head {
        each!(self, peer => peer.interim())
    }

    #[inline]
    fn is_answered(&self) -> bool {
        each!(self, peer => peer.is_answered())
    }

    #[inline]
    fn has_sent(&self) -> bool {
        each!(self, peer => peer.has_sent())
    }

    #[inline]
    fn requests(&self) -> u64 {
        each!(self, peer => peer.requests())
    }

    #[inline]
    fn identity(&self) -> &Identity {
        each!(self, peer => peer.identity())
    }

    #[inline]
    fn rest(&mut self) -> bool {
        each!(self, peer => peer.rest())
    }

    #[inline]
    fn has_unasked(&mut self) -> bool {
        each!(self, peer => peer.has_unasked())
    }
}
