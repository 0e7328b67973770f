//! What bounds the connections of a listener and of the process.
//!
//! All of it is shared by the workers and kept through reloads: numbers of the process, in atomics.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use transom_api::{Counter, Gauge};
use transom_config::Balance;

use crate::worker::inbox::WorkerInbox;

/// What all workers of a listener share.
#[derive(Clone)]
pub(crate) struct ListenerLimits {
    pub(crate) counts: Arc<Counts>,
    /// The most connections of the listener.
    pub(crate) most: Option<u32>,
    pub(crate) rate: Option<Arc<AcceptRate>>,
    pub(crate) balance: Balance,
    /// Of all workers, by their index.
    pub(crate) inboxes: Arc<[Arc<WorkerInbox>]>,
    pub(crate) metrics: ListenerMetrics,
}

/// What is counted of a listener.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ListenerMetrics {
    pub(crate) accepted: Counter,
    /// Closed at once, because the listener had its most.
    pub(crate) refused: Counter,
    /// Times that accepting stood still, by [`Pause`].
    pub(crate) pauses: [Counter; 3],
    /// Connections for which no chain is.
    pub(crate) unmatched: Counter,
    /// Connections whose listener filters waited for too long.
    pub(crate) timed_out: Counter,
    pub(crate) active: Gauge,
}

/// Why accepting stands still.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pause {
    /// `accept_rate` is used up.
    Rate,
    /// The process has as many connections as it may have.
    Full,
    /// The system gives no more descriptors, or no memory for them.
    Descriptors,
}

/// The open connections of a listener.
#[derive(Debug)]
pub(crate) struct Counts {
    open: AtomicU32,
    /// Those among them that have a place that is kept for this listener.
    kept: AtomicU32,
    /// How many places are kept for it.
    most_kept: AtomicU32,
    total: Arc<Total>,
}

/// The open connections of the process.
#[derive(Debug)]
pub(crate) struct Total {
    open: AtomicU32,
    /// Those that have a place that any listener may use, and how many there may be.
    common: AtomicU32,
    most_common: AtomicU32,
    by_worker: Box<[AtomicU32]>,
}

/// A connection that is counted. Dropping it gives its place to another.
#[derive(Debug)]
pub(crate) struct Admission {
    counts: Arc<Counts>,
    worker: u16,
    place: Place,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// One that is kept for the listener.
    Kept,
    /// One that any may use.
    Common,
}

/// Why a connection is not admitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Full {
    Listener,
    Process,
}

/// For whom a connection is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum On {
    /// This worker.
    Worker(usize),
    /// The one that has the fewest; this one goes before others that have as few.
    Least(Option<usize>),
}

impl Pause {
    /// The words for them in metrics, in their order.
    pub(crate) const NAMES: [&str; 3] = ["rate", "connections", "descriptors"];
}

impl ListenerLimits {
    /// Counts a connection. `forced`: whatever the process may have, as it is open already.
    pub(crate) fn admit(&self, on: On, forced: bool) -> Result<Admission, Full> {
        let counts = &self.counts;
        if !take(&counts.open, self.most) {
            return Err(Full::Listener);
        }
        let total = &counts.total;
        let place = if take(&counts.kept, Some(counts.most_kept.load(Ordering::Relaxed))) {
            Place::Kept
        } else {
            let most = total.most_common.load(Ordering::Relaxed);
            if !take(&total.common, Some(most).filter(|_| !forced)) {
                counts.open.fetch_sub(1, Ordering::Relaxed);
                return Err(Full::Process);
            }
            Place::Common
        };
        total.open.fetch_add(1, Ordering::Relaxed);
        Ok(Admission {
            counts: Arc::clone(counts),
            worker: total.assign(on),
            place,
        })
    }

    /// Whether the process has a place for one more connection of this listener.
    pub(crate) fn has_place(&self) -> bool {
        let is_below = |open: &AtomicU32, most: &AtomicU32| {
            open.load(Ordering::Relaxed) < most.load(Ordering::Relaxed)
        };
        let (counts, total) = (&self.counts, &self.counts.total);
        is_below(&counts.kept, &counts.most_kept) || is_below(&total.common, &total.most_common)
    }

    pub(crate) fn pause(&self, pause: Pause) -> Counter {
        let [rate, full, descriptors] = self.metrics.pauses;
        match pause {
            Pause::Rate => rate,
            Pause::Full => full,
            Pause::Descriptors => descriptors,
        }
    }
}

/// Counts up, unless there are `most` already.
fn take(open: &AtomicU32, most: Option<u32>) -> bool {
    let before = open.fetch_add(1, Ordering::Relaxed);
    if most.is_some_and(|most| before >= most) {
        open.fetch_sub(1, Ordering::Relaxed);
        return false;
    }
    true
}

impl Counts {
    pub(crate) fn new(total: &Arc<Total>) -> Self {
        Self {
            open: AtomicU32::new(0),
            kept: AtomicU32::new(0),
            most_kept: AtomicU32::new(0),
            total: Arc::clone(total),
        }
    }
}

impl Total {
    pub(crate) fn new(workers: usize) -> Self {
        Self {
            open: AtomicU32::new(0),
            common: AtomicU32::new(0),
            most_common: AtomicU32::new(u32::MAX),
            by_worker: (0..workers).map(|_| AtomicU32::new(0)).collect(),
        }
    }

    /// Divides `most` places: a tenth is kept for the listeners, in equal parts, so that none of them can take all; the others are for
    /// whoever comes first.
    pub(crate) fn divide<'c>(
        &self,
        most: u32,
        listeners: impl ExactSizeIterator<Item = &'c Counts>,
    ) {
        let count = u32::try_from(listeners.len()).unwrap_or(u32::MAX);
        // With few places each listener still has one, as long as there are that many.
        let kept = (most / 10)
            .checked_div(count)
            .unwrap_or(0)
            .max(u32::from(most > count));
        self.most_common.store(
            most.saturating_sub(kept.saturating_mul(count)),
            Ordering::Relaxed,
        );
        for listener in listeners {
            listener.most_kept.store(kept, Ordering::Relaxed);
        }
    }

    /// How many connections are open.
    pub(crate) fn open(&self) -> u32 {
        self.open.load(Ordering::Relaxed)
    }

    /// Counts a connection for a worker.
    fn assign(&self, on: On) -> u16 {
        let (worker, count) = match on {
            On::Worker(worker) => (worker, self.by_worker.get(worker)),
            On::Least(here) => loop {
                let loads = self.by_worker.iter().enumerate();
                let loads = loads.map(|(worker, count)| (count.load(Ordering::Relaxed), worker));
                let least = loads.min_by_key(|(load, worker)| (*load, Some(*worker) != here));
                let (load, worker) = least.unwrap_or_default();
                let count = self.by_worker.get(worker);
                // Two that accept at the same time must not both find it the emptiest.
                let is_mine = count.is_none_or(|count| {
                    let (now, then) = (Ordering::Relaxed, Ordering::Relaxed);
                    count.compare_exchange(load, load + 1, now, then).is_ok()
                });
                if is_mine {
                    break (worker, None);
                }
            },
        };
        if let Some(count) = count {
            count.fetch_add(1, Ordering::Relaxed);
        }
        u16::try_from(worker).unwrap_or(u16::MAX)
    }
}

impl Admission {
    /// Whose connection it is.
    pub(crate) fn worker(&self) -> usize {
        self.worker.into()
    }

    /// Counts it for another worker, which serves it after all.
    pub(crate) fn move_to(&mut self, worker: usize) {
        if worker != self.worker() {
            self.leave_worker();
            self.worker = self.counts.total.assign(On::Worker(worker));
        }
    }

    fn leave_worker(&self) {
        if let Some(count) = self.counts.total.by_worker.get(self.worker()) {
            count.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        let (counts, total) = (&self.counts, &self.counts.total);
        match self.place {
            Place::Kept => counts.kept.fetch_sub(1, Ordering::Relaxed),
            Place::Common => total.common.fetch_sub(1, Ordering::Relaxed),
        };
        counts.open.fetch_sub(1, Ordering::Relaxed);
        total.open.fetch_sub(1, Ordering::Relaxed);
        self.leave_worker();
    }
}

/// A token bucket that says how long a connection must wait: the generic cell rate algorithm (ITU-T I.371, annex A), which
/// needs one number to remember, so that it can be an atomic.
#[derive(Debug)]
pub(crate) struct AcceptRate {
    began: Instant,
    /// Nanoseconds between two connections.
    interval: AtomicU64,
    /// Nanoseconds that connections may come early: those of a whole burst.
    tolerance: AtomicU64,
    /// When the next connection is due, in nanoseconds since `began`.
    next: AtomicU64,
}

/// Sleeps are that coarse: what came due meanwhile must not be lost.
const CLOCK: Duration = Duration::from_millis(2);

impl AcceptRate {
    pub(crate) fn new(config: transom_config::AcceptRate) -> Self {
        let rate = Self {
            began: Instant::now(),
            interval: AtomicU64::new(0),
            tolerance: AtomicU64::new(0),
            next: AtomicU64::new(0),
        };
        rate.set(config);
        rate
    }

    /// Another rate from now on; what was taken stays taken.
    pub(crate) fn set(&self, config: transom_config::AcceptRate) {
        let interval = 1_000_000_000 / u64::from(config.per_second.max(1));
        self.interval.store(interval, Ordering::Relaxed);
        let burst = interval.saturating_mul(u64::from(config.burst.max(1)) - 1);
        // Less than an interval of it lets nothing more through.
        let clock = nanoseconds(CLOCK) / interval.max(1) * interval;
        self.tolerance.store(burst.max(clock), Ordering::Relaxed);
    }

    /// How long until there is a token. Takes none.
    pub(crate) fn wait(&self, now: Instant) -> Duration {
        let now = self.since_began(now);
        self.early(self.next.load(Ordering::Relaxed).max(now), now)
    }

    /// Takes a token; says how long to wait until it is there.
    pub(crate) fn take(&self, now: Instant) -> Duration {
        let now = self.since_began(now);
        let interval = self.interval.load(Ordering::Relaxed);
        let mut next = self.next.load(Ordering::Relaxed);
        loop {
            let due = next.max(now);
            let after = due.saturating_add(interval);
            // No lock: who loses looks again, and some other worker has gone on.
            match self
                .next
                .compare_exchange_weak(next, after, Ordering::Relaxed, Ordering::Relaxed)
            {
                Ok(_) => return self.early(due, now),
                Err(other) => next = other,
            }
        }
    }

    fn early(&self, due: u64, now: u64) -> Duration {
        let at = due.saturating_sub(self.tolerance.load(Ordering::Relaxed));
        Duration::from_nanos(at.saturating_sub(now))
    }

    fn since_began(&self, now: Instant) -> u64 {
        nanoseconds(now.saturating_duration_since(self.began))
    }
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rate(per_second: u32, burst: u32) -> transom_config::AcceptRate {
        transom_config::AcceptRate { per_second, burst }
    }

    #[test]
    fn a_burst_comes_at_once_and_the_rest_at_the_rate() {
        let bucket = AcceptRate::new(rate(10, 3));
        let now = bucket.began + Duration::from_secs(5);
        let waits: Vec<u128> = (0..6).map(|_| bucket.take(now).as_millis()).collect();
        assert_eq!(waits, [0, 0, 0, 100, 200, 300]);
        // All of them have come due by then: it is as it was at first.
        let later = now + Duration::from_millis(700);
        assert_eq!(bucket.wait(later), Duration::ZERO);
        let waits: Vec<u128> = (0..4).map(|_| bucket.take(later).as_millis()).collect();
        assert_eq!(waits, [0, 0, 0, 100]);
    }

    #[test]
    fn a_rate_faster_than_the_clock_is_met() {
        let bucket = AcceptRate::new(rate(10_000, 1));
        let mut now = bucket.began;
        let mut taken = 0;
        // Whoever waits is woken two milliseconds later.
        for _ in 0..500 {
            while bucket.wait(now).is_zero() {
                assert_eq!(bucket.take(now), Duration::ZERO);
                taken += 1;
            }
            now += CLOCK;
        }
        assert!((9_990..=10_030).contains(&taken), "{taken} in a second");
    }

    #[test]
    fn another_rate_keeps_what_was_taken() {
        let bucket = AcceptRate::new(rate(1, 1));
        let now = bucket.began;
        assert_eq!(bucket.take(now), Duration::ZERO);
        bucket.set(rate(100, 1));
        assert_eq!(bucket.take(now), Duration::from_secs(1));
        assert_eq!(bucket.take(now), Duration::from_millis(1010));
    }

    fn limits(total: &Arc<Total>, most: Option<u32>) -> ListenerLimits {
        let metrics = crate::metrics::MetricStore::new(1);
        let counter = metrics.metrics().counter("c", "A counter.", &[]).unwrap();
        ListenerLimits {
            counts: Arc::new(Counts::new(total)),
            most,
            rate: None,
            balance: Balance::Kernel,
            inboxes: Arc::new([]),
            metrics: ListenerMetrics {
                accepted: counter,
                refused: counter,
                pauses: [counter; 3],
                unmatched: counter,
                timed_out: counter,
                active: metrics.metrics().gauge("g", "A gauge.", &[]).unwrap(),
            },
        }
    }

    #[test]
    fn places_are_counted_and_given_back() {
        let total = Arc::new(Total::new(1));
        let listener = limits(&total, Some(1));
        let first = listener.admit(On::Worker(0), false).unwrap();
        assert_eq!(total.open(), 1);
        let refused = listener.admit(On::Worker(0), false).unwrap_err();
        assert_eq!(refused, Full::Listener);
        drop(first);
        assert_eq!(total.open(), 0);
        listener.admit(On::Worker(0), false).unwrap();
    }

    #[test]
    fn no_listener_takes_the_places_of_the_others() {
        let total = Arc::new(Total::new(1));
        let (greedy, modest) = (limits(&total, None), limits(&total, None));
        total.divide(20, [&*greedy.counts, &*modest.counts].into_iter());
        let admit = |listener: &ListenerLimits| listener.admit(On::Worker(0), false);
        let taken: Vec<_> = std::iter::from_fn(|| admit(&greedy).ok()).collect();
        assert_eq!(taken.len(), 19);
        assert!(!greedy.has_place() && modest.has_place());
        let one = admit(&modest).unwrap();
        assert_eq!(admit(&modest).unwrap_err(), Full::Process);
        // Open already, and so let in.
        let two = modest.admit(On::Worker(0), true).unwrap();
        assert_eq!(total.open(), 21);
        drop((taken, one, two));
        assert_eq!((total.open(), total.common.load(Ordering::Relaxed)), (0, 0));
        // What is kept is not kept from the only listener.
        total.divide(20, [&*greedy.counts].into_iter());
        assert_eq!(
            std::iter::from_fn(|| admit(&greedy).ok().map(std::mem::forget)).count(),
            20
        );
    }

    #[test]
    fn a_connection_goes_to_the_worker_with_the_fewest() {
        let total = Arc::new(Total::new(3));
        let listener = limits(&total, None);
        let mut held: Vec<_> = (0..6)
            .map(|_| listener.admit(On::Least(Some(1)), false).unwrap())
            .collect();
        let workers: Vec<_> = held.iter().map(Admission::worker).collect();
        assert_eq!(workers, [1, 0, 2, 1, 0, 2]);
        held.remove(4);
        held[0].move_to(0);
        assert_eq!(listener.admit(On::Least(None), false).unwrap().worker(), 1);
        let loads: Vec<_> = total
            .by_worker
            .iter()
            .map(|it| it.load(Ordering::Relaxed))
            .collect();
        assert_eq!(loads, [2, 1, 2]);
    }
}
