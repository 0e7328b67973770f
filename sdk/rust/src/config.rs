//! A use's configuration: JSON in, the interface's nodes out, and mistakes with the way to their value.

use serde_json::Value;
use transom_api::{Key, Node, NodeKind, ParseError, PrepareError, Span};

use crate::proto::v1::ConfigFault;

/// A configuration, and the way to each of its nodes.
pub(crate) struct Config {
    pub(crate) node: Node,
    /// By the number that a node carries as the offset of its span: a process has no lines, so a place is a path.
    paths: Vec<Vec<String>>,
}

impl Config {
    /// Reads JSON; nothing at all is `null`.
    pub(crate) fn read(json: &[u8]) -> Result<Self, ConfigFault> {
        let value = if json.iter().all(u8::is_ascii_whitespace) {
            Value::Null
        } else {
            serde_json::from_slice(json).map_err(|error| ConfigFault {
                path: Vec::new(),
                message: format!("the configuration is no JSON: {error}"),
            })?
        };
        let mut paths = Vec::new();
        let node = place(value, &mut Vec::new(), &mut paths);
        Ok(Self { node, paths })
    }

    /// A mistake as the host wants it.
    pub(crate) fn fault(
        &self,
        message: &str,
        span: Option<Span>,
        help: Option<&str>,
    ) -> ConfigFault {
        let path = span
            .and_then(|span| self.paths.get(span.offset as usize))
            .cloned()
            .unwrap_or_default();
        let message = match help {
            Some(help) => format!("{message} ({help})"),
            None => message.to_owned(),
        };
        ConfigFault { path, message }
    }

    pub(crate) fn parse_fault(&self, error: &ParseError) -> ConfigFault {
        self.fault(&error.message, error.span, error.help.as_deref())
    }

    pub(crate) fn prepare_fault(&self, error: &PrepareError) -> ConfigFault {
        self.fault(&error.message, error.span, error.help.as_deref())
    }
}

/// A fault without a place.
pub(crate) fn fault(message: impl Into<String>) -> ConfigFault {
    ConfigFault {
        path: Vec::new(),
        message: message.into(),
    }
}

fn place(value: Value, path: &mut Vec<String>, paths: &mut Vec<Vec<String>>) -> Node {
    let span = Some(span(path, paths));
    let kind = match value {
        Value::Null => NodeKind::Null,
        Value::Bool(value) => NodeKind::Bool(value),
        Value::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(value), _) => NodeKind::Integer(value.into()),
            (None, Some(value)) => NodeKind::Integer(value.into()),
            (None, None) => NodeKind::Float(number.as_f64().unwrap_or_default()),
        },
        Value::String(text) => NodeKind::String(text),
        Value::Array(items) => {
            let items = items.into_iter().enumerate();
            NodeKind::List(
                items
                    .map(|(index, item)| within(index.to_string(), item, path, paths))
                    .collect(),
            )
        }
        Value::Object(entries) => {
            let entries = entries.into_iter();
            NodeKind::Map(
                entries
                    .map(|(name, value)| {
                        let node = within(name.clone(), value, path, paths);
                        let span = node.span;
                        (Key { name, span }, node)
                    })
                    .collect(),
            )
        }
    };
    Node { kind, span }
}

fn within(
    step: String,
    value: Value,
    path: &mut Vec<String>,
    paths: &mut Vec<Vec<String>>,
) -> Node {
    path.push(step);
    let node = place(value, path, paths);
    path.pop();
    node
}

fn span(path: &[String], paths: &mut Vec<Vec<String>>) -> Span {
    let offset = u32::try_from(paths.len()).unwrap_or(u32::MAX);
    paths.push(path.to_vec());
    Span {
        source: 0,
        offset,
        len: 0,
        line: 0,
        column: 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mistake_is_known_by_the_way_to_it() {
        let config = Config::read(br#"{"rules": [{"path": "/a"}, {"path": 5}]}"#).unwrap();
        let rules = config.node.entry("rules").unwrap().as_list().unwrap();
        let error = rules[1].entry("path").unwrap().as_str().unwrap_err();
        let fault = config.parse_fault(&error);
        assert_eq!(fault.path, ["rules", "1", "path"]);
        assert_eq!(
            fault.message,
            "expected text, found the number 5 (put it in quotes to have it read as text)"
        );
    }

    #[test]
    fn an_unknown_key_is_at_the_key() {
        let config = Config::read(br#"{"statsu": 1}"#).unwrap();
        let mut fields = config.node.as_fields().unwrap();
        fields.optional("status");
        let fault = config.parse_fault(&fields.finish().unwrap_err());
        assert_eq!(fault.path, ["statsu"]);
    }

    #[test]
    fn nothing_is_null_and_what_is_no_json_is_refused() {
        assert!(Config::read(b" \n").unwrap().node.is_null());
        let fault = Config::read(b"{").err().unwrap();
        assert!(fault.message.starts_with("the configuration is no JSON"));
    }
}
