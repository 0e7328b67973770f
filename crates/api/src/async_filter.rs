//! Built-in filters written as an `async fn`, on top of the resumer.
//!
//! The future of a stream is polled only inside the filter's own callbacks, on the stream's worker. It never holds the
//! stream's context across an `.await`: it asks for it with [`Exchange::with`], whose closure runs in the callback that
//! polls. Its waker is a [`Resumer`], so it may wait for anything that wakes: a channel, a callout, a timer.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use crate::callout::{CalloutError, CalloutId, CalloutResponse, HttpCall};
use crate::event::{Event, Resumer, TimerId};
use crate::reply::LocalReply;
use crate::stream::{Stream, StreamFilter};
use crate::verdict::HeadersVerdict;

/// What the future decides about its request.
#[derive(Debug)]
pub enum Outcome {
    /// The request goes on.
    Continue,
    /// The request is answered here.
    Reply(LocalReply),
}

/// A filter that handles a request's headers in an async function.
///
/// ```
/// use transom_api::async_filter::{AsyncFilter, Outcome};
/// use transom_api::{HttpCall, LocalReply};
///
/// let filter = AsyncFilter::new(|exchange| async move {
///     let token = exchange
///         .with(|stream| stream.request().get("authorization").map(|value| value.into_owned()))
///         .await;
///     let call = HttpCall::new("auth", "GET", "auth", "/check").header("authorization", token.unwrap_or_default());
///     match exchange.http_call(call).await {
///         Ok(answer) if answer.status() == 200 => Outcome::Continue,
///         Ok(_) => Outcome::Reply(LocalReply::new(403)),
///         Err(_) => Outcome::Reply(LocalReply::new(503)),
///     }
/// });
/// # let _ = filter;
/// ```
pub struct AsyncFilter {
    state: State,
    exchange: Rc<RefCell<Queue>>,
    waker: Option<Waker>,
}

enum State {
    Ready(Box<dyn FnOnce(Exchange) -> PinnedFuture>),
    Running(PinnedFuture),
    Done,
}

type PinnedFuture = Pin<Box<dyn Future<Output = Outcome>>>;
type Job = Box<dyn FnOnce(&mut Stream<'_>, &mut Queue)>;

/// The posts of the waker carry this token; it means "poll again" and nothing else.
const POLL: u64 = u64::MAX;

#[derive(Default)]
struct Queue {
    jobs: VecDeque<Job>,
    callouts: Vec<(CalloutId, Rc<RefCell<Option<CalloutResult>>>)>,
    timers: Vec<(TimerId, Rc<RefCell<Option<()>>>)>,
}

type CalloutResult = Result<CalloutResponse, CalloutError>;

impl AsyncFilter {
    /// A filter that runs `handle` for the request's headers.
    pub fn new<F, Fut>(handle: F) -> Self
    where
        F: FnOnce(Exchange) -> Fut + 'static,
        Fut: Future<Output = Outcome> + 'static,
    {
        Self {
            state: State::Ready(Box::new(|exchange| Box::pin(handle(exchange)))),
            exchange: Rc::default(),
            waker: None,
        }
    }

    /// Polls the future until it waits for something that is not this stream.
    fn drive(&mut self, stream: &mut Stream<'_>) -> Option<Outcome> {
        let State::Running(future) = &mut self.state else {
            return None;
        };
        let waker = self
            .waker
            .get_or_insert_with(|| Waker::from(Arc::new(PostOnWake(stream.resumer()))));
        let mut context = Context::from_waker(waker);
        loop {
            if let Poll::Ready(outcome) = future.as_mut().poll(&mut context) {
                self.state = State::Done;
                return Some(outcome);
            }
            let mut progress = false;
            loop {
                let job = self.exchange.borrow_mut().jobs.pop_front();
                let Some(job) = job else { break };
                job(stream, &mut self.exchange.borrow_mut());
                progress = true;
            }
            if !progress {
                return None;
            }
        }
    }

    fn settle(&mut self, stream: &mut Stream<'_>) {
        match self.drive(stream) {
            Some(Outcome::Continue) => stream.continue_request(),
            Some(Outcome::Reply(reply)) => {
                // The response may have left meanwhile; then there is nothing to answer.
                let _ = stream.send_local_reply(reply);
            }
            None => {}
        }
    }
}

impl StreamFilter for AsyncFilter {
    fn request_headers(&mut self, stream: &mut Stream<'_>, _end: bool) -> HeadersVerdict {
        self.state = match std::mem::replace(&mut self.state, State::Done) {
            State::Ready(handle) => State::Running(handle(Exchange {
                queue: Rc::clone(&self.exchange),
            })),
            other => other,
        };
        match self.drive(stream) {
            Some(Outcome::Continue) => HeadersVerdict::Continue,
            Some(Outcome::Reply(reply)) => {
                let _ = stream.send_local_reply(reply);
                HeadersVerdict::StopIteration
            }
            None if matches!(self.state, State::Done) => HeadersVerdict::Continue,
            None => HeadersVerdict::StopAllIterationAndWatermark,
        }
    }

    fn on_event(&mut self, stream: &mut Stream<'_>, event: Event) {
        {
            let mut queue = self.exchange.borrow_mut();
            match event {
                Event::Callout(done) => {
                    if let Some(at) = queue.callouts.iter().position(|(id, _)| *id == done.id) {
                        let (_, slot) = queue.callouts.swap_remove(at);
                        *slot.borrow_mut() = Some(done.result);
                    }
                }
                Event::Timer(timer) => {
                    if let Some(at) = queue.timers.iter().position(|(id, _)| *id == timer) {
                        let (_, slot) = queue.timers.swap_remove(at);
                        *slot.borrow_mut() = Some(());
                    }
                }
                _ => {}
            }
        }
        self.settle(stream);
    }
}

/// The future's handle on its stream.
#[derive(Clone)]
pub struct Exchange {
    queue: Rc<RefCell<Queue>>,
}

impl Exchange {
    /// Runs `job` with the stream's context and gives back what it returns.
    pub async fn with<T: 'static>(&self, job: impl FnOnce(&mut Stream<'_>) -> T + 'static) -> T {
        let slot = Rc::new(RefCell::new(None));
        let filled = Rc::clone(&slot);
        self.push(move |stream, _| *filled.borrow_mut() = Some(job(stream)));
        Filled(slot).await
    }

    /// Makes an HTTP callout and waits for its end.
    pub async fn http_call(&self, call: HttpCall) -> Result<CalloutResponse, CalloutError> {
        let slot = Rc::new(RefCell::new(None));
        let filled = Rc::clone(&slot);
        self.push(move |stream, queue| match stream.http_call(call) {
            Ok(id) => queue.callouts.push((id, filled)),
            Err(error) => *filled.borrow_mut() = Some(Err(error)),
        });
        Filled(slot).await
    }

    /// Waits.
    pub async fn sleep(&self, duration: Duration) {
        let slot = Rc::new(RefCell::new(None));
        let filled = Rc::clone(&slot);
        self.push(move |stream, queue| {
            let timer = stream.set_timer(duration);
            queue.timers.push((timer, filled));
        });
        Filled(slot).await;
    }

    fn push(&self, job: impl FnOnce(&mut Stream<'_>, &mut Queue) + 'static) {
        self.queue.borrow_mut().jobs.push_back(Box::new(job));
    }
}

/// Ready when somebody has filled the slot. It needs no waker: whoever fills it polls afterwards.
struct Filled<T>(Rc<RefCell<Option<T>>>);

impl<T> Future for Filled<T> {
    type Output = T;

    fn poll(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<T> {
        match self.0.borrow_mut().take() {
            Some(value) => Poll::Ready(value),
            None => Poll::Pending,
        }
    }
}

struct PostOnWake(Resumer);

impl Wake for PostOnWake {
    fn wake(self: Arc<Self>) {
        self.0.post(POLL);
    }
}
