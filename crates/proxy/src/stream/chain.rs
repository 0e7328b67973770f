//! A listener's chain of stream filters as one worker holds it, and the generations of each of its places.

use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::cluster::AllowedClusters;
use crate::gate::{Gate, Subject};
use crate::http::head::Head;
use crate::worker::{Part, Worker};
use transom_api::access_log::RecordSource;
use transom_api::stream::{StreamFilterConfig, StreamFilterWorker};
use transom_api::{
    AccessLogConfig, AccessLogWorker, AfterFailure, Direction, FailurePolicy, Phase, Record, Wants,
};

/// The chain of a listener. Immutable but for the generations of its places.
pub(crate) struct Chain {
    /// The places in configuration order; a filter's number is its index here.
    pub(crate) places: Vec<Rc<Place>>,
    request_order: Vec<u16>,
    response_order: Vec<u16>,
    /// Where in the request order each phase ends.
    bounds: [usize; 3],
    request_position: Vec<u16>,
    response_position: Vec<u16>,
    /// What is told of each finished stream.
    pub(crate) access_logs: Vec<Rc<AccessLogPlace>>,
}

/// One use of an access log.
pub(crate) struct AccessLogPlace {
    /// For which records it works; `None` is all.
    pub(crate) gate: Option<Gate>,
    pub(crate) config: Arc<dyn AccessLogConfig>,
    pub(crate) part: Part<dyn AccessLogWorker>,
}

/// A place in a chain: one use of a filter, with the generations that it has now.
pub(crate) struct Place {
    /// The instance name of the use.
    pub(crate) name: Rc<str>,
    pub(crate) phase: Phase,
    pub(crate) policy: FailurePolicy,
    /// For which requests it works; `None` is all.
    pub(crate) gate: Option<Gate>,
    /// Clusters that callouts may go to.
    pub(crate) clusters: AllowedClusters,
    generations: RefCell<Vec<Rc<Generation>>>,
    /// Counts streams to share them out among the generations.
    turn: Cell<u32>,
}

/// One prepared configuration in a place, as built on this worker.
pub(crate) struct Generation {
    pub(crate) id: u64,
    /// How many of a hundred new streams it gets while there is another generation.
    pub(crate) share: Cell<u8>,
    pub(crate) config: Arc<dyn StreamFilterConfig>,
    /// Clusters that callouts of the worker's part may go to.
    pub(crate) clusters: AllowedClusters,
    part: RefCell<Option<Part<dyn StreamFilterWorker>>>,
    pub(crate) wants: Wants,
    /// Streams that hold it.
    pub(crate) streams: Cell<usize>,
    pub(crate) failures: Cell<u64>,
    /// How many parts it has had.
    builds: Cell<u32>,
    /// Rebuilds that came soon after one another: the pause before the next grows with them.
    rebuilds: Cell<u32>,
    rebuilt: Cell<Option<Instant>>,
}

impl Chain {
    pub(crate) fn new(
        places: Vec<Rc<Place>>,
        access_logs: Vec<Rc<AccessLogPlace>>,
        reverse_responses: bool,
    ) -> Self {
        let mut request_order: Vec<u16> = (0..places.len() as u16).collect();
        // Stable: within a phase the order of the configuration holds.
        request_order
            .sort_by_key(|filter| places.get(usize::from(*filter)).map(|place| place.phase));
        let mut response_order: Vec<u16> = if reverse_responses {
            // A response goes back the way that its request came.
            request_order.clone()
        } else {
            (0..places.len() as u16).collect()
        };
        if reverse_responses {
            response_order.reverse();
        }
        let end_of = |phase: Phase| places.iter().filter(|place| place.phase <= phase).count();
        let bounds = [
            Phase::BeforeRoute,
            Phase::AfterRoute,
            Phase::AfterChooseHost,
        ]
        .map(end_of);
        Self {
            request_position: invert(&request_order),
            response_position: invert(&response_order),
            places,
            request_order,
            response_order,
            bounds,
            access_logs,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.places.len()
    }

    /// The filter at a position of a direction's order.
    pub(crate) fn filter_at(&self, direction: Direction, position: usize) -> Option<usize> {
        let order = match direction {
            Direction::Request => &self.request_order,
            Direction::Response => &self.response_order,
        };
        order.get(position).map(|filter| usize::from(*filter))
    }

    /// The position of a filter in a direction's order.
    pub(crate) fn position_of(&self, direction: Direction, filter: usize) -> usize {
        let positions = match direction {
            Direction::Request => &self.request_position,
            Direction::Response => &self.response_position,
        };
        positions
            .get(filter)
            .map_or(usize::MAX, |position| usize::from(*position))
    }

    /// Where the request phase ends in the request order.
    pub(crate) fn end_of(&self, phase: Phase) -> usize {
        let [before_route, after_route, after_choose_host] = self.bounds;
        match phase {
            Phase::BeforeRoute => before_route,
            Phase::AfterRoute => after_route,
            Phase::AfterChooseHost => after_choose_host,
        }
    }
}

fn invert(order: &[u16]) -> Vec<u16> {
    let mut positions = vec![0; order.len()];
    for (position, filter) in order.iter().enumerate() {
        if let Some(slot) = positions.get_mut(usize::from(*filter)) {
            *slot = position as u16;
        }
    }
    positions
}

impl AccessLogPlace {
    /// Tells it of what is over, if it is to be told. `request`: the head of a stream's request.
    pub(crate) fn tell(&self, worker: &Worker, source: &dyn RecordSource, request: Option<&Head>) {
        if let Some(gate) = &self.gate {
            let attribute = |name: &str| source.attribute(name);
            let subject = Subject {
                request,
                source: source.facts().remote.map(|remote| remote.ip()),
                attribute: &attribute,
            };
            if !gate.admits(worker, &subject) {
                return;
            }
        }
        let record = Record::new(source);
        if catch_unwind(AssertUnwindSafe(|| self.part.part().log(&record))).is_err() {
            tracing::error!("an access log panicked");
        }
    }
}

impl Place {
    pub(crate) fn new(
        name: &str,
        phase: Phase,
        policy: FailurePolicy,
        gate: Option<Gate>,
        clusters: AllowedClusters,
        generations: Vec<Rc<Generation>>,
    ) -> Self {
        Self {
            name: Rc::from(name),
            phase,
            policy,
            gate,
            clusters,
            generations: RefCell::new(generations),
            turn: Cell::new(0),
        }
    }

    /// The generation that the next stream takes. Shares are dealt evenly: with 10 of a hundred every tenth stream
    /// goes to the newer one, not ten in a row.
    pub(crate) fn pick(&self) -> Option<Rc<Generation>> {
        let generations = self.generations.borrow();
        let [older @ .., newest] = generations.as_slice() else {
            return None;
        };
        if older.is_empty() {
            return Some(Rc::clone(newest));
        }
        let turn = self.turn.get();
        self.turn.set(turn.wrapping_add(1));
        for generation in older {
            let share = u64::from(generation.share.get());
            // Bresenham: the share's multiple grows over a whole hundred at this turn.
            let turn = u64::from(turn);
            if (turn + 1) * share / 100 > turn * share / 100 {
                return Some(Rc::clone(generation));
            }
        }
        Some(Rc::clone(newest))
    }

    pub(crate) fn generations(&self) -> Vec<Rc<Generation>> {
        self.generations.borrow().clone()
    }

    /// Puts other generations in, the newest last; gives back those that were there.
    pub(crate) fn replace(&self, generations: Vec<Rc<Generation>>) -> Vec<Rc<Generation>> {
        self.generations.replace(generations)
    }
}

impl Generation {
    pub(crate) fn new(
        id: u64,
        config: Arc<dyn StreamFilterConfig>,
        clusters: AllowedClusters,
        part: Part<dyn StreamFilterWorker>,
    ) -> Self {
        Self {
            id,
            share: Cell::new(100),
            wants: config.wants(),
            config,
            clusters,
            part: RefCell::new(Some(part)),
            streams: Cell::new(0),
            failures: Cell::new(0),
            builds: Cell::new(0),
            rebuilds: Cell::new(0),
            rebuilt: Cell::new(None),
        }
    }

    /// The worker's part; `None` while it is being rebuilt.
    pub(crate) fn worker(&self) -> Option<Rc<dyn StreamFilterWorker>> {
        self.part
            .borrow()
            .as_ref()
            .map(|part| Rc::clone(part.part()))
    }

    /// Puts another part in, or none; gives back the one that was there.
    pub(crate) fn replace_part(
        &self,
        part: Option<Part<dyn StreamFilterWorker>>,
    ) -> Option<Part<dyn StreamFilterWorker>> {
        if part.is_some() {
            self.builds.set(self.builds.get().wrapping_add(1));
        }
        self.part.replace(part)
    }

    /// The number of the part that it has now.
    pub(crate) fn build(&self) -> u32 {
        self.builds.get()
    }

    /// How long to wait before a rebuild: not at all for the first, and longer the sooner they follow one another.
    pub(crate) fn rebuild_pause(&self, now: Instant) -> Duration {
        const QUIET: Duration = Duration::from_secs(30);
        let quiet = self
            .rebuilt
            .get()
            .is_none_or(|last| now.saturating_duration_since(last) > QUIET);
        let before = if quiet { 0 } else { self.rebuilds.get() };
        self.rebuilds.set(before.saturating_add(1));
        self.rebuilt.set(Some(now));
        match before {
            0 => Duration::ZERO,
            before => Duration::from_millis(50 << before.min(8)),
        }
    }

    /// Counts a failure; true when the worker's part is to be rebuilt.
    pub(crate) fn note_failure(&self) -> bool {
        self.failures.set(self.failures.get() + 1);
        self.config.after_failure() == AfterFailure::Rebuild
    }
}
