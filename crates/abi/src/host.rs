//! The host's functions.

use core::ffi::c_void;

use crate::certificate_provider::{Certificates, Question};
use crate::client::MessageHead;
use crate::library::Metric;
use crate::listener::{HandOver, SocketField};
use crate::values::{
    Attribute, Call, Direction, Field, Handle, Level, LocalReply, Map, Resumer, Slice, Status,
};

/// The host's functions: static, never changed, never freed. A library must not use one that lies beyond `size`.
///
/// A handle names what the callback is of: a stream, a connection, a socket, a record of an access log, a selector's choice, a
/// worker's part or, while a configuration is prepared, the control side. A function that its object does not have answers
/// [`UNSUPPORTED`](crate::UNSUPPORTED); parameters are called `stream` where only streams have it. Out parameters are written only with
/// [`OK`](crate::OK), and may not be null unless that is said.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Host {
    /// The size of this struct, as its maker knows it.
    pub size: usize,
    /// The major version of this interface that the host has.
    pub major: u16,
    /// And the minor one.
    pub minor: u16,
    /// 0.
    pub reserved: u32,
    /// What this host can do beyond its version. None is assigned yet.
    pub features: u64,
    /// Its name and version, for logs.
    pub version: Slice,

    /// 1 where lines of this level are written, else 0. Any thread; `handle` may be 0.
    pub log_enabled: unsafe extern "C" fn(handle: Handle, level: Level) -> u32,
    /// Writes a line of the log, never waiting for whoever reads it. Any thread; `handle` may be 0.
    pub log: unsafe extern "C" fn(handle: Handle, level: Level, line: Slice) -> Status,

    /// Defines a metric, or finds the one of that name. Only while a configuration is prepared.
    pub metric_define:
        unsafe extern "C" fn(control: Handle, metric: *const Metric, number: *mut u32) -> Status,
    /// Adds to a counter or gauge.
    pub metric_add: unsafe extern "C" fn(handle: Handle, number: u32, amount: i64) -> Status,
    /// The value of a counter or gauge, over all workers.
    pub metric_get: unsafe extern "C" fn(handle: Handle, number: u32, value: *mut i64) -> Status,
    /// Records a value: nanoseconds in a histogram, a plain number in a distribution.
    pub metric_observe: unsafe extern "C" fn(handle: Handle, number: u32, value: u64) -> Status,

    /// A value of shared data, and its version (which may be null).
    pub shared_get: unsafe extern "C" fn(
        handle: Handle,
        key: Slice,
        value: *mut Slice,
        version: *mut u32,
    ) -> Status,
    /// Sets a value of shared data; with a `version` that is not 0, only if it has that one.
    pub shared_set:
        unsafe extern "C" fn(handle: Handle, key: Slice, value: Slice, version: u32) -> Status,

    /// The `nth` value of `name`. Of streams, records and codecs.
    pub header_get: unsafe extern "C" fn(
        handle: Handle,
        map: Map,
        name: Slice,
        nth: usize,
        value: *mut Slice,
    ) -> Status,
    /// The entry at `index`, in order, pseudo-headers first. Of streams, records and codecs.
    pub header_at:
        unsafe extern "C" fn(handle: Handle, map: Map, index: usize, field: *mut Field) -> Status,
    /// One value in place of all of `name`.
    pub header_set:
        unsafe extern "C" fn(stream: Handle, map: Map, name: Slice, value: Slice) -> Status,
    /// One more value, at the end.
    pub header_add:
        unsafe extern "C" fn(stream: Handle, map: Map, name: Slice, value: Slice) -> Status,
    /// Removes all values of `name`; how many there were goes to `count`, which may be null.
    pub header_remove:
        unsafe extern "C" fn(stream: Handle, map: Map, name: Slice, count: *mut usize) -> Status,

    /// Bytes that this callback shows: of a body, or of a connection.
    pub body_len: unsafe extern "C" fn(handle: Handle, direction: Direction) -> usize,
    /// The piece at `index` of them.
    pub body_piece: unsafe extern "C" fn(
        handle: Handle,
        direction: Direction,
        index: usize,
        piece: *mut Slice,
    ) -> Status,
    /// Puts `bytes` in place of `len` bytes at `at`.
    pub body_splice: unsafe extern "C" fn(
        handle: Handle,
        direction: Direction,
        at: usize,
        len: usize,
        bytes: Slice,
    ) -> Status,

    /// Lets go what waits at this filter of a stream or connection. Twice is once.
    pub resume: unsafe extern "C" fn(handle: Handle, direction: Direction) -> Status,
    /// With 1, the sender of this direction is read no more, whatever waits in the chain; with 0 again.
    pub hold_back: unsafe extern "C" fn(stream: Handle, direction: Direction, hold: u32) -> Status,
    /// Answers in place of the host. [`RELEASED`](crate::RELEASED) once the response has left.
    pub send_local_reply: unsafe extern "C" fn(stream: Handle, reply: *const LocalReply) -> Status,
    /// Skips the filters that come after this one in its phase.
    pub skip_phase: unsafe extern "C" fn(stream: Handle) -> Status,
    /// Forgets the route: later filters see the one that the headers now ask for.
    pub clear_route: unsafe extern "C" fn(stream: Handle) -> Status,
    /// Looks for the route again and calls this filter again; for the phase behind the route.
    pub rematch_route: unsafe extern "C" fn(stream: Handle) -> Status,
    /// Chooses a host again and calls this filter again; for the phase behind that.
    pub rechoose_host: unsafe extern "C" fn(stream: Handle) -> Status,
    /// Ends the stream without an answer; closes a connection at once, and the client sees a reset.
    pub terminate: unsafe extern "C" fn(handle: Handle) -> Status,
    /// Sends bytes of the filter's own on from here, of a stream or connection; with `end` 1, as the end of that direction.
    pub inject: unsafe extern "C" fn(
        handle: Handle,
        direction: Direction,
        bytes: Slice,
        end: u32,
    ) -> Status,
    /// Does without these callbacks (bits of [`Wants`](crate::Wants)) for the rest of the stream.
    pub forgo: unsafe extern "C" fn(stream: Handle, callbacks: u32) -> Status,
    /// The filter failed on this stream, connection or socket: the use's policy holds, and the filter is called no more.
    /// `status` is 503 for what is not available, 500 otherwise. In a codec, why its function does not answer
    /// [`OK`](crate::OK).
    pub fail: unsafe extern "C" fn(handle: Handle, status: u32, why: Slice) -> Status,
    /// What [`StreamFilter::prepare_route`](crate::StreamFilter::prepare_route) made for the stream's route; null for none.
    pub route_config: unsafe extern "C" fn(stream: Handle) -> *mut c_void,

    /// A resumer of this filter or part, which the library frees. Null if the handle is gone, or of something that cannot be
    /// woken. From the control side, of a certificate provider: a post, whatever its token, says that it has something new.
    pub resumer_new: unsafe extern "C" fn(handle: Handle) -> *mut Resumer,
    /// Any thread.
    pub resumer_post: unsafe extern "C" fn(resumer: *const Resumer, token: u64),
    /// Any thread.
    pub resumer_free: unsafe extern "C" fn(resumer: *mut Resumer),
    /// Sets a timer; resolution 1 ms.
    pub timer_set: unsafe extern "C" fn(handle: Handle, after_ms: u64, timer: *mut u64) -> Status,
    /// Drops a timer; one that is unknown is ignored.
    pub timer_cancel: unsafe extern "C" fn(handle: Handle, timer: u64) -> Status,
    /// Starts a call to a cluster.
    pub http_call:
        unsafe extern "C" fn(handle: Handle, call: *const Call, number: *mut u64) -> Status,
    /// Its end is not told.
    pub callout_cancel: unsafe extern "C" fn(handle: Handle, number: u64) -> Status,

    /// An attribute by Envoy's name, of a stream, connection or record.
    pub attribute:
        unsafe extern "C" fn(handle: Handle, name: Slice, value: *mut Attribute) -> Status,
    /// A value of dynamic metadata in a namespace, as JSON; of a stream, connection, socket or record.
    pub metadata_get:
        unsafe extern "C" fn(handle: Handle, space: Slice, key: Slice, json: *mut Slice) -> Status,
    /// Sets a value of dynamic metadata, from JSON. Records cannot be changed.
    pub metadata_set:
        unsafe extern "C" fn(handle: Handle, space: Slice, key: Slice, json: Slice) -> Status,
    /// State of this stream, connection or record under a name: bytes that a filter of any runtime has left there.
    pub state_get: unsafe extern "C" fn(handle: Handle, name: Slice, value: *mut Slice) -> Status,
    /// Leaves bytes there. Records cannot be changed.
    pub state_set: unsafe extern "C" fn(handle: Handle, name: Slice, value: Slice) -> Status,

    /// Which worker this is, from 0, and how many there are (which may be null).
    pub worker_index:
        unsafe extern "C" fn(handle: Handle, index: *mut u32, count: *mut u32) -> Status,

    /// State of the connection, from one of its network filters or from a stream on it: all of them share it.
    pub connection_state_get:
        unsafe extern "C" fn(handle: Handle, name: Slice, value: *mut Slice) -> Status,
    /// Leaves bytes there.
    pub connection_state_set:
        unsafe extern "C" fn(handle: Handle, name: Slice, value: Slice) -> Status,
    /// Closes a connection after what was written has left.
    pub close: unsafe extern "C" fn(connection: Handle) -> Status,
    /// Has the `tcp_proxy` at the end of the chain take this cluster, of those that the filter named, in place of its own. Holds
    /// until it has chosen, which is when the last filter lets the connection begin.
    pub choose_cluster: unsafe extern "C" fn(connection: Handle, cluster: Slice) -> Status,

    /// What is known of a socket.
    pub socket_get:
        unsafe extern "C" fn(socket: Handle, field: SocketField, value: *mut Slice) -> Status,
    /// Sets what a listener filter has found out; empty text takes it away.
    /// [`NOT_ALLOWED`](crate::NOT_ALLOWED) for what cannot be set.
    pub socket_set:
        unsafe extern "C" fn(socket: Handle, field: SocketField, value: Slice) -> Status,
    /// How many of the bytes that [`ListenerFilter::peek`](crate::ListenerFilter::peek) shows are read away for good: later
    /// filters and the connection do not see them. The last word of a callback counts.
    pub socket_consume: unsafe extern "C" fn(socket: Handle, count: usize) -> Status,
    /// Which listener serves the connection.
    pub socket_hand_over: unsafe extern "C" fn(socket: Handle, to: HandOver) -> Status,

    /// Gives an entry to [`AccessLog::write`](crate::AccessLog::write), from [`AccessLog::log`](crate::AccessLog::log).
    /// [`TOO_LARGE`](crate::TOO_LARGE) when as much waits as may: it is dropped, and counted.
    pub log_append: unsafe extern "C" fn(record: Handle, entry: Slice) -> Status,

    /// Answers a question with certificates. Any thread.
    pub certificates_give:
        unsafe extern "C" fn(question: Question, given: *const Certificates) -> Status,
    /// Answers that there is no answer, and why. `path` is the way to a value of the configuration that is at fault, as in
    /// [`Fault`](crate::Fault), which refuses a reload; empty: it could not be done now, and is tried again. Any thread.
    pub certificates_refuse:
        unsafe extern "C" fn(question: Question, why: Slice, path: Slice) -> Status,

    /// 1 if a host may be chosen in [`Selector::select`](crate::Selector::select): it is healthy, or so few are that health is
    /// passed over, and it was not tried for this request before.
    pub host_available: unsafe extern "C" fn(choice: Handle, host: usize) -> u32,
    /// How many requests and relayed connections a host has from all workers.
    pub host_active: unsafe extern "C" fn(choice: Handle, host: usize) -> u32,
    /// A random number, all of whose bits are good.
    pub random: unsafe extern "C" fn(choice: Handle) -> u64,

    /// Appends bytes to what goes to the host, in [`Client`](crate::Client)'s functions but `read`.
    pub codec_write: unsafe extern "C" fn(codec: Handle, bytes: Slice) -> Status,
    /// Tells the head of an answer that [`Client::read`](crate::Client::read) has found; then come its data and its end.
    pub message_head: unsafe extern "C" fn(codec: Handle, head: *const MessageHead) -> Status,
    /// Tells a piece of its body.
    pub message_data: unsafe extern "C" fn(codec: Handle, data: Slice) -> Status,
    /// Tells that it is over.
    pub message_end: unsafe extern "C" fn(codec: Handle) -> Status,
}

// SAFETY: Functions and static text; nothing in it is written.
unsafe impl Sync for Host {}
