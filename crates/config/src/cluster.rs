//! Clusters and the hosts they are made of.

use std::net::IpAddr;
use std::time::Duration;

use crate::{
    CircuitBreakers, ClusterTls, HealthCheck, HostAddress, IpNetwork, OutlierDetection, Use,
};

/// A set of hosts that answer alike, and how to reach them.
#[derive(Clone, Debug, PartialEq)]
pub struct Cluster {
    /// Its name.
    pub name: String,
    /// Which selector chooses a host: `round_robin` unless another is named, and then it has no place.
    pub load_balancing: Use,
    /// How long a connection may take to be made; 5 s, more than zero.
    pub connect_timeout: Duration,
    /// Its hosts.
    pub host_set: String,
    /// The service whose hosts a registry knows, in place of those of the host set; `None`: there is no registry.
    pub discovery: Option<Discovery>,
    /// How sockets are connected; `None`: `tcp` and `unix` as the hosts' addresses are.
    pub transport: Option<Use>,
    /// The protocol that its hosts speak; `None` is HTTP/1.1.
    pub client: Option<Use>,
    /// Hosts that clients choose; `None`: those of the host set.
    pub original_dst: Option<OriginalDst>,
    /// What a host is told of whose connection it is; `None`: nothing.
    pub proxy_protocol: Option<ProxyProtocol>,
    /// Which hosts are left out after failures in traffic; `None`: none.
    pub outlier_detection: Option<OutlierDetection>,
    /// Health is passed over while fewer than so many percent of the hosts are healthy, 0 to 100; 50, zero is never.
    pub panic_threshold: u32,
    /// How the health of its hosts is found out; `None`: they count as healthy.
    pub health_check: Option<HealthCheck>,
    /// What it may have at once.
    pub circuit_breakers: CircuitBreakers,
    /// How connections are kept.
    pub pool: Pool,
    /// TLS that its hosts are spoken to with; `None` for plain bytes.
    pub tls: Option<ClusterTls>,
}

/// A service whose hosts a registry knows.
#[derive(Clone, Debug, PartialEq)]
pub struct Discovery {
    /// The name of the service.
    pub service: String,
    /// The registry. Where none was named it is the one that was chosen, and has no place.
    pub registry: Use,
}

/// How a cluster's connections are kept for the next request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pool {
    /// How long an unused one is kept; 60 s, zero is not at all.
    pub idle_timeout: Duration,
    /// How many unused ones a worker keeps for each host; 128.
    pub max_idle: u32,
    /// After how many requests one is closed; `None` is never.
    pub max_requests_per_connection: Option<u64>,
    /// How many connections a host has from all workers at most, used ones among them; `None` is no bound.
    pub max_connections_per_host: Option<u32>,
    /// How old one may be before it is not used for another request; `None` is any age.
    pub max_age: Option<Duration>,
}

/// The hosts of a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostSet {
    /// Its name.
    pub name: String,
    /// The hosts. No address is there twice.
    pub hosts: Vec<Host>,
}

/// A host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    /// Where it is.
    pub address: HostAddress,
    /// Its share of the traffic beside the other hosts' weights, from 1 to 128; 1.
    pub weight: u32,
}

/// A cluster whose host is where each client wanted to go.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct OriginalDst {
    /// Where clients may be brought to; empty: anywhere.
    pub networks: Vec<IpNetwork>,
    /// The port that is connected; `None`: the client's choice.
    pub port: Option<u16>,
}

/// The header of PROXY protocol that a connection to a host begins with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProxyProtocol {
    /// Its version.
    pub version: ProxyVersion,
    /// Additional values of version 2, in this order.
    pub values: Vec<ProxyValue>,
}

/// A version of PROXY protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyVersion {
    /// A line of text.
    V1,
    /// Binary.
    V2,
}

/// An additional value (TLV) of PROXY protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyValue {
    /// The server name that the client asked for.
    Authority,
    /// The protocol that was agreed on with the client.
    Alpn,
    /// An identifier of the client's connection.
    UniqueId,
}

impl ProxyValue {
    /// The word for it in a configuration.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Authority => "authority",
            Self::Alpn => "alpn",
            Self::UniqueId => "unique_id",
        }
    }
}

impl OriginalDst {
    /// Whether clients may be brought there.
    #[must_use]
    pub fn allows(&self, ip: IpAddr) -> bool {
        self.networks.is_empty() || self.networks.iter().any(|network| network.contains(ip))
    }
}
