//! A client's HTTP/1 connection: its requests one after another.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use transom_api::ResetReason;
use transom_http1::RequestHead;

use super::exchange::{Exchange, Outcome};
use super::peer::{Peer, PeerError};
use super::server::Http1Server;
use super::{HttpListener, HttpOptions, limit};
use crate::error::Fault;
use crate::io::Io;
use crate::listener::{ConnectionSlot, WorkerChain};
use crate::stream::Stream;
use crate::stream::info::ConnectionInfo;
use crate::timer::Timer;
use crate::worker::Worker;

/// How long a connection that is closed with unread input is read on, so that the last answer arrives.
const LINGER: Duration = Duration::from_secs(2);
/// And how much is read meanwhile at the most.
const LINGER_BYTES: u32 = 1 << 20;

/// How long a connection that was accepted just when its listener drains may take to send its first request: that is most
/// likely on its way, and its sender could not know.
const FRESH: Duration = Duration::from_secs(1);

/// Serves a connection until it closes.
pub(crate) struct HttpConnection {
    chain: Rc<WorkerChain>,
    options: Rc<HttpOptions>,
    /// With the stream while a request is under way; here is nobody's then.
    info: Rc<ConnectionInfo>,
    slot: ConnectionSlot,
    client: Client,
    state: State,
    timer: Timer,
}

/// The client's end.
enum Client {
    /// Between requests a connection keeps its socket and nothing else: most connections are there most of the time.
    Resting {
        io: Io,
        /// The last read found nothing, and the event loop wakes this task when something comes.
        awaited: bool,
    },
    /// It has more from the first byte of a request to the last of its answer.
    Awake(Box<Http1Server>),
    /// Not for longer than it takes to get from one to the other.
    Between,
}

enum State {
    /// Between requests.
    Idle {
        since: Instant,
        /// No request has come yet.
        fresh: bool,
    },
    /// Apart: an idle connection has no room for it.
    Serving(Box<Exchange>),
    /// The last answer is being written, and nothing that the client does gives it more time.
    Flushing { until: Instant },
    Lingering {
        until: Instant,
        left: u32,
        shut: bool,
    },
}

impl Client {
    /// The server, made where there is none.
    #[inline]
    fn wake(
        &mut self,
        worker: &Rc<Worker>,
        options: &Rc<HttpOptions>,
        info: &ConnectionInfo,
    ) -> Option<&mut Http1Server> {
        if let Self::Resting { .. } = self
            && let Self::Resting { io, .. } = std::mem::replace(self, Self::Between)
        {
            let (worker, options) = (Rc::clone(worker), Rc::clone(options));
            let server = Http1Server::new(io, worker, options, info.scheme());
            *self = Self::Awake(Box::new(server));
        }
        match self {
            Self::Awake(server) => Some(server),
            Self::Resting { .. } | Self::Between => None,
        }
    }

    /// Keeps the socket only, if there is nothing else to know.
    #[inline]
    fn rest(&mut self) {
        if let Self::Awake(server) = self
            && server.is_at_rest()
            && let Self::Awake(server) = std::mem::replace(self, Self::Between)
        {
            let (io, awaited) = server.into_socket();
            *self = Self::Resting { io, awaited };
        }
    }

    /// Whether no byte of a request has come.
    fn is_idle(&self) -> bool {
        match self {
            Self::Awake(server) => server.is_idle(),
            Self::Resting { .. } | Self::Between => true,
        }
    }

    /// Whether it is certain that nothing has come since the last look.
    #[inline]
    fn is_silent(&self) -> bool {
        matches!(self, Self::Resting { io, awaited: true } if io.is_silent())
    }
}

impl HttpConnection {
    pub(crate) fn new(
        io: Io,
        chain: Rc<WorkerChain>,
        http: &HttpListener,
        info: Rc<ConnectionInfo>,
        slot: ConnectionSlot,
    ) -> Self {
        let worker = slot.worker();
        let timer = Timer::new(&worker.timers);
        Self {
            state: State::Idle {
                since: worker.now(),
                fresh: true,
            },
            chain,
            options: Rc::clone(&http.options),
            info,
            slot,
            client: Client::Resting { io, awaited: false },
            timer,
        }
    }

    fn poll_idle(&mut self, cx: &mut Context<'_>) -> Poll<Option<State>> {
        let State::Idle { since, fresh } = self.state else {
            return Poll::Ready(None);
        };
        // The slot's waker is what a drain wakes.
        self.slot.watch(cx.waker());
        let is_kept = || fresh && self.slot.worker().now().saturating_duration_since(since) < FRESH;
        if self.slot.is_draining() && self.client.is_idle() && !is_kept() {
            return Poll::Ready(Some(linger(self.slot.worker())));
        }
        if self.client.is_silent() {
            return Poll::Pending;
        }
        let next = self.poll_head(cx);
        if next.is_pending() {
            self.client.rest();
        }
        next
    }

    fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<Option<State>> {
        let awake = self
            .client
            .wake(self.slot.worker(), &self.options, &self.info);
        let Some(server) = awake else {
            return Poll::Ready(None);
        };
        let takes_one = server.stream.is_none();
        if takes_one {
            // An idle connection holds no stream, and looks before it takes one.
            match ready!(server.poll_begin(cx)) {
                Ok(true) => {}
                Ok(false) | Err(_) => return Poll::Ready(None),
            }
        }
        // Each new stream takes the chain's current filters and routes.
        let Some(http) = self.chain.http() else {
            return Poll::Ready(Some(linger(self.slot.worker())));
        };
        let taken = server.stream.take();
        let mut target = taken.unwrap_or_else(|| self.slot.worker().take_stream(&http));
        let head = match server.poll_request(cx, &mut target.core_mut().request) {
            Poll::Ready(Ok(Some(head))) => head,
            Poll::Ready(Ok(None)) => return Poll::Ready(None),
            Poll::Ready(Err(PeerError::Decode(error))) => {
                self.slot.worker().count_bad_request(&http.options);
                server.send_refusal(&error);
                return Poll::Ready(Some(flushing(self.slot.worker())));
            }
            Poll::Ready(Err(_)) => return Poll::Ready(None),
            Poll::Pending => {
                if server.is_idle() {
                    // An idle connection holds no stream. An empty line (RFC 9112 section 2.2) is no request: it has been idle
                    // all the time.
                    self.slot.worker().give_stream(target);
                } else {
                    if takes_one {
                        // The head has begun: from now on its own time runs.
                        target.core_mut().info.start = self.slot.worker().now();
                    }
                    server.stream = Some(target);
                }
                return Poll::Pending;
            }
        };
        Poll::Ready(Some(self.begin(target, http, &head)))
    }

    fn begin(
        &mut self,
        mut stream: Box<Stream>,
        http: Rc<HttpListener>,
        head: &RequestHead,
    ) -> State {
        let now = Instant::now();
        stream.begin(&mut self.info, &http, now);
        stream.core_mut().info.protocol = head.version.as_str();
        self.slot.worker().begin_stream(&http.options);
        let too_large = match (head.framing, http.options.request_body) {
            (transom_http1::Framing::Length(length), Some(most)) => length > most,
            _ => false,
        };
        if too_large {
            stream.refuse(&Fault::RequestTooLarge);
        } else if head.connect && !http.table.takes_connect() {
            stream.refuse(&Fault::ConnectNotServed);
        } else {
            // What follows a request for a tunnel may be the tunnel's.
            let tunnel = stream.core().request.tunnel;
            stream.request_head(head.end && tunnel.is_none());
        }
        let exchange = Exchange::new(stream, Rc::clone(self.slot.worker()), http, now);
        State::Serving(Box::new(exchange))
    }

    /// Ends the exchange; gives what comes after it.
    fn end(&mut self, exchange: Box<Exchange>, outcome: Outcome) -> Option<State> {
        let http = Rc::clone(&exchange.http);
        let mut stream = exchange.finish(outcome);
        stream.swap_connection(&mut self.info);
        self.slot.worker().end_stream(&http.options, &stream);
        // A stream that is kept holds on to what it served.
        if self.chain.has(&http) {
            self.slot.worker().give_stream(stream);
        }
        if outcome != Outcome::Complete {
            return None;
        }
        let Client::Awake(server) = &mut self.client else {
            return None;
        };
        let reusable = server.is_reusable();
        server.end_exchange();
        if reusable && !self.slot.is_draining() {
            return Some(State::Idle {
                since: self.slot.worker().now(),
                fresh: false,
            });
        }
        Some(linger(self.slot.worker()))
    }

    /// When something must have happened in this state.
    fn deadline(&self) -> Option<Instant> {
        match &self.state {
            State::Idle { since, fresh } => {
                let timeouts = &self.options.timeouts;
                if let Client::Awake(server) = &self.client
                    && !server.is_idle()
                {
                    let head = server.stream.as_ref();
                    let begun = head.map_or(*since, |stream| stream.core().info.start);
                    return begun.checked_add(limit(timeouts.header)?);
                }
                if *fresh && self.slot.is_draining() {
                    return since.checked_add(FRESH);
                }
                since.checked_add(limit(timeouts.idle)?)
            }
            State::Serving(exchange) => match &self.client {
                Client::Awake(server) => exchange.deadline(&**server),
                Client::Resting { .. } | Client::Between => None,
            },
            State::Flushing { until } => Some(*until),
            State::Lingering { until, .. } => Some(*until),
        }
    }

    /// Time is over; gives what comes now. `None` closes.
    #[cold]
    fn on_deadline(&mut self, now: Instant) -> Option<Option<State>> {
        let awake = self
            .client
            .wake(self.slot.worker(), &self.options, &self.info);
        let Some(server) = awake else {
            return Some(None);
        };
        match &mut self.state {
            State::Idle { .. } if !server.is_idle() => {
                // The client is told why, in case it is slow and not hostile.
                server.send_timeout();
                Some(Some(flushing(self.slot.worker())))
            }
            State::Idle { .. } => Some(Some(linger(self.slot.worker()))),
            State::Serving(exchange) => match exchange.on_deadline(now, server) {
                Ok(()) => None,
                Err(reason) => {
                    self.give_up(reason);
                    Some(None)
                }
            },
            State::Flushing { .. } | State::Lingering { .. } => Some(None),
        }
    }

    /// Ends an exchange whose connection is closed.
    #[cold]
    fn give_up(&mut self, reason: ResetReason) {
        if let State::Serving(exchange) =
            std::mem::replace(&mut self.state, flushing(self.slot.worker()))
        {
            self.end(exchange, Outcome::Broken(reason));
        }
    }
}

impl Future for HttpConnection {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        loop {
            let next = match &mut this.state {
                State::Idle { .. } => this.poll_idle(cx),
                state => {
                    let awake = this
                        .client
                        .wake(this.slot.worker(), &this.options, &this.info);
                    let Some(server) = awake else {
                        return Poll::Ready(());
                    };
                    match state {
                        State::Serving(exchange) => match exchange.poll(cx, server) {
                            Poll::Pending => {
                                this.slot.watch(cx.waker());
                                if this.slot.take_drain_news() {
                                    exchange.stream.drain();
                                    continue;
                                }
                                Poll::Pending
                            }
                            Poll::Ready(outcome) => {
                                let State::Serving(exchange) = std::mem::replace(
                                    &mut this.state,
                                    flushing(this.slot.worker()),
                                ) else {
                                    return Poll::Ready(());
                                };
                                Poll::Ready(this.end(exchange, outcome))
                            }
                        },
                        State::Lingering { left, shut, .. } => {
                            poll_linger(cx, server, left, shut).map(|()| None)
                        }
                        State::Flushing { .. } | State::Idle { .. } => {
                            match server.poll_flush(cx) {
                                Poll::Pending => Poll::Pending,
                                Poll::Ready(Ok(())) => {
                                    Poll::Ready(Some(linger(this.slot.worker())))
                                }
                                Poll::Ready(Err(_)) => Poll::Ready(None),
                            }
                        }
                    }
                }
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
            match this.on_deadline(now) {
                Some(Some(state)) => this.state = state,
                Some(None) => return Poll::Ready(()),
                None => {}
            }
        }
    }
}

impl Drop for HttpConnection {
    fn drop(&mut self) {
        // The worker ends, or the task panicked: filters still get their end.
        self.give_up(ResetReason::Local);
    }
}

fn flushing(worker: &Worker) -> State {
    State::Flushing {
        until: worker.now() + LINGER,
    }
}

fn linger(worker: &Worker) -> State {
    State::Lingering {
        until: worker.now() + LINGER,
        left: LINGER_BYTES,
        shut: false,
    }
}

/// Says that nothing more comes and reads until the client has closed too.
fn poll_linger(
    cx: &mut Context<'_>,
    server: &mut Http1Server,
    left: &mut u32,
    shut: &mut bool,
) -> Poll<()> {
    if !*shut {
        // A client that has gone already needs no word.
        if ready!(server.poll_shutdown(cx)).is_err() {
            return Poll::Ready(());
        }
        *shut = true;
    }
    loop {
        match ready!(server.poll_discard(cx)) {
            Ok(0) | Err(_) => return Poll::Ready(()),
            Ok(count) => match u32::try_from(count)
                .ok()
                .and_then(|count| left.checked_sub(count))
            {
                Some(rest) => *left = rest,
                None => return Poll::Ready(()),
            },
        }
    }
}

#[cfg(all(test, target_pointer_width = "64"))]
mod tests {
    use super::*;

    /// Connections at rest are what there are most of. What the event loop keeps beside the connection itself is less than
    /// 104 bytes, and the allocator hands out 256 bytes or 320.
    #[test]
    fn a_connection_at_rest_fits_into_256_bytes() {
        let size = size_of::<HttpConnection>();
        assert!(size <= 256 - 104, "{size}");
    }
}
