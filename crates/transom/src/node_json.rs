//! JSON values as configuration nodes.

use serde_json::Value;
use transom_api::{Node, NodeKind};

/// The same tree without places.
pub(crate) fn node(value: Value) -> Node {
    Node::new(match value {
        Value::Null => NodeKind::Null,
        Value::Bool(value) => NodeKind::Bool(value),
        Value::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(value), _) => NodeKind::Integer(value.into()),
            (None, Some(value)) => NodeKind::Integer(value.into()),
            (None, None) => NodeKind::Float(number.as_f64().unwrap_or_default()),
        },
        Value::String(text) => NodeKind::String(text),
        Value::Array(items) => NodeKind::List(items.into_iter().map(node).collect()),
        Value::Object(entries) => NodeKind::Map(
            entries
                .into_iter()
                .map(|(name, value)| (name.as_str().into(), node(value)))
                .collect(),
        ),
    })
}
