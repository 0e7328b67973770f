//! One direction of a stream: where its head is in the chain, and what waits where.

use bytes::Bytes;

use crate::http::body::BodyBuffer;

/// The state of one direction.
///
/// ```text
/// positions   0     1     2     3   …   len
/// head              ▲ at, stopped here           everything before `at` has seen the head
/// holds       ·     ███   ·     ·                bytes wait where they were stopped
/// out                                   ███      bytes that left the chain and wait for the wire
/// ```
#[derive(Debug, Default)]
pub(crate) struct Side {
    /// The position that the head has reached; the chain's length when it has left.
    pub(crate) at: usize,
    /// Why the head waits at `at`.
    pub(crate) stop: Option<HeadStop>,
    /// The head came, or was made here.
    pub(crate) begun: bool,
    /// The head is the whole message.
    pub(crate) head_end: bool,
    /// The head has left the chain.
    pub(crate) released: bool,
    /// From this position on the message is over, whatever still comes.
    pub(crate) cut_at: Option<usize>,
    /// Nothing more is done in this direction.
    pub(crate) aborted: bool,
    /// All input has come.
    pub(crate) input_ended: bool,
    /// A filter of this direction sees data or trailers.
    pub(crate) data_filters: bool,
    /// What waits at each position. Empty until the first byte waits.
    pub(crate) holds: Vec<Hold>,
    /// What left the chain.
    pub(crate) out: BodyBuffer,
    /// How what left the chain ends.
    pub(crate) out_end: Option<End>,
    /// Filters that want nothing read for now.
    pub(crate) held_back: Vec<usize>,
    /// Bytes that were injected behind a head that has not passed there yet: the position, and whether they are the end.
    pub(crate) late: Vec<(usize, Bytes, bool)>,
    /// The filters were told that this direction is over its watermark.
    pub(crate) above_watermark: bool,
}

/// Why a head waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HeadStop {
    /// `StopIteration`: data comes to the filter.
    Iteration,
    /// `StopAllIterationAndBuffer`.
    AllAndBuffer,
    /// `StopAllIterationAndWatermark`.
    AllAndWatermark,
}

/// How a message ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Plain,
    Trailers,
}

/// What waits at one position.
#[derive(Debug, Default)]
pub(crate) struct Hold {
    pub(crate) body: BodyBuffer,
    pub(crate) stop: Option<DataStop>,
    /// The message ends after `body`.
    pub(crate) end: Option<End>,
    /// The filter has seen the trailers that wait here.
    pub(crate) trailers_seen: bool,
}

/// Why data waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DataStop {
    /// Up to a limit: more is an error.
    Buffer,
    /// Up to the watermark: then the sender is not read.
    Watermark,
    /// Nothing waits but the end.
    NoBuffer,
}

impl Side {
    /// Makes it as new and keeps its memory.
    pub(crate) fn clear(&mut self) {
        // Field by field: building a new one would drop and move much for every request.
        let Self {
            at,
            stop,
            begun,
            head_end,
            released,
            cut_at,
            aborted,
            input_ended,
            data_filters,
            holds,
            out,
            out_end,
            held_back,
            late,
            above_watermark,
        } = self;
        *at = 0;
        *stop = None;
        *begun = false;
        *head_end = false;
        *released = false;
        *cut_at = None;
        *aborted = false;
        *input_ended = false;
        *data_filters = false;
        holds.clear();
        out.clear();
        *out_end = None;
        held_back.clear();
        late.clear();
        *above_watermark = false;
    }

    pub(crate) fn stops_all(&self) -> bool {
        matches!(
            self.stop,
            Some(HeadStop::AllAndBuffer | HeadStop::AllAndWatermark)
        )
    }

    /// The hold at a position.
    pub(crate) fn hold(&mut self, position: usize) -> &mut Hold {
        if self.holds.len() <= position {
            self.holds.resize_with(position + 1, Hold::default);
        }
        // The line above made room for it.
        #[expect(clippy::indexing_slicing, reason = "resized to hold the position")]
        &mut self.holds[position]
    }

    /// Whether anything waits at a filter, or a filter waits for the end.
    pub(crate) fn holds_any(&self) -> bool {
        let waits =
            |hold: &Hold| !hold.body.is_empty() || hold.stop.is_some() || hold.end.is_some();
        self.holds.iter().any(waits)
    }

    /// Bytes that wait anywhere.
    pub(crate) fn waiting(&self) -> usize {
        self.out.len() + self.holds.iter().map(|hold| hold.body.len()).sum::<usize>()
    }

    /// Whether a filter keeps data with a limit of its own, beyond the watermark.
    pub(crate) fn buffers(&self) -> bool {
        self.stop == Some(HeadStop::AllAndBuffer)
            || self
                .holds
                .iter()
                .any(|hold| hold.stop == Some(DataStop::Buffer))
    }

    /// Ends this direction: what waits is dropped.
    pub(crate) fn abort(&mut self) {
        self.aborted = true;
        self.stop = None;
        self.holds.clear();
        self.out.clear();
        self.late.clear();
        self.out_end = None;
    }
}
