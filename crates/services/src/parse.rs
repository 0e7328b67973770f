//! Readers that several configurations share.

use transom_api::{Node, ParseError, Schema, Shape};

/// A switch that is off by default.
pub(crate) fn flag(what: &str) -> Schema {
    Schema::new(Shape::Bool).describe(what).or(false)
}

pub(crate) fn parse_flag(node: Option<&Node>) -> Result<bool, ParseError> {
    node.map_or(Ok(false), Node::as_bool)
}

pub(crate) fn parse_strings(node: Option<&Node>) -> Result<Option<Vec<String>>, ParseError> {
    let Some(node) = node else { return Ok(None) };
    let strings: Result<_, ParseError> = node
        .as_list()?
        .iter()
        .map(|item| item.as_str().map(str::to_owned))
        .collect();
    strings.map(Some)
}

pub(crate) fn parse_status(node: &Node) -> Result<u16, ParseError> {
    node.as_integer_in(200..=599)?;
    node.as_integer()
}
