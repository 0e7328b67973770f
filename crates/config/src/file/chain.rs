//! The shapes of `filter_chains`.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;

use super::leaf::{Items, Name, Ranged, tried};
use super::{NetworkFilterUse, Use, tls};
use crate::decode::{Tried, Verbatim, refuse};
use crate::{IpNetwork, Located};

/// A chain of network filters for the connections that it matches.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct FilterChain {
    /// Its name, unique in the listener. Its match as text when it is left out.
    #[serde(default, deserialize_with = "tried")]
    pub(crate) name: Option<Located<Name>>,
    /// Which connections it is for. Each key that is there must be met.
    #[serde(rename = "match")]
    pub(crate) matches: Located<ChainMatch>,
    /// TLS that is spoken with these clients. Their bytes as they come when it is left out.
    #[serde(default)]
    pub(crate) tls: Option<Tried<Located<tls::ListenerTls>>>,
    /// What handles the connection, in this order. The last one is `http`, `tcp_proxy` or another that ends the
    /// chain, and only the last.
    #[schemars(with = "Vec<NetworkFilterUse>")]
    pub(crate) network_filters: Located<Items<Located<Use>>>,
}

/// Which connections a chain is for.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ChainMatch {
    /// The port that the client connected to.
    #[serde(default, deserialize_with = "tried")]
    pub(crate) destination_port: Option<Ranged<1, 65535>>,
    /// Networks of the address that the client connected to.
    #[serde(default, deserialize_with = "tried")]
    pub(crate) destination_networks: Items<IpNetwork>,
    /// Names that the client asks for in TLS: exact (`a.org`), or all below a name (`*.a.org`).
    #[serde(default, deserialize_with = "tried")]
    pub(crate) server_names: Items<Located<String>>,
    /// What the connection begins with: `tls`, or `raw` for anything else.
    #[serde(default, deserialize_with = "tried")]
    pub(crate) transport_protocol: Option<TransportProtocol>,
    /// Protocols that the client offers in TLS (ALPN), or speaks without: `h2`, `http/1.1`, `h2c`. The one that it wants
    /// most and a chain has decides.
    #[serde(default, deserialize_with = "tried")]
    pub(crate) application_protocols: Items<Located<String>>,
    /// Networks of the peer of the socket, whatever PROXY protocol says of the client.
    #[serde(default, deserialize_with = "tried")]
    pub(crate) direct_source_networks: Items<IpNetwork>,
    /// From where the client comes: `local` for this machine, `external` for another.
    #[serde(default, deserialize_with = "tried")]
    pub(crate) source_type: Option<SourceType>,
    /// Networks of the client's address.
    #[serde(default, deserialize_with = "tried")]
    pub(crate) source_networks: Items<IpNetwork>,
    /// Ports of the client.
    #[serde(default, deserialize_with = "tried")]
    pub(crate) source_ports: Items<Ranged<1, 65535>>,
}

/// What a connection begins with.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub(crate) enum TransportProtocol {
    Tls,
    Raw,
}

/// From where a client comes.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub(crate) enum SourceType {
    Local,
    External,
}

/// What becomes of a connection whose listener filters wait for too long.
#[derive(Clone, Copy, Debug, Default, Deserialize, serde::Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub(crate) enum OnTimeout {
    #[default]
    Close,
    Continue,
}

impl<'de> Deserialize<'de> for IpNetwork {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Verbatim(node) = Verbatim::deserialize(deserializer)?;
        let text = node.as_str().map_err(refuse)?;
        text.parse()
            .map_err(|error: transom_api::ParseError| refuse(error.or_at(node.span)))
    }
}

impl JsonSchema for IpNetwork {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "network".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "minLength": 2})
    }
}
