//! A small generator of random numbers: good enough to draw shares, and no secret.

use std::cell::Cell;
use std::time::SystemTime;

use transom_api::{Node, ParseError, Schema, Shape};

/// Marsaglia's xorshift with a multiplied output (Vigna, "An experimental exploration of Marsaglia's xorshift
/// generators, scrambled", 2016): period 2^64 - 1, one word of state.
#[derive(Debug)]
pub(crate) struct Random(Cell<u64>);

/// A share between 0 and 1; a percentage in the configuration.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Share(f64);

impl Share {
    pub(crate) fn schema() -> Schema {
        Schema::new(Shape::Number(0.0, 100.0))
            .describe("How many of a hundred requests; fractions are allowed.")
            .or(100)
    }

    /// Reads a percentage; all of them when there is none.
    pub(crate) fn parse(node: Option<&Node>) -> Result<Self, ParseError> {
        let Some(node) = node else {
            return Ok(Self(1.0));
        };
        let number = node.as_number()?;
        if !(0.0..=100.0).contains(&number) {
            return Err(node.error(format!(
                "expected a percentage from 0 to 100, found {number}"
            )));
        }
        Ok(Self(number / 100.0))
    }
}

impl Random {
    /// A seed that workers of one process, and processes started one after another, do not share.
    pub(crate) fn seed(worker: usize) -> u64 {
        let time = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .map_or(0, |since| since.as_nanos() as u64);
        Self::mix(time ^ Self::mix(worker as u64 + 1))
    }

    /// Whether one that is drawn belongs to the share.
    pub(crate) fn draws(&self, Share(share): Share) -> bool {
        self.next() < share
    }

    /// The same seed gives the same numbers.
    pub(crate) fn new(seed: u64) -> Self {
        // Zero is the one state that stays where it is.
        Self(Cell::new(Self::mix(seed).max(1)))
    }

    /// The next number, from 0 up to but without 1.
    fn next(&self) -> f64 {
        let mut x = self.0.get();
        x ^= x >> 12;
        x ^= x << 25;
        x ^= x >> 27;
        self.0.set(x);
        // The upper 53 bits, which are the good ones and just as many as a float can hold.
        let bits = x.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 11;
        bits as f64 / (1_u64 << 53) as f64
    }

    /// Spreads a seed over all bits, so that near seeds begin far apart (the finisher of SplitMix64).
    fn mix(seed: u64) -> u64 {
        let mut x = seed.wrapping_add(0x9E37_79B9_7F4A_7C15);
        x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        x ^ (x >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_spread_evenly_from_0_to_1() {
        for seed in [0, 1, 2, u64::MAX] {
            let random = Random::new(seed);
            let mut tenths = [0; 10];
            for _ in 0..100_000 {
                let number = random.next();
                assert!((0.0..1.0).contains(&number), "{number}");
                tenths[(number * 10.0) as usize] += 1;
            }
            // Ten thousand each; five standard deviations are 475.
            assert!(
                tenths.iter().all(|count| (9_500..10_500).contains(count)),
                "seed {seed}: {tenths:?}"
            );
        }
    }

    #[test]
    fn a_seed_gives_its_numbers_again_and_another_gives_others() {
        let draw = |seed| {
            let random = Random::new(seed);
            [random.next(), random.next(), random.next()]
        };
        assert_eq!(draw(7), draw(7));
        assert_ne!(draw(7), draw(8));
    }
}
