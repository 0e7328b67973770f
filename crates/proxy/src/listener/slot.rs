//! The places of connections in their listener: whom a drain tells, and what is counted while they last.

use std::cell::{Cell, OnceCell, RefCell};
use std::rc::Rc;
use std::task::Waker;

use super::WorkerListener;
use super::chains::WorkerChain;
use super::limits::Admission;
use super::log::ConnectionLog;
use crate::stream::info::ConnectionInfo;
use crate::worker::Worker;

/// A connection's place in its listener; given up when the connection ends.
pub(crate) struct ConnectionSlot(Rc<Place>);

/// What a connection and its listener share. The connection has only a pointer to it: a task is a large allocation, whose size
/// goes by steps.
pub(super) struct Place {
    worker: Rc<Worker>,
    listener: Rc<WorkerListener>,
    /// The chain that the connection took, once it did.
    chain: OnceCell<Rc<WorkerChain>>,
    waker: RefCell<Option<Waker>>,
    /// Writes the listener's access log when the connection ends.
    log: RefCell<Option<Box<ConnectionLog>>>,
    _admission: Admission,
    /// The connection's number, unique in the process.
    id: u64,
    index: u32,
    /// The listener's count of drains when the waker was last left.
    watched_at: Cell<u32>,
    draining: Cell<bool>,
    news: Cell<bool>,
}

/// The waker has not been left yet. No count of drains is as high.
const NEVER: u32 = u32::MAX;

/// The places of a listener.
#[derive(Default)]
pub(super) struct Places {
    places: Vec<Option<Rc<Place>>>,
    free: Vec<u32>,
}

impl Places {
    pub(super) fn all(&self) -> impl Iterator<Item = &Rc<Place>> {
        self.places.iter().flatten()
    }
}

impl Place {
    /// Whether the connection took this chain.
    pub(super) fn is_of(&self, chain: &Rc<WorkerChain>) -> bool {
        self.chain.get().is_some_and(|own| Rc::ptr_eq(own, chain))
    }

    /// Tells the connection to end after what it is doing.
    pub(super) fn drain(&self) {
        self.draining.set(true);
        self.news.set(true);
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

impl ConnectionSlot {
    pub(super) fn new(
        listener: &Rc<WorkerListener>,
        worker: &Rc<Worker>,
        admission: Admission,
    ) -> Self {
        let mut connections = listener.connections.borrow_mut();
        let Places { places, free } = &mut *connections;
        // There are fewer descriptors than that.
        let index = free.pop().unwrap_or(places.len() as u32);
        let place = Rc::new(Place {
            worker: Rc::clone(worker),
            listener: Rc::clone(listener),
            chain: OnceCell::new(),
            waker: RefCell::default(),
            log: RefCell::default(),
            _admission: admission,
            id: worker.connection_id(),
            index,
            watched_at: Cell::new(NEVER),
            draining: Cell::new(listener.draining.get()),
            news: Cell::new(false),
        });
        match places.get_mut(index as usize) {
            Some(free) => *free = Some(Rc::clone(&place)),
            None => places.push(Some(Rc::clone(&place))),
        }
        worker.connection_began();
        Self(place)
    }

    /// The worker that serves the connection.
    #[inline]
    pub(crate) fn worker(&self) -> &Rc<Worker> {
        &self.0.worker
    }

    pub(super) fn id(&self) -> u64 {
        self.0.id
    }

    /// The chain that the connection takes: the first that is said stays.
    pub(super) fn take_chain(&self, chain: &Rc<WorkerChain>) {
        self.0.chain.get_or_init(|| Rc::clone(chain));
    }

    /// The connection will be logged.
    pub(super) fn set_log(&self, log: Box<ConnectionLog>) {
        self.0.log.replace(Some(log));
    }

    /// It is served, as its log is told. False: it has none.
    pub(super) fn log_served(&self, info: &Rc<ConnectionInfo>) -> bool {
        let mut log = self.0.log.borrow_mut();
        log.as_mut().map(|log| log.serve(info)).is_some()
    }

    /// Why the connection is not served, for its log.
    pub(super) fn fail(&self, why: &'static str) {
        if let Some(log) = &mut *self.0.log.borrow_mut() {
            log.fail(why);
        }
    }

    /// Whom a drain wakes: the task that serves the connection, which is always the same.
    pub(crate) fn watch(&self, waker: &Waker) {
        let drains = self.0.listener.drains.get();
        if self.0.watched_at.replace(drains) == drains {
            return;
        }
        let mut known = self.0.waker.borrow_mut();
        if !known.as_ref().is_some_and(|known| known.will_wake(waker)) {
            *known = Some(waker.clone());
        }
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.0.draining.get()
    }

    /// True once, when a drain began.
    pub(crate) fn take_drain_news(&self) -> bool {
        self.0.news.replace(false)
    }
}

impl Drop for ConnectionSlot {
    fn drop(&mut self) {
        let Place {
            listener,
            worker,
            index,
            ..
        } = &*self.0;
        let mut connections = listener.connections.borrow_mut();
        if let Some(place) = connections.places.get_mut(*index as usize) {
            *place = None;
        }
        connections.free.push(*index);
        let active = listener.limits.borrow().metrics.active;
        worker.shard.add(active.0, -1);
        worker.connection_ended();
    }
}

#[cfg(all(test, target_pointer_width = "64"))]
mod tests {
    use super::*;

    /// The allocator hands out 128 bytes or 160, and each connection at rest has one.
    #[test]
    fn a_place_fits_into_128_bytes() {
        let size = size_of::<Place>() + 2 * size_of::<usize>();
        assert!(size <= 128, "{size}");
    }
}
