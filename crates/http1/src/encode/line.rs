//! What is written between the start line and the empty line of a head.

use memchr::memmem;

use super::{is_token, not_text};
use crate::field::Known;

/// A field line to be written, or several.
#[derive(Clone, Copy, Debug)]
pub enum Line<'a> {
    /// A name and its value. Every byte of them is looked at.
    Field(&'a [u8], &'a [u8]),
    /// One or more whole lines, each `name: value` and CRLF, as [`crate::FieldSink`] was given them and with nothing changed
    /// since: the decoder has looked at their bytes, so they are copied as they are. None of them may be Host or a field that
    /// encoders write from arguments or pass over (see [the module](super)). Builds with debug assertions look all the same,
    /// and panic where that is not so.
    Decoded(&'a [u8]),
}

impl<'a> From<(&'a [u8], &'a [u8])> for Line<'a> {
    #[inline]
    fn from((name, value): (&'a [u8], &'a [u8])) -> Self {
        Self::Field(name, value)
    }
}

/// Whether `lines` keep what [`Line::Decoded`] promises.
pub(super) fn is_as_decoded(lines: &[u8]) -> bool {
    let mut rest = lines;
    while let Some(end) = memmem::find(rest, b"\r\n") {
        let (line, after) = rest.split_at(end);
        if !is_line_as_decoded(line) {
            return false;
        }
        rest = after.get(2..).unwrap_or_default();
    }
    rest.is_empty() && !lines.is_empty()
}

fn is_line_as_decoded(line: &[u8]) -> bool {
    let Some(colon) = memmem::find(line, b": ") else {
        return false;
    };
    let (name, value) = line.split_at(colon);
    let known = Known::of(name);
    is_token(name)
        && not_text(value).is_none()
        && !known.is_hop_by_hop()
        && !matches!(known, Known::Host | Known::ContentLength)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_as_decoded_or_not() {
        for (lines, good) in [
            (&b"a: b\r\n"[..], true),
            (b"a: b\r\nc: \r\n", true),
            (b"a: \xff\t: \r\n", true),
            (b"", false),
            (b"a: b", false),
            (b"a: b\r\n\r\n", false),
            (b"a: b\r\n\r\nGET / HTTP/1.1\r\n", false),
            (b"a:b\r\n", false),
            (b"a : b\r\n", false),
            (b": b\r\n", false),
            (b"a: b\rc\r\n", false),
            (b"a: b\nc: d\r\n", false),
            (b"a: b\0\r\n", false),
            (b"host: a\r\n", false),
            (b"a: b\r\nContent-Length: 5\r\n", false),
            (b"te: a\r\n", false),
        ] {
            assert_eq!(is_as_decoded(lines), good, "{}", lines.escape_ascii());
        }
    }
}
