//! Route tables: which cluster answers which request.

use std::collections::BTreeMap;
use std::time::Duration;

use transom_api::Node;

use crate::Located;

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

/// Which requests a route takes, by the path of their target without its query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RouteMatch {
    /// Paths that begin so.
    Prefix(String),
    /// This path.
    Path(String),
}

/// What a route says about a stream filter.
#[derive(Clone, Debug, PartialEq)]
pub enum RouteFilter {
    /// It does not see the streams of this route.
    Disabled,
    /// It works by this configuration, as written.
    Config(Node),
}
