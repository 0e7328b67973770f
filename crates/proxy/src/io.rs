//! Connected sockets, and what stands before them.

mod ahead;
mod buffers;
mod counted;

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
pub(crate) use self::buffers::{BufferPool, ReadBuffer, WriteBuffer};
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
    #[inline]
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
            layered => layered.flush_layers(cx),
        }
    }

    fn flush_layers(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
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

    /// The TLS with a host.
    pub(crate) fn host_tls(&self) -> Option<&rustls::ClientConnection> {
        match self {
            Self::Tls(tls) => match &**tls {
                TlsStream::Client(stream) => Some(stream.get_ref().1),
                TlsStream::Server(_) => None,
            },
            _ => None,
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
