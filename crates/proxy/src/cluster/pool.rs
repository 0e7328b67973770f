//! Connections of a worker to a host that wait for their next request.

use std::cell::RefCell;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use crate::http::host_peer::HostPeer;
use crate::http::peer::Upstream;

/// Idle connections to one host. The one used last is taken first, so that the surplus grows old and is closed.
#[derive(Debug)]
pub(crate) struct Pool {
    idle: RefCell<Vec<Idle>>,
    idle_timeout: Duration,
    max_idle: usize,
}

#[derive(Debug)]
struct Idle {
    client: HostPeer,
    since: Instant,
}

impl Pool {
    pub(crate) fn new(config: &transom_config::Pool) -> Self {
        Self {
            idle: RefCell::default(),
            idle_timeout: config.idle_timeout,
            max_idle: config.max_idle as usize,
        }
    }

    /// A connection that is still good: open, nothing came on it unasked, and made with the TLS of `generation`.
    pub(crate) fn take(&self, now: Instant, generation: u64) -> Option<HostPeer> {
        let mut idle = self.idle.borrow_mut();
        while let Some(mut candidate) = idle.pop() {
            if now.saturating_duration_since(candidate.since) < self.idle_timeout
                && candidate.client.generation() == generation
                && is_quiet(&mut candidate.client)
            {
                return Some(candidate.client);
            }
        }
        None
    }

    /// Keeps a connection for later, unless there are enough.
    pub(crate) fn give(&self, client: HostPeer, now: Instant) {
        let mut idle = self.idle.borrow_mut();
        if idle.len() < self.max_idle {
            idle.push(Idle { client, since: now });
        }
    }

    /// Closes connections that are too old or were closed by the host. At most `most` are looked at, so that a turn
    /// stays short.
    pub(crate) fn sweep(&self, now: Instant, most: usize) {
        let mut idle = self.idle.borrow_mut();
        let looked_at = idle.len().min(most);
        let mut index = 0;
        for _ in 0..looked_at {
            let Some(candidate) = idle.get_mut(index) else {
                return;
            };
            if now.saturating_duration_since(candidate.since) < self.idle_timeout
                && is_quiet(&mut candidate.client)
            {
                index += 1;
            } else {
                idle.remove(index);
            }
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.idle.borrow().len()
    }
}

/// Whether nothing has come on an idle connection, not even its end. Costs no system call: the event loop has told the
/// socket already.
fn is_quiet(client: &mut HostPeer) -> bool {
    let mut context = Context::from_waker(Waker::noop());
    match client.poll_unasked(&mut context) {
        Poll::Pending => true,
        Poll::Ready(()) => false,
    }
}
