//! What a callback asked for. Carried out after it has returned.

use bytes::Bytes;
use transom_api::{Direction, FilterError, LocalReply, Wants};

/// The wishes of one callback.
#[derive(Debug, Default)]
pub(crate) struct Actions {
    /// Something below is set: the usual callback asks for nothing, which costs one look.
    pub(crate) any: bool,
    pub(crate) fail: Option<FilterError>,
    pub(crate) terminate: bool,
    pub(crate) local_reply: Option<Box<LocalReply>>,
    pub(crate) skip_phase: bool,
    pub(crate) rematch_route: bool,
    pub(crate) rechoose_host: bool,
    pub(crate) continue_request: bool,
    pub(crate) continue_response: bool,
    pub(crate) forgone: Option<Wants>,
    pub(crate) injected: Vec<Injected>,
}

/// Bytes that a filter sends on by itself.
#[derive(Debug)]
pub(crate) struct Injected {
    pub(crate) direction: Direction,
    pub(crate) bytes: Bytes,
    pub(crate) end: bool,
}

impl Actions {
    pub(crate) fn take(&mut self) -> Actions {
        std::mem::take(self)
    }

    pub(crate) fn continues(&self, direction: Direction) -> bool {
        match direction {
            Direction::Request => self.continue_request,
            Direction::Response => self.continue_response,
        }
    }
}
