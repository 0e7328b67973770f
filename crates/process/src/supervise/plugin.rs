//! A plugin: its processes, kept running.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use super::child::Place;
use super::error::StartError;
use super::instance::Instance;
use super::load::{Counts, Load};
use super::output::Output;
use super::slot::{Report, Slot};
use super::spec::Spec;
use super::state::State;

/// One version of a plugin: as many processes as its [`Spec`] says, started again when they end.
///
/// The processes are watched by tasks of the runtime that it was started on, the control side's. Workers use what it publishes
/// ([`instances`](Self::instances), [`choose`](Self::choose)) without a lock. Dropping the last reference lets calls end, and then the
/// processes, in the background; [`stop`](Self::stop) waits for that.
pub struct Plugin {
    shared: Arc<Shared>,
    wanted: watch::Sender<Wanted>,
    slots: Mutex<Vec<JoinHandle<()>>>,
}

/// What all slots of a plugin share.
pub(super) struct Shared {
    pub(super) name: Arc<str>,
    pub(super) spec: Arc<Spec>,
    pub(super) place: Place,
    pub(super) load: Arc<Load>,
    pub(super) reports: Vec<Arc<Report>>,
    published: ArcSwap<Arc<[Arc<Instance>]>>,
    /// Held for moments, by who changes what is published.
    publishing: Mutex<()>,
    changes: watch::Sender<u64>,
    next_number: AtomicU64,
    turn: AtomicUsize,
}

/// What is wanted of the slots.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Wanted {
    pub(super) enabled: bool,
    pub(super) stop: bool,
    /// Counts the orders, so that one can be awaited.
    pub(super) order: u64,
    /// The last order to begin anew: processes that were started for an earlier one are replaced.
    pub(super) restart: u64,
}

impl Plugin {
    /// Starts a plugin. Resolves when one of its instances is ready; if none of them starts, with the first one's error, and nothing is left
    /// of it.
    pub async fn start(name: &str, spec: Arc<Spec>, place: Place) -> Result<Arc<Self>, StartError> {
        let plugin = Self::begin(name, spec, place, true);
        let (plugin, mut first) = (plugin.0, plugin.1);
        let mut error = None;
        while let Some(result) = first.recv().await {
            match result {
                Ok(()) => return Ok(plugin),
                Err(failed) => error = error.or(Some(failed)),
            }
        }
        plugin.stop().await;
        Err(error.unwrap_or(StartError::Stopped))
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
    ) -> (Arc<Self>, mpsc::Receiver<Result<(), StartError>>) {
        let count = spec.instances.get();
        let name: Arc<str> = name.into();
        let reports: Vec<Arc<Report>> = (0..count)
            .map(|_| {
                Arc::new(Report::new(Output::new(
                    Arc::clone(&name),
                    spec.log.clone(),
                )))
            })
            .collect();
        let shared = Arc::new(Shared {
            name,
            load: Arc::new(Load::new(spec.bounds.concurrency)),
            spec,
            place,
            reports,
            published: ArcSwap::from_pointee(Arc::from([])),
            publishing: Mutex::default(),
            changes: watch::Sender::new(0),
            next_number: AtomicU64::new(1),
            turn: AtomicUsize::new(0),
        });
        let wanted = watch::Sender::new(Wanted {
            enabled,
            stop: false,
            order: 0,
            restart: 0,
        });
        // Room for each slot's one word: none of them waits.
        let (first, started) = mpsc::channel(count.max(1) as usize);
        let slots = shared
            .reports
            .iter()
            .map(|report| {
                let slot = Slot::new(
                    Arc::clone(&shared),
                    Arc::clone(report),
                    wanted.subscribe(),
                    first.clone(),
                );
                tokio::spawn(slot.run())
            })
            .collect();
        let plugin = Arc::new(Self {
            shared,
            wanted,
            slots: Mutex::new(slots),
        });
        (plugin, started)
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

    /// The instance with the fewest calls under way; one that is degraded only if there is no other. `None` while none runs.
    pub fn choose(&self) -> Option<Arc<Instance>> {
        let published = self.shared.published.load();
        let count = published.len();
        // Among equals each gets its turn.
        let from = match count {
            0 => return None,
            1 => 0,
            _ => self.shared.turn.fetch_add(1, Ordering::Relaxed) % count,
        };
        let (before, after) = published.split_at_checked(from)?;
        after
            .iter()
            .chain(before)
            .filter(|instance| instance.is_open())
            .min_by_key(|instance| (instance.state() != State::Ready, instance.in_flight()))
            .cloned()
    }

    /// Where it stands.
    pub fn state(&self) -> State {
        let reports = self.shared.reports.iter();
        let states: Vec<State> = reports.map(|report| report.state()).collect();
        State::of_all(&states)
    }

    /// Whether it may run.
    pub fn is_enabled(&self) -> bool {
        self.wanted.borrow().enabled
    }

    /// Whether it was told to end.
    pub(super) fn is_stopping(&self) -> bool {
        self.wanted.borrow().stop
    }

    /// What was counted since it was started.
    pub fn counts(&self) -> Counts {
        self.shared.load.counts()
    }

    pub(super) fn reports(&self) -> &[Arc<Report>] {
        &self.shared.reports
    }

    /// Starts it, whatever was before: after a crash loop too. Resolves when one instance is ready, or none would start.
    pub async fn enable(&self) -> Result<(), String> {
        self.order(|wanted| {
            wanted.enabled = true;
        })
        .await
    }

    /// Lets calls end, then the processes. It is not started again until it is enabled.
    pub async fn disable(&self) {
        // What cannot start is down as well.
        let _ = self.order(|wanted| wanted.enabled = false).await;
    }

    /// Starts a new process for each, and ends the old ones when those are ready. If one does not start, the old one stays.
    pub async fn restart(&self) -> Result<(), String> {
        self.order(|wanted| wanted.restart = wanted.order).await
    }

    /// Gives an order, and waits until each slot has done what it could.
    async fn order(&self, change: impl FnOnce(&mut Wanted)) -> Result<(), String> {
        let mut order = 0;
        self.wanted.send_modify(|wanted| {
            wanted.order += 1;
            order = wanted.order;
            change(wanted);
        });
        let mut error = None;
        for report in &self.shared.reports {
            match report.done(order).await {
                Ok(()) => {}
                Err(why) => error = error.or(Some(why)),
            }
        }
        let runs = self
            .shared
            .reports
            .iter()
            .any(|report| report.state().runs());
        match error {
            Some(error) if !runs || self.wanted.borrow().restart == order => Err(error),
            _ => Ok(()),
        }
    }

    /// Lets calls end, then the processes, and waits for it.
    pub async fn stop(&self) {
        self.wanted.send_modify(|wanted| wanted.stop = true);
        let slots = std::mem::take(&mut *lock(&self.slots));
        for slot in slots {
            // A panic is a fault of this crate, which the log has by now.
            let _ = slot.await;
        }
    }
}

impl Drop for Plugin {
    fn drop(&mut self) {
        // The slots end by themselves.
        self.wanted.send_modify(|wanted| wanted.stop = true);
    }
}

impl Shared {
    pub(super) fn number(&self) -> u64 {
        self.next_number.fetch_add(1, Ordering::Relaxed)
    }

    pub(super) fn publish(&self, instance: Arc<Instance>) {
        self.change(|instances| instances.push(instance));
    }

    pub(super) fn withdraw(&self, number: u64) {
        self.change(|instances| instances.retain(|instance| instance.number() != number));
    }

    fn change(&self, change: impl FnOnce(&mut Vec<Arc<Instance>>)) {
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
        self.spec.address.is_none() && self.spec.protocol != super::spec::Protocol::None
    }

    /// Waits until nothing is under way at an instance, for as long as the configuration allows.
    pub(super) async fn drain(&self, instance: &Instance) {
        /// Often enough that nobody notices, seldom enough to cost nothing.
        const LOOK: Duration = Duration::from_millis(5);
        let quiet = async {
            while instance.in_flight() > 0 && !instance.is_gone() {
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
