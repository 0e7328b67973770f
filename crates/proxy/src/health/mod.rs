//! Active health checks: the control side asks hosts again and again whether they are well.
//!
//! Each host of a cluster with checks has a task on the control thread. What it finds is written to the host, which all
//! workers share: one that fails is out of use on all of them with the next request.
//!
//! - [`probe`]: one check: connects, asks, looks at the answer;
//! - [`verdict`]: what a row of results makes of a host.

mod probe;
mod verdict;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::task::AbortHandle;
use tokio::time::Instant;
use transom_config::HealthCheck;

use self::probe::Probe;
use self::verdict::Verdict;
use crate::cluster::{Ailment, ClusterState, Host, PreparedCluster, Random, outlier};
use crate::control::snapshot::Snapshot;
use crate::metrics::MetricStore;

/// The checks that run. Dropping it ends them.
#[derive(Default)]
pub(crate) struct HealthChecks {
    /// By the address of the host, which its check holds on to.
    running: HashMap<usize, Running>,
    /// Brings hosts back that were left out after failures in traffic.
    returns: Option<AbortHandle>,
}

struct Running {
    subject: Subject,
    task: AbortHandle,
}

/// What is checked, and how.
#[derive(Clone)]
struct Subject {
    cluster: Arc<PreparedCluster>,
    host: Arc<Host>,
    check: HealthCheck,
}

impl HealthChecks {
    /// Checks what a snapshot that became active says, and nothing else. The check of a host for which nothing changed goes
    /// on, and what was found out of a host holds until its next check.
    pub(crate) fn follow(&mut self, snapshot: &Snapshot, metrics: &Arc<MetricStore>) {
        self.follow_outliers(snapshot);
        let mut before = std::mem::take(&mut self.running);
        for cluster in snapshot.clusters.values() {
            for host in &cluster.hosts {
                let key = Arc::as_ptr(host).addr();
                let known = before.remove(&key);
                let Some(check) = &cluster.config.health_check else {
                    // Nobody asks any more, so nothing may be left of what was found.
                    if known.is_some() {
                        known.into_iter().for_each(Running::end);
                        host.forget_checks();
                        cluster.state.health_changed();
                    }
                    continue;
                };
                let subject = Subject {
                    cluster: Arc::clone(cluster),
                    host: Arc::clone(host),
                    check: check.clone(),
                };
                let running = match known {
                    Some(known) if known.subject.same(&subject) => Running { subject, ..known },
                    known => {
                        known.into_iter().for_each(Running::end);
                        let task = tokio::spawn(watch(subject.clone(), Arc::clone(metrics)));
                        Running {
                            subject,
                            task: task.abort_handle(),
                        }
                    }
                };
                self.running.insert(key, running);
            }
        }
        before.into_values().for_each(Running::end);
    }
}

impl HealthChecks {
    fn follow_outliers(&mut self, snapshot: &Snapshot) {
        let mut watched = Vec::new();
        for cluster in snapshot.clusters.values() {
            if cluster.config.outlier_detection.is_some() {
                watched.push(Arc::clone(cluster));
            } else {
                for host in &cluster.hosts {
                    outlier::forget(host, &cluster.state);
                }
            }
            let ejected = cluster
                .hosts
                .iter()
                .filter(|host| host.has(Ailment::Ejected));
            cluster.state.ejected.set(ejected.count() as u32);
            cluster
                .state
                .hosts
                .store(cluster.hosts.len() as u32, Ordering::Relaxed);
        }
        if let Some(before) = self.returns.take() {
            before.abort();
        }
        if !watched.is_empty() {
            self.returns = Some(tokio::spawn(bring_back(watched)).abort_handle());
        }
    }
}

/// How often it is looked whether the time of a host is over.
const RETURNS: Duration = Duration::from_millis(100);

async fn bring_back(clusters: Vec<Arc<PreparedCluster>>) {
    loop {
        tokio::time::sleep(RETURNS).await;
        for cluster in &clusters {
            let Some(config) = &cluster.config.outlier_detection else {
                continue;
            };
            for host in &cluster.hosts {
                outlier::bring_back(host, &cluster.state, config);
            }
            // Other work of the control thread goes between two clusters.
            tokio::task::yield_now().await;
        }
    }
}

impl Drop for HealthChecks {
    fn drop(&mut self) {
        if let Some(returns) = self.returns.take() {
            returns.abort();
        }
        self.running.drain().for_each(|(_, running)| running.end());
    }
}

impl Running {
    fn end(self) {
        self.task.abort();
    }
}

impl Subject {
    /// Whether a check of the one is as good as one of the other.
    fn same(&self, other: &Self) -> bool {
        let sni = |subject: &Self| {
            let tls = subject.cluster.config.tls.as_ref();
            tls.map(|tls| (tls.sni.as_ref().map(|sni| sni.value.clone()), tls.auto_sni))
        };
        Arc::ptr_eq(&self.host, &other.host)
            && Arc::ptr_eq(&self.cluster.state, &other.cluster.state)
            && self.check == other.check
            && self.cluster.has_tls(other.cluster.tls.as_ref())
            && sni(self) == sni(other)
    }
}

/// Checks a host for as long as the task lives.
async fn watch(subject: Subject, metrics: Arc<MetricStore>) {
    let Subject {
        cluster,
        host,
        check,
    } = subject;
    let mut probe = Probe::new(&host.address, &check, &cluster);
    let (state, counters) = (Arc::clone(&cluster.state), cluster.metrics);
    let name: Arc<str> = cluster.config.name.as_str().into();
    // The task outlives reloads; it must not hold on to the cluster of an old one.
    drop(cluster);
    let mut verdict = Verdict::new(
        !host.has(Ailment::FailedCheck),
        host.was_checked(),
        check.unhealthy_threshold,
        check.healthy_threshold,
    );
    let random = Random::new(Arc::as_ptr(&host).addr());
    // The first checks of many hosts spread over a moment, but nobody waits long for the first word on a host.
    tokio::time::sleep(up_to(&random, check.jitter.min(FIRST))).await;
    loop {
        let began = Instant::now();
        let result = probe.run(check.timeout).await;
        note(&host, &state, &name, &mut verdict, result.as_ref().err());
        if let Some(checks) = &counters.checks {
            let counter = match result {
                Ok(()) => checks.succeeded,
                Err(_) => checks.failed,
            };
            metrics.add_by_control(counter.0, 1);
        }
        let pause = check.interval.saturating_sub(up_to(&random, check.jitter));
        tokio::time::sleep_until(began + pause).await;
    }
}

/// By so much the first check is late at most.
const FIRST: Duration = Duration::from_millis(100);

fn note(
    host: &Host,
    state: &ClusterState,
    cluster: &str,
    verdict: &mut Verdict,
    failure: Option<&String>,
) {
    let turned = verdict.note(failure.is_none());
    host.note_check(failure.map(String::as_str));
    let Some(healthy) = turned else {
        return;
    };
    if host.set(Ailment::FailedCheck, !healthy) {
        state.health_changed();
        match failure {
            None => tracing::info!(cluster, host = host.text, "a host is healthy"),
            Some(why) => {
                tracing::warn!(cluster, host = host.text, why, "a host is unhealthy");
            }
        }
    }
}

/// A random part of a time.
fn up_to(random: &Random, time: Duration) -> Duration {
    let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
    Duration::from_nanos(random.below(nanos))
}
