//! Metadata as it is written: namespaces of free values.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer};
use transom_api::{Metadata, MetadataValue, Node, NodeKind, ParseError};

use crate::decode::{Verbatim, refuse};

/// Values by namespace and key.
#[derive(Clone, Debug, Default)]
pub(crate) struct WrittenMetadata(pub(crate) Metadata);

impl<'de> Deserialize<'de> for WrittenMetadata {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Verbatim(node) = Verbatim::deserialize(deserializer)?;
        read(&node).map(Self).map_err(refuse)
    }
}

impl JsonSchema for WrittenMetadata {
    fn schema_name() -> Cow<'static, str> {
        "metadata".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "object", "additionalProperties": {"type": "object"}})
    }
}

fn read(node: &Node) -> Result<Metadata, ParseError> {
    let mut metadata = Metadata::new();
    for (namespace, values) in node.as_entries()? {
        if namespace.name.is_empty() {
            return Err(values.error("a namespace of metadata needs a name"));
        }
        let values = values.as_entries().map_err(|error| {
            error.with_help("write the values below a namespace: {my.filter: {tier: gold}}")
        })?;
        let values = values
            .iter()
            .map(|(key, value)| (key.name.clone(), value_of(value)));
        metadata.insert(namespace.name.clone(), values.collect());
    }
    Ok(metadata)
}

/// Numbers become what protobuf's `Struct` has for them, which is exact up to 2^53.
fn value_of(node: &Node) -> MetadataValue {
    match &node.kind {
        NodeKind::Null => MetadataValue::Null,
        NodeKind::Bool(value) => MetadataValue::Bool(*value),
        NodeKind::Integer(value) => MetadataValue::Number(*value as f64),
        NodeKind::Float(value) => MetadataValue::Number(*value),
        NodeKind::String(text) => MetadataValue::String(text.clone()),
        NodeKind::List(items) => MetadataValue::List(items.iter().map(value_of).collect()),
        NodeKind::Map(entries) => MetadataValue::Struct(
            entries
                .iter()
                .map(|(key, value)| (key.name.clone(), value_of(value)))
                .collect(),
        ),
    }
}
