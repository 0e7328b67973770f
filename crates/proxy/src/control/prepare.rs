//! From resources to a snapshot: parse, prepare, bind. What did not change is taken from the snapshot before.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::error::Elapsed;
use transom_api::{
    AccessLogConfig, Gauge, ListenerFilters, MetricError, NetworkFilters, PrepareError, Registry,
    SharedData, Span, StreamFilters,
};
use transom_config::{
    Chain, ChainIndex, Http, ListenAddress, Listener, NetworkFilter, Resources, ResponseOrder, Use,
};

mod choices;
mod clusters;
mod extensions;
mod network;
mod plugins;
mod routes;
mod sockets;
mod tls;

use self::extensions::Declared;
pub(crate) use self::extensions::PreparedExtensions;
pub(crate) use self::plugins::PreparedPlugins;
use super::ApplyError;
use super::snapshot::{
    PreparedChain, PreparedHttp, PreparedListener, PreparedTerminal, PreparedUse, Snapshot,
};
use crate::cluster::ClusterId;
use crate::http::HttpMetrics;
use crate::listener::limits::Total;
use crate::metrics::MetricStore;
use crate::stream::hop::Hop;
use crate::worker::inbox::WorkerInbox;

/// What stays from snapshot to snapshot, and what prepares them.
pub(crate) struct Preparer {
    pub(crate) registry: Arc<Registry>,
    pub(crate) metrics: Arc<MetricStore>,
    pub(crate) shared: SharedData,
    pub(crate) workers: usize,
    /// How workers are told of room for a connection, and are given connections.
    inboxes: Arc<[Arc<WorkerInbox>]>,
    /// The connections of all listeners.
    pub(crate) total: Arc<Total>,
    /// How many there may be, and the metric that tells.
    limit: AtomicU32,
    limit_metric: Gauge,
    /// Certificate providers tell by it that they have something new.
    pub(crate) told: Arc<Notify>,
    /// Registries tell by it that hosts are others.
    pub(crate) hosts_changed: Arc<Notify>,
    cluster_ids: BTreeMap<String, ClusterId>,
    generations: AtomicU64,
}

impl Preparer {
    pub(crate) fn new(
        registry: Arc<Registry>,
        metrics: Arc<MetricStore>,
        shared: SharedData,
        inboxes: Vec<Arc<WorkerInbox>>,
    ) -> Result<Self, MetricError> {
        let limit_metric = metrics.metrics().gauge(
            "connections_limit",
            "How many connections of clients the process may have.",
            &[],
        )?;
        Ok(Self {
            limit: AtomicU32::new(0),
            limit_metric,
            registry,
            metrics,
            shared,
            workers: inboxes.len(),
            total: Arc::new(Total::new(inboxes.len())),
            inboxes: inboxes.into(),
            told: Arc::default(),
            hosts_changed: Arc::default(),
            cluster_ids: BTreeMap::new(),
            generations: AtomicU64::new(0),
        })
    }

    /// Makes a snapshot of `resources`. Nothing of it is active yet; dropping it undoes all.
    pub(crate) async fn prepare(
        &mut self,
        version: u64,
        resources: &Resources,
        before: Option<&Snapshot>,
    ) -> Result<Snapshot, ApplyError> {
        let plugins = self.prepare_plugins(resources, before).await?;
        let declared = Declared::new(resources, before, plugins);
        let services = self.follow(resources, before, &declared).await?;
        let resources = &choices::with_hosts(resources, &services);
        let clusters = self
            .prepare_clusters(resources, before, &services, &declared)
            .await?;
        let mut listeners = BTreeMap::new();
        let mut udp_listeners = BTreeMap::new();
        for (name, listener) in &resources.listeners {
            if let ListenAddress::Udp(address) = listener.address.value {
                let prepared = self
                    .prepare_udp_listener(listener, address, before, &declared)
                    .await?;
                udp_listeners.insert(name.clone(), Arc::new(prepared));
                continue;
            }
            let known = before.and_then(|before| before.listeners.get(name));
            let prepared = self
                .prepare_listener(listener, resources, before, known, &declared)
                .await?;
            listeners.insert(name.clone(), prepared);
        }
        let (extensions, plugins) = declared.into_prepared();
        Ok(Snapshot {
            version,
            resources: resources.clone(),
            registry: Arc::clone(&self.registry),
            listeners,
            udp_listeners,
            clusters,
            extensions,
            plugins,
        })
    }

    async fn prepare_listener(
        &self,
        listener: &Arc<Listener>,
        resources: &Resources,
        before: Option<&Snapshot>,
        known: Option<&Arc<PreparedListener>>,
        declared: &Declared<'_>,
    ) -> Result<Arc<PreparedListener>, ApplyError> {
        let (sockets, rebound) = self.sockets(listener, before, known)?;
        let mut listener_filters = Vec::new();
        for used in listener
            .listener_filters
            .iter()
            .filter(|used| !used.disabled)
        {
            let known = known.and_then(|known| {
                known
                    .listener_filters
                    .iter()
                    .find(|known| known.name == used.id)
            });
            listener_filters.push(
                self.prepare_use::<ListenerFilters>(used, known, declared)
                    .await?,
            );
        }
        let known_logs = known.map_or(&[][..], |known| &known.access_logs);
        let access_logs = self
            .prepare_logs(&listener.access_logs, known_logs, declared)
            .await?;
        let mut chains = Vec::new();
        for chain in listener.chains() {
            let known = known.and_then(|known| known.chain(chain.name));
            let prepared = self.prepare_chain(&chain, listener, resources, before, known, declared);
            chains.push(prepared.await?);
        }
        let index = ChainIndex::new(listener.filter_chains.iter().map(|chain| &chain.matches))
            .map_err(|_| {
                ApplyError::new(format!(
                    "two filter chains of the listener `{}` match the same connections",
                    listener.name
                ))
            })?;
        Ok(Arc::new(PreparedListener {
            limits: self.listener_limits(listener, known.map(|known| &known.limits))?,
            config: Arc::clone(listener),
            listener_filters,
            access_logs,
            index: Arc::new(index),
            chains,
            sockets,
            rebound,
        }))
    }

    async fn prepare_chain(
        &self,
        chain: &Chain<'_>,
        listener: &Listener,
        resources: &Resources,
        before: Option<&Snapshot>,
        known: Option<&PreparedChain>,
        declared: &Declared<'_>,
    ) -> Result<PreparedChain, ApplyError> {
        let tls = match chain.tls {
            Some(tls) => {
                let known = known.and_then(|known| known.tls.as_ref());
                let name = listener.name.as_str();
                Some(self.prepare_server_tls(name, tls, known, declared).await?)
            }
            None => None,
        };
        let mut network_filters = Vec::new();
        let mut terminal = None;
        for filter in chain.network_filters {
            match filter {
                NetworkFilter::Http(http) => {
                    terminal = Some(
                        self.prepare_http(http, listener, resources, before, known, declared)
                            .await?,
                    );
                }
                NetworkFilter::TcpProxy(proxy) => {
                    terminal = Some(
                        self.prepare_tcp_proxy(proxy, listener, known, declared)
                            .await?,
                    );
                }
                // The loader has put it at an address for datagrams.
                NetworkFilter::UdpProxy(_) => {}
                NetworkFilter::Extension(used) if used.disabled => {}
                NetworkFilter::Extension(used) => {
                    let known = known.and_then(|known| {
                        known
                            .network_filters
                            .iter()
                            .find(|known| known.name == used.id)
                    });
                    network_filters.push(
                        self.prepare_use::<NetworkFilters>(used, known, declared)
                            .await?,
                    );
                }
            }
        }
        let ends_itself = network_filters.last().is_some_and(|used| used.is_terminal);
        let terminal = terminal
            .or_else(|| ends_itself.then_some(PreparedTerminal::Filters))
            .ok_or_else(|| {
                ApplyError::new(format!(
                    "the listener `{}` has neither `http` nor `tcp_proxy`, and its last network filter answers nobody",
                    listener.name
                ))
            })?;
        Ok(PreparedChain {
            name: chain.name.to_owned(),
            tls,
            network_filters,
            terminal,
        })
    }

    async fn prepare_http(
        &self,
        http: &Http,
        listener: &Listener,
        resources: &Resources,
        before: Option<&Snapshot>,
        known: Option<&PreparedChain>,
        declared: &Declared<'_>,
    ) -> Result<PreparedTerminal, ApplyError> {
        let known_terminal = known.map(|known| &known.terminal);
        let known = match known_terminal {
            Some(PreparedTerminal::Http(known)) => Some(&**known),
            _ => None,
        };
        let mut uses = Vec::new();
        for used in http.stream_filters.iter().filter(|used| !used.disabled) {
            let known =
                known.and_then(|known| known.uses.iter().find(|known| known.name == used.id));
            let mut prepared = self
                .prepare_use::<StreamFilters>(used, known, declared)
                .await?;
            prepared.phase = used.phase.unwrap_or(prepared.own_phase);
            uses.push(prepared);
        }
        let access_logs = self
            .prepare_access_logs(&http.access_logs, known_terminal, declared)
            .await?;
        let table = resources
            .route_tables
            .get(&http.route_table.value)
            .ok_or_else(|| {
                ApplyError::at(
                    http.route_table.span,
                    format!("there is no route table `{}`", http.route_table.value),
                    "name one of `route_tables`, or write `virtual_hosts` here",
                )
            })?;
        let same_table = before
            .and_then(|before| before.resources.route_tables.get(&http.route_table.value))
            == Some(table);
        let same_filters = known.is_some_and(|known| {
            known.uses.len() == uses.len()
                && known
                    .uses
                    .iter()
                    .zip(&uses)
                    .all(|(a, b)| a.name == b.name && Arc::ptr_eq(&a.config, &b.config))
        });
        let table = match known.filter(|_| same_table && same_filters) {
            Some(known) if known.table.name == table.name => Arc::clone(&known.table),
            _ => Arc::new(self.prepare_routes(table, http, &uses, declared)?),
        };
        Ok(PreparedTerminal::Http(Box::new(PreparedHttp {
            limits: PreparedHttp::codec_limits(http),
            uses,
            access_logs,
            table,
            protocol: self
                .prepare_server(
                    http,
                    known.and_then(|known| known.protocol.as_ref()),
                    declared,
                )
                .await?,
            reverse_responses: http.response_order == ResponseOrder::Reverse,
            request_body: http.limits.request_body,
            upgrades: http.upgrades.clone(),
            half_close: http.half_close,
            timeouts: http.timeouts,
            local_reply: http.local_reply,
            paths: http.paths,
            forward_client_certificate: http.forward_client_certificate,
            hop: Arc::new(Hop::new(&http.hop)),
            watermark: usize::try_from(http.watermark).unwrap_or(usize::MAX).max(1),
            metrics: self.http_metrics(&listener.name)?,
        })))
    }

    async fn prepare_access_logs(
        &self,
        uses: &[Use],
        known: Option<&PreparedTerminal>,
        declared: &Declared<'_>,
    ) -> Result<Vec<PreparedUse<dyn AccessLogConfig>>, ApplyError> {
        let known = known.map_or(&[][..], PreparedTerminal::access_logs);
        self.prepare_logs(uses, known, declared).await
    }

    fn next_generation(&self) -> u64 {
        self.generations.fetch_add(1, Ordering::Relaxed) + 1
    }

    fn cluster_id(
        &self,
        cluster: &transom_config::Located<String>,
    ) -> Result<ClusterId, ApplyError> {
        self.cluster_ids
            .get(&cluster.value)
            .copied()
            .ok_or_else(|| {
                ApplyError::at(
                    cluster.span,
                    format!("there is no cluster `{}`", cluster.value),
                    "name one of `clusters`",
                )
            })
    }

    fn http_metrics(&self, listener: &str) -> Result<HttpMetrics, ApplyError> {
        let metrics = self.metrics.metrics();
        let by_class = |class: &str| {
            metrics.counter(
                "requests_total",
                "Requests that were answered, by the first digit of the status; `none` for those without an answer.",
                &[("listener", listener), ("code_class", class)],
            )
        };
        Ok(HttpMetrics {
            requests: [
                by_class("none")?,
                by_class("1xx")?,
                by_class("2xx")?,
                by_class("3xx")?,
                by_class("4xx")?,
                by_class("5xx")?,
            ],
            active: metrics.gauge(
                "requests_active",
                "Requests that are being served.",
                &[("listener", listener)],
            )?,
            tunnels: metrics.gauge(
                "tunnels_active",
                "Tunnels of CONNECT and Upgrade that are open.",
                &[("listener", listener)],
            )?,
            duration: metrics.histogram(
                "request_duration_seconds",
                "From a request's head to the end of its answer; without tunnels.",
                &[("listener", listener)],
            )?,
        })
    }
}

/// How long one extension, or one plugin, may take to prepare: start, compile, fetch.
const PREPARE_LIMIT: Duration = Duration::from_secs(30);

/// What became of a prepare. `what` says what could not be done; the place is that of the use or declaration.
fn failure_of<T>(
    outcome: Result<Result<T, PrepareError>, Elapsed>,
    what: &str,
    span: Option<Span>,
) -> Result<T, ApplyError> {
    let stays = "the configuration that was active stays active";
    match outcome {
        Ok(Ok(prepared)) => Ok(prepared),
        Ok(Err(error)) => Err(ApplyError {
            message: format!("{what}: {}", error.message),
            help: match (error.span, error.help) {
                (None, None) => Some(stays.to_owned()),
                (_, help) => help,
            },
            span: error.span.or(span),
        }),
        Err(_) => Err(ApplyError::at(
            span,
            format!("{what}: it took longer than {} s", PREPARE_LIMIT.as_secs()),
            stays,
        )),
    }
}
