//! The context of a worker part: what it may do when it is built and on its own events.

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};
use std::task::Poll;
use std::time::Duration;

use transom_api::event::Address;
use transom_api::host::{AsyncHost, RecordHost, WorkerHost};
use transom_api::metrics::MetricId;
use transom_api::worker::Worker as WorkerView;
use transom_api::{
    CalloutError, CalloutId, GrpcCall, HttpCall, Level, Resumer, SharedData, TimerId, WorkerPart,
};

use super::Worker;

/// A part's standing on its worker: its address, once it asked for one.
pub(crate) struct PartContext {
    worker: Rc<Worker>,
    state: Rc<PartState>,
}

/// What outlives the building of a part.
pub(crate) struct PartState {
    slot: Cell<Option<(u32, u32)>>,
    part: RefCell<Option<Weak<dyn WorkerPart>>>,
    /// Clusters that its callouts may go to.
    clusters: Vec<String>,
}

impl PartContext {
    pub(crate) fn new(worker: &Rc<Worker>, clusters: Vec<String>) -> Self {
        Self {
            worker: Rc::clone(worker),
            state: Rc::new(PartState {
                slot: Cell::new(None),
                part: RefCell::new(None),
                clusters,
            }),
        }
    }

    /// The part is built: its events go to it from now on.
    pub(crate) fn attach(&self, part: Weak<dyn WorkerPart>) {
        self.state.part.replace(Some(part));
        if self.state.slot.get().is_some() {
            self.listen();
        }
    }

    fn address(&mut self) -> Address {
        let (slot, generation) = match self.state.slot.get() {
            Some(address) => address,
            None => {
                let address = self.worker.mailboxes.claim();
                self.state.slot.set(Some(address));
                if self.state.part.borrow().is_some() {
                    self.listen();
                }
                address
            }
        };
        Address {
            slot,
            generation,
            filter: 0,
        }
    }

    /// Delivers what comes to the part's mailbox for as long as the part lives.
    fn listen(&self) {
        let worker = Rc::clone(&self.worker);
        let state = Rc::clone(&self.state);
        tokio::task::spawn_local(async move {
            let Some((slot, _)) = state.slot.get() else {
                return;
            };
            let weak = state.part.borrow().clone();
            let Some(weak) = weak else { return };
            loop {
                let next = std::future::poll_fn(|cx| {
                    worker.mailboxes.set_waker(slot, cx.waker());
                    match worker.mailboxes.take(slot) {
                        Some((_, event)) => Poll::Ready(event),
                        None => Poll::Pending,
                    }
                });
                let event = next.await;
                let Some(part) = weak.upgrade() else {
                    worker.mailboxes.release(slot);
                    return;
                };
                let mut context = PartContext {
                    worker: Rc::clone(&worker),
                    state: Rc::clone(&state),
                };
                let mut view = WorkerView::new(&mut context);
                let called = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                    part.on_event(&mut view, event);
                }));
                if called.is_err() {
                    tracing::error!("a filter's worker part panicked on an event");
                }
            }
        });
    }
}

impl AsyncHost for PartContext {
    fn resumer(&mut self) -> Resumer {
        let address = self.address();
        self.worker.resumer(address)
    }

    fn set_timer(&mut self, after: Duration) -> TimerId {
        let address = self.address();
        self.worker.set_timer(address, after)
    }

    fn cancel_timer(&mut self, timer: TimerId) {
        let address = self.address();
        self.worker.cancel_timer(address, timer);
    }

    fn http_call(&mut self, call: HttpCall) -> Result<CalloutId, CalloutError> {
        if !self.state.clusters.contains(&call.cluster) {
            return Err(CalloutError::NotAllowed);
        }
        let address = self.address();
        self.worker.http_call(address, call)
    }

    fn grpc_call(&mut self, call: GrpcCall) -> Result<CalloutId, CalloutError> {
        if !self.state.clusters.contains(&call.cluster) {
            return Err(CalloutError::NotAllowed);
        }
        // gRPC needs HTTP/2, which no cluster speaks yet.
        Err(CalloutError::Unsupported)
    }

    fn cancel_callout(&mut self, callout: CalloutId) {
        let address = self.address();
        self.worker.cancel_callout(address, callout);
    }
}

impl RecordHost for PartContext {
    fn log_enabled(&self, level: Level) -> bool {
        crate::log::enabled(level)
    }

    fn log(&self, level: Level, message: &str) {
        crate::log::extension(level, "", message);
    }

    fn add_metric(&self, metric: MetricId, amount: i64) {
        self.worker.shard.add(metric, amount);
    }

    fn observe_metric(&self, metric: MetricId, duration: Duration) {
        self.worker.shard.observe(metric, duration);
    }

    fn shared(&self) -> &SharedData {
        &self.worker.shared
    }
}

impl WorkerHost for PartContext {
    fn worker_index(&self) -> usize {
        self.worker.index
    }

    fn worker_count(&self) -> usize {
        self.worker.count
    }
}
