//! Route tables: where a request goes.
//!
//! A table is prepared on the control side and shared by all workers. A stream keeps the table and the number of its
//! route, so that nothing shared is counted up and down per request.
//!
//! - [`hosts`]: the virtual host of an authority; [`index`]: the first route of a virtual host that takes a request;
//! - [`action`]: what becomes of the request; [`edits`]: of headers;
//! - [`path`]: the form of paths that routes and filters see;
//! - [`matcher`]: what one route asks; [`trie`]: all prefixes of a text in one walk.

pub(crate) mod action;
pub(crate) mod edits;
pub(crate) mod hosts;
mod index;
pub(crate) mod matcher;
pub(crate) mod measure;
pub(crate) mod path;
mod trie;

use std::cell::Cell;
use std::collections::BTreeMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use transom_api::{Metadata, RouteConfig};
use transom_config::HeaderEdits;

use self::action::Action;
use self::hosts::Hosts;
use self::index::Index;
use self::matcher::{Matcher, Patterns, Request};
use crate::http::head::Head;

/// A prepared route table.
#[derive(Debug)]
pub(crate) struct RouteTable {
    pub(crate) name: String,
    hosts: Hosts,
    virtual_hosts: Vec<VirtualHost>,
    patterns: Patterns,
    has_overrides: bool,
    takes_connect: bool,
}

/// A prepared virtual host.
#[derive(Debug)]
pub(crate) struct VirtualHost {
    pub(crate) name: String,
    pub(crate) request_headers: HeaderEdits,
    pub(crate) response_headers: HeaderEdits,
    pub(crate) metadata: Metadata,
    pub(crate) filters: FilterOverrides,
    routes: Vec<Route>,
    index: Index,
}

/// A prepared route.
#[derive(Debug)]
pub(crate) struct Route {
    pub(crate) name: Option<String>,
    pub(crate) matcher: Matcher,
    pub(crate) action: Action,
    pub(crate) request_headers: HeaderEdits,
    pub(crate) response_headers: HeaderEdits,
    pub(crate) timeout: Option<Duration>,
    pub(crate) metadata: Metadata,
    pub(crate) filters: FilterOverrides,
}

/// What a route says of filters, by their instance names.
pub(crate) type FilterOverrides = BTreeMap<String, FilterOverride>;

/// What a route says of one filter.
#[derive(Clone)]
pub(crate) enum FilterOverride {
    Disabled,
    Config(RouteConfig),
}

/// Where a route stands in its table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RouteIndex {
    virtual_host: u32,
    route: u32,
}

/// A table as a worker has it: with patterns of its own.
#[derive(Debug)]
pub(crate) struct Routes {
    table: Arc<RouteTable>,
    patterns: Patterns,
    random: Cell<u64>,
}

/// A worker's table, as its streams hold it: counting the inner `Arc` per stream would move a cache line between
/// workers.
pub(crate) type WorkerTable = std::rc::Rc<Routes>;

impl RouteTable {
    /// A table of virtual hosts with the domains that each answers to, and the patterns that their routes name. The
    /// loader has refused repeated domains.
    pub(crate) fn new(
        name: String,
        virtual_hosts: Vec<(VirtualHost, Vec<String>)>,
        patterns: Patterns,
    ) -> Self {
        let domains = virtual_hosts
            .iter()
            .zip(0..)
            .flat_map(|((_, domains), index)| {
                domains.iter().map(move |domain| (domain.as_str(), index))
            });
        Self {
            name,
            hosts: Hosts::new(domains),
            takes_connect: virtual_hosts
                .iter()
                .any(|(host, _)| host.index.takes_connect()),
            has_overrides: virtual_hosts.iter().any(|(host, _)| host.has_overrides()),
            virtual_hosts: virtual_hosts.into_iter().map(|(host, _)| host).collect(),
            patterns,
        }
    }

    pub(crate) fn route(&self, index: RouteIndex) -> Option<(&VirtualHost, &Route)> {
        let virtual_host = self.virtual_hosts.get(index.virtual_host as usize)?;
        Some((virtual_host, virtual_host.routes.get(index.route as usize)?))
    }

    /// What the most specific place says of a filter: the route, then its virtual host.
    pub(crate) fn override_of(&self, index: RouteIndex, filter: &str) -> Option<&FilterOverride> {
        let (virtual_host, route) = self.route(index)?;
        route
            .filters
            .get(filter)
            .or_else(|| virtual_host.filters.get(filter))
    }

    /// Whether any place of the table says something of this filter.
    pub(crate) fn overrides(&self, filter: &str) -> bool {
        self.virtual_hosts.iter().any(|host| {
            host.filters.contains_key(filter)
                || host
                    .routes
                    .iter()
                    .any(|route| route.filters.contains_key(filter))
        })
    }

    /// Whether any route takes CONNECT.
    pub(crate) fn takes_connect(&self) -> bool {
        self.takes_connect
    }

    /// Whether any place of the table says something of filters at all.
    pub(crate) fn has_overrides(&self) -> bool {
        self.has_overrides
    }
}

impl Routes {
    pub(crate) fn new(table: &Arc<RouteTable>) -> Self {
        Self {
            patterns: table.patterns.clone(),
            table: Arc::clone(table),
            random: Cell::new(seed()),
        }
    }

    pub(crate) fn patterns(&self) -> &Patterns {
        &self.patterns
    }

    /// A number that nobody foresees by accident: the generator splitmix64.
    pub(crate) fn random(&self) -> u64 {
        let state = self.random.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
        self.random.set(state);
        let mixed = (state ^ state >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    /// The route of a request: the virtual host of its authority, then the first of its routes that takes it.
    pub(crate) fn find(&self, head: &Head) -> Option<RouteIndex> {
        let request = Request::of(head);
        let virtual_host = self.table.hosts.find(request.authority)?;
        let routes = self.table.virtual_hosts.get(virtual_host as usize)?;
        Some(RouteIndex {
            virtual_host,
            route: routes.find(&self.patterns, &request)?,
        })
    }
}

impl Deref for Routes {
    type Target = RouteTable;

    fn deref(&self) -> &RouteTable {
        &self.table
    }
}

impl VirtualHost {
    pub(crate) fn new(name: String, routes: Vec<Route>, filters: FilterOverrides) -> Self {
        Self {
            name,
            request_headers: HeaderEdits::default(),
            response_headers: HeaderEdits::default(),
            metadata: Metadata::new(),
            filters,
            index: Index::new(routes.iter().map(|route| &route.matcher)),
            routes,
        }
    }

    fn find(&self, patterns: &Patterns, request: &Request<'_>) -> Option<u32> {
        self.index.find(patterns, request, |route| {
            self.routes.get(route as usize).map(|route| &route.matcher)
        })
    }

    fn has_overrides(&self) -> bool {
        !self.filters.is_empty() || self.routes.iter().any(|route| !route.filters.is_empty())
    }
}

/// Another one for each worker: the standard library seeds its hash maps from the system's randomness.
fn seed() -> u64 {
    RandomState::new().hash_one(0)
}

impl std::fmt::Debug for FilterOverride {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Disabled => "Disabled",
            Self::Config(_) => "Config",
        })
    }
}
