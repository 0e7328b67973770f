//! What happens between callbacks.

use crate::values::{Direction, Field, Slice};

/// What happened. A library ignores kinds that it does not know.
pub type EventKind = u32;
/// A resumer's post; `number` is its token.
pub const EVENT_RESUMED: EventKind = 0;
/// The timer `number` has run out.
pub const EVENT_TIMER: EventKind = 1;
/// The callout `number` has ended; `callout` has its answer.
pub const EVENT_CALLOUT: EventKind = 2;
/// What is kept for the receiver of the direction `number` went over the watermark.
pub const EVENT_ABOVE_WATERMARK: EventKind = 3;
/// It came under it again.
pub const EVENT_BELOW_WATERMARK: EventKind = 4;
/// The stream ends before its time; `number` is why: 0 the client, 1 the host, 2 the proxy, 3 its time was over.
pub const EVENT_RESET: EventKind = 5;
/// The listener drains: whoever holds long-lived state brings it to an end.
pub const EVENT_DRAIN: EventKind = 6;

/// Something that happened while the filter waited, or went on without it.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Event {
    /// The size of this struct, as its maker knows it.
    pub size: usize,
    /// What it is.
    pub kind: EventKind,
    /// 0.
    pub reserved: u32,
    /// Which, or how much: by its kind.
    pub number: u64,
    /// Null but for [`EVENT_CALLOUT`].
    pub callout: *const Callout,
}

/// The end of a callout.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Callout {
    /// The size of this struct, as its maker knows it.
    pub size: usize,
    /// 0 for an answer. Otherwise there is none: 1 not allowed, 2 no such cluster, 3 not supported by it, 4 a bad request,
    /// 5 no host could be connected, 6 its time was over, 7 the host ended it, 8 the answer is too large.
    pub error: u32,
    /// 0.
    pub reserved: u32,
    /// `:status` first.
    pub fields: *const Field,
    /// How many.
    pub field_count: usize,
    /// The whole body.
    pub body: Slice,
    /// Trailers.
    pub trailers: *const Field,
    /// How many.
    pub trailer_count: usize,
}

/// Which direction `number` of a watermark's event is.
pub const fn direction_of(number: u64) -> Direction {
    (number & 1) as Direction
}
