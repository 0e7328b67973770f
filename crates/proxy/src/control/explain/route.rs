//! Which virtual host and route take a request, by the router's own code.

use transom_api::Registry;
use transom_config::{Http, Resources, Route, RouteMatch, VirtualHost};

use super::{Candidate, HttpExplanation, Request, Target, chain};
use crate::router::{self, FilterOverrides, RouteTable};

/// What the `http` filter does with a request.
pub(super) fn explain(
    http: &Http,
    resources: &Resources,
    registry: &Registry,
    request: &Request<'_>,
) -> HttpExplanation {
    let name = &http.route_table.value;
    let hosts: &[VirtualHost] = resources
        .route_tables
        .get(name)
        .map(|table| table.virtual_hosts.as_slice())
        .unwrap_or_default();
    let authority = request.authority.as_bytes();
    let taken = table(hosts.iter().map(|host| host.domains.as_slice()))
        .find_virtual_host(authority)
        .map(|index| index as usize);
    let host = taken.and_then(|taken| hosts.get(taken));
    let path = crate::stream::split_query(request.path.as_bytes()).0;
    let routes = host.map(|host| host.routes.as_slice()).unwrap_or_default();
    let first = routes
        .iter()
        .position(|route| router::matches(&route.matcher, path));
    let route = first.and_then(|first| routes.get(first));
    let filters = chain::explain(http, registry, host, route);
    HttpExplanation {
        route_table: name.clone(),
        virtual_hosts: hosts
            .iter()
            .enumerate()
            .map(|(index, host)| {
                let is_taken = taken == Some(index);
                Candidate::new(&host.name, is_taken, why_host(host, is_taken, authority))
            })
            .collect(),
        routes: routes
            .iter()
            .enumerate()
            .map(|(index, route)| {
                let name = route.name.clone().unwrap_or(format!("#{}", index + 1));
                let why = why_route(route, router::matches(&route.matcher, path));
                match first {
                    Some(first) if index > first => {
                        Candidate::new(&name, false, format!("{why}; a route before it is taken"))
                    }
                    _ => Candidate::new(&name, first == Some(index), why),
                }
            })
            .collect(),
        response_order: chain::response_order(&filters, http),
        filters,
        access_logs: http
            .access_logs
            .iter()
            .filter(|used| !used.disabled)
            .map(|used| used.id.clone())
            .collect(),
        timeout: route
            .and_then(|route| route.timeout)
            .unwrap_or(http.timeouts.stream),
        target: route.map(|route| Target::of(resources, &route.cluster.value)),
    }
}

/// A table of nothing but domains: all that choosing a virtual host takes.
fn table<'d>(domains: impl Iterator<Item = &'d [String]>) -> RouteTable {
    let hosts = domains.map(|domains| {
        let host = router::VirtualHost {
            name: String::new(),
            routes: Vec::new(),
            filters: FilterOverrides::new(),
        };
        (host, domains.to_vec())
    });
    RouteTable::new(String::new(), hosts.collect())
}

fn why_host(host: &VirtualHost, taken: bool, authority: &[u8]) -> String {
    // One by one: a table of a single domain says whether that domain matches at all.
    let matching: Vec<&str> = host
        .domains
        .iter()
        .filter(|domain| {
            table(std::iter::once(std::slice::from_ref(*domain)))
                .find_virtual_host(authority)
                .is_some()
        })
        .map(String::as_str)
        .collect();
    match (matching.as_slice(), taken) {
        ([], _) => format!("no domain matches: {}", quoted(&host.domains)),
        (matching, true) => format!("matches {}", quoted(matching)),
        (matching, false) => format!("matches {} too, but another one closer", quoted(matching)),
    }
}

fn quoted(domains: &[impl AsRef<str>]) -> String {
    let domains: Vec<String> = domains
        .iter()
        .map(|domain| format!("`{}`", domain.as_ref()))
        .collect();
    domains.join(", ")
}

fn why_route(route: &Route, matches: bool) -> String {
    match (&route.matcher, matches) {
        (RouteMatch::Prefix(prefix), true) => format!("the path begins with `{prefix}`"),
        (RouteMatch::Prefix(prefix), false) => format!("the path does not begin with `{prefix}`"),
        (RouteMatch::Path(path), true) => format!("the path is `{path}`"),
        (RouteMatch::Path(path), false) => format!("the path is not `{path}`"),
    }
}
