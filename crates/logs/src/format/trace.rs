//! The trace that a request belongs to, as its `traceparent` says (W3C Trace Context, section 3.2).

use std::borrow::Cow;

/// The parts of a `traceparent` that identify the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// The trace: 32 hexadecimal digits.
    Trace,
    /// The caller's span: 16 of them.
    Span,
}

/// A part of the field's value; `None` for one that the specification says is to be ignored.
pub(super) fn part_of(value: Cow<'_, [u8]>, part: Part) -> Option<Cow<'_, [u8]>> {
    let (version, rest) = take(&value, 2)?;
    let (trace, rest) = take(rest, 32)?;
    let (span, rest) = take(rest, 16)?;
    let flags = rest.get(..2)?;
    let behind = rest.get(2..).unwrap_or_default();
    let is_hex = |text: &[u8]| {
        (text.iter()).all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(byte))
    };
    let is_zero = |text: &[u8]| text.iter().all(|byte| *byte == b'0');
    // Later versions may add fields behind a dash; version ff is none.
    let ends_well = behind.is_empty() || version != b"00" && behind.starts_with(b"-");
    let is_good = [version, trace, span, flags].into_iter().all(is_hex)
        && version != b"ff"
        && !is_zero(trace)
        && !is_zero(span)
        && ends_well;
    let range = match part {
        Part::Trace => 3..35,
        Part::Span => 36..52,
    };
    if !is_good {
        return None;
    }
    match value {
        Cow::Borrowed(value) => value.get(range).map(Cow::Borrowed),
        Cow::Owned(value) => value.get(range).map(|part| Cow::Owned(part.to_vec())),
    }
}

/// The next `count` bytes, and what comes behind the dash that follows them.
fn take(text: &[u8], count: usize) -> Option<(&[u8], &[u8])> {
    let (taken, rest) = text.split_at_checked(count)?;
    Some((taken, rest.strip_prefix(b"-")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(value: &str, part: Part) -> Option<String> {
        let part = part_of(value.as_bytes().into(), part)?;
        Some(String::from_utf8(part.into_owned()).unwrap())
    }

    #[test]
    fn a_valid_context_has_its_parts() {
        let value = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        assert_eq!(
            of(value, Part::Trace).as_deref(),
            Some("0af7651916cd43dd8448eb211c80319c")
        );
        assert_eq!(of(value, Part::Span).as_deref(), Some("b7ad6b7169203331"));
        let later = "cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more";
        assert_eq!(of(later, Part::Span).as_deref(), Some("b7ad6b7169203331"));
    }

    #[test]
    fn what_is_no_context_is_ignored() {
        for value in [
            "",
            "00",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-0",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more",
            "cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01x",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "00_0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        ] {
            assert_eq!(of(value, Part::Trace), None, "{value}");
        }
    }
}
