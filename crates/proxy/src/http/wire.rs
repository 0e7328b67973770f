//! What both ends of HTTP/1 have: a socket, what was read of it, and what waits to be written to it.

use std::io;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use tokio::task::coop;
use transom_http1::encode::BodyEncoder;
use transom_http1::{Event, Span};

use super::head::{Head, Presence};
use super::peer::{PeerError, PeerEvent};
use crate::io::{BufferPool, Io, ReadBuffer, WriteBuffer};
use crate::worker::Worker;

/// So much may be unread at most.
pub(super) const LARGEST_READ: usize = BufferPool::LARGE;

/// A connection as either end of an exchange reads and writes it.
pub(super) struct Wire {
    pub(super) io: Io,
    pub(super) worker: Rc<Worker>,
    pub(super) read: ReadBuffer,
    pub(super) write: WriteBuffer,
    /// Nothing more will be read.
    pub(super) eof: bool,
    /// What frames the message that is being sent.
    pub(super) body: Option<BodyEncoder>,
    /// The message that is being sent is a tunnel's: its end is the connection's.
    pub(super) tunnel: bool,
    /// The sending direction is to be ended once all is written.
    shut_due: bool,
    /// Data of the last event: the first bytes of the read buffer.
    data: Span,
    /// What of the read buffer is used up when the next event is asked for.
    consumed: usize,
    /// The last read found nothing, and the event loop wakes this task when something comes.
    pub(super) awaited: bool,
}

impl Wire {
    pub(super) fn new(io: Io, worker: Rc<Worker>) -> Self {
        Self {
            io,
            worker,
            read: ReadBuffer::default(),
            write: WriteBuffer::default(),
            eof: false,
            body: None,
            tunnel: false,
            shut_due: false,
            data: Span::default(),
            consumed: 0,
            awaited: false,
        }
    }

    /// Reads once; the end of the stream is noted. `most` bounds how large the buffer may grow.
    #[inline]
    pub(super) fn poll_fill(&mut self, cx: &mut Context<'_>, most: usize) -> Poll<io::Result<()>> {
        if self.awaited && self.io.is_silent() {
            // Whom to wake was said the last time; another end has woken this task.
            self.release_if_empty();
            return Poll::Pending;
        }
        let filled = self
            .read
            .poll_fill(cx, &mut self.io, &self.worker.buffers, most);
        // A task that has used up its budget is told to wait without a look at the socket.
        self.awaited = filled.is_pending() && coop::has_budget_remaining();
        let count = ready!(filled)?;
        self.eof |= count == 0;
        Poll::Ready(Ok(()))
    }

    /// Whether nothing was read that is not used up, nothing waits to be written, and more may come.
    #[inline]
    pub(super) fn is_at_rest(&self) -> bool {
        self.read.is_empty() && self.write.is_at_rest() && !self.eof && !self.shut_due
    }

    /// Another task goes on with the connection: nobody waits for what comes on it.
    pub(super) fn change_task(&mut self) {
        self.awaited = false;
    }

    /// Drops the data that the last event lent.
    #[inline]
    pub(super) fn take_back(&mut self) {
        self.read.consume(std::mem::take(&mut self.consumed));
    }

    /// The same before a pause: memory is given back too.
    #[inline]
    pub(super) fn pause(&mut self) {
        self.take_back();
        self.release_if_empty();
    }

    /// Forgets the data of the last message.
    #[inline]
    pub(super) fn forget_data(&mut self) {
        self.data = Span::default();
        self.consumed = 0;
    }

    #[inline]
    pub(super) fn release_if_empty(&mut self) {
        if self.read.is_empty() {
            self.read.release(&self.worker.buffers);
        }
    }

    /// Takes what a decoder said behind a head. `None`: there is nothing to tell of it.
    #[inline]
    pub(super) fn take_event<H>(
        &mut self,
        consumed: usize,
        event: &Event<H>,
        trailers: &mut Head,
    ) -> Option<PeerEvent> {
        match event {
            Event::Data(span) => {
                self.data = *span;
                self.consumed = consumed;
                return Some(PeerEvent::Data);
            }
            Event::Trailers => {
                trailers.adopt(self.read.bytes().get(..consumed).unwrap_or_default());
            }
            _ => {}
        }
        self.read.consume(consumed);
        if !matches!(event, Event::End) {
            return None;
        }
        let has_trailers = trailers.presence() == Presence::Here && !trailers.has_no_fields();
        Some(if has_trailers {
            PeerEvent::Trailers
        } else {
            PeerEvent::End
        })
    }

    /// Where the codec appends.
    #[inline]
    pub(super) fn tail(&mut self) -> &mut Vec<u8> {
        self.write.tail(&self.worker.buffers)
    }

    #[inline]
    pub(super) fn data(&self) -> &[u8] {
        self.data.of(self.read.bytes())
    }

    /// Frames `data` and writes it through.
    #[inline]
    pub(super) fn send_data(&mut self, cx: &mut Context<'_>, data: &[u8]) -> Result<(), PeerError> {
        let Some(body) = &mut self.body else {
            return Ok(());
        };
        let buffers = &self.worker.buffers;
        body.begin_chunk(self.write.tail(buffers), data.len() as u64)?;
        let chunk_end: &[u8] = if body.takes_trailers() { b"\r\n" } else { b"" };
        self.write
            .write_through(cx, &mut self.io, buffers, data, chunk_end)?;
        // The end of the chunk was written with the data; this only tells the encoder.
        body.end_chunk(&mut Vec::new());
        Ok(())
    }

    #[inline]
    pub(super) fn send_end(&mut self, trailers: Option<&Head>) -> Result<(), PeerError> {
        let Some(body) = &mut self.body else {
            return Ok(());
        };
        let tail = self.write.tail(&self.worker.buffers);
        body.finish(tail, trailers.into_iter().flat_map(Head::wire_fields))?;
        self.shut_due |= self.tunnel;
        Ok(())
    }

    /// Writes bytes through as they are.
    pub(super) fn send_raw(&mut self, cx: &mut Context<'_>, data: &[u8]) -> Result<(), PeerError> {
        let buffers = &self.worker.buffers;
        self.write
            .write_through(cx, &mut self.io, buffers, data, b"")?;
        Ok(())
    }

    /// Ends the sending direction, behind what waits to be written.
    pub(super) fn shut(&mut self) {
        self.shut_due = true;
    }

    #[inline]
    pub(super) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), PeerError>> {
        // Half of all looks find nothing to do.
        if self.write.is_at_rest() && !self.shut_due {
            return self.io.poll_flush(cx).map_err(PeerError::from);
        }
        self.write_out(cx)
    }

    fn write_out(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), PeerError>> {
        ready!(
            self.write
                .poll_flush(cx, &mut self.io, &self.worker.buffers)
        )?;
        if self.shut_due {
            // A peer that has gone already needs no word.
            let _ = ready!(self.io.poll_shutdown(cx));
            self.shut_due = false;
        }
        Poll::Ready(Ok(()))
    }

    #[inline]
    pub(super) fn unsent(&self) -> usize {
        match self.write.len() {
            0 => usize::from(self.shut_due || self.io.holds()),
            len => len,
        }
    }
}
