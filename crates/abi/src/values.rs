//! What crosses the border.

/// Bytes that the other side owns. Text is UTF-8 unless said otherwise, and has no zero at its end. `bytes` may be null if
/// `len` is 0.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Slice {
    /// The first of them.
    pub bytes: *const u8,
    /// How many.
    pub len: usize,
}

/// A header field. Any bytes that a field may have.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Field {
    /// Its name.
    pub name: Slice,
    /// Its value.
    pub value: Slice,
}

/// A stream, a connection, a socket, a record or a worker's part, during a callback. 0 is none.
pub type Handle = u64;

/// Wakes a filter from any thread. It is weak: a post to a stream that is gone does nothing.
pub struct Resumer {
    _private: [u8; 0],
}

/// The outcome of a function of the host.
pub type Status = i32;

/// Done.
pub const OK: Status = 0;
/// There is none of this name or number.
pub const NOT_FOUND: Status = 1;
/// The handle is of another callback, or of another thread.
pub const GONE: Status = 2;
/// What it concerns has left already, or has not come yet.
pub const RELEASED: Status = 3;
/// A number or slice is none that this function takes: a name that is no field name, text that is no UTF-8, a range outside
/// of the body.
pub const BAD_ARGUMENT: Status = 4;
/// The proxy keeps this for itself: fields of framing, a cluster that the extension did not name.
pub const NOT_ALLOWED: Status = 5;
/// Over a limit.
pub const TOO_LARGE: Status = 6;
/// Shared data has another version by now.
pub const CHANGED: Status = 7;
/// This object cannot do that, or this host cannot.
pub const UNSUPPORTED: Status = 8;

/// Which header map. Numbers as in proxy-wasm.
pub type Map = u32;
/// Headers of the request.
pub const REQUEST_HEADERS: Map = 0;
/// Trailers of the request.
pub const REQUEST_TRAILERS: Map = 1;
/// Headers of the response.
pub const RESPONSE_HEADERS: Map = 2;
/// Trailers of the response.
pub const RESPONSE_TRAILERS: Map = 3;

/// The two directions of a stream. Numbers as in proxy-wasm.
pub type Direction = u32;
/// From the client to the host.
pub const REQUEST: Direction = 0;
/// From the host, or the proxy itself, to the client.
pub const RESPONSE: Direction = 1;

/// The level of a log line. Numbers as in proxy-wasm.
pub type Level = u32;
/// Every step.
pub const TRACE: Level = 0;
/// For finding faults.
pub const DEBUG: Level = 1;
/// Worth knowing.
pub const INFO: Level = 2;
/// Something is off but goes on.
pub const WARN: Level = 3;
/// Something failed.
pub const ERROR: Level = 4;

/// What an attribute is.
pub type AttributeKind = u32;
/// `bytes`.
pub const ATTRIBUTE_BYTES: AttributeKind = 0;
/// `number`.
pub const ATTRIBUTE_INTEGER: AttributeKind = 1;
/// `number`, 0 or 1.
pub const ATTRIBUTE_BOOL: AttributeKind = 2;
/// `number`: nanoseconds since 1970-01-01 00:00 UTC.
pub const ATTRIBUTE_TIME: AttributeKind = 3;
/// `number`: nanoseconds.
pub const ATTRIBUTE_DURATION: AttributeKind = 4;

/// The value of an attribute.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Attribute {
    /// What it is.
    pub kind: AttributeKind,
    /// 0.
    pub reserved: u32,
    /// Which, or how much: by its kind.
    pub number: i64,
    /// The first of them.
    pub bytes: Slice,
}

/// An answer in place of the host's.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct LocalReply {
    /// The size of this struct, as its maker knows it.
    pub size: usize,
    /// 200 to 599.
    pub status: u32,
    /// For gRPC clients; below 0, it is made from `status`.
    pub grpc_status: i32,
    /// Header fields.
    pub fields: *const Field,
    /// How many.
    pub field_count: usize,
    /// The whole body.
    pub body: Slice,
    /// Why, for the access log: a word. `filter_reply` if empty.
    pub details: Slice,
}

/// A request to a cluster.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Call {
    /// The size of this struct, as its maker knows it.
    pub size: usize,
    /// One of those that the extension named.
    pub cluster: Slice,
    /// With `:method`, `:path` and `:authority` among them.
    pub fields: *const Field,
    /// How many.
    pub field_count: usize,
    /// The whole body.
    pub body: Slice,
    /// Trailers.
    pub trailers: *const Field,
    /// How many.
    pub trailer_count: usize,
    /// 0 for the host's default of 5 s.
    pub timeout_ms: u64,
}

/// Room for why a configuration is refused.
///
/// The library writes up to `capacity` bytes of text to `text` and their number into `len`. `path` is the way to the value
/// at fault as a JSON pointer (RFC 6901), such as `/rules/0/name`; empty for the whole.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Fault {
    /// The size of this struct, as its maker knows it.
    pub size: usize,
    /// Why.
    pub text: *mut u8,
    /// Room at `text`.
    pub capacity: usize,
    /// How many.
    pub len: usize,
    /// The way to the value at fault.
    pub path: *mut u8,
    /// Room at `path`.
    pub path_capacity: usize,
    /// Bytes that were written there.
    pub path_len: usize,
}
