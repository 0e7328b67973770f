//! The host's functions that version 1.1 of the border added.

use transom_abi::{self as abi, Handle, Slice, Status};
use transom_api::OverrideError;

use super::messages::header_status;
use super::{direction_of, give, said, shared_status};
use crate::current::{Found, bytes, lend, on, on_stream, slice_of, text};

pub(super) unsafe extern "C" fn use_info(control: Handle, info: *mut abi::UseInfo) -> Status {
    if info.is_null() {
        return abi::BAD_ARGUMENT;
    }
    let found = on(control, |found| {
        let Found::Control(control) = found else {
            return Err(abi::UNSUPPORTED);
        };
        let context = control.context;
        let folder = context.folder.as_os_str().as_encoded_bytes();
        Ok((
            slice_of(context.instance.as_bytes()),
            slice_of(folder),
            u32::try_from(context.workers).unwrap_or(u32::MAX),
        ))
    });
    match found {
        Err(status) => status,
        Ok((instance, folder, workers)) => {
            let whole = abi::UseInfo {
                size: size_of::<abi::UseInfo>(),
                instance,
                folder,
                workers,
                reserved: 0,
            };
            // SAFETY: The border's promise: it begins with its size, and may be written to up to that.
            unsafe {
                let known = (*info).size.min(whole.size);
                let from = (&raw const whole).cast::<u8>();
                std::ptr::copy_nonoverlapping(from, info.cast::<u8>(), known);
                (*info).size = known;
            }
            abi::OK
        }
    }
}

pub(super) unsafe extern "C" fn shared_remove(handle: Handle, key: Slice) -> Status {
    // SAFETY: The border's promise.
    let key = unsafe { text(key) };
    said(on(handle, |found| {
        let shared = match &found {
            Found::Stream(stream) => stream.shared(),
            Found::Worker(worker) => worker.shared(),
            Found::Connection(connection) => connection.shared(),
            Found::Socket(socket) => socket.shared(),
            Found::Record(logged) => logged.record.shared(),
            Found::Control(control) => &control.context.shared,
            Found::Choice(_) | Found::Codec(_) => return Err(abi::UNSUPPORTED),
        };
        shared.remove(key?).map_err(shared_status)
    }))
}

pub(super) unsafe extern "C" fn override_host(
    stream: Handle,
    address: Slice,
    strict: u32,
) -> Status {
    // SAFETY: The border's promise.
    let address = unsafe { text(address) };
    said(on_stream(stream, |stream| {
        let done = stream.override_host(address?, strict != 0);
        done.map_err(|error| match error {
            OverrideError::Released => abi::RELEASED,
            OverrideError::NoAddress => abi::BAD_ARGUMENT,
            _ => abi::UNSUPPORTED,
        })
    }))
}

pub(super) unsafe extern "C" fn end_with_headers(
    stream: Handle,
    direction: abi::Direction,
) -> Status {
    said(on_stream(stream, |stream| {
        let done = stream.end_with_headers(direction_of(direction)?);
        done.map_err(|_| abi::RELEASED)
    }))
}

pub(super) unsafe extern "C" fn reason_get(stream: Handle, phrase: *mut Slice) -> Status {
    let found = on_stream(stream, |stream| {
        stream.reason_phrase().map(lend).ok_or(abi::NOT_FOUND)
    });
    // SAFETY: The border's promise.
    unsafe { give(phrase, found) }
}

pub(super) unsafe extern "C" fn reason_set(stream: Handle, phrase: Slice) -> Status {
    // SAFETY: The border's promise.
    let phrase = unsafe { bytes(phrase) };
    said(on_stream(stream, |stream| {
        stream.set_reason_phrase(phrase).map_err(header_status)
    }))
}
