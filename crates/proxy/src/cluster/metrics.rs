//! What is counted of a cluster.

use std::sync::Arc;

use transom_api::{Counter, MetricError};
use transom_config::Cluster;

use crate::metrics::MetricStore;

/// The counters of a cluster. A cluster of the same name goes on with them.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ClusterMetrics {
    /// `None` without health checks.
    pub(crate) checks: Option<CheckMetrics>,
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
        let checks = |result| {
            metrics.counter(
                "health_checks_total",
                "Health checks that have ended, by their result.",
                &[("cluster", name), ("result", result)],
            )
        };
        Ok(Self {
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
