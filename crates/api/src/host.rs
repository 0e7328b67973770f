//! The host's side of the contexts: what a proxy (or an SDK that stands in for it) implements.
//!
//! Filters do not use these traits; they use [`Stream`](crate::stream::Stream), [`Connection`](crate::network::Connection)
//! and [`Worker`](crate::worker::Worker), which are built on them. They are small and cut by subject, so that each
//! runtime carries just what its border needs, and they take and give plain values, so that a border can be an ABI, a
//! VM's memory or a message.

use std::any::Any;
use std::collections::BTreeMap;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::time::Duration;

use crate::callout::{CalloutError, CalloutId, GrpcCall, GrpcOpen, HttpCall};
use crate::event::{Resumer, TimerId};
use crate::factory::FilterError;
use crate::flags::ResponseFlags;
use crate::headers::{BodyHost, HeaderHost};
use crate::metrics::MetricId;
use crate::reply::LocalReply;
use crate::shared::SharedData;
use crate::stream::Wants;
use crate::value::{Attribute, FilterState, MetadataOf, MetadataValue};
use crate::verdict::{Direction, Phase};

/// The level of a log line. Numbers as in proxy-wasm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u32)]
pub enum Level {
    /// Every step.
    Trace = 0,
    /// For finding faults.
    Debug = 1,
    /// Worth knowing.
    Info = 2,
    /// Something is off but goes on.
    Warn = 3,
    /// Something failed.
    Error = 4,
}

impl Level {
    /// All levels, from the finest.
    pub const ALL: [Self; 5] = [
        Self::Trace,
        Self::Debug,
        Self::Info,
        Self::Warn,
        Self::Error,
    ];

    /// Its name, such as `info`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Trace => "trace",
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Error => "error",
        }
    }
}

/// An action came too late: what it concerns was released already.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Released;

impl std::fmt::Display for Released {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("headers or body were released already")
    }
}

impl std::error::Error for Released {}

/// Why a stream could not be told which host to take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum OverrideError {
    /// The request has left.
    Released,
    /// This is no address of a host: an IP address with a port, or `unix:` and a path.
    NoAddress,
    /// This host of extensions does not choose hosts of clusters.
    Unsupported,
}

impl std::fmt::Display for OverrideError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Released => "the request has left already",
            Self::NoAddress => "that is no address of a host: write 10.0.0.1:8080, [::1]:8080 or unix:/run/app.sock",
            Self::Unsupported => "hosts are not chosen here",
        })
    }
}

impl std::error::Error for OverrideError {}

/// What any part of an extension may do anywhere: log, count, read and write shared data.
pub trait RecordHost {
    /// True when lines of this level are written at all.
    fn log_enabled(&self, level: Level) -> bool;
    /// Writes a log line, never waiting for whoever reads it.
    fn log(&self, level: Level, message: &str);
    /// Adds to a counter or gauge.
    fn add_metric(&self, metric: MetricId, amount: i64);
    /// The current value of a counter or gauge, over all workers; 0 for a histogram or distribution.
    fn metric(&self, metric: MetricId) -> i64;
    /// Records a duration in a histogram.
    fn observe_metric(&self, metric: MetricId, duration: Duration);
    /// Records a number in a distribution.
    fn observe_value(&self, metric: MetricId, value: u64);
    /// Shared data of the process.
    fn shared(&self) -> &SharedData;
}

/// What happens later.
pub trait AsyncHost {
    /// A handle that wakes this filter from any thread.
    fn resumer(&mut self) -> Resumer;
    /// Sets a timer; [`Event::Timer`](crate::event::Event::Timer) comes when it has run out.
    fn set_timer(&mut self, after: Duration) -> TimerId;
    /// Drops a timer. One that has run out or never was is ignored.
    fn cancel_timer(&mut self, timer: TimerId);
    /// Starts an HTTP call; [`Event::Callout`](crate::event::Event::Callout) comes when it has ended.
    fn http_call(&mut self, call: HttpCall) -> Result<CalloutId, CalloutError>;
    /// Starts a gRPC call; [`Event::Callout`](crate::event::Event::Callout) comes when it has ended.
    fn grpc_call(&mut self, call: GrpcCall) -> Result<CalloutId, CalloutError>;
    /// Opens a streaming gRPC call; [`Event::Grpc`](crate::event::Event::Grpc) tells what comes on it. A host without
    /// HTTP/2 has none.
    fn grpc_open(&mut self, _open: GrpcOpen) -> Result<CalloutId, CalloutError> {
        Err(CalloutError::Unsupported)
    }
    /// Sends a message on a streaming gRPC call; with `end`, the last.
    fn grpc_send(
        &mut self,
        _call: CalloutId,
        _message: &[u8],
        _end: bool,
    ) -> Result<(), CalloutError> {
        Err(CalloutError::Unsupported)
    }
    /// Drops a callout: its end is not told.
    fn cancel_callout(&mut self, callout: CalloutId);
}

/// What is known beside the messages.
pub trait InfoHost {
    /// An attribute by its name (see [`attribute`](mod@crate::value::attribute)).
    fn attribute(&self, name: &str) -> Option<Attribute<'_>>;
    /// The client's address, as a trusted proxy before this one tells it; `None` for a Unix socket. The same as the
    /// attribute, without the way through text.
    fn source_address(&self) -> Option<SocketAddr> {
        let address = self.attribute(crate::value::attribute::SOURCE_ADDRESS)?;
        address.as_str()?.parse().ok()
    }
    /// A value of dynamic metadata.
    fn metadata(&self, namespace: &str, key: &str) -> Option<&MetadataValue>;
    /// All values of a namespace of dynamic metadata.
    fn metadata_namespace(&self, namespace: &str) -> Option<&BTreeMap<String, MetadataValue>>;
    /// All values of a namespace of what the configuration gives to the route, or to its virtual host. A host without
    /// routes has none.
    fn configured_metadata(
        &self,
        _of: MetadataOf,
        _namespace: &str,
    ) -> Option<&BTreeMap<String, MetadataValue>> {
        None
    }
    /// Sets a value of dynamic metadata.
    fn set_metadata(&mut self, namespace: &str, key: &str, value: MetadataValue);
    /// Adds to what the stream's (the connection's) response flags tell.
    fn add_response_flags(&mut self, flags: ResponseFlags);
    /// State of this stream (of this connection, in a network filter).
    fn filter_state(&mut self) -> &mut FilterState;
    /// State of the connection, shared by all its streams.
    fn connection_state(&mut self) -> &mut FilterState;
}

/// How a stream goes on.
pub trait FlowHost {
    /// Lets go what waits at this filter in this direction.
    fn continue_stream(&mut self, direction: Direction);
    /// Lets the headers that wait at this filter go on as the whole message.
    fn end_with_headers(&mut self, _direction: Direction) -> Result<(), Released> {
        Err(Released)
    }
    /// Stops, or takes up again, reading what this direction's sender sends, whatever waits in the chain. For a filter
    /// that takes bytes away (`StopIterationNoBuffer`) to somewhere that cannot take more for now.
    fn hold_back(&mut self, direction: Direction, hold: bool);
    /// Answers the request in place of the host.
    fn send_local_reply(&mut self, reply: LocalReply) -> Result<(), Released>;
    /// Skips the filters of this phase that come after this one.
    fn skip_phase(&mut self);
    /// Forgets the route, so that later filters and the router see the one that the headers now ask for.
    fn clear_route(&mut self) -> Result<(), Released>;
    /// Looks for the route again and calls this filter again (phase `after_route`; at most ten times a stream).
    fn rematch_route(&mut self) -> Result<(), Released>;
    /// Chooses a host again and calls this filter again (phase `after_choose_host`; at most ten times a stream).
    fn rechoose_host(&mut self) -> Result<(), Released>;
    /// Asks for this host of the cluster, whatever load balancing says; with `strict`, for no other.
    fn override_host(&mut self, _host: &str, _strict: bool) -> Result<(), OverrideError> {
        Err(OverrideError::Unsupported)
    }
    /// Ends the stream without an answer.
    fn terminate(&mut self);
    /// Sends bytes of the filter's own on from here; with `end`, as the end of the body.
    fn inject(&mut self, direction: Direction, bytes: &[u8], end: bool) -> Result<(), Released>;
    /// The filter does without these of its wants for the rest of the stream. A host that goes on calling it breaks
    /// nothing.
    fn forgo(&mut self, _wants: Wants) {}
    /// Reports that the extension failed on this stream: its failure policy holds, and it is not called again.
    fn fail(&mut self, error: FilterError);
    /// The request phase that this filter runs in.
    fn phase(&self) -> Phase;
    /// This use's configuration for the route, the most specific one.
    fn route_config(&self) -> Option<&(dyn Any + Send + Sync)>;
}

/// All that a stream filter's context can do.
pub trait StreamHost: HeaderHost + BodyHost + FlowHost + AsyncHost + InfoHost + RecordHost {}

/// How a connection goes on.
pub trait ConnectionFlowHost {
    /// Lets go the bytes that wait at this filter ([`Direction::Request`]: from the client).
    fn continue_bytes(&mut self, direction: Direction);
    /// Sends bytes of the filter's own on from here; with `end`, as the end of that direction.
    fn inject_bytes(&mut self, direction: Direction, bytes: &[u8], end: bool);
    /// Closes the connection after what was written has left.
    fn close(&mut self);
    /// Closes the connection at once, and has the client told by a reset where the socket can do that.
    fn reset(&mut self) {
        self.close();
    }
    /// Reports that the extension failed on this connection: its failure policy holds, and it is not called again.
    fn fail(&mut self, error: FilterError);
}

/// All that a network filter's context can do.
pub trait ConnectionHost:
    BodyHost + ConnectionFlowHost + AsyncHost + InfoHost + RecordHost
{
}

/// A task of a worker's part: it stays on its worker.
pub type LocalTask = Pin<Box<dyn Future<Output = ()>>>;

/// All that a worker's part of an extension can do outside of streams.
pub trait WorkerHost: AsyncHost + RecordHost {
    /// Which worker, from 0.
    fn worker_index(&self) -> usize;
    /// How many workers there are.
    fn worker_count(&self) -> usize;
    /// Runs a task on this worker's event loop, beside its traffic. It ends with the part.
    fn spawn(&mut self, task: LocalTask);
}
