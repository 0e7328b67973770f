//! How long to wait before a plugin that would not start is tried again.

use std::time::{Duration, Instant};

/// The first pause.
const FIRST: Duration = Duration::from_millis(100);

/// The longest.
const LONGEST: Duration = Duration::from_secs(10);

/// A plugin that lived so long is not one that dies at once: it is started again without a pause.
const LIVED: Duration = Duration::from_secs(10);

/// Doubles with each failure in a row.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    failures: u32,
    not_before: Option<Instant>,
}

impl Backoff {
    /// How long is still to be waited; `None` when it may be tried now.
    pub(super) fn remaining(&self, now: Instant) -> Option<Duration> {
        self.not_before
            .and_then(|then| then.checked_duration_since(now))
            .filter(|left| !left.is_zero())
    }

    /// It would not start.
    pub(super) fn failed(&mut self, now: Instant) {
        let pause = FIRST
            .saturating_mul(1 << self.failures.min(16))
            .min(LONGEST);
        self.failures = self.failures.saturating_add(1);
        self.not_before = Some(now + pause);
    }

    /// It ended after having run for so long. The first end is answered by a start at once, further quick ones by a pause.
    pub(super) fn ended(&mut self, lived: Duration, now: Instant) {
        if lived >= LIVED {
            self.reset();
        } else if self.failures == 0 {
            self.failures = 1;
        } else {
            self.failed(now);
        }
    }

    /// It is wanted again, whatever was before.
    pub(super) fn reset(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_bound() {
        let now = Instant::now();
        let mut backoff = Backoff::default();
        assert_eq!(backoff.remaining(now), None);
        let pauses: Vec<_> = (0..20)
            .map(|_| {
                backoff.failed(now);
                backoff.remaining(now).unwrap()
            })
            .collect();
        assert_eq!(pauses[0], FIRST);
        assert_eq!(pauses[1], FIRST * 2);
        assert_eq!(pauses[19], LONGEST);
        assert!(backoff.remaining(now + LONGEST).is_none());
    }

    #[test]
    fn the_first_death_costs_no_pause_and_a_long_life_forgives() {
        let now = Instant::now();
        let mut backoff = Backoff::default();
        backoff.ended(Duration::from_secs(1), now);
        assert_eq!(backoff.remaining(now), None);
        backoff.ended(Duration::from_secs(1), now);
        assert!(backoff.remaining(now).is_some());
        backoff.ended(Duration::from_secs(60), now);
        assert_eq!(backoff.remaining(now), None);
    }
}
