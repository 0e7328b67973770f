//! Places for configurations that tests make by hand.

use crate::node::{Key, Node, NodeKind, Span};

/// The same configuration with the places it would have in a YAML file in block style, two spaces for each level: so a
/// test can tell where an error is shown.
///
/// ```
/// # use transom_api::{Node, testing::placed};
/// // status: 700
/// // headers:
/// //   x-team: blue
/// let node = placed(&Node::map([
///     ("status", 700.into()),
///     ("headers", Node::map([("x-team", "blue".into())])),
/// ]));
/// let error = node.entry("status").unwrap().as_integer_in(200..=599).unwrap_err();
/// assert_eq!(error.to_string(), "line 1, column 9: expected a number from 200 to 599, found 700");
/// assert_eq!(node.entry("headers").unwrap().entry("x-team").unwrap().span.unwrap().line, 3);
/// ```
#[must_use]
pub fn placed(node: &Node) -> Node {
    Places { line: 1 }.place(node, 1, 1)
}

struct Places {
    /// The line that is being written.
    line: u32,
}

impl Places {
    /// Places a node whose text begins in `column`; a block's entries stand at `indent`.
    fn place(&mut self, node: &Node, column: u32, indent: u32) -> Node {
        let (line, first) = (self.line, indent);
        match &node.kind {
            NodeKind::Map(entries) if !entries.is_empty() => {
                let placed = entries
                    .iter()
                    .enumerate()
                    .map(|(index, (key, value))| {
                        self.line += u32::from(index > 0);
                        let len = key.name.len() as u32;
                        let span = Some(self.span(indent, len));
                        let value = self.below(value, indent + len + 2, indent + 2);
                        let name = key.name.clone();
                        (Key { name, span }, value)
                    })
                    .collect();
                self.made(NodeKind::Map(placed), line, first, 1)
            }
            NodeKind::List(items) if !items.is_empty() => {
                let placed = items
                    .iter()
                    .enumerate()
                    .map(|(index, item)| {
                        self.line += u32::from(index > 0);
                        self.place(item, indent + 2, indent + 2)
                    })
                    .collect();
                self.made(NodeKind::List(placed), line, first, 1)
            }
            other => {
                let len = match other {
                    NodeKind::String(text) => text.len() as u32,
                    _ => 1,
                };
                self.made(other.clone(), line, column, len)
            }
        }
    }

    /// Places the value of a key: a block begins on the next line.
    fn below(&mut self, value: &Node, column: u32, indent: u32) -> Node {
        let is_block = match &value.kind {
            NodeKind::Map(entries) => !entries.is_empty(),
            NodeKind::List(items) => !items.is_empty(),
            _ => false,
        };
        self.line += u32::from(is_block);
        self.place(value, column, indent)
    }

    fn made(&self, kind: NodeKind, line: u32, column: u32, len: u32) -> Node {
        let span = Some(Span {
            line,
            ..self.span(column, len)
        });
        Node { kind, span }
    }

    fn span(&self, column: u32, len: u32) -> Span {
        Span {
            source: 0,
            offset: 0,
            len,
            line: self.line,
            column,
        }
    }
}
