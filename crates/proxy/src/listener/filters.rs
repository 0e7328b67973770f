//! Listener filters: what an accepted socket passes before its connection begins.
//!
//! Bytes that a filter wants to see are read once and shown to every filter; the connection reads them again, but for
//! those that a filter declared consumed.

use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::time::Instant;
use transom_api::host::RecordHost;
use transom_api::listener::SocketHost;
use transom_api::metrics::MetricId;
use transom_api::{
    Counter, FailurePolicy, FilterError, Level, ListenerFilter, ListenerFilterConfig,
    ListenerFilterWorker, ListenerVerdict, SharedData, Socket, SocketInfo,
};
use transom_config::{ListenAddress, OnTimeout};

use super::{Chains, is_bound_at};
use crate::io::Io;
use crate::socket::original_destination;
use crate::worker::{Part, Worker};

/// More than this is never read ahead of one filter, whatever it wants: the longest header of PROXY protocol (16 bytes and
/// 65,535 that they announce).
const LARGEST_PEEK: usize = 16 + 65_535;
/// What a read has room for at least: a usual hello of TLS with its post-quantum key share comes in one.
const READ: usize = 2 << 10;

/// One use of a listener filter.
pub(crate) struct ListenerPlace {
    pub(crate) name: Rc<str>,
    pub(crate) policy: FailurePolicy,
    pub(crate) config: Arc<dyn ListenerFilterConfig>,
    pub(crate) part: Part<dyn ListenerFilterWorker>,
}

/// A socket that passed the filters.
pub(super) struct Passed {
    pub(super) io: Io,
    /// What was read and is still to be read by the connection.
    pub(super) prefix: Vec<u8>,
    pub(super) info: SocketInfo,
}

/// Lets a socket pass the filters of a listener. `prefix`: what was read of it already. `None`: it is closed.
pub(super) async fn pass(
    worker: &Worker,
    chains: &Chains,
    timed_out: Counter,
    bound: &ListenAddress,
    io: Io,
    prefix: Vec<u8>,
    info: SocketInfo,
) -> Option<Passed> {
    let mut passage = Passage {
        context: SocketContext {
            worker,
            bound,
            name: Rc::from(""),
            io,
            info,
            failed: None,
        },
        bytes: prefix,
        end: false,
        // One time for all filters and all reads: bytes that come one by one buy no more of it.
        deadline: Instant::now() + chains.timeout,
        on_timeout: chains.on_timeout,
        timed_out: false,
    };
    for place in &chains.listener_filters {
        let kept = passage.one(place).await;
        if passage.timed_out {
            // Told once, whatever becomes of it.
            passage.timed_out = false;
            worker.shard.add(timed_out.0, 1);
        }
        kept?;
    }
    Some(Passed {
        io: passage.context.io,
        prefix: passage.bytes,
        info: passage.context.info,
    })
}

struct Passage<'w> {
    context: SocketContext<'w>,
    /// What was read and not consumed.
    bytes: Vec<u8>,
    /// No more will come, or nobody waits for more.
    end: bool,
    deadline: Instant,
    on_timeout: OnTimeout,
    timed_out: bool,
}

impl Passage<'_> {
    /// One filter. `None`: the socket is closed.
    async fn one(&mut self, place: &ListenerPlace) -> Option<()> {
        self.context.name = Rc::clone(&place.name);
        let worker = self.context.worker;
        let made = call(&mut self.context, |socket| place.part.part().socket(socket))
            .and_then(|made| made);
        let mut filter = match made {
            Ok(filter) => filter,
            Err(error) => return refused(worker, place, &error),
        };
        match self.step(place, |socket| filter.on_accept(socket))? {
            ListenerVerdict::Close => return None,
            ListenerVerdict::Continue => return Some(()),
            ListenerVerdict::StopIteration => {}
        }
        let wanted = place.config.peek().min(LARGEST_PEEK);
        if wanted == 0 {
            return Some(());
        }
        loop {
            if !self.bytes.is_empty() || self.end {
                match self.peek(place, &mut *filter)? {
                    ListenerVerdict::Close => return None,
                    ListenerVerdict::Continue => return Some(()),
                    // It has seen all that it can get.
                    ListenerVerdict::StopIteration if self.end || self.bytes.len() >= wanted => {
                        return Some(());
                    }
                    ListenerVerdict::StopIteration => {}
                }
            }
            self.read(wanted.saturating_sub(self.bytes.len())).await?;
        }
    }

    /// Reads once, `most` bytes at the most. `None`: it took too long, and the socket is closed for it.
    async fn read(&mut self, most: usize) -> Option<()> {
        let most = most.max(1);
        self.bytes.reserve(READ.min(most));
        let mut limited = (&mut self.context.io).take(most as u64);
        let read = limited.read_buf(&mut self.bytes);
        match tokio::time::timeout_at(self.deadline, read).await {
            Ok(read) => self.end = read.map_or(true, |count| count == 0),
            Err(_) => {
                self.timed_out = true;
                match self.on_timeout {
                    OnTimeout::Close => return None,
                    // The filters make of it what they can.
                    OnTimeout::Continue => self.end = true,
                }
            }
        }
        Some(())
    }

    fn peek(
        &mut self,
        place: &ListenerPlace,
        filter: &mut dyn ListenerFilter,
    ) -> Option<ListenerVerdict> {
        let bytes = std::mem::take(&mut self.bytes);
        let end = self.end;
        self.context.info.consumed = 0;
        let verdict = self.step(place, |socket| filter.on_peek(socket, &bytes, end));
        self.bytes = bytes;
        // Gone for good: neither later filters nor the connection see them.
        let consumed = self.context.info.consumed.min(self.bytes.len());
        self.bytes.drain(..consumed);
        verdict
    }

    /// Calls a filter; `None` when it failed and its policy closes the socket.
    fn step(
        &mut self,
        place: &ListenerPlace,
        callback: impl FnOnce(&mut Socket<'_>) -> ListenerVerdict,
    ) -> Option<ListenerVerdict> {
        match call(&mut self.context, callback) {
            Ok(verdict) => Some(verdict),
            Err(error) => {
                refused(self.context.worker, place, &error).map(|()| ListenerVerdict::Continue)
            }
        }
    }
}

fn call<R>(
    context: &mut SocketContext<'_>,
    callback: impl FnOnce(&mut Socket<'_>) -> R,
) -> Result<R, FilterError> {
    let mut socket = Socket::new(context);
    let answer = catch_unwind(AssertUnwindSafe(|| callback(&mut socket)));
    match (context.failed.take(), answer) {
        (Some(error), _) => Err(error),
        (None, answer) => answer.map_err(|_| FilterError::broken("it panicked")),
    }
}

/// Counts a failure; `None` when the socket is to be closed for it.
fn refused(worker: &Worker, place: &ListenerPlace, error: &FilterError) -> Option<()> {
    tracing::warn!(filter = &*place.name, %error, "a listener filter failed");
    worker.count_filter_failure();
    (place.policy == FailurePolicy::Open).then_some(())
}

/// What a listener filter sees during one callback.
struct SocketContext<'w> {
    worker: &'w Worker,
    /// Where the listener listens.
    bound: &'w ListenAddress,
    name: Rc<str>,
    io: Io,
    info: SocketInfo,
    /// What the filter says of itself, during one callback.
    failed: Option<FilterError>,
}

impl SocketHost for SocketContext<'_> {
    fn info(&mut self) -> &mut SocketInfo {
        &mut self.info
    }

    fn original_destination(&self) -> Option<SocketAddr> {
        let Io::Tcp(socket) = &self.io else {
            return None;
        };
        original_destination(socket).or_else(|| {
            // What `TPROXY` brings comes to a socket that has the address of where it wanted to go.
            let own = socket.local_addr().ok()?;
            (!is_bound_at(self.bound, own)).then_some(own)
        })
    }

    fn fail(&mut self, error: FilterError) {
        self.failed.get_or_insert(error);
    }
}

impl RecordHost for SocketContext<'_> {
    fn log_enabled(&self, level: Level) -> bool {
        crate::log::enabled(level)
    }

    fn log(&self, level: Level, message: &str) {
        crate::log::extension(level, &self.name, message);
    }

    fn add_metric(&self, metric: MetricId, amount: i64) {
        self.worker.shard.add(metric, amount);
    }

    fn metric(&self, metric: MetricId) -> i64 {
        self.worker.metrics.sum(metric)
    }

    fn observe_metric(&self, metric: MetricId, duration: Duration) {
        self.worker.shard.observe(metric, duration);
    }

    fn observe_value(&self, metric: MetricId, value: u64) {
        self.worker.shard.observe_value(metric, value);
    }

    fn shared(&self) -> &SharedData {
        &self.worker.shared
    }
}
