//! The choice of a host: the selector's, among those that are available.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;

use transom_api::{Selector, SelectorTable, SelectorView};
use transom_config::HostAddress;

use super::{Host, Random, WorkerCluster, WorkerHost};

/// What a worker chooses hosts of a cluster by.
pub(super) struct Choice {
    selector: Box<dyn Selector>,
    /// Whether health is passed over, and at which version of the cluster's health that was found.
    panic: Cell<(u64, bool)>,
    random: Random,
}

impl Choice {
    /// `start`: the position of the one before, or the worker's number.
    pub(super) fn new(table: &Arc<dyn SelectorTable>, start: usize) -> Self {
        let table = Arc::clone(table);
        let selector = catch_unwind(AssertUnwindSafe(|| table.on_worker(start)));
        Self {
            selector: selector.unwrap_or_else(|_| {
                tracing::error!("a selector panicked while it was made");
                Box::new(NoSelector)
            }),
            panic: Cell::new((u64::MAX, false)),
            random: Random::new(start),
        }
    }

    pub(super) fn position(&self) -> usize {
        catch_unwind(AssertUnwindSafe(|| self.selector.position())).unwrap_or(0)
    }
}

/// A host that somebody asks for, whatever the selector says.
#[derive(Debug)]
pub(crate) struct HostOverride {
    /// Its address, as hosts write theirs.
    host: String,
    /// No other will do.
    pub(crate) strict: bool,
}

impl HostOverride {
    /// `None` when that is no address.
    pub(crate) fn new(host: &str, strict: bool) -> Option<Self> {
        let address: HostAddress = host.parse().ok()?;
        Some(Self {
            host: address.to_string(),
            strict,
        })
    }
}

/// The places of hosts in the order of their addresses as text, to look one up by.
pub(crate) fn by_text(hosts: &[Arc<Host>]) -> Box<[u32]> {
    let mut order: Vec<(&str, u32)> = hosts
        .iter()
        .map(|host| host.text.as_str())
        .zip(0..)
        .collect();
    order.sort_unstable();
    order.into_iter().map(|(_, place)| place).collect()
}

impl WorkerCluster {
    /// The host for the next request, which was `tried` with these hosts already: another is preferred. `None` when no
    /// host is available.
    pub(crate) fn pick(&self, tried: &[Rc<WorkerHost>]) -> Option<Rc<WorkerHost>> {
        let view = View {
            cluster: self,
            panic: self.panics(),
            tried,
        };
        let chosen = catch_unwind(AssertUnwindSafe(|| self.choice.selector.select(&view)));
        let chosen = chosen.unwrap_or_else(|_| {
            tracing::error!(cluster = &*self.name, "a selector panicked");
            None
        });
        chosen
            .filter(|host| view.is_available(*host))
            // A selector that finds none leaves it to chance, so that its faults do not become those of the hosts.
            .or_else(|| view.any())
            .and_then(|host| self.hosts.get(host))
            .map(Rc::clone)
            .or_else(|| match tried {
                [] => None,
                _ => self.pick(&[]),
            })
    }

    /// The host that is asked for, if it is one of this cluster's to which requests may go. Otherwise another, unless no
    /// other will do.
    pub(crate) fn pick_asked(&self, asked: &HostOverride) -> Option<Rc<WorkerHost>> {
        let text = |host: &u32| {
            let host = self.hosts.get(*host as usize);
            host.map_or("", |host| host.host.text.as_str())
        };
        let found = (self.prepared.by_text)
            .binary_search_by(|host| text(host).cmp(asked.host.as_str()))
            .ok()
            .and_then(|at| self.prepared.by_text.get(at))
            .and_then(|host| self.hosts.get(*host as usize))
            .filter(|host| self.is_available(host));
        match found {
            Some(host) => Some(Rc::clone(host)),
            None if asked.strict => None,
            None => self.pick(&[]),
        }
    }

    /// Whether requests may go to a host of this cluster.
    pub(crate) fn is_available(&self, host: &WorkerHost) -> bool {
        host.host.is_healthy() || self.panics()
    }

    /// Whether so few hosts are healthy that health is passed over: the rest would break down under the load of all.
    fn panics(&self) -> bool {
        let (known, panics) = self.choice.panic.get();
        let version = self.prepared.state.health_version();
        if known == version {
            return panics;
        }
        let panics = self.prepared.panics();
        self.choice.panic.set((version, panics));
        panics
    }
}

/// The hosts as the selector sees them.
struct View<'c> {
    cluster: &'c WorkerCluster,
    panic: bool,
    tried: &'c [Rc<WorkerHost>],
}

impl View<'_> {
    /// Any host that is available.
    fn any(&self) -> Option<usize> {
        let count = self.cluster.hosts.len();
        let start = self.cluster.choice.random.below(count as u64) as usize;
        (start..count)
            .chain(0..start)
            .find(|host| self.is_available(*host))
    }
}

impl SelectorView for View<'_> {
    fn is_available(&self, host: usize) -> bool {
        self.cluster.hosts.get(host).is_some_and(|host| {
            (self.panic || host.host.is_healthy())
                && !self
                    .tried
                    .iter()
                    .any(|tried| Arc::ptr_eq(&tried.host, &host.host))
        })
    }

    fn active(&self, host: usize) -> u32 {
        self.cluster
            .hosts
            .get(host)
            .map_or(0, |host| host.host.active.get())
    }

    fn random(&self) -> u64 {
        self.cluster.choice.random.next()
    }
}

/// In place of one that could not be made.
struct NoSelector;

impl Selector for NoSelector {
    fn select(&self, _hosts: &dyn SelectorView) -> Option<usize> {
        None
    }
}
