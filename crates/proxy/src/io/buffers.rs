//! What sockets are read into, and what waits to be written to them.

use std::cell::RefCell;
use std::io::{self, IoSlice};
use std::task::{Context, Poll, ready};

use super::Io;

/// Bytes that were read and not yet consumed. Holds memory only while there is something to read: an idle connection
/// has none.
#[derive(Debug, Default)]
pub(crate) struct ReadBuffer {
    memory: Vec<u8>,
    start: usize,
    end: usize,
    /// The last read brought so much that the next one is given a large buffer: fewer system calls per byte.
    streams: bool,
}

impl ReadBuffer {
    pub(crate) fn bytes(&self) -> &[u8] {
        self.memory.get(self.start..self.end).unwrap_or_default()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.start == self.end
    }

    pub(crate) fn consume(&mut self, count: usize) {
        self.start = self.start.saturating_add(count).min(self.end);
        if self.start == self.end {
            self.start = 0;
            self.end = 0;
        }
    }

    /// Whether more can be read without giving up what is unread, up to `most` bytes in all.
    pub(crate) fn has_room(&self, most: usize) -> bool {
        self.end - self.start < most
    }

    /// Reads once. `most` bounds how large the buffer may grow: a read that fills it makes the next one larger.
    pub(crate) fn poll_fill(
        &mut self,
        cx: &mut Context<'_>,
        io: &mut Io,
        pool: &BufferPool,
        most: usize,
    ) -> Poll<io::Result<usize>> {
        if self.is_empty() {
            if self.streams && self.memory.len() < BufferPool::LARGE {
                self.release(pool);
            }
        } else if self.end == self.memory.len() {
            self.make_room(most)?;
        }
        let Self {
            memory,
            end,
            streams,
            ..
        } = self;
        let read = io.poll_read_into(cx, || {
            if memory.is_empty() {
                *memory = if *streams {
                    pool.take_large()
                } else {
                    pool.take()
                };
            }
            memory.get_mut(*end..).unwrap_or_default()
        });
        match read {
            Poll::Ready(read) => {
                let count = read?;
                self.end += count;
                self.streams = count >= BufferPool::SIZE / 2;
                Poll::Ready(Ok(count))
            }
            Poll::Pending => {
                self.release(pool);
                Poll::Pending
            }
        }
    }

    /// All memory is taken: moves what is unread to its beginning, or makes more of it.
    #[cold]
    fn make_room(&mut self, most: usize) -> io::Result<()> {
        if self.start > 0 {
            self.memory.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
            return Ok(());
        }
        let larger = (self.memory.len() * 2).min(most.max(BufferPool::SIZE));
        if larger <= self.memory.len() {
            return Err(io::Error::other("the read buffer is full"));
        }
        self.memory.resize(larger, 0);
        Ok(())
    }

    /// Gives the memory back while there is nothing in it.
    #[inline]
    pub(crate) fn release(&mut self, pool: &BufferPool) {
        if self.is_empty() && !self.memory.is_empty() {
            self.start = 0;
            self.end = 0;
            pool.give(std::mem::take(&mut self.memory));
        }
    }
}

/// Buffers of one worker that wait to be used again.
#[derive(Debug, Default)]
pub(crate) struct BufferPool {
    free: RefCell<Spare>,
    large: RefCell<Spare>,
    write: RefCell<Spare>,
}

/// Spare buffers of one kind.
#[derive(Debug, Default)]
struct Spare {
    /// The one that was used last lies at the end, and is taken first.
    buffers: Vec<Vec<u8>>,
    /// The fewest there were since the last [`Spare::trim`]: so many nobody has needed since.
    least: usize,
}

impl Spare {
    fn pop(&mut self) -> Option<Vec<u8>> {
        let buffer = self.buffers.pop();
        self.least = self.least.min(self.buffers.len());
        buffer
    }

    fn push(&mut self, buffer: Vec<u8>) {
        self.buffers.push(buffer);
    }

    fn len(&self) -> usize {
        self.buffers.len()
    }

    fn trim(&mut self) {
        self.buffers.drain(..self.least);
        self.least = self.buffers.len();
    }
}

impl BufferPool {
    /// A read buffer holds a usual head and a small body in one read.
    pub(crate) const SIZE: usize = 16 << 10;
    /// What streams of bytes are read into. A little more than the 64 KiB that senders like to write at once: a read that
    /// does not fill the buffer says that there is no more, and saves the one that would.
    pub(crate) const LARGE: usize = 68 << 10;
    /// Kept for reuse per worker: 4 MiB of read buffers. More are freed.
    const MOST: usize = 256;
    /// And a megabyte of large ones: they are held only while a receiver is slow.
    const MOST_LARGE: usize = 16;
    /// A write buffer that grew beyond this is not kept.
    const LARGEST_WRITE: usize = 64 << 10;

    /// An initialised read buffer.
    pub(crate) fn take(&self) -> Vec<u8> {
        self.free
            .borrow_mut()
            .pop()
            .unwrap_or_else(|| vec![0; Self::SIZE])
    }

    /// An initialised large buffer.
    pub(crate) fn take_large(&self) -> Vec<u8> {
        self.large
            .borrow_mut()
            .pop()
            .unwrap_or_else(|| vec![0; Self::LARGE])
    }

    /// Takes a buffer of either size back.
    pub(crate) fn give(&self, buffer: Vec<u8>) {
        let (free, most) = match buffer.len() {
            Self::SIZE => (&self.free, Self::MOST),
            Self::LARGE => (&self.large, Self::MOST_LARGE),
            _ => return,
        };
        let mut free = free.borrow_mut();
        if free.len() < most {
            free.push(buffer);
        }
    }

    /// An empty write buffer.
    pub(crate) fn take_write(&self) -> Vec<u8> {
        self.write
            .borrow_mut()
            .pop()
            .unwrap_or_else(|| Vec::with_capacity(2 << 10))
    }

    /// Frees the buffers that nobody has needed since the last time: a burst leaves no memory behind.
    pub(crate) fn trim(&self) {
        for spare in [&self.free, &self.large, &self.write] {
            spare.borrow_mut().trim();
        }
    }

    #[inline]
    pub(crate) fn give_write(&self, mut buffer: Vec<u8>) {
        let mut write = self.write.borrow_mut();
        if buffer.capacity() > 0
            && buffer.capacity() <= Self::LARGEST_WRITE
            && write.len() < Self::MOST
        {
            buffer.clear();
            write.push(buffer);
        }
    }
}

/// Bytes that wait to be written.
#[derive(Debug, Default)]
pub(crate) struct WriteBuffer {
    bytes: Vec<u8>,
    written: usize,
    /// The peer took something since this was last forgotten.
    sent: bool,
}

impl WriteBuffer {
    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.bytes.len() - self.written
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether the peer took anything since [`WriteBuffer::forget_sent`].
    pub(crate) fn has_sent(&self) -> bool {
        self.sent
    }

    pub(crate) fn forget_sent(&mut self) {
        self.sent = false;
    }

    /// Whether nothing waits, and no memory is held for it.
    #[inline]
    pub(crate) fn is_at_rest(&self) -> bool {
        self.bytes.capacity() == 0
    }

    /// Where a codec appends.
    pub(crate) fn tail(&mut self, pool: &BufferPool) -> &mut Vec<u8> {
        if self.bytes.capacity() == 0 {
            self.bytes = pool.take_write();
        }
        &mut self.bytes
    }

    /// Writes as much as the peer takes.
    #[inline]
    pub(crate) fn poll_flush(
        &mut self,
        cx: &mut Context<'_>,
        io: &mut Io,
        pool: &BufferPool,
    ) -> Poll<io::Result<()>> {
        if self.bytes.capacity() == 0 {
            return io.poll_flush(cx);
        }
        self.poll_write_out(cx, io, pool)
    }

    fn poll_write_out(
        &mut self,
        cx: &mut Context<'_>,
        io: &mut Io,
        pool: &BufferPool,
    ) -> Poll<io::Result<()>> {
        while let Some(rest) = self
            .bytes
            .get(self.written..)
            .filter(|rest| !rest.is_empty())
        {
            let count = ready!(io.poll_write(cx, rest))?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.written += count;
            self.sent = true;
        }
        self.written = 0;
        pool.give_write(std::mem::take(&mut self.bytes));
        io.poll_flush(cx)
    }

    /// Writes what waits and then `data`, without copying `data` unless the peer does not take all of it; the rest
    /// then waits here.
    pub(crate) fn write_through(
        &mut self,
        cx: &mut Context<'_>,
        io: &mut Io,
        pool: &BufferPool,
        data: &[u8],
        tail: &[u8],
    ) -> io::Result<()> {
        // Small data costs less to copy than to write apart.
        const WORTH_A_WRITE: usize = 4 << 10;
        let mut skip: usize = 0;
        if data.len() >= WORTH_A_WRITE {
            loop {
                let pending = self.bytes.get(self.written..).unwrap_or_default();
                let total = pending.len() + data.len() + tail.len();
                let rest = |slice: &'_ [u8], before: usize| {
                    slice
                        .get(skip.saturating_sub(before).min(slice.len())..)
                        .map_or(0, <[u8]>::len)
                };
                let (first, second, third) = (
                    rest(pending, 0),
                    rest(data, pending.len()),
                    rest(tail, pending.len() + data.len()),
                );
                let slices = [
                    IoSlice::new(pending.get(pending.len() - first..).unwrap_or_default()),
                    IoSlice::new(data.get(data.len() - second..).unwrap_or_default()),
                    IoSlice::new(tail.get(tail.len() - third..).unwrap_or_default()),
                ];
                match io.poll_write_vectored(cx, &slices) {
                    Poll::Ready(Ok(0)) => return Err(io::ErrorKind::WriteZero.into()),
                    Poll::Ready(Ok(count)) => {
                        skip += count;
                        self.sent = true;
                    }
                    Poll::Ready(Err(error)) => return Err(error),
                    Poll::Pending => break,
                }
                if skip >= total {
                    self.bytes.clear();
                    self.written = 0;
                    return Ok(());
                }
            }
        }
        let pending = self.len();
        let from_pending = skip.min(pending);
        self.written += from_pending;
        let skip_data = (skip - from_pending).min(data.len());
        let skip_tail = skip - from_pending - skip_data;
        if self.written == self.bytes.len() {
            self.bytes.clear();
            self.written = 0;
        }
        let bytes = self.tail(pool);
        bytes.extend_from_slice(data.get(skip_data..).unwrap_or_default());
        bytes.extend_from_slice(tail.get(skip_tail..).unwrap_or_default());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::io::AsyncWriteExt as _;
    use tokio::net::{TcpListener, TcpStream};

    use super::*;

    async fn pair() -> (TcpStream, Io) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap());
        let (client, server) = tokio::join!(client, listener.accept());
        (client.unwrap(), Io::Tcp(server.unwrap().0))
    }

    async fn fill(buffer: &mut ReadBuffer, io: &mut Io, pool: &BufferPool) -> usize {
        poll_fn(|cx| buffer.poll_fill(cx, io, pool, BufferPool::LARGE))
            .await
            .unwrap()
    }

    /// Sends `count` bytes and reads them all; the length of the buffer that each read went into.
    async fn rooms(
        client: &mut TcpStream,
        buffer: &mut ReadBuffer,
        io: &mut Io,
        pool: &BufferPool,
        count: usize,
    ) -> Vec<usize> {
        client.write_all(&vec![1; count]).await.unwrap();
        let mut left = count;
        let mut rooms = Vec::new();
        while left > 0 {
            left -= fill(buffer, io, pool).await;
            rooms.push(buffer.memory.len());
            buffer.consume(usize::MAX);
        }
        rooms
    }

    #[tokio::test]
    async fn what_comes_in_streams_is_read_into_large_buffers_and_what_comes_in_drops_is_not() {
        let pool = BufferPool::default();
        let (mut client, mut io) = pair().await;
        let mut buffer = ReadBuffer::default();
        let small = rooms(&mut client, &mut buffer, &mut io, &pool, 100).await;
        assert_eq!(small, [BufferPool::SIZE]);
        let stream = rooms(&mut client, &mut buffer, &mut io, &pool, 64 << 10).await;
        assert_eq!(stream.first(), Some(&BufferPool::SIZE));
        assert_eq!(stream.get(1), Some(&BufferPool::LARGE));
        assert!(stream.len() < 5, "{stream:?}");
        // One message more is read in large pieces before it shows that the stream is over.
        rooms(&mut client, &mut buffer, &mut io, &pool, 100).await;
        buffer.release(&pool);
        let small = rooms(&mut client, &mut buffer, &mut io, &pool, 100).await;
        assert_eq!(small, [BufferPool::SIZE]);
        buffer.release(&pool);
        assert_eq!(buffer.memory.capacity(), 0);
        assert_eq!(pool.large.borrow().len(), 1);
    }

    #[tokio::test]
    async fn what_is_unread_grows_to_its_bound_and_no_further() {
        let pool = BufferPool::default();
        let (mut client, mut io) = pair().await;
        let mut buffer = ReadBuffer::default();
        let writing = client.write_all(&[7; 80 << 10]);
        let reading = async {
            loop {
                let filled =
                    poll_fn(|cx| buffer.poll_fill(cx, &mut io, &pool, BufferPool::LARGE)).await;
                if filled.is_err() {
                    break;
                }
            }
            assert_eq!(buffer.bytes().len(), BufferPool::LARGE);
            assert!(buffer.bytes().iter().all(|byte| *byte == 7));
        };
        let (written, ()) = tokio::join!(writing, reading);
        written.unwrap();
    }

    #[test]
    fn spare_buffers_that_nobody_needed_since_the_last_time_are_freed() {
        let pool = BufferPool::default();
        let burst: Vec<_> = (0..10).map(|_| pool.take()).collect();
        burst.into_iter().for_each(|buffer| pool.give(buffer));
        let one = pool.take_write();
        pool.give_write(one);
        pool.trim();
        assert_eq!(pool.free.borrow().len(), 10, "they were needed just now");
        // Two at a time from now on.
        for _ in 0..5 {
            let (one, other) = (pool.take(), pool.take());
            pool.give(one);
            pool.give(other);
        }
        pool.trim();
        assert_eq!(pool.free.borrow().len(), 2);
        assert_eq!(pool.write.borrow().len(), 0);
        pool.trim();
        assert_eq!(pool.free.borrow().len(), 0);
    }
}
