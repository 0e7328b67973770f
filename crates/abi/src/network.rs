//! What a library's network filter is.

use crate::event::Event;
use crate::library::Object;
use crate::values::{Fault, Handle, Slice, Status};

/// Which callbacks a network filter needs, and what it may call.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct NetworkWants {
    /// The size of this struct, as its maker knows it.
    pub size: usize,
    /// Bits: 1 the client's bytes, 2 the bytes for the client. The host has set both where the table has the function. Bytes
    /// that no filter of a chain wants are not copied for it.
    pub callbacks: u32,
    /// 0.
    pub reserved: u32,
    /// Clusters that its callouts and [`Host::choose_cluster`](crate::Host::choose_cluster) may name, `cluster_count` of
    /// them. The library's, until the configuration is released.
    pub clusters: *const Slice,
    /// How many.
    pub cluster_count: usize,
}

/// The functions of a network filter. Those that may be null say so.
///
/// ```text
/// check                   any thread, any time; keeps nothing
/// prepare … release       the control side: one configuration
///   worker_start … worker_end              each worker, for that configuration
///     connection_start … connection_end    each connection, on its worker; in between, its callbacks, one at a time
/// ```
///
/// Verdicts are 0, on to the next filter with the bytes that are there, and 1, the bytes wait here, up to the watermark, until
/// [`Host::resume`](crate::Host::resume) or an answer 0 to more of them. Any other number is a failure of the filter.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct NetworkFilter {
    /// The size of this struct, as its maker knows it.
    pub size: usize,

    /// Whether a configuration, as JSON, is good: [`OK`](crate::OK), or anything else and why. Null: `prepare` says so.
    pub check: Option<unsafe extern "C" fn(config: Slice, fault: *mut Fault) -> Status>,
    /// Makes a configuration ready. `control` is good for [`Host::metric_define`](crate::Host::metric_define) and the log.
    /// Null refuses it, and `fault` says why.
    pub prepare: Option<
        unsafe extern "C" fn(
            control: Handle,
            config: Slice,
            wants: *mut NetworkWants,
            fault: *mut Fault,
        ) -> Object,
    >,
    /// The configuration is gone; nothing of it is in use.
    pub release: Option<unsafe extern "C" fn(config: Object)>,

    /// A worker begins. Null answers that it cannot. May be null: then a worker's part is the configuration itself.
    pub worker_start: Option<unsafe extern "C" fn(config: Object, worker: Handle) -> Object>,
    /// What happened to the worker's part. May be null.
    pub worker_event:
        Option<unsafe extern "C" fn(part: Object, worker: Handle, event: *const Event)>,
    /// The worker is done with the configuration. May be null.
    pub worker_end: Option<unsafe extern "C" fn(part: Object)>,

    /// A connection begins. Its answer is what its callbacks get; it may be null, which is no failure.
    pub connection_start: Option<unsafe extern "C" fn(part: Object, connection: Handle) -> Object>,
    /// The connection is over, and so is what was made for it. May be null.
    pub connection_end: Option<unsafe extern "C" fn(filter: Object)>,

    /// The connection has begun; while a filter stops here nothing is read. May be null: it goes on.
    pub begin: Option<unsafe extern "C" fn(Object, Handle) -> i32>,
    /// Bytes of the client have come: all that waits here is the body of the direction 0. `end` is 1 when it sends no more.
    /// May be null: they are not wanted.
    pub data: Option<unsafe extern "C" fn(Object, Handle, end: u32) -> i32>,
    /// Bytes for the client have come: the body of the direction 1. May be null: they are not wanted.
    pub write: Option<unsafe extern "C" fn(Object, Handle, end: u32) -> i32>,
    /// What happened between callbacks. May be null.
    pub event: Option<unsafe extern "C" fn(Object, Handle, event: *const Event)>,
    /// The connection is over, and who ended it, with the numbers of [`EVENT_RESET`](crate::EVENT_RESET). Nothing can be sent
    /// any more. May be null.
    pub close: Option<unsafe extern "C" fn(Object, Handle, by: u32)>,
}

// SAFETY: A library's tables are static data and functions; the pointers in them are never written through.
unsafe impl Sync for NetworkFilter {}
