//! Access logs that a plugin keeps.
//!
//! ```text
//!  worker   log(record) ─▶ entry, encoded ─▶ Queue ─ full or old enough ─▶ one batch, one frame ─▶ the plugin's Log call
//!                                             │ too much waits: the oldest go, and are counted
//! ```
//!
//! Each worker has a queue and a call of its own. Nobody waits for the plugin: while it is slow, away or started again, the queue fills
//! up to its bound.

use std::borrow::Cow;
use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::header::{CONTENT_TYPE, HeaderValue, TE};
use tower_service::Service;
use transom_api::kind::AccessLogs;
use transom_api::{
    AccessLogConfig, AccessLogWorker, Attribute, BuildError, Counter, Drain, Event, Factory,
    HeaderMap, Headers, Node, ParseError, Parsed, Prepare, PrepareContext, Record, Resumer, Schema,
    Shape, TimerId, Worker, WorkerPart,
};

use super::batches::{Outgoing, Queue};
use super::uses::{self, Cell as RunningCell, Subject, Used};
use super::wire::{self, log};
use crate::supervise::Instance;
use crate::v1;

/// The pause before another call after one that ended, so that a plugin that refuses is not asked for every batch.
const AGAIN: Duration = Duration::from_millis(500);
/// How long the last batch may take to leave when the log ends.
const FAREWELL: Duration = Duration::from_secs(2);

/// Names under which an entry has the headers that the plugin asked for.
const REQUEST_HEADERS: &str = "request.headers";
const RESPONSE_HEADERS: &str = "response.headers";

/// Makes the access log `extension` of a plugin.
pub(crate) struct LogFactory {
    pub(crate) cell: RunningCell,
    pub(crate) extension: String,
}

/// The configuration of a use, as written.
struct Written {
    cell: RunningCell,
    extension: String,
    config: Node,
}

impl Factory<AccessLogs> for LogFactory {
    fn schema(&self) -> Schema {
        Schema::new(Shape::Any)
    }

    fn parse(&self, config: &Node) -> Result<Arc<dyn Parsed<AccessLogs>>, ParseError> {
        Ok(Arc::new(Written {
            cell: Arc::clone(&self.cell),
            extension: self.extension.clone(),
            config: config.clone(),
        }))
    }
}

impl Parsed<AccessLogs> for Written {
    fn prepare(&self, context: PrepareContext) -> Prepare<AccessLogs> {
        let (cell, extension) = (Arc::clone(&self.cell), self.extension.clone());
        let config = self.config.clone();
        Box::pin(async move {
            let running = uses::running(&cell)?;
            let kind = v1::Kind::AccessLog;
            let found = running.extension(kind, &extension)?;
            let subject = Subject {
                kind,
                extension: found.name.clone(),
                name: Arc::clone(&context.instance),
                config,
            };
            let used = Used::prepare(&running, subject).await?;
            let labels = [
                ("plugin", running.plugin.name()),
                ("use", &*context.instance),
            ];
            let define = &context.metrics;
            let metrics = LogMetrics {
                entries: define.counter(
                    "plugin_log_entries_total",
                    "Entries of access logs that were queued for a plugin.",
                    &labels,
                )?,
                lost: define.counter(
                    "plugin_log_lost_total",
                    "Entries of access logs that were lost because the plugin was slow or away.",
                    &labels,
                )?,
            };
            let config: Arc<dyn AccessLogConfig> =
                Arc::new(LogConfig(Arc::new(Shared { used, metrics })));
            Ok(config)
        })
    }
}

/// What a log counts.
#[derive(Clone, Copy)]
struct LogMetrics {
    entries: Counter,
    lost: Counter,
}

struct Shared {
    used: Used,
    metrics: LogMetrics,
}

/// A use that is ready.
struct LogConfig(Arc<Shared>);

impl AccessLogConfig for LogConfig {
    fn on_worker(&self, worker: &mut Worker<'_>) -> Result<Rc<dyn AccessLogWorker>, BuildError> {
        let queue = Queue::new(self.0.used.id);
        let sending = send(Arc::clone(&self.0), Arc::clone(&queue), worker.resumer());
        worker.spawn(sending);
        Ok(Rc::new(Part {
            shared: Arc::clone(&self.0),
            queue,
            leaving: Cell::new(None),
        }))
    }
}

/// A worker's part.
struct Part {
    shared: Arc<Shared>,
    queue: Arc<Queue>,
    /// The log ends: this timer says when at the latest.
    leaving: Cell<Option<TimerId>>,
}

impl AccessLogWorker for Part {
    fn log(&self, record: &Record<'_>) {
        let needs = &self.shared.used.needs;
        let entry = wire::piece(|it| {
            it.nested(log::ENTRIES, |entry| {
                for name in &needs.attributes {
                    if let Some(value) = record.attribute(name) {
                        entry.attribute(log::VALUES, name, &value);
                    }
                }
                for (key, map, names) in [
                    (
                        REQUEST_HEADERS,
                        HeaderMap::RequestHeaders,
                        &needs.request_headers,
                    ),
                    (
                        RESPONSE_HEADERS,
                        HeaderMap::ResponseHeaders,
                        &needs.response_headers,
                    ),
                ] {
                    if !names.is_empty() {
                        entry.fields(log::VALUES, key, |it| {
                            headers(it, record.headers(map), names);
                        });
                    }
                }
            });
        });
        let metrics = self.shared.metrics;
        record.count(metrics.entries, 1);
        let lost = self.queue.push(entry);
        if lost > 0 {
            record.count(metrics.lost, u32::try_from(lost).unwrap_or(u32::MAX));
        }
    }
}

/// Those of the headers that there are. Values of a name that is repeated are joined by `,`.
fn headers(it: &mut wire::Message<'_>, headers: Headers<'_>, names: &[String]) {
    for name in names {
        let values: Vec<_> = headers.get_all(name).collect();
        let value = match values.as_slice() {
            [] => continue,
            [value] => Cow::Borrowed(&**value),
            values => {
                let values: Vec<&[u8]> = values.iter().map(|value| &**value).collect();
                Cow::Owned(values.join(&b","[..]))
            }
        };
        it.attribute(log::VALUES, name, &Attribute::Bytes(value));
    }
}

impl WorkerPart for Part {
    fn on_event(&self, worker: &mut Worker<'_>, event: Event) {
        match event {
            Event::Timer(timer) if self.leaving.get() == Some(timer) => worker.drained(),
            // The last batch was taken.
            Event::Resumed(_) if self.leaving.get().is_some() => worker.drained(),
            _ => {}
        }
    }

    fn drain(&self, worker: &mut Worker<'_>) -> Drain {
        if self.queue.end() {
            self.leaving.set(Some(worker.set_timer(FAREWELL)));
            return Drain::More;
        }
        Drain::Done
    }
}

/// Sends what gathers in the queue, to one process after the other.
async fn send(shared: Arc<Shared>, queue: Arc<Queue>, resumer: Resumer) {
    let mut ready = shared.used.ready();
    loop {
        let instance = {
            let instances = ready.borrow_and_update();
            let open = instances.iter().filter(|instance| instance.is_open());
            open.min_by_key(|instance| instance.in_flight()).cloned()
        };
        let Some(instance) = instance else {
            // A process that comes back is told of; one that goes out of use and in again is not.
            tokio::select! {
                changed = ready.changed() => if changed.is_err() { return },
                () = tokio::time::sleep(AGAIN) => {}
            }
            continue;
        };
        let outcome = call(&instance, &queue).await;
        if queue.is_ended() {
            resumer.post(0);
            return;
        }
        if let Err(why) = outcome
            && !instance.is_gone()
        {
            tracing::warn!(
                plugin = shared.used.plugin.name(),
                pid = instance.pid(),
                "an access log's call ended: {why}"
            );
        }
        queue.lose_last();
        tokio::time::sleep(AGAIN).await;
    }
}

/// One call, to its end.
async fn call(instance: &Instance, queue: &Arc<Queue>) -> Result<(), String> {
    let connector = instance.connector().map_err(|error| error.to_string())?;
    let mut channel = connector
        .connect()
        .await
        .map_err(|error| format!("no connection: {error}"))?;
    let body = tonic::body::Body::new(Outgoing::new(Arc::clone(queue)));
    let mut request = http::Request::new(body);
    *request.method_mut() = http::Method::POST;
    *request.uri_mut() = http::Uri::from_static("/transom.plugin.v1.Plugin/Log");
    let headers = request.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    headers.insert(TE, HeaderValue::from_static("trailers"));
    let response = channel
        .call(request)
        .await
        .map_err(|status| status.to_string())?;
    let failed = |headers: &http::HeaderMap| {
        tonic::Status::from_header_map(headers)
            .filter(|status| status.code() != tonic::Code::Ok)
            .map(|status| status.to_string())
    };
    if let Some(status) = failed(response.headers()) {
        return Err(status);
    }
    // The summary, which says nothing that was not known, and then how it ended.
    let mut body = std::pin::pin!(response.into_body());
    while let Some(frame) =
        std::future::poll_fn(|cx| http_body::Body::poll_frame(body.as_mut(), cx)).await
    {
        let frame = frame.map_err(|status| status.to_string())?;
        if let Some(status) = frame.trailers_ref().and_then(failed) {
            return Err(status);
        }
    }
    Ok(())
}
