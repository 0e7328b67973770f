//! The numbers of a cluster that belong to the process: they are shared by all workers and outlive reloads.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};

use transom_config::CircuitBreakers;

use super::Host;
use crate::worker::inbox::{Command, WorkerInbox};

/// The numbers of a cluster.
#[derive(Default)]
pub(crate) struct ClusterState {
    health_changes: AtomicU64,
    pub(crate) requests: Count,
    pub(crate) connections: Count,
    pub(crate) pending: Count,
    pub(crate) retries: Count,
    /// Hosts, and those that are left out after failures in traffic.
    pub(crate) hosts: AtomicU32,
    pub(crate) ejected: Count,
    /// For each worker, how many of its requests wait for a connection, and how it is told.
    waiting: Box<[WaitingOn]>,
    next: AtomicUsize,
}

struct WaitingOn {
    count: AtomicU32,
    inbox: Arc<WorkerInbox>,
}

/// How many there are of something, and that there are no more than allowed.
#[derive(Debug, Default)]
pub(crate) struct Count(AtomicU32);

impl ClusterState {
    pub(crate) fn new(workers: &[Arc<WorkerInbox>]) -> Self {
        Self {
            waiting: workers
                .iter()
                .map(|inbox| WaitingOn {
                    count: AtomicU32::new(0),
                    inbox: Arc::clone(inbox),
                })
                .collect(),
            ..Self::default()
        }
    }

    /// A host became healthy, or is healthy no more.
    pub(crate) fn health_changed(&self) {
        // What was written to the host is to be seen by whoever sees this.
        self.health_changes.fetch_add(1, Ordering::Release);
    }

    /// Counts up whenever the health of a host changes.
    pub(super) fn health_version(&self) -> u64 {
        self.health_changes.load(Ordering::Acquire)
    }

    /// Whether there may be one retry more; then it is counted.
    pub(super) fn begin_retry(&self, bounds: &CircuitBreakers) -> bool {
        let budget = bounds.retry_budget;
        let share = u64::from(self.requests.get()) * u64::from(budget.percent) / 100;
        let most = u32::try_from(share).unwrap_or(u32::MAX).max(budget.min);
        self.retries
            .enter(Some(most.min(bounds.max_retries.unwrap_or(u32::MAX))))
    }

    /// Whether a request of a worker waits for a connection.
    pub(super) fn has_waiting(&self) -> bool {
        self.pending.get() > 0
    }

    pub(super) fn wait(&self, worker: usize) {
        if let Some(waiting) = self.waiting.get(worker) {
            waiting.count.fetch_add(1, Ordering::SeqCst);
        }
    }

    pub(super) fn stop_waiting(&self, worker: usize) {
        if let Some(waiting) = self.waiting.get(worker) {
            waiting.count.fetch_sub(1, Ordering::SeqCst);
        }
    }

    /// Whether a request of this worker waits for a connection.
    pub(crate) fn waits_on(&self, worker: usize) -> bool {
        let waiting = self.waiting.get(worker);
        waiting.is_some_and(|waiting| waiting.count.load(Ordering::SeqCst) > 0)
    }

    /// There is room for a connection: tells a worker whose requests wait for it, each in turn.
    pub(crate) fn tell_room(self: &Arc<Self>) {
        if !self.has_waiting() {
            return;
        }
        let first = self.next.fetch_add(1, Ordering::Relaxed);
        let count = self.waiting.len();
        let waits = |waiting: &&WaitingOn| waiting.count.load(Ordering::SeqCst) > 0;
        let found = (0..count)
            .filter_map(|offset| self.waiting.get(first.wrapping_add(offset) % count))
            .find(waits);
        if let Some(found) = found {
            found.inbox.send(Command::Room(Arc::clone(self)));
        }
    }

    /// Asks the other workers to give up an idle connection, first one to this host.
    pub(super) fn ask_for_room(self: &Arc<Self>, worker: usize, host: &Arc<Host>) {
        for (index, other) in self.waiting.iter().enumerate() {
            if index != worker {
                other
                    .inbox
                    .send(Command::MakeRoom(Arc::clone(self), Arc::clone(host)));
            }
        }
    }
}

impl Count {
    /// One more, unless there are `most` already.
    pub(crate) fn enter(&self, most: Option<u32>) -> bool {
        let most = most.unwrap_or(u32::MAX);
        // Sequential: who waits looks once more after having said so, and who leaves looks for who waits.
        self.0
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |count| {
                (count < most).then(|| count + 1)
            })
            .is_ok()
    }

    /// One less.
    pub(crate) fn leave(&self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }

    pub(crate) fn set(&self, count: u32) {
        self.0.store(count, Ordering::SeqCst);
    }

    pub(crate) fn get(&self) -> u32 {
        self.0.load(Ordering::SeqCst)
    }
}

impl std::fmt::Debug for ClusterState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ClusterState")
            .field("requests", &self.requests)
            .field("connections", &self.connections)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use transom_config::RetryBudget;

    use super::*;

    #[test]
    fn a_bound_of_n_admits_n_from_any_thread() {
        let count = Count::default();
        let admitted: usize = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4)
                .map(|_| scope.spawn(|| (0..1_000).filter(|_| count.enter(Some(70))).count()))
                .collect();
            threads
                .into_iter()
                .map(|thread| thread.join().unwrap())
                .sum()
        });
        assert_eq!((admitted, count.get()), (70, 70));
        count.leave();
        assert!(count.enter(Some(70)));
        assert!(!count.enter(Some(70)));
        assert!(!count.enter(Some(1)));
        assert!(count.enter(None));
    }

    #[test]
    fn retries_have_a_share_of_the_requests_and_a_least() {
        let bounds = |max_retries| CircuitBreakers {
            max_connections: None,
            max_pending: 0,
            max_requests: None,
            max_retries,
            retry_budget: RetryBudget {
                percent: 20,
                min: 2,
            },
        };
        let begun = |requests: u32, max_retries| {
            let state = ClusterState::default();
            for _ in 0..requests {
                assert!(state.requests.enter(None));
            }
            let bounds = bounds(max_retries);
            (0..100).filter(|_| state.begin_retry(&bounds)).count()
        };
        assert_eq!(begun(1, None), 2);
        assert_eq!(begun(50, None), 10);
        assert_eq!(begun(50, Some(7)), 7);
        assert_eq!(begun(50, Some(0)), 0);
    }
}
