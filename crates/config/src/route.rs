//! Route tables: which cluster answers which request.

use std::collections::BTreeMap;
use std::time::Duration;

use transom_api::Node;

use crate::{Located, Pattern};

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
    /// Where they go.
    pub cluster: Located<String>,
    /// From the end of the request's head to the end of the response; `None` is the filter's `stream` timeout, zero is
    /// for ever.
    pub timeout: Option<Duration>,
    /// Configuration of stream filters for this route, by the name of their use. Goes before the virtual host's.
    pub filters: BTreeMap<String, RouteFilter>,
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
