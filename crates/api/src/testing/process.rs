//! What all workers, streams and extensions of a stand-in process share: metrics, shared data, log lines.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::host::Level;
use crate::metrics::{Definition, MetricError, MetricId, MetricKind, Metrics, MetricsHost};
use crate::shared::{SharedData, SharedError, SharedHost, SharedValue};

/// A process: cloning it gives another handle of the same.
#[derive(Clone)]
pub struct FakeProcess {
    store: Arc<Store>,
    shared: SharedData,
}

/// A line that an extension wrote into the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLine {
    /// Its level.
    pub level: Level,
    /// Its text.
    pub message: String,
}

struct Store(Mutex<State>);

struct State {
    metrics: Vec<Metric>,
    log: Vec<LogLine>,
    level: Level,
    values: BTreeMap<String, SharedValue>,
    last_version: u32,
}

struct Metric {
    name: String,
    labels: Vec<(String, String)>,
    kind: MetricKind,
    sum: i64,
    observed: Vec<Duration>,
    values: Vec<u64>,
}

impl FakeProcess {
    /// A process with no metrics and no data, whose log takes every level.
    #[must_use]
    pub fn new() -> Self {
        let store = Arc::new(Store(Mutex::new(State {
            metrics: Vec::new(),
            log: Vec::new(),
            level: Level::Trace,
            values: BTreeMap::new(),
            last_version: 0,
        })));
        let host: Arc<Store> = Arc::clone(&store);
        Self {
            store,
            shared: SharedData::new(host),
        }
    }

    /// The interface that metrics are defined by.
    #[must_use]
    pub fn metrics(&self) -> Metrics {
        let host: Arc<Store> = Arc::clone(&self.store);
        Metrics::new(host)
    }

    /// The shared data.
    #[must_use]
    pub fn shared(&self) -> &SharedData {
        &self.shared
    }

    /// The value of a counter or gauge, over all its labels; by its name without `transom_`.
    ///
    /// # Panics
    /// When nobody has defined it.
    #[must_use]
    pub fn metric(&self, name: &str) -> i64 {
        self.with_metric(name, |metric| metric.sum)
            .into_iter()
            .sum()
    }

    /// What was recorded in a histogram, over all its labels.
    ///
    /// # Panics
    /// When nobody has defined it.
    #[must_use]
    pub fn observed(&self, name: &str) -> Vec<Duration> {
        self.with_metric(name, |metric| metric.observed.clone())
            .concat()
    }

    /// What was recorded in a distribution, over all its labels.
    ///
    /// # Panics
    /// When nobody has defined it.
    #[must_use]
    pub fn observed_values(&self, name: &str) -> Vec<u64> {
        self.with_metric(name, |metric| metric.values.clone())
            .concat()
    }

    /// The labels under which a metric is defined.
    ///
    /// # Panics
    /// When nobody has defined it.
    #[must_use]
    pub fn labels(&self, name: &str) -> Vec<Vec<(String, String)>> {
        self.with_metric(name, |metric| metric.labels.clone())
    }

    /// What was logged so far.
    #[must_use]
    pub fn log_lines(&self) -> Vec<LogLine> {
        self.store.lock().log.clone()
    }

    /// From now on lines below `level` are not written.
    pub fn set_log_level(&self, level: Level) {
        self.store.lock().level = level;
    }

    fn with_metric<T>(&self, name: &str, read: impl Fn(&Metric) -> T) -> Vec<T> {
        let state = self.store.lock();
        let found = state.metrics.iter().filter(|metric| metric.name == name);
        let found: Vec<T> = found.map(read).collect();
        if found.is_empty() {
            let names: Vec<&str> = state.metrics.iter().map(|m| m.name.as_str()).collect();
            let names = names.join(", ");
            drop(state);
            panic!("no metric `{name}` was defined; there are: {names}");
        }
        found
    }

    pub(super) fn log_enabled(&self, level: Level) -> bool {
        level >= self.store.lock().level
    }

    pub(super) fn log(&self, level: Level, message: &str) {
        if self.log_enabled(level) {
            self.store.lock().log.push(LogLine {
                level,
                message: message.to_owned(),
            });
        }
    }

    pub(super) fn add_metric(&self, id: MetricId, amount: i64) {
        self.change(id, |metric| metric.sum += amount);
    }

    pub(super) fn metric_value(&self, id: MetricId) -> i64 {
        self.store
            .lock()
            .metrics
            .get(id.0 as usize)
            .map_or(0, |metric| metric.sum)
    }

    pub(super) fn observe_metric(&self, id: MetricId, duration: Duration) {
        self.change(id, |metric| metric.observed.push(duration));
    }

    pub(super) fn observe_value(&self, id: MetricId, value: u64) {
        self.change(id, |metric| metric.values.push(value));
    }

    fn change(&self, id: MetricId, change: impl FnOnce(&mut Metric)) {
        let mut state = self.store.lock();
        let Some(metric) = state.metrics.get_mut(id.0 as usize) else {
            drop(state);
            panic!("{id:?} was defined in another process");
        };
        change(metric);
    }
}

impl Default for FakeProcess {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for FakeProcess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FakeProcess")
    }
}

impl Store {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl MetricsHost for Store {
    fn define(&self, definition: &Definition<'_>) -> Result<MetricId, MetricError> {
        let refused = |why: &str| {
            Err(MetricError {
                message: format!("cannot define the metric `{}`: {why}", definition.name),
            })
        };
        let word = |text: &str| {
            text.starts_with(|c: char| c.is_ascii_lowercase() || c == '_')
                && text
                    .bytes()
                    .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
        };
        if !word(definition.name) || !definition.labels.iter().all(|(name, _)| word(name)) {
            return refused(
                "names of metrics and labels are lower-case letters, digits and underscores, a letter first",
            );
        }
        if definition.name.starts_with("transom_") {
            return refused("the prefix `transom_` is put before it by the proxy");
        }
        let labels: Vec<(String, String)> = definition
            .labels
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        let mut state = self.lock();
        let same_name = || state.metrics.iter().filter(|m| m.name == definition.name);
        if same_name().any(|metric| metric.kind != definition.kind) {
            return refused("it is defined already, as another kind");
        }
        let at = state
            .metrics
            .iter()
            .position(|metric| metric.name == definition.name && metric.labels == labels);
        let at = at.unwrap_or_else(|| {
            state.metrics.push(Metric {
                name: definition.name.to_owned(),
                labels,
                kind: definition.kind,
                sum: 0,
                observed: Vec::new(),
                values: Vec::new(),
            });
            state.metrics.len() - 1
        });
        Ok(MetricId(at as u32))
    }
}

impl SharedHost for Store {
    fn get(&self, key: &str) -> Option<SharedValue> {
        self.lock().values.get(key).cloned()
    }

    fn set(
        &self,
        key: &str,
        value: Option<&[u8]>,
        expected: Option<u32>,
    ) -> Result<(), SharedError> {
        let mut state = self.lock();
        let before = state.values.get(key).map_or(0, |value| value.version);
        if key.len() > 1 << 10
            || value.is_some_and(|value| value.len() > 1 << 20)
            || value.is_some() && before == 0 && state.values.len() >= 10_000
        {
            return Err(SharedError::TooLarge);
        }
        if expected.is_some_and(|expected| expected != before) {
            return Err(SharedError::Changed);
        }
        let Some(value) = value else {
            state.values.remove(key);
            return Ok(());
        };
        state.last_version += 1;
        let value = SharedValue {
            bytes: Arc::from(value),
            version: state.last_version,
        };
        state.values.insert(key.to_owned(), value);
        Ok(())
    }
}
