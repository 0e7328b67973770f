//! A connection's filter in another process.

use std::rc::Rc;

use transom_api::verdict::NetworkVerdict;
use transom_api::{
    Connection, Direction, Event, FilterError, Level, NetworkFilter, ResetReason, Resumer, TimerId,
};

use super::actions::{Fault, Told, UnderWay};
use super::link::{Link, Mail};
use super::pool::{Admitted, Pool};
use super::wire::{self, field};
use crate::supervise::Outcome;
use crate::v1::{Action, Answer, action};

/// The filter of one connection.
pub(super) struct RemoteNetworkFilter {
    pool: Rc<Pool>,
    bound: Option<Bound>,
    /// The connection's begin: not sent yet, sent, answered.
    begin: Begin,
    sides: [Side; 2],
    call: Option<Call>,
    callbacks: u64,
    under_way: UnderWay,
    resumer: Option<Resumer>,
    waits: Option<TimerId>,
    /// A process has ended that had the connection's begin.
    sent_again: bool,
    over: bool,
}

struct Bound {
    link: Rc<Link>,
    number: u64,
}

struct Call {
    number: u64,
    what: What,
    permit: Admitted,
    resumed: [bool; 2],
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum What {
    Begin,
    Bytes(Direction),
}

#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
enum Begin {
    #[default]
    Idle,
    Due,
    Shown,
    Stopped,
    Gone,
}

#[derive(Default)]
struct Side {
    approved: usize,
    shown: usize,
    due: bool,
    ended: bool,
    end_shown: bool,
    stopped: bool,
}

enum Flow {
    On,
    Over,
}

impl RemoteNetworkFilter {
    pub(super) fn new(pool: Rc<Pool>) -> Self {
        Self {
            pool,
            bound: None,
            begin: Begin::Idle,
            sides: [Side::default(), Side::default()],
            call: None,
            callbacks: 0,
            under_way: UnderWay::default(),
            resumer: None,
            waits: None,
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

    fn bytes(
        &mut self,
        connection: &mut Connection<'_>,
        direction: Direction,
        end: bool,
    ) -> NetworkVerdict {
        if self.over {
            return NetworkVerdict::Continue;
        }
        let waits = connection.bytes(direction).len();
        let side = self.side(direction);
        side.ended |= end;
        if waits > side.shown || side.ended && !side.end_shown {
            side.due = true;
        }
        self.pump(connection);
        self.stop()
    }

    fn stop(&self) -> NetworkVerdict {
        match self.over {
            true => NetworkVerdict::Continue,
            false => NetworkVerdict::StopIteration,
        }
    }

    fn pump(&mut self, connection: &mut Connection<'_>) {
        while self.call.is_none() && !self.over && self.waits.is_none() {
            let what = if self.begin == Begin::Due {
                What::Begin
            } else {
                let due = [Direction::Request, Direction::Response]
                    .into_iter()
                    .find(|direction| self.side(*direction).due);
                match due {
                    Some(direction) => What::Bytes(direction),
                    None => return,
                }
            };
            if let Err(error) = self.send(connection, what) {
                return self.give_up(connection, error);
            }
        }
    }

    fn send(&mut self, connection: &mut Connection<'_>, what: What) -> Result<(), FilterError> {
        if self.bound.is_none() {
            let Some(link) = self.pool.choose() else {
                return self.wait(connection, None);
            };
            let Some(number) = link.begin(self.resumer(connection)) else {
                return self.wait(connection, None);
            };
            self.bound = Some(Bound { link, number });
        }
        let Some(bound) = &self.bound else {
            return Ok(());
        };
        let (link, number) = (Rc::clone(&bound.link), bound.number);
        let Some(permit) = self.pool.admit(&link, number) else {
            return self.wait(connection, None);
        };
        let callback = self.callbacks + 1;
        let shared = &self.pool.shared;
        let sent = match what {
            What::Begin => link.call(number, callback, 0, |it| {
                it.nested(field::CONNECTION_BEGIN, |it| {
                    it.number(1, shared.used.id);
                    for name in &shared.used.needs.attributes {
                        if let Some(value) = connection.attribute(name) {
                            it.attribute(2, name, &value);
                        }
                    }
                });
            }),
            What::Bytes(direction) => {
                let [request, response] = &self.sides;
                let side = match direction {
                    Direction::Request => request,
                    Direction::Response => response,
                };
                let body = connection.bytes(direction);
                let length = body.len().saturating_sub(side.approved);
                link.call(number, callback, length, |it| {
                    it.nested(field::BYTES, |it| {
                        it.direction(direction);
                        it.body(2, body, side.approved, length);
                        it.number(3, u64::from(side.ended));
                    });
                })
            }
        };
        if sent.is_err() {
            drop(permit);
            return self.wait(connection, Some(&link));
        }
        self.callbacks = callback;
        match what {
            What::Begin => self.begin = Begin::Shown,
            What::Bytes(direction) => {
                let waits = connection.bytes(direction).len();
                let side = self.side(direction);
                side.due = false;
                side.shown = waits;
                side.end_shown = side.ended;
            }
        }
        self.call = Some(Call {
            number: callback,
            what,
            permit,
            resumed: [false; 2],
        });
        Ok(())
    }

    fn resumer(&mut self, connection: &mut Connection<'_>) -> Resumer {
        self.resumer
            .get_or_insert_with(|| connection.resumer())
            .clone()
    }

    fn wait(
        &mut self,
        connection: &mut Connection<'_>,
        link: Option<&Link>,
    ) -> Result<(), FilterError> {
        let number = self.bound.as_ref().map_or(0, |bound| bound.number);
        let waits = match link {
            Some(link) if link.waiting() < self.pool.shared.queue => {
                link.wait(number);
                true
            }
            Some(_) => false,
            None => {
                if matches!(self.begin, Begin::Idle | Begin::Due)
                    && let Some(bound) = self.bound.take()
                {
                    bound.link.end(bound.number);
                }
                let resumer = self.resumer(connection);
                self.pool.wait(resumer)
            }
        };
        if !waits {
            return Err(FilterError::unavailable(format!(
                "the plugin `{}` has no room, and as many callbacks wait for it as `bounds.queue` allows",
                self.name()
            )));
        }
        self.waits = Some(connection.set_timer(self.pool.patience()));
        Ok(())
    }

    fn name(&self) -> &str {
        self.pool.shared.used.plugin.name()
    }

    fn wake(&mut self, connection: &mut Connection<'_>) {
        if let Some(timer) = self.waits.take() {
            connection.cancel_timer(timer);
            self.pump(connection);
            if self.waits.is_none() {
                self.pool.room();
            }
        }
    }

    fn give_up(&mut self, connection: &mut Connection<'_>, error: FilterError) {
        connection.fail(error);
        self.finish(ResetReason::Local);
    }

    /// Ends what the plugin has of the connection.
    fn finish(&mut self, by: ResetReason) {
        self.over = true;
        self.call = None;
        if self.waits.take().is_some() {
            self.pool.room();
        }
        if let Some(bound) = self.bound.take() {
            if !matches!(self.begin, Begin::Idle | Begin::Due) {
                bound.link.tell(bound.number, 0, |it| {
                    it.nested(field::CLOSED, |it| it.number(1, wire::reason(by) as u64));
                });
            }
            bound.link.end(bound.number);
            self.pool.room();
        }
    }

    fn mail(&mut self, connection: &mut Connection<'_>) {
        while !self.over
            && let Some(bound) = &self.bound
            && let Some(mail) = bound.link.take(bound.number)
        {
            match mail {
                Mail::Answer(callback, answer) => self.answer(connection, callback, answer),
                Mail::Actions(actions) => {
                    let outcome = self.carry_out(connection, actions);
                    self.settle(connection, outcome);
                }
                Mail::Credit => self.wake(connection),
                Mail::Late(callback) => {
                    if let Some(call) = self.call.take_if(|call| call.number == callback) {
                        call.permit.end(Outcome::Timeout);
                        let message = format!(
                            "the plugin `{}` has not answered within {} ms",
                            self.name(),
                            self.pool.shared.time.as_millis()
                        );
                        connection.fail(FilterError::unavailable(message));
                        self.finish(ResetReason::Timeout);
                    }
                }
                Mail::Broken(why) => {
                    if let Some(call) = self.call.take() {
                        call.permit.end(Outcome::Error);
                    }
                    self.settle(connection, Err(why));
                }
                Mail::Lost => self.lost(connection),
            }
        }
    }

    fn lost(&mut self, connection: &mut Connection<'_>) {
        if let Some(bound) = self.bound.take() {
            bound.link.end(bound.number);
        }
        if let Some(call) = self.call.take() {
            call.permit.end(Outcome::Lost);
        }
        if self.begin == Begin::Shown && !self.sent_again {
            // Nobody has seen more of it than its begin: another process may. Once: it may be what they die of.
            self.sent_again = true;
            self.begin = Begin::Due;
        }
        if self.begin == Begin::Due {
            return self.pump(connection);
        }
        self.over = true;
        connection.fail(FilterError::unavailable(format!(
            "a process of the plugin `{}` ended while it had the connection",
            self.name()
        )));
    }

    fn answer(&mut self, connection: &mut Connection<'_>, callback: u64, answer: Answer) {
        let Some(call) = self.call.take_if(|call| call.number == callback) else {
            let outcome = self.carry_out(connection, answer.actions);
            return self.settle(connection, outcome);
        };
        let failed = answer
            .actions
            .iter()
            .any(|action| matches!(action.action, Some(action::Action::Fail(_))));
        call.permit.end(match failed {
            true => Outcome::Error,
            false => Outcome::Ok,
        });
        self.pool.room();
        let verdict = answer.verdict;
        let outcome = self
            .carry_out(connection, answer.actions)
            .and_then(|flow| match flow {
                Flow::Over => Ok(Flow::Over),
                Flow::On => {
                    self.verdict(connection, call.what, verdict)?;
                    for direction in [Direction::Request, Direction::Response] {
                        if call.resumed.get(direction as usize) == Some(&true) {
                            self.resume(connection, direction);
                        }
                    }
                    Ok(Flow::On)
                }
            });
        self.settle(connection, outcome);
    }

    fn settle(&mut self, connection: &mut Connection<'_>, outcome: Result<Flow, Fault>) {
        match outcome {
            Ok(Flow::On) => self.pump(connection),
            Ok(Flow::Over) => {}
            Err(fault) => {
                let message = format!("the plugin `{}` broke the protocol: {fault}", self.name());
                self.give_up(connection, FilterError::broken(message));
            }
        }
    }

    fn verdict(
        &mut self,
        connection: &mut Connection<'_>,
        what: What,
        verdict: i32,
    ) -> Result<(), Fault> {
        let verdict = NetworkVerdict::from_number(verdict)
            .ok_or_else(|| format!("it answered with the unknown verdict {verdict}"))?;
        match (what, verdict) {
            (What::Begin, NetworkVerdict::Continue) => {
                self.begin = Begin::Gone;
                self.release(connection, Direction::Request);
            }
            (What::Begin, NetworkVerdict::StopIteration) => self.begin = Begin::Stopped,
            (What::Bytes(direction), NetworkVerdict::Continue) => {
                let side = self.side(direction);
                side.approved = side.shown;
                side.stopped = false;
                self.release(connection, direction);
            }
            (What::Bytes(direction), NetworkVerdict::StopIteration) => {
                self.side(direction).stopped = true;
            }
        }
        Ok(())
    }

    fn resume(&mut self, connection: &mut Connection<'_>, direction: Direction) {
        if let Some(call) = &mut self.call {
            let concerns = match call.what {
                What::Begin => Direction::Request,
                What::Bytes(direction) => direction,
            };
            if concerns == direction {
                if let Some(resumed) = call.resumed.get_mut(direction as usize) {
                    *resumed = true;
                }
                return;
            }
        }
        if direction == Direction::Request && self.begin == Begin::Stopped {
            self.begin = Begin::Gone;
        }
        let side = self.side(direction);
        side.stopped = false;
        side.approved = side.shown;
        self.release(connection, direction);
    }

    fn release(&mut self, connection: &mut Connection<'_>, direction: Direction) {
        if direction == Direction::Request && self.begin != Begin::Gone {
            return;
        }
        let waits = connection.bytes(direction).len();
        let side = self.side(direction);
        if side.stopped {
            return;
        }
        if side.approved < waits || side.ended && !side.end_shown {
            side.due = true;
            return;
        }
        side.approved = 0;
        side.shown = 0;
        match direction {
            Direction::Request => connection.continue_reading(),
            Direction::Response => connection.continue_writing(),
        }
    }

    fn carry_out(
        &mut self,
        connection: &mut Connection<'_>,
        actions: Vec<Action>,
    ) -> Result<Flow, Fault> {
        let mut told = Vec::new();
        let mut flow = Flow::On;
        for action in actions {
            let Some(action) = action.action else {
                return Err("an action that this host does not know".to_owned());
            };
            let shared = &self.pool.shared;
            let rest = self
                .under_way
                .carry_out(connection, shared, action, &mut told)?;
            let Some(action) = rest else { continue };
            if let Flow::Over = self.act(connection, action)? {
                flow = Flow::Over;
                break;
            }
        }
        for told in told {
            self.event(|it| match &told {
                Told::Callout(number, error) => it.callout(2, *number, &Err(error.clone())),
                Told::Shared(key, result) => it.shared(4, key, result),
            });
        }
        Ok(flow)
    }

    /// An action that only connections have.
    fn act(
        &mut self,
        connection: &mut Connection<'_>,
        action: action::Action,
    ) -> Result<Flow, Fault> {
        match action {
            action::Action::Body(body) => {
                let direction = direction(body.direction)?;
                let waits = connection.bytes(direction).len();
                let side = self.side(direction);
                let range = side.approved.min(waits)..side.shown.min(waits);
                side.shown = range.start + body.data.len();
                connection
                    .bytes_mut(direction)
                    .splice(range, &body.data)
                    .map_err(|error| format!("it replaced bytes: {error}"))?;
            }
            action::Action::Resume(number) => {
                let direction = direction(number)?;
                self.resume(connection, direction);
            }
            action::Action::Inject(inject) => {
                let direction = direction(inject.direction)?;
                connection.inject(direction, &inject.data, inject.end);
            }
            action::Action::Terminate(_) => {
                connection.close();
                self.finish(ResetReason::Local);
                return Ok(Flow::Over);
            }
            action::Action::Reset(_) => {
                connection.reset();
                self.finish(ResetReason::Local);
                return Ok(Flow::Over);
            }
            action::Action::ChooseCluster(cluster) => connection.choose_cluster(&cluster),
            action::Action::Fail(why) => {
                let message = format!("the plugin `{}` failed: {why}", self.name());
                self.give_up(connection, FilterError::broken(message));
                return Ok(Flow::Over);
            }
            _ => connection.log(
                Level::Warn,
                "an action of streams does nothing on a connection",
            ),
        }
        Ok(Flow::On)
    }

    fn event(&mut self, write: impl FnOnce(&mut wire::Message<'_>)) {
        if matches!(self.begin, Begin::Idle | Begin::Due) {
            return;
        }
        if let Some(bound) = &self.bound {
            self.callbacks += 1;
            bound.link.tell(bound.number, self.callbacks, |it| {
                it.nested(field::EVENT, write);
            });
        }
    }
}

impl NetworkFilter for RemoteNetworkFilter {
    fn on_new_connection(&mut self, connection: &mut Connection<'_>) -> NetworkVerdict {
        self.begin = Begin::Due;
        self.pump(connection);
        self.stop()
    }

    fn on_data(&mut self, connection: &mut Connection<'_>, end: bool) -> NetworkVerdict {
        self.bytes(connection, Direction::Request, end)
    }

    fn on_write(&mut self, connection: &mut Connection<'_>, end: bool) -> NetworkVerdict {
        self.bytes(connection, Direction::Response, end)
    }

    fn on_event(&mut self, connection: &mut Connection<'_>, event: Event) {
        match event {
            Event::Resumed(message) if message.token == super::pool::ROOM => self.wake(connection),
            Event::Resumed(_) => self.mail(connection),
            Event::Timer(timer) => {
                if self.waits.take_if(|waits| *waits == timer).is_some() {
                    let message = format!(
                        "the plugin `{}` had no room for {} ms or more",
                        self.name(),
                        self.pool.shared.queue_time.as_millis()
                    );
                    self.give_up(connection, FilterError::unavailable(message));
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
            _ => {}
        }
    }

    fn on_close(&mut self, _connection: &mut Connection<'_>, by: ResetReason) {
        self.finish(by);
    }
}

impl Drop for RemoteNetworkFilter {
    fn drop(&mut self) {
        self.finish(ResetReason::Local);
    }
}

fn direction(number: i32) -> Result<Direction, Fault> {
    match number {
        0 => Ok(Direction::Request),
        1 => Ok(Direction::Response),
        _ => Err(format!("there is no direction {number}")),
    }
}
