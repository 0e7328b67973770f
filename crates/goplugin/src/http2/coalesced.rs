//! Small messages together in one write.

use std::cell::Cell;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::net::Io;

/// A connection whose frames of up to 1 KiB are collected, where `h2` alone would write each of more than 256 bytes by itself.
///
/// `h2` asks once, when a connection is made, whether writes take several buffers, and copies payloads of up to 1,024 bytes into one
/// buffer if they do not, up to 256 if they do (`CHAIN_THRESHOLD` in its `codec/framed_write.rs`); each longer one costs a system call, and
/// under TLS a record, of its own. A call's message is most often between the two, and many calls share a connection: so the first
/// answer is no. The later ones, of which each write asks one, are the truth, so that large payloads leave with their frame's head.
pub(super) struct Coalesced {
    io: Io,
    asked: Cell<bool>,
}

impl Coalesced {
    pub(super) fn new(io: Io) -> Self {
        Self {
            io,
            asked: Cell::new(false),
        }
    }
}

impl AsyncRead for Coalesced {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

impl AsyncWrite for Coalesced {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.asked.replace(true) && self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
