//! The socket to a server: TCP or Unix, with TLS or without.

use std::cell::Cell;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::target::Address;
use super::tls::Tls;

/// A connected socket.
///
/// `h2` asks once, when a connection begins, whether writes take several buffers. If they do not, it copies payloads of up to 1,024 bytes
/// together, if they do, only up to 256 (`CHAIN_THRESHOLD` in its `codec/framed_write.rs`), and each longer one costs a system call of its own.
/// Most messages of these services are between the two, and many calls share a connection: so the first answer is no. The later ones, of which
/// each write asks one, are the truth, so that large payloads leave with their frame's head.
pub(super) struct Io {
    stream: Stream,
    asked: Cell<bool>,
}

enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
    Tls(Box<TlsStream<Io>>),
}

impl Io {
    pub(super) async fn connect(address: &Address, tls: Option<&Tls>) -> io::Result<Self> {
        let stream = match address {
            Address::Tcp(address) => {
                let stream = TcpStream::connect(address).await?;
                stream.set_nodelay(true)?;
                Stream::Tcp(stream)
            }
            Address::Unix(path) => Stream::Unix(UnixStream::connect(path).await?),
        };
        let plain = Self::new(stream);
        let Some(tls) = tls else {
            return Ok(plain);
        };
        // Below TLS there is nothing to put together.
        plain.asked.set(true);
        let connector = TlsConnector::from(tls.config.clone());
        let stream = connector.connect(tls.server_name.clone(), plain).await?;
        if stream.get_ref().1.alpn_protocol() != Some(b"h2") {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "the server does not offer HTTP/2 (ALPN h2)",
            ));
        }
        Ok(Self::new(Stream::Tls(Box::new(stream))))
    }

    fn new(stream: Stream) -> Self {
        Self {
            stream,
            asked: Cell::new(false),
        }
    }
}

macro_rules! each {
    ($io:expr, $stream:ident => $body:expr) => {
        match &mut $io.stream {
            Stream::Tcp($stream) => $body,
            Stream::Unix($stream) => $body,
            Stream::Tls($stream) => $body,
        }
    };
}

impl AsyncRead for Io {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        each!(self, stream => Pin::new(stream).poll_read(cx, buffer))
    }
}

impl AsyncWrite for Io {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &[u8],
    ) -> Poll<io::Result<usize>> {
        each!(self, stream => Pin::new(stream).poll_write(cx, buffer))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffers: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        each!(self, stream => Pin::new(stream).poll_write_vectored(cx, buffers))
    }

    fn is_write_vectored(&self) -> bool {
        self.asked.replace(true)
            && match &self.stream {
                Stream::Tcp(stream) => stream.is_write_vectored(),
                Stream::Unix(stream) => stream.is_write_vectored(),
                Stream::Tls(stream) => stream.is_write_vectored(),
            }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self, stream => Pin::new(stream).poll_flush(cx))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self, stream => Pin::new(stream).poll_shutdown(cx))
    }
}
