//! Which header fields are meant: lists of names and patterns.

use regex::bytes::{Regex, RegexBuilder};
use transom_api::{Node, ParseError, Schema, Shape};

/// Memory that a compiled expression may take: far more than one for names needs.
const REGEX_SIZE: usize = 1 << 20;

/// A list of names and patterns. Names have no case.
#[derive(Clone, Debug, Default)]
pub(crate) struct Names(Vec<Pattern>);

#[derive(Clone, Debug)]
enum Pattern {
    Exact(String),
    Prefix(String),
    Suffix(String),
    Contains(String),
    Regex(Regex),
}

impl Names {
    pub(crate) fn schema() -> Schema {
        Schema::list(Schema::new(Shape::Any))
    }

    pub(crate) fn parse(node: &Node) -> Result<Self, ParseError> {
        node.as_list()?
            .iter()
            .map(Pattern::parse)
            .collect::<Result<_, _>>()
            .map(Self)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn contain(&self, name: &[u8]) -> bool {
        !self.0.is_empty() && {
            let lower = name.to_ascii_lowercase();
            self.0.iter().any(|pattern| pattern.matches(&lower))
        }
    }
}

impl Pattern {
    fn parse(node: &Node) -> Result<Self, ParseError> {
        if node.as_entries().is_err() {
            return Ok(Self::Exact(node.as_str()?.to_ascii_lowercase()));
        }
        let mut fields = node.as_fields()?;
        let kinds = ["exact", "prefix", "suffix", "contains", "regex"];
        let mut given = kinds.map(|kind| (kind, fields.optional(kind)));
        fields.finish()?;
        let mut given = given
            .iter_mut()
            .filter_map(|(kind, node)| Some((*kind, node.take()?)));
        let (Some((kind, value)), None) = (given.next(), given.next()) else {
            return Err(node
                .error("a pattern of names has one key")
                .with_help("write a name, or one of {exact: …}, {prefix: …}, {suffix: …}, {contains: …}, {regex: …}"));
        };
        let text = value.as_str()?;
        let lower = text.to_ascii_lowercase();
        Ok(match kind {
            "exact" => Self::Exact(lower),
            "prefix" => Self::Prefix(lower),
            "suffix" => Self::Suffix(lower),
            "contains" => Self::Contains(lower),
            _ => Self::Regex(parse_regex(value)?),
        })
    }

    fn matches(&self, name: &[u8]) -> bool {
        match self {
            Self::Exact(text) => name == text.as_bytes(),
            Self::Prefix(text) => name.starts_with(text.as_bytes()),
            Self::Suffix(text) => name.ends_with(text.as_bytes()),
            Self::Contains(text) => {
                text.is_empty() || name.windows(text.len()).any(|part| part == text.as_bytes())
            }
            Self::Regex(regex) => regex.is_match(name),
        }
    }
}

/// An expression that must match a whole name.
pub(crate) fn parse_regex(node: &Node) -> Result<Regex, ParseError> {
    let text = node.as_str()?;
    RegexBuilder::new(&format!("^(?:{text})$"))
        // Names are ASCII.
        .unicode(false)
        .case_insensitive(true)
        .size_limit(REGEX_SIZE)
        .build()
        .map_err(|error| {
            node.error(format!("this is no regular expression: {error}"))
                .with_help(
                    "expressions are those of Rust's crate regex, which are RE2's but for details",
                )
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(nodes: impl IntoIterator<Item = Node>) -> Names {
        Names::parse(&Node::list(nodes)).unwrap()
    }

    #[test]
    fn names_match_without_case() {
        let names = names([
            "X-Exact".into(),
            Node::map([("prefix", "x-pre-".into())]),
            Node::map([("suffix", "-ID".into())]),
            Node::map([("contains", "token".into())]),
            Node::map([("regex", "a+b".into())]),
        ]);
        for name in ["x-exact", "X-PRE-1", "request-id", "my-token-2", "aAb"] {
            assert!(names.contain(name.as_bytes()), "{name}");
        }
        for name in ["x-exac", "y-pre-", "id-x", "tok", "aabc"] {
            assert!(!names.contain(name.as_bytes()), "{name}");
        }
        assert!(!Names::default().contain(b"x"));
    }

    #[test]
    fn a_pattern_has_one_kind() {
        let two = Node::map([("prefix", "a".into()), ("suffix", "b".into())]);
        assert!(Names::parse(&Node::list([two])).is_err());
        assert!(Names::parse(&Node::list([Node::map([("regex", "(".into())])])).is_err());
    }
}
