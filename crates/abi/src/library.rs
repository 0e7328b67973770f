//! What a library says of itself, and the tables of its extensions.

use core::ffi::c_void;

use crate::event::Event;
use crate::values::{Fault, Handle, Slice, Status};

/// A library's description of itself: static, never changed, never freed.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Library {
    /// [`MAGIC`](crate::MAGIC).
    pub magic: u64,
    /// The size of this struct, as its maker knows it.
    pub size: usize,
    /// The version of this interface that the library was made with. The major one must be the host's.
    pub major: u16,
    /// A library may be older or newer than its host in this.
    pub minor: u16,
    /// 0.
    pub reserved: u32,
    /// Bits of [`Host::features`](crate::Host::features) that it cannot do without.
    pub needs: u64,
    /// Its name and version, for logs.
    pub name: Slice,
    /// Its version, for logs.
    pub version: Slice,
    /// What it was made with, such as `transom-sdk 0.1.0, rustc 1.95.0`.
    pub made_with: Slice,
    /// What it can be used as.
    pub extensions: *const Extension,
    /// How many.
    pub extension_count: usize,
    /// The size of each of them, as this library knows it.
    pub extension_size: usize,
}

/// A kind of extension. A host passes over those that it does not know.
pub type Kind = u32;
/// `table` is a [`StreamFilter`].
pub const STREAM_FILTER: Kind = 1;
/// `table` is a [`NetworkFilter`](crate::NetworkFilter).
pub const NETWORK_FILTER: Kind = 2;
/// `table` is a [`ListenerFilter`](crate::ListenerFilter).
pub const LISTENER_FILTER: Kind = 3;
/// `table` is an [`AccessLog`](crate::AccessLog).
pub const ACCESS_LOG: Kind = 4;
/// `table` is a [`CertificateProvider`](crate::CertificateProvider).
pub const CERTIFICATE_PROVIDER: Kind = 5;
/// `table` is a [`Selector`](crate::Selector).
pub const SELECTOR: Kind = 7;
/// `table` is a [`Client`](crate::Client).
pub const CLIENT: Kind = 9;

/// One thing that a library can be used as.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Extension {
    /// What it is.
    pub kind: Kind,
    /// For stream filters: where their request callbacks run unless the use says so. 0 before the route is looked for, 1
    /// after it, 2 after the host was chosen.
    pub phase: u32,
    /// Empty for the only one of its kind; else what a use names behind the slash (`plugin: auth/tokens`).
    pub name: Slice,
    /// The functions; which type depends on `kind`.
    pub table: *const c_void,
}

/// Which callbacks a filter needs. Nothing else is called.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Wants {
    /// The size of this struct, as its maker knows it.
    pub size: usize,
    /// Bits: 1 request headers, 2 request body, 4 request trailers, 8 response headers, 16 response body, 32 response
    /// trailers, 64 the stream's end, 128 and 256: it may change the length of request and response bodies.
    pub callbacks: u32,
    /// 0.
    pub reserved: u32,
    /// Whole bodies, up to so many bytes; 0 for pieces as they come.
    pub whole_request_body: u64,
    /// The same of responses.
    pub whole_response_body: u64,
    /// Bytes that a stop verdict may keep; 0 for the host's default of 1 MiB.
    pub buffer_limit: u64,
    /// Clusters that its callouts may go to, `cluster_count` of them. The library's, until the configuration is dropped.
    pub clusters: *const Slice,
    /// How many.
    pub cluster_count: usize,
}

/// What a metric is.
pub type MetricKind = u32;
/// Only grows.
pub const COUNTER: MetricKind = 0;
/// Grows and shrinks.
pub const GAUGE: MetricKind = 1;
/// Of durations, in nanoseconds.
pub const HISTOGRAM: MetricKind = 2;
/// Of plain numbers.
pub const DISTRIBUTION: MetricKind = 3;

/// A metric of a use.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Metric {
    /// The size of this struct, as its maker knows it.
    pub size: usize,
    /// What it is.
    pub kind: MetricKind,
    /// 0.
    pub reserved: u32,
    /// Lower case, digits and underscores; `transom_` comes before it.
    pub name: Slice,
    /// One sentence on what it counts, and its unit.
    pub help: Slice,
}

/// A configuration of the library's, one of its workers' parts, or one of its filters: whatever it likes. Null is none.
pub type Object = *mut c_void;

/// The functions of a stream filter. Those that may be null say so; one that is null is as if its callback were not wanted.
///
/// ```text
/// check                   any thread, any time; keeps nothing
/// prepare … release       the control side: one configuration
///   worker_start … worker_end      each worker, for that configuration
///     stream_start … stream_end    each stream, on its worker; in between, its callbacks, one at a time
/// ```
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct StreamFilter {
    /// The size of this struct, as its maker knows it.
    pub size: usize,

    /// Whether a configuration, as JSON, is good: [`OK`](crate::OK), or anything else and why. Null: `prepare` says so.
    /// `route` is 1 for a configuration of a route.
    pub check: Option<unsafe extern "C" fn(config: Slice, route: u32, fault: *mut Fault) -> Status>,
    /// Makes a configuration ready. `control` is good for [`Host::metric_define`](crate::Host::metric_define) and the log.
    /// Null refuses it, and `fault` says why.
    pub prepare: Option<
        unsafe extern "C" fn(
            control: Handle,
            config: Slice,
            wants: *mut Wants,
            fault: *mut Fault,
        ) -> Object,
    >,
    /// The configuration is gone; nothing of it is in use.
    pub release: Option<unsafe extern "C" fn(config: Object)>,
    /// Makes a configuration of a route ready, for [`Host::route_config`](crate::Host::route_config). May be null: then
    /// there are none.
    pub prepare_route:
        Option<unsafe extern "C" fn(config: Object, route: Slice, fault: *mut Fault) -> Object>,
    /// That configuration is gone. May be null.
    pub release_route: Option<unsafe extern "C" fn(route: Object)>,

    /// A worker begins. Null answers that it cannot. May be null: then a worker's part is the configuration itself.
    pub worker_start: Option<unsafe extern "C" fn(config: Object, worker: Handle) -> Object>,
    /// What happened to the worker's part. May be null.
    pub worker_event:
        Option<unsafe extern "C" fn(part: Object, worker: Handle, event: *const Event)>,
    /// The worker is done with the configuration. May be null.
    pub worker_end: Option<unsafe extern "C" fn(part: Object)>,

    /// A stream begins. Its answer is what its callbacks get; it may be null, which is no failure.
    pub stream_start: Option<unsafe extern "C" fn(part: Object, stream: Handle) -> Object>,
    /// The stream is over, and so is what was made for it. Nothing can be done with it any more. May be null.
    pub stream_end: Option<unsafe extern "C" fn(filter: Object)>,

    /// Answers are numbers of proxy-wasm and Envoy: 0 goes on; for headers 1 stops, 2 goes on and ends the message, 3 and 4
    /// stop all and keep what comes (to a limit, to the watermark); for bodies 1 keeps it to a limit, 2 to the
    /// watermark, 3 takes it away; for trailers 1 stops. Any other number is a failure of the filter.
    pub request_headers: Option<unsafe extern "C" fn(Object, Handle, end: u32) -> i32>,
    /// The answer to a part of the body; `end` is 1 when nothing follows.
    pub request_body: Option<unsafe extern "C" fn(Object, Handle, end: u32) -> i32>,
    /// The answer to trailers.
    pub request_trailers: Option<unsafe extern "C" fn(Object, Handle) -> i32>,
    /// As of requests.
    pub response_headers: Option<unsafe extern "C" fn(Object, Handle, end: u32) -> i32>,
    /// As of requests.
    pub response_body: Option<unsafe extern "C" fn(Object, Handle, end: u32) -> i32>,
    /// As of requests.
    pub response_trailers: Option<unsafe extern "C" fn(Object, Handle) -> i32>,
    /// What happened between callbacks.
    pub event: Option<unsafe extern "C" fn(Object, Handle, event: *const Event)>,
    /// The stream is over, well or not; the access log comes next.
    pub complete: Option<unsafe extern "C" fn(Object, Handle)>,
}

// SAFETY: A library's tables are static data and functions; the pointers in them are never written through.
unsafe impl Sync for Library {}
// SAFETY: As above.
unsafe impl Sync for Extension {}
// SAFETY: As above.
unsafe impl Sync for StreamFilter {}
