//! What a library's access log is.

use crate::event::Event;
use crate::library::Object;
use crate::values::{Fault, Handle, Slice, Status};

/// What an access log may call.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct LogWants {
    /// The size of this struct, as its maker knows it.
    pub size: usize,
    /// Clusters that the callouts of its workers' parts may go to, `cluster_count` of them. The library's, until the
    /// configuration is released.
    pub clusters: *const Slice,
    /// How many.
    pub cluster_count: usize,
}

/// The functions of an access log. Those that may be null say so.
///
/// ```text
/// check                   any thread, any time; keeps nothing
/// prepare … release       the control side: one configuration
///   worker_start … worker_end    each worker, for that configuration; in between, log, for each record of that worker
///   write                        a thread of the use's own, one call at a time: all entries, in batches
/// ```
///
/// A worker must not wait, so what may take its time (a disk, a network) is done in `write`: `log` gives entries to the host by
/// [`Host::log_append`](crate::Host::log_append), the host collects them, and hands them over when a worker has 32 KiB of them,
/// when one has waited for a second, and at the end. While `write` stands still up to 4 MiB are kept for it; what comes
/// then is dropped and counted.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct AccessLog {
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
            wants: *mut LogWants,
            fault: *mut Fault,
        ) -> Object,
    >,
    /// The configuration is gone; nothing of it is in use, and `write` has had all entries.
    pub release: Option<unsafe extern "C" fn(config: Object)>,

    /// A worker begins. Null answers that it cannot. May be null: then a worker's part is the configuration itself.
    pub worker_start: Option<unsafe extern "C" fn(config: Object, worker: Handle) -> Object>,
    /// What happened to the worker's part. May be null.
    pub worker_event:
        Option<unsafe extern "C" fn(part: Object, worker: Handle, event: *const Event)>,
    /// The worker is done with the configuration. May be null.
    pub worker_end: Option<unsafe extern "C" fn(part: Object)>,

    /// A stream, or in the log of a listener a connection, is over. `handle` is good for its headers, attributes, metadata and
    /// state, and for [`Host::log_append`](crate::Host::log_append). Returns at once.
    pub log: Option<unsafe extern "C" fn(part: Object, handle: Handle, record: *const Record)>,
    /// Writes `count` entries, in the order of each worker. It may wait. Anything but [`OK`](crate::OK): they are lost, and
    /// counted. May be null: then `log` does all, and nothing can be appended.
    pub write:
        Option<unsafe extern "C" fn(config: Object, entries: *const Slice, count: usize) -> Status>,
}

/// What is known of a finished stream or connection without a look-up by name. Text that there is none of is empty; a time
/// that there is none of is -1.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Record {
    /// The size of this struct, as its maker knows it.
    pub size: usize,
    /// 1 for a connection's record, 0 for a stream's.
    pub is_connection: u32,
    /// The status of the response; 0 for none.
    pub status: u32,
    /// Nanoseconds from the first byte of the request (of the connection) to its end.
    pub duration: i64,
    /// Nanoseconds from the first byte of the request to its last.
    pub request_received: i64,
    /// From the first byte of the request until the last of it was handed to the host's socket.
    pub request_sent: i64,
    /// From the first byte of the request to the first of the host's response.
    pub response_received: i64,
    /// From the first byte of the request until the head of the response was handed to the client's socket.
    pub response_sent: i64,
    /// Bytes of the request's body; of a connection, all that came from the client.
    pub bytes_received: u64,
    /// Bytes of the response's body; of a connection, all that went to the client.
    pub bytes_sent: u64,
    /// A number of the connection, unique in the process.
    pub connection_id: u64,
    /// A number of the stream, unique in the process; the connection's own for a connection.
    pub stream_id: u64,
    /// A number of the connection to the host; 0 for none.
    pub upstream_connection_id: u64,
    /// How many hosts, or times one host, were tried.
    pub upstream_attempts: u32,
    /// 0.
    pub reserved: u32,
    /// `HTTP/1.1`; nothing for a connection.
    pub protocol: Slice,
    /// Why the response is what it is.
    pub details: Slice,
    /// The name of the listener.
    pub listener: Slice,
    /// The name of the virtual host.
    pub virtual_host: Slice,
    /// The name of the route.
    pub route: Slice,
    /// The name of the cluster.
    pub cluster: Slice,
    /// The chosen host's address.
    pub upstream_host: Slice,
    /// The protocol that is spoken with the host.
    pub upstream_protocol: Slice,
    /// Why TLS with the host failed.
    pub upstream_failure: Slice,
    /// The name that the client asked for in its TLS handshake.
    pub server_name: Slice,
    /// `TLSv1.2`, `TLSv1.3`; nothing for plain bytes.
    pub tls_version: Slice,
    /// The cipher suite, such as `TLS_AES_128_GCM_SHA256`.
    pub tls_cipher: Slice,
    /// Why the client's TLS handshake failed.
    pub downstream_failure: Slice,
}

// SAFETY: A library's tables are static data and functions; the pointers in them are never written through.
unsafe impl Sync for AccessLog {}
