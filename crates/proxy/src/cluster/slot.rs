//! Admission: who may have a connection, and who is counted as a request.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fmt;
use std::future::poll_fn;
use std::ops::{Deref, DerefMut};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

use super::{ClusterState, Host, Identity, UpstreamConnection, WorkerHost};
use crate::http::host_peer::HostPeer;
use crate::worker::Worker;

/// The place that a connection has among those of its cluster and host, for as long as it lives.
pub(crate) struct Slot {
    host: Arc<Host>,
    state: Arc<ClusterState>,
    since: Instant,
}

/// A connection with its place.
#[derive(Debug)]
pub(crate) struct Lease {
    peer: HostPeer,
    slot: Slot,
    facts: Rc<UpstreamConnection>,
}

/// A request or relayed connection that a host has.
#[derive(Debug)]
pub(crate) struct Active {
    host: Rc<WorkerHost>,
    is_request: bool,
}

/// A request that is being sent again.
#[derive(Debug)]
pub(crate) struct RetryPermit(Arc<ClusterState>);

/// What came of waiting for a connection.
pub(super) enum Room {
    Idle(Lease),
    Slot(Slot),
}

impl Slot {
    /// A place for one more connection, if the cluster's and the host's bounds leave one.
    pub(crate) fn open(host: &WorkerHost, now: Instant) -> Option<Self> {
        let (shared, state, config) = (&host.host, &host.state, &host.cluster);
        if !shared
            .connections
            .enter(config.pool.max_connections_per_host)
        {
            return None;
        }
        if !state
            .connections
            .enter(config.circuit_breakers.max_connections)
        {
            shared.connections.leave();
            return None;
        }
        Some(Self {
            host: Arc::clone(shared),
            state: Arc::clone(state),
            since: now,
        })
    }

    /// How long the connection has been there.
    pub(super) fn age(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.since)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.host.connections.leave();
        self.state.connections.leave();
        self.state.tell_room();
    }
}

impl Lease {
    pub(crate) fn new(peer: HostPeer, slot: Slot, facts: Rc<UpstreamConnection>) -> Self {
        Self { peer, slot, facts }
    }

    /// What is known of the connection.
    pub(crate) fn facts(&self) -> &Rc<UpstreamConnection> {
        &self.facts
    }

    pub(super) fn age(&self, now: Instant) -> Duration {
        self.slot.age(now)
    }
}

impl Deref for Lease {
    type Target = HostPeer;

    fn deref(&self) -> &HostPeer {
        &self.peer
    }
}

impl DerefMut for Lease {
    fn deref_mut(&mut self) -> &mut HostPeer {
        &mut self.peer
    }
}

impl Active {
    /// Counts a request to the host until this is dropped. `None` when its cluster has its most.
    pub(crate) fn request(host: &Rc<WorkerHost>) -> Option<Self> {
        let most = host.cluster.circuit_breakers.max_requests;
        host.state.requests.enter(most).then(|| {
            host.host.active.enter(None);
            Self {
                host: Rc::clone(host),
                is_request: true,
            }
        })
    }

    /// Counts a connection that is relayed to the host until this is dropped.
    pub(crate) fn relay(host: &Rc<WorkerHost>) -> Self {
        host.host.active.enter(None);
        Self {
            host: Rc::clone(host),
            is_request: false,
        }
    }
}

impl Active {
    pub(crate) fn host(&self) -> &Rc<WorkerHost> {
        &self.host
    }
}

impl Drop for Active {
    fn drop(&mut self) {
        self.host.host.active.leave();
        if self.is_request {
            self.host.state.requests.leave();
        }
    }
}

impl RetryPermit {
    /// Leave to send a request to this cluster once more, if the budget has any.
    pub(crate) fn take(host: &WorkerHost) -> Option<Self> {
        host.state
            .begin_retry(&host.cluster.circuit_breakers)
            .then(|| Self(Arc::clone(&host.state)))
    }
}

impl Drop for RetryPermit {
    fn drop(&mut self) {
        self.0.retries.leave();
    }
}

/// Waits until the host can have one more connection, or one of its own is idle. `None` when as many wait as may.
///
/// `idle`: whether an idle connection is good for the caller, if it was made for the same.
pub(super) async fn room(
    host: &Rc<WorkerHost>,
    worker: &Rc<Worker>,
    identity: &Identity,
    idle: bool,
) -> Option<Room> {
    let mut waiting = Waiting::begin(host, worker)?;
    host.state.ask_for_room(worker.index, &host.host);
    let room = poll_fn(|cx| {
        waiting.register(cx.waker());
        let now = worker.now();
        if idle && let Some(lease) = host.take_idle(now, identity) {
            return Poll::Ready(Room::Idle(lease));
        }
        if let Some(slot) = Slot::open(host, now) {
            return Poll::Ready(Room::Slot(slot));
        }
        // An idle connection of this worker to another host stands in the way.
        if worker.make_room(&host.state, &host.host)
            && let Some(slot) = Slot::open(host, now)
        {
            return Poll::Ready(Room::Slot(slot));
        }
        Poll::Pending
    });
    let room = room.await;
    waiting.satisfied = true;
    Some(room)
}

/// The requests of a worker that wait for a connection, in the order in which they came.
#[derive(Default)]
pub(crate) struct Waiters {
    /// By the address of the cluster's state, which who waits holds on to, and a number that counts up.
    wakers: std::cell::RefCell<BTreeMap<(usize, u64), Waker>>,
    last: Cell<u64>,
}

/// A request that waits.
struct Waiting {
    state: Arc<ClusterState>,
    worker: Rc<Worker>,
    key: (usize, u64),
    satisfied: bool,
}

impl Waiters {
    /// Wakes the request of this cluster that has waited longest. False when none waits here.
    pub(crate) fn wake(&self, state: &Arc<ClusterState>) -> bool {
        let address = Arc::as_ptr(state).addr();
        let mut wakers = self.wakers.borrow_mut();
        let first = wakers
            .range((address, 0)..=(address, u64::MAX))
            .next()
            .map(|(key, _)| *key);
        let waker = first.and_then(|key| wakers.remove(&key));
        drop(wakers);
        waker.map(Waker::wake).is_some()
    }
}

impl Waiting {
    fn begin(host: &WorkerHost, worker: &Rc<Worker>) -> Option<Self> {
        let state = Arc::clone(&host.state);
        if !state
            .pending
            .enter(Some(host.cluster.circuit_breakers.max_pending))
        {
            return None;
        }
        state.wait(worker.index);
        let number = worker.waiters.last.get() + 1;
        worker.waiters.last.set(number);
        Some(Self {
            key: (Arc::as_ptr(&state).addr(), number),
            state,
            worker: Rc::clone(worker),
            satisfied: false,
        })
    }

    fn register(&mut self, waker: &Waker) {
        let mut wakers = self.worker.waiters.wakers.borrow_mut();
        wakers.insert(self.key, waker.clone());
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let known = self.worker.waiters.wakers.borrow_mut().remove(&self.key);
        self.state.stop_waiting(self.worker.index);
        self.state.pending.leave();
        // Whoever was told of room and goes away without using it tells the next.
        if known.is_none() && !self.satisfied {
            self.state.tell_room();
        }
    }
}

impl fmt::Debug for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Slot")
            .field("host", &self.host.text)
            .finish_non_exhaustive()
    }
}
