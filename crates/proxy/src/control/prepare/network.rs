//! The network filters that carry bytes and datagrams to clusters.

use std::net::SocketAddr;
use std::sync::Arc;

use transom_config::{Listener, NetworkFilter, TcpProxy, WeightedCluster};

use super::Preparer;
use super::extensions::Declared;
use super::sockets::cannot_listen;
use crate::control::ApplyError;
use crate::control::snapshot::{
    PreparedChain, PreparedTcpProxy, PreparedTerminal, PreparedUdpListener, Snapshot,
};
use crate::network::targets::{Shares, Targets};
use crate::network::tcp_proxy::{TcpProxyMetrics, TcpProxyOptions};
use crate::network::udp_proxy::{Dropped, UdpProxyMetrics, UdpProxyOptions, UdpSocketSet};

impl Preparer {
    pub(super) async fn prepare_tcp_proxy(
        &self,
        proxy: &TcpProxy,
        listener: &Listener,
        known: Option<&PreparedChain>,
        declared: &Declared<'_>,
    ) -> Result<PreparedTerminal, ApplyError> {
        let known = known.map(|known| &known.terminal);
        Ok(PreparedTerminal::TcpProxy(Box::new(PreparedTcpProxy {
            options: TcpProxyOptions {
                targets: self.targets(&proxy.targets)?,
                idle_timeout: proxy.idle_timeout,
                max_duration: proxy.max_duration,
                connect_attempts: proxy.connect_attempts,
                metrics: self.tcp_proxy_metrics(&listener.name)?,
            },
            access_logs: self
                .prepare_access_logs(&proxy.access_logs, known, declared)
                .await?,
        })))
    }

    /// A listener for datagrams.
    pub(super) async fn prepare_udp_listener(
        &self,
        listener: &Arc<Listener>,
        address: SocketAddr,
        before: Option<&Snapshot>,
        declared: &Declared<'_>,
    ) -> Result<PreparedUdpListener, ApplyError> {
        let [NetworkFilter::UdpProxy(proxy)] = listener.network_filters.as_slice() else {
            return Err(ApplyError::at(
                listener.address.span,
                format!("the listener `{}` takes datagrams", listener.name),
                "`udp_proxy` is the only network filter for them",
            ));
        };
        let listeners = before.map(|before| &before.udp_listeners);
        let known = listeners.and_then(|listeners| listeners.get(&listener.name));
        let (sockets, rebound) = udp_sockets(address, listener, self.workers, before)?;
        let known_logs = known.map_or(&[][..], |known| &known.access_logs);
        let mut limits = self.listener_limits(listener, known.map(|known| &known.limits))?;
        limits.most = Some(limits.most.unwrap_or(u32::MAX).min(proxy.max_sessions));
        Ok(PreparedUdpListener {
            limits,
            options: UdpProxyOptions {
                targets: self.targets(&proxy.targets)?,
                idle_timeout: proxy.idle_timeout,
                replies: proxy.replies,
                hash_source: proxy.hash_source,
                metrics: self.udp_proxy_metrics(&listener.name)?,
            },
            access_logs: self
                .prepare_logs(&proxy.access_logs, known_logs, declared)
                .await?,
            config: Arc::clone(listener),
            sockets,
            rebound,
        })
    }

    fn udp_proxy_metrics(&self, listener: &str) -> Result<UdpProxyMetrics, ApplyError> {
        let metrics = self.metrics.metrics();
        let labels = [("listener", listener)];
        let counter = |name, help| metrics.counter(name, help, &labels);
        let mut dropped = Vec::with_capacity(Dropped::NAMES.len());
        for reason in Dropped::NAMES {
            dropped.push(metrics.counter(
                "udp_proxy_dropped_total",
                "Datagrams that went nowhere.",
                &[("listener", listener), ("reason", reason)],
            )?);
        }
        Ok(UdpProxyMetrics {
            sessions: metrics.gauge(
                "udp_proxy_sessions_active",
                "Sessions that there are.",
                &labels,
            )?,
            sessions_total: counter("udp_proxy_sessions_total", "Sessions that began.")?,
            received: counter("udp_proxy_received_total", "Datagrams of clients.")?,
            received_bytes: counter("udp_proxy_received_bytes_total", "Their bytes.")?,
            sent: counter("udp_proxy_sent_total", "Datagrams of hosts.")?,
            sent_bytes: counter("udp_proxy_sent_bytes_total", "Their bytes.")?,
            idle_timeouts: counter(
                "udp_proxy_idle_timeouts_total",
                "Sessions that were over because no datagram came.",
            )?,
            host_errors: counter(
                "udp_proxy_host_errors_total",
                "Sessions that were over because the host was not there.",
            )?,
            dropped: dropped
                .try_into()
                .map_err(|_| ApplyError::new("a reason has no counter".to_owned()))?,
        })
    }

    pub(super) fn targets(&self, targets: &transom_config::Targets) -> Result<Targets, ApplyError> {
        let routes = targets.routes.iter();
        let routes = routes.map(|route| Ok((route.clone(), self.shares(&route.clusters)?)));
        Ok(Targets {
            routes: routes.collect::<Result<_, ApplyError>>()?,
            others: self.shares(&targets.clusters)?,
        })
    }

    fn shares(&self, clusters: &[WeightedCluster]) -> Result<Shares, ApplyError> {
        let mut shares = Vec::with_capacity(clusters.len());
        for weighted in clusters {
            shares.push((weighted.weight, self.cluster_id(&weighted.cluster)?));
        }
        Ok(Shares::new(shares.into_iter()))
    }

    fn tcp_proxy_metrics(&self, listener: &str) -> Result<TcpProxyMetrics, ApplyError> {
        let metrics = self.metrics.metrics();
        let labels = [("listener", listener)];
        let counter = |name, help| metrics.counter(name, help, &labels);
        let broken = |by| {
            metrics.counter(
                "tcp_proxy_broken_total",
                "Joined connections that the client or the host broke off.",
                &[("listener", listener), ("by", by)],
            )
        };
        Ok(TcpProxyMetrics {
            unavailable: counter(
                "tcp_proxy_unavailable_total",
                "Connections that ended because no host could be connected.",
            )?,
            no_cluster: counter(
                "tcp_proxy_no_cluster_total",
                "Connections that ended because no route, or no cluster, took them.",
            )?,
            joined: metrics.gauge(
                "tcp_proxy_joined_active",
                "Connections that are joined with a host.",
                &labels,
            )?,
            connect_failures: counter(
                "tcp_proxy_connect_failures_total",
                "Attempts to connect a host that failed.",
            )?,
            connect_time: metrics.histogram(
                "tcp_proxy_connect_seconds",
                "How long it took to connect a host.",
                &labels,
            )?,
            received: counter(
                "tcp_proxy_received_bytes_total",
                "Bytes of clients that went to hosts.",
            )?,
            sent: counter(
                "tcp_proxy_sent_bytes_total",
                "Bytes of hosts that went to clients.",
            )?,
            idle_timeouts: counter(
                "tcp_proxy_idle_timeouts_total",
                "Connections that were closed because nothing moved on them.",
            )?,
            duration_limits: counter(
                "tcp_proxy_duration_limits_total",
                "Connections that were closed because their time was over.",
            )?,
            broken: [broken("client")?, broken("host")?],
        })
    }
}

/// The sockets of a listener: those that it has, those of the listener that had this address, or new ones.
fn udp_sockets(
    address: SocketAddr,
    listener: &Listener,
    workers: usize,
    before: Option<&Snapshot>,
) -> Result<(Arc<UdpSocketSet>, bool), ApplyError> {
    let listeners = before.map(|before| &before.udp_listeners);
    let has = |prepared: &PreparedUdpListener| {
        prepared.config.address.value == listener.address.value
            || prepared.sockets.address() == address
    };
    let known = listeners.and_then(|listeners| listeners.get(&listener.name));
    if let Some(known) = known.filter(|known| has(known)) {
        return Ok((Arc::clone(&known.sockets), false));
    }
    // Port 0 is a new port each time; any other address may move from one listener to another.
    let owner = listeners
        .filter(|_| address.port() != 0)
        .and_then(|listeners| listeners.values().find(|prepared| has(prepared)));
    if let Some(owner) = owner {
        return Ok((Arc::clone(&owner.sockets), true));
    }
    let sockets =
        UdpSocketSet::bind(address, workers).map_err(|error| cannot_listen(listener, &error))?;
    Ok((Arc::new(sockets), true))
}
