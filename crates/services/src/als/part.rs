//! A worker's part of the log.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Poll, Waker};
use std::time::Duration;

use http::HeaderMap;
use prost::Message as _;
use transom_api::{
    AccessLogWorker, Counter, Drain, Event, PrepareContext, PrepareError, Record, TimerId, Worker,
    WorkerPart,
};

use super::entry::{connection_entry, stream_entry};
use super::settings::Settings;
use crate::grpc::{Call, Method, Pool, Received, Target, frame, waker};
use crate::proto::accesslog::{HttpAccessLogEntry, TcpAccessLogEntry};
use crate::proto::als::StreamAccessLogsMessage;
use crate::proto::als::stream_access_logs_message::{
    HttpAccessLogEntries, Identifier, LogEntries, TcpAccessLogEntries,
};
use crate::proto::core::Node;

const METHOD: &str = "/envoy.service.accesslog.v3.AccessLogService/StreamAccessLogs";
/// How long what was sent may take to leave when the log ends.
const FAREWELL: Duration = Duration::from_secs(1);
/// Pause before a call that ended is begun again, so that a server that refuses is not asked for every batch.
const PAUSE: Duration = Duration::from_secs(1);

/// What the log counts.
#[derive(Clone, Copy, Debug)]
pub(super) struct Metrics {
    written: Counter,
    dropped: Counter,
}

impl Metrics {
    pub(super) fn define(context: &PrepareContext, log: &str) -> Result<Self, PrepareError> {
        let labels = [("log", log)];
        Ok(Self {
            written: context.metrics.counter(
                "als_records_sent_total",
                "Records handed to the connection to the access log service.",
                &labels,
            )?,
            dropped: context.metrics.counter(
                "als_records_dropped_total",
                "Records dropped because the access log service was slow or away.",
                &labels,
            )?,
        })
    }
}

pub(super) struct Part {
    settings: Arc<Settings>,
    metrics: Metrics,
    pool: Rc<Pool>,
    method: Method,
    waker: Waker,
    call: RefCell<Option<Call>>,
    streams: RefCell<Vec<HttpAccessLogEntry>>,
    connections: RefCell<Vec<TcpAccessLogEntry>>,
    /// Bytes of what was gathered.
    gathered: Cell<usize>,
    timer: Cell<Option<TimerId>>,
    /// Until then no call is begun.
    resting: Cell<Option<std::time::Instant>>,
    /// The log ends: this timer says when.
    leaving: Cell<Option<TimerId>>,
}

impl Part {
    pub(super) fn new(
        settings: Arc<Settings>,
        target: Arc<Target>,
        metrics: Metrics,
        worker: &mut Worker<'_>,
    ) -> Self {
        let pool = Pool::new(target);
        Self {
            method: Method::new(&pool, METHOD),
            pool,
            metrics,
            waker: waker(worker.resumer()),
            call: RefCell::default(),
            streams: RefCell::default(),
            connections: RefCell::default(),
            gathered: Cell::new(0),
            timer: Cell::new(Some(worker.set_timer(settings.flush_interval))),
            resting: Cell::default(),
            leaving: Cell::default(),
            settings,
        }
    }

    /// Sends what was gathered.
    fn flush(&self) {
        if self.gathered.replace(0) == 0 {
            return;
        }
        let streams = std::mem::take(&mut *self.streams.borrow_mut());
        let connections = std::mem::take(&mut *self.connections.borrow_mut());
        let now = std::time::Instant::now();
        if self.resting.get().is_some_and(|until| now < until) {
            // What is gathered next is dropped by its own size; this was too early to send, and is kept for once.
            let bytes = streams
                .iter()
                .map(prost::Message::encoded_len)
                .sum::<usize>()
                + connections
                    .iter()
                    .map(prost::Message::encoded_len)
                    .sum::<usize>();
            self.gathered.set(bytes);
            *self.streams.borrow_mut() = streams;
            *self.connections.borrow_mut() = connections;
            return;
        }
        if !streams.is_empty() {
            self.send(LogEntries::HttpLogs(HttpAccessLogEntries {
                log_entry: streams,
            }));
        }
        if !connections.is_empty() {
            self.send(LogEntries::TcpLogs(TcpAccessLogEntries {
                log_entry: connections,
            }));
        }
    }

    fn send(&self, entries: LogEntries) {
        let mut call = self.call.borrow_mut();
        let first = call.is_none();
        let message = StreamAccessLogsMessage {
            identifier: first.then(|| self.identifier()),
            log_entries: Some(entries),
        };
        call.get_or_insert_with(|| {
            Call::open(
                &self.pool,
                &self.method,
                HeaderMap::new(),
                self.waker.clone(),
            )
        })
        .send(frame(&message));
    }

    fn identifier(&self) -> Identifier {
        Identifier {
            node: Some(Node {
                id: self.settings.node_id.clone(),
                cluster: self.settings.node_cluster.clone(),
                user_agent_name: "transom".to_owned(),
                ..Node::default()
            }),
            log_name: self.settings.log_name.clone(),
        }
    }

    /// Looks after the call: it also moves what is unsent.
    fn look(&self, worker: &Worker<'_>) {
        let mut call = self.call.borrow_mut();
        while let Some(open) = call.as_mut() {
            match open.poll() {
                Poll::Pending => return,
                Poll::Ready(Received::Message(_)) => {}
                Poll::Ready(Received::End(status)) => {
                    *call = None;
                    self.resting.set(Some(std::time::Instant::now() + PAUSE));
                    if worker.log_enabled(transom_api::Level::Warn) {
                        let line = format!("the access log service ended the call: {status}");
                        worker.log(transom_api::Level::Warn, &line);
                    }
                }
            }
        }
    }

    fn pending(&self) -> usize {
        let unsent = self.call.borrow().as_ref().map_or(0, Call::unsent);
        self.gathered.get() + unsent
    }
}

impl AccessLogWorker for Part {
    fn log(&self, record: &Record<'_>) {
        if self.pending() >= self.settings.max_pending {
            record.count(self.metrics.dropped, 1);
            return;
        }
        let size = if record.facts().is_connection {
            let entry = connection_entry(record);
            let size = entry.encoded_len();
            self.connections.borrow_mut().push(entry);
            size
        } else {
            let entry = stream_entry(record, &self.settings);
            let size = entry.encoded_len();
            self.streams.borrow_mut().push(entry);
            size
        };
        record.count(self.metrics.written, 1);
        // An entry of no bytes counts too.
        self.gathered.set(self.gathered.get() + size.max(1));
        if self.gathered.get() >= self.settings.buffer_size {
            self.flush();
        }
    }
}

impl WorkerPart for Part {
    fn on_event(&self, worker: &mut Worker<'_>, event: Event) {
        match event {
            Event::Timer(timer) if self.leaving.get() == Some(timer) => worker.drained(),
            Event::Timer(timer) if self.timer.get() == Some(timer) => {
                self.flush();
                self.timer
                    .set(Some(worker.set_timer(self.settings.flush_interval)));
            }
            Event::Resumed(_) => {}
            _ => return,
        }
        self.look(worker);
    }

    fn drain(&self, worker: &mut Worker<'_>) -> Drain {
        self.resting.set(None);
        self.flush();
        match self.call.borrow_mut().take() {
            Some(call) => {
                call.close(FAREWELL);
                self.leaving.set(Some(worker.set_timer(FAREWELL)));
                Drain::More
            }
            None => Drain::Done,
        }
    }
}
