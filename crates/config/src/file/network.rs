//! The network filters that carry bytes and datagrams to clusters.

use std::borrow::Cow;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use serde::de::Deserializer;
use transom_api::{Networks, Node};

use super::leaf::tried;
use super::{AccessLogUse, Items, NonZeroTime, Ranged, Time, Use, WeightedCluster};
use crate::decode::{Verbatim, refuse};
use crate::{AddressSet, Located, PortSet};

/// The configuration of the network filter `tcp_proxy`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct TcpProxy {
    /// The name of the cluster that connections go to. Either this or `weighted_clusters`, or neither when `routes` are there: then connections that no route takes are closed.
    #[serde(default)]
    pub(crate) cluster: Option<Located<String>>,
    /// Clusters among which connections are shared out, in place of `cluster`.
    #[serde(default, deserialize_with = "tried")]
    pub(crate) weighted_clusters: Option<Located<Items<Located<WeightedCluster>>>>,
    /// Other clusters for connections with certain addresses. The first that fits decides.
    #[serde(default, deserialize_with = "tried")]
    pub(crate) routes: Items<Located<AddressRoute>>,
    /// After this time without a byte either way a connection is closed. `0s` is never.
    #[serde(default = "tcp_idle_timeout", deserialize_with = "tried")]
    pub(crate) idle_timeout: Time,
    /// After this time a connection is closed, whatever it does. Never when it is left out.
    #[serde(default, deserialize_with = "tried")]
    pub(crate) max_duration: Option<NonZeroTime>,
    /// How many hosts are tried before a connection is given up. Each has the cluster's `connect_timeout`.
    #[serde(default = "connect_attempts", deserialize_with = "tried")]
    pub(crate) connect_attempts: Ranged<1, 100>,
    /// What records each connection when it is over.
    #[serde(default, deserialize_with = "tried")]
    #[schemars(with = "Vec<AccessLogUse>")]
    pub(crate) access_logs: Items<Located<Use>>,
}

/// The configuration of the network filter `udp_proxy`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct UdpProxy {
    /// The name of the cluster that datagrams go to. Either this or `weighted_clusters`, or neither when `routes` are there: then datagrams that no route takes are dropped.
    #[serde(default)]
    pub(crate) cluster: Option<Located<String>>,
    /// Clusters among which sessions are shared out, in place of `cluster`.
    #[serde(default, deserialize_with = "tried")]
    pub(crate) weighted_clusters: Option<Located<Items<Located<WeightedCluster>>>>,
    /// Other clusters for clients with certain addresses. The first that fits decides.
    #[serde(default, deserialize_with = "tried")]
    pub(crate) routes: Items<Located<AddressRoute>>,
    /// After this time without a datagram either way a session is over. Longer than zero.
    #[serde(default = "udp_idle_timeout", deserialize_with = "tried")]
    pub(crate) idle_timeout: NonZeroTime,
    /// How many sessions there may be at once, on all workers. Datagrams of other clients are dropped.
    #[serde(default = "max_sessions", deserialize_with = "tried")]
    pub(crate) max_sessions: Ranged<1, 1_000_000>,
    /// How many datagrams a host answers to each one of a client: a session is over when they have come. Not known when it is left out.
    #[serde(default, deserialize_with = "tried")]
    pub(crate) replies: Option<Ranged<1, 1_000_000>>,
    /// Chooses the host by this, so that clients keep theirs: `source_ip`. By the cluster's load balancing when it is left out.
    #[serde(default, deserialize_with = "tried")]
    pub(crate) hash: Option<HashBy>,
    /// What records each session when it is over.
    #[serde(default, deserialize_with = "tried")]
    #[schemars(with = "Vec<AccessLogUse>")]
    pub(crate) access_logs: Items<Located<Use>>,
}

/// What a host is chosen by.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub(crate) enum HashBy {
    SourceIp,
}

/// Clusters for clients with certain addresses. All conditions that are written must hold.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct AddressRoute {
    /// The client's address is one of these: `192.0.2.1`, `10.0.0.0/8`.
    #[serde(default, deserialize_with = "tried")]
    #[schemars(with = "Option<Vec<String>>")]
    pub(crate) source: Option<AddressSet>,
    /// The client's port is one of these: `53`, `1024..2047`.
    #[serde(default, deserialize_with = "tried")]
    #[schemars(with = "Option<Vec<PortRange>>")]
    pub(crate) source_ports: Option<PortSet>,
    /// The address that the client sent to is one of these.
    #[serde(default, deserialize_with = "tried")]
    #[schemars(with = "Option<Vec<String>>")]
    pub(crate) destination: Option<AddressSet>,
    /// The port that the client sent to is one of these.
    #[serde(default, deserialize_with = "tried")]
    #[schemars(with = "Option<Vec<PortRange>>")]
    pub(crate) destination_ports: Option<PortSet>,
    /// The name of the cluster that these clients go to. Either this or `weighted_clusters`.
    #[serde(default)]
    pub(crate) cluster: Option<Located<String>>,
    /// Clusters among which they are shared out.
    #[serde(default, deserialize_with = "tried")]
    pub(crate) weighted_clusters: Option<Located<Items<Located<WeightedCluster>>>>,
}

/// Only in the schema.
struct PortRange;

impl JsonSchema for PortRange {
    fn schema_name() -> Cow<'static, str> {
        "port".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": ["integer", "string"], "minimum": 0, "maximum": 65535, "pattern": r"^[0-9]+(\.\.[0-9]+)?$",
        })
    }
}

impl<'de> Deserialize<'de> for AddressSet {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Verbatim(node) = Verbatim::deserialize(deserializer)?;
        let networks = Networks::parse(&node).map_err(refuse)?;
        let list = node.as_list().map_err(refuse)?.iter();
        let text = list.filter_map(|item| item.as_str().ok());
        Ok(Self {
            text: text.map(str::to_owned).collect(),
            networks,
        })
    }
}

impl<'de> Deserialize<'de> for PortSet {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Verbatim(node) = Verbatim::deserialize(deserializer)?;
        let list = node.as_list().map_err(refuse)?;
        if list.is_empty() {
            return Err(refuse(node.error("at least one port must be named")));
        }
        let mut ports = Vec::with_capacity(list.len());
        for item in list {
            let Some((first, last)) = port_range(item) else {
                let error = item.error(format!(
                    "{} is no port and no range of ports",
                    item.describe()
                ));
                return Err(refuse(
                    error.with_help("write 80 or 8000..8080, from 0 to 65535"),
                ));
            };
            ports.push((first, last));
        }
        Ok(Self(ports))
    }
}

fn port_range(node: &Node) -> Option<(u16, u16)> {
    if let Ok(port) = node.as_integer::<u16>() {
        return Some((port, port));
    }
    let text = node.as_str().ok()?;
    let port = |text: &str| {
        // `+80` is a number to Rust.
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse::<u16>().ok().filter(|_| digits)
    };
    let (first, last) = match text.split_once("..") {
        Some((first, last)) => (port(first)?, port(last)?),
        None => (port(text)?, port(text)?),
    };
    (first <= last).then_some((first, last))
}

fn tcp_idle_timeout() -> Time {
    Time::seconds(3600)
}

/// Longer than any question of DNS takes, and than the pauses of most that is said by UDP.
fn udp_idle_timeout() -> NonZeroTime {
    NonZeroTime(Duration::from_secs(60))
}

/// Each has a socket: as many as a process may open where nobody has set anything would be 1,024.
fn max_sessions() -> Ranged<1, 1_000_000> {
    Ranged(10_000)
}

fn connect_attempts() -> Ranged<1, 100> {
    Ranged(3)
}
