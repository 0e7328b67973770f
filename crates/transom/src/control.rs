//! The running program as the admin API sees it.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use transom_api::control::{
    Control, LogLevels, MetricFamily, Ordered, PluginAnswered, PluginOrder, PluginOrdered,
    Readiness,
};
use transom_api::{Level, Node, Registry};
use transom_config::{Configuration, Problem, Report, check_file};
use transom_logs::Logs;
use transom_process::supervise::Supervisor;
use transom_proxy::Proxy;
use transom_proxy::control::certificates::CertificateStatus;
use transom_proxy::control::status::ClusterStatus;

use crate::log::Levels;
use crate::plugins;

/// The data plane and where its configuration comes from.
pub(crate) struct Running {
    proxy: Arc<Proxy>,
    registry: Arc<Registry>,
    /// The file to read again; `None` for the embedded example.
    file: Option<PathBuf>,
    active: Mutex<Configuration>,
    /// Reloads happen one after another.
    reloading: tokio::sync::Mutex<()>,
}

impl Running {
    pub(crate) fn new(
        proxy: Arc<Proxy>,
        registry: Arc<Registry>,
        file: Option<PathBuf>,
        configuration: Configuration,
    ) -> Arc<Self> {
        Arc::new(Self {
            proxy,
            registry,
            file,
            active: Mutex::new(configuration),
            reloading: tokio::sync::Mutex::new(()),
        })
    }

    /// Reads the file again and makes it active. When that fails, what was active stays.
    pub(crate) async fn reload(&self) -> Result<(), String> {
        let Some(file) = self.file.clone() else {
            return Err("the embedded example has no file to read again".to_owned());
        };
        let _one_at_a_time = self.reloading.lock().await;
        let registry = Arc::clone(&self.registry);
        // Reading and parsing may take a while; the control thread stays free.
        let loaded = tokio::task::spawn_blocking(move || check_file(&file, &registry)).await;
        let configuration = match loaded {
            Ok(Ok(configuration)) => configuration,
            Ok(Err(report)) => return Err(report.to_string()),
            Err(_) => {
                return Err("the configuration could not be read: its loader panicked".to_owned());
            }
        };
        self.proxy
            .apply(&configuration.resources)
            .await
            .map_err(|error| report(error, &configuration).to_string())?;
        let mut active = self.active.lock().unwrap_or_else(PoisonError::into_inner);
        if active.process != configuration.process {
            tracing::warn!(
                "`workers`, `admin` and `drain_timeout` hold from the start of the process: restart it to change them"
            );
        }
        let process = active.process.clone();
        *active = configuration;
        active.process = process;
        Ok(())
    }

    /// Waits until a certificate provider has something new.
    pub(crate) async fn certificates_told(&self) {
        self.proxy.certificates_told().await;
    }

    /// Waits until a registry has told of other hosts.
    pub(crate) async fn hosts_told(&self) {
        self.proxy.hosts_told().await;
    }

    /// Uses the hosts that registries have told. When that fails those of before stay.
    pub(crate) async fn use_hosts(&self) {
        match self.proxy.use_hosts().await {
            Ok(()) => tracing::info!("the hosts that registries told are used"),
            Err(error) => tracing::error!("the hosts that registries told cannot be used: {error}"),
        }
    }

    /// Uses the files of TLS that changed, and what providers have. What cannot be used is logged and counted.
    pub(crate) async fn refresh_certificates(&self) {
        self.proxy.refresh_certificates().await;
    }
}

/// The admin API's hold on the running program.
pub(crate) struct Handle {
    pub(crate) running: Arc<Running>,
    pub(crate) logs: Logs,
    pub(crate) levels: Levels,
    pub(crate) supervisor: Arc<Supervisor>,
}

impl Control for Handle {
    fn readiness(&self) -> Readiness {
        self.running.proxy.readiness()
    }

    fn metrics(&self) -> Vec<MetricFamily> {
        let mut metrics = self.running.proxy.metrics();
        metrics.extend(self.supervisor.metrics());
        metrics
    }

    fn config_dump(&self) -> Node {
        let active = &self.running.active;
        let active = active.lock().unwrap_or_else(PoisonError::into_inner);
        crate::node_json::node(active.dump())
    }

    fn clusters(&self) -> Node {
        Node::list(
            self.running
                .proxy
                .clusters()
                .iter()
                .map(ClusterStatus::node),
        )
    }

    fn certificates(&self) -> Node {
        let certificates = self.running.proxy.certificates();
        Node::list(certificates.iter().map(CertificateStatus::node))
    }

    fn reload(&self) -> Ordered {
        let running = Arc::clone(&self.running);
        Box::pin(async move { running.reload().await })
    }

    fn reopen_logs(&self) {
        self.logs.reopen();
    }

    fn log_levels(&self) -> LogLevels {
        self.levels.show()
    }

    fn set_log_level(&self, target: Option<&str>, level: Option<Level>) -> Result<(), String> {
        self.levels.set(target, level)
    }

    fn plugin_names(&self) -> Vec<String> {
        self.supervisor.names()
    }

    fn plugins(&self) -> Node {
        self.supervisor.describe_all()
    }

    fn plugin(&self, name: &str) -> Option<Node> {
        self.supervisor.describe(name)
    }

    fn order_plugin(&self, name: &str, order: PluginOrder) -> PluginOrdered {
        plugins::order(&self.supervisor, name, order)
    }

    fn plugin_query(&self, query: String, may_change: bool) -> PluginAnswered {
        plugins::answer(&self.supervisor, &query, may_change)
    }
}

/// An error of the data plane, shown at its place in the configuration.
pub(crate) fn report(error: transom_proxy::ApplyError, configuration: &Configuration) -> Report {
    let mut problem = Problem::new(error.message, error.span);
    if let Some(help) = error.help {
        problem = problem.with_help(help);
    }
    Report::new(vec![problem], configuration.sources.clone())
}
