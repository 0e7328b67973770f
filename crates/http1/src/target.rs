//! Request targets, authorities and the rules between them.

use memchr::{memchr, memmem};

use crate::bytes::host_name_length;
use crate::error::DecodeError;
use crate::span::Span;

/// The four forms of a request target (RFC 9112 section 3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TargetForm {
    /// `/path?query`
    Origin,
    /// `http://host/path?query`; https too, no other scheme.
    Absolute,
    /// `host:port`, for CONNECT and only for it.
    Authority,
    /// `*`, for OPTIONS and only for it.
    Asterisk,
}

/// A target taken apart.
#[derive(Clone, Copy)]
pub(crate) struct Target {
    pub(crate) form: TargetForm,
    pub(crate) path: Span,
    pub(crate) authority: Option<Span>,
}

/// Takes `target`, which is clean, apart. `escapes`: there is a `%` in it.
#[inline]
pub(crate) fn parse_target(
    method: &[u8],
    target: Span,
    escapes: bool,
    input: &[u8],
) -> Result<Target, DecodeError> {
    let bytes = target.of(input);
    let parsed = match bytes {
        _ if method == b"CONNECT" => Target {
            form: TargetForm::Authority,
            path: Span::default(),
            authority: Some(target),
        },
        [b'/', ..] => Target {
            form: TargetForm::Origin,
            path: target,
            authority: None,
        },
        b"*" if method == b"OPTIONS" => Target {
            form: TargetForm::Asterisk,
            path: Span::default(),
            authority: None,
        },
        _ => parse_absolute(bytes, target).ok_or(DecodeError::TargetForm)?,
    };
    if escapes && path_has_nul(parsed.path.of(input)) {
        return Err(DecodeError::TargetNul);
    }
    Ok(parsed)
}

/// Holds authority and Host against each other (RFC 9112 section 3.2 and 3.2.2) and gives the one that counts.
#[inline]
pub(crate) fn agree(
    target: &Target,
    scheme_https: bool,
    host: Option<Span>,
    input: &[u8],
) -> Result<Option<Span>, DecodeError> {
    if let Some(host) = host {
        split_authority(host.of(input))?;
    }
    let Some(authority) = target.authority else {
        return Ok(host);
    };
    let (name, port) = split_authority(authority.of(input))?;
    let default_port = match target.form {
        // RFC 9110 section 9.3.6: there is no default.
        TargetForm::Authority if port.is_none_or(|port| port == 0) => {
            return Err(DecodeError::TargetForm);
        }
        TargetForm::Authority => port,
        _ if scheme_https => Some(443),
        _ => Some(80),
    };
    if let Some(host) = host {
        let (host_name, host_port) = split_authority(host.of(input))?;
        if !name.eq_ignore_ascii_case(host_name)
            || port.or(default_port) != host_port.or(default_port)
        {
            return Err(DecodeError::HostMismatch);
        }
    }
    Ok(Some(authority))
}

/// Whether an absolute target is `https`.
pub(crate) fn is_https(target: &[u8]) -> bool {
    target
        .get(..6)
        .is_some_and(|scheme| scheme.eq_ignore_ascii_case(b"https:"))
}

fn parse_absolute(bytes: &[u8], target: Span) -> Option<Target> {
    let scheme = [&b"http://"[..], b"https://"].into_iter().find(|scheme| {
        bytes
            .get(..scheme.len())
            .is_some_and(|start| start.eq_ignore_ascii_case(scheme))
    })?;
    let rest = bytes.get(scheme.len()..)?;
    let length = memchr::memchr2(b'/', b'?', rest).unwrap_or(rest.len());
    let start = target.start as usize + scheme.len();
    Some(Target {
        form: TargetForm::Absolute,
        path: Span::between(start + length, target.end() as usize),
        authority: Some(Span::between(start, start + length)),
    })
}

/// Splits `host[:port]` and checks both (RFC 3986 section 3.2.2 without its rarities; RFC 9110 section 4.2.1 wants a
/// host that is not empty, section 4.2.4 no user information).
#[inline]
pub(crate) fn split_authority(authority: &[u8]) -> Result<(&[u8], Option<u16>), DecodeError> {
    let host = match authority {
        [b'[', ..] => memchr(b']', authority).map_or(0, |bracket| bracket + 1),
        _ => host_name_length(authority),
    };
    let (host, rest) = authority
        .split_at_checked(host)
        .ok_or(DecodeError::HostSyntax)?;
    let port = match rest {
        [] => None,
        [b':', port @ ..] => Some(parse_port(port)?),
        _ => return Err(DecodeError::HostSyntax),
    };
    if is_host(host) {
        Ok((host, port))
    } else {
        Err(DecodeError::HostSyntax)
    }
}

fn parse_port(port: &[u8]) -> Result<u16, DecodeError> {
    // Five digits fit without a check of each step.
    let digits = (1..=5).contains(&port.len()) && port.iter().all(u8::is_ascii_digit);
    let value = port.iter().fold(0_u32, |value, byte| {
        value
            .wrapping_mul(10)
            .wrapping_add(u32::from(byte.wrapping_sub(b'0')))
    });
    u16::try_from(value)
        .ok()
        .filter(|_| digits)
        .ok_or(DecodeError::HostSyntax)
}

#[inline]
fn is_host(host: &[u8]) -> bool {
    match host {
        [b'[', address @ .., b']'] => {
            str::from_utf8(address).is_ok_and(|text| text.parse::<std::net::Ipv6Addr>().is_ok())
        }
        // The bytes of a name are checked by now.
        _ => !host.is_empty(),
    }
}

/// Only the path: what a query means is between the two ends.
#[cold]
fn path_has_nul(path_and_query: &[u8]) -> bool {
    let end = memchr(b'?', path_and_query).unwrap_or(path_and_query.len());
    let path = path_and_query.get(..end).unwrap_or_default();
    memmem::find(path, b"%00").is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(
        method: &str,
        target: &str,
    ) -> Result<(TargetForm, String, Option<String>), DecodeError> {
        let input = target.as_bytes();
        let text = |span: Span| String::from_utf8(span.of(input).to_vec()).unwrap();
        parse_target(
            method.as_bytes(),
            Span::between(0, input.len()),
            target.contains('%'),
            input,
        )
        .map(|parsed| (parsed.form, text(parsed.path), parsed.authority.map(text)))
    }

    #[test]
    fn forms_and_their_methods() {
        use TargetForm::{Absolute, Asterisk, Authority, Origin};
        for (method, target, form, path, authority) in [
            ("GET", "/", Origin, "/", None),
            ("GET", "//a/b", Origin, "//a/b", None),
            ("OPTIONS", "/a", Origin, "/a", None),
            ("OPTIONS", "*", Asterisk, "", None),
            ("CONNECT", "a:80", Authority, "", Some("a:80")),
            ("GET", "http://a", Absolute, "", Some("a")),
            ("GET", "HTTP://a:8/b?c", Absolute, "/b?c", Some("a:8")),
            ("GET", "https://[::1]/", Absolute, "/", Some("[::1]")),
            ("GET", "http://a?b/c", Absolute, "?b/c", Some("a")),
        ] {
            assert_eq!(
                parse(method, target),
                Ok((form, path.to_owned(), authority.map(str::to_owned))),
                "{method} {target}"
            );
        }
        for (method, target) in [
            ("GET", "*"),
            ("options", "*"),
            ("OPTIONS", "**"),
            ("GET", "a:80"),
            ("GET", "a"),
            ("GET", "ftp://a/"),
            ("GET", "http:/a"),
            ("GET", "?a"),
        ] {
            assert_eq!(
                parse(method, target),
                Err(DecodeError::TargetForm),
                "{method} {target}"
            );
        }
    }

    #[test]
    fn nul_is_refused_in_paths_only() {
        assert_eq!(parse("GET", "/a%00"), Err(DecodeError::TargetNul));
        assert_eq!(parse("GET", "http://a/%00?"), Err(DecodeError::TargetNul));
        assert!(parse("GET", "/a%20?%00").is_ok());
    }

    #[test]
    fn authorities() {
        for (authority, host, port) in [
            ("a", "a", None),
            ("a:80", "a", Some(80)),
            ("127.0.0.1:65535", "127.0.0.1", Some(65535)),
            ("[::1]", "[::1]", None),
            ("[2001:db8::1]:443", "[2001:db8::1]", Some(443)),
        ] {
            assert_eq!(
                split_authority(authority.as_bytes()),
                Ok((host.as_bytes(), port))
            );
        }
        for authority in [
            "", ":80", "a:", "a:x", "a:65536", "a:000080", "a:+8", "a b", "a,b", "a/b", "u@a",
            "[::1", "::1", "[a]", "[]", "a:80:80", "a%2e", "[::1]x", "[::1]:", "é", "a\tb",
        ] {
            assert_eq!(
                split_authority(authority.as_bytes()),
                Err(DecodeError::HostSyntax),
                "{authority}"
            );
        }
    }
}
