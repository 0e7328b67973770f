//! Connected sockets and the buffers they are read into.

mod ahead;
mod counted;

use std::cell::{Cell, RefCell};
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use socket2::SockRef;
use tokio::io::{AsyncBufRead, AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

use tokio_rustls::TlsStream;

use self::ahead::ReadAhead;
pub(crate) use self::counted::CountedIo;
use crate::network::FilteredIo;
use crate::stream::info::Metadata;
use crate::tcp;

/// A connected byte stream: a socket, or a socket behind TLS and network filters.
#[derive(Debug)]
pub(crate) enum Io {
    Tcp(TcpStream),
    Unix(UnixStream),
    Filtered(Box<FilteredIo>),
    Prefixed(Box<PrefixedIo>),
    /// What TLS reads.
    Ahead(Box<ReadAhead>),
    Counted(Box<CountedIo>),
    Tls(Box<TlsStream<Io>>),
}

/// A stream whose first bytes were read already.
#[derive(Debug)]
pub(crate) struct PrefixedIo {
    prefix: Vec<u8>,
    given: usize,
    io: Io,
}

impl PrefixedIo {
    pub(crate) fn new(io: Io, prefix: Vec<u8>) -> Self {
        Self {
            prefix,
            given: 0,
            io,
        }
    }

    fn rest(&self) -> &[u8] {
        self.prefix.get(self.given..).unwrap_or_default()
    }

    fn poll_read(&mut self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        let rest = self.rest();
        if rest.is_empty() {
            return self.io.poll_read(cx, buffer);
        }
        let count = rest.len().min(buffer.len());
        if let (Some(to), Some(from)) = (buffer.get_mut(..count), rest.get(..count)) {
            to.copy_from_slice(from);
        }
        self.given += count;
        if self.rest().is_empty() {
            self.prefix = Vec::new();
            self.given = 0;
        }
        Poll::Ready(Ok(count))
    }

    fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.rest().is_empty() {
            return self.io.poll_readable(cx);
        }
        Poll::Ready(Ok(()))
    }
}

impl Io {
    /// The same stream for who reads it in small pieces.
    pub(crate) fn read_ahead(io: Self) -> Self {
        Self::Ahead(Box::new(ReadAhead::new(io)))
    }

    /// Reads into `buffer`; 0 is the end of the stream.
    pub(crate) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        if let Self::Tcp(tcp) = self {
            return tcp::poll_read(tcp, cx, || buffer);
        }
        let mut buffer = ReadBuf::new(buffer);
        match self {
            Self::Tcp(_) => {}
            Self::Unix(unix) => ready!(Pin::new(unix).poll_read(cx, &mut buffer))?,
            Self::Filtered(filtered) => {
                return filtered.poll_read(cx, buffer.initialize_unfilled());
            }
            Self::Prefixed(prefixed) => {
                return prefixed.poll_read(cx, buffer.initialize_unfilled());
            }
            Self::Ahead(ahead) => ready!(ahead.poll_read(cx, &mut buffer))?,
            Self::Counted(counted) => {
                return counted.poll_read(cx, buffer.initialize_unfilled());
            }
            // A peer that ends without saying so (RFC 8446 section 6.1) is an error: somebody may have cut it off.
            Self::Tls(tls) => {
                let read = Pin::new(&mut **tls).poll_read(cx, &mut buffer);
                ready!(answering(tls, cx, read))?;
            }
        }
        Poll::Ready(Ok(buffer.filled().len()))
    }

    /// Reads into what `room` gives. A socket on which nothing has come does not ask for room.
    pub(crate) fn poll_read_into<'r>(
        &mut self,
        cx: &mut Context<'_>,
        room: impl FnOnce() -> &'r mut [u8],
    ) -> Poll<io::Result<usize>> {
        match self {
            Self::Tcp(tcp) => tcp::poll_read(tcp, cx, room),
            io => io.poll_read(cx, room()),
        }
    }

    /// Whether there are bytes to read, or the stream's end. Who asks may not be woken for what comes later.
    pub(crate) fn has_unread(&mut self) -> bool {
        if let Self::Tcp(tcp) = self {
            return tcp::has_unread(tcp);
        }
        let mut cx = Context::from_waker(Waker::noop());
        match self.poll_readable(&mut cx) {
            Poll::Pending => false,
            Poll::Ready(Err(_)) => true,
            // The event loop may only think so: the last read may have filled its buffer exactly.
            Poll::Ready(Ok(())) => self.poll_read(&mut cx, &mut [0]).is_ready(),
        }
    }

    /// Whether it is certain that nothing has come since a read was told to wait.
    #[inline]
    pub(crate) fn is_silent(&self) -> bool {
        matches!(self, Self::Tcp(tcp) if tcp::is_silent(tcp))
    }

    /// Whether a read would find something, without a system call and without a buffer. May be ready without need.
    pub(crate) fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Tcp(tcp) => tcp.poll_read_ready(cx),
            Self::Unix(unix) => unix.poll_read_ready(cx),
            Self::Filtered(filtered) => filtered.poll_readable(cx),
            Self::Prefixed(prefixed) => prefixed.poll_readable(cx),
            Self::Ahead(ahead) => ahead.poll_readable(cx),
            Self::Counted(counted) => counted.io.poll_readable(cx),
            // Bytes on the socket may be none for the reader: a ticket, half a record.
            Self::Tls(tls) => {
                let filled = Pin::new(&mut **tls).poll_fill_buf(cx).map_ok(|_| ());
                answering(tls, cx, filled)
            }
        }
    }

    pub(crate) fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self {
            Self::Tcp(tcp) => tcp::poll_write(tcp, cx, bytes),
            Self::Unix(unix) => Pin::new(unix).poll_write(cx, bytes),
            Self::Filtered(filtered) => filtered.poll_write(cx, bytes),
            Self::Prefixed(prefixed) => prefixed.io.poll_write(cx, bytes),
            Self::Ahead(ahead) => ahead.io.poll_write(cx, bytes),
            Self::Counted(counted) => counted.poll_write(cx, bytes),
            Self::Tls(tls) => Pin::new(&mut **tls).poll_write(cx, bytes),
        }
    }

    pub(crate) fn poll_write_vectored(
        &mut self,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self {
            Self::Tcp(tcp) => Pin::new(tcp).poll_write_vectored(cx, slices),
            Self::Unix(unix) => Pin::new(unix).poll_write_vectored(cx, slices),
            Self::Prefixed(prefixed) => prefixed.io.poll_write_vectored(cx, slices),
            Self::Ahead(ahead) => ahead.io.poll_write_vectored(cx, slices),
            Self::Counted(counted) => counted.poll_write_vectored(cx, slices),
            Self::Tls(tls) => Pin::new(&mut **tls).poll_write_vectored(cx, slices),
            Self::Filtered(filtered) => filtered.poll_write_vectored(cx, slices),
        }
    }

    /// Sends what a filter or TLS still holds on; sockets hold nothing.
    #[inline]
    pub(crate) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Tcp(_) | Self::Unix(_) => Poll::Ready(Ok(())),
            Self::Filtered(filtered) => filtered.poll_flush(cx),
            Self::Prefixed(prefixed) => prefixed.io.poll_flush(cx),
            Self::Ahead(ahead) => ahead.io.poll_flush(cx),
            Self::Counted(counted) => counted.io.poll_flush(cx),
            Self::Tls(tls) => Pin::new(&mut **tls).poll_flush(cx),
        }
    }

    /// Tells the peer that nothing more will be sent.
    pub(crate) fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Tcp(tcp) => Pin::new(tcp).poll_shutdown(cx),
            Self::Unix(unix) => Pin::new(unix).poll_shutdown(cx),
            Self::Filtered(filtered) => filtered.poll_shutdown(cx),
            Self::Prefixed(prefixed) => prefixed.io.poll_shutdown(cx),
            Self::Ahead(ahead) => ahead.io.poll_shutdown(cx),
            Self::Counted(counted) => counted.io.poll_shutdown(cx),
            Self::Tls(tls) => Pin::new(&mut **tls).poll_shutdown(cx),
        }
    }

    /// The address of this end, where it has one.
    pub(crate) fn local_address(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(tcp) => tcp.local_addr().ok(),
            Self::Unix(_) | Self::Filtered(_) => None,
            Self::Prefixed(prefixed) => prefixed.io.local_address(),
            Self::Ahead(ahead) => ahead.io.local_address(),
            Self::Counted(counted) => counted.io.local_address(),
            Self::Tls(tls) => match &**tls {
                TlsStream::Client(stream) => stream.get_ref().0.local_address(),
                TlsStream::Server(stream) => stream.get_ref().0.local_address(),
            },
        }
    }

    /// Ready when network filters let the connection begin; a socket without them has.
    pub(crate) fn poll_begun(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Filtered(filtered) => filtered.poll_begun(cx),
            Self::Counted(counted) => counted.io.poll_begun(cx),
            _ => Poll::Ready(Ok(())),
        }
    }

    /// What network filters have put into dynamic metadata.
    pub(crate) fn take_metadata(&mut self) -> Metadata {
        match self {
            Self::Filtered(filtered) => filtered.take_metadata(),
            Self::Counted(counted) => counted.io.take_metadata(),
            _ => Metadata::new(),
        }
    }

    /// Has the peer told by a reset, and not by an end, when this is dropped. A Unix socket knows no reset.
    pub(crate) fn reset_when_dropped(&self) {
        match self {
            Self::Tcp(tcp) => {
                // A socket that refuses is closed in the usual way.
                let _ = SockRef::from(tcp).set_linger(Some(Duration::ZERO));
            }
            Self::Unix(_) => {}
            Self::Filtered(filtered) => filtered.reset_when_dropped(),
            Self::Prefixed(prefixed) => prefixed.io.reset_when_dropped(),
            Self::Ahead(ahead) => ahead.io.reset_when_dropped(),
            Self::Counted(counted) => counted.io.reset_when_dropped(),
            Self::Tls(tls) => match &**tls {
                TlsStream::Client(stream) => stream.get_ref().0.reset_when_dropped(),
                TlsStream::Server(stream) => stream.get_ref().0.reset_when_dropped(),
            },
        }
    }

    /// Whether TLS holds bytes that it took and the socket did not.
    pub(crate) fn holds(&self) -> bool {
        match self {
            Self::Tcp(_) | Self::Unix(_) | Self::Filtered(_) => false,
            Self::Prefixed(prefixed) => prefixed.io.holds(),
            Self::Ahead(ahead) => ahead.io.holds(),
            Self::Counted(counted) => counted.io.holds(),
            Self::Tls(tls) => tls_holds(tls),
        }
    }
}

// What TLS reads and writes through.

impl AsyncRead for Io {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let count = ready!(Io::poll_read(
            self.get_mut(),
            cx,
            buffer.initialize_unfilled()
        ))?;
        buffer.advance(count);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Io {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Io::poll_write(self.get_mut(), cx, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Io::poll_write_vectored(self.get_mut(), cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Io::poll_flush(self.get_mut(), cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Io::poll_shutdown(self.get_mut(), cx)
    }
}

/// Passes the outcome of a read on. What was read may have an answer of TLS's own, such as the refusal of a renegotiation;
/// a reader that waits may have nothing to write for long, so it is sent from here.
fn answering(
    tls: &mut TlsStream<Io>,
    cx: &mut Context<'_>,
    read: Poll<io::Result<()>>,
) -> Poll<io::Result<()>> {
    if read.is_pending() && tls_holds(tls) {
        // Whether that failed is seen by whoever reads or writes next.
        let _ = Pin::new(tls).poll_flush(cx);
    }
    read
}

fn tls_holds(tls: &TlsStream<Io>) -> bool {
    match tls {
        TlsStream::Client(stream) => stream.get_ref().1.wants_write(),
        TlsStream::Server(stream) => stream.get_ref().1.wants_write(),
    }
}

/// Bytes that were read and not yet consumed. Holds memory only while there is something to read: an idle connection
/// has none.
#[derive(Debug, Default)]
pub(crate) struct ReadBuffer {
    memory: Vec<u8>,
    start: usize,
    end: usize,
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
        if self.end == self.memory.len() && self.end > 0 {
            if self.start > 0 {
                self.memory.copy_within(self.start..self.end, 0);
                self.end -= self.start;
                self.start = 0;
            } else {
                let larger = (self.memory.len() * 2).min(most.max(BufferPool::SIZE));
                if larger == self.memory.len() {
                    return Poll::Ready(Err(io::Error::other("the read buffer is full")));
                }
                self.memory.resize(larger, 0);
            }
        }
        let Self { memory, end, .. } = self;
        let read = io.poll_read_into(cx, || {
            if memory.is_empty() {
                *memory = pool.take();
            }
            memory.get_mut(*end..).unwrap_or_default()
        });
        match read {
            Poll::Ready(read) => {
                let count = read?;
                self.end += count;
                Poll::Ready(Ok(count))
            }
            Poll::Pending => {
                self.release(pool);
                Poll::Pending
            }
        }
    }

    /// Makes the memory larger for a stream of big reads: fewer system calls per byte.
    pub(crate) fn grow(&mut self, to: usize) {
        if !self.memory.is_empty() && self.memory.len() < to && self.is_empty() {
            self.memory.resize(to, 0);
        }
    }

    /// Whether the last reads filled all memory.
    pub(crate) fn is_full(&self) -> bool {
        !self.memory.is_empty() && self.end == self.memory.len()
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
    free: RefCell<Vec<Vec<u8>>>,
    large: RefCell<Vec<Vec<u8>>>,
    write: RefCell<Vec<Vec<u8>>>,
    /// The fewest that waited since the last [`BufferPool::trim`]: so many nobody has needed since.
    least: Cell<(usize, usize)>,
}

impl BufferPool {
    /// A read buffer holds a usual head and a small body in one read.
    pub(crate) const SIZE: usize = 16 << 10;
    /// What a relay reads into. A little more than the 64 KiB that senders like to write at once: a read that does not fill
    /// the buffer says that there is no more, and saves the one that would.
    pub(crate) const LARGE: usize = 68 << 10;
    /// Kept for reuse per worker: 4 MiB of read buffers. More are freed.
    const MOST: usize = 256;
    /// And a megabyte of large ones: they are held only while a receiver is slow.
    const MOST_LARGE: usize = 16;
    /// A write buffer that grew beyond this is not kept.
    const LARGEST_WRITE: usize = 64 << 10;

    /// An initialised read buffer.
    pub(crate) fn take(&self) -> Vec<u8> {
        let mut free = self.free.borrow_mut();
        let buffer = free.pop();
        let (least, least_write) = self.least.get();
        if free.len() < least {
            self.least.set((free.len(), least_write));
        }
        drop(free);
        buffer.unwrap_or_else(|| vec![0; Self::SIZE])
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
        let mut write = self.write.borrow_mut();
        let buffer = write.pop();
        let (least, least_write) = self.least.get();
        if write.len() < least_write {
            self.least.set((least, write.len()));
        }
        drop(write);
        buffer.unwrap_or_else(|| Vec::with_capacity(2 << 10))
    }

    /// Frees the buffers that nobody has needed since the last time, and the large ones: they are for moments.
    pub(crate) fn trim(&self) {
        let mut free = self.free.borrow_mut();
        let mut write = self.write.borrow_mut();
        let (least, least_write) = self.least.get();
        // Those that were used last lie at the end.
        let unused = least.min(free.len());
        free.drain(..unused);
        let unused = least_write.min(write.len());
        write.drain(..unused);
        self.least.set((free.len(), write.len()));
        self.large.borrow_mut().clear();
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
    use super::*;

    #[test]
    fn spare_buffers_that_nobody_needed_since_the_last_time_are_freed() {
        let pool = BufferPool::default();
        let burst: Vec<_> = (0..10).map(|_| pool.take()).collect();
        burst.into_iter().for_each(|buffer| pool.give(buffer));
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
        pool.trim();
        assert_eq!(pool.free.borrow().len(), 0);
    }

    #[test]
    fn spare_write_buffers_are_freed_likewise() {
        let pool = BufferPool::default();
        let burst: Vec<_> = (0..4).map(|_| pool.take_write()).collect();
        burst.into_iter().for_each(|buffer| pool.give_write(buffer));
        pool.trim();
        let one = pool.take_write();
        pool.give_write(one);
        pool.trim();
        assert_eq!(pool.write.borrow().len(), 1);
    }
}
