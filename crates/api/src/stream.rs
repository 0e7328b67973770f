//! Stream filters: they see requests and responses.

use std::any::Any;
use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use crate::context::{async_methods, info_methods, record_methods};
use crate::event::Event;
use crate::factory::{AfterFailure, BuildError, FilterError, PrepareError, RouteConfig};
use crate::headers::{Body, BodyMut, HeaderError, HeaderMap, Headers, HeadersMut};
use crate::host::{OverrideError, Released, StreamHost};
use crate::reply::LocalReply;
use crate::value::{MetadataOf, MetadataValue};
use crate::verdict::{DataVerdict, Direction, HeadersVerdict, Phase, TrailersVerdict};
use crate::worker::{Worker, WorkerPart};

/// A filter of one stream. All callbacks run on the stream's worker, one at a time, and answer at once: to wait, a
/// filter answers with a stop verdict and goes on in [`on_event`](StreamFilter::on_event).
///
/// ```text
///              before_route      after_route     after_choose_host
/// request  ──▶ a ──▶ b ─┬ route ┬─▶ c ──┬ host ┬──▶ d ──▶ upstream
/// response ◀── a ◀── b ─┴───────┴── c ◀─┴──────┴─── d ◀── upstream      (before the response is sent)
///                                                                        on_stream_complete, access log, drop
/// ```
///
/// The defaults let everything pass, so a filter writes only what it needs; what it does not need it leaves out of
/// [`wants`](StreamFilterConfig::wants) and does not pay for.
pub trait StreamFilter {
    /// The request's headers have come; `end`: they are the whole request.
    fn request_headers(&mut self, _stream: &mut Stream<'_>, _end: bool) -> HeadersVerdict {
        HeadersVerdict::Continue
    }

    /// A part of the request's body has come; `end`: nothing follows.
    fn request_body(&mut self, _stream: &mut Stream<'_>, _end: bool) -> DataVerdict {
        DataVerdict::Continue
    }

    /// The request's trailers have come.
    fn request_trailers(&mut self, _stream: &mut Stream<'_>) -> TrailersVerdict {
        TrailersVerdict::Continue
    }

    /// The response's headers have come, from the host or from a local reply.
    fn response_headers(&mut self, _stream: &mut Stream<'_>, _end: bool) -> HeadersVerdict {
        HeadersVerdict::Continue
    }

    /// A part of the response's body has come; `end`: nothing follows.
    fn response_body(&mut self, _stream: &mut Stream<'_>, _end: bool) -> DataVerdict {
        DataVerdict::Continue
    }

    /// The response's trailers have come.
    fn response_trailers(&mut self, _stream: &mut Stream<'_>) -> TrailersVerdict {
        TrailersVerdict::Continue
    }

    /// Something happened while the stream waited, or went on without this filter.
    fn on_event(&mut self, _stream: &mut Stream<'_>, _event: Event) {}

    /// The stream is over, well or not. Called once, before the access log, so that a filter can add to it.
    fn on_stream_complete(&mut self, _stream: &mut Stream<'_>) {}
}

/// A prepared configuration of a stream filter, shared by all workers.
pub trait StreamFilterConfig: Send + Sync {
    /// Which callbacks the filter needs, and what it does to bodies.
    fn wants(&self) -> Wants {
        Wants::EVERYTHING
    }

    /// What becomes of the worker's part after a stream failed in it.
    fn after_failure(&self) -> AfterFailure {
        AfterFailure::Keep
    }

    /// Makes what `parse_route` read ready for use, where that needs what this configuration prepared: a library that is
    /// mapped by now, a module that is compiled. On the control side; the default takes it as it is.
    fn prepare_route(&self, parsed: RouteConfig) -> Result<RouteConfig, PrepareError> {
        Ok(parsed)
    }

    /// Builds the part that one worker has.
    fn on_worker(&self, worker: &mut Worker<'_>) -> Result<Rc<dyn StreamFilterWorker>, BuildError>;
}

/// A worker's part of a stream filter.
pub trait StreamFilterWorker: WorkerPart {
    /// Makes the filter of a stream, before any of its callbacks.
    fn stream(&self, stream: &mut Stream<'_>) -> Result<StreamInstance, FilterError>;
}

/// The filter that a stream gets.
pub enum StreamInstance {
    /// Its own, dropped when the stream is over. A filter without fields costs no allocation.
    Own(Box<dyn StreamFilter>),
    /// One that all streams of the worker share: it keeps no state of a stream.
    Shared(Rc<RefCell<dyn StreamFilter>>),
    /// None: this stream passes without the filter.
    Skip,
}

impl StreamInstance {
    /// A filter of the stream's own.
    #[must_use]
    pub fn own(filter: impl StreamFilter + 'static) -> Self {
        Self::Own(Box::new(filter))
    }
}

/// Which callbacks a filter needs, and what it does to bodies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Wants {
    bits: u16,
    /// It must see whole request bodies: they are kept at this filter up to so many bytes; above it the answer is 413.
    pub whole_request_body: Option<u64>,
    /// It must see whole response bodies: they are kept at this filter up to so many bytes; above it the answer is 502.
    pub whole_response_body: Option<u64>,
    /// How many bytes the verdicts that buffer may keep here. Default 1 MiB.
    pub buffer_limit: u64,
}

impl Wants {
    /// `request_headers`.
    pub const REQUEST_HEADERS: Wants = Wants::bit(1);
    /// `request_body`.
    pub const REQUEST_BODY: Wants = Wants::bit(2);
    /// `request_trailers`.
    pub const REQUEST_TRAILERS: Wants = Wants::bit(4);
    /// `response_headers`.
    pub const RESPONSE_HEADERS: Wants = Wants::bit(8);
    /// `response_body`.
    pub const RESPONSE_BODY: Wants = Wants::bit(16);
    /// `response_trailers`.
    pub const RESPONSE_TRAILERS: Wants = Wants::bit(32);
    /// `on_stream_complete`.
    pub const COMPLETE: Wants = Wants::bit(64);
    /// It may change the length of request bodies: their Content-Length is not sent, they go chunked.
    pub const CHANGES_REQUEST_LENGTH: Wants = Wants::bit(128);
    /// It may change the length of response bodies: their Content-Length is not sent, they go chunked.
    pub const CHANGES_RESPONSE_LENGTH: Wants = Wants::bit(256);
    /// Nothing but events.
    pub const NOTHING: Wants = Wants::bit(0);
    /// All callbacks, but no change of a body's length.
    pub const EVERYTHING: Wants = Wants::bit(127);

    /// All bits that have a constant.
    pub const KNOWN_BITS: u32 = (1 << 9) - 1;

    /// The callbacks of these bits, which are those that libraries, plugins and guests say: the values of the constants above.
    /// `None` for a bit that has no constant.
    #[must_use]
    pub const fn from_bits(bits: u32) -> Option<Self> {
        if bits & !Self::KNOWN_BITS == 0 {
            Some(Self::bit(bits as u16))
        } else {
            None
        }
    }

    /// The bits of these callbacks.
    #[must_use]
    pub const fn bits(self) -> u32 {
        self.bits as u32
    }

    /// The same with bounds as they cross a border: 0 leaves what is.
    #[must_use]
    pub const fn bounds(mut self, whole_request: u64, whole_response: u64, buffer: u64) -> Self {
        if whole_request != 0 {
            self = self.whole_request_body(whole_request);
        }
        if whole_response != 0 {
            self = self.whole_response_body(whole_response);
        }
        if buffer != 0 {
            self = self.buffer_limit(buffer);
        }
        self
    }

    const fn bit(bits: u16) -> Self {
        Self {
            bits,
            whole_request_body: None,
            whole_response_body: None,
            buffer_limit: 1 << 20,
        }
    }

    /// These and those.
    #[must_use]
    pub const fn and(self, other: Wants) -> Self {
        Self {
            bits: self.bits | other.bits,
            ..self
        }
    }

    /// These without those.
    #[must_use]
    pub const fn without(self, other: Wants) -> Self {
        Self {
            bits: self.bits & !other.bits,
            ..self
        }
    }

    /// The same with whole request bodies of up to `limit` bytes.
    #[must_use]
    pub const fn whole_request_body(self, limit: u64) -> Self {
        Self {
            bits: self.bits | Self::REQUEST_BODY.bits,
            whole_request_body: Some(limit),
            ..self
        }
    }

    /// The same with whole response bodies of up to `limit` bytes.
    #[must_use]
    pub const fn whole_response_body(self, limit: u64) -> Self {
        Self {
            bits: self.bits | Self::RESPONSE_BODY.bits,
            whole_response_body: Some(limit),
            ..self
        }
    }

    /// The same with another limit for verdicts that buffer.
    #[must_use]
    pub const fn buffer_limit(self, limit: u64) -> Self {
        Self {
            buffer_limit: limit,
            ..self
        }
    }

    /// True when the filter looks at request bodies or trailers.
    #[must_use]
    pub const fn sees_request_body(self) -> bool {
        self.bits & (Self::REQUEST_BODY.bits | Self::REQUEST_TRAILERS.bits) != 0
    }

    /// True when the filter looks at response bodies or trailers.
    #[must_use]
    pub const fn sees_response_body(self) -> bool {
        self.bits & (Self::RESPONSE_BODY.bits | Self::RESPONSE_TRAILERS.bits) != 0
    }

    /// True when all of `other`'s callbacks are among these.
    #[must_use]
    pub const fn contains(self, other: Wants) -> bool {
        self.bits & other.bits == other.bits
    }
}

/// What a stream filter can see and do during a callback. It is lent for the callback and cannot be kept: what goes on
/// later goes by [`resumer`](Stream::resumer), timers and callouts.
///
/// Actions are carried out after the callback has returned; none of them calls a filter from within.
pub struct Stream<'a> {
    host: &'a mut dyn StreamHost,
}

impl<'a> Stream<'a> {
    /// A context over a host.
    #[must_use]
    pub fn new(host: &'a mut dyn StreamHost) -> Self {
        Self { host }
    }

    /// Any header map, to read.
    #[must_use]
    pub fn headers(&self, map: HeaderMap) -> Headers<'_> {
        Headers::new(&*self.host, map)
    }

    /// Any header map, to change.
    #[must_use]
    pub fn headers_mut(&mut self, map: HeaderMap) -> HeadersMut<'_> {
        HeadersMut::new(&mut *self.host, map)
    }

    /// The request's headers, to read.
    #[must_use]
    pub fn request(&self) -> Headers<'_> {
        self.headers(HeaderMap::RequestHeaders)
    }

    /// The request's headers, to change.
    #[must_use]
    pub fn request_mut(&mut self) -> HeadersMut<'_> {
        self.headers_mut(HeaderMap::RequestHeaders)
    }

    /// The response's headers, to read; empty before they came.
    #[must_use]
    pub fn response(&self) -> Headers<'_> {
        self.headers(HeaderMap::ResponseHeaders)
    }

    /// The response's headers, to change.
    #[must_use]
    pub fn response_mut(&mut self) -> HeadersMut<'_> {
        self.headers_mut(HeaderMap::ResponseHeaders)
    }

    /// The body of `direction` as far as this callback shows it, to read.
    #[must_use]
    pub fn body(&self, direction: Direction) -> Body<'_> {
        Body::new(&*self.host, direction)
    }

    /// The body of `direction` as far as this callback shows it, to change.
    #[must_use]
    pub fn body_mut(&mut self, direction: Direction) -> BodyMut<'_> {
        BodyMut::new(&mut *self.host, direction)
    }

    /// Lets the request go on from here after a stop verdict. Twice is once.
    pub fn continue_request(&mut self) {
        self.host.continue_stream(Direction::Request);
    }

    /// Lets the response go on from here after a stop verdict. Twice is once.
    pub fn continue_response(&mut self) {
        self.host.continue_stream(Direction::Response);
    }

    /// Lets the headers that wait here go on as if they were the whole message: what
    /// [`ContinueAndEndStream`](HeadersVerdict::ContinueAndEndStream) does, for a filter that has answered with a stop verdict. An
    /// error when the headers do not wait at this filter.
    pub fn end_with_headers(&mut self, direction: Direction) -> Result<(), Released> {
        self.host.end_with_headers(direction)
    }

    /// Stops (`true`), or takes up again, reading what this direction's sender sends, whatever waits in the chain. For a
    /// filter that takes bytes away with `StopIterationNoBuffer` to somewhere that cannot take more for now.
    pub fn hold_back(&mut self, direction: Direction, hold: bool) {
        self.host.hold_back(direction, hold);
    }

    /// Answers the request here: it does not go on to the host, and the answer passes the response callbacks of the
    /// chain. In place of a response that has not left yet, too. An error once the response's headers have left.
    pub fn send_local_reply(&mut self, reply: LocalReply) -> Result<(), Released> {
        self.host.send_local_reply(reply)
    }

    /// Skips the filters that come after this one in its request phase.
    pub fn skip_phase(&mut self) {
        self.host.skip_phase();
    }

    /// Forgets the route: later filters and the router see the one that the headers now ask for. Nothing runs again.
    /// An error once the request's headers have left.
    pub fn clear_route(&mut self) -> Result<(), Released> {
        self.host.clear_route()
    }

    /// Looks for the route again and then calls this filter's `request_headers` again, at most ten times in a stream
    /// (then the answer is 500). For the phase `after_route`; elsewhere it is logged and does nothing.
    pub fn rematch_route(&mut self) -> Result<(), Released> {
        self.host.rematch_route()
    }

    /// Chooses a host again and then calls this filter's `request_headers` again, at most ten times in a stream (then
    /// the answer is 500). For the phase `after_choose_host`; elsewhere it is logged and does nothing.
    pub fn rechoose_host(&mut self) -> Result<(), Released> {
        self.host.rechoose_host()
    }

    /// Asks for the host at this address (`10.0.0.1:8080`, `unix:/run/app.sock`), whatever load balancing says. It must be
    /// one of the cluster's, and one that requests may go to now: otherwise another is chosen, or with `strict` none, which
    /// is answered as no healthy host is. A retry goes to another host, unless `strict`. The last word counts; a host that
    /// was chosen already is chosen again. An error once the request's headers have left.
    pub fn override_host(&mut self, host: &str, strict: bool) -> Result<(), OverrideError> {
        self.host.override_host(host, strict)
    }

    /// The reason phrase of the response, as it came or as a filter has set it: not for programs (RFC 9112 section 4).
    /// `None` before the response's headers, and where its protocol has none.
    #[must_use]
    pub fn reason_phrase(&self) -> Option<Cow<'_, [u8]>> {
        self.host.reason_phrase()
    }

    /// Sets the reason phrase with which the response is sent, in place of the one that is usual for its status. A client
    /// of another protocol than HTTP/1 gets none.
    pub fn set_reason_phrase(&mut self, phrase: &[u8]) -> Result<(), HeaderError> {
        self.host.set_reason_phrase(phrase)
    }

    /// All values of a namespace of the route's own metadata, as the configuration has it. Before the route is resolved,
    /// of the one that the headers ask for now.
    #[must_use]
    pub fn route_metadata(&self, namespace: &str) -> Option<&BTreeMap<String, MetadataValue>> {
        self.host.configured_metadata(MetadataOf::Route, namespace)
    }

    /// The same of the route's virtual host.
    #[must_use]
    pub fn virtual_host_metadata(
        &self,
        namespace: &str,
    ) -> Option<&BTreeMap<String, MetadataValue>> {
        self.host
            .configured_metadata(MetadataOf::VirtualHost, namespace)
    }

    /// Ends the stream without an answer.
    pub fn terminate(&mut self) {
        self.host.terminate();
    }

    /// Sends bytes of the filter's own on from here, behind what went on before. With `end` they end the body. An
    /// error when that direction has ended, or its headers have not passed this filter yet.
    pub fn inject(
        &mut self,
        direction: Direction,
        bytes: &[u8],
        end: bool,
    ) -> Result<(), Released> {
        self.host.inject(direction, bytes, end)
    }

    /// Does without these of the filter's [wants](StreamFilterConfig::wants) for the rest of this stream: their callbacks
    /// no longer come, so that a body that nobody looks at any more goes by quickly; and a body whose length the filter
    /// may change but does not keeps its announced length, if that is said before its headers have left. What the filter
    /// has stopped still waits for it. Not to be taken back.
    pub fn forgo(&mut self, wants: Wants) {
        self.host.forgo(wants);
    }

    /// Reports that the extension failed on this stream: the failure policy of the use holds, and this filter is not
    /// called again.
    pub fn fail(&mut self, error: FilterError) {
        self.host.fail(error);
    }

    /// The request phase that this filter runs in.
    #[must_use]
    pub fn phase(&self) -> Phase {
        self.host.phase()
    }

    /// This use's configuration for the route, the most specific one, if it is a `T`.
    #[must_use]
    pub fn route_config<T: Any>(&self) -> Option<&T> {
        self.host.route_config()?.downcast_ref()
    }

    info_methods!();
    async_methods!();
    record_methods!();
}
