//! The shapes of what hosts are told of clients, and of hosts that clients choose.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::leaf::{Items, Ranged, tried};
use crate::{IpNetwork, Located};

/// The header of PROXY protocol that each connection to a host begins with. It tells whose connection it is: a connection to a host
/// is used for one client's connection only.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct ProxyProtocol {
    /// Its version: 1 is a line of text, 2 is binary.
    #[serde(deserialize_with = "tried")]
    pub(crate) version: Ranged<1, 2>,
    /// Additional values (TLVs) of version 2: `authority`, the server name that the client asked for; `alpn`, the protocol that was
    /// agreed on with it; `unique_id`, an identifier of its connection. What is not known is left out.
    #[serde(deserialize_with = "tried")]
    pub(crate) values: Items<Located<ProxyValue>>,
}

/// An additional value of version 2.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub(crate) enum ProxyValue {
    Authority,
    Alpn,
    UniqueId,
}

/// The host is where the client wanted to go: the address that the kernel has brought here, or that a trusted proxy before this one has told.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct OriginalDst {
    /// The networks that clients may be brought to. All of them when it is left out.
    #[serde(deserialize_with = "tried")]
    pub(crate) networks: Items<IpNetwork>,
    /// The port that is connected there. The one that the client wanted when it is left out.
    #[serde(deserialize_with = "tried")]
    pub(crate) port: Option<Ranged<1, 65_535>>,
}

impl Default for ProxyProtocol {
    fn default() -> Self {
        Self {
            version: Ranged(2),
            values: Items::default(),
        }
    }
}
