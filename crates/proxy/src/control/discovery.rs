//! Registries followed: the hosts of clusters that come from one.
//!
//! For each cluster with a service a task on the control side has the registry watch it. What the registry tells is kept,
//! and stays while the registry is away; a change is another configuration with other hosts, activated like any.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::task::{AbortHandle, JoinHandle};
use tokio::time::Instant;
use transom_api::{Counter, Discovered, ServiceHost, ServiceRegistry};
use transom_config::{Host, HostAddress};

use super::snapshot::PreparedUse;
use crate::metrics::MetricStore;

/// How long an activation waits for the first answer of a registry. Then it goes on without hosts: those that can be served
/// without this registry are not to wait for it.
pub(super) const FIRST_ANSWER: Duration = Duration::from_secs(5);
/// A registry that cannot go on is asked again after this, then twice, four times as long.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LAST_PAUSE: Duration = Duration::from_secs(30);
/// One that went on for so long begins anew.
const WENT_WELL: Duration = Duration::from_secs(60);

/// A service that is followed. Dropping it ends that.
pub(crate) struct Followed {
    pub(crate) registry: PreparedUse<dyn ServiceRegistry>,
    service: String,
    hosts: watch::Receiver<Option<Arc<Vec<Host>>>>,
    task: AbortHandle,
}

/// What is followed, and for whom.
pub(super) struct Wanted<'a> {
    pub(super) cluster: &'a str,
    pub(super) service: &'a str,
    pub(super) registry: PreparedUse<dyn ServiceRegistry>,
    /// Told when the hosts are others than before.
    pub(super) changed: Arc<Notify>,
    pub(super) metrics: Arc<MetricStore>,
    pub(super) failures: Counter,
}

impl Followed {
    pub(super) fn new(wanted: Wanted<'_>) -> Arc<Self> {
        let (sender, hosts) = watch::channel(None);
        let (cluster, service) = (wanted.cluster.to_owned(), wanted.service.to_owned());
        let changed = wanted.changed;
        let name = cluster.clone();
        let told = Discovered::new(move |told| {
            let hosts = usable(&name, told);
            let is_new = sender.send_if_modified(|before| {
                let is_new = before.as_deref() != Some(&hosts);
                if is_new {
                    *before = Some(Arc::new(hosts));
                }
                is_new
            });
            if is_new {
                changed.notify_one();
            }
        });
        let following = Following {
            registry: Arc::clone(&wanted.registry.config),
            name: wanted.registry.extension.as_str().to_owned(),
            cluster,
            service: service.clone(),
            told,
            metrics: wanted.metrics,
            failures: wanted.failures,
        };
        Arc::new(Self {
            registry: wanted.registry,
            service,
            hosts,
            task: tokio::spawn(following.run()).abort_handle(),
        })
    }

    /// Whether it follows just this.
    pub(super) fn is_of(&self, service: &str, registry: &PreparedUse<dyn ServiceRegistry>) -> bool {
        self.service == service && Arc::ptr_eq(&self.registry.config, &registry.config)
    }

    /// Waits for the first answer. False when there was none by then.
    pub(super) async fn is_answered_by(&self, deadline: Instant) -> bool {
        let mut hosts = self.hosts.clone();
        let answered = hosts.wait_for(Option::is_some);
        matches!(tokio::time::timeout_at(deadline, answered).await, Ok(Ok(_)))
    }

    /// The hosts that it was told last; none before the first answer.
    pub(crate) fn hosts(&self) -> Arc<Vec<Host>> {
        self.hosts.borrow().clone().unwrap_or_default()
    }
}

impl Drop for Followed {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Following {
    registry: Arc<dyn ServiceRegistry>,
    name: String,
    cluster: String,
    service: String,
    told: Discovered,
    metrics: Arc<MetricStore>,
    failures: Counter,
}

/// Ends a task with who waits for it.
struct Task(JoinHandle<Result<(), transom_api::PrepareError>>);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Following {
    async fn run(self) {
        let mut pause = FIRST_PAUSE;
        let mut last = String::new();
        loop {
            let begun = Instant::now();
            let (registry, service) = (Arc::clone(&self.registry), self.service.clone());
            let told = self.told.clone();
            // In a task of its own, so that one that panics is a failure like any other.
            let mut task = Task(tokio::spawn(
                async move { registry.watch(service, told).await },
            ));
            let why = match (&mut task.0).await {
                Ok(Ok(())) => "it ended".to_owned(),
                Ok(Err(error)) => error.message,
                Err(_) => "it panicked".to_owned(),
            };
            self.metrics.add_by_control(self.failures.0, 1);
            if begun.elapsed() >= WENT_WELL {
                pause = FIRST_PAUSE;
                last.clear();
            }
            if why != last {
                tracing::warn!(
                    cluster = self.cluster,
                    service = self.service,
                    registry = self.name,
                    "the registry cannot be followed, the hosts that it told last stay: {why}"
                );
                last = why;
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LAST_PAUSE);
        }
    }
}

/// What can be used of what a registry told: in one order whatever the registry's is, each address once.
fn usable(cluster: &str, told: Vec<ServiceHost>) -> Vec<Host> {
    let mut seen = BTreeSet::new();
    let mut hosts = Vec::with_capacity(told.len());
    for host in told {
        let address: HostAddress = match host.address.parse() {
            Ok(address) => address,
            Err(error) => {
                let error: transom_api::ParseError = error;
                tracing::warn!(
                    cluster,
                    host = host.address,
                    "a host of the registry is left out: {}",
                    error.message
                );
                continue;
            }
        };
        let text = address.to_string();
        if seen.insert(text.clone()) {
            let weight = host.weight.clamp(1, 128);
            hosts.push((text, Host { address, weight }));
        }
    }
    hosts.sort_by(|(a, _), (b, _)| a.cmp(b));
    hosts.into_iter().map(|(_, host)| host).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_come_in_one_order_once_and_only_with_an_address() {
        let told = [
            "127.0.0.1:9",
            "nonsense",
            "unix:/a",
            "127.0.0.1:10",
            "127.0.0.1:9",
        ];
        let told = told.map(|address| ServiceHost {
            weight: 1000,
            ..ServiceHost::new(address)
        });
        let hosts = usable("up", told.to_vec());
        let addresses: Vec<_> = hosts.iter().map(|host| host.address.to_string()).collect();
        assert_eq!(addresses, ["127.0.0.1:10", "127.0.0.1:9", "unix:/a"]);
        assert!(hosts.iter().all(|host| host.weight == 128));
    }
}
