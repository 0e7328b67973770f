//! The cryptography under TLS: aws-lc-rs, and only here.

use std::sync::{Arc, LazyLock};

use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::server::ProducesTickets;
use rustls::{SupportedProtocolVersion, version};
use transom_config::TlsVersion;

/// What signs, verifies, agrees and encrypts.
pub(super) fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: LazyLock<Arc<CryptoProvider>> =
        LazyLock::new(|| Arc::new(aws_lc_rs::default_provider()));
    Arc::clone(&PROVIDER)
}

/// Keys that encrypt session tickets (RFC 5077, RFC 8446 section 4.6.1). They change every six hours, and the ones before
/// are still understood.
pub(super) fn tickets() -> Result<Arc<dyn ProducesTickets>, rustls::Error> {
    aws_lc_rs::Ticketer::new()
}

/// The versions that are spoken from `oldest` on.
pub(super) fn versions(oldest: TlsVersion) -> &'static [&'static SupportedProtocolVersion] {
    static FROM_12: [&SupportedProtocolVersion; 2] = [&version::TLS13, &version::TLS12];
    static FROM_13: [&SupportedProtocolVersion; 1] = [&version::TLS13];
    match oldest {
        TlsVersion::V12 => &FROM_12,
        TlsVersion::V13 => &FROM_13,
    }
}

/// The SHA-256 of bytes: the hash of a cipher suite that uses it.
pub(super) fn sha256(bytes: &[u8]) -> Vec<u8> {
    let suite = aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256.tls13();
    suite.map_or_else(Vec::new, |suite| {
        suite.common.hash_provider.hash(bytes).as_ref().to_vec()
    })
}
