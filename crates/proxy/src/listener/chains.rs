//! The chains of a listener on one worker, and which connection takes which.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use transom_api::SocketInfo;
use transom_config::{ChainIndex, ConnectionFacts, OnTimeout, TransportProtocol};

use super::{ListenerLogs, ListenerPlace};
use crate::http::HttpListener;
use crate::network::{Network, Terminal};

/// What a listener does with connections, as of one activation.
pub(crate) struct Chains {
    pub(crate) listener_filters: Vec<Rc<ListenerPlace>>,
    pub(crate) access_logs: ListenerLogs,
    pub(crate) timeout: Duration,
    pub(crate) on_timeout: OnTimeout,
    /// Finds among the first of `chains`; the default chain, which stands behind them, is not in it.
    pub(crate) index: Arc<ChainIndex>,
    pub(crate) chains: Vec<Rc<WorkerChain>>,
    pub(crate) default: Option<Rc<WorkerChain>>,
}

/// A chain as one worker holds it. A connection keeps it; what is in it is replaced by activations.
pub(crate) struct WorkerChain {
    /// Unique in the listener; empty for the default chain.
    pub(crate) name: Rc<str>,
    network: RefCell<Rc<Network>>,
}

impl Chains {
    /// All of them.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Rc<WorkerChain>> {
        self.chains.iter().chain(&self.default)
    }

    /// The chain of this name.
    pub(crate) fn named(&self, name: &str) -> Option<&Rc<WorkerChain>> {
        self.all().find(|chain| *chain.name == *name)
    }

    /// The only chain, if nothing of a connection has to be known to find it.
    pub(crate) fn only(&self) -> Option<&Rc<WorkerChain>> {
        self.default.as_ref().filter(|_| self.chains.is_empty())
    }

    /// The chain of a connection. `None`: no chain is for it.
    pub(crate) fn find(&self, socket: &SocketInfo) -> Option<&Rc<WorkerChain>> {
        if self.chains.is_empty() {
            return self.default.as_ref();
        }
        let is_tls = socket.detected == Some("tls");
        let facts = ConnectionFacts {
            destination: socket.destination,
            server_name: socket.server_name.as_deref(),
            transport_protocol: if is_tls {
                TransportProtocol::Tls
            } else {
                TransportProtocol::Raw
            },
            application_protocols: &socket.application_protocols,
            direct_source: socket.direct_source.map(|address| address.ip()),
            source: socket.source,
        };
        self.index
            .find(&facts)
            .and_then(|index| self.chains.get(index))
            .or(self.default.as_ref())
    }
}

impl WorkerChain {
    pub(crate) fn new(name: &str, network: Rc<Network>) -> Self {
        Self {
            name: Rc::from(name),
            network: RefCell::new(network),
        }
    }

    /// What its connections get from now on.
    pub(crate) fn replace(&self, network: Rc<Network>) {
        drop(self.network.replace(network));
    }

    pub(crate) fn network(&self) -> Rc<Network> {
        Rc::clone(&self.network.borrow())
    }

    /// The current `http` filter, if that is what ends the chain.
    pub(crate) fn http(&self) -> Option<Rc<HttpListener>> {
        match &self.network.borrow().terminal {
            Terminal::Http(http) => Some(Rc::clone(http)),
            Terminal::TcpProxy(_) | Terminal::Filters => None,
        }
    }

    /// Whether `http` is the current one.
    pub(crate) fn has(&self, http: &Rc<HttpListener>) -> bool {
        matches!(&self.network.borrow().terminal, Terminal::Http(current) if Rc::ptr_eq(current, http))
    }
}
