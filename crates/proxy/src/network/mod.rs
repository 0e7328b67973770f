//! Network filters: the bytes of a connection between its socket and what ends the chain.
//!
//! A chain without filters costs nothing: the terminal filter gets the socket itself. With filters it gets a
//! [`FilteredIo`], which looks like a socket and lets every byte pass the filters.

mod chain;
mod context;
pub(crate) mod tcp_proxy;

use std::rc::Rc;
use std::sync::Arc;

use transom_api::{FailurePolicy, NetworkFilterConfig, NetworkFilterWorker};

pub(crate) use self::chain::FilteredIo;
use self::tcp_proxy::TcpProxyListener;
use crate::cluster::AllowedClusters;
use crate::http::HttpListener;
use crate::tls::prepare::PreparedServerTls;
use crate::worker::Part;

/// The network filters of a chain, as one worker holds them.
pub(crate) struct Network {
    pub(crate) tls: Option<PreparedServerTls>,
    pub(crate) filters: Rc<[Rc<NetworkPlace>]>,
    pub(crate) terminal: Terminal,
}

/// One use of a network filter.
pub(crate) struct NetworkPlace {
    pub(crate) name: Rc<str>,
    pub(crate) policy: FailurePolicy,
    pub(crate) clusters: AllowedClusters,
    pub(crate) config: Arc<dyn NetworkFilterConfig>,
    pub(crate) part: Part<dyn NetworkFilterWorker>,
}

/// What ends a chain.
pub(crate) enum Terminal {
    Http(Rc<HttpListener>),
    TcpProxy(Rc<TcpProxyListener>),
}
