//! A bound on how much of a plugin's talk reaches the host's log.

use std::time::Duration;

use tokio::time::Instant;

/// A bucket of lines: as many at once as it holds, then as many as flow in.
#[derive(Debug)]
pub(crate) struct Limit {
    per_second: f64,
    level: f64,
    at: Instant,
    dropped: u64,
}

impl Limit {
    /// `per_second` lines, and as many in one burst.
    pub(crate) fn new(per_second: u32) -> Self {
        Self {
            per_second: f64::from(per_second),
            level: f64::from(per_second),
            at: Instant::now(),
            dropped: 0,
        }
    }

    /// Whether one more line may pass. `Ok(n)` says that `n` lines before it did not.
    pub(crate) fn admit(&mut self) -> Result<u64, ()> {
        let now = Instant::now();
        let flowed = (now - self.at).as_secs_f64() * self.per_second;
        self.at = now;
        self.level = (self.level + flowed).min(self.per_second);
        if self.level < 1.0 {
            self.dropped += 1;
            return Err(());
        }
        self.level -= 1.0;
        Ok(std::mem::take(&mut self.dropped))
    }

    /// Lines that were dropped since one passed.
    pub(crate) fn dropped(&mut self) -> u64 {
        std::mem::take(&mut self.dropped)
    }
}

/// How fast a plugin is listened to. One that floods its output would have the host spend as much time on it as it spends itself; it
/// waits instead.
#[derive(Debug)]
pub(crate) struct Pace {
    level: f64,
    at: Instant,
}

/// Bytes of a second, and of a burst: more than any log, and a few percent of one CPU to look through.
const BYTES: f64 = (4 << 20) as f64;

/// The shortest pause: timers are no finer.
const PAUSE: Duration = Duration::from_millis(2);

impl Pace {
    pub(crate) fn new() -> Self {
        Self {
            level: BYTES,
            at: Instant::now(),
        }
    }

    /// How long to wait before more is read than these bytes.
    pub(crate) fn wait(&mut self, bytes: usize) -> Option<Duration> {
        let now = Instant::now();
        let flowed = (now - self.at).as_secs_f64() * BYTES;
        self.at = now;
        self.level = (self.level + flowed).min(BYTES) - bytes as f64;
        (self.level < 0.0).then(|| Duration::from_secs_f64(-self.level / BYTES).max(PAUSE))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_flood_is_read_at_its_pace() {
        let mut pace = Pace::new();
        // A burst, and what a log has, do not wait.
        assert_eq!(pace.wait(4 << 20), None);
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(pace.wait(1 << 20), None);
        let begun = Instant::now();
        let mut read = 1 << 20;
        while read < 13 << 20 {
            if let Some(pause) = pace.wait(16 << 10) {
                tokio::time::sleep(pause).await;
            }
            read += 16 << 10;
        }
        let took = begun.elapsed().as_secs_f64();
        assert!((2.0..2.5).contains(&took), "{took}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_flood_is_cut_and_its_size_is_told() {
        let mut limit = Limit::new(10);
        let passed = (0..1000).filter(|_| limit.admit().is_ok()).count();
        assert_eq!(passed, 10);
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(limit.admit(), Ok(990));
        assert_eq!(limit.admit(), Ok(0));
    }
}
