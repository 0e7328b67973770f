//! Who may ask: requests that a browser was tricked into are refused, and bodies end at a limit.
//!
//! A page of a stranger can make a browser on this machine send requests to a loopback address. If the page's own name was
//! made to point here (DNS rebinding), the browser takes the answers for the page's own: `Host` then holds that name. If
//! it posts across origins, `Origin` holds the page's. Both are written by the browser, not by the page.

use std::future::poll_fn;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::pin::Pin;

use axum::body::{Body, HttpBody};
use axum::extract::Request;
use axum::http::header::{HOST, ORIGIN};
use axum::http::uri::Authority;
use axum::http::{HeaderValue, StatusCode, Version};
use transom_config::ListenAddress;

use crate::answer::Refusal;

/// No endpoint reads its body; this much is read and forgotten.
const LARGEST_BODY: u64 = 64 << 10;

/// Refuses a request that does not name this machine as its host, or that comes from a page of another origin.
pub(crate) fn check(request: &Request, bound: &ListenAddress) -> Result<(), Refusal> {
    let host = host(request)?;
    // RFC 9112, section 3.2.2: the host of a target in absolute form outweighs the field; here both must be good.
    let target = request.uri().authority().map(Authority::as_str);
    for name in host.into_iter().chain(target) {
        if !names_this_machine(name, bound) {
            return Err(Refusal::new(
                StatusCode::MISDIRECTED_REQUEST,
                format!(
                    "the request is for the host {name:?}, and this is the admin interface of a proxy: it answers to \
                     localhost and loopback addresses only (this protects against DNS rebinding). Ask for \
                     http://localhost/ and the path."
                ),
            ));
        }
    }
    for origin in request.headers().get_all(ORIGIN) {
        if !is_same_origin(origin, host) {
            return Err(Refusal::new(
                StatusCode::FORBIDDEN,
                "the request comes from a page of another origin; the admin interface answers to its own pages and to \
                 programs that send no Origin",
            ));
        }
    }
    Ok(())
}

/// Reads the body to its end and forgets it.
pub(crate) async fn forget_body(mut body: Body) -> Result<(), Refusal> {
    let too_large = || {
        Refusal::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "the body has more than 64 KiB, and the admin interface reads none: send the request without a body",
        )
    };
    // Known in advance, it is refused before the client is told to go on (RFC 9110, section 10.1.1).
    if body.size_hint().lower() > LARGEST_BODY {
        return Err(too_large());
    }
    let mut size = 0;
    while let Some(frame) = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
        let Ok(frame) = frame else {
            return Err(Refusal::new(
                StatusCode::BAD_REQUEST,
                "the request's body is malformed or incomplete",
            ));
        };
        size += frame.data_ref().map_or(0, |data| data.len() as u64);
        if size > LARGEST_BODY {
            return Err(too_large());
        }
    }
    Ok(())
}

/// The value of `Host`. Only HTTP/1.0, which no browser speaks, may go without (RFC 9112, section 3.2).
fn host(request: &Request) -> Result<Option<&str>, Refusal> {
    let refused = |why| Err(Refusal::new(StatusCode::BAD_REQUEST, why));
    let mut hosts = request.headers().get_all(HOST).into_iter();
    match (hosts.next(), hosts.next()) {
        (None, _) if request.version() == Version::HTTP_10 => Ok(None),
        (None, _) => refused("the request has no Host: send `Host: localhost`"),
        (Some(_), Some(_)) => refused("the request has more than one Host: send one"),
        (Some(host), None) => match host.to_str() {
            Ok(host) => Ok(Some(host)),
            Err(_) => refused("the request's Host is no text: send `Host: localhost`"),
        },
    }
}

/// Whether an authority, `name` or `name:port`, means this machine. The port does not matter: it may be forwarded, and a
/// stranger's page cannot choose the name by it.
fn names_this_machine(authority: &str, bound: &ListenAddress) -> bool {
    let bracketed = authority
        .strip_prefix('[')
        .and_then(|rest| rest.split_once(']'));
    let (ip, port) = if let Some((name, port)) = bracketed {
        (name.parse::<Ipv6Addr>().ok().map(IpAddr::V6), port)
    } else {
        let end = authority.find(':').unwrap_or(authority.len());
        let (name, port) = authority.split_at(end);
        if name.eq_ignore_ascii_case("localhost") {
            return is_port(port);
        }
        (name.parse::<Ipv4Addr>().ok().map(IpAddr::V4), port)
    };
    let is_bound = |ip| matches!(bound, ListenAddress::Tcp(bound) if bound.ip() == ip);
    ip.is_some_and(|ip| ip.is_loopback() || is_bound(ip)) && is_port(port)
}

/// Nothing, or a colon and a number; RFC 3986, section 3.2.3, lets the number be left out.
fn is_port(port: &str) -> bool {
    match port.strip_prefix(':') {
        Some(number) => {
            number.is_empty()
                || number.bytes().all(|digit| digit.is_ascii_digit())
                    && number.parse::<u16>().is_ok()
        }
        None => port.is_empty(),
    }
}

fn is_same_origin(origin: &HeaderValue, host: Option<&str>) -> bool {
    let origin = origin
        .to_str()
        .ok()
        .and_then(|it| it.strip_prefix("http://"));
    match (origin, host) {
        (Some(origin), Some(host)) => origin.eq_ignore_ascii_case(host),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_good(authority: &str) -> bool {
        names_this_machine(authority, &"127.0.0.1:9".parse().unwrap())
    }

    #[test]
    fn names_of_this_machine_with_and_without_a_port() {
        for name in [
            "localhost",
            "LocalHost:34901",
            "localhost:",
            "127.0.0.1",
            "127.0.0.1:1",
            "127.9.9.9:80",
            "[::1]",
            "[::1]:34901",
        ] {
            assert!(is_good(name), "{name}");
        }
    }

    #[test]
    fn names_of_others_and_what_is_no_authority() {
        for name in [
            "",
            ":80",
            "evil.example",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "evil.example:34901",
            "localhost@evil.example",
            "evil.example@localhost",
            "localhost:80:80",
            "localhost:99999",
            "localhost:+80",
            "127.1",
            "0177.0.0.1",
            "2130706433",
            "10.0.0.1",
            "0.0.0.0",
            "[::]",
            "[::1",
            "[::1]x",
            "::1",
            "[127.0.0.1]",
            "localhost]",
            "127.0.0.1]",
            "localhost, evil.example",
        ] {
            assert!(!is_good(name), "{name}");
        }
    }

    #[test]
    fn an_origin_is_good_when_it_is_the_page_s_own() {
        let same = |origin: &'static str| {
            is_same_origin(&HeaderValue::from_static(origin), Some("localhost:34901"))
        };
        assert!(same("http://localhost:34901"));
        assert!(!same("http://localhost:3000"));
        assert!(!same("https://localhost:34901"));
        assert!(!same("http://evil.example"));
        assert!(!same("null"));
        assert!(!is_same_origin(
            &HeaderValue::from_static("http://localhost"),
            None
        ));
    }
}
