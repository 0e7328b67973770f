//! The processes of one version of a plugin.

use std::sync::{Arc, Mutex};

use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use super::error::StartError;
use super::load::Load;
use super::output::Output;
use super::plugin::{Shared, lock};
use super::slot::{Report, Slot};
use super::state::State;

/// As many slots as the plugin has instances, started from the same files.
pub(super) struct Group {
    pub(super) number: u64,
    pub(super) load: Arc<Load>,
    pub(super) reports: Vec<Arc<Report>>,
    wanted: watch::Sender<Wanted>,
    slots: Mutex<Vec<JoinHandle<()>>>,
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

impl Group {
    /// Starts the slots. The future resolves when one has a process that is ready, or, with the first one's error, when none would start.
    pub(super) fn begin(
        shared: &Arc<Shared>,
        enabled: bool,
    ) -> (
        Arc<Self>,
        impl Future<Output = Result<(), StartError>> + Send + use<>,
    ) {
        let group = Self::prepare(shared, enabled);
        let first = group.run(shared);
        (group, first)
    }

    /// A group whose slots are not started yet.
    pub(super) fn prepare(shared: &Arc<Shared>, enabled: bool) -> Arc<Self> {
        let reports = (0..shared.spec.instances.get())
            .map(|_| {
                let name = Arc::clone(&shared.name);
                Arc::new(Report::new(Output::new(name, shared.spec.log.clone())))
            })
            .collect();
        Arc::new(Self {
            number: shared.number(),
            load: Arc::new(Load::new(Arc::clone(&shared.in_flight))),
            reports,
            wanted: watch::Sender::new(Wanted {
                enabled,
                stop: false,
                order: 0,
                restart: 0,
            }),
            slots: Mutex::default(),
        })
    }

    /// Starts the slots of a prepared group.
    pub(super) fn run(
        self: &Arc<Self>,
        shared: &Arc<Shared>,
    ) -> impl Future<Output = Result<(), StartError>> + Send + use<> {
        // Room for each slot's one word: none of them waits.
        let (first, mut started) = mpsc::channel(self.reports.len().max(1));
        let slots = self
            .reports
            .iter()
            .map(|report| {
                let slot = Slot::new(
                    Arc::clone(shared),
                    self.number,
                    Arc::clone(&self.load),
                    Arc::clone(report),
                    self.wanted.subscribe(),
                    first.clone(),
                );
                tokio::spawn(slot.run())
            })
            .collect();
        *lock(&self.slots) = slots;
        async move {
            // The slots have the rest of the senders, and let go of them with their word.
            drop(first);
            let mut error = None;
            while let Some(result) = started.recv().await {
                match result {
                    Ok(()) => return Ok(()),
                    Err(failed) => error = error.or(Some(failed)),
                }
            }
            Err(error.unwrap_or(StartError::Stopped))
        }
    }

    pub(super) fn wanted(&self) -> Wanted {
        *self.wanted.borrow()
    }

    pub(super) fn state(&self) -> State {
        let states: Vec<State> = self.reports.iter().map(|report| report.state()).collect();
        State::of_all(&states)
    }

    /// Gives an order, and waits until each slot has done what it could.
    pub(super) async fn order(&self, change: impl FnOnce(&mut Wanted)) -> Result<(), String> {
        let mut order = 0;
        self.wanted.send_modify(|wanted| {
            wanted.order += 1;
            order = wanted.order;
            change(wanted);
        });
        let mut error = None;
        for report in &self.reports {
            if let Err(why) = report.done(order).await {
                error = error.or(Some(why));
            }
        }
        let runs = self.reports.iter().any(|report| report.state().runs());
        match error {
            Some(error) if !runs || self.wanted().restart == order => Err(error),
            _ => Ok(()),
        }
    }

    /// Has the slots let calls end, and then their processes.
    pub(super) fn end(&self) {
        self.wanted.send_modify(|wanted| wanted.stop = true);
    }

    /// Waits until that is done.
    pub(super) async fn ended(&self) {
        let slots = std::mem::take(&mut *lock(&self.slots));
        for slot in slots {
            // A panic is a fault of this crate, which the log has by now.
            let _ = slot.await;
        }
    }
}
