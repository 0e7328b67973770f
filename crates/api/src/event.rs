//! What can happen to a filter between its callbacks, and the handle by which another thread makes it happen.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use crate::callout::{CalloutDone, CalloutId, GrpcEvent};
use crate::verdict::Direction;

/// Something that happened while the filter waited. Given to `on_event`.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event {
    /// A [`Resumer`] posted this.
    Resumed(Message),
    /// A timer that the filter set has run out.
    Timer(TimerId),
    /// A callout ended.
    Callout(CalloutDone),
    /// Something came on a streaming gRPC call.
    Grpc(CalloutId, GrpcEvent),
    /// What is kept for the receiver of this direction went over the watermark (`above`) or came under it again. A
    /// filter that makes bytes itself pauses while it is above.
    Watermark {
        /// Whose bytes.
        direction: Direction,
        /// Over it, or under it again.
        above: bool,
    },
    /// The stream or connection ends before its time. Nothing can be sent any more; `on_stream_complete` or `on_close`
    /// follows.
    Reset(ResetReason),
    /// The listener drains: whoever holds long-lived state brings it to an end.
    Drain,
}

/// Why a stream ended early.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ResetReason {
    /// The client went away.
    Downstream,
    /// The host ended it and no answer could be given any more.
    Upstream,
    /// A filter or the proxy ended it.
    Local,
    /// Its time was over.
    Timeout,
}

/// What a [`Resumer`] carries: a number, and a value if one is needed.
#[derive(Default)]
pub struct Message {
    /// The poster's number: what happened.
    pub token: u64,
    /// The poster's value.
    pub payload: Option<Box<dyn Any + Send>>,
}

impl Message {
    /// The payload as a `T`, if it is one.
    #[must_use]
    pub fn take<T: 'static>(&mut self) -> Option<T> {
        let payload = self.payload.take()?;
        match payload.downcast::<T>() {
            Ok(value) => Some(*value),
            Err(other) => {
                self.payload = Some(other);
                None
            }
        }
    }
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Message")
            .field("token", &self.token)
            .field("payload", &self.payload.is_some())
            .finish()
    }
}

/// A timer of a filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TimerId(pub u64);

/// Wakes a waiting filter from any thread.
///
/// It is weak: a post to a stream that is gone does nothing. Posts of one thread keep their order; a post made during the
/// filter's own callback arrives after it. Cloning is cheap.
#[derive(Clone)]
pub struct Resumer {
    inbox: Arc<dyn Inbox>,
    address: Address,
}

/// Where a message goes: made and understood by the host only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Address {
    /// The slot of the stream or connection on its worker.
    pub slot: u32,
    /// Which of the slot's successive occupants.
    pub generation: u32,
    /// Which filter of the occupant.
    pub filter: u32,
}

/// The host's side of a [`Resumer`]: a worker's inbox. Never blocks and is never full.
pub trait Inbox: Send + Sync {
    /// Takes a message for `to`.
    fn post(&self, to: Address, message: Message);
}

impl Resumer {
    /// A resumer for `address` in `inbox`.
    #[must_use]
    pub fn new(inbox: Arc<dyn Inbox>, address: Address) -> Self {
        Self { inbox, address }
    }

    /// Delivers [`Event::Resumed`] with `token` to the filter.
    pub fn post(&self, token: u64) {
        self.inbox.post(
            self.address,
            Message {
                token,
                payload: None,
            },
        );
    }

    /// Delivers [`Event::Resumed`] with `token` and a value to the filter.
    pub fn post_with(&self, token: u64, payload: impl Any + Send) {
        let payload: Option<Box<dyn Any + Send>> = Some(Box::new(payload));
        self.inbox.post(self.address, Message { token, payload });
    }
}

impl fmt::Debug for Resumer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Resumer").field(&self.address).finish()
    }
}
