//! The handshake: the magic cookie, and the one line that a plugin prints when it is ready.
//!
//! ```text
//! CORE|APP|NETWORK|ADDRESS|PROTOCOL|CERTIFICATE[|MULTIPLEX]
//! 1   |6  |unix   |/tmp/p1|grpc    |MIIC…      |true
//! ```

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use crate::base64;
use crate::environment::{parse_bool, parse_int};

/// The version of the handshake itself; there has never been another.
pub const CORE_PROTOCOL_VERSION: i32 = 1;

/// Longest handshake line that is read, 64 KiB, Go's own limit.
pub(crate) const MAX_LINE: usize = 64 * 1024;

/// What host and plugin agree on beforehand: Go's `HandshakeConfig`.
///
/// On the wire: the cookie is one environment variable, `key=value`; the version is an item of `PLUGIN_PROTOCOL_VERSIONS`
/// and the second field of the handshake line. The cookie is no secret: it only keeps people from running a plugin by hand.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct HandshakeConfig {
    /// Version of the plugin set that is given without one.
    pub protocol_version: i32,
    /// Name of the environment variable.
    pub magic_cookie_key: String,
    /// Its value.
    pub magic_cookie_value: String,
}

impl HandshakeConfig {
    /// A handshake of this version and cookie.
    pub fn new(
        protocol_version: i32,
        magic_cookie_key: impl Into<String>,
        magic_cookie_value: impl Into<String>,
    ) -> Self {
        Self {
            protocol_version,
            magic_cookie_key: magic_cookie_key.into(),
            magic_cookie_value: magic_cookie_value.into(),
        }
    }
}

/// How the two sides talk after the handshake: the fifth field of the line.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Protocol {
    /// gRPC, the one that this crate speaks.
    Grpc,
    /// Go's `net/rpc`, recognised so that it can be refused by name.
    NetRpc,
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Grpc => "grpc",
            Self::NetRpc => "netrpc",
        })
    }
}

/// Where a plugin, or a brokered server, listens: a network's name and an address.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum PluginAddr {
    /// `unix`, a path.
    Unix(PathBuf),
    /// `tcp`, an IP address and a port.
    Tcp(SocketAddr),
}

impl PluginAddr {
    /// Reads an address as it stands on the wire.
    ///
    /// An empty host or `localhost` is the loopback address. Other names are refused: a plugin runs on this machine.
    pub fn parse(network: &str, address: &str) -> Result<Self, HandshakeError> {
        match network {
            "unix" => {
                if address.is_empty() || address.contains('\0') {
                    return Err(HandshakeError::Address(address.to_owned()));
                }
                Ok(Self::Unix(PathBuf::from(address)))
            }
            "tcp" => {
                if let Ok(address) = address.parse() {
                    return Ok(Self::Tcp(address));
                }
                let port = address
                    .strip_prefix("localhost")
                    .unwrap_or(address)
                    .strip_prefix(':')
                    .and_then(|port| port.parse().ok())
                    .ok_or_else(|| HandshakeError::Address(address.to_owned()))?;
                Ok(Self::Tcp(SocketAddr::new(
                    IpAddr::V4(Ipv4Addr::LOCALHOST),
                    port,
                )))
            }
            _ => Err(HandshakeError::Network {
                network: network.to_owned(),
                address: address.to_owned(),
            }),
        }
    }

    /// `unix` or `tcp`.
    pub fn network(&self) -> &'static str {
        match self {
            Self::Unix(_) => "unix",
            Self::Tcp(_) => "tcp",
        }
    }

    /// The path, or the IP address and port.
    pub fn address(&self) -> String {
        match self {
            Self::Unix(path) => path.to_string_lossy().into_owned(),
            Self::Tcp(address) => address.to_string(),
        }
    }
}

impl fmt::Display for PluginAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.network(), self.address())
    }
}

/// The handshake line, read or to be printed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct HandshakeLine {
    /// The version that the plugin chose.
    pub version: i32,
    /// Where it listens.
    pub address: PluginAddr,
    /// What it speaks there.
    pub protocol: Protocol,
    /// Its certificate (DER), if TLS was asked for.
    pub certificate: Option<Vec<u8>>,
    /// The seventh field: `None` when there is none.
    pub multiplex: Option<Multiplex>,
}

/// The seventh field of the handshake line.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Multiplex {
    /// Something that Go reads as a boolean.
    Supported(bool),
    /// Something else, kept for the error's text.
    Unreadable(String),
}

impl HandshakeLine {
    /// Reads the first line of a plugin's standard output by the rules of Go's host.
    ///
    /// Blanks around the line, and fields after the seventh, are ignored. Four fields are enough; without a fifth the protocol
    /// is `netrpc`. A sixth field of 50 characters or less is not a certificate (old plugins print other things there).
    pub fn parse(line: &str) -> Result<Self, HandshakeError> {
        let line = line.trim();
        let mut fields = line.split('|');
        let (Some(core), Some(version), Some(network), Some(address)) =
            (fields.next(), fields.next(), fields.next(), fields.next())
        else {
            return Err(HandshakeError::Unrecognized(shortened(line)));
        };
        let core_number =
            parse_int(core).ok_or_else(|| HandshakeError::CoreSyntax(shortened(core)))?;
        if core_number != CORE_PROTOCOL_VERSION {
            return Err(HandshakeError::CoreVersion(core.to_owned()));
        }
        let version =
            parse_int(version).ok_or_else(|| HandshakeError::VersionSyntax(shortened(version)))?;
        let address = PluginAddr::parse(network, address)?;
        let protocol = match fields.next() {
            None | Some("netrpc") => Protocol::NetRpc,
            Some("grpc") => Protocol::Grpc,
            Some(other) => return Err(HandshakeError::Protocol(shortened(other))),
        };
        let certificate = match fields.next() {
            Some(text) if text.len() > 50 => {
                Some(base64::decode_unpadded(text).map_err(HandshakeError::CertificateEncoding)?)
            }
            _ => None,
        };
        let multiplex = fields.next().map(|text| match parse_bool(text) {
            Some(supported) => Multiplex::Supported(supported),
            None => Multiplex::Unreadable(shortened(text)),
        });
        Ok(Self {
            version,
            address,
            protocol,
            certificate,
            multiplex,
        })
    }
}

impl fmt::Display for HandshakeLine {
    /// The line as Go's plugin side prints it, without the line feed: the sixth field is there even when it is empty.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{CORE_PROTOCOL_VERSION}|{}|{}|{}|{}|{}",
            self.version,
            self.address.network(),
            self.address.address(),
            self.protocol,
            base64::encode_unpadded(self.certificate.as_deref().unwrap_or_default()),
        )?;
        match &self.multiplex {
            Some(Multiplex::Supported(supported)) => write!(f, "|{supported}"),
            Some(Multiplex::Unreadable(text)) => write!(f, "|{text}"),
            None => Ok(()),
        }
    }
}

/// Why a handshake line was refused. The texts begin as Go's do, so that people find them.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum HandshakeError {
    /// Fewer than four fields.
    #[error("Unrecognized remote plugin message: {0}")]
    Unrecognized(String),
    /// The first field is no number.
    #[error("error parsing core protocol version: {0:?} is not a number")]
    CoreSyntax(String),
    /// The first field is not 1.
    #[error(
        "incompatible core API version with plugin. Plugin version: {0}, Core version: {CORE_PROTOCOL_VERSION}\n\n\
         To fix this, the plugin usually only needs to be recompiled.\nPlease report this to the plugin author"
    )]
    CoreVersion(String),
    /// The second field is no number.
    #[error("Error parsing protocol version {0:?}: not a number")]
    VersionSyntax(String),
    /// The third field is neither `unix` nor `tcp`.
    #[error(
        "unknown address type: {network:?} (address {address:?}); a plugin may listen on \"unix\" or \"tcp\""
    )]
    Network {
        /// What was printed as network.
        network: String,
        /// What was printed as address.
        address: String,
    },
    /// The fourth field is no address of that network.
    #[error("cannot use {0:?} as the plugin's address: expected a path, or IP:PORT")]
    Address(String),
    /// The fifth field is neither `grpc` nor `netrpc`.
    #[error("unsupported plugin protocol {0:?}. Supported: [grpc]")]
    Protocol(String),
    /// The sixth field is not unpadded base64; the number is the offset of the first wrong byte.
    #[error("error parsing server cert: illegal base64 data at input byte {0}")]
    CertificateEncoding(usize),
}

/// A piece of untrusted text that is fit for an error message.
fn shortened(text: &str) -> String {
    const LIMIT: usize = 500;
    if text.chars().count() <= LIMIT {
        return text.to_owned();
    }
    text.chars().take(LIMIT).chain("…".chars()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unix(path: &str) -> PluginAddr {
        PluginAddr::Unix(PathBuf::from(path))
    }

    #[test]
    fn a_line_of_go_is_read_and_printed_again() {
        for text in [
            "1|6|unix|/tmp/plugin123|grpc|",
            "1|6|unix|/tmp/plugin123|grpc||true",
            "1|0|tcp|127.0.0.1:1234|grpc|",
        ] {
            let line = HandshakeLine::parse(text).unwrap();
            assert_eq!(line.to_string(), text);
        }
    }

    #[test]
    fn blanks_and_further_fields_are_ignored() {
        let line = HandshakeLine::parse(" 1|2|unix|/a|grpc||true|more|\r\n").unwrap();
        assert_eq!(line.version, 2);
        assert_eq!(line.address, unix("/a"));
        assert_eq!(line.multiplex, Some(Multiplex::Supported(true)));
    }

    #[test]
    fn four_fields_mean_net_rpc() {
        let line = HandshakeLine::parse("1|1|tcp|:1234").unwrap();
        assert_eq!(line.protocol, Protocol::NetRpc);
        assert_eq!(
            line.address,
            PluginAddr::Tcp("127.0.0.1:1234".parse().unwrap())
        );
    }

    #[test]
    fn a_short_sixth_field_is_no_certificate_and_a_long_one_must_be_base64() {
        let line = HandshakeLine::parse("1|1|unix|/a|grpc|short").unwrap();
        assert_eq!(line.certificate, None);
        let wrong = format!("1|1|unix|/a|grpc|{}!", "A".repeat(60));
        assert_eq!(
            HandshakeLine::parse(&wrong),
            Err(HandshakeError::CertificateEncoding(60))
        );
        let right = format!("1|1|unix|/a|grpc|{}", "AAAA".repeat(20));
        assert_eq!(
            HandshakeLine::parse(&right).unwrap().certificate,
            Some(vec![0; 60])
        );
    }

    #[test]
    fn each_rule_has_its_own_error() {
        let cases = [
            (
                "lolinvalid",
                "Unrecognized remote plugin message: lolinvalid",
            ),
            ("1|1|unix", "Unrecognized remote plugin message: 1|1|unix"),
            ("", "Unrecognized remote plugin message: "),
            (
                "x|1|unix|/a",
                "error parsing core protocol version: \"x\" is not a number",
            ),
            (
                "1|x|unix|/a",
                "Error parsing protocol version \"x\": not a number",
            ),
            ("1|1|udp|/a", "unknown address type: \"udp\""),
            (
                "1|1|tcp|example",
                "cannot use \"example\" as the plugin's address",
            ),
            ("1|1|unix|", "cannot use \"\" as the plugin's address"),
            (
                "1|1|unix|/a|http",
                "unsupported plugin protocol \"http\". Supported: [grpc]",
            ),
        ];
        for (line, text) in cases {
            let error = HandshakeLine::parse(line).unwrap_err().to_string();
            assert!(error.starts_with(text), "{line}: {error}");
        }
        let core = HandshakeLine::parse("2|1|unix|/a").unwrap_err().to_string();
        assert!(core.starts_with(
            "incompatible core API version with plugin. Plugin version: 2, Core version: 1\n"
        ));
    }

    #[test]
    fn an_unreadable_seventh_field_is_kept_for_the_host_to_judge() {
        let line = HandshakeLine::parse("1|1|unix|/a|grpc||maybe").unwrap();
        assert_eq!(
            line.multiplex,
            Some(Multiplex::Unreadable("maybe".to_owned()))
        );
    }
}
