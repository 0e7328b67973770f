//! The last status of an upstream, for all workers.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// A status and until when it holds, in one number, so that nobody reads the one with the other's time.
#[derive(Debug)]
pub(super) struct StatusCache {
    epoch: Instant,
    /// Milliseconds from `epoch` in the upper 48 bits, which is 8,900 years; the status in the lower 16.
    entry: AtomicU64,
}

impl Default for StatusCache {
    fn default() -> Self {
        Self {
            epoch: Instant::now(),
            entry: AtomicU64::new(0),
        }
    }
}

impl StatusCache {
    /// The status, if it still holds.
    pub(super) fn status(&self) -> Option<u16> {
        self.status_at(self.epoch.elapsed())
    }

    /// Keeps a status for a time.
    pub(super) fn set(&self, status: u16, time: Duration) {
        self.set_at(self.epoch.elapsed(), status, time);
    }

    fn status_at(&self, now: Duration) -> Option<u16> {
        // The number is all that is shared, so nothing needs to be ordered around it.
        let entry = self.entry.load(Ordering::Relaxed);
        let status = (entry & 0xFFFF) as u16;
        (u128::from(entry >> 16) > now.as_millis()).then_some(status)
    }

    fn set_at(&self, now: Duration, status: u16, time: Duration) {
        let until = now.saturating_add(time).as_millis().min((1 << 48) - 1) as u64;
        self.entry
            .store(until << 16 | u64::from(status), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_holds_for_its_time() {
        let cache = StatusCache::default();
        let at = Duration::from_millis;
        assert_eq!(cache.status_at(at(0)), None);
        cache.set_at(at(10), 503, at(5));
        assert_eq!(cache.status_at(at(14)), Some(503));
        assert_eq!(cache.status_at(at(15)), None);
        cache.set_at(at(20), 599, Duration::MAX);
        assert_eq!(cache.status_at(at(1 << 40)), Some(599));
    }
}
