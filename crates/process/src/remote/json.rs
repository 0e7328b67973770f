//! A use's configuration as JSON, for its plugin, and the way back from a plugin's complaint to the place in the file.

use std::fmt::Write as _;

use transom_api::{Node, NodeKind, Span};

/// The configuration as JSON; empty for none.
pub(super) fn of_config(node: &Node) -> Vec<u8> {
    if node.is_null() {
        return Vec::new();
    }
    let mut text = String::new();
    write(node, &mut text);
    text.into_bytes()
}

fn write(node: &Node, to: &mut String) {
    match &node.kind {
        NodeKind::Null => to.push_str("null"),
        NodeKind::Bool(value) => to.push_str(if *value { "true" } else { "false" }),
        NodeKind::Integer(value) => {
            // Writing to a string cannot fail.
            let _ = write!(to, "{value}");
        }
        // JSON has no infinity and no NaN.
        NodeKind::Float(value) if !value.is_finite() => to.push_str("null"),
        NodeKind::Float(value) => {
            let _ = write!(to, "{value:?}");
        }
        NodeKind::String(value) => text(value, to),
        NodeKind::List(items) => {
            to.push('[');
            for (at, item) in items.iter().enumerate() {
                if at > 0 {
                    to.push(',');
                }
                write(item, to);
            }
            to.push(']');
        }
        NodeKind::Map(entries) => {
            to.push('{');
            for (at, (key, value)) in entries.iter().enumerate() {
                if at > 0 {
                    to.push(',');
                }
                text(&key.name, to);
                to.push(':');
                write(value, to);
            }
            to.push('}');
        }
    }
}

/// A string with what RFC 8259, section 7, has escaped.
fn text(value: &str, to: &mut String) {
    to.push('"');
    for character in value.chars() {
        match character {
            '"' => to.push_str("\\\""),
            '\\' => to.push_str("\\\\"),
            '\n' => to.push_str("\\n"),
            '\r' => to.push_str("\\r"),
            '\t' => to.push_str("\\t"),
            control if control < ' ' => {
                let _ = write!(to, "\\u{:04x}", u32::from(control));
            }
            other => to.push(other),
        }
    }
    to.push('"');
}

/// Where the value stands that this path leads to, or as much of the path as there is.
pub(super) fn place(node: &Node, path: &[String]) -> Option<Span> {
    let mut at = node;
    let mut span = node.span;
    for step in path {
        let next = match &at.kind {
            NodeKind::List(items) => step.parse::<usize>().ok().and_then(|at| items.get(at)),
            _ => at.entry(step),
        };
        let Some(next) = next else { break };
        at = next;
        span = next.span.or(span);
    }
    span
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_configuration_is_json() {
        let node = Node::map([
            ("a", Node::list([1.into(), true.into(), Node::null()])),
            ("b\"", Node::from("line\n\u{1}é\\")),
            ("c", Node::from(0.5)),
            ("d", Node::map([])),
        ]);
        assert_eq!(
            String::from_utf8(of_config(&node)).unwrap(),
            r#"{"a":[1,true,null],"b\"":"line\n\u0001é\\","c":0.5,"d":{}}"#
        );
        assert!(of_config(&Node::null()).is_empty());
        assert_eq!(of_config(&Node::from(f64::INFINITY)), b"null");
        assert_eq!(of_config(&Node::from(1e300)), b"1e300");
    }

    #[test]
    fn a_path_leads_as_far_as_it_can() {
        let span = |line| {
            Some(Span {
                source: 0,
                offset: 0,
                len: 1,
                line,
                column: 1,
            })
        };
        let at = |line, node: Node| Node {
            span: span(line),
            ..node
        };
        let node = at(
            1,
            Node::map([("list", at(2, Node::list([at(3, Node::from("x"))])))]),
        );
        let path = |steps: &[&str]| -> Vec<String> {
            steps.iter().map(|step| (*step).to_owned()).collect()
        };
        assert_eq!(place(&node, &path(&["list", "0"])), span(3));
        assert_eq!(place(&node, &path(&["list", "7"])), span(2));
        assert_eq!(place(&node, &path(&["other", "0"])), span(1));
        assert_eq!(place(&node, &[]), span(1));
    }
}
