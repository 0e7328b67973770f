//! The shapes of route tables.

use schemars::JsonSchema;
use serde::Deserialize;

use super::leaf::{Entries, Items, Name, Time, tried};
use crate::Located;
use crate::decode::{Tried, Verbatim};

/// Routes by domain.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RouteTable {
    /// Its name.
    pub(crate) name: Tried<Located<Name>>,
    /// The virtual hosts. No domain is in two of them.
    pub(crate) virtual_hosts: Items<VirtualHost>,
}

/// Routes for a set of domains.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct VirtualHost {
    /// Its name, unique in the table. The first domain when it is left out.
    #[serde(default, deserialize_with = "tried")]
    pub(crate) name: Option<Located<String>>,
    /// The authorities that it answers for: exact (`a.org`), by suffix (`*.a.org`), by prefix (`a.*`) or any (`*`), each
    /// with or without a port (`a.org:8080`). The most specific of the table is taken. At least one.
    pub(crate) domains: Located<Items<Located<String>>>,
    /// The routes. The first that matches is taken; 404 when none does.
    #[serde(deserialize_with = "tried")]
    pub(crate) routes: Items<Route>,
    /// Configuration of stream filters for all routes here, by the name of their use.
    #[serde(default, deserialize_with = "tried")]
    pub(crate) filters: Entries<Located<RouteFilter>>,
}

/// Where matching requests go.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Route {
    /// Its name, for logs and metrics.
    #[serde(default, deserialize_with = "tried")]
    pub(crate) name: Option<String>,
    /// Which requests it takes.
    #[serde(rename = "match")]
    pub(crate) matcher: Located<Match>,
    /// The name of the cluster that they go to.
    pub(crate) cluster: Located<String>,
    /// From the end of the request's head to the end of the response. The `stream` timeout of the `http` filter when it
    /// is left out; `0s` is for ever.
    #[serde(default, deserialize_with = "tried")]
    pub(crate) timeout: Option<Time>,
    /// Configuration of stream filters for this route, by the name of their use. Goes before that of the virtual host.
    #[serde(default, deserialize_with = "tried")]
    pub(crate) filters: Entries<Located<RouteFilter>>,
}

/// Which requests a route takes: those for which all of this holds. One of `prefix`, `path` and `regex` at most, and at
/// least one key.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Match {
    /// Paths that begin so: `/` is every path.
    #[serde(default)]
    pub(crate) prefix: Option<Located<String>>,
    /// This path.
    #[serde(default)]
    pub(crate) path: Option<Located<String>>,
    /// Paths that this regular expression matches from end to end.
    #[serde(default)]
    pub(crate) regex: Option<Located<String>>,
    /// One of these methods. Any when it is left out.
    #[serde(default, deserialize_with = "tried")]
    pub(crate) methods: Items<Located<String>>,
    /// What is asked of header fields. The values of a field that is repeated are joined by `,`.
    #[serde(default, deserialize_with = "tried")]
    pub(crate) headers: Items<Located<FieldMatch>>,
    /// What is asked of parameters of the query. Names and values are percent-decoded; the first of a name counts.
    #[serde(default, deserialize_with = "tried")]
    pub(crate) query: Items<Located<FieldMatch>>,
}

/// What is asked of a header field or of a parameter of the query. Exactly one key beside `name` and `invert`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct FieldMatch {
    /// The name. Those of header fields have no case.
    pub(crate) name: Located<String>,
    /// That it has this value.
    #[serde(default)]
    pub(crate) exact: Option<Located<String>>,
    /// That its value begins so.
    #[serde(default)]
    pub(crate) prefix: Option<Located<String>>,
    /// That its value ends so.
    #[serde(default)]
    pub(crate) suffix: Option<Located<String>>,
    /// That this regular expression matches its value from end to end.
    #[serde(default)]
    pub(crate) regex: Option<Located<String>>,
    /// That it is there, with whatever value.
    #[serde(default, deserialize_with = "tried")]
    pub(crate) present: bool,
    /// That it is not there.
    #[serde(default, deserialize_with = "tried")]
    pub(crate) absent: bool,
    /// Takes what this would not take, and nothing else. What is not there has none of the values.
    #[serde(default, deserialize_with = "tried")]
    pub(crate) invert: bool,
}

/// What a route says about a stream filter. Exactly one key.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RouteFilter {
    /// The configuration that holds here, in place of that of the use.
    #[serde(default)]
    pub(crate) config: Option<Verbatim>,
    /// The filter does not work here.
    #[serde(default, deserialize_with = "tried")]
    pub(crate) disabled: bool,
}
