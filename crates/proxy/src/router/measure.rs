//! The router by itself, as a worker calls it: for `benches/router.rs`, and no part of the crate's interface.

use std::sync::Arc;

use transom_config::{DirectResponse, HeaderEdits};

use super::action::Action;
use super::matcher::{Matcher, PatternsBuilder};
use super::{FilterOverrides, Route, RouteTable, Routes, VirtualHost};
use crate::http::head::{Head, Pseudo};

/// A worker's route table, without what its routes do.
#[derive(Debug)]
pub struct Lookup(Routes);

/// A request's head.
#[derive(Debug)]
pub struct RequestHead(Head);

impl Lookup {
    /// Prepares the matches of a table.
    #[must_use]
    pub fn new(table: &transom_config::RouteTable) -> Self {
        let mut patterns = PatternsBuilder::default();
        let hosts = table.virtual_hosts.iter().map(|host| {
            let routes = host.routes.iter().map(|route| Route {
                name: None,
                matcher: Matcher::new(&route.matcher, &mut patterns),
                action: Action::DirectResponse(DirectResponse {
                    status: 200,
                    body: String::new(),
                }),
                request_headers: HeaderEdits::default(),
                response_headers: HeaderEdits::default(),
                timeout: None,
                metadata: transom_api::Metadata::new(),
                filters: FilterOverrides::new(),
            });
            let routes = routes.collect();
            let host_of_router =
                VirtualHost::new(host.name.clone(), routes, FilterOverrides::new());
            (host_of_router, host.domains.clone())
        });
        let hosts = hosts.collect();
        let table = RouteTable::new(table.name.clone(), hosts, patterns.finish());
        Self(Routes::new(&Arc::new(table)))
    }

    /// The numbers of the virtual host and of the route that take a request.
    #[must_use]
    pub fn find(&self, request: &RequestHead) -> Option<(u32, u32)> {
        let found = self.0.find(&request.0)?;
        Some((found.virtual_host, found.route))
    }
}

impl RequestHead {
    /// A GET.
    #[must_use]
    pub fn new(authority: &str, target: &str) -> Self {
        let mut head = Head::default();
        head.set_pseudo(Pseudo::Method, b"GET");
        head.set_pseudo(Pseudo::Authority, authority.as_bytes());
        head.set_pseudo(Pseudo::Path, target.as_bytes());
        for name in ["user-agent", "accept", "cookie", "x-request-id"] {
            head.push_own(name.as_bytes(), b"some value");
        }
        Self(head)
    }
}
