//! The host's table, as this library has it.

use std::mem::offset_of;
use std::panic;
use std::ptr::null_mut;
use std::sync::Once;
use std::sync::atomic::{AtomicPtr, Ordering};

use transom_abi::{self as abi, Host, Slice, Status};

/// Null before the library's entry was called. A host may be older than this SDK, and its table shorter than [`Host`]: it is
/// never looked at as a whole.
static HOST: AtomicPtr<Host> = AtomicPtr::new(null_mut());

/// Version 1.0 ends here. Without what it has there is no context.
const LEAST: usize = offset_of!(Host, use_info);

/// Keeps the host's table. False for what is no host of this major version.
///
/// # Safety
///
/// `host` must be null or the table of a host, which lives as long as the process.
pub(crate) unsafe fn begin(host: *const Host) -> bool {
    if host.is_null() {
        return false;
    }
    // SAFETY: Promised by the caller; these stand where they stand in every version that there will be.
    let (size, major) = unsafe { ((*host).size, (*host).major) };
    if major != abi::MAJOR || size < LEAST {
        return false;
    }
    HOST.store(host.cast_mut(), Ordering::Release);
    // This library's standard library is its own, and so is its hook: a panic is told in the host's log.
    static HOOKED: Once = Once::new();
    HOOKED.call_once(|| {
        panic::set_hook(Box::new(|info| {
            write_log(0, abi::ERROR, &format!("a library panicked: {info}"));
        }));
    });
    true
}

/// The host's table. It is there: a host calls nothing of a library before its entry.
pub(crate) fn table() -> *const Host {
    let host = HOST.load(Ordering::Relaxed);
    if host.is_null() {
        std::process::abort();
    }
    host
}

/// Calls a function of version 1.0.
macro_rules! call {
    ($function:ident($($argument:expr),* $(,)?)) => {
        // SAFETY: Every host has it, and what it gets is what the border says: the arguments hold for the call.
        unsafe { ((*$crate::library::host::table()).$function)($($argument),*) }
    };
}

/// Calls a function that came later; on a host without it, the answer is that it cannot do that.
macro_rules! call_newer {
    ($function:ident($($argument:expr),* $(,)?)) => {{
        let table = $crate::library::host::table();
        let end = std::mem::offset_of!(transom_abi::Host, $function) + size_of::<usize>();
        // SAFETY: The host's table is so long, and the arguments are what the border says.
        unsafe {
            match (*table).size < end {
                true => transom_abi::UNSUPPORTED,
                false => ((*table).$function)($($argument),*),
            }
        }
    }};
}

pub(crate) use {call, call_newer};

pub(crate) fn write_log(handle: abi::Handle, level: abi::Level, line: &str) {
    call!(log(handle, level, slice_of(line.as_bytes())));
}

/// Bytes as C sees them.
pub(crate) const fn slice_of(bytes: &[u8]) -> Slice {
    Slice {
        bytes: bytes.as_ptr(),
        len: bytes.len(),
    }
}

pub(crate) const NO_BYTES: Slice = Slice {
    bytes: std::ptr::null(),
    len: 0,
};

/// The bytes that the host lends.
///
/// # Safety
///
/// `slice` must be what the host gave, and good for `'a`.
pub(crate) unsafe fn bytes_of<'a>(slice: Slice) -> &'a [u8] {
    if slice.bytes.is_null() || slice.len == 0 {
        return &[];
    }
    // SAFETY: Promised by the caller.
    unsafe { std::slice::from_raw_parts(slice.bytes, slice.len) }
}

/// As many things as the host says.
///
/// # Safety
///
/// As of [`bytes_of`].
pub(crate) unsafe fn items_of<'a, T>(first: *const T, count: usize) -> &'a [T] {
    if first.is_null() || count == 0 {
        return &[];
    }
    // SAFETY: Promised by the caller.
    unsafe { std::slice::from_raw_parts(first, count) }
}

/// A status as a result.
pub(crate) fn done(status: Status) -> Result<(), Status> {
    match status {
        abi::OK => Ok(()),
        other => Err(other),
    }
}
