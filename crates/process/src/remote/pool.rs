//! What one worker has of a use: a link to each process of the plugin in which the use is ready.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use transom_api::metrics::MetricId;
use transom_api::{Event, Resumer, Wants, Worker};

use super::actions;
use super::link::Link;
use super::most::Most;
use super::uses::Used;
use crate::supervise::{Outcome, Permit, State};
use crate::v1::metric::Type;

/// The pause before a link is opened again whose process is still there.
const AGAIN: Duration = Duration::from_millis(100);

/// A link that was open for so long is opened again at once: callbacks wait for it, and not longer than the pause.
const LASTING: Duration = Duration::from_millis(500);

/// A use as all workers share it.
pub(super) struct Shared {
    pub(super) used: Used,
    pub(super) wants: Wants,
    /// In the order of `Needs.metrics`.
    pub(super) metrics: Vec<(Type, MetricId)>,
    /// How many calls it may have at once; `None` for as many as its plugin may have.
    pub(super) most: Option<Most>,
    /// How many callbacks may wait for a place at the plugin.
    pub(super) queue: usize,
    /// How long one may wait so.
    pub(super) queue_time: Duration,
    pub(super) time: Duration,
    /// How much longer the first answers of a process may take, and its connections.
    pub(super) warm_up: Duration,
    pub(super) message_size: usize,
}

/// The worker's part.
pub(super) struct Pool {
    pub(super) shared: Arc<Shared>,
    links: RefCell<Vec<Rc<Link>>>,
    /// Who waits for a link, or for a place at the plugin.
    waiting: RefCell<VecDeque<Resumer>>,
    resumer: Resumer,
    worker: usize,
    turn: Cell<usize>,
    /// It waits for a place of the use's own bound.
    waits_for_place: Cell<bool>,
}

/// A call that was let in: its place among those of its plugin, and among those of its use.
pub(super) struct Admitted {
    permit: Permit,
    _place: Option<Place>,
}

/// A place among the calls of a use.
struct Place(Arc<Shared>);

/// What the part is told by its own tasks.
const RECORDED: u64 = 1;

/// What the part is told when the use has a place again.
const PLACE: u64 = 3;

/// What a stream is told that waited in the pool.
pub(super) const ROOM: u64 = 2;

impl Pool {
    /// Builds the part, and has its links opened.
    pub(super) fn build(shared: Arc<Shared>, worker: &mut Worker<'_>) -> Rc<Self> {
        let pool = Rc::new(Self {
            shared,
            links: RefCell::default(),
            waiting: RefCell::default(),
            resumer: worker.resumer(),
            worker: worker.index(),
            turn: Cell::new(0),
            waits_for_place: Cell::new(false),
        });
        worker.spawn(follow(Rc::downgrade(&pool)));
        pool
    }

    /// The link whose process has the least to do.
    pub(super) fn choose(&self) -> Option<Rc<Link>> {
        let links = self.links.borrow();
        let count = links.len();
        let from = match count {
            0 => return None,
            1 => 0,
            _ => {
                let turn = self.turn.get();
                self.turn.set(turn.wrapping_add(1));
                turn % count
            }
        };
        // While a new version is tried it gets its share, and no more.
        let side = self.shared.used.plugin.next_side();
        let (before, after) = links.split_at_checked(from)?;
        after
            .iter()
            .chain(before)
            .filter(|link| link.is_open())
            .min_by_key(|link| {
                let instance = link.instance();
                (
                    !side.has(instance),
                    instance.state() != State::Ready,
                    instance.in_flight(),
                )
            })
            .cloned()
    }

    /// Lets one more call of a stream in, if there is a place for it.
    pub(super) fn admit(&self, link: &Link, stream: u64) -> Option<Admitted> {
        let place = match &self.shared.most {
            None => None,
            Some(most) => {
                if !most.enter() {
                    if !self.waits_for_place.replace(true) {
                        most.wait(self.resumer.clone());
                    }
                    if !most.enter() {
                        return None;
                    }
                }
                Some(Place(Arc::clone(&self.shared)))
            }
        };
        let permit = link.admit(stream).ok()?;
        Some(Admitted {
            permit,
            _place: place,
        })
    }

    /// How long a call may wait for a place. Longer while the first connections are being made: a process that has just begun is slow.
    pub(super) fn patience(&self) -> Duration {
        let links = self.links.borrow();
        let begins = !links.is_empty() && links.iter().all(|link| link.is_opening());
        match begins {
            true => self.shared.queue_time + self.shared.warm_up,
            false => self.shared.queue_time,
        }
    }

    /// Has a stream be woken with [`ROOM`] when there may be a place for it. `false` when too many wait already.
    pub(super) fn wait(&self, resumer: Resumer) -> bool {
        let mut waiting = self.waiting.borrow_mut();
        if waiting.len() >= self.shared.queue {
            return false;
        }
        waiting.push_back(resumer);
        true
    }

    /// A callback has ended: whoever waited for a place may try.
    pub(super) fn room(&self) {
        let mut waiting = self.waiting.borrow_mut();
        // Most often nobody waits.
        if let Some(resumer) = waiting.pop_front() {
            resumer.post(ROOM);
        }
    }

    fn room_for_all(&self) {
        for resumer in std::mem::take(&mut *self.waiting.borrow_mut()) {
            resumer.post(ROOM);
        }
    }

    /// An event of the part itself.
    pub(super) fn on_event(&self, worker: &mut Worker<'_>, event: &Event) {
        let Event::Resumed(message) = event else {
            return;
        };
        if message.token == PLACE {
            self.waits_for_place.set(false);
            self.room();
        }
        if message.token == RECORDED {
            let links: Vec<_> = self.links.borrow().clone();
            for action in links.iter().flat_map(|link| link.take_late()) {
                actions::record(worker, &self.shared, action);
            }
        }
    }
}

impl Admitted {
    /// Ends the call and counts how it went.
    pub(super) fn end(self, outcome: Outcome) {
        self.permit.end(outcome);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(most) = &self.0.most {
            most.leave(PLACE);
        }
    }
}

/// Opens a link to each process in which the use is ready, until the part is gone.
async fn follow(pool: Weak<Pool>) {
    let Some(mut ready) = pool.upgrade().map(|pool| pool.shared.used.ready()) else {
        return;
    };
    // Ends its tasks when this one ends.
    let mut tasks = JoinSet::new();
    loop {
        {
            let Some(pool) = pool.upgrade() else { return };
            let instances = ready.borrow_and_update().clone();
            let known: Vec<u64> = pool
                .links
                .borrow()
                .iter()
                .map(|link| link.instance().number())
                .collect();
            for instance in instances.iter() {
                if !known.contains(&instance.number()) {
                    let shared = &pool.shared;
                    let link = Link::new(
                        Arc::clone(instance),
                        pool.worker,
                        (shared.time, shared.warm_up),
                        shared.message_size,
                    );
                    pool.links.borrow_mut().push(Rc::clone(&link));
                    tasks.spawn_local(serve(Rc::downgrade(&pool), link));
                }
            }
        }
        tokio::select! {
            changed = ready.changed() => if changed.is_err() { return },
            Some(_) = tasks.join_next() => {}
        }
    }
}

/// Serves one link to its end, and takes it out.
async fn serve(pool: Weak<Pool>, link: Rc<Link>) {
    let opened = || {
        if let Some(pool) = pool.upgrade() {
            pool.room_for_all();
        }
    };
    let recorded = || {
        if let Some(pool) = pool.upgrade() {
            pool.resumer.post(RECORDED);
        }
    };
    let begun = Instant::now();
    let outcome = link.run(opened, recorded).await;
    let instance = Arc::clone(link.instance());
    if let Err(why) = outcome
        && !instance.is_gone()
    {
        tracing::warn!(pid = instance.pid(), "a plugin's work stream ended: {why}");
        if begun.elapsed() < LASTING {
            tokio::time::sleep(AGAIN).await;
        }
    }
    if let Some(pool) = pool.upgrade() {
        pool.links
            .borrow_mut()
            .retain(|other| !Rc::ptr_eq(other, &link));
        // Those who wait may have to give up.
        pool.room_for_all();
    }
}
