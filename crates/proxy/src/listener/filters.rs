//! Listener filters: what an accepted socket passes before its connection begins.
//!
//! Bytes that a filter wants to see are read once and shown to every filter; the connection reads them again, but for
//! those that a filter declared consumed.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use transom_api::host::RecordHost;
use transom_api::listener::SocketHost;
use transom_api::metrics::MetricId;
use transom_api::{
    FailurePolicy, FilterError, Level, ListenerFilter, ListenerFilterConfig, ListenerFilterWorker,
    ListenerVerdict, SharedData, Socket, SocketInfo,
};

use crate::worker::{Part, Worker};

/// How long a client may take to send what the filters want to see.
pub(crate) const PEEK_LIMIT: Duration = Duration::from_secs(10);
/// More than this is never read ahead, whatever a filter wants.
const LARGEST_PEEK: usize = 64 << 10;

/// One use of a listener filter.
pub(crate) struct ListenerPlace {
    pub(crate) name: Rc<str>,
    pub(crate) policy: FailurePolicy,
    pub(crate) config: Arc<dyn ListenerFilterConfig>,
    pub(crate) part: Part<dyn ListenerFilterWorker>,
}

/// A socket that passed the filters.
pub(super) struct Passed {
    pub(super) stream: TcpStream,
    /// What was read and is still to be read by the connection.
    pub(super) prefix: Vec<u8>,
    pub(super) info: SocketInfo,
}

/// Lets a socket pass the filters. `None`: it is closed.
pub(super) async fn pass(
    worker: &Worker,
    places: &[Rc<ListenerPlace>],
    mut stream: TcpStream,
    info: SocketInfo,
) -> Option<Passed> {
    let mut context = SocketContext {
        worker,
        name: Rc::from(""),
        info,
    };
    let mut bytes = Vec::new();
    let mut end = false;
    for place in places {
        context.name = Rc::clone(&place.name);
        let made =
            call(&mut context, |socket| place.part.part().socket(socket)).and_then(|made| made);
        let mut filter = match made {
            Ok(filter) => filter,
            Err(error) => {
                refused(worker, place, &error)?;
                continue;
            }
        };
        let mut verdict = step(worker, place, &mut context, |socket| {
            filter.on_accept(socket)
        })?;
        let wanted = place.config.peek().min(LARGEST_PEEK);
        if verdict == ListenerVerdict::Continue && wanted == 0 {
            continue;
        }
        loop {
            if verdict == ListenerVerdict::Close {
                return None;
            }
            if !bytes.is_empty() || end {
                verdict = peek(worker, place, &mut context, &mut *filter, &bytes, end)?;
                match verdict {
                    ListenerVerdict::Close => return None,
                    ListenerVerdict::Continue => break,
                    // It has seen all that it can get.
                    ListenerVerdict::StopIteration if end || bytes.len() >= wanted => break,
                    ListenerVerdict::StopIteration => {}
                }
            } else if wanted == 0 {
                break;
            }
            let room = wanted.saturating_sub(bytes.len()).max(1) as u64;
            let mut limited = (&mut stream).take(room);
            end = limited
                .read_buf(&mut bytes)
                .await
                .map_or(true, |count| count == 0);
        }
    }
    let consumed = context.info.consumed.min(bytes.len());
    bytes.drain(..consumed);
    Some(Passed {
        stream,
        prefix: bytes,
        info: context.info,
    })
}

fn peek(
    worker: &Worker,
    place: &ListenerPlace,
    context: &mut SocketContext<'_>,
    filter: &mut dyn ListenerFilter,
    bytes: &[u8],
    end: bool,
) -> Option<ListenerVerdict> {
    let shown = bytes.get(context.info.consumed..).unwrap_or_default();
    step(worker, place, context, |socket| {
        filter.on_peek(socket, shown, end)
    })
}

/// Calls a filter; `None` when it failed and its policy closes the socket.
fn step(
    worker: &Worker,
    place: &ListenerPlace,
    context: &mut SocketContext<'_>,
    callback: impl FnOnce(&mut Socket<'_>) -> ListenerVerdict,
) -> Option<ListenerVerdict> {
    match call(context, callback) {
        Ok(verdict) => Some(verdict),
        Err(error) => refused(worker, place, &error).map(|()| ListenerVerdict::Continue),
    }
}

fn call<R>(
    context: &mut SocketContext<'_>,
    callback: impl FnOnce(&mut Socket<'_>) -> R,
) -> Result<R, FilterError> {
    let mut socket = Socket::new(context);
    catch_unwind(AssertUnwindSafe(|| callback(&mut socket)))
        .map_err(|_| FilterError::broken("it panicked"))
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
    name: Rc<str>,
    info: SocketInfo,
}

impl SocketHost for SocketContext<'_> {
    fn info(&mut self) -> &mut SocketInfo {
        &mut self.info
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
