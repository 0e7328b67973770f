//! Route tables: which cluster answers which request.

use std::collections::BTreeMap;
use std::time::Duration;

use transom_api::{Metadata, Node};

use crate::{Located, Pattern, RetryPolicy};

/// Routes by domain.
#[derive(Clone, Debug, PartialEq)]
pub struct RouteTable {
    /// Its name.
    pub name: String,
    /// The virtual hosts. No domain is in two of them.
    pub virtual_hosts: Vec<VirtualHost>,
}

/// Routes for a set of domains.
#[derive(Clone, Debug, PartialEq)]
pub struct VirtualHost {
    /// Its name, unique in the table; the first domain unless it is given.
    pub name: String,
    /// For which authorities it answers, in lower case, at least one: exact (`a.org`), by suffix (`*.a.org`), by prefix
    /// (`a.*`) or any (`*`), each with or without a port (`a.org:8080`).
    pub domains: Vec<String>,
    /// The first that matches is taken.
    pub routes: Vec<Route>,
    /// Done with the headers of requests that are sent on.
    pub request_headers: HeaderEdits,
    /// Done with the headers of responses of hosts, and of answers of routes' own.
    pub response_headers: HeaderEdits,
    /// Values for filters and access logs, by namespace and key.
    pub metadata: Metadata,
    /// Configuration of stream filters for all routes here, by the name of their use.
    pub filters: BTreeMap<String, RouteFilter>,
}

/// Where matching requests go.
#[derive(Clone, Debug, PartialEq)]
pub struct Route {
    /// Its name, for logs and metrics.
    pub name: Option<String>,
    /// Which requests it takes.
    pub matcher: RouteMatch,
    /// What becomes of them.
    pub action: RouteAction,
    /// From the end of the request's head to the end of the response; `None` is the filter's `stream` timeout, zero is
    /// for ever.
    pub timeout: Option<Duration>,
    /// Done with the headers of a request that is sent on, after the virtual host's.
    pub request_headers: HeaderEdits,
    /// Done with the headers of a response of a host, and of an answer of this route's own, after the virtual host's.
    pub response_headers: HeaderEdits,
    /// Values for filters and access logs, by namespace and key.
    pub metadata: Metadata,
    /// Configuration of stream filters for this route, by the name of their use. Goes before the virtual host's.
    pub filters: BTreeMap<String, RouteFilter>,
}

/// What becomes of the requests of a route.
#[derive(Clone, Debug, PartialEq)]
pub enum RouteAction {
    /// They go to a cluster.
    Forward(Forward),
    /// The client is told to ask elsewhere.
    Redirect(Redirect),
    /// They are answered here.
    DirectResponse(DirectResponse),
}

/// How requests are sent on.
#[derive(Clone, Debug, PartialEq)]
pub struct Forward {
    /// One of these is chosen by chance for each request. At least one has a weight.
    pub clusters: Vec<WeightedCluster>,
    /// What is put in place of the path. The query stays.
    pub path: Option<PathRewrite>,
    /// What is put in place of the authority.
    pub host: Option<String>,
    /// When a request is sent again; `None`: only when it reached nobody.
    pub retry: Option<RetryPolicy>,
    /// CONNECT is answered here, and the host gets the bytes of the tunnel only.
    pub terminate_connect: bool,
}

/// A cluster and its share.
#[derive(Clone, Debug, PartialEq)]
pub struct WeightedCluster {
    /// The cluster.
    pub cluster: Located<String>,
    /// Its share beside the others' weights.
    pub weight: u32,
}

/// What is put in place of a path. The path as it was goes along as `x-original-path`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PathRewrite {
    /// This instead of what the route's prefix matched, or instead of its exact path.
    Prefix(String),
    /// This instead of all that a pattern matches; `$1` and `${name}` stand for the pattern's groups.
    Regex(Pattern, String),
}

/// Where a client shall ask. What is left out stays as it was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redirect {
    /// The status: 301, 302, 303, 307 or 308.
    pub status: u16,
    /// The scheme. Another one drops a port that is the former one's default.
    pub scheme: Option<String>,
    /// The host, without a port. It drops the port that was asked for.
    pub host: Option<String>,
    /// The port.
    pub port: Option<u16>,
    /// The path.
    pub path: Option<RedirectPath>,
    /// Drops the query.
    pub strip_query: bool,
}

/// The path to which a client is redirected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RedirectPath {
    /// This.
    Whole(String),
    /// This instead of what the route's prefix matched, or instead of its exact path.
    Prefix(String),
}

/// An answer of a route's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirectResponse {
    /// The status, 200 to 599.
    pub status: u16,
    /// The body; `text/plain` unless `response_headers` set another type.
    pub body: String,
}

/// What is done with headers, in this order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HeaderEdits {
    /// All values of these names go.
    pub remove: Vec<String>,
    /// Each takes the place of all values that are there.
    pub set: Vec<(String, String)>,
    /// Each is put behind those that are there.
    pub add: Vec<(String, String)>,
}

impl RouteAction {
    /// All requests go to one cluster as they are.
    #[must_use]
    pub fn to(cluster: Located<String>) -> Self {
        Self::Forward(Forward {
            clusters: vec![WeightedCluster { cluster, weight: 1 }],
            path: None,
            host: None,
            retry: None,
            terminate_connect: false,
        })
    }
}

/// Which requests a route takes: those for which all of this holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RouteMatch {
    /// The path of the target, normalised and without its query.
    pub path: PathMatch,
    /// One of these methods; empty is any.
    pub methods: Vec<String>,
    /// Header fields, by their names without case. The values of a field that is repeated are joined by `,`.
    pub headers: Vec<FieldMatch>,
    /// Parameters of the query, by their names. Names and values are percent-decoded; the first of a name counts.
    pub query: Vec<FieldMatch>,
}

/// Which paths a route takes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum PathMatch {
    /// All.
    #[default]
    Any,
    /// Those that begin so.
    Prefix(String),
    /// This one.
    Exact(String),
    /// Those that the pattern matches as a whole.
    Regex(Pattern),
    /// None: the requests are CONNECT's, which no other route takes.
    Connect,
}

/// Which header fields or parameters of the query a route asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldMatch {
    /// The name.
    pub name: String,
    /// What is asked of its value.
    pub value: ValueMatch,
    /// Takes what this would not take, and nothing else. What is absent has none of the values.
    pub invert: bool,
}

/// What is asked of a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ValueMatch {
    /// That there is one.
    Present,
    /// That there is none.
    Absent,
    /// This one.
    Exact(String),
    /// One that begins so.
    Prefix(String),
    /// One that ends so.
    Suffix(String),
    /// One that the pattern matches as a whole.
    Regex(Pattern),
}

impl From<PathMatch> for RouteMatch {
    fn from(path: PathMatch) -> Self {
        Self {
            path,
            ..Self::default()
        }
    }
}

/// What a route says about a stream filter.
#[derive(Clone, Debug, PartialEq)]
pub enum RouteFilter {
    /// It does not see the streams of this route.
    Disabled,
    /// It works by this configuration, as written.
    Config(Node),
}
