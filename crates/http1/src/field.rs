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
    // The length tells nearly all of them apart, so most names cost one jump and no comparison.
    #[inline]
    pub fn of(name: &[u8]) -> Self {
        let (known, spelling): (Self, &[u8]) = match (name.len(), name.first().map(|b| b | 0x20)) {
            (2, Some(b't')) => (Self::Te, b"te"),
            (3, Some(b'v')) => (Self::Via, b"via"),
            (4, Some(b'h')) => (Self::Host, b"host"),
            (4, Some(b'd')) => (Self::Date, b"date"),
            (6, Some(b'e')) => (Self::Expect, b"expect"),
            (6, Some(b's')) => (Self::Server, b"server"),
            (7, Some(b'u')) => (Self::Upgrade, b"upgrade"),
            (7, Some(b't')) => (Self::Trailer, b"trailer"),
            (10, Some(b'c')) => (Self::Connection, b"connection"),
            (10, Some(b'k')) => (Self::KeepAlive, b"keep-alive"),
            (12, Some(b'x')) => (Self::XRequestId, b"x-request-id"),
            (14, Some(b'c')) => (Self::ContentLength, b"content-length"),
            (15, Some(b'x')) => (Self::XForwardedFor, b"x-forwarded-for"),
            (16, Some(b'p')) => (Self::ProxyConnection, b"proxy-connection"),
            (17, Some(b't')) => (Self::TransferEncoding, b"transfer-encoding"),
            (17, Some(b'x')) => (Self::XForwardedProto, b"x-forwarded-proto"),
            _ => return Self::Other,
        };
        if name.eq_ignore_ascii_case(spelling) {
            known
        } else {
            Self::Other
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
        for name in ["", "t", "Content_Length", "Transfer-Encodinh", "Trailers"] {
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
