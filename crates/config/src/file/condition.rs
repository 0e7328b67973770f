//! The shapes of `when` and `bounds` of a use.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};

use super::leaf::{Items, NonZeroTime, Ranged, Size, Time, tried};
use super::{FieldMatch, KIB, MIB};
use crate::decode::Tried;
use crate::{IpNetwork, Located};

/// One condition, or several of which one must hold.
#[derive(Debug)]
pub(crate) struct Conditions(pub(crate) Items<Located<Condition>>);

/// For which requests and connections a use works: those for which all of this holds. One of `prefix`, `path` and `regex` at
/// most, and at least one key beside `invert`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Condition {
    /// Paths that begin so.
    #[serde(default)]
    pub(crate) prefix: Option<Located<String>>,
    /// This path.
    #[serde(default)]
    pub(crate) path: Option<Located<String>>,
    /// Paths that this regular expression matches from end to end.
    #[serde(default)]
    pub(crate) regex: Option<Located<String>>,
    /// One of these methods. Any when it is left out.
    #[serde(default, deserialize_with = "tried")]
    pub(crate) methods: Items<Located<String>>,
    /// What is asked of header fields of the request. The values of a field that is repeated are joined by `,`.
    #[serde(default, deserialize_with = "tried")]
    pub(crate) headers: Items<Located<FieldMatch>>,
    /// What is asked of parameters of the query. Names and values are percent-decoded; the first of a name counts.
    #[serde(default, deserialize_with = "tried")]
    pub(crate) query: Items<Located<FieldMatch>>,
    /// Networks, one of which the client's address is in. Any when it is left out.
    #[serde(default, deserialize_with = "tried")]
    pub(crate) source_networks: Items<IpNetwork>,
    /// What is asked of attributes, by their names: `request.host`, `connection.requested_server_name`. Numbers are compared as they
    /// are written in decimal.
    #[serde(default, deserialize_with = "tried")]
    pub(crate) attributes: Items<Located<FieldMatch>>,
    /// Holds where all of this would not, and nowhere else.
    #[serde(default, deserialize_with = "tried")]
    pub(crate) invert: bool,
}

/// What one use may have on its way to its plugin. What is left out is as the plugin's own `bounds` say.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct UseBounds {
    /// Calls of this use at once. The plugin's own bound holds beside it.
    #[serde(default, deserialize_with = "tried")]
    pub(crate) concurrency: Option<Ranged<1, 1_000_000>>,
    /// Calls that may wait on each worker for one of those to end; above it a call fails at once.
    #[serde(default, deserialize_with = "tried")]
    pub(crate) queue: Option<Ranged<0, 1_000_000>>,
    /// How long a call may wait so.
    #[serde(default, deserialize_with = "tried")]
    pub(crate) queue_time: Option<Time>,
    /// How long the plugin may take for an answer. Longer than zero.
    #[serde(default, deserialize_with = "tried")]
    pub(crate) time: Option<NonZeroTime>,
    /// Bytes of one message, in either direction.
    #[serde(default, deserialize_with = "tried")]
    pub(crate) message_size: Option<Size<KIB, { 1024 * MIB }>>,
}

impl<'de> Deserialize<'de> for Conditions {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = Conditions;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map of what must hold, or a list of such maps")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Conditions, A::Error> {
                let mut read = Items::default();
                while let Some(Tried(item)) = list.next_element()? {
                    read.whole &= item.is_some();
                    read.items.extend(item);
                }
                Ok(Conditions(read))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Conditions, A::Error> {
                let one = Condition::deserialize(MapAccessDeserializer::new(map))?;
                Ok(Conditions(Items {
                    items: vec![Located::new(one)],
                    whole: true,
                }))
            }
        }
        deserializer.deserialize_any(Either)
    }
}

impl JsonSchema for Conditions {
    fn schema_name() -> Cow<'static, str> {
        "conditions".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let one = generator.subschema_for::<Condition>();
        json_schema!({"anyOf": [one, {"type": "array", "minItems": 1, "items": one}]})
    }
}
