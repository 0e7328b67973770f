//! The host's functions, as a library gets them: each finds the object of its handle and asks it.

use std::borrow::Cow;
use std::ffi::c_void;
use std::time::{Duration, UNIX_EPOCH};

use transom_abi::{self as abi, Call, Field, Handle, Host, Resumer, Slice, Status};
use transom_api::callout::{CalloutError, CalloutId, HttpCall};
use transom_api::event::TimerId;
use transom_api::headers::{BodyError, HeaderError, HeaderMap};
use transom_api::metrics::{Counter, Distribution, Gauge, Histogram, MetricId};
use transom_api::shared::SharedError;
use transom_api::stream::{Stream, Wants};
use transom_api::value::Attribute;
use transom_api::{Direction, FilterError, Level, LocalReply};

use crate::added::{
    end_with_headers, override_host, reason_get, reason_set, shared_remove, use_info,
};
use crate::configs::RouteObject;
use crate::current::{Found, bytes, items, lend, on, on_stream, sized, slice_of, text};
use crate::json;

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
    use_info,
    shared_remove,
    override_host,
    end_with_headers,
    reason_get,
    reason_set,
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
            Found::Control(_) => Err(abi::UNSUPPORTED),
        })
    };
}

/// The number that the library gets.
pub(crate) fn said(done: Result<(), Status>) -> Status {
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
pub(crate) unsafe fn give<T>(to: *mut T, found: Result<T, Status>) -> Status {
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

pub(crate) fn direction_of(number: u32) -> Result<Direction, Status> {
    match number {
        abi::REQUEST => Ok(Direction::Request),
        abi::RESPONSE => Ok(Direction::Response),
        _ => Err(abi::BAD_ARGUMENT),
    }
}

fn map_of(number: u32) -> Result<HeaderMap, Status> {
    match number {
        abi::REQUEST_HEADERS => Ok(HeaderMap::RequestHeaders),
        abi::REQUEST_TRAILERS => Ok(HeaderMap::RequestTrailers),
        abi::RESPONSE_HEADERS => Ok(HeaderMap::ResponseHeaders),
        abi::RESPONSE_TRAILERS => Ok(HeaderMap::ResponseTrailers),
        _ => Err(abi::BAD_ARGUMENT),
    }
}

fn level_of(number: u32) -> Level {
    let at = usize::try_from(number).unwrap_or(usize::MAX);
    Level::ALL.get(at).copied().unwrap_or(Level::Error)
}

pub(crate) fn header_status(error: HeaderError) -> Status {
    match error {
        HeaderError::Absent => abi::NOT_FOUND,
        HeaderError::Released => abi::RELEASED,
        HeaderError::Reserved => abi::NOT_ALLOWED,
        HeaderError::TooLarge => abi::TOO_LARGE,
        _ => abi::BAD_ARGUMENT,
    }
}

fn body_status(error: BodyError) -> Status {
    match error {
        BodyError::Absent => abi::NOT_FOUND,
        BodyError::LengthAnnounced => abi::NOT_ALLOWED,
        _ => abi::BAD_ARGUMENT,
    }
}

pub(crate) fn shared_status(error: SharedError) -> Status {
    match error {
        SharedError::Changed => abi::CHANGED,
        _ => abi::TOO_LARGE,
    }
}

fn callout_status(error: &CalloutError) -> Status {
    match error {
        CalloutError::NotAllowed => abi::NOT_ALLOWED,
        CalloutError::NoCluster => abi::NOT_FOUND,
        CalloutError::BadRequest => abi::BAD_ARGUMENT,
        CalloutError::TooLarge => abi::TOO_LARGE,
        _ => abi::UNSUPPORTED,
    }
}

// Each function below takes what the border promises of its arguments (`transom_abi`): slices that hold for the call, out
// parameters that may be written, structs as large as they say.

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
    // SAFETY: As above.
    let fields = unsafe { items(metric.labels, metric.label_count) };
    let labels: Result<Vec<_>, Status> = fields
        .iter()
        // SAFETY: As above.
        .map(|field| unsafe { Ok((text(field.name)?, text(field.value)?)) })
        .collect();
    let defined = on(control, |found| {
        let Found::Control(context) = found else {
            return Err(abi::UNSUPPORTED);
        };
        let (name, help) = (name?, help?);
        let mut labels = labels?;
        labels.insert(0, ("filter", &context.instance));
        let metrics = &context.metrics;
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
            Found::Control(context) => context.shared.get(key),
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
            Found::Control(context) => &context.shared,
        };
        match version {
            0 => shared.set(key, value),
            version => shared.compare_and_set(key, value, version),
        }
        .map_err(shared_status)
    }))
}

unsafe extern "C" fn header_get(
    stream: Handle,
    map: abi::Map,
    name: Slice,
    nth: usize,
    value: *mut Slice,
) -> Status {
    // SAFETY: The border's promise.
    let name = unsafe { text(name) };
    let found = on_stream(stream, |stream| {
        let (map, name) = (map_of(map)?, name?);
        let headers = stream.headers(map);
        let found = match nth {
            0 => headers.get(name),
            nth => headers.get_all(name).nth(nth),
        };
        found.map(|value| lend(value.0)).ok_or(abi::NOT_FOUND)
    });
    // SAFETY: The border's promise.
    unsafe { give(value, found) }
}

unsafe extern "C" fn header_at(
    stream: Handle,
    map: abi::Map,
    index: usize,
    field: *mut Field,
) -> Status {
    let found = on_stream(stream, |stream| {
        let headers = stream.headers(map_of(map)?);
        let (name, value) = headers.at(index).ok_or(abi::NOT_FOUND)?;
        Ok(Field {
            name: lend(name.0),
            value: lend(value.0),
        })
    });
    // SAFETY: The border's promise.
    unsafe { give(field, found) }
}

unsafe extern "C" fn header_set(
    stream: Handle,
    map: abi::Map,
    name: Slice,
    value: Slice,
) -> Status {
    // SAFETY: The border's promise.
    let (name, value) = unsafe { (text(name), bytes(value)) };
    said(on_stream(stream, |stream| {
        let mut headers = stream.headers_mut(map_of(map)?);
        headers.set(name?, value).map_err(header_status)
    }))
}

unsafe extern "C" fn header_add(
    stream: Handle,
    map: abi::Map,
    name: Slice,
    value: Slice,
) -> Status {
    // SAFETY: The border's promise.
    let (name, value) = unsafe { (text(name), bytes(value)) };
    said(on_stream(stream, |stream| {
        let mut headers = stream.headers_mut(map_of(map)?);
        headers.add(name?, value).map_err(header_status)
    }))
}

unsafe extern "C" fn header_remove(
    stream: Handle,
    map: abi::Map,
    name: Slice,
    count: *mut usize,
) -> Status {
    // SAFETY: The border's promise.
    let name = unsafe { text(name) };
    let removed = on_stream(stream, |stream| {
        let mut headers = stream.headers_mut(map_of(map)?);
        headers.remove(name?).map_err(header_status)
    });
    if count.is_null() {
        return said(removed.map(|_| ()));
    }
    // SAFETY: The border's promise.
    unsafe { give(count, removed) }
}

unsafe extern "C" fn body_len(stream: Handle, direction: abi::Direction) -> usize {
    on_stream(stream, |stream| {
        Ok(stream.body(direction_of(direction)?).len())
    })
    .unwrap_or(0)
}

unsafe extern "C" fn body_piece(
    stream: Handle,
    direction: abi::Direction,
    index: usize,
    piece: *mut Slice,
) -> Status {
    let found = on_stream(stream, |stream| {
        let body = stream.body(direction_of(direction)?);
        let piece = body.chunks().nth(index).ok_or(abi::NOT_FOUND)?;
        Ok(lend(piece))
    });
    // SAFETY: The border's promise.
    unsafe { give(piece, found) }
}

unsafe extern "C" fn body_splice(
    stream: Handle,
    direction: abi::Direction,
    at: usize,
    len: usize,
    insert: Slice,
) -> Status {
    // SAFETY: The border's promise.
    let insert = unsafe { bytes(insert) };
    said(on_stream(stream, |stream| {
        let end = at.checked_add(len).ok_or(abi::BAD_ARGUMENT)?;
        let mut body = stream.body_mut(direction_of(direction)?);
        body.splice(at..end, insert).map_err(body_status)
    }))
}

unsafe extern "C" fn resume(stream: Handle, direction: abi::Direction) -> Status {
    said(on_stream(stream, |stream| {
        match direction_of(direction)? {
            Direction::Request => stream.continue_request(),
            Direction::Response => stream.continue_response(),
        }
        Ok(())
    }))
}

unsafe extern "C" fn hold_back(stream: Handle, direction: abi::Direction, hold: u32) -> Status {
    said(on_stream(stream, |stream| {
        stream.hold_back(direction_of(direction)?, hold != 0);
        Ok(())
    }))
}

unsafe extern "C" fn send_local_reply(stream: Handle, reply: *const abi::LocalReply) -> Status {
    // SAFETY: The border's promise.
    let Some(reply) = (unsafe { sized(reply) }) else {
        return abi::BAD_ARGUMENT;
    };
    // SAFETY: The border's promise.
    let reply = unsafe { local_reply(&reply) };
    said(on_stream(stream, |stream| {
        stream.send_local_reply(reply?).map_err(|_| abi::RELEASED)
    }))
}

/// # Safety
///
/// What `reply` points to must be there.
unsafe fn local_reply(reply: &abi::LocalReply) -> Result<LocalReply, Status> {
    let status = u16::try_from(reply.status).map_err(|_| abi::BAD_ARGUMENT)?;
    if !(200..600).contains(&status) {
        return Err(abi::BAD_ARGUMENT);
    }
    let mut made = LocalReply::new(status);
    // SAFETY: Promised by the caller, here and below.
    for field in unsafe { items(reply.fields, reply.field_count) } {
        // SAFETY: As above.
        let (name, value) = unsafe { (text(field.name)?, bytes(field.value)) };
        made = made.header(name.to_owned(), value);
    }
    // SAFETY: As above.
    let (body, details) = unsafe { (bytes(reply.body), text(reply.details)?) };
    made = made.body(body);
    if !details.is_empty() {
        made = made.details(details.to_owned());
    }
    made.grpc_status = u32::try_from(reply.grpc_status).ok();
    Ok(made)
}

unsafe extern "C" fn skip_phase(stream: Handle) -> Status {
    said(on_stream(stream, |stream| {
        stream.skip_phase();
        Ok(())
    }))
}

unsafe extern "C" fn clear_route(stream: Handle) -> Status {
    said(on_stream(stream, |stream| {
        stream.clear_route().map_err(|_| abi::RELEASED)
    }))
}

unsafe extern "C" fn rematch_route(stream: Handle) -> Status {
    said(on_stream(stream, |stream| {
        stream.rematch_route().map_err(|_| abi::RELEASED)
    }))
}

unsafe extern "C" fn rechoose_host(stream: Handle) -> Status {
    said(on_stream(stream, |stream| {
        stream.rechoose_host().map_err(|_| abi::RELEASED)
    }))
}

unsafe extern "C" fn terminate(stream: Handle) -> Status {
    said(on_stream(stream, |stream| {
        stream.terminate();
        Ok(())
    }))
}

unsafe extern "C" fn inject(
    stream: Handle,
    direction: abi::Direction,
    data: Slice,
    end: u32,
) -> Status {
    // SAFETY: The border's promise.
    let data = unsafe { bytes(data) };
    said(on_stream(stream, |stream| {
        let direction = direction_of(direction)?;
        let injected = stream.inject(direction, data, end != 0);
        injected.map_err(|_| abi::RELEASED)
    }))
}

unsafe extern "C" fn forgo(stream: Handle, callbacks: u32) -> Status {
    said(on_stream(stream, |stream| {
        stream.forgo(Wants::from_bits(callbacks).ok_or(abi::BAD_ARGUMENT)?);
        Ok(())
    }))
}

unsafe extern "C" fn fail(stream: Handle, status: u32, why: Slice) -> Status {
    // SAFETY: The border's promise.
    let why = String::from_utf8_lossy(unsafe { bytes(why) }).into_owned();
    said(on_stream(stream, |stream| {
        stream.fail(match status {
            503 => FilterError::unavailable(why),
            _ => FilterError::broken(why),
        });
        Ok(())
    }))
}

unsafe extern "C" fn route_config(stream: Handle) -> *mut c_void {
    let found = on_stream(stream, |stream| {
        let object = stream.route_config::<RouteObject>();
        object.map(RouteObject::get).ok_or(abi::NOT_FOUND)
    });
    found.unwrap_or(std::ptr::null_mut())
}

unsafe extern "C" fn resumer_new(handle: Handle) -> *mut Resumer {
    let made = on_worker!(handle, object => Ok(object.resumer()));
    made.map_or(std::ptr::null_mut(), |resumer| {
        Box::into_raw(Box::new(resumer)).cast()
    })
}

unsafe extern "C" fn resumer_post(resumer: *const Resumer, token: u64) {
    let resumer: *const transom_api::event::Resumer = resumer.cast();
    // SAFETY: The border's promise: one of `resumer_new` that was not freed yet, or null.
    if let Some(resumer) = unsafe { resumer.as_ref() } {
        resumer.post(token);
    }
}

unsafe extern "C" fn resumer_free(resumer: *mut Resumer) {
    if !resumer.is_null() {
        // SAFETY: The border's promise: one of `resumer_new`, freed once.
        drop(unsafe { Box::from_raw(resumer.cast::<transom_api::event::Resumer>()) });
    }
}

unsafe extern "C" fn timer_set(handle: Handle, after_ms: u64, timer: *mut u64) -> Status {
    let after = Duration::from_millis(after_ms);
    let set = on_worker!(handle, object => Ok(object.set_timer(after).0));
    if timer.is_null() {
        return said(set.map(|_| ()));
    }
    // SAFETY: The border's promise.
    unsafe { give(timer, set) }
}

unsafe extern "C" fn timer_cancel(handle: Handle, timer: u64) -> Status {
    said(on_worker!(handle, object => {
        object.cancel_timer(TimerId(timer));
        Ok(())
    }))
}

unsafe extern "C" fn http_call(handle: Handle, call: *const Call, number: *mut u64) -> Status {
    // SAFETY: The border's promise.
    let Some(call) = (unsafe { sized(call) }) else {
        return abi::BAD_ARGUMENT;
    };
    // SAFETY: The border's promise.
    let call = unsafe { call_of(&call) };
    let begun = on_worker!(handle, object => {
        object.http_call(call?).map(|id| id.0).map_err(|error| callout_status(&error))
    });
    // SAFETY: The border's promise.
    unsafe { give(number, begun) }
}

/// # Safety
///
/// What `call` points to must be there.
unsafe fn call_of(call: &Call) -> Result<HttpCall, Status> {
    let owned = |first, count| {
        // SAFETY: Promised by the caller.
        let fields = unsafe { items(first, count) };
        fields.iter().map(owned_field).collect()
    };
    Ok(HttpCall {
        // SAFETY: As above.
        cluster: unsafe { text(call.cluster)? }.to_owned(),
        headers: owned(call.fields, call.field_count),
        // SAFETY: As above.
        body: unsafe { bytes(call.body) }.to_vec(),
        trailers: owned(call.trailers, call.trailer_count),
        timeout: (call.timeout_ms > 0).then(|| Duration::from_millis(call.timeout_ms)),
    })
}

fn owned_field(field: &Field) -> (Vec<u8>, Vec<u8>) {
    // SAFETY: The border's promise of the list that this is of.
    unsafe { (bytes(field.name).to_vec(), bytes(field.value).to_vec()) }
}

unsafe extern "C" fn callout_cancel(handle: Handle, number: u64) -> Status {
    said(on_worker!(handle, object => {
        object.cancel_callout(CalloutId(number));
        Ok(())
    }))
}

unsafe extern "C" fn attribute(stream: Handle, name: Slice, value: *mut abi::Attribute) -> Status {
    // SAFETY: The border's promise.
    let name = unsafe { text(name) };
    let found = on_stream(stream, |stream| attribute_of(stream, name?));
    // SAFETY: The border's promise.
    unsafe { give(value, found) }
}

fn attribute_of(stream: &Stream<'_>, name: &str) -> Result<abi::Attribute, Status> {
    let nanos = |duration: Duration| i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX);
    let (kind, number, text) = match stream.attribute(name).ok_or(abi::NOT_FOUND)? {
        Attribute::Bytes(text) => (abi::ATTRIBUTE_BYTES, 0, lend(text)),
        Attribute::Int(number) => (abi::ATTRIBUTE_INTEGER, number, slice_of(&[])),
        Attribute::Bool(value) => (abi::ATTRIBUTE_BOOL, i64::from(value), slice_of(&[])),
        Attribute::Time(time) => {
            let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
            (abi::ATTRIBUTE_TIME, nanos(since), slice_of(&[]))
        }
        Attribute::Duration(duration) => (abi::ATTRIBUTE_DURATION, nanos(duration), slice_of(&[])),
    };
    Ok(abi::Attribute {
        kind,
        reserved: 0,
        number,
        bytes: text,
    })
}

unsafe extern "C" fn metadata_get(
    stream: Handle,
    namespace: Slice,
    key: Slice,
    value: *mut Slice,
) -> Status {
    // SAFETY: The border's promise.
    let (namespace, key) = unsafe { (text(namespace), text(key)) };
    let found = on_stream(stream, |stream| {
        let value = stream.metadata(namespace?, key?).ok_or(abi::NOT_FOUND)?;
        Ok(lend(Cow::Owned(json::of_metadata(value))))
    });
    // SAFETY: The border's promise.
    unsafe { give(value, found) }
}

unsafe extern "C" fn metadata_set(
    stream: Handle,
    namespace: Slice,
    key: Slice,
    value: Slice,
) -> Status {
    // SAFETY: The border's promise.
    let (namespace, key, value) = unsafe { (text(namespace), text(key), bytes(value)) };
    said(on_stream(stream, |stream| {
        let value = json::to_metadata(value).ok_or(abi::BAD_ARGUMENT)?;
        stream.set_metadata(namespace?, key?, value);
        Ok(())
    }))
}

unsafe extern "C" fn state_get(stream: Handle, name: Slice, value: *mut Slice) -> Status {
    // SAFETY: The border's promise.
    let name = unsafe { text(name) };
    let found = on_stream(stream, |stream| {
        let state = stream.filter_state().get::<Vec<u8>>(name?);
        state.map(|bytes| slice_of(bytes)).ok_or(abi::NOT_FOUND)
    });
    // SAFETY: The border's promise.
    unsafe { give(value, found) }
}

unsafe extern "C" fn state_set(stream: Handle, name: Slice, value: Slice) -> Status {
    // SAFETY: The border's promise.
    let (name, value) = unsafe { (text(name), bytes(value)) };
    said(on_stream(stream, |stream| {
        stream.filter_state().set(name?.to_owned(), value.to_vec());
        Ok(())
    }))
}

unsafe extern "C" fn worker_index(handle: Handle, index: *mut u32, count: *mut u32) -> Status {
    let found = on(handle, |found| match found {
        Found::Worker(worker) => Ok((worker.index(), worker.count_workers())),
        Found::Stream(_) | Found::Control(_) => Err(abi::UNSUPPORTED),
    });
    let narrow = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    if let (Ok((_, workers)), false) = (&found, count.is_null()) {
        // SAFETY: The border's promise; not null.
        unsafe { count.write(narrow(*workers)) };
    }
    // SAFETY: The border's promise.
    unsafe { give(index, found.map(|(index, _)| narrow(index))) }
}
