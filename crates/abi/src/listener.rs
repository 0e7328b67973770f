//! What a library's listener filter is.

use crate::event::Event;
use crate::library::Object;
use crate::values::{Fault, Handle, Slice, Status};

/// What a listener filter needs.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct ListenerWants {
    /// The size of this struct, as its maker knows it.
    pub size: usize,
    /// How many of the first bytes it may need to see, 65,551 at the most; 0 for none.
    pub peek: usize,
}

/// The functions of a listener filter, which sees an accepted socket before its connection begins. Those that may be null
/// say so.
///
/// ```text
/// check                   any thread, any time; keeps nothing
/// prepare … release       the control side: one configuration
///   worker_start … worker_end          each worker, for that configuration
///     socket_start … socket_end        each socket, on its worker: accept, then peek until it has seen enough
/// ```
///
/// Verdicts are 0, on to the next filter; 1, more bytes are needed; 2, the socket is closed. Any other number is a failure of the
/// filter.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct ListenerFilter {
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
            wants: *mut ListenerWants,
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

    /// A socket was accepted. Its answer is what its callbacks get; it may be null, which is no failure.
    pub socket_start: Option<unsafe extern "C" fn(part: Object, socket: Handle) -> Object>,
    /// The filter is done with the socket. May be null.
    pub socket_end: Option<unsafe extern "C" fn(filter: Object)>,

    /// No byte was seen yet; 0 is to want none. May be null: it waits for bytes, if it wants any.
    pub accept: Option<unsafe extern "C" fn(Object, Handle) -> i32>,
    /// All bytes that have come, up to [`ListenerWants::peek`](crate::ListenerWants::peek). They stay for whoever is behind.
    /// `end` is 1 when no more will come. May be null: it goes on.
    pub peek: Option<unsafe extern "C" fn(Object, Handle, bytes: Slice, end: u32) -> i32>,
}

// SAFETY: A library's tables are static data and functions; the pointers in them are never written through.
unsafe impl Sync for ListenerFilter {}

/// What is known of a socket.
pub type SocketField = u32;
/// The client's address and port, `192.0.2.1:4711` or `[2001:db8::1]:4711`. Can be set.
pub const SOCKET_SOURCE: SocketField = 0;
/// The address and port that the client connected to. Can be set.
pub const SOCKET_DESTINATION: SocketField = 1;
/// The peer of the socket itself, whatever a proxy before it says of the client.
pub const SOCKET_DIRECT_SOURCE: SocketField = 2;
/// Where the client wanted to go before the kernel redirected it.
pub const SOCKET_ORIGINAL_DESTINATION: SocketField = 3;
/// The server name of a TLS hello, in lower case. Can be set.
pub const SOCKET_SERVER_NAME: SocketField = 4;
/// The protocols that the client offers (ALPN), the most wanted first, with a comma between two. Can be set.
pub const SOCKET_PROTOCOLS: SocketField = 5;
/// What the first bytes were found to be: `tls`, `http1`, `http2`, `raw`. Can be set to one of these.
pub const SOCKET_DETECTED: SocketField = 6;

/// Which listener serves a connection.
pub type HandOver = u32;
/// The one that accepted it.
pub const HAND_OVER_STAY: HandOver = 0;
/// The one on its destination, or on all addresses with that port; else the one that accepted it.
pub const HAND_OVER_TO_DESTINATION: HandOver = 1;
/// The same; before the one that accepted it comes one on the loopback with that port.
pub const HAND_OVER_TO_DESTINATION_OR_LOOPBACK: HandOver = 2;
