//! A stream of the host's, as its filter here sees it.

use std::any::Any;
use std::borrow::Cow;
use std::ops::Range;

use bytes::Bytes;
use transom_api::headers::{BodyHost, HeaderEntry, HeaderHost};
use transom_api::host::{FlowHost, StreamHost};
use transom_api::{
    Attribute, BodyError, Direction, FilterError, HeaderError, HeaderMap, LocalReply, Phase,
    Released, RouteConfig, Wants, attribute,
};

use crate::head::{Head, Presence};
use crate::later::{Later, later_hosts};
use crate::proto::v1::{self, Field, action::Action};

/// What is known of a stream, and what its filter asked for.
pub(crate) struct RemoteStream {
    pub(crate) later: Later,
    pub(crate) request: Message,
    pub(crate) response: Message,
    pub(crate) wants: Wants,
    pub(crate) phase: Phase,
    pub(crate) route: Option<RouteConfig>,
    /// The filter failed: it is not called any more.
    pub(crate) failed: bool,
}

/// One direction.
#[derive(Default)]
pub(crate) struct Message {
    pub(crate) head: Head,
    pub(crate) trailers: Head,
    /// What the callback that runs shows of the body.
    shown: Option<Shown>,
    /// Bytes that were seen.
    seen: u64,
    ended: bool,
}

struct Shown {
    bytes: Bytes,
    changed: bool,
}

impl Message {
    fn length_is_announced(&self) -> bool {
        self.head.get(b"content-length", 0).is_some()
    }
}

impl RemoteStream {
    pub(crate) fn new(later: Later, wants: Wants, phase: Phase) -> Self {
        Self {
            later,
            request: Message::default(),
            response: Message::default(),
            wants,
            phase,
            route: None,
            failed: false,
        }
    }

    pub(crate) fn message(&self, direction: Direction) -> &Message {
        match direction {
            Direction::Request => &self.request,
            Direction::Response => &self.response,
        }
    }

    pub(crate) fn message_mut(&mut self, direction: Direction) -> &mut Message {
        match direction {
            Direction::Request => &mut self.request,
            Direction::Response => &mut self.response,
        }
    }

    pub(crate) fn headers_arrive(&mut self, direction: Direction, fields: Vec<Field>, end: bool) {
        let message = self.message_mut(direction);
        message.head = Head::arrived(fields);
        message.ended = end;
    }

    pub(crate) fn data_arrives(&mut self, direction: Direction, bytes: Bytes, end: bool) {
        let message = self.message_mut(direction);
        message.seen += bytes.len() as u64;
        message.shown = Some(Shown {
            bytes,
            changed: false,
        });
        message.ended |= end;
        if end && message.trailers.presence == Presence::Absent {
            // Who sees the end of a body may add trailers to a message that has none.
            message.trailers = Head::arrived(Vec::new());
        }
    }

    pub(crate) fn trailers_arrive(&mut self, direction: Direction, fields: Vec<Field>) {
        let message = self.message_mut(direction);
        message.trailers = Head::arrived(fields);
        message.ended = true;
    }

    /// What the callback left of the body. `None` if it changed nothing.
    pub(crate) fn data_leaves(&mut self, direction: Direction) -> Option<Bytes> {
        let shown = self.message_mut(direction).shown.take()?;
        shown.changed.then_some(shown.bytes)
    }

    /// The head of this direction has gone on.
    pub(crate) fn release(&mut self, direction: Direction) {
        self.message_mut(direction).head.release();
    }

    fn map(&self, map: HeaderMap) -> &Head {
        match map {
            HeaderMap::RequestHeaders => &self.request.head,
            HeaderMap::RequestTrailers => &self.request.trailers,
            HeaderMap::ResponseHeaders => &self.response.head,
            HeaderMap::ResponseTrailers => &self.response.trailers,
        }
    }

    fn map_mut(&mut self, map: HeaderMap) -> &mut Head {
        match map {
            HeaderMap::RequestHeaders => &mut self.request.head,
            HeaderMap::RequestTrailers => &mut self.request.trailers,
            HeaderMap::ResponseHeaders => &mut self.response.head,
            HeaderMap::ResponseTrailers => &mut self.response.trailers,
        }
    }

    fn length_is_fixed(&self, direction: Direction) -> bool {
        let changes = match direction {
            Direction::Request => Wants::CHANGES_REQUEST_LENGTH,
            Direction::Response => Wants::CHANGES_RESPONSE_LENGTH,
        };
        self.message(direction).length_is_announced() && !self.wants.contains(changes)
    }

    fn refuse_length_change(&mut self) {
        self.fail(FilterError::broken(
            "it changed the length of a body without saying so in wants()",
        ));
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
            attribute::RESPONSE_CODE => {
                let status = std::str::from_utf8(self.response.head.get(b":status", 0)?);
                return status.ok()?.parse().ok().map(Attribute::Int);
            }
            attribute::REQUEST_SIZE => return Some(size(self.request.seen)),
            attribute::RESPONSE_SIZE => return Some(size(self.response.seen)),
            _ => return None,
        };
        Some(Attribute::Bytes(Cow::Borrowed(bytes)))
    }
}

fn size(bytes: u64) -> Attribute<'static> {
    Attribute::Int(i64::try_from(bytes).unwrap_or(i64::MAX))
}

impl HeaderHost for RemoteStream {
    fn header(&self, map: HeaderMap, name: &[u8], nth: usize) -> Option<Cow<'_, [u8]>> {
        self.map(map).get(name, nth).map(Cow::Borrowed)
    }

    fn header_at(&self, map: HeaderMap, index: usize) -> Option<HeaderEntry<'_>> {
        self.map(map).at(index)
    }

    fn set_header(&mut self, map: HeaderMap, name: &[u8], value: &[u8]) -> Result<(), HeaderError> {
        let change = self.map_mut(map).set(map, name, value)?;
        self.later.ask(Action::Fields(change));
        Ok(())
    }

    fn add_header(&mut self, map: HeaderMap, name: &[u8], value: &[u8]) -> Result<(), HeaderError> {
        let change = self.map_mut(map).add(map, name, value)?;
        self.later.ask(Action::Fields(change));
        Ok(())
    }

    fn remove_header(&mut self, map: HeaderMap, name: &[u8]) -> Result<usize, HeaderError> {
        let (count, change) = self.map_mut(map).remove(map, name)?;
        self.later.ask(Action::Fields(change));
        Ok(count)
    }
}

impl BodyHost for RemoteStream {
    fn body_chunk(&self, direction: Direction, index: usize) -> Option<Cow<'_, [u8]>> {
        let shown = self.message(direction).shown.as_ref()?;
        (index == 0 && !shown.bytes.is_empty()).then_some(Cow::Borrowed(&shown.bytes))
    }

    fn body_len(&self, direction: Direction) -> usize {
        let shown = self.message(direction).shown.as_ref();
        shown.map_or(0, |shown| shown.bytes.len())
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
        let shown = self.message_mut(direction).shown.as_mut();
        splice(
            shown.map(|shown| (&mut shown.bytes, &mut shown.changed)),
            range,
            insert,
        )
    }
}

/// Replaces the bytes in `range` of what is shown by `insert`.
pub(crate) fn splice(
    shown: Option<(&mut Bytes, &mut bool)>,
    range: Range<usize>,
    insert: &[u8],
) -> Result<(), BodyError> {
    let (bytes, changed) = shown.ok_or(BodyError::Absent)?;
    let (Some(before), Some(behind)) = (bytes.get(..range.start), bytes.get(range.end..)) else {
        return Err(BodyError::OutOfRange);
    };
    if range.start > range.end {
        return Err(BodyError::OutOfRange);
    }
    *bytes = [before, insert, behind].concat().into();
    *changed = true;
    Ok(())
}

impl FlowHost for RemoteStream {
    fn continue_stream(&mut self, direction: Direction) {
        self.release(direction);
        self.later.ask(Action::Resume(direction as i32));
    }

    fn hold_back(&mut self, direction: Direction, hold: bool) {
        self.later.ask(Action::HoldBack(v1::HoldBack {
            direction: direction as i32,
            hold,
        }));
    }

    fn send_local_reply(&mut self, reply: LocalReply) -> Result<(), Released> {
        if self.response.head.presence == Presence::Released {
            return Err(Released);
        }
        self.later.ask(Action::LocalReply(local_reply(reply)));
        Ok(())
    }

    fn skip_phase(&mut self) {
        self.later.ask(Action::SkipPhase(v1::Unit {}));
    }

    fn clear_route(&mut self) -> Result<(), Released> {
        self.check_request()?;
        self.later.ask(Action::ClearRoute(v1::Unit {}));
        Ok(())
    }

    fn rematch_route(&mut self) -> Result<(), Released> {
        self.check_request()?;
        self.later.ask(Action::RematchRoute(v1::Unit {}));
        Ok(())
    }

    fn rechoose_host(&mut self) -> Result<(), Released> {
        self.check_request()?;
        self.later.ask(Action::RechooseHost(v1::Unit {}));
        Ok(())
    }

    fn terminate(&mut self) {
        self.later.ask(Action::Terminate(v1::Unit {}));
    }

    fn inject(&mut self, direction: Direction, bytes: &[u8], end: bool) -> Result<(), Released> {
        if self.message(direction).head.presence != Presence::Released {
            return Err(Released);
        }
        if !bytes.is_empty() && self.length_is_fixed(direction) {
            self.refuse_length_change();
            return Err(Released);
        }
        self.later.ask(Action::Inject(v1::Inject {
            direction: direction as i32,
            data: Bytes::copy_from_slice(bytes),
            end,
        }));
        Ok(())
    }

    fn forgo(&mut self, wants: Wants) {
        self.wants = self.wants.without(wants);
        self.later.ask(Action::Forgo(wants.bits()));
    }

    fn fail(&mut self, error: FilterError) {
        self.failed = true;
        self.later.ask(Action::Fail(error.message.into_owned()));
    }

    fn phase(&self) -> Phase {
        self.phase
    }

    fn route_config(&self) -> Option<&(dyn Any + Send + Sync)> {
        self.route.as_deref()
    }
}

impl RemoteStream {
    fn check_request(&self) -> Result<(), Released> {
        if self.request.head.presence == Presence::Released {
            return Err(Released);
        }
        Ok(())
    }
}

fn local_reply(reply: LocalReply) -> v1::LocalReply {
    let field = |(name, value): (Cow<'static, str>, Vec<u8>)| Field {
        name: Bytes::from(name.into_owned()),
        value: value.into(),
    };
    v1::LocalReply {
        status: reply.status.into(),
        headers: reply.headers.into_iter().map(field).collect(),
        body: reply.body.into(),
        details: reply.details.into_owned(),
        grpc_status: reply.grpc_status,
    }
}

later_hosts!(RemoteStream);

impl StreamHost for RemoteStream {}
