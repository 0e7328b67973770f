//! Clusters for tests.

use std::cell::Cell;
use std::sync::Arc;
use std::time::Duration;

use transom_api::{
    FailurePolicy, Node, Phase, Selector, SelectorConfig, SelectorHost, SelectorTable, SelectorView,
};
use transom_config::{CircuitBreakers, Cluster, ExtensionName, Pool, RetryBudget, Use};

use crate::metrics::MetricStore;

use super::{
    AllowedClusters, ClusterId, ClusterMetrics, Host, PreparedCluster, PreparedUse, WorkerCluster,
};

/// A worker's view of a cluster `up` of hosts on ports 1 and up.
pub(crate) fn cluster(hosts: usize) -> WorkerCluster {
    WorkerCluster::new(Arc::new(prepared(hosts)), 0, None)
}

pub(crate) fn prepared(hosts: usize) -> PreparedCluster {
    let in_turn: Arc<dyn SelectorConfig> = Arc::new(InTurn);
    let table = in_turn.table(&vec![
        SelectorHost {
            address: "",
            weight: 1
        };
        hosts
    ]);
    let hosts: Vec<_> = (1..=hosts)
        .map(|port| Arc::new(Host::new(format!("127.0.0.1:{port}").parse().unwrap())))
        .collect();
    PreparedCluster {
        by_text: super::by_text(&hosts),
        weights: vec![1; hosts.len()],
        id: ClusterId(0),
        config: Arc::new(config()),
        hosts,
        selector: PreparedUse {
            name: "in_turn".to_owned(),
            extension: "in_turn".into(),
            declared: None,
            factory: 0,
            node: Node::null(),
            config: in_turn,
            generation: 0,
            phase: Phase::BeforeRoute,
            own_phase: Phase::BeforeRoute,
            is_terminal: false,
            policy: FailurePolicy::Closed,
            gate: None,
            bounds: transom_api::UseBounds::default(),
            clusters: AllowedClusters::default(),
        },
        table,
        state: Arc::default(),
        metrics: ClusterMetrics::define(&MetricStore::new(1), &config()).unwrap(),
        tls: None,
        providers: Vec::new(),
        choices: Arc::default(),
    }
}

fn config() -> Cluster {
    Cluster {
        name: "up".to_owned(),
        load_balancing: Use {
            extension: ExtensionName::Builtin("in_turn".to_owned()),
            id: "in_turn".to_owned(),
            config: Node::null(),
            phase: None,
            on_failure: FailurePolicy::Closed,
            when: None,
            sample: None,
            bounds: None,
            disabled: false,
            span: None,
        },
        connect_timeout: Duration::from_secs(5),
        host_set: "up".to_owned(),
        discovery: None,
        transport: None,
        client: None,
        original_dst: None,
        proxy_protocol: None,
        health_check: None,
        outlier_detection: None,
        panic_threshold: 50,
        circuit_breakers: CircuitBreakers {
            max_connections: None,
            max_pending: 1024,
            max_requests: None,
            max_retries: None,
            retry_budget: RetryBudget {
                percent: 20,
                min: 3,
            },
        },
        pool: Pool {
            idle_timeout: Duration::from_secs(60),
            max_idle: 8,
            max_requests_per_connection: None,
            max_connections_per_host: None,
            max_age: None,
        },
        tls: None,
    }
}

/// A table whose selector always says the same.
pub(crate) fn always(chosen: Option<usize>) -> Arc<dyn SelectorTable> {
    Arc::new(Always(chosen))
}

struct Always(Option<usize>);

impl SelectorTable for Always {
    fn on_worker(self: Arc<Self>, _start: usize) -> Box<dyn Selector> {
        Box::new(Self(self.0))
    }
}

impl Selector for Always {
    fn select(&self, _hosts: &dyn SelectorView) -> Option<usize> {
        self.0
    }
}

struct InTurn;

struct Turn(usize, Cell<usize>);

impl SelectorConfig for InTurn {
    fn table(&self, hosts: &[SelectorHost<'_>]) -> Arc<dyn SelectorTable> {
        Arc::new(Count(hosts.len()))
    }
}

struct Count(usize);

impl SelectorTable for Count {
    fn on_worker(self: Arc<Self>, start: usize) -> Box<dyn Selector> {
        Box::new(Turn(self.0, Cell::new(start)))
    }
}

impl Selector for Turn {
    fn select(&self, hosts: &dyn SelectorView) -> Option<usize> {
        (0..self.0).find_map(|_| {
            let turn = self.1.replace(self.1.get() + 1) % self.0;
            hosts.is_available(turn).then_some(turn)
        })
    }

    fn position(&self) -> usize {
        self.1.get()
    }
}
