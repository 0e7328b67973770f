//! The context of a worker part: what it may do when it is built and on its own events.

use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::{Rc, Weak};
use std::task::Poll;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::AbortHandle;
use transom_api::event::Address;
use transom_api::host::{AsyncHost, LocalTask, RecordHost, WorkerHost};
use transom_api::metrics::MetricId;
use transom_api::worker::Worker as WorkerView;
use transom_api::{
    AccessLogWorker, BuildError, CalloutError, CalloutId, Drain, GrpcCall, HttpCall, Level,
    ListenerFilterWorker, NetworkFilterWorker, Resumer, SharedData, StreamFilterWorker, TimerId,
    WorkerPart,
};

use super::Worker;
use crate::cluster::AllowedClusters;

/// How long a part may take to drain before it is dropped all the same.
const DRAIN_LIMIT: Duration = Duration::from_secs(30);

/// A worker part with its standing on the worker. When it is dropped, its timers, callouts and mailbox end.
pub(crate) struct Part<P: ?Sized> {
    part: Rc<P>,
    context: PartContext,
}

/// A part's standing on its worker: what its context is made of.
pub(crate) struct PartContext {
    worker: Rc<Worker>,
    state: Rc<PartState>,
}

#[derive(Default)]
struct PartState {
    /// Its mailbox, once it asked for one.
    slot: Cell<Option<(u32, u32)>>,
    /// Delivers what comes to the mailbox.
    listener: RefCell<Option<AbortHandle>>,
    part: RefCell<Option<Weak<dyn WorkerPart>>>,
    /// Clusters that its callouts may go to.
    clusters: AllowedClusters,
    drained: Notify,
    /// What the part runs beside its streams.
    tasks: RefCell<Vec<AbortHandle>>,
}

/// A worker part of any kind as a part of no particular kind.
pub(crate) trait AsPart {
    fn as_part(&self) -> Rc<dyn WorkerPart>;
}

macro_rules! as_part {
    ($($kind:ty),*) => {$(
        impl AsPart for Rc<$kind> {
            fn as_part(&self) -> Rc<dyn WorkerPart> {
                Rc::<$kind>::clone(self)
            }
        }
    )*};
}
as_part!(
    dyn StreamFilterWorker,
    dyn NetworkFilterWorker,
    dyn AccessLogWorker,
    dyn ListenerFilterWorker
);

impl<P: ?Sized> Part<P>
where
    Rc<P>: AsPart,
{
    /// Builds a part on a worker. A panic is an error like any other.
    pub(crate) fn build(
        worker: &Rc<Worker>,
        clusters: &AllowedClusters,
        build: impl FnOnce(&mut WorkerView<'_>) -> Result<Rc<P>, BuildError>,
    ) -> Result<Self, BuildError> {
        let mut context = PartContext {
            worker: Rc::clone(worker),
            state: Rc::new(PartState {
                clusters: clusters.clone(),
                ..PartState::default()
            }),
        };
        let built = context.call(build);
        let part =
            built.unwrap_or_else(|| Err(BuildError::new("it panicked while it was built")))?;
        context
            .state
            .part
            .replace(Some(Rc::downgrade(&part.as_part())));
        context.listen();
        Ok(Self { part, context })
    }

    /// The part itself.
    pub(crate) fn part(&self) -> &Rc<P> {
        &self.part
    }

    /// Lets the part bring what it still does to an end.
    pub(crate) async fn drain(&self) {
        self.context.share().drain(&self.part.as_part()).await;
    }
}

/// Waits until nothing but `object` holds it.
pub(crate) async fn until_last<T: ?Sized>(object: &Rc<T>) {
    const LOOK: Duration = Duration::from_millis(50);
    while Rc::strong_count(object) > 1 {
        tokio::time::sleep(LOOK).await;
    }
}

impl<P: ?Sized> Drop for Part<P> {
    fn drop(&mut self) {
        self.context.end();
    }
}

impl PartContext {
    fn share(&self) -> Self {
        Self {
            worker: Rc::clone(&self.worker),
            state: Rc::clone(&self.state),
        }
    }

    fn address(&mut self) -> Address {
        let (slot, generation) = match self.state.slot.get() {
            Some(address) => address,
            None => {
                let address = self.worker.mailboxes.claim();
                self.state.slot.set(Some(address));
                self.listen();
                address
            }
        };
        Address {
            slot,
            generation,
            filter: 0,
        }
    }

    /// Delivers what comes to the part's mailbox, once it has one and is built.
    fn listen(&self) {
        let Some((slot, _)) = self.state.slot.get() else {
            return;
        };
        let Some(part) = self.state.part.borrow().clone() else {
            return;
        };
        let mut context = self.share();
        let listener = tokio::task::spawn_local(async move {
            loop {
                let worker = Rc::clone(&context.worker);
                let event = std::future::poll_fn(|cx| {
                    worker.mailboxes.set_waker(slot, cx.waker());
                    match worker.mailboxes.take(slot) {
                        Some((_, event)) => Poll::Ready(event),
                        None => Poll::Pending,
                    }
                });
                let event = event.await;
                let Some(part) = part.upgrade() else { return };
                context.call(|view| part.on_event(view, event));
            }
        });
        self.state.listener.replace(Some(listener.abort_handle()));
    }

    /// Lets a part bring what it still does to an end.
    async fn drain(mut self, part: &Rc<dyn WorkerPart>) {
        let wish = self.call(|view| part.drain(view));
        if wish == Some(Drain::More)
            && tokio::time::timeout(DRAIN_LIMIT, self.state.drained.notified())
                .await
                .is_err()
        {
            tracing::warn!("a filter's worker part did not drain in time");
        }
    }

    /// Calls the part with this context; `None` when it panicked.
    fn call<R>(&mut self, callback: impl FnOnce(&mut WorkerView<'_>) -> R) -> Option<R> {
        let mut view = WorkerView::new(self);
        let outcome = catch_unwind(AssertUnwindSafe(|| callback(&mut view)));
        let drained = view.is_drained();
        if drained {
            self.state.drained.notify_one();
        }
        if outcome.is_err() {
            tracing::error!("a filter's worker part panicked");
        }
        outcome.ok()
    }

    fn end(&self) {
        if let Some(listener) = self.state.listener.take() {
            listener.abort();
        }
        for task in self.state.tasks.take() {
            task.abort();
        }
        if let Some((slot, _)) = self.state.slot.take() {
            self.worker.mailboxes.release(slot);
        }
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
        if !self.state.clusters.allow(&call.cluster) {
            return Err(CalloutError::NotAllowed);
        }
        let address = self.address();
        self.worker.http_call(address, call)
    }

    fn grpc_call(&mut self, call: GrpcCall) -> Result<CalloutId, CalloutError> {
        if !self.state.clusters.allow(&call.cluster) {
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

    fn metric(&self, metric: MetricId) -> i64 {
        self.worker.metrics.sum(metric)
    }

    fn observe_metric(&self, metric: MetricId, duration: Duration) {
        self.worker.shard.observe(metric, duration);
    }

    fn observe_value(&self, metric: MetricId, value: u64) {
        self.worker.shard.observe_value(metric, value);
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

    fn spawn(&mut self, task: LocalTask) {
        let task = tokio::task::spawn_local(task).abort_handle();
        let mut tasks = self.state.tasks.borrow_mut();
        tasks.retain(|task| !task.is_finished());
        tasks.push(task);
    }
}
