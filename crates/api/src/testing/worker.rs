//! A worker that takes factories through their life.

use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::path::Path;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::Duration;

use super::later::{Later, later_hosts};
use super::{Callout, FakeConnection, FakeProcess, FakeStream};
use crate::builtin::{Builtin, NetworkBuiltin, NetworkBuiltinFactory};
use crate::callout::{CalloutDone, CalloutError, CalloutId, CalloutResponse};
use crate::event::Event;
use crate::factory::{BuildError, Factory, PrepareContext, PrepareError, RouteConfig};
use crate::host::{LocalTask, WorkerHost};
use crate::kind::{ExtensionKind, NetworkFilters, StreamFilters};
use crate::network::{NetworkFilterConfig, NetworkFilterWorker};
use crate::node::{Node, ParseError};
use crate::registry::Registry;
use crate::stream::{StreamFilterConfig, StreamFilterWorker, Wants};
use crate::verdict::Phase;
use crate::worker::{Drain, Worker, WorkerPart};

/// A worker. It parses, prepares and builds filters, and has the timers, callouts and posts of their worker parts.
pub struct FakeWorker {
    host: Host,
    instance: Arc<str>,
    folder: Arc<Path>,
}

struct Host {
    later: Later,
    index: usize,
    count: usize,
    tasks: Vec<LocalTask>,
}

/// A stream filter that was prepared and built on a worker.
pub struct FakeUse {
    factory: Arc<dyn Factory<StreamFilters>>,
    phase: Phase,
    config: Arc<dyn StreamFilterConfig>,
    part: Rc<dyn StreamFilterWorker>,
    clusters: Vec<String>,
    process: FakeProcess,
}

/// A network filter that was prepared and built on a worker.
pub struct FakeNetworkUse {
    config: Arc<dyn NetworkFilterConfig>,
    part: Rc<dyn NetworkFilterWorker>,
    clusters: Vec<String>,
    process: FakeProcess,
}

/// At which step an extension's life ended early.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SetupError {
    /// Its configuration was refused.
    Parse(ParseError),
    /// It could not be prepared.
    Prepare(PrepareError),
    /// The worker could not build its part.
    Build(BuildError),
}

impl FakeWorker {
    /// Worker 0 of 1, in a process of its own.
    #[must_use]
    pub fn new() -> Self {
        Self::of(&FakeProcess::new(), 0, 1)
    }

    /// Worker `index` of `count` in a process.
    #[must_use]
    pub fn of(process: &FakeProcess, index: usize, count: usize) -> Self {
        Self {
            host: Host {
                later: Later::new(process.clone()),
                index,
                count,
                tasks: Vec::new(),
            },
            instance: Arc::from("test"),
            folder: Arc::from(Path::new("")),
        }
    }

    /// The same, whose uses have another name than `test`.
    #[must_use]
    pub fn with_instance(mut self, name: &str) -> Self {
        self.instance = Arc::from(name);
        self
    }

    /// The same, whose configurations have their relative paths begin at `folder`.
    #[must_use]
    pub fn with_folder(mut self, folder: impl AsRef<Path>) -> Self {
        self.folder = Arc::from(folder.as_ref());
        self
    }

    /// Parses, prepares and builds a built-in filter.
    pub fn builtin<B: Builtin>(&mut self, config: &Node) -> Result<FakeUse, SetupError> {
        let mut registry = Registry::new();
        let registered = registry.register_builtin::<B>("builtin");
        assert_eq!(registered, Ok(()), "an empty registry takes any name");
        match registry.find::<StreamFilters>("builtin") {
            Ok(factory) => self.stream_filter(factory, config),
            Err(error) => panic!("{error}"),
        }
    }

    /// Parses, prepares and builds a stream filter.
    pub fn stream_filter(
        &mut self,
        factory: Arc<dyn Factory<StreamFilters>>,
        config: &Node,
    ) -> Result<FakeUse, SetupError> {
        let phase = factory.parse(config)?.phase();
        let (config, clusters) = self.prepare(&*factory, config)?;
        let part = config.on_worker(&mut Worker::new(&mut self.host))?;
        Ok(FakeUse {
            factory,
            phase,
            config,
            part,
            clusters,
            process: self.process().clone(),
        })
    }

    /// Parses, prepares and builds a built-in network filter.
    pub fn network_builtin<B: NetworkBuiltin>(
        &mut self,
        config: &Node,
    ) -> Result<FakeNetworkUse, SetupError> {
        self.network_filter(&NetworkBuiltinFactory::<B>(PhantomData), config)
    }

    /// Parses, prepares and builds a network filter.
    pub fn network_filter(
        &mut self,
        factory: &dyn Factory<NetworkFilters>,
        config: &Node,
    ) -> Result<FakeNetworkUse, SetupError> {
        let (config, clusters) = self.prepare(factory, config)?;
        let part = config.on_worker(&mut Worker::new(&mut self.host))?;
        Ok(FakeNetworkUse {
            config,
            part,
            clusters,
            process: self.process().clone(),
        })
    }

    /// What a part sees of this worker while it is built.
    pub(super) fn view(&mut self) -> Worker<'_> {
        Worker::new(&mut self.host)
    }

    /// Parses and prepares an extension of any kind; gives its configuration and the clusters that it named. Waits on
    /// this thread for as long as the preparing does.
    pub fn prepare<K: ExtensionKind>(
        &self,
        factory: &dyn Factory<K>,
        config: &Node,
    ) -> Result<(Arc<K::Config>, Vec<String>), SetupError> {
        let parsed = factory.parse(config)?;
        let prepared = block_on(parsed.prepare(PrepareContext {
            instance: Arc::clone(&self.instance),
            workers: self.host.count,
            metrics: self.process().metrics(),
            shared: self.process().shared().clone(),
            folder: self.folder.clone(),
            bounds: crate::UseBounds::default(),
        }))?;
        Ok((prepared, parsed.clusters()))
    }

    /// Builds a prepared stream filter here: the same configuration on another worker, or anew after a failure.
    pub fn rebuild(&mut self, used: &FakeUse) -> Result<FakeUse, SetupError> {
        let part = used.config.on_worker(&mut Worker::new(&mut self.host))?;
        Ok(FakeUse {
            factory: Arc::clone(&used.factory),
            phase: used.phase,
            config: Arc::clone(&used.config),
            part,
            clusters: used.clusters.clone(),
            process: self.process().clone(),
        })
    }

    /// Allows callouts of worker parts to a cluster.
    #[must_use]
    pub fn with_cluster(mut self, cluster: &str) -> Self {
        self.host.later.clusters.push(cluster.to_owned());
        self
    }

    /// Time goes by: timers of this worker's part run out one by one. Says how many.
    pub fn advance(&mut self, part: &dyn WorkerPart, duration: Duration) -> usize {
        let until = self.host.later.now() + duration;
        let mut count = 0;
        while let Some(timer) = self.host.later.next_timer(until) {
            self.event(part, Event::Timer(timer));
            count += 1;
        }
        self.host.later.set_now(until);
        count
    }

    /// Delivers what was posted to this worker's part. Says how many posts there were.
    pub fn deliver(&mut self, part: &dyn WorkerPart) -> usize {
        let mut count = 0;
        while let Some(message) = self.host.later.next_post() {
            self.event(part, Event::Resumed(message));
            count += 1;
        }
        count
    }

    /// Ends a callout of this worker's part.
    ///
    /// # Panics
    /// When it is not under way.
    pub fn end_callout(
        &mut self,
        part: &dyn WorkerPart,
        id: CalloutId,
        result: Result<CalloutResponse, CalloutError>,
    ) {
        self.host.later.end_callout(id);
        self.event(part, Event::Callout(CalloutDone { id, result }));
    }

    /// Any event. True when the part said by it that it is [drained](Worker::drained).
    pub fn event(&mut self, part: &dyn WorkerPart, event: Event) -> bool {
        let mut worker = Worker::new(&mut self.host);
        part.on_event(&mut worker, event);
        worker.is_drained()
    }

    /// Asks the part whether it may be dropped.
    pub fn drain(&mut self, part: &dyn WorkerPart) -> Drain {
        part.drain(&mut Worker::new(&mut self.host))
    }

    /// The callouts that this worker's part waits for.
    #[must_use]
    pub fn callouts(&self) -> &[(CalloutId, Callout)] {
        &self.host.later.callouts
    }

    /// What the part wants to run beside its streams, since this was last asked. The test runs it, or not.
    pub fn take_tasks(&mut self) -> Vec<LocalTask> {
        std::mem::take(&mut self.host.tasks)
    }

    /// The process: metrics, shared data, log lines.
    #[must_use]
    pub fn process(&self) -> &FakeProcess {
        &self.host.later.process
    }
}

impl Default for FakeWorker {
    fn default() -> Self {
        Self::new()
    }
}

impl FakeUse {
    /// A stream that meets this use.
    #[must_use]
    pub fn stream(&self) -> FakeStream {
        let stream = FakeStream::of(Rc::clone(&self.part), self.process.clone(), self.wants())
            .with_phase(self.phase());
        self.clusters
            .iter()
            .fold(stream, |stream, cluster| stream.with_cluster(cluster))
    }

    /// Reads the configuration of a route, for [`FakeStream::with_route`].
    pub fn route(&self, config: &Node) -> Result<RouteConfig, ParseError> {
        self.factory.parse_route(config)
    }

    /// Which callbacks the filter needs.
    #[must_use]
    pub fn wants(&self) -> Wants {
        self.config.wants()
    }

    /// Its request phase.
    #[must_use]
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// The clusters that it named for its callouts.
    #[must_use]
    pub fn clusters(&self) -> &[String] {
        &self.clusters
    }

    /// The worker's part.
    #[must_use]
    pub fn part(&self) -> &Rc<dyn StreamFilterWorker> {
        &self.part
    }
}

impl FakeNetworkUse {
    /// A connection that meets this use.
    #[must_use]
    pub fn connection(&self) -> FakeConnection {
        let connection = FakeConnection::of(
            Rc::clone(&self.part),
            self.config.wants(),
            self.process.clone(),
        );
        self.clusters
            .iter()
            .fold(connection, |connection, cluster| {
                connection.with_cluster(cluster)
            })
    }

    /// The prepared configuration.
    #[must_use]
    pub fn config(&self) -> &Arc<dyn NetworkFilterConfig> {
        &self.config
    }

    /// The worker's part.
    #[must_use]
    pub fn part(&self) -> &Rc<dyn NetworkFilterWorker> {
        &self.part
    }
}

later_hosts!(Host);

impl WorkerHost for Host {
    fn worker_index(&self) -> usize {
        self.index
    }

    fn worker_count(&self) -> usize {
        self.count
    }

    fn spawn(&mut self, task: LocalTask) {
        self.tasks.push(task);
    }
}

/// Runs a future on this thread, which sleeps while the future waits.
fn block_on<T>(future: impl Future<Output = T>) -> T {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut context = Context::from_waker(&waker);
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut context) {
            Poll::Ready(value) => return value,
            Poll::Pending => thread::park(),
        }
    }
}

impl fmt::Display for SetupError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Parse(error) => error.fmt(f),
            Self::Prepare(error) => error.fmt(f),
            Self::Build(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for SetupError {}

impl From<ParseError> for SetupError {
    fn from(error: ParseError) -> Self {
        Self::Parse(error)
    }
}

impl From<PrepareError> for SetupError {
    fn from(error: PrepareError) -> Self {
        Self::Prepare(error)
    }
}

impl From<BuildError> for SetupError {
    fn from(error: BuildError) -> Self {
        Self::Build(error)
    }
}

macro_rules! opaque_debug {
    ($($fake:ident),*) => {$(
        impl fmt::Debug for $fake {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct(stringify!($fake)).finish_non_exhaustive()
            }
        }
    )*};
}
opaque_debug!(FakeWorker, FakeUse, FakeNetworkUse);
