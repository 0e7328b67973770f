//! Values on the wire and in the interface.

use std::borrow::Cow;

use bytes::Bytes;
use transom_api::{Attribute, MetadataValue};

use crate::proto::v1::{Value, ValueList, ValueMap, value::Kind};

/// A value of metadata for the wire.
pub(crate) fn to_wire(value: &MetadataValue) -> Value {
    let kind = match value {
        MetadataValue::Null => None,
        MetadataValue::Bool(value) => Some(Kind::Boolean(*value)),
        MetadataValue::Number(value) => Some(Kind::Number(*value)),
        MetadataValue::String(text) => Some(Kind::Text(text.clone())),
        MetadataValue::List(items) => Some(Kind::List(ValueList {
            values: items.iter().map(to_wire).collect(),
        })),
        MetadataValue::Struct(entries) => Some(Kind::Map(ValueMap {
            values: entries
                .iter()
                .map(|(name, value)| (name.clone(), to_wire(value)))
                .collect(),
        })),
    };
    Value { kind }
}

/// A value from the wire.
pub(crate) fn from_wire(value: &Value) -> MetadataValue {
    match &value.kind {
        None => MetadataValue::Null,
        Some(Kind::Boolean(value)) => MetadataValue::Bool(*value),
        Some(Kind::Integer(value)) => MetadataValue::Number(*value as f64),
        Some(Kind::Number(value)) => MetadataValue::Number(*value),
        Some(Kind::Text(text)) => MetadataValue::String(text.clone()),
        Some(Kind::Bytes(bytes)) => {
            MetadataValue::String(String::from_utf8_lossy(bytes).into_owned())
        }
        Some(Kind::List(list)) => MetadataValue::List(list.values.iter().map(from_wire).collect()),
        Some(Kind::Map(map)) => MetadataValue::Struct(
            map.values
                .iter()
                .map(|(name, value)| (name.clone(), from_wire(value)))
                .collect(),
        ),
    }
}

/// An attribute from the wire. Lists, maps and nothing are no attributes.
pub(crate) fn attribute(value: &Value) -> Option<Attribute<'static>> {
    Some(match value.kind.as_ref()? {
        Kind::Boolean(value) => Attribute::Bool(*value),
        Kind::Integer(value) => Attribute::Int(*value),
        // The interface has no such attribute; its text is what a log would show.
        Kind::Number(value) => owned(value.to_string().into()),
        Kind::Text(text) => owned(text.clone().into()),
        Kind::Bytes(bytes) => owned(bytes.clone()),
        Kind::List(_) | Kind::Map(_) => return None,
    })
}

fn owned(bytes: Bytes) -> Attribute<'static> {
    Attribute::Bytes(Cow::Owned(bytes.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nested_metadata_keeps_its_shape() {
        let value = MetadataValue::Struct(
            [(
                "a".to_owned(),
                MetadataValue::List(vec![true.into(), MetadataValue::Null, 1.5.into()]),
            )]
            .into(),
        );
        let Some(Kind::Map(map)) = to_wire(&value).kind else {
            panic!("a struct is a map");
        };
        let Some(Kind::List(list)) = &map.values["a"].kind else {
            panic!("a list is a list");
        };
        assert_eq!(list.values[0].kind, Some(Kind::Boolean(true)));
        assert_eq!(list.values[1].kind, None);
        assert_eq!(list.values[2].kind, Some(Kind::Number(1.5)));
        assert_eq!(from_wire(&to_wire(&value)), value);
    }
}
