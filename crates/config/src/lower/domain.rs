//! The domains of a virtual host.

use std::net::Ipv6Addr;

use transom_api::ParseError;

/// Reads `a.org`, `*.a.org`, `a.*`, `*` or `[::1]`, each with or without a port. In lower case: names have no case
/// (RFC 9110, section 4.2.3).
pub(super) fn parse(text: &str) -> Result<String, ParseError> {
    let refused = |help: &str| {
        let shown: String = text.chars().take(80).collect();
        Err(ParseError::new(format!("{shown:?} is no domain")).with_help(help))
    };
    if text.contains("//") || text.contains('/') {
        return refused("a domain has no scheme and no path: write a.org, and paths in `match`");
    }
    let Some((host, port)) = split_port(text) else {
        return refused("a port is a number from 1 to 65535");
    };
    if let Some(address) = host.strip_prefix('[') {
        return match address.strip_suffix(']').map(str::parse::<Ipv6Addr>) {
            Some(Ok(address)) => Ok(with_port(&format!("[{address}]"), port)),
            _ => refused("an IPv6 address stands in brackets: [::1] or [::1]:8080"),
        };
    }
    let name = match host {
        "*" => "",
        _ => host
            .strip_prefix("*.")
            .or_else(|| host.strip_suffix(".*"))
            .unwrap_or(host),
    };
    if name.contains('*') {
        return refused("`*` stands alone, before the first dot (*.a.org) or after the last (a.*)");
    }
    let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
    if host != "*" && (name.is_empty() || !name.chars().all(is_name)) {
        return refused(
            "write letters, digits, hyphens and dots; names in other scripts in their xn-- form",
        );
    }
    Ok(with_port(&host.to_ascii_lowercase(), port))
}

/// The host and its port; `None` when what should be a port is none.
fn split_port(text: &str) -> Option<(&str, Option<u16>)> {
    let after_brackets = text.rfind(']').unwrap_or(0);
    let Some(colon) = text.rfind(':').filter(|at| *at >= after_brackets) else {
        return Some((text, None));
    };
    let (host, port) = text.split_at_checked(colon)?;
    let port = port.strip_prefix(':')?;
    // `parse` would take a sign.
    if !port.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    match port.parse() {
        Ok(0) | Err(_) => None,
        Ok(port) => Some((host, Some(port))),
    }
}

fn with_port(host: &str, port: Option<u16>) -> String {
    match port {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn domains_are_read_in_lower_case() {
        for (text, domain) in [
            ("A.org", "a.org"),
            ("*", "*"),
            ("*:8080", "*:8080"),
            ("*.A.org", "*.a.org"),
            ("a.*", "a.*"),
            ("a.*:80", "a.*:80"),
            ("localhost:080", "localhost:80"),
            ("127.0.0.1", "127.0.0.1"),
            ("[0:0::1]:80", "[::1]:80"),
        ] {
            assert_eq!(parse(text).as_deref(), Ok(domain), "{text}");
        }
    }

    #[test]
    fn what_is_no_domain_is_refused() {
        for text in [
            "",
            "a.org:",
            "a.org:0",
            "a.org:65536",
            "a.org:+80",
            "http://a.org",
            "a.org/b",
            "a*.org",
            "*.a.*",
            "**",
            "*.",
            ".*",
            "a b",
            "::1",
            "[::1",
            "[a]",
            "bücher.example",
            ":80",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
