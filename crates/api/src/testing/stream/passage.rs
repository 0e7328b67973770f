//! How heads, data and trailers go past the one filter: the proxy's rules for a chain of length one.

use super::host::{DataStop, End, HeadStop, Message};
use super::{Action, FakeStream, Filter};
use crate::factory::{FailurePolicy, FilterError};
use crate::reply::LocalReply;
use crate::stream::{StreamInstance, Wants};
use crate::testing::head::Presence;
use crate::verdict::{DataVerdict, Direction, HeadersVerdict, TrailersVerdict};

/// After this many the filter is held to be caught in a loop.
const MOST_REMATCHES: u8 = 10;

/// How a callback left its stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flow {
    /// As the verdict says.
    AsSaid,
    /// The same callback comes again.
    Again,
    /// A local reply or the stream's end took the place of the message.
    Diverted,
}

impl FakeStream {
    pub(super) fn run_head(&mut self, direction: Direction) -> Option<HeadersVerdict> {
        if self.host.over || self.host.message(direction).aborted {
            return None;
        }
        self.make();
        // A filter that could not be made has said so.
        if self.carry_out(Some(direction)) == Flow::Diverted {
            return None;
        }
        let (callback, end) = match direction {
            Direction::Request => (Wants::REQUEST_HEADERS, self.host.request.head_end),
            Direction::Response => (Wants::RESPONSE_HEADERS, self.host.response.head_end),
        };
        if !self.is_called(callback) {
            self.let_head_go(direction);
            return None;
        }
        loop {
            let verdict = self.call(|filter, stream| match direction {
                Direction::Request => filter.request_headers(stream, end),
                Direction::Response => filter.response_headers(stream, end),
            })?;
            let flow = self.carry_out_with(Some(direction), |stream, goes_on| {
                let message = stream.host.message_mut(direction);
                message.stop = match verdict {
                    HeadersVerdict::Continue => None,
                    HeadersVerdict::ContinueAndEndStream => {
                        message.head_end = true;
                        message.cut = true;
                        None
                    }
                    _ if goes_on => None,
                    HeadersVerdict::StopIteration => Some(HeadStop::Iteration),
                    HeadersVerdict::StopAllIterationAndBuffer => Some(HeadStop::AllAndBuffer),
                    HeadersVerdict::StopAllIterationAndWatermark => Some(HeadStop::AllAndWatermark),
                };
                if message.stop.is_none() {
                    stream.let_head_go(direction);
                }
            });
            if flow == Flow::Again {
                continue;
            }
            return Some(verdict);
        }
    }

    pub(super) fn data(
        &mut self,
        direction: Direction,
        bytes: &[u8],
        end: bool,
    ) -> Option<DataVerdict> {
        let over = self.host.over;
        let message = self.host.message_mut(direction);
        assert!(message.begun || over, "a body comes after its headers");
        assert!(
            !message.input_ended || over || message.aborted,
            "the message has ended already"
        );
        message.came += bytes.len();
        message.input_ended |= end;
        if over || message.aborted || message.cut {
            return None;
        }
        message.held.extend_from_slice(bytes);
        message.end = end.then_some(End::Plain);
        self.run_data(direction)
    }

    /// Shows what is held to the filter.
    fn run_data(&mut self, direction: Direction) -> Option<DataVerdict> {
        let (callback, whole) = match direction {
            Direction::Request => (Wants::REQUEST_BODY, self.host.wants.whole_request_body),
            Direction::Response => (Wants::RESPONSE_BODY, self.host.wants.whole_response_body),
        };
        let called = self.is_called(callback);
        let limit = self.host.wants.buffer_limit;
        let message = self.host.message_mut(direction);
        let held = message.held.len() as u64;
        if !message.passed && (!called || message.stops_all()) {
            if message.stop == Some(HeadStop::AllAndBuffer) && held > limit {
                self.overflow(direction);
            }
            return None;
        }
        if !called {
            if message.data_stop.is_none() {
                self.let_data_go(direction);
            }
            return None;
        }
        if let Some(limit) = whole {
            if held > limit {
                self.overflow(direction);
                return None;
            }
            if message.end.is_none() {
                message.data_stop = Some(DataStop::Buffer);
                return None;
            }
        }
        let end = message.end == Some(End::Plain);
        let verdict = self.call(|filter, stream| match direction {
            Direction::Request => filter.request_body(stream, end),
            Direction::Response => filter.response_body(stream, end),
        })?;
        self.carry_out_with(Some(direction), |stream, goes_on| {
            stream.keep_data(direction, verdict, goes_on);
        });
        Some(verdict)
    }

    /// Does with the shown data what the verdict says; `goes_on`: but it does not wait.
    fn keep_data(&mut self, direction: Direction, verdict: DataVerdict, goes_on: bool) {
        let limit = self.host.wants.buffer_limit;
        let message = self.host.message_mut(direction);
        if verdict == DataVerdict::StopIterationNoBuffer {
            message.held.clear();
        }
        message.data_stop = match verdict {
            DataVerdict::Continue => None,
            _ if goes_on => None,
            DataVerdict::StopIterationAndBuffer => Some(DataStop::Buffer),
            DataVerdict::StopIterationAndWatermark => Some(DataStop::Watermark),
            DataVerdict::StopIterationNoBuffer => Some(DataStop::NoBuffer),
        };
        if message.data_stop == Some(DataStop::Buffer) && message.held.len() as u64 > limit {
            return self.overflow(direction);
        }
        if message.data_stop.is_some() {
            return;
        }
        if message.end == Some(End::Trailers) {
            // The whole body was shown because trailers had come: they are next.
            message.end = None;
            self.let_data_go(direction);
            self.run_trailers(direction);
            return;
        }
        self.let_data_go(direction);
    }

    pub(super) fn trailers(
        &mut self,
        direction: Direction,
        trailers: &[(&str, &str)],
    ) -> Option<TrailersVerdict> {
        let over = self.host.over;
        let message = self.host.message_mut(direction);
        assert!(message.begun || over, "trailers come after their headers");
        assert!(
            !message.input_ended || over || message.aborted,
            "the message has ended already"
        );
        message.input_ended = true;
        if over || message.aborted || message.cut {
            return None;
        }
        message.trailers.presence = Presence::Here;
        for (name, value) in trailers {
            message.trailers.put(name, value.as_bytes());
        }
        self.run_trailers(direction)
    }

    fn run_trailers(&mut self, direction: Direction) -> Option<TrailersVerdict> {
        let (callback, body, whole) = match direction {
            Direction::Request => (
                Wants::REQUEST_TRAILERS,
                Wants::REQUEST_BODY,
                self.host.wants.whole_request_body,
            ),
            Direction::Response => (
                Wants::RESPONSE_TRAILERS,
                Wants::RESPONSE_BODY,
                self.host.wants.whole_response_body,
            ),
        };
        let called = self.is_called(callback);
        let wants_body = self.is_called(body);
        let message = self.host.message_mut(direction);
        let stopped = !message.passed && message.stops_all();
        if whole.is_some()
            && wants_body
            && !stopped
            && message.data_stop == Some(DataStop::Buffer)
            && message.end.is_none()
            && !message.held.is_empty()
        {
            message.end = Some(End::Trailers);
            self.run_data(direction);
            return None;
        }
        message.end = Some(End::Trailers);
        let waits = message.data_stop.is_some();
        if !message.passed && (stopped || !called) || waits && !called {
            return None;
        }
        if !called {
            self.let_data_go(direction);
            return None;
        }
        message.trailers_seen = true;
        let verdict = self.call(|filter, stream| match direction {
            Direction::Request => filter.request_trailers(stream),
            Direction::Response => filter.response_trailers(stream),
        })?;
        self.carry_out_with(Some(direction), |stream, goes_on| {
            if verdict == TrailersVerdict::StopIteration && !goes_on {
                let message = stream.host.message_mut(direction);
                message.data_stop.get_or_insert(DataStop::Watermark);
            } else {
                stream.let_data_go(direction);
            }
        });
        Some(verdict)
    }

    /// Whether the filter is called for `callback`.
    fn is_called(&mut self, callback: Wants) -> bool {
        self.make();
        let callable = matches!(
            self.filter,
            Filter::Made(StreamInstance::Own(_) | StreamInstance::Shared(_))
        );
        callable && self.host.wants.contains(callback)
    }

    fn let_head_go(&mut self, direction: Direction) {
        let message = self.host.message_mut(direction);
        message.stop = None;
        message.passed = true;
        message.head.presence = Presence::Released;
        message.sent_end |= message.head_end;
    }

    /// Lets go what is held, with the head before it.
    fn let_data_go(&mut self, direction: Direction) {
        if !self.host.message(direction).passed {
            self.let_head_go(direction);
        }
        let message = self.host.message_mut(direction);
        message.data_stop = None;
        message.sent.append(&mut message.held);
        if message.end.take().is_some() {
            message.sent_end = true;
            if message.trailers.presence == Presence::Here {
                message.trailers.presence = Presence::Released;
            }
        }
    }

    /// The filter said, out of another callback, that what waits may go on.
    fn resume(&mut self, direction: Direction) {
        let message = self.host.message_mut(direction);
        let head_waits = message.stop.is_some();
        if message.aborted || !message.begun || !head_waits && message.data_stop.is_none() {
            // It waits for nothing: a second continue, or one too many.
            return;
        }
        let unseen = message.stops_all();
        let trailers_seen = message.trailers_seen;
        message.data_stop = None;
        if head_waits {
            self.let_head_go(direction);
        }
        let message = self.host.message_mut(direction);
        let trailers = message.end == Some(End::Trailers);
        if unseen {
            // What came while all was stopped was not shown to the filter yet.
            if trailers {
                message.end = None;
            }
            if !message.held.is_empty() || message.end.is_some() {
                self.run_data(direction);
            }
            if trailers {
                self.run_trailers(direction);
            }
            return;
        }
        if trailers && !trailers_seen {
            message.end = None;
            self.let_data_go(direction);
            self.run_trailers(direction);
            return;
        }
        let waits = !message.held.is_empty() || message.end.is_some();
        if waits {
            self.let_data_go(direction);
        }
    }

    /// Carries out what a callback without a verdict asked for.
    pub(super) fn settle(&mut self) {
        self.carry_out(None);
    }

    fn carry_out(&mut self, running: Option<Direction>) -> Flow {
        self.carry_out_with(running, |_, _| {})
    }

    /// Carries out what a callback asked for. `running` is the direction whose callback it was, and `as_said` does what
    /// its verdict says when nothing that was asked for goes before it; it is told whether the callback asked to go on,
    /// or failed under the policy `open`. Injected bytes go behind what it lets go.
    fn carry_out_with(
        &mut self,
        running: Option<Direction>,
        as_said: impl FnOnce(&mut Self, bool),
    ) -> Flow {
        let asked = std::mem::take(&mut self.host.asked);
        self.host.actions.extend(asked.iter().cloned());
        let failure = asked.iter().find_map(|action| match action {
            Action::Fail(error) => Some(error),
            _ => None,
        });
        if failure.is_some_and(|error| self.fail(error)) {
            return Flow::Diverted;
        }
        if asked.contains(&Action::Terminate) {
            self.host.over = true;
            self.host.details = "terminated_by_filter".into();
            return Flow::Diverted;
        }
        let reply = asked.iter().find_map(|action| match action {
            Action::LocalReply(reply) => Some(reply),
            _ => None,
        });
        if let Some(reply) = reply {
            // The first reply of a callback counts.
            self.answer(reply.clone());
            return Flow::Diverted;
        }
        if asked.contains(&Action::RematchRoute) || asked.contains(&Action::RechooseHost) {
            return self.match_again(asked.contains(&Action::RematchRoute), running);
        }
        let mut goes_on = false;
        for direction in [Direction::Request, Direction::Response] {
            if !asked.contains(&Action::Continue(direction)) && failure.is_none() {
                continue;
            }
            if running == Some(direction) {
                goes_on = true;
            } else {
                self.resume(direction);
            }
        }
        as_said(self, goes_on);
        for action in asked {
            if let Action::Inject {
                direction,
                bytes,
                end,
            } = action
            {
                let message = self.host.message_mut(direction);
                if !message.aborted {
                    message.sent.extend_from_slice(&bytes);
                    message.sent_end |= end;
                }
            }
        }
        Flow::AsSaid
    }

    /// The filter failed. True when the failure policy ends the stream for that.
    fn fail(&mut self, error: &FilterError) -> bool {
        self.set_failed();
        if self.host.policy == FailurePolicy::Open {
            return false;
        }
        self.answer(
            LocalReply::new(error.status)
                .body("the filter failed\n")
                .details("filter_failed{test}"),
        );
        true
    }

    fn match_again(&mut self, route: bool, running: Option<Direction>) -> Flow {
        self.host.rematches += 1;
        if self.host.rematches > MOST_REMATCHES {
            self.answer(LocalReply::new(500).details("too_many_rematches"));
            return Flow::Diverted;
        }
        if route {
            self.host.take_next_route();
        }
        if running == Some(Direction::Request) {
            return Flow::Again;
        }
        // Out of an event: the filter is called again by its head's way on.
        if self.host.request.stop.take().is_some() {
            self.run_head(Direction::Request);
        }
        Flow::Diverted
    }

    fn overflow(&mut self, direction: Direction) {
        let (status, details) = match direction {
            Direction::Request => (413, "request_payload_too_large"),
            Direction::Response => (502, "response_payload_too_large"),
        };
        self.answer(LocalReply::new(status).details(details));
    }

    /// Answers the request here. The answer passes the filter's response callbacks, unless it takes the place of a
    /// response that had come to them already.
    fn answer(&mut self, reply: LocalReply) {
        if self.host.over {
            return;
        }
        self.host.details = reply.details.clone();
        if self.host.response.passed {
            self.host.over = true;
            return;
        }
        let request = &mut self.host.request;
        request.aborted = true;
        request.stop = None;
        request.data_stop = None;
        request.held.clear();
        let seen = self.host.response.begun;
        self.host.response = Message::default();
        let response = &mut self.host.response;
        response.head.presence = Presence::Here;
        let status = match reply.status {
            status @ 200..=599 => status,
            _ => 500,
        };
        response.put(":status", status.to_string().as_bytes());
        for (name, value) in &reply.headers {
            let map = crate::HeaderMap::ResponseHeaders;
            if let Err(error) = response.head.add(map, name.as_bytes(), value) {
                panic!("the local reply's header `{name}` would be left out: {error}");
            }
        }
        if !reply.body.is_empty() && response.head.get(b"content-type", 0).is_none() {
            response.put("content-type", b"text/plain");
        }
        let body = reply.body.clone();
        self.host.reply = Some(reply);
        self.host.response.begin(body.is_empty());
        if seen {
            self.let_head_go(Direction::Response);
            let response = &mut self.host.response;
            response.sent = body;
            response.sent_end = true;
            return;
        }
        self.run_head(Direction::Response);
        if !body.is_empty() {
            self.host.response.input_ended = false;
            self.data(Direction::Response, &body, true);
        }
    }
}
