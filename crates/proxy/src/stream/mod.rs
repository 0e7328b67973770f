//! A stream: one request and its response on their way through the chain, as a machine without I/O.
//!
//! The driver (an exchange) tells it what happened (`request_head`, `data`, `upstream_failed`, `timeout`, …) and then
//! carries out what it wants: take what has left the chain ([`Stream::outgoing`]), read on
//! ([`Stream::wants_input`]), connect the chosen host. Filters run inside these calls, one at a time; what a
//! filter asks for is recorded and done after its callback has returned, so no filter is ever called or dropped inside
//! another's callback.
//!
//! - [`passage`]: how heads, data and trailers go from filter to filter;
//! - [`context`]: what a filter sees and can do;
//! - [`forward`]: what the route makes of the request;
//! - [`side`]: the state of one direction; [`chain`]: the places and their generations;
//! - [`reply`]: answers of the proxy's own.

mod actions;
pub(crate) mod chain;
mod client_certificate;
mod context;
mod forward;
pub(crate) mod hop;
pub(crate) mod info;
mod passage;
mod reply;
pub(crate) mod side;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use transom_api::event::Address;
use transom_api::{
    Direction, Event, FailurePolicy, FilterError, Metadata, MetadataOf, Phase, ResetReason,
    Stream as FilterContext, StreamFilter, StreamInstance, Wants,
};
use transom_config::RetryPolicy;

use self::actions::Actions;
use self::chain::{Chain, Generation};
use self::context::Context;
pub(crate) use self::hop::tells_of_client;
pub(crate) use self::info::split_query;
use self::info::{Attributes, ConnectionInfo, StreamInfo};
use self::side::{End, Side};
use crate::cluster::{ClusterId, HostOverride, Lease, WorkerHost};
use crate::error::{Fault, Flags};
use crate::gate::{Gate, Subject};
use crate::http::HttpListener;
use crate::http::head::{Head, Presence};
use crate::http::tunnel::Tunnel;
use crate::router::action::Action;
use crate::router::{FilterOverride, RouteIndex, WorkerTable};
use crate::worker::Worker;

/// One request and its response.
pub(crate) struct Stream {
    slots: Vec<Slot>,
    core: Core,
}

/// All of a stream but its filters, so that a filter can be called with the rest of the stream in hand.
pub(crate) struct Core {
    pub(crate) request: Message,
    pub(crate) response: Message,
    pub(crate) info: StreamInfo,
    worker: Rc<Worker>,
    connection: Rc<ConnectionInfo>,
    listener: Rc<HttpListener>,
    chain: Rc<Chain>,
    table: WorkerTable,
    actions: Actions,
    route: RouteState,
    /// The cluster that was chosen of the route's.
    cluster: Option<ClusterId>,
    host: Option<Rc<WorkerHost>>,
    /// The host that a filter asks for.
    host_override: Option<Box<HostOverride>>,
    phase: Phase,
    rematches: u8,
    slot: Option<(u32, u32)>,
    /// The stream ends without (the rest of) an answer.
    over: bool,
}

/// One direction's message.
#[derive(Default)]
pub(crate) struct Message {
    pub(crate) head: Head,
    pub(crate) trailers: Head,
    /// The length of the body as announced by its sender.
    pub(crate) content_length: Option<u64>,
    /// A filter said that it may change the body's length.
    pub(crate) length_changes: bool,
    /// A request that asks for a tunnel, or a response that opens one: what follows the head is the tunnel's.
    pub(crate) tunnel: Option<Tunnel>,
    pub(crate) side: Side,
}

impl Message {
    /// The length of the body that a head which leaves now can announce: that of the whole body, if it has left the chain
    /// by now (a filter kept it until it was whole), else the sender's, unless a filter may change it.
    pub(crate) fn known_length(&self) -> Option<u64> {
        if self.side.out_end == Some(End::Plain) && !self.side.head_end {
            return Some(self.side.out.len() as u64);
        }
        self.content_length.filter(|_| !self.length_changes)
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum RouteState {
    #[default]
    Unresolved,
    Resolved(Option<RouteIndex>),
}

/// A filter of this stream.
struct Slot {
    instance: StreamInstance,
    generation: Option<Rc<Generation>>,
    /// What it wants of this stream: nothing when it was left out, and less than its generation when it said so.
    wants: Wants,
    /// Which of the generation's successive parts made it.
    build: u32,
    /// It failed: never called again.
    failed: bool,
    /// The rest of its phase was skipped: its request callbacks are not called.
    skipped: bool,
}

/// What has left the chain in one direction and waits for the wire.
pub(crate) struct Outgoing<'s> {
    pub(crate) message: &'s mut Message,
}

/// How a callback left its stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flow {
    /// As the verdict says.
    On,
    /// The same filter is to be called again.
    Again,
    /// The direction goes on no more: a local reply or the end of the stream took its place.
    Diverted,
}

impl Stream {
    /// A stream that [`Stream::begin`] makes ready. Streams are used again: their memory stays.
    pub(crate) fn new(worker: Rc<Worker>, listener: Rc<HttpListener>) -> Self {
        Self {
            slots: Vec::new(),
            core: Core {
                request: Message::default(),
                response: Message::default(),
                info: StreamInfo::new(),
                chain: Rc::clone(&listener.chain),
                table: Rc::clone(&listener.table),
                connection: Rc::clone(&worker.nobody),
                worker,
                listener,
                actions: Actions::default(),
                route: RouteState::Unresolved,
                cluster: None,
                host: None,
                host_override: None,
                phase: Phase::BeforeRoute,
                rematches: 0,
                slot: None,
                over: false,
            },
        }
    }

    /// Empties a finished stream and keeps its memory.
    pub(crate) fn clear(&mut self) {
        let core = &mut self.core;
        for message in [&mut core.request, &mut core.response] {
            message.clear();
        }
        core.info.clear();
        core.route = RouteState::Unresolved;
        core.cluster = None;
        core.host = None;
        core.host_override = None;
        core.phase = Phase::BeforeRoute;
        core.rematches = 0;
        core.over = false;
    }

    /// Makes a clear stream, into which the request's head was read meanwhile, one of this connection. It takes the
    /// listener's current chain and routes. What is known of the connection is lent, until [`Stream::swap_connection`]: to
    /// count one more hold on it would touch memory that nothing else of a request touches.
    pub(crate) fn begin(
        &mut self,
        connection: &mut Rc<ConnectionInfo>,
        listener: &Rc<HttpListener>,
        start: Instant,
    ) {
        self.swap_connection(connection);
        let core = &mut self.core;
        core.info.start = start;
        core.info.id = core.worker.stream_id();
        if !Rc::ptr_eq(&core.listener, listener) {
            core.listener = Rc::clone(listener);
            core.chain = Rc::clone(&listener.chain);
            core.table = Rc::clone(&listener.table);
        }
    }

    /// Exchanges what it knows of its connection.
    pub(crate) fn swap_connection(&mut self, connection: &mut Rc<ConnectionInfo>) {
        std::mem::swap(&mut self.core.connection, connection);
    }

    /// Answers a request whose head alone shows that it will not be served. Its filters see the answer.
    #[cold]
    pub(crate) fn refuse(&mut self, fault: &Fault) {
        self.core.receive();
        let failed = self.make_filters();
        self.core.request.side.begun = true;
        self.fault(failed.as_ref().unwrap_or(fault));
    }

    /// The request's head is in [`Core::request`]: makes the filters and lets the head go through the chain.
    pub(crate) fn request_head(&mut self, end: bool) {
        self.core.receive();
        let refused = self.core.normalise_path();
        let failed = self.make_filters().or(refused);
        let side = &mut self.core.request.side;
        side.begun = true;
        side.head_end = end;
        side.input_ended = end;
        if end {
            self.core.info.times.request_received = Some(self.core.info.start);
        }
        match failed {
            Some(fault) => self.fault(&fault),
            None => self.run_head(Direction::Request),
        }
    }

    /// The response's head is in [`Core::response`]: lets it go through the chain.
    pub(crate) fn response_head(&mut self, end: bool) {
        let core = &mut self.core;
        if core.over || core.response.side.begun {
            return;
        }
        core.info.details = Cow::Borrowed("via_upstream");
        core.info.times.response_received = Some(core.worker.now());
        core.change_response();
        let side = &mut core.response.side;
        side.begun = true;
        side.head_end = end;
        side.input_ended = end;
        self.run_head(Direction::Response);
    }

    /// A piece of a body came; `end`: nothing follows it.
    pub(crate) fn data(&mut self, direction: Direction, bytes: Bytes, end: bool) {
        self.note_data(direction, bytes.len(), end);
        if end && bytes.is_empty() && self.is_open(direction) {
            // Nobody in the chain looks at where a body ends.
            self.core.message_mut(direction).side.out_end = Some(End::Plain);
            return;
        }
        self.pass_data(direction, 0, bytes, end.then_some(End::Plain));
    }

    /// A piece of a body went by the chain because no filter of the chain wants it: [`Stream::is_open`].
    pub(crate) fn note_data(&mut self, direction: Direction, len: usize, end: bool) {
        let core = &mut self.core;
        match direction {
            Direction::Request => core.info.request_bytes += len as u64,
            Direction::Response => core.info.response_bytes += len as u64,
        }
        core.message_mut(direction).side.input_ended |= end;
        if end {
            self.note_end(direction);
        }
    }

    fn note_end(&mut self, direction: Direction) {
        if direction == Direction::Request {
            self.core.info.times.request_received = Some(self.core.worker.now());
        }
    }

    /// Trailers came; they are in the message.
    pub(crate) fn trailers(&mut self, direction: Direction) {
        self.core.message_mut(direction).side.input_ended = true;
        self.note_end(direction);
        self.pass_trailers(direction, 0);
    }

    /// Whether data of this direction may go by the chain: the head has left, nothing waits, and no filter looks.
    pub(crate) fn is_open(&self, direction: Direction) -> bool {
        let side = &self.core.message(direction).side;
        side.released
            && !side.data_filters
            && side.cut_at.is_none()
            && !side.aborted
            && side.out.is_empty()
            && side.out_end.is_none()
    }

    /// Whether more input of this direction is welcome. No, while what waits in the chain is over the watermark and
    /// no filter keeps it with a limit of its own.
    pub(crate) fn wants_input(&self, direction: Direction) -> bool {
        let side = &self.core.message(direction).side;
        if side.input_ended || !side.held_back.is_empty() {
            return false;
        }
        side.holds.is_empty() && side.out.is_empty()
            || side.buffers()
            || side.waiting() < self.core.listener.watermark
    }

    /// What has left the chain in a direction.
    pub(crate) fn outgoing(&mut self, direction: Direction) -> Outgoing<'_> {
        Outgoing {
            message: self.core.message_mut(direction),
        }
    }

    /// The driver took bytes out: tells the filters when a direction went over its watermark or came under it.
    pub(crate) fn check_watermark(&mut self, direction: Direction, beyond: usize) {
        let limit = self.core.listener.watermark;
        let side = &mut self.core.message_mut(direction).side;
        let above = side.out.len() + beyond >= limit;
        // Half-way down, so that a steady flow does not make an event of every read.
        let under = side.out.len() + beyond <= limit / 2;
        if above && !side.above_watermark || under && side.above_watermark {
            side.above_watermark = above;
            self.tell_all(|| Event::Watermark { direction, above });
        }
    }

    /// Something happened to one filter.
    pub(crate) fn event(&mut self, filter: usize, event: Event) {
        if self.core.over {
            return;
        }
        self.call(filter, |filter, context| filter.on_event(context, event));
        self.settle(filter);
    }

    /// The listener drains.
    pub(crate) fn drain(&mut self) {
        self.tell_all(|| Event::Drain);
    }

    /// No answer can come from the host: answers in its place.
    #[cold]
    pub(crate) fn fault(&mut self, fault: &Fault) {
        self.core.info.flags.add(fault.flags());
        let reply = fault.reply(self.core.listener.local_reply);
        self.answer(reply, None);
    }

    /// Ends the stream: the filters are told (when it ended early, why), then the access log, then they are dropped.
    pub(crate) fn finish(&mut self, early: Option<ResetReason>) {
        self.core.over = true;
        if let Some(reason) = early {
            self.core.info.flags.add(match reason {
                ResetReason::Downstream => Flags::DOWNSTREAM_CONNECTION_TERMINATION,
                ResetReason::Upstream => Flags::UPSTREAM_CONNECTION_TERMINATION,
                ResetReason::Timeout => Flags::STREAM_IDLE_TIMEOUT,
                _ => Flags::LOCAL_RESET,
            });
            self.tell_all(|| Event::Reset(reason));
        }
        self.core.info.end = Some(Instant::now());
        for filter in 0..self.slots.len() {
            if self.wants(filter, Wants::COMPLETE) {
                self.call(filter, |filter, context| filter.on_stream_complete(context));
            }
        }
        self.write_access_log();
        if let Some((slot, _)) = self.core.slot.take() {
            self.core.worker.mailboxes.release(slot);
        }
        if self.core.actions.any {
            self.core.actions.take();
        }
        self.core.host = None;
        for slot in self.slots.drain(..) {
            if let Some(generation) = &slot.generation {
                generation
                    .streams
                    .set(generation.streams.get().saturating_sub(1));
            }
            // A filter that panics while it is dropped must not take the worker along.
            if catch_unwind(AssertUnwindSafe(|| drop(slot))).is_err() {
                tracing::error!("a stream filter panicked while it was dropped");
            }
        }
    }

    /// Whether the stream ended without an answer: the driver gives up the connection.
    pub(crate) fn is_over(&self) -> bool {
        self.core.over
    }

    /// The host that was chosen.
    pub(crate) fn host(&self) -> Option<&Rc<WorkerHost>> {
        self.core.host.as_ref()
    }

    pub(crate) fn core(&self) -> &Core {
        &self.core
    }

    pub(crate) fn core_mut(&mut self) -> &mut Core {
        &mut self.core
    }

    /// The mailbox of this stream, if any of its filters asked for one.
    pub(crate) fn mailbox(&self) -> Option<u32> {
        self.core.slot.map(|(slot, _)| slot)
    }

    fn make_filters(&mut self) -> Option<Fault> {
        let chain = Rc::clone(&self.core.chain);
        let mut failed = None;
        for (filter, place) in chain.places.iter().enumerate() {
            if let Some(gate) = &place.gate
                && !self.core.passes(gate)
            {
                self.slots.push(Slot::left_out());
                continue;
            }
            let Some(generation) = place.pick() else {
                continue;
            };
            let build = generation.build();
            let made = match generation.worker() {
                Some(worker) => {
                    let mut context = Context::new(&mut self.core, filter, generation.wants);
                    let mut context = FilterContext::new(&mut context);
                    catch_unwind(AssertUnwindSafe(|| worker.stream(&mut context)))
                        .unwrap_or_else(|panic| Err(panicked(&*panic)))
                }
                None => Err(FilterError::unavailable(
                    "the worker's part is being rebuilt",
                )),
            };
            generation.streams.set(generation.streams.get() + 1);
            match made {
                Ok(instance) => {
                    let wants = match instance {
                        StreamInstance::Skip => Wants::NOTHING,
                        _ => generation.wants,
                    };
                    self.core.note_wants(wants);
                    self.slots.push(Slot {
                        instance,
                        generation: Some(generation),
                        wants,
                        build,
                        failed: false,
                        skipped: false,
                    });
                }
                Err(error) => {
                    self.slots.push(Slot {
                        instance: StreamInstance::Skip,
                        generation: Some(generation),
                        wants: Wants::NOTHING,
                        build,
                        failed: true,
                        skipped: false,
                    });
                    let fault = self.note_failure(filter, &error);
                    failed = failed.or(fault);
                }
            }
        }
        failed
    }

    /// Calls a filter; `None` when it cannot be called or panicked.
    fn call<R>(
        &mut self,
        filter: usize,
        callback: impl FnOnce(&mut dyn StreamFilter, &mut FilterContext<'_>) -> R,
    ) -> Option<R> {
        let Self { slots, core } = self;
        let slot = slots.get_mut(filter)?;
        if slot.failed || slot.generation.is_none() {
            return None;
        }
        let outcome = {
            let mut context = Context::new(core, filter, slot.wants);
            let mut context = FilterContext::new(&mut context);
            match &mut slot.instance {
                StreamInstance::Own(instance) => {
                    catch_unwind(AssertUnwindSafe(|| callback(&mut **instance, &mut context)))
                }
                StreamInstance::Shared(instance) => {
                    // Callbacks never nest, so nobody else has it; if that were broken, skipping is better than a panic.
                    let Ok(mut instance) = instance.try_borrow_mut() else {
                        return None;
                    };
                    catch_unwind(AssertUnwindSafe(|| callback(&mut *instance, &mut context)))
                }
                StreamInstance::Skip => return None,
            }
        };
        match outcome {
            Ok(answer) => Some(answer),
            Err(panic) => {
                slot.failed = true;
                core.actions.any = true;
                core.actions.fail = Some(panicked(&*panic));
                None
            }
        }
    }

    /// Whether a filter is to be called for `callback`.
    fn wants(&self, filter: usize, callback: Wants) -> bool {
        self.slots
            .get(filter)
            .is_some_and(|slot| !slot.failed && slot.wants.contains(callback))
    }

    /// A filter does without some of its wants: what the stream does for the wants of all is found anew.
    fn forgo(&mut self, filter: usize, wants: Wants) {
        if let Some(slot) = self.slots.get_mut(filter) {
            slot.wants = slot.wants.without(wants);
        }
        for message in [&mut self.core.request, &mut self.core.response] {
            message.length_changes = false;
            // While something waits in the chain nothing may go by it.
            message.side.data_filters &= message.side.holds_any();
        }
        for slot in &self.slots {
            self.core.note_wants(slot.wants);
        }
    }

    /// Whether a filter is to be called for `callback` now, by its wants, by the route and by what was skipped.
    fn is_called(&self, direction: Direction, filter: usize, callback: Wants) -> bool {
        self.slots.get(filter).is_some_and(|slot| {
            slot.wants.contains(callback)
                && !slot.failed
                && !(direction == Direction::Request && slot.skipped)
        }) && !self.core.is_disabled(filter)
    }

    /// Counts a failure of a filter and has its worker part rebuilt if it asks for that; the fault to answer with, if
    /// its policy is `closed`.
    #[cold]
    fn note_failure(&mut self, filter: usize, error: &FilterError) -> Option<Fault> {
        let slot = self.slots.get_mut(filter)?;
        slot.failed = true;
        let place = self.core.chain.places.get(filter)?;
        tracing::warn!(filter = &*place.name, error = %error, "a stream filter failed");
        self.core.worker.count_filter_failure();
        // Streams of one broken part have it rebuilt once.
        if let Some(generation) = &slot.generation
            && generation.note_failure()
            && slot.build == generation.build()
        {
            self.core.worker.rebuild(generation);
        }
        match place.policy {
            FailurePolicy::Open => None,
            FailurePolicy::Closed => Some(Fault::FilterFailed {
                name: place.name.to_string(),
                status: error.status,
            }),
        }
    }

    #[cold]
    fn tell_all(&mut self, event: impl Fn() -> Event) {
        for filter in 0..self.slots.len() {
            if self
                .call(filter, |filter, context| filter.on_event(context, event()))
                .is_some()
                || self.core.actions.any
            {
                self.settle(filter);
            }
        }
    }

    fn write_access_log(&mut self) {
        let chain = Rc::clone(&self.core.chain);
        if chain.access_logs.is_empty() {
            return;
        }
        let worker = Rc::clone(&self.core.worker);
        let context = Context::new(&mut self.core, usize::MAX, Wants::NOTHING);
        for log in &chain.access_logs {
            log.tell(&worker, &context, Some(context.request()));
        }
    }
}

impl Message {
    /// Forgets a head that was read and not shown to anybody.
    pub(crate) fn forget_head(&mut self) {
        self.head.clear();
        // Most messages have none, and to clear them touches memory that nothing else does.
        if self.trailers.presence() != Presence::Absent || !self.trailers.has_no_fields() {
            self.trailers.clear();
        }
        self.content_length = None;
        self.tunnel = None;
    }

    fn clear(&mut self) {
        self.head.clear();
        self.trailers.clear();
        self.content_length = None;
        self.length_changes = false;
        self.tunnel = None;
        self.side.clear();
    }
}

impl Slot {
    /// In the place of a filter that is not for this stream.
    fn left_out() -> Self {
        Self {
            instance: StreamInstance::Skip,
            generation: None,
            wants: Wants::NOTHING,
            build: 0,
            failed: false,
            skipped: false,
        }
    }
}

impl Core {
    /// Whether a use is for this request, as it came in.
    fn passes(&self, gate: &Gate) -> bool {
        let attributes = self.attributes();
        let attribute = |name: &str| attributes.get(name);
        let source = self.info.remote.or(self.connection.source);
        let subject = Subject {
            request: Some(&self.request.head),
            source: source.map(|source| source.ip()),
            attribute: &attribute,
        };
        gate.admits(&self.worker, &subject)
    }

    /// What a filter's wants mean for the whole stream.
    fn note_wants(&mut self, wants: Wants) {
        self.request.side.data_filters |= wants.sees_request_body();
        self.response.side.data_filters |= wants.sees_response_body();
        self.request.length_changes |= wants.contains(Wants::CHANGES_REQUEST_LENGTH);
        self.response.length_changes |= wants.contains(Wants::CHANGES_RESPONSE_LENGTH);
    }

    /// The filter's address in the worker's mailboxes.
    fn address(&mut self, filter: usize) -> Address {
        let (slot, generation) = *self
            .slot
            .get_or_insert_with(|| self.worker.mailboxes.claim());
        Address {
            slot,
            generation,
            filter: filter as u32,
        }
    }

    pub(crate) fn attributes(&self) -> Attributes<'_> {
        let route = match self.route {
            RouteState::Resolved(Some(index)) => self.table.route(index),
            _ => None,
        };
        Attributes {
            connection: &self.connection,
            info: &self.info,
            request: &self.request.head,
            response: &self.response.head,
            route_name: route.and_then(|(_, route)| route.name.as_deref()),
            virtual_host: route.map(|(virtual_host, _)| virtual_host.name.as_str()),
            route: route.map(|(virtual_host, route)| [&route.metadata, &virtual_host.metadata]),
        }
    }

    /// The request goes out on this connection.
    #[inline]
    pub(crate) fn note_connection(&mut self, lease: &Lease) {
        // Where nobody could ask, its memory is not looked at.
        if !self.chain.places.is_empty() || !self.chain.access_logs.is_empty() {
            self.info.upstream_connection = Some(Rc::clone(lease.facts()));
        }
    }

    /// What the configuration gives to the route and its virtual host. Before the route is resolved it is looked up for
    /// this question only, because filters may still change what it depends on.
    fn configured_metadata(&self, of: MetadataOf) -> Option<&Metadata> {
        let index = match self.route {
            RouteState::Resolved(route) => route?,
            RouteState::Unresolved => self.look_up_route()?,
        };
        let (virtual_host, route) = self.table.route(index)?;
        match of {
            MetadataOf::Route => Some(&route.metadata),
            MetadataOf::VirtualHost => Some(&virtual_host.metadata),
            _ => None,
        }
    }

    /// The route's own time limit for the whole stream.
    pub(crate) fn route_timeout(&self) -> Option<std::time::Duration> {
        match self.route {
            RouteState::Resolved(Some(index)) => self.table.route(index)?.1.timeout,
            _ => None,
        }
    }

    /// When a request of this route is sent again.
    pub(crate) fn retry_policy(&self) -> Option<&Arc<RetryPolicy>> {
        match self.route {
            RouteState::Resolved(Some(index)) => match &self.table.route(index)?.1.action {
                Action::Forward(forward) => forward.retry.as_ref(),
                _ => None,
            },
            _ => None,
        }
    }

    /// The client's connection.
    pub(crate) fn connection(&self) -> &Rc<ConnectionInfo> {
        &self.connection
    }

    /// Chooses another host of the same cluster than these, if there is one. False when none is available.
    pub(crate) fn choose_other_host(&mut self, tried: &[Rc<WorkerHost>]) -> bool {
        let cluster = self.cluster.and_then(|id| self.worker.cluster(id));
        self.host = cluster.and_then(|cluster| match &self.host_override {
            // No other will do.
            Some(asked) if asked.strict => cluster.pick_asked(asked),
            _ => cluster.pick_for(&self.connection, tried),
        });
        self.host.is_some()
    }

    /// Whether the route's host gets the bytes of the tunnel that a CONNECT asks for, and not the CONNECT.
    pub(crate) fn terminates_connect(&self) -> bool {
        let (Some(Tunnel::Connect), RouteState::Resolved(Some(index))) =
            (self.request.tunnel, self.route)
        else {
            return false;
        };
        self.table
            .route(index)
            .is_some_and(|(_, route)| route.action.terminates_connect())
    }

    pub(crate) fn watermark(&self) -> usize {
        self.listener.watermark
    }

    /// Ends the stream without the rest of its answer: nothing of it goes on any more, least of all its end.
    pub(crate) fn abandon(&mut self) {
        self.over = true;
        self.request.side.abort();
        self.response.side.abort();
    }

    fn clear_route(&mut self) {
        self.route = RouteState::Unresolved;
        self.cluster = None;
        self.host = None;
    }

    /// The route that the request's headers ask for now.
    fn look_up_route(&self) -> Option<RouteIndex> {
        self.table.find(&self.request.head)
    }

    fn resolve_route(&mut self) -> Option<RouteIndex> {
        if let RouteState::Resolved(route) = self.route {
            return route;
        }
        let route = self.look_up_route();
        self.route = RouteState::Resolved(route);
        route
    }

    /// What the route says of a filter. Before the route is resolved it is looked up for this question only, because
    /// filters may still change what it depends on.
    fn override_of(&self, name: &str) -> Option<&FilterOverride> {
        if !self.table.has_overrides() {
            return None;
        }
        let index = match self.route {
            RouteState::Resolved(route) => route?,
            RouteState::Unresolved => self.look_up_route()?,
        };
        self.table.override_of(index, name)
    }

    fn is_disabled(&self, filter: usize) -> bool {
        self.table.has_overrides()
            && self.chain.places.get(filter).is_some_and(|place| {
                matches!(
                    self.override_of(&place.name),
                    Some(FilterOverride::Disabled)
                )
            })
    }
}

fn panicked(panic: &(dyn std::any::Any + Send)) -> FilterError {
    let text = panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned());
    FilterError::broken(match text {
        Some(text) => format!("it panicked: {text}"),
        None => "it panicked".to_owned(),
    })
}
