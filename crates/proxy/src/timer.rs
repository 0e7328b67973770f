//! Deadlines of connections.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Wake, Waker, ready};

use tokio::time::{Instant, Sleep, sleep_until};

/// How many of a worker's timers have gone off. It is read at each turn of each connection, so it is at hand.
pub(crate) type TimersGoneOff = Arc<AtomicU64>;

/// One timer per connection that is set again only when a deadline comes nearer: most deadlines move away before they
/// are reached, and setting a timer costs more than looking at one.
///
/// Even a look costs, because a timer lies in memory that nothing else of a turn touches. So who is woken by it counts that in
/// [`TimersGoneOff`] first, and as long as the count stands still no timer of the worker needs a look.
pub(crate) struct Timer {
    sleep: Option<Pin<Box<Sleep>>>,
    /// When `sleep` goes off.
    set_to: Instant,
    gone_off: TimersGoneOff,
    /// The count when `sleep` was last looked at.
    looked_at: u64,
    waker: Option<Waker>,
}

impl Timer {
    pub(crate) fn new(gone_off: &TimersGoneOff) -> Self {
        Self {
            sleep: None,
            set_to: Instant::now(),
            gone_off: Arc::clone(gone_off),
            looked_at: 0,
            waker: None,
        }
    }

    /// Ready with the time of now when `deadline` is reached. To be polled by one task only.
    pub(crate) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        deadline: std::time::Instant,
    ) -> Poll<std::time::Instant> {
        let deadline = Instant::from_std(deadline);
        let count = self.gone_off.load(Ordering::Relaxed);
        if self.sleep.is_some() && self.looked_at == count && self.set_to <= deadline {
            return Poll::Pending;
        }
        // Read before the look: what goes off after it is found the next time.
        self.looked_at = count;
        self.look(cx, deadline)
    }

    fn look(&mut self, cx: &mut Context<'_>, deadline: Instant) -> Poll<std::time::Instant> {
        let waker = self.waker.get_or_insert_with(|| {
            Waker::from(Arc::new(GoesOff {
                gone_off: Arc::clone(&self.gone_off),
                task: cx.waker().clone(),
            }))
        });
        let mut cx = Context::from_waker(waker);
        let sleep = self
            .sleep
            .get_or_insert_with(|| Box::pin(sleep_until(deadline)));
        if sleep.deadline() > deadline {
            sleep.as_mut().reset(deadline);
        }
        loop {
            self.set_to = sleep.deadline();
            ready!(sleep.as_mut().poll(&mut cx));
            let now = Instant::now();
            if now >= deadline {
                // So that a later deadline sets it again.
                self.sleep = None;
                return Poll::Ready(now.into_std());
            }
            sleep.as_mut().reset(deadline);
        }
    }
}

/// Wakes a task for its timer.
struct GoesOff {
    gone_off: TimersGoneOff,
    task: Waker,
}

impl Wake for GoesOff {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.gone_off.fetch_add(1, Ordering::Relaxed);
        self.task.wake_by_ref();
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::time::Duration;

    use super::*;

    async fn until(timer: &mut Timer, deadline: Instant) -> Duration {
        let began = Instant::now();
        poll_fn(|cx| timer.poll(cx, deadline.into_std())).await;
        began.elapsed()
    }

    /// Polls once.
    async fn is_due(timer: &mut Timer, deadline: Instant) -> bool {
        poll_fn(|cx| Poll::Ready(timer.poll(cx, deadline.into_std()).is_ready())).await
    }

    #[tokio::test(start_paused = true)]
    async fn deadlines_that_move_are_met() {
        let mut timer = Timer::new(&TimersGoneOff::default());
        let second = Duration::from_secs(1);
        for _ in 0..2 {
            let now = Instant::now();
            assert!(!is_due(&mut timer, now + 5 * second).await);
            // Nearer, and then further away than what it is set to.
            assert!(!is_due(&mut timer, now + 3 * second).await);
            assert_eq!(until(&mut timer, now + 9 * second).await, 9 * second);
            assert_eq!(until(&mut timer, now + 10 * second).await, second);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn each_of_many_goes_off_though_they_share_a_count() {
        let count = TimersGoneOff::default();
        let mut timers: Vec<Timer> = (0..3).map(|_| Timer::new(&count)).collect();
        let now = Instant::now();
        let due = now + Duration::from_secs(1);
        for timer in &mut timers {
            assert!(!is_due(timer, due).await);
        }
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert_eq!(count.load(Ordering::Relaxed), 3);
        for timer in &mut timers {
            assert!(is_due(timer, due).await);
        }
    }
}
