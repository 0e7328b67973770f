//! Fields, and the names that matter to a proxy.

use crate::span::Span;

/// One field line of a head or of the trailers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    /// The name, a token, as it was spelt.
    pub name: Span,
    /// The value without the blanks around it: no control byte but HTAB; bytes from 0x80 on are possible.
    pub value: Span,
    /// Which name it is.
    pub known: Known,
    /// Whether the field is for the next hop only and must not be forwarded (RFC 9110 section 7.6.1):
    /// see [`Known::is_hop_by_hop`], and every field that `Connection` nominates.
    pub hop_by_hop: bool,
}

/// Where a decoder puts fields, in the order in which they came.
///
/// A head that is in error gives no field. Implemented for closures and for `Vec<Field>`.
pub trait FieldSink {
    /// Takes one field.
    fn field(&mut self, field: Field);
}

impl<F: FnMut(Field)> FieldSink for F {
    #[inline]
    fn field(&mut self, field: Field) {
        self(field);
    }
}

impl FieldSink for Vec<Field> {
    #[inline]
    fn field(&mut self, field: Field) {
        self.push(field);
    }
}

/// Field names that a proxy asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
#[expect(missing_docs, reason = "each is the name of a field")]
pub enum Known {
    Connection,
    ContentLength,
    Date,
    Expect,
    Host,
    KeepAlive,
    ProxyConnection,
    Server,
    Te,
    Trailer,
    TransferEncoding,
    Upgrade,
    Via,
    XForwardedFor,
    XForwardedProto,
    XRequestId,
    /// Any other name.
    Other,
}

impl Known {
    /// Which field `name` is, without regard to case.
    // The length tells nearly all of them apart, so most names cost one jump; each comparison has a length that the
    // compiler knows, and is two or three instructions.
    #[inline]
    pub fn of(name: &[u8]) -> Self {
        match (name.len(), name.first().map(|byte| byte | 0x20)) {
            (2, Some(b't')) => is(name, b"te", Self::Te),
            (3, Some(b'v')) => is(name, b"via", Self::Via),
            (4, Some(b'd')) => is(name, b"date", Self::Date),
            (4, Some(b'h')) => is(name, b"host", Self::Host),
            (6, Some(b'e')) => is(name, b"expect", Self::Expect),
            (6, Some(b's')) => is(name, b"server", Self::Server),
            (7, Some(b't')) => is(name, b"trailer", Self::Trailer),
            (7, Some(b'u')) => is(name, b"upgrade", Self::Upgrade),
            (10, Some(b'c')) => is(name, b"connection", Self::Connection),
            (10, Some(b'k')) => is(name, b"keep-alive", Self::KeepAlive),
            (12, Some(b'x')) => is(name, b"x-request-id", Self::XRequestId),
            (14, Some(b'c')) => is(name, b"content-length", Self::ContentLength),
            (15, Some(b'x')) => is(name, b"x-forwarded-for", Self::XForwardedFor),
            (16, Some(b'p')) => is(name, b"proxy-connection", Self::ProxyConnection),
            (17, Some(b't')) => is(name, b"transfer-encoding", Self::TransferEncoding),
            (17, Some(b'x')) => is(name, b"x-forwarded-proto", Self::XForwardedProto),
            _ => Self::Other,
        }
    }

    /// Whether a field of this name is always for the next hop only (RFC 9110 section 7.6.1). Trailer is not: it may
    /// be forwarded.
    #[inline]
    pub fn is_hop_by_hop(self) -> bool {
        matches!(
            self,
            Self::Connection
                | Self::KeepAlive
                | Self::ProxyConnection
                | Self::Te
                | Self::TransferEncoding
                | Self::Upgrade
        )
    }

    /// Whether a field of this name has no place in trailers (RFC 9110 section 6.5.1): it frames the message, routes
    /// it, or speaks to the next hop.
    pub(crate) fn is_forbidden_in_trailers(self) -> bool {
        self.is_hop_by_hop()
            || matches!(
                self,
                Self::ContentLength | Self::Host | Self::Expect | Self::Trailer
            )
    }
}

/// `known` if `name` is `spelling`, which is in lower case.
#[inline]
fn is<const N: usize>(name: &[u8], spelling: &[u8; N], known: Known) -> Known {
    if is_spelt(name, spelling) {
        known
    } else {
        Known::Other
    }
}

/// Whether `word` is `spelling`, which has lower-case letters and hyphens, in any case.
// Without an early way out, so that a length which the compiler knows makes it a handful of instructions.
#[inline]
pub(crate) fn is_spelt<const N: usize>(word: &[u8], spelling: &[u8; N]) -> bool {
    let Ok(word) = <&[u8; N]>::try_from(word) else {
        return false;
    };
    let mut differs = 0;
    for (&byte, &expected) in word.iter().zip(spelling) {
        // Letters without their case; a hyphen as it is.
        let case = if expected == b'-' { 0 } else { 0x20 };
        differs |= (byte | case) ^ expected;
    }
    differs == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_known_in_any_case() {
        for (name, known) in [
            ("Connection", Known::Connection),
            ("content-LENGTH", Known::ContentLength),
            ("Date", Known::Date),
            ("Expect", Known::Expect),
            ("HOST", Known::Host),
            ("Keep-Alive", Known::KeepAlive),
            ("Proxy-Connection", Known::ProxyConnection),
            ("Server", Known::Server),
            ("TE", Known::Te),
            ("Trailer", Known::Trailer),
            ("Transfer-Encoding", Known::TransferEncoding),
            ("Upgrade", Known::Upgrade),
            ("Via", Known::Via),
            ("X-Forwarded-For", Known::XForwardedFor),
            ("X-Forwarded-Proto", Known::XForwardedProto),
            ("X-Request-ID", Known::XRequestId),
        ] {
            assert_eq!(Known::of(name.as_bytes()), known, "{name}");
            assert_eq!(Known::of(name.to_lowercase().as_bytes()), known, "{name}");
            assert_eq!(Known::of(name.to_uppercase().as_bytes()), known, "{name}");
            let near = name.replace(|c: char| c.is_ascii_alphabetic(), "q");
            assert_eq!(Known::of(near.as_bytes()), Known::Other, "{near}");
        }
        for name in [
            "",
            "t",
            "Content_Length",
            "Content\rLength",
            "Transfer-Encodinh",
            "Trailers",
        ] {
            assert_eq!(Known::of(name.as_bytes()), Known::Other, "{name}");
        }
    }

    #[test]
    fn hop_by_hop_are_those_of_the_rfc() {
        assert!(Known::Te.is_hop_by_hop());
        assert!(Known::Upgrade.is_hop_by_hop());
        assert!(!Known::Trailer.is_hop_by_hop());
        assert!(!Known::ContentLength.is_hop_by_hop());
        assert!(Known::Trailer.is_forbidden_in_trailers());
        assert!(!Known::Other.is_forbidden_in_trailers());
    }
}
