//! The host's side of a stream filter's context.

use std::any::Any;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::ops::Range;
use std::time::Duration;

use bytes::Bytes;
use transom_api::access_log::{Facts, RecordSource};
use transom_api::event::Address;
use transom_api::headers::{BodyHost, HeaderEntry, HeaderHost};
use transom_api::host::{AsyncHost, FlowHost, InfoHost, RecordHost, StreamHost};
use transom_api::metrics::MetricId;
use transom_api::{
    Attribute, BodyError, CalloutError, CalloutId, Direction, FilterError, FilterState, GrpcCall,
    HeaderError, HeaderMap, HttpCall, Level, LocalReply, MetadataOf, MetadataValue, OverrideError,
    Phase, Released, ResponseFlags, Resumer, SharedData, TimerId, Wants,
};

use super::actions::Injected;
use super::{Core, Message};
use crate::cluster::HostOverride;
use crate::http::head::{Head, Presence};
use crate::router::FilterOverride;

/// What a filter sees during one callback. Lives as long as the callback.
pub(super) struct Context<'c> {
    core: &'c mut Core,
    filter: usize,
    wants: Wants,
    /// The connection's state, borrowed from it on first use and given back at the end.
    connection_state: Option<FilterState>,
}

impl<'c> Context<'c> {
    pub(super) fn new(core: &'c mut Core, filter: usize, wants: Wants) -> Self {
        Self {
            core,
            filter,
            wants,
            connection_state: None,
        }
    }

    /// The head of the request.
    pub(super) fn request(&self) -> &Head {
        &self.core.request.head
    }

    fn address(&mut self) -> Address {
        self.core.address(self.filter)
    }

    /// Whether a change of the body's length would break what the head has promised or will promise.
    fn length_is_fixed(&self, direction: Direction) -> bool {
        let changes = match direction {
            Direction::Request => Wants::CHANGES_REQUEST_LENGTH,
            Direction::Response => Wants::CHANGES_RESPONSE_LENGTH,
        };
        !self.wants.contains(changes) && self.core.message(direction).content_length.is_some()
    }

    fn refuse_length_change(&mut self) {
        self.core.actions.any = true;
        self.core.actions.fail.get_or_insert(FilterError::broken(
            "it changed the length of a body without saying so in wants()",
        ));
    }
}

impl Drop for Context<'_> {
    fn drop(&mut self) {
        if let Some(state) = self.connection_state.take() {
            self.core.connection.set_state(state);
        }
    }
}

impl Core {
    pub(super) fn head(&self, map: HeaderMap) -> &Head {
        match map {
            HeaderMap::RequestHeaders => &self.request.head,
            HeaderMap::RequestTrailers => &self.request.trailers,
            HeaderMap::ResponseHeaders => &self.response.head,
            HeaderMap::ResponseTrailers => &self.response.trailers,
        }
    }

    fn head_mut(&mut self, map: HeaderMap) -> &mut Head {
        match map {
            HeaderMap::RequestHeaders => &mut self.request.head,
            HeaderMap::RequestTrailers => &mut self.request.trailers,
            HeaderMap::ResponseHeaders => &mut self.response.head,
            HeaderMap::ResponseTrailers => &mut self.response.trailers,
        }
    }

    pub(super) fn message(&self, direction: Direction) -> &Message {
        match direction {
            Direction::Request => &self.request,
            Direction::Response => &self.response,
        }
    }

    pub(super) fn message_mut(&mut self, direction: Direction) -> &mut Message {
        match direction {
            Direction::Request => &mut self.request,
            Direction::Response => &mut self.response,
        }
    }
}

impl HeaderHost for Context<'_> {
    fn header(&self, map: HeaderMap, name: &[u8], nth: usize) -> Option<Cow<'_, [u8]>> {
        self.core.head(map).get(name, nth).map(Cow::Borrowed)
    }

    fn header_at(&self, map: HeaderMap, index: usize) -> Option<HeaderEntry<'_>> {
        self.core.head(map).at(index)
    }

    fn set_header(&mut self, map: HeaderMap, name: &[u8], value: &[u8]) -> Result<(), HeaderError> {
        self.make_trailers(map);
        self.core.head_mut(map).set(map, name, value)
    }

    fn add_header(&mut self, map: HeaderMap, name: &[u8], value: &[u8]) -> Result<(), HeaderError> {
        self.make_trailers(map);
        self.core.head_mut(map).add(map, name, value)
    }

    fn remove_header(&mut self, map: HeaderMap, name: &[u8]) -> Result<usize, HeaderError> {
        self.core.head_mut(map).remove(name)
    }

    fn reason_phrase(&self) -> Option<Cow<'_, [u8]>> {
        self.core.response.head.reason().map(Cow::Borrowed)
    }

    fn set_reason_phrase(&mut self, phrase: &[u8]) -> Result<(), HeaderError> {
        self.core.response.head.set_reason(phrase)
    }
}

impl Context<'_> {
    /// A filter that is called with the end of a body may add trailers to a message that has none.
    fn make_trailers(&mut self, map: HeaderMap) {
        let direction = match map {
            HeaderMap::RequestTrailers => Direction::Request,
            HeaderMap::ResponseTrailers => Direction::Response,
            HeaderMap::RequestHeaders | HeaderMap::ResponseHeaders => return,
        };
        let position = self.core.chain.position_of(direction, self.filter);
        let message = self.core.message_mut(direction);
        let shows_end = message
            .side
            .holds
            .get(position)
            .is_some_and(|hold| hold.end.is_some());
        if shows_end && message.trailers.presence() == Presence::Absent {
            message.trailers.set_presence(Presence::Here);
        }
    }
}

impl BodyHost for Context<'_> {
    fn body_chunk(&self, direction: Direction, index: usize) -> Option<Cow<'_, [u8]>> {
        let position = self.core.chain.position_of(direction, self.filter);
        let hold = self.core.message(direction).side.holds.get(position)?;
        hold.body.chunk(index).map(Cow::Borrowed)
    }

    fn body_len(&self, direction: Direction) -> usize {
        let position = self.core.chain.position_of(direction, self.filter);
        self.core
            .message(direction)
            .side
            .holds
            .get(position)
            .map_or(0, |hold| hold.body.len())
    }

    fn splice_body(
        &mut self,
        direction: Direction,
        range: Range<usize>,
        insert: &[u8],
    ) -> Result<(), BodyError> {
        if range.len() != insert.len() && self.length_is_fixed(direction) {
            self.refuse_length_change();
            return Err(BodyError::LengthAnnounced);
        }
        let position = self.core.chain.position_of(direction, self.filter);
        let side = &mut self.core.message_mut(direction).side;
        let hold = side.holds.get_mut(position).ok_or(BodyError::Absent)?;
        hold.body.splice(range, insert).ok_or(BodyError::OutOfRange)
    }
}

impl FlowHost for Context<'_> {
    fn continue_stream(&mut self, direction: Direction) {
        let actions = &mut self.core.actions;
        actions.any = true;
        match direction {
            Direction::Request => actions.continue_request = true,
            Direction::Response => actions.continue_response = true,
        }
    }

    fn end_with_headers(&mut self, direction: Direction) -> Result<(), Released> {
        let position = self.core.chain.position_of(direction, self.filter);
        let side = &mut self.core.message_mut(direction).side;
        if side.at != position || side.stop.is_none() {
            return Err(Released);
        }
        side.head_end = true;
        side.cut_at = Some(position + 1);
        let hold = side.hold(position);
        hold.body.clear();
        hold.end = None;
        self.continue_stream(direction);
        Ok(())
    }

    fn send_local_reply(&mut self, reply: LocalReply) -> Result<(), Released> {
        if self.core.response.side.released || self.core.over {
            return Err(Released);
        }
        self.core.actions.any = true;
        // The first reply of a callback counts.
        self.core
            .actions
            .local_reply
            .get_or_insert_with(|| Box::new(reply));
        Ok(())
    }

    fn skip_phase(&mut self) {
        self.core.actions.any = true;
        self.core.actions.skip_phase = true;
    }

    fn clear_route(&mut self) -> Result<(), Released> {
        if self.core.request.side.released {
            return Err(Released);
        }
        self.core.clear_route();
        Ok(())
    }

    fn rematch_route(&mut self) -> Result<(), Released> {
        if self.core.request.side.released {
            return Err(Released);
        }
        if self.phase() == Phase::AfterRoute {
            self.core.actions.any = true;
            self.core.actions.rematch_route = true;
        } else {
            self.log(
                Level::Warn,
                "rematch_route does nothing outside of the phase after_route",
            );
        }
        Ok(())
    }

    fn rechoose_host(&mut self) -> Result<(), Released> {
        if self.core.request.side.released {
            return Err(Released);
        }
        if self.phase() == Phase::AfterChooseHost {
            self.core.actions.any = true;
            self.core.actions.rechoose_host = true;
        } else {
            self.log(
                Level::Warn,
                "rechoose_host does nothing outside of the phase after_choose_host",
            );
        }
        Ok(())
    }

    fn override_host(&mut self, host: &str, strict: bool) -> Result<(), OverrideError> {
        if self.core.request.side.released {
            return Err(OverrideError::Released);
        }
        let asked = HostOverride::new(host, strict).ok_or(OverrideError::NoAddress)?;
        self.core.host_override = Some(Box::new(asked));
        // One that was chosen already is chosen again before the request leaves.
        self.core.host = None;
        Ok(())
    }

    fn terminate(&mut self) {
        self.core.actions.any = true;
        self.core.actions.terminate = true;
    }

    fn inject(&mut self, direction: Direction, bytes: &[u8], end: bool) -> Result<(), Released> {
        let position = self.core.chain.position_of(direction, self.filter);
        let side = &self.core.message(direction).side;
        // A message without a body may be given one while its headers are shown.
        let gives_body = side.at == position && side.head_end && !side.released;
        let ended = side.out_end.is_some() || side.aborted || side.head_end;
        if !gives_body && (side.at <= position || ended) {
            return Err(Released);
        }
        if !bytes.is_empty() && self.length_is_fixed(direction) {
            self.refuse_length_change();
            return Err(Released);
        }
        self.core.actions.any = true;
        self.core.actions.injected.push(Injected {
            direction,
            bytes: Bytes::copy_from_slice(bytes),
            end,
        });
        Ok(())
    }

    fn hold_back(&mut self, direction: Direction, hold: bool) {
        let held_back = &mut self.core.message_mut(direction).side.held_back;
        held_back.retain(|filter| *filter != self.filter);
        if hold {
            held_back.push(self.filter);
        }
    }

    fn forgo(&mut self, wants: Wants) {
        self.wants = self.wants.without(wants);
        let actions = &mut self.core.actions;
        actions.any = true;
        actions.forgone = Some(actions.forgone.map_or(wants, |before| before.and(wants)));
    }

    fn fail(&mut self, error: FilterError) {
        self.core.actions.any = true;
        self.core.actions.fail.get_or_insert(error);
    }

    fn phase(&self) -> Phase {
        self.core
            .chain
            .places
            .get(self.filter)
            .map_or(Phase::BeforeRoute, |place| place.phase)
    }

    fn route_config(&self) -> Option<&(dyn Any + Send + Sync)> {
        let place = self.core.chain.places.get(self.filter)?;
        match self.core.override_of(&place.name)? {
            FilterOverride::Config(config) => Some(&**config),
            FilterOverride::Disabled => None,
        }
    }
}

impl AsyncHost for Context<'_> {
    fn resumer(&mut self) -> Resumer {
        let address = self.address();
        self.core.worker.resumer(address)
    }

    fn set_timer(&mut self, after: Duration) -> TimerId {
        let address = self.address();
        self.core.worker.set_timer(address, after)
    }

    fn cancel_timer(&mut self, timer: TimerId) {
        let address = self.address();
        self.core.worker.cancel_timer(address, timer);
    }

    fn http_call(&mut self, call: HttpCall) -> Result<CalloutId, CalloutError> {
        let allowed = self
            .core
            .chain
            .places
            .get(self.filter)
            .is_some_and(|place| place.clusters.allow(&call.cluster));
        if !allowed {
            return Err(CalloutError::NotAllowed);
        }
        let address = self.address();
        self.core.worker.http_call(address, call)
    }

    fn grpc_call(&mut self, call: GrpcCall) -> Result<CalloutId, CalloutError> {
        let allowed = self
            .core
            .chain
            .places
            .get(self.filter)
            .is_some_and(|place| place.clusters.allow(&call.cluster));
        if !allowed {
            return Err(CalloutError::NotAllowed);
        }
        // gRPC needs HTTP/2, which no cluster speaks yet.
        Err(CalloutError::Unsupported)
    }

    fn cancel_callout(&mut self, callout: CalloutId) {
        let address = self.address();
        self.core.worker.cancel_callout(address, callout);
    }
}

impl InfoHost for Context<'_> {
    fn attribute(&self, name: &str) -> Option<Attribute<'_>> {
        self.core.attributes().get(name)
    }

    fn source_address(&self) -> Option<SocketAddr> {
        self.core.info.remote.or(self.core.connection.source)
    }

    fn metadata(&self, namespace: &str, key: &str) -> Option<&MetadataValue> {
        self.metadata_namespace(namespace)?.get(key)
    }

    fn metadata_namespace(&self, namespace: &str) -> Option<&BTreeMap<String, MetadataValue>> {
        let own = self.core.info.metadata.get(namespace);
        own.or_else(|| self.core.connection.metadata(namespace))
    }

    fn configured_metadata(
        &self,
        of: MetadataOf,
        namespace: &str,
    ) -> Option<&BTreeMap<String, MetadataValue>> {
        self.core.configured_metadata(of)?.get(namespace)
    }

    fn set_metadata(&mut self, namespace: &str, key: &str, value: MetadataValue) {
        let space = self
            .core
            .info
            .metadata
            .entry(namespace.to_owned())
            .or_default();
        space.insert(key.to_owned(), value);
    }

    fn add_response_flags(&mut self, flags: ResponseFlags) {
        self.core.info.flags.add(flags);
    }

    fn filter_state(&mut self) -> &mut FilterState {
        &mut self.core.info.filter_state
    }

    fn connection_state(&mut self) -> &mut FilterState {
        let connection = &self.core.connection;
        self.connection_state
            .get_or_insert_with(|| connection.take_state())
    }
}

impl RecordHost for Context<'_> {
    fn log_enabled(&self, level: Level) -> bool {
        crate::log::enabled(level)
    }

    fn log(&self, level: Level, message: &str) {
        let name = self
            .core
            .chain
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

impl StreamHost for Context<'_> {}

impl RecordSource for Context<'_> {
    fn facts(&self) -> Facts<'_> {
        self.core.attributes().facts()
    }

    fn state(&self) -> &FilterState {
        &self.core.info.filter_state
    }
}
