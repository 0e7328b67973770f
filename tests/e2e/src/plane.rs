//! The data plane under test.

use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;

use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;
use transom_api::Registry;
use transom_api::control::MetricValue;
use transom_logs::Logs;
use transom_proxy::{Proxy, Settings};
use transom_test_filters::Lab;

use crate::{Client, Message, Upstream};

/// A running data plane with the built-in and the test filters, and a control thread to order it about.
#[derive(Debug)]
pub struct Plane {
    /// The data plane.
    pub proxy: Arc<Proxy>,
    /// What the test filters observe.
    pub lab: Lab,
    /// What the built-in access logs write to.
    pub logs: Logs,
    registry: Arc<Registry>,
    control: Handle,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// The configuration of a listener `in` with an `http` filter and a cluster `up`: all that most tests need.
#[derive(Clone, Debug)]
pub struct Setup {
    workers: usize,
    filters: Vec<String>,
    network_filters: Vec<String>,
    access_logs: Vec<String>,
    options: Vec<String>,
    listener_options: Vec<String>,
    routes: Vec<String>,
    clusters: Vec<String>,
}

impl Setup {
    /// One worker, no filters, every path to `upstream`.
    #[must_use]
    pub fn to(upstream: &Upstream) -> Self {
        Self::to_address(upstream.address())
    }

    /// The same to an address.
    #[must_use]
    pub fn to_address(upstream: SocketAddr) -> Self {
        Self {
            workers: 1,
            filters: Vec::new(),
            network_filters: Vec::new(),
            access_logs: Vec::new(),
            options: Vec::new(),
            listener_options: Vec::new(),
            routes: Vec::new(),
            clusters: Vec::new(),
        }
        .cluster("up", &[upstream])
    }

    /// The same with so many workers.
    #[must_use]
    pub fn workers(mut self, workers: usize) -> Self {
        self.workers = workers;
        self
    }

    /// The same with one more stream filter, written in YAML's flow style.
    #[must_use]
    pub fn filter(mut self, used: &str) -> Self {
        self.filters.push(used.to_owned());
        self
    }

    /// The same without stream filters.
    #[must_use]
    pub fn no_filters(mut self) -> Self {
        self.filters.clear();
        self
    }

    /// The same with one more network filter.
    #[must_use]
    pub fn network_filter(mut self, used: &str) -> Self {
        self.network_filters.push(used.to_owned());
        self
    }

    /// The same with one more access log.
    #[must_use]
    pub fn access_log(mut self, used: &str) -> Self {
        self.access_logs.push(used.to_owned());
        self
    }

    /// The same with an option of the `http` filter, such as `response_order: config`.
    #[must_use]
    pub fn option(mut self, option: &str) -> Self {
        self.options.push(option.to_owned());
        self
    }

    /// The same with an option of the listener.
    #[must_use]
    pub fn listener_option(mut self, option: &str) -> Self {
        self.listener_options.push(option.to_owned());
        self
    }

    /// The same with a route before those that are there already.
    #[must_use]
    pub fn route(mut self, route: &str) -> Self {
        self.routes.push(route.to_owned());
        self
    }

    /// The same with one more cluster.
    #[must_use]
    pub fn cluster(self, name: &str, hosts: &[SocketAddr]) -> Self {
        let hosts: Vec<String> = hosts.iter().map(|host| format!("\"{host}\"")).collect();
        self.cluster_of(&format!(
            "{{name: {name}, endpoints: [{}]}}",
            hosts.join(", ")
        ))
    }

    /// The same with one more cluster, written in YAML's flow style.
    #[must_use]
    pub fn cluster_of(mut self, cluster: &str) -> Self {
        self.clusters.push(cluster.to_owned());
        self
    }

    /// The same with no cluster at all.
    #[must_use]
    pub fn no_clusters(mut self) -> Self {
        self.clusters.clear();
        self
    }

    /// The configuration as YAML. Every path for which there is no other route goes to the cluster `up`, but paths
    /// below `/none`.
    #[must_use]
    pub fn yaml(&self) -> String {
        let mut yaml = String::from("listeners:\n  - name: in\n    address: 127.0.0.1:0\n");
        for option in &self.listener_options {
            yaml += &format!("    {option}\n");
        }
        yaml += "    network_filters:\n";
        for used in &self.network_filters {
            yaml += &format!("      - {used}\n");
        }
        yaml += "      - name: http\n        config:\n";
        for option in &self.options {
            yaml += &format!("          {option}\n");
        }
        yaml += "          stream_filters:\n";
        for used in &self.filters {
            yaml += &format!("            - {used}\n");
        }
        if self.filters.is_empty() {
            yaml.truncate(yaml.len() - 1);
            yaml += " []\n";
        }
        if !self.access_logs.is_empty() {
            yaml += "          access_logs:\n";
        }
        for used in &self.access_logs {
            yaml += &format!("            - {used}\n");
        }
        yaml += "          virtual_hosts:\n            - domains: [\"*\"]\n              routes:\n";
        for route in &self.routes {
            yaml += &format!("                - {route}\n");
        }
        yaml += "                - {match: {prefix: /}, cluster: up}\n";
        yaml += "            - {domains: [\"nowhere.test\"], routes: []}\n";
        yaml += "clusters:\n";
        for cluster in &self.clusters {
            yaml += &format!("  - {cluster}\n");
        }
        yaml
    }

    /// Starts a data plane with this configuration.
    ///
    /// # Panics
    /// When the configuration is not good.
    #[must_use]
    pub fn start(&self) -> Plane {
        Plane::start(self.workers, &self.yaml())
    }
}

impl Plane {
    /// Starts a data plane.
    ///
    /// # Panics
    /// When the configuration is not good.
    #[must_use]
    pub fn start(workers: usize, yaml: &str) -> Self {
        Self::start_with(workers, yaml, |_| {})
    }

    /// The same with what `more` puts into the registry besides.
    ///
    /// # Panics
    /// When the configuration is not good.
    #[must_use]
    pub fn start_with(workers: usize, yaml: &str, more: impl FnOnce(&mut Registry)) -> Self {
        let mut builtin = Registry::new();
        transom_filters::register(&mut builtin).unwrap();
        transom_services::register(&mut builtin).unwrap();
        let logs = Logs::default();
        logs.register(&mut builtin).unwrap();
        transom_proxy::register_certificate_providers(&mut builtin).unwrap();
        transom_proxy::register_ways(&mut builtin).unwrap();
        transom_registries::register(&mut builtin).unwrap();
        // Over the built-in ones: a test filter may have the name of one of them.
        let mut registry = Registry::over(Arc::new(builtin));
        let lab = transom_test_filters::register(&mut registry).unwrap();
        more(&mut registry);
        let registry = Arc::new(registry);
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        let control = runtime.handle().clone();
        let (stop, stopped) = oneshot::channel();
        // Runs what the proxy leaves for later, as the program's control thread does.
        let thread = std::thread::spawn(move || {
            // Ends as well when the plane is gone.
            let _ = runtime.block_on(stopped);
        });
        let proxy = Proxy::start(Settings {
            workers,
            registry: Arc::clone(&registry),
        });
        let plane = Self {
            proxy: Arc::new(proxy.unwrap()),
            lab,
            logs,
            registry,
            control,
            stop: Some(stop),
            thread: Some(thread),
        };
        plane.apply(yaml).unwrap();
        plane
    }

    /// Makes another configuration active, or says why not.
    pub fn apply(&self, yaml: &str) -> Result<(), String> {
        let configuration = transom_config::check_str("test", yaml, &self.registry)
            .map_err(|report| report.to_string())?;
        self.wait(self.proxy.apply(&configuration.resources))
            .map_err(|error| error.to_string())
    }

    /// Why a configuration that is good by itself cannot be made active.
    ///
    /// # Panics
    /// When it can.
    #[must_use]
    pub fn apply_error(&self, yaml: &str) -> transom_proxy::ApplyError {
        let configuration = transom_config::check_str("test", yaml, &self.registry).unwrap();
        self.wait(self.proxy.apply(&configuration.resources))
            .unwrap_err()
    }

    /// Waits for an order to the proxy.
    pub fn wait<F: Future>(&self, order: F) -> F::Output {
        self.control.block_on(order)
    }

    /// Where a listener is.
    ///
    /// # Panics
    /// When there is no such listener.
    #[must_use]
    pub fn address(&self, listener: &str) -> SocketAddr {
        self.proxy.address(listener).unwrap()
    }

    /// A connection to the listener `in`.
    #[must_use]
    pub fn client(&self) -> Client {
        Client::connect(self.address("in"))
    }

    /// Sends a GET over a connection of its own.
    #[must_use]
    pub fn get(&self, path: &str) -> Message {
        self.client().get(path)
    }

    /// The sum of all samples of a counter or gauge whose labels include `labels`.
    #[must_use]
    pub fn metric(&self, name: &str, labels: &[(&str, &str)]) -> i64 {
        let families = self.proxy.metrics();
        let samples = families
            .iter()
            .filter(|family| family.name == name)
            .flat_map(|family| &family.samples);
        samples
            .filter(|sample| {
                labels.iter().all(|(name, value)| {
                    let mut known = sample.labels.iter();
                    known.any(|label| label.0 == *name && label.1 == *value)
                })
            })
            .map(|sample| match sample.value {
                MetricValue::Number(value) => value,
                MetricValue::Histogram { count, .. } => i64::try_from(count).unwrap_or(i64::MAX),
            })
            .sum()
    }
}

impl Drop for Plane {
    fn drop(&mut self) {
        self.proxy.stop();
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic there has failed the test already.
            let _ = thread.join();
        }
    }
}
