//! The part of an extension that lives on one worker.

use std::future::Future;

use crate::context::{async_methods, record_methods};
use crate::event::Event;
use crate::host::WorkerHost;

/// What every worker part has, whatever its kind. It never leaves its worker, so it may be `!Send`: a VM, a connection.
pub trait WorkerPart {
    /// A timer, callout or message of this part itself (not of one of its streams).
    fn on_event(&self, _worker: &mut Worker<'_>, _event: Event) {}

    /// Asked when the part's generation has no streams left, before it is dropped. `More` keeps it until
    /// [`Worker::drained`] or a deadline.
    fn drain(&self, _worker: &mut Worker<'_>) -> Drain {
        Drain::Done
    }
}

/// Whether a worker part may be dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Drain {
    /// Now.
    Done,
    /// It asks for more time.
    More,
}

/// What a worker part may do when it is built and on its own events.
pub struct Worker<'a> {
    host: &'a mut dyn WorkerHost,
    drained: bool,
}

impl<'a> Worker<'a> {
    /// A context over a host.
    #[must_use]
    pub fn new(host: &'a mut dyn WorkerHost) -> Self {
        Self {
            host,
            drained: false,
        }
    }

    /// Which worker, from 0. What must happen once in the process happens on worker 0.
    #[must_use]
    pub fn index(&self) -> usize {
        self.host.worker_index()
    }

    /// How many workers there are.
    #[must_use]
    pub fn count_workers(&self) -> usize {
        self.host.worker_count()
    }

    /// Runs a task on this worker's event loop, beside its traffic: a connection to a child, for instance. It ends with
    /// the part, and tells the part's streams what it has by their resumers.
    pub fn spawn(&mut self, task: impl Future<Output = ()> + 'static) {
        self.host.spawn(Box::pin(task));
    }

    /// Says that a part which answered [`Drain::More`] has come to its end.
    pub fn drained(&mut self) {
        self.drained = true;
    }

    /// Whether [`Worker::drained`] was called: for the host.
    #[must_use]
    pub fn is_drained(&self) -> bool {
        self.drained
    }

    record_methods!();
    async_methods!();
}
