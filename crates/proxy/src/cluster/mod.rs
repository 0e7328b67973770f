//! Clusters and their hosts.
//!
//! A [`Host`] is one per cluster and address in the process and outlives reloads: its health and counts are numbers of
//! the process. A [`PreparedCluster`] is what the control side makes of a cluster and its host set, with the
//! balancer's table; a [`WorkerCluster`] is a worker's view of it, with the worker's own pools.

mod connect;
mod pool;

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use transom_config::{Cluster, HostAddress};

use crate::http::host_peer::HostPeer;
use crate::http::peer::Upstream;
use crate::tls::{ClientTls, WorkerTls};

pub(crate) use self::connect::{ConnectError, Connected, Connecting, connect};
pub(crate) use self::pool::Pool;

/// A cluster's number in the process. A name keeps its number for as long as the process lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct ClusterId(pub(crate) u32);

/// The clusters that callouts of a use may go to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct AllowedClusters {
    pub(crate) named: Vec<String>,
    pub(crate) any: bool,
}

impl AllowedClusters {
    pub(crate) fn allow(&self, cluster: &str) -> bool {
        self.any || self.named.iter().any(|named| named == cluster)
    }
}

/// A host of a cluster, shared by all workers and snapshots.
#[derive(Debug)]
pub(crate) struct Host {
    pub(crate) address: HostAddress,
    /// The address as text, for logs and attributes.
    pub(crate) text: String,
    pub(crate) healthy: AtomicBool,
}

/// What the control side makes of a cluster and its host set.
pub(crate) struct PreparedCluster {
    pub(crate) id: ClusterId,
    pub(crate) config: Arc<Cluster>,
    pub(crate) hosts: Vec<Arc<Host>>,
    /// Indexes of hosts in the order in which they are taken: each as often as its weight says, spread evenly.
    pub(crate) turns: Vec<u16>,
    pub(crate) tls: Option<Arc<ClientTls>>,
}

/// A worker's view of a cluster.
pub(crate) struct WorkerCluster {
    pub(crate) name: Rc<str>,
    pub(crate) prepared: Arc<PreparedCluster>,
    hosts: Vec<Rc<WorkerHost>>,
    next: Cell<usize>,
}

/// A worker's view of a host: its own pool of connections.
#[derive(Debug)]
pub(crate) struct WorkerHost {
    pub(crate) host: Arc<Host>,
    pub(crate) cluster: Arc<Cluster>,
    pub(crate) tls: Option<WorkerTls>,
    pool: Pool,
}

impl PreparedCluster {
    /// Whether this is its TLS.
    pub(crate) fn has_tls(&self, tls: Option<&Arc<ClientTls>>) -> bool {
        match (&self.tls, tls) {
            (Some(a), Some(b)) => Arc::ptr_eq(a, b),
            (None, None) => true,
            _ => false,
        }
    }
}

impl WorkerCluster {
    /// The view of worker `index`. Hosts that `before` had too keep their pools. Workers begin at different turns, so
    /// that they do not all go to the same host first.
    pub(crate) fn new(
        prepared: Arc<PreparedCluster>,
        index: usize,
        before: Option<&WorkerCluster>,
    ) -> Self {
        let hosts = prepared.hosts.iter().map(|host| {
            before
                .and_then(|before| {
                    before.hosts.iter().find(|known| {
                        Arc::ptr_eq(&known.host, host)
                            && known.cluster == prepared.config
                            && known.has_tls(prepared.tls.as_ref())
                    })
                })
                .map_or_else(
                    || Rc::new(WorkerHost::new(Arc::clone(host), &prepared)),
                    Rc::clone,
                )
        });
        Self {
            name: Rc::from(prepared.config.name.as_str()),
            hosts: hosts.collect(),
            next: Cell::new(before.map_or(index, |before| before.next.get())),
            prepared,
        }
    }

    /// The next host, by round robin over those that are healthy.
    pub(crate) fn pick(&self) -> Option<Rc<WorkerHost>> {
        let turns = &self.prepared.turns;
        for _ in 0..turns.len() {
            let turn = self.next.get();
            self.next.set(turn.wrapping_add(1));
            let host = turns
                .get(turn % turns.len())
                .and_then(|index| self.hosts.get(usize::from(*index)))?;
            if host.host.healthy.load(Ordering::Relaxed) {
                return Some(Rc::clone(host));
            }
        }
        None
    }

    pub(crate) fn hosts(&self) -> &[Rc<WorkerHost>] {
        &self.hosts
    }
}

impl WorkerHost {
    fn new(host: Arc<Host>, prepared: &PreparedCluster) -> Self {
        let cluster = Arc::clone(&prepared.config);
        let sni = cluster.tls.as_ref().and_then(|tls| tls.sni.as_ref());
        Self {
            pool: Pool::new(&cluster.pool),
            tls: prepared.tls.as_ref().map(|tls| {
                WorkerTls::new(
                    Arc::clone(tls),
                    &host.address,
                    sni.map(|sni| sni.value.as_str()),
                )
            }),
            host,
            cluster,
        }
    }

    /// An idle connection that is still good and was made with the TLS of now.
    pub(crate) fn take_idle(&self, now: Instant) -> Option<HostPeer> {
        self.pool.take(now, self.generation())
    }

    /// Keeps a connection for later.
    pub(crate) fn give_idle(&self, client: HostPeer, now: Instant) {
        if client.generation() == self.generation() {
            self.pool.give(client, now);
        }
    }

    /// Closes connections that are of no use any more. See [`Pool::sweep`].
    pub(crate) fn sweep(&self, now: Instant, most: usize) {
        self.pool.sweep(now, most);
    }

    pub(crate) fn idle(&self) -> usize {
        self.pool.len()
    }

    /// Which TLS a connection is made with that is begun now.
    pub(crate) fn generation(&self) -> u64 {
        self.tls.as_ref().map_or(0, WorkerTls::generation)
    }

    fn has_tls(&self, tls: Option<&Arc<ClientTls>>) -> bool {
        match (&self.tls, tls) {
            (Some(mine), Some(tls)) => mine.shares(tls),
            (None, None) => true,
            _ => false,
        }
    }
}

impl Host {
    pub(crate) fn new(address: HostAddress) -> Self {
        Self {
            text: address.to_string(),
            address,
            healthy: AtomicBool::new(true),
        }
    }
}

/// The order of turns for hosts of these weights: smooth weighted round robin, so that a heavy host's turns do not
/// come in a row.
pub(crate) fn turns(weights: &[u32]) -> Vec<u16> {
    let divisor = weights.iter().copied().fold(0, gcd).max(1);
    let weights: Vec<i64> = weights
        .iter()
        .map(|weight| i64::from(weight / divisor))
        .collect();
    let total: i64 = weights.iter().sum();
    let mut current = vec![0_i64; weights.len()];
    (0..total)
        .filter_map(|_| {
            for (value, weight) in current.iter_mut().zip(&weights) {
                *value += weight;
            }
            // The first of the largest, so that equal weights go in configuration order.
            let (chosen, value) = current
                .iter_mut()
                .enumerate()
                .rev()
                .max_by_key(|(_, value)| **value)?;
            *value -= total;
            u16::try_from(chosen).ok()
        })
        .collect()
}

fn gcd(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_follow_the_weights_and_are_spread() {
        assert_eq!(turns(&[1, 1, 1]), [0, 1, 2]);
        assert_eq!(turns(&[10, 10]), [0, 1]);
        assert_eq!(turns(&[5, 1, 1]), [0, 0, 1, 0, 2, 0, 0]);
        assert_eq!(turns(&[]), [] as [u16; 0]);
    }

    fn cluster(hosts: usize) -> WorkerCluster {
        let config = Arc::new(Cluster {
            name: "c".to_owned(),
            load_balancing: "round_robin".to_owned().into(),
            connect_timeout: std::time::Duration::from_secs(5),
            host_set: "c".to_owned(),
            pool: transom_config::Pool {
                idle_timeout: std::time::Duration::from_secs(60),
                max_idle: 8,
                max_requests_per_connection: None,
            },
            tls: None,
        });
        let hosts: Vec<Arc<Host>> = (0..hosts)
            .map(|port| {
                Arc::new(Host::new(
                    format!("127.0.0.1:{}", port + 1).parse().unwrap(),
                ))
            })
            .collect();
        let prepared = PreparedCluster {
            id: ClusterId(0),
            config,
            turns: turns(&vec![1; hosts.len()]),
            hosts,
            tls: None,
        };
        WorkerCluster::new(Arc::new(prepared), 0, None)
    }

    fn picks(cluster: &WorkerCluster, count: usize) -> Vec<String> {
        (0..count)
            .map(|_| {
                cluster
                    .pick()
                    .map_or_else(|| "-".to_owned(), |host| host.host.text.clone())
            })
            .collect()
    }

    #[test]
    fn round_robin_passes_over_unhealthy_hosts() {
        let cluster = cluster(3);
        assert_eq!(
            picks(&cluster, 4),
            ["127.0.0.1:1", "127.0.0.1:2", "127.0.0.1:3", "127.0.0.1:1"]
        );
        cluster.prepared.hosts[1]
            .healthy
            .store(false, Ordering::Relaxed);
        assert_eq!(
            picks(&cluster, 3),
            ["127.0.0.1:3", "127.0.0.1:1", "127.0.0.1:3"]
        );
        for host in &cluster.prepared.hosts {
            host.healthy.store(false, Ordering::Relaxed);
        }
        assert_eq!(picks(&cluster, 1), ["-"]);
    }

    #[test]
    fn hosts_that_stay_keep_their_pools() {
        let before = cluster(2);
        let mut prepared = PreparedCluster {
            id: ClusterId(0),
            config: Arc::clone(&before.prepared.config),
            hosts: before.prepared.hosts.clone(),
            turns: vec![0, 1],
            tls: None,
        };
        prepared.hosts[0] = Arc::new(Host::new("127.0.0.1:9".parse().unwrap()));
        let after = WorkerCluster::new(Arc::new(prepared), 0, Some(&before));
        assert!(Rc::ptr_eq(&after.hosts[1], &before.hosts[1]));
        assert!(!Rc::ptr_eq(&after.hosts[0], &before.hosts[0]));
    }
}
