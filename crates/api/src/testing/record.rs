//! A fake record, for tests of access logs.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use super::FakeProcess;
use super::head::{FakeHead, Presence};
use super::later::{Later, info_host, later_hosts};
use crate::access_log::{Facts, RecordSource};
use crate::flags::ResponseFlags;
use crate::headers::{HeaderEntry, HeaderError, HeaderHost, HeaderMap};
use crate::host::{InfoHost, Level, RecordHost};
use crate::metrics::MetricId;
use crate::shared::SharedData;
use crate::value::{Attribute, FilterState, Metadata, MetadataOf, MetadataValue};

/// A record of a stream (or connection) that never was: what an access log is shown by
/// [`Record::new`](crate::Record::new).
pub struct FakeRecord {
    /// What is known of it.
    pub facts: Facts<'static>,
    host: Host,
}

struct Host {
    later: Later,
    heads: [FakeHead; 4],
    route_metadata: Metadata,
}

impl FakeRecord {
    /// A record of which nothing is known.
    #[must_use]
    pub fn new() -> Self {
        Self {
            facts: Facts::default(),
            host: Host {
                later: Later::new(FakeProcess::new()),
                heads: Default::default(),
                route_metadata: Metadata::new(),
            },
        }
    }

    /// The same with a header.
    #[must_use]
    pub fn with_header(mut self, map: HeaderMap, name: &str, value: &[u8]) -> Self {
        if let Some(head) = self.host.heads.get_mut(map as usize) {
            head.presence = Presence::Here;
            head.put(name, value);
        }
        self
    }

    /// The same with dynamic metadata.
    #[must_use]
    pub fn with_metadata(mut self, namespace: &str, key: &str, value: MetadataValue) -> Self {
        self.host.set_metadata(namespace, key, value);
        self
    }

    /// The same with a value in the route's metadata.
    #[must_use]
    pub fn with_route_metadata(mut self, namespace: &str, key: &str, value: MetadataValue) -> Self {
        let space = self.host.route_metadata.entry(namespace.to_owned());
        space.or_default().insert(key.to_owned(), value);
        self
    }

    /// The same with filter state.
    #[must_use]
    pub fn with_state<T: 'static>(mut self, name: &'static str, value: T) -> Self {
        self.host.later.filter_state.set(name, value);
        self
    }

    /// The same with an attribute.
    #[must_use]
    pub fn with_attribute(mut self, name: &str, value: Attribute<'static>) -> Self {
        self.host.later.attributes.insert(name.to_owned(), value);
        self
    }

    /// The process: metrics, shared data, log lines.
    #[must_use]
    pub fn process(&self) -> &FakeProcess {
        &self.host.later.process
    }
}

impl Default for FakeRecord {
    fn default() -> Self {
        Self::new()
    }
}

impl Host {
    fn head(&self, map: HeaderMap) -> Option<&FakeHead> {
        self.heads.get(map as usize)
    }

    /// A record has no attributes but those that the test gives it.
    fn own_attribute(&self, _name: &str) -> Option<Attribute<'_>> {
        None
    }
}

later_hosts!(Host);
info_host!(Host, route_metadata);

impl HeaderHost for FakeRecord {
    fn header(&self, map: HeaderMap, name: &[u8], nth: usize) -> Option<Cow<'_, [u8]>> {
        self.host.head(map)?.get(name, nth).map(Cow::Borrowed)
    }

    fn header_at(&self, map: HeaderMap, index: usize) -> Option<HeaderEntry<'_>> {
        self.host.head(map)?.at(index)
    }

    fn set_header(&mut self, _: HeaderMap, _: &[u8], _: &[u8]) -> Result<(), HeaderError> {
        Err(HeaderError::Released)
    }

    fn add_header(&mut self, _: HeaderMap, _: &[u8], _: &[u8]) -> Result<(), HeaderError> {
        Err(HeaderError::Released)
    }

    fn remove_header(&mut self, _: HeaderMap, _: &[u8]) -> Result<usize, HeaderError> {
        Err(HeaderError::Released)
    }
}

impl InfoHost for FakeRecord {
    fn attribute(&self, name: &str) -> Option<Attribute<'_>> {
        self.host.attribute(name)
    }

    fn metadata(&self, namespace: &str, key: &str) -> Option<&MetadataValue> {
        self.host.metadata(namespace, key)
    }

    fn metadata_namespace(&self, namespace: &str) -> Option<&BTreeMap<String, MetadataValue>> {
        self.host.metadata_namespace(namespace)
    }

    fn configured_metadata(
        &self,
        of: MetadataOf,
        namespace: &str,
    ) -> Option<&BTreeMap<String, MetadataValue>> {
        self.host.configured_metadata(of, namespace)
    }

    fn set_metadata(&mut self, namespace: &str, key: &str, value: MetadataValue) {
        self.host.set_metadata(namespace, key, value);
    }

    fn add_response_flags(&mut self, flags: ResponseFlags) {
        self.facts.flags.add(flags);
    }

    fn filter_state(&mut self) -> &mut FilterState {
        self.host.filter_state()
    }

    fn connection_state(&mut self) -> &mut FilterState {
        self.host.connection_state()
    }
}

impl RecordHost for FakeRecord {
    fn log_enabled(&self, level: Level) -> bool {
        self.host.log_enabled(level)
    }

    fn log(&self, level: Level, message: &str) {
        self.host.log(level, message);
    }

    fn add_metric(&self, metric: MetricId, amount: i64) {
        self.host.add_metric(metric, amount);
    }

    fn metric(&self, metric: MetricId) -> i64 {
        self.host.metric(metric)
    }

    fn observe_metric(&self, metric: MetricId, duration: Duration) {
        self.host.observe_metric(metric, duration);
    }

    fn observe_value(&self, metric: MetricId, value: u64) {
        self.host.observe_value(metric, value);
    }

    fn shared(&self) -> &SharedData {
        self.host.shared()
    }
}

impl RecordSource for FakeRecord {
    fn facts(&self) -> Facts<'_> {
        self.facts
    }

    fn state(&self) -> &FilterState {
        &self.host.later.filter_state
    }
}

impl fmt::Debug for FakeRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FakeRecord")
            .field("facts", &self.facts)
            .finish_non_exhaustive()
    }
}
