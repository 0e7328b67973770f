//! What the admin API may ask and order of the running proxy.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;

use crate::host::Level;
use crate::metrics::MetricKind;
use crate::node::Node;

/// The running proxy, as the control side shows it.
pub trait Control: Send + Sync {
    /// Whether traffic is served: a configuration is active and the process does not drain.
    fn readiness(&self) -> Readiness;
    /// All metrics, with their current values.
    fn metrics(&self) -> Vec<MetricFamily>;
    /// The active configuration, with secrets hidden.
    fn config_dump(&self) -> Node;
    /// How clusters and their hosts stand: a list of maps.
    fn clusters(&self) -> Node;
    /// The certificates that listeners and clusters show, and when they end: a list of maps.
    fn certificates(&self) -> Node;
    /// Reads the source of configuration again and makes it active. The answer is the error's full text.
    fn reload(&self) -> Ordered;
    /// Opens the files of access logs again, after they were moved away.
    fn reopen_logs(&self);
    /// Which lines of the process's log are written.
    fn log_levels(&self) -> LogLevels;
    /// Sets the level of one target (a module such as `transom_proxy::tls`, or `extension`), or of all. `None` writes
    /// nothing at all. It holds until it is set again or the process ends, whatever is reloaded.
    fn set_log_level(&self, target: Option<&str>, level: Option<Level>) -> Result<(), String>;
}

/// Which lines of the process's log are written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogLevels {
    /// What holds for all targets without a level of their own: a level, or what the process was started with.
    pub all: String,
    /// Levels of targets.
    pub targets: BTreeMap<String, String>,
}

/// The outcome of an order, later.
pub type Ordered = Pin<Box<dyn Future<Output = Result<(), String>> + Send>>;

/// Whether the proxy serves traffic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Readiness {
    /// No configuration is active yet.
    Starting,
    /// It serves.
    Ready,
    /// It takes no new connections and ends.
    Draining,
}

/// All metrics of one name.
#[derive(Clone, Debug, PartialEq)]
pub struct MetricFamily {
    /// The name, with the prefix `transom_`.
    pub name: String,
    /// What it counts.
    pub help: String,
    /// Counter, gauge or histogram.
    pub kind: MetricKind,
    /// One for each set of labels.
    pub samples: Vec<MetricSample>,
}

/// One metric and its value.
#[derive(Clone, Debug, PartialEq)]
pub struct MetricSample {
    /// Names and values of its labels.
    pub labels: Vec<(String, String)>,
    /// Its value.
    pub value: MetricValue,
}

/// The value of a metric.
#[derive(Clone, Debug, PartialEq)]
pub enum MetricValue {
    /// Of a counter or gauge.
    Number(i64),
    /// Of a histogram.
    Histogram {
        /// For each bucket its upper bound in seconds and how many observations were at most that, summed up.
        buckets: Vec<(f64, u64)>,
        /// Sum of all observations, in seconds.
        sum: f64,
        /// Number of observations.
        count: u64,
    },
}
