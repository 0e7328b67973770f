//! What heads of both directions have in common once `httparse` has taken them apart.

use crate::bytes::trim;
use crate::error::DecodeError;
use crate::facts::Facts;
use crate::field::{Field, FieldSink, Known};
use crate::limits::Limits;
use crate::span::Span;

/// Slots for fields on the stack, for limits up to the default and a bit.
pub(crate) const FEW: usize = 128;
/// The same for all other limits: 32 KiB of stack.
pub(crate) const MANY: usize = Limits::MOST_FIELDS as usize;

/// Bytes of a request line whose target is `target` and that begins at `start`.
#[inline]
pub(crate) fn line_length(start: usize, target: Span) -> usize {
    (target.end() as usize).saturating_sub(start) + " HTTP/1.1".len()
}

/// Classifies the fields of the head that ends at `end`, and gathers what they say. `None`: a line of the head ends in
/// a bare LF, which `httparse` takes.
#[inline]
pub(crate) fn gather<const N: usize>(
    headers: &[httparse::Header<'_>],
    input: &[u8],
    end: usize,
    limits: &Limits,
    facts: &mut Facts,
) -> Result<Option<[Known; N]>, DecodeError> {
    let mut kinds = [Known::Other; N];
    // Each line is followed by a name or by the end of the head: two bytes before that tell how it ended.
    let mut crlf = ends_in_crlf(input, end) && ends_in_crlf(input, end.saturating_sub(2));
    for (header, kind) in headers.iter().zip(&mut kinds) {
        let name = Span::locate(header.name.as_bytes(), input);
        crlf &= ends_in_crlf(input, name.start as usize);
        *kind = Known::of(header.name.as_bytes());
        if *kind != Known::Other {
            let value = trim(header.value);
            facts.note(*kind, value, Span::locate(value, input), input)?;
        }
    }
    Ok((crlf || limits.allow_bare_lf_in_head).then_some(kinds))
}

/// Hands the fields on.
#[inline]
pub(crate) fn emit<const N: usize, S: FieldSink>(
    headers: &[httparse::Header<'_>],
    kinds: &[Known; N],
    facts: &Facts,
    input: &[u8],
    sink: &mut S,
) {
    let none_nominated = facts.nominated.is_empty();
    for (header, &known) in headers.iter().zip(kinds) {
        let name = header.name.as_bytes();
        sink.field(Field {
            name: Span::locate(name, input),
            value: Span::locate(trim(header.value), input),
            known,
            hop_by_hop: known.is_hop_by_hop()
                || (!none_nominated && facts.nominated.contains(name, input)),
        });
    }
}

#[inline]
fn ends_in_crlf(input: &[u8], end: usize) -> bool {
    end.checked_sub(2)
        .and_then(|start| input.get(start..end))
        .is_some_and(|line_end| line_end == b"\r\n")
}
