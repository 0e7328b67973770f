//! What is learnt of a connection while it lives, for the access log of its listener.

use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::rc::Rc;

use crate::cluster::UpstreamConnection;
use crate::error::Flags;
use crate::stream::info::StreamInfo;

/// What is learnt of a connection while it lives. Whoever ends the chain of network filters fills it in.
#[derive(Debug, Default)]
pub(crate) struct ConnectionNotes {
    received: Cell<u64>,
    sent: Cell<u64>,
    flags: Cell<Flags>,
    /// Apart, because most connections live and end without: their requests have such notes of their own.
    pub(super) upstream: RefCell<Option<Box<UpstreamNotes>>>,
}

/// Where a connection went.
#[derive(Debug, Default)]
pub(crate) struct UpstreamNotes {
    /// The name of the cluster.
    pub(crate) cluster: Option<Rc<str>>,
    /// The host's address.
    pub(crate) host: Option<String>,
    /// The connection to the host.
    pub(crate) connection: Option<Rc<UpstreamConnection>>,
    /// Why TLS with the host failed.
    pub(crate) failure: Option<Cow<'static, str>>,
    /// How many connections to hosts were tried.
    pub(crate) attempts: u32,
}

impl ConnectionNotes {
    /// Bytes that came from the client.
    pub(crate) fn received(&self) -> u64 {
        self.received.get()
    }

    /// Bytes that went to the client.
    pub(crate) fn sent(&self) -> u64 {
        self.sent.get()
    }

    pub(crate) fn add_received(&self, count: usize) {
        self.received.set(self.received.get() + count as u64);
    }

    pub(crate) fn add_sent(&self, count: usize) {
        self.sent.set(self.sent.get() + count as u64);
    }

    /// What happened.
    pub(crate) fn flags(&self) -> Flags {
        self.flags.get()
    }

    /// Takes over what the end of the chain knows of the connection.
    pub(crate) fn fill(&self, info: &StreamInfo) {
        self.add_flags(info.flags);
        let mut upstream = self.upstream.borrow_mut();
        let upstream = upstream.get_or_insert_default();
        upstream.cluster.clone_from(&info.cluster);
        upstream.host = (info.upstream.as_ref()).map(|host| host.host.text.clone());
        upstream.connection.clone_from(&info.upstream_connection);
        upstream.failure.clone_from(&info.upstream_failure);
        upstream.attempts = info.attempts;
    }

    pub(crate) fn add_flags(&self, flags: Flags) {
        self.flags.set(self.flags.get() | flags);
    }
}
