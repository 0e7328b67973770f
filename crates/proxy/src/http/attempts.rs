//! When a request is sent once more, and what is kept for that.
//!
//! Two things lead there. A connection from the pool may have been closed by its host just now: then the request is sent
//! again at once, to the same host, if that cannot do harm. And the route may have a policy, which is paced, bounded and
//! prefers another host. Neither applies once the answer's head has gone into the chain.

use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use transom_config::{RetryOn, RetryPolicy};

use crate::cluster::{Random, RetryPermit, WorkerHost};

/// The attempts to get an answer to a request. Small, as every connection has room for one: what only few requests need
/// lies elsewhere.
#[derive(Debug)]
pub(super) struct Attempts {
    /// Whether the method may be repeated without harm.
    idempotent: bool,
    /// A connection from the pool was dead already; another is not expected to be.
    was_stale: bool,
    /// A piece of the body was sent and not kept: it cannot be sent again.
    lost: bool,
    kept: Option<Box<Kept>>,
    planned: Option<Box<Planned>>,
}

/// The attempts of a request whose route has a policy.
#[derive(Debug)]
struct Planned {
    policy: Arc<RetryPolicy>,
    /// How often the request was sent again.
    retries: u32,
    /// The hosts of failed attempts.
    tried: Vec<Rc<WorkerHost>>,
    permit: Option<RetryPermit>,
    /// The next attempt begins then.
    pause_until: Option<Instant>,
    /// The attempt has failed when no answer has come by then.
    try_until: Option<Instant>,
}

/// What a failed attempt leads to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// The failure is the answer.
    Answer,
    /// So it is, because the policy allows no more attempts.
    Exhausted,
    /// So it is, because the cluster's budget allows no more retries.
    NoBudget,
    /// Another attempt after this time.
    Again(Duration),
}

/// The pieces of a body that were sent.
#[derive(Debug, Default)]
struct Kept {
    pieces: Vec<Bytes>,
    len: u64,
}

/// How much of a body is kept while it is not known whether a connection from the pool was dead: as much as a socket takes
/// at once.
const STALE_LIMIT: u64 = 64 << 10;

impl Attempts {
    pub(super) fn new(method: Option<&[u8]>) -> Self {
        Self {
            idempotent: method.is_some_and(is_idempotent),
            was_stale: false,
            lost: false,
            kept: None,
            planned: None,
        }
    }

    /// An attempt begins.
    pub(super) fn begin(&mut self, policy: Option<&Arc<RetryPolicy>>, now: Instant) {
        if self.planned.is_none() {
            self.planned = policy.map(|policy| {
                Box::new(Planned {
                    policy: Arc::clone(policy),
                    retries: 0,
                    tried: Vec::new(),
                    permit: None,
                    pause_until: None,
                    try_until: None,
                })
            });
        }
        if let Some(planned) = &mut self.planned {
            let limit = planned.policy.per_try_timeout;
            planned.try_until = limit.and_then(|limit| now.checked_add(limit));
        }
    }

    /// The hosts of failed attempts: none for the first.
    pub(super) fn tried(&self) -> &[Rc<WorkerHost>] {
        self.planned.as_ref().map_or(&[], |planned| &planned.tried)
    }

    /// When something must happen.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let planned = self.planned.as_ref()?;
        planned.pause_until.or(planned.try_until)
    }

    /// Whether the next attempt has to wait.
    pub(super) fn is_paused(&self) -> bool {
        let planned = self.planned.as_ref();
        planned.is_some_and(|planned| planned.pause_until.is_some())
    }

    /// True, once, when the time of the attempt is over. Ends a pause that is over.
    pub(super) fn on_deadline(&mut self, now: Instant) -> bool {
        let Some(planned) = &mut self.planned else {
            return false;
        };
        if let Some(until) = planned.pause_until {
            if until <= now {
                planned.pause_until = None;
            }
            return false;
        }
        let over = planned.try_until.is_some_and(|until| until <= now);
        if over {
            planned.try_until = None;
        }
        over
    }

    /// The answer has begun, or the request is given up: nothing more is sent again.
    pub(super) fn end(&mut self) {
        if let Some(planned) = &mut self.planned {
            planned.pause_until = None;
            planned.try_until = None;
        }
        self.lose();
    }

    /// Whether a piece of the body that goes to the host now is to be kept. `reused`: the connection served a request
    /// before; `sent`: something of this one was sent already.
    pub(super) fn keeps(&mut self, len: usize, reused: bool, sent: bool) -> bool {
        let limit = match &self.planned {
            Some(planned) if planned.retries < planned.policy.attempts => planned.policy.body_limit,
            _ if reused && !self.was_stale && (self.idempotent || !sent) => STALE_LIMIT,
            _ => 0,
        };
        let before = self.kept.as_ref().map_or(0, |kept| kept.len);
        if self.lost || before + len as u64 > limit {
            self.lose();
        }
        !self.lost
    }

    /// Keeps a piece.
    pub(super) fn keep(&mut self, piece: Bytes) {
        let kept = self.kept.get_or_insert_default();
        kept.len += piece.len() as u64;
        kept.pieces.push(piece);
    }

    /// The pieces that were sent, the last one first, to be put back where they came from.
    pub(super) fn take_back(&mut self) -> impl Iterator<Item = Bytes> + use<> {
        let kept = self.kept.take().unwrap_or_default();
        kept.pieces.into_iter().rev()
    }

    fn lose(&mut self) {
        self.lost = true;
        self.kept = None;
    }

    /// Whether a request goes out again after a connection from the pool ended without one byte of an answer: when nothing
    /// of it was sent, or its method is idempotent (RFC 9110 section 9.2.2), and its body can be sent again.
    pub(super) fn after_stale(&mut self, sent: bool) -> bool {
        let again = !self.was_stale && (!sent || self.idempotent) && !self.lost;
        self.was_stale |= again;
        again
    }

    /// What follows an attempt without an answer. `connected`: the host was there.
    pub(super) fn after_failure(&mut self, host: &Rc<WorkerHost>, connected: bool) -> Next {
        self.after(host, |on| on.is_failure(connected))
    }

    /// What follows an answer with this status.
    pub(super) fn after_status(&mut self, host: &Rc<WorkerHost>, status: u16) -> Next {
        self.after(host, |on| on.is_status(status))
    }

    fn after(&mut self, host: &Rc<WorkerHost>, is: impl Fn(RetryOn) -> bool) -> Next {
        let Some(planned) = &mut self.planned else {
            return Next::Answer;
        };
        let policy = &planned.policy;
        if self.lost || !policy.on.iter().any(|on| is(*on)) {
            return Next::Answer;
        }
        if planned.retries >= policy.attempts {
            return Next::Exhausted;
        }
        if planned.permit.is_none() {
            planned.permit = RetryPermit::take(host);
        }
        if planned.permit.is_none() {
            return Next::NoBudget;
        }
        let pause = pause(policy.backoff, planned.retries);
        planned.retries += 1;
        planned.tried.push(Rc::clone(host));
        planned.try_until = None;
        Next::Again(pause)
    }

    /// The next attempt waits so long.
    pub(super) fn pause(&mut self, now: Instant, pause: Duration) {
        if let Some(planned) = &mut self.planned {
            planned.pause_until = now.checked_add(pause).filter(|_| !pause.is_zero());
        }
    }
}

/// Whether a request may be repeated without harm (RFC 9110 section 9.2.2).
pub(crate) fn is_idempotent(method: &[u8]) -> bool {
    matches!(
        method,
        b"GET" | b"HEAD" | b"OPTIONS" | b"TRACE" | b"PUT" | b"DELETE"
    )
}

/// A random part of a time that doubles with each retry: those that failed at the same moment do not come back at the same
/// moment.
fn pause((first, last): (Duration, Duration), retries: u32) -> Duration {
    let bound = first.saturating_mul(1 << retries.min(16)).min(last);
    let nanos = u64::try_from(bound.as_nanos()).unwrap_or(u64::MAX);
    thread_local! {
        static RANDOM: Random = Random::new(std::process::id() as usize);
    }
    Duration::from_nanos(RANDOM.with(|random| random.below(nanos)))
}

#[cfg(test)]
mod tests {
    use transom_config::Statuses;

    use super::*;
    use crate::cluster::testing::cluster;

    fn policy(on: &[RetryOn], attempts: u32) -> Arc<RetryPolicy> {
        Arc::new(RetryPolicy {
            on: on.to_vec(),
            attempts,
            per_try_timeout: None,
            backoff: (Duration::ZERO, Duration::ZERO),
            body_limit: 10,
        })
    }

    fn begun(method: &[u8], policy: Option<&Arc<RetryPolicy>>) -> Attempts {
        let mut attempts = Attempts::new(Some(method));
        attempts.begin(policy, Instant::now());
        attempts
    }

    #[test]
    fn after_a_dead_connection_only_what_does_no_harm_goes_out_again() {
        for (method, sent, again) in [
            (&b"GET"[..], true, true),
            (b"PUT", true, true),
            (b"POST", true, false),
            (b"POST", false, true),
            (b"PATCH", true, false),
        ] {
            let mut attempts = begun(method, None);
            assert_eq!(attempts.after_stale(sent), again, "{method:?} {sent}");
            // And only once.
            assert!(!attempts.after_stale(sent));
        }
    }

    #[test]
    fn a_body_that_was_not_kept_does_not_go_out_again() {
        let mut attempts = begun(b"PUT", None);
        assert!(attempts.keeps(STALE_LIMIT as usize, true, true));
        attempts.keep(Bytes::from(vec![0; STALE_LIMIT as usize]));
        assert!(!attempts.keeps(1, true, true));
        assert!(!attempts.after_stale(true));
        // On a fresh connection nothing is kept without a policy.
        let mut attempts = begun(b"PUT", None);
        assert!(!attempts.keeps(1, false, true));
        let mut attempts = begun(b"POST", None);
        assert!(attempts.keeps(1, true, false));
        assert!(!attempts.keeps(1, true, true));
    }

    #[test]
    fn pieces_come_back_in_their_order() {
        let policy = policy(&[RetryOn::Reset], 1);
        let mut attempts = begun(b"POST", Some(&policy));
        for piece in ["one", "two"] {
            assert!(attempts.keeps(piece.len(), false, true));
            attempts.keep(Bytes::from_static(piece.as_bytes()));
        }
        let back: Vec<Bytes> = attempts.take_back().collect();
        assert_eq!(back, ["two", "one"]);
        assert!(attempts.keeps(10, false, true));
        assert!(!attempts.keeps(11, false, true));
    }

    #[test]
    fn a_policy_says_after_what_and_how_often() {
        let cluster = cluster(2);
        let host = cluster.pick(&[]).unwrap();
        let on = [
            RetryOn::ConnectFailure,
            RetryOn::Status(Statuses {
                first: 503,
                last: 504,
            }),
        ];
        let policy = policy(&on, 2);
        let mut attempts = begun(b"POST", Some(&policy));
        assert_eq!(attempts.after_status(&host, 500), Next::Answer);
        assert_eq!(attempts.after_failure(&host, true), Next::Answer);
        assert_eq!(
            attempts.after_status(&host, 503),
            Next::Again(Duration::ZERO)
        );
        assert_eq!(attempts.tried().len(), 1);
        assert_eq!(
            attempts.after_failure(&host, false),
            Next::Again(Duration::ZERO)
        );
        assert_eq!(attempts.after_status(&host, 504), Next::Exhausted);
        assert_eq!(host.state.retries.get(), 1);
        drop(attempts);
        assert_eq!(host.state.retries.get(), 0);
        let mut attempts = begun(b"GET", None);
        assert_eq!(attempts.after_failure(&host, false), Next::Answer);
    }

    #[test]
    fn the_budget_of_the_cluster_bounds_the_retries_of_all() {
        let cluster = cluster(2);
        let host = cluster.pick(&[]).unwrap();
        let policy = policy(&[RetryOn::ServerError], 1);
        let mut all: Vec<Attempts> = (0..4).map(|_| begun(b"GET", Some(&policy))).collect();
        let next: Vec<Next> = all
            .iter_mut()
            .map(|attempts| attempts.after_status(&host, 500))
            .collect();
        let again = || Next::Again(Duration::ZERO);
        assert_eq!(next, [again(), again(), again(), Next::NoBudget]);
    }

    #[test]
    fn pauses_grow_to_their_bound() {
        let backoff = (Duration::from_millis(25), Duration::from_millis(250));
        for (retries, most) in [(0, 25), (1, 50), (3, 200), (4, 250), (60, 250)] {
            let longest = (0..1_000).map(|_| pause(backoff, retries)).max().unwrap();
            let most = Duration::from_millis(most);
            assert!(
                longest < most && longest > most / 2,
                "{retries}: {longest:?}"
            );
        }
    }

    #[test]
    fn a_pause_and_an_attempt_end_in_time() {
        let mut policy = RetryPolicy::clone(&policy(&[RetryOn::Reset], 1));
        policy.per_try_timeout = Some(Duration::from_secs(2));
        let mut attempts = Attempts::new(None);
        let now = Instant::now();
        attempts.begin(Some(&Arc::new(policy)), now);
        assert_eq!(attempts.deadline(), Some(now + Duration::from_secs(2)));
        assert!(!attempts.on_deadline(now + Duration::from_secs(1)));
        assert!(attempts.on_deadline(now + Duration::from_secs(2)));
        attempts.pause(now, Duration::from_secs(1));
        assert!(attempts.is_paused());
        assert!(!attempts.on_deadline(now + Duration::from_secs(1)));
        assert!(!attempts.is_paused());
    }
}
