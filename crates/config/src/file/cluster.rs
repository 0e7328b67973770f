//! The shapes of clusters and of the hosts that they are made of.

use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, MapAccess, Visitor};

use super::health::{HealthCheck, OutlierDetection};
use super::implementation::{ClientUse, LoadBalancing, RegistryUse, TransportUse};
use super::leaf::{Items, Name, NonZeroTime, Ranged, Time, tried};
use super::limits::CircuitBreakers;
use super::tls;
use super::upstream::{OriginalDst, ProxyProtocol};
use crate::decode::{Tried, refuse};
use crate::{HostAddress, Located};

/// A set of hosts that answer alike, and how to reach them.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Cluster {
    /// Its name.
    pub(crate) name: Located<Name>,
    /// The host is where each client wanted to go. In place of `endpoints` and `host_set`.
    #[serde(default)]
    pub(crate) original_dst: Option<Tried<Located<OriginalDst>>>,
    /// The header of PROXY protocol that connections begin with. None when it is left out.
    #[serde(default)]
    pub(crate) proxy_protocol: Option<Tried<Located<ProxyProtocol>>>,
    /// How a host is chosen: the name of a selector, or its name and configuration.
    #[serde(default, deserialize_with = "tried")]
    #[schemars(extend("default" = "round_robin"))]
    pub(crate) load_balancing: Option<Located<LoadBalancing>>,
    /// How long a connection may take to be made. Longer than zero.
    #[serde(default = "connect_timeout", deserialize_with = "tried")]
    pub(crate) connect_timeout: NonZeroTime,
    /// The hosts, written in place. Either this or `host_set`.
    #[serde(default)]
    pub(crate) endpoints: Option<Tried<Items<Located<Endpoint>>>>,
    /// The name of a host set. Either this or `endpoints`.
    #[serde(default)]
    pub(crate) host_set: Option<Tried<Located<String>>>,
    /// The service whose hosts a registry knows. In place of `endpoints` and `host_set`. The cluster's name when there is only
    /// a `registry`.
    #[serde(default)]
    pub(crate) service: Option<Tried<Located<Name>>>,
    /// The registry that knows the hosts of the service: its name, or its name and configuration. The one chosen with
    /// `--registry`, or `dns`, when there is only a `service`.
    #[serde(default, deserialize_with = "tried")]
    pub(crate) registry: Option<Located<RegistryUse>>,
    /// How sockets are connected: the name of a transport, or its name and configuration. The one chosen with `--transport`,
    /// or `tcp` and `unix` as the addresses of the hosts are, when it is left out.
    #[serde(default, deserialize_with = "tried")]
    pub(crate) transport: Option<Located<TransportUse>>,
    /// The protocol that the hosts speak: the name of a client, or its name and configuration. The one chosen with
    /// `--client`, or `http1`, when it is left out.
    #[serde(default, deserialize_with = "tried")]
    pub(crate) client: Option<Located<ClientUse>>,
    /// How it is found out whether the hosts are well. All count as healthy when it is left out.
    #[serde(default, deserialize_with = "tried")]
    pub(crate) health_check: Option<HealthCheck>,
    /// Which hosts are left out for a while after failures in traffic. None when it is left out.
    #[serde(default, deserialize_with = "tried")]
    pub(crate) outlier_detection: Option<OutlierDetection>,
    /// While fewer than so many percent of the hosts are healthy, requests go to all of them: the rest would break down
    /// under the load of all. `0` is never.
    #[serde(default = "panic_threshold", deserialize_with = "tried")]
    pub(crate) panic_threshold: Ranged<0, 100>,
    /// What the cluster may have at once, over all workers.
    #[serde(default, deserialize_with = "tried")]
    pub(crate) circuit_breakers: CircuitBreakers,
    /// How connections are kept for the next request.
    #[serde(default, deserialize_with = "tried")]
    pub(crate) pool: Pool,
    /// TLS that the hosts are spoken to with. Plain bytes when it is left out.
    #[serde(default)]
    pub(crate) tls: Option<Tried<Located<tls::ClusterTls>>>,
}

/// How connections are kept for the next request.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Pool {
    /// How long an unused connection is kept. `0s` is not at all.
    #[serde(deserialize_with = "tried")]
    pub(crate) idle_timeout: Time,
    /// How many unused connections each worker keeps to each host.
    #[serde(deserialize_with = "tried")]
    pub(crate) max_idle: Ranged<0, { u32::MAX }>,
    /// After how many requests a connection is closed. Never when it is left out.
    #[serde(deserialize_with = "tried")]
    pub(crate) max_requests_per_connection: Option<Ranged<1, { u32::MAX }>>,
    /// How many connections a host has from all workers at most, used ones among them. No bound when it is left out.
    #[serde(deserialize_with = "tried")]
    pub(crate) max_connections_per_host: Option<Ranged<1, { u32::MAX }>>,
    /// How old a connection may be before it is closed instead of used for another request. Any age when it is left out.
    #[serde(deserialize_with = "tried")]
    pub(crate) max_age: Option<NonZeroTime>,
}

/// The hosts of clusters.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct HostSet {
    /// Its name.
    pub(crate) name: Located<Name>,
    /// The hosts. No address twice.
    pub(crate) endpoints: Items<Located<Endpoint>>,
}

/// A host: its address alone, or with a weight.
#[derive(Debug)]
pub(crate) struct Endpoint {
    pub(crate) address: HostAddress,
    pub(crate) weight: u32,
}

/// A host and its share of the traffic.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct WeightedHost {
    /// Where it is: IP address and port, or a Unix socket. Names are not looked up yet.
    address: HostAddress,
    /// Its share of the traffic beside the other hosts' weights.
    #[serde(default = "weight")]
    weight: Ranged<1, 128>,
}

impl<'de> Deserialize<'de> for Endpoint {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = Endpoint;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an address, or a map with `address` and `weight`")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Endpoint, E> {
                Ok(Endpoint {
                    address: text.parse().map_err(refuse)?,
                    weight: weight().0,
                })
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Endpoint, A::Error> {
                let host = WeightedHost::deserialize(MapAccessDeserializer::new(map))?;
                Ok(Endpoint {
                    address: host.address,
                    weight: host.weight.0,
                })
            }
        }
        deserializer.deserialize_any(Either)
    }
}

impl JsonSchema for Endpoint {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Endpoint".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let address = generator.subschema_for::<HostAddress>();
        let weighted = WeightedHost::json_schema(generator);
        json_schema!({
            "description": "A host: its address alone, or with a weight.",
            "anyOf": [address, weighted],
        })
    }
}

fn connect_timeout() -> NonZeroTime {
    NonZeroTime(std::time::Duration::from_secs(5))
}

fn panic_threshold() -> Ranged<0, 100> {
    Ranged(50)
}

fn weight() -> Ranged<1, 128> {
    Ranged(1)
}

impl Default for Pool {
    fn default() -> Self {
        Self {
            idle_timeout: Time::seconds(60),
            max_idle: Ranged(128),
            max_requests_per_connection: None,
            max_connections_per_host: None,
            max_age: None,
        }
    }
}
