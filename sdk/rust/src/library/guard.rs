//! Panics end here: none crosses the border.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

use transom_abi as abi;

use super::host::write_log;

/// Does `act`; what it says when it panics is the error.
pub(crate) fn guarded<T>(act: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(act)).map_err(|payload| {
        let text = text_of(&*payload).to_owned();
        // A payload may be anything, also something that panics when it is dropped.
        let dropped = catch_unwind(AssertUnwindSafe(|| drop(payload)));
        if let Err(again) = dropped {
            std::mem::forget(again);
        }
        format!("it panicked: {text}")
    })
}

/// Drops an object of this library's.
///
/// # Safety
///
/// `object` must be null or of [`Box::into_raw`], and used by nobody else.
pub(crate) unsafe fn dropped<T>(object: abi::Object) {
    if object.is_null() {
        return;
    }
    // SAFETY: Promised by the caller.
    let object = unsafe { Box::from_raw(object.cast::<T>()) };
    if let Err(why) = guarded(|| drop(object)) {
        write_log(0, abi::ERROR, &why);
    }
}

fn text_of(payload: &(dyn Any + Send)) -> &str {
    match payload.downcast_ref::<&str>() {
        Some(text) => text,
        None => payload
            .downcast_ref::<String>()
            .map_or("with something that is no text", String::as_str),
    }
}
