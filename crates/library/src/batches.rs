//! Entries of access logs on their way from workers to the thread that has a library write them.
//!
//! ```text
//! worker:  log ─ log_append ─▶ Port ── full, or a second old ──▶ queue ──▶ thread of the use: write
//!                               ▲ one per worker                  4 MiB, no lock
//! ```

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle, Thread};
use std::time::{Duration, Instant};

use crossbeam_queue::SegQueue;
use tokio::sync::Notify;
use transom_api::{
    Metrics, Record,
    metrics::{Counter, MetricError},
};

/// A batch is handed over when it has grown to this: large enough that a call costs little per entry.
const BATCH: usize = 32 << 10;
/// And when its first entry has waited for so long.
const FLUSH: Duration = Duration::from_secs(1);
/// What waits for a `write` that stands still.
const MOST: usize = 4 << 20;

/// Has batches written. One returns false for entries that it has lost.
pub(crate) type Write = Box<dyn FnMut(&Batch) -> bool + Send>;

/// Entries, one behind the other.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    bytes: Vec<u8>,
    /// Where each of them ends.
    ends: Vec<usize>,
}

impl Batch {
    fn push(&mut self, entry: &[u8]) {
        self.bytes.extend_from_slice(entry);
        self.ends.push(self.bytes.len());
    }

    /// What it takes of memory, about.
    fn size(&self) -> usize {
        self.bytes.len() + self.ends.len() * size_of::<usize>()
    }

    pub(crate) fn entries(&self) -> impl Iterator<Item = &[u8]> {
        let mut from = 0;
        self.ends.iter().map(move |end| {
            let entry = self.bytes.get(from..*end).unwrap_or_default();
            from = *end;
            entry
        })
    }
}

/// The thread of a use. When the last who holds it lets go, what is left is written, and the thread ends.
pub(crate) struct Writer {
    shared: Arc<Shared>,
    thread: Thread,
}

struct Shared {
    queue: SegQueue<Batch>,
    /// Bytes in the queue.
    waiting: AtomicUsize,
    /// Entries that were lost, until a worker counts them.
    lost: AtomicU64,
    closed: AtomicBool,
}

/// All threads of the process that may have something to write.
static RUNNING: Mutex<Vec<(Arc<Shared>, JoinHandle<()>)>> = Mutex::new(Vec::new());

impl Writer {
    /// Starts the thread.
    pub(crate) fn start(mut write: Write) -> std::io::Result<Arc<Self>> {
        let shared = Arc::new(Shared {
            queue: SegQueue::new(),
            waiting: AtomicUsize::new(0),
            lost: AtomicU64::new(0),
            closed: AtomicBool::new(false),
        });
        let own = Arc::clone(&shared);
        let handle = thread::Builder::new()
            .name("library-log".to_owned())
            .spawn(move || own.run(&mut write))?;
        let thread = handle.thread().clone();
        let mut running = RUNNING.lock().unwrap_or_else(PoisonError::into_inner);
        running.retain(|(_, handle)| !handle.is_finished());
        running.push((Arc::clone(&shared), handle));
        Ok(Arc::new(Self { shared, thread }))
    }

    /// Takes a batch, or gives it back when as much waits as may.
    fn put(&self, batch: Batch) -> Result<(), Batch> {
        let size = batch.size();
        let before = self.shared.waiting.fetch_add(size, Ordering::Relaxed);
        // One is always taken, however large.
        if before > 0 && before.saturating_add(size) > MOST {
            self.shared.waiting.fetch_sub(size, Ordering::Relaxed);
            return Err(batch);
        }
        self.shared.queue.push(batch);
        self.thread.unpark();
        Ok(())
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.shared.closed.store(true, Ordering::Release);
        self.thread.unpark();
    }
}

impl Shared {
    fn run(&self, write: &mut Write) {
        loop {
            // Before the look at the queue: what was put in before the end is seen behind it.
            let closed = self.closed.load(Ordering::Acquire);
            while let Some(batch) = self.queue.pop() {
                if !write(&batch) {
                    self.lose(&batch);
                }
                self.waiting.fetch_sub(batch.size(), Ordering::Release);
            }
            if closed {
                return;
            }
            thread::park();
        }
    }

    fn lose(&self, batch: &Batch) {
        let count = u64::try_from(batch.ends.len()).unwrap_or(u64::MAX);
        self.lost.fetch_add(count, Ordering::Relaxed);
    }
}

/// Waits until all that workers have handed over is written, for so long at the most. True when that was all. Of use when
/// the workers have ended.
#[must_use]
pub fn finish_logs(limit: Duration) -> bool {
    const LOOK: Duration = Duration::from_millis(2);
    let deadline = Instant::now() + limit;
    let running = std::mem::take(&mut *RUNNING.lock().unwrap_or_else(PoisonError::into_inner));
    for (shared, thread) in running {
        while shared.waiting.load(Ordering::Acquire) > 0 && !thread.is_finished() {
            if Instant::now() >= deadline {
                return false;
            }
            thread::sleep(LOOK);
        }
    }
    true
}

/// What is counted of a log.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LogMetrics {
    entries: Counter,
    dropped: Counter,
}

impl LogMetrics {
    /// The same as of built-in logs.
    pub(crate) fn define(metrics: &Metrics, log: &str) -> Result<Self, MetricError> {
        let labels = [("log", log)];
        Ok(Self {
            entries: metrics.counter(
                "access_log_lines_total",
                "Lines of an access log.",
                &labels,
            )?,
            dropped: metrics.counter(
                "access_log_dropped_total",
                "Lines of an access log that were dropped because it could not be written, or not as fast.",
                &labels,
            )?,
        })
    }
}

/// A worker's end.
pub(crate) struct Port {
    writer: Arc<Writer>,
    current: RefCell<Batch>,
    /// Told when the first entry of a batch has come.
    begun: Notify,
    metrics: LogMetrics,
}

impl Port {
    pub(crate) fn new(writer: Arc<Writer>, metrics: LogMetrics) -> Rc<Self> {
        Rc::new(Self {
            writer,
            current: RefCell::default(),
            begun: Notify::new(),
            metrics,
        })
    }

    /// Takes an entry of a record. False: there is no room, and it is dropped.
    pub(crate) fn append(&self, record: &Record<'_>, entry: &[u8]) -> bool {
        let is_full = || self.current.borrow().size() >= BATCH;
        if is_full() && !self.hand_over() {
            record.count(self.metrics.dropped, 1);
            return false;
        }
        record.count(self.metrics.entries, 1);
        let mut current = self.current.borrow_mut();
        current.push(entry);
        if current.ends.len() == 1 {
            self.begun.notify_one();
        }
        drop(current);
        if is_full() {
            self.hand_over();
        }
        true
    }

    /// Counts what was lost since the last look.
    pub(crate) fn count_lost(&self, record: &Record<'_>) {
        let lost = &self.writer.shared.lost;
        if lost.load(Ordering::Relaxed) > 0 {
            let count = lost.swap(0, Ordering::Relaxed);
            record.count(
                self.metrics.dropped,
                u32::try_from(count).unwrap_or(u32::MAX),
            );
        }
    }

    /// Gives what there is to the writer. False: it has as much as it may.
    pub(crate) fn hand_over(&self) -> bool {
        let mut current = self.current.borrow_mut();
        if current.ends.is_empty() {
            return true;
        }
        match self.writer.put(std::mem::take(&mut *current)) {
            Ok(()) => true,
            Err(batch) => {
                *current = batch;
                false
            }
        }
    }

    /// Hands over what has waited for long enough, for ever.
    pub(crate) async fn flush(self: Rc<Self>) {
        loop {
            self.begun.notified().await;
            tokio::time::sleep(FLUSH).await;
            while !self.hand_over() {
                tokio::time::sleep(FLUSH).await;
            }
        }
    }
}

/// What a part still has is handed over when it ends.
impl Drop for Port {
    fn drop(&mut self) {
        if !self.hand_over() {
            self.writer.shared.lose(&self.current.borrow());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use transom_api::testing::{FakeProcess, FakeRecord};

    use super::*;

    fn port(process: &FakeProcess, write: Write) -> Rc<Port> {
        let metrics = LogMetrics::define(&process.metrics(), "test").unwrap();
        Port::new(Writer::start(write).unwrap(), metrics)
    }

    #[tokio::test(start_paused = true)]
    async fn what_has_waited_for_a_second_is_written_in_order() {
        let record = FakeRecord::new();
        let (tell, told) = mpsc::channel();
        let port = port(
            record.process(),
            Box::new(move |batch| {
                let entries = batch.entries().map(<[u8]>::to_vec).collect::<Vec<_>>();
                tell.send(entries).is_ok()
            }),
        );
        for entry in ["one", "", "three"] {
            assert!(port.append(&Record::new(&record), entry.as_bytes()));
        }
        let flushing = Rc::clone(&port).flush();
        assert!(
            tokio::time::timeout(FLUSH * 2, flushing).await.is_err(),
            "it goes on for ever"
        );
        let written = told.recv_timeout(Duration::from_secs(10)).unwrap();
        assert_eq!(written, [&b"one"[..], b"", b"three"]);
        assert_eq!(record.process().metric("access_log_lines_total"), 3);
    }

    #[test]
    fn what_waits_is_bounded_and_what_is_lost_is_counted() {
        let record = FakeRecord::new();
        let (go, wait) = mpsc::channel::<()>();
        let port = port(
            record.process(),
            // Stands still until it is let go, and then loses all.
            Box::new(move |_| wait.recv().is_ok_and(|()| false)),
        );
        let entry = [b'x'; 8 << 10];
        let taken = (0..2_000)
            .take_while(|_| port.append(&Record::new(&record), &entry))
            .count();
        let most = (MOST + 3 * BATCH) / entry.len();
        assert!(taken > MOST / entry.len() / 2 && taken <= most, "{taken}");
        assert_eq!(record.process().metric("access_log_dropped_total"), 1);
        drop(go);
        let finished = Instant::now() + Duration::from_secs(10);
        while port.writer.shared.waiting.load(Ordering::Acquire) > 0 {
            assert!(Instant::now() < finished);
            thread::yield_now();
        }
        port.count_lost(&Record::new(&record));
        assert!(record.process().metric("access_log_dropped_total") > 1);
    }
}
