//! Random numbers: good enough to share out traffic, and no secret.

use std::cell::Cell;
use std::time::SystemTime;

/// SplitMix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014): one addition of state, and
/// all bits are good.
#[derive(Debug)]
pub(crate) struct Random(Cell<u64>);

impl Random {
    /// A sequence that generators of other `number`s, and those of other processes, do not have.
    pub(crate) fn new(number: usize) -> Self {
        let time = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .map_or(0, |since| since.as_nanos() as u64);
        Self(Cell::new(mix(time ^ mix(number as u64 + 1))))
    }

    pub(crate) fn next(&self) -> u64 {
        let state = self.0.get().wrapping_add(0x9E37_79B9_7F4A_7C15);
        self.0.set(state);
        mix(state)
    }

    /// A number below `limit`; 0 when that is 0.
    pub(crate) fn below(&self, limit: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(limit)) >> 64) as u64
    }
}

fn mix(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    x ^ (x >> 31)
}
