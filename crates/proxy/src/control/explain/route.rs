//! Which virtual host and route take a request, by the router's own code.

use transom_api::Registry;
use transom_config::{
    FieldMatch, Http, PathMatch, Resources, Route, RouteMatch, ValueMatch, VirtualHost,
};

use super::{Candidate, Forwarded, HttpExplanation, Request, RouteAction, Target, chain};
use crate::http::head::{Head, Pseudo};
use crate::router::action::{PathRewrite, location};
use crate::router::hosts::Hosts;
use crate::router::matcher::{self as router, Matcher, PatternsBuilder, Test};
use crate::router::path::{Normalised, normalise};

/// What the `http` filter does with a request.
pub(super) fn explain(
    http: &Http,
    resources: &Resources,
    registry: &Registry,
    request: &Request<'_>,
    scheme: &str,
) -> HttpExplanation {
    let name = &http.route_table.value;
    let hosts: &[VirtualHost] = resources
        .route_tables
        .get(name)
        .map(|table| table.virtual_hosts.as_slice())
        .unwrap_or_default();
    let mut head = head(request, scheme);
    // CONNECT has no path.
    let normalised = match head.pseudo(Pseudo::Path) {
        Some(path) => normalise(path, http.paths),
        None => Normalised::Same,
    };
    let is_refused = normalised == Normalised::Refused;
    let hosts = if is_refused { &[] } else { hosts };
    let path = match normalised {
        Normalised::Same | Normalised::Refused => None,
        Normalised::Spelling(path) | Normalised::Path(path) => {
            head.set_pseudo(Pseudo::Path, &path);
            Some(String::from_utf8_lossy(&path).into_owned())
        }
    };
    let phases = request.phases;
    let request = router::Request::of(&head);
    let authority = request.authority;
    let taken = domains(hosts.iter().map(|host| host.domains.as_slice()))
        .find(authority)
        .map(|index| index as usize);
    let host = taken.and_then(|taken| hosts.get(taken));
    let routes = host.map(|host| host.routes.as_slice()).unwrap_or_default();
    let judged: Vec<Judgement> = routes
        .iter()
        .map(|route| Judgement::of(&route.matcher, &request))
        .collect();
    let first = judged.iter().position(|judgement| judgement.takes);
    let route = first.and_then(|first| routes.get(first));
    let filters = chain::explain(http, resources, (registry, phases), host, route, &head);
    HttpExplanation {
        path,
        is_refused,
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
            .zip(judged)
            .enumerate()
            .map(|(index, (route, Judgement { why, .. }))| {
                let name = route.name.clone().unwrap_or(format!("#{}", index + 1));
                match first {
                    Some(first) if index > first => {
                        Candidate::new(&name, false, format!("{why}; a route before it is taken"))
                    }
                    _ => Candidate::new(&name, first == Some(index), why),
                }
            })
            .collect(),
        fields: fields(routes),
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
        action: route.map(|route| action(route, resources, &request)),
    }
}

/// The request's head, as the codec would give it to the router.
fn head(request: &Request<'_>, scheme: &str) -> Head {
    let mut head = Head::default();
    head.set_pseudo(Pseudo::Scheme, scheme.as_bytes());
    head.set_pseudo(Pseudo::Method, request.method.as_bytes());
    if request.method != "CONNECT" {
        head.set_pseudo(Pseudo::Path, request.path.as_bytes());
    }
    head.set_pseudo(Pseudo::Authority, request.authority.as_bytes());
    for (name, value) in request.fields {
        head.push_own(name.as_bytes(), value.as_bytes());
    }
    head
}

fn domains<'d>(domains: impl Iterator<Item = &'d [String]>) -> Hosts {
    let numbered = domains.zip(0..).flat_map(|(domains, index)| {
        let domains = domains.iter();
        domains.map(move |domain| (domain.as_str(), index))
    });
    Hosts::new(numbered)
}

/// Names of the header fields that routes look at.
fn fields(routes: &[Route]) -> Vec<String> {
    let mut names: Vec<String> = routes
        .iter()
        .flat_map(|route| &route.matcher.headers)
        .map(|field| field.name.to_ascii_lowercase())
        .collect();
    names.sort_unstable();
    names.dedup();
    names
}

fn why_host(host: &VirtualHost, taken: bool, authority: &[u8]) -> String {
    // One by one: a table of a single domain says whether that domain matches at all.
    let matching: Vec<&str> = host
        .domains
        .iter()
        .filter(|domain| {
            domains(std::iter::once(std::slice::from_ref(*domain)))
                .find(authority)
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

fn action(route: &Route, resources: &Resources, request: &router::Request<'_>) -> RouteAction {
    let mut patterns = PatternsBuilder::default();
    let matcher = Matcher::new(&route.matcher, &mut patterns);
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    let forward = match &route.action {
        transom_config::RouteAction::Redirect(redirect) => {
            return RouteAction::Redirect {
                status: redirect.status,
                location: text(location(redirect, &matcher, request.head)),
            };
        }
        transom_config::RouteAction::DirectResponse(direct) => {
            return RouteAction::DirectResponse {
                status: direct.status,
            };
        }
        transom_config::RouteAction::Forward(forward) => forward,
    };
    let rewrite = forward
        .path
        .as_ref()
        .map(|path| PathRewrite::new(path, &mut patterns));
    let patterns = patterns.finish();
    let targets = forward.clusters.iter().map(|weighted| {
        let target = Target::of(resources, &weighted.cluster.value);
        (weighted.weight, target)
    });
    RouteAction::Forward(Forwarded {
        targets: targets.collect(),
        path: rewrite
            .and_then(|rewrite| rewrite.of(&matcher, &patterns, request))
            .map(text),
        authority: forward.host.clone(),
        retry: forward.retry.clone(),
    })
}

/// What a route makes of a request.
struct Judgement {
    takes: bool,
    /// All that holds when it takes the request; else all that does not.
    why: String,
}

impl Judgement {
    fn of(asked: &RouteMatch, request: &router::Request<'_>) -> Self {
        let mut patterns = PatternsBuilder::default();
        let matcher = Matcher::new(asked, &mut patterns);
        let patterns = patterns.finish();
        let connect = asked.path == PathMatch::Connect;
        let path = match (connect, request.is_connect()) {
            (true, asks) => asks,
            (false, true) => false,
            (false, false) => matcher.takes_path(&patterns, request.path),
        };
        let why = match (connect, request.is_connect()) {
            (true, true) => Some("the method is CONNECT".to_owned()),
            (true, false) => Some("the method is not CONNECT".to_owned()),
            (false, true) => Some("only routes with `connect: true` take CONNECT".to_owned()),
            (false, false) => why_path(&asked.path, path),
        };
        let mut facts: Vec<(bool, String)> = why.map(|why| (path, why)).into_iter().collect();
        let headers = asked.headers.iter().map(|field| ("header", field));
        let query = asked.query.iter().map(|field| ("query parameter", field));
        let mut fields = headers.chain(query);
        for test in &matcher.tests {
            let holds = test.holds(&patterns, request);
            let why = match test {
                Test::Method(_) => Some(why_method(&asked.methods, holds)),
                Test::Header(_) | Test::Query(_) => fields
                    .next()
                    .map(|(what, field)| why_field(what, field, holds)),
            };
            facts.extend(why.map(|why| (holds, why)));
        }
        let takes = facts.iter().all(|(holds, _)| *holds);
        let said = facts.into_iter().filter(|(holds, _)| *holds == takes);
        Self {
            takes,
            why: said.map(|(_, why)| why).collect::<Vec<_>>().join(", "),
        }
    }
}

fn why_path(path: &PathMatch, holds: bool) -> Option<String> {
    let (verb, value) = match (path, holds) {
        (PathMatch::Any | PathMatch::Connect, _) => return None,
        (PathMatch::Prefix(prefix), true) => ("begins with", prefix.as_str()),
        (PathMatch::Prefix(prefix), false) => ("does not begin with", prefix.as_str()),
        (PathMatch::Exact(path), true) => ("is", path.as_str()),
        (PathMatch::Exact(path), false) => ("is not", path.as_str()),
        (PathMatch::Regex(regex), true) => ("matches", regex.as_str()),
        (PathMatch::Regex(regex), false) => ("does not match", regex.as_str()),
    };
    Some(format!("the path {verb} `{value}`"))
}

fn why_method(methods: &[String], holds: bool) -> String {
    let verb = if holds { "is" } else { "is not" };
    format!("the method {verb} {}", methods.join(" or "))
}

fn why_field(what: &str, field: &FieldMatch, holds: bool) -> String {
    let is_so = holds != field.invert;
    let (is, is_not, value) = match &field.value {
        ValueMatch::Present => ("is there", "is not there", None),
        ValueMatch::Absent => ("is not there", "is there", None),
        ValueMatch::Exact(value) => ("is", "is not", Some(value.as_str())),
        ValueMatch::Prefix(value) => ("begins with", "does not begin with", Some(value.as_str())),
        ValueMatch::Suffix(value) => ("ends with", "does not end with", Some(value.as_str())),
        ValueMatch::Regex(value) => ("matches", "does not match", Some(value.as_str())),
    };
    let verb = if is_so { is } else { is_not };
    let mut why = format!("the {what} `{}` {verb}", field.name);
    if let Some(value) = value {
        why.push_str(&format!(" `{value}`"));
    }
    if field.invert && !holds {
        why.push_str(", as it must not");
    }
    why
}
