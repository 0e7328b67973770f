//! Clusters: their hosts, their selector, their TLS.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use transom_api::{SelectorConfig, SelectorHost, SelectorTable, Selectors};
use transom_config::{Cluster, HostAddress, HostSet, Resources};

use super::choices::{Services, check_hosts, with_tls};
use super::{ApplyError, Declared, Preparer, Snapshot};
use crate::cluster::{
    Ailment, ClusterId, ClusterMetrics, ClusterState, Host, PreparedCluster, by_text,
};
use crate::control::discovery::Followed;

/// Tables of more hosts than this are made on a thread for blocking work: the control thread has a millisecond at a time.
const LARGE: usize = 256;

impl Preparer {
    pub(super) async fn prepare_clusters(
        &mut self,
        resources: &Resources,
        before: Option<&Snapshot>,
        services: &Services,
        declared: &Declared<'_>,
    ) -> Result<BTreeMap<String, Arc<PreparedCluster>>, ApplyError> {
        let mut clusters = BTreeMap::new();
        for (name, cluster) in &resources.clusters {
            let known = before.and_then(|before| before.clusters.get(name));
            let hosts = resources.host_sets.get(&cluster.host_set).ok_or_else(|| {
                ApplyError::new(format!(
                    "the cluster `{name}` names the host set `{}`, which is not there",
                    cluster.host_set
                ))
            })?;
            let same_hosts = before
                .and_then(|before| before.resources.host_sets.get(&cluster.host_set))
                == Some(hosts);
            let followed = services.get(name).map(Arc::clone);
            let prepared = self
                .prepare_cluster(cluster, hosts, followed, known, same_hosts, declared)
                .await?;
            clusters.insert(name.clone(), prepared);
        }
        Ok(clusters)
    }

    async fn prepare_cluster(
        &mut self,
        cluster: &Arc<Cluster>,
        set: &HostSet,
        followed: Option<Arc<Followed>>,
        known: Option<&Arc<PreparedCluster>>,
        same_hosts: bool,
        declared: &Declared<'_>,
    ) -> Result<Arc<PreparedCluster>, ApplyError> {
        let name = cluster.name.as_str();
        let choices = self
            .prepare_choices(
                cluster,
                known.map(|known| &*known.choices),
                followed,
                declared,
            )
            .await?;
        let cluster = &with_tls(cluster, &choices);
        check_hosts(cluster, set, &choices)?;
        let (tls, providers) = match &cluster.tls {
            Some(tls) => {
                let known = known.map(|known| &**known);
                let prepared = self.prepare_client_tls(name, tls, known, declared);
                let (tls, providers) = prepared.await?;
                (Some(tls), providers)
            }
            None => (None, Vec::new()),
        };
        let selector = self
            .prepare_use::<Selectors>(
                &cluster.load_balancing,
                known.map(|known| &known.selector),
                declared,
            )
            .await?;
        let same_selector =
            known.is_some_and(|known| Arc::ptr_eq(&known.selector.config, &selector.config));
        if let Some(known) = known
            && same_hosts
            && same_selector
            && known.config == *cluster
            && known.has_tls(tls.as_ref())
            && known.choices.same(&choices)
        {
            return Ok(Arc::clone(known));
        }
        let next = ClusterId(self.cluster_ids.len() as u32);
        let id = *self.cluster_ids.entry(name.to_owned()).or_insert(next);
        let table = match known.filter(|_| same_hosts && same_selector) {
            Some(known) => Arc::clone(&known.table),
            None => table(&selector.config, set).await?,
        };
        // A host is one in the process for its cluster and address: its health outlives the change.
        let known_hosts: BTreeMap<_, _> = known
            .iter()
            .flat_map(|known| &known.hosts)
            .map(|host| (&host.address, host))
            .collect();
        let hosts: Vec<_> = (set.hosts.iter())
            .map(|host| {
                known_hosts.get(&host.address).map_or_else(
                    || Arc::new(new_host(host.address.clone(), cluster)),
                    |known| Arc::clone(known),
                )
            })
            .collect();
        let state = known.map_or_else(
            || Arc::new(ClusterState::new(&self.inboxes)),
            |known| Arc::clone(&known.state),
        );
        // The share of healthy hosts is another among other hosts.
        state.health_changed();
        Ok(Arc::new(PreparedCluster {
            id,
            // An equal configuration stays the same object: the pools depend on it.
            config: known
                .filter(|known| known.config == *cluster)
                .map_or_else(|| Arc::clone(cluster), |known| Arc::clone(&known.config)),
            by_text: by_text(&hosts),
            hosts,
            weights: set.hosts.iter().map(|host| host.weight).collect(),
            selector,
            table,
            state,
            metrics: ClusterMetrics::define(&self.metrics, cluster)?,
            tls,
            providers,
            choices: Arc::new(choices),
        }))
    }
}

/// A host of which nothing is known yet.
fn new_host(address: HostAddress, cluster: &Cluster) -> Host {
    let host = Host::new(address);
    if let Some(check) = &cluster.health_check
        && !check.initially_healthy
    {
        host.set(Ailment::FailedCheck, true);
    }
    host
}

/// The selector's order of these hosts.
async fn table(
    selector: &Arc<dyn SelectorConfig>,
    set: &HostSet,
) -> Result<Arc<dyn SelectorTable>, ApplyError> {
    let selector = Arc::clone(selector);
    let hosts: Vec<(String, u32)> = set
        .hosts
        .iter()
        .map(|host| (host.address.to_string(), host.weight))
        .collect();
    let is_large = hosts.len() > LARGE;
    let make = move || {
        let hosts: Vec<SelectorHost<'_>> = hosts
            .iter()
            .map(|(address, weight)| SelectorHost {
                address,
                weight: *weight,
            })
            .collect();
        catch_unwind(AssertUnwindSafe(|| selector.table(&hosts))).ok()
    };
    let made = if is_large {
        tokio::task::spawn_blocking(make).await.ok().flatten()
    } else {
        make()
    };
    made.ok_or_else(|| {
        ApplyError::new(format!(
            "the selector panicked over the host set `{}`",
            set.name
        ))
    })
}
