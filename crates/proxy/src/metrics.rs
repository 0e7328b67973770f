//! Metrics of the process: defined once, counted in one shard per worker, summed by the reader.
//!
//! A worker writes only its own shard, so counting is a plain load and store of one word: no lock, no contended cache
//! line. The reader sums the shards; it may see a request counted and its duration not yet, never a torn number.

use std::collections::HashMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use transom_api::control::{MetricFamily, MetricSample, MetricValue};
use transom_api::metrics::{Definition, MetricError, MetricId, MetricKind, Metrics, MetricsHost};

/// Cells of a shard are made in blocks of this many, when the first of them is counted.
const BLOCK: usize = 256;
/// At most `BLOCK * BLOCKS` cells: 1,048,576, of which a histogram takes 16. A cluster takes seven.
const BLOCKS: usize = 4096;
/// Upper bounds of a histogram's buckets in microseconds. Powers of two from 0.5 ms would be too coarse around the
/// usual timeouts, so they follow the 1-2.5-5 habit of the field.
const BUCKETS_US: [u64; 14] = [
    500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000,
    5_000_000, 10_000_000, 60_000_000,
];
/// Upper bounds of a distribution's buckets: powers of four, so that as many buckets reach from single counts to the size
/// of a large body.
const BUCKETS: [u64; BUCKETS_US.len()] = [
    1, 4, 16, 64, 256, 1_024, 4_096, 16_384, 65_536, 262_144, 1_048_576, 4_194_304, 16_777_216,
    67_108_864,
];
/// One cell per bucket, one for what is beyond the last, one for the sum, which durations have in microseconds.
const HISTOGRAM_CELLS: usize = BUCKETS_US.len() + 2;

/// The definitions and all shards.
pub(crate) struct MetricStore {
    defined: Mutex<Defined>,
    shards: Vec<Arc<Shard>>,
}

#[derive(Default)]
struct Defined {
    metrics: Vec<Metric>,
    known: HashMap<(String, Vec<(String, String)>), usize>,
    kinds: HashMap<String, MetricKind>,
    cells: usize,
}

struct Metric {
    name: String,
    help: String,
    labels: Vec<(String, String)>,
    kind: MetricKind,
    cell: u32,
}

/// The cells that one worker (or the control side) counts in.
pub(crate) struct Shard {
    blocks: Box<[OnceLock<Box<[AtomicI64]>>]>,
}

impl MetricStore {
    /// A store with one shard per worker and one for the control side, which is the last.
    pub(crate) fn new(workers: usize) -> Arc<Self> {
        Arc::new(Self {
            defined: Mutex::default(),
            shards: (0..=workers).map(|_| Arc::new(Shard::new())).collect(),
        })
    }

    /// The shard of a worker; the last one for numbers beyond.
    pub(crate) fn shard(&self, worker: usize) -> Arc<Shard> {
        self.shards
            .get(worker)
            .or(self.shards.last())
            .map_or_else(|| Arc::new(Shard::new()), Arc::clone)
    }

    /// The shard of the control side.
    pub(crate) fn control_shard(&self) -> Arc<Shard> {
        self.shard(usize::MAX)
    }

    /// Adds to a counter or gauge from the control side, whose tasks may run on several threads in tests.
    pub(crate) fn add_by_control(&self, metric: MetricId, amount: i64) {
        if let Some(cell) = self.shards.last().and_then(|shard| shard.cell(metric.0)) {
            cell.fetch_add(amount, Ordering::Relaxed);
        }
    }

    /// The value of a counter or gauge over all shards.
    pub(crate) fn sum(&self, metric: MetricId) -> i64 {
        self.shards.iter().map(|shard| shard.read(metric.0)).sum()
    }

    /// The interface that definitions go by.
    pub(crate) fn metrics(self: &Arc<Self>) -> Metrics {
        Metrics::new(Arc::<Self>::clone(self))
    }

    /// All metrics with their current sums, in the order of their names.
    pub(crate) fn read(&self) -> Vec<MetricFamily> {
        let defined = self.defined.lock().unwrap_or_else(PoisonError::into_inner);
        let mut families: Vec<MetricFamily> = Vec::new();
        let mut sorted: Vec<&Metric> = defined.metrics.iter().collect();
        sorted.sort_by(|a, b| (&a.name, &a.labels).cmp(&(&b.name, &b.labels)));
        for metric in sorted {
            let sample = MetricSample {
                labels: metric.labels.clone(),
                value: self.value(metric),
            };
            match families
                .last_mut()
                .filter(|family| family.name == metric.name)
            {
                Some(family) => family.samples.push(sample),
                None => families.push(MetricFamily {
                    name: metric.name.clone(),
                    help: metric.help.clone(),
                    kind: metric.kind,
                    samples: vec![sample],
                }),
            }
        }
        families
    }

    fn value(&self, metric: &Metric) -> MetricValue {
        let sum = |cell: u32| {
            self.shards
                .iter()
                .map(|shard| shard.read(cell))
                .sum::<i64>()
        };
        let (bounds, unit) = match metric.kind {
            MetricKind::Counter | MetricKind::Gauge => {
                return MetricValue::Number(sum(metric.cell));
            }
            MetricKind::Histogram => (&BUCKETS_US, 1e6),
            MetricKind::Distribution => (&BUCKETS, 1.0),
        };
        let mut count = 0;
        let mut cell = metric.cell;
        let mut buckets = Vec::with_capacity(bounds.len() + 1);
        for bound in bounds
            .iter()
            .map(|bound| *bound as f64 / unit)
            .chain([f64::INFINITY])
        {
            count += sum(cell).unsigned_abs();
            buckets.push((bound, count));
            cell += 1;
        }
        MetricValue::Histogram {
            buckets,
            sum: sum(cell) as f64 / unit,
            count,
        }
    }
}

impl MetricsHost for MetricStore {
    fn define(&self, definition: &Definition<'_>) -> Result<MetricId, MetricError> {
        let refused = |why: &str| MetricError {
            message: format!("cannot define the metric `{}`: {why}", definition.name),
        };
        let word = |text: &str| {
            !text.is_empty()
                && text
                    .bytes()
                    .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
                && !text.starts_with(|first: char| first.is_ascii_digit())
        };
        if !word(definition.name) || !definition.labels.iter().all(|(name, _)| word(name)) {
            return Err(refused(
                "names of metrics and labels are lower-case letters, digits and underscores, a letter first",
            ));
        }
        let name = format!("transom_{}", definition.name);
        let labels: Vec<(String, String)> = definition
            .labels
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        let mut defined = self.defined.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(kind) = defined.kinds.get(&name)
            && *kind != definition.kind
        {
            return Err(refused(&format!("it is defined already, as a {kind:?}")));
        }
        let key = (name, labels);
        if let Some(metric) = defined
            .known
            .get(&key)
            .and_then(|at| defined.metrics.get(*at))
        {
            return Ok(MetricId(metric.cell));
        }
        let cells = match definition.kind {
            MetricKind::Histogram | MetricKind::Distribution => HISTOGRAM_CELLS,
            MetricKind::Counter | MetricKind::Gauge => 1,
        };
        // A histogram's cells lie in one block, so that counting needs one look-up.
        let mut first = defined.cells;
        if first % BLOCK + cells > BLOCK {
            first = (first / BLOCK + 1) * BLOCK;
        }
        if first + cells > BLOCK * BLOCKS {
            return Err(refused("there are too many metrics (1,048,576 numbers)"));
        }
        defined.cells = first + cells;
        let cell = u32::try_from(first).map_err(|_| refused("there are too many metrics"))?;
        let at = defined.metrics.len();
        defined.metrics.push(Metric {
            name: key.0.clone(),
            help: definition.help.to_owned(),
            labels: key.1.clone(),
            kind: definition.kind,
            cell,
        });
        defined.kinds.insert(key.0.clone(), definition.kind);
        defined.known.insert(key, at);
        Ok(MetricId(cell))
    }
}

impl Shard {
    fn new() -> Self {
        Self {
            blocks: (0..BLOCKS).map(|_| OnceLock::new()).collect(),
        }
    }

    /// Adds to a counter or gauge. Only the shard's own thread may call this.
    pub(crate) fn add(&self, metric: MetricId, amount: i64) {
        if let Some(cell) = self.cell(metric.0) {
            cell.store(
                cell.load(Ordering::Relaxed).wrapping_add(amount),
                Ordering::Relaxed,
            );
        }
    }

    /// Records a duration in a histogram. Only the shard's own thread may call this.
    pub(crate) fn observe(&self, metric: MetricId, duration: Duration) {
        let us = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        self.put(metric, &BUCKETS_US, us);
    }

    /// Records a number in a distribution. Only the shard's own thread may call this.
    pub(crate) fn observe_value(&self, metric: MetricId, value: u64) {
        self.put(metric, &BUCKETS, value);
    }

    fn put(&self, metric: MetricId, bounds: &[u64], value: u64) {
        let bucket = bounds
            .iter()
            .position(|bound| value <= *bound)
            .unwrap_or(bounds.len());
        let first = metric.0;
        self.add(MetricId(first.saturating_add(bucket as u32)), 1);
        let sum = MetricId(first.saturating_add(HISTOGRAM_CELLS as u32 - 1));
        self.add(sum, i64::try_from(value).unwrap_or(i64::MAX));
    }

    fn read(&self, cell: u32) -> i64 {
        let cell = cell as usize;
        self.blocks
            .get(cell / BLOCK)
            .and_then(OnceLock::get)
            .and_then(|block| block.get(cell % BLOCK))
            .map_or(0, |cell| cell.load(Ordering::Relaxed))
    }

    fn cell(&self, cell: u32) -> Option<&AtomicI64> {
        let cell = cell as usize;
        self.blocks
            .get(cell / BLOCK)?
            .get_or_init(|| (0..BLOCK).map(|_| AtomicI64::new(0)).collect())
            .get(cell % BLOCK)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_are_summed() {
        let store = MetricStore::new(2);
        let counter = store
            .metrics()
            .counter("requests_total", "Requests.", &[("listener", "a")])
            .unwrap();
        store.shard(0).add(counter.0, 2);
        store.shard(1).add(counter.0, 3);
        let families = store.read();
        assert_eq!(families.len(), 1);
        assert_eq!(families[0].name, "transom_requests_total");
        assert_eq!(families[0].samples[0].value, MetricValue::Number(5));
    }

    #[test]
    fn a_metric_defined_again_keeps_its_count() {
        let store = MetricStore::new(1);
        let first = store.metrics().counter("x_total", "X.", &[]).unwrap();
        let second = store.metrics().counter("x_total", "X.", &[]).unwrap();
        let other = store
            .metrics()
            .counter("x_total", "X.", &[("a", "b")])
            .unwrap();
        assert_eq!(first, second);
        assert_ne!(first, other);
        assert!(store.metrics().gauge("x_total", "X.", &[]).is_err());
        assert!(store.metrics().gauge("X-total", "X.", &[]).is_err());
    }

    #[test]
    fn histograms_sum_up_their_buckets() {
        let store = MetricStore::new(1);
        for _ in 0..15 {
            // Fill most of a block, so that the histogram below must begin a new one.
            for name in 0..17 {
                let name = format!("c{name}_total");
                store
                    .metrics()
                    .counter(&name, "C.", &[("n", &name)])
                    .unwrap();
            }
        }
        let histogram = store.metrics().histogram("d_seconds", "D.", &[]).unwrap();
        let shard = store.shard(0);
        shard.observe(histogram.0, Duration::from_micros(400));
        shard.observe(histogram.0, Duration::from_millis(3));
        shard.observe(histogram.0, Duration::from_secs(100));
        let family = store
            .read()
            .into_iter()
            .find(|family| family.name == "transom_d_seconds")
            .unwrap();
        let MetricValue::Histogram {
            buckets,
            sum,
            count,
        } = &family.samples[0].value
        else {
            panic!("a histogram");
        };
        assert_eq!(*count, 3);
        assert!((sum - 100.0034).abs() < 1e-9, "{sum}");
        assert_eq!(buckets[0], (0.0005, 1));
        assert_eq!(buckets[2], (0.0025, 1));
        assert_eq!(buckets[3], (0.005, 2));
        assert_eq!(buckets[13], (60.0, 2));
        assert_eq!(buckets[14], (f64::INFINITY, 3));
    }

    #[test]
    fn distributions_count_plain_numbers() {
        let store = MetricStore::new(1);
        let define = store.metrics();
        let sizes = define.distribution("body_bytes", "B.", &[]).unwrap();
        assert!(define.histogram("body_bytes", "B.", &[]).is_err());
        let shard = store.shard(0);
        for value in [0, 1, 5, 64, 100_000_000] {
            shard.observe_value(sizes.0, value);
        }
        let family = store.read().pop().unwrap();
        let MetricValue::Histogram {
            buckets,
            sum,
            count,
        } = &family.samples[0].value
        else {
            panic!("a histogram");
        };
        assert_eq!((*count, *sum), (5, 100_000_070.0));
        assert_eq!(buckets[0], (1.0, 2));
        assert_eq!(buckets[2], (16.0, 3));
        assert_eq!(buckets[3], (64.0, 4));
        assert_eq!(buckets[13], (67_108_864.0, 4));
        assert_eq!(buckets[14], (f64::INFINITY, 5));
    }
}
