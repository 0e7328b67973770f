//! Route tables: which cluster a request goes to.
//!
//! A table is prepared on the control side and shared by all workers. A stream keeps the table and the number of its
//! route, so that nothing shared is counted up and down per request.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use transom_api::RouteConfig;
use transom_config::RouteMatch;

use crate::cluster::ClusterId;

/// A prepared route table.
#[derive(Debug, Default)]
pub(crate) struct RouteTable {
    pub(crate) name: String,
    virtual_hosts: Vec<VirtualHost>,
    /// Lower-case `host` or `host:port` to a virtual host.
    exact: HashMap<String, u32>,
    /// `*.suffix` without its star, the longest first.
    suffixes: Vec<(String, u32)>,
    /// `prefix.*` without its star, the longest first.
    prefixes: Vec<(String, u32)>,
    any: Option<u32>,
}

/// A prepared virtual host.
#[derive(Debug)]
pub(crate) struct VirtualHost {
    pub(crate) name: String,
    pub(crate) routes: Vec<Route>,
    pub(crate) filters: FilterOverrides,
}

/// A prepared route.
#[derive(Debug)]
pub(crate) struct Route {
    pub(crate) name: Option<String>,
    pub(crate) matcher: RouteMatch,
    pub(crate) cluster: ClusterId,
    pub(crate) timeout: Option<Duration>,
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

impl RouteTable {
    /// A table of virtual hosts with the domains that each answers to. The loader has refused repeated domains.
    pub(crate) fn new(name: String, virtual_hosts: Vec<(VirtualHost, Vec<String>)>) -> Self {
        let mut table = Self {
            name,
            ..Self::default()
        };
        for (index, (virtual_host, domains)) in virtual_hosts.into_iter().enumerate() {
            let index = index as u32;
            for domain in domains {
                let domain = domain.to_ascii_lowercase();
                if domain == "*" {
                    table.any = Some(index);
                } else if let Some(suffix) = domain.strip_prefix('*') {
                    table.suffixes.push((suffix.to_owned(), index));
                } else if let Some(prefix) = domain.strip_suffix('*') {
                    table.prefixes.push((prefix.to_owned(), index));
                } else {
                    table.exact.insert(domain, index);
                }
            }
            table.virtual_hosts.push(virtual_host);
        }
        table
            .suffixes
            .sort_by_key(|(suffix, _)| std::cmp::Reverse(suffix.len()));
        table
            .prefixes
            .sort_by_key(|(prefix, _)| std::cmp::Reverse(prefix.len()));
        table
    }

    /// The route of a request: the virtual host of its authority, then the first of its routes that matches.
    pub(crate) fn find(&self, authority: &[u8], path: &[u8]) -> Option<RouteIndex> {
        let virtual_host = self.find_virtual_host(authority)?;
        let path = crate::stream::split_query(path).0;
        let routes = &self.virtual_hosts.get(virtual_host as usize)?.routes;
        let route = routes
            .iter()
            .position(|route| matches(&route.matcher, path))?;
        Some(RouteIndex {
            virtual_host,
            route: route as u32,
        })
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

    /// Whether any place of the table says something of filters at all.
    pub(crate) fn has_overrides(&self) -> bool {
        self.virtual_hosts.iter().any(|host| {
            !host.filters.is_empty() || host.routes.iter().any(|route| !route.filters.is_empty())
        })
    }

    /// The virtual host of an authority: exact with port, exact without, longest suffix, longest prefix, any.
    pub(crate) fn find_virtual_host(&self, authority: &[u8]) -> Option<u32> {
        if self.exact.is_empty() && self.suffixes.is_empty() && self.prefixes.is_empty() {
            return self.any;
        }
        let authority = String::from_utf8_lossy(authority).to_ascii_lowercase();
        let host = without_port(&authority);
        self.exact
            .get(&authority)
            .or_else(|| self.exact.get(host))
            .copied()
            .or_else(|| {
                let found = self
                    .suffixes
                    .iter()
                    .find(|(suffix, _)| ends(&authority, suffix) || ends(host, suffix));
                found.map(|(_, index)| *index)
            })
            .or_else(|| {
                let found = self
                    .prefixes
                    .iter()
                    .find(|(prefix, _)| host.len() > prefix.len() && host.starts_with(prefix));
                found.map(|(_, index)| *index)
            })
            .or(self.any)
    }
}

/// `*.example.org` does not mean `.example.org` itself: something must stand for the star.
fn ends(host: &str, suffix: &str) -> bool {
    host.len() > suffix.len() && host.ends_with(suffix)
}

/// The host of an authority; brackets of an IPv6 address stay.
fn without_port(authority: &str) -> &str {
    match authority.rsplit_once(':') {
        Some((host, port))
            if !host.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()) =>
        {
            // In `[::1]` the last colon stands inside the brackets.
            if host.starts_with('[') && !host.ends_with(']') {
                authority
            } else {
                host
            }
        }
        _ => authority,
    }
}

/// Whether a route takes a path without its query.
pub(crate) fn matches(matcher: &RouteMatch, path: &[u8]) -> bool {
    match matcher {
        // `*` stands for the server as a whole (RFC 9110 section 9.3.7): a route for all paths takes it.
        RouteMatch::Prefix(prefix) => {
            path.starts_with(prefix.as_bytes()) || (path == b"*" && prefix == "/")
        }
        RouteMatch::Path(exact) => path == exact.as_bytes(),
    }
}

impl std::fmt::Debug for FilterOverride {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Disabled => "Disabled",
            Self::Config(_) => "Config",
        })
    }
}

/// A shared table, as a worker and its streams hold it: counting the inner `Arc` per stream would move a cache line
/// between workers.
pub(crate) type WorkerTable = std::rc::Rc<Arc<RouteTable>>;

#[cfg(test)]
mod tests {
    use super::*;

    fn table(hosts: &[(&str, &[&str], &[RouteMatch])]) -> RouteTable {
        let hosts = hosts.iter().map(|(name, domains, routes)| {
            let host = VirtualHost {
                name: (*name).to_owned(),
                routes: routes
                    .iter()
                    .map(|matcher| Route {
                        name: None,
                        matcher: matcher.clone(),
                        cluster: ClusterId(0),
                        timeout: None,
                        filters: FilterOverrides::new(),
                    })
                    .collect(),
                filters: FilterOverrides::new(),
            };
            (
                host,
                domains.iter().map(|domain| (*domain).to_owned()).collect(),
            )
        });
        RouteTable::new("t".to_owned(), hosts.collect())
    }

    fn prefix(path: &str) -> RouteMatch {
        RouteMatch::Prefix(path.to_owned())
    }

    #[test]
    fn the_most_specific_domain_wins() {
        let all = [prefix("/")];
        let table = table(&[
            ("any", &["*"], &all),
            ("exact", &["a.example.org"], &all),
            ("port", &["a.example.org:81"], &all),
            ("suffix", &["*.example.org"], &all),
            ("long", &["*.b.example.org"], &all),
            ("prefix", &["www.*"], &all),
            ("v6", &["[::1]"], &all),
        ]);
        for (authority, expected) in [
            ("a.example.org", "exact"),
            ("A.EXAMPLE.ORG", "exact"),
            ("a.example.org:80", "exact"),
            ("a.example.org:81", "port"),
            ("x.example.org", "suffix"),
            ("x.example.org:8080", "suffix"),
            ("example.org", "any"),
            (".example.org", "any"),
            ("x.b.example.org", "long"),
            ("www.other.net", "prefix"),
            ("www.", "any"),
            ("[::1]", "v6"),
            ("[::1]:80", "v6"),
            ("", "any"),
        ] {
            let index = table.find(authority.as_bytes(), b"/").unwrap();
            assert_eq!(table.route(index).unwrap().0.name, expected, "{authority}");
        }
    }

    #[test]
    fn the_first_matching_route_wins_and_the_query_does_not_count() {
        let table = table(&[(
            "any",
            &["*"],
            &[
                RouteMatch::Path("/a".to_owned()),
                prefix("/b"),
                prefix("/a"),
            ],
        )]);
        let route = |path: &str| table.find(b"h", path.as_bytes()).map(|index| index.route);
        assert_eq!(route("/a"), Some(0));
        assert_eq!(route("/a?x=/b"), Some(0));
        assert_eq!(route("/ab"), Some(2));
        assert_eq!(route("/b/c"), Some(1));
        assert_eq!(route("/c?/a"), None);
    }

    #[test]
    fn the_asterisk_of_options_takes_the_route_for_all_paths() {
        let route = |matchers: &[RouteMatch]| {
            let table = table(&[("any", &["*"], matchers)]);
            table.find(b"h", b"*").map(|index| index.route)
        };
        assert_eq!(route(&[prefix("/a"), prefix("/")]), Some(1));
        assert_eq!(route(&[prefix("/a")]), None);
    }
}
