//! Selectors: which host of a cluster gets a request or a connection.
//!
//! ```text
//! SelectorConfig ── table(hosts) ──▶ SelectorTable ── on_worker(start) ──▶ Selector ── select(view) ──▶ an index
//! (one per cluster)  control side,    shared by workers   each worker        !Send      per request
//!                    per version of
//!                    the host set
//! ```

use std::sync::Arc;

/// A prepared configuration of a selector, shared by all workers.
pub trait SelectorConfig: Send + Sync {
    /// Makes what workers choose by, for one version of a host set. Runs on the control side, so it may take its time;
    /// an order that takes more than linear time belongs here and not into [`Selector::select`].
    fn table(&self, hosts: &[SelectorHost<'_>]) -> Arc<dyn SelectorTable>;
}

/// A host as a selector's table is made of it. The place in the list is its index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SelectorHost<'a> {
    /// Where it is, as the configuration writes it.
    pub address: &'a str,
    /// Its share beside the other hosts' weights, 1 or more.
    pub weight: u32,
}

/// What workers choose by: immutable, made for one version of a host set.
pub trait SelectorTable: Send + Sync {
    /// Makes a worker's selector. `start` is the [position](Selector::position) of the one that it takes the place of, or
    /// the worker's number, so that workers which go in turns do not all begin with the same host.
    fn on_worker(self: Arc<Self>, start: usize) -> Box<dyn Selector>;
}

/// Chooses hosts on one worker.
pub trait Selector {
    /// The index of the host to use, or `None` when none is available. Called for each request and each connection: it
    /// must neither wait nor do more work than it needs. An index of a host that is not available counts as `None`, and
    /// then the proxy takes any host that is.
    fn select(&self, hosts: &dyn SelectorView) -> Option<usize>;

    /// How far it has come in its turns, for its successor.
    fn position(&self) -> usize {
        0
    }
}

/// What a selector may know of the hosts at this moment.
pub trait SelectorView {
    /// Whether a host may be chosen: it is healthy, or so few are that health is passed over, and it was not tried for
    /// this request before.
    fn is_available(&self, host: usize) -> bool;

    /// How many requests and relayed connections a host has from all workers at this moment.
    fn active(&self, host: usize) -> u32;

    /// A random number, all of whose bits are good.
    fn random(&self) -> u64;
}
