//! Where the proxy listens and where hosts are.

use std::borrow::Cow;
use std::ffi::OsString;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use transom_api::ParseError;

/// Where a listener listens: `127.0.0.1:2046`, `[::1]:80`, `unix:/run/transom.sock`, `udp:127.0.0.1:53`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ListenAddress {
    /// An IP address and a port; port 0 lets the system choose one.
    Tcp(SocketAddr),
    /// A Unix socket's path; with `@` before it a name without a file (see [`socket_name`]).
    Unix(PathBuf),
    /// An IP address and a port on which datagrams are taken; port 0 lets the system choose one.
    Udp(SocketAddr),
}

/// Where a host of a cluster is: `10.0.0.1:80`, `[::1]:80`, `unix:/run/app.sock`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HostAddress {
    /// An IP address and a port from 1 to 65535.
    Tcp(SocketAddr),
    /// A Unix socket's path; with `@` before it a name without a file (see [`socket_name`]).
    Unix(PathBuf),
}

/// The name that the system knows a Unix socket by. A path that begins with `@` is a name without a file, in Linux's abstract
/// namespace (unix(7)): there it begins with a zero byte.
#[must_use]
pub fn socket_name(path: &Path) -> Cow<'_, Path> {
    match path.as_os_str().as_bytes().strip_prefix(b"@") {
        Some(name) => Cow::Owned(PathBuf::from(OsString::from_vec([b"\0", name].concat()))),
        None => Cow::Borrowed(path),
    }
}

impl ListenAddress {
    /// True for an address that only this machine can reach.
    #[must_use]
    pub fn is_local(&self) -> bool {
        match self {
            Self::Tcp(address) => address.ip().is_loopback(),
            Self::Unix(_) => true,
            Self::Udp(address) => address.ip().is_loopback(),
        }
    }
}

impl FromStr for ListenAddress {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        if let Some(path) = unix_path(text) {
            return path.map(Self::Unix);
        }
        if let Some(address) = text.strip_prefix("udp:") {
            return address.parse().map(Self::Udp).map_err(|_| {
                ParseError::new(format!("{text:?} is no address to take datagrams on")).with_help(
                    "write udp:, an IP address and a port: udp:127.0.0.1:53 or udp:[::1]:53",
                )
            });
        }
        text.parse()
            .map(Self::Tcp)
            .map_err(|_| match Mistake::of(text) {
                Mistake::NoPort(address) => {
                    ParseError::new(format!("the address {text:?} has no port"))
                        .with_help(format!("write address and port: {address}:8080"))
                }
                Mistake::BadPort => {
                    ParseError::new(format!("the port of {text:?} is no number from 0 to 65535"))
                }
                Mistake::EmptyHost(port) => {
                    ParseError::new(format!("{text:?} names a port but no address")).with_help(
                        format!("write 0.0.0.0:{port} for every IPv4 address, [::]:{port} for IPv6 too, or 127.0.0.1:{port} for this machine only"),
                    )
                }
                Mistake::Name | Mistake::Other => {
                    ParseError::new(format!("{text:?} is no address to listen on"))
                        .with_help("write an IP address and a port, 127.0.0.1:8080 or [::1]:8080, or a Unix socket, unix:/path")
                }
            })
    }
}

impl FromStr for HostAddress {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        if let Some(path) = unix_path(text) {
            return path.map(Self::Unix);
        }
        if let Ok(address) = text.parse::<SocketAddr>() {
            if address.port() == 0 {
                return Err(ParseError::new(format!(
                    "nothing can be reached at port 0 of {text:?}"
                ))
                .with_help("write the port that the host listens on, from 1 to 65535"));
            }
            return Ok(Self::Tcp(address));
        }
        Err(match Mistake::of(text) {
            Mistake::NoPort(address) => {
                ParseError::new(format!("the host address {text:?} has no port"))
                    .with_help(format!("write address and port: {address}:8080"))
            }
            Mistake::BadPort => ParseError::new(format!(
                "the port of {text:?} is no number from 1 to 65535"
            )),
            Mistake::Name => ParseError::new(format!(
                "{text:?} is a name: looking up names is not supported yet"
            ))
            .with_help("write the host's IP address and port, 10.0.0.1:8080 or [::1]:8080"),
            Mistake::EmptyHost(_) | Mistake::Other => {
                ParseError::new(format!("{text:?} is no address of a host")).with_help(
                    "write an IP address and a port, 10.0.0.1:8080 or [::1]:8080, or a Unix socket, unix:/path",
                )
            }
        })
    }
}

/// What a text that is no address was probably meant to be.
enum Mistake {
    NoPort(String),
    BadPort,
    EmptyHost(String),
    Name,
    Other,
}

impl Mistake {
    fn of(text: &str) -> Self {
        let bare = text.trim_start_matches('[').trim_end_matches(']');
        match bare.parse::<IpAddr>() {
            Ok(IpAddr::V4(address)) => return Self::NoPort(address.to_string()),
            Ok(IpAddr::V6(address)) => return Self::NoPort(format!("[{address}]")),
            Err(_) => {}
        }
        let (host, port) = match text.rsplit_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        };
        let is_port = |port: &str| port.parse::<u16>().is_ok();
        match (host, port) {
            ("" | "*", Some(port)) if is_port(port) => Self::EmptyHost(port.to_owned()),
            (host, Some(port)) if is_address(host) && !is_port(port) => Self::BadPort,
            (host, _) if is_name(host) => Self::Name,
            _ => Self::Other,
        }
    }
}

fn is_address(text: &str) -> bool {
    let bare = text.strip_prefix('[').and_then(|t| t.strip_suffix(']'));
    bare.unwrap_or(text).parse::<IpAddr>().is_ok()
}

/// RFC 1123, section 2.1: letters, digits and hyphens, in labels. All digits and dots would be a broken address.
fn is_name(text: &str) -> bool {
    !text.is_empty()
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_'))
        && text.chars().any(|c| c.is_ascii_alphabetic())
}

fn unix_path(text: &str) -> Option<Result<PathBuf, ParseError>> {
    // sun_path has 108 bytes on Linux and must end with a zero byte (unix(7)).
    const LONGEST: usize = 107;
    let path = text.strip_prefix("unix:")?;
    if path.is_empty() || path.contains('\0') {
        return Some(Err(ParseError::new(format!(
            "{text:?} names no Unix socket"
        ))
        .with_help("write unix: and the socket's path: unix:/run/transom.sock")));
    }
    if path.len() > LONGEST {
        return Some(Err(ParseError::new(format!(
            "the path of the Unix socket has {} bytes, the system allows {LONGEST}",
            path.len()
        ))));
    }
    Some(Ok(PathBuf::from(path)))
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Udp(address) => write!(f, "udp:{address}"),
        }
    }
}

impl fmt::Display for HostAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_written_alike() {
        for text in ["127.0.0.1:2046", "[::1]:80", "unix:/run/a.sock"] {
            assert_eq!(text.parse::<ListenAddress>().unwrap().to_string(), text);
            assert_eq!(text.parse::<HostAddress>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn each_mistake_in_a_host_address_is_told_apart() {
        for (text, message) in [
            ("10.0.0.1", r#"the host address "10.0.0.1" has no port"#),
            ("::1", r#"the host address "::1" has no port"#),
            (
                "10.0.0.1:http",
                r#"the port of "10.0.0.1:http" is no number from 1 to 65535"#,
            ),
            (
                "10.0.0.1:0",
                r#"nothing can be reached at port 0 of "10.0.0.1:0""#,
            ),
            (
                "app.internal:80",
                r#""app.internal:80" is a name: looking up names is not supported yet"#,
            ),
            ("10.0.0:80", r#""10.0.0:80" is no address of a host"#),
            (
                "http://10.0.0.1:80",
                r#""http://10.0.0.1:80" is no address of a host"#,
            ),
            ("unix:", r#""unix:" names no Unix socket"#),
        ] {
            assert_eq!(text.parse::<HostAddress>().unwrap_err().message, message);
        }
    }

    #[test]
    fn a_port_alone_is_no_address_to_listen_on() {
        for text in ["udp:127.0.0.1:53", "udp:[::1]:0"] {
            assert_eq!(text.parse::<ListenAddress>().unwrap().to_string(), text);
        }
        let error = "udp:53".parse::<ListenAddress>().unwrap_err();
        assert_eq!(
            error.message,
            r#""udp:53" is no address to take datagrams on"#
        );
        let error = ":8080".parse::<ListenAddress>().unwrap_err();
        assert_eq!(error.message, r#"":8080" names a port but no address"#);
        assert!(error.help.unwrap().contains("127.0.0.1:8080"));
    }

    #[test]
    fn a_socket_path_longer_than_the_system_allows_is_refused() {
        let longest = format!("unix:/{}", "x".repeat(106));
        assert!(longest.parse::<ListenAddress>().is_ok());
        assert!(format!("{longest}x").parse::<ListenAddress>().is_err());
    }

    #[test]
    fn a_name_without_a_file_begins_with_a_zero_byte() {
        assert_eq!(socket_name(Path::new("@a")).as_os_str().as_bytes(), b"\0a");
        assert_eq!(socket_name(Path::new("/@a")), Path::new("/@a"));
    }

    #[test]
    fn only_loopback_and_unix_are_local() {
        let is_local = |text: &str| text.parse::<ListenAddress>().unwrap().is_local();
        assert!(is_local("127.0.0.9:1") && is_local("[::1]:1") && is_local("unix:/a"));
        assert!(!is_local("0.0.0.0:1") && !is_local("[::]:1") && !is_local("10.0.0.1:1"));
    }
}
