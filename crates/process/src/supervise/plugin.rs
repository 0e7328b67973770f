//! A plugin: its processes, kept running.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::watch;

use super::child::Place;
use super::error::StartError;
use super::group::Group;
use super::instance::Instance;
use super::load::{Counts, InFlight};
use super::readiness::Readiness;
use super::slot::Report;
use super::spec::{Protocol, Spec};
use super::state::State;
use super::swap::Swapping;

/// A plugin of one [`Spec`]: as many processes as that says, started again when they end.
///
/// The processes are watched by tasks of the runtime that it was started on, the control side's. Workers use what it publishes
/// ([`instances`](Self::instances), [`choose`](Self::choose)) without a lock. Dropping the last reference lets calls end, and then the
/// processes, in the background; [`stop`](Self::stop) waits for that.
pub struct Plugin {
    pub(super) shared: Arc<Shared>,
    pub(super) groups: Mutex<Groups>,
    /// The version that has the calls which this one does not get yet, or does not get any more.
    pub(super) older: Mutex<Option<Arc<Plugin>>>,
}

/// Numbers of processes and of versions: none is given twice, so that versions can be told apart that take over from each other.
static NEXT_NUMBER: AtomicU64 = AtomicU64::new(1);

/// The processes of a plugin, and, during a swap, those that may take over.
pub(super) struct Groups {
    pub(super) current: Arc<Group>,
    pub(super) candidate: Option<Arc<Group>>,
    pub(super) swapping: Swapping,
    /// What groups that are gone have counted.
    pub(super) retired: Counts,
}

/// What all groups of a plugin share.
pub(super) struct Shared {
    pub(super) name: Arc<str>,
    pub(super) spec: Arc<Spec>,
    pub(super) place: Place,
    pub(super) in_flight: Arc<InFlight>,
    published: ArcSwap<Arc<[Arc<Instance>]>>,
    /// Held for moments, by who changes what is published.
    publishing: Mutex<()>,
    changes: watch::Sender<u64>,
    /// In which processes the uses are ready.
    readiness: Mutex<Readiness>,
    turn: AtomicUsize,
    /// The number of the group that takes a share of the calls only; 0 for none.
    candidate: AtomicU64,
}

impl Plugin {
    /// Starts a plugin. Resolves when one of its instances is ready; if none of them starts, with the first one's error, and nothing is left
    /// of it.
    pub async fn start(name: &str, spec: Arc<Spec>, place: Place) -> Result<Arc<Self>, StartError> {
        let (plugin, first) = Self::begin(name, spec, place, true);
        if let Err(error) = first.await {
            plugin.stop().await;
            return Err(error);
        }
        Ok(plugin)
    }

    /// A plugin that is not started until it is enabled.
    pub(super) fn disabled(name: &str, spec: Arc<Spec>, place: Place) -> Arc<Self> {
        Self::begin(name, spec, place, false).0
    }

    fn begin(
        name: &str,
        spec: Arc<Spec>,
        place: Place,
        enabled: bool,
    ) -> (
        Arc<Self>,
        impl Future<Output = Result<(), StartError>> + Send + use<>,
    ) {
        let shared = Arc::new(Shared {
            name: name.into(),
            in_flight: Arc::new(InFlight::new(spec.bounds.concurrency)),
            spec,
            place,
            published: ArcSwap::from_pointee(Arc::from([])),
            publishing: Mutex::default(),
            changes: watch::Sender::new(0),
            readiness: Mutex::default(),
            turn: AtomicUsize::new(0),
            candidate: AtomicU64::new(0),
        });
        let (current, first) = Group::begin(&shared, enabled);
        let plugin = Arc::new(Self {
            shared,
            groups: Mutex::new(Groups {
                current,
                candidate: None,
                swapping: Swapping::default(),
                retired: Counts::default(),
            }),
            older: Mutex::default(),
        });
        (plugin, first)
    }

    /// Its name in the configuration.
    pub fn name(&self) -> &str {
        &self.shared.name
    }

    /// What was configured.
    pub fn spec(&self) -> &Arc<Spec> {
        &self.shared.spec
    }

    /// The instances that take calls at this moment. Does not wait, and takes no lock.
    pub fn instances(&self) -> Arc<[Arc<Instance>]> {
        Arc::clone(&self.shared.published.load())
    }

    /// Changes whenever [`instances`](Self::instances) has.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.shared.changes.subscribe()
    }

    /// The instance with the fewest calls under way; one that is degraded only if there is no other. While a swap is under way, the new
    /// version gets its share. `None` while none runs.
    pub fn choose(&self) -> Option<Arc<Instance>> {
        let published = self.shared.published.load();
        let count = published.len();
        // Among equals each gets its turn.
        let turn = match count {
            0 => return None,
            1 => 0,
            _ => self.shared.turn.fetch_add(1, Ordering::Relaxed),
        };
        let side = self.shared.side(turn);
        let (before, after) = published.split_at_checked(turn % count)?;
        after
            .iter()
            .chain(before)
            .filter(|instance| instance.is_open())
            .min_by_key(|instance| {
                (
                    !side.has(instance),
                    instance.state() != State::Ready,
                    instance.in_flight(),
                )
            })
            .cloned()
    }

    /// Which instances the next call should go to while a swap is under way, for those who choose by themselves: they prefer instances that
    /// [it has](Side::has).
    pub fn next_side(&self) -> Side {
        if self.shared.candidate.load(Ordering::Relaxed) == 0 {
            return Side::default();
        }
        let turn = self.shared.turn.fetch_add(1, Ordering::Relaxed);
        self.shared.side(turn)
    }

    /// An instance of the newest version that may have calls, whichever of them have the calls.
    pub fn newest(&self) -> Option<Arc<Instance>> {
        let own = self.current().number;
        let instances = self.instances();
        let newest = instances.iter().find(|instance| instance.group() == own);
        newest.cloned().or_else(|| self.choose())
    }

    /// Whether an instance is of this version's own processes, and not of the one that it takes over from.
    pub fn owns(&self, instance: &Instance) -> bool {
        let groups = lock(&self.groups);
        let candidate = groups.candidate.iter();
        let mut own = [&groups.current].into_iter().chain(candidate);
        own.any(|group| group.number == instance.group())
    }

    /// Takes note of a use, which from now on is to be ready in each process; see [`use_ready`](Self::use_ready).
    pub fn use_begins(&self, used: u64) {
        lock(&self.shared.readiness).begins(used);
    }

    /// A use is no more.
    pub fn use_ends(&self, used: u64) {
        lock(&self.shared.readiness).ends(used);
    }

    /// A use is ready in a process. A new version takes over when all are.
    pub fn use_ready(&self, used: u64, instance: &Instance) {
        lock(&self.shared.readiness).is_ready(used, instance.number());
    }

    /// A process will not have a use. A new version with such a process does not take over.
    pub fn use_refused(&self, instance: &Instance, why: impl Into<String>) {
        lock(&self.shared.readiness).refuses(instance.number(), why.into());
    }

    /// Where it stands.
    pub fn state(&self) -> State {
        match self.fallback() {
            Some(older) => older.state(),
            None => self.current().state(),
        }
    }

    /// Whether it may run.
    pub fn is_enabled(&self) -> bool {
        match self.fallback() {
            Some(older) => older.is_enabled(),
            None => self.current().wanted().enabled,
        }
    }

    /// Whether it was told to end.
    pub(super) fn is_stopping(&self) -> bool {
        self.current().wanted().stop
    }

    /// What was counted since it was started.
    pub fn counts(&self) -> Counts {
        let groups = lock(&self.groups);
        let mut counts = groups.retired.clone();
        for group in std::iter::once(&groups.current).chain(&groups.candidate) {
            counts.add(&group.load.counts());
        }
        counts.in_flight = self.shared.in_flight.count();
        counts
    }

    pub(super) fn reports(&self) -> Vec<Arc<Report>> {
        let groups = lock(&self.groups);
        let candidate = groups.candidate.iter();
        let all = [&groups.current].into_iter().chain(candidate);
        all.flat_map(|group| group.reports.iter().cloned())
            .collect()
    }

    pub(super) fn current(&self) -> Arc<Group> {
        Arc::clone(&lock(&self.groups).current)
    }

    /// Starts it, whatever was before: after a crash loop too. Resolves when one instance is ready, or none would start.
    pub async fn enable(&self) -> Result<(), String> {
        if self.fallback().is_some() {
            // The older version is asked itself.
            return Ok(());
        }
        let order = |wanted: &mut super::group::Wanted| wanted.enabled = true;
        self.current().order(order).await
    }

    /// Lets calls end, then the processes. It is not started again until it is enabled.
    pub async fn disable(&self) {
        self.roll_back("the plugin was disabled").await;
        if self.fallback().is_some() {
            return;
        }
        let order = |wanted: &mut super::group::Wanted| wanted.enabled = false;
        // What cannot start is down as well.
        let _ = self.current().order(order).await;
    }

    /// Starts a new process for each, and ends the old ones when those are ready. If one does not start, the old one stays.
    pub async fn restart(&self) -> Result<(), String> {
        self.roll_back("the plugin was started again").await;
        if self.fallback().is_some() {
            return Ok(());
        }
        let order = |wanted: &mut super::group::Wanted| wanted.restart = wanted.order;
        self.current().order(order).await
    }

    /// Lets calls end, then the processes, and waits for it.
    pub async fn stop(&self) {
        let groups: Vec<Arc<Group>> = {
            let mut groups = lock(&self.groups);
            let candidate = groups.candidate.take();
            candidate
                .into_iter()
                .chain([Arc::clone(&groups.current)])
                .collect()
        };
        for group in &groups {
            group.end();
        }
        for group in groups {
            group.ended().await;
        }
    }
}

impl Drop for Plugin {
    fn drop(&mut self) {
        // The slots end by themselves.
        let groups = lock(&self.groups);
        groups.current.end();
        if let Some(candidate) = &groups.candidate {
            candidate.end();
        }
    }
}

/// Which version of a plugin a call should go to while a swap is under way.
#[derive(Clone, Copy, Debug, Default)]
pub struct Side {
    candidate: u64,
    wants_it: bool,
}

impl Side {
    /// Whether an instance is of this version; without a swap, all are.
    pub fn has(self, instance: &Instance) -> bool {
        self.candidate == 0 || (instance.group() == self.candidate) == self.wants_it
    }
}

impl Shared {
    pub(super) fn number(&self) -> u64 {
        NEXT_NUMBER.fetch_add(1, Ordering::Relaxed)
    }

    pub(super) fn readiness(&self) -> MutexGuard<'_, Readiness> {
        lock(&self.readiness)
    }

    pub(super) fn set_candidate(&self, group: u64) {
        self.candidate.store(group, Ordering::Relaxed);
    }

    fn side(&self, turn: usize) -> Side {
        let candidate = self.candidate.load(Ordering::Relaxed);
        // 37 has no factor in common with 100, so that shares are spread and not the first of each hundred.
        let place = turn.wrapping_mul(37) % 100;
        Side {
            candidate,
            wants_it: place < usize::from(self.spec.swap.share),
        }
    }

    pub(super) fn publish(&self, instance: Arc<Instance>) {
        self.change(|instances| instances.push(instance));
    }

    pub(super) fn withdraw(&self, number: u64) {
        self.change(|instances| instances.retain(|instance| instance.number() != number));
        lock(&self.readiness).forgets(number);
    }

    pub(super) fn change(&self, change: impl FnOnce(&mut Vec<Arc<Instance>>)) {
        {
            let _one = lock(&self.publishing);
            let mut instances = self.published.load().to_vec();
            change(&mut instances);
            self.published.store(Arc::new(instances.into()));
        }
        self.changes.send_modify(|changes| *changes += 1);
    }

    /// Whether a second process can run beside the first.
    pub(super) fn can_overlap(&self) -> bool {
        self.spec.address.is_none() && self.spec.protocol != Protocol::None
    }

    /// Waits until nothing is under way at an instance and no stream needs it, for as long as the configuration allows.
    pub(super) async fn drain(&self, instance: &Instance) {
        /// Often enough that nobody notices, seldom enough to cost nothing.
        const LOOK: Duration = Duration::from_millis(5);
        let quiet = async {
            while instance.is_needed() && !instance.is_gone() {
                tokio::time::sleep(LOOK).await;
            }
        };
        let _ = tokio::time::timeout(self.spec.drain_timeout, quiet).await;
    }
}

impl std::fmt::Debug for Plugin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Plugin")
            .field("name", &self.shared.name)
            .field("state", &self.state())
            .finish_non_exhaustive()
    }
}

/// Locks a mutex. A panic under it left plain data, which is as good as before.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
