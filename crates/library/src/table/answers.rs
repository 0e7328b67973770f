//! What a library gives for others: entries of access logs, certificates.

use std::time::Duration;

use transom_abi::{self as abi, Handle, Slice, Status};
use transom_api::{Certificate, Certificates};

use super::said;
use crate::current::{Found, bytes, on, sized, text};
use crate::questions::{self, Refused};

pub(super) unsafe extern "C" fn log_append(record: Handle, entry: Slice) -> Status {
    // SAFETY: The border's promise.
    let entry = unsafe { bytes(entry) };
    said(on(record, |found| {
        let Found::Record(logged) = found else {
            return Err(abi::UNSUPPORTED);
        };
        let port = logged.port.ok_or(abi::UNSUPPORTED)?;
        match port.append(&logged.record, entry) {
            true => Ok(()),
            false => Err(abi::TOO_LARGE),
        }
    }))
}

pub(super) unsafe extern "C" fn certificates_give(
    question: abi::Question,
    given: *const abi::Certificates,
) -> Status {
    // SAFETY: The border's promise.
    let Some(given) = (unsafe { sized(given) }) else {
        return abi::BAD_ARGUMENT;
    };
    // SAFETY: The border's promise.
    match unsafe { certificates_of(given) } {
        Some(given) => questions::answer(question, Ok(given)),
        None => abi::BAD_ARGUMENT,
    }
}

/// # Safety
///
/// What `given` points to must be there.
unsafe fn certificates_of(given: &abi::Certificates) -> Option<Certificates> {
    if given.certificate_count > 0
        && (given.certificates.is_null()
            || given.certificate_size < size_of::<abi::Certificate>()
            || given.certificate_count > isize::MAX as usize / given.certificate_size)
    {
        return None;
    }
    // SAFETY: Promised by the caller, here and below.
    let owned = |slice| unsafe { bytes(slice) }.to_vec();
    let some = |bytes: Vec<u8>| (!bytes.is_empty()).then_some(bytes);
    let certificates = (0..given.certificate_count).map(|number| {
        // SAFETY: As above: so many of that size.
        let given = unsafe {
            &*given
                .certificates
                .byte_add(number.saturating_mul(given.certificate_size))
        };
        Certificate {
            chain: owned(given.chain),
            key: owned(given.key),
            ocsp_response: some(owned(given.ocsp_response)),
        }
    });
    Some(Certificates {
        certificates: certificates.collect(),
        authorities: some(owned(given.authorities)),
        refresh_after: match given.refresh_after_ms {
            0 => None,
            after => Some(Duration::from_millis(after)),
        },
    })
}

pub(super) unsafe extern "C" fn certificates_refuse(
    question: abi::Question,
    why: Slice,
    path: Slice,
) -> Status {
    // SAFETY: The border's promise.
    let (why, path) = unsafe { (bytes(why), text(path)) };
    let why = String::from_utf8_lossy(why).into_owned();
    match path {
        Ok(path) => questions::answer(
            question,
            Err(Refused {
                why,
                path: path.to_owned(),
            }),
        ),
        Err(status) => status,
    }
}
