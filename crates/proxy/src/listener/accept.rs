//! Accepting: when, how many, and for which worker.
//!
//! A connection is left in the kernel's queue until it may be served: a client that waits there is not reset. Workers accept on
//! their own sockets of TCP, the control side on Unix sockets.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::SocketFlags;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::Notify;
use transom_config::Balance;

use super::limits::{Admission, Full, ListenerLimits, On, Pause};
use crate::metrics::Shard;

/// So many connections are accepted before other listeners, and connections, have their turn: with the two system calls that
/// each costs, about a quarter of a millisecond.
const TURN: u32 = 32;
/// How often it is looked whether the process has a place again. Each worker looks by itself, so that nobody who ends a connection
/// has to wake others.
const LOOK_FOR_PLACE: Duration = Duration::from_millis(10);
/// Without descriptors: trying at once would only burn the core.
const AFTER_ERROR: Duration = Duration::from_millis(50);

/// Whose connections are accepted.
pub(crate) trait Accepting {
    /// What bounds them now.
    fn limits(&self) -> Arc<ListenerLimits>;

    /// The worker that accepts; `None` on the control side.
    fn worker(&self) -> Option<usize>;

    /// The listener's name, for the log.
    fn name(&self) -> String;

    fn shard(&self) -> &Shard;

    /// Takes a connection over.
    fn serve(&self, socket: OwnedFd, admission: Admission);
}

/// What ends accepting.
#[derive(Default)]
pub(crate) struct Stop {
    told: AtomicBool,
    notify: Notify,
}

impl Stop {
    /// No more is accepted but what is queued already.
    pub(crate) fn stop(&self) {
        self.told.store(true, Ordering::Relaxed);
        self.notify.notify_one();
    }

    fn is_told(&self) -> bool {
        self.told.load(Ordering::Relaxed)
    }

    async fn wait(&self) {
        while !self.is_told() {
            self.notify.notified().await;
        }
    }

    async fn pause(&self, duration: Duration) {
        tokio::select! {
            () = tokio::time::sleep(duration) => {}
            () = self.wait() => {}
        }
    }
}

/// Accepts until told to stop. What the kernel had queued by then is still served.
pub(crate) async fn accept(socket: OwnedFd, stop: &Stop, by: &impl Accepting) {
    let socket = match watch(socket) {
        Ok(socket) => socket,
        Err(error) => {
            tracing::error!(listener = by.name(), %error, "connections cannot be accepted");
            return;
        }
    };
    let mut run = 0;
    loop {
        let mut guard = tokio::select! {
            biased;
            () = stop.wait() => break,
            ready = socket.readable() => match ready {
                Ok(guard) => guard,
                // The event loop ends.
                Err(_) => return,
            },
        };
        run += 1;
        if run > TURN {
            run = 0;
            tokio::task::yield_now().await;
        }
        let limits = by.limits();
        if let Some((pause, wait)) = obstacle(&limits) {
            by.shard().add(limits.pause(pause).0, 1);
            stop.pause(wait).await;
            continue;
        }
        match accept_one(&socket) {
            Ok(connection) => admit(connection, &limits, stop, by).await,
            Err(Errno::AGAIN) => guard.clear_ready(),
            // It broke before it was accepted.
            Err(error) if is_of_connection(error) => {}
            Err(error) => {
                by.shard().add(limits.pause(Pause::Descriptors).0, 1);
                complain(&by.name(), error);
                stop.pause(AFTER_ERROR).await;
            }
        }
    }
    while let Ok(connection) = accept_one(&socket) {
        admit(connection, &by.limits(), stop, by).await;
    }
}

/// Has the event loop tell when a connection is there, which tokio's own listeners tell only by accepting it.
#[expect(unsafe_code, reason = "tokio has no safe way to watch a descriptor")]
fn watch(socket: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an `OwnedFd` is an open descriptor and stays the same one until it is dropped, which the `AsyncFd` does when it
    // is dropped itself.
    let watched = unsafe { AsyncFd::register_with_interest(socket, Interest::READABLE) };
    watched.map_err(io::Error::from)
}

/// What keeps connections from being accepted now, and for how long at least.
fn obstacle(limits: &ListenerLimits) -> Option<(Pause, Duration)> {
    if !limits.has_place() {
        return Some((Pause::Full, LOOK_FOR_PLACE));
    }
    let wait = limits.rate.as_ref()?.wait(Instant::now());
    (!wait.is_zero()).then_some((Pause::Rate, wait))
}

fn accept_one(socket: &AsyncFd<OwnedFd>) -> Result<OwnedFd, Errno> {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    rustix::net::accept_with(socket.get_ref(), flags)
}

/// Hands a connection on, or closes it if the listener has its most.
async fn admit(connection: OwnedFd, limits: &ListenerLimits, stop: &Stop, by: &impl Accepting) {
    if let Some(rate) = &limits.rate {
        // Another worker took the token that was seen.
        let wait = rate.take(Instant::now());
        if !wait.is_zero() {
            stop.pause(wait).await;
        }
    }
    loop {
        let on = match (by.worker(), limits.balance) {
            // Other workers may be gone already when this one hands over what was queued.
            (Some(here), _) if stop.is_told() => On::Worker(here),
            (Some(here), Balance::Kernel) => On::Worker(here),
            (here, _) => On::Least(here),
        };
        match limits.admit(on, stop.is_told()) {
            Ok(admission) => return by.serve(connection, admission),
            Err(Full::Listener) => {
                return by.shard().add(limits.metrics.refused.0, 1);
            }
            // Another worker took the place that was seen.
            Err(Full::Process) => stop.pause(LOOK_FOR_PLACE).await,
        }
    }
}

/// Whether an error is the connection's and not the socket's (accept(2), "Error handling").
fn is_of_connection(error: Errno) -> bool {
    [
        Errno::CONNABORTED,
        Errno::HOSTDOWN,
        Errno::HOSTUNREACH,
        Errno::INTR,
        Errno::NETDOWN,
        Errno::NETUNREACH,
        Errno::NONET,
        Errno::NOPROTOOPT,
        Errno::OPNOTSUPP,
        Errno::PERM,
        Errno::PROTO,
    ]
    .contains(&error)
}

/// Says that there are no descriptors: once a second, for all listeners and workers.
fn complain(listener: &str, error: Errno) {
    static BEGAN: LazyLock<Instant> = LazyLock::new(Instant::now);
    // No second that there is.
    static LAST: AtomicU64 = AtomicU64::new(u64::MAX);
    let now = BEGAN.elapsed().as_secs();
    if LAST.swap(now, Ordering::Relaxed) != now {
        tracing::warn!(
            listener,
            %error,
            "connections wait to be accepted: raise the limit of open files, or lower limits.max_connections"
        );
    }
}
