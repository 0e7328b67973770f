//! What is under way in one direction of a stream.

use std::collections::VecDeque;

use bytes::Bytes;
use transom_api::{Direction, TimerId};

use super::mode::{BodyMode, SideMode};

/// One direction.
///
/// ```text
///        ┌──────────── headers ───────────┐
///  Idle ─┤                                ├─▶ Idle ─▶ … ─▶ Trailers ─▶ Idle
///        └─ WholeBody, PartOfBody ────────┤
///        └─ Pieces (as long as pieces are unanswered)
/// ```
#[derive(Debug)]
pub(super) struct Side {
    pub(super) direction: Direction,
    pub(super) mode: SideMode,
    pub(super) step: Step,
    /// The headers have come.
    pub(super) begun: bool,
    /// They are the whole message.
    pub(super) no_body: bool,
    /// The headers wait at this filter.
    pub(super) head_held: bool,
    /// The end of the body has been seen.
    pub(super) ended: bool,
    /// The message has trailers, and they have come.
    pub(super) trailers_seen: bool,
    /// The trailers were answered, or nobody asks about them.
    pub(super) trailers_done: bool,
    /// The server has put another body in place of this one, whose rest is dropped.
    pub(super) replaced: bool,
    /// Attributes of this direction have been sent.
    pub(super) attributes_sent: bool,
    /// Pieces that wait for their answer, as they were.
    pub(super) pieces: VecDeque<Piece>,
    pub(super) pieces_len: usize,
    /// Reading is stopped because of them.
    pub(super) held_back: bool,
    /// How many bytes of what waits at the filter were sent: in `PartOfBody`, and with pieces that go before the answer to the headers.
    pub(super) sent_of_held: usize,
    /// The body as the server changes it, gathered because the headers cannot go without the body's end.
    pub(super) gathered: Option<Vec<u8>>,
    /// Bytes went to the server that nobody has kept.
    pub(super) given_away: bool,
    pub(super) timer: Option<TimerId>,
    /// The server has asked for more time for this message.
    pub(super) extended: bool,
    pub(super) sent_at: Option<std::time::Instant>,
}

/// What the server was asked and has not answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Idle,
    Headers,
    WholeBody,
    PartOfBody,
    Pieces,
    Trailers,
}

/// A piece of a body that was sent.
#[derive(Debug)]
pub(super) struct Piece {
    pub(super) bytes: Bytes,
    pub(super) end: bool,
}

impl Side {
    pub(super) fn new(direction: Direction, mode: SideMode) -> Self {
        Self {
            direction,
            mode,
            step: Step::Idle,
            begun: false,
            no_body: false,
            head_held: false,
            ended: false,
            trailers_seen: false,
            trailers_done: false,
            replaced: false,
            attributes_sent: false,
            pieces: VecDeque::new(),
            pieces_len: 0,
            held_back: false,
            sent_of_held: 0,
            gathered: None,
            given_away: false,
            timer: None,
            extended: false,
            sent_at: None,
        }
    }

    /// Whether the server has nothing more to say to this direction.
    pub(super) fn is_done(&self) -> bool {
        self.step == Step::Idle && self.pieces.is_empty() && !self.expects()
    }

    /// Whether something of this direction is still to be sent.
    fn expects(&self) -> bool {
        if !self.begun {
            return self.mode.sends();
        }
        let body = self.mode.body != BodyMode::None && !self.ended;
        let trailers = self.mode.trailers && !self.trailers_done;
        !self.no_body && (body || trailers)
    }

    pub(super) fn push(&mut self, piece: Piece) {
        self.pieces_len += piece.bytes.len();
        self.pieces.push_back(piece);
    }

    pub(super) fn pop(&mut self) -> Option<Piece> {
        let piece = self.pieces.pop_front()?;
        self.pieces_len -= piece.bytes.len();
        Some(piece)
    }
}
