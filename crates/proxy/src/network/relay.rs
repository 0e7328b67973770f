//! One direction of a relayed connection: bytes from one socket to another.

use std::io;
use std::task::{Context, Poll, ready};

use tokio::task::coop;

use crate::io::{BufferPool, Io};

/// So much is moved in one turn before others have theirs: at some GB/s a quarter of a millisecond.
const TURN: usize = 512 << 10;
/// What a read costs is at the least what so many bytes do.
const LEAST: usize = 4 << 10;

/// Moves bytes from one side to the other. Holds a buffer only while bytes wait for the receiver.
#[derive(Debug, Default)]
pub(super) struct Relay {
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    ended: bool,
    shut: bool,
    /// The last read found nothing, and the event loop wakes this task when something comes.
    awaited: bool,
    /// Bytes that were taken by the receiver.
    pub(super) moved: u64,
}

/// Why a relay broke off: who was at fault.
#[derive(Debug)]
pub(super) enum Broken {
    From(io::Error),
    To(io::Error),
}

impl Relay {
    /// Reads once before there is a receiver, so that a client that is gone is seen. Never ready but with an error.
    pub(super) fn poll_early(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut Io,
        pool: &BufferPool,
    ) -> Poll<io::Error> {
        if self.ended || self.start < self.end {
            return Poll::Pending;
        }
        match self.poll_read(cx, from, pool) {
            Poll::Ready(Ok(_)) => {
                self.keep_little(pool);
                Poll::Pending
            }
            Poll::Ready(Err(error)) => Poll::Ready(error),
            Poll::Pending => Poll::Pending,
        }
    }

    /// Moves bytes until nothing can be moved. Ready when this direction has ended and the other side was told.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut Io,
        to: &mut Io,
        pool: &BufferPool,
    ) -> Poll<Result<(), Broken>> {
        let mut turn = TURN;
        loop {
            while let Some(bytes) = self.buffer.get(self.start..self.end)
                && !bytes.is_empty()
            {
                match to.poll_write(cx, bytes) {
                    Poll::Ready(Ok(0)) => {
                        return Poll::Ready(Err(Broken::To(io::ErrorKind::WriteZero.into())));
                    }
                    Poll::Ready(Ok(count)) => {
                        self.start += count;
                        self.moved += count as u64;
                        turn = turn.saturating_sub(count.max(LEAST));
                    }
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(Broken::To(error))),
                    Poll::Pending => {
                        self.keep_little(pool);
                        return Poll::Pending;
                    }
                }
            }
            if let Err(error) = ready!(self.poll_flush(cx, to, pool)) {
                return Poll::Ready(Err(Broken::To(error)));
            }
            if self.ended {
                if !self.shut {
                    // Half-close: the other direction may go on (RFC 9293 section 3.6).
                    match ready!(to.poll_shutdown(cx)) {
                        Ok(()) => {}
                        Err(error) if error.kind() == io::ErrorKind::NotConnected => {}
                        Err(error) => return Poll::Ready(Err(Broken::To(error))),
                    }
                    self.shut = true;
                }
                return Poll::Ready(Ok(()));
            }
            if turn == 0 {
                cx.waker().wake_by_ref();
                self.release(pool);
                return Poll::Pending;
            }
            match ready!(self.poll_read(cx, from, pool)) {
                Ok(_) => {}
                Err(error) => return Poll::Ready(Err(Broken::From(error))),
            }
        }
    }

    fn poll_flush(
        &mut self,
        cx: &mut Context<'_>,
        to: &mut Io,
        pool: &BufferPool,
    ) -> Poll<io::Result<()>> {
        let flushed = to.poll_flush(cx);
        if flushed.is_pending() {
            self.release(pool);
        }
        flushed
    }

    /// Reads once into an empty buffer.
    fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut Io,
        pool: &BufferPool,
    ) -> Poll<io::Result<usize>> {
        if self.awaited && from.is_silent() {
            // Whom to wake was said the last time; the other direction has woken this task.
            self.release(pool);
            return Poll::Pending;
        }
        let buffer = &mut self.buffer;
        let read = from.poll_read_into(cx, || {
            if buffer.len() < BufferPool::LARGE {
                let small = std::mem::replace(buffer, pool.take_large());
                if !small.is_empty() {
                    pool.give(small);
                }
            }
            buffer
        });
        // A task that has used up its budget is told to wait without a look at the socket.
        self.awaited = read.is_pending() && coop::has_budget_remaining();
        match read {
            Poll::Ready(Ok(count)) => {
                self.start = 0;
                self.end = count;
                self.ended = count == 0;
                if self.ended {
                    self.release(pool);
                }
                Poll::Ready(Ok(count))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => {
                // A quiet connection holds no buffer.
                self.release(pool);
                Poll::Pending
            }
        }
    }

    /// What waits for a slow receiver is held in a small buffer, if it fits into one: there may be many of them.
    fn keep_little(&mut self, pool: &BufferPool) {
        let waiting = self.end - self.start;
        if self.buffer.len() < BufferPool::LARGE || waiting > BufferPool::SIZE {
            return;
        }
        let mut small = pool.take();
        if let (Some(to), Some(from)) = (
            small.get_mut(..waiting),
            self.buffer.get(self.start..self.end),
        ) {
            to.copy_from_slice(from);
        }
        pool.give(std::mem::replace(&mut self.buffer, small));
        self.start = 0;
        self.end = waiting;
    }

    fn release(&mut self, pool: &BufferPool) {
        self.start = 0;
        self.end = 0;
        if !self.buffer.is_empty() {
            pool.give(std::mem::take(&mut self.buffer));
        }
    }
}
