//! The control side: what changes the data plane, and what may be asked of it.
//!
//! Activation has three steps. **Prepare** happens here: parse, prepare, bind; it may wait and it may fail. **Build**
//! happens on every worker, which answers ok or why not. Then **commit** on all, or **discard** on all: a configuration
//! is active everywhere or nowhere.

mod acceptors;
pub mod certificates;
pub(crate) mod discovery;
pub mod explain;
pub mod generations;
mod prepare;
mod retire;
pub(crate) mod snapshot;
pub mod status;

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::io;
use std::net::SocketAddr;

use std::sync::{Arc, Mutex as StdMutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Mutex, Notify, oneshot};
use transom_api::control::{MetricFamily, Readiness};
use transom_api::{MetricError, Node, ParseError, Registry, SharedData, Span, StreamFilterConfig};
use transom_config::{Changes, ExtensionName, Resources};

use self::acceptors::Acceptors;
use self::certificates::CertificateStatus;
use self::generations::{Change, PlaceStatus, Step};
use self::prepare::Preparer;
use self::retire::retire;
use self::snapshot::Snapshot;
use self::status::ClusterStatus;
use crate::cluster::PreparedCluster;
use crate::cluster::transports::MemoryListeners;
use crate::health::HealthChecks;
use crate::metrics::MetricStore;
use crate::shared::SharedStore;
use crate::tls::prepare::CertificateNews;
use crate::worker::inbox::Command;
use crate::worker::{WorkerHandle, WorkerSettings, spawn};

/// How long all workers together may take to build a snapshot.
const BUILD_LIMIT: Duration = Duration::from_secs(30);

/// How often it is looked whether the last connection has ended.
const LOOK_FOR_END: Duration = Duration::from_millis(10);

/// The data plane: its workers and what is active on them.
pub struct Proxy {
    workers: StdMutex<Vec<WorkerHandle>>,
    inboxes: Vec<Arc<crate::worker::inbox::WorkerInbox>>,
    metrics: Arc<MetricStore>,
    active: Mutex<Active>,
    /// What others read while an activation is under way.
    seen: StdMutex<Seen>,
    told: Arc<Notify>,
    hosts_changed: Arc<Notify>,
}

struct Active {
    preparer: Preparer,
    snapshot: Option<Arc<Snapshot>>,
    health: HealthChecks,
    acceptors: Acceptors,
    /// Generations that were started and neither promoted nor rolled back: by listener and filter.
    newer: HashMap<(String, String), (u64, Arc<dyn StreamFilterConfig>)>,
    version: u64,
}

#[derive(Default)]
struct Seen {
    readiness: Option<Readiness>,
    addresses: Vec<(String, SocketAddr)>,
    clusters: BTreeMap<String, Arc<PreparedCluster>>,
    certificates: Arc<certificates::Held>,
}

/// What a data plane is made of.
#[derive(Debug)]
pub struct Settings {
    /// How many worker threads.
    pub workers: usize,
    /// The extensions that there are.
    pub registry: Arc<Registry>,
}

/// Why a configuration did not become active. The one before stays.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApplyError {
    /// What is wrong.
    pub message: String,
    /// The place in the source of configuration, when it is known.
    pub span: Option<Span>,
    /// What to do about it.
    pub help: Option<String>,
}

impl Proxy {
    /// Starts the workers. They serve nothing before the first [`Proxy::apply`].
    pub fn start(settings: Settings) -> io::Result<Self> {
        let workers = settings.workers.max(1);
        let metrics = MetricStore::new(workers);
        let shared = SharedData::new(Arc::new(SharedStore::new()));
        let define = metrics.metrics();
        let filter_failures = define
            .counter(
                "filter_failures_total",
                "Streams and connections in which an extension failed.",
                &[],
            )
            .map_err(io::Error::other)?;
        let turns = define
            .histogram(
                "worker_turn_seconds",
                "How long a turn of a worker's event loop took.",
                &[],
            )
            .map_err(io::Error::other)?;
        let mut handles = Vec::with_capacity(workers);
        for index in 0..workers {
            handles.push(spawn(WorkerSettings {
                index,
                count: workers,
                metrics: Arc::clone(&metrics),
                shared: shared.clone(),
                filter_failures,
                turns,
            })?);
        }
        let inboxes: Vec<_> = handles
            .iter()
            .map(|worker| Arc::clone(&worker.inbox))
            .collect();
        let memory = shared.clone();
        let preparer = Preparer::new(
            settings.registry,
            Arc::clone(&metrics),
            shared,
            inboxes.clone(),
        )
        .map_err(io::Error::other)?;
        Ok(Self {
            told: Arc::clone(&preparer.told),
            hosts_changed: Arc::clone(&preparer.hosts_changed),
            inboxes,
            workers: StdMutex::new(handles),
            active: Mutex::new(Active {
                preparer,
                snapshot: None,
                health: HealthChecks::default(),
                acceptors: Acceptors::new(MemoryListeners::of(&memory)),
                newer: HashMap::new(),
                version: 0,
            }),
            metrics,
            seen: StdMutex::default(),
        })
    }

    /// Makes `resources` active on all workers, or on none.
    pub async fn apply(&self, resources: &Resources) -> Result<(), ApplyError> {
        let mut active = self.active.lock().await;
        self.activate(&mut active, resources).await
    }

    /// Like [`Proxy::apply`], with other extensions than those before: what configuration brings along (plugins) is an
    /// overlay of the built-in ones, made anew for each configuration.
    pub async fn apply_with(
        &self,
        resources: &Resources,
        registry: Arc<Registry>,
    ) -> Result<(), ApplyError> {
        let mut active = self.active.lock().await;
        let before = std::mem::replace(&mut active.preparer.registry, registry);
        let outcome = self.activate(&mut active, resources).await;
        if outcome.is_err() {
            active.preparer.registry = before;
        }
        outcome
    }

    async fn activate(&self, active: &mut Active, resources: &Resources) -> Result<(), ApplyError> {
        active.version += 1;
        let version = active.version;
        let before = active.snapshot.clone();
        let snapshot = active
            .preparer
            .prepare(version, resources, before.as_deref())
            .await?;
        let snapshot = Arc::new(snapshot);
        if let Err(message) = self.build(&snapshot).await {
            for inbox in &self.inboxes {
                inbox.send(Command::Discard { version });
            }
            return Err(ApplyError::new(message));
        }
        active.acceptors.stop_others(Some(&snapshot)).await;
        let commits: Vec<_> = self
            .inboxes
            .iter()
            .map(|inbox| {
                let (done, committed) = oneshot::channel();
                inbox.send(Command::Commit { version, done });
                committed
            })
            .collect();
        for committed in commits {
            // Only a worker that has ended does not answer, and then the process ends too.
            let _ = committed.await;
        }
        {
            let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
            seen.addresses = snapshot
                .listeners
                .iter()
                .filter_map(|(name, listener)| {
                    let address = listener.sockets.address()?;
                    Some((name.clone(), address))
                })
                .chain(
                    snapshot
                        .udp_listeners
                        .iter()
                        .map(|(name, listener)| (name.clone(), listener.sockets.address())),
                )
                .collect();
            seen.clusters = snapshot.clusters.clone();
            seen.certificates = Arc::new(certificates::Held::of(&snapshot));
            seen.readiness.get_or_insert(Readiness::Ready);
        }
        active.preparer.divide_places(&snapshot);
        active.acceptors.follow(&snapshot, &self.metrics);
        active.health.follow(&snapshot, &self.metrics);
        active.snapshot = Some(snapshot);
        if let Some(before) = before {
            retire(retire::parts(before, active.snapshot.as_deref()));
        }
        Ok(())
    }

    /// Makes a set of changes to the active resources active on all workers, or on none.
    pub async fn change_resources(&self, changes: &Changes) -> Result<(), ApplyError> {
        let mut active = self.active.lock().await;
        let before = active
            .snapshot
            .as_ref()
            .map(|snapshot| snapshot.resources.clone());
        let resources = before.unwrap_or_default().apply(changes);
        self.activate(&mut active, &resources).await
    }

    /// Looks at the files that `tls` names, and asks the certificate providers that are to be asked: new connections get
    /// what is new, old ones keep what they have. What cannot be used is logged and counted (`tls_reload_failures_total`).
    ///
    /// Returns when the last provider has answered; another look may be taken meanwhile.
    pub async fn refresh_certificates(&self) -> CertificateNews {
        let snapshot = self.active.lock().await.snapshot.clone();
        match snapshot {
            Some(snapshot) => crate::tls::prepare::refresh(&snapshot, &self.metrics).await,
            None => CertificateNews::default(),
        }
    }

    /// Waits until a certificate provider has told that it has something new: the time for a look
    /// ([`refresh_certificates`](Self::refresh_certificates)) out of turn.
    pub async fn certificates_told(&self) {
        self.told.notified().await;
    }

    /// Waits until a registry has told of other hosts: the time to [use them](Self::use_hosts).
    pub async fn hosts_told(&self) {
        self.hosts_changed.notified().await;
    }

    /// Uses the hosts that registries have told since the last activation. When that fails those of before stay.
    pub async fn use_hosts(&self) -> Result<(), ApplyError> {
        let mut active = self.active.lock().await;
        let resources = active.snapshot.as_ref().map(|it| it.resources.clone());
        match resources {
            Some(resources) => self.activate(&mut active, &resources).await,
            None => Ok(()),
        }
    }

    /// The address that a listener is bound to: of use where the configuration says port 0. None for a Unix socket.
    #[must_use]
    pub fn address(&self, listener: &str) -> Option<SocketAddr> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.addresses
            .iter()
            .find(|(name, _)| name == listener)
            .map(|(_, address)| *address)
    }

    /// Whether traffic is served.
    #[must_use]
    pub fn readiness(&self) -> Readiness {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.readiness.unwrap_or(Readiness::Starting)
    }

    /// All metrics with their current values.
    #[must_use]
    pub fn metrics(&self) -> Vec<MetricFamily> {
        let mut families = self.metrics.read();
        families.extend(status::families(&self.clusters()));
        families.extend(certificates::family(&self.certificates()));
        families.sort_by(|a, b| a.name.cmp(&b.name));
        families
    }

    /// How the clusters and their hosts stand at this moment, in the order of their names.
    #[must_use]
    pub fn clusters(&self) -> Vec<ClusterStatus> {
        let clusters = {
            let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
            seen.clusters.clone()
        };
        clusters
            .values()
            .map(|cluster| ClusterStatus::of(cluster))
            .collect()
    }

    /// The certificates that listeners and clusters show at this moment.
    #[must_use]
    pub fn certificates(&self) -> Vec<CertificateStatus> {
        let held = {
            let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(&seen.certificates)
        };
        held.certificates()
    }

    /// Takes no more connections, lets those that are there finish, and waits for that up to `limit`. True when none was
    /// left.
    pub async fn drain(&self, limit: Duration) -> bool {
        self.seen
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .readiness = Some(Readiness::Draining);
        // The control side's hold on the sockets goes first, so that a worker's close is the socket's end.
        let (before, total) = {
            let mut active = self.active.lock().await;
            active.acceptors.stop_others(None).await;
            let total = Arc::clone(&active.preparer.total);
            (active.snapshot.take(), total)
        };
        if let Some(before) = before {
            retire(retire::parts(before, None));
        }
        let drained: Vec<_> = self
            .inboxes
            .iter()
            .map(|inbox| {
                let (done, drained) = oneshot::channel();
                inbox.send(Command::Drain { done });
                drained
            })
            .collect();
        let all = async {
            for drained in drained {
                let _ = drained.await;
            }
            // A worker may have handed a connection to one that had none left by then.
            while total.open() > 0 {
                tokio::time::sleep(LOOK_FOR_END).await;
            }
        };
        tokio::time::timeout(limit, all).await.is_ok()
    }

    /// Brings a newer generation of a stream filter in beside the one that is there; it gets `share` of a hundred new
    /// streams.
    pub async fn start_generation(
        &self,
        listener: &str,
        filter: &str,
        extension: impl Into<ExtensionName>,
        config: &Node,
        share: u8,
    ) -> Result<PlaceStatus, ApplyError> {
        let extension = extension.into();
        // Held to the end: of two that start at the same time the second must find the first.
        let mut active = self.active.lock().await;
        let unknown = || {
            ApplyError::new(format!(
                "listener `{listener}` has no stream filter `{filter}`"
            ))
        };
        let snapshot = active.snapshot.clone().ok_or_else(unknown)?;
        let used = snapshot
            .stream_filter(listener, filter)
            .ok_or_else(unknown)?;
        // A plugin's newer version is another plugin.
        let is_other = match (&used.extension, &extension) {
            (ExtensionName::Plugin(_), ExtensionName::Plugin(_)) => false,
            (before, after) => before != after,
        };
        if is_other && snapshot.routes_name(listener, filter) {
            return Err(ApplyError::new(format!(
                "the stream filter `{filter}` is `{}`, and routes have configurations for it: a generation of it cannot \
                 be `{}`, which does not know them",
                used.extension.as_str(),
                extension.as_str(),
            )));
        }
        let prepared = active
            .preparer
            .prepare_swap(&extension, filter, config, used.bounds, &snapshot)
            .await?;
        let before = self.change(listener, filter, Step::Look).await?;
        if before.generations.len() > 1 {
            return Err(ApplyError::new(
                "a newer generation is there already: promote it or roll it back first".to_owned(),
            ));
        }
        // Held until all workers have let go, whenever that will be.
        retire(vec![Box::new(Arc::clone(&prepared.config))]);
        let step = Step::Start {
            id: prepared.generation,
            config: Arc::clone(&prepared.config),
            share,
        };
        let outcome = self.change(listener, filter, step).await;
        if outcome.is_err() {
            // A generation that one worker could not build must not stay on the others. That there is none on some is
            // just what is wanted.
            let _ = self.change(listener, filter, Step::Rollback).await;
        } else {
            let place = (listener.to_owned(), filter.to_owned());
            active
                .newer
                .insert(place, (prepared.generation, prepared.config));
        }
        outcome
    }

    /// Gives the newer generation another share of new streams.
    pub async fn share_generation(
        &self,
        listener: &str,
        filter: &str,
        share: u8,
    ) -> Result<PlaceStatus, ApplyError> {
        self.change(listener, filter, Step::Share(share)).await
    }

    /// Gives all new streams to the newer generation; the older one ends with its streams.
    pub async fn promote_generation(
        &self,
        listener: &str,
        filter: &str,
    ) -> Result<PlaceStatus, ApplyError> {
        let mut active = self.active.lock().await;
        let status = self.change(listener, filter, Step::Promote).await?;
        let place = (listener.to_owned(), filter.to_owned());
        if let (Some((id, config)), Some(before)) =
            (active.newer.remove(&place), active.snapshot.take())
        {
            // From now on this is what a reload finds; the declaration that it stands for is unchanged.
            let after = Arc::new(before.with_generation(listener, filter, &config, id));
            retire(retire::parts(before, Some(&after)));
            active.snapshot = Some(after);
        }
        Ok(status)
    }

    /// Gives all new streams to the older generation again; the newer one ends with its streams.
    pub async fn roll_back_generation(
        &self,
        listener: &str,
        filter: &str,
    ) -> Result<PlaceStatus, ApplyError> {
        let mut active = self.active.lock().await;
        let status = self.change(listener, filter, Step::Rollback).await?;
        active
            .newer
            .remove(&(listener.to_owned(), filter.to_owned()));
        Ok(status)
    }

    /// How the generations of a place stand, summed over all workers.
    pub async fn generations(
        &self,
        listener: &str,
        filter: &str,
    ) -> Result<PlaceStatus, ApplyError> {
        self.change(listener, filter, Step::Look).await
    }

    /// Ends the workers' threads. What is under way on them ends with them.
    pub fn stop(&self) {
        for inbox in &self.inboxes {
            inbox.send(Command::Stop);
        }
        for worker in self
            .workers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .iter_mut()
        {
            worker.join();
        }
    }

    async fn build(&self, snapshot: &Arc<Snapshot>) -> Result<(), String> {
        let answers: Vec<_> = self
            .inboxes
            .iter()
            .map(|inbox| {
                let (done, built) = oneshot::channel();
                inbox.send(Command::Build {
                    snapshot: Arc::clone(snapshot),
                    done,
                });
                built
            })
            .collect();
        let all = async {
            let mut outcome = Ok(());
            for built in answers {
                let built = built
                    .await
                    .unwrap_or_else(|_| Err("a worker has ended".to_owned()));
                outcome = outcome.and(built);
            }
            outcome
        };
        tokio::time::timeout(BUILD_LIMIT, all)
            .await
            .unwrap_or_else(|_| {
                Err(format!(
                    "the workers took longer than {} s to build it",
                    BUILD_LIMIT.as_secs()
                ))
            })
    }

    async fn change(
        &self,
        listener: &str,
        filter: &str,
        step: Step,
    ) -> Result<PlaceStatus, ApplyError> {
        let answers: Vec<_> = self
            .inboxes
            .iter()
            .map(|inbox| {
                let (done, changed) = oneshot::channel();
                inbox.send(Command::Generations {
                    change: Change {
                        listener: listener.to_owned(),
                        filter: filter.to_owned(),
                        step: step.clone(),
                    },
                    done,
                });
                changed
            })
            .collect();
        let mut sum = PlaceStatus::default();
        let mut failed = None;
        for changed in answers {
            match changed.await {
                Ok(Ok(status)) => sum.add(&status),
                Ok(Err(message)) => failed = Some(ApplyError::new(message)),
                Err(_) => failed = Some(ApplyError::new("a worker has ended".to_owned())),
            }
        }
        failed.map_or(Ok(sum), Err)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.stop();
    }
}

impl ApplyError {
    pub(crate) fn new(message: String) -> Self {
        Self {
            message,
            span: None,
            help: None,
        }
    }

    pub(crate) fn at(span: Option<Span>, message: String, help: &str) -> Self {
        Self {
            message,
            span,
            help: Some(help.to_owned()),
        }
    }
}

impl From<ParseError> for ApplyError {
    fn from(error: ParseError) -> Self {
        Self {
            message: error.message,
            span: error.span,
            help: error.help,
        }
    }
}

impl From<MetricError> for ApplyError {
    fn from(error: MetricError) -> Self {
        Self::new(error.message)
    }
}

impl From<ApplyError> for ParseError {
    fn from(error: ApplyError) -> Self {
        Self {
            message: error.message,
            span: error.span,
            help: error.help,
        }
    }
}

impl fmt::Display for ApplyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        match &self.help {
            Some(help) => write!(f, " ({help})"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for ApplyError {}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Proxy")
            .field("workers", &self.inboxes.len())
            .finish_non_exhaustive()
    }
}
