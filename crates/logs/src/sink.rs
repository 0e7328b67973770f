//! Sinks: each writes to one target, by a thread of its own, what workers hand over.

use std::fmt;
use std::io;
use std::mem;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use crossbeam_queue::ArrayQueue;
use tokio::sync::oneshot;
use transom_api::Resumer;

use crate::settings::BufferSettings;
use crate::target::{Open, OpenError, Target};

/// A buffer is handed over when it has grown to this: large enough that a write costs little per line.
const CHUNK: usize = 32 << 10;
/// How often the process's log is told that a target cannot be written.
const COMPLAIN: Duration = Duration::from_secs(30);

/// All sinks of the process.
#[derive(Default)]
pub(crate) struct Sinks(Mutex<Vec<Known>>);

/// A sink, as long as its thread lives.
struct Known {
    target: Target,
    sink: Weak<Sink>,
    shared: Arc<Shared>,
    thread: Thread,
}

/// One target and the thread that writes to it. When the last configuration lets go, the thread writes what is left and
/// ends.
pub(crate) struct Sink {
    shared: Arc<Shared>,
    thread: Thread,
}

/// What the thread shares with everybody else.
struct Shared {
    lanes: Mutex<Vec<Arc<Lane>>>,
    /// Lanes were added since the thread looked.
    new_lanes: AtomicBool,
    reopen: AtomicBool,
    /// Who waits until all is written; `None` when the thread has ended.
    finish: Mutex<Option<Vec<Sender<()>>>>,
    /// Nobody will hand over any more.
    closed: AtomicBool,
}

/// The way of one worker's lines to a sink. One worker puts in, the sink's thread takes out.
pub(crate) struct Lane {
    full: ArrayQueue<Chunk>,
    /// Buffers that were written, to be filled again.
    empty: ArrayQueue<Vec<u8>>,
    /// Bytes after which a buffer is handed over.
    chunk: usize,
    flush_interval: Duration,
    /// The worker has lines that it has not handed over.
    waiting: AtomicBool,
    /// Lines that could not be written, until the worker counts them.
    lost: AtomicU64,
    /// Brings the sink's thread the way by which it asks the worker for what it has.
    asks: ArrayQueue<Resumer>,
    sink: OnceLock<Thread>,
}

/// Whole lines.
#[derive(Debug, Default)]
struct Chunk {
    bytes: Vec<u8>,
    lines: u32,
}

/// The worker's end of a lane.
pub(crate) struct Port {
    lane: Arc<Lane>,
    current: Chunk,
}

impl Sinks {
    /// The sink of a target, which is opened when there is none.
    pub(crate) async fn sink(&self, target: &Target) -> Result<Arc<Sink>, OpenError> {
        if let Some(known) = self.known(target) {
            return Ok(known);
        }
        let sink = Sink::open(target).await?;
        // Activations come one after another; if they did not, two sinks of one target would still append to it.
        let mut sinks = self.lock();
        sinks.retain(|known| !known.shared.has_ended());
        sinks.push(Known {
            target: target.clone(),
            sink: Arc::downgrade(&sink),
            shared: Arc::clone(&sink.shared),
            thread: sink.thread.clone(),
        });
        Ok(sink)
    }

    pub(crate) fn reopen(&self) {
        for known in self.lock().iter() {
            known.shared.reopen.store(true, Ordering::Release);
            known.thread.unpark();
        }
    }

    pub(crate) fn finish(&self, limit: Duration) -> bool {
        let deadline = Instant::now() + limit;
        let ends: Vec<_> = self.lock().iter().filter_map(Known::finish).collect();
        ends.into_iter().all(|end| {
            let left = deadline.saturating_duration_since(Instant::now());
            // A thread that has ended has written all it had.
            end.recv_timeout(left) != Err(RecvTimeoutError::Timeout)
        })
    }

    fn known(&self, target: &Target) -> Option<Arc<Sink>> {
        let sinks = self.lock();
        let mut known = sinks.iter().filter(|known| known.target == *target);
        known.find_map(|known| known.sink.upgrade())
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Known>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    /// Asks for all to be written: what tells when that is done, unless the thread has ended.
    fn finish(&self) -> Option<Receiver<()>> {
        let (done, end) = mpsc::channel();
        self.shared.lock_finish().as_mut()?.push(done);
        self.thread.unpark();
        Some(end)
    }
}

impl Sink {
    /// Opens a target on its thread, since that may take as long as a disk does.
    async fn open(target: &Target) -> Result<Arc<Self>, OpenError> {
        let shared = Arc::new(Shared::new());
        let (tell, told) = oneshot::channel();
        let writer = Arc::clone(&shared);
        let opened = target.clone();
        let spawned = thread::Builder::new()
            .name("access-log".to_owned())
            .spawn(move || match opened.open() {
                Ok(open) => {
                    // Nobody waits any more: then this sink is closed already.
                    let _ = tell.send(Ok(()));
                    Writer::new(opened, open, Arc::clone(&writer)).run();
                    writer.lock_finish().take();
                }
                Err(error) => {
                    writer.lock_finish().take();
                    let _ = tell.send(Err(error));
                }
            });
        let failed = |message: String| OpenError {
            message,
            help: "the process may have no more threads",
        };
        let thread = spawned
            .map_err(|error| failed(format!("{target} needs a thread: {error}")))?
            .thread()
            .clone();
        // Made before the wait: if that is given up, dropping it ends the thread.
        let sink = Arc::new(Self { shared, thread });
        told.await
            .map_err(|_| failed(format!("{target}: its thread ended")))??;
        Ok(sink)
    }

    /// A lane for a worker.
    pub(crate) fn lane(&self, settings: BufferSettings) -> Arc<Lane> {
        let chunk = CHUNK.min(settings.size / 2);
        // One is with the worker.
        let count = (settings.size / chunk).saturating_sub(1).max(1);
        let lane = Arc::new(Lane {
            full: ArrayQueue::new(count),
            empty: ArrayQueue::new(count + 1),
            chunk,
            flush_interval: settings.flush_interval,
            waiting: AtomicBool::new(false),
            lost: AtomicU64::new(0),
            asks: ArrayQueue::new(2),
            sink: OnceLock::new(),
        });
        let _ = lane.sink.set(self.thread.clone());
        self.shared.lock_lanes().push(Arc::clone(&lane));
        self.shared.new_lanes.store(true, Ordering::Release);
        lane
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        self.shared.closed.store(true, Ordering::Release);
        self.thread.unpark();
    }
}

impl Shared {
    fn new() -> Self {
        Self {
            lanes: Mutex::default(),
            new_lanes: AtomicBool::new(false),
            reopen: AtomicBool::new(false),
            finish: Mutex::new(Some(Vec::new())),
            closed: AtomicBool::new(false),
        }
    }

    fn has_ended(&self) -> bool {
        self.lock_finish().is_none()
    }

    fn lock_finish(&self) -> MutexGuard<'_, Option<Vec<Sender<()>>>> {
        self.finish.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock_lanes(&self) -> MutexGuard<'_, Vec<Arc<Lane>>> {
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lane {
    /// Whom the sink asks when a line has waited long enough.
    pub(crate) fn ask(&self, worker: Resumer) {
        // Of several the last one counts.
        self.asks.force_push(worker);
    }

    /// Lines that were lost since the last look.
    pub(crate) fn take_lost(&self) -> u64 {
        match self.lost.load(Ordering::Relaxed) {
            0 => 0,
            _ => self.lost.swap(0, Ordering::Relaxed),
        }
    }

    fn wake(&self) {
        if let Some(sink) = self.sink.get() {
            sink.unpark();
        }
    }
}

impl Port {
    pub(crate) fn new(lane: Arc<Lane>) -> Self {
        Self {
            lane,
            current: Chunk::default(),
        }
    }

    pub(crate) fn lane(&self) -> &Lane {
        &self.lane
    }

    /// Adds the line that `write` writes. False: there is no room, and it was dropped.
    pub(crate) fn line(&mut self, write: impl FnOnce(&mut Vec<u8>)) -> bool {
        if self.current.bytes.len() >= self.lane.chunk && !self.hand_over() {
            return false;
        }
        if self.current.bytes.capacity() == 0 {
            self.current.bytes = Vec::with_capacity(self.lane.chunk + self.lane.chunk / 8);
        }
        write(&mut self.current.bytes);
        self.current.lines += 1;
        if self.current.bytes.len() >= self.lane.chunk || self.lane.flush_interval.is_zero() {
            if !self.hand_over() {
                self.lane.waiting.store(true, Ordering::Release);
                self.lane.wake();
            }
        } else if self.current.lines == 1 {
            self.lane.waiting.store(true, Ordering::Release);
            self.lane.wake();
        }
        true
    }

    /// Gives what there is to the sink. False: it has as much as it may.
    pub(crate) fn hand_over(&mut self) -> bool {
        if self.current.lines == 0 {
            return true;
        }
        let next = Chunk {
            bytes: self.lane.empty.pop().unwrap_or_default(),
            lines: 0,
        };
        let chunk = mem::replace(&mut self.current, next);
        match self.lane.full.push(chunk) {
            Ok(()) => {
                self.lane.waiting.store(false, Ordering::Release);
                self.lane.wake();
                true
            }
            Err(chunk) => {
                let next = mem::replace(&mut self.current, chunk);
                // It came from there.
                let _ = self.lane.empty.push(next.bytes);
                false
            }
        }
    }
}

/// What a part still has is handed over when it ends.
impl Drop for Port {
    fn drop(&mut self) {
        if !self.hand_over() {
            let lines = u64::from(self.current.lines);
            self.lane.lost.fetch_add(lines, Ordering::Relaxed);
        }
    }
}

/// A lane and its worker.
struct OwnLane {
    lane: Arc<Lane>,
    worker: Option<Resumer>,
}

impl OwnLane {
    fn is_waiting(&self) -> bool {
        self.lane.waiting.load(Ordering::Acquire)
    }

    fn ask_worker(&mut self) {
        while let Some(worker) = self.lane.asks.pop() {
            self.worker = Some(worker);
        }
        if let Some(worker) = &self.worker {
            worker.post(0);
        }
    }

    /// Whether configuration and worker have let go of it: held here and in the shared list.
    fn is_over(&self) -> bool {
        Arc::strong_count(&self.lane) <= 2 && self.lane.full.is_empty()
    }
}

/// The thread's own.
struct Writer {
    target: Target,
    open: Open,
    shared: Arc<Shared>,
    lanes: Vec<OwnLane>,
    /// When the lines that wait have waited long enough.
    flush_at: Option<Instant>,
    complained: Option<Instant>,
    /// The last write broke off in a line.
    torn: bool,
}

impl Writer {
    fn new(target: Target, open: Open, shared: Arc<Shared>) -> Self {
        Self {
            target,
            open,
            shared,
            lanes: Vec::new(),
            flush_at: None,
            complained: None,
            torn: false,
        }
    }

    fn run(mut self) {
        loop {
            // Asked for before the look at the lanes: what was handed over until then goes to the old file.
            let reopen = self.shared.reopen.swap(false, Ordering::AcqRel);
            let closed = self.shared.closed.load(Ordering::Acquire);
            let finish = self.shared.lock_finish().as_mut().map(mem::take);
            if self.shared.new_lanes.swap(false, Ordering::AcqRel) {
                self.take_new_lanes();
            }
            self.write_lanes();
            if reopen {
                self.reopen();
            }
            for done in finish.into_iter().flatten() {
                // Who no longer waits has run out of time.
                let _ = done.send(());
            }
            if closed {
                return;
            }
            self.forget_lanes();
            self.wait();
        }
    }

    /// Waits until there is something to do.
    fn wait(&mut self) {
        let now = Instant::now();
        let waiting = self.lanes.iter().filter(|own| own.is_waiting());
        let Some(shortest) = waiting.map(|own| own.lane.flush_interval).min() else {
            self.flush_at = None;
            return thread::park();
        };
        let flush_at = *self.flush_at.get_or_insert(now + shortest);
        if now < flush_at {
            return thread::park_timeout(flush_at - now);
        }
        for own in self.lanes.iter_mut().filter(|own| own.is_waiting()) {
            own.ask_worker();
        }
        // A worker that is slow to answer is asked again, not at once.
        self.flush_at = Some(now + shortest.max(Duration::from_millis(100)));
        thread::park_timeout(Duration::from_millis(100));
        if !self.lanes.iter().any(OwnLane::is_waiting) {
            self.flush_at = None;
        }
    }

    fn write_lanes(&mut self) {
        let mut lanes = mem::take(&mut self.lanes);
        for own in &mut lanes {
            while let Some(Chunk { mut bytes, lines }) = own.lane.full.pop() {
                if let Err(error) = self.write(&bytes) {
                    own.lane.lost.fetch_add(u64::from(lines), Ordering::Relaxed);
                    self.complain(&error);
                    own.ask_worker();
                }
                bytes.clear();
                // One giant line must not be memory for ever.
                bytes.shrink_to(2 * own.lane.chunk);
                // With as many as may be it is dropped.
                let _ = own.lane.empty.push(bytes);
            }
        }
        self.lanes = lanes;
    }

    fn write(&mut self, lines: &[u8]) -> io::Result<()> {
        if mem::take(&mut self.torn) {
            self.open.write(b"\n").inspect_err(|_| self.torn = true)?;
        }
        match self.open.write(lines) {
            Err(_) if matches!(self.target, Target::SyslogUnix(_)) => {
                // The daemon was started anew; its socket is another one.
                self.open = self
                    .target
                    .open()
                    .map_err(|error| io::Error::other(error.message))?;
                self.open.write(lines)
            }
            Err(error) => {
                self.torn = matches!(self.target, Target::File(_));
                Err(error)
            }
            Ok(()) => Ok(()),
        }
    }

    fn reopen(&mut self) {
        if !self.target.reopens() {
            return;
        }
        match self.target.open() {
            Ok(open) => {
                self.open = open;
                self.torn = false;
                tracing::info!(target_ = %self.target, "an access log was opened again");
            }
            Err(OpenError { message, help }) => {
                tracing::error!(
                    help,
                    "an access log goes on with the file that it had: {message}"
                );
            }
        }
    }

    fn complain(&mut self, error: &io::Error) {
        let now = Instant::now();
        let is_due = self
            .complained
            .is_none_or(|last| now.saturating_duration_since(last) >= COMPLAIN);
        if is_due {
            self.complained = Some(now);
            tracing::error!(target_ = %self.target, %error, "lines of an access log were lost");
        }
    }

    /// Lets go of lanes whose configuration and workers have.
    fn forget_lanes(&mut self) {
        if !self.lanes.iter().any(OwnLane::is_over) {
            return;
        }
        let mut shared = self.shared.lock_lanes();
        self.lanes.retain(|own| {
            let over = own.is_over();
            if over {
                shared.retain(|lane| !Arc::ptr_eq(lane, &own.lane));
            }
            !over
        });
    }

    fn take_new_lanes(&mut self) {
        for lane in self.shared.lock_lanes().iter() {
            if !self.lanes.iter().any(|own| Arc::ptr_eq(&own.lane, lane)) {
                self.lanes.push(OwnLane {
                    lane: Arc::clone(lane),
                    worker: None,
                });
            }
        }
    }
}

impl fmt::Debug for Sinks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list()
            .entries(self.lock().iter().map(|known| &known.target))
            .finish()
    }
}
