//! A stream's filter in another process.
//!
//! Each callback is sent and answered with a stop verdict; what waits, waits in the proxy, and nothing is copied but what is sent. The plugin's
//! answer comes as an event, and then the actions are carried out and what waited goes on.
//!
//! ```text
//!            head            data
//!  callback ─▶ Due ─ sent ─▶ Shown ─ answer ─▶ Gone | Stopped (resume) ─▶ Gone
//!                            shown ─ answer ─▶ approved ─ all of it ─▶ goes on
//! ```

mod act;

use std::rc::Rc;

use transom_api::verdict::{DataVerdict, HeadersVerdict, TrailersVerdict};
use transom_api::{
    Direction, Event, FilterError, HeaderMap, Level, Released, ResetReason, Resumer, Stream,
    StreamFilter, TimerId, Wants,
};

use super::actions::{Fault, UnderWay};
use super::link::{Link, Mail};
use super::pool::{Admitted, Pool};
use super::uses::RouteJson;
use super::wire::{self, field};
use crate::supervise::Outcome;
use crate::v1::{Answer, action};

/// The filter of one stream.
pub(super) struct RemoteFilter {
    pool: Rc<Pool>,
    bound: Option<Bound>,
    sides: [Side; 2],
    call: Option<Call>,
    callbacks: u64,
    under_way: UnderWay,
    resumer: Option<Resumer>,
    waits: Option<Waits>,
    /// Which attributes the plugin has been told, by their places in `Needs.attributes`.
    known: u64,
    reset: Option<ResetReason>,
    /// A process has ended that had the stream's first callback.
    sent_again: bool,
    /// Nothing more is asked of the plugin.
    over: bool,
}

/// The stream's place on a link.
struct Bound {
    link: Rc<Link>,
    stream: u64,
    begun: bool,
    /// The plugin has answered something: it has a state that another process has not.
    answered: bool,
}

/// A callback that is not answered yet.
struct Call {
    number: u64,
    direction: Direction,
    what: What,
    permit: Admitted,
    /// The plugin has said meanwhile that what waits may go on.
    resumed: bool,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum What {
    Head,
    Data,
    Trailers,
}

/// The stream waits for a place at the plugin, at most until the timer has run out.
struct Waits {
    timer: TimerId,
}

/// One direction.
#[derive(Default)]
struct Side {
    head: Step,
    head_end: bool,
    /// The plugin's verdict on the head stops the body too.
    stops_all: bool,
    /// Bytes at the front of what waits here that may go on.
    approved: usize,
    /// Bytes that were shown, those that were approved included.
    shown: usize,
    data: Due,
    ended: bool,
    end_shown: bool,
    /// The verdict that keeps what was shown.
    kept: Option<DataVerdict>,
    trailers: Step,
    /// What still comes in this direction is dropped.
    cut: bool,
}

#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
enum Step {
    #[default]
    Idle,
    Due,
    Shown,
    Stopped,
    Gone,
}

#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
enum Due {
    #[default]
    No,
    Yes,
}

/// Whether to go on with an answer's actions.
enum Flow {
    On,
    Over,
}

impl RemoteFilter {
    pub(super) fn new(pool: Rc<Pool>) -> Self {
        Self {
            pool,
            bound: None,
            sides: [Side::default(), Side::default()],
            call: None,
            callbacks: 0,
            under_way: UnderWay::default(),
            resumer: None,
            waits: None,
            known: 0,
            reset: None,
            sent_again: false,
            over: false,
        }
    }

    fn side(&mut self, direction: Direction) -> &mut Side {
        let [request, response] = &mut self.sides;
        match direction {
            Direction::Request => request,
            Direction::Response => response,
        }
    }

    fn head(&mut self, stream: &mut Stream<'_>, direction: Direction, end: bool) -> HeadersVerdict {
        if self.over {
            return HeadersVerdict::Continue;
        }
        let side = self.side(direction);
        side.head = Step::Due;
        side.head_end = end;
        self.pump(stream);
        // A body that the plugin sees comes to this filter while the head waits; any other is kept up to the watermark.
        match self.sees_body(direction) && !end {
            _ if self.over => HeadersVerdict::Continue,
            true => HeadersVerdict::StopIteration,
            false => HeadersVerdict::StopAllIterationAndWatermark,
        }
    }

    fn sees_body(&self, direction: Direction) -> bool {
        let wants = self.pool.shared.wants;
        match direction {
            Direction::Request => wants.contains(Wants::REQUEST_BODY),
            Direction::Response => wants.contains(Wants::RESPONSE_BODY),
        }
    }

    fn data(&mut self, stream: &mut Stream<'_>, direction: Direction, end: bool) -> DataVerdict {
        if self.over {
            return DataVerdict::Continue;
        }
        let waits = stream.body(direction).len();
        let side = self.side(direction);
        if side.cut {
            return DataVerdict::StopIterationNoBuffer;
        }
        side.ended |= end;
        if waits > side.shown || end && !side.end_shown {
            side.data = Due::Yes;
        }
        self.pump(stream);
        let over = self.over;
        match self.side(direction).kept {
            _ if over => DataVerdict::Continue,
            Some(DataVerdict::StopIterationAndBuffer) => DataVerdict::StopIterationAndBuffer,
            _ => DataVerdict::StopIterationAndWatermark,
        }
    }

    fn trailers(&mut self, stream: &mut Stream<'_>, direction: Direction) -> TrailersVerdict {
        if self.over {
            return TrailersVerdict::Continue;
        }
        self.side(direction).trailers = Step::Due;
        self.pump(stream);
        match self.over {
            true => TrailersVerdict::Continue,
            false => TrailersVerdict::StopIteration,
        }
    }

    /// Sends the next callback that is due, unless one is under way.
    fn pump(&mut self, stream: &mut Stream<'_>) {
        while self.call.is_none() && !self.over && self.waits.is_none() {
            let due = [Direction::Request, Direction::Response]
                .into_iter()
                .find_map(|direction| Some((direction, self.side(direction).next()?)));
            let Some((direction, what)) = due else { return };
            if let Err(error) = self.send(stream, direction, what) {
                return self.give_up(stream, error);
            }
        }
    }

    fn send(
        &mut self,
        stream: &mut Stream<'_>,
        direction: Direction,
        what: What,
    ) -> Result<(), FilterError> {
        let Some(bound) = self.bind(stream)? else {
            return Ok(());
        };
        let link = Rc::clone(&bound.link);
        let (number, begins) = (bound.stream, !bound.begun);
        let Some(permit) = self.pool.admit(&link, number) else {
            return self.wait(stream, None);
        };
        let callback = self.callbacks + 1;
        let shared = &self.pool.shared;
        let needs = &shared.used.needs;
        let mut known = self.known;
        let side = match direction {
            Direction::Request => &self.sides[0],
            Direction::Response => &self.sides[1],
        };
        let sent = match what {
            What::Head => {
                let (map, names) = match direction {
                    Direction::Request => (HeaderMap::RequestHeaders, &needs.request_headers),
                    Direction::Response => (HeaderMap::ResponseHeaders, &needs.response_headers),
                };
                let end = side.head_end;
                link.call(number, callback, 0, |it| {
                    it.nested(field::HEADERS, |it| {
                        it.direction(direction);
                        let headers = stream.headers(map);
                        if names.is_empty() {
                            for (name, value) in headers.iter() {
                                it.header(2, &name, &value);
                            }
                        }
                        for name in names {
                            for value in headers.get_all(name) {
                                it.header(2, name.as_bytes(), &value);
                            }
                        }
                        it.number(3, u64::from(end));
                        if begins {
                            it.nested(4, |it| {
                                begin(it, stream, shared.used.id, &needs.attributes, &mut known);
                            });
                        }
                    });
                })
            }
            What::Data => {
                let waits = stream.body(direction).len();
                let (from, end) = (side.approved, side.ended);
                let length = waits.saturating_sub(from);
                if length > shared.message_size {
                    return Err(FilterError::broken(format!(
                        "{length} bytes of a body wait for the plugin, and `bounds.message_size` is {}",
                        shared.message_size
                    )));
                }
                if begins {
                    link.tell(number, 0, |it| {
                        it.nested(field::STREAM_BEGIN, |it| {
                            begin(it, stream, shared.used.id, &needs.attributes, &mut known);
                        });
                    });
                }
                link.call(number, callback, length, |it| {
                    it.nested(field::DATA, |it| {
                        it.direction(direction);
                        it.body(2, stream.body(direction), from, length);
                        it.number(3, u64::from(end));
                    });
                })
            }
            What::Trailers => {
                if begins {
                    link.tell(number, 0, |it| {
                        it.nested(field::STREAM_BEGIN, |it| {
                            begin(it, stream, shared.used.id, &needs.attributes, &mut known);
                        });
                    });
                }
                let map = match direction {
                    Direction::Request => HeaderMap::RequestTrailers,
                    Direction::Response => HeaderMap::ResponseTrailers,
                };
                link.call(number, callback, 0, |it| {
                    it.nested(field::TRAILERS, |it| {
                        it.direction(direction);
                        for (name, value) in stream.headers(map).iter() {
                            it.header(2, &name, &value);
                        }
                    });
                })
            }
        };
        if sent.is_err() {
            drop(permit);
            return self.wait(stream, Some(&link));
        }
        self.known = known;
        self.callbacks = callback;
        if let Some(bound) = &mut self.bound {
            bound.begun = true;
        }
        let shown = stream.body(direction).len();
        let side = self.side(direction);
        match what {
            What::Head => side.head = Step::Shown,
            What::Data => {
                side.data = Due::No;
                side.shown = shown;
                side.end_shown = side.ended;
            }
            What::Trailers => side.trailers = Step::Shown,
        }
        self.call = Some(Call {
            number: callback,
            direction,
            what,
            permit,
            resumed: false,
        });
        Ok(())
    }

    /// The stream's place on a link. `None`: it waits for one.
    fn bind(&mut self, stream: &mut Stream<'_>) -> Result<Option<&Bound>, FilterError> {
        if self.bound.is_none() {
            let Some(link) = self.pool.choose() else {
                self.wait(stream, None)?;
                return Ok(None);
            };
            let resumer = self.resumer(stream);
            let Some(number) = link.begin(resumer) else {
                self.wait(stream, None)?;
                return Ok(None);
            };
            self.bound = Some(Bound {
                link,
                stream: number,
                begun: false,
                answered: false,
            });
        }
        Ok(self.bound.as_ref())
    }

    fn resumer(&mut self, stream: &mut Stream<'_>) -> Resumer {
        self.resumer.get_or_insert_with(|| stream.resumer()).clone()
    }

    /// Has the stream wait for credit of a link, or for a place at any process.
    fn wait(&mut self, stream: &mut Stream<'_>, link: Option<&Link>) -> Result<(), FilterError> {
        let number = self.bound.as_ref().map_or(0, |bound| bound.stream);
        let waits = match link {
            Some(link) if link.waiting() < self.pool.shared.queue => {
                link.wait(number);
                true
            }
            Some(_) => false,
            None => {
                // A stream that the plugin does not know yet may go to another process.
                self.unbind_unless_begun();
                let resumer = self.resumer(stream);
                self.pool.wait(resumer)
            }
        };
        if !waits {
            return Err(FilterError::unavailable(format!(
                "the plugin `{}` has no room, and as many callbacks wait for it as `bounds.queue` allows",
                self.pool.shared.used.plugin.name()
            )));
        }
        let timer = stream.set_timer(self.pool.patience());
        self.waits = Some(Waits { timer });
        Ok(())
    }

    fn unbind_unless_begun(&mut self) {
        if let Some(bound) = self.bound.take_if(|bound| !bound.begun) {
            bound.link.end(bound.stream);
        }
    }

    /// There may be a place now.
    fn wake(&mut self, stream: &mut Stream<'_>) {
        if let Some(waits) = self.waits.take() {
            stream.cancel_timer(waits.timer);
            self.pump(stream);
            if self.waits.is_none() {
                // Somebody else may find room as well.
                self.pool.room();
            }
        }
    }

    fn give_up(&mut self, stream: &mut Stream<'_>, error: FilterError) {
        stream.fail(error);
        self.finish(None);
    }

    /// Ends what the plugin has of the stream.
    fn finish(&mut self, reason: Option<ResetReason>) {
        self.over = true;
        self.call = None;
        if self.waits.take().is_some() {
            // It may have been woken and never looked.
            self.pool.room();
        }
        if let Some(bound) = self.bound.take() {
            if bound.begun {
                bound.link.tell(bound.stream, 0, |it| {
                    it.nested(field::GONE, |it| {
                        it.optional(1, reason.map(|reason| wire::reason(reason) as u64));
                    });
                });
            }
            bound.link.end(bound.stream);
            self.pool.room();
        }
    }

    fn mail(&mut self, stream: &mut Stream<'_>) {
        while !self.over
            && let Some(bound) = &self.bound
            && let Some(mail) = bound.link.take(bound.stream)
        {
            match mail {
                Mail::Answer(callback, answer) => self.answer(stream, callback, answer),
                Mail::Actions(actions) => {
                    let outcome = self.carry_out(stream, actions);
                    self.settle(stream, outcome);
                }
                Mail::Credit => self.wake(stream),
                Mail::Late(callback) => self.late(stream, callback),
                Mail::Broken(why) => {
                    if let Some(call) = self.call.take() {
                        call.permit.end(Outcome::Error);
                    }
                    self.settle(stream, Err(why));
                }
                Mail::Lost => self.lost(stream),
            }
        }
    }

    fn answer(&mut self, stream: &mut Stream<'_>, callback: u64, answer: Answer) {
        let Answer {
            actions,
            verdict,
            done,
        } = answer;
        if let Some(bound) = &mut self.bound {
            bound.answered = true;
        }
        let Some(call) = self.call.take_if(|call| call.number == callback) else {
            // Of an event.
            let outcome = self.carry_out(stream, actions);
            return self.settle(stream, outcome);
        };
        let failed = actions
            .iter()
            .any(|action| matches!(action.action, Some(action::Action::Fail(_))));
        call.permit.end(match failed {
            true => Outcome::Error,
            false => Outcome::Ok,
        });
        self.pool.room();
        let outcome = self.carry_out(stream, actions).and_then(|flow| match flow {
            Flow::Over => Ok(Flow::Over),
            Flow::On => {
                self.verdict(stream, call.direction, call.what, verdict)?;
                if call.resumed {
                    self.resume(stream, call.direction);
                }
                Ok(Flow::On)
            }
        });
        if done && let Some(bound) = self.bound.take() {
            // The plugin has nothing of it any more: it is told nothing.
            bound.link.end(bound.stream);
            if outcome.is_ok() {
                self.over = true;
                // What came while it had the stream has nobody to be shown to.
                if self.side(Direction::Request).data == Due::Yes {
                    stream.continue_request();
                }
                if self.side(Direction::Response).data == Due::Yes {
                    stream.continue_response();
                }
            }
        }
        self.settle(stream, outcome);
    }

    fn settle(&mut self, stream: &mut Stream<'_>, outcome: Result<Flow, Fault>) {
        match outcome {
            Ok(Flow::On) => self.pump(stream),
            Ok(Flow::Over) => {}
            Err(fault) => {
                let message = format!(
                    "the plugin `{}` broke the protocol: {fault}",
                    self.pool.shared.used.plugin.name()
                );
                self.give_up(stream, FilterError::broken(message));
            }
        }
    }

    fn verdict(
        &mut self,
        stream: &mut Stream<'_>,
        direction: Direction,
        what: What,
        verdict: i32,
    ) -> Result<(), Fault> {
        let unknown = || format!("it answered with the unknown verdict {verdict}");
        match what {
            What::Head => {
                let verdict = HeadersVerdict::from_number(verdict).ok_or_else(unknown)?;
                let side = self.side(direction);
                side.head = Step::Stopped;
                match verdict {
                    HeadersVerdict::Continue => {
                        side.head = Step::Gone;
                        self.release(stream, direction);
                    }
                    HeadersVerdict::ContinueAndEndStream => {
                        side.head = Step::Gone;
                        side.cut = true;
                        let done = stream.end_with_headers(direction);
                        tell(stream, done, "CONTINUE_AND_END_STREAM");
                    }
                    HeadersVerdict::StopIteration => {}
                    HeadersVerdict::StopAllIterationAndBuffer => {
                        side.stops_all = true;
                        side.kept = Some(DataVerdict::StopIterationAndBuffer);
                    }
                    HeadersVerdict::StopAllIterationAndWatermark => side.stops_all = true,
                }
            }
            What::Data => {
                let verdict = DataVerdict::from_number(verdict).ok_or_else(unknown)?;
                let side = self.side(direction);
                match verdict {
                    DataVerdict::Continue => {
                        side.approved = side.shown;
                        side.kept = None;
                        // The head goes on with the first data that does.
                        if side.head == Step::Stopped {
                            side.head = Step::Gone;
                        }
                        self.release(stream, direction);
                    }
                    DataVerdict::StopIterationNoBuffer => {
                        let range = side.approved..side.shown;
                        side.shown = side.approved;
                        side.kept = Some(verdict);
                        stream
                            .body_mut(direction)
                            .splice(range, [])
                            .map_err(|error| {
                                format!("it took a piece of the body away: {error}")
                            })?;
                    }
                    verdict => side.kept = Some(verdict),
                }
            }
            What::Trailers => {
                let verdict = TrailersVerdict::from_number(verdict).ok_or_else(unknown)?;
                let side = self.side(direction);
                side.trailers = match verdict {
                    TrailersVerdict::Continue => Step::Gone,
                    TrailersVerdict::StopIteration => Step::Stopped,
                };
                if verdict == TrailersVerdict::Continue {
                    // As of the interface: what waits before the trailers goes with them.
                    self.resume(stream, direction);
                }
            }
        }
        Ok(())
    }

    /// The plugin lets go what it has stopped.
    fn resume(&mut self, stream: &mut Stream<'_>, direction: Direction) {
        if let Some(call) = &mut self.call
            && call.direction == direction
        {
            call.resumed = true;
            return;
        }
        let side = self.side(direction);
        if side.head == Step::Stopped {
            side.head = Step::Gone;
        }
        if side.trailers == Step::Stopped {
            side.trailers = Step::Gone;
        }
        side.stops_all = false;
        side.kept = None;
        side.approved = side.shown;
        self.release(stream, direction);
    }

    /// Lets go what waits in a direction, if all of it may.
    fn release(&mut self, stream: &mut Stream<'_>, direction: Direction) {
        let waits = stream.body(direction).len();
        let sees_body = self.sees_body(direction);
        let side = self.side(direction);
        let waiting = |step: Step| matches!(step, Step::Due | Step::Shown | Step::Stopped);
        if waiting(side.head) || waiting(side.trailers) || side.kept.is_some() {
            return;
        }
        if sees_body && (side.approved < waits || side.ended && !side.end_shown) {
            // What has come meanwhile is shown first; it goes on together.
            side.data = Due::Yes;
            return;
        }
        side.approved = 0;
        side.shown = 0;
        match direction {
            Direction::Request => stream.continue_request(),
            Direction::Response => stream.continue_response(),
        }
    }

    fn late(&mut self, stream: &mut Stream<'_>, callback: u64) {
        let Some(call) = self.call.take_if(|call| call.number == callback) else {
            return;
        };
        call.permit.end(Outcome::Timeout);
        let shared = &self.pool.shared;
        stream.fail(FilterError::unavailable(format!(
            "the plugin `{}` has not answered within {} ms",
            shared.used.plugin.name(),
            shared.time.as_millis()
        )));
        self.finish(Some(ResetReason::Timeout));
    }

    /// The process has ended, or its link.
    fn lost(&mut self, stream: &mut Stream<'_>) {
        let Some(bound) = self.bound.take() else {
            return;
        };
        bound.link.end(bound.stream);
        let call = self.call.take();
        // Nobody has seen more of the stream than this callback: another process may see it from the beginning. Once: it may be what they
        // die of.
        let again = !bound.begun || call.is_some() && !bound.answered && !self.sent_again;
        self.sent_again |= bound.begun;
        if let Some(call) = call {
            if again {
                self.side(call.direction).forget(call.what);
            }
            call.permit.end(Outcome::Lost);
        }
        if again {
            self.known = 0;
            return self.pump(stream);
        }
        self.over = true;
        if self.is_through() {
            return;
        }
        stream.fail(FilterError::unavailable(format!(
            "a process of the plugin `{}` ended while it had the stream",
            self.pool.shared.used.plugin.name()
        )));
    }
}

impl RemoteFilter {
    /// Whether the plugin has let go all that it asked to see: then nobody misses its process.
    fn is_through(&self) -> bool {
        let wants = self.pool.shared.wants;
        let [request, response] = &self.sides;
        request.is_through(
            wants.contains(Wants::REQUEST_HEADERS),
            wants.contains(Wants::REQUEST_BODY) || wants.contains(Wants::REQUEST_TRAILERS),
        ) && response.is_through(
            wants.contains(Wants::RESPONSE_HEADERS),
            wants.contains(Wants::RESPONSE_BODY) || wants.contains(Wants::RESPONSE_TRAILERS),
        )
    }
}

impl Side {
    fn is_through(&self, sees_head: bool, sees_more: bool) -> bool {
        let waits = |step| matches!(step, Step::Due | Step::Shown | Step::Stopped);
        if waits(self.head) || waits(self.trailers) || self.kept.is_some() || self.data == Due::Yes
        {
            return false;
        }
        let head = !sees_head || self.head == Step::Gone;
        let ended = self.head_end || self.end_shown || self.trailers == Step::Gone;
        head && (!sees_more || ended && self.shown == self.approved)
    }

    /// What was shown is to be shown again.
    fn forget(&mut self, what: What) {
        match what {
            What::Head => self.head = Step::Due,
            What::Data => {
                self.data = Due::Yes;
                self.shown = self.approved;
                self.end_shown = false;
            }
            What::Trailers => self.trailers = Step::Due,
        }
    }

    /// What is to be sent next.
    fn next(&self) -> Option<What> {
        if self.head == Step::Due {
            return Some(What::Head);
        }
        if self.head == Step::Shown || self.head == Step::Stopped && self.stops_all {
            return None;
        }
        if self.data == Due::Yes {
            return Some(What::Data);
        }
        (self.trailers == Step::Due).then_some(What::Trailers)
    }
}

impl StreamFilter for RemoteFilter {
    fn request_headers(&mut self, stream: &mut Stream<'_>, end: bool) -> HeadersVerdict {
        self.head(stream, Direction::Request, end)
    }

    fn request_body(&mut self, stream: &mut Stream<'_>, end: bool) -> DataVerdict {
        self.data(stream, Direction::Request, end)
    }

    fn request_trailers(&mut self, stream: &mut Stream<'_>) -> TrailersVerdict {
        self.trailers(stream, Direction::Request)
    }

    fn response_headers(&mut self, stream: &mut Stream<'_>, end: bool) -> HeadersVerdict {
        self.head(stream, Direction::Response, end)
    }

    fn response_body(&mut self, stream: &mut Stream<'_>, end: bool) -> DataVerdict {
        self.data(stream, Direction::Response, end)
    }

    fn response_trailers(&mut self, stream: &mut Stream<'_>) -> TrailersVerdict {
        self.trailers(stream, Direction::Response)
    }

    fn on_event(&mut self, stream: &mut Stream<'_>, event: Event) {
        match event {
            Event::Resumed(message) if message.token == super::pool::ROOM => self.wake(stream),
            Event::Resumed(_) => self.mail(stream),
            Event::Timer(timer) => {
                if self.waits.take_if(|waits| waits.timer == timer).is_some() {
                    let shared = &self.pool.shared;
                    let message = format!(
                        "the plugin `{}` had no room for {} ms or more",
                        shared.used.plugin.name(),
                        shared.queue_time.as_millis()
                    );
                    self.give_up(stream, FilterError::unavailable(message));
                } else if let Some(number) = self.under_way.timer(timer) {
                    self.event(|it| it.optional(1, Some(number)));
                }
            }
            Event::Callout(done) => {
                if let Some(number) = self.under_way.callout(done.id) {
                    self.event(|it| it.callout(2, number, &done.result));
                }
            }
            Event::Watermark { direction, above } => self.event(|it| {
                it.nested(3, |it| {
                    it.direction(direction);
                    it.number(2, u64::from(above));
                });
            }),
            Event::Drain => self.event(|it| it.nested(5, |_| {})),
            Event::Reset(reason) => self.reset = Some(reason),
            _ => {}
        }
    }

    fn on_stream_complete(&mut self, stream: &mut Stream<'_>) {
        if self.over {
            return;
        }
        // Of a process that has no room the end is not awaited.
        let Ok(Some(bound)) = self.bind(stream) else {
            return;
        };
        let (link, number, begins) = (Rc::clone(&bound.link), bound.stream, !bound.begun);
        let shared = &self.pool.shared;
        let needs = &shared.used.needs;
        let mut known = self.known;
        if begins {
            link.tell(number, 0, |it| {
                it.nested(field::STREAM_BEGIN, |it| {
                    begin(it, stream, shared.used.id, &needs.attributes, &mut known);
                });
            });
        }
        self.callbacks += 1;
        let reset = self.reset;
        link.tell(number, self.callbacks, |it| {
            it.nested(field::COMPLETE, |it| {
                attributes(it, 1, stream, &needs.attributes, &mut known);
                it.optional(2, reset.map(|reason| wire::reason(reason) as u64));
            });
        });
        // It ends with this: no Gone follows.
        link.end(number);
        self.bound = None;
        self.over = true;
    }
}

impl Drop for RemoteFilter {
    fn drop(&mut self) {
        self.finish(self.reset);
    }
}

/// What begins a stream.
fn begin(
    it: &mut wire::Message<'_>,
    stream: &Stream<'_>,
    use_id: u64,
    names: &[String],
    known: &mut u64,
) {
    it.number(1, use_id);
    attributes(it, 2, stream, names, known);
    if let Some(RouteJson(json)) = stream.route_config::<RouteJson>()
        && !json.is_empty()
    {
        it.bytes(3, json);
    }
}

/// The attributes that are known and were not told yet.
fn attributes(
    it: &mut wire::Message<'_>,
    field: u32,
    stream: &Stream<'_>,
    names: &[String],
    known: &mut u64,
) {
    for (at, name) in names.iter().enumerate() {
        let bit = 1u64.checked_shl(at as u32).unwrap_or(0);
        if *known & bit == 0
            && let Some(value) = stream.attribute(name)
        {
            it.attribute(field, name, &value);
            *known |= bit;
        }
    }
}

/// Says in the log that an action came too late.
fn tell(stream: &Stream<'_>, done: Result<(), Released>, what: &str) {
    if done.is_err() {
        stream.log(
            Level::Warn,
            &format!("{what} did nothing: it came after the headers had gone on"),
        );
    }
}
