//! The host's functions, as a library gets them: each finds the object of its handle and asks it.

mod answers;
mod choices;
mod codecs;
mod flow;
mod later;
mod messages;
mod sockets;
mod values;

use std::borrow::Cow;
use std::time::Duration;

use transom_abi::{self as abi, Handle, Host, Slice, Status};
use transom_api::metrics::{Counter, Distribution, Gauge, Histogram, MetricId};
use transom_api::shared::SharedError;
use transom_api::{Direction, Level};

use self::{
    answers::*, choices::*, codecs::*, flow::*, later::*, messages::*, sockets::*, values::*,
};
use crate::current::{Found, bytes, lend, on, sized, text};

/// What every library gets.
pub(crate) static HOST: Host = Host {
    size: size_of::<Host>(),
    major: abi::MAJOR,
    minor: abi::MINOR,
    reserved: 0,
    features: 0,
    version: VERSION_SLICE,
    log_enabled,
    log,
    metric_define,
    metric_add,
    metric_get,
    metric_observe,
    shared_get,
    shared_set,
    header_get,
    header_at,
    header_set,
    header_add,
    header_remove,
    body_len,
    body_piece,
    body_splice,
    resume,
    hold_back,
    send_local_reply,
    skip_phase,
    clear_route,
    rematch_route,
    rechoose_host,
    terminate,
    inject,
    forgo,
    fail,
    route_config,
    resumer_new,
    resumer_post,
    resumer_free,
    timer_set,
    timer_cancel,
    http_call,
    callout_cancel,
    attribute,
    metadata_get,
    metadata_set,
    state_get,
    state_set,
    worker_index,
    connection_state_get,
    connection_state_set,
    close,
    choose_cluster,
    socket_get,
    socket_set,
    socket_consume,
    socket_hand_over,
    log_append,
    certificates_give,
    certificates_refuse,
    host_available,
    host_active,
    random,
    codec_write,
    message_head,
    message_data,
    message_end,
};

const VERSION: &str = concat!("transom ", env!("CARGO_PKG_VERSION"));
const VERSION_SLICE: Slice = Slice {
    bytes: VERSION.as_ptr(),
    len: VERSION.len(),
};

/// Does the same on whatever a handle is, if that is on a worker.
macro_rules! on_worker {
    ($handle:expr, $object:ident => $act:expr) => {
        on($handle, |found| match found {
            Found::Stream($object) => $act,
            Found::Worker($object) => $act,
            Found::Connection($object) => $act,
            Found::Socket($object) => $act,
            Found::Record(logged) => {
                let $object = &logged.record;
                $act
            }
            Found::Choice(_) | Found::Codec(_) | Found::Control(_) => Err(abi::UNSUPPORTED),
        })
    };
}

/// The number that the library gets.
fn said(done: Result<(), Status>) -> Status {
    match done {
        Ok(()) => abi::OK,
        Err(status) => status,
    }
}

/// Writes what a function found to where the library wants it.
///
/// # Safety
///
/// `to` must be null, or where a `T` may be written.
unsafe fn give<T>(to: *mut T, found: Result<T, Status>) -> Status {
    match found {
        Err(status) => status,
        Ok(_) if to.is_null() => abi::BAD_ARGUMENT,
        Ok(value) => {
            // SAFETY: Promised by the caller; not null, as was looked.
            unsafe { to.write(value) };
            abi::OK
        }
    }
}

fn direction_of(number: u32) -> Result<Direction, Status> {
    match number {
        abi::REQUEST => Ok(Direction::Request),
        abi::RESPONSE => Ok(Direction::Response),
        _ => Err(abi::BAD_ARGUMENT),
    }
}

fn level_of(number: u32) -> Level {
    let at = usize::try_from(number).unwrap_or(usize::MAX);
    Level::ALL.get(at).copied().unwrap_or(Level::Error)
}

fn shared_status(error: SharedError) -> Status {
    match error {
        SharedError::Changed => abi::CHANGED,
        _ => abi::TOO_LARGE,
    }
}

// Each function below, and in the modules, takes what the border promises of its arguments (`transom_abi`): slices that hold
// for the call, out parameters that may be written, structs as large as they say.

unsafe extern "C" fn log_enabled(handle: Handle, level: abi::Level) -> u32 {
    let level = level_of(level);
    let enabled = on_worker!(handle, object => Ok(object.log_enabled(level)));
    u32::from(enabled.unwrap_or_else(|_| crate::log::is_enabled(level)))
}

unsafe extern "C" fn log(handle: Handle, level: abi::Level, line: Slice) -> Status {
    let level = level_of(level);
    // SAFETY: The border's promise.
    let line = String::from_utf8_lossy(unsafe { bytes(line) });
    if on_worker!(handle, object => { object.log(level, &line); Ok(()) }).is_err() {
        crate::log::write(level, &line);
    }
    abi::OK
}

unsafe extern "C" fn metric_define(
    control: Handle,
    metric: *const abi::Metric,
    number: *mut u32,
) -> Status {
    // SAFETY: The border's promise.
    let Some(metric) = (unsafe { sized(metric) }) else {
        return abi::BAD_ARGUMENT;
    };
    // SAFETY: The border's promise.
    let (name, help) = unsafe { (text(metric.name), text(metric.help)) };
    let defined = on(control, |found| {
        let Found::Control(control) = found else {
            return Err(abi::UNSUPPORTED);
        };
        let (name, help) = (name?, help?);
        let labels = [(control.label, &*control.context.instance)];
        let metrics = &control.context.metrics;
        let defined = match metric.kind {
            abi::COUNTER => metrics.counter(name, help, &labels).map(|made| made.0),
            abi::GAUGE => metrics.gauge(name, help, &labels).map(|made| made.0),
            abi::HISTOGRAM => metrics.histogram(name, help, &labels).map(|made| made.0),
            abi::DISTRIBUTION => metrics.distribution(name, help, &labels).map(|made| made.0),
            _ => return Err(abi::BAD_ARGUMENT),
        };
        defined.map(|id| id.0).map_err(|error| {
            crate::log::write(Level::Error, &error.to_string());
            abi::BAD_ARGUMENT
        })
    });
    // SAFETY: The border's promise.
    unsafe { give(number, defined) }
}

unsafe extern "C" fn metric_add(handle: Handle, number: u32, amount: i64) -> Status {
    said(on_worker!(handle, object => {
        object.add_gauge(Gauge(MetricId(number)), amount);
        Ok(())
    }))
}

unsafe extern "C" fn metric_get(handle: Handle, number: u32, value: *mut i64) -> Status {
    let found = on_worker!(handle, object => Ok(object.metric(Counter(MetricId(number)).0)));
    // SAFETY: The border's promise.
    unsafe { give(value, found) }
}

unsafe extern "C" fn metric_observe(handle: Handle, number: u32, value: u64) -> Status {
    said(on_worker!(handle, object => {
        // One of the two is not the metric's kind, and then does nothing.
        object.observe(Histogram(MetricId(number)), Duration::from_nanos(value));
        object.observe_value(Distribution(MetricId(number)), value);
        Ok(())
    }))
}

unsafe extern "C" fn shared_get(
    handle: Handle,
    key: Slice,
    value: *mut Slice,
    version: *mut u32,
) -> Status {
    // SAFETY: The border's promise.
    let key = unsafe { text(key) };
    let found = on(handle, |found| {
        let key = key?;
        let shared = match found {
            Found::Stream(stream) => stream.shared().get(key),
            Found::Worker(worker) => worker.shared().get(key),
            Found::Connection(connection) => connection.shared().get(key),
            Found::Socket(socket) => socket.shared().get(key),
            Found::Record(logged) => logged.record.shared().get(key),
            Found::Control(control) => control.context.shared.get(key),
            Found::Choice(_) | Found::Codec(_) => return Err(abi::UNSUPPORTED),
        };
        shared.ok_or(abi::NOT_FOUND)
    });
    let found = found.map(|shared| {
        if !version.is_null() {
            // SAFETY: The border's promise; not null.
            unsafe { version.write(shared.version) };
        }
        lend(Cow::Owned(shared.bytes.to_vec()))
    });
    // SAFETY: The border's promise.
    unsafe { give(value, found) }
}

unsafe extern "C" fn shared_set(handle: Handle, key: Slice, value: Slice, version: u32) -> Status {
    // SAFETY: The border's promise.
    let (key, value) = unsafe { (text(key), bytes(value)) };
    said(on(handle, |found| {
        let key = key?;
        let shared = match &found {
            Found::Stream(stream) => stream.shared(),
            Found::Worker(worker) => worker.shared(),
            Found::Connection(connection) => connection.shared(),
            Found::Socket(socket) => socket.shared(),
            Found::Record(logged) => logged.record.shared(),
            Found::Control(control) => &control.context.shared,
            Found::Choice(_) | Found::Codec(_) => return Err(abi::UNSUPPORTED),
        };
        match version {
            0 => shared.set(key, value),
            version => shared.compare_and_set(key, value, version),
        }
        .map_err(shared_status)
    }))
}
