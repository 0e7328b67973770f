//! A library's access log, as the data plane calls it.

use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use transom_abi::{self as abi, Handle, Object, Slice, Status};
use transom_api::access_log::{AccessLogConfig, AccessLogWorker, Facts, TlsFacts};
use transom_api::event::Event;
use transom_api::kind::AccessLogs;
use transom_api::{BuildError, Drain, PrepareContext, PrepareError, Record, Worker, WorkerPart};

use crate::batches::{Batch, LogMetrics, Port, Writer};
use crate::configs::{Configured, Hosted, WorkerObject, clusters_of};
use crate::current::{Logged, slice_of, with_record};
use crate::error::LoadError;
use crate::load::Loaded;
use crate::news::News;
use crate::tables::{AnyTable, Check, Common, Prepare, Raw, Release, Table};

/// How often the process's log is told that a library does not write.
const COMPLAIN: Duration = Duration::from_secs(30);

/// The functions of an access log.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AccessLogTable {
    all: abi::AccessLog,
    prepare: Prepare<abi::LogWants>,
    release: Release,
    log: unsafe extern "C" fn(Object, Handle, *const abi::Record),
}

impl AccessLogTable {
    pub(crate) fn new(all: abi::AccessLog, raw: &Raw<'_>) -> Result<Self, LoadError> {
        Ok(Self {
            prepare: raw.must(all.prepare, "prepare")?,
            release: raw.must(all.release, "release")?,
            log: raw.must(all.log, "log")?,
            all,
        })
    }
}

impl Table for AccessLogTable {
    const KIND: abi::Kind = abi::ACCESS_LOG;
    type Wants = abi::LogWants;
    type Wishes = Vec<String>;

    fn common(&self) -> Common<abi::LogWants> {
        Common {
            check: Check::Plain(self.all.check),
            prepare: self.prepare,
            release: self.release,
            worker_start: self.all.worker_start,
            worker_event: self.all.worker_event,
            worker_end: self.all.worker_end,
        }
    }

    fn wants(&self) -> abi::LogWants {
        abi::LogWants {
            size: size_of::<abi::LogWants>(),
            clusters: std::ptr::null(),
            cluster_count: 0,
        }
    }

    unsafe fn read(wants: &abi::LogWants, library: &Loaded) -> Result<Vec<String>, PrepareError> {
        // SAFETY: Promised by the caller.
        unsafe { clusters_of(wants.clusters, wants.cluster_count, library) }
    }

    fn of(table: &AnyTable) -> Option<&Self> {
        match table {
            AnyTable::AccessLog(table) => Some(table),
            _ => None,
        }
    }
}

impl Hosted for AccessLogTable {
    type Kind = AccessLogs;
    const LABEL: &'static str = "log";

    fn config(
        configured: Configured<Self>,
        _clusters: Vec<String>,
        context: &PrepareContext,
        _news: Option<News>,
    ) -> Result<Arc<dyn AccessLogConfig>, PrepareError> {
        let configured = Arc::new(configured);
        let metrics = LogMetrics::define(&context.metrics, &context.instance)?;
        let writer = match configured.table.all.write {
            None => None,
            Some(write) => {
                let mut writing = Writing {
                    configured: Arc::clone(&configured),
                    write,
                    complained: None,
                };
                let writer = Writer::start(Box::new(move |batch| writing.write(batch)));
                Some(writer.map_err(|error| {
                    PrepareError::new(format!("it needs a thread to write: {error}"))
                })?)
            }
        };
        Ok(Arc::new(Config {
            configured,
            writer,
            metrics,
        }))
    }

    fn clusters(clusters: &Vec<String>) -> &[String] {
        clusters
    }
}

/// A use that is ready.
struct Config {
    configured: Arc<Configured<AccessLogTable>>,
    /// Of a library that has its entries written by a thread.
    writer: Option<Arc<Writer>>,
    metrics: LogMetrics,
}

/// What the thread does.
struct Writing {
    configured: Arc<Configured<AccessLogTable>>,
    write: unsafe extern "C" fn(Object, *const Slice, usize) -> Status,
    complained: Option<Instant>,
}

impl Writing {
    fn write(&mut self, batch: &Batch) -> bool {
        let entries: Vec<Slice> = batch.entries().map(slice_of).collect();
        // SAFETY: The library's function, with an object of its own and entries that hold for the call. One thread makes
        // these calls.
        let status =
            unsafe { (self.write)(self.configured.object, entries.as_ptr(), entries.len()) };
        if status == abi::OK {
            return true;
        }
        let again = self
            .complained
            .is_none_or(|last| last.elapsed() >= COMPLAIN);
        if again {
            self.complained = Some(Instant::now());
            tracing::warn!(
                "{} lost {} entries of its access log: `write` answered {status}",
                self.configured.library,
                entries.len()
            );
        }
        false
    }
}

impl AccessLogConfig for Config {
    fn on_worker(&self, worker: &mut Worker<'_>) -> Result<Rc<dyn AccessLogWorker>, BuildError> {
        let object = WorkerObject::start(&self.configured, worker)?;
        let port = self.writer.as_ref().map(|writer| {
            let port = Port::new(Arc::clone(writer), self.metrics);
            // It ends with the part.
            worker.spawn(Rc::clone(&port).flush());
            port
        });
        Ok(Rc::new(Part { object, port }))
    }
}

struct Part {
    object: Rc<WorkerObject<AccessLogTable>>,
    port: Option<Rc<Port>>,
}

impl WorkerPart for Part {
    fn on_event(&self, worker: &mut Worker<'_>, event: Event) {
        self.object.on_event(worker, &event);
    }

    fn drain(&self, _worker: &mut Worker<'_>) -> Drain {
        if let Some(port) = &self.port {
            port.hand_over();
        }
        Drain::Done
    }
}

impl AccessLogWorker for Part {
    fn log(&self, record: &Record<'_>) {
        let facts = shown(&record.facts());
        let logged = Logged {
            record: *record,
            port: self.port.as_deref(),
        };
        let table = &self.object.config.table;
        // SAFETY: The library's function, with an object of its own, a handle and facts that hold for the call.
        with_record(&logged, |handle| unsafe {
            (table.log)(self.object.object, handle, &raw const facts);
        });
        if let Some(port) = &self.port {
            port.count_lost(record);
        }
    }
}

/// The facts of a record as C sees them.
fn shown(facts: &Facts<'_>) -> abi::Record {
    let text = |text: Option<&str>| slice_of(text.unwrap_or_default().as_bytes());
    let nanos = |time: Option<Duration>| match time {
        Some(time) => i64::try_from(time.as_nanos()).unwrap_or(i64::MAX),
        None => -1,
    };
    let tls: Option<TlsFacts<'_>> = facts.tls;
    abi::Record {
        size: size_of::<abi::Record>(),
        is_connection: u32::from(facts.is_connection),
        status: u32::from(facts.status),
        duration: nanos(Some(facts.duration)),
        request_received: nanos(facts.request_received),
        request_sent: nanos(facts.request_sent),
        response_received: nanos(facts.response_received),
        response_sent: nanos(facts.response_sent),
        bytes_received: facts.bytes_received,
        bytes_sent: facts.bytes_sent,
        connection_id: facts.connection_id,
        stream_id: facts.stream_id,
        upstream_connection_id: facts.upstream_connection_id,
        upstream_attempts: facts.upstream_attempts,
        reserved: 0,
        protocol: text(facts.protocol),
        details: text(facts.details),
        listener: text(Some(facts.listener)),
        virtual_host: text(facts.virtual_host),
        route: text(facts.route),
        cluster: text(facts.upstream_cluster),
        upstream_host: text(facts.upstream_host),
        upstream_protocol: text(facts.upstream_protocol),
        upstream_failure: text(facts.upstream_failure),
        server_name: text(facts.server_name),
        tls_version: text(tls.map(|tls| tls.version)),
        tls_cipher: text(tls.and_then(|tls| tls.cipher)),
        downstream_failure: text(facts.downstream_failure),
    }
}
