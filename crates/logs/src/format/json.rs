//! JSON formats: a map whose texts may have operators.

use transom_api::{Node, NodeKind, ParseError};

use super::parse::{self, Part};
use super::{Step, escape};

/// Compiles a node into the steps that write it as JSON.
pub(super) fn steps(node: &Node, steps: &mut Vec<Step>) -> Result<(), ParseError> {
    match &node.kind {
        NodeKind::Null => literal(steps, b"null"),
        NodeKind::Bool(value) => literal(steps, if *value { b"true" } else { b"false" }),
        NodeKind::Integer(value) => literal(steps, value.to_string().as_bytes()),
        NodeKind::Float(value) if !value.is_finite() => {
            return Err(node.error("JSON has no such number"));
        }
        NodeKind::Float(value) => literal(steps, value.to_string().as_bytes()),
        NodeKind::String(text) => return string(node, text, steps),
        NodeKind::List(items) => {
            literal(steps, b"[");
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    literal(steps, b",");
                }
                self::steps(item, steps)?;
            }
            literal(steps, b"]");
        }
        NodeKind::Map(entries) => {
            literal(steps, b"{");
            for (index, (key, value)) in entries.iter().enumerate() {
                if index > 0 {
                    literal(steps, b",");
                }
                quoted(&key.name, steps);
                literal(steps, b":");
                self::steps(value, steps)?;
            }
            literal(steps, b"}");
        }
    }
    Ok(())
}

fn string(node: &Node, text: &str, steps: &mut Vec<Step>) -> Result<(), ParseError> {
    let mut parts = parse::parts(text).map_err(|error| error.in_node(node, text))?;
    if let [Part::Operator(..)] = parts.as_slice()
        && let Some(Part::Operator(operator, limit)) = parts.pop()
    {
        steps.push(Step::JsonValue(operator, limit));
        return Ok(());
    }
    literal(steps, b"\"");
    for part in parts {
        match part {
            Part::Literal(text) => {
                let mut escaped = Vec::new();
                escape::json(text.as_bytes(), &mut escaped);
                literal(steps, &escaped);
            }
            Part::Operator(operator, limit) => steps.push(Step::JsonPart(operator, limit)),
        }
    }
    literal(steps, b"\"");
    Ok(())
}

fn quoted(text: &str, steps: &mut Vec<Step>) {
    let mut escaped = vec![b'"'];
    escape::json(text.as_bytes(), &mut escaped);
    escaped.push(b'"');
    literal(steps, &escaped);
}

fn literal(steps: &mut Vec<Step>, bytes: &[u8]) {
    steps.push(Step::Literal(bytes.into()));
}
