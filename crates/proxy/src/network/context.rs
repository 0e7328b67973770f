//! The host's side of a network filter's context.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

use bytes::Bytes;
use transom_api::headers::BodyHost;
use transom_api::host::{AsyncHost, ConnectionFlowHost, ConnectionHost, InfoHost, RecordHost};
use transom_api::metrics::MetricId;
use transom_api::{
    Attribute, BodyError, CalloutError, CalloutId, Direction, FilterError, FilterState, GrpcCall,
    HttpCall, Level, MetadataValue, ResponseFlags, Resumer, SharedData, TimerId,
};

use super::chain::ConnectionCore;
use crate::stream::info::connection_attribute;

/// What a network filter sees during one callback.
pub(super) struct ConnectionContext<'c> {
    core: &'c mut ConnectionCore,
    filter: usize,
    /// The state that streams share, borrowed on first use and given back at the end.
    connection_state: Option<FilterState>,
}

impl<'c> ConnectionContext<'c> {
    pub(super) fn new(core: &'c mut ConnectionCore, filter: usize) -> Self {
        Self {
            core,
            filter,
            connection_state: None,
        }
    }

    fn allows(&self, cluster: &str) -> bool {
        self.core
            .places
            .get(self.filter)
            .is_some_and(|place| place.clusters.allow(cluster))
    }
}

impl Drop for ConnectionContext<'_> {
    fn drop(&mut self) {
        if let Some(state) = self.connection_state.take() {
            self.core.info.set_state(state);
        }
    }
}

impl BodyHost for ConnectionContext<'_> {
    fn body_chunk(&self, direction: Direction, index: usize) -> Option<Cow<'_, [u8]>> {
        let hold = self
            .core
            .sides
            .get(direction as usize)?
            .holds
            .get(self.filter)?;
        hold.bytes.chunk(index).map(Cow::Borrowed)
    }

    fn body_len(&self, direction: Direction) -> usize {
        let side = self.core.sides.get(direction as usize);
        side.and_then(|side| side.holds.get(self.filter))
            .map_or(0, |hold| hold.bytes.len())
    }

    fn splice_body(
        &mut self,
        direction: Direction,
        range: Range<usize>,
        insert: &[u8],
    ) -> Result<(), BodyError> {
        let hold = self
            .core
            .side(direction)
            .holds
            .get_mut(self.filter)
            .ok_or(BodyError::Absent)?;
        hold.bytes
            .splice(range, insert)
            .ok_or(BodyError::OutOfRange)
    }
}

impl ConnectionFlowHost for ConnectionContext<'_> {
    fn continue_bytes(&mut self, direction: Direction) {
        if let Some(continues) = self.core.wishes.continues.get_mut(direction as usize) {
            *continues = true;
        }
    }

    fn inject_bytes(&mut self, direction: Direction, bytes: &[u8], end: bool) {
        self.core
            .wishes
            .injected
            .push((direction, Bytes::copy_from_slice(bytes), end));
    }

    fn close(&mut self) {
        self.core.closing = true;
    }

    fn reset(&mut self) {
        self.core.closing = true;
        self.core.reset = true;
    }

    fn fail(&mut self, error: FilterError) {
        self.core.wishes.fail.get_or_insert(error);
    }
}

impl AsyncHost for ConnectionContext<'_> {
    fn resumer(&mut self) -> Resumer {
        let address = self.core.address(self.filter);
        self.core.worker.resumer(address)
    }

    fn set_timer(&mut self, after: Duration) -> TimerId {
        let address = self.core.address(self.filter);
        self.core.worker.set_timer(address, after)
    }

    fn cancel_timer(&mut self, timer: TimerId) {
        let address = self.core.address(self.filter);
        self.core.worker.cancel_timer(address, timer);
    }

    fn http_call(&mut self, call: HttpCall) -> Result<CalloutId, CalloutError> {
        if !self.allows(&call.cluster) {
            return Err(CalloutError::NotAllowed);
        }
        let address = self.core.address(self.filter);
        self.core.worker.http_call(address, call)
    }

    fn grpc_call(&mut self, call: GrpcCall) -> Result<CalloutId, CalloutError> {
        if !self.allows(&call.cluster) {
            return Err(CalloutError::NotAllowed);
        }
        // gRPC needs HTTP/2, which no cluster speaks yet.
        Err(CalloutError::Unsupported)
    }

    fn cancel_callout(&mut self, callout: CalloutId) {
        let address = self.core.address(self.filter);
        self.core.worker.cancel_callout(address, callout);
    }
}

impl InfoHost for ConnectionContext<'_> {
    fn attribute(&self, name: &str) -> Option<Attribute<'_>> {
        connection_attribute(&self.core.info, name)
    }

    fn metadata(&self, namespace: &str, key: &str) -> Option<&MetadataValue> {
        self.metadata_namespace(namespace)?.get(key)
    }

    fn metadata_namespace(&self, namespace: &str) -> Option<&BTreeMap<String, MetadataValue>> {
        let own = self.core.metadata.get(namespace);
        own.or_else(|| self.core.info.metadata(namespace))
    }

    fn set_metadata(&mut self, namespace: &str, key: &str, value: MetadataValue) {
        let space = self.core.metadata.entry(namespace.to_owned()).or_default();
        space.insert(key.to_owned(), value);
    }

    fn add_response_flags(&mut self, flags: ResponseFlags) {
        self.core.info.notes().add_flags(flags);
    }

    fn filter_state(&mut self) -> &mut FilterState {
        &mut self.core.state
    }

    fn connection_state(&mut self) -> &mut FilterState {
        let info = &self.core.info;
        self.connection_state
            .get_or_insert_with(|| info.take_state())
    }
}

impl RecordHost for ConnectionContext<'_> {
    fn log_enabled(&self, level: Level) -> bool {
        crate::log::enabled(level)
    }

    fn log(&self, level: Level, message: &str) {
        let name = self
            .core
            .places
            .get(self.filter)
            .map_or("", |place| &*place.name);
        crate::log::extension(level, name, message);
    }

    fn add_metric(&self, metric: MetricId, amount: i64) {
        self.core.worker.shard.add(metric, amount);
    }

    fn metric(&self, metric: MetricId) -> i64 {
        self.core.worker.metrics.sum(metric)
    }

    fn observe_metric(&self, metric: MetricId, duration: Duration) {
        self.core.worker.shard.observe(metric, duration);
    }

    fn observe_value(&self, metric: MetricId, value: u64) {
        self.core.worker.shard.observe_value(metric, value);
    }

    fn shared(&self) -> &SharedData {
        &self.core.worker.shared
    }
}

impl ConnectionHost for ConnectionContext<'_> {}
