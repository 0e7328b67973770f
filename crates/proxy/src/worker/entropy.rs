//! Random bytes that nobody foresees, for names of requests and traces.

use std::cell::{Cell, RefCell};

use rustls::crypto::SecureRandom;

/// How much is asked of the generator at a time: what it does beside making bytes is shared by sixteen requests.
const STOCK: usize = 256;

/// A stock of random bytes of TLS's own generator: what it costs per byte is little, what it costs per question is not.
#[derive(Debug)]
pub(crate) struct Entropy {
    generator: &'static dyn SecureRandom,
    stock: RefCell<[u8; STOCK]>,
    used: Cell<usize>,
}

impl Default for Entropy {
    fn default() -> Self {
        Self {
            generator: rustls::crypto::aws_lc_rs::default_provider().secure_random,
            stock: RefCell::new([0; STOCK]),
            used: Cell::new(STOCK),
        }
    }
}

impl Entropy {
    /// So many bytes, at most 256, that were given to nobody before. `None`: the system has none, which those who ask must
    /// not hide.
    pub(crate) fn take<const COUNT: usize>(&self) -> Option<[u8; COUNT]> {
        let mut stock = self.stock.borrow_mut();
        if self.used.get() + COUNT > STOCK {
            self.generator.fill(&mut *stock).ok()?;
            self.used.set(0);
        }
        let start = self.used.get();
        let taken = stock.get_mut(start..start + COUNT)?;
        let bytes = <[u8; COUNT]>::try_from(&*taken).ok()?;
        // What was given away is not left in memory to be found.
        taken.fill(0);
        self.used.set(start + COUNT);
        Some(bytes)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn no_bytes_are_given_twice() {
        let entropy = Entropy::default();
        let mut seen = HashSet::new();
        for _ in 0..1_000 {
            assert!(seen.insert(entropy.take::<16>().unwrap()));
            assert!(seen.insert({
                let mut long = [0; 16];
                long[..8].copy_from_slice(&entropy.take::<8>().unwrap());
                long
            }));
        }
    }
}
