//! Metadata and attributes as protobuf's `Struct`.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::SystemTime;

use prost_types::value::Kind;
use prost_types::{ListValue, Struct, Value};
use transom_api::{Attribute, MetadataValue, Stream};

use crate::proto::core;

/// Namespaces of a stream's dynamic metadata as a message; `None` when none of them is there.
pub(crate) fn metadata_of(stream: &Stream<'_>, namespaces: &[String]) -> Option<core::Metadata> {
    let mut metadata = core::Metadata::default();
    for name in namespaces {
        if let Some(values) = stream.metadata_namespace(name) {
            metadata
                .filter_metadata
                .insert(name.clone(), struct_of(values));
        }
    }
    (!metadata.filter_metadata.is_empty()).then_some(metadata)
}

/// Puts a server's values into a namespace.
pub(crate) fn set_metadata(stream: &mut Stream<'_>, namespace: &str, values: Struct) {
    for (key, value) in values.fields {
        stream.set_metadata(namespace, &key, from_value(value, 0));
    }
}

/// Attributes of a stream that it has, by name.
pub(crate) fn attributes_of(stream: &Stream<'_>, names: &[String]) -> Struct {
    let known = names.iter().filter_map(|name| {
        let kind = match stream.attribute(name)? {
            Attribute::Bytes(bytes) => {
                Kind::StringValue(String::from_utf8_lossy(&bytes).into_owned())
            }
            Attribute::Int(number) => Kind::NumberValue(number as f64),
            Attribute::Bool(value) => Kind::BoolValue(value),
            Attribute::Time(time) => Kind::StringValue(timestamp(time).to_string()),
            Attribute::Duration(duration) => {
                Kind::StringValue(format!("{}s", duration.as_secs_f64()))
            }
        };
        Some((name.clone(), Value { kind: Some(kind) }))
    });
    Struct {
        fields: known.collect(),
    }
}

/// A moment as protobuf has it.
pub(crate) fn timestamp(time: SystemTime) -> prost_types::Timestamp {
    prost_types::Timestamp::from(time)
}

/// An address as text; `None` for none.
pub(crate) fn address_of(text: &str) -> Option<core::Address> {
    match text.parse() {
        Ok(address) => Some(socket(address)),
        Err(_) if text.is_empty() => None,
        Err(_) => Some(core::Address {
            address: Some(core::address::Address::Pipe(core::Pipe {
                path: text.strip_prefix("unix:").unwrap_or(text).to_owned(),
                mode: 0,
            })),
        }),
    }
}

pub(crate) fn socket(address: SocketAddr) -> core::Address {
    core::Address {
        address: Some(core::address::Address::SocketAddress(core::SocketAddress {
            address: address.ip().to_string(),
            port_specifier: Some(core::socket_address::PortSpecifier::PortValue(
                address.port().into(),
            )),
            ..Default::default()
        })),
    }
}

pub(crate) fn struct_of(values: &BTreeMap<String, MetadataValue>) -> Struct {
    let fields = values
        .iter()
        .map(|(key, value)| (key.clone(), to_value(value)));
    Struct {
        fields: fields.collect(),
    }
}

fn to_value(value: &MetadataValue) -> Value {
    let kind = match value {
        MetadataValue::Null => Kind::NullValue(0),
        MetadataValue::Bool(value) => Kind::BoolValue(*value),
        MetadataValue::Number(value) => Kind::NumberValue(*value),
        MetadataValue::String(text) => Kind::StringValue(text.clone()),
        MetadataValue::List(items) => Kind::ListValue(ListValue {
            values: items.iter().map(to_value).collect(),
        }),
        MetadataValue::Struct(values) => Kind::StructValue(struct_of(values)),
    };
    Value { kind: Some(kind) }
}

/// How deep a server's values may be: `prost` itself stops at a hundred.
const DEEPEST: usize = 64;

pub(crate) fn from_value(value: Value, depth: usize) -> MetadataValue {
    if depth > DEEPEST {
        return MetadataValue::Null;
    }
    match value.kind {
        None | Some(Kind::NullValue(_)) => MetadataValue::Null,
        Some(Kind::BoolValue(value)) => MetadataValue::Bool(value),
        Some(Kind::NumberValue(value)) => MetadataValue::Number(value),
        Some(Kind::StringValue(text)) => MetadataValue::String(text),
        Some(Kind::ListValue(list)) => MetadataValue::List(
            list.values
                .into_iter()
                .map(|value| from_value(value, depth + 1))
                .collect(),
        ),
        Some(Kind::StructValue(values)) => MetadataValue::Struct(
            values
                .fields
                .into_iter()
                .map(|(key, value)| (key, from_value(value, depth + 1)))
                .collect(),
        ),
    }
}
