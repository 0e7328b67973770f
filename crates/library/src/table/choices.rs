//! What selectors ask of hosts.

use transom_abi::{self as abi, Handle};

use crate::current::{Found, on};

pub(super) unsafe extern "C" fn host_available(choice: Handle, host: usize) -> u32 {
    let found = on(choice, |found| match found {
        Found::Choice(choice) => Ok(choice.hosts.is_available(host)),
        _ => Err(abi::UNSUPPORTED),
    });
    u32::from(found.unwrap_or(false))
}

pub(super) unsafe extern "C" fn host_active(choice: Handle, host: usize) -> u32 {
    let found = on(choice, |found| match found {
        Found::Choice(choice) => Ok(choice.hosts.active(host)),
        _ => Err(abi::UNSUPPORTED),
    });
    found.unwrap_or(0)
}

pub(super) unsafe extern "C" fn random(choice: Handle) -> u64 {
    let found = on(choice, |found| match found {
        Found::Choice(choice) => Ok(choice.hosts.random()),
        _ => Err(abi::UNSUPPORTED),
    });
    found.unwrap_or(0)
}
