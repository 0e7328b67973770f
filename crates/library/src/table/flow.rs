//! How streams and connections go on.

use std::ffi::c_void;

use transom_abi::{self as abi, Handle, Slice, Status};
use transom_api::stream::Wants;
use transom_api::{Direction, FilterError, LocalReply};

use super::{direction_of, said};
use crate::current::{Found, bytes, items, on, on_connection, on_stream, sized, text};
use crate::stream_filter::RouteObject;

pub(super) unsafe extern "C" fn resume(handle: Handle, direction: abi::Direction) -> Status {
    said(on(handle, |found| {
        match (found, direction_of(direction)?) {
            (Found::Stream(stream), Direction::Request) => stream.continue_request(),
            (Found::Stream(stream), Direction::Response) => stream.continue_response(),
            (Found::Connection(it), Direction::Request) => it.continue_reading(),
            (Found::Connection(it), Direction::Response) => it.continue_writing(),
            _ => return Err(abi::UNSUPPORTED),
        }
        Ok(())
    }))
}

pub(super) unsafe extern "C" fn hold_back(
    stream: Handle,
    direction: abi::Direction,
    hold: u32,
) -> Status {
    said(on_stream(stream, |stream| {
        stream.hold_back(direction_of(direction)?, hold != 0);
        Ok(())
    }))
}

pub(super) unsafe extern "C" fn send_local_reply(
    stream: Handle,
    reply: *const abi::LocalReply,
) -> Status {
    // SAFETY: The border's promise.
    let Some(reply) = (unsafe { sized(reply) }) else {
        return abi::BAD_ARGUMENT;
    };
    // SAFETY: The border's promise.
    let reply = unsafe { local_reply(reply) };
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

pub(super) unsafe extern "C" fn skip_phase(stream: Handle) -> Status {
    said(on_stream(stream, |stream| {
        stream.skip_phase();
        Ok(())
    }))
}

pub(super) unsafe extern "C" fn clear_route(stream: Handle) -> Status {
    said(on_stream(stream, |stream| {
        stream.clear_route().map_err(|_| abi::RELEASED)
    }))
}

pub(super) unsafe extern "C" fn rematch_route(stream: Handle) -> Status {
    said(on_stream(stream, |stream| {
        stream.rematch_route().map_err(|_| abi::RELEASED)
    }))
}

pub(super) unsafe extern "C" fn rechoose_host(stream: Handle) -> Status {
    said(on_stream(stream, |stream| {
        stream.rechoose_host().map_err(|_| abi::RELEASED)
    }))
}

pub(super) unsafe extern "C" fn terminate(handle: Handle) -> Status {
    said(on(handle, |found| {
        match found {
            Found::Stream(stream) => stream.terminate(),
            Found::Connection(connection) => connection.reset(),
            _ => return Err(abi::UNSUPPORTED),
        }
        Ok(())
    }))
}

pub(super) unsafe extern "C" fn inject(
    handle: Handle,
    direction: abi::Direction,
    data: Slice,
    end: u32,
) -> Status {
    // SAFETY: The border's promise.
    let data = unsafe { bytes(data) };
    said(on(handle, |found| {
        let direction = direction_of(direction)?;
        match found {
            Found::Stream(stream) => {
                let injected = stream.inject(direction, data, end != 0);
                injected.map_err(|_| abi::RELEASED)
            }
            Found::Connection(connection) => {
                connection.inject(direction, data, end != 0);
                Ok(())
            }
            _ => Err(abi::UNSUPPORTED),
        }
    }))
}

pub(super) unsafe extern "C" fn forgo(stream: Handle, callbacks: u32) -> Status {
    said(on_stream(stream, |stream| {
        stream.forgo(Wants::from_bits(callbacks).ok_or(abi::BAD_ARGUMENT)?);
        Ok(())
    }))
}

pub(super) unsafe extern "C" fn fail(handle: Handle, status: u32, why: Slice) -> Status {
    // SAFETY: The border's promise.
    let why = String::from_utf8_lossy(unsafe { bytes(why) }).into_owned();
    said(on(handle, |found| {
        let error = match status {
            503 => FilterError::unavailable(why),
            _ => FilterError::broken(why),
        };
        match found {
            Found::Codec(codec) => codec.why = Some(error.message.into_owned()),
            Found::Stream(stream) => stream.fail(error),
            Found::Connection(connection) => connection.fail(error),
            Found::Socket(socket) => socket.fail(error),
            _ => return Err(abi::UNSUPPORTED),
        }
        Ok(())
    }))
}

pub(super) unsafe extern "C" fn route_config(stream: Handle) -> *mut c_void {
    let found = on_stream(stream, |stream| {
        let object = stream.route_config::<RouteObject>();
        object.map(RouteObject::get).ok_or(abi::NOT_FOUND)
    });
    found.unwrap_or(std::ptr::null_mut())
}

pub(super) unsafe extern "C" fn close(connection: Handle) -> Status {
    said(on_connection(connection, |connection| {
        connection.close();
        Ok(())
    }))
}

pub(super) unsafe extern "C" fn choose_cluster(connection: Handle, cluster: Slice) -> Status {
    // SAFETY: The border's promise.
    let cluster = unsafe { text(cluster) };
    said(on_connection(connection, |connection| {
        connection.choose_cluster(cluster?);
        Ok(())
    }))
}
