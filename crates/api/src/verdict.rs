//! What a filter's callback answers. The numbers are those of Envoy, proxy-wasm and the C ABI.

/// The answer to headers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(i32)]
pub enum HeadersVerdict {
    /// On to the next filter.
    #[default]
    Continue = 0,
    /// The headers wait here. Body and trailers still come to this filter; when it answers `Continue` to one of them,
    /// the headers go on first.
    StopIteration = 1,
    /// On to the next filter, as if the headers were the whole message: what follows of it is read and dropped.
    ContinueAndEndStream = 2,
    /// All waits here; what arrives is kept. More than the filter's limit is an error (413 or 502).
    StopAllIterationAndBuffer = 3,
    /// All waits here; what arrives is kept up to the watermark, then the sender is no longer read.
    StopAllIterationAndWatermark = 4,
}

/// The answer to a part of the body.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(i32)]
pub enum DataVerdict {
    /// On to the next filter, with all that was kept here.
    #[default]
    Continue = 0,
    /// Kept here; the next call shows it together with what has come. More than the filter's limit is an error (413 or
    /// 502).
    StopIterationAndBuffer = 1,
    /// Kept here up to the watermark, then the sender is no longer read.
    StopIterationAndWatermark = 2,
    /// Taken: what was shown is gone. The filter may inject something else later.
    StopIterationNoBuffer = 3,
}

/// The answer to trailers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(i32)]
pub enum TrailersVerdict {
    /// On to the next filter.
    #[default]
    Continue = 0,
    /// The trailers wait here, and with them the end of the message.
    StopIteration = 1,
}

/// The answer of a network filter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(i32)]
pub enum NetworkVerdict {
    /// On to the next filter, with the bytes that are there.
    #[default]
    Continue = 0,
    /// The bytes wait here; more arrive and are added until the watermark.
    StopIteration = 1,
}

/// The answer of a listener filter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(i32)]
pub enum ListenerVerdict {
    /// On to the next filter.
    #[default]
    Continue = 0,
    /// More bytes are needed; the filter is called again when there are more, or when its time is over.
    StopIteration = 1,
    /// The socket is closed.
    Close = 2,
}

/// Where in the way of a request a filter's request callbacks run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u32)]
pub enum Phase {
    /// Before a route was looked for.
    #[default]
    BeforeRoute = 0,
    /// After the route was looked for, also when none was found.
    AfterRoute = 1,
    /// After the host was chosen; once per request, not once per attempt.
    AfterChooseHost = 2,
}

impl Phase {
    /// The name in configuration.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::BeforeRoute => "before_route",
            Self::AfterRoute => "after_route",
            Self::AfterChooseHost => "after_choose_host",
        }
    }
}

/// The two directions of a stream. Numbers as in proxy-wasm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum Direction {
    /// From the client to the host.
    Request = 0,
    /// From the host (or the proxy itself) to the client.
    Response = 1,
}

macro_rules! from_number {
    ($($verdict:ident { $($variant:ident),* })*) => {$(
        impl $verdict {
            /// The verdict of a number; `None` for one that is not assigned.
            #[must_use]
            #[inline]
            pub fn from_number(number: i32) -> Option<Self> {
                [$(Self::$variant),*].into_iter().find(|verdict| *verdict as i32 == number)
            }
        }
    )*};
}
from_number! {
    HeadersVerdict { Continue, StopIteration, ContinueAndEndStream, StopAllIterationAndBuffer, StopAllIterationAndWatermark }
    DataVerdict { Continue, StopIterationAndBuffer, StopIterationAndWatermark, StopIterationNoBuffer }
    TrailersVerdict { Continue, StopIteration }
    NetworkVerdict { Continue, StopIteration }
    ListenerVerdict { Continue, StopIteration, Close }
}
