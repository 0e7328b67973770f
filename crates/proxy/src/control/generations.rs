//! Generations of a place in a chain: swap, canary, promotion and rollback, for every runtime alike.
//!
//! A place holds one or two prepared configurations. A new stream takes one of them, by share; a stream keeps its own to
//! its end. A runtime only prepares: what it prepared is brought in here.

use std::rc::Rc;
use std::sync::Arc;

use transom_api::StreamFilterConfig;

use crate::stream::chain::{Generation, Place};
use crate::worker::retire_generation;

/// A change of a place's generations, sent to every worker.
#[derive(Clone)]
pub(crate) struct Change {
    pub(crate) listener: String,
    pub(crate) filter: String,
    pub(crate) step: Step,
}

/// The steps of a swap.
#[derive(Clone)]
pub(crate) enum Step {
    /// Build a newer generation beside the one that is there; it gets this share (0 to 100) of new streams.
    Start {
        id: u64,
        config: Arc<dyn StreamFilterConfig>,
        share: u8,
    },
    /// Give the newer generation another share.
    Share(u8),
    /// The newer generation gets all new streams; the older one ends with its streams.
    Promote,
    /// The older generation gets all new streams again; the newer one ends with its streams.
    Rollback,
    /// Only look.
    Look,
}

/// How a place stands on one worker, or summed up over all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PlaceStatus {
    /// Its generations, the oldest first.
    pub generations: Vec<GenerationStatus>,
}

/// How one generation stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GenerationStatus {
    /// Its number.
    pub id: u64,
    /// Its share of new streams, of a hundred.
    pub share: u8,
    /// Streams that hold it.
    pub streams: usize,
    /// Streams that failed in it.
    pub failures: u64,
}

impl Change {
    /// Carries the change out on one worker.
    pub(crate) fn carry_out(
        &self,
        place: &Place,
        build: impl FnOnce(u64, &Arc<dyn StreamFilterConfig>) -> Result<Generation, String>,
    ) -> Result<PlaceStatus, String> {
        let generations = place.generations();
        let next = match (&self.step, generations.as_slice()) {
            (Step::Look, _) => None,
            (Step::Start { id, config, share }, [current]) => {
                let newer = Rc::new(build(*id, config)?);
                set_shares(current, &newer, *share);
                Some(vec![Rc::clone(current), newer])
            }
            (Step::Start { .. }, _) => {
                return Err(
                    "a newer generation is there already: promote it or roll it back first"
                        .to_owned(),
                );
            }
            (Step::Share(share), [older, newer]) => {
                set_shares(older, newer, *share);
                None
            }
            (Step::Promote, [_, newer]) => {
                newer.share.set(100);
                Some(vec![Rc::clone(newer)])
            }
            (Step::Rollback, [older, _]) => {
                older.share.set(100);
                Some(vec![Rc::clone(older)])
            }
            (Step::Share(_) | Step::Promote | Step::Rollback, _) => {
                return Err("there is no newer generation: start one first".to_owned());
            }
        };
        if let Some(next) = next {
            let kept = next.clone();
            for generation in place.replace(next) {
                if !kept.iter().any(|kept| Rc::ptr_eq(kept, &generation)) {
                    retire_generation(generation);
                }
            }
        }
        Ok(PlaceStatus::of(place))
    }
}

fn set_shares(older: &Generation, newer: &Generation, share: u8) {
    let share = share.min(100);
    older.share.set(100 - share);
    newer.share.set(share);
}

impl PlaceStatus {
    fn of(place: &Place) -> Self {
        let generations = place
            .generations()
            .into_iter()
            .map(|generation| GenerationStatus {
                id: generation.id,
                share: generation.share.get(),
                streams: generation.streams.get(),
                failures: generation.failures.get(),
            });
        Self {
            generations: generations.collect(),
        }
    }

    /// Adds another worker's counts.
    pub(crate) fn add(&mut self, other: &PlaceStatus) {
        for generation in &other.generations {
            match self
                .generations
                .iter_mut()
                .find(|known| known.id == generation.id)
            {
                Some(known) => {
                    known.streams += generation.streams;
                    known.failures += generation.failures;
                }
                None => self.generations.push(generation.clone()),
            }
        }
    }
}
