//! How clusters and their hosts stand: what is asked for by metrics and the admin API.

use transom_api::Node;
use transom_api::control::{MetricFamily, MetricSample, MetricValue};
use transom_api::metrics::MetricKind;

use crate::cluster::{Ailment, PreparedCluster};

/// A cluster at this moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterStatus {
    /// Its name.
    pub name: String,
    /// The name of its selector.
    pub load_balancing: String,
    /// So few hosts are healthy that requests go to all of them.
    pub panic: bool,
    /// Its connections, idle ones among them.
    pub connections: u32,
    /// Its active requests.
    pub requests: u32,
    /// Requests that wait for a connection.
    pub pending: u32,
    /// Requests that are being sent again.
    pub retries: u32,
    /// Its hosts, in the order of the configuration.
    pub hosts: Vec<HostStatus>,
}

/// A host at this moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostStatus {
    /// Where it is.
    pub address: String,
    /// Its share beside the other hosts' weights.
    pub weight: u32,
    /// Whether it is used.
    pub healthy: bool,
    /// Its health checks fail, or none has succeeded yet.
    pub failed_check: bool,
    /// It failed in traffic, and is left out for a while.
    pub ejected: bool,
    /// Why its last health check failed.
    pub failure: Option<String>,
    /// Requests and relayed connections that it has from all workers.
    pub active: u32,
    /// Connections that it has from all workers, idle ones among them.
    pub connections: u32,
}

impl ClusterStatus {
    pub(crate) fn of(cluster: &PreparedCluster) -> Self {
        let hosts: Vec<HostStatus> = cluster
            .hosts
            .iter()
            .zip(&cluster.weights)
            .map(|(host, weight)| HostStatus {
                address: host.text.clone(),
                weight: *weight,
                healthy: host.is_healthy(),
                failed_check: host.has(Ailment::FailedCheck),
                ejected: host.has(Ailment::Ejected),
                failure: host.failure(),
                active: host.active.get(),
                connections: host.connections.get(),
            })
            .collect();
        Self {
            name: cluster.config.name.clone(),
            load_balancing: cluster.selector.extension.as_str().to_owned(),
            panic: cluster.panics(),
            connections: cluster.state.connections.get(),
            requests: cluster.state.requests.get(),
            pending: cluster.state.pending.get(),
            retries: cluster.state.retries.get(),
            hosts,
        }
    }

    /// As data for the admin API.
    #[must_use]
    pub fn node(&self) -> Node {
        let hosts = self.hosts.iter().map(HostStatus::node);
        Node::map([
            ("name", self.name.as_str().into()),
            ("load_balancing", self.load_balancing.as_str().into()),
            ("panic", self.panic.into()),
            ("connections", i64::from(self.connections).into()),
            ("requests", i64::from(self.requests).into()),
            ("pending", i64::from(self.pending).into()),
            ("retries", i64::from(self.retries).into()),
            ("hosts", Node::list(hosts)),
        ])
    }
}

impl HostStatus {
    fn node(&self) -> Node {
        Node::map([
            ("address", self.address.as_str().into()),
            ("weight", i64::from(self.weight).into()),
            ("healthy", self.healthy.into()),
            ("failed_check", self.failed_check.into()),
            ("ejected", self.ejected.into()),
            (
                "failure",
                self.failure.as_deref().map_or_else(Node::null, Node::from),
            ),
            ("active", i64::from(self.active).into()),
            ("connections", i64::from(self.connections).into()),
        ])
    }
}

/// The gauges that are read off when they are asked for.
pub(super) fn families(clusters: &[ClusterStatus]) -> Vec<MetricFamily> {
    let gauge = |name: &str, help: &str, samples: Vec<MetricSample>| MetricFamily {
        name: format!("transom_{name}"),
        help: help.to_owned(),
        kind: MetricKind::Gauge,
        samples,
    };
    let of_cluster = |value: &dyn Fn(&ClusterStatus) -> i64| {
        let sample = |cluster: &ClusterStatus| MetricSample {
            labels: vec![("cluster".to_owned(), cluster.name.clone())],
            value: MetricValue::Number(value(cluster)),
        };
        clusters.iter().map(sample).collect()
    };
    let of_host = |value: &dyn Fn(&HostStatus) -> i64| {
        let sample = |cluster: &ClusterStatus, host: &HostStatus| MetricSample {
            labels: vec![
                ("cluster".to_owned(), cluster.name.clone()),
                ("host".to_owned(), host.address.clone()),
            ],
            value: MetricValue::Number(value(host)),
        };
        clusters
            .iter()
            .flat_map(|cluster| cluster.hosts.iter().map(move |host| sample(cluster, host)))
            .collect()
    };
    let mut families = vec![
        gauge(
            "cluster_hosts",
            "Hosts of a cluster.",
            of_cluster(&|cluster| cluster.hosts.len() as i64),
        ),
        gauge(
            "cluster_hosts_healthy",
            "Hosts of a cluster that are healthy.",
            of_cluster(&|cluster| cluster.hosts.iter().filter(|host| host.healthy).count() as i64),
        ),
        gauge(
            "cluster_panic",
            "1 while so few hosts of a cluster are healthy that requests go to all of them.",
            of_cluster(&|cluster| cluster.panic.into()),
        ),
        gauge(
            "cluster_connections_active",
            "Connections of a cluster, idle ones among them.",
            of_cluster(&|cluster| cluster.connections.into()),
        ),
        gauge(
            "cluster_requests_active",
            "Requests that a cluster has.",
            of_cluster(&|cluster| cluster.requests.into()),
        ),
        gauge(
            "cluster_requests_pending",
            "Requests that wait for a connection because a cluster has its most.",
            of_cluster(&|cluster| cluster.pending.into()),
        ),
        gauge(
            "cluster_retries_active",
            "Requests of a cluster that are being sent again.",
            of_cluster(&|cluster| cluster.retries.into()),
        ),
        gauge(
            "host_healthy",
            "1 while a host is healthy.",
            of_host(&|host| host.healthy.into()),
        ),
        gauge(
            "host_active",
            "Requests and relayed connections that a host has.",
            of_host(&|host| host.active.into()),
        ),
        gauge(
            "host_connections",
            "Connections that a host has, idle ones among them.",
            of_host(&|host| host.connections.into()),
        ),
    ];
    families.retain(|family| !family.samples.is_empty());
    families
}
