//! What a header's name and value may be, and which belong to the codec: the rules that every host of filters keeps and
//! that a filter can ask for when it reads its configuration.

use crate::headers::{HeaderError, HeaderMap};

/// Whether a filter may set or add `name` with `value` in `map`.
///
/// ```
/// # use transom_api::{HeaderError, HeaderMap, field};
/// let map = HeaderMap::RequestHeaders;
/// assert_eq!(field::check(map, b"x-team", b"blue"), Ok(()));
/// assert_eq!(field::check(map, b":path", b"/new"), Ok(()));
/// assert_eq!(field::check(map, b"x team", b"blue"), Err(HeaderError::InvalidName));
/// assert_eq!(field::check(map, b"x-team", b"blue\r\n"), Err(HeaderError::InvalidValue));
/// assert_eq!(field::check(map, b"Content-Length", b"5"), Err(HeaderError::Reserved));
/// ```
pub fn check(map: HeaderMap, name: &[u8], value: &[u8]) -> Result<(), HeaderError> {
    if !value.iter().all(|byte| is_value_byte(*byte)) {
        return Err(HeaderError::InvalidValue);
    }
    if let Some(pseudo) = Pseudo::of(name) {
        if !pseudo.is_in(map) {
            return Err(HeaderError::InvalidName);
        }
        return if pseudo.takes(value) {
            Ok(())
        } else {
            Err(HeaderError::InvalidValue)
        };
    }
    if !is_name(name) {
        return Err(HeaderError::InvalidName);
    }
    if is_reserved(name) {
        return Err(HeaderError::Reserved);
    }
    if !is_value(value) {
        return Err(HeaderError::InvalidValue);
    }
    Ok(())
}

/// Whether a filter may remove `name`: pseudo-headers (`host` among them) and reserved fields stay.
pub fn check_removal(name: &[u8]) -> Result<(), HeaderError> {
    if Pseudo::of(name).is_some() || is_reserved(name) {
        return Err(HeaderError::Reserved);
    }
    Ok(())
}

/// Whether this is a field name: a token (RFC 9110 section 5.6.2) of at most 1,024 bytes.
#[must_use]
pub fn is_name(name: &[u8]) -> bool {
    !name.is_empty() && name.len() <= 1 << 10 && name.iter().all(|byte| is_token_byte(*byte))
}

/// Whether this is a field value: visible characters, space, tab and bytes above 127, with no white space at its ends
/// (RFC 9110 section 5.5).
#[must_use]
pub fn is_value(value: &[u8]) -> bool {
    value.iter().all(|byte| is_value_byte(*byte))
        && !matches!(value.first(), Some(b' ' | b'\t'))
        && !matches!(value.last(), Some(b' ' | b'\t'))
}

/// Whether a filter may set this reason phrase: what a field value may be made of (RFC 9112 section 4), up to 1,024 bytes.
/// An empty one is good.
pub fn check_reason(phrase: &[u8]) -> Result<(), HeaderError> {
    if phrase.len() > 1 << 10 {
        return Err(HeaderError::TooLarge);
    }
    if !phrase.iter().all(|byte| is_value_byte(*byte)) {
        return Err(HeaderError::InvalidValue);
    }
    Ok(())
}

/// Whether a field belongs to the codec: what frames a message (RFC 9112 section 6) or concerns one hop (RFC 9110
/// section 7.6.1). A filter could split messages with them.
#[must_use]
pub fn is_reserved(name: &[u8]) -> bool {
    RESERVED
        .iter()
        .any(|reserved| name.eq_ignore_ascii_case(reserved.as_bytes()))
}

/// The reserved fields.
pub const RESERVED: [&str; 8] = [
    "content-length",
    "transfer-encoding",
    "connection",
    "keep-alive",
    "proxy-connection",
    "upgrade",
    "te",
    "trailer",
];

/// A pseudo-header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Pseudo {
    /// `:method`.
    Method,
    /// `:path`.
    Path,
    /// `:scheme`.
    Scheme,
    /// `:authority`, and its alias `host`.
    Authority,
    /// `:status`.
    Status,
}

impl Pseudo {
    /// All, in the order in which views show them.
    pub const ALL: [Pseudo; 5] = [
        Self::Method,
        Self::Path,
        Self::Scheme,
        Self::Authority,
        Self::Status,
    ];

    /// The name, such as `:path`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Method => ":method",
            Self::Path => ":path",
            Self::Scheme => ":scheme",
            Self::Authority => ":authority",
            Self::Status => ":status",
        }
    }

    /// The pseudo-header that `name` means; `host` is an alias of `:authority`.
    #[must_use]
    pub fn of(name: &[u8]) -> Option<Self> {
        if name.first() != Some(&b':') {
            return name
                .eq_ignore_ascii_case(b"host")
                .then_some(Self::Authority);
        }
        Self::ALL
            .into_iter()
            .find(|pseudo| pseudo.name().as_bytes() == name)
    }

    /// Whether messages have it in this map.
    #[must_use]
    pub fn is_in(self, map: HeaderMap) -> bool {
        match map {
            HeaderMap::RequestHeaders => self != Self::Status,
            HeaderMap::ResponseHeaders => self == Self::Status,
            HeaderMap::RequestTrailers | HeaderMap::ResponseTrailers => false,
        }
    }

    /// Whether it can have this value.
    #[must_use]
    pub fn takes(self, value: &[u8]) -> bool {
        match self {
            Self::Method => !value.is_empty() && value.iter().all(|byte| is_token_byte(*byte)),
            // RFC 3986: no white space, no control characters, ASCII; a proxy routes on origin-form or `*`.
            Self::Path => {
                (value.first() == Some(&b'/') || value == b"*")
                    && value
                        .iter()
                        .all(|byte| byte.is_ascii_graphic() && *byte != b'#')
            }
            Self::Scheme => {
                !value.is_empty()
                    && value
                        .iter()
                        .all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(byte))
            }
            Self::Authority => value
                .iter()
                .all(|byte| byte.is_ascii_graphic() && !b"/?#@\\\"<>^`{|}".contains(byte)),
            Self::Status => {
                value.len() == 3
                    && matches!(value.first(), Some(b'2'..=b'5'))
                    && value.iter().all(u8::is_ascii_digit)
            }
        }
    }
}

/// RFC 9110 section 5.6.2.
fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// RFC 9110 section 5.5: visible characters, space, tab and obs-text.
fn is_value_byte(byte: u8) -> bool {
    byte == b'\t' || (byte >= b' ' && byte != 0x7f)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_values_are_checked() {
        use HeaderError::{InvalidName, InvalidValue, Reserved};
        use HeaderMap::{RequestHeaders, RequestTrailers, ResponseHeaders};
        for (map, name, value, expected) in [
            (RequestHeaders, "x-a", "b", Ok(())),
            (RequestHeaders, "x-a", "", Ok(())),
            (RequestHeaders, "x-a", "caf\u{e9}", Ok(())),
            (RequestHeaders, "", "b", Err(InvalidName)),
            (RequestHeaders, "x a", "b", Err(InvalidName)),
            (RequestHeaders, "x:a", "b", Err(InvalidName)),
            (RequestHeaders, "x-a", " b", Err(InvalidValue)),
            (RequestHeaders, "x-a", "b\t", Err(InvalidValue)),
            (RequestHeaders, "x-a", "b\nc", Err(InvalidValue)),
            (RequestHeaders, "Connection", "close", Err(Reserved)),
            (RequestHeaders, ":path", "/a?b", Ok(())),
            (RequestHeaders, ":path", "a", Err(InvalidValue)),
            (RequestHeaders, ":path", "/a#b", Err(InvalidValue)),
            (RequestHeaders, ":status", "200", Err(InvalidName)),
            (RequestHeaders, ":what", "x", Err(InvalidName)),
            (RequestHeaders, "Host", "a.test:80", Ok(())),
            (RequestHeaders, "host", "user@a.test", Err(InvalidValue)),
            (ResponseHeaders, ":status", "204", Ok(())),
            (ResponseHeaders, ":status", "100", Err(InvalidValue)),
            (ResponseHeaders, ":path", "/", Err(InvalidName)),
            (RequestTrailers, ":path", "/", Err(InvalidName)),
            (RequestTrailers, "x-a", "b", Ok(())),
        ] {
            assert_eq!(
                check(map, name.as_bytes(), value.as_bytes()),
                expected,
                "{map:?} {name}: {value:?}"
            );
        }
        assert!(!is_name(&[b'a'; 1025]));
    }

    #[test]
    fn what_a_message_needs_cannot_be_removed() {
        for name in [":path", ":status", "host", "Host", "te", "Content-Length"] {
            assert_eq!(
                check_removal(name.as_bytes()),
                Err(HeaderError::Reserved),
                "{name}"
            );
        }
        assert_eq!(check_removal(b"user-agent"), Ok(()));
    }
}
