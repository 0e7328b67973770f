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

    /// The names of plugins that are kept running, sorted. None unless a runtime keeps some.
    fn plugin_names(&self) -> Vec<String> {
        Vec::new()
    }

    /// All plugins with all that is known of them: a list of maps.
    fn plugins(&self) -> Node {
        Node::list([])
    }

    /// One of them; `None` for a name that there is not.
    fn plugin(&self, name: &str) -> Option<Node> {
        let _ = name;
        None
    }

    /// Carries out an order about a plugin. The answer says what came of it, in a sentence.
    fn order_plugin(&self, name: &str, order: PluginOrder) -> PluginOrdered {
        let _ = (name, order);
        Box::pin(std::future::ready(Err(PluginFault::Unknown)))
    }

    /// Answers the query of MOSN's `/plugin` in MOSN's words. One that would change something and must not is refused.
    fn plugin_query(&self, query: String, may_change: bool) -> PluginAnswered {
        let _ = (query, may_change);
        Box::pin(std::future::ready(PluginAnswer {
            status: 404,
            body: "no plugins are kept running here\n".to_owned(),
        }))
    }
}

/// What can be ordered of a plugin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PluginOrder {
    /// It is started, whatever was before.
    Enable,
    /// It is stopped until it is enabled.
    Disable,
    /// Its processes are replaced by new ones, without a gap.
    Restart,
    /// What lies on disk now is started beside it, takes a share of the calls, and takes over if it does well.
    Swap,
}

impl PluginOrder {
    /// All orders.
    pub const ALL: [Self; 4] = [Self::Enable, Self::Disable, Self::Restart, Self::Swap];

    /// Its name in the path of the admin API.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Enable => "enable",
            Self::Disable => "disable",
            Self::Restart => "restart",
            Self::Swap => "swap",
        }
    }
}

/// Why an order about a plugin was not carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PluginFault {
    /// There is no such plugin.
    Unknown,
    /// It cannot be done now; why not.
    Refused(String),
}

/// The outcome of an order about a plugin, later.
pub type PluginOrdered = Pin<Box<dyn Future<Output = Result<String, PluginFault>> + Send>>;

/// An answer in MOSN's words, later.
pub type PluginAnswered = Pin<Box<dyn Future<Output = PluginAnswer> + Send>>;

/// An answer in MOSN's words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PluginAnswer {
    /// The HTTP status.
    pub status: u16,
    /// The text, its line feed included.
    pub body: String,
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
