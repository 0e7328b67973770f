//! Route tables: patterns, clusters by their numbers, and what routes say of filters.

use std::collections::BTreeMap;
use std::sync::Arc;

use transom_api::{StreamFilterConfig, StreamFilters};
use transom_config::{Http, RouteAction, RouteFilter};

use super::Preparer;
use super::extensions::Declared;
use crate::control::ApplyError;
use crate::control::snapshot::PreparedUse;
use crate::router::action::{Action, Forward, PathRewrite};
use crate::router::matcher::{Matcher, PatternsBuilder};
use crate::router::{FilterOverride, FilterOverrides, Route, RouteTable, VirtualHost};

impl Preparer {
    pub(super) fn prepare_routes(
        &self,
        table: &transom_config::RouteTable,
        http: &Http,
        uses: &[PreparedUse<dyn StreamFilterConfig>],
        declared: &Declared<'_>,
    ) -> Result<RouteTable, ApplyError> {
        let mut hosts = Vec::with_capacity(table.virtual_hosts.len());
        let mut patterns = PatternsBuilder::default();
        for host in &table.virtual_hosts {
            let mut routes = Vec::with_capacity(host.routes.len());
            for route in &host.routes {
                routes.push(Route {
                    name: route.name.clone(),
                    matcher: Matcher::new(&route.matcher, &mut patterns),
                    action: self.prepare_action(&route.action, &mut patterns)?,
                    request_headers: route.request_headers.clone(),
                    response_headers: route.response_headers.clone(),
                    timeout: route.timeout,
                    metadata: route.metadata.clone(),
                    filters: self.prepare_overrides(&route.filters, http, uses, declared)?,
                });
            }
            let filters = self.prepare_overrides(&host.filters, http, uses, declared)?;
            let mut prepared = VirtualHost::new(host.name.clone(), routes, filters);
            prepared.request_headers = host.request_headers.clone();
            prepared.response_headers = host.response_headers.clone();
            prepared.metadata = host.metadata.clone();
            hosts.push((prepared, host.domains.clone()));
        }
        let name = table.name.clone();
        Ok(RouteTable::new(name, hosts, patterns.finish()))
    }

    fn prepare_action(
        &self,
        action: &RouteAction,
        patterns: &mut PatternsBuilder,
    ) -> Result<Action, ApplyError> {
        let forward = match action {
            RouteAction::Forward(forward) => forward,
            RouteAction::Redirect(redirect) => return Ok(Action::Redirect(redirect.clone())),
            RouteAction::DirectResponse(direct) => {
                return Ok(Action::DirectResponse(direct.clone()));
            }
        };
        let mut clusters = Vec::with_capacity(forward.clusters.len());
        for weighted in &forward.clusters {
            clusters.push((weighted.weight, self.cluster_id(&weighted.cluster)?));
        }
        let path = forward.path.as_ref();
        let path = path.map(|path| PathRewrite::new(path, patterns));
        let host = forward.host.as_deref();
        Ok(Action::Forward(Forward {
            retry: forward.retry.clone().map(Arc::new),
            terminate_connect: forward.terminate_connect,
            ..Forward::new(clusters.into_iter(), path, host)
        }))
    }

    /// What a route says of filters. A table may be shared by listeners whose chains differ: what this chain does not have
    /// is left out; the loader has seen to it that some chain has it.
    fn prepare_overrides(
        &self,
        filters: &BTreeMap<String, RouteFilter>,
        http: &Http,
        uses: &[PreparedUse<dyn StreamFilterConfig>],
        declared: &Declared<'_>,
    ) -> Result<FilterOverrides, ApplyError> {
        let mut overrides = FilterOverrides::new();
        for (name, filter) in filters {
            let Some(used) = http.stream_filters.iter().find(|used| used.id == *name) else {
                continue;
            };
            let prepared = match filter {
                RouteFilter::Disabled => FilterOverride::Disabled,
                RouteFilter::Config(node) => {
                    let factory = declared
                        .factory::<StreamFilters>(used, &self.registry)
                        .map_err(|error| error.or_at(used.span))?;
                    let config = factory
                        .parse_route(node)
                        .map_err(|error| error.or_at(node.span))?;
                    // A disabled use has nothing that could prepare it, and nobody to give it to.
                    let Some(of) = uses.iter().find(|of| of.name == *name) else {
                        continue;
                    };
                    let config = of
                        .config
                        .prepare_route(config)
                        .map_err(|error| ApplyError {
                            message: format!(
                                "the stream filter `{name}` refused it: {}",
                                error.message
                            ),
                            span: error.span.or(node.span),
                            help: error.help,
                        })?;
                    FilterOverride::Config(config)
                }
            };
            overrides.insert(name.clone(), prepared);
        }
        Ok(overrides)
    }
}
