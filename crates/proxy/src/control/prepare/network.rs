//! The network filters that carry bytes and datagrams to clusters.

use std::sync::Arc;

use transom_config::{Listener, TcpProxy, WeightedCluster};

use super::Preparer;
use super::extensions::Declared;
use crate::control::ApplyError;
use crate::control::snapshot::{PreparedListener, PreparedTcpProxy, PreparedTerminal};
use crate::network::targets::{Shares, Targets};
use crate::network::tcp_proxy::{TcpProxyMetrics, TcpProxyOptions};

impl Preparer {
    pub(super) async fn prepare_tcp_proxy(
        &self,
        proxy: &TcpProxy,
        listener: &Listener,
        known: Option<&Arc<PreparedListener>>,
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
