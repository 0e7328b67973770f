//! Network filters: the bytes of a connection between its socket and what ends the chain.
//!
//! A chain without filters costs nothing: the terminal filter gets the socket itself. With filters it gets a
//! [`FilteredIo`], which looks like a socket and lets every byte pass the filters.

pub(crate) mod alone;
mod chain;
mod context;
mod datagram;
pub(crate) mod record;
mod relay;
pub(crate) mod targets;
pub(crate) mod tcp_proxy;
pub(crate) mod udp_proxy;

use std::rc::Rc;
use std::sync::Arc;

use transom_api::{FailurePolicy, NetworkFilterConfig, NetworkFilterWorker};

pub(crate) use self::chain::FilteredIo;
pub(crate) use self::datagram::Batch;
use self::tcp_proxy::TcpProxyListener;
use crate::cluster::AllowedClusters;
use crate::gate::Gate;
use crate::http::HttpListener;
use crate::stream::chain::AccessLogPlace;
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
    /// For which connections it works; `None` is all.
    pub(crate) gate: Option<Gate>,
    pub(crate) clusters: AllowedClusters,
    pub(crate) config: Arc<dyn NetworkFilterConfig>,
    pub(crate) part: Part<dyn NetworkFilterWorker>,
}

/// What ends a chain.
pub(crate) enum Terminal {
    Http(Rc<HttpListener>),
    TcpProxy(Rc<TcpProxyListener>),
    /// The last filter of the chain itself.
    Filters,
}

impl Terminal {
    /// What records the connections or streams that end here.
    pub(crate) fn access_logs(&self) -> &[Rc<AccessLogPlace>] {
        match self {
            Self::Http(http) => &http.chain.access_logs,
            Self::TcpProxy(proxy) => &proxy.access_logs,
            Self::Filters => &[],
        }
    }
}
