//! Deadlines of connections.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll, Wake, Waker, ready};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

/// One timer per connection that is set again only when a deadline comes nearer: most deadlines move away before they
/// are reached, and setting a timer costs more than looking at one.
///
/// Even a look costs, because a timer lies in memory that nothing else of a turn touches. So who is woken by it counts that in
/// [`Timers`] first, and as long as the count stands still no timer of the worker needs a look.
///
/// A deadline that is far away is only noted: a timer of the event loop is three times as large, and most connections are idle
/// ones whose deadline is a minute off. When it has come near, its task is woken and sets a timer that is exact.
pub(crate) struct Timer {
    timers: Rc<Timers>,
    /// When it looks again, at the latest.
    set_to: Instant,
    /// The count when it was last looked at.
    looked_at: u32,
    /// The number of its note; 0 if it is not noted.
    noted: u32,
    exact: Option<Box<Exact>>,
}

/// A timer of the event loop, and what it wakes.
struct Exact {
    sleep: Pin<Box<Sleep>>,
    waker: Waker,
}

/// The timers of a worker.
pub(crate) struct Timers {
    /// How many have gone off. It is read at each turn of each connection, so it is at hand.
    gone_off: Arc<AtomicU32>,
    /// Whom to wake for deadlines that are far away, in the order of their seconds since `began`.
    far: RefCell<BTreeMap<Note, Waker>>,
    last: Cell<u32>,
    began: Instant,
}

/// The second of a deadline, and a number that tells it from others.
type Note = (u32, u32);

/// What is nearer is set, and what is further away noted.
const NEAR: Duration = Duration::from_secs(3);
/// How often deadlines that have come near are looked for: more often than [`NEAR`], so that none is late.
pub(crate) const LOOK: Duration = Duration::from_secs(1);

impl Timer {
    pub(crate) fn new(timers: &Rc<Timers>) -> Self {
        Self {
            timers: Rc::clone(timers),
            set_to: timers.began,
            looked_at: 0,
            noted: 0,
            exact: None,
        }
    }

    /// Ready with the time of now when `deadline` is reached. To be polled by one task only.
    pub(crate) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        deadline: std::time::Instant,
    ) -> Poll<std::time::Instant> {
        let deadline = Instant::from_std(deadline);
        let count = self.timers.gone_off.load(Ordering::Relaxed);
        if self.looked_at == count && self.set_to <= deadline && self.is_armed() {
            return Poll::Pending;
        }
        // Read before the look: what goes off after it is found the next time.
        self.looked_at = count;
        self.look(cx, deadline)
    }

    #[inline]
    fn is_armed(&self) -> bool {
        self.noted != 0 || self.exact.is_some()
    }

    fn look(&mut self, cx: &mut Context<'_>, deadline: Instant) -> Poll<std::time::Instant> {
        let now = Instant::now();
        if deadline.saturating_duration_since(now) > NEAR {
            self.note(cx, deadline);
            return Poll::Pending;
        }
        if self.exact.is_none() {
            self.disarm();
            let waker = Waker::from(Arc::new(GoesOff {
                gone_off: Arc::clone(&self.timers.gone_off),
                task: cx.waker().clone(),
            }));
            let sleep = Box::pin(sleep_until(deadline));
            self.exact = Some(Box::new(Exact { sleep, waker }));
        }
        let Some(exact) = &mut self.exact else {
            return Poll::Pending;
        };
        let Exact { sleep, waker } = &mut **exact;
        if sleep.deadline() != deadline {
            sleep.as_mut().reset(deadline);
        }
        self.set_to = deadline;
        ready!(sleep.as_mut().poll(&mut Context::from_waker(waker)));
        // So that a later deadline sets it again.
        self.exact = None;
        Poll::Ready(Instant::now().into_std())
    }

    /// Notes a deadline that is far away, unless it is noted for the same second already.
    fn note(&mut self, cx: &mut Context<'_>, deadline: Instant) {
        let second = self.timers.second_of(deadline);
        if self.noted != 0
            && self.timers.second_of(self.set_to) == second
            && self.timers.far.borrow().contains_key(&(second, self.noted))
        {
            return;
        }
        self.disarm();
        self.noted = self.timers.note(second, cx.waker());
        self.set_to = self.timers.began + Duration::from_secs(second.into());
    }

    fn disarm(&mut self) {
        self.exact = None;
        let number = std::mem::take(&mut self.noted);
        if number != 0 {
            let note = (self.timers.second_of(self.set_to), number);
            let waker = self.timers.far.borrow_mut().remove(&note);
            // Now that the others can be had again: what a waker's end brings about is not known here.
            drop(waker);
        }
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        self.disarm();
    }
}

impl Default for Timers {
    fn default() -> Self {
        Self {
            gone_off: Arc::default(),
            far: RefCell::default(),
            last: Cell::new(0),
            began: Instant::now(),
        }
    }
}

impl Timers {
    /// Wakes those whose deadlines have come near. To be called every [`LOOK`].
    pub(crate) fn wake_near(&self) {
        let later = (self.second_of(Instant::now() + NEAR) + 1, 0);
        let mut far = self.far.borrow_mut();
        if far
            .first_key_value()
            .is_none_or(|(first, _)| *first >= later)
        {
            return;
        }
        let later = far.split_off(&later);
        let near = std::mem::replace(&mut *far, later);
        drop(far);
        self.gone_off
            .fetch_add(near.len() as u32, Ordering::Relaxed);
        for waker in near.into_values() {
            waker.wake();
        }
    }

    /// Notes whom to wake in a second; gives the note's number, which is not 0.
    fn note(&self, second: u32, waker: &Waker) -> u32 {
        let mut far = self.far.borrow_mut();
        loop {
            // It comes round after four thousand million.
            let number = self.last.get().wrapping_add(1).max(1);
            self.last.set(number);
            let note = (second, number);
            if let std::collections::btree_map::Entry::Vacant(place) = far.entry(note) {
                place.insert(waker.clone());
                return number;
            }
        }
    }

    fn second_of(&self, deadline: Instant) -> u32 {
        let seconds = deadline.saturating_duration_since(self.began).as_secs();
        u32::try_from(seconds).unwrap_or(u32::MAX - 1)
    }
}

/// Wakes a task for its timer.
struct GoesOff {
    gone_off: Arc<AtomicU32>,
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

    use tokio::task::LocalSet;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    async fn until(timer: &mut Timer, deadline: Instant) -> Duration {
        let began = Instant::now();
        poll_fn(|cx| timer.poll(cx, deadline.into_std())).await;
        began.elapsed()
    }

    /// Polls once.
    async fn is_due(timer: &mut Timer, deadline: Instant) -> bool {
        poll_fn(|cx| Poll::Ready(timer.poll(cx, deadline.into_std()).is_ready())).await
    }

    /// A worker's timers, looked at as a worker does, while `test` runs.
    async fn with_timers(test: impl AsyncFnOnce(Rc<Timers>)) {
        let timers = Rc::new(Timers::default());
        let looking = Rc::clone(&timers);
        let set = LocalSet::new();
        set.spawn_local(async move {
            loop {
                tokio::time::sleep(LOOK).await;
                looking.wake_near();
            }
        });
        set.run_until(test(timers)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn deadlines_that_move_are_met() {
        with_timers(async |timers| {
            let mut timer = Timer::new(&timers);
            for _ in 0..2 {
                let now = Instant::now();
                assert!(!is_due(&mut timer, now + 5 * SECOND).await);
                // Nearer, and then further away than what it is set to.
                assert!(!is_due(&mut timer, now + 3 * SECOND).await);
                assert_eq!(until(&mut timer, now + 9 * SECOND).await, 9 * SECOND);
                assert_eq!(until(&mut timer, now + 10 * SECOND).await, SECOND);
            }
        })
        .await;
    }

    #[tokio::test(start_paused = true)]
    async fn far_deadlines_are_met_to_the_millisecond() {
        with_timers(async |timers| {
            for millis in [2_999, 3_000, 3_001, 3_999, 4_000, 4_001, 60_000, 3_599_999] {
                let after = Duration::from_millis(millis);
                let mut timer = Timer::new(&timers);
                let due = Instant::now() + after;
                assert_eq!(until(&mut timer, due).await, after);
                tokio::time::sleep(Duration::from_millis(137)).await;
            }
        })
        .await;
    }

    #[tokio::test(start_paused = true)]
    async fn only_what_is_near_is_set() {
        with_timers(async |timers| {
            let mut timer = Timer::new(&timers);
            let due = Instant::now() + 60 * SECOND;
            assert!(!is_due(&mut timer, due).await);
            assert_ne!(timer.noted, 0);
            assert_eq!(timers.far.borrow().len(), 1);
            // Later, and still far: nothing is done about it.
            assert!(!is_due(&mut timer, due + SECOND).await);
            assert_eq!(timers.far.borrow().len(), 1);
            tokio::time::sleep(58 * SECOND).await;
            assert!(timers.far.borrow().is_empty());
            assert!(!is_due(&mut timer, due).await);
            assert!(timer.exact.is_some());
            assert!(!is_due(&mut timer, due + 60 * SECOND).await);
            drop(timer);
            assert!(timers.far.borrow().is_empty());
        })
        .await;
    }

    #[tokio::test(start_paused = true)]
    async fn each_of_many_goes_off_though_they_share_a_count() {
        with_timers(async |timers| {
            for after in [SECOND, 10 * SECOND] {
                let mut many: Vec<Timer> = (0..3).map(|_| Timer::new(&timers)).collect();
                let due = Instant::now() + after;
                let before = timers.gone_off.load(Ordering::Relaxed);
                for timer in &mut many {
                    assert!(!is_due(timer, due).await);
                }
                tokio::time::sleep(2 * after).await;
                assert_eq!(timers.gone_off.load(Ordering::Relaxed), before + 3);
                for timer in &mut many {
                    assert!(is_due(timer, due).await);
                }
            }
        })
        .await;
    }
}
