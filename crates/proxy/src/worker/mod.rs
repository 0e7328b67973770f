//! A worker: one thread with its own event loop, its connections and everything that they touch.
//!
//! Nothing here is shared with another thread but through atomics and the [inbox](inbox), whose queue is never full and
//! whose senders never wait. What the control side wants arrives as a [`Command`](inbox::Command).

mod activate;
mod callout;
pub(crate) mod entropy;
pub(crate) mod inbox;
pub(crate) mod mailbox;
mod part;
mod run;
mod udp;

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use transom_api::event::Address;
use transom_api::{
    CalloutError, CalloutId, Counter, Event, HttpCall, Resumer, SharedData, TimerId,
};

pub(crate) use self::activate::retire_generation;
pub(crate) use self::part::{Part, until_last};
pub(crate) use self::run::{WorkerHandle, WorkerSettings, spawn};

use crate::cluster::{ClusterId, Waiters, WorkerCluster};
use crate::http::{HttpListener, HttpOptions};
use crate::io::BufferPool;
use crate::listener::WorkerListener;
use crate::metrics::{MetricStore, Shard};
use crate::network::Batch;
use crate::network::udp_proxy::UdpListener;
use crate::stream::Stream;
use crate::stream::chain::Generation;
use crate::stream::info::ConnectionInfo;
use crate::timer::Timers;
use crate::tls::HandshakeGate;

/// Everything that lives on one worker.
pub(crate) struct Worker {
    pub(crate) index: usize,
    pub(crate) count: usize,
    pub(crate) shard: Arc<Shard>,
    pub(crate) metrics: Arc<MetricStore>,
    pub(crate) shared: SharedData,
    pub(crate) buffers: BufferPool,
    pub(crate) mailboxes: mailbox::Mailboxes,
    pub(crate) timers: Rc<Timers>,
    /// The connection of streams that serve none.
    pub(crate) nobody: Rc<ConnectionInfo>,
    /// Requests that wait for a connection.
    pub(crate) waiters: Waiters,
    /// Where TLS handshakes wait for their turn.
    pub(crate) handshakes: HandshakeGate,
    inbox: Arc<inbox::WorkerInbox>,
    filter_failures: Counter,
    clusters: RefCell<Vec<Option<Rc<WorkerCluster>>>>,
    listeners: RefCell<HashMap<String, Rc<WorkerListener>>>,
    /// Listeners that went a moment ago.
    departed: RefCell<VecDeque<Rc<WorkerListener>>>,
    udp_listeners: RefCell<HashMap<String, Rc<UdpListener>>>,
    /// What datagrams are read into, made when the first come.
    batch: RefCell<Option<Box<Batch>>>,
    /// Snapshots that were built and wait for the word to commit.
    pending: RefCell<HashMap<u64, activate::Built>>,
    /// Streams that wait to be used again.
    #[expect(
        clippy::vec_box,
        reason = "a stream moves in and out of its exchange as a pointer"
    )]
    streams: RefCell<Vec<Box<Stream>>>,
    /// The fewest that waited since the last [`Worker::trim`]: so many nobody has needed since.
    least_streams: Cell<usize>,
    next_task: Cell<u64>,
    next_connection: Cell<u64>,
    next_stream: Cell<u64>,
    connections: Cell<usize>,
    draining: Cell<bool>,
    random: Cell<u64>,
    pub(crate) entropy: entropy::Entropy,
}

/// Streams kept for reuse; more are dropped.
const SPARE_STREAMS: usize = 256;

impl Worker {
    pub(crate) fn new(
        index: usize,
        count: usize,
        metrics: Arc<MetricStore>,
        shared: SharedData,
        inbox: Arc<inbox::WorkerInbox>,
        filter_failures: Counter,
    ) -> Self {
        Self {
            index,
            count,
            shard: metrics.shard(index),
            metrics,
            shared,
            buffers: BufferPool::default(),
            mailboxes: mailbox::Mailboxes::default(),
            timers: Rc::default(),
            nobody: Rc::new(ConnectionInfo::of_nobody()),
            waiters: Waiters::default(),
            handshakes: HandshakeGate::default(),
            inbox,
            filter_failures,
            clusters: RefCell::default(),
            listeners: RefCell::default(),
            departed: RefCell::default(),
            udp_listeners: RefCell::default(),
            batch: RefCell::default(),
            pending: RefCell::default(),
            streams: RefCell::default(),
            least_streams: Cell::new(0),
            next_task: Cell::new(0),
            next_connection: Cell::new(0),
            next_stream: Cell::new(0),
            connections: Cell::new(0),
            draining: Cell::new(false),
            random: Cell::new(RandomState::new().hash_one(index)),
            entropy: entropy::Entropy::default(),
        }
    }

    /// The time at the beginning of this turn of the loop: at most a turn old, and free.
    pub(crate) fn now(&self) -> Instant {
        run::turn_began()
    }

    pub(crate) fn cluster(&self, id: ClusterId) -> Option<Rc<WorkerCluster>> {
        self.clusters.borrow().get(id.0 as usize)?.clone()
    }

    pub(crate) fn cluster_named(&self, name: &str) -> Option<Rc<WorkerCluster>> {
        let clusters = self.clusters.borrow();
        let mut clusters = clusters.iter().flatten();
        clusters
            .find(|cluster| *cluster.name == *name)
            .map(Rc::clone)
    }

    pub(crate) fn take_batch(&self) -> Box<Batch> {
        self.batch.take().unwrap_or_else(|| Box::new(Batch::new()))
    }

    pub(crate) fn give_batch(&self, batch: Box<Batch>) {
        self.batch.replace(Some(batch));
    }

    /// A number that is as good as any, and no secret (SplitMix64; Steele, Lea and Flood, 2014).
    pub(crate) fn random(&self) -> u64 {
        let state = self.random.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
        self.random.set(state);
        let mixed = (state ^ state >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    /// The first listener that `is` the one.
    pub(crate) fn find_listener(
        &self,
        is: impl Fn(&WorkerListener) -> bool,
    ) -> Option<Rc<WorkerListener>> {
        let listeners = self.listeners.borrow();
        listeners
            .values()
            .find(|listener| is(listener))
            .map(Rc::clone)
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.draining.get()
    }

    /// A handle by which any thread wakes the filter at `address`.
    pub(crate) fn resumer(&self, address: Address) -> Resumer {
        let inbox: Arc<dyn transom_api::event::Inbox> =
            Arc::<inbox::WorkerInbox>::clone(&self.inbox);
        Resumer::new(inbox, address)
    }

    /// Delivers [`Event::Timer`] to `address` after a while.
    pub(crate) fn set_timer(self: &Rc<Self>, address: Address, after: Duration) -> TimerId {
        let id = self.next_task();
        let worker = Rc::clone(self);
        self.spawn_task(id, address, async move {
            tokio::time::sleep(after).await;
            worker.mailboxes.disown(address, id);
            worker.mailboxes.deliver(address, Event::Timer(TimerId(id)));
        });
        TimerId(id)
    }

    pub(crate) fn cancel_timer(&self, address: Address, timer: TimerId) {
        self.abort_task(address, timer.0);
    }

    /// Makes a call and delivers [`Event::Callout`] to `address` when it has ended.
    pub(crate) fn http_call(
        self: &Rc<Self>,
        address: Address,
        call: HttpCall,
    ) -> Result<CalloutId, CalloutError> {
        let cluster = self
            .cluster_named(&call.cluster)
            .ok_or(CalloutError::NoCluster)?;
        let request = callout::Request::new(&call)?;
        let id = self.next_task();
        let worker = Rc::clone(self);
        self.spawn_task(id, address, async move {
            let result = callout::run(&worker, &cluster, request, &call).await;
            worker.mailboxes.disown(address, id);
            let done = transom_api::CalloutDone {
                id: CalloutId(id),
                result,
            };
            worker.mailboxes.deliver(address, Event::Callout(done));
        });
        Ok(CalloutId(id))
    }

    pub(crate) fn cancel_callout(&self, address: Address, callout: CalloutId) {
        self.abort_task(address, callout.0);
    }

    /// Builds a filter's worker part anew, after it failed: at once, and if that fails with a growing pause.
    pub(crate) fn rebuild(self: &Rc<Self>, generation: &Rc<Generation>) {
        let Some(broken) = generation.replace_part(None) else {
            return;
        };
        let worker = Rc::clone(self);
        let generation = Rc::clone(generation);
        tokio::task::spawn_local(async move {
            // Between turns, not within the callback that found it broken.
            tokio::task::yield_now().await;
            drop(broken);
            loop {
                tokio::time::sleep(generation.rebuild_pause(Instant::now())).await;
                match Part::build(&worker, &generation.clusters, |view| {
                    generation.config.on_worker(view)
                }) {
                    Ok(built) => {
                        generation.replace_part(Some(built));
                        return;
                    }
                    Err(error) => {
                        tracing::warn!(%error, "a filter's worker part could not be rebuilt");
                    }
                }
            }
        });
    }

    /// A stream from the spare ones, or a new one.
    pub(crate) fn take_stream(self: &Rc<Self>, listener: &Rc<HttpListener>) -> Box<Stream> {
        let mut streams = self.streams.borrow_mut();
        let spare = streams.pop();
        if streams.len() < self.least_streams.get() {
            self.least_streams.set(streams.len());
        }
        drop(streams);
        spare.unwrap_or_else(|| Box::new(Stream::new(Rc::clone(self), Rc::clone(listener))))
    }

    /// Keeps a finished stream for reuse.
    pub(crate) fn give_stream(&self, mut stream: Box<Stream>) {
        stream.clear();
        let mut streams = self.streams.borrow_mut();
        if streams.len() < SPARE_STREAMS {
            streams.push(stream);
        }
    }

    /// Frees the spare streams and buffers that were not needed since the last time: a burst leaves no memory behind.
    pub(crate) fn trim(&self) {
        let mut streams = self.streams.borrow_mut();
        let unused = self.least_streams.get().min(streams.len());
        // Those that were used last lie at the end. Dropped when the others can be taken again: their end may do anything.
        let unused: Vec<_> = streams.drain(..unused).collect();
        self.least_streams.set(streams.len());
        drop(streams);
        drop(unused);
        self.buffers.trim();
    }

    /// Drops the spare streams: they hold on to the listeners that they served last.
    pub(crate) fn drop_spare_streams(&self) {
        self.streams.borrow_mut().clear();
    }

    pub(crate) fn count_filter_failure(&self) {
        self.shard.add(self.filter_failures.0, 1);
    }

    pub(crate) fn begin_stream(&self, options: &HttpOptions) {
        self.shard.add(options.metrics.active.0, 1);
    }

    pub(crate) fn end_stream(&self, options: &HttpOptions, stream: &Stream) {
        let core = stream.core();
        let class = usize::from(core.response.head.status() / 100);
        if let Some(counter) = options.metrics.requests.get(class) {
            self.shard.add(counter.0, 1);
        }
        self.shard.add(options.metrics.active.0, -1);
        if core.response.tunnel.is_some() {
            return;
        }
        let duration = core.info.end.map_or(Duration::ZERO, |end| {
            end.saturating_duration_since(core.info.start)
        });
        self.shard.observe(options.metrics.duration.0, duration);
    }

    /// A request that was refused before it became a stream.
    pub(crate) fn count_bad_request(&self, options: &HttpOptions) {
        let [_, _, _, _, refused, _] = options.metrics.requests;
        self.shard.add(refused.0, 1);
    }

    /// Gives the worker a cluster, for tests of what needs one and no more.
    #[cfg(test)]
    pub(crate) fn put_cluster(&self, cluster: WorkerCluster) {
        self.clusters.replace(vec![Some(Rc::new(cluster))]);
    }

    /// A number for a new connection, unique in the process.
    pub(crate) fn connection_id(&self) -> u64 {
        let next = self.next_connection.get() + 1;
        self.next_connection.set(next);
        next * self.count as u64 + self.index as u64
    }

    /// A number for a new stream, unique in the process.
    pub(crate) fn stream_id(&self) -> u64 {
        let next = self.next_stream.get() + 1;
        self.next_stream.set(next);
        next * self.count as u64 + self.index as u64
    }

    pub(crate) fn connection_began(&self) {
        self.connections.set(self.connections.get() + 1);
    }

    pub(crate) fn connection_ended(&self) {
        self.connections
            .set(self.connections.get().saturating_sub(1));
    }

    fn next_task(&self) -> u64 {
        let id = self.next_task.get() + 1;
        self.next_task.set(id);
        id
    }

    /// Runs a task that belongs to a stream, connection or part: it ends with it.
    fn spawn_task(&self, id: u64, owner: Address, task: impl Future<Output = ()> + 'static) {
        let handle = tokio::task::spawn_local(task).abort_handle();
        self.mailboxes.own(owner, id, handle);
    }

    fn abort_task(&self, owner: Address, id: u64) {
        if let Some(task) = self.mailboxes.disown(owner, id) {
            task.abort();
        }
    }
}
