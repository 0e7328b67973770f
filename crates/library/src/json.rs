//! Configurations and metadata as libraries see them: JSON.

use serde_json::{Map, Number, Value};
use transom_api::node::{Node, NodeKind};
use transom_api::value::MetadataValue;

/// A configuration. Numbers that JSON has not become `null`.
pub(crate) fn of_node(node: &Node) -> Vec<u8> {
    value_of(node).to_string().into_bytes()
}

fn value_of(node: &Node) -> Value {
    match &node.kind {
        NodeKind::Null => Value::Null,
        NodeKind::Bool(value) => Value::Bool(*value),
        NodeKind::Integer(number) => Number::from_i128(*number).map_or(Value::Null, Value::Number),
        NodeKind::Float(number) => Number::from_f64(*number).map_or(Value::Null, Value::Number),
        NodeKind::String(text) => Value::String(text.clone()),
        NodeKind::List(items) => Value::Array(items.iter().map(value_of).collect()),
        NodeKind::Map(entries) => {
            let entries = entries.iter();
            Value::Object(
                entries
                    .map(|(key, value)| (key.name.clone(), value_of(value)))
                    .collect::<Map<_, _>>(),
            )
        }
    }
}

/// The node that a JSON pointer (RFC 6901) leads to, or the last one on the way that is there.
pub(crate) fn pointed<'n>(node: &'n Node, pointer: &str) -> &'n Node {
    let mut at = node;
    for part in pointer.split('/').skip(1) {
        let part = part.replace("~1", "/").replace("~0", "~");
        let next = match &at.kind {
            NodeKind::List(items) => part.parse().ok().and_then(|index: usize| items.get(index)),
            _ => at.entry(&part),
        };
        match next {
            Some(next) => at = next,
            None => break,
        }
    }
    at
}

/// A value of metadata.
pub(crate) fn of_metadata(value: &MetadataValue) -> Vec<u8> {
    json_of(value).to_string().into_bytes()
}

fn json_of(value: &MetadataValue) -> Value {
    match value {
        MetadataValue::Null => Value::Null,
        MetadataValue::Bool(value) => Value::Bool(*value),
        MetadataValue::Number(number) => {
            Number::from_f64(*number).map_or(Value::Null, Value::Number)
        }
        MetadataValue::String(text) => Value::String(text.clone()),
        MetadataValue::List(items) => Value::Array(items.iter().map(json_of).collect()),
        MetadataValue::Struct(entries) => Value::Object(
            entries
                .iter()
                .map(|(key, value)| (key.clone(), json_of(value)))
                .collect(),
        ),
    }
}

/// A value of metadata, read. `None` for what is no JSON.
pub(crate) fn to_metadata(json: &[u8]) -> Option<MetadataValue> {
    serde_json::from_slice(json).ok().map(metadata_of)
}

fn metadata_of(value: Value) -> MetadataValue {
    match value {
        Value::Null => MetadataValue::Null,
        Value::Bool(value) => MetadataValue::Bool(value),
        Value::Number(number) => MetadataValue::Number(number.as_f64().unwrap_or_default()),
        Value::String(text) => MetadataValue::String(text),
        Value::Array(items) => MetadataValue::List(items.into_iter().map(metadata_of).collect()),
        Value::Object(entries) => MetadataValue::Struct(
            entries
                .into_iter()
                .map(|(key, value)| (key, metadata_of(value)))
                .collect(),
        ),
    }
}
