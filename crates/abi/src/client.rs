//! What a library's client is: the codec of a protocol, without a socket.

use crate::library::Object;
use crate::values::{Fault, Field, Handle, Slice, Status};

/// What a client says of itself.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct ClientWants {
    /// The size of this struct, as its maker knows it.
    pub size: usize,
    /// What logs call the protocol, such as `HTTP/1.1`. The library's, until the configuration is released; empty is the
    /// library's.
    pub name: Slice,
}

/// The functions of a client: a protocol that hosts are spoken to with. Those that may be null say so.
///
/// ```text
/// check                   any thread, any time; keeps nothing
/// prepare … release       the control side: one configuration
///   connection_start … connection_end    each connection to a host, on its worker: one request after the other, each
///                                        request, data, end; and read, which tells the answer
/// ```
///
/// A request is the same whatever the host speaks: pseudo-headers, fields, a body, trailers. The functions of a connection write
/// it in the protocol with [`Host::codec_write`](crate::Host::codec_write), and tell what they have read with
/// [`Host::message_head`](crate::Host::message_head), [`Host::message_data`](crate::Host::message_data) and
/// [`Host::message_end`](crate::Host::message_end). Their answer is [`OK`](crate::OK); [`UNSUPPORTED`](crate::UNSUPPORTED) for a
/// request that cannot be said in the protocol; anything else when the peer does not speak it. Why, they say with
/// [`Host::fail`](crate::Host::fail).
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Client {
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
            wants: *mut ClientWants,
            fault: *mut Fault,
        ) -> Object,
    >,
    /// The configuration is gone; nothing of it is in use.
    pub release: Option<unsafe extern "C" fn(config: Object)>,

    /// A connection to a host was made. Its answer is what its callbacks get; it may be null, which is no failure. Any
    /// worker.
    pub connection_start: Option<unsafe extern "C" fn(config: Object) -> Object>,
    /// The connection is over. May be null.
    pub connection_end: Option<unsafe extern "C" fn(connection: Object)>,

    /// Begins a request, whose head is the map [`REQUEST_HEADERS`](crate::REQUEST_HEADERS): `:method`, `:path` and `:authority`
    /// are there. `end` is 1 when that is all of it.
    pub request: Option<unsafe extern "C" fn(Object, Handle, end: u32) -> Status>,
    /// A piece of the request's body.
    pub data: Option<unsafe extern "C" fn(Object, Handle, data: Slice) -> Status>,
    /// The request is over; its trailers, none for most, are the map
    /// [`REQUEST_TRAILERS`](crate::REQUEST_TRAILERS).
    pub end: Option<unsafe extern "C" fn(Object, Handle) -> Status>,
    /// Reads of what the host sent: all bytes that it has not used before are there again. How many it has used goes to
    /// `used`. It is called again as long as it uses some, and else when more have come. `eof` is 1 when no more will.
    pub read: Option<
        unsafe extern "C" fn(Object, Handle, bytes: Slice, eof: u32, used: *mut usize) -> Status,
    >,
    /// 1 if the connection may be used for another request, asked when an answer is over. May be null: it may not.
    pub is_reusable: Option<unsafe extern "C" fn(Object) -> u32>,
}

/// The head of an answer that a codec has read.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct MessageHead {
    /// The size of this struct, as its maker knows it.
    pub size: usize,
    /// 200 to 599.
    pub status: u32,
    /// 0.
    pub reserved: u32,
    /// Header fields. A name or value that is none in HTTP makes the answer a bad one.
    pub fields: *const Field,
    /// How many.
    pub field_count: usize,
}

// SAFETY: A library's tables are static data and functions; the pointers in them are never written through.
unsafe impl Sync for Client {}
