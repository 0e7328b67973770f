//! What would become of a request: which listener, virtual host and route take it and why not the others, which filters
//! see it in which order, and where it goes.
//!
//! Nothing is bound, started or sent. Routes are chosen by the very code that serves requests (`router`), for
//! the request as it comes in: filters are not run, so what a filter changes (its path, its authority, its route) is not
//! known here.

mod chain;
mod listener;
mod route;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::time::Duration;

use transom_api::{FailurePolicy, Phase, Registry};
use transom_config::{NetworkFilter, Resources, RetryPolicy};

/// A request to explain.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// The listener's name; without it the listener is found by `destination`.
    pub listener: Option<&'a str>,
    /// Where the client connects to.
    pub destination: Option<Destination<'a>>,
    /// Its method.
    pub method: &'a str,
    /// Its authority: the `Host` field, or that of the target.
    pub authority: &'a str,
    /// Its path with its query.
    pub path: &'a str,
    /// Phases that plugins say their stream filters run in, by what uses call them: `auth`, `auth/tokens`.
    pub phases: &'a BTreeMap<String, Phase>,
    /// Its other header fields, names and values.
    pub fields: &'a [(String, String)],
}

/// Where a client connects to.
#[derive(Clone, Copy, Debug)]
pub struct Destination<'a> {
    /// An IP address without brackets, or a name.
    pub host: &'a str,
    /// The port.
    pub port: u16,
}

/// What would become of a request.
#[derive(Clone, Debug, PartialEq)]
pub struct Explanation {
    /// All listeners, by name; one is taken.
    pub listeners: Vec<Candidate>,
    /// The address of the listener that is taken.
    pub address: String,
    /// Names of the network filters that see the connection's bytes, in their order.
    pub network_filters: Vec<String>,
    /// What ends the chain of network filters.
    pub end: End,
}

/// What ends a chain of network filters.
#[derive(Clone, Debug, PartialEq)]
pub enum End {
    /// The bytes go to a cluster as they are; no part of a request is looked at.
    TcpProxy(Vec<AddressTarget>),
    /// The request becomes a stream.
    Http(Box<HttpExplanation>),
    /// The network filter of this name answers the client itself.
    Filter(String),
}

/// A cluster that `tcp_proxy` sends to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddressTarget {
    /// What the addresses of a client must be; empty for all that no other route takes.
    pub when: String,
    /// Its share beside the other clusters of these clients.
    pub weight: u32,
    /// The cluster.
    pub target: Target,
}

/// What the `http` network filter does with a request.
#[derive(Clone, Debug, PartialEq)]
pub struct HttpExplanation {
    /// The path that filters and routes see, when it is not the one that is asked for.
    pub path: Option<String>,
    /// The options of paths refuse this one: the answer is 400, and no route is looked for.
    pub is_refused: bool,
    /// The name of the route table.
    pub route_table: String,
    /// All virtual hosts of the table, in their order; at most one is taken.
    pub virtual_hosts: Vec<Candidate>,
    /// All routes of the virtual host that is taken, in their order; at most one is taken.
    pub routes: Vec<Candidate>,
    /// Names of the header fields that these routes look at.
    pub fields: Vec<String>,
    /// The chain, in the order in which the request passes it.
    pub filters: Vec<FilterUse>,
    /// The same by their names, in the order in which the response passes it.
    pub response_order: Vec<String>,
    /// Names of the access logs.
    pub access_logs: Vec<String>,
    /// How long the stream may take; zero is for ever.
    pub timeout: Duration,
    /// What becomes of the request; `None`: there is no route, and the answer is 404.
    pub action: Option<RouteAction>,
}

/// What a route does with a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RouteAction {
    /// It is sent on.
    Forward(Forwarded),
    /// It is answered by a redirect.
    Redirect {
        /// The status.
        status: u16,
        /// Where the client shall ask instead.
        location: String,
    },
    /// It is answered here.
    DirectResponse {
        /// The status.
        status: u16,
    },
}

/// Where a request goes, and as what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Forwarded {
    /// The clusters with their weights. One is chosen by chance.
    pub targets: Vec<(u32, Target)>,
    /// The path with its query that the host sees, if the route rewrites it.
    pub path: Option<String>,
    /// The authority that the host sees, if the route rewrites it.
    pub authority: Option<String>,
    /// When it is sent again, if the route says so.
    pub retry: Option<RetryPolicy>,
}

/// Something of which one is taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Its name; a route without one is called by its number, `#1` being the first.
    pub name: String,
    /// Whether it is the one.
    pub taken: bool,
    /// Why, or why not.
    pub why: String,
}

/// A use of a stream filter and what becomes of it for this request.
#[derive(Clone, Debug, PartialEq)]
pub struct FilterUse {
    /// The name of the use.
    pub name: String,
    /// The extension.
    pub extension: String,
    /// Where in the request's way it stands; `None`: the extension tells only when it is prepared.
    pub phase: Option<Phase>,
    /// What becomes of the stream when it fails.
    pub on_failure: FailurePolicy,
    /// What becomes of it.
    pub part: Part,
    /// Whether its `when` holds, if it has one.
    pub when: Option<Holds>,
    /// For how many of a hundred requests it works, if it says so.
    pub sample: Option<f64>,
}

/// Whether a condition holds for a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holds {
    /// It does.
    Yes,
    /// It does not.
    No,
    /// It asks for more than the request: where it comes from, and over which connection.
    Perhaps,
}

/// What becomes of a filter for a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// It runs with this place's configuration.
    Runs(Place),
    /// It is disabled by this place.
    Disabled(Place),
    /// Its `when` does not hold: it is not made for the request.
    LeftOut,
    /// Without a route no host is chosen: the request does not come so far.
    NotReached,
}

/// Who says something of a filter. The most specific one wins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// The listener's chain.
    Listener,
    /// The virtual host.
    VirtualHost,
    /// The route.
    Route,
}

/// How a host is chosen in a cluster whose clients choose it themselves.
pub const ORIGINAL_DST: &str = "original_dst";

/// A cluster and its hosts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The cluster's name.
    pub cluster: String,
    /// How a host is chosen.
    pub load_balancing: String,
    /// How long a connection may take to be made.
    pub connect_timeout: Duration,
    /// The hosts with their weights.
    pub hosts: Vec<(String, u32)>,
}

/// Why a request cannot be explained: it leads to no listener, or to more than one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ExplainError {
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub help: String,
}

/// Says what would become of `request` under `resources`, which were checked against `registry`.
pub fn explain(
    resources: &Resources,
    registry: &Registry,
    request: &Request<'_>,
) -> Result<Explanation, ExplainError> {
    let (listener, listeners) = listener::choose(resources, request)?;
    let chain = listener::chain(listener, request)?;
    let network_filters = chain
        .network_filters
        .iter()
        .filter_map(|filter| match filter {
            NetworkFilter::Extension(used) if !used.disabled => Some(used.id.clone()),
            _ => None,
        });
    let end = match chain.network_filters.last() {
        Some(NetworkFilter::Http(http)) => {
            let scheme = match chain.tls {
                Some(_) => "https",
                None => "http",
            };
            let explained = route::explain(http, resources, registry, request, scheme);
            End::Http(Box::new(explained))
        }
        Some(NetworkFilter::TcpProxy(proxy)) => {
            let routes = proxy.targets.routes.iter();
            let routes = routes.map(|route| (route.to_string(), &route.clusters));
            let targets = routes.chain([(String::new(), &proxy.targets.clusters)]);
            let targets = targets.flat_map(|(when, clusters)| {
                clusters.iter().map(move |weighted| AddressTarget {
                    when: when.clone(),
                    weight: weighted.weight,
                    target: Target::of(resources, &weighted.cluster.value),
                })
            });
            End::TcpProxy(targets.collect())
        }
        Some(NetworkFilter::Extension(used)) => End::Filter(used.id.clone()),
        Some(NetworkFilter::UdpProxy(_)) => {
            return Err(ExplainError {
                message: format!(
                    "the listener `{}` takes datagrams, not requests",
                    listener.name
                ),
                help: "name another with --listener".to_owned(),
            });
        }
        None => {
            return Err(ExplainError {
                message: format!(
                    "the listener `{}` has neither `http` nor `tcp_proxy`",
                    listener.name
                ),
                help: "let one of them be the last of its network filters".to_owned(),
            });
        }
    };
    Ok(Explanation {
        listeners,
        address: listener.address.value.to_string(),
        network_filters: network_filters.collect(),
        end,
    })
}

impl Explanation {
    /// Whether the request goes anywhere: false is the answer 404.
    #[must_use]
    pub fn is_routed(&self) -> bool {
        match &self.end {
            End::TcpProxy(_) | End::Filter(_) => true,
            End::Http(http) => http.action.is_some(),
        }
    }
}

impl Target {
    fn of(resources: &Resources, name: &str) -> Self {
        let cluster = resources.clusters.get(name);
        let hosts = cluster
            .and_then(|cluster| resources.host_sets.get(&cluster.host_set))
            .map(|set| set.hosts.as_slice())
            .unwrap_or_default();
        Self {
            cluster: name.to_owned(),
            load_balancing: cluster
                .map(|cluster| match &cluster.original_dst {
                    Some(_) => ORIGINAL_DST.to_owned(),
                    None => cluster.load_balancing.extension.as_str().to_owned(),
                })
                .unwrap_or_default(),
            connect_timeout: cluster
                .map(|cluster| cluster.connect_timeout)
                .unwrap_or_default(),
            hosts: hosts
                .iter()
                .map(|host| (host.address.to_string(), host.weight))
                .collect(),
        }
    }
}

impl Candidate {
    fn new(name: &str, taken: bool, why: impl Into<String>) -> Self {
        Self {
            name: name.to_owned(),
            taken,
            why: why.into(),
        }
    }
}
