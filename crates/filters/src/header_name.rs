//! Names of headers in a configuration.

use transom_api::{Node, ParseError, field};

/// Reads the name of a field: neither a pseudo-header nor one that belongs to the proxy.
pub(crate) fn parse_header_name(node: &Node) -> Result<String, ParseError> {
    let name = node.as_str()?;
    let bytes = name.as_bytes();
    if !field::is_name(bytes) && field::Pseudo::of(bytes).is_none() {
        return Err(node
            .error(format!("{name:?} is no header name"))
            .with_help("a name is made of letters, digits and any of !#$%&'*+-.^_`|~"));
    }
    if field::check_removal(bytes).is_err() {
        return Err(node
            .error(format!("the header `{name}` belongs to the proxy"))
            .with_help("name a field of the message that neither frames nor routes it"));
    }
    Ok(name.to_owned())
}
