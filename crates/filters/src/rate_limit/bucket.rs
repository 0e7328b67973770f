//! Token buckets without a lock, and where they are kept.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How fast tokens come back, and how many there can be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Limit {
    /// Nanoseconds until the next token.
    interval: u64,
    burst: u32,
}

impl Limit {
    /// The most requests, and the largest burst.
    pub(super) const MOST: u32 = 1_000_000_000;

    /// `None` when tokens would come so fast that whole nanoseconds no longer tell the rate within a hundredth.
    pub(super) fn new(requests: u32, per: Duration, burst: u32) -> Option<Self> {
        let interval = per.as_nanos().checked_div(requests.into())?;
        let interval = u64::try_from(interval).ok()?;
        (interval >= 100).then_some(Self { interval, burst })
    }

    pub(super) fn burst(self) -> u32 {
        self.burst
    }

    /// Nanoseconds in which an empty bucket fills.
    fn span(self) -> u64 {
        self.interval.saturating_mul(self.burst.into())
    }
}

/// A token bucket in one number: the moment at which it will be full again (the "theoretical arrival time" of the generic
/// cell rate algorithm, ITU-T I.371). A token taken moves the moment by one interval; it must not lie further ahead than
/// an empty bucket needs to fill. As it is a time and not a number of tokens, it means the same under another limit.
#[derive(Debug)]
pub(super) struct Bucket {
    epoch: Instant,
    /// Nanoseconds from `epoch`.
    full_at: AtomicU64,
}

impl Default for Bucket {
    fn default() -> Self {
        Self {
            epoch: Instant::now(),
            full_at: AtomicU64::new(0),
        }
    }
}

impl Bucket {
    /// Takes a token; if there is none, the error says when there will be one.
    pub(super) fn take(&self, limit: Limit) -> Result<(), Duration> {
        self.take_at(self.now(), limit)
    }

    /// How many tokens there are, and the time until the bucket is full.
    pub(super) fn look(&self, limit: Limit) -> (u32, Duration) {
        self.look_at(self.now(), limit)
    }

    fn take_at(&self, now: u64, limit: Limit) -> Result<(), Duration> {
        let latest = now.saturating_add(limit.span());
        let after = |full_at: u64| full_at.max(now).saturating_add(limit.interval);
        // Only this number is shared, so nothing needs to be ordered around it.
        self.full_at
            .try_update(Ordering::Relaxed, Ordering::Relaxed, |full_at| {
                Some(after(full_at)).filter(|after| *after <= latest)
            })
            .map(drop)
            .map_err(|full_at| Duration::from_nanos(after(full_at).saturating_sub(latest)))
    }

    fn look_at(&self, now: u64, limit: Limit) -> (u32, Duration) {
        let missing = self
            .full_at
            .load(Ordering::Relaxed)
            .saturating_sub(now)
            .min(limit.span());
        let taken = missing.div_ceil(limit.interval.max(1));
        let left = u64::from(limit.burst).saturating_sub(taken);
        (left as u32, Duration::from_nanos(missing))
    }

    fn now(&self) -> u64 {
        // 584 years.
        u64::try_from(self.epoch.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    fn is_full(&self) -> bool {
        self.full_at.load(Ordering::Relaxed) <= self.now()
    }
}

/// The process's buckets by their names.
#[derive(Debug, Default)]
pub(super) struct Buckets(Mutex<BTreeMap<String, Arc<Bucket>>>);

impl Buckets {
    /// The bucket of this name; a full one when there was none.
    pub(super) fn named(&self, name: &str) -> Arc<Bucket> {
        let mut buckets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(bucket) = buckets.get(name) {
            return Arc::clone(bucket);
        }
        // A full bucket that nobody uses is as good as none; others are kept for a use that may come back.
        buckets.retain(|_, bucket| Arc::strong_count(bucket) > 1 || !bucket.is_full());
        let bucket: Arc<Bucket> = Arc::default();
        buckets.insert(name.to_owned(), Arc::clone(&bucket));
        bucket
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn limit(requests: u32, burst: u32) -> Limit {
        Limit::new(requests, Duration::from_secs(1), burst).unwrap()
    }

    fn take(bucket: &Bucket, now: u64, limit: Limit) -> u32 {
        (0..)
            .take_while(|_| bucket.take_at(now, limit).is_ok())
            .count() as u32
    }

    #[test]
    fn a_full_bucket_gives_its_burst_and_then_what_comes_back() {
        let bucket = Bucket::default();
        let ten = limit(10, 20);
        assert_eq!(take(&bucket, 0, ten), 20);
        assert_eq!(take(&bucket, SECOND / 10 - 1, ten), 0);
        assert_eq!(take(&bucket, SECOND / 10, ten), 1);
        assert_eq!(take(&bucket, SECOND, ten), 9);
        assert_eq!(
            take(&bucket, 60 * SECOND, ten),
            20,
            "never more than its burst"
        );
    }

    #[test]
    fn who_gets_none_is_told_when_there_is_one() {
        let bucket = Bucket::default();
        let ten = limit(10, 1);
        assert_eq!(bucket.take_at(0, ten), Ok(()));
        let wait = bucket.take_at(SECOND / 40, ten).unwrap_err();
        assert_eq!(wait, Duration::from_millis(75));
        assert_eq!(bucket.take_at(SECOND / 40 + 75_000_000, ten), Ok(()));
    }

    #[test]
    fn a_look_takes_nothing() {
        let bucket = Bucket::default();
        let ten = limit(10, 5);
        assert_eq!(bucket.look_at(SECOND, ten), (5, Duration::ZERO));
        bucket.take_at(SECOND, ten).unwrap();
        bucket.take_at(SECOND, ten).unwrap();
        for _ in 0..2 {
            assert_eq!(bucket.look_at(SECOND, ten), (3, Duration::from_millis(200)));
        }
        assert_eq!(
            bucket.look_at(SECOND + SECOND / 20, ten),
            (3, Duration::from_millis(150)),
            "part of a token is none"
        );
    }

    #[test]
    fn under_another_limit_it_is_as_empty_as_it_was() {
        let bucket = Bucket::default();
        assert_eq!(take(&bucket, 0, limit(10, 10)), 10);
        // It fills in a second under the old limit: of the new one, tokens of a second are missing.
        assert_eq!(take(&bucket, 0, limit(100, 100)), 0);
        assert_eq!(take(&bucket, SECOND / 2, limit(100, 100)), 50);
        // A smaller one sees no more missing than it can hold.
        assert_eq!(bucket.look_at(SECOND / 2, limit(1, 1)).0, 0);
    }

    #[test]
    fn workers_together_get_no_more_than_there_is() {
        let bucket = Arc::new(Bucket::default());
        let slow = Limit::new(1_000, Duration::from_secs(3_600_000), 1_000).unwrap();
        let workers: Vec<_> = (0..4)
            .map(|_| {
                let bucket = Arc::clone(&bucket);
                std::thread::spawn(move || (0..1_000).filter(|_| bucket.take(slow).is_ok()).count())
            })
            .collect();
        let taken: usize = workers
            .into_iter()
            .map(|worker| worker.join().unwrap())
            .sum();
        assert_eq!(taken, 1_000);
    }

    #[test]
    fn what_nanoseconds_cannot_tell_is_no_limit() {
        let per = Duration::from_secs(1);
        assert!(Limit::new(10_000_000, per, 1).is_some());
        assert!(Limit::new(10_000_001, per, 1).is_none());
        assert!(Limit::new(1, Duration::ZERO, 1).is_none());
        let century = Limit::new(1, Duration::from_secs(3_162_240_000), Limit::MOST).unwrap();
        let bucket = Bucket::default();
        assert_eq!(
            bucket.take_at(u64::MAX - 1, century),
            Ok(()),
            "sums do not overflow"
        );
    }

    #[test]
    fn names_find_their_buckets_and_full_ones_are_forgotten() {
        let buckets = Buckets::default();
        let hour = Limit::new(1, Duration::from_secs(3_600), 1).unwrap();
        let first = buckets.named("a");
        assert!(Arc::ptr_eq(&first, &buckets.named("a")));
        first.take(hour).unwrap();
        drop(first);
        drop(buckets.named("full"));
        let _other = buckets.named("b");
        assert!(
            buckets.named("a").take(hour).is_err(),
            "kept while it is not full"
        );
        assert_eq!(buckets.0.lock().unwrap().len(), 2);
    }
}
