//! A `Work` stream between one worker and one process of a plugin, with many streams and connections on it.
//!
//! Everything here lives on one worker. Filters write what they send into one buffer; a task of HTTP/2 takes what has gathered there
//! as one frame, so that many callbacks leave with one write. What comes is read by the link's own task, put before the filter that it is for,
//! and the filter is woken as any other.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes, BytesMut};
use http::header::{CONTENT_TYPE, HeaderValue, TE};
use http_body::{Body, Frame};
use prost::Message as _;
use tokio::time::Sleep;
use tower_service::Service;
use transom_api::Resumer;

use super::wire::{self, field};
use crate::supervise::{Hold, Instance, Permit, Refused};
use crate::v1::{Action, Answer, ToHost, action, to_host};

/// What a plugin may send before more is granted: answers and actions, and bytes of bodies in them.
const GRANTED: (u64, u64) = (1 << 16, 16 << 20);

/// One `Work` stream.
pub(super) struct Link {
    instance: Arc<Instance>,
    out: Arc<Mutex<Out>>,
    state: RefCell<State>,
    /// Woken when a deadline is to be watched and none was.
    task: RefCell<Option<Waker>>,
    time: Duration,
    /// How much longer the answers of a process may take that has yet to warm up.
    warm_up: Duration,
    message_size: usize,
    /// Both sides have said Hello.
    open: Cell<bool>,
    ended: Cell<bool>,
}

/// What waits to leave. Locked on its worker only; a lock because HTTP/2's parts ask for `Send`.
#[derive(Default)]
struct Out {
    buffer: BytesMut,
    waker: Option<Waker>,
    ended: bool,
}

#[derive(Default)]
struct State {
    /// What the plugin has granted.
    messages: u64,
    bytes: i64,
    /// What the plugin has used of its own grant.
    used: (u64, u64),
    entries: Vec<Entry>,
    free: Vec<u32>,
    /// Who waits for credit.
    waiting: VecDeque<u64>,
    /// Callbacks in the order in which they were sent: all have the same time for their answers.
    sent: VecDeque<Sent>,
    /// Those that were sent while the process had yet to warm up, and have longer.
    cold: VecDeque<Sent>,
    watched: bool,
    /// Actions of streams that are over.
    late: Vec<Action>,
}

struct Sent {
    at: Instant,
    stream: u64,
    callback: u64,
}

/// A stream or connection on the link.
struct Entry {
    generation: u32,
    resumer: Option<Resumer>,
    /// The process stays as long as the stream.
    hold: Option<Hold>,
    mail: VecDeque<Mail>,
    /// The callback that is not answered yet; 0 for none.
    open: u64,
    told: bool,
}

/// What a filter finds when it was woken.
#[derive(Debug)]
pub(super) enum Mail {
    /// The answer to this callback.
    Answer(u64, Answer),
    /// Actions out of turn.
    Actions(Vec<Action>),
    /// The answer to this callback has not come in time.
    Late(u64),
    /// There is credit again.
    Credit,
    /// What came for it breaks the protocol.
    Broken(String),
    /// The link has ended.
    Lost,
}

/// There is no credit for another message.
#[derive(Debug)]
pub(super) struct NoCredit;

impl Link {
    pub(super) fn new(
        instance: Arc<Instance>,
        worker: usize,
        (time, warm_up): (Duration, Duration),
        message_size: usize,
    ) -> Rc<Self> {
        let mut out = Out::default();
        wire::message(&mut out.buffer, 0, 0, |it| {
            it.nested(field::HELLO, |hello| {
                hello.number(1, u64::from(crate::v1::REVISION));
                hello.nested(2, |credit| {
                    credit.number(1, GRANTED.0);
                    credit.number(2, GRANTED.1);
                });
                hello.number(3, worker as u64);
            });
        });
        Rc::new(Self {
            instance,
            out: Arc::new(Mutex::new(out)),
            state: RefCell::default(),
            task: RefCell::default(),
            time,
            warm_up,
            message_size,
            open: Cell::new(false),
            ended: Cell::new(false),
        })
    }

    pub(super) fn instance(&self) -> &Arc<Instance> {
        &self.instance
    }

    /// Whether new streams may begin here.
    pub(super) fn is_open(&self) -> bool {
        self.open.get() && !self.ended.get() && self.instance.is_open()
    }

    /// Whether it was not open yet, and has not ended.
    pub(super) fn is_opening(&self) -> bool {
        !self.open.get() && !self.ended.get()
    }

    /// Gives a stream or connection a number. It is woken by its resumer when something came for it. `None` when the process takes nothing new.
    pub(super) fn begin(&self, resumer: Resumer) -> Option<u64> {
        let hold = self.instance.hold()?;
        let mut state = self.state.borrow_mut();
        let index = match state.free.pop() {
            Some(index) => index,
            None => {
                state.entries.push(Entry {
                    // From 1, so that no number is 0.
                    generation: 1,
                    resumer: None,
                    hold: None,
                    mail: VecDeque::new(),
                    open: 0,
                    told: false,
                });
                u32::try_from(state.entries.len() - 1).unwrap_or(u32::MAX)
            }
        };
        let entry = state.entries.get_mut(index as usize)?;
        entry.resumer = Some(resumer);
        entry.hold = Some(hold);
        Some(u64::from(entry.generation) << 32 | u64::from(index))
    }

    /// Takes one more call of a stream, or says why not: also while the process drains.
    pub(super) fn admit(&self, stream: u64) -> Result<Permit, Refused> {
        let mut state = self.state.borrow_mut();
        let hold = state.entry(stream).and_then(|entry| entry.hold.as_ref());
        hold.map_or(Err(Refused::Draining), Hold::admit)
    }

    /// Forgets a stream: what comes for it is dropped, but for what is recorded.
    pub(super) fn end(&self, stream: u64) {
        let mut state = self.state.borrow_mut();
        let Some(entry) = state.entry(stream) else {
            return;
        };
        entry.generation = entry.generation.wrapping_add(1).max(1);
        entry.resumer = None;
        entry.hold = None;
        entry.open = 0;
        entry.told = false;
        let mail = std::mem::take(&mut entry.mail);
        state.free.push(stream as u32);
        drop(state);
        drop(mail);
    }

    /// Sends a callback that will be answered. `bytes` are those that credit counts.
    pub(super) fn call(
        &self,
        stream: u64,
        callback: u64,
        bytes: usize,
        write: impl FnOnce(&mut wire::Message<'_>),
    ) -> Result<(), NoCredit> {
        let mut state = self.state.borrow_mut();
        if state.messages == 0 || state.bytes <= 0 && bytes > 0 {
            return Err(NoCredit);
        }
        state.messages -= 1;
        state.bytes -= i64::try_from(bytes).unwrap_or(i64::MAX);
        if let Some(entry) = state.entry(stream) {
            entry.open = callback;
        }
        state.forget_answered();
        let sent = match !self.warm_up.is_zero() && self.instance.is_cold() {
            true => &mut state.cold,
            false => &mut state.sent,
        };
        sent.push_back(Sent {
            at: Instant::now(),
            stream,
            callback,
        });
        let watch = !std::mem::replace(&mut state.watched, true);
        drop(state);
        self.put(stream, callback, write);
        if watch && let Some(waker) = &*self.task.borrow() {
            waker.wake_by_ref();
        }
        Ok(())
    }

    /// Sends a message whose answer nobody waits for: an event, an end. It costs a message of credit if it has a callback's number, and may
    /// overdraw: there are only as many as there are streams, timers and callouts.
    pub(super) fn tell(
        &self,
        stream: u64,
        callback: u64,
        write: impl FnOnce(&mut wire::Message<'_>),
    ) {
        if callback != 0 {
            let mut state = self.state.borrow_mut();
            state.messages = state.messages.saturating_sub(1);
        }
        self.put(stream, callback, write);
    }

    fn put(&self, stream: u64, callback: u64, write: impl FnOnce(&mut wire::Message<'_>)) {
        let waker = {
            let mut out = lock(&self.out);
            // What left took its memory along; without this the buffer would grow again in many small steps.
            if out.buffer.capacity() < 1024 {
                out.buffer.reserve(8 * 1024);
            }
            wire::message(&mut out.buffer, stream, callback, write);
            out.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// The next thing that came for a stream.
    pub(super) fn take(&self, stream: u64) -> Option<Mail> {
        let mut state = self.state.borrow_mut();
        let entry = state.entry(stream)?;
        let mail = entry.mail.pop_front();
        if mail.is_none() {
            entry.told = false;
        }
        mail
    }

    /// Has a stream be told when there is credit.
    pub(super) fn wait(&self, stream: u64) {
        self.state.borrow_mut().waiting.push_back(stream);
    }

    /// How many streams wait for credit.
    pub(super) fn waiting(&self) -> usize {
        self.state.borrow().waiting.len()
    }

    /// What streams that are over still asked to have recorded.
    pub(super) fn take_late(&self) -> Vec<Action> {
        std::mem::take(&mut self.state.borrow_mut().late)
    }

    /// Opens the stream and reads it to its end. `opened` is called when both sides have said Hello, `recorded` when there are actions of
    /// streams that are over.
    pub(super) async fn run(
        self: &Rc<Self>,
        opened: impl Fn(),
        recorded: impl Fn(),
    ) -> Result<(), String> {
        let outcome = self.serve(&opened, &recorded).await;
        self.lose();
        outcome
    }

    async fn serve(
        self: &Rc<Self>,
        opened: &impl Fn(),
        recorded: &impl Fn(),
    ) -> Result<(), String> {
        let connector = self
            .instance
            .connector()
            .map_err(|error| error.to_string())?;
        let mut channel = connector
            .connect()
            .await
            .map_err(|error| format!("no connection: {error}"))?;
        let body = tonic::body::Body::new(Outgoing(Arc::clone(&self.out)));
        let mut request = http::Request::new(body);
        *request.method_mut() = http::Method::POST;
        *request.uri_mut() = http::Uri::from_static("/transom.plugin.v1.Plugin/Work");
        let headers = request.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        headers.insert(TE, HeaderValue::from_static("trailers"));
        let response = channel
            .call(request)
            .await
            .map_err(|status| status.to_string())?;
        if let Some(status) = tonic::Status::from_header_map(response.headers()) {
            return Err(status.to_string());
        }
        let mut body = response.into_body();
        let mut pending = BytesMut::new();
        let mut deadline: Pin<Box<Sleep>> = Box::pin(tokio::time::sleep(Duration::ZERO));
        loop {
            let frame = poll_fn(|cx| {
                self.watch(&mut deadline, cx);
                Pin::new(&mut body).poll_frame(cx)
            });
            match frame.await {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => self.read(data, &mut pending, opened)?,
                    Err(frame) => {
                        let trailers = frame.into_trailers().unwrap_or_default();
                        let status = tonic::Status::from_header_map(&trailers);
                        return Err(match status {
                            Some(status) if status.code() != tonic::Code::Ok => status.to_string(),
                            _ => "the plugin has ended the stream".to_owned(),
                        });
                    }
                },
                Some(Err(status)) => return Err(status.to_string()),
                None => return Err("the plugin has ended the stream".to_owned()),
            }
            if !self.state.borrow().late.is_empty() {
                recorded();
            }
        }
    }

    /// Tells those whose answers are late, and sets the deadline of the next.
    fn watch(&self, deadline: &mut Pin<Box<Sleep>>, cx: &mut Context<'_>) {
        let mut task = self.task.borrow_mut();
        if !task.as_ref().is_some_and(|task| task.will_wake(cx.waker())) {
            *task = Some(cx.waker().clone());
        }
        drop(task);
        if !self.state.borrow().watched {
            return;
        }
        loop {
            let next = {
                let mut state = self.state.borrow_mut();
                state.forget_answered();
                let warm = state.sent.front().map(|sent| (sent.at + self.time, false));
                let longer = self.time + self.warm_up;
                let cold = state.cold.front().map(|sent| (sent.at + longer, true));
                let next = warm.into_iter().chain(cold).min();
                state.watched = next.is_some();
                next
            };
            let Some((next, is_cold)) = next else { return };
            if next <= Instant::now() {
                let mut state = self.state.borrow_mut();
                let late = match is_cold {
                    true => state.cold.pop_front(),
                    false => state.sent.pop_front(),
                };
                if let Some(late) = late {
                    state.deliver(late.stream, Mail::Late(late.callback));
                }
                continue;
            }
            let next = tokio::time::Instant::from_std(next);
            if deadline.deadline() != next {
                deadline.as_mut().reset(next);
            }
            if deadline.as_mut().poll(cx).is_pending() {
                return;
            }
        }
    }

    /// Reads the messages in what has come; an unfinished one waits in `pending`.
    fn read(&self, data: Bytes, pending: &mut BytesMut, opened: &impl Fn()) -> Result<(), String> {
        let mut data = if pending.is_empty() {
            data
        } else {
            pending.extend_from_slice(&data);
            std::mem::take(pending).freeze()
        };
        while let Some(&[flag, a, b, c, d]) = data.first_chunk::<5>() {
            if flag != 0 {
                return Err("a message is compressed, which was not agreed on".to_owned());
            }
            let length = u32::from_be_bytes([a, b, c, d]) as usize;
            if length > self.message_size {
                let begun = data.get(5..).unwrap_or_default();
                if begun.len() < ADDRESS.min(length) {
                    break;
                }
                let why = format!(
                    "a message of {length} bytes: `bounds` allow {}",
                    self.message_size
                );
                // Nobody waits until the rest has come: the link ends, and whoever asked for this is not sent again.
                if let Some(stream) = addressee(begun) {
                    let mail = Mail::Broken(why.clone());
                    self.state.borrow_mut().deliver(stream, mail);
                }
                return Err(why);
            }
            if data.len() < 5 + length {
                break;
            }
            data.advance(5);
            let message = data.split_to(length);
            let message = ToHost::decode(message)
                .map_err(|error| format!("a message cannot be read: {error}"))?;
            self.receive(message, opened)?;
        }
        if !data.is_empty() {
            pending.extend_from_slice(&data);
        }
        Ok(())
    }

    fn receive(&self, message: ToHost, opened: &impl Fn()) -> Result<(), String> {
        let ToHost {
            stream,
            callback,
            message,
        } = message;
        let mut state = self.state.borrow_mut();
        match message {
            Some(to_host::Message::Hello(hello)) => {
                if hello.revision == 0 {
                    return Err("its Hello has no revision".to_owned());
                }
                let credit = hello.credit.unwrap_or_default();
                state.grant(credit.messages, credit.bytes);
                drop(state);
                if !self.open.replace(true) {
                    opened();
                }
            }
            Some(to_host::Message::Credit(credit)) => state.grant(credit.messages, credit.bytes),
            Some(to_host::Message::Answer(answer)) => {
                let mail_bytes = bytes_of(&answer.actions);
                if state.entry(stream).is_some() {
                    if let Some(entry) = state.entry(stream)
                        && entry.open == callback
                    {
                        entry.open = 0;
                    }
                    state.deliver(stream, Mail::Answer(callback, answer));
                } else {
                    state
                        .late
                        .extend(answer.actions.into_iter().filter(is_record));
                }
                return self.account(state, mail_bytes);
            }
            Some(to_host::Message::Actions(actions)) => {
                let mail_bytes = bytes_of(&actions.actions);
                if state.entry(stream).is_some() {
                    state.deliver(stream, Mail::Actions(actions.actions));
                } else {
                    let actions = actions.actions.into_iter();
                    state.late.extend(actions.filter(is_record));
                }
                return self.account(state, mail_bytes);
            }
            // Of a newer revision, which promised not to send it.
            None => return Err("a message that this host's revision does not know".to_owned()),
        }
        Ok(())
    }

    /// Counts what the plugin has used, and grants it anew when half of it is gone.
    fn account(&self, mut state: std::cell::RefMut<'_, State>, bytes: usize) -> Result<(), String> {
        state.used.0 += 1;
        state.used.1 += bytes as u64;
        let (messages, used) = state.used;
        if messages > GRANTED.0 || used > GRANTED.1 + self.message_size as u64 {
            return Err("it has sent more than it was granted".to_owned());
        }
        if messages * 2 >= GRANTED.0 || used * 2 >= GRANTED.1 {
            state.used = (0, 0);
            drop(state);
            self.put(0, 0, |it| {
                it.nested(field::CREDIT, |credit| {
                    credit.number(1, messages);
                    credit.number(2, used);
                });
            });
        }
        Ok(())
    }

    /// Tells all streams that there is no plugin any more.
    fn lose(&self) {
        self.ended.set(true);
        {
            let mut out = lock(&self.out);
            out.ended = true;
            out.buffer = BytesMut::new();
            if let Some(waker) = out.waker.take() {
                waker.wake();
            }
        }
        let mut state = self.state.borrow_mut();
        state.sent.clear();
        state.cold.clear();
        state.waiting.clear();
        let streams: Vec<u64> = (0u64..)
            .zip(&state.entries)
            .filter(|(_, entry)| entry.resumer.is_some())
            .map(|(index, entry)| u64::from(entry.generation) << 32 | index)
            .collect();
        for stream in streams {
            state.deliver(stream, Mail::Lost);
        }
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        let mut out = lock(&self.out);
        out.ended = true;
        if let Some(waker) = out.waker.take() {
            waker.wake();
        }
    }
}

impl State {
    fn entry(&mut self, stream: u64) -> Option<&mut Entry> {
        self.entries
            .get_mut(stream as u32 as usize)
            .filter(|entry| u64::from(entry.generation) == stream >> 32 && entry.resumer.is_some())
    }

    fn deliver(&mut self, stream: u64, mail: Mail) {
        let Some(entry) = self.entry(stream) else {
            return;
        };
        entry.mail.push_back(mail);
        if !std::mem::replace(&mut entry.told, true)
            && let Some(resumer) = &entry.resumer
        {
            resumer.post(0);
        }
    }

    fn grant(&mut self, messages: u64, bytes: u64) {
        self.messages = self.messages.saturating_add(messages);
        let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
        self.bytes = self.bytes.saturating_add(bytes);
        for stream in std::mem::take(&mut self.waiting) {
            self.deliver(stream, Mail::Credit);
        }
    }

    /// Drops callbacks from the front that have their answers, or whose streams are gone.
    fn forget_answered(&mut self) {
        while let Some(sent) = self.sent.front() {
            let (stream, callback) = (sent.stream, sent.callback);
            if self.is_open(stream, callback) {
                break;
            }
            self.sent.pop_front();
        }
        while let Some(sent) = self.cold.front() {
            let (stream, callback) = (sent.stream, sent.callback);
            if self.is_open(stream, callback) {
                break;
            }
            self.cold.pop_front();
        }
    }

    /// Whether a callback is not answered yet, and its stream is there.
    fn is_open(&mut self, stream: u64, callback: u64) -> bool {
        self.entry(stream)
            .is_some_and(|entry| entry.open == callback)
    }
}

/// Bytes in which a message says for which stream it is: a key, and a number of ten bytes at most.
const ADDRESS: usize = 11;

/// The stream that a message of which only the beginning is known is for: its first field, as everybody writes it.
fn addressee(mut begun: &[u8]) -> Option<u64> {
    // Field 1, a varint.
    const STREAM: u64 = 1 << 3;
    let key = prost::encoding::decode_varint(&mut begun).ok()?;
    (key == STREAM).then_some(())?;
    prost::encoding::decode_varint(&mut begun).ok()
}

/// What leaves, as the body of the call: all that has gathered at once.
struct Outgoing(Arc<Mutex<Out>>);

impl Body for Outgoing {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let mut out = lock(&self.0);
        if out.ended {
            return Poll::Ready(None);
        }
        if out.buffer.is_empty() {
            out.waker = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let gathered = out.buffer.split().freeze();
        Poll::Ready(Some(Ok(Frame::data(gathered))))
    }
}

fn lock(out: &Mutex<Out>) -> MutexGuard<'_, Out> {
    out.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The bytes of actions that credit counts.
fn bytes_of(actions: &[Action]) -> usize {
    let bytes = |action: &Action| match &action.action {
        Some(action::Action::Body(it)) => it.data.len(),
        Some(action::Action::Inject(it)) => it.data.len(),
        Some(action::Action::LocalReply(it)) => it.body.len(),
        Some(action::Action::HttpCall(it)) => it.body.len(),
        Some(action::Action::GrpcCall(it)) => it.message.len(),
        Some(action::Action::Shared(it)) => match &it.operation {
            Some(crate::v1::shared::Operation::Set(set)) => set.value.as_ref().map_or(0, Vec::len),
            _ => 0,
        },
        _ => 0,
    };
    actions.iter().map(bytes).sum()
}

/// Whether an action means something without its stream.
fn is_record(action: &Action) -> bool {
    matches!(
        &action.action,
        Some(action::Action::Log(_) | action::Action::Metric(_) | action::Action::Shared(_))
    )
}
