//! A configuration as JSON, for extensions beyond a border, and the way back from what they find wrong to its place.

use std::fmt::Write as _;

use crate::node::{Node, NodeKind, Span};

impl Node {
    /// The same as JSON (RFC 8259). Numbers that JSON does not have (infinity, NaN) become `null`.
    ///
    /// ```
    /// # use transom_api::Node;
    /// let node = Node::map([("paths", Node::list(["/a".into()])), ("limit", 5.into())]);
    /// assert_eq!(node.to_json(), r#"{"paths":["/a"],"limit":5}"#);
    /// ```
    #[must_use]
    pub fn to_json(&self) -> String {
        let mut text = String::new();
        write(self, &mut text);
        text
    }

    /// Where the value stands that these keys (and, for lists, decimal numbers) lead to; or as much of the way as there is.
    #[must_use]
    pub fn place_of<'k>(&self, path: impl IntoIterator<Item = &'k str>) -> Option<Span> {
        let mut at = self;
        let mut span = self.span;
        for step in path {
            let next = match &at.kind {
                NodeKind::List(items) => step.parse().ok().and_then(|at: usize| items.get(at)),
                _ => at.entry(step),
            };
            let Some(next) = next else { break };
            at = next;
            span = next.span.or(span);
        }
        span
    }
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
            node.to_json(),
            r#"{"a":[1,true,null],"b\"":"line\n\u0001é\\","c":0.5,"d":{}}"#
        );
        assert_eq!(Node::null().to_json(), "null");
        assert_eq!(Node::from(f64::INFINITY).to_json(), "null");
        assert_eq!(Node::from(1e300).to_json(), "1e300");
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
        assert_eq!(node.place_of(["list", "0"]), span(3));
        assert_eq!(node.place_of(["list", "7"]), span(2));
        assert_eq!(node.place_of(["other", "0"]), span(1));
        assert_eq!(node.place_of([]), span(1));
    }
}
