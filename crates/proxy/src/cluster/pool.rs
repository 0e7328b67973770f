//! Connections of a worker to a host that wait for their next request.

use std::cell::RefCell;
use std::time::{Duration, Instant};

use super::{Identity, Lease};
use crate::http::peer::Upstream;

/// Idle connections to one host. The one used last is taken first, so that the surplus grows old and is closed.
#[derive(Debug)]
pub(crate) struct Pool {
    idle: RefCell<Vec<Idle>>,
    idle_timeout: Duration,
    max_idle: usize,
    max_age: Option<Duration>,
}

#[derive(Debug)]
struct Idle {
    client: Lease,
    since: Instant,
}

impl Pool {
    pub(crate) fn new(config: &transom_config::Pool) -> Self {
        Self {
            idle: RefCell::default(),
            idle_timeout: config.idle_timeout,
            max_idle: config.max_idle as usize,
            max_age: config.max_age,
        }
    }

    /// A connection that is still good: open, nothing came on it unasked, and made for the same.
    pub(crate) fn take(&self, now: Instant, identity: &Identity) -> Option<Lease> {
        let mut idle = self.idle.borrow_mut();
        // Those with another name are for other requests.
        let mut end = idle.len();
        while let Some(index) = idle.get(..end).and_then(|idle| {
            idle.iter()
                .rposition(|it| is_for(it.client.identity(), identity))
        }) {
            let mut candidate = idle.remove(index);
            if is_young(&candidate, now, self.idle_timeout, self.max_age)
                && candidate.client.identity() == identity
                && is_quiet(&mut candidate.client)
            {
                return Some(candidate.client);
            }
            end = index;
        }
        None
    }

    /// Keeps a connection for later, unless there are enough.
    pub(crate) fn give(&self, client: Lease, now: Instant) {
        let mut idle = self.idle.borrow_mut();
        // With as many as may be, one for the name that is asked for now is worth more than one for a name of old.
        if idle.len() >= self.max_idle
            && idle
                .first()
                .is_some_and(|oldest| oldest.client.identity() != client.identity())
        {
            idle.remove(0);
        }
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
            if is_young(candidate, now, self.idle_timeout, self.max_age)
                && !candidate.client.identity().is_orphan()
                && is_quiet(&mut candidate.client)
            {
                index += 1;
            } else {
                idle.remove(index);
            }
        }
    }

    /// Closes the connection that was used longest ago. False when there is none.
    pub(crate) fn close_oldest(&self) -> bool {
        let mut idle = self.idle.borrow_mut();
        let oldest = (!idle.is_empty()).then(|| idle.remove(0));
        drop(idle);
        oldest.is_some()
    }

    pub(crate) fn len(&self) -> usize {
        self.idle.borrow().len()
    }
}

/// Whether a connection is looked at for a request: those of an old state of the TLS are, as they are of no use to any.
fn is_for(made: &Identity, wanted: &Identity) -> bool {
    made.tls.generation != wanted.tls.generation || made == wanted
}

fn is_young(idle: &Idle, now: Instant, timeout: Duration, max_age: Option<Duration>) -> bool {
    now.saturating_duration_since(idle.since) < timeout
        && max_age.is_none_or(|most| idle.client.age(now) < most)
}

/// Whether nothing has come on an idle connection, not even its end. Costs no system call: the event loop has told the
/// socket already.
fn is_quiet(client: &mut Lease) -> bool {
    !client.has_unasked()
}
