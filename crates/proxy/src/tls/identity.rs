//! What the TLS of a connection to a host was made with: another request may use it only if it would make the same.

use std::net::IpAddr;
use std::sync::Arc;

use rustls_pki_types::{DnsName, ServerName};

/// What a connection's TLS was made with; that of plain connections is always the same.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct TlsIdentity {
    /// Which state of the cluster's files it was; 0 without TLS.
    pub(crate) generation: u64,
    /// Whom the host had to prove to be, where the request says it.
    pub(super) name: Option<Arc<ServerName<'static>>>,
}

/// The host of an `:authority` as a name that a certificate can have: without port, brackets, the dot of the root (RFC 9525
/// section 6.3 compares without it), and in lower case. `None` when no certificate can have it.
pub(super) fn name_of(authority: &[u8]) -> Option<ServerName<'static>> {
    let authority = std::str::from_utf8(authority).ok()?;
    if let Some(rest) = authority.strip_prefix('[') {
        let (address, port) = rest.split_once(']')?;
        is_port(port).then_some(())?;
        return Some(IpAddr::V6(address.parse().ok()?).into());
    }
    let (host, port) = match authority.rfind(':') {
        Some(colon) => authority.split_at(colon),
        None => (authority, ""),
    };
    is_port(port).then_some(())?;
    // RFC 6066 section 3 has no addresses as names: with one the certificate is looked at, and no name is asked for.
    if let Ok(address) = host.parse::<IpAddr>() {
        return Some(address.into());
    }
    let host = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
    DnsName::try_from(host).ok().map(ServerName::DnsName)
}

/// Nothing, or a colon and digits.
fn is_port(text: &str) -> bool {
    match text.strip_prefix(':') {
        Some(digits) => digits.bytes().all(|byte| byte.is_ascii_digit()),
        None => text.is_empty(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_of_an_authority_is_a_name_or_an_address() {
        for (authority, name) in [
            ("a.test", "a.test"),
            ("A.Test:8443", "a.test"),
            ("a.test.:443", "a.test"),
            ("a.test:", "a.test"),
            ("a_b.test", "a_b.test"),
            ("10.0.0.1:80", "10.0.0.1"),
            ("[2001:DB8::1]:80", "2001:db8::1"),
            ("[::1]", "::1"),
        ] {
            let found = name_of(authority.as_bytes()).map(|name| name.to_str().into_owned());
            assert_eq!(found.as_deref(), Some(name), "{authority}");
        }
    }

    #[test]
    fn what_no_certificate_can_have_is_no_name() {
        for authority in [
            &b""[..],
            b":80",
            b"a b",
            b"a..b",
            b"a.test:x",
            b"me@a.test",
            b"[::1",
            b"[::1]x",
            b"[a.test]",
            b"*.a.test",
            b"1.2.3.4.5",
            b"\xff.test",
            &[b'a'; 300],
        ] {
            assert_eq!(name_of(authority), None, "{:?}", authority.escape_ascii());
        }
    }
}
