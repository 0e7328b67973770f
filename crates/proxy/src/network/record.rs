//! What is told of a connection that became no streams, when it is over.

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

use crate::http::head::Head;
use crate::stream::chain::AccessLogPlace;
use crate::stream::info::{Attributes, ConnectionInfo, StreamInfo};
use crate::worker::Worker;

/// A relayed connection, or a session of datagrams. Its bytes are the sizes of a request and a response; it has no
/// headers, no protocol and no status.
pub(crate) struct SessionRecord {
    worker: Rc<Worker>,
    pub(crate) connection: Rc<ConnectionInfo>,
    pub(crate) info: StreamInfo,
    nothing: Head,
}

impl SessionRecord {
    pub(crate) fn new(worker: &Rc<Worker>, connection: Rc<ConnectionInfo>) -> Self {
        Self {
            worker: Rc::clone(worker),
            connection,
            info: StreamInfo::new(),
            nothing: Head::default(),
        }
    }

    fn attributes(&self) -> Attributes<'_> {
        Attributes {
            connection: &self.connection,
            info: &self.info,
            request: &self.nothing,
            response: &self.nothing,
            route_name: None,
            virtual_host: None,
            route: None,
        }
    }

    /// It is over: writes the access logs.
    pub(crate) fn write(mut self, logs: &[Rc<AccessLogPlace>]) {
        self.info.end = Some(Instant::now());
        self.info.flags.add(self.connection.notes().flags());
        self.connection.notes().fill(&self.info);
        // What network filters have left for others on the connection, who may still look at it later.
        self.info.filter_state = self.connection.take_state();
        for log in logs {
            log.tell(&self.worker, &self, None);
        }
        let state = std::mem::take(&mut self.info.filter_state);
        self.connection.set_state(state);
    }
}

impl HeaderHost for SessionRecord {
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

impl InfoHost for SessionRecord {
    fn attribute(&self, name: &str) -> Option<Attribute<'_>> {
        if name == attribute::REQUEST_PROTOCOL {
            return None;
        }
        self.attributes().get(name)
    }

    fn metadata(&self, namespace: &str, key: &str) -> Option<&MetadataValue> {
        self.info.metadata.get(namespace)?.get(key)
    }

    fn metadata_namespace(&self, namespace: &str) -> Option<&BTreeMap<String, MetadataValue>> {
        self.info.metadata.get(namespace)
    }

    fn set_metadata(&mut self, namespace: &str, key: &str, value: MetadataValue) {
        let space = self.info.metadata.entry(namespace.to_owned());
        space.or_default().insert(key.to_owned(), value);
    }

    fn add_response_flags(&mut self, flags: ResponseFlags) {
        self.info.flags.add(flags);
    }

    fn filter_state(&mut self) -> &mut FilterState {
        &mut self.info.filter_state
    }

    fn connection_state(&mut self) -> &mut FilterState {
        // Nobody changes anything here: a record is only read.
        &mut self.info.filter_state
    }
}

impl RecordHost for SessionRecord {
    fn log_enabled(&self, level: Level) -> bool {
        crate::log::enabled(level)
    }

    fn log(&self, level: Level, message: &str) {
        crate::log::extension(level, "", message);
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

impl RecordSource for SessionRecord {
    fn facts(&self) -> Facts<'_> {
        Facts {
            is_connection: true,
            protocol: None,
            upstream_protocol: None,
            stream_id: self.connection.id,
            ..self.attributes().facts()
        }
    }

    fn state(&self) -> &FilterState {
        &self.info.filter_state
    }
}
