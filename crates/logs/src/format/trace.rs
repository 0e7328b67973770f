//! The trace that a request belongs to, as its `traceparent` says.

use std::borrow::Cow;

use transom_api::trace_context::TraceParent;

/// The parts of a `traceparent` that identify a span.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// The trace: 32 hexadecimal digits.
    Trace,
    /// The span that the upstream is told of: 16 of them.
    Span,
}

/// A part of the field's value; `None` for one that the specification says is to be ignored.
pub(super) fn part_of(value: Cow<'_, [u8]>, part: Part) -> Option<Cow<'_, [u8]>> {
    TraceParent::parse(&value)?;
    // Where they stand in a good one.
    let range = match part {
        Part::Trace => 3..35,
        Part::Span => 36..52,
    };
    match value {
        Cow::Borrowed(value) => value.get(range).map(Cow::Borrowed),
        Cow::Owned(value) => value.get(range).map(|part| Cow::Owned(part.to_vec())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_valid_context_has_its_parts() {
        let value = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let of = |value: &str, part| {
            let part = part_of(value.as_bytes().to_vec().into(), part)?;
            Some(String::from_utf8(part.into_owned()).unwrap())
        };
        assert_eq!(
            of(value, Part::Trace).as_deref(),
            Some("0af7651916cd43dd8448eb211c80319c")
        );
        assert_eq!(of(value, Part::Span).as_deref(), Some("b7ad6b7169203331"));
        assert_eq!(of(&value[1..], Part::Span), None);
    }
}
