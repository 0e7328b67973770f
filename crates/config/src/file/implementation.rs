//! The one implementation of a kind that is used somewhere: its name alone, or with its configuration.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, MapAccess, Visitor};

use crate::Located;
use crate::decode::Verbatim;

/// An implementation of the kind `K`: its name alone, or with its configuration.
pub(crate) struct Implementation<K> {
    pub(crate) name: Option<Located<String>>,
    pub(crate) plugin: Option<Located<String>>,
    pub(crate) extension: Option<Located<String>>,
    pub(crate) config: Option<Verbatim>,
    kind: PhantomData<fn() -> K>,
}

/// What is chosen.
pub(crate) trait Choice {
    /// The name of its shape.
    const SHAPE: &'static str;
    /// What is expected, for messages.
    const EXPECTED: &'static str;
    /// What it is.
    const DESCRIPTION: &'static str;
}

macro_rules! choices {
    ($($used:ident, $choice:ident: $kind:literal, $description:literal;)*) => {$(
        #[derive(Debug)]
        pub(crate) enum $choice {}
        impl Choice for $choice {
            const SHAPE: &'static str = stringify!($used);
            const EXPECTED: &'static str =
                concat!("the name of a ", $kind, ", or a map with `name` and `config`");
            const DESCRIPTION: &'static str =
                concat!($description, ": the name of a ", $kind, " alone, or with its configuration.");
        }
        pub(crate) type $used = Implementation<$choice>;
    )*};
}

choices! {
    LoadBalancing, OfSelectors: "selector", "How a host is chosen";
    RegistryUse, OfRegistries: "registry", "Where hosts come from";
    TransportUse, OfTransports: "transport", "How sockets are connected";
    ClientUse, OfClients: "client", "What hosts are spoken to with";
    ServerUse, OfServers: "server", "What clients speak";
}

/// An implementation and its configuration.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct WithConfig {
    /// The name of one that is compiled in, or that `TRANSOM_PLUGIN` has brought. This, `plugin` or `extension`.
    #[serde(default)]
    name: Option<Located<String>>,
    /// The name of a plugin. This, `name` or `extension`.
    #[serde(default)]
    plugin: Option<Located<String>>,
    /// The `id` of an extension below `extensions`, which has its configuration there. This, `name` or `plugin`.
    #[serde(default)]
    extension: Option<Located<String>>,
    /// Its own configuration.
    #[serde(default)]
    config: Option<Verbatim>,
}

impl<'de, K: Choice> Deserialize<'de> for Implementation<K> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either<K>(PhantomData<fn() -> K>);
        impl<'de, K: Choice> Visitor<'de> for Either<K> {
            type Value = Implementation<K>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(K::EXPECTED)
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Implementation {
                    name: Some(Located::new(text.to_owned())),
                    plugin: None,
                    extension: None,
                    config: None,
                    kind: PhantomData,
                })
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                let used = WithConfig::deserialize(MapAccessDeserializer::new(map))?;
                Ok(Implementation {
                    name: used.name,
                    plugin: used.plugin,
                    extension: used.extension,
                    config: used.config,
                    kind: PhantomData,
                })
            }
        }
        deserializer.deserialize_any(Either(PhantomData))
    }
}

impl<K: Choice> JsonSchema for Implementation<K> {
    fn schema_name() -> Cow<'static, str> {
        K::SHAPE.into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let with_config = WithConfig::json_schema(generator);
        json_schema!({
            "description": K::DESCRIPTION,
            "anyOf": [{"type": "string"}, with_config],
        })
    }
}

impl<K> fmt::Debug for Implementation<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Implementation")
            .field("name", &self.name)
            .field("plugin", &self.plugin)
            .field("extension", &self.extension)
            .field("config", &self.config)
            .finish()
    }
}
