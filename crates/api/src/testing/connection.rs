//! A connection whose chain holds one network filter.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;
use std::rc::Rc;
use std::time::Duration;

use super::later::{Later, info_host, later_hosts};
use super::{Callout, FakeProcess};
use crate::callout::{CalloutDone, CalloutError, CalloutId, CalloutResponse};
use crate::event::{Event, ResetReason, TimerId};
use crate::factory::{FailurePolicy, FilterError};
use crate::headers::{BodyError, BodyHost};
use crate::host::{ConnectionFlowHost, ConnectionHost};
use crate::network::{
    CHOSEN_CLUSTER, Connection, NetworkFilter, NetworkFilterWorker, NetworkWants,
};
use crate::value::{Attribute, MetadataValue};
use crate::verdict::{Direction, NetworkVerdict};

/// A connection with one network filter: [`FakeStream`](super::FakeStream) for bytes.
///
/// The test plays the client and what ends the chain. `None` in place of a verdict says that the filter was not called:
/// the connection waits at `on_new_connection`, is closed, the filter has failed or does not
/// [want](crate::NetworkWants) these bytes.
pub struct FakeConnection {
    filter: Filter,
    wants: NetworkWants,
    host: Host,
}

enum Filter {
    ToMake(Rc<dyn NetworkFilterWorker>),
    Made(Box<dyn NetworkFilter>),
    Failed {
        _filter: Option<Box<dyn NetworkFilter>>,
    },
    Dropped,
}

struct Host {
    later: Later,
    request: Flow,
    response: Flow,
    policy: FailurePolicy,
    /// The filter stopped the connection at its beginning.
    waits_to_begin: bool,
    continues: Vec<Direction>,
    injected: Vec<(Direction, Vec<u8>, bool)>,
    failure: Option<FilterError>,
    failed: bool,
    closed: bool,
    reset: bool,
}

#[derive(Default)]
struct Flow {
    held: Vec<u8>,
    stopped: bool,
    end: bool,
    sent: Vec<u8>,
    sent_end: bool,
}

impl FakeConnection {
    /// A connection of a process of its own.
    #[must_use]
    pub fn new(filter: impl NetworkFilter + 'static) -> Self {
        Self {
            filter: Filter::Made(Box::new(filter)),
            wants: NetworkWants::EVERYTHING,
            host: Host::new(FakeProcess::new()),
        }
    }

    pub(super) fn of(
        worker: Rc<dyn NetworkFilterWorker>,
        wants: NetworkWants,
        process: FakeProcess,
    ) -> Self {
        Self {
            filter: Filter::ToMake(worker),
            wants,
            host: Host::new(process),
        }
    }

    /// The same with an attribute, such as [`SOURCE_ADDRESS`](crate::attribute::SOURCE_ADDRESS).
    #[must_use]
    pub fn with_attribute(mut self, name: &str, value: Attribute<'static>) -> Self {
        self.host.later.attributes.insert(name.to_owned(), value);
        self
    }

    /// The same with a cluster that callouts may go to.
    #[must_use]
    pub fn with_cluster(mut self, cluster: &str) -> Self {
        self.host.later.clusters.push(cluster.to_owned());
        self
    }

    /// The same under another failure policy. It is `closed` at first.
    #[must_use]
    pub fn with_failure_policy(mut self, policy: FailurePolicy) -> Self {
        self.host.policy = policy;
        self
    }

    /// The connection begins.
    pub fn begin(&mut self) -> Option<NetworkVerdict> {
        let verdict = self.call(|filter, connection| filter.on_new_connection(connection));
        self.host.waits_to_begin = verdict == Some(NetworkVerdict::StopIteration);
        self.carry_out();
        verdict
    }

    /// Bytes of the client come. `end`: it sends no more.
    pub fn data(&mut self, bytes: impl AsRef<[u8]>, end: bool) -> Option<NetworkVerdict> {
        self.bytes(Direction::Request, bytes.as_ref(), end)
    }

    /// Bytes for the client come. `end`: no more follow.
    pub fn write(&mut self, bytes: impl AsRef<[u8]>, end: bool) -> Option<NetworkVerdict> {
        self.bytes(Direction::Response, bytes.as_ref(), end)
    }

    /// Time goes by: the timers that run out in it do so one by one. Says how many.
    pub fn advance(&mut self, duration: Duration) -> usize {
        let until = self.host.later.now() + duration;
        let mut count = 0;
        while let Some(timer) = self.host.later.next_timer(until) {
            self.event(Event::Timer(timer));
            count += 1;
        }
        self.host.later.set_now(until);
        count
    }

    /// Delivers what was posted so far. Says how many posts there were.
    pub fn deliver(&mut self) -> usize {
        let mut count = 0;
        while let Some(message) = self.host.later.next_post() {
            if !self.host.closed {
                self.event(Event::Resumed(message));
                count += 1;
            }
        }
        count
    }

    /// Ends a callout.
    ///
    /// # Panics
    /// When it is not under way.
    pub fn end_callout(&mut self, id: CalloutId, result: Result<CalloutResponse, CalloutError>) {
        self.host.later.end_callout(id);
        self.event(Event::Callout(CalloutDone { id, result }));
    }

    /// Any event.
    pub fn event(&mut self, event: Event) {
        if !self.host.closed {
            self.call(|filter, connection| filter.on_event(connection, event));
            self.carry_out();
        }
    }

    /// The connection is over: `on_close`, then the filter is dropped.
    pub fn end(&mut self, by: ResetReason) {
        self.call(|filter, connection| filter.on_close(connection, by));
        self.host.closed = true;
        self.host.later.forget();
        self.filter = Filter::Dropped;
    }

    /// The bytes that have gone on from the filter: to the host ([`Direction::Request`]) or to the client.
    #[must_use]
    pub fn sent(&self, direction: Direction) -> &[u8] {
        &self.host.flow(direction).sent
    }

    /// True when the end of this direction has gone on from the filter.
    #[must_use]
    pub fn has_ended(&self, direction: Direction) -> bool {
        self.host.flow(direction).sent_end
    }

    /// True when the filter, or its failure, closed the connection, or it is over.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.host.closed
    }

    /// True when the filter closed the connection by a reset.
    #[must_use]
    pub fn is_reset(&self) -> bool {
        self.host.reset
    }

    /// The cluster that the filter chose for `tcp_proxy`.
    #[must_use]
    pub fn chosen_cluster(&self) -> Option<&str> {
        let state = &self.host.later.connection_state;
        state.get::<String>(CHOSEN_CLUSTER).map(String::as_str)
    }

    /// What the filter reported of its failure.
    #[must_use]
    pub fn failure(&self) -> Option<&FilterError> {
        self.host.failure.as_ref()
    }

    /// The timers that the filter waits for, with what is left of each.
    #[must_use]
    pub fn timers(&self) -> Vec<(TimerId, Duration)> {
        let later = &self.host.later;
        let left = |at: &Duration| at.saturating_sub(later.now());
        later
            .timers
            .iter()
            .map(|(id, at)| (*id, left(at)))
            .collect()
    }

    /// The callouts that the filter waits for.
    #[must_use]
    pub fn callouts(&self) -> &[(CalloutId, Callout)] {
        &self.host.later.callouts
    }

    /// The response flags that the filter set.
    #[must_use]
    pub fn response_flags(&self) -> crate::flags::ResponseFlags {
        self.host.later.flags
    }

    /// A value of dynamic metadata.
    #[must_use]
    pub fn metadata(&self, namespace: &str, key: &str) -> Option<&MetadataValue> {
        self.host.later.metadata.get(namespace)?.get(key)
    }

    /// The process: metrics, shared data, log lines.
    #[must_use]
    pub fn process(&self) -> &FakeProcess {
        &self.host.later.process
    }

    fn bytes(&mut self, direction: Direction, bytes: &[u8], end: bool) -> Option<NetworkVerdict> {
        if self.host.closed {
            return None;
        }
        let flow = self.host.flow_mut(direction);
        assert!(!flow.end, "this direction has ended already");
        flow.held.extend_from_slice(bytes);
        flow.end = end;
        self.show(direction)
    }

    /// Shows what waits to the filter.
    fn show(&mut self, direction: Direction) -> Option<NetworkVerdict> {
        if self.host.waits_to_begin {
            return None;
        }
        let end = self.host.flow(direction).end;
        let verdict = match direction {
            Direction::Request if self.wants.data => {
                self.call(|filter, connection| filter.on_data(connection, end))
            }
            Direction::Response if self.wants.write => {
                self.call(|filter, connection| filter.on_write(connection, end))
            }
            _ => None,
        };
        let flow = self.host.flow_mut(direction);
        flow.stopped = verdict == Some(NetworkVerdict::StopIteration);
        if !flow.stopped {
            flow.go();
        }
        self.carry_out();
        verdict
    }

    /// Carries out what a callback asked for.
    fn carry_out(&mut self) {
        let failed_now = self.host.failure.is_some() && !self.host.failed;
        if failed_now {
            self.host.failed = true;
            let filter = match std::mem::replace(&mut self.filter, Filter::Dropped) {
                Filter::Made(filter) => Some(filter),
                _ => None,
            };
            self.filter = Filter::Failed { _filter: filter };
            if self.host.policy == FailurePolicy::Closed {
                self.host.closed = true;
                return;
            }
            self.host.continues = vec![Direction::Request, Direction::Response];
        }
        for direction in std::mem::take(&mut self.host.continues) {
            if direction == Direction::Request && std::mem::take(&mut self.host.waits_to_begin) {
                // What came while the connection waited to begin was not shown to the filter yet.
                for direction in [Direction::Request, Direction::Response] {
                    let flow = self.host.flow(direction);
                    if !flow.held.is_empty() || flow.end {
                        self.show(direction);
                    }
                }
                continue;
            }
            let flow = self.host.flow_mut(direction);
            if std::mem::take(&mut flow.stopped) {
                flow.go();
            }
        }
        for (direction, bytes, end) in std::mem::take(&mut self.host.injected) {
            let flow = self.host.flow_mut(direction);
            if !flow.sent_end {
                flow.sent.extend_from_slice(&bytes);
                flow.sent_end = end;
            }
        }
    }

    fn call<T>(
        &mut self,
        callback: impl FnOnce(&mut dyn NetworkFilter, &mut Connection<'_>) -> T,
    ) -> Option<T> {
        if let Filter::ToMake(worker) = &self.filter {
            match worker.connection(&mut Connection::new(&mut self.host)) {
                Ok(filter) => self.filter = Filter::Made(filter),
                Err(error) => {
                    self.host.failure = Some(error);
                    self.carry_out();
                }
            }
        }
        let Filter::Made(filter) = &mut self.filter else {
            return None;
        };
        Some(callback(
            &mut **filter,
            &mut Connection::new(&mut self.host),
        ))
    }
}

impl Flow {
    fn go(&mut self) {
        if !self.sent_end {
            self.sent.append(&mut self.held);
            self.sent_end = self.end;
        }
    }
}

impl Host {
    fn new(process: FakeProcess) -> Self {
        Self {
            later: Later::new(process),
            request: Flow::default(),
            response: Flow::default(),
            policy: FailurePolicy::Closed,
            waits_to_begin: false,
            continues: Vec::new(),
            injected: Vec::new(),
            failure: None,
            failed: false,
            closed: false,
            reset: false,
        }
    }

    fn flow(&self, direction: Direction) -> &Flow {
        match direction {
            Direction::Request => &self.request,
            Direction::Response => &self.response,
        }
    }

    fn flow_mut(&mut self, direction: Direction) -> &mut Flow {
        match direction {
            Direction::Request => &mut self.request,
            Direction::Response => &mut self.response,
        }
    }

    /// A connection has no attributes but those that the test gives it.
    fn own_attribute(&self, _name: &str) -> Option<Attribute<'_>> {
        None
    }
}

impl BodyHost for Host {
    fn body_chunk(&self, direction: Direction, index: usize) -> Option<Cow<'_, [u8]>> {
        let held = &self.flow(direction).held;
        (index == 0 && !held.is_empty()).then_some(Cow::Borrowed(held))
    }

    fn body_len(&self, direction: Direction) -> usize {
        self.flow(direction).held.len()
    }

    fn splice_body(
        &mut self,
        direction: Direction,
        range: Range<usize>,
        insert: &[u8],
    ) -> Result<(), BodyError> {
        let held = &mut self.flow_mut(direction).held;
        if range.start > range.end || range.end > held.len() {
            return Err(BodyError::OutOfRange);
        }
        held.splice(range, insert.iter().copied());
        Ok(())
    }
}

impl ConnectionFlowHost for Host {
    fn continue_bytes(&mut self, direction: Direction) {
        self.continues.push(direction);
    }

    fn inject_bytes(&mut self, direction: Direction, bytes: &[u8], end: bool) {
        self.injected.push((direction, bytes.to_vec(), end));
    }

    fn close(&mut self) {
        self.closed = true;
    }

    fn reset(&mut self) {
        self.closed = true;
        self.reset = true;
    }

    fn fail(&mut self, error: FilterError) {
        self.failure.get_or_insert(error);
    }
}

later_hosts!(Host);
info_host!(Host);

impl ConnectionHost for Host {}

impl fmt::Debug for FakeConnection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FakeConnection")
            .field("closed", &self.host.closed)
            .finish_non_exhaustive()
    }
}
