//! How many calls a use may have at once, over all workers.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};

use transom_api::Resumer;

/// The calls of a use that are under way, and how many there may be.
#[derive(Debug)]
pub(super) struct Most {
    most: u32,
    count: AtomicU32,
    /// Workers with calls that wait: told when a place is free. Looked into only when [`told`](Self::told) says that there are some.
    waiting: Mutex<Vec<Resumer>>,
    told: AtomicBool,
}

impl Most {
    pub(super) fn new(most: u32) -> Self {
        Self {
            most,
            count: AtomicU32::new(0),
            waiting: Mutex::default(),
            told: AtomicBool::new(false),
        }
    }

    /// Takes a place, if there is one.
    pub(super) fn enter(&self) -> bool {
        // Counted first and taken back, so that two workers at once cannot both take the last place.
        if self.count.fetch_add(1, Ordering::SeqCst) < self.most {
            return true;
        }
        self.count.fetch_sub(1, Ordering::SeqCst);
        false
    }

    /// Has a worker be told when a place is free. Whoever asked for it tries once more: a place may have become free before.
    pub(super) fn wait(&self, worker: Resumer) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.push(worker);
        self.told.store(true, Ordering::SeqCst);
    }

    /// Gives a place back.
    pub(super) fn leave(&self, token: u64) {
        self.count.fetch_sub(1, Ordering::SeqCst);
        if self.told.load(Ordering::SeqCst) {
            let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            self.told.store(false, Ordering::SeqCst);
            for worker in waiting.drain(..) {
                worker.post(token);
            }
        }
    }
}
