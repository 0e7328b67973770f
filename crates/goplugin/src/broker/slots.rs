//! Where addresses and acknowledgements wait for who asked for them, or the other way round.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::proto::ConnInfo;

/// Messages that may wait at a time. Each waits 5 s at most, so that a peer's flood is bounded in memory and time.
const MAX_WAITING: usize = 1024;

/// One place per number. A message for a taken place is dropped, as in Go.
#[derive(Default)]
pub(super) struct Slots(Mutex<HashMap<u32, Slot>>);

enum Slot {
    Arrived { info: ConnInfo, until: Instant },
    Awaited(oneshot::Sender<ConnInfo>),
}

impl Slots {
    /// Stores a message, for `keep` at most, or hands it to who waits.
    pub(super) fn put(&self, info: ConnInfo, keep: Duration) {
        let now = Instant::now();
        let mut slots = self.lock();
        let id = info.service_id;
        match slots.remove(&id) {
            Some(Slot::Awaited(waiter)) => {
                let _ = waiter.send(info);
                return;
            }
            Some(taken @ Slot::Arrived { until, .. }) if until > now => {
                slots.insert(id, taken);
                return;
            }
            _ => {}
        }
        if slots.len() >= MAX_WAITING {
            slots.retain(|_, slot| match slot {
                Slot::Arrived { until, .. } => *until > now,
                Slot::Awaited(waiter) => !waiter.is_closed(),
            });
        }
        if slots.len() < MAX_WAITING {
            let until = now + keep;
            slots.insert(id, Slot::Arrived { info, until });
        }
    }

    /// Takes the message for `id`, waiting up to `wait` for it.
    pub(super) async fn take(&self, id: u32, wait: Duration) -> Option<ConnInfo> {
        let message = {
            let mut slots = self.lock();
            match slots.remove(&id) {
                Some(Slot::Arrived { info, until }) if until > Instant::now() => return Some(info),
                _ => {}
            }
            let (waiter, message) = oneshot::channel();
            slots.insert(id, Slot::Awaited(waiter));
            message
        };

        tokio::time::timeout(wait, message).await.ok()?.ok()
    }

    /// Empties the place of `id`: what lies there answers an older question.
    pub(super) fn forget(&self, id: u32) {
        self.lock().remove(&id);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u32, Slot>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(id: u32, address: &str) -> ConnInfo {
        ConnInfo {
            service_id: id,
            address: address.to_owned(),
            ..ConnInfo::default()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn either_side_may_come_first() {
        let slots = Slots::default();
        slots.put(info(1, "a"), Duration::from_secs(5));
        assert_eq!(
            slots.take(1, Duration::from_secs(5)).await,
            Some(info(1, "a"))
        );

        let (taken, ()) = tokio::join!(slots.take(2, Duration::from_secs(5)), async {
            tokio::time::sleep(Duration::from_secs(4)).await;
            slots.put(info(2, "b"), Duration::from_secs(5));
        });
        assert_eq!(taken, Some(info(2, "b")));
    }

    #[tokio::test(start_paused = true)]
    async fn both_wait_five_seconds_and_no_longer() {
        let slots = Slots::default();
        let begin = Instant::now();
        assert_eq!(slots.take(1, Duration::from_secs(5)).await, None);
        assert_eq!(begin.elapsed(), Duration::from_secs(5));

        slots.put(info(2, "late"), Duration::from_secs(5));
        tokio::time::sleep(Duration::from_secs(6)).await;
        assert_eq!(slots.take(2, Duration::ZERO).await, None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_second_message_is_dropped_and_a_flood_is_bounded() {
        let slots = Slots::default();
        slots.put(info(1, "first"), Duration::from_secs(5));
        slots.put(info(1, "second"), Duration::from_secs(5));
        assert_eq!(slots.take(1, Duration::ZERO).await, Some(info(1, "first")));

        for id in 0..100_000 {
            slots.put(info(id, "x"), Duration::from_secs(5));
        }
        assert_eq!(slots.lock().len(), MAX_WAITING);
        tokio::time::sleep(Duration::from_secs(6)).await;
        slots.put(info(7, "after"), Duration::from_secs(5));
        assert_eq!(slots.take(7, Duration::ZERO).await, Some(info(7, "after")));
    }
}
