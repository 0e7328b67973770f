//! One request and its response, past one filter, by the proxy's rules.
//!
//! ```text
//!  client ── request ──▶ filter ──▶ upstream
//!         ◀── response ─ filter ◀── answer given in `Answers`
//! ```

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::{Ready, Work, WorkError};
use crate::v1::{
    self, Action, Answer, CalloutDone, CalloutError, CalloutResponse, ChangeFields, Complete, Data,
    DataVerdict, Direction, Event, Field, Headers, HeadersVerdict, SharedResult, StreamBegin,
    Trailers, Value, action, callout_done, event, shared, to_plugin,
};

/// How long a filter may wait for something that never comes.
const LONGEST: Duration = Duration::from_secs(10);

/// What the world answers to a filter.
#[derive(Clone, Debug, Default)]
pub struct Answers {
    /// The host's attributes.
    pub attributes: BTreeMap<String, Value>,
    /// The configuration of the route, as JSON.
    pub route_config: String,
    /// What clusters answer to callouts; `UNAVAILABLE` for any other.
    pub callouts: BTreeMap<String, CalloutResponse>,
    /// Shared data, with versions.
    pub shared: BTreeMap<String, (Vec<u8>, u32)>,
    /// The upstream's answer.
    pub response: Sent,
}

/// A message: its headers (pseudo-headers first), the pieces of its body, its trailers.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Sent {
    /// Names and values.
    pub headers: Vec<(String, String)>,
    /// Pieces as they come.
    pub body: Vec<Vec<u8>>,
    /// Names and values.
    pub trailers: Vec<(String, String)>,
}

impl Sent {
    /// The first value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self.headers.iter();
        headers
            .find(|(other, _)| other.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    /// The body in one piece.
    pub fn whole_body(&self) -> Vec<u8> {
        self.body.concat()
    }
}

/// An answer of the filter's own.
pub type Reply = v1::LocalReply;

/// What became of a request.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// What reached the upstream; `None` if nothing did.
    pub request: Option<Sent>,
    /// What reached the client; `None` if the stream was ended without an answer.
    pub response: Option<Sent>,
    /// The filter's own answer, if it gave one.
    pub reply: Option<Reply>,
    /// Why the filter failed, if it did.
    pub failure: Option<String>,
    /// Dynamic metadata that it set: namespace, key, value.
    pub metadata: Vec<(String, String, Option<Value>)>,
    /// What it logged: level, text.
    pub logs: Vec<(i32, String)>,
    /// What it counted: number of the metric, amount.
    pub metrics: Vec<(u32, i64)>,
    /// Callouts that it made.
    pub callouts: Vec<v1::HttpCall>,
    /// Any other action, in its order.
    pub others: Vec<action::Action>,
    /// Each callback's verdict.
    pub verdicts: Vec<i32>,
}

/// An exchange under way.
pub struct Exchange<'w> {
    work: &'w mut Work,
    needs: v1::Needs,
    stream: u64,
    answers: Answers,
    outcome: Outcome,
    request: Side,
    response: Side,
    over: bool,
    timers: BTreeMap<u64, Instant>,
    pending: Vec<event::Event>,
}

/// One direction.
#[derive(Default)]
struct Side {
    headers: Vec<Field>,
    trailers: Vec<Field>,
    /// What waits at the filter.
    held: Vec<u8>,
    /// What went on.
    body: Vec<Vec<u8>>,
    /// What the callback that runs shows.
    replaced: Option<Vec<u8>>,
    stopped: Stop,
    resumed: bool,
    has_trailers: bool,
}

#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
enum Stop {
    #[default]
    No,
    /// The headers wait; body and trailers come to the filter.
    Headers,
    /// All waits.
    All,
    /// A body waits, or was taken.
    Data,
    /// Trailers wait.
    Trailers,
}

const REQUEST: i32 = Direction::Request as i32;

impl<'w> Exchange<'w> {
    /// Has a request pass the filter of a use, and its response come back.
    pub async fn run(
        work: &'w mut Work,
        used: &Ready,
        request: Sent,
        answers: Answers,
    ) -> Result<Outcome, WorkError> {
        let wanted = |name: &String| used.needs.attributes.contains(name);
        let attributes = answers.attributes.iter().filter(|(name, _)| wanted(name));
        let stream = work.begin(StreamBegin {
            use_id: used.id,
            attributes: attributes
                .map(|(name, value)| (name.clone(), value.clone()))
                .collect(),
            route_config: answers.route_config.clone().into_bytes(),
        });
        let response = answers.response.clone();
        let mut exchange = Self {
            work,
            needs: used.needs.clone(),
            stream,
            answers,
            outcome: Outcome::default(),
            request: Side::default(),
            response: Side::default(),
            over: false,
            timers: BTreeMap::new(),
            pending: Vec::new(),
        };
        exchange.pass(Direction::Request, request).await?;
        if !exchange.over {
            exchange.outcome.request = Some(exchange.side(REQUEST).sent());
        }
        let response = match (&exchange.outcome.reply, &exchange.outcome.failure) {
            (_, Some(_)) => Some(plain("500", b"")),
            (Some(reply), None) => Some(of_reply(reply)),
            (None, None) if exchange.over => None,
            (None, None) => Some(response),
        };
        if let Some(response) = response {
            exchange.over = false;
            exchange.pass(Direction::Response, response).await?;
            if !exchange.over || exchange.outcome.reply.is_some() {
                exchange.outcome.response = Some(exchange.side(1).sent());
            }
        }
        exchange.complete().await?;
        Ok(exchange.outcome)
    }

    fn side(&mut self, direction: i32) -> &mut Side {
        if direction == REQUEST {
            &mut self.request
        } else {
            &mut self.response
        }
    }

    /// Has one message pass.
    async fn pass(&mut self, direction: Direction, message: Sent) -> Result<(), WorkError> {
        let number = direction as i32;
        let bits = if number == REQUEST { 0 } else { 3 };
        let wants = |needs: &v1::Needs, bit: u32| needs.callbacks & (1 << (bits + bit)) != 0;
        let whole = match direction {
            Direction::Request => self.needs.whole_request_body,
            Direction::Response => self.needs.whole_response_body,
        };
        let pieces = if whole > 0 && !message.body.is_empty() {
            vec![message.whole_body()]
        } else {
            message.body.clone()
        };
        let trailers = fields(&message.trailers);
        let end = pieces.is_empty() && trailers.is_empty();
        self.side(number).headers = fields(&message.headers);
        self.side(number).has_trailers = !trailers.is_empty();
        if wants(&self.needs, 0) {
            let shown = self.shown(number);
            let answer = self
                .call(to_plugin::Message::Headers(Headers {
                    direction: number,
                    fields: shown,
                    end,
                    begin: None,
                }))
                .await?;
            self.side(number).stopped = match HeadersVerdict::try_from(answer.verdict) {
                Ok(HeadersVerdict::HeadersContinue) => Stop::No,
                Ok(HeadersVerdict::HeadersStopIteration) => Stop::Headers,
                Ok(HeadersVerdict::HeadersContinueAndEndStream) => {
                    self.settle(answer).await?;
                    return Ok(());
                }
                Ok(_) => Stop::All,
                Err(_) => return Err(unknown(&answer)),
            };
            self.settle(answer).await?;
            if self.over_here() {
                return Ok(());
            }
            let stopped = self.side(number).stopped;
            if stopped == Stop::All || (stopped == Stop::Headers && end) {
                self.wait(number).await?;
            }
        }
        let last = pieces.len().saturating_sub(1);
        for (place, piece) in pieces.into_iter().enumerate() {
            if self.over_here() {
                return Ok(());
            }
            let end = place == last && trailers.is_empty();
            if !wants(&self.needs, 1) {
                self.side(number).body.push(piece);
                continue;
            }
            self.side(number).held.extend_from_slice(&piece);
            let data = self.side(number).held.clone();
            let answer = self
                .call(to_plugin::Message::Data(Data {
                    direction: number,
                    data,
                    end,
                }))
                .await?;
            let verdict = DataVerdict::try_from(answer.verdict).map_err(|_| unknown(&answer))?;
            self.settle(answer).await?;
            let side = self.side(number);
            if let Some(replaced) = side.replaced.take() {
                side.held = replaced;
            }
            match verdict {
                DataVerdict::DataContinue => side.release(),
                DataVerdict::DataStopIterationNoBuffer => {
                    side.held.clear();
                    side.stopped = Stop::Data;
                }
                _ => side.stopped = Stop::Data,
            }
            if side.resumed {
                side.release();
            }
            if end && self.side(number).stopped != Stop::No {
                self.wait(number).await?;
            }
        }
        if trailers.is_empty() || self.over_here() {
            return Ok(());
        }
        self.side(number).trailers = trailers;
        if wants(&self.needs, 2) {
            let fields = self.side(number).trailers.clone();
            let answer = self
                .call(to_plugin::Message::Trailers(Trailers {
                    direction: number,
                    fields,
                }))
                .await?;
            let stops = answer.verdict != 0;
            self.settle(answer).await?;
            let side = self.side(number);
            if stops {
                side.stopped = Stop::Trailers;
            } else {
                side.release();
            }
        }
        if self.side(number).stopped != Stop::No {
            self.wait(number).await?;
        }
        Ok(())
    }

    /// The headers that the filter asked for.
    fn shown(&mut self, direction: i32) -> Vec<Field> {
        let asked = if direction == REQUEST {
            self.needs.request_headers.clone()
        } else {
            self.needs.response_headers.clone()
        };
        let mut fields = self.side(direction).headers.clone();
        if !asked.is_empty() {
            fields.retain(|field| asked.iter().any(|name| is(field, name.as_bytes())));
        }
        fields
    }

    fn over_here(&self) -> bool {
        self.over || self.outcome.failure.is_some()
    }

    async fn call(&mut self, message: to_plugin::Message) -> Result<Answer, WorkError> {
        let callback = self.work.call(self.stream, message);
        // Code that blocks in a callback has its callouts ended while the callback waits for its answer.
        let end = Instant::now() + LONGEST;
        loop {
            let left = Duration::from_millis(20);
            let answered = tokio::time::timeout(left, self.work.answer(callback)).await;
            match answered {
                Ok(answer) => return answer,
                Err(_) if Instant::now() > end => {
                    return Err(WorkError::Silent("the filter's answer".to_owned()));
                }
                Err(_) => {
                    let early = self.work.early_actions(self.stream);
                    self.apply(early);
                    for event in std::mem::take(&mut self.pending) {
                        self.work.call(
                            self.stream,
                            to_plugin::Message::Event(Event { event: Some(event) }),
                        );
                    }
                }
            }
        }
    }

    /// Does what an answer asks for, and what that leads to at once.
    async fn settle(&mut self, answer: Answer) -> Result<(), WorkError> {
        self.outcome.verdicts.push(answer.verdict);
        self.apply(answer.actions);
        let early = self.work.early_actions(self.stream);
        self.apply(early);
        self.deliver().await
    }

    /// Tells of what has ended by now.
    async fn deliver(&mut self) -> Result<(), WorkError> {
        while !self.pending.is_empty() && !self.over_here() {
            let event = self.pending.remove(0);
            let event = Event { event: Some(event) };
            let callback = self
                .work
                .call(self.stream, to_plugin::Message::Event(event));
            let answer = self.work.answer(callback).await?;
            self.apply(answer.actions);
        }
        Ok(())
    }

    /// Waits until the filter lets this direction go.
    async fn wait(&mut self, direction: i32) -> Result<(), WorkError> {
        let end = Instant::now() + LONGEST;
        loop {
            if self.over_here() {
                return Ok(());
            }
            if std::mem::take(&mut self.side(direction).resumed) {
                let side = self.side(direction);
                side.release();
                return Ok(());
            }
            if !self.pending.is_empty() {
                self.deliver().await?;
                continue;
            }
            let next = self.timers.iter().min_by_key(|(_, at)| **at);
            let next = next.map(|(timer, at)| (*timer, *at));
            let until = next.map_or(end, |(_, at)| at.min(end));
            let time = until.saturating_duration_since(Instant::now());
            match self.work.next_within(time).await? {
                Some((stream, _, answer)) if stream == self.stream => self.apply(answer.actions),
                // Of a stream that has gone: what it still says is dropped.
                Some(_) => {}
                None => match next {
                    Some((timer, at)) if at <= Instant::now() => {
                        self.timers.remove(&timer);
                        self.pending.push(event::Event::Timer(timer));
                    }
                    _ if Instant::now() >= end => {
                        return Err(WorkError::Silent(
                            "the filter stopped the stream and does not let it go on".to_owned(),
                        ));
                    }
                    _ => {}
                },
            }
        }
    }

    fn apply(&mut self, actions: Vec<Action>) {
        for action in actions.into_iter().filter_map(|action| action.action) {
            self.apply_one(action);
        }
    }

    fn apply_one(&mut self, action: action::Action) {
        use action::Action as A;
        match action {
            A::Fields(change) => self.change(&change),
            A::Body(body) => self.side(body.direction).replaced = Some(body.data),
            A::Resume(direction) => self.side(direction).resumed = true,
            A::Inject(inject) => {
                let side = self.side(inject.direction);
                side.body.push(inject.data);
            }
            A::LocalReply(reply) => {
                self.over = true;
                self.outcome.reply = Some(reply);
            }
            A::Terminate(_) => self.over = true,
            A::Fail(text) => self.outcome.failure = Some(text),
            A::Metadata(set) => self
                .outcome
                .metadata
                .push((set.namespace, set.key, set.value)),
            A::Log(log) => self.outcome.logs.push((log.level, log.message)),
            A::Metric(count) => self.outcome.metrics.push((count.metric, count.amount)),
            A::Timer(timer) => {
                let at = Instant::now() + Duration::from_millis(timer.after_ms);
                self.timers.insert(timer.timer, at);
            }
            A::CancelTimer(timer) => drop(self.timers.remove(&timer)),
            A::HttpCall(call) => {
                let answer = self.answers.callouts.get(&call.cluster).cloned();
                self.end_callout(call.callout, answer);
                self.outcome.callouts.push(call);
            }
            A::GrpcCall(call) => {
                let answer = self.answers.callouts.get(&call.cluster).cloned();
                self.end_callout(call.callout, answer);
            }
            A::Shared(operation) => self.shared(operation),
            other => self.outcome.others.push(other),
        }
    }

    fn end_callout(&mut self, callout: u64, answer: Option<CalloutResponse>) {
        let result = match answer {
            Some(response) => callout_done::Result::Response(response),
            None => callout_done::Result::Error(CalloutError::Unavailable.into()),
        };
        self.pending.push(event::Event::Callout(CalloutDone {
            callout,
            result: Some(result),
        }));
    }

    fn shared(&mut self, shared: v1::Shared) {
        let data = &mut self.answers.shared;
        let result = match shared.operation {
            Some(shared::Operation::Get(key)) => {
                let found = data.get(&key);
                SharedResult {
                    version: found.map_or(0, |(_, version)| *version),
                    value: found.map(|(value, _)| value.clone()),
                    key,
                    done: true,
                }
            }
            Some(shared::Operation::Set(set)) => {
                let there = data.get(&set.key).map_or(0, |(_, version)| *version);
                let done = set.version.is_none_or(|version| version == there);
                match (done, set.value) {
                    (true, Some(value)) => {
                        data.insert(set.key.clone(), (value, there + 1));
                    }
                    (true, None) => drop(data.remove(&set.key)),
                    (false, _) => {}
                }
                SharedResult {
                    key: set.key,
                    value: None,
                    version: 0,
                    done,
                }
            }
            None => return,
        };
        self.pending.push(event::Event::Shared(result));
    }

    fn change(&mut self, change: &ChangeFields) {
        let fields = match v1::HeaderMap::try_from(change.map) {
            Ok(v1::HeaderMap::RequestHeaders) => &mut self.request.headers,
            Ok(v1::HeaderMap::RequestTrailers) => &mut self.request.trailers,
            Ok(v1::HeaderMap::ResponseHeaders) => &mut self.response.headers,
            Ok(v1::HeaderMap::ResponseTrailers) => &mut self.response.trailers,
            Err(_) => return,
        };
        for name in &change.remove {
            fields.retain(|field| !is(field, name));
        }
        for new in &change.set {
            match fields.iter().position(|field| is(field, &new.name)) {
                Some(place) => {
                    let mut index = 0;
                    fields.retain(|field| {
                        index += 1;
                        index - 1 <= place || !is(field, &new.name)
                    });
                    if let Some(field) = fields.get_mut(place) {
                        field.value.clone_from(&new.value);
                    }
                }
                None => fields.push(new.clone()),
            }
        }
        fields.extend(change.add.iter().cloned());
    }

    /// The stream's end.
    async fn complete(&mut self) -> Result<(), WorkError> {
        if self.needs.callbacks & 64 == 0 {
            let gone = v1::Gone { reason: None };
            self.work.tell(self.stream, to_plugin::Message::Gone(gone));
            return Ok(());
        }
        let complete = Complete::default();
        let message = to_plugin::Message::Complete(complete);
        let callback = self.work.call(self.stream, message);
        let answer = self.work.answer(callback).await?;
        self.apply(answer.actions);
        Ok(())
    }
}

impl Side {
    /// What waits goes on.
    fn release(&mut self) {
        if !self.held.is_empty() {
            self.body.push(std::mem::take(&mut self.held));
        }
        self.stopped = Stop::No;
        self.resumed = false;
    }

    fn sent(&mut self) -> Sent {
        Sent {
            headers: texts(&self.headers),
            body: std::mem::take(&mut self.body),
            trailers: texts(&self.trailers),
        }
    }
}

fn unknown(answer: &Answer) -> WorkError {
    WorkError::Broken(format!("there is no verdict {}", answer.verdict))
}

fn is(field: &Field, name: &[u8]) -> bool {
    field.name.eq_ignore_ascii_case(name)
}

fn fields(pairs: &[(String, String)]) -> Vec<Field> {
    let field = |(name, value): &(String, String)| Field {
        name: name.clone().into_bytes(),
        value: value.clone().into_bytes(),
    };
    pairs.iter().map(field).collect()
}

fn texts(fields: &[Field]) -> Vec<(String, String)> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let pair = |field: &Field| (text(&field.name), text(&field.value));
    fields.iter().map(pair).collect()
}

fn plain(status: &str, body: &[u8]) -> Sent {
    Sent {
        headers: vec![(":status".to_owned(), status.to_owned())],
        body: if body.is_empty() {
            Vec::new()
        } else {
            vec![body.to_vec()]
        },
        trailers: Vec::new(),
    }
}

fn of_reply(reply: &Reply) -> Sent {
    let mut sent = plain(&reply.status.to_string(), &reply.body);
    sent.headers.extend(texts(&reply.headers));
    sent
}
