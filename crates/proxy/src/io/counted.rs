//! A stream that counts what passes, for the access log of its listener.

use std::io::{self, IoSlice};
use std::rc::Rc;
use std::task::{Context, Poll};

use super::Io;
use crate::stream::info::ConnectionInfo;

/// A stream that counts what passes.
#[derive(Debug)]
pub(crate) struct CountedIo {
    pub(super) io: Io,
    info: Rc<ConnectionInfo>,
}

impl CountedIo {
    pub(crate) fn new(io: Io, info: Rc<ConnectionInfo>) -> Self {
        Self { io, info }
    }

    pub(super) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let read = self.io.poll_read(cx, buffer);
        if let Poll::Ready(Ok(count)) = read {
            self.info.notes().add_received(count);
        }
        read
    }

    pub(super) fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = self.io.poll_write(cx, bytes);
        self.count(&written);
        written
    }

    pub(super) fn poll_write_vectored(
        &mut self,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = self.io.poll_write_vectored(cx, slices);
        self.count(&written);
        written
    }

    fn count(&self, written: &Poll<io::Result<usize>>) {
        if let Poll::Ready(Ok(count)) = written {
            self.info.notes().add_sent(*count);
        }
    }
}
