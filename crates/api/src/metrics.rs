//! Metrics: defined while an extension is prepared, counted on workers without a lock.

use std::fmt;
use std::sync::Arc;

/// Defines metrics. A metric is known by its name and labels: defining it again gives the same handle, so counts
/// survive a reload.
#[derive(Clone)]
pub struct Metrics {
    host: Arc<dyn MetricsHost>,
}

/// The host's side of [`Metrics`].
pub trait MetricsHost: Send + Sync {
    /// Defines a metric, or finds the one that was defined before.
    fn define(&self, definition: &Definition<'_>) -> Result<MetricId, MetricError>;
}

/// What a metric is.
#[derive(Clone, Copy, Debug)]
pub struct Definition<'a> {
    /// The name, without the prefix `transom_`: lower case, digits and underscores.
    pub name: &'a str,
    /// One sentence on what it counts, and its unit.
    pub help: &'a str,
    /// Names and values of labels. They are fixed: nothing that a client sends becomes a label.
    pub labels: &'a [(&'a str, &'a str)],
    /// What kind.
    pub kind: MetricKind,
}

/// The kinds of metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MetricKind {
    /// Only grows.
    Counter,
    /// Grows and shrinks.
    Gauge,
    /// Durations in seconds, in fixed buckets from 0.5 ms to 60 s.
    Histogram,
    /// Plain numbers (bytes, counts), in fixed buckets that are powers of four from 1 to 67,108,864. To Prometheus it is a
    /// histogram like the other.
    Distribution,
}

/// A metric's number in the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct MetricId(pub u32);

/// A metric that only grows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Counter(pub MetricId);

/// A metric that grows and shrinks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Gauge(pub MetricId);

/// A metric of durations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Histogram(pub MetricId);

/// A metric of plain numbers, by their size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Distribution(pub MetricId);

/// Why a metric could not be defined.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MetricError {
    /// What is wrong and with which metric.
    pub message: String,
}

impl Metrics {
    /// Metrics of a host.
    #[must_use]
    pub fn new(host: Arc<dyn MetricsHost>) -> Self {
        Self { host }
    }

    /// Defines a counter; by the field's habit its name ends in `_total`.
    pub fn counter(
        &self,
        name: &str,
        help: &str,
        labels: &[(&str, &str)],
    ) -> Result<Counter, MetricError> {
        self.define(name, help, labels, MetricKind::Counter)
            .map(Counter)
    }

    /// Defines a gauge.
    pub fn gauge(
        &self,
        name: &str,
        help: &str,
        labels: &[(&str, &str)],
    ) -> Result<Gauge, MetricError> {
        self.define(name, help, labels, MetricKind::Gauge)
            .map(Gauge)
    }

    /// Defines a histogram; by the field's habit its name ends in `_seconds`.
    pub fn histogram(
        &self,
        name: &str,
        help: &str,
        labels: &[(&str, &str)],
    ) -> Result<Histogram, MetricError> {
        self.define(name, help, labels, MetricKind::Histogram)
            .map(Histogram)
    }

    /// Defines a histogram of plain numbers; by the field's habit its name ends in their unit, such as `_bytes`.
    pub fn distribution(
        &self,
        name: &str,
        help: &str,
        labels: &[(&str, &str)],
    ) -> Result<Distribution, MetricError> {
        self.define(name, help, labels, MetricKind::Distribution)
            .map(Distribution)
    }

    fn define(
        &self,
        name: &str,
        help: &str,
        labels: &[(&str, &str)],
        kind: MetricKind,
    ) -> Result<MetricId, MetricError> {
        self.host.define(&Definition {
            name,
            help,
            labels,
            kind,
        })
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Metrics")
    }
}

impl fmt::Display for MetricError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for MetricError {}

impl From<MetricError> for crate::factory::PrepareError {
    fn from(error: MetricError) -> Self {
        Self::new(error.message)
    }
}
