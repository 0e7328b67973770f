//! When a plugin that ended is started again.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use super::spec::Restart;

/// The ends of one process after another.
#[derive(Debug)]
pub(super) struct Restarts {
    rules: Restart,
    /// When it ended lately.
    ends: VecDeque<Instant>,
    /// Pauses in a row.
    pauses: u32,
}

/// What comes after an end.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Next {
    /// It is started again after this pause, which may be none.
    After(Duration),
    /// It ended too often.
    GiveUp,
}

impl Restarts {
    pub(super) fn new(rules: Restart) -> Self {
        Self {
            rules,
            ends: VecDeque::new(),
            pauses: 0,
        }
    }

    /// It ended after having been ready for so long; `None` when it would not start.
    pub(super) fn ended(&mut self, lived: Option<Duration>, now: Instant) -> Next {
        // Who lived longer than the longest pause is not one that dies at once.
        if lived.is_some_and(|lived| lived >= self.rules.longest) {
            self.forgive();
        }
        self.ends.push_back(now);
        while self
            .ends
            .front()
            .is_some_and(|end| now.duration_since(*end) > self.rules.window)
        {
            self.ends.pop_front();
        }
        if self.rules.limit > 0 && self.ends.len() >= self.rules.limit as usize {
            return Next::GiveUp;
        }
        if lived.is_some() && self.ends.len() == 1 && self.pauses == 0 {
            return Next::After(Duration::ZERO);
        }
        let pause = self
            .rules
            .first
            .saturating_mul(1 << self.pauses.min(20))
            .min(self.rules.longest);
        self.pauses = self.pauses.saturating_add(1);
        Next::After(jittered(pause, self.rules.jitter))
    }

    /// Somebody wants it, whatever was before.
    pub(super) fn forgive(&mut self) {
        self.ends.clear();
        self.pauses = 0;
    }
}

/// Longer or shorter by up to this part.
fn jittered(pause: Duration, part: f64) -> Duration {
    let mut bytes = [0; 4];
    // Without randomness pauses are regular, which harms nobody.
    if rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty()).is_err() {
        return pause;
    }
    let random = f64::from(u32::from_ne_bytes(bytes)) / f64::from(u32::MAX);
    pause.mul_f64((1.0 + part * (2.0 * random - 1.0)).max(0.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules() -> Restart {
        Restart {
            jitter: 0.0,
            ..Restart::default()
        }
    }

    fn ms(pause: u64) -> Next {
        Next::After(Duration::from_millis(pause))
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_restart_is_at_once_and_pauses_double() {
        let mut restarts = Restarts::new(Restart {
            limit: 0,
            ..rules()
        });
        let lived = Some(Duration::from_millis(5));
        let seen: Vec<Next> = (0..9)
            .map(|_| restarts.ended(lived, Instant::now()))
            .collect();
        let wanted = [0, 100, 200, 400, 800, 1600, 3200, 6400, 10_000].map(ms);
        assert_eq!(seen, wanted);
        // One that would not start at all has no first restart for free.
        let mut restarts = Restarts::new(rules());
        assert_eq!(restarts.ended(None, Instant::now()), ms(100));
    }

    #[tokio::test(start_paused = true)]
    async fn a_long_life_forgives_and_a_crash_loop_ends() {
        let mut restarts = Restarts::new(Restart {
            limit: 3,
            ..rules()
        });
        let short = Some(Duration::ZERO);
        restarts.ended(short, Instant::now());
        restarts.ended(short, Instant::now());
        assert_eq!(
            restarts.ended(Some(Duration::from_secs(60)), Instant::now()),
            ms(0)
        );
        assert_eq!(restarts.ended(short, Instant::now()), ms(100));
        assert_eq!(restarts.ended(short, Instant::now()), Next::GiveUp);
        restarts.forgive();
        assert_eq!(restarts.ended(short, Instant::now()), ms(0));
        // Ends that are long ago count no more.
        restarts.ended(short, Instant::now());
        tokio::time::advance(Duration::from_secs(61)).await;
        assert_ne!(restarts.ended(short, Instant::now()), Next::GiveUp);
    }

    #[test]
    fn jitter_stays_within_its_part() {
        let pause = Duration::from_secs(1);
        for _ in 0..100 {
            let jittered = jittered(pause, 0.2);
            assert!(
                (0.8..=1.2).contains(&jittered.as_secs_f64()),
                "{jittered:?}"
            );
        }
        assert_eq!(jittered(pause, 0.0), pause);
    }
}
