//! Metadata as libraries see it: JSON.

use serde_json::{Number, Value};
use transom_api::value::MetadataValue;

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
