//! The shapes of what holds for sockets: how they are bound, and what is taken from them.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use transom_api::{NodeKind, ParseError};

use super::leaf::{Ranged, tried};
use crate::Located;
use crate::decode::{Verbatim, refuse};

/// What the process takes in all.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct ProcessLimits {
    /// How many connections of clients, and sessions of `udp_proxy`, may be open at once on all listeners; more wait to be accepted. When
    /// it is left out: as many as have two descriptors each, of those that the process may open less some for its own use.
    #[serde(deserialize_with = "tried")]
    pub(crate) max_connections: Option<Ranged<1, { u32::MAX }>>,
}

/// How connections are dealt out to the workers.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub(crate) enum Balance {
    #[default]
    Kernel,
    Exact,
}

/// How fast connections are accepted, by all workers together. More wait to be accepted.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct AcceptRate {
    /// So many in each second.
    pub(crate) per_second: Ranged<1, 1_000_000>,
    /// So many at once, after a while in which there were fewer. As many as `per_second` when it is left out.
    #[serde(default, deserialize_with = "tried")]
    pub(crate) burst: Option<Ranged<1, 1_000_000>>,
}

/// The file of a Unix socket: who may connect.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct UnixSocket {
    /// Its mode, in octal digits and quotes. Who may write to it may connect.
    #[serde(deserialize_with = "tried")]
    pub(crate) mode: Mode,
    /// The user that it belongs to, by name or number. The user of the process when it is left out.
    #[serde(deserialize_with = "tried")]
    pub(crate) user: Option<Located<Owner>>,
    /// The group that it belongs to, by name or number. The group of the process when it is left out.
    #[serde(deserialize_with = "tried")]
    pub(crate) group: Option<Located<Owner>>,
}

/// The mode of a file: `"0660"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mode(pub(crate) u32);

/// A user or a group: its name, or its number.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Owner(pub(crate) String);

/// Only the user of the process: who else may connect is to be said.
impl Default for Mode {
    fn default() -> Self {
        Self(0o600)
    }
}

impl<'de> Deserialize<'de> for Mode {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Verbatim(node) = Verbatim::deserialize(deserializer)?;
        let wrong = || {
            let error = node.error("expected the mode of a file, in quotes");
            error.with_help("write three octal digits for user, group and others: \"0660\"")
        };
        // YAML has no octal numbers with a zero before them: 0660 would be 660.
        let text = node.as_str().map_err(|_| refuse(wrong()))?;
        let digits = text.strip_prefix('0').unwrap_or(text);
        let mode = match digits.len() {
            3 => u32::from_str_radix(digits, 8).ok(),
            _ => None,
        };
        mode.map(Self).ok_or_else(|| refuse(wrong()))
    }
}

impl<'de> Deserialize<'de> for Owner {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Verbatim(node) = Verbatim::deserialize(deserializer)?;
        let read = || -> Result<String, ParseError> {
            if let NodeKind::Integer(_) = node.kind {
                return node.as_integer::<u32>().map(|number| number.to_string());
            }
            let name = node.as_str()?;
            if name.is_empty() || name.contains('\0') {
                return Err(node.error("expected a name or a number"));
            }
            Ok(name.to_owned())
        };
        read().map(Self).map_err(refuse)
    }
}

impl Serialize for Mode {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&crate::listener::format_mode(self.0))
    }
}

impl Serialize for Owner {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl JsonSchema for Mode {
    fn schema_name() -> Cow<'static, str> {
        "mode".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "pattern": "^0?[0-7]{3}$"})
    }
}

impl JsonSchema for Owner {
    fn schema_name() -> Cow<'static, str> {
        "owner".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": ["string", "integer"], "minimum": 0})
    }
}
