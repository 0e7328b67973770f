//! What happens later: resumers, timers, calls.

use std::time::Duration;

use transom_abi::{self as abi, Call, Field, Handle, Resumer, Status};
use transom_api::callout::{CalloutError, CalloutId, HttpCall};
use transom_api::event::TimerId;

use super::{give, said};
use crate::current::{Found, bytes, items, on, sized, text};

/// Does the same on whatever a handle is, if that can wait.
macro_rules! on_later {
    ($handle:expr, $object:ident => $act:expr) => {
        on($handle, |found| match found {
            Found::Stream($object) => $act,
            Found::Worker($object) => $act,
            Found::Connection($object) => $act,
            _ => Err(abi::UNSUPPORTED),
        })
    };
}

pub(super) unsafe extern "C" fn resumer_new(handle: Handle) -> *mut Resumer {
    let made = on(handle, |found| match found {
        Found::Stream(stream) => Ok(stream.resumer()),
        Found::Worker(worker) => Ok(worker.resumer()),
        Found::Connection(connection) => Ok(connection.resumer()),
        Found::Control(control) => control.news.cloned().ok_or(abi::UNSUPPORTED),
        _ => Err(abi::UNSUPPORTED),
    });
    made.map_or(std::ptr::null_mut(), |resumer| {
        Box::into_raw(Box::new(resumer)).cast()
    })
}

pub(super) unsafe extern "C" fn resumer_post(resumer: *const Resumer, token: u64) {
    let resumer: *const transom_api::event::Resumer = resumer.cast();
    // SAFETY: The border's promise: one of `resumer_new` that was not freed yet, or null.
    if let Some(resumer) = unsafe { resumer.as_ref() } {
        resumer.post(token);
    }
}

pub(super) unsafe extern "C" fn resumer_free(resumer: *mut Resumer) {
    if !resumer.is_null() {
        // SAFETY: The border's promise: one of `resumer_new`, freed once.
        drop(unsafe { Box::from_raw(resumer.cast::<transom_api::event::Resumer>()) });
    }
}

pub(super) unsafe extern "C" fn timer_set(
    handle: Handle,
    after_ms: u64,
    timer: *mut u64,
) -> Status {
    let after = Duration::from_millis(after_ms);
    let set = on_later!(handle, object => Ok(object.set_timer(after).0));
    if timer.is_null() {
        return said(set.map(|_| ()));
    }
    // SAFETY: The border's promise.
    unsafe { give(timer, set) }
}

pub(super) unsafe extern "C" fn timer_cancel(handle: Handle, timer: u64) -> Status {
    said(on_later!(handle, object => {
        object.cancel_timer(TimerId(timer));
        Ok(())
    }))
}

pub(super) unsafe extern "C" fn http_call(
    handle: Handle,
    call: *const Call,
    number: *mut u64,
) -> Status {
    // SAFETY: The border's promise.
    let Some(call) = (unsafe { sized(call) }) else {
        return abi::BAD_ARGUMENT;
    };
    // SAFETY: The border's promise.
    let call = unsafe { call_of(call) };
    let begun = on_later!(handle, object => {
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

pub(super) unsafe extern "C" fn callout_cancel(handle: Handle, number: u64) -> Status {
    said(on_later!(handle, object => {
        object.cancel_callout(CalloutId(number));
        Ok(())
    }))
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
