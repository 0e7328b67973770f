//! A socket behind network filters.

use std::fmt;
use std::io::{self, IoSlice};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use transom_api::event::Address;
use transom_api::{
    Connection, Direction, FailurePolicy, FilterError, FilterState, NetworkFilter, NetworkVerdict,
    NetworkWants, ResetReason,
};

use super::NetworkPlace;
use super::context::ConnectionContext;
use crate::gate::{Gate, Subject};
use crate::http::body::BodyBuffer;
use crate::io::Io;
use crate::stream::info::{ConnectionInfo, Metadata, connection_attribute};
use crate::worker::Worker;

/// What waits in the chain before the socket, or the terminal filter, is no longer read.
const WATERMARK: usize = 64 << 10;
/// With so much waiting for the client, the client is not read either: only filters that answer by themselves get here,
/// as what the terminal filter writes stops before.
const INJECTED_MOST: usize = 4 * WATERMARK;

/// A socket whose bytes pass network filters.
pub(crate) struct FilteredIo {
    io: Io,
    filters: Vec<Slot>,
    core: ConnectionCore,
    begun: bool,
    /// How far `on_new_connection` got: filters before this were asked.
    asked: usize,
    buffer: Vec<u8>,
    eof: bool,
    shut: bool,
    /// What the filters together want to see.
    wants: NetworkWants,
    /// Counts up when bytes move.
    moves: u64,
}

struct Slot {
    filter: Option<Box<dyn NetworkFilter>>,
    wants: NetworkWants,
    /// It stopped `on_new_connection`.
    holds_connection: bool,
}

/// All of a connection but its filters.
pub(super) struct ConnectionCore {
    pub(super) worker: Rc<Worker>,
    pub(super) info: Rc<ConnectionInfo>,
    pub(super) places: Rc<[Rc<NetworkPlace>]>,
    pub(super) state: FilterState,
    pub(super) metadata: Metadata,
    /// From the client, and to the client.
    pub(super) sides: [ByteSide; 2],
    pub(super) wishes: Wishes,
    slot: Option<(u32, u32)>,
    /// Nothing more is read; the connection closes when all is written.
    pub(super) closing: bool,
    /// It closes at once, by a reset.
    pub(super) reset: bool,
}

/// One direction of bytes.
#[derive(Default)]
pub(super) struct ByteSide {
    /// What waits at each filter.
    pub(super) holds: Vec<ByteHold>,
    /// What has passed all filters.
    out: BodyBuffer,
    out_end: bool,
}

#[derive(Default)]
pub(super) struct ByteHold {
    pub(super) bytes: BodyBuffer,
    stopped: bool,
    end: bool,
}

/// What a callback asked for.
#[derive(Default)]
pub(super) struct Wishes {
    pub(super) fail: Option<FilterError>,
    pub(super) continues: [bool; 2],
    pub(super) injected: Vec<(Direction, Bytes, bool)>,
}

impl FilteredIo {
    pub(crate) fn new(
        io: Io,
        worker: Rc<Worker>,
        info: Rc<ConnectionInfo>,
        places: Rc<[Rc<NetworkPlace>]>,
    ) -> Self {
        let wants = all_wants(places.iter().map(|place| place.config.wants()));
        Self {
            io,
            filters: Vec::new(),
            core: ConnectionCore {
                worker,
                info,
                places,
                state: FilterState::default(),
                metadata: Metadata::new(),
                sides: Default::default(),
                wishes: Wishes::default(),
                slot: None,
                closing: false,
                reset: false,
            },
            begun: false,
            asked: 0,
            buffer: Vec::new(),
            eof: false,
            shut: false,
            wants,
            moves: 0,
        }
    }

    /// Ready when the filters let the connection begin, or with the error that ends it.
    pub(crate) fn poll_begun(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.deliver_mail();
        self.ask_filters();
        if let Poll::Ready(Err(error)) = self.poll_out(cx) {
            return Poll::Ready(Err(error));
        }
        if self.core.closing {
            return self.poll_close(cx).map(Err);
        }
        if self.is_begun() {
            return Poll::Ready(Ok(()));
        }
        self.watch(cx);
        Poll::Pending
    }

    /// Lets the filters serve the client by themselves: what passes them all goes nowhere. Ready when the connection is
    /// over: one of them closed it, or the client's end has passed them all.
    pub(crate) fn poll_alone(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            let Poll::Ready(input) = self.poll_input(cx) else {
                let [_, output] = &self.core.sides;
                if output.out_end && output.out.is_empty() && !self.shut {
                    // A filter said its last word; the client may go on.
                    ready!(self.io.poll_shutdown(cx))?;
                    self.shut = true;
                }
                return Poll::Pending;
            };
            input?;
            let [input, _] = &mut self.core.sides;
            if input.out.is_empty() {
                return self.poll_shutdown(cx);
            }
            input.out.clear();
        }
    }

    pub(crate) fn reset_when_dropped(&self) {
        self.io.reset_when_dropped();
    }

    pub(crate) fn take_metadata(&mut self) -> Metadata {
        std::mem::take(&mut self.core.metadata)
    }

    /// Counts up when bytes move either way.
    pub(crate) fn moves(&self) -> u64 {
        self.moves
    }

    /// Whether bytes from the client need not pass the filters.
    fn is_open_to_read(&self) -> bool {
        let [input, output] = &self.core.sides;
        !self.wants.data
            && self.is_begun()
            && !self.core.closing
            && input.is_empty()
            && output.out.len() < INJECTED_MOST
    }

    /// Whether bytes to the client need not pass the filters.
    fn is_open_to_write(&self) -> bool {
        let [_, output] = &self.core.sides;
        !self.wants.write && self.is_begun() && !self.core.closing && output.is_empty()
    }

    pub(crate) fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.poll_open(cx)? {
            let ready = self.io.poll_readable(cx);
            if ready.is_pending() {
                self.watch(cx);
            }
            return ready;
        }
        ready!(self.poll_input(cx))?;
        Poll::Ready(Ok(()))
    }

    /// Does what news for a filter asks for. True when the client's bytes can be read without the filters.
    fn poll_open(&mut self, cx: &mut Context<'_>) -> io::Result<bool> {
        if self.wants.data {
            return Ok(false);
        }
        self.deliver_mail();
        self.ask_filters();
        if let Poll::Ready(Err(error)) = self.poll_out(cx) {
            return Err(error);
        }
        Ok(self.is_open_to_read() && !self.eof)
    }

    pub(crate) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        if self.poll_open(cx)? {
            let read = self.io.poll_read(cx, buffer);
            match &read {
                // Filters are told of the end as of any other.
                Poll::Ready(Ok(0)) if !buffer.is_empty() => {
                    self.eof = true;
                    self.pass(Direction::Request, 0, Bytes::new(), true);
                }
                Poll::Ready(_) => self.moves += 1,
                Poll::Pending => self.watch(cx),
            }
            return read;
        }
        ready!(self.poll_input(cx))?;
        let [input, _] = &mut self.core.sides;
        let Some(mut chunk) = input.out.pop() else {
            return Poll::Ready(Ok(0));
        };
        let count = chunk.len().min(buffer.len());
        if let (Some(to), Some(from)) = (buffer.get_mut(..count), chunk.get(..count)) {
            to.copy_from_slice(from);
        }
        if count < chunk.len() {
            input.out.unpop(chunk.split_off(count));
        }
        Poll::Ready(Ok(count))
    }

    /// Ready when bytes have passed the filters, or the end has.
    fn poll_input(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let input = self.poll_passed(cx);
        if input.is_pending() {
            // Last, because a filter may have asked for its address in this very turn.
            self.watch(cx);
        }
        input
    }

    fn poll_passed(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            self.deliver_mail();
            self.ask_filters();
            // What a filter injected towards the client leaves even while the terminal filter only reads.
            if let Poll::Ready(Err(error)) = self.poll_out(cx) {
                return Poll::Ready(Err(error));
            }
            if self.core.closing {
                return self.poll_close(cx).map(Err);
            }
            let [input, output] = &self.core.sides;
            if !input.out.is_empty() || input.out_end {
                return Poll::Ready(Ok(()));
            }
            if !self.is_begun()
                || input.held() >= WATERMARK
                || output.out.len() >= INJECTED_MOST
                || self.eof
            {
                return Poll::Pending;
            }
            if self.buffer.is_empty() {
                ready!(self.io.poll_readable(cx))?;
                self.buffer = vec![0; 16 << 10];
            }
            let count = ready!(self.io.poll_read(cx, &mut self.buffer))?;
            self.eof = count == 0;
            self.moves += 1;
            let bytes = Bytes::copy_from_slice(self.buffer.get(..count).unwrap_or_default());
            self.pass(Direction::Request, 0, bytes, self.eof);
        }
    }

    pub(crate) fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(bytes)])
    }

    pub(crate) fn poll_write_vectored(
        &mut self,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.deliver_mail();
        if let Poll::Ready(Err(error)) = self.poll_out(cx) {
            return Poll::Ready(Err(error));
        }
        if self.core.closing {
            return self.poll_close(cx).map(Err);
        }
        if self.is_open_to_write() {
            let written = self.io.poll_write_vectored(cx, slices);
            match &written {
                Poll::Ready(_) => self.moves += 1,
                Poll::Pending => self.watch(cx),
            }
            return written;
        }
        let first = slices.iter().find(|slice| !slice.is_empty());
        let bytes: &[u8] = first.map_or(&[], |slice| slice);
        let [_, output] = &self.core.sides;
        if output.out.len() + output.held() >= WATERMARK {
            self.watch(cx);
            return Poll::Pending;
        }
        let first = self.filters.len();
        self.pass(
            Direction::Response,
            first,
            Bytes::copy_from_slice(bytes),
            false,
        );
        if let Poll::Ready(Err(error)) = self.poll_out(cx) {
            return Poll::Ready(Err(error));
        }
        self.watch(cx);
        Poll::Ready(Ok(bytes.len()))
    }

    pub(crate) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.deliver_mail();
        ready!(self.poll_out(cx))?;
        let [_, output] = &self.core.sides;
        if output.holds.iter().any(|hold| !hold.bytes.is_empty()) {
            self.watch(cx);
            return Poll::Pending;
        }
        Poll::Ready(Ok(()))
    }

    pub(crate) fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let [_, output] = &self.core.sides;
        if !output.out_end && !std::mem::replace(&mut self.shut, true) {
            let first = self.filters.len();
            self.pass(Direction::Response, first, Bytes::new(), true);
        }
        ready!(self.poll_flush(cx))?;
        self.io.poll_shutdown(cx)
    }

    /// A filter closes the connection: ready, with the error that ends the terminal filter, when what was written has
    /// left.
    fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        if self.core.reset {
            self.io.reset_when_dropped();
            return Poll::Ready(io::ErrorKind::ConnectionReset.into());
        }
        let error = match ready!(self.poll_out(cx)) {
            Ok(()) => io::ErrorKind::ConnectionAborted.into(),
            Err(error) => error,
        };
        // A client that is gone needs no word.
        let _ = ready!(self.io.poll_shutdown(cx));
        // Closing a socket with unread input resets it, under what was just written (RFC 9112 section 9.6).
        self.buffer.resize(16 << 10, 0);
        while let Poll::Ready(Ok(1..)) = self.io.poll_read(cx, &mut self.buffer) {}
        Poll::Ready(error)
    }

    /// Writes what has passed the filters to the socket.
    fn poll_out(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let [_, output] = &mut self.core.sides;
        while let Some(mut chunk) = output.out.pop() {
            match self.io.poll_write(cx, &chunk) {
                Poll::Ready(Ok(count)) if count > 0 => {
                    self.moves += 1;
                    if count < chunk.len() {
                        output.out.unpop(chunk.split_off(count));
                    }
                }
                Poll::Ready(Ok(_)) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => {
                    output.out.unpop(chunk);
                    return Poll::Pending;
                }
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Has the task woken by news for a filter.
    fn watch(&self, cx: &Context<'_>) {
        if let Some((slot, _)) = self.core.slot {
            self.core.worker.mailboxes.set_waker(slot, cx.waker());
            if self.core.worker.mailboxes.has_mail(slot) {
                cx.waker().wake_by_ref();
            }
        }
    }

    fn is_begun(&self) -> bool {
        self.begun
            && self.asked >= self.filters.len()
            && !self.filters.iter().any(|slot| slot.holds_connection)
    }

    /// Makes the filters and asks them whether the connection may begin.
    fn ask_filters(&mut self) {
        if !std::mem::replace(&mut self.begun, true) {
            let places = Rc::clone(&self.core.places);
            let mut left_out = false;
            for (index, place) in places.iter().enumerate() {
                if let Some(gate) = &place.gate
                    && !self.core.passes(gate)
                {
                    self.filters.push(Slot {
                        filter: None,
                        wants: NetworkWants::CONNECTION,
                        holds_connection: false,
                    });
                    left_out = true;
                    continue;
                }
                let made = {
                    let mut context = ConnectionContext::new(&mut self.core, index);
                    let mut context = Connection::new(&mut context);
                    catch_unwind(AssertUnwindSafe(|| {
                        place.part.part().connection(&mut context)
                    }))
                    .unwrap_or_else(|_| Err(FilterError::broken("it panicked")))
                };
                let filter = match made {
                    Ok(filter) => Some(filter),
                    Err(error) => {
                        self.core.failed(index, &error);
                        None
                    }
                };
                self.filters.push(Slot {
                    filter,
                    wants: place.config.wants(),
                    holds_connection: false,
                });
            }
            if left_out {
                self.wants = all_wants(self.filters.iter().map(|slot| slot.wants));
            }
        }
        while self.asked < self.filters.len()
            && !self.core.closing
            && !self.filters.iter().any(|slot| slot.holds_connection)
        {
            let index = self.asked;
            self.asked += 1;
            let verdict = self.call(index, |filter, connection| {
                filter.on_new_connection(connection)
            });
            let resumed = self.core.wishes.continues == [true, false]
                || self.core.wishes.continues == [true, true];
            if verdict == Some(NetworkVerdict::StopIteration)
                && !resumed
                && let Some(slot) = self.filters.get_mut(index)
            {
                slot.holds_connection = true;
            }
            self.settle(index);
        }
    }

    fn deliver_mail(&mut self) {
        let Some((slot, _)) = self.core.slot else {
            return;
        };
        while let Some((filter, event)) = self.core.worker.mailboxes.take(slot) {
            let filter = filter as usize;
            self.call(filter, |filter, connection| {
                filter.on_event(connection, event);
            });
            self.settle(filter);
        }
    }

    /// Lets bytes pass the filters. From the client they go from filter `at` up, to the client from the filter before
    /// `at` down.
    fn pass(&mut self, direction: Direction, mut at: usize, bytes: Bytes, mut end: bool) {
        let mut frame = BodyBuffer::default();
        frame.push(bytes);
        loop {
            if frame.is_empty() && !end {
                return;
            }
            let index = match direction {
                Direction::Request if at < self.filters.len() => at,
                Direction::Response if at > 0 => at - 1,
                _ => {
                    let side = self.core.side(direction);
                    side.out.append(&mut frame);
                    side.out_end |= end;
                    return;
                }
            };
            at = match direction {
                Direction::Request => at + 1,
                Direction::Response => at - 1,
            };
            let hold = self.core.hold(direction, index);
            hold.bytes.append(&mut frame);
            hold.end |= end;
            let end_here = hold.end;
            let wanted = self.filters.get(index).is_some_and(|slot| match direction {
                Direction::Request => slot.wants.data,
                Direction::Response => slot.wants.write,
            });
            let verdict = if wanted {
                self.call(index, |filter, connection| match direction {
                    Direction::Request => filter.on_data(connection, end_here),
                    Direction::Response => filter.on_write(connection, end_here),
                })
            } else {
                None
            };
            let resumed = self
                .core
                .wishes
                .continues
                .get(direction as usize)
                .copied()
                .unwrap_or_default();
            let stop = verdict == Some(NetworkVerdict::StopIteration) && !resumed;
            // What a closed connection, or a guard that broke, has seen goes no further.
            let cut = self.core.wishes.fail.is_some() && self.core.is_closed_by_failure(index)
                || self.core.closing && direction == Direction::Request;
            let hold = self.core.hold(direction, index);
            if cut {
                hold.bytes.clear();
                return self.settle(index);
            }
            hold.stopped = stop;
            if !stop {
                frame = std::mem::take(&mut hold.bytes);
                end = std::mem::take(&mut hold.end);
                for (to, bytes, ends) in self
                    .core
                    .wishes
                    .injected
                    .extract_if(.., |(to, ..)| *to == direction)
                {
                    debug_assert_eq!(to, direction);
                    frame.push(bytes);
                    end |= ends;
                }
            }
            self.settle(index);
            if stop {
                return;
            }
        }
    }

    /// Carries out what a callback asked for.
    fn settle(&mut self, index: usize) {
        let wishes = std::mem::take(&mut self.core.wishes);
        if let Some(error) = wishes.fail {
            if let Some(slot) = self.filters.get_mut(index) {
                slot.filter = None;
                slot.holds_connection = false;
            }
            self.core.failed(index, &error);
            self.resume(Direction::Request, index);
            self.resume(Direction::Response, index);
        }
        for (direction, continues) in [Direction::Request, Direction::Response]
            .into_iter()
            .zip(wishes.continues)
        {
            if continues {
                self.resume(direction, index);
            }
        }
        for (direction, bytes, end) in wishes.injected {
            let at = match direction {
                Direction::Request => index + 1,
                Direction::Response => index,
            };
            self.pass(direction, at, bytes, end);
        }
    }

    fn resume(&mut self, direction: Direction, index: usize) {
        if direction == Direction::Request
            && let Some(slot) = self.filters.get_mut(index)
        {
            slot.holds_connection = false;
        }
        let hold = self.core.hold(direction, index);
        if !std::mem::take(&mut hold.stopped) {
            return;
        }
        let mut frame = std::mem::take(&mut hold.bytes);
        let end = std::mem::take(&mut hold.end);
        let at = match direction {
            Direction::Request => index + 1,
            Direction::Response => index,
        };
        while let Some(chunk) = frame.pop() {
            self.pass(direction, at, chunk, false);
        }
        if end {
            self.pass(direction, at, Bytes::new(), true);
        }
    }

    fn call<R>(
        &mut self,
        index: usize,
        callback: impl FnOnce(&mut dyn NetworkFilter, &mut Connection<'_>) -> R,
    ) -> Option<R> {
        let Self { filters, core, .. } = self;
        let filter = filters.get_mut(index)?.filter.as_deref_mut()?;
        let outcome = {
            let mut context = ConnectionContext::new(core, index);
            let mut context = Connection::new(&mut context);
            catch_unwind(AssertUnwindSafe(|| callback(filter, &mut context)))
        };
        match outcome {
            Ok(answer) => Some(answer),
            Err(_) => {
                core.wishes.fail = Some(FilterError::broken("it panicked"));
                None
            }
        }
    }
}

impl Drop for FilteredIo {
    fn drop(&mut self) {
        let by = if self.eof {
            ResetReason::Downstream
        } else {
            ResetReason::Local
        };
        for index in 0..self.filters.len() {
            self.call(index, |filter, connection| filter.on_close(connection, by));
        }
        if let Some((slot, _)) = self.core.slot.take() {
            self.core.worker.mailboxes.release(slot);
        }
        for slot in self.filters.drain(..) {
            if catch_unwind(AssertUnwindSafe(|| drop(slot))).is_err() {
                tracing::error!("a network filter panicked while it was dropped");
            }
        }
    }
}

impl ByteSide {
    /// Bytes that wait at filters.
    fn held(&self) -> usize {
        self.holds.iter().map(|hold| hold.bytes.len()).sum()
    }

    /// Whether nothing waits on this side, not even its end.
    fn is_empty(&self) -> bool {
        self.out.is_empty()
            && !self.out_end
            && self
                .holds
                .iter()
                .all(|hold| hold.bytes.is_empty() && !hold.stopped && !hold.end)
    }
}

/// What filters together want to see.
fn all_wants(wants: impl Iterator<Item = NetworkWants>) -> NetworkWants {
    wants.fold(NetworkWants::CONNECTION, |all, one| NetworkWants {
        data: all.data || one.data,
        write: all.write || one.write,
    })
}

impl ConnectionCore {
    /// Whether a use is for this connection.
    fn passes(&self, gate: &Gate) -> bool {
        let attribute = |name: &str| connection_attribute(&self.info, name);
        let subject = Subject {
            request: None,
            source: self.info.source.map(|source| source.ip()),
            attribute: &attribute,
        };
        gate.admits(&self.worker, &subject)
    }

    pub(super) fn side(&mut self, direction: Direction) -> &mut ByteSide {
        let [input, output] = &mut self.sides;
        match direction {
            Direction::Request => input,
            Direction::Response => output,
        }
    }

    fn hold(&mut self, direction: Direction, index: usize) -> &mut ByteHold {
        let holds = &mut self.side(direction).holds;
        if holds.len() <= index {
            holds.resize_with(index + 1, ByteHold::default);
        }
        // The line above made room for it.
        #[expect(clippy::indexing_slicing, reason = "resized to hold the index")]
        &mut holds[index]
    }

    pub(super) fn address(&mut self, filter: usize) -> Address {
        let (slot, generation) = *self
            .slot
            .get_or_insert_with(|| self.worker.mailboxes.claim());
        Address {
            slot,
            generation,
            filter: filter as u32,
        }
    }

    /// Whether a failure of this filter ends the connection.
    fn is_closed_by_failure(&self, index: usize) -> bool {
        self.places
            .get(index)
            .is_some_and(|place| place.policy == FailurePolicy::Closed)
    }

    /// Counts a failure; under the policy `closed` the connection ends.
    fn failed(&mut self, index: usize, error: &FilterError) {
        let Some(place) = self.places.get(index) else {
            return;
        };
        tracing::warn!(filter = &*place.name, %error, "a network filter failed");
        self.worker.count_filter_failure();
        if self.is_closed_by_failure(index) {
            self.closing = true;
        }
    }
}

impl fmt::Debug for FilteredIo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FilteredIo")
            .field("io", &self.io)
            .field("filters", &self.filters.len())
            .finish_non_exhaustive()
    }
}
