//! What a message of the server does.

use std::time::Duration;

use bytes::Bytes;
use transom_api::{Direction, LocalReply, Stream, field};

use super::filter::{ExtProc, changes_length, forgo_body, side_done};
use super::mode::{BodyMode, Mode};
use super::settings::RouteCacheAction;
use super::side::{Piece, Step};
use crate::headers::{Changes, body_bytes, head_of, lower, trailers_of, value_of};
use crate::proto::core::header_value_option::HeaderAppendAction as Action;
use crate::proto::ext_proc::body_mutation::Mutation;
use crate::proto::ext_proc::common_response::ResponseStatus;
use crate::proto::ext_proc::processing_response::Response;
use crate::proto::ext_proc::{
    CommonResponse, HeaderMutation, ImmediateResponse, ProcessingResponse, StreamedBodyResponse,
    TrailersResponse,
};
use crate::values::set_metadata;

impl ExtProc {
    pub(super) fn answer(&mut self, stream: &mut Stream<'_>, mut answer: ProcessingResponse) {
        if let Some(timeout) = answer.override_message_timeout.take() {
            return self.extend(stream, timeout);
        }
        if let Some(metadata) = answer.dynamic_metadata.take() {
            for (namespace, value) in metadata.fields {
                let allowed = self.metadata_options().receiving.contains(&namespace);
                if let Some(prost_types::value::Kind::StructValue(values)) = value.kind
                    && allowed
                {
                    set_metadata(stream, &namespace, values);
                }
            }
        }
        if let Some(wanted) = &answer.mode_override {
            self.change_mode(Mode::of_wire(wanted), answer.response.as_ref());
        }
        match answer.response {
            Some(Response::RequestHeaders(headers)) => {
                self.headers_answer(
                    stream,
                    Direction::Request,
                    headers.response.unwrap_or_default(),
                );
            }
            Some(Response::ResponseHeaders(headers)) => {
                self.headers_answer(
                    stream,
                    Direction::Response,
                    headers.response.unwrap_or_default(),
                );
            }
            Some(Response::RequestBody(body)) => {
                self.body_answer(
                    stream,
                    Direction::Request,
                    body.response.unwrap_or_default(),
                );
            }
            Some(Response::ResponseBody(body)) => {
                self.body_answer(
                    stream,
                    Direction::Response,
                    body.response.unwrap_or_default(),
                );
            }
            Some(Response::RequestTrailers(trailers)) => {
                self.trailers_answer(stream, Direction::Request, &trailers);
            }
            Some(Response::ResponseTrailers(trailers)) => {
                self.trailers_answer(stream, Direction::Response, &trailers);
            }
            Some(Response::ImmediateResponse(reply)) => self.reply(stream, &reply),
            None => self.spurious(stream, "nothing"),
        }
        self.rest(stream);
    }

    fn headers_answer(
        &mut self,
        stream: &mut Stream<'_>,
        direction: Direction,
        answer: CommonResponse,
    ) {
        if self.side(direction).step != Step::Headers {
            return self.spurious(stream, "headers");
        }
        self.stop_timer(stream, direction);
        if !self.change_head(stream, direction, &answer) {
            return;
        }
        if answer.status == ResponseStatus::ContinueAndReplace as i32 {
            return self.replace(stream, direction, answer);
        }
        let limit = self.settings().buffer_limit;
        let side = self.side(direction);
        side.step = Step::Idle;
        if side.no_body {
            side_done(side);
            stream.forgo(changes_length(direction));
            return self.go_on(stream, direction);
        }
        let (ended, trailers_seen) = (side.ended, side.trailers_seen);
        let held = stream.body(direction).len();
        match side.mode.body {
            BodyMode::None => {
                stream.forgo(changes_length(direction));
                if !side.mode.trailers {
                    side_done(side);
                    forgo_body(stream, direction);
                    return self.go_on(stream, direction);
                }
                if trailers_seen {
                    let message = self.trailers_message(stream, direction);
                    return self.ask(stream, direction, message, Step::Trailers);
                }
                if !(ended && self.ask_for_trailers(stream, direction)) {
                    self.go_on(stream, direction);
                }
            }
            // Trailers without a body: there is nothing to send of it.
            BodyMode::Buffered | BodyMode::BufferedPartial if trailers_seen && held == 0 => {
                self.body_done(stream, direction);
            }
            BodyMode::Buffered if ended => self.send_whole(stream, direction),
            BodyMode::BufferedPartial if ended || held as u64 >= limit => {
                self.send_part(stream, direction);
            }
            // The headers wait for the body, and for what the server says to it.
            BodyMode::Buffered | BodyMode::BufferedPartial => {}
            BodyMode::Streamed => self.begin_pieces(stream, direction, ended, held),
            BodyMode::FullDuplexStreamed => {
                let side = self.side(direction);
                side.step = Step::Pieces;
                if ended {
                    // The head cannot go without the end that waits behind it; so what the server sends is gathered.
                    side.gathered = Some(Vec::new());
                } else {
                    self.go_on(stream, direction);
                    self.side(direction).step = Step::Pieces;
                }
            }
        }
    }

    /// The headers are answered in the mode `streamed`, and a part of the body may wait here.
    fn begin_pieces(
        &mut self,
        stream: &mut Stream<'_>,
        direction: Direction,
        ended: bool,
        held: usize,
    ) {
        let side = self.side(direction);
        if side.pieces.is_empty() {
            // Nothing went ahead of the answer.
            if ended && (held > 0 || !side.trailers_seen) {
                return self.send_whole(stream, direction);
            }
            if ended {
                return self.body_done(stream, direction);
            }
            if held > 0 {
                let bytes = body_bytes(stream.body(direction));
                let message = self.body_message(stream, direction, bytes.clone(), false);
                self.side(direction).push(Piece { bytes, end: false });
                // It cannot fail: the length is free.
                let _ = stream.body_mut(direction).clear();
                self.go_on(stream, direction);
                return self.ask(stream, direction, message, Step::Pieces);
            }
            return self.go_on(stream, direction);
        }
        side.step = Step::Pieces;
        side.sent_of_held = 0;
        self.start_timer(stream, direction);
        if ended {
            self.side(direction).gathered = Some(Vec::new());
            return;
        }
        let _ = stream.body_mut(direction).clear();
        self.go_on(stream, direction);
        self.side(direction).step = Step::Pieces;
    }

    fn body_answer(
        &mut self,
        stream: &mut Stream<'_>,
        direction: Direction,
        answer: CommonResponse,
    ) {
        let (step, mode) = (self.side(direction).step, self.side(direction).mode.body);
        match step {
            Step::WholeBody | Step::PartOfBody => self.kept_body_answer(stream, direction, &answer),
            Step::Pieces if mode == BodyMode::FullDuplexStreamed => {
                self.streamed_answer(stream, direction, answer);
            }
            Step::Pieces => self.piece_answer(stream, direction, answer),
            _ => self.spurious(stream, "a body"),
        }
    }

    /// The answer to what waits here.
    fn kept_body_answer(
        &mut self,
        stream: &mut Stream<'_>,
        direction: Direction,
        answer: &CommonResponse,
    ) {
        self.stop_timer(stream, direction);
        if !self.change_head(stream, direction, answer) {
            return;
        }
        let side = self.side(direction);
        let sent = match side.step {
            Step::PartOfBody => side.sent_of_held,
            _ => stream.body(direction).len(),
        };
        side.sent_of_held = 0;
        side.step = Step::Idle;
        match answer
            .body_mutation
            .as_ref()
            .and_then(|change| change.mutation.as_ref())
        {
            Some(Mutation::Body(bytes)) => {
                let _ = stream.body_mut(direction).splice(0..sent, bytes);
            }
            Some(Mutation::ClearBody(true)) => {
                let _ = stream.body_mut(direction).splice(0..sent, []);
            }
            Some(Mutation::StreamedResponse(_)) => {
                return self.spurious(stream, "a streamed body");
            }
            // Its length stays what was announced.
            _ => stream.forgo(changes_length(direction)),
        }
        self.body_done(stream, direction);
    }

    /// The answer to a piece.
    fn piece_answer(
        &mut self,
        stream: &mut Stream<'_>,
        direction: Direction,
        answer: CommonResponse,
    ) {
        let side = self.side(direction);
        let Some(piece) = side.pop() else {
            return self.spurious(stream, "a piece of a body");
        };
        let none_left = side.pieces.is_empty();
        let trailers_seen = side.trailers_seen;
        if none_left {
            self.stop_timer(stream, direction);
            self.side(direction).step = Step::Idle;
        } else {
            self.start_timer(stream, direction);
        }
        let bytes = match answer.body_mutation.and_then(|change| change.mutation) {
            Some(Mutation::Body(bytes)) => bytes,
            Some(Mutation::ClearBody(true)) => Bytes::new(),
            Some(Mutation::StreamedResponse(_)) => {
                return self.spurious(stream, "a streamed body");
            }
            _ => piece.bytes,
        };
        self.hand_on(stream, direction, &bytes);
        if piece.end || none_left && trailers_seen {
            self.put_gathered(stream, direction);
            self.body_done(stream, direction);
        }
    }

    /// A piece of a body in the mode `full_duplex_streamed`.
    fn streamed_answer(
        &mut self,
        stream: &mut Stream<'_>,
        direction: Direction,
        answer: CommonResponse,
    ) {
        let Some(Mutation::StreamedResponse(StreamedBodyResponse {
            body,
            end_of_stream,
            ..
        })) = answer.body_mutation.and_then(|change| change.mutation)
        else {
            return self.spurious(stream, "a body that is not streamed");
        };
        self.hand_on(stream, direction, &body);
        if end_of_stream {
            self.put_gathered(stream, direction);
            let side = self.side(direction);
            side_done(side);
            // What still comes was given to a server that has closed the body.
            side.replaced = !side.ended;
            self.go_on(stream, direction);
        }
    }

    fn trailers_answer(
        &mut self,
        stream: &mut Stream<'_>,
        direction: Direction,
        answer: &TrailersResponse,
    ) {
        let side = self.side(direction);
        let streams = side.mode.body == BodyMode::FullDuplexStreamed && side.trailers_seen;
        if side.step != Step::Trailers && !(streams && side.step == Step::Pieces) {
            return self.spurious(stream, "trailers");
        }
        self.stop_timer(stream, direction);
        if let Some(mutation) = &answer.header_mutation
            && !self.change_fields(stream, direction, mutation, true, false)
        {
            return;
        }
        self.put_gathered(stream, direction);
        side_done(self.side(direction));
        self.go_on(stream, direction);
    }

    /// The server has said its word to the body: trailers come next, if there are any.
    fn body_done(&mut self, stream: &mut Stream<'_>, direction: Direction) {
        let side = self.side(direction);
        side.mode.body = BodyMode::None;
        if side.trailers_seen && side.mode.trailers {
            let message = self.trailers_message(stream, direction);
            return self.ask(stream, direction, message, Step::Trailers);
        }
        if side.ended {
            if !side.trailers_seen && self.ask_for_trailers(stream, direction) {
                return;
            }
            side_done(self.side(direction));
        }
        self.go_on(stream, direction);
    }

    /// Bytes of a changed body, on their way or gathered.
    fn hand_on(&mut self, stream: &mut Stream<'_>, direction: Direction, bytes: &[u8]) {
        if let Some(gathered) = &mut self.side(direction).gathered {
            gathered.extend_from_slice(bytes);
        } else if !bytes.is_empty() {
            // An error says that the message is over already.
            let _ = stream.inject(direction, bytes, false);
        }
    }

    /// Puts what was gathered in the place of what waits.
    fn put_gathered(&mut self, stream: &mut Stream<'_>, direction: Direction) {
        if let Some(gathered) = self.side(direction).gathered.take() {
            let _ = stream.body_mut(direction).replace(gathered);
        }
    }

    /// The message goes on with another body; the server is asked nothing more about it.
    fn replace(&mut self, stream: &mut Stream<'_>, direction: Direction, answer: CommonResponse) {
        let body = match answer.body_mutation.and_then(|change| change.mutation) {
            Some(Mutation::Body(bytes)) => Some(bytes),
            Some(Mutation::ClearBody(true)) => Some(Bytes::new()),
            _ => None,
        };
        let side = self.side(direction);
        side_done(side);
        side.pieces.clear();
        side.pieces_len = 0;
        let no_body = side.no_body;
        let Some(body) = body else {
            return self.go_on(stream, direction);
        };
        side.replaced = true;
        if no_body {
            if !body.is_empty() {
                let _ = stream.inject(direction, &body, true);
            }
        } else if stream.body_mut(direction).replace(&body).is_err() && !body.is_empty() {
            // Nothing waits here in whose place it could be put, so it follows the headers.
            self.later = Some((direction, body));
            stream.resumer().post(0);
        }
        self.go_on(stream, direction);
    }

    /// An answer in place of the host's.
    fn reply(&mut self, stream: &mut Stream<'_>, reply: &ImmediateResponse) {
        if self.settings().disable_immediate_response {
            return self.spurious(stream, "an immediate response, which is disabled");
        }
        stream.count(self.shared.metrics.immediate, 1);
        self.over = true;
        self.hang_up();
        for direction in [Direction::Request, Direction::Response] {
            self.stop_timer(stream, direction);
        }
        // Without a status, or with one that is none, Envoy answers 200.
        let status = reply.status.as_ref().map_or(0, |status| status.code);
        let status = u16::try_from(status)
            .ok()
            .filter(|status| (200..=599).contains(status));
        let details = if reply.details.is_empty() {
            "ext_proc_immediate_response".to_owned()
        } else {
            // One word for a log, as Envoy makes it.
            reply.details.replace(char::is_whitespace, "_")
        };
        let mut local = LocalReply::new(status.unwrap_or(200))
            .body(reply.body.to_vec())
            .details(details);
        local.grpc_status = reply.grpc_status.as_ref().map(|status| status.status);
        for option in reply
            .headers
            .iter()
            .flat_map(|headers| &headers.set_headers)
        {
            let Some(header) = &option.header else {
                continue;
            };
            let name = lower(header.key.as_bytes());
            let good = field::is_name(name.as_bytes()) && !field::is_reserved(name.as_bytes());
            let value = value_of(header);
            if good && field::is_value(value) {
                local = local.header(name, value);
            } else {
                stream.count(self.shared.metrics.rejected_changes, 1);
            }
        }
        if stream.send_local_reply(local).is_err() {
            // The host's answer is on its way to the client: nothing can take its place.
            stream.terminate();
        }
    }

    /// Changes the headers, if they are still here, and looks for the route again, if that is wanted. False when the change failed.
    fn change_head(
        &mut self,
        stream: &mut Stream<'_>,
        direction: Direction,
        answer: &CommonResponse,
    ) -> bool {
        let held = self.side(direction).head_held;
        if held && let Some(mutation) = &answer.header_mutation {
            let replacing = answer.status == ResponseStatus::ContinueAndReplace as i32;
            if !self.change_fields(stream, direction, mutation, false, replacing) {
                return false;
            }
        }
        if direction == Direction::Request {
            let changed = held && answer.header_mutation.is_some();
            let clear = match self.settings().route_cache_action {
                RouteCacheAction::Default => answer.clear_route_cache,
                RouteCacheAction::Clear => changed,
                RouteCacheAction::Retain => false,
            };
            let cleared = clear && changed && stream.clear_route().is_ok();
            if answer.clear_route_cache && !cleared {
                stream.count(self.shared.metrics.route_kept, 1);
            }
        }
        true
    }

    fn change_fields(
        &mut self,
        stream: &mut Stream<'_>,
        direction: Direction,
        mutation: &HeaderMutation,
        trailers: bool,
        replacing: bool,
    ) -> bool {
        let map = if trailers {
            trailers_of(direction)
        } else {
            head_of(direction)
        };
        let changes = Changes {
            set: &mutation.set_headers,
            remove: &mutation.remove_headers,
            rules: &self.shared.settings.rules,
            replacing,
            default: Action::OverwriteIfExistsOrAdd,
            append_makes_none: false,
        };
        match changes.apply(&mut stream.headers_mut(map)) {
            Ok(kept_back) => {
                if kept_back > 0 {
                    stream.count(self.shared.metrics.rejected_changes, kept_back);
                }
                true
            }
            Err(refused) => {
                stream.count(self.shared.metrics.rejected_changes, 1);
                let why = format!("the server's change of headers was refused: {refused}");
                self.fail(stream, self.settings().status_on_error, &why);
                false
            }
        }
    }

    /// The server asks for another mode, which it may do in its answers to headers.
    fn change_mode(&mut self, wanted: Mode, answer: Option<&Response>) {
        let settings = self.settings();
        let allowed = settings.allow_mode_override
            && (settings.allowed_modes.is_empty()
                || settings
                    .allowed_modes
                    .iter()
                    .any(|mode| mode.is_like(wanted)));
        let in_headers = match answer {
            Some(Response::RequestHeaders(_)) => Some(Direction::Request),
            Some(Response::ResponseHeaders(_)) => Some(Direction::Response),
            _ => None,
        };
        let Some(direction) = in_headers.filter(|_| allowed) else {
            return;
        };
        if self.side(direction).step != Step::Headers {
            return;
        }
        if direction == Direction::Request {
            self.side(Direction::Request).mode = wanted.request;
        }
        if !self.side(Direction::Response).begun || direction == Direction::Response {
            self.side(Direction::Response).mode = wanted.response;
        }
    }

    /// The server needs more time for what it was asked.
    fn extend(&mut self, stream: &mut Stream<'_>, timeout: prost_types::Duration) {
        let Some(most) = self.settings().max_message_timeout else {
            return;
        };
        let Ok(timeout) = Duration::try_from(timeout) else {
            return;
        };
        if timeout < Duration::from_millis(1) || timeout > most {
            return;
        }
        for direction in [Direction::Request, Direction::Response] {
            let side = self.side(direction);
            if side.extended {
                continue;
            }
            if let Some(timer) = side.timer.take() {
                stream.cancel_timer(timer);
                side.timer = Some(stream.set_timer(timeout));
                side.extended = true;
            }
        }
    }

    /// A message that answers nothing that was asked.
    fn spurious(&mut self, stream: &mut Stream<'_>, what: &str) {
        stream.count(self.shared.metrics.spurious, 1);
        let why = format!("the server sent {what} when that was not asked");
        self.fail(stream, self.settings().status_on_error, &why);
    }
}
