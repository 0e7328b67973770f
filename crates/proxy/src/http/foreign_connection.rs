//! A client's connection in a protocol of an extension: its requests one after another.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use transom_api::ResetReason;

use super::exchange::{Exchange, Outcome};
use super::foreign_server::ForeignServer;
use super::peer::{Peer, PeerError};
use super::{HttpListener, limit};
use crate::io::Io;
use crate::listener::{ConnectionSlot, WorkerChain};
use crate::stream::info::ConnectionInfo;
use crate::timer::Timer;
use crate::worker::Worker;

/// How long the last answer may take to be written.
const FLUSH: Duration = Duration::from_secs(2);

/// Serves a connection until it closes.
pub(crate) struct ForeignServing {
    worker: Rc<Worker>,
    chain: Rc<WorkerChain>,
    info: Rc<ConnectionInfo>,
    slot: ConnectionSlot,
    server: ForeignServer,
    state: State,
    timer: Timer,
}

enum State {
    /// Between requests, since then.
    Idle {
        since: Instant,
    },
    Serving(Box<Exchange>),
    /// The last answer is being written, then the sending direction ends.
    Closing {
        until: Instant,
    },
}

impl ForeignServing {
    pub(crate) fn new(
        io: Io,
        worker: Rc<Worker>,
        chain: Rc<WorkerChain>,
        http: &HttpListener,
        info: Rc<ConnectionInfo>,
        slot: ConnectionSlot,
    ) -> Self {
        let server = ForeignServer::new(
            io,
            Rc::clone(&worker),
            http.options.half_close,
            info.scheme() == "https",
            http.protocol.as_deref(),
        );
        Self {
            state: State::Idle {
                since: worker.now(),
            },
            timer: Timer::new(&worker.timers),
            worker,
            chain,
            info,
            slot,
            server,
        }
    }

    /// Waits for a request, and begins it. `None` closes.
    fn poll_idle(&mut self, cx: &mut Context<'_>) -> Poll<Option<State>> {
        self.slot.watch(cx.waker());
        if self.slot.is_draining() && self.server.is_idle() {
            return Poll::Ready(Some(closing(&self.worker)));
        }
        match ready!(self.server.poll_head(cx)) {
            Ok(true) => {}
            Ok(false) => return Poll::Ready(None),
            Err(error) => return Poll::Ready(self.refuse(&error)),
        }
        let Some(http) = self.chain.http() else {
            return Poll::Ready(Some(closing(&self.worker)));
        };
        let mut stream = self.worker.take_stream(&http);
        let end = match self.server.take_head(&mut stream.core_mut().request) {
            Ok(end) => end,
            Err(error) => return Poll::Ready(self.refuse(&error)),
        };
        let now = Instant::now();
        stream.core_mut().info.start = now;
        stream.begin(&mut self.info, &http, now);
        stream.core_mut().info.protocol = "foreign";
        self.worker.begin_stream(&http.options);
        stream.request_head(end);
        let exchange = Exchange::new(stream, Rc::clone(&self.worker), http, now);
        Poll::Ready(Some(State::Serving(Box::new(exchange))))
    }

    /// What cannot be understood cannot be answered either: what an answer looks like is the codec's alone.
    #[cold]
    fn refuse(&self, error: &PeerError) -> Option<State> {
        if let (PeerError::Foreign(_), Some(http)) = (error, self.chain.http()) {
            self.worker.count_bad_request(&http.options);
        }
        tracing::debug!(%error, "a client's request is none");
        None
    }

    /// Ends the exchange; gives what comes after it.
    fn end(&mut self, exchange: Box<Exchange>, outcome: Outcome) -> Option<State> {
        let http = Rc::clone(&exchange.http);
        let mut stream = exchange.finish(outcome);
        stream.swap_connection(&mut self.info);
        self.worker.end_stream(&http.options, &stream);
        // A stream that is kept holds on to what it served.
        if self.chain.has(&http) {
            self.worker.give_stream(stream);
        }
        if outcome != Outcome::Complete {
            return None;
        }
        if self.server.rest() && !self.slot.is_draining() {
            return Some(State::Idle {
                since: self.worker.now(),
            });
        }
        Some(closing(&self.worker))
    }

    /// When something must have happened in this state.
    fn deadline(&self) -> Option<Instant> {
        match &self.state {
            State::Idle { since } => {
                let timeouts = &self.chain.http()?.options.timeouts;
                let most = match self.server.is_idle() {
                    true => timeouts.idle,
                    false => timeouts.header,
                };
                since.checked_add(limit(most)?)
            }
            State::Serving(exchange) => exchange.deadline(&self.server),
            State::Closing { until } => Some(*until),
        }
    }

    /// Time is over. True closes.
    #[cold]
    fn on_deadline(&mut self, now: Instant) -> bool {
        let State::Serving(exchange) = &mut self.state else {
            return true;
        };
        match exchange.on_deadline(now, &self.server) {
            Ok(()) => false,
            Err(reason) => {
                self.give_up(reason);
                true
            }
        }
    }

    /// Ends an exchange whose connection is closed.
    #[cold]
    fn give_up(&mut self, reason: ResetReason) {
        let before = std::mem::replace(&mut self.state, closing(&self.worker));
        if let State::Serving(exchange) = before {
            self.end(exchange, Outcome::Broken(reason));
        }
    }
}

impl Future for ForeignServing {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        loop {
            let next = match &mut this.state {
                State::Idle { .. } => this.poll_idle(cx),
                State::Serving(exchange) => match exchange.poll(cx, &mut this.server) {
                    Poll::Pending => {
                        this.slot.watch(cx.waker());
                        if this.slot.take_drain_news() {
                            exchange.stream.drain();
                            continue;
                        }
                        Poll::Pending
                    }
                    Poll::Ready(outcome) => {
                        let before = std::mem::replace(&mut this.state, closing(&this.worker));
                        let State::Serving(exchange) = before else {
                            return Poll::Ready(());
                        };
                        Poll::Ready(this.end(exchange, outcome))
                    }
                },
                State::Closing { .. } => match this.server.poll_flush(cx) {
                    Poll::Pending => Poll::Pending,
                    Poll::Ready(Ok(())) => this.server.poll_shutdown(cx).map(|_| None),
                    Poll::Ready(Err(_)) => Poll::Ready(None),
                },
            };
            match next {
                Poll::Ready(Some(state)) => {
                    this.state = state;
                    continue;
                }
                Poll::Ready(None) => return Poll::Ready(()),
                Poll::Pending => {}
            }
            let Some(deadline) = this.deadline() else {
                return Poll::Pending;
            };
            let now = ready!(this.timer.poll(cx, deadline));
            if this.on_deadline(now) {
                return Poll::Ready(());
            }
        }
    }
}

impl Drop for ForeignServing {
    fn drop(&mut self) {
        // The worker ends, or the task panicked: filters still get their end.
        self.give_up(ResetReason::Local);
    }
}

fn closing(worker: &Worker) -> State {
    State::Closing {
        until: worker.now() + FLUSH,
    }
}
