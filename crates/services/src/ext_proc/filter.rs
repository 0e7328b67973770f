//! The filter of a stream.

use std::rc::Rc;
use std::sync::Arc;
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::HeaderMap;
use prost::Message as _;
use transom_api::{
    DataVerdict, Direction, Event, FilterError, HeadersVerdict, Level, LocalReply, Stream,
    StreamFilter, TrailersVerdict, Wants,
};

use super::mode::{BodyMode, Mode};
use super::settings::{MetadataOptions, Route, RouteSettings, Settings};
use super::side::{Piece, Side, Step};
use super::{Server, Shared};
use crate::grpc::{self, Call, Received};
use crate::headers::{asks_for_tunnel, body_bytes};
use crate::proto::ext_proc::ProcessingResponse;

/// How much of a body may be with the server unanswered before its sender is no longer read: enough for four reads of 64 KiB.
const MOST_UNANSWERED: usize = 256 << 10;
/// How long a server has for its last word when all is said.
const FAREWELL: Duration = Duration::from_secs(5);

/// The filter of a stream: it has a call to the server, and what is under way in each direction.
pub(super) struct ExtProc {
    pub(super) shared: Rc<Shared>,
    /// The route's configuration, once the stream has begun.
    route: Option<Arc<RouteSettings>>,
    server: Option<Rc<Server>>,
    call: Option<Call>,
    waker: Option<Waker>,
    begun: bool,
    /// The server has no part in this stream (any more).
    pub(super) over: bool,
    pub(super) configuration_sent: bool,
    /// A body that takes the place of another, for when its headers have passed.
    pub(super) later: Option<(Direction, Bytes)>,
    request: Side,
    response: Side,
}

impl ExtProc {
    pub(super) fn new(shared: Rc<Shared>) -> Self {
        let mode = shared.settings.mode;
        Self {
            shared,
            route: None,
            server: None,
            call: None,
            waker: None,
            begun: false,
            over: false,
            configuration_sent: false,
            later: None,
            request: Side::new(Direction::Request, mode.request),
            response: Side::new(Direction::Response, mode.response),
        }
    }
}

impl StreamFilter for ExtProc {
    fn request_headers(&mut self, stream: &mut Stream<'_>, end: bool) -> HeadersVerdict {
        self.headers(stream, Direction::Request, end)
    }

    fn request_body(&mut self, stream: &mut Stream<'_>, end: bool) -> DataVerdict {
        self.data(stream, Direction::Request, end)
    }

    fn request_trailers(&mut self, stream: &mut Stream<'_>) -> TrailersVerdict {
        self.trailers(stream, Direction::Request)
    }

    fn response_headers(&mut self, stream: &mut Stream<'_>, end: bool) -> HeadersVerdict {
        self.headers(stream, Direction::Response, end)
    }

    fn response_body(&mut self, stream: &mut Stream<'_>, end: bool) -> DataVerdict {
        self.data(stream, Direction::Response, end)
    }

    fn response_trailers(&mut self, stream: &mut Stream<'_>) -> TrailersVerdict {
        self.trailers(stream, Direction::Response)
    }

    fn on_event(&mut self, stream: &mut Stream<'_>, event: Event) {
        match event {
            Event::Resumed(_) => {
                if let Some((direction, bytes)) = self.later.take() {
                    // An error says that the message is over, and then nobody waits for its body.
                    let _ = stream.inject(direction, &bytes, false);
                }
                self.look(stream);
            }
            Event::Timer(timer) => {
                let late = [&self.request, &self.response]
                    .into_iter()
                    .any(|side| side.timer == Some(timer));
                if late {
                    stream.count(self.shared.metrics.timeouts, 1);
                    self.fail(stream, 504, "the server did not answer in time");
                }
            }
            Event::Reset(_) => self.hang_up(),
            _ => {}
        }
    }
}

impl Drop for ExtProc {
    fn drop(&mut self) {
        self.hang_up();
    }
}

impl ExtProc {
    fn headers(
        &mut self,
        stream: &mut Stream<'_>,
        direction: Direction,
        end: bool,
    ) -> HeadersVerdict {
        self.begin(stream);
        let observes = self.settings().observability_mode;
        let over = self.over;
        let tunnel = asks_for_tunnel(stream.request());
        let side = self.side(direction);
        let keeps = matches!(
            side.mode.body,
            BodyMode::Buffered | BodyMode::BufferedPartial
        );
        if tunnel && keeps {
            // It would be kept for ever.
            side.mode.body = BodyMode::None;
        }
        side.begun = true;
        side.no_body = end;
        side.ended = end;
        let mode = side.mode;
        if over || !mode.sends() {
            forgo_body(stream, direction);
            return HeadersVerdict::Continue;
        }
        if observes {
            stream.forgo(changes_length(direction));
        }
        if !mode.headers {
            if end {
                self.rest(stream);
            }
            return HeadersVerdict::Continue;
        }
        let message = self.headers_message(stream, direction, end);
        if observes {
            self.show(stream, message);
            if end || mode.body == BodyMode::None && !mode.trailers {
                forgo_body(stream, direction);
            }
            return HeadersVerdict::Continue;
        }
        self.side(direction).head_held = true;
        self.ask(stream, direction, message, Step::Headers);
        HeadersVerdict::StopIteration
    }

    fn data(&mut self, stream: &mut Stream<'_>, direction: Direction, end: bool) -> DataVerdict {
        if self.over {
            return self.pass_by(stream, direction);
        }
        let observes = self.settings().observability_mode;
        let eager = self.settings().eager_bodies;
        let limit = self.settings().buffer_limit;
        let side = self.side(direction);
        side.ended |= end;
        let (step, body) = (side.step, side.mode.body);
        if side.replaced {
            // It cannot fail: the length is free.
            let _ = stream.body_mut(direction).clear();
            return DataVerdict::Continue;
        }
        if side.trailers_done && side.step == Step::Idle {
            return DataVerdict::Continue;
        }
        if observes {
            if body != BodyMode::None {
                let bytes = body_bytes(stream.body(direction));
                let message = self.body_message(stream, direction, bytes, end);
                self.show(stream, message);
            }
            return DataVerdict::Continue;
        }
        let is_full = stream.body(direction).len() as u64 >= limit;
        match (step, body) {
            (Step::Headers | Step::Idle | Step::Pieces, BodyMode::FullDuplexStreamed) => {
                self.give_away(stream, direction, end)
            }
            (Step::Headers, BodyMode::Streamed) if eager => {
                self.send_ahead(stream, direction, end);
                DataVerdict::StopIterationAndWatermark
            }
            (Step::Headers, BodyMode::Buffered) => DataVerdict::StopIterationAndBuffer,
            (Step::Headers, BodyMode::BufferedPartial) if !is_full => {
                DataVerdict::StopIterationAndBuffer
            }
            (Step::Headers | Step::WholeBody | Step::PartOfBody | Step::Trailers, _) => {
                DataVerdict::StopIterationAndWatermark
            }
            (Step::Idle | Step::Pieces, BodyMode::Streamed) => {
                self.send_piece(stream, direction, end)
            }
            (Step::Idle | Step::Pieces, BodyMode::Buffered) => {
                if end {
                    self.send_whole(stream, direction);
                }
                DataVerdict::StopIterationAndBuffer
            }
            (Step::Idle | Step::Pieces, BodyMode::BufferedPartial) => {
                if end || is_full {
                    self.send_part(stream, direction);
                    DataVerdict::StopIterationAndWatermark
                } else {
                    DataVerdict::StopIterationAndBuffer
                }
            }
            (Step::Idle | Step::Pieces, BodyMode::None) => {
                if end && self.ask_for_trailers(stream, direction) {
                    return DataVerdict::StopIterationAndWatermark;
                }
                DataVerdict::Continue
            }
        }
    }

    fn trailers(&mut self, stream: &mut Stream<'_>, direction: Direction) -> TrailersVerdict {
        let observes = self.settings().observability_mode;
        let over = self.over;
        let side = self.side(direction);
        if over || side.trailers_done {
            return TrailersVerdict::Continue;
        }
        side.ended = true;
        side.trailers_seen = true;
        let (step, mode) = (side.step, side.mode);
        if observes {
            if mode.trailers {
                let message = self.trailers_message(stream, direction);
                self.show(stream, message);
            }
            return TrailersVerdict::Continue;
        }
        match step {
            Step::Headers | Step::Idle | Step::Pieces
                if mode.body == BodyMode::FullDuplexStreamed =>
            {
                let message = self.trailers_message(stream, direction);
                self.send(stream, message);
                return TrailersVerdict::StopIteration;
            }
            Step::Idle if mode.body == BodyMode::Buffered && self.holds(stream, direction) => {
                self.send_whole(stream, direction);
            }
            Step::Idle
                if mode.body == BodyMode::BufferedPartial && self.holds(stream, direction) =>
            {
                self.send_part(stream, direction);
            }
            Step::Idle if !mode.trailers => {
                side_done(self.side(direction));
                self.rest(stream);
                return TrailersVerdict::Continue;
            }
            Step::Idle => {
                let message = self.trailers_message(stream, direction);
                self.ask(stream, direction, message, Step::Trailers);
            }
            // What is asked is answered first.
            _ => {}
        }
        TrailersVerdict::StopIteration
    }

    /// What is done once for a stream, whichever of its callbacks is the first.
    fn begin(&mut self, stream: &mut Stream<'_>) {
        if std::mem::replace(&mut self.begun, true) {
            return;
        }
        let Some(Route(route)) = stream.route_config::<Route>() else {
            return;
        };
        self.over = route.disabled;
        self.server = route
            .target
            .as_ref()
            .map(|target| self.shared.server_of(target));
        self.route = Some(Arc::clone(route));
        let mode = self.mode();
        self.request.mode = mode.request;
        self.response.mode = mode.response;
    }

    /// Looks at what the server has sent.
    fn look(&mut self, stream: &mut Stream<'_>) {
        while let Some(call) = &mut self.call {
            match call.poll() {
                Poll::Pending => break,
                Poll::Ready(Received::Message(message)) => {
                    stream.count(self.shared.metrics.received, 1);
                    if self.settings().observability_mode {
                        continue;
                    }
                    match ProcessingResponse::decode(message) {
                        Ok(answer) => self.answer(stream, answer),
                        Err(error) => {
                            let why = format!("the server's message cannot be read: {error}");
                            self.fail(stream, self.settings().status_on_error, &why);
                        }
                    }
                }
                Poll::Ready(Received::End(status)) => {
                    self.call = None;
                    if self.settings().observability_mode {
                        if !status.is_ok() {
                            stream.count(self.shared.metrics.failed, 1);
                        }
                        self.over = true;
                    } else if status.is_ok()
                        && !self.request.given_away
                        && !self.response.given_away
                    {
                        // The server wants no more of this stream.
                        self.let_go(stream);
                    } else {
                        stream.count(self.shared.metrics.failed, 1);
                        let why = format!("the call to the server ended: {status}");
                        self.fail(stream, self.settings().status_on_error, &why);
                    }
                }
            }
        }
        self.relax(stream);
    }

    /// Sends a message to which there will be an answer.
    pub(super) fn ask(
        &mut self,
        stream: &mut Stream<'_>,
        direction: Direction,
        message: Bytes,
        step: Step,
    ) {
        self.side(direction).step = step;
        self.send(stream, message);
        self.start_timer(stream, direction);
    }

    /// Sends a message to a server that only watches; one that is too slow misses some.
    fn show(&mut self, stream: &mut Stream<'_>, message: Bytes) {
        if self
            .call
            .as_ref()
            .is_some_and(|call| call.unsent() > MOST_UNANSWERED)
        {
            stream.count(self.shared.metrics.dropped, 1);
            return;
        }
        self.send(stream, message);
    }

    pub(super) fn send(&mut self, stream: &mut Stream<'_>, message: Bytes) {
        stream.count(self.shared.metrics.sent, 1);
        let call = match &mut self.call {
            Some(call) => call,
            None => {
                stream.count(self.shared.metrics.started, 1);
                let waker = self
                    .waker
                    .get_or_insert_with(|| grpc::waker(stream.resumer()));
                let server = self.server.as_deref().unwrap_or(&self.shared.server);
                let metadata = self
                    .route
                    .as_ref()
                    .map_or_else(HeaderMap::new, |route| route.call_metadata.clone());
                self.call.insert(Call::open(
                    &server.pool,
                    &server.method,
                    metadata,
                    waker.clone(),
                ))
            }
        };
        call.send(message);
    }

    pub(super) fn start_timer(&mut self, stream: &mut Stream<'_>, direction: Direction) {
        self.stop_timer(stream, direction);
        let timeout = self.settings().message_timeout;
        let side = self.side(direction);
        // What comes back in that mode need not answer what was sent.
        if side.mode.body == BodyMode::FullDuplexStreamed {
            return;
        }
        side.timer = Some(stream.set_timer(timeout));
        side.extended = false;
        side.sent_at = Some(Instant::now());
    }

    pub(super) fn stop_timer(&mut self, stream: &mut Stream<'_>, direction: Direction) {
        let histogram = self.shared.metrics.answer_time;
        let side = self.side(direction);
        if let Some(timer) = side.timer.take() {
            stream.cancel_timer(timer);
        }
        if let Some(sent_at) = side.sent_at.take() {
            stream.observe(histogram, sent_at.elapsed());
        }
    }

    /// A piece of a body in the mode `streamed`: it waits here until it is answered.
    fn send_piece(
        &mut self,
        stream: &mut Stream<'_>,
        direction: Direction,
        end: bool,
    ) -> DataVerdict {
        let bytes = body_bytes(stream.body(direction));
        if bytes.is_empty() && !end {
            return DataVerdict::StopIterationNoBuffer;
        }
        let message = self.body_message(stream, direction, bytes.clone(), end);
        self.side(direction).push(Piece { bytes, end });
        self.ask(stream, direction, message, Step::Pieces);
        self.tighten(stream, direction);
        DataVerdict::StopIterationNoBuffer
    }

    /// A piece in that mode before the headers are answered: it goes, and waits where it is.
    fn send_ahead(&mut self, stream: &mut Stream<'_>, direction: Direction, end: bool) {
        let held = body_bytes(stream.body(direction));
        let from = self.side(direction).sent_of_held.min(held.len());
        let bytes = held.slice(from..);
        if bytes.is_empty() && !end {
            return;
        }
        let message = self.body_message(stream, direction, bytes.clone(), end);
        let side = self.side(direction);
        side.sent_of_held = held.len();
        side.push(Piece { bytes, end });
        self.send(stream, message);
    }

    /// A piece in the mode `full_duplex_streamed`: what becomes of it is the server's affair.
    fn give_away(
        &mut self,
        stream: &mut Stream<'_>,
        direction: Direction,
        end: bool,
    ) -> DataVerdict {
        let bytes = body_bytes(stream.body(direction));
        if !bytes.is_empty() || end {
            let message = self.body_message(stream, direction, bytes, end);
            self.send(stream, message);
            let side = self.side(direction);
            side.given_away = true;
            if side.step == Step::Idle {
                side.step = Step::Pieces;
            }
            self.tighten(stream, direction);
        }
        DataVerdict::StopIterationNoBuffer
    }

    /// All that waits here, which is the whole body.
    pub(super) fn send_whole(&mut self, stream: &mut Stream<'_>, direction: Direction) {
        let bytes = body_bytes(stream.body(direction));
        let end = !self.side(direction).trailers_seen;
        let message = self.body_message(stream, direction, bytes, end);
        self.ask(stream, direction, message, Step::WholeBody);
    }

    /// All that waits here, which may be the whole body.
    pub(super) fn send_part(&mut self, stream: &mut Stream<'_>, direction: Direction) {
        let bytes = body_bytes(stream.body(direction));
        let side = self.side(direction);
        side.sent_of_held = bytes.len();
        let end = side.ended && !side.trailers_seen;
        let message = self.body_message(stream, direction, bytes, end);
        self.ask(stream, direction, message, Step::PartOfBody);
    }

    /// At the end of a message without trailers the server may add some.
    pub(super) fn ask_for_trailers(
        &mut self,
        stream: &mut Stream<'_>,
        direction: Direction,
    ) -> bool {
        let side = self.side(direction);
        if !side.mode.trailers || side.trailers_done || side.no_body {
            return false;
        }
        let message = self.trailers_message(stream, direction);
        self.ask(stream, direction, message, Step::Trailers);
        true
    }

    fn holds(&self, stream: &Stream<'_>, direction: Direction) -> bool {
        !stream.body(direction).is_empty()
    }

    /// Stops reading a sender that is quicker than the server.
    fn tighten(&mut self, stream: &mut Stream<'_>, direction: Direction) {
        let unsent = self.call.as_ref().map_or(0, Call::unsent);
        let side = self.side(direction);
        if !side.held_back && side.pieces_len.max(unsent) > MOST_UNANSWERED {
            side.held_back = true;
            stream.hold_back(direction, true);
        }
    }

    /// Reads on when the server has caught up.
    pub(super) fn relax(&mut self, stream: &mut Stream<'_>) {
        let unsent = self.call.as_ref().map_or(0, Call::unsent);
        for side in [&mut self.request, &mut self.response] {
            if side.held_back && side.pieces_len.max(unsent) <= MOST_UNANSWERED / 2 {
                side.held_back = false;
                stream.hold_back(side.direction, false);
            }
        }
    }

    /// What comes when the server has no more part in it.
    fn pass_by(&mut self, stream: &mut Stream<'_>, direction: Direction) -> DataVerdict {
        if self.side(direction).replaced {
            let _ = stream.body_mut(direction).clear();
        }
        DataVerdict::Continue
    }

    /// Ends the server's part when nothing of this stream is left to be sent.
    pub(super) fn rest(&mut self, stream: &mut Stream<'_>) {
        if self.over || !self.request.is_done() || !self.response.is_done() {
            return;
        }
        self.over = true;
        self.hang_up();
        for direction in [Direction::Request, Direction::Response] {
            if !self.side(direction).replaced {
                forgo_body(stream, direction);
            }
        }
        stream.forgo(Wants::RESPONSE_HEADERS);
    }

    /// Lets the stream go on without the server, with all that waits for it.
    pub(super) fn let_go(&mut self, stream: &mut Stream<'_>) {
        self.over = true;
        self.hang_up();
        for direction in [Direction::Request, Direction::Response] {
            self.stop_timer(stream, direction);
            self.give_back(stream, direction);
            self.go_on(stream, direction);
        }
        self.relax(stream);
    }

    /// Sends on, unchanged, the pieces that are not answered and that nothing else keeps.
    fn give_back(&mut self, stream: &mut Stream<'_>, direction: Direction) {
        let head_held = self.side(direction).head_held;
        while let Some(piece) = self.side(direction).pop() {
            if !head_held && !piece.bytes.is_empty() {
                // An error says that the message is over already.
                let _ = stream.inject(direction, &piece.bytes, false);
            }
        }
    }

    /// Lets go what waits in a direction.
    pub(super) fn go_on(&mut self, stream: &mut Stream<'_>, direction: Direction) {
        let side = self.side(direction);
        side.step = Step::Idle;
        side.head_held = false;
        match direction {
            Direction::Request => stream.continue_request(),
            Direction::Response => stream.continue_response(),
        }
    }

    /// The server failed.
    pub(super) fn fail(&mut self, stream: &mut Stream<'_>, status: u16, why: &str) {
        self.call = None;
        let given_away = self.request.given_away || self.response.given_away;
        if self.failure_mode_allow() && !given_away {
            stream.count(self.shared.metrics.allowed, 1);
            if stream.log_enabled(Level::Debug) {
                stream.log(
                    Level::Debug,
                    &format!("the stream goes on without the server: {why}"),
                );
            }
            return self.let_go(stream);
        }
        self.over = true;
        for direction in [Direction::Request, Direction::Response] {
            self.stop_timer(stream, direction);
        }
        if given_away {
            // Parts of a body are lost with the server: whatever the policy, the message cannot go on.
            stream.log(
                Level::Warn,
                &format!("a body was lost with the server: {why}"),
            );
            let reply = LocalReply::new(status).details("ext_proc_error");
            if stream.send_local_reply(reply).is_err() {
                stream.terminate();
            }
            return;
        }
        for direction in [Direction::Request, Direction::Response] {
            self.give_back(stream, direction);
        }
        stream.fail(FilterError {
            status,
            message: why.to_owned().into(),
        });
    }

    /// Ends the call in peace.
    pub(super) fn hang_up(&mut self) {
        let limit = if self.shared.settings.observability_mode {
            self.shared.settings.deferred_close_timeout
        } else {
            FAREWELL
        };
        if let Some(call) = self.call.take() {
            call.close(limit);
        }
    }

    pub(super) fn side(&mut self, direction: Direction) -> &mut Side {
        match direction {
            Direction::Request => &mut self.request,
            Direction::Response => &mut self.response,
        }
    }

    pub(super) fn settings(&self) -> &Settings {
        &self.shared.settings
    }

    pub(super) fn mode(&self) -> Mode {
        let of_route = self.route.as_ref().and_then(|route| route.mode);
        of_route.unwrap_or(self.shared.settings.mode)
    }

    pub(super) fn metadata_options(&self) -> &MetadataOptions {
        let of_route = self
            .route
            .as_ref()
            .and_then(|route| route.metadata.as_ref());
        of_route.unwrap_or(&self.shared.settings.metadata)
    }

    pub(super) fn attribute_names(&self, direction: Direction) -> &[String] {
        let (of_route, own) = match direction {
            Direction::Request => (
                self.route
                    .as_ref()
                    .and_then(|route| route.request_attributes.as_deref()),
                &self.shared.settings.request_attributes,
            ),
            Direction::Response => (
                self.route
                    .as_ref()
                    .and_then(|route| route.response_attributes.as_deref()),
                &self.shared.settings.response_attributes,
            ),
        };
        of_route.unwrap_or(own)
    }

    fn failure_mode_allow(&self) -> bool {
        let of_route = self
            .route
            .as_ref()
            .and_then(|route| route.failure_mode_allow);
        of_route.unwrap_or(self.shared.settings.failure_mode_allow)
    }
}

/// A body and trailers that the server does not see pass as they are.
pub(super) fn forgo_body(stream: &mut Stream<'_>, direction: Direction) {
    let seen = match direction {
        Direction::Request => Wants::REQUEST_BODY.and(Wants::REQUEST_TRAILERS),
        Direction::Response => Wants::RESPONSE_BODY.and(Wants::RESPONSE_TRAILERS),
    };
    stream.forgo(seen.and(changes_length(direction)));
}

pub(super) fn changes_length(direction: Direction) -> Wants {
    match direction {
        Direction::Request => Wants::CHANGES_REQUEST_LENGTH,
        Direction::Response => Wants::CHANGES_RESPONSE_LENGTH,
    }
}

/// Nothing more of this direction is asked.
pub(super) fn side_done(side: &mut Side) {
    side.trailers_done = true;
    side.mode.body = BodyMode::None;
    side.mode.trailers = false;
}
