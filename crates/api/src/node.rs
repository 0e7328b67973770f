//! The tree in which an extension receives its configuration.
//!
//! A source of configuration (YAML, MOSN's files, xDS) turns what it read into [`Node`]s; a factory's `parse` reads
//! them. Every node may know where it came from, so that a mistake inside a filter's own configuration is shown at its
//! line. Equality ignores places: two nodes are equal when they mean the same.

use std::fmt;
use std::time::Duration;

use crate::suggest::nearest;
use crate::units;

/// One value of a configuration, with the place it was read from.
#[derive(Clone, Debug)]
pub struct Node {
    /// What the value is.
    pub kind: NodeKind,
    /// Where it stands; `None` when the source knows no places.
    pub span: Option<Span>,
}

/// The value of a [`Node`].
#[derive(Clone, Debug, PartialEq)]
pub enum NodeKind {
    /// `null`, `~` or nothing at all.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A whole number. The full range of `i64` and `u64`.
    Integer(i128),
    /// A number with a fraction or an exponent.
    Float(f64),
    /// Text.
    String(String),
    /// A sequence.
    List(Vec<Node>),
    /// A mapping, in the order it was written. Keys are unique: sources refuse repeated ones.
    Map(Vec<(Key, Node)>),
}

/// The key of an entry of a map.
#[derive(Clone, Debug)]
pub struct Key {
    /// The key's text.
    pub name: String,
    /// Where the key stands.
    pub span: Option<Span>,
}

/// A place in a source of configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Span {
    /// Which of the loaded sources, counted from 0 by the loader.
    pub source: u32,
    /// Bytes from the start of the source.
    pub offset: u32,
    /// Length in bytes.
    pub len: u32,
    /// Line, counted from 1.
    pub line: u32,
    /// Column in characters, counted from 1.
    pub column: u32,
}

/// Why a piece of configuration was refused: what is wrong, where, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseError {
    /// What is wrong, in one sentence without a full stop.
    pub message: String,
    /// The place at fault.
    pub span: Option<Span>,
    /// The remedy, when one is known.
    pub help: Option<String>,
}

impl Node {
    /// A node without a place.
    #[must_use]
    pub fn new(kind: NodeKind) -> Self {
        Self { kind, span: None }
    }

    /// The absence of a value, which is what an extension gets when its use names no `config`.
    #[must_use]
    pub fn null() -> Self {
        Self::new(NodeKind::Null)
    }

    /// A map from pairs, for sources without places and for tests.
    #[must_use]
    pub fn map<'a>(entries: impl IntoIterator<Item = (&'a str, Node)>) -> Self {
        Self::new(NodeKind::Map(
            entries
                .into_iter()
                .map(|(name, node)| (Key::from(name), node))
                .collect(),
        ))
    }

    /// A list from nodes.
    #[must_use]
    pub fn list(items: impl IntoIterator<Item = Node>) -> Self {
        Self::new(NodeKind::List(items.into_iter().collect()))
    }

    /// True for `null`.
    #[must_use]
    pub fn is_null(&self) -> bool {
        matches!(self.kind, NodeKind::Null)
    }

    /// The entry of a map under `name`; `None` when there is none or this is no map.
    #[must_use]
    pub fn entry(&self, name: &str) -> Option<&Node> {
        match &self.kind {
            NodeKind::Map(entries) => entries
                .iter()
                .find(|(key, _)| key.name == name)
                .map(|(_, node)| node),
            _ => None,
        }
    }

    /// Reads this as a map whose keys are known. `null` reads as an empty map.
    pub fn as_fields(&self) -> Result<Fields<'_>, ParseError> {
        match &self.kind {
            NodeKind::Map(entries) => Ok(Fields {
                node: self,
                entries,
                asked: Vec::new(),
            }),
            NodeKind::Null => Ok(Fields {
                node: self,
                entries: &[],
                asked: Vec::new(),
            }),
            _ => Err(self.mismatch("a map of keys to values")),
        }
    }

    /// Reads this as a map with any keys.
    pub fn as_entries(&self) -> Result<&[(Key, Node)], ParseError> {
        match &self.kind {
            NodeKind::Map(entries) => Ok(entries),
            NodeKind::Null => Ok(&[]),
            _ => Err(self.mismatch("a map of keys to values")),
        }
    }

    /// Reads this as a list. `null` reads as an empty list.
    pub fn as_list(&self) -> Result<&[Node], ParseError> {
        match &self.kind {
            NodeKind::List(items) => Ok(items),
            NodeKind::Null => Ok(&[]),
            _ => Err(self.mismatch("a list")),
        }
    }

    /// Reads this as text. Numbers and booleans are not text: a YAML author who wants `yes` or `1` as text quotes it.
    pub fn as_str(&self) -> Result<&str, ParseError> {
        match &self.kind {
            NodeKind::String(text) => Ok(text),
            NodeKind::Bool(_) | NodeKind::Integer(_) | NodeKind::Float(_) => Err(self
                .mismatch("text")
                .with_help("put it in quotes to have it read as text")),
            _ => Err(self.mismatch("text")),
        }
    }

    /// Reads this as `true` or `false`.
    pub fn as_bool(&self) -> Result<bool, ParseError> {
        match self.kind {
            NodeKind::Bool(value) => Ok(value),
            _ => Err(self.mismatch("true or false")),
        }
    }

    /// Reads this as a whole number that fits `T`.
    pub fn as_integer<T: TryFrom<i128>>(&self) -> Result<T, ParseError> {
        let NodeKind::Integer(value) = self.kind else {
            return Err(self.mismatch("a whole number"));
        };
        T::try_from(value).map_err(|_| self.error(format!("{value} is out of range here")))
    }

    /// Reads this as a whole number within `range`.
    pub fn as_integer_in(&self, range: std::ops::RangeInclusive<i64>) -> Result<i64, ParseError> {
        let value: i64 = self.as_integer()?;
        if range.contains(&value) {
            return Ok(value);
        }
        Err(self.error(format!(
            "expected a number from {} to {}, found {value}",
            range.start(),
            range.end()
        )))
    }

    /// Reads this as a number.
    pub fn as_number(&self) -> Result<f64, ParseError> {
        match self.kind {
            NodeKind::Integer(value) => Ok(value as f64),
            NodeKind::Float(value) => Ok(value),
            _ => Err(self.mismatch("a number")),
        }
    }

    /// Reads this as a duration: `100ms`, `5s`, `1m`, `2h`.
    pub fn as_duration(&self) -> Result<Duration, ParseError> {
        let NodeKind::String(text) = &self.kind else {
            return Err(self
                .mismatch("a duration")
                .with_help("write a number and its unit: 100ms, 5s, 1m, 2h"));
        };
        units::parse_duration(text)
            .map_err(|error| self.error(error.to_string()).with_help(error.help()))
    }

    /// Reads this as a size in bytes: `1024`, `64KiB`, `10MiB`.
    pub fn as_size(&self) -> Result<u64, ParseError> {
        match &self.kind {
            NodeKind::Integer(_) => self.as_integer(),
            NodeKind::String(text) => units::parse_size(text)
                .map_err(|error| self.error(error.to_string()).with_help(error.help())),
            _ => Err(self
                .mismatch("a size")
                .with_help("write a number of bytes or a number and its unit: 64KiB, 10MiB")),
        }
    }

    /// An error at this node.
    #[must_use]
    pub fn error(&self, message: impl Into<String>) -> ParseError {
        ParseError {
            message: message.into(),
            span: self.span,
            help: None,
        }
    }

    /// What the node is, for messages: `a list`, `the number 5`.
    #[must_use]
    pub fn describe(&self) -> String {
        match &self.kind {
            NodeKind::Null => "nothing".to_owned(),
            NodeKind::Bool(value) => format!("the boolean {value}"),
            NodeKind::Integer(value) => format!("the number {value}"),
            NodeKind::Float(value) => format!("the number {value}"),
            NodeKind::String(text) => format!("the text {:?}", abbreviate(text)),
            NodeKind::List(_) => "a list".to_owned(),
            NodeKind::Map(_) => "a map".to_owned(),
        }
    }

    fn mismatch(&self, expected: &str) -> ParseError {
        self.error(format!("expected {expected}, found {}", self.describe()))
    }
}

impl PartialEq for Node {
    fn eq(&self, other: &Self) -> bool {
        self.kind == other.kind
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl From<&str> for Key {
    fn from(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            span: None,
        }
    }
}

impl From<&str> for Node {
    fn from(text: &str) -> Self {
        Self::new(NodeKind::String(text.to_owned()))
    }
}

impl From<bool> for Node {
    fn from(value: bool) -> Self {
        Self::new(NodeKind::Bool(value))
    }
}

impl From<i64> for Node {
    fn from(value: i64) -> Self {
        Self::new(NodeKind::Integer(value.into()))
    }
}

impl From<f64> for Node {
    fn from(value: f64) -> Self {
        Self::new(NodeKind::Float(value))
    }
}

/// A map that is read key by key; [`Fields::finish`] refuses the keys that nobody asked for.
///
/// ```
/// # use transom_api::{Node, ParseError};
/// fn parse(node: &Node) -> Result<(u16, bool), ParseError> {
///     let mut fields = node.as_fields()?;
///     let status = fields.required("status")?.as_integer()?;
///     let enabled = fields.optional("enabled").map_or(Ok(true), Node::as_bool)?;
///     fields.finish()?;
///     Ok((status, enabled))
/// }
/// assert_eq!(parse(&Node::map([("status", 403.into())])), Ok((403, true)));
/// let error = parse(&Node::map([("status", 403.into()), ("enable", true.into())])).unwrap_err();
/// assert_eq!(error.message, "unknown key `enable`");
/// assert_eq!(error.help.as_deref(), Some("did you mean `enabled`? Known keys: status, enabled"));
/// ```
#[derive(Debug)]
pub struct Fields<'n> {
    node: &'n Node,
    entries: &'n [(Key, Node)],
    asked: Vec<&'static str>,
}

impl<'n> Fields<'n> {
    /// The value of a key that must be there.
    pub fn required(&mut self, name: &'static str) -> Result<&'n Node, ParseError> {
        self.optional(name)
            .ok_or_else(|| self.node.error(format!("the key `{name}` is missing")))
    }

    /// The value of a key that may be left out. An explicit `null` counts as left out.
    pub fn optional(&mut self, name: &'static str) -> Option<&'n Node> {
        self.asked.push(name);
        self.entries
            .iter()
            .find(|(key, _)| key.name == name)
            .map(|(_, node)| node)
            .filter(|node| !node.is_null())
    }

    /// Ends the reading: a key that was not asked for is an error that names the nearest known one.
    pub fn finish(self) -> Result<(), ParseError> {
        let Some((key, _)) = self
            .entries
            .iter()
            .find(|(key, _)| !self.asked.contains(&key.name.as_str()))
        else {
            return Ok(());
        };
        Err(ParseError {
            message: format!("unknown key `{}`", key.name),
            span: key.span.or(self.node.span),
            help: Some(known(&key.name, "keys", &self.asked)),
        })
    }
}

/// The help text of every "unknown name" error: the nearest known name, then all of them.
#[must_use]
pub fn known(name: &str, what: &str, known: &[&str]) -> String {
    if known.is_empty() {
        return format!("no {what} are known here");
    }
    let all = known.join(", ");
    match nearest(name, known.iter().copied()) {
        Some(near) => format!("did you mean `{near}`? Known {what}: {all}"),
        None => format!("known {what}: {all}"),
    }
}

impl ParseError {
    /// An error without a place.
    #[must_use]
    pub fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            span: None,
            help: None,
        }
    }

    /// The same error with a remedy.
    #[must_use]
    pub fn with_help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// The same error at `span`, unless it already has a place (the inner place is the better one).
    #[must_use]
    pub fn or_at(mut self, span: Option<Span>) -> Self {
        self.span = self.span.or(span);
        self
    }
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(span) = self.span {
            write!(f, "line {}, column {}: ", span.line, span.column)?;
        }
        f.write_str(&self.message)?;
        match &self.help {
            Some(help) => write!(f, " ({help})"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for ParseError {}

/// Long text is cut in messages: a 10 MB value must not become a 10 MB log line.
fn abbreviate(text: &str) -> String {
    const SHOWN: usize = 40;
    if text.chars().count() <= SHOWN {
        return text.to_owned();
    }
    text.chars().take(SHOWN).chain("…".chars()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equality_ignores_places() {
        let mut placed = Node::from("a");
        placed.span = Some(Span {
            source: 0,
            offset: 4,
            len: 1,
            line: 1,
            column: 5,
        });
        assert_eq!(placed, Node::from("a"));
        assert_ne!(placed, Node::from("b"));
    }

    #[test]
    fn a_number_where_text_is_wanted_says_how_to_mend_it() {
        let error = Node::from(5).as_str().unwrap_err();
        assert_eq!(error.message, "expected text, found the number 5");
        assert_eq!(
            error.help.as_deref(),
            Some("put it in quotes to have it read as text")
        );
    }

    #[test]
    fn a_number_outside_its_range_is_refused() {
        assert_eq!(
            Node::from(70_000).as_integer::<u16>().unwrap_err().message,
            "70000 is out of range here"
        );
        assert_eq!(
            Node::from(700)
                .as_integer_in(200..=599)
                .unwrap_err()
                .message,
            "expected a number from 200 to 599, found 700"
        );
    }

    #[test]
    fn long_text_is_cut_in_messages() {
        let error = Node::from("x".repeat(10_000).as_str())
            .as_bool()
            .unwrap_err();
        assert!(error.message.len() < 120, "{}", error.message);
    }

    #[test]
    fn an_explicit_null_counts_as_left_out() {
        let node = Node::map([("a", Node::null())]);
        let mut fields = node.as_fields().unwrap();
        assert!(fields.optional("a").is_none());
        assert_eq!(
            fields.required("a").unwrap_err().message,
            "the key `a` is missing"
        );
    }
}
