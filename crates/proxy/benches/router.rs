//! What finding a route costs, in nanoseconds, with 10 entries of a kind and with 10,000: `cargo bench -p transom-proxy
//! --bench router`.
//!
//! Requests ask for 64 entries spread over all in turn. Each figure is the best of rounds, so that a busy machine does not
//! show. The last rows count what a route that cannot be looked up adds: its own test.

use std::hint::black_box;
use std::time::Instant;

use transom_config::{
    DirectResponse, FieldMatch, HeaderEdits, PathMatch, Pattern, Route, RouteAction, RouteMatch,
    RouteTable, ValueMatch, VirtualHost,
};
use transom_proxy::{Lookup, RequestHead};

const FEW: usize = 10;
const MANY: usize = 10_000;
const ASKED: usize = 64;
const ROUNDS: usize = 50;
const TURNS: usize = 100;

/// What is measured: a table of so many entries, and the request for one of them with the answer.
struct Case {
    name: &'static str,
    table: fn(usize) -> RouteTable,
    request: fn(usize) -> RequestHead,
}

const CASES: [Case; 8] = [
    Case {
        name: "exact paths",
        table: |count| {
            one_host(
                (0..count)
                    .map(|it| exact(&format!("/items/{it}/show")))
                    .collect(),
            )
        },
        request: |it| RequestHead::new("a.test", &format!("/items/{it}/show?q")),
    },
    Case {
        name: "prefixes",
        table: |count| {
            one_host(
                (0..count)
                    .map(|it| prefix(&format!("/service-{it}/")))
                    .collect(),
            )
        },
        request: |it| RequestHead::new("a.test", &format!("/service-{it}/some/path?q")),
    },
    Case {
        name: "prefixes, scattered",
        table: |count| one_host((0..count).map(|it| prefix(&scattered(it))).collect()),
        request: |it| RequestHead::new("a.test", &format!("{}/x", scattered(it))),
    },
    Case {
        name: "hosts, exact",
        table: |count| hosts(count, |it| format!("tenant-{it}.example.org")),
        request: |it| RequestHead::new(&format!("tenant-{it}.example.org:8080"), "/"),
    },
    Case {
        name: "hosts, by suffix",
        table: |count| hosts(count, |it| format!("*.tenant-{it}.example.org")),
        request: |it| RequestHead::new(&format!("www.tenant-{it}.example.org"), "/"),
    },
    Case {
        name: "hosts, by prefix",
        table: |count| hosts(count, |it| format!("tenant-{it}.*")),
        request: |it| RequestHead::new(&format!("tenant-{it}.example.org"), "/"),
    },
    Case {
        name: "exact, a regex first",
        table: |count| {
            let regex = PathMatch::Regex(Pattern::whole("/v[0-9]+/.*").unwrap()).into();
            let paths = (0..count).map(|it| exact(&format!("/items/{it}/show")));
            one_host(std::iter::once(regex).chain(paths).collect())
        },
        request: |it| RequestHead::new("a.test", &format!("/items/{it}/show?q")),
    },
    Case {
        name: "exact, a header first",
        table: |count| {
            let header = FieldMatch {
                name: "x-beta".to_owned(),
                value: ValueMatch::Present,
                invert: false,
            };
            let header = RouteMatch {
                headers: vec![header],
                ..RouteMatch::default()
            };
            let paths = (0..count).map(|it| exact(&format!("/items/{it}/show")));
            one_host(std::iter::once(header).chain(paths).collect())
        },
        request: |it| RequestHead::new("a.test", &format!("/items/{it}/show?q")),
    },
];

fn main() {
    println!("{:<24}{FEW:>10}{MANY:>10}{:>8}", "ns per look-up", "ratio");
    let mut exact = (0.0, 0.0);
    let mut own = Vec::new();
    for case in &CASES {
        let few = measure(case, FEW);
        let many = measure(case, MANY);
        println!(
            "{:<24}{few:>10.0}{many:>10.0}{:>8.2}",
            case.name,
            many / few
        );
        match case.name {
            "exact paths" => exact = (few, many),
            name if name.ends_with(" first") => own.push((name, few - exact.0, many - exact.1)),
            _ => {}
        }
    }
    println!();
    for (name, few, many) in own {
        println!("{name:<24}{few:>10.0}{many:>10.0}   of these, its own test");
    }
}

/// Nanoseconds of one look-up.
fn measure(case: &Case, count: usize) -> f64 {
    let lookup = Lookup::new(&(case.table)(count));
    let requests: Vec<RequestHead> = (0..ASKED)
        .map(|at| (case.request)((at * 7_919) % count))
        .collect();
    for request in &requests {
        assert!(lookup.find(request).is_some(), "{}: no route", case.name);
    }
    let mut best = f64::INFINITY;
    for _ in 0..ROUNDS {
        let start = Instant::now();
        for _ in 0..TURNS {
            for request in &requests {
                black_box(lookup.find(black_box(request)));
            }
        }
        best = best.min(start.elapsed().as_nanos() as f64 / (TURNS * ASKED) as f64);
    }
    best
}

fn exact(path: &str) -> RouteMatch {
    PathMatch::Exact(path.to_owned()).into()
}

fn prefix(path: &str) -> RouteMatch {
    PathMatch::Prefix(path.to_owned()).into()
}

/// A path that has little in common with others.
fn scattered(it: usize) -> String {
    format!("/{:016x}", (it as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15))
}

fn one_host(routes: Vec<RouteMatch>) -> RouteTable {
    table(vec![virtual_host("*".to_owned(), routes)])
}

fn hosts(count: usize, domain: fn(usize) -> String) -> RouteTable {
    let hosts = (0..count).map(|it| virtual_host(domain(it), vec![prefix("/")]));
    table(hosts.collect())
}

fn table(virtual_hosts: Vec<VirtualHost>) -> RouteTable {
    RouteTable {
        name: "bench".to_owned(),
        virtual_hosts,
    }
}

fn virtual_host(domain: String, routes: Vec<RouteMatch>) -> VirtualHost {
    let routes = routes.into_iter().map(|matcher| Route {
        name: None,
        matcher,
        action: RouteAction::DirectResponse(DirectResponse {
            status: 200,
            body: String::new(),
        }),
        timeout: None,
        request_headers: HeaderEdits::default(),
        response_headers: HeaderEdits::default(),
        metadata: Default::default(),
        filters: Default::default(),
    });
    VirtualHost {
        name: domain.clone(),
        domains: vec![domain],
        routes: routes.collect(),
        request_headers: HeaderEdits::default(),
        response_headers: HeaderEdits::default(),
        metadata: Default::default(),
        filters: Default::default(),
    }
}
