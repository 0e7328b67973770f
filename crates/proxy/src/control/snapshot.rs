//! A configuration made ready: what the control side hands to every worker. Immutable, and shared in its unchanged parts
//! with the snapshot before.

use std::collections::BTreeMap;
use std::sync::Arc;

use transom_api::{
    AccessLogConfig, FailurePolicy, ListenerFilterConfig, NetworkFilterConfig, Node, Phase,
    Registry, ServerProtocol, StreamFilterConfig, UseBounds,
};
use transom_config::{
    ChainIndex, ExtensionName, ForwardClientCertificate, HalfClose, Http, HttpTimeouts,
    ListenAddress, Listener, LocalReplyOptions, PathOptions, Resources,
};
use transom_http1::Limits;

use super::prepare::{PreparedExtensions, PreparedPlugins};
use crate::cluster::{AllowedClusters, PreparedCluster};
use crate::gate::PreparedGate;
use crate::http::{HttpMetrics, HttpOptions};
use crate::listener::limits::ListenerLimits;
use crate::network::tcp_proxy::TcpProxyOptions;
use crate::network::udp_proxy::{UdpProxyOptions, UdpSocketSet};
use crate::router::RouteTable;
use crate::socket::SocketSet;
use crate::stream::hop::Hop;
use crate::tls::prepare::PreparedServerTls;

/// A configuration made ready.
#[derive(Clone)]
pub(crate) struct Snapshot {
    pub(crate) version: u64,
    /// What it was made from, for the difference to the next.
    pub(crate) resources: Resources,
    /// The extensions that it was made with: held, so that the address of a factory stays that factory's.
    #[expect(dead_code, reason = "held for its life only")]
    pub(crate) registry: Arc<Registry>,
    pub(crate) listeners: BTreeMap<String, Arc<PreparedListener>>,
    pub(crate) udp_listeners: BTreeMap<String, Arc<PreparedUdpListener>>,
    pub(crate) clusters: BTreeMap<String, Arc<PreparedCluster>>,
    /// The declared extensions that something uses.
    pub(crate) extensions: PreparedExtensions,
    /// The declared plugins.
    pub(crate) plugins: PreparedPlugins,
}

/// A listener made ready.
#[derive(Clone)]
pub(crate) struct PreparedListener {
    pub(crate) config: Arc<Listener>,
    pub(crate) listener_filters: Vec<PreparedUse<dyn ListenerFilterConfig>>,
    pub(crate) access_logs: Vec<PreparedUse<dyn AccessLogConfig>>,
    /// Finds the chain of a connection among the first of `chains`.
    pub(crate) index: Arc<ChainIndex>,
    /// Those with a match in their order, then the default chain, if there is one: it has no name.
    pub(crate) chains: Vec<PreparedChain>,
    pub(crate) sockets: Arc<SocketSet>,
    /// Its sockets are not those that it had in the snapshot before.
    pub(crate) rebound: bool,
    pub(crate) limits: ListenerLimits,
}

/// A chain made ready.
#[derive(Clone)]
pub(crate) struct PreparedChain {
    pub(crate) name: String,
    pub(crate) tls: Option<PreparedServerTls>,
    pub(crate) network_filters: Vec<PreparedUse<dyn NetworkFilterConfig>>,
    pub(crate) terminal: PreparedTerminal,
}

/// A listener for datagrams made ready.
pub(crate) struct PreparedUdpListener {
    pub(crate) config: Arc<Listener>,
    pub(crate) options: UdpProxyOptions,
    pub(crate) access_logs: Vec<PreparedUse<dyn AccessLogConfig>>,
    pub(crate) sockets: Arc<UdpSocketSet>,
    /// Its sockets are not those that it had in the snapshot before.
    pub(crate) rebound: bool,
    pub(crate) limits: ListenerLimits,
}

/// What ends the chain of network filters.
#[derive(Clone)]
pub(crate) enum PreparedTerminal {
    Http(Box<PreparedHttp>),
    TcpProxy(Box<PreparedTcpProxy>),
    /// The last network filter itself.
    Filters,
}

/// The `tcp_proxy` network filter made ready.
#[derive(Clone)]
pub(crate) struct PreparedTcpProxy {
    pub(crate) options: TcpProxyOptions,
    pub(crate) access_logs: Vec<PreparedUse<dyn AccessLogConfig>>,
}

/// The `http` network filter made ready.
#[derive(Clone)]
pub(crate) struct PreparedHttp {
    pub(crate) uses: Vec<PreparedUse<dyn StreamFilterConfig>>,
    pub(crate) access_logs: Vec<PreparedUse<dyn AccessLogConfig>>,
    pub(crate) table: Arc<RouteTable>,
    /// What clients speak; `None` is HTTP/1.
    pub(crate) protocol: Option<PreparedUse<dyn ServerProtocol>>,
    pub(crate) reverse_responses: bool,
    pub(crate) limits: Limits,
    pub(crate) request_body: Option<u64>,
    pub(crate) upgrades: Vec<String>,
    pub(crate) half_close: HalfClose,
    pub(crate) timeouts: HttpTimeouts,
    pub(crate) local_reply: LocalReplyOptions,
    pub(crate) paths: PathOptions,
    pub(crate) forward_client_certificate: ForwardClientCertificate,
    pub(crate) hop: Arc<Hop>,
    pub(crate) watermark: usize,
    pub(crate) metrics: HttpMetrics,
}

/// A use of an extension made ready.
pub(crate) struct PreparedUse<C: ?Sized> {
    pub(crate) name: String,
    pub(crate) extension: ExtensionName,
    /// The declaration that it is a use of.
    pub(crate) declared: Option<String>,
    /// Where its factory lies; the snapshot's registry keeps it there.
    pub(crate) factory: usize,
    /// The configuration that it was prepared from: an equal one is not prepared again.
    pub(crate) node: Node,
    pub(crate) config: Arc<C>,
    /// Counts up with every preparation in the process.
    pub(crate) generation: u64,
    /// The phase that the use asked for, or its kind's own.
    pub(crate) phase: Phase,
    pub(crate) own_phase: Phase,
    pub(crate) policy: FailurePolicy,
    /// For which requests and connections it works; `None` is all.
    pub(crate) gate: Option<Arc<PreparedGate>>,
    /// What it was prepared to have on its way to its plugin.
    pub(crate) bounds: UseBounds,
    pub(crate) clusters: AllowedClusters,
    /// A network filter that ends its chain.
    pub(crate) is_terminal: bool,
}

impl<C: ?Sized> Clone for PreparedUse<C> {
    fn clone(&self) -> Self {
        Self {
            name: self.name.clone(),
            extension: self.extension.clone(),
            declared: self.declared.clone(),
            factory: self.factory,
            node: self.node.clone(),
            config: Arc::clone(&self.config),
            generation: self.generation,
            phase: self.phase,
            own_phase: self.own_phase,
            policy: self.policy,
            gate: self.gate.clone(),
            bounds: self.bounds,
            clusters: self.clusters.clone(),
            is_terminal: self.is_terminal,
        }
    }
}

impl<C: ?Sized> PreparedUse<C> {
    /// Whether it was prepared from this extension, an equal configuration and for the same bounds.
    pub(crate) fn stands_for(
        &self,
        factory: usize,
        extension: &ExtensionName,
        node: &Node,
        bounds: &UseBounds,
    ) -> bool {
        self.factory == factory
            && self.extension == *extension
            && self.node == *node
            && self.bounds == *bounds
    }
}

impl PreparedHttp {
    pub(crate) fn options(&self) -> HttpOptions {
        HttpOptions {
            limits: self.limits,
            request_body: self.request_body,
            timeouts: self.timeouts,
            metrics: self.metrics,
            upgrades: self
                .upgrades
                .iter()
                .map(|it| it.clone().into_bytes().into())
                .collect(),
            half_close: self.half_close,
        }
    }

    /// The codec's limits out of the configuration's. The loader has checked the ranges.
    pub(crate) fn codec_limits(http: &Http) -> Limits {
        Limits {
            request_line: u32::try_from(http.limits.request_line).unwrap_or(u32::MAX),
            head: u32::try_from(http.limits.head).unwrap_or(u32::MAX),
            fields: u16::try_from(http.limits.fields).unwrap_or(u16::MAX),
            allow_bare_lf_in_head: http.allow_bare_lf,
            ..Limits::default()
        }
    }
}

impl PreparedTerminal {
    /// What records the connections or streams that end here.
    pub(crate) fn access_logs(&self) -> &[PreparedUse<dyn AccessLogConfig>] {
        match self {
            Self::Http(http) => &http.access_logs,
            Self::TcpProxy(proxy) => &proxy.access_logs,
            Self::Filters => &[],
        }
    }
}

impl PreparedListener {
    /// Where it listens; port 0 is the port that it got.
    pub(crate) fn address(&self) -> ListenAddress {
        match self.sockets.address() {
            Some(address) => ListenAddress::Tcp(address),
            None => self.config.address.value.clone(),
        }
    }

    pub(crate) fn chain(&self, name: &str) -> Option<&PreparedChain> {
        self.chains.iter().find(|chain| chain.name == name)
    }
}

impl PreparedChain {
    fn http(&self) -> Option<&PreparedHttp> {
        match &self.terminal {
            PreparedTerminal::Http(http) => Some(http),
            PreparedTerminal::TcpProxy(_) | PreparedTerminal::Filters => None,
        }
    }

    fn stream_filter(&self, filter: &str) -> Option<&PreparedUse<dyn StreamFilterConfig>> {
        let mut uses = self.http()?.uses.iter();
        uses.find(|used| used.name == filter)
    }
}

impl Snapshot {
    /// A stream filter's use in a listener. In a listener with several chains `filter` is `chain/filter`, or the first
    /// chain's that has such a filter.
    pub(crate) fn stream_filter(
        &self,
        listener: &str,
        filter: &str,
    ) -> Option<&PreparedUse<dyn StreamFilterConfig>> {
        let (chain, filter) = self.filter_place(listener, filter)?;
        chain.stream_filter(filter)
    }

    /// Whether a route of a listener says something of a stream filter.
    pub(crate) fn routes_name(&self, listener: &str, filter: &str) -> bool {
        self.filter_place(listener, filter)
            .and_then(|(chain, filter)| Some(chain.http()?.table.overrides(filter)))
            .unwrap_or_default()
    }

    /// The same snapshot with another generation of a stream filter. What it was declared as stays, so that a reload of
    /// the same declaration keeps the generation.
    pub(crate) fn with_generation(
        &self,
        listener: &str,
        filter: &str,
        config: &Arc<dyn StreamFilterConfig>,
        generation: u64,
    ) -> Self {
        let mut next = self.clone();
        let place = self.filter_place(listener, filter);
        if let (Some((chain, filter)), Some(listener)) = (place, next.listeners.get_mut(listener)) {
            let mut changed = PreparedListener::clone(listener);
            let mut chains = changed.chains.iter_mut();
            if let Some(PreparedTerminal::Http(http)) = chains
                .find(|it| it.name == chain.name)
                .map(|chain| &mut chain.terminal)
            {
                for used in http.uses.iter_mut().filter(|used| used.name == filter) {
                    used.config = Arc::clone(config);
                    used.generation = generation;
                }
            }
            *listener = Arc::new(changed);
        }
        next
    }

    /// The chain that a filter's place is in, and the name of the filter there.
    fn filter_place<'f>(
        &self,
        listener: &str,
        filter: &'f str,
    ) -> Option<(&PreparedChain, &'f str)> {
        let listener = self.listeners.get(listener)?;
        let (chain, name) = split_place(filter);
        let mut chains = listener.chains.iter();
        let chain = chains.find(|it| {
            chain.is_none_or(|chain| it.name == chain) && it.stream_filter(name).is_some()
        });
        chain.map(|chain| (chain, name))
    }
}

/// `chain/filter` in its parts. Names of filters have no slash.
pub(crate) fn split_place(filter: &str) -> (Option<&str>, &str) {
    match filter.rsplit_once('/') {
        Some((chain, filter)) => (Some(chain), filter),
        None => (None, filter),
    }
}
