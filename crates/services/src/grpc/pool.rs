//! A worker's connection to a server, and who waits for it.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::fmt;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use h2::client::{ResponseFuture, SendRequest};
use h2::{Ping, PingPong, RecvStream};
use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::io::Io;
use super::status::{Code, Status};
use super::target::{Address, Keepalive, Target};

/// Window of a stream, 1 MiB: a body in pieces passes without waiting for each, and one call cannot take more memory than that.
const STREAM_WINDOW: u32 = 1 << 20;
/// Window of a connection, 4 MiB: a few streams at full speed.
const CONNECTION_WINDOW: u32 = 4 << 20;
/// The list of fields that a server may send: its trailers have a message for people.
const MAX_HEADER_LIST: u32 = 64 << 10;
/// How often calls that only wait for their server's last word are looked at when nothing else happens.
const REAPING: Duration = Duration::from_secs(1);

/// A worker's connection to a server. When the last user has gone, it closes.
pub struct Pool {
    pub(super) target: Arc<Target>,
    state: RefCell<State>,
    /// Counts connections, and attempts at them.
    attempts: Cell<u64>,
    /// Why the last attempt failed.
    failure: RefCell<Option<Status>>,
    /// The address that is tried first: where the last connection was.
    preferred: Cell<usize>,
    tasks: RefCell<Vec<AbortHandle>>,
    lingering: RefCell<VecDeque<Lingering>>,
    reaping: Cell<bool>,
}

enum State {
    Idle,
    Connecting(Vec<Waker>),
    Ready(SendRequest<Bytes>, u64),
}

/// What a call gets that asks for the connection.
pub(super) enum Acquired {
    Ready(SendRequest<Bytes>, u64),
    /// There will be one, or news of why not, for this attempt.
    Wait(u64),
}

/// A call that has said its last and whose server has not.
struct Lingering {
    until: Instant,
    response: Option<ResponseFuture>,
    body: Option<RecvStream>,
}

impl Pool {
    /// A connection that is made when it is first needed.
    #[must_use]
    pub fn new(target: Arc<Target>) -> Rc<Self> {
        Rc::new(Self {
            target,
            state: RefCell::new(State::Idle),
            attempts: Cell::new(0),
            failure: RefCell::default(),
            preferred: Cell::new(0),
            tasks: RefCell::default(),
            lingering: RefCell::default(),
            reaping: Cell::new(false),
        })
    }

    /// The connection, or a place in the queue for it. To be called on a worker's event loop.
    pub(super) fn acquire(self: &Rc<Self>, waker: &Waker) -> Acquired {
        let mut state = self.state.borrow_mut();
        match &mut *state {
            State::Ready(requests, id) => Acquired::Ready(requests.clone(), *id),
            State::Connecting(waiting) => {
                waiting.push(waker.clone());
                Acquired::Wait(self.attempts.get())
            }
            State::Idle => {
                *state = State::Connecting(vec![waker.clone()]);
                let attempt = self.attempts.get() + 1;
                self.attempts.set(attempt);
                drop(state);
                self.spawn(connect(
                    Rc::downgrade(self),
                    Arc::clone(&self.target),
                    attempt,
                ));
                Acquired::Wait(attempt)
            }
        }
    }

    /// How an attempt went that a call waited for: `None` while it lasts.
    pub(super) fn outcome(&self, attempt: u64) -> Option<Result<(), Status>> {
        match &*self.state.borrow() {
            State::Connecting(_) if self.attempts.get() == attempt => None,
            State::Ready(..) => Some(Ok(())),
            _ => Some(Err(self.failure.borrow().clone().unwrap_or_else(|| {
                Status::new(Code::Unavailable, "the connection ended at once")
            }))),
        }
    }

    /// A connection turned out to take no more calls: the next one is made on another.
    pub(super) fn discard(&self, id: u64) {
        let mut state = self.state.borrow_mut();
        if matches!(&*state, State::Ready(_, current) if *current == id) {
            *state = State::Idle;
        }
    }

    /// Lets a call end in peace: dropped at once, it would be reset, which servers take for a failure.
    pub(super) fn linger(
        self: &Rc<Self>,
        response: Option<ResponseFuture>,
        body: Option<RecvStream>,
        limit: Duration,
    ) {
        let mut lingering = self.lingering.borrow_mut();
        let now = Instant::now();
        lingering.push_back(Lingering {
            until: now + limit,
            response,
            body,
        });
        // Those in front are the oldest: most have ended by now, and each newcomer takes care of two.
        for _ in 0..2 {
            if lingering.front_mut().is_some_and(|call| call.is_over(now)) {
                lingering.pop_front();
            }
        }
        if !lingering.is_empty() && !self.reaping.replace(true) {
            drop(lingering);
            self.spawn(reap(Rc::downgrade(self)));
        }
    }

    fn spawn(&self, task: impl Future<Output = ()> + 'static) {
        let mut tasks = self.tasks.borrow_mut();
        tasks.retain(|task| !task.is_finished());
        tasks.push(tokio::task::spawn_local(task).abort_handle());
    }

    fn settle(&self, state: State) {
        let before = std::mem::replace(&mut *self.state.borrow_mut(), state);
        if let State::Connecting(waiting) = before {
            waiting.into_iter().for_each(Waker::wake);
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        for task in self.tasks.borrow().iter() {
            task.abort();
        }
    }
}

/// Tries each address once, first where it last went well.
async fn connect(pool: Weak<Pool>, target: Arc<Target>, attempt: u64) {
    let first = pool.upgrade().map_or(0, |pool| pool.preferred.get());
    let count = target.config.addresses.len();
    let mut failures = Vec::new();
    for step in 0..count {
        let index = (first + step) % count;
        let Some(address) = target.config.addresses.get(index) else {
            continue;
        };
        match open(&target, address).await {
            Ok((requests, connection)) => {
                let Some(pool) = pool.upgrade() else { return };
                pool.preferred.set(index);
                let gone = Rc::downgrade(&pool);
                pool.spawn(async move {
                    connection.await;
                    if let Some(pool) = gone.upgrade() {
                        pool.discard(attempt);
                    }
                });
                return pool.settle(State::Ready(requests, attempt));
            }
            Err(error) => failures.push(format!("{address}: {error}")),
        }
    }
    if let Some(pool) = pool.upgrade() {
        let message = format!("cannot connect to {}", failures.join("; "));
        tracing::debug!(error = message, "no connection to a server");
        *pool.failure.borrow_mut() = Some(Status::new(Code::Unavailable, message));
        pool.settle(State::Idle);
    }
}

type Opened = (
    SendRequest<Bytes>,
    std::pin::Pin<Box<dyn Future<Output = ()>>>,
);

async fn open(target: &Target, address: &Address) -> Result<Opened, String> {
    let work = async {
        let io = Io::connect(address, target.tls.as_ref())
            .await
            .map_err(|error| error.to_string())?;
        h2::client::Builder::new()
            .initial_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_header_list_size(MAX_HEADER_LIST)
            .enable_push(false)
            // Calls of clients that went away are given up in bursts; h2's default ends the connection after twenty (CVE-2023-44487), and
            // a server that was configured is no stranger.
            .max_concurrent_reset_streams(4_096)
            .handshake::<_, Bytes>(io)
            .await
            .map_err(|error| error.to_string())
    };
    let limit = target.config.connect_timeout;
    let (requests, mut connection) = tokio::time::timeout(limit, work)
        .await
        .map_err(|_| format!("not connected within {limit:?}"))??;
    let keepalive = target
        .config
        .keepalive
        .and_then(|keepalive| Some((keepalive, connection.ping_pong()?)));
    let task = Box::pin(async move {
        let ended = async {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "connection to a server ended");
            }
        };
        match keepalive {
            None => ended.await,
            Some((keepalive, pings)) => {
                tokio::select! {
                    () = ended => {}
                    () = watch(keepalive, pings) => tracing::debug!("a server does not answer pings"),
                }
            }
        }
    });
    Ok((requests, task))
}

/// Ends when a ping is not answered.
async fn watch(keepalive: Keepalive, mut pings: PingPong) {
    loop {
        tokio::time::sleep(keepalive.interval).await;
        match tokio::time::timeout(keepalive.timeout, pings.ping(Ping::opaque())).await {
            Ok(Ok(_)) => {}
            Ok(Err(_)) | Err(_) => return,
        }
    }
}

/// Looks after lingering calls when no others come.
async fn reap(pool: Weak<Pool>) {
    loop {
        tokio::time::sleep(REAPING).await;
        let Some(pool) = pool.upgrade() else { return };
        let now = Instant::now();
        let mut lingering = pool.lingering.borrow_mut();
        lingering.retain_mut(|call| !call.is_over(now));
        if lingering.is_empty() {
            pool.reaping.set(false);
            return;
        }
    }
}

impl Lingering {
    fn is_over(&mut self, now: Instant) -> bool {
        if now >= self.until {
            return true;
        }
        let mut context = Context::from_waker(Waker::noop());
        if let Some(response) = &mut self.response {
            match std::pin::Pin::new(response).poll(&mut context) {
                Poll::Ready(Ok(response)) => {
                    self.response = None;
                    self.body = Some(response.into_body());
                }
                Poll::Ready(Err(_)) => return true,
                Poll::Pending => return false,
            }
        }
        let Some(body) = &mut self.body else {
            return true;
        };
        loop {
            match body.poll_data(&mut context) {
                Poll::Ready(Some(Ok(data))) => {
                    // Nobody wants it, but the connection's window does.
                    let _ = body.flow_control().release_capacity(data.len());
                }
                Poll::Ready(Some(Err(_))) => return true,
                Poll::Ready(None) => return body.poll_trailers(&mut context).is_ready(),
                Poll::Pending => return false,
            }
        }
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool")
            .field("target", &self.target)
            .finish_non_exhaustive()
    }
}
