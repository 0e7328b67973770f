//! A bound on how much of a plugin's talk reaches the host's log.

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

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

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
