//! What heads of both directions have in common once `httparse` has taken them apart.

use crate::error::DecodeError;
use crate::facts::Facts;
use crate::field::{Field, FieldSink, Known};
use crate::limits::Limits;
use crate::span::Span;

/// Slots for fields on the stack, for limits up to the default: less than a page, so no stack probe.
pub(crate) const FEW: usize = 100;
/// The same for all other limits: 32 KiB of stack.
pub(crate) const MANY: usize = Limits::MOST_FIELDS as usize;

/// Bytes of a request line whose target is `target` and that begins at `start`.
#[inline]
pub(crate) fn line_length(start: usize, target: Span) -> usize {
    (target.end() as usize).saturating_sub(start) + " HTTP/1.1".len()
}

/// What is known of the fields of a head before they are handed on.
///
/// The work on a head is split in two, so that only the second half is compiled anew for each kind of sink.
pub(crate) struct Gathered<'k> {
    pub(crate) facts: Facts,
    /// Which name each field has.
    kinds: &'k mut [Known],
}

impl<'k> Gathered<'k> {
    /// Nothing yet, with room for as many fields as `kinds` has.
    #[inline]
    pub(crate) fn new(kinds: &'k mut [Known]) -> Self {
        Self {
            facts: Facts::default(),
            kinds,
        }
    }

    /// Looks at the fields of `block`, a whole head in `input`. False: a line of the head ends in a bare LF, which
    /// `httparse` takes and the limits may not.
    pub(crate) fn gather(
        &mut self,
        headers: &[httparse::Header<'_>],
        block: &[u8],
        input: &[u8],
        limits: &Limits,
    ) -> Result<bool, DecodeError> {
        // That there is a LF before each name and at the end is certain; what stands before the LF tells how the line
        // ended.
        let end = block.len();
        let mut crlf = before(block, end, 2) == b'\r' && before(block, end, 4) == b'\r';
        for (header, kind) in headers.iter().zip(self.kinds.iter_mut()) {
            let name = header.name.as_bytes();
            let start = name.as_ptr().addr().wrapping_sub(block.as_ptr().addr());
            crlf &= before(block, start, 2) == b'\r';
            *kind = Known::of(name);
            if *kind != Known::Other {
                // `httparse` has trimmed the value.
                let at = Span::locate(header.value, input);
                self.facts.note(*kind, header.value, at, input)?;
            }
        }
        Ok(crlf || limits.allow_bare_lf_in_head)
    }

    /// Hands the fields on.
    #[inline]
    pub(crate) fn emit<S: FieldSink>(
        &self,
        headers: &[httparse::Header<'_>],
        input: &[u8],
        sink: &mut S,
    ) {
        if !self.facts.nominated.is_empty() {
            return self.emit_nominated(headers, input, sink);
        }
        for (header, &known) in headers.iter().zip(self.kinds.iter()) {
            sink.field(Field {
                name: Span::locate(header.name.as_bytes(), input),
                value: Span::locate(header.value, input),
                known,
                hop_by_hop: known.is_hop_by_hop(),
            });
        }
    }

    /// The same where Connection nominates fields that are not for one hop by their own nature: rare, and dearer.
    #[cold]
    fn emit_nominated<S: FieldSink>(
        &self,
        headers: &[httparse::Header<'_>],
        input: &[u8],
        sink: &mut S,
    ) {
        for (header, &known) in headers.iter().zip(self.kinds.iter()) {
            let name = header.name.as_bytes();
            let nominated = self.facts.nominated.contains(name, input);
            sink.field(Field {
                name: Span::locate(name, input),
                value: Span::locate(header.value, input),
                known,
                hop_by_hop: nominated || known.is_hop_by_hop(),
            });
        }
    }
}

/// The byte `back` bytes before `at`.
#[inline]
fn before(block: &[u8], at: usize, back: usize) -> u8 {
    block
        .get(at.wrapping_sub(back))
        .copied()
        .unwrap_or_default()
}
