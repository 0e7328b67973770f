//! The running program as the admin API sees it.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use transom_api::control::{
    Control, LogLevels, MetricFamily, Ordered, PluginAnswered, PluginOrder, PluginOrdered,
    Readiness,
};
use transom_api::{Level, Node, Registry};
use transom_config::{Configuration, Memory, Problem, Report, check_again, check_file_with};
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
    /// What is known of programs in folders of plugins.
    memory: Mutex<Memory>,
    /// Reloads happen one after another.
    reloading: tokio::sync::Mutex<()>,
}

impl Running {
    pub(crate) fn new(
        proxy: Arc<Proxy>,
        registry: Arc<Registry>,
        file: Option<PathBuf>,
        configuration: Configuration,
        mut memory: Memory,
    ) -> Arc<Self> {
        memory.activated(&configuration.dropped);
        tell_passed_over(&configuration);
        Arc::new(Self {
            proxy,
            registry,
            file,
            active: Mutex::new(configuration),
            memory: Mutex::new(memory),
            reloading: tokio::sync::Mutex::new(()),
        })
    }

    /// Reads the file again and makes it active. When that fails, what was active stays.
    pub(crate) async fn reload(&self) -> Result<(), String> {
        let Some(file) = self.file.clone() else {
            return Err("the embedded example has no file to read again".to_owned());
        };
        let _one_at_a_time = self.reloading.lock().await;
        self.activate(move |registry, memory| check_file_with(&file, registry, memory))
            .await
    }

    /// Looks again at the folders of plugins that the active configuration names. Its file is not read for that: whoever changes it says
    /// when it is done.
    pub(crate) async fn reload_folders(&self) -> Result<(), String> {
        let _one_at_a_time = self.reloading.lock().await;
        let active = lock(&self.active).clone();
        self.activate(move |registry, memory| check_again(&active, registry, memory))
            .await
    }

    /// The folders of plugins of the active configuration.
    pub(crate) fn folders(&self) -> Vec<PathBuf> {
        lock(&self.active).dropped.folders.clone()
    }

    async fn activate(
        &self,
        load: impl Fn(&Registry, &Memory) -> Result<Configuration, Report> + Send + Sync + 'static,
    ) -> Result<(), String> {
        let load = Arc::new(load);
        let mut memory = lock(&self.memory).clone();
        let configuration = loop {
            let (load, registry, known) = (
                Arc::clone(&load),
                Arc::clone(&self.registry),
                memory.clone(),
            );
            // Reading and parsing may take a while; the control thread stays free.
            let loaded = tokio::task::spawn_blocking(move || load(&registry, &known)).await;
            let why = match loaded {
                Ok(Ok(configuration)) => match self.proxy.apply(&configuration.resources).await {
                    Ok(()) => break configuration,
                    Err(error) => report(error, &configuration),
                },
                Ok(Err(report)) => report,
                Err(_) => {
                    return Err(
                        "the configuration could not be read: its loader panicked".to_owned()
                    );
                }
            };
            if !go_without(&mut memory, &why) {
                return Err(why.to_string());
            }
        };
        tell_passed_over(&configuration);
        memory.activated(&configuration.dropped);
        *lock(&self.memory) = memory;
        let mut active = lock(&self.active);
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
        let active = lock(&self.running.active);
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

/// Takes note of programs in folders of plugins that are all that is wrong, and says so. Whether to try without them.
pub(crate) fn go_without(memory: &mut Memory, why: &Report) -> bool {
    let blamed = memory.blame(why);
    for path in &blamed {
        tracing::error!(
            "{} cannot be a plugin, and is passed over until it is changed:\n{why}",
            path.display()
        );
    }
    !blamed.is_empty()
}

fn tell_passed_over(configuration: &Configuration) {
    for (path, why) in &configuration.dropped.passed_over {
        tracing::warn!("{} is passed over: {why}", path.display());
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// An error of the data plane, shown at its place in the configuration.
pub(crate) fn report(error: transom_proxy::ApplyError, configuration: &Configuration) -> Report {
    let mut problem = Problem::new(error.message, error.span);
    if let Some(help) = error.help {
        problem = problem.with_help(help);
    }
    Report::new(vec![problem], configuration.sources.clone())
}
