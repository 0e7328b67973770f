//! What waits to be logged, and the batches in which it leaves.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body::{Body, Frame};
use tokio::time::{Instant, Sleep};

use super::wire::{self, log};

/// So many bytes make a batch full: some hundred entries, and a few frames of HTTP/2.
const FULL: usize = 64 << 10;
/// So old may the oldest entry of a batch become. A person who watches a log sees no delay.
const OLD: Duration = Duration::from_millis(200);
/// So many bytes may wait. More than a second of a busy worker, and nothing beside what streams may hold.
const MOST: usize = 1 << 20;

/// Entries or lines on their way to a plugin. Locked for a push and for a batch, by the threads of one side only each; a lock
/// because HTTP/2's parts ask for `Send`.
#[derive(Debug)]
pub(super) struct Queue {
    use_id: u64,
    gathered: Mutex<Gathered>,
}

#[derive(Debug, Default)]
struct Gathered {
    /// Encoded, with their fields' keys.
    entries: VecDeque<Bytes>,
    bytes: usize,
    /// When the first of them came.
    since: Option<Instant>,
    /// Lost since the last batch.
    lost: u64,
    /// Lost since whoever counts that was told.
    uncounted: u64,
    /// How many entries the last batches had that may not have arrived.
    last: [u64; 2],
    waker: Option<Waker>,
    ended: bool,
}

impl Queue {
    pub(super) fn new(use_id: u64) -> Arc<Self> {
        Arc::new(Self {
            use_id,
            gathered: Mutex::default(),
        })
    }

    /// Puts an entry behind the others; how many were lost since the last time.
    pub(super) fn push(&self, entry: Bytes) -> u64 {
        let mut gathered = self.lock();
        while gathered.bytes + entry.len() > MOST
            && let Some(oldest) = gathered.entries.pop_front()
        {
            gathered.bytes -= oldest.len();
            gathered.lost += 1;
            gathered.uncounted += 1;
        }
        let lost = std::mem::take(&mut gathered.uncounted);
        let is_first = gathered.entries.is_empty();
        gathered.bytes += entry.len();
        gathered.entries.push_back(entry);
        if is_first {
            gathered.since = Some(Instant::now());
        }
        // Between the first and the last of a batch there is nothing to do for whoever sends it.
        let waker = if is_first || gathered.bytes >= FULL {
            gathered.waker.take()
        } else {
            None
        };
        drop(gathered);
        if let Some(waker) = waker {
            waker.wake();
        }
        lost
    }

    /// The last batch leaves, and then the call ends. Whether anything was waiting or may be on its way.
    pub(super) fn end(&self) -> bool {
        let mut gathered = self.lock();
        gathered.ended = true;
        let waits = !gathered.entries.is_empty() || gathered.last != [0, 0];
        let waker = gathered.waker.take();
        drop(gathered);
        if let Some(waker) = waker {
            waker.wake();
        }
        waits
    }

    pub(super) fn is_ended(&self) -> bool {
        self.lock().ended
    }

    /// The call broke: what left last may have met nobody.
    pub(super) fn lose_last(&self) {
        let mut gathered = self.lock();
        let lost = gathered.last.iter().sum::<u64>();
        gathered.last = [0, 0];
        gathered.lost += lost;
        gathered.uncounted += lost;
        gathered.waker = None;
    }

    fn lock(&self) -> MutexGuard<'_, Gathered> {
        self.gathered.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Gathered {
    /// A message of gRPC with as much as fits into a batch.
    fn batch(&mut self, use_id: u64) -> Bytes {
        let mut size = 0;
        let mut count = 0;
        for entry in &self.entries {
            if count > 0 && size + entry.len() > FULL {
                break;
            }
            size += entry.len();
            count += 1;
        }
        let mut buffer = BytesMut::with_capacity(size + 32);
        let lost = std::mem::take(&mut self.lost);
        wire::message(&mut buffer, use_id, 0, |it| {
            for entry in self.entries.drain(..count) {
                it.raw(&entry);
            }
            it.number(log::LOST, lost);
        });
        self.bytes -= size;
        self.since = self.since.filter(|_| !self.entries.is_empty());
        let [_, before] = self.last;
        self.last = [before, count as u64];
        buffer.freeze()
    }
}

/// The batches, as the body of a call.
pub(super) struct Outgoing {
    queue: Arc<Queue>,
    sleep: Pin<Box<Sleep>>,
}

impl Outgoing {
    pub(super) fn new(queue: Arc<Queue>) -> Self {
        Self {
            queue,
            sleep: Box::pin(tokio::time::sleep(Duration::ZERO)),
        }
    }
}

impl Body for Outgoing {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let this = &mut *self;
        let mut gathered = this.queue.lock();
        if gathered.entries.is_empty() {
            if gathered.ended {
                return Poll::Ready(None);
            }
            gathered.waker = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let due = gathered.since.map(|since| since + OLD);
        if gathered.bytes < FULL
            && !gathered.ended
            && let Some(due) = due
        {
            if this.sleep.deadline() != due {
                this.sleep.as_mut().reset(due);
            }
            if this.sleep.as_mut().poll(cx).is_pending() {
                gathered.waker = Some(cx.waker().clone());
                return Poll::Pending;
            }
        }
        let batch = gathered.batch(this.queue.use_id);
        Poll::Ready(Some(Ok(Frame::data(batch))))
    }
}

#[cfg(test)]
mod tests {
    use prost::Message as _;

    use super::*;
    use crate::v1::LogBatch;

    /// `LogBatch.lines`.
    const LINES: u32 = 3;

    fn line(text: &[u8]) -> Bytes {
        wire::piece(|it| it.bytes(LINES, text))
    }

    async fn next(body: &mut Outgoing) -> Option<LogBatch> {
        let frame = std::future::poll_fn(|cx| Pin::new(&mut *body).poll_frame(cx)).await?;
        let data = frame.unwrap().into_data().unwrap();
        assert_eq!(data[0], 0);
        Some(LogBatch::decode(&data[5..]).unwrap())
    }

    #[tokio::test(start_paused = true)]
    async fn a_batch_leaves_when_it_is_old_or_full() {
        let queue = Queue::new(7);
        let mut body = Outgoing::new(Arc::clone(&queue));
        let start = Instant::now();
        assert_eq!(queue.push(line(b"a")), 0);
        assert_eq!(queue.push(line(b"b")), 0);
        let batch = next(&mut body).await.unwrap();
        assert_eq!(batch.use_id, 7);
        assert_eq!(batch.lines, [b"a", b"b"]);
        let waited = start.elapsed();
        assert!(waited >= OLD && waited < OLD * 2, "{waited:?}");
        let start = Instant::now();
        queue.push(line(&vec![b'x'; FULL]));
        assert_eq!(next(&mut body).await.unwrap().lines.len(), 1);
        assert_eq!(start.elapsed(), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn the_oldest_go_when_too_much_waits_and_the_next_batch_tells() {
        let queue = Queue::new(1);
        let text = vec![b'x'; 10_000];
        let mut lost = 0;
        for _ in 0..200 {
            lost += queue.push(line(&text));
        }
        assert!(lost > 90, "{lost}");
        let mut body = Outgoing::new(Arc::clone(&queue));
        let first = next(&mut body).await.unwrap();
        assert_eq!(first.lost, lost);
        let mut kept = first.lines.len() as u64;
        queue.end();
        while let Some(batch) = next(&mut body).await {
            assert_eq!(batch.lost, 0);
            kept += batch.lines.len() as u64;
        }
        assert_eq!(kept + lost, 200);
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_that_broke_loses_its_last_batches() {
        let queue = Queue::new(1);
        let mut body = Outgoing::new(Arc::clone(&queue));
        for _ in 0..3 {
            queue.push(line(&vec![b'x'; FULL]));
            next(&mut body).await.unwrap();
        }
        queue.lose_last();
        assert_eq!(queue.push(line(b"a")), 2);
        let mut body = Outgoing::new(Arc::clone(&queue));
        assert_eq!(next(&mut body).await.unwrap().lost, 2);
    }

    #[tokio::test(start_paused = true)]
    async fn the_end_does_not_wait() {
        let queue = Queue::new(1);
        assert!(!Queue::new(1).end());
        queue.push(line(b"a"));
        assert!(queue.end());
        let mut body = Outgoing::new(Arc::clone(&queue));
        let start = Instant::now();
        assert_eq!(next(&mut body).await.unwrap().lines, [b"a"]);
        assert!(next(&mut body).await.is_none());
        assert_eq!(start.elapsed(), Duration::ZERO);
    }
}
