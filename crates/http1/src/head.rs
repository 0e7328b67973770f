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

/// Classifies the fields of `block`, a whole head that begins at `start` of `input`, into `kinds`, and gathers what they
/// say. False: a line of the head ends in a bare LF, which `httparse` takes and the limits do not.
#[inline]
pub(crate) fn gather(
    headers: &[httparse::Header<'_>],
    block: &[u8],
    allow_bare_lf: bool,
    facts: &mut Facts,
    kinds: &mut [Known],
    input: &[u8],
) -> Result<bool, DecodeError> {
    // That there is a LF before each name and at the end is certain; what stands before the LF tells how the line ended.
    let mut crlf = before(block, block.len(), 2) == b'\r' && before(block, block.len(), 4) == b'\r';
    for (header, kind) in headers.iter().zip(kinds) {
        let name = header.name.as_bytes();
        crlf &= before(block, name.as_ptr().addr() - block.as_ptr().addr(), 2) == b'\r';
        *kind = Known::of(name);
        if *kind != Known::Other {
            // `httparse` has trimmed the value.
            facts.note(
                *kind,
                header.value,
                Span::locate(header.value, input),
                input,
            )?;
        }
    }
    Ok(crlf || allow_bare_lf)
}

/// Hands the fields on.
#[inline]
pub(crate) fn emit<S: FieldSink>(
    headers: &[httparse::Header<'_>],
    kinds: &[Known],
    facts: &Facts,
    input: &[u8],
    sink: &mut S,
) {
    if !facts.nominated.is_empty() {
        return emit_nominated(headers, kinds, facts, input, sink);
    }
    for (header, &known) in headers.iter().zip(kinds) {
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
    headers: &[httparse::Header<'_>],
    kinds: &[Known],
    facts: &Facts,
    input: &[u8],
    sink: &mut S,
) {
    for (header, &known) in headers.iter().zip(kinds) {
        let name = header.name.as_bytes();
        sink.field(Field {
            name: Span::locate(name, input),
            value: Span::locate(header.value, input),
            known,
            hop_by_hop: known.is_hop_by_hop() || facts.nominated.contains(name, input),
        });
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
