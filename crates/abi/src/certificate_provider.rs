//! What a library's certificate provider is.

use crate::library::Object;
use crate::values::{Fault, Handle, Slice, Status};

/// What a certificate provider needs.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct CertificateWants {
    /// The size of this struct, as its maker knows it.
    pub size: usize,
    /// 1 if it has certificates for names that are not among those that it gives for everybody. The host has set 1 where
    /// the table has `certificate_for`.
    pub on_demand: u32,
    /// 0.
    pub reserved: u32,
}

/// A question to a certificate provider, to be answered once, from any thread, in
/// [`Host::certificates_give`](crate::Host::certificates_give) or
/// [`Host::certificates_refuse`](crate::Host::certificates_refuse). One that was answered, or that the host waits for no
/// more, is [`GONE`](crate::GONE).
pub type Question = u64;

/// The functions of a certificate provider, which lives on the control side. Those that may be null say so.
///
/// ```text
/// check                   any thread, any time; keeps nothing
/// prepare … release       one configuration; in between, questions, one call at a time
/// ```
///
/// A call of `certificates` or `certificate_for` hands over a question and returns soon; its answer may come during the call, or
/// later from any thread, within 30 s. What comes later is refused, and the host asks again by itself. In `prepare`,
/// [`Host::resumer_new`](crate::Host::resumer_new) gives a resumer by which the provider says that it has something new.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct CertificateProvider {
    /// The size of this struct, as its maker knows it.
    pub size: usize,

    /// Whether a configuration, as JSON, is good: [`OK`](crate::OK), or anything else and why. Null: `prepare` says so.
    pub check: Option<unsafe extern "C" fn(config: Slice, fault: *mut Fault) -> Status>,
    /// Makes a configuration ready. `control` is good for [`Host::metric_define`](crate::Host::metric_define), the log and
    /// [`Host::resumer_new`](crate::Host::resumer_new). Null refuses it, and `fault` says why.
    pub prepare: Option<
        unsafe extern "C" fn(
            control: Handle,
            config: Slice,
            wants: *mut CertificateWants,
            fault: *mut Fault,
        ) -> Object,
    >,
    /// The configuration is gone; nothing of it is in use. Questions that are open are gone too.
    pub release: Option<unsafe extern "C" fn(config: Object)>,

    /// Everything that it has for whoever asks. It must be answered well when the configuration is prepared; later, what was
    /// given last stays in use when it is not.
    pub certificates: Option<unsafe extern "C" fn(config: Object, question: Question)>,
    /// The certificate for a name of DNS, in lower case, that a client asks for at this moment: one certificate, or none.
    /// May be null.
    pub certificate_for:
        Option<unsafe extern "C" fn(config: Object, name: Slice, question: Question)>,
}

/// A certificate with its key.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Certificate {
    /// The certificate, then those that lead from it to a root: PEM, or DER one behind the other.
    pub chain: Slice,
    /// Its private key in PKCS #8, PKCS #1 or SEC 1: PEM or DER, not encrypted.
    pub key: Slice,
    /// What its authority says of its revocation, to be stapled: an `OCSPResponse` in DER (RFC 6960). Empty for none.
    pub ocsp_response: Slice,
}

/// The answer to a question.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Certificates {
    /// The size of this struct, as its maker knows it.
    pub size: usize,
    /// Certificates with their keys. A client is shown one that has the name it asks for.
    pub certificates: *const Certificate,
    /// How many; 0 to [`CertificateProvider::certificate_for`](crate::CertificateProvider::certificate_for) is that there is none.
    pub certificate_count: usize,
    /// The size of each of them, as this library knows it.
    pub certificate_size: usize,
    /// Authorities that sign certificates of clients, as PEM; empty for none.
    pub authorities: Slice,
    /// Milliseconds after which it wants to be asked again; 0: not before it posts to its resumer.
    pub refresh_after_ms: u64,
}

// SAFETY: A library's tables are static data and functions; the pointers in them are never written through.
unsafe impl Sync for CertificateProvider {}
