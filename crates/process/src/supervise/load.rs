//! What a plugin is doing, counted without a lock.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

/// Upper bounds of the latency histogram, in microseconds. A plugin on this machine answers in tens of them.
pub(super) const BUCKETS: [u64; 17] = [
    50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000,
    1_000_000, 2_500_000, 5_000_000, 10_000_000,
];

/// How a call went.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Outcome {
    /// It was answered.
    Ok,
    /// The plugin failed, or answered with what cannot be used.
    Error,
    /// It was not answered in time.
    Timeout,
    /// The connection ended, or could not be made. Counted as an error, and the instance is chosen only if there is no other until it was
    /// seen to be well: it may have died a moment ago.
    Lost,
}

/// Why a call was not taken.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Refused {
    /// As many calls as it may have are under way.
    #[error("the plugin has as many calls under way as its `bounds` allow")]
    Busy,
    /// The instance takes no more calls: it ends, or has ended.
    #[error("this instance of the plugin takes no more calls")]
    Draining,
}

/// The calls of a plugin that are under way, and how many there may be.
#[derive(Debug)]
pub(super) struct InFlight {
    most: u32,
    count: AtomicU32,
}

impl InFlight {
    pub(super) fn new(most: u32) -> Self {
        Self {
            most,
            count: AtomicU32::new(0),
        }
    }

    pub(super) fn count(&self) -> u32 {
        self.count.load(Ordering::Relaxed)
    }
}

/// The counters of one version of a plugin, all its instances together.
#[derive(Debug)]
pub(super) struct Load {
    in_flight: Arc<InFlight>,
    calls: AtomicU64,
    errors: AtomicU64,
    timeouts: AtomicU64,
    given_up: AtomicU64,
    busy: AtomicU64,
    draining: AtomicU64,
    microseconds: AtomicU64,
    /// One more for what took longer than all.
    buckets: [AtomicU64; BUCKETS.len() + 1],
}

/// What was counted of a plugin.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Counts {
    /// Calls under way.
    pub in_flight: u32,
    /// Calls that ended, however.
    pub calls: u64,
    /// Of these, answered with an error.
    pub errors: u64,
    /// Of these, not answered in time.
    pub timeouts: u64,
    /// Calls that the client gave up.
    pub given_up: u64,
    /// Calls that were refused because of `bounds`.
    pub busy: u64,
    /// Calls that met an instance on its way out.
    pub draining: u64,
    /// The sum of the times that calls took.
    pub time: Duration,
    /// For each bucket how many calls fell into it; the last is for all that took longer.
    pub buckets: Vec<u64>,
}

impl Load {
    pub(super) fn new(in_flight: Arc<InFlight>) -> Self {
        Self {
            in_flight,
            calls: AtomicU64::new(0),
            errors: AtomicU64::new(0),
            timeouts: AtomicU64::new(0),
            given_up: AtomicU64::new(0),
            busy: AtomicU64::new(0),
            draining: AtomicU64::new(0),
            microseconds: AtomicU64::new(0),
            buckets: std::array::from_fn(|_| AtomicU64::new(0)),
        }
    }

    pub(super) fn enter(&self) -> Result<(), Refused> {
        // Counted first and taken back, so that two workers at once cannot both take the last place.
        if self.in_flight.count.fetch_add(1, Ordering::Relaxed) >= self.in_flight.most {
            self.leave();
            return Err(self.refused(Refused::Busy));
        }
        Ok(())
    }

    pub(super) fn leave(&self) {
        self.in_flight.count.fetch_sub(1, Ordering::Relaxed);
    }

    pub(super) fn refused(&self, why: Refused) -> Refused {
        let counter = match why {
            Refused::Busy => &self.busy,
            Refused::Draining => &self.draining,
        };
        counter.fetch_add(1, Ordering::Relaxed);
        why
    }

    pub(super) fn given_up(&self) {
        self.given_up.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn end(&self, outcome: Outcome, took: Duration) {
        let microseconds = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let bucket = BUCKETS.partition_point(|bound| *bound < microseconds);
        if let Some(bucket) = self.buckets.get(bucket) {
            bucket.fetch_add(1, Ordering::Relaxed);
        }
        self.microseconds.fetch_add(microseconds, Ordering::Relaxed);
        self.calls.fetch_add(1, Ordering::Relaxed);
        match outcome {
            Outcome::Ok => return,
            Outcome::Error | Outcome::Lost => &self.errors,
            Outcome::Timeout => &self.timeouts,
        }
        .fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn counts(&self) -> Counts {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Counts {
            in_flight: self.in_flight.count(),
            calls: read(&self.calls),
            errors: read(&self.errors),
            timeouts: read(&self.timeouts),
            given_up: read(&self.given_up),
            busy: read(&self.busy),
            draining: read(&self.draining),
            time: Duration::from_micros(read(&self.microseconds)),
            buckets: self.buckets.iter().map(read).collect(),
        }
    }
}

impl Counts {
    /// The time within which this part (0 to 1) of all calls ended, by the histogram's buckets; `None` without calls.
    pub fn quantile(&self, part: f64) -> Option<Duration> {
        let all: u64 = self.buckets.iter().sum();
        if all == 0 {
            return None;
        }
        let wanted = (all as f64 * part).ceil().max(1.0) as u64;
        let mut seen = 0;
        for (at, count) in self.buckets.iter().enumerate() {
            seen += count;
            if seen >= wanted {
                let bound = BUCKETS.get(at).or(BUCKETS.last())?;
                return Some(Duration::from_micros(*bound));
            }
        }
        None
    }

    /// Errors and timeouts among the calls that ended, 0 to 1.
    pub fn failures(&self) -> f64 {
        if self.calls == 0 {
            return 0.0;
        }
        (self.errors + self.timeouts) as f64 / self.calls as f64
    }

    /// What was counted after an earlier look.
    pub(super) fn since(&self, before: &Self) -> Self {
        let buckets = self.buckets.iter();
        let earlier = before.buckets.iter().copied().chain(std::iter::repeat(0));
        Self {
            in_flight: self.in_flight,
            calls: self.calls.saturating_sub(before.calls),
            errors: self.errors.saturating_sub(before.errors),
            timeouts: self.timeouts.saturating_sub(before.timeouts),
            given_up: self.given_up.saturating_sub(before.given_up),
            busy: self.busy.saturating_sub(before.busy),
            draining: self.draining.saturating_sub(before.draining),
            time: self.time.saturating_sub(before.time),
            buckets: buckets
                .zip(earlier)
                .map(|(now, then)| now.saturating_sub(then))
                .collect(),
        }
    }

    /// Adds what another version counted.
    pub(super) fn add(&mut self, other: &Self) {
        self.in_flight += other.in_flight;
        self.calls += other.calls;
        self.errors += other.errors;
        self.timeouts += other.timeouts;
        self.given_up += other.given_up;
        self.busy += other.busy;
        self.draining += other.draining;
        self.time += other.time;
        self.buckets.resize(BUCKETS.len() + 1, 0);
        for (own, other) in self.buckets.iter_mut().zip(&other.buckets) {
            *own += other;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_fall_into_their_bucket() {
        let load = Load::new(Arc::new(InFlight::new(10)));
        for (microseconds, outcome) in [
            (50, Outcome::Ok),
            (51, Outcome::Error),
            (20_000_000, Outcome::Timeout),
        ] {
            load.end(outcome, Duration::from_micros(microseconds));
        }
        let counts = load.counts();
        assert_eq!(counts.buckets[..3], [1, 1, 0]);
        assert_eq!(counts.buckets.last(), Some(&1));
        assert_eq!((counts.calls, counts.errors, counts.timeouts), (3, 1, 1));
        assert_eq!(counts.quantile(0.5), Some(Duration::from_micros(100)));
        assert_eq!(Counts::default().quantile(0.5), None);
    }

    #[test]
    fn the_bound_holds_and_places_come_back() {
        let load = Load::new(Arc::new(InFlight::new(2)));
        assert_eq!((load.enter(), load.enter()), (Ok(()), Ok(())));
        assert_eq!(load.enter(), Err(Refused::Busy));
        load.leave();
        assert_eq!(load.enter(), Ok(()));
        assert_eq!(load.counts().busy, 1);
    }
}
