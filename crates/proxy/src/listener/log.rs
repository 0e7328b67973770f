//! The access log of a listener: a record of each connection when it ends.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::{Duration, Instant};

use transom_api::access_log::{Facts, RecordSource};
use transom_api::headers::{HeaderEntry, HeaderHost};
use transom_api::host::{InfoHost, RecordHost};
use transom_api::metrics::MetricId;
use transom_api::{
    Attribute, FilterState, HeaderError, HeaderMap, Level, MetadataValue, ResponseFlags,
    SharedData, attribute,
};

use super::notes::UpstreamNotes;
use crate::stream::chain::AccessLogPlace;
use crate::stream::info::{ConnectionInfo, connection_attribute, tls_facts};
use crate::worker::Worker;

/// The access logs of a listener, as one worker holds them.
pub(crate) type ListenerLogs = Rc<[Rc<AccessLogPlace>]>;

/// A connection that will be logged: when this is dropped.
pub(super) struct ConnectionLog {
    worker: Rc<Worker>,
    logs: ListenerLogs,
    /// Known from the start, and again with what TLS and listener filters found.
    info: Rc<ConnectionInfo>,
    start: Instant,
    /// Why it never became a connection that something serves.
    failure: Option<&'static str>,
}

impl ConnectionLog {
    pub(super) fn new(
        worker: &Rc<Worker>,
        logs: &ListenerLogs,
        info: Rc<ConnectionInfo>,
    ) -> Box<Self> {
        Box::new(Self {
            worker: Rc::clone(worker),
            logs: Rc::clone(logs),
            info,
            start: Instant::now(),
            failure: Some("it ended before it was served"),
        })
    }

    /// Why it is not served.
    pub(super) fn fail(&mut self, why: &'static str) {
        self.failure = Some(why);
    }

    /// It is served, and more is known of it.
    pub(super) fn serve(&mut self, info: &Rc<ConnectionInfo>) {
        self.info = Rc::clone(info);
        self.failure = None;
    }
}

impl Drop for ConnectionLog {
    fn drop(&mut self) {
        let ended = Ended {
            state: self.info.take_state(),
            upstream: self.info.notes().upstream.take().unwrap_or_default(),
            duration: self.start.elapsed(),
            log: self,
        };
        for log in self.logs.iter() {
            log.tell(&self.worker, &ended, None);
        }
    }
}

/// A connection that has ended.
struct Ended<'c> {
    log: &'c ConnectionLog,
    state: FilterState,
    upstream: Box<UpstreamNotes>,
    duration: Duration,
}

impl RecordSource for Ended<'_> {
    fn facts(&self) -> Facts<'_> {
        let info = &self.log.info;
        let upstream = &self.upstream;
        let connection = upstream.connection.as_deref();
        Facts {
            is_connection: true,
            duration: self.duration,
            bytes_received: info.notes().received(),
            bytes_sent: info.notes().sent(),
            flags: info.notes().flags(),
            upstream_host: upstream.host.as_deref(),
            upstream_local: connection.and_then(|connection| connection.local),
            upstream_tls: connection
                .and_then(|connection| connection.tls.as_deref().map(tls_facts)),
            upstream_connection_id: connection.map_or(0, |connection| connection.id),
            upstream_cluster: upstream.cluster.as_deref(),
            upstream_failure: upstream.failure.as_deref(),
            upstream_attempts: upstream.attempts,
            downstream_failure: self.log.failure,
            stream_id: info.id,
            ..info.facts()
        }
    }

    fn state(&self) -> &FilterState {
        &self.state
    }
}

impl InfoHost for Ended<'_> {
    fn attribute(&self, name: &str) -> Option<Attribute<'_>> {
        let text = |text: &'_ str| Some(Attribute::Bytes(Cow::Owned(text.as_bytes().to_vec())));
        let count = |bytes: u64| Some(Attribute::Int(i64::try_from(bytes).unwrap_or(i64::MAX)));
        match name {
            attribute::RESPONSE_FLAGS => text(&self.log.info.notes().flags().to_string()),
            attribute::UPSTREAM_ADDRESS => text(self.upstream.host.as_deref()?),
            attribute::CLUSTER_NAME => text(self.upstream.cluster.as_deref()?),
            attribute::REQUEST_SIZE => count(self.log.info.notes().received()),
            attribute::RESPONSE_SIZE => count(self.log.info.notes().sent()),
            attribute::REQUEST_DURATION => Some(Attribute::Duration(self.duration)),
            _ => connection_attribute(&self.log.info, name),
        }
    }

    fn metadata(&self, _namespace: &str, _key: &str) -> Option<&MetadataValue> {
        None
    }

    fn metadata_namespace(&self, _namespace: &str) -> Option<&BTreeMap<String, MetadataValue>> {
        None
    }

    // It is over: what is set now is seen by nobody.
    fn set_metadata(&mut self, _namespace: &str, _key: &str, _value: MetadataValue) {}

    fn add_response_flags(&mut self, flags: ResponseFlags) {
        self.log.info.notes().add_flags(flags);
    }

    fn filter_state(&mut self) -> &mut FilterState {
        &mut self.state
    }

    fn connection_state(&mut self) -> &mut FilterState {
        &mut self.state
    }
}

/// A connection has no headers.
impl HeaderHost for Ended<'_> {
    fn header(&self, _map: HeaderMap, _name: &[u8], _nth: usize) -> Option<Cow<'_, [u8]>> {
        None
    }

    fn header_at(&self, _map: HeaderMap, _index: usize) -> Option<HeaderEntry<'_>> {
        None
    }

    fn set_header(&mut self, _: HeaderMap, _: &[u8], _: &[u8]) -> Result<(), HeaderError> {
        Err(HeaderError::Absent)
    }

    fn add_header(&mut self, _: HeaderMap, _: &[u8], _: &[u8]) -> Result<(), HeaderError> {
        Err(HeaderError::Absent)
    }

    fn remove_header(&mut self, _: HeaderMap, _: &[u8]) -> Result<usize, HeaderError> {
        Err(HeaderError::Absent)
    }
}

impl RecordHost for Ended<'_> {
    fn log_enabled(&self, level: Level) -> bool {
        crate::log::enabled(level)
    }

    fn log(&self, level: Level, message: &str) {
        crate::log::extension(level, "", message);
    }

    fn add_metric(&self, metric: MetricId, amount: i64) {
        self.log.worker.shard.add(metric, amount);
    }

    fn metric(&self, metric: MetricId) -> i64 {
        self.log.worker.metrics.sum(metric)
    }

    fn observe_metric(&self, metric: MetricId, duration: Duration) {
        self.log.worker.shard.observe(metric, duration);
    }

    fn observe_value(&self, metric: MetricId, value: u64) {
        self.log.worker.shard.observe_value(metric, value);
    }

    fn shared(&self) -> &SharedData {
        &self.log.worker.shared
    }
}
