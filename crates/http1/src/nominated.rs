//! The fields that `Connection` nominates to be for one hop only (RFC 9110 section 7.6.1).

use crate::error::DecodeError;
use crate::span::Span;

/// Honest senders nominate one or two. The bound keeps the product of names and fields small: 16 × 100 comparisons of
/// lengths.
const MOST: u8 = 16;

/// Nominated names, as spans of the head that is being decoded.
#[derive(Clone, Copy, Default)]
pub(crate) struct Nominated {
    names: [Span; MOST as usize],
    len: u8,
}

/// What of them outlives the head: the trailers come when its bytes are gone. A hash is enough: if two names share
/// one, a trailer that its own sender could have nominated is dropped.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct NominatedTrailers {
    hashes: [u32; MOST as usize],
    len: u8,
}

impl Nominated {
    pub(crate) fn add(&mut self, name: Span) -> Result<(), DecodeError> {
        let slot = self
            .names
            .get_mut(usize::from(self.len))
            .ok_or(DecodeError::TooManyNominated { limit: MOST })?;
        *slot = name;
        self.len += 1;
        Ok(())
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub(crate) fn contains(&self, name: &[u8], input: &[u8]) -> bool {
        self.names()
            .any(|nominated| nominated.of(input).eq_ignore_ascii_case(name))
    }

    pub(crate) fn for_trailers(&self, input: &[u8]) -> NominatedTrailers {
        let mut kept = NominatedTrailers {
            len: self.len,
            ..NominatedTrailers::default()
        };
        for (slot, name) in kept.hashes.iter_mut().zip(self.names()) {
            *slot = hash(name.of(input));
        }
        kept
    }

    fn names(&self) -> impl Iterator<Item = Span> {
        self.names.iter().copied().take(usize::from(self.len))
    }
}

impl NominatedTrailers {
    pub(crate) fn contains(&self, name: &[u8]) -> bool {
        let nominated = self.hashes.get(..usize::from(self.len));
        self.len > 0 && nominated.is_some_and(|hashes| hashes.contains(&hash(name)))
    }
}

/// FNV-1a over the name in lower case.
fn hash(name: &[u8]) -> u32 {
    name.iter().fold(0x811c_9dc5, |hash, byte| {
        (hash ^ u32::from(byte.to_ascii_lowercase())).wrapping_mul(0x0100_0193)
    })
}
