//! Route tables.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use transom_api::{HeaderMap, Span};

use super::{Lowering, Unique, domain};
use crate::file;
use crate::report::Problem;
use crate::{
    Located, PathMatch, PathRewrite, Route, RouteAction, RouteFilter, RouteTable, VirtualHost,
};

impl Lowering<'_> {
    pub(super) fn named_route_tables(&mut self, tables: file::Items<file::RouteTable>) {
        let mut unique = Unique::default();
        for table in tables.items {
            let name = match table.name.0 {
                Some(Located { value: name, span }) => {
                    unique.check("route tables", &name.0, span, self.problems);
                    name.0
                }
                None => String::new(),
            };
            self.route_table(&name, table.virtual_hosts);
        }
    }

    pub(super) fn route_table(
        &mut self,
        name: &str,
        virtual_hosts: file::Items<file::VirtualHost>,
    ) {
        let mut names = Unique::default();
        let mut domains = HashMap::new();
        let virtual_hosts = virtual_hosts
            .items
            .into_iter()
            .map(|it| self.virtual_host(name, it, &mut names, &mut domains))
            .collect();
        let table = RouteTable {
            name: name.to_owned(),
            virtual_hosts,
        };
        self.resources
            .route_tables
            .insert(name.to_owned(), Arc::new(table));
    }

    fn virtual_host(
        &mut self,
        table: &str,
        host: file::VirtualHost,
        names: &mut Unique,
        seen: &mut HashMap<String, Option<Span>>,
    ) -> VirtualHost {
        let Located { value: list, span } = host.domains;
        if list.items.is_empty() && list.whole {
            self.problems.push(
                Problem::new("a virtual host needs a domain", span)
                    .with_help("write `[\"*\"]` for all that no other virtual host answers for"),
            );
        }
        let mut domains = Vec::new();
        for pattern in list.items {
            let domain = match domain::parse(&pattern.value) {
                Ok(domain) => domain,
                Err(error) => {
                    self.problems.push(error.or_at(pattern.span));
                    continue;
                }
            };
            if let Some(first) = seen.get(&domain) {
                let message = format!("the domain `{domain}` is given twice in this route table");
                self.problems.twice(message, *first, pattern.span);
                continue;
            }
            seen.insert(domain.clone(), pattern.span);
            domains.push(domain);
        }
        let name = match host.name {
            Some(name) => {
                names.check(
                    "virtual hosts of this route table",
                    &name,
                    name.span,
                    self.problems,
                );
                name.value
            }
            None => domains.first().cloned().unwrap_or_default(),
        };
        VirtualHost {
            name,
            domains,
            routes: host
                .routes
                .items
                .into_iter()
                .filter_map(|route| self.route(table, route))
                .collect(),
            request_headers: self.edits(HeaderMap::RequestHeaders, host.request_headers),
            response_headers: self.edits(HeaderMap::ResponseHeaders, host.response_headers),
            metadata: host.metadata.0,
            filters: self.filters(table, host.filters),
        }
    }

    fn route(&mut self, table: &str, route: Located<file::Route>) -> Option<Route> {
        let Located {
            value: route,
            span: place,
        } = route;
        let filters = self.filters(table, route.filters);
        let request_headers = self.edits(HeaderMap::RequestHeaders, route.request_headers);
        let response_headers = self.edits(HeaderMap::ResponseHeaders, route.response_headers);
        let asked = route.matcher.span;
        let matcher = self.matcher(route.matcher);
        let action = self.action(super::actions::Written {
            place,
            asked,
            matches_prefix: matcher.as_ref().is_none_or(|matcher| {
                matches!(matcher.path, PathMatch::Prefix(_) | PathMatch::Exact(_))
            }),
            cluster: route.cluster,
            weighted_clusters: route.weighted_clusters,
            redirect: route.redirect,
            direct_response: route.direct_response,
            rewrite: route.rewrite,
            retry: route.retry,
        })?;
        let matcher = matcher?;
        let action = self.connect(
            matcher.path == PathMatch::Connect,
            &route.terminate_connect,
            action,
            place,
        );
        Some(Route {
            name: route.name,
            matcher,
            action,
            timeout: route.timeout.map(|timeout| timeout.0),
            request_headers,
            response_headers,
            metadata: route.metadata.0,
            filters,
        })
    }

    /// What routes for CONNECT alone may say, and what they may not.
    fn connect(
        &mut self,
        connect: bool,
        terminate: &Located<bool>,
        mut action: RouteAction,
        place: Option<Span>,
    ) -> RouteAction {
        match &mut action {
            RouteAction::Forward(forward) if connect => {
                forward.terminate_connect = terminate.value;
                if matches!(forward.path, Some(PathRewrite::Regex(..))) {
                    let message = "CONNECT has no path that could be rewritten";
                    self.problems.push(Problem::new(message, place));
                }
            }
            // The client would take what follows for its tunnel.
            RouteAction::DirectResponse(direct) if connect && direct.status < 300 => {
                self.problems.push(
                    Problem::new(
                        format!(
                            "{} would tell a client of CONNECT that its tunnel stands",
                            direct.status
                        ),
                        place,
                    )
                    .with_help("answer with 403, or name a `cluster`"),
                );
            }
            _ if terminate.value => {
                let help = "it is for routes with `match: {connect: true}` and a cluster";
                self.problems.push(
                    Problem::new("there is no CONNECT to terminate here", terminate.span)
                        .with_help(help),
                );
            }
            _ => {}
        }
        action
    }

    fn filters(
        &mut self,
        table: &str,
        filters: file::Entries<Located<file::RouteFilter>>,
    ) -> BTreeMap<String, RouteFilter> {
        let mut lowered = BTreeMap::new();
        for (name, Located { value, span }) in filters.0 {
            let filter = match (value.config, value.disabled) {
                (Some(config), false) => RouteFilter::Config(config.0),
                (None, true) => RouteFilter::Disabled,
                (Some(_), true) => {
                    let message = "`config` and `disabled: true` exclude each other";
                    self.problems.push(Problem::new(message, span));
                    continue;
                }
                (None, false) if self.problems.any_within(span) => continue,
                (None, false) => {
                    self.problems.push(
                        Problem::new(
                            format!("nothing is said about `{name}` here"),
                            span.or(name.span),
                        )
                        .with_help("write {config: {…}} or {disabled: true}"),
                    );
                    continue;
                }
            };
            lowered.insert(name.value.clone(), filter);
            self.route_filters.push((table.to_owned(), name));
        }
        lowered
    }
}
