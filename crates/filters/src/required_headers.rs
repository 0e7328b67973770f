//! Headers that a request must have: `{name: value, …}` in the configuration of several filters.

use std::sync::Arc;

use transom_api::{Headers, Node, ParseError, Schema, field};

/// Names and the value that each must have. Cheap to clone.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct RequiredHeaders(Arc<[Required]>);

#[derive(Debug, PartialEq)]
struct Required {
    name: String,
    value: String,
}

impl RequiredHeaders {
    pub(crate) fn schema() -> Schema {
        Schema::map_of(Schema::string().describe("The exact value, case and all."))
    }

    pub(crate) fn parse(node: &Node) -> Result<Self, ParseError> {
        let mut headers: Vec<Required> = Vec::new();
        for (key, value) in node.as_entries()? {
            let refused = |message: String, help: &str| {
                Err(ParseError::new(message)
                    .with_help(help)
                    .or_at(key.span.or(node.span)))
            };
            let name = &key.name;
            if !field::is_name(name.as_bytes()) {
                return refused(
                    format!("{name:?} is no header name"),
                    "a name is made of letters, digits and any of !#$%&'*+-.^_`|~",
                );
            }
            if headers
                .iter()
                .any(|header| header.name.eq_ignore_ascii_case(name))
            {
                return refused(
                    format!("the header `{name}` is named twice"),
                    "header names have no case",
                );
            }
            let text = value.as_str()?;
            if !field::is_value(text.as_bytes()) {
                return Err(value
                    .error(format!("no header can have the value {text:?}"))
                    .with_help(
                        "a value has no control characters, and no white space at its ends",
                    ));
            }
            headers.push(Required {
                name: name.clone(),
                value: text.to_owned(),
            });
        }
        Ok(Self(headers.into()))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether each name has its value, alone or as one of several. Allocates nothing where the host lends values.
    #[inline]
    pub(crate) fn are_in(&self, headers: &Headers<'_>) -> bool {
        self.0.iter().all(|required| {
            headers
                .get_all(&required.name)
                .any(|value| value.as_bytes() == required.value.as_bytes())
        })
    }
}
