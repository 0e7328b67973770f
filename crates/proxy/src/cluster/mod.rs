//! Clusters and their hosts.
//!
//! A [`Host`] is one per cluster and address in the process and outlives reloads: its health and counts are numbers of
//! the process. A [`PreparedCluster`] is what the control side makes of a cluster and its host set, with the
//! balancer's table; a [`WorkerCluster`] is a worker's view of it, with the worker's own pools.

mod choice;
mod choices;
mod connect;
mod host;
mod identity;
mod metrics;
mod original;
pub(crate) mod outlier;
mod pool;
pub(crate) mod proxy_header;
mod random;
mod slot;
mod state;
#[cfg(test)]
pub(crate) mod testing;
pub(crate) mod transports;

use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use transom_api::{SelectorConfig, SelectorTable};
use transom_config::Cluster;

use crate::control::snapshot::PreparedUse;

use crate::http::peer::Upstream;
use crate::stream::info::ConnectionInfo;
use crate::tls::prepare::PreparedProvider;
use crate::tls::{ClientTls, TlsConnectError, TlsIdentity, WorkerTls};
use crate::worker::Worker;

use self::choice::Choice;
pub(crate) use self::choice::{HostOverride, by_text};
pub(crate) use self::choices::{Choices, HTTP1, by_transport};
pub(crate) use self::connect::{
    ConnectError, Connected, Connecting, Obtained, UpstreamConnection, connect, connection,
};
pub(crate) use self::host::{Ailment, Host};
pub(crate) use self::identity::Identity;
pub(crate) use self::metrics::ClusterMetrics;
use self::original::Chosen;
pub(crate) use self::pool::Pool;
pub(crate) use self::random::Random;
pub(crate) use self::slot::{Active, Lease, RetryPermit, Slot, Waiters};
pub(crate) use self::state::ClusterState;

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

/// What the control side makes of a cluster and its host set.
pub(crate) struct PreparedCluster {
    pub(crate) id: ClusterId,
    pub(crate) config: Arc<Cluster>,
    pub(crate) hosts: Vec<Arc<Host>>,
    /// Their places in the order of their addresses as text.
    pub(crate) by_text: Box<[u32]>,
    /// By the same index, each host's share.
    pub(crate) weights: Vec<u32>,
    pub(crate) selector: PreparedUse<dyn SelectorConfig>,
    /// The selector's order of these hosts.
    pub(crate) table: Arc<dyn SelectorTable>,
    pub(crate) state: Arc<ClusterState>,
    pub(crate) metrics: ClusterMetrics,
    pub(crate) tls: Option<Arc<ClientTls>>,
    /// Where the certificates of its TLS come from.
    pub(crate) providers: Vec<PreparedProvider>,
    pub(crate) choices: Arc<Choices>,
}

/// A worker's view of a cluster.
pub(crate) struct WorkerCluster {
    pub(crate) name: Rc<str>,
    pub(crate) prepared: Arc<PreparedCluster>,
    hosts: Vec<Rc<WorkerHost>>,
    chosen: Chosen,
    choice: Choice,
}

/// A worker's view of a host: its own pool of connections.
#[derive(Debug)]
pub(crate) struct WorkerHost {
    pub(crate) host: Arc<Host>,
    pub(crate) cluster: Arc<Cluster>,
    pub(crate) state: Arc<ClusterState>,
    pub(crate) metrics: ClusterMetrics,
    pub(crate) tls: Option<WorkerTls>,
    pub(crate) choices: Arc<Choices>,
    pool: Pool,
}

impl PreparedCluster {
    /// Whether so few hosts are healthy that health is passed over: the rest would break down under the load of all.
    pub(crate) fn panics(&self) -> bool {
        let healthy = self.hosts.iter().filter(|host| host.is_healthy()).count();
        healthy * 100 < self.config.panic_threshold as usize * self.hosts.len()
    }

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
                            && known.choices.same_way(&prepared.choices)
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
            chosen: before
                .filter(|before| {
                    before.prepared.config == prepared.config
                        && before.prepared.has_tls(prepared.tls.as_ref())
                        && before.prepared.choices.same_way(&prepared.choices)
                })
                .map_or_else(Chosen::default, |before| before.chosen.clone()),
            choice: Choice::new(
                &prepared.table,
                before.map_or(index, |before| before.choice.position()),
            ),
            prepared,
        }
    }

    pub(crate) fn hosts(&self) -> &[Rc<WorkerHost>] {
        &self.hosts
    }
}

impl WorkerHost {
    fn new(host: Arc<Host>, prepared: &PreparedCluster) -> Self {
        let cluster = Arc::clone(&prepared.config);
        Self {
            state: Arc::clone(&prepared.state),
            metrics: prepared.metrics,
            choices: Arc::clone(&prepared.choices),
            pool: Pool::new(&cluster.pool),
            tls: prepared
                .tls
                .as_ref()
                .zip(cluster.tls.as_ref())
                .map(|(tls, config)| WorkerTls::new(Arc::clone(tls), &host.address, config)),
            host,
            cluster,
        }
    }

    /// What a connection is made with for a request to this authority, `None` for what is no request, of this client; `None`
    /// for what the proxy does for itself.
    #[inline]
    pub(crate) fn identity(
        &self,
        authority: Option<&[u8]>,
        client: Option<&Rc<ConnectionInfo>>,
    ) -> Result<Identity, ConnectError> {
        let tls = match &self.tls {
            None => TlsIdentity::default(),
            Some(tls) => tls
                .identity(authority)
                .ok_or_else(TlsConnectError::no_name)?,
        };
        let client = client.filter(|_| self.cluster.proxy_protocol.is_some());
        let client = client.map(Rc::downgrade);
        Ok(Identity { tls, client })
    }

    /// What it is spoken to with, for logs.
    pub(crate) fn protocol(&self) -> &str {
        match &self.choices.client {
            Some(client) => client.config.name(),
            None => "HTTP/1.1",
        }
    }

    /// An idle connection that is still good and was made for the same.
    pub(crate) fn take_idle(&self, now: Instant, identity: &Identity) -> Option<Lease> {
        self.pool.take(now, identity)
    }

    /// Keeps a connection for later, unless it is old, or somebody waits for its place.
    pub(crate) fn give_idle(&self, lease: Lease, worker: &Worker) {
        let now = worker.now();
        let pool = &self.cluster.pool;
        let is_good = lease.identity().tls.generation == self.generation()
            && !lease.identity().is_orphan()
            && pool
                .max_requests_per_connection
                .is_none_or(|most| lease.requests() < most)
            && pool.max_age.is_none_or(|most| lease.age(now) < most);
        if !is_good {
            return;
        }
        self.pool.give(lease, now);
        if self.state.has_waiting() && !worker.waiters.wake(&self.state) {
            // Who waits is on another worker, which cannot use it.
            self.pool.close_oldest();
        }
    }

    /// Closes the idle connection that was used longest ago. False when there is none.
    pub(crate) fn close_oldest(&self) -> bool {
        self.pool.close_oldest()
    }

    /// Closes connections that are of no use any more. See [`Pool::sweep`].
    pub(crate) fn sweep(&self, now: Instant, most: usize) {
        self.pool.sweep(now, most);
    }

    pub(crate) fn idle(&self) -> usize {
        self.pool.len()
    }

    /// Which state of the TLS a connection is made with that is begun now.
    fn generation(&self) -> u64 {
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

#[cfg(test)]
mod tests {
    use super::testing::{cluster, prepared};
    use super::*;

    fn picks(cluster: &WorkerCluster, count: usize) -> Vec<String> {
        (0..count)
            .map(|_| {
                cluster
                    .pick(&[])
                    .map_or_else(|| "-".to_owned(), |host| host.host.text.clone())
            })
            .collect()
    }

    fn ail(cluster: &WorkerCluster, host: usize) {
        let prepared = &cluster.prepared;
        assert!(prepared.hosts[host].set(Ailment::FailedCheck, true));
        prepared.state.health_changed();
    }

    #[test]
    fn unhealthy_hosts_are_passed_over() {
        let cluster = cluster(3);
        assert_eq!(
            picks(&cluster, 4),
            ["127.0.0.1:1", "127.0.0.1:2", "127.0.0.1:3", "127.0.0.1:1"]
        );
        ail(&cluster, 1);
        assert_eq!(
            picks(&cluster, 3),
            ["127.0.0.1:3", "127.0.0.1:1", "127.0.0.1:3"]
        );
    }

    #[test]
    fn when_most_hosts_are_unhealthy_health_is_passed_over() {
        let cluster = cluster(4);
        ail(&cluster, 0);
        ail(&cluster, 1);
        // Half of them is just enough.
        assert_eq!(picks(&cluster, 2), ["127.0.0.1:3", "127.0.0.1:4"]);
        ail(&cluster, 2);
        assert_eq!(picks(&cluster, 2), ["127.0.0.1:1", "127.0.0.1:2"]);
        assert!(cluster.prepared.hosts[0].set(Ailment::FailedCheck, false));
        cluster.prepared.state.health_changed();
        assert_eq!(picks(&cluster, 2), ["127.0.0.1:4", "127.0.0.1:1"]);
    }

    #[test]
    fn without_a_panic_threshold_no_unhealthy_host_is_taken() {
        let mut prepared = prepared(2);
        Arc::make_mut(&mut prepared.config).panic_threshold = 0;
        let cluster = WorkerCluster::new(Arc::new(prepared), 0, None);
        ail(&cluster, 0);
        assert_eq!(picks(&cluster, 2), ["127.0.0.1:2", "127.0.0.1:2"]);
        ail(&cluster, 1);
        assert_eq!(picks(&cluster, 1), ["-"]);
    }

    #[test]
    fn a_host_that_was_tried_is_taken_again_only_when_there_is_no_other() {
        let cluster = cluster(2);
        let first = cluster.pick(&[]).unwrap();
        for _ in 0..4 {
            let other = cluster.pick(std::slice::from_ref(&first)).unwrap();
            assert_eq!(other.host.text, "127.0.0.1:2");
        }
        let both = cluster.hosts().to_vec();
        assert!(cluster.pick(&both).is_some());
    }

    #[test]
    fn a_selector_that_chooses_nothing_good_does_not_stop_the_traffic() {
        for chosen in [None, Some(0), Some(7)] {
            let mut prepared = prepared(2);
            prepared.table = testing::always(chosen);
            let cluster = WorkerCluster::new(Arc::new(prepared), 0, None);
            ail(&cluster, 0);
            assert_eq!(picks(&cluster, 1), ["127.0.0.1:2"], "{chosen:?}");
        }
    }

    #[test]
    fn a_host_that_is_asked_for_is_taken_if_it_is_there_and_good() {
        // As text 127.0.0.1:10 stands before 127.0.0.1:2.
        let cluster = cluster(12);
        let pick = |host: &str, strict| {
            let asked = HostOverride::new(host, strict).unwrap();
            let picked = cluster.pick_asked(&asked);
            picked.map_or_else(|| "-".to_owned(), |host| host.host.text.clone())
        };
        for strict in [false, true] {
            for host in ["127.0.0.1:1", "127.0.0.1:2", "127.0.0.1:10", "127.0.0.1:12"] {
                assert_eq!(pick(host, strict), host);
            }
        }
        assert_eq!(pick("127.0.0.1:13", true), "-");
        assert_eq!(pick("unix:/a", true), "-");
        assert_eq!(pick("127.0.0.1:13", false), "127.0.0.1:1");
        ail(&cluster, 1);
        assert_eq!(pick("127.0.0.1:2", true), "-");
        assert_eq!(pick("127.0.0.1:2", false), "127.0.0.1:3");
        for host in ["a.test:80", "127.0.0.1", "127.0.0.1:0", ""] {
            assert!(HostOverride::new(host, true).is_none(), "{host}");
        }
    }

    #[test]
    fn active_requests_are_counted_while_they_last() {
        let cluster = cluster(1);
        let host = cluster.pick(&[]).unwrap();
        let first = Active::request(&host).unwrap();
        let second = Active::relay(&host);
        let counts = || (host.host.active.get(), host.state.requests.get());
        assert_eq!(counts(), (2, 1));
        drop((first, second));
        assert_eq!(counts(), (0, 0));
    }

    #[test]
    fn hosts_that_stay_keep_their_pools() {
        let before = cluster(2);
        let mut prepared = PreparedCluster {
            config: Arc::clone(&before.prepared.config),
            hosts: before.prepared.hosts.clone(),
            ..prepared(2)
        };
        prepared.hosts[0] = Arc::new(Host::new("127.0.0.1:9".parse().unwrap()));
        prepared.by_text = by_text(&prepared.hosts);
        let after = WorkerCluster::new(Arc::new(prepared), 0, Some(&before));
        assert!(Rc::ptr_eq(&after.hosts[1], &before.hosts[1]));
        assert!(!Rc::ptr_eq(&after.hosts[0], &before.hosts[0]));
    }
}
