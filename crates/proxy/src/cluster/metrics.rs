//! What is counted of a cluster.

use std::sync::Arc;

use transom_api::{Counter, MetricError};
use transom_config::Cluster;

use crate::metrics::MetricStore;

/// The counters of a cluster. A cluster of the same name goes on with them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ClusterMetrics {
    /// Connections that were begun.
    pub(crate) connections: Counter,
    pub(crate) connect_failures: Counter,
    pub(crate) retries: Counter,
    pub(crate) ejections: Counter,
    pub(crate) overflows: Overflows,
    /// `None` without health checks.
    pub(crate) checks: Option<CheckMetrics>,
}

/// What was refused because a bound was reached.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Overflows {
    pub(crate) connections: Counter,
    pub(crate) requests: Counter,
    pub(crate) retries: Counter,
}

/// The counters of a cluster's health checks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CheckMetrics {
    pub(crate) succeeded: Counter,
    pub(crate) failed: Counter,
}

impl ClusterMetrics {
    pub(crate) fn define(
        metrics: &Arc<MetricStore>,
        cluster: &Cluster,
    ) -> Result<Self, MetricError> {
        let metrics = metrics.metrics();
        let name = cluster.name.as_str();
        let plain = |metric, help| metrics.counter(metric, help, &[("cluster", name)]);
        let overflows = |bound| {
            metrics.counter(
                "cluster_overflows_total",
                "Requests, connections and retries that were refused because a cluster had its most.",
                &[("cluster", name), ("bound", bound)],
            )
        };
        let checks = |result| {
            metrics.counter(
                "health_checks_total",
                "Health checks that have ended, by their result.",
                &[("cluster", name), ("result", result)],
            )
        };
        Ok(Self {
            connections: plain(
                "cluster_connections_total",
                "Connections to hosts that were begun.",
            )?,
            connect_failures: plain(
                "cluster_connect_failures_total",
                "Connections to hosts that could not be made.",
            )?,
            retries: plain(
                "cluster_retries_total",
                "Requests that were sent again by the policy of their route.",
            )?,
            ejections: plain(
                "cluster_ejections_total",
                "Hosts that were left out for a while after failures in traffic.",
            )?,
            overflows: Overflows {
                connections: overflows("connections")?,
                requests: overflows("requests")?,
                retries: overflows("retries")?,
            },
            checks: match cluster.health_check {
                Some(_) => Some(CheckMetrics {
                    succeeded: checks("success")?,
                    failed: checks("failure")?,
                }),
                None => None,
            },
        })
    }
}
