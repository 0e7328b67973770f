//! Headers and bodies, and the bytes of connections.

use transom_abi::{self as abi, Field, Handle, Slice, Status};
use transom_api::headers::{Body, BodyError, HeaderError, HeaderMap, Headers};

use super::{direction_of, give, said};
use crate::current::{Found, bytes, lend, on, on_stream, text};

pub(super) unsafe extern "C" fn header_get(
    handle: Handle,
    map: abi::Map,
    name: Slice,
    nth: usize,
    value: *mut Slice,
) -> Status {
    // SAFETY: The border's promise.
    let name = unsafe { text(name) };
    let found = on_headers(handle, map, |headers| {
        let name = name?;
        let found = match nth {
            0 => headers.get(name),
            nth => headers.get_all(name).nth(nth),
        };
        found.map(|value| lend(value.0)).ok_or(abi::NOT_FOUND)
    });
    // SAFETY: The border's promise.
    unsafe { give(value, found) }
}

pub(super) unsafe extern "C" fn header_at(
    handle: Handle,
    map: abi::Map,
    index: usize,
    field: *mut Field,
) -> Status {
    let found = on_headers(handle, map, |headers| {
        let (name, value) = headers.at(index).ok_or(abi::NOT_FOUND)?;
        Ok(Field {
            name: lend(name.0),
            value: lend(value.0),
        })
    });
    // SAFETY: The border's promise.
    unsafe { give(field, found) }
}

pub(super) unsafe extern "C" fn header_set(
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

pub(super) unsafe extern "C" fn header_add(
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

pub(super) unsafe extern "C" fn header_remove(
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

pub(super) unsafe extern "C" fn body_len(handle: Handle, direction: abi::Direction) -> usize {
    on_body(handle, direction, |body| Ok(body.len())).unwrap_or(0)
}

pub(super) unsafe extern "C" fn body_piece(
    handle: Handle,
    direction: abi::Direction,
    index: usize,
    piece: *mut Slice,
) -> Status {
    let found = on_body(handle, direction, |body| {
        let piece = body.chunks().nth(index).ok_or(abi::NOT_FOUND)?;
        Ok(lend(piece))
    });
    // SAFETY: The border's promise.
    unsafe { give(piece, found) }
}

pub(super) unsafe extern "C" fn body_splice(
    handle: Handle,
    direction: abi::Direction,
    at: usize,
    len: usize,
    insert: Slice,
) -> Status {
    // SAFETY: The border's promise.
    let insert = unsafe { bytes(insert) };
    said(on(handle, |found| {
        let end = at.checked_add(len).ok_or(abi::BAD_ARGUMENT)?;
        let direction = direction_of(direction)?;
        let mut body = match found {
            Found::Stream(stream) => stream.body_mut(direction),
            Found::Connection(connection) => connection.bytes_mut(direction),
            _ => return Err(abi::UNSUPPORTED),
        };
        body.splice(at..end, insert).map_err(body_status)
    }))
}

/// Reads a header map of whatever has one.
fn on_headers<T>(
    handle: Handle,
    map: abi::Map,
    act: impl FnOnce(Headers<'_>) -> Result<T, Status>,
) -> Result<T, Status> {
    on(handle, |found| {
        let map = map_of(map)?;
        match found {
            Found::Stream(stream) => act(stream.headers(map)),
            Found::Record(logged) => act(logged.record.headers(map)),
            Found::Codec(codec) => match codec.headers {
                Some((of, headers)) if of == map => act(headers),
                _ => Err(abi::NOT_FOUND),
            },
            _ => Err(abi::UNSUPPORTED),
        }
    })
}

/// Reads the bytes of whatever shows some.
fn on_body<T>(
    handle: Handle,
    direction: abi::Direction,
    act: impl FnOnce(Body<'_>) -> Result<T, Status>,
) -> Result<T, Status> {
    on(handle, |found| {
        let direction = direction_of(direction)?;
        match found {
            Found::Stream(stream) => act(stream.body(direction)),
            Found::Connection(connection) => act(connection.bytes(direction)),
            _ => Err(abi::UNSUPPORTED),
        }
    })
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

fn header_status(error: HeaderError) -> Status {
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
