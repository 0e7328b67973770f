//! The host's side of a fake stream: what it knows, and what the filter asks of it.

use std::any::Any;
use std::borrow::Cow;
use std::collections::VecDeque;
use std::ops::Range;

use super::Action;
use crate::factory::{FailurePolicy, FilterError, RouteConfig};
use crate::field::check_reason;
use crate::headers::{BodyError, BodyHost, HeaderEntry, HeaderError, HeaderHost, HeaderMap};
use crate::host::{FlowHost, Level, OverrideError, RecordHost, Released, StreamHost};
use crate::reply::LocalReply;
use crate::stream::Wants;
use crate::testing::FakeProcess;
use crate::testing::head::{FakeHead, Presence};
use crate::testing::later::{Later, info_host, later_hosts};
use crate::value::{Attribute, Metadata, attribute};
use crate::verdict::{Direction, Phase};

pub(super) struct Host {
    pub(super) later: Later,
    pub(super) request: Message,
    pub(super) response: Message,
    pub(super) wants: Wants,
    pub(super) phase: Phase,
    pub(super) policy: FailurePolicy,
    pub(super) route: Option<RouteConfig>,
    pub(super) next_routes: VecDeque<Option<RouteConfig>>,
    /// What the callback that runs asked for.
    pub(super) asked: Vec<Action>,
    /// What all callbacks asked for.
    pub(super) actions: Vec<Action>,
    pub(super) reply: Option<LocalReply>,
    pub(super) details: Cow<'static, str>,
    pub(super) rematches: u8,
    pub(super) over: bool,
    pub(super) route_metadata: Metadata,
    pub(super) reason: Option<Vec<u8>>,
}

/// One direction.
#[derive(Default)]
pub(super) struct Message {
    pub(super) head: FakeHead,
    pub(super) trailers: FakeHead,
    pub(super) begun: bool,
    /// The head is the whole message.
    pub(super) head_end: bool,
    /// Why the head waits at the filter.
    pub(super) stop: Option<HeadStop>,
    /// The head has gone on.
    pub(super) passed: bool,
    /// The filter ended the message with its head.
    pub(super) cut: bool,
    /// A local reply took its place.
    pub(super) aborted: bool,
    /// What waits at the filter, or is shown to it.
    pub(super) held: Vec<u8>,
    /// Why it waits.
    pub(super) data_stop: Option<DataStop>,
    /// How the message ends behind what is held.
    pub(super) end: Option<End>,
    pub(super) trailers_seen: bool,
    /// Bytes that came.
    pub(super) came: usize,
    pub(super) input_ended: bool,
    /// What has gone on.
    pub(super) sent: Vec<u8>,
    pub(super) sent_end: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HeadStop {
    Iteration,
    AllAndBuffer,
    AllAndWatermark,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DataStop {
    Buffer,
    Watermark,
    NoBuffer,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Plain,
    Trailers,
}

impl Message {
    /// Puts a header in as the codec does.
    pub(super) fn put(&mut self, name: &str, value: &[u8]) {
        self.head.put(name, value);
    }

    pub(super) fn begin(&mut self, end: bool) {
        self.begun = true;
        self.head_end = end;
        self.input_ended = end;
    }

    pub(super) fn stops_all(&self) -> bool {
        matches!(
            self.stop,
            Some(HeadStop::AllAndBuffer | HeadStop::AllAndWatermark)
        )
    }

    /// Whether a body of this length was announced.
    fn has_length(&self) -> bool {
        self.head.get(b"content-length", 0).is_some()
    }
}

impl Host {
    pub(super) fn new(process: FakeProcess, wants: Wants) -> Self {
        Self {
            later: Later::new(process),
            request: Message::default(),
            response: Message::default(),
            wants,
            phase: Phase::BeforeRoute,
            policy: FailurePolicy::Closed,
            route: None,
            next_routes: VecDeque::new(),
            asked: Vec::new(),
            actions: Vec::new(),
            reply: None,
            details: Cow::Borrowed(""),
            rematches: 0,
            over: false,
            route_metadata: Metadata::new(),
            reason: None,
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

    pub(super) fn take_next_route(&mut self) {
        if let Some(next) = self.next_routes.pop_front() {
            self.route = next;
        }
    }

    fn head(&self, map: HeaderMap) -> &FakeHead {
        match map {
            HeaderMap::RequestHeaders => &self.request.head,
            HeaderMap::RequestTrailers => &self.request.trailers,
            HeaderMap::ResponseHeaders => &self.response.head,
            HeaderMap::ResponseTrailers => &self.response.trailers,
        }
    }

    /// The map, to change. A filter that sees the end of a body may add trailers to a message that has none.
    fn head_mut(&mut self, map: HeaderMap) -> &mut FakeHead {
        let (message, trailers) = match map {
            HeaderMap::RequestHeaders => (&mut self.request, false),
            HeaderMap::RequestTrailers => (&mut self.request, true),
            HeaderMap::ResponseHeaders => (&mut self.response, false),
            HeaderMap::ResponseTrailers => (&mut self.response, true),
        };
        if !trailers {
            return &mut message.head;
        }
        if message.end.is_some() && message.trailers.presence == Presence::Absent {
            message.trailers.presence = Presence::Here;
        }
        &mut message.trailers
    }

    fn length_is_fixed(&self, direction: Direction) -> bool {
        let changes = match direction {
            Direction::Request => Wants::CHANGES_REQUEST_LENGTH,
            Direction::Response => Wants::CHANGES_RESPONSE_LENGTH,
        };
        self.message(direction).has_length() && !self.wants.contains(changes)
    }

    fn refuse_length_change(&mut self) {
        self.asked.push(Action::Fail(FilterError::broken(
            "it changed the length of a body without saying so in wants()",
        )));
    }

    fn warn(&self, message: &str) {
        self.log(Level::Warn, message);
    }

    /// An attribute that follows from the messages.
    fn own_attribute(&self, name: &str) -> Option<Attribute<'_>> {
        let request = |name: &[u8]| self.request.head.get(name, 0);
        let split = |at: usize| request(b":path")?.splitn(2, |byte| *byte == b'?').nth(at);
        let bytes = match name {
            attribute::REQUEST_PATH => request(b":path")?,
            attribute::REQUEST_URL_PATH => split(0)?,
            attribute::REQUEST_QUERY => split(1)?,
            attribute::REQUEST_HOST => request(b":authority")?,
            attribute::REQUEST_SCHEME => request(b":scheme")?,
            attribute::REQUEST_METHOD => request(b":method")?,
            attribute::REQUEST_ID => request(b"x-request-id")?,
            attribute::RESPONSE_CODE_DETAILS if !self.details.is_empty() => self.details.as_bytes(),
            attribute::RESPONSE_CODE => {
                let status = self.response.head.get(b":status", 0)?;
                return std::str::from_utf8(status)
                    .ok()?
                    .parse()
                    .ok()
                    .map(Attribute::Int);
            }
            attribute::RESPONSE_FLAGS => {
                let flags = self.later.flags.to_string();
                return Some(Attribute::Bytes(Cow::Owned(flags.into_bytes())));
            }
            attribute::REQUEST_SIZE => return Some(Attribute::Int(self.request.came as i64)),
            attribute::RESPONSE_SIZE => return Some(Attribute::Int(self.response.came as i64)),
            _ => return None,
        };
        Some(Attribute::Bytes(Cow::Borrowed(bytes)))
    }
}

impl HeaderHost for Host {
    fn header(&self, map: HeaderMap, name: &[u8], nth: usize) -> Option<Cow<'_, [u8]>> {
        self.head(map).get(name, nth).map(Cow::Borrowed)
    }

    fn header_at(&self, map: HeaderMap, index: usize) -> Option<HeaderEntry<'_>> {
        self.head(map).at(index)
    }

    fn set_header(&mut self, map: HeaderMap, name: &[u8], value: &[u8]) -> Result<(), HeaderError> {
        self.head_mut(map).set(map, name, value)
    }

    fn add_header(&mut self, map: HeaderMap, name: &[u8], value: &[u8]) -> Result<(), HeaderError> {
        self.head_mut(map).add(map, name, value)
    }

    fn remove_header(&mut self, map: HeaderMap, name: &[u8]) -> Result<usize, HeaderError> {
        self.head_mut(map).remove(name)
    }

    fn reason_phrase(&self) -> Option<Cow<'_, [u8]>> {
        self.reason.as_deref().map(Cow::Borrowed)
    }

    fn set_reason_phrase(&mut self, phrase: &[u8]) -> Result<(), HeaderError> {
        match self.response.head.presence {
            Presence::Absent => return Err(HeaderError::Absent),
            Presence::Released => return Err(HeaderError::Released),
            Presence::Here => {}
        }
        check_reason(phrase)?;
        self.reason = Some(phrase.to_vec());
        Ok(())
    }
}

impl BodyHost for Host {
    fn body_chunk(&self, direction: Direction, index: usize) -> Option<Cow<'_, [u8]>> {
        let held = &self.message(direction).held;
        (index == 0 && !held.is_empty()).then_some(Cow::Borrowed(held))
    }

    fn body_len(&self, direction: Direction) -> usize {
        self.message(direction).held.len()
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
        let message = self.message_mut(direction);
        if !message.begun {
            return Err(BodyError::Absent);
        }
        if range.start > range.end || range.end > message.held.len() {
            return Err(BodyError::OutOfRange);
        }
        message.held.splice(range, insert.iter().copied());
        Ok(())
    }
}

impl FlowHost for Host {
    fn continue_stream(&mut self, direction: Direction) {
        self.asked.push(Action::Continue(direction));
    }

    fn send_local_reply(&mut self, reply: LocalReply) -> Result<(), Released> {
        if self.response.passed || self.over {
            return Err(Released);
        }
        self.asked.push(Action::LocalReply(reply));
        Ok(())
    }

    fn skip_phase(&mut self) {
        self.asked.push(Action::SkipPhase);
    }

    fn clear_route(&mut self) -> Result<(), Released> {
        if self.request.passed {
            return Err(Released);
        }
        self.take_next_route();
        self.asked.push(Action::ClearRoute);
        Ok(())
    }

    fn rematch_route(&mut self) -> Result<(), Released> {
        if self.request.passed {
            return Err(Released);
        }
        if self.phase == Phase::AfterRoute {
            self.asked.push(Action::RematchRoute);
        } else {
            self.warn("rematch_route does nothing outside of the phase after_route");
        }
        Ok(())
    }

    fn rechoose_host(&mut self) -> Result<(), Released> {
        if self.request.passed {
            return Err(Released);
        }
        if self.phase == Phase::AfterChooseHost {
            self.asked.push(Action::RechooseHost);
        } else {
            self.warn("rechoose_host does nothing outside of the phase after_choose_host");
        }
        Ok(())
    }

    fn override_host(&mut self, host: &str, strict: bool) -> Result<(), OverrideError> {
        if self.request.passed {
            return Err(OverrideError::Released);
        }
        let is_address = host.starts_with("unix:") || host.parse::<std::net::SocketAddr>().is_ok();
        if !is_address {
            return Err(OverrideError::NoAddress);
        }
        self.asked.push(Action::OverrideHost {
            host: host.to_owned(),
            strict,
        });
        Ok(())
    }

    fn terminate(&mut self) {
        self.asked.push(Action::Terminate);
    }

    fn inject(&mut self, direction: Direction, bytes: &[u8], end: bool) -> Result<(), Released> {
        let message = self.message(direction);
        if !message.passed || message.sent_end || message.aborted || message.head_end {
            return Err(Released);
        }
        if !bytes.is_empty() && self.length_is_fixed(direction) {
            self.refuse_length_change();
            return Err(Released);
        }
        let bytes = bytes.to_vec();
        self.asked.push(Action::Inject {
            direction,
            bytes,
            end,
        });
        Ok(())
    }

    fn hold_back(&mut self, direction: Direction, hold: bool) {
        self.asked.push(Action::HoldBack(direction, hold));
    }

    fn forgo(&mut self, wants: Wants) {
        self.wants = self.wants.without(wants);
    }

    fn fail(&mut self, error: FilterError) {
        self.asked.push(Action::Fail(error));
    }

    fn phase(&self) -> Phase {
        self.phase
    }

    fn route_config(&self) -> Option<&(dyn Any + Send + Sync)> {
        self.route.as_deref()
    }
}

later_hosts!(Host);
info_host!(Host, route_metadata);

impl StreamHost for Host {}
