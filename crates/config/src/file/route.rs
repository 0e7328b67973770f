//! The shapes of route tables.

use schemars::JsonSchema;
use serde::Deserialize;

use super::leaf::{Entries, Items, Name, Ranged, Time, tried};
use super::limits::Retry;
use super::metadata::WrittenMetadata;
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
    pub(crate) routes: Items<Located<Route>>,
    /// What is done with the headers of requests before they are sent on.
    #[serde(default, deserialize_with = "tried")]
    pub(crate) request_headers: HeaderEdits,
    /// What is done with the headers of responses: those of hosts, and those of redirects and direct responses.
    #[serde(default, deserialize_with = "tried")]
    pub(crate) response_headers: HeaderEdits,
    /// Values of all routes here for filters and access logs, by namespace (most often the name of a filter) and key.
    #[serde(default, deserialize_with = "tried")]
    pub(crate) metadata: WrittenMetadata,
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
    /// The name of the cluster that they go to. One of this, `weighted_clusters`, `redirect` and `direct_response`.
    #[serde(default)]
    pub(crate) cluster: Option<Located<String>>,
    /// The clusters that they go to, by shares.
    #[serde(default, deserialize_with = "tried")]
    pub(crate) weighted_clusters: Option<Located<Items<Located<WeightedCluster>>>>,
    /// Where the client is sent instead.
    #[serde(default, deserialize_with = "tried")]
    pub(crate) redirect: Option<Located<Redirect>>,
    /// What is answered here.
    #[serde(default, deserialize_with = "tried")]
    pub(crate) direct_response: Option<Located<DirectResponse>>,
    /// What is changed in the target of a request before it is sent on.
    #[serde(default, deserialize_with = "tried")]
    pub(crate) rewrite: Option<Located<Rewrite>>,
    /// Of a route for CONNECT: answers 200 here once a host of the cluster is connected, and passes the bytes of the tunnel
    /// to it as they are. The host gets the CONNECT itself when this is left out.
    #[serde(default, deserialize_with = "tried")]
    pub(crate) terminate_connect: Located<bool>,
    /// What is done with the headers of a request before it is sent on, after the virtual host's.
    #[serde(default, deserialize_with = "tried")]
    pub(crate) request_headers: HeaderEdits,
    /// What is done with the headers of the response, after the virtual host's. Filters see the result.
    #[serde(default, deserialize_with = "tried")]
    pub(crate) response_headers: HeaderEdits,
    /// From the end of the request's head to the end of the response. The `stream` timeout of the `http` filter when it
    /// is left out; `0s` is for ever.
    #[serde(default, deserialize_with = "tried")]
    pub(crate) timeout: Option<Time>,
    /// When a request is sent again. Only when it reached nobody when it is left out.
    #[serde(default, deserialize_with = "tried")]
    pub(crate) retry: Option<Located<Retry>>,
    /// Values for filters and access logs, by namespace (most often the name of a filter) and key.
    #[serde(default, deserialize_with = "tried")]
    pub(crate) metadata: WrittenMetadata,
    /// Configuration of stream filters for this route, by the name of their use. Goes before that of the virtual host.
    #[serde(default, deserialize_with = "tried")]
    pub(crate) filters: Entries<Located<RouteFilter>>,
}

/// A cluster and its share of a route's requests.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct WeightedCluster {
    /// The name of the cluster.
    pub(crate) cluster: Located<String>,
    /// Its share beside the others' weights. 0 is none.
    pub(crate) weight: Ranged<0, 1_000_000>,
}

/// Where a client shall ask instead. What is left out stays as it was asked for.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Redirect {
    /// The scheme, `http` or `https`. Another one drops a port that is the former one's default.
    #[serde(default)]
    pub(crate) scheme: Option<Located<String>>,
    /// The host. The port that was asked for goes with it.
    #[serde(default)]
    pub(crate) host: Option<Located<String>>,
    /// The port.
    #[serde(default, deserialize_with = "tried")]
    pub(crate) port: Option<Ranged<1, 65_535>>,
    /// The path.
    #[serde(default)]
    pub(crate) path: Option<Located<String>>,
    /// What stands in place of the prefix, or of the path, that the route matches.
    #[serde(default)]
    pub(crate) prefix: Option<Located<String>>,
    /// The status: 301, 302, 303, 307 or 308.
    #[serde(default = "moved", deserialize_with = "tried")]
    pub(crate) code: Located<Ranged<301, 308>>,
    /// Drops the query.
    #[serde(default, deserialize_with = "tried")]
    pub(crate) strip_query: bool,
}

/// An answer without an upstream. Filters before the choice of a host see the request first, all see the answer.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct DirectResponse {
    /// The status.
    pub(crate) status: Ranged<200, 599>,
    /// The body, `text/plain` unless `response_headers` say otherwise. None when it is left out.
    #[serde(default, deserialize_with = "tried")]
    pub(crate) body: String,
}

/// What is changed in the target of a request, after all filters. With `prefix` or `regex` the path as it was goes along
/// as `x-original-path`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Rewrite {
    /// What stands in place of the prefix, or of the path, that the route matches. Either this or `regex`.
    #[serde(default)]
    pub(crate) prefix: Option<Located<String>>,
    /// What is replaced in the path, without its query.
    #[serde(default, deserialize_with = "tried")]
    pub(crate) regex: Option<Located<RegexRewrite>>,
    /// The authority that the upstream sees: a host, with or without a port.
    #[serde(default)]
    pub(crate) host: Option<Located<String>>,
}

/// A replacement by regular expression.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RegexRewrite {
    /// What is replaced, wherever it stands in the path.
    pub(crate) pattern: Located<String>,
    /// What stands in its place: `$1` or `${1}` is what the first group matched, `${name}` a named one, `$$` a `$`.
    pub(crate) substitution: Located<String>,
}

/// What is done with headers: first `remove`, then `set`, then `add`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct HeaderEdits {
    /// Names of which all values go.
    #[serde(default, deserialize_with = "tried")]
    pub(crate) remove: Items<Located<String>>,
    /// Names and values that take the place of those that are there.
    #[serde(default, deserialize_with = "tried")]
    pub(crate) set: Entries<Located<String>>,
    /// Names and values that are put behind those that are there.
    #[serde(default, deserialize_with = "tried")]
    pub(crate) add: Entries<Located<String>>,
}

fn moved() -> Located<Ranged<301, 308>> {
    Located::new(Ranged(301))
}

/// Which requests a route takes: those for which all of this holds. One of `prefix`, `path`, `regex` and `connect` at
/// most, and at least one key.
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
    /// Takes requests for a tunnel by CONNECT, and no others: they have no path. No other route takes them.
    #[serde(default, deserialize_with = "tried")]
    pub(crate) connect: bool,
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
