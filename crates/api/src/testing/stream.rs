//! A stream whose chain holds one filter.

mod host;
mod passage;

use std::fmt;
use std::rc::Rc;
use std::time::Duration;

use self::host::{Host, Message};
use super::head::Presence;
use super::{Callout, FakeProcess};
use crate::callout::{CalloutDone, CalloutError, CalloutId, CalloutResponse};
use crate::event::{Event, ResetReason, TimerId};
use crate::factory::{FailurePolicy, FilterError, RouteConfig};
use crate::headers::{HeaderMap, Headers};
use crate::reply::LocalReply;
use crate::stream::{Stream, StreamFilter, StreamFilterWorker, StreamInstance, Wants};
use crate::value::{Attribute, MetadataValue};
use crate::verdict::{DataVerdict, Direction, HeadersVerdict, Phase, TrailersVerdict};

/// A stream with one filter, before which the test plays the client and behind which it plays the upstream.
///
/// First the request is described with the methods `with_…`; it begins as `GET /` to `example.test`. Then the test lets
/// things happen, each in one call: [`request_headers`](Self::request_headers), [`advance`](Self::advance),
/// [`deliver`](Self::deliver), … A call that reaches the filter's callback answers with its verdict; `None` says that
/// the filter was not called: it does not [want](Wants) that callback, waits with everything stopped, has failed, or the
/// stream is over.
///
/// Between the calls the test looks at what went on from the filter ([`has_passed`](Self::has_passed),
/// [`headers`](Self::headers), [`sent`](Self::sent)) and at what the filter asked for ([`actions`](Self::actions),
/// [`reply`](Self::reply), [`timers`](Self::timers), [`callouts`](Self::callouts)).
pub struct FakeStream {
    filter: Filter,
    host: Host,
}

enum Filter {
    /// Made before its first callback, when the request is described.
    ToMake(Rc<dyn StreamFilterWorker>),
    Made(StreamInstance),
    /// Failed: never called again. Kept, because no filter is dropped inside its own callback.
    Failed {
        _instance: Option<StreamInstance>,
    },
    Dropped,
}

/// Something that a filter asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Action {
    /// [`Stream::continue_request`] or [`Stream::continue_response`].
    Continue(Direction),
    /// [`Stream::hold_back`].
    HoldBack(Direction, bool),
    /// [`Stream::send_local_reply`].
    LocalReply(LocalReply),
    /// [`Stream::skip_phase`].
    SkipPhase,
    /// [`Stream::clear_route`].
    ClearRoute,
    /// [`Stream::rematch_route`].
    RematchRoute,
    /// [`Stream::rechoose_host`].
    RechooseHost,
    /// [`Stream::override_host`].
    OverrideHost {
        /// The address, as it was written.
        host: String,
        /// Whether no other will do.
        strict: bool,
    },
    /// [`Stream::terminate`].
    Terminate,
    /// [`Stream::inject`].
    Inject {
        /// Which way.
        direction: Direction,
        /// What.
        bytes: Vec<u8>,
        /// Whether they end the body.
        end: bool,
    },
    /// [`Stream::fail`], or a change that the proxy takes for a failure.
    Fail(FilterError),
}

/// What stands before the first callback.
impl FakeStream {
    /// A stream of a process of its own, with a filter that wants all callbacks.
    #[must_use]
    pub fn new(filter: impl StreamFilter + 'static) -> Self {
        let filter = Filter::Made(StreamInstance::own(filter));
        Self::with_parts(filter, FakeProcess::new(), Wants::EVERYTHING)
    }

    pub(super) fn of(
        worker: Rc<dyn StreamFilterWorker>,
        process: FakeProcess,
        wants: Wants,
    ) -> Self {
        Self::with_parts(Filter::ToMake(worker), process, wants)
    }

    fn with_parts(filter: Filter, process: FakeProcess, wants: Wants) -> Self {
        let mut host = Host::new(process, wants);
        let head = &mut host.request.head;
        head.presence = Presence::Here;
        for (name, value) in [
            (":method", "GET"),
            (":path", "/"),
            (":scheme", "http"),
            (":authority", "example.test"),
        ] {
            head.put(name, value.as_bytes());
        }
        Self { filter, host }
    }

    /// The same with another method.
    #[must_use]
    pub fn with_method(self, method: &str) -> Self {
        self.with_header(":method", method)
    }

    /// The same with another path.
    #[must_use]
    pub fn with_path(self, path: &str) -> Self {
        self.with_header(":path", path)
    }

    /// The same with one more header of the request. `content-length` announces the body's length, as a client does;
    /// without it the body comes chunked.
    #[must_use]
    pub fn with_header(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.host.request.put(name, value.as_ref());
        self
    }

    /// The same with a value in the route's metadata.
    #[must_use]
    pub fn with_route_metadata(
        mut self,
        namespace: &str,
        key: &str,
        value: impl Into<MetadataValue>,
    ) -> Self {
        let space = self.host.route_metadata.entry(namespace.to_owned());
        space.or_default().insert(key.to_owned(), value.into());
        self
    }

    /// The reason phrase that the filter has set.
    #[must_use]
    pub fn reason_phrase(&self) -> Option<&[u8]> {
        self.host.reason.as_deref()
    }

    /// The same with other wants.
    #[must_use]
    pub fn with_wants(mut self, wants: Wants) -> Self {
        self.host.wants = wants;
        self
    }

    /// The same in another phase.
    #[must_use]
    pub fn with_phase(mut self, phase: Phase) -> Self {
        self.host.phase = phase;
        self
    }

    /// The same under another failure policy. It is `closed` at first.
    #[must_use]
    pub fn with_failure_policy(mut self, policy: FailurePolicy) -> Self {
        self.host.policy = policy;
        self
    }

    /// The same on a route that has a configuration for the filter. [`FakeUse::route`](super::FakeUse::route) reads one.
    #[must_use]
    pub fn with_route(mut self, config: RouteConfig) -> Self {
        self.host.route = Some(config);
        self
    }

    /// The same, with the configuration of the route that is found when the filter has the route looked for again.
    #[must_use]
    pub fn with_next_route(mut self, config: Option<RouteConfig>) -> Self {
        self.host.next_routes.push_back(config);
        self
    }

    /// The same with an attribute. Those of the request and the response follow from their heads and need not be set.
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
}

/// What the client, the upstream and the clock do.
impl FakeStream {
    /// The request's headers come. `end`: they are the whole request.
    pub fn request_headers(&mut self, end: bool) -> Option<HeadersVerdict> {
        assert!(!self.host.request.begun, "the request's headers come once");
        self.host.request.begin(end);
        self.run_head(Direction::Request)
    }

    /// A piece of the request's body comes. `end`: nothing follows.
    pub fn request_body(&mut self, bytes: impl AsRef<[u8]>, end: bool) -> Option<DataVerdict> {
        self.data(Direction::Request, bytes.as_ref(), end)
    }

    /// The request's trailers come.
    pub fn request_trailers(&mut self, trailers: &[(&str, &str)]) -> Option<TrailersVerdict> {
        self.trailers(Direction::Request, trailers)
    }

    /// The response's headers come from the host. `end`: they are the whole response.
    pub fn response_headers(
        &mut self,
        status: u16,
        headers: &[(&str, &str)],
        end: bool,
    ) -> Option<HeadersVerdict> {
        if self.host.over || self.host.request.aborted {
            // A local reply took its place.
            return None;
        }
        assert!(
            !self.host.response.begun,
            "the response's headers come once"
        );
        let response = &mut self.host.response;
        response.head.presence = Presence::Here;
        response.put(":status", status.to_string().as_bytes());
        for (name, value) in headers {
            response.put(name, value.as_bytes());
        }
        response.begin(end);
        self.host.details = "via_upstream".into();
        self.run_head(Direction::Response)
    }

    /// A piece of the response's body comes. `end`: nothing follows.
    pub fn response_body(&mut self, bytes: impl AsRef<[u8]>, end: bool) -> Option<DataVerdict> {
        self.data(Direction::Response, bytes.as_ref(), end)
    }

    /// The response's trailers come.
    pub fn response_trailers(&mut self, trailers: &[(&str, &str)]) -> Option<TrailersVerdict> {
        self.trailers(Direction::Response, trailers)
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

    /// Delivers what was posted by a [`Resumer`](crate::Resumer) so far, in its order. Says how many posts there were.
    pub fn deliver(&mut self) -> usize {
        let mut count = 0;
        while let Some(message) = self.host.later.next_post() {
            if !self.host.over {
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
        if self.host.over {
            return;
        }
        self.call(|filter, stream| filter.on_event(stream, event));
        self.settle();
    }

    /// The stream ends before its time; [`complete`](Self::complete) follows by itself.
    pub fn reset(&mut self, reason: ResetReason) {
        self.host.over = true;
        self.call(|filter, stream| filter.on_event(stream, Event::Reset(reason)));
        self.complete();
    }

    /// The stream is over: `on_stream_complete`, then the filter is dropped.
    pub fn complete(&mut self) {
        self.host.over = true;
        if self.host.wants.contains(Wants::COMPLETE) {
            self.call(|filter, stream| filter.on_stream_complete(stream));
        }
        self.host.asked.clear();
        self.host.later.forget();
        self.filter = Filter::Dropped;
    }

    /// Runs code with the stream's context, as a callback of the filter would.
    pub fn with_context<T>(&mut self, job: impl FnOnce(&mut Stream<'_>) -> T) -> T {
        let answer = job(&mut Stream::new(&mut self.host));
        self.settle();
        answer
    }
}

/// What the test looks at.
impl FakeStream {
    /// All that the filter asked for so far, in its order.
    #[must_use]
    pub fn actions(&self) -> &[Action] {
        &self.host.actions
    }

    /// The local reply that answers the request: the filter's own, or the proxy's when the filter failed or had to keep
    /// too much.
    #[must_use]
    pub fn reply(&self) -> Option<&LocalReply> {
        self.host.reply.as_ref()
    }

    /// True when the head of this direction has gone on from the filter.
    #[must_use]
    pub fn has_passed(&self, direction: Direction) -> bool {
        self.message(direction).passed
    }

    /// True when the whole message of this direction has gone on from the filter.
    #[must_use]
    pub fn has_ended(&self, direction: Direction) -> bool {
        self.message(direction).sent_end
    }

    /// The bytes of the body that have gone on from the filter, what it injected among them.
    #[must_use]
    pub fn sent(&self, direction: Direction) -> &[u8] {
        &self.message(direction).sent
    }

    /// Which callbacks the filter still wants, after what it [did without](Stream::forgo).
    #[must_use]
    pub fn wants(&self) -> Wants {
        self.host.wants
    }

    /// One of the stream's header maps.
    #[must_use]
    pub fn headers(&self, map: HeaderMap) -> Headers<'_> {
        Headers::new(&self.host, map)
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

    /// Why the response is what it is, as the access log shows it.
    #[must_use]
    pub fn details(&self) -> &str {
        &self.host.details
    }

    /// True when the stream is over: terminated, failed after its response had begun, reset or completed.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.host.over
    }

    /// The process: metrics, shared data, log lines.
    #[must_use]
    pub fn process(&self) -> &FakeProcess {
        &self.host.later.process
    }

    fn message(&self, direction: Direction) -> &Message {
        self.host.message(direction)
    }

    /// Calls the filter; `None` when it cannot be called.
    fn call<T>(
        &mut self,
        callback: impl FnOnce(&mut dyn StreamFilter, &mut Stream<'_>) -> T,
    ) -> Option<T> {
        self.make();
        let mut stream = Stream::new(&mut self.host);
        match &mut self.filter {
            Filter::Made(StreamInstance::Own(filter)) => Some(callback(&mut **filter, &mut stream)),
            Filter::Made(StreamInstance::Shared(filter)) => {
                Some(callback(&mut *filter.borrow_mut(), &mut stream))
            }
            _ => None,
        }
    }

    fn make(&mut self) {
        let Filter::ToMake(worker) = &self.filter else {
            return;
        };
        match worker.stream(&mut Stream::new(&mut self.host)) {
            Ok(instance) => self.filter = Filter::Made(instance),
            Err(error) => {
                self.filter = Filter::Failed { _instance: None };
                self.host.asked.push(Action::Fail(error));
            }
        }
    }

    fn set_failed(&mut self) {
        let instance = match std::mem::replace(&mut self.filter, Filter::Dropped) {
            Filter::Made(instance) => Some(instance),
            _ => None,
        };
        self.filter = Filter::Failed {
            _instance: instance,
        };
    }
}

impl fmt::Debug for FakeStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FakeStream")
            .field("request", &self.headers(HeaderMap::RequestHeaders))
            .field("response", &self.headers(HeaderMap::ResponseHeaders))
            .field("actions", &self.host.actions)
            .finish_non_exhaustive()
    }
}
