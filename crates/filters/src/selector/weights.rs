//! Hosts drawn by chance in the shares of their weights.

use transom_api::{SelectorHost, SelectorView};

/// The weights of a host set, summed up so that a draw is a search.
#[derive(Debug)]
pub(super) struct Weights {
    /// For each host the sum of the weights up to it and with it.
    sums: Vec<u64>,
}

/// How often a host that is not available is drawn again before the hosts are gone through. With half of the hosts gone,
/// one request of 256 goes through them.
const DRAWS: usize = 8;

impl Weights {
    pub(super) fn new(hosts: &[SelectorHost<'_>]) -> Self {
        let mut sum = 0;
        let sums = hosts.iter().map(|host| {
            sum += u64::from(host.weight);
            sum
        });
        Self {
            sums: sums.collect(),
        }
    }

    pub(super) fn of(&self, host: usize) -> u64 {
        let before = host
            .checked_sub(1)
            .and_then(|before| self.sums.get(before))
            .copied()
            .unwrap_or(0);
        self.sums.get(host).map_or(0, |sum| sum - before)
    }

    /// A host that is available.
    pub(super) fn draw(&self, hosts: &dyn SelectorView) -> Option<usize> {
        let total = *self.sums.last()?;
        for _ in 0..DRAWS {
            let point = below(hosts.random(), total);
            let host = self.sums.partition_point(|sum| *sum <= point);
            if hosts.is_available(host) {
                return Some(host);
            }
        }
        // Few are available: the draw is among them, so that their shares hold.
        let available = || (0..self.sums.len()).filter(|host| hosts.is_available(*host));
        let total = available().map(|host| self.of(host)).sum();
        let mut point = below(hosts.random(), total);
        available().find(|host| {
            let weight = self.of(*host);
            let found = point < weight;
            point = point.saturating_sub(weight);
            found
        })
    }
}

/// A number below `limit` (Lemire, "Fast random integer generation in an interval", 2019, without its last correction:
/// the bias is below one in 2^32 for sums of weights).
fn below(random: u64, limit: u64) -> u64 {
    ((u128::from(random) * u128::from(limit)) >> 64) as u64
}
