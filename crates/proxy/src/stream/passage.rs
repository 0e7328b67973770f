//! How heads, data and trailers go from filter to filter.
//!
//! Everything follows the head: data never overtakes it, trailers never overtake data. What is stopped at a filter
//! waits in the hold of that filter's position.

use bytes::Bytes;
use transom_api::{DataVerdict, Direction, HeadersVerdict, Phase, TrailersVerdict, Wants};

use super::forward::NotForwarded;
use super::side::{DataStop, End, HeadStop};
use super::{Flow, Stream};
use crate::error::Fault;
use crate::http::body::BodyBuffer;
use crate::http::head::Presence;

/// After this many re-matches and re-choices the filter is held to be caught in a loop.
const MOST_REMATCHES: u8 = 10;

impl Stream {
    /// Lets the head go on from where it is, until it is stopped or has left.
    pub(super) fn run_head(&mut self, direction: Direction) {
        // One copy of the loop for each direction, in which it is known.
        match direction {
            Direction::Request => self.step_head(Direction::Request),
            Direction::Response => self.step_head(Direction::Response),
        }
        if self.core.message(direction).side.late.is_empty() {
            return;
        }
        // Bodies that filters gave to a message that had none follow it.
        for (position, bytes, end) in
            std::mem::take(&mut self.core.message_mut(direction).side.late)
        {
            self.pass_data(direction, position, bytes, end.then_some(End::Plain));
        }
    }

    #[inline(always)]
    fn step_head(&mut self, direction: Direction) {
        loop {
            let side = &self.core.message(direction).side;
            if self.core.over || side.aborted || side.stop.is_some() || side.released {
                return;
            }
            let at = side.at;
            if direction == Direction::Request && at >= self.core.chain.end_of(self.core.phase) {
                match self.end_phase() {
                    Ok(true) => continue,
                    Ok(false) => return,
                    Err(why) => return self.not_forwarded(why),
                }
            }
            let Some(filter) = self.core.chain.filter_at(direction, at) else {
                return self.release_head(direction);
            };
            let callback = match direction {
                Direction::Request => Wants::REQUEST_HEADERS,
                Direction::Response => Wants::RESPONSE_HEADERS,
            };
            if !self.is_called(direction, filter, callback) {
                if !self.ends_for(direction, filter) && self.keeps_whole_body(direction, filter) {
                    self.core.message_mut(direction).side.stop = Some(HeadStop::Iteration);
                    return;
                }
                self.core.message_mut(direction).side.at += 1;
                continue;
            }
            let end = self.ends_for(direction, filter);
            let verdict = self.call(filter, |filter, context| match direction {
                Direction::Request => filter.request_headers(context, end),
                Direction::Response => filter.response_headers(context, end),
            });
            // A failure is a wish too.
            let wished = self.core.actions.any;
            let resumed = wished && self.core.actions.continues(direction);
            match self.after_callback(filter) {
                Flow::On => {}
                Flow::Again => continue,
                Flow::Diverted => return,
            }
            // A filter that failed open lets go what it has seen, whatever it answered.
            let verdict = verdict.filter(|_| !(wished && self.has_failed(filter)));
            // The head waits for a body that is kept as a whole: over the limit it is not the one that is sent.
            let awaits_body = !end && !resumed && self.keeps_whole_body(direction, filter);
            let side = &mut self.core.message_mut(direction).side;
            match verdict.unwrap_or_default() {
                HeadersVerdict::Continue if awaits_body => side.stop = Some(HeadStop::Iteration),
                HeadersVerdict::ContinueAndEndStream => {
                    side.head_end = true;
                    side.cut_at = Some(at + 1);
                    side.at = at + 1;
                }
                HeadersVerdict::StopIteration if !resumed => side.stop = Some(HeadStop::Iteration),
                HeadersVerdict::StopAllIterationAndBuffer if !resumed => {
                    side.stop = Some(HeadStop::AllAndBuffer);
                }
                HeadersVerdict::StopAllIterationAndWatermark if !resumed => {
                    side.stop = Some(HeadStop::AllAndWatermark);
                }
                // `max`: skip_phase may have moved it further.
                _ => side.at = side.at.max(at + 1),
            }
            self.run_injected(filter);
        }
    }

    /// Does what stands between two request phases. False when the head has left.
    fn end_phase(&mut self) -> Result<bool, NotForwarded> {
        match self.core.phase {
            Phase::BeforeRoute => {
                self.core.resolve_route();
                self.core.phase = Phase::AfterRoute;
                Ok(true)
            }
            Phase::AfterRoute => {
                self.core.choose_host()?;
                self.core.phase = Phase::AfterChooseHost;
                Ok(true)
            }
            Phase::AfterChooseHost => {
                // A filter of the last phase may have cleared the route.
                if self.core.host.is_none() {
                    self.core.choose_host()?;
                }
                self.core.finish_request()?;
                self.release_head(Direction::Request);
                Ok(false)
            }
        }
    }

    fn release_head(&mut self, direction: Direction) {
        if direction == Direction::Response {
            self.core.mark_response();
        }
        let message = self.core.message_mut(direction);
        message.head.set_presence(Presence::Released);
        message.side.released = true;
        if message.side.head_end {
            message.side.out_end = Some(End::Plain);
        }
    }

    /// Lets data go on from a position.
    pub(super) fn pass_data(
        &mut self,
        direction: Direction,
        position: usize,
        bytes: Bytes,
        end: Option<End>,
    ) {
        let mut frame = BodyBuffer::default();
        frame.push(bytes);
        self.pass_frame(direction, position, frame, end);
    }

    /// Lets a frame go on from a position: until a filter stops it or it has left the chain.
    fn pass_frame(
        &mut self,
        direction: Direction,
        mut position: usize,
        mut frame: BodyBuffer,
        mut end: Option<End>,
    ) {
        loop {
            if frame.is_empty() && end.is_none() {
                return;
            }
            let len = self.core.chain.len();
            let side = &mut self.core.message_mut(direction).side;
            if side.aborted || side.cut_at.is_some_and(|cut| position >= cut) {
                return;
            }
            // Behind the chain it waits for the head, if that is not out yet: a request for a tunnel waits for its answer, and
            // the last filter may send something meanwhile.
            if position >= len {
                side.out.append(&mut frame);
                side.out_end = side.out_end.or(end);
                return;
            }
            // The head waits here, and the filter does not look at data before the head has gone on.
            let Some(filter) = self.core.chain.filter_at(direction, position) else {
                return;
            };
            let at_head = position >= self.core.message(direction).side.at;
            let called = self.is_called(direction, filter, body_of(direction))
                && !self.is_past(direction, filter);
            if at_head && (!called || self.core.message(direction).side.stops_all()) {
                return self.keep(direction, position, filter, &mut frame, end);
            }
            if !called {
                let hold_waits = self
                    .core
                    .message(direction)
                    .side
                    .holds
                    .get(position)
                    .is_some_and(|hold| hold.stop.is_some());
                if hold_waits {
                    return self.keep(direction, position, filter, &mut frame, end);
                }
                position += 1;
                continue;
            }
            let whole = self.whole_body_limit(direction, filter);
            let hold = self.core.message_mut(direction).side.hold(position);
            hold.body.append(&mut frame);
            hold.end = hold.end.or(end);
            let (held, ended) = (hold.body.len() as u64, hold.end);
            if let Some(limit) = whole {
                if held > limit {
                    return self.overflow(direction);
                }
                if ended.is_none() {
                    hold.stop = Some(DataStop::Buffer);
                    return;
                }
            }
            let plain_end = ended == Some(End::Plain);
            let verdict = self.call(filter, |filter, context| match direction {
                Direction::Request => filter.request_body(context, plain_end),
                Direction::Response => filter.response_body(context, plain_end),
            });
            let resumed = self.core.actions.any && self.core.actions.continues(direction);
            match self.after_callback(filter) {
                Flow::On | Flow::Again => {}
                Flow::Diverted => return,
            }
            let limit = self.buffer_limit(filter);
            let verdict = verdict.filter(|_| !self.has_failed(filter));
            let hold = self.core.message_mut(direction).side.hold(position);
            let verdict = match verdict.unwrap_or_default() {
                DataVerdict::StopIterationNoBuffer => {
                    hold.body.clear();
                    if resumed {
                        DataVerdict::Continue
                    } else {
                        DataVerdict::StopIterationNoBuffer
                    }
                }
                _ if resumed => DataVerdict::Continue,
                verdict => verdict,
            };
            let stop = match verdict {
                DataVerdict::Continue => None,
                DataVerdict::StopIterationAndBuffer => Some(DataStop::Buffer),
                DataVerdict::StopIterationAndWatermark => Some(DataStop::Watermark),
                DataVerdict::StopIterationNoBuffer => Some(DataStop::NoBuffer),
            };
            hold.stop = stop;
            if stop == Some(DataStop::Buffer) && hold.body.len() as u64 > limit {
                return self.overflow(direction);
            }
            if stop.is_some() {
                return self.run_injected(filter);
            }
            frame = std::mem::take(&mut hold.body);
            end = hold.end.take();
            // Added trailers change how the message ends.
            if end == Some(End::Plain)
                && self.core.message(direction).trailers.presence() == Presence::Here
            {
                end = Some(End::Trailers);
            }
            self.let_head_go(direction, position);
            self.append_injected(direction, &mut frame, &mut end);
            if end == Some(End::Trailers) && plain_end_was_asked(ended) {
                // Trailers that this filter made itself: it has nothing to see of them.
                self.pass_frame(direction, position + 1, frame, None);
                return self.pass_trailers(direction, position + 1);
            }
            if ended == Some(End::Trailers) {
                self.pass_frame(direction, position + 1, frame, None);
                return self.pass_trailers(direction, position);
            }
            position += 1;
        }
    }

    /// Lets trailers go on from a position.
    pub(super) fn pass_trailers(&mut self, direction: Direction, mut position: usize) {
        loop {
            let len = self.core.chain.len();
            let side = &mut self.core.message_mut(direction).side;
            if side.aborted || side.cut_at.is_some_and(|cut| position >= cut) {
                return;
            }
            if position >= len && side.released {
                side.out_end = Some(End::Trailers);
                self.core
                    .message_mut(direction)
                    .trailers
                    .set_presence(Presence::Released);
                return;
            }
            let Some(filter) = self.core.chain.filter_at(direction, position) else {
                return;
            };
            let at_head = position >= self.core.message(direction).side.at;
            let stops_all = self.core.message(direction).side.stops_all();
            // A filter that wants the whole body has it now.
            let side = &self.core.message(direction).side;
            let hold = side.holds.get(position);
            if (side.at == position && side.stop.is_some()
                || hold.is_some_and(|hold| hold.stop == Some(DataStop::Buffer)))
                && hold.is_none_or(|hold| hold.end.is_none())
                && !(at_head && stops_all)
                && self.keeps_whole_body(direction, filter)
            {
                return self.pass_frame(
                    direction,
                    position,
                    BodyBuffer::default(),
                    Some(End::Trailers),
                );
            }
            let called = self.is_called(direction, filter, trailers_of(direction));
            let side = &mut self.core.message_mut(direction).side;
            let data_waits = side
                .holds
                .get(position)
                .is_some_and(|hold| hold.stop.is_some());
            if at_head && (stops_all || !called) || data_waits && !called {
                side.hold(position).end = Some(End::Trailers);
                return;
            }
            if called {
                let hold = side.hold(position);
                hold.end = Some(End::Trailers);
                hold.trailers_seen = true;
                let verdict = self.call(filter, |filter, context| match direction {
                    Direction::Request => filter.request_trailers(context),
                    Direction::Response => filter.response_trailers(context),
                });
                let resumed = self.core.actions.any && self.core.actions.continues(direction);
                if self.after_callback(filter) == Flow::Diverted {
                    return;
                }
                if verdict == Some(TrailersVerdict::StopIteration)
                    && !resumed
                    && !self.has_failed(filter)
                {
                    let hold = self.core.message_mut(direction).side.hold(position);
                    hold.stop.get_or_insert(DataStop::Watermark);
                    return self.run_injected(filter);
                }
                let hold = self.core.message_mut(direction).side.hold(position);
                hold.stop = None;
                hold.end = None;
                let mut frame = std::mem::take(&mut hold.body);
                self.let_head_go(direction, position);
                self.append_injected(direction, &mut frame, &mut None);
                self.pass_frame(direction, position + 1, frame, None);
            }
            position += 1;
        }
    }

    /// A filter said that what waits at it may go on.
    pub(super) fn resume(&mut self, direction: Direction, filter: usize) {
        let position = self.core.chain.position_of(direction, filter);
        let side = &mut self.core.message_mut(direction).side;
        if side.aborted || !side.begun {
            return;
        }
        let unseen = side.at == position && side.stops_all();
        let head_waits = side.at == position && side.stop.is_some();
        if !head_waits
            && side
                .holds
                .get(position)
                .is_none_or(|hold| hold.stop.is_none())
        {
            // It waits for nothing: a second continue, or one too many.
            return;
        }
        let hold = side.hold(position);
        hold.stop = None;
        let mut frame = std::mem::take(&mut hold.body);
        let end = hold.end.take();
        let trailers_seen = std::mem::take(&mut hold.trailers_seen);
        if head_waits {
            // A body that the filter gives to a message without one: the head must know of it before it goes.
            if self.core.message(direction).side.head_end {
                self.run_injected(filter);
            }
            self.let_head_go(direction, position);
        }
        if unseen {
            // What came while all was stopped was not shown to the filter yet.
            if end == Some(End::Trailers) {
                self.pass_frame(direction, position, frame, None);
                return self.pass_trailers(direction, position);
            }
            return self.pass_frame(direction, position, frame, end);
        }
        let mut end = end;
        if end == Some(End::Plain)
            && self.core.message(direction).trailers.presence() == Presence::Here
        {
            end = Some(End::Trailers);
        }
        self.append_injected(direction, &mut frame, &mut end);
        if end == Some(End::Trailers) {
            self.pass_frame(direction, position + 1, frame, None);
            let from = if trailers_seen {
                position + 1
            } else {
                position
            };
            return self.pass_trailers(direction, from);
        }
        self.pass_frame(direction, position + 1, frame, end);
    }

    /// Carries out what a callback asked for, but for what depends on its verdict.
    #[inline]
    fn after_callback(&mut self, filter: usize) -> Flow {
        if self.core.actions.any {
            self.carry_out(filter)
        } else {
            Flow::On
        }
    }

    fn carry_out(&mut self, filter: usize) -> Flow {
        let injected = std::mem::take(&mut self.core.actions.injected);
        let mut actions = self.core.actions.take();
        if let Some(error) = actions.fail.take()
            && let Some(fault) = self.note_failure(filter, &error)
        {
            self.core.info.flags.add(fault.flags());
            let reply = fault.reply(self.core.listener.local_reply);
            self.answer(reply, Some(filter));
            return Flow::Diverted;
        }
        if let Some(wants) = actions.forgone {
            self.forgo(filter, wants);
        }
        if actions.terminate {
            self.core.abandon();
            self.core.info.details = std::borrow::Cow::Borrowed("terminated_by_filter");
            return Flow::Diverted;
        }
        if let Some(reply) = actions.local_reply.take() {
            self.answer(*reply, Some(filter));
            return Flow::Diverted;
        }
        if actions.skip_phase {
            self.skip_phase(filter);
        }
        if actions.rematch_route || actions.rechoose_host {
            match self.match_again(actions.rematch_route) {
                Ok(()) => return Flow::Again,
                Err(why) => {
                    self.not_forwarded(why);
                    return Flow::Diverted;
                }
            }
        }
        // The verdict's code looks at the continues itself; those of the other direction are for here.
        self.core.actions.injected = injected;
        self.core.actions.any = !self.core.actions.injected.is_empty();
        if actions.continue_request && !self.is_running(Direction::Request, filter) {
            self.resume(Direction::Request, filter);
        }
        if actions.continue_response && !self.is_running(Direction::Response, filter) {
            self.resume(Direction::Response, filter);
        }
        if self.core.over {
            Flow::Diverted
        } else {
            Flow::On
        }
    }

    /// After a callback that has no verdict.
    pub(super) fn settle(&mut self, filter: usize) {
        if !self.core.actions.any {
            return;
        }
        match self.after_callback(filter) {
            Flow::Diverted => return,
            // The filter is called again by its head's way on.
            Flow::Again => {
                let side = &mut self.core.request.side;
                if side.at == self.core.chain.position_of(Direction::Request, filter) {
                    side.stop = None;
                    self.run_head(Direction::Request);
                }
                return;
            }
            Flow::On => {}
        }
        // A filter that failed open lets go what waits at it.
        if self.has_failed(filter) {
            self.resume(Direction::Request, filter);
            self.resume(Direction::Response, filter);
        }
        self.run_injected(filter);
    }

    /// Whether the callback of this filter that just ran was one of this direction's passage, whose code handles the
    /// continue itself: then nothing waits at the filter yet.
    fn is_running(&self, direction: Direction, filter: usize) -> bool {
        let position = self.core.chain.position_of(direction, filter);
        let side = &self.core.message(direction).side;
        !(side.at == position && side.stop.is_some()
            || side
                .holds
                .get(position)
                .is_some_and(|hold| hold.stop.is_some()))
    }

    fn skip_phase(&mut self, filter: usize) {
        let Some(phase) = self.core.chain.places.get(filter).map(|place| place.phase) else {
            return;
        };
        let end = self.core.chain.end_of(phase);
        let from = self.core.chain.position_of(Direction::Request, filter) + 1;
        for position in from..end {
            if let Some(slot) = self
                .core
                .chain
                .filter_at(Direction::Request, position)
                .and_then(|filter| self.slots.get_mut(filter))
            {
                slot.skipped = true;
            }
        }
    }

    fn match_again(&mut self, route: bool) -> Result<(), NotForwarded> {
        self.core.rematches += 1;
        if self.core.rematches > MOST_REMATCHES {
            return Err(Fault::TooManyRematches.into());
        }
        if route {
            self.core.clear_route();
            self.core.resolve_route();
            return Ok(());
        }
        self.core.choose_host()
    }

    /// Lets a head that was stopped at a position go on.
    fn let_head_go(&mut self, direction: Direction, position: usize) {
        let side = &mut self.core.message_mut(direction).side;
        if side.at == position && side.stop.take().is_some() {
            side.at = position + 1;
            self.run_head(direction);
        }
    }

    /// Keeps a frame at a position whose filter is not called.
    fn keep(
        &mut self,
        direction: Direction,
        position: usize,
        filter: usize,
        frame: &mut BodyBuffer,
        end: Option<End>,
    ) {
        let limit = self.buffer_limit(filter);
        let side = &mut self.core.message_mut(direction).side;
        let limited = side.stop == Some(HeadStop::AllAndBuffer);
        let hold = side.hold(position);
        hold.body.append(frame);
        hold.end = hold.end.or(end);
        if limited && hold.body.len() as u64 > limit {
            self.overflow(direction);
        }
    }

    /// A filter had to keep more than its limit.
    fn overflow(&mut self, direction: Direction) {
        self.fault(&match direction {
            Direction::Request => Fault::RequestTooLarge,
            Direction::Response => Fault::ResponseTooLarge,
        });
    }

    /// Sends on what a filter injected, from behind it.
    #[inline]
    fn run_injected(&mut self, filter: usize) {
        // The usual callback asked for nothing.
        if self.core.actions.any {
            self.pass_injected(filter);
        }
    }

    fn pass_injected(&mut self, filter: usize) {
        while !self.core.actions.injected.is_empty() {
            let injected = self.core.actions.injected.remove(0);
            let position = self.core.chain.position_of(injected.direction, filter) + 1;
            let side = &mut self.core.message_mut(injected.direction).side;
            if side.head_end && !side.released && !side.aborted {
                side.head_end = false;
                side.late.push((position, injected.bytes, injected.end));
                continue;
            }
            if !side.late.is_empty() {
                side.late.push((position, injected.bytes, injected.end));
                continue;
            }
            self.pass_data(
                injected.direction,
                position,
                injected.bytes,
                injected.end.then_some(End::Plain),
            );
        }
        if !has_wishes(&self.core.actions) {
            self.core.actions.any = false;
        }
    }

    /// Adds what a filter injected to the frame that goes on from it.
    fn append_injected(
        &mut self,
        direction: Direction,
        frame: &mut BodyBuffer,
        end: &mut Option<End>,
    ) {
        let injected = &mut self.core.actions.injected;
        for piece in injected.extract_if(.., |piece| piece.direction == direction) {
            frame.push(piece.bytes);
            if piece.end {
                *end = Some(End::Plain);
            }
        }
    }

    /// Whether the message is over with its head as far as this filter is concerned. A tunnel is never whole: who wants
    /// bodies only so is told what there was besides.
    fn ends_for(&self, direction: Direction, filter: usize) -> bool {
        self.core.message(direction).side.head_end || self.is_past(direction, filter)
    }

    /// Whether what follows the head is a tunnel, and this filter one that wants whole bodies.
    fn is_past(&self, direction: Direction, filter: usize) -> bool {
        self.core.message(direction).tunnel.is_some()
            && self.whole_body_limit(direction, filter).is_some()
    }

    fn has_failed(&self, filter: usize) -> bool {
        self.slots.get(filter).is_some_and(|slot| slot.failed)
    }

    fn whole_body_limit(&self, direction: Direction, filter: usize) -> Option<u64> {
        let wants = &self.slots.get(filter)?.generation.as_ref()?.wants;
        match direction {
            Direction::Request => wants.whole_request_body,
            Direction::Response => wants.whole_response_body,
        }
    }

    /// Whether bodies of this direction are kept at this filter until they are whole.
    fn keeps_whole_body(&self, direction: Direction, filter: usize) -> bool {
        self.whole_body_limit(direction, filter).is_some()
            && self.is_called(direction, filter, body_of(direction))
    }

    fn buffer_limit(&self, filter: usize) -> u64 {
        self.slots
            .get(filter)
            .and_then(|slot| slot.generation.as_ref())
            .map_or(0, |generation| generation.wants.buffer_limit)
    }
}

fn has_wishes(actions: &super::actions::Actions) -> bool {
    actions.fail.is_some()
        || actions.terminate
        || actions.local_reply.is_some()
        || actions.skip_phase
        || actions.rematch_route
        || actions.rechoose_host
        || actions.continue_request
        || actions.continue_response
}

fn plain_end_was_asked(end: Option<End>) -> bool {
    end == Some(End::Plain)
}

fn body_of(direction: Direction) -> Wants {
    match direction {
        Direction::Request => Wants::REQUEST_BODY,
        Direction::Response => Wants::RESPONSE_BODY,
    }
}

fn trailers_of(direction: Direction) -> Wants {
    match direction {
        Direction::Request => Wants::REQUEST_TRAILERS,
        Direction::Response => Wants::RESPONSE_TRAILERS,
    }
}
