//! Clusters and host sets.

use std::collections::HashMap;
use std::sync::Arc;

use transom_api::Node;

use super::extensions::Named;
use super::{Lowering, Unique, refer};
use crate::decode::Tried;
use crate::file;
use crate::report::Problem;
use crate::{
    CircuitBreakers, Cluster, Discovery, Host, HostSet, Located, OriginalDst, Pool, ProxyProtocol,
    ProxyValue, ProxyVersion, RetryBudget, Use,
};

/// How hosts are chosen where nothing is said of it.
const LOAD_BALANCING: &str = "round_robin";
/// Who knows the hosts of a service where nothing is said of it.
const REGISTRY: &str = "dns";

impl Lowering<'_> {
    pub(super) fn host_sets(&mut self, sets: file::Items<file::HostSet>) {
        let mut unique = Unique::default();
        for set in sets.items {
            let name = set.name;
            unique.check("host sets", &name.value.0, name.span, self.problems);
            self.host_set(name.value.0, set.endpoints);
        }
    }

    /// The one implementation of a kind that is named somewhere; `None` where none is.
    pub(super) fn implementation<K>(
        &mut self,
        written: Option<Located<file::Implementation<K>>>,
    ) -> Option<Use> {
        let Located { value, span } = written?;
        let named = Named {
            // Written as text it is the name.
            name: value.name.map(|name| Located {
                span: name.span.or(span),
                ..name
            }),
            plugin: value.plugin,
            extension: value.extension,
        };
        let (extension, place) = self.extension_name(named, span)?;
        let config = match value.config {
            Some(config) => self.own_config(&extension, Some(config.0), span),
            None => Node::null(),
        };
        let mut used = Use::of(extension, config);
        used.span = place;
        Some(used)
    }

    /// The selector of a cluster; the default where what is written names none.
    fn load_balancing(&mut self, written: Option<Located<file::LoadBalancing>>) -> Use {
        let default = || Use::of(LOAD_BALANCING.into(), Node::null());
        self.implementation(written).unwrap_or_else(default)
    }

    /// The service that a registry is asked for.
    fn discovery(&mut self, cluster: &mut file::Cluster) -> Option<Located<Discovery>> {
        let (service, registry) = (cluster.service.take(), cluster.registry.take());
        let place = match (&service, &registry) {
            (None, None) => return None,
            (Some(Tried(Some(service))), _) => service.span,
            (_, registry) => registry.as_ref().and_then(|registry| registry.span),
        };
        let service = match service {
            Some(Tried(Some(service))) => service.value.0,
            _ => cluster.name.value.0.clone(),
        };
        let registry = self
            .implementation(registry)
            .unwrap_or_else(|| Use::of(REGISTRY.into(), Node::null()));
        Some(Located {
            value: Discovery { service, registry },
            span: place,
        })
    }

    pub(super) fn clusters(&mut self, clusters: file::Items<Located<file::Cluster>>) {
        let mut unique = Unique::default();
        for Located {
            value: mut cluster,
            span: whole,
        } in clusters.items
        {
            let (name, span) = (cluster.name.value.0.clone(), cluster.name.span);
            if !unique.check("clusters", &name, span, self.problems) {
                continue;
            }
            let original_dst = match cluster.original_dst.take() {
                Some(Tried(None)) => continue,
                Some(Tried(Some(original))) => Some(original),
                None => None,
            };
            if let Some(original) = &original_dst {
                let others = [
                    (cluster.endpoints.is_some(), "endpoints"),
                    (cluster.host_set.is_some(), "host_set"),
                    (cluster.service.is_some(), "service"),
                    (cluster.registry.is_some(), "registry"),
                    (cluster.load_balancing.is_some(), "load_balancing"),
                    (cluster.health_check.is_some(), "health_check"),
                    (cluster.outlier_detection.is_some(), "outlier_detection"),
                ];
                for (_, key) in others.into_iter().filter(|(given, _)| *given) {
                    let message = format!("`original_dst` and `{key}` exclude each other");
                    self.problems.push(
                        Problem::new(message, original.span)
                            .with_help("the host is where each client wanted to go: there is none to choose or to check"),
                    );
                }
            }
            let discovery = self.discovery(&mut cluster);
            if let Some(discovery) = discovery.as_ref().filter(|_| original_dst.is_none()) {
                let others = [
                    (cluster.endpoints.is_some(), "endpoints"),
                    (cluster.host_set.is_some(), "host_set"),
                ];
                for (_, key) in others.into_iter().filter(|(given, _)| *given) {
                    let message = format!("a `service` and `{key}` exclude each other");
                    self.problems.push(
                        Problem::new(message, discovery.span)
                            .with_help("the hosts of a service come from its registry"),
                    );
                }
            }
            let discovery = discovery.map(|discovery| discovery.value);
            let transport = self.implementation(cluster.transport);
            let client = self.implementation(cluster.client);
            let has_no_own = original_dst.is_some() || discovery.is_some();
            let endpoints = match has_no_own {
                true => Some(Tried(Some(file::Items::default()))),
                false => cluster.endpoints,
            };
            let load_balancing = self.load_balancing(cluster.load_balancing);
            let host_set = match (endpoints, cluster.host_set.filter(|_| !has_no_own)) {
                (Some(Tried(endpoints)), None) => {
                    if self.host_sets.binary_search(&name.as_str()).is_ok() {
                        self.problems.push(
                            Problem::new(format!("a host set is named `{name}` already"), span).with_help(
                                "hosts that are written in a cluster are a host set of the cluster's name: rename one \
                                 of the two, or write `host_set` in place of `endpoints`",
                            ),
                        );
                        continue;
                    }
                    self.host_set(name.clone(), endpoints.unwrap_or_default());
                    name.clone()
                }
                (None, Some(Tried(set))) => {
                    let Some(set) = set else { continue };
                    refer("host set", &set, &self.host_sets, self.problems);
                    set.value
                }
                (Some(_), Some(Tried(set))) => {
                    let message = "`endpoints` and `host_set` exclude each other";
                    let place = set.map_or(span, |set| set.span);
                    self.problems.push(Problem::new(message, place));
                    continue;
                }
                (None, None) if self.problems.any_within(whole) => continue,
                (None, None) => {
                    self.problems.push(
                        Problem::new(format!("the cluster `{name}` has no hosts"), span).with_help(
                            "write them under `endpoints`, or name a `host_set` or a `service`",
                        ),
                    );
                    continue;
                }
            };
            let tls = match cluster.tls {
                Some(Tried(tls)) => {
                    let hosts = self.resources.host_sets.get(&host_set).map(Arc::clone);
                    tls.and_then(|tls| self.cluster_tls(tls, hosts.as_deref()))
                }
                None => None,
            };
            let proxy_protocol = cluster.proxy_protocol.and_then(|protocol| protocol.0);
            let proxy_protocol = proxy_protocol.map(|protocol| self.proxy_protocol(protocol));
            let health_check = cluster.health_check.map(|check| self.health_check(check));
            let outlier_detection = cluster
                .outlier_detection
                .map(|outliers| self.outlier_detection(&outliers));
            let cluster = Cluster {
                name: name.clone(),
                load_balancing,
                connect_timeout: cluster.connect_timeout.0,
                host_set,
                discovery,
                transport,
                client,
                original_dst: original_dst.map(|Located { value, .. }| OriginalDst {
                    networks: value.networks.items,
                    port: value.port.and_then(|port| u16::try_from(port.0).ok()),
                }),
                proxy_protocol,
                health_check,
                outlier_detection,
                panic_threshold: cluster.panic_threshold.0,
                circuit_breakers: circuit_breakers(&cluster.circuit_breakers),
                pool: Pool {
                    idle_timeout: cluster.pool.idle_timeout.0,
                    max_idle: cluster.pool.max_idle.0,
                    max_requests_per_connection: cluster
                        .pool
                        .max_requests_per_connection
                        .map(|limit| limit.0.into()),
                    max_connections_per_host: cluster
                        .pool
                        .max_connections_per_host
                        .map(|limit| limit.0),
                    max_age: cluster.pool.max_age.map(|age| age.0),
                },
                tls,
            };
            self.resources.clusters.insert(name, Arc::new(cluster));
        }
    }

    fn proxy_protocol(&mut self, written: Located<file::ProxyProtocol>) -> ProxyProtocol {
        let Located { value: written, .. } = written;
        let version = match written.version.0 {
            1 => ProxyVersion::V1,
            _ => ProxyVersion::V2,
        };
        let mut values = Vec::new();
        for Located { value, span } in written.values.items {
            let value = match value {
                file::ProxyValue::Authority => ProxyValue::Authority,
                file::ProxyValue::Alpn => ProxyValue::Alpn,
                file::ProxyValue::UniqueId => ProxyValue::UniqueId,
            };
            if version == ProxyVersion::V1 {
                self.problems.push(
                    Problem::new("version 1 of PROXY protocol has no additional values", span)
                        .with_help("write `version: 2`, or leave `values` out"),
                );
            } else if values.contains(&value) {
                let message = format!("`{}` is given twice", value.name());
                self.problems.push(Problem::new(message, span));
            } else {
                values.push(value);
            }
        }
        ProxyProtocol { version, values }
    }

    fn host_set(&mut self, name: String, endpoints: file::Items<Located<file::Endpoint>>) {
        let mut seen = HashMap::new();
        let mut hosts = Vec::new();
        for Located { value, span } in endpoints.items {
            if let Some(first) = seen.get(&value.address) {
                let message = format!("the host {} is given twice", value.address);
                self.problems.twice(message, *first, span);
                continue;
            }
            seen.insert(value.address.clone(), span);
            hosts.push(Host {
                address: value.address,
                weight: value.weight,
            });
        }
        let set = HostSet {
            name: name.clone(),
            hosts,
        };
        self.resources.host_sets.insert(name, Arc::new(set));
    }
}

fn circuit_breakers(written: &file::CircuitBreakers) -> CircuitBreakers {
    CircuitBreakers {
        max_connections: written.max_connections.map(|limit| limit.0),
        max_pending: written.max_pending.0,
        max_requests: written.max_requests.map(|limit| limit.0),
        max_retries: written.max_retries.map(|limit| limit.0),
        retry_budget: RetryBudget {
            percent: written.retry_budget.percent.0,
            min: written.retry_budget.min.0,
        },
    }
}
