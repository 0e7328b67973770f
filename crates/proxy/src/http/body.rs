//! Bytes of a body that wait somewhere in the chain.

use std::collections::VecDeque;
use std::ops::Range;

use bytes::Bytes;

/// A queue of pieces. Pieces are shared, not copied, as they move from filter to filter.
#[derive(Debug, Default)]
pub(crate) struct BodyBuffer {
    chunks: VecDeque<Bytes>,
    len: usize,
}

impl BodyBuffer {
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub(crate) fn push(&mut self, chunk: Bytes) {
        if !chunk.is_empty() {
            self.len += chunk.len();
            self.chunks.push_back(chunk);
        }
    }

    pub(crate) fn pop(&mut self) -> Option<Bytes> {
        let chunk = self.chunks.pop_front()?;
        self.len -= chunk.len();
        Some(chunk)
    }

    /// Puts back what [`BodyBuffer::pop`] gave and was not used up.
    pub(crate) fn unpop(&mut self, chunk: Bytes) {
        if !chunk.is_empty() {
            self.len += chunk.len();
            self.chunks.push_front(chunk);
        }
    }

    /// Moves all of `other` behind what is here.
    pub(crate) fn append(&mut self, other: &mut BodyBuffer) {
        self.len += other.len;
        other.len = 0;
        self.chunks.append(&mut other.chunks);
    }

    pub(crate) fn chunk(&self, index: usize) -> Option<&[u8]> {
        self.chunks.get(index).map(AsRef::as_ref)
    }

    pub(crate) fn clear(&mut self) {
        self.chunks.clear();
        self.len = 0;
    }

    /// Replaces `range` by `insert`; `None` when the range lies outside.
    pub(crate) fn splice(&mut self, range: Range<usize>, insert: &[u8]) -> Option<()> {
        if range.start > range.end || range.end > self.len {
            return None;
        }
        let mut rest = std::mem::take(&mut self.chunks);
        let total = std::mem::take(&mut self.len);
        take_to(&mut rest, range.start, |chunk| self.push(chunk));
        take_to(&mut rest, range.len(), drop);
        self.push(Bytes::copy_from_slice(insert));
        take_to(&mut rest, total - range.end, |chunk| self.push(chunk));
        Some(())
    }
}

/// Hands the first `count` bytes of `from` to `each`, in pieces.
fn take_to(from: &mut VecDeque<Bytes>, mut count: usize, mut each: impl FnMut(Bytes)) {
    while count > 0 {
        let Some(mut chunk) = from.pop_front() else {
            return;
        };
        if chunk.len() > count {
            let taken = chunk.split_to(count);
            from.push_front(chunk);
            each(taken);
            return;
        }
        count -= chunk.len();
        each(chunk);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn buffer(pieces: &[&'static str]) -> BodyBuffer {
        let mut buffer = BodyBuffer::default();
        for piece in pieces {
            buffer.push(Bytes::from_static(piece.as_bytes()));
        }
        buffer
    }

    fn text(buffer: &BodyBuffer) -> String {
        (0..)
            .map_while(|index| buffer.chunk(index))
            .map(|chunk| String::from_utf8_lossy(chunk).into_owned())
            .collect()
    }

    #[test]
    fn every_splice_is_that_of_a_plain_string() {
        let pieces = ["ab", "c", "", "defg"];
        let whole: String = pieces.concat();
        for start in 0..=whole.len() {
            for end in start..=whole.len() {
                for insert in ["", "X", "YZ"] {
                    let mut buffer = buffer(&pieces);
                    buffer.splice(start..end, insert.as_bytes()).unwrap();
                    let mut expected = whole.clone();
                    expected.replace_range(start..end, insert);
                    assert_eq!(text(&buffer), expected);
                    assert_eq!(buffer.len(), expected.len());
                }
            }
        }
    }

    #[test]
    fn a_range_outside_is_refused() {
        let mut buffer = buffer(&["abc"]);
        assert!(buffer.splice(2..4, b"").is_none());
        assert_eq!(text(&buffer), "abc");
    }

    #[test]
    fn append_moves_all() {
        let mut first = buffer(&["a"]);
        let mut second = buffer(&["b", "c"]);
        first.append(&mut second);
        assert_eq!(
            (text(&first), first.len(), second.len()),
            ("abc".to_owned(), 3, 0)
        );
        assert_eq!(first.pop().as_deref(), Some(&b"a"[..]));
    }
}
