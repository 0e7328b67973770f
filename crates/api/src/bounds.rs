//! What one use of a plugin may have on its way to it.

use std::time::Duration;

/// Bounds of a use, in place of those that its plugin was declared with, or beside them. `None` leaves the plugin's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UseBounds {
    /// Calls of the use at once; the plugin's own bound holds as well.
    pub concurrency: Option<u32>,
    /// Calls that may wait on each worker for a place.
    pub queue: Option<u32>,
    /// How long one may wait so.
    pub queue_time: Option<Duration>,
    /// How long the plugin may take for an answer.
    pub time: Option<Duration>,
    /// Bytes of one message, in either direction.
    pub message_size: Option<u64>,
}
