//! What clients write, and tell of what they have read.

use transom_abi::{self as abi, Handle, MessageHead, Slice, Status};

use super::said;
use crate::current::{Codec, Found, Told, bytes, on, sized};

pub(super) unsafe extern "C" fn codec_write(codec: Handle, data: Slice) -> Status {
    // SAFETY: The border's promise.
    let data = unsafe { bytes(data) };
    said(on_codec(codec, |codec| {
        let out = codec.out.as_deref_mut().ok_or(abi::UNSUPPORTED)?;
        out.extend_from_slice(data);
        Ok(())
    }))
}

pub(super) unsafe extern "C" fn message_head(codec: Handle, head: *const MessageHead) -> Status {
    // SAFETY: The border's promise.
    let Some(head) = (unsafe { sized(head) }) else {
        return abi::BAD_ARGUMENT;
    };
    said(on_told(codec, |told| told.head(head)))
}

pub(super) unsafe extern "C" fn message_data(codec: Handle, data: Slice) -> Status {
    // SAFETY: The border's promise.
    let data = unsafe { bytes(data) };
    said(on_told(codec, |told| {
        told.data(data);
        Ok(())
    }))
}

pub(super) unsafe extern "C" fn message_end(codec: Handle) -> Status {
    said(on_told(codec, |told| {
        told.end();
        Ok(())
    }))
}

fn on_codec<T>(
    handle: Handle,
    act: impl FnOnce(&mut Codec<'static>) -> Result<T, Status>,
) -> Result<T, Status> {
    on(handle, |found| match found {
        Found::Codec(codec) => act(codec),
        _ => Err(abi::UNSUPPORTED),
    })
}

fn on_told<T>(
    handle: Handle,
    act: impl FnOnce(&mut dyn Told) -> Result<T, Status>,
) -> Result<T, Status> {
    on_codec(handle, |codec| match codec.told.as_deref_mut() {
        Some(told) => act(told),
        None => Err(abi::UNSUPPORTED),
    })
}
