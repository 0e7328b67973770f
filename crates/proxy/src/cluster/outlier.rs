//! Passive health: hosts that fail in traffic are left out for a while.
//!
//! Workers count failures in a row in the host, which they share, and whoever counts the last one puts the host out. The
//! control side brings it back when its time is over ([`bring_back`]).

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use transom_config::OutlierDetection;

use super::{Ailment, ClusterState, Host, WorkerHost};
use crate::worker::Worker;

/// What is known of a host's failures.
#[derive(Debug, Default)]
pub(crate) struct Failures {
    in_a_row: AtomicU32,
    /// How often it was left out, less the times that it was well since.
    times: AtomicU32,
    /// When it comes back, or when it has been well for long enough to be left out for a shorter time: milliseconds of
    /// [`clock`].
    until: AtomicU64,
}

impl WorkerHost {
    /// An attempt at this host failed, or did not.
    pub(crate) fn note_outcome(&self, good: bool, worker: &Worker) {
        let Some(config) = &self.cluster.outlier_detection else {
            return;
        };
        if note(&self.host, &self.state, config, good, clock()) {
            worker.shard.add(self.metrics.ejections.0, 1);
            tracing::warn!(
                cluster = self.cluster.name,
                host = self.host.text,
                "a host is left out for a while after failures in a row"
            );
        }
    }
}

/// True when that put the host out.
fn note(
    host: &Host,
    state: &ClusterState,
    config: &OutlierDetection,
    good: bool,
    now: Duration,
) -> bool {
    let failures = &host.failures;
    if good {
        // Looked at first: most of the time nobody has to write.
        if failures.in_a_row.load(Ordering::Relaxed) != 0 {
            failures.in_a_row.store(0, Ordering::Relaxed);
        }
        return false;
    }
    let in_a_row = failures.in_a_row.fetch_add(1, Ordering::Relaxed) + 1;
    if in_a_row < config.consecutive_failures || host.has(Ailment::Ejected) {
        return false;
    }
    let share = u64::from(state.hosts.load(Ordering::Relaxed)) * u64::from(config.max_ejected);
    let most = u32::try_from(share / 100).unwrap_or(u32::MAX).max(1);
    if !state.ejected.enter(Some(most)) {
        return false;
    }
    failures.in_a_row.store(0, Ordering::Relaxed);
    let times = failures.times.fetch_add(1, Ordering::Relaxed) + 1;
    let time = config
        .base_ejection
        .saturating_mul(times)
        .min(config.max_ejection);
    failures.until.store(millis(now + time), Ordering::Relaxed);
    if !host.set(Ailment::Ejected, true) {
        // Another worker was quicker by a moment.
        state.ejected.leave();
        failures.times.fetch_sub(1, Ordering::Relaxed);
        return false;
    }
    state.health_changed();
    true
}

/// Brings back a host whose time is over. For the control side, every now and then.
pub(crate) fn bring_back(host: &Host, state: &ClusterState, config: &OutlierDetection) {
    let now = clock();
    let failures = &host.failures;
    if millis(now) < failures.until.load(Ordering::Relaxed) {
        return;
    }
    if host.set(Ailment::Ejected, false) {
        state.ejected.leave();
        state.health_changed();
        tracing::info!(host = host.text, "a host is used again after failures");
    } else if failures.times.load(Ordering::Relaxed) > 0 {
        failures.times.fetch_sub(1, Ordering::Relaxed);
    }
    // The next word on it: it was well for so long.
    failures
        .until
        .store(millis(now + config.base_ejection), Ordering::Relaxed);
}

/// Forgets all failures. For the control side, when nobody looks at them any more.
pub(crate) fn forget(host: &Host, state: &ClusterState) {
    let failures = &host.failures;
    failures.in_a_row.store(0, Ordering::Relaxed);
    failures.times.store(0, Ordering::Relaxed);
    if host.set(Ailment::Ejected, false) {
        state.health_changed();
    }
}

/// Time since somebody first asked, the same for all threads.
fn clock() -> Duration {
    static BEGAN: OnceLock<Instant> = OnceLock::new();
    BEGAN.get_or_init(Instant::now).elapsed()
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: OutlierDetection = OutlierDetection {
        consecutive_failures: 3,
        base_ejection: Duration::from_millis(100),
        max_ejection: Duration::from_millis(250),
        max_ejected: 50,
    };

    fn host() -> Host {
        Host::new("127.0.0.1:1".parse().unwrap())
    }

    fn state(hosts: u32) -> ClusterState {
        let state = ClusterState::default();
        state.hosts.store(hosts, Ordering::Relaxed);
        state
    }

    fn outcomes(host: &Host, state: &ClusterState, outcomes: &str) -> Vec<bool> {
        outcomes
            .chars()
            .map(|outcome| note(host, state, &CONFIG, outcome == '+', Duration::ZERO))
            .collect()
    }

    #[test]
    fn failures_in_a_row_put_a_host_out() {
        let (host, state) = (host(), state(4));
        assert_eq!(
            outcomes(&host, &state, "--+--")
                .iter()
                .filter(|out| **out)
                .count(),
            0
        );
        assert_eq!(outcomes(&host, &state, "-"), [true]);
        assert!(!host.is_healthy());
        // It is out once.
        assert_eq!(outcomes(&host, &state, "----"), [false; 4]);
        assert_eq!(state.ejected.get(), 1);
    }

    #[test]
    fn only_so_many_are_out_at_once_but_one_in_any_case() {
        for (hosts, most) in [(1, 1), (2, 1), (4, 2), (5, 2)] {
            let state = state(hosts);
            let all: Vec<Host> = (0..hosts).map(|_| host()).collect();
            for host in &all {
                outcomes(host, &state, "---");
            }
            let out = all.iter().filter(|host| !host.is_healthy()).count();
            assert_eq!(out, most, "of {hosts}");
        }
    }

    #[test]
    fn each_time_is_longer_up_to_the_bound() {
        let (host, state) = (host(), state(2));
        for expected in [100, 200, 250, 250] {
            assert_eq!(outcomes(&host, &state, "---"), [false, false, true]);
            assert_eq!(host.failures.until.load(Ordering::Relaxed), expected);
            host.set(Ailment::Ejected, false);
            state.ejected.leave();
        }
    }

    #[test]
    fn a_host_comes_back_when_its_time_is_over_and_is_forgiven_when_it_stays_well() {
        let (host, state) = (host(), state(2));
        assert!(note(
            &host,
            &state,
            &OutlierDetection {
                consecutive_failures: 1,
                ..CONFIG
            },
            false,
            clock()
        ));
        bring_back(&host, &state, &CONFIG);
        assert!(!host.is_healthy());
        host.failures.until.store(0, Ordering::Relaxed);
        bring_back(&host, &state, &CONFIG);
        assert!(host.is_healthy());
        assert_eq!(
            (
                state.ejected.get(),
                host.failures.times.load(Ordering::Relaxed)
            ),
            (0, 1)
        );
        host.failures.until.store(0, Ordering::Relaxed);
        bring_back(&host, &state, &CONFIG);
        assert_eq!(host.failures.times.load(Ordering::Relaxed), 0);
    }
}
