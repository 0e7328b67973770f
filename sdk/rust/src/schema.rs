//! The interface's schemas as JSON Schema (draft 2020-12), for the host's `schema` and for editors.

use serde_json::{Map, Value, json};
use transom_api::{Node, NodeKind, Schema, Shape};

pub(crate) fn json_schema(schema: &Schema) -> Value {
    let mut value = match &schema.shape {
        Shape::Any => json!({}),
        Shape::Bool => json!({"type": "boolean"}),
        Shape::Integer(low, high) => json!({"type": "integer", "minimum": low, "maximum": high}),
        Shape::Number(low, high) => json!({"type": "number", "minimum": low, "maximum": high}),
        Shape::String => json!({"type": "string"}),
        Shape::Duration => json!({"type": "string", "pattern": "^[0-9]+(ms|s|m|h)$"}),
        Shape::Size => json!({"type": ["integer", "string"]}),
        Shape::OneOf(words) => json!({"type": "string", "enum": words}),
        Shape::List(item) => json!({"type": "array", "items": json_schema(item)}),
        Shape::MapOf(value) => {
            json!({"type": "object", "additionalProperties": json_schema(value)})
        }
        Shape::Object(keys) => {
            let properties: Map<String, Value> = keys
                .iter()
                .map(|(name, _, schema)| ((*name).to_owned(), json_schema(schema)))
                .collect();
            let required: Vec<&str> = keys
                .iter()
                .filter_map(|(name, required, _)| required.then_some(*name))
                .collect();
            json!({
                "type": "object",
                "properties": properties,
                "required": required,
                "additionalProperties": false,
            })
        }
    };
    if let Value::Object(keys) = &mut value {
        if !schema.description.is_empty() {
            keys.insert("description".to_owned(), json!(schema.description));
        }
        if let Some(default) = &schema.default {
            keys.insert("default".to_owned(), json_value(default));
        }
    }
    value
}

fn json_value(node: &Node) -> Value {
    match &node.kind {
        NodeKind::Null => Value::Null,
        NodeKind::Bool(value) => json!(value),
        NodeKind::Integer(value) => match (i64::try_from(*value), u64::try_from(*value)) {
            (Ok(value), _) => json!(value),
            (_, Ok(value)) => json!(value),
            _ => json!(*value as f64),
        },
        NodeKind::Float(value) => json!(value),
        NodeKind::String(text) => json!(text),
        NodeKind::List(items) => items.iter().map(json_value).collect(),
        NodeKind::Map(entries) => entries
            .iter()
            .map(|(key, node)| (key.name.clone(), json_value(node)))
            .collect::<Map<_, _>>()
            .into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_become_json_schema() {
        let schema = Schema::object()
            .required("prefix", Schema::string().describe("Where."))
            .optional("status", Schema::new(Shape::Integer(200, 599)).or(403));
        assert_eq!(
            json_schema(&schema),
            json!({
                "type": "object",
                "properties": {
                    "prefix": {"type": "string", "description": "Where."},
                    "status": {"type": "integer", "minimum": 200, "maximum": 599, "default": 403},
                },
                "required": ["prefix"],
                "additionalProperties": false,
            })
        );
        let free = Schema::map_of(Schema::string());
        assert_eq!(
            json_schema(&free),
            json!({"type": "object", "additionalProperties": {"type": "string"}})
        );
    }
}
