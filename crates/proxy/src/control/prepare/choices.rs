//! What a cluster chooses beside its selector: where its hosts come from, how they are connected, what they speak.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::time::Instant;
use transom_api::{Clients, ServerProtocol, Servers, ServiceRegistries, Transports};
use transom_config::{Cluster, ClusterTls, ExtensionName, HostSet, Http, Resources};

use super::{ApplyError, Declared, Preparer, Snapshot};
use crate::cluster::{Choices, HTTP1};
use crate::control::discovery::{FIRST_ANSWER, Followed, Wanted};
use crate::control::snapshot::PreparedUse;

/// The services that clusters follow, by the cluster's name.
pub(super) type Services = BTreeMap<String, Arc<Followed>>;

impl Preparer {
    /// Follows the services of all clusters, and waits a while for those that are new to have hosts.
    pub(super) async fn follow(
        &self,
        resources: &Resources,
        before: Option<&Snapshot>,
        declared: &Declared<'_>,
    ) -> Result<Services, ApplyError> {
        let mut services = Services::new();
        for (name, cluster) in &resources.clusters {
            let Some(discovery) = &cluster.discovery else {
                continue;
            };
            let known = before
                .and_then(|before| before.clusters.get(name))
                .and_then(|known| known.choices.followed.as_ref());
            let registry = self
                .prepare_use::<ServiceRegistries>(
                    &discovery.registry,
                    known.map(|known| &known.registry),
                    declared,
                )
                .await?;
            let followed = match known {
                Some(known) if known.is_of(&discovery.service, &registry) => Arc::clone(known),
                _ => Followed::new(Wanted {
                    cluster: name,
                    service: &discovery.service,
                    registry,
                    changed: Arc::clone(&self.hosts_changed),
                    failures: self.metrics.metrics().counter(
                        "registry_failures_total",
                        "How often a registry could not be followed any more, or not at all.",
                        &[("cluster", name)],
                    )?,
                    metrics: Arc::clone(&self.metrics),
                }),
            };
            services.insert(name.clone(), followed);
        }
        let deadline = Instant::now() + FIRST_ANSWER;
        for (cluster, followed) in &services {
            if !followed.is_answered_by(deadline).await {
                tracing::warn!(
                    cluster,
                    "its registry has not answered: it has no hosts until it does"
                );
            }
        }
        Ok(services)
    }

    /// What clients of an `http` filter speak; `None` is what the proxy itself does.
    pub(super) async fn prepare_server(
        &self,
        http: &Http,
        known: Option<&PreparedUse<dyn ServerProtocol>>,
        declared: &Declared<'_>,
    ) -> Result<Option<PreparedUse<dyn ServerProtocol>>, ApplyError> {
        match &http.protocol {
            Some(used) if used.extension != ExtensionName::Builtin(HTTP1.to_owned()) => {
                let prepared = self.prepare_use::<Servers>(used, known, declared);
                Ok(Some(prepared.await?))
            }
            _ => Ok(None),
        }
    }

    /// The transport and the client of a cluster.
    pub(super) async fn prepare_choices(
        &self,
        cluster: &Cluster,
        known: Option<&Choices>,
        followed: Option<Arc<Followed>>,
        declared: &Declared<'_>,
    ) -> Result<Choices, ApplyError> {
        let transport = match &cluster.transport {
            Some(used) => {
                let known = known.and_then(|known| known.transport.as_ref());
                let prepared = self.prepare_use::<Transports>(used, known, declared);
                Some(prepared.await?)
            }
            None => None,
        };
        let client = match &cluster.client {
            Some(used) if used.extension != ExtensionName::Builtin(HTTP1.to_owned()) => {
                let known = known.and_then(|known| known.client.as_ref());
                let prepared = self.prepare_use::<Clients>(used, known, declared);
                Some(prepared.await?)
            }
            // What the proxy itself speaks to hosts.
            _ => None,
        };
        Ok(Choices {
            followed,
            transport,
            client,
        })
    }
}

/// The resources with the hosts that registries told.
pub(super) fn with_hosts(resources: &Resources, services: &Services) -> Resources {
    let mut resources = resources.clone();
    for (name, followed) in services {
        let Some(cluster) = resources.clusters.get(name) else {
            continue;
        };
        let set = HostSet {
            name: cluster.host_set.clone(),
            hosts: Vec::clone(&followed.hosts()),
        };
        let sets = &mut resources.host_sets;
        sets.insert(cluster.host_set.clone(), Arc::new(set));
    }
    resources
}

/// The cluster as it is used: with TLS, where its transport asks for that and the cluster says nothing of it.
pub(super) fn with_tls(cluster: &Arc<Cluster>, choices: &Choices) -> Arc<Cluster> {
    let transport = choices.transport.as_ref();
    if cluster.tls.is_some() || !transport.is_some_and(|used| used.config.requires_tls()) {
        return Arc::clone(cluster);
    }
    Arc::new(Cluster {
        tls: Some(ClusterTls::default()),
        ..Cluster::clone(cluster)
    })
}

/// Refuses hosts that the cluster's transport cannot reach.
pub(super) fn check_hosts(
    cluster: &Cluster,
    set: &HostSet,
    choices: &Choices,
) -> Result<(), ApplyError> {
    let Some(transport) = &choices.transport else {
        return Ok(());
    };
    for host in &set.hosts {
        if let Err(why) = transport.config.check(&host.address.to_string()) {
            let message = format!(
                "the transport `{}` of the cluster `{}` cannot reach {}: {why}",
                transport.extension.as_str(),
                cluster.name,
                host.address,
            );
            let span = cluster.transport.as_ref().and_then(|used| used.span);
            return Err(ApplyError::at(
                span,
                message,
                "name a transport that fits its hosts, or leave it out",
            ));
        }
    }
    Ok(())
}
