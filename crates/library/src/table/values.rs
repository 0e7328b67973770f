//! What is known beside the messages: attributes, metadata, state.

use std::borrow::Cow;
use std::time::{Duration, UNIX_EPOCH};

use transom_abi::{self as abi, Handle, Slice, Status};
use transom_api::value::{Attribute, FilterState};

use super::{give, said};
use crate::current::{Found, bytes, lend, on, slice_of, text};
use crate::json;

pub(super) unsafe extern "C" fn attribute(
    handle: Handle,
    name: Slice,
    value: *mut abi::Attribute,
) -> Status {
    // SAFETY: The border's promise.
    let name = unsafe { text(name) };
    let found = on(handle, |found| {
        let name = name?;
        let found = match found {
            Found::Stream(stream) => stream.attribute(name),
            Found::Connection(connection) => connection.attribute(name),
            Found::Record(logged) => logged.record.attribute(name),
            _ => return Err(abi::UNSUPPORTED),
        };
        found.map(given).ok_or(abi::NOT_FOUND)
    });
    // SAFETY: The border's promise.
    unsafe { give(value, found) }
}

/// An attribute as C sees it.
fn given(attribute: Attribute<'_>) -> abi::Attribute {
    let nanos = |duration: Duration| i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX);
    let (kind, number, text) = match attribute {
        Attribute::Bytes(text) => (abi::ATTRIBUTE_BYTES, 0, lend(text)),
        Attribute::Int(number) => (abi::ATTRIBUTE_INTEGER, number, slice_of(&[])),
        Attribute::Bool(value) => (abi::ATTRIBUTE_BOOL, i64::from(value), slice_of(&[])),
        Attribute::Time(time) => {
            let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
            (abi::ATTRIBUTE_TIME, nanos(since), slice_of(&[]))
        }
        Attribute::Duration(duration) => (abi::ATTRIBUTE_DURATION, nanos(duration), slice_of(&[])),
    };
    abi::Attribute {
        kind,
        reserved: 0,
        number,
        bytes: text,
    }
}

pub(super) unsafe extern "C" fn metadata_get(
    handle: Handle,
    namespace: Slice,
    key: Slice,
    value: *mut Slice,
) -> Status {
    // SAFETY: The border's promise.
    let (namespace, key) = unsafe { (text(namespace), text(key)) };
    let found = on(handle, |found| {
        let (namespace, key) = (namespace?, key?);
        let value = match found {
            Found::Stream(stream) => stream.metadata(namespace, key),
            Found::Connection(connection) => connection.metadata(namespace, key),
            Found::Record(logged) => logged.record.metadata(namespace, key),
            Found::Socket(socket) => {
                let space = socket.info().metadata.get(namespace);
                space.and_then(|space| space.get(key))
            }
            _ => return Err(abi::UNSUPPORTED),
        };
        let value = value.ok_or(abi::NOT_FOUND)?;
        Ok(lend(Cow::Owned(json::of_metadata(value))))
    });
    // SAFETY: The border's promise.
    unsafe { give(value, found) }
}

pub(super) unsafe extern "C" fn metadata_set(
    handle: Handle,
    namespace: Slice,
    key: Slice,
    value: Slice,
) -> Status {
    // SAFETY: The border's promise.
    let (namespace, key, value) = unsafe { (text(namespace), text(key), bytes(value)) };
    said(on(handle, |found| {
        let value = json::to_metadata(value).ok_or(abi::BAD_ARGUMENT)?;
        let (namespace, key) = (namespace?, key?);
        match found {
            Found::Stream(stream) => stream.set_metadata(namespace, key, value),
            Found::Connection(connection) => connection.set_metadata(namespace, key, value),
            Found::Socket(socket) => {
                let metadata = &mut socket.info().metadata;
                let space = metadata.entry(namespace.to_owned()).or_default();
                space.insert(key.to_owned(), value);
            }
            _ => return Err(abi::UNSUPPORTED),
        }
        Ok(())
    }))
}

pub(super) unsafe extern "C" fn state_get(
    handle: Handle,
    name: Slice,
    value: *mut Slice,
) -> Status {
    // SAFETY: The border's promise.
    let name = unsafe { text(name) };
    let found = on(handle, |found| {
        let name = name?;
        match found {
            Found::Stream(stream) => left(stream.filter_state(), name),
            Found::Connection(connection) => left(connection.filter_state(), name),
            Found::Record(logged) => left(logged.record.state(), name),
            _ => Err(abi::UNSUPPORTED),
        }
    });
    // SAFETY: The border's promise.
    unsafe { give(value, found) }
}

pub(super) unsafe extern "C" fn state_set(handle: Handle, name: Slice, value: Slice) -> Status {
    // SAFETY: The border's promise.
    let (name, value) = unsafe { (text(name), bytes(value)) };
    said(on(handle, |found| {
        let state = match found {
            Found::Stream(stream) => stream.filter_state(),
            Found::Connection(connection) => connection.filter_state(),
            _ => return Err(abi::UNSUPPORTED),
        };
        state.set(name?.to_owned(), value.to_vec());
        Ok(())
    }))
}

pub(super) unsafe extern "C" fn connection_state_get(
    handle: Handle,
    name: Slice,
    value: *mut Slice,
) -> Status {
    // SAFETY: The border's promise.
    let name = unsafe { text(name) };
    let found = on(handle, |found| left(connection_state(found)?, name?));
    // SAFETY: The border's promise.
    unsafe { give(value, found) }
}

pub(super) unsafe extern "C" fn connection_state_set(
    handle: Handle,
    name: Slice,
    value: Slice,
) -> Status {
    // SAFETY: The border's promise.
    let (name, value) = unsafe { (text(name), bytes(value)) };
    said(on(handle, |found| {
        let state = connection_state(found)?;
        state.set(name?.to_owned(), value.to_vec());
        Ok(())
    }))
}

fn connection_state(found: Found<'_>) -> Result<&mut FilterState, Status> {
    match found {
        Found::Stream(stream) => Ok(stream.connection_state()),
        Found::Connection(connection) => Ok(connection.connection_state()),
        _ => Err(abi::UNSUPPORTED),
    }
}

/// The bytes that somebody has left under a name.
fn left(state: &FilterState, name: &str) -> Result<Slice, Status> {
    let found = state.get::<Vec<u8>>(name);
    found.map(|bytes| slice_of(bytes)).ok_or(abi::NOT_FOUND)
}

pub(super) unsafe extern "C" fn worker_index(
    handle: Handle,
    index: *mut u32,
    count: *mut u32,
) -> Status {
    let found = on(handle, |found| match found {
        Found::Worker(worker) => Ok((worker.index(), worker.count_workers())),
        _ => Err(abi::UNSUPPORTED),
    });
    let narrow = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    if let (Ok((_, workers)), false) = (&found, count.is_null()) {
        // SAFETY: The border's promise; not null.
        unsafe { count.write(narrow(*workers)) };
    }
    // SAFETY: The border's promise.
    unsafe { give(index, found.map(|(index, _)| narrow(index))) }
}
