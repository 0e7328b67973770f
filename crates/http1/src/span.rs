//! A place in a buffer.

/// A stretch of the `input` that was given to the call which returned it.
///
/// Spans are how the decoder hands out bytes without copying them: four bytes each for start and length, valid for
/// that one `input`. A caller that keeps a head longer than its buffer copies what it wants to keep.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Span {
    /// Bytes before the stretch.
    pub start: u32,
    /// Bytes in the stretch.
    pub len: u32,
}

impl Span {
    /// The bytes themselves; empty when the span does not lie within `buffer`.
    #[inline]
    pub fn of(self, buffer: &[u8]) -> &[u8] {
        buffer
            .get(self.start as usize..self.end() as usize)
            .unwrap_or_default()
    }

    /// The offset just behind the stretch.
    #[inline]
    pub fn end(self) -> u32 {
        self.start.saturating_add(self.len)
    }

    /// Whether there is nothing in it.
    #[inline]
    pub fn is_empty(self) -> bool {
        self.len == 0
    }

    /// The same stretch, seen from a buffer that has `offset` more bytes in front.
    #[inline]
    pub fn shifted(self, offset: u32) -> Self {
        Self {
            start: self.start.saturating_add(offset),
            len: self.len,
        }
    }

    /// From `start` to just before `end`. Offsets beyond 4 GiB saturate; decoders never look that far.
    #[inline]
    pub(crate) fn between(start: usize, end: usize) -> Self {
        Self {
            start: u32::try_from(start).unwrap_or(u32::MAX),
            len: u32::try_from(end.saturating_sub(start)).unwrap_or(u32::MAX),
        }
    }

    /// Where `part` lies in `whole`, of which it is a subslice within the first 4 GiB. Only addresses are compared,
    /// nothing is read; a slice from elsewhere gives a span that means nothing.
    #[inline]
    pub(crate) fn locate(part: &[u8], whole: &[u8]) -> Self {
        let start = part.as_ptr().addr().wrapping_sub(whole.as_ptr().addr());
        Self {
            start: start as u32,
            len: part.len() as u32,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_out_of_range_is_empty() {
        let span = Span { start: 3, len: 4 };
        assert_eq!(span.of(b"0123456789"), b"3456");
        assert_eq!(span.of(b"01234"), b"");
        let far = Span {
            start: u32::MAX,
            len: u32::MAX,
        };
        assert_eq!(far.of(b"01234"), b"");
    }

    #[test]
    fn locate_finds_a_part() {
        let whole = b"GET / HTTP/1.1";
        let part = &whole[4..5];
        assert_eq!(Span::locate(part, whole), Span { start: 4, len: 1 });
    }
}
