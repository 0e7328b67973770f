//! What listener filters find out of sockets.

use std::borrow::Cow;
use std::net::SocketAddr;

use transom_abi::{self as abi, Handle, Slice, Status};
use transom_api::listener::HandOver;

use super::{give, said};
use crate::current::{lend, on_socket, text};

/// What the first bytes can be found to be.
const DETECTED: [&str; 4] = ["tls", "http1", "http2", "raw"];

pub(super) unsafe extern "C" fn socket_get(
    socket: Handle,
    field: abi::SocketField,
    value: *mut Slice,
) -> Status {
    let found = on_socket(socket, |socket| {
        let original = match field {
            abi::SOCKET_ORIGINAL_DESTINATION => socket.original_destination(),
            _ => None,
        };
        let info = socket.info();
        let address = |address: Option<SocketAddr>| {
            address.map(|address| Cow::Owned(address.to_string().into_bytes()))
        };
        let found = match field {
            abi::SOCKET_SOURCE => address(info.source),
            abi::SOCKET_DESTINATION => address(info.destination),
            abi::SOCKET_DIRECT_SOURCE => address(info.direct_source),
            abi::SOCKET_ORIGINAL_DESTINATION => address(original),
            abi::SOCKET_SERVER_NAME => {
                let name = info.server_name.as_ref();
                name.map(|name| Cow::Borrowed(name.as_bytes()))
            }
            abi::SOCKET_PROTOCOLS => {
                let protocols = &info.application_protocols;
                let joined = || Cow::Owned(protocols.join(",").into_bytes());
                (!protocols.is_empty()).then(joined)
            }
            abi::SOCKET_DETECTED => info.detected.map(|found| Cow::Borrowed(found.as_bytes())),
            _ => return Err(abi::BAD_ARGUMENT),
        };
        found.map(lend).ok_or(abi::NOT_FOUND)
    });
    // SAFETY: The border's promise.
    unsafe { give(value, found) }
}

pub(super) unsafe extern "C" fn socket_set(
    socket: Handle,
    field: abi::SocketField,
    value: Slice,
) -> Status {
    // SAFETY: The border's promise.
    let value = unsafe { text(value) };
    said(on_socket(socket, |socket| {
        let info = socket.info();
        let value = Some(value?).filter(|text| !text.is_empty());
        let address = || match value.map(str::parse::<SocketAddr>) {
            None => Ok(None),
            Some(parsed) => parsed.map(Some).map_err(|_| abi::BAD_ARGUMENT),
        };
        match field {
            abi::SOCKET_SOURCE => info.source = address()?,
            abi::SOCKET_DESTINATION => info.destination = address()?,
            abi::SOCKET_DIRECT_SOURCE | abi::SOCKET_ORIGINAL_DESTINATION => {
                return Err(abi::NOT_ALLOWED);
            }
            abi::SOCKET_SERVER_NAME => info.server_name = value.map(str::to_ascii_lowercase),
            abi::SOCKET_PROTOCOLS => {
                let protocols = value.into_iter().flat_map(|text| text.split(','));
                info.application_protocols = protocols.map(str::to_owned).collect();
            }
            abi::SOCKET_DETECTED => {
                info.detected = match value {
                    None => None,
                    Some(value) => {
                        let known = DETECTED.into_iter().find(|known| *known == value);
                        Some(known.ok_or(abi::BAD_ARGUMENT)?)
                    }
                };
            }
            _ => return Err(abi::BAD_ARGUMENT),
        }
        Ok(())
    }))
}

pub(super) unsafe extern "C" fn socket_consume(socket: Handle, count: usize) -> Status {
    said(on_socket(socket, |socket| {
        socket.info().consumed = count;
        Ok(())
    }))
}

pub(super) unsafe extern "C" fn socket_hand_over(socket: Handle, to: abi::HandOver) -> Status {
    said(on_socket(socket, |socket| {
        socket.info().hand_over = match to {
            abi::HAND_OVER_STAY => HandOver::Stay,
            abi::HAND_OVER_TO_DESTINATION => HandOver::ToDestination,
            abi::HAND_OVER_TO_DESTINATION_OR_LOOPBACK => HandOver::ToDestinationOrLoopback,
            _ => return Err(abi::BAD_ARGUMENT),
        };
        Ok(())
    }))
}
