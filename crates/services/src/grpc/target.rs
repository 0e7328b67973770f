//! Where a server is and how it is called: the key `grpc` of an extension.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use http::uri::Authority;
use http::{HeaderMap, HeaderName, HeaderValue};
use transom_api::{Node, ParseError, PrepareContext, PrepareError, Schema, Shape};

use super::tls::{Tls, TlsConfig};

/// gRPC's usual limit of a message.
const MAX_MESSAGE: u64 = 4 << 20;
/// Long enough for a server that is busy starting, short enough that the next address is tried in time.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// The configuration of a server.
#[derive(Clone, Debug)]
pub struct TargetConfig {
    pub(super) addresses: Vec<Address>,
    pub(super) tls: Option<TlsConfig>,
    pub(super) authority: Authority,
    pub(super) metadata: HeaderMap,
    pub(super) connect_timeout: Duration,
    pub(super) keepalive: Option<Keepalive>,
    pub(super) max_message: usize,
}

/// The same, ready for use.
pub struct Target {
    pub(super) config: TargetConfig,
    pub(super) tls: Option<Tls>,
}

/// Where a server listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Address {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

/// Pings on a connection, so that a server that is gone without a word is noticed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Keepalive {
    pub(super) interval: Duration,
    pub(super) timeout: Duration,
}

impl TargetConfig {
    /// Its shape.
    #[must_use]
    pub fn schema() -> Schema {
        Schema::object()
            .optional(
                "address",
                Schema::string().describe("Where the server listens: 127.0.0.1:9000 or unix:/path."),
            )
            .optional(
                "addresses",
                Schema::list(Schema::string()).describe(
                    "Several of them in place of one: the first that can be connected is used, a later one when it fails.",
                ),
            )
            .optional("tls", TlsConfig::schema())
            .optional(
                "authority",
                Schema::string().describe(
                    "The :authority of the calls. Default: the TLS server name, or localhost.",
                ),
            )
            .optional(
                "metadata",
                Schema::map_of(Schema::string()).describe("Fields that every call carries."),
            )
            .optional(
                "connect_timeout",
                Schema::new(Shape::Duration)
                    .describe("How long a connection to one address may take, TLS included.")
                    .or("1s"),
            )
            .optional(
                "keepalive",
                Schema::object()
                    .required("interval", Schema::new(Shape::Duration).describe("How often a connection is asked."))
                    .optional(
                        "timeout",
                        Schema::new(Shape::Duration).describe("How long its answer may take.").or("5s"),
                    )
                    .describe("Pings on the connection; without it there are none."),
            )
            .optional(
                "max_message",
                Schema::new(Shape::Size)
                    .describe("The longest message that the server may send.")
                    .or("4MiB"),
            )
            .describe("The gRPC server that is asked. Each worker has a connection of its own.")
    }

    /// Reads it.
    pub fn parse(node: &Node) -> Result<Self, ParseError> {
        let mut fields = node.as_fields()?;
        let one = fields.optional("address");
        let several = fields.optional("addresses");
        let tls = fields.optional("tls").map(TlsConfig::parse).transpose()?;
        let authority = fields.optional("authority");
        let metadata = fields.optional("metadata");
        let connect_timeout = fields.optional("connect_timeout");
        let keepalive = fields.optional("keepalive");
        let max_message = fields.optional("max_message");
        fields.finish()?;
        let addresses = match (one, several) {
            (Some(one), None) => vec![Address::parse(one)?],
            (None, Some(several)) => {
                let parsed: Result<Vec<_>, _> =
                    several.as_list()?.iter().map(Address::parse).collect();
                parsed?
            }
            (Some(_), Some(several)) => {
                return Err(several
                    .error("`address` and `addresses` say the same twice")
                    .with_help("keep one of them"));
            }
            (None, None) => Vec::new(),
        };
        if addresses.is_empty() {
            return Err(node
                .error("no address of the server is given")
                .with_help("write address: 127.0.0.1:9000 or address: unix:/run/server.sock"));
        }
        let authority = match authority {
            Some(authority) => authority.as_str()?.parse().map_err(|_| {
                authority
                    .error("this is no authority")
                    .with_help("write a host's name, with a port if one is needed")
            })?,
            None => tls
                .as_ref()
                .and_then(|tls| tls.server_name.as_deref()?.parse().ok())
                .unwrap_or_else(|| Authority::from_static("localhost")),
        };
        Ok(Self {
            addresses,
            tls,
            authority,
            metadata: metadata.map_or_else(|| Ok(HeaderMap::new()), parse_metadata)?,
            connect_timeout: connect_timeout.map_or(Ok(CONNECT_TIMEOUT), positive)?,
            keepalive: keepalive.map(Keepalive::parse).transpose()?,
            max_message: max_message
                .map_or(Ok(MAX_MESSAGE), Node::as_size)?
                .min(u64::from(u32::MAX)) as usize,
        })
    }

    /// Reads the files that it names. Relative paths, a socket's too, begin at the configuration's folder.
    pub fn prepare(&self, context: &PrepareContext) -> Result<Target, PrepareError> {
        let tls = self.tls.as_ref().map(|tls| tls.load(context)).transpose()?;
        let mut config = self.clone();
        for address in &mut config.addresses {
            if let Address::Unix(path) = address {
                *path = context.path(&*path);
            }
        }
        Ok(Target { config, tls })
    }
}

impl Address {
    fn parse(node: &Node) -> Result<Self, ParseError> {
        let text = node.as_str()?;
        if let Some(path) = text.strip_prefix("unix:") {
            // sun_path holds 108 bytes with its terminator.
            if path.is_empty() || path.len() > 107 {
                return Err(node
                    .error("the path of a Unix socket has 1 to 107 bytes")
                    .with_help("write unix:/run/server.sock"));
            }
            return Ok(Self::Unix(PathBuf::from(path)));
        }
        match text.parse::<SocketAddr>() {
            Ok(address) if address.port() != 0 => Ok(Self::Tcp(address)),
            Ok(_) => Err(node
                .error(format!("nothing can be reached at port 0 of {text:?}"))
                .with_help("write the port that the server listens on, from 1 to 65535")),
            Err(_) => Err(node.error(format!("{text:?} is no address of a server")).with_help(
                "write an IP address and a port, 127.0.0.1:9000 or [::1]:9000, or a Unix socket, unix:/path",
            )),
        }
    }
}

impl Keepalive {
    fn parse(node: &Node) -> Result<Self, ParseError> {
        let mut fields = node.as_fields()?;
        let interval = fields.required("interval")?;
        let timeout = fields.optional("timeout");
        fields.finish()?;
        Ok(Self {
            interval: positive(interval)?,
            timeout: timeout.map_or(Ok(Duration::from_secs(5)), positive)?,
        })
    }
}

/// A duration longer than nothing.
pub(crate) fn positive(node: &Node) -> Result<Duration, ParseError> {
    let duration = node.as_duration()?;
    if duration.is_zero() {
        return Err(node.error("this must be longer than nothing"));
    }
    Ok(duration)
}

/// Fields of a call, by name.
pub(crate) fn parse_metadata(node: &Node) -> Result<HeaderMap, ParseError> {
    let mut metadata = HeaderMap::new();
    for (key, value) in node.as_entries()? {
        let lower = key.name.to_ascii_lowercase();
        let reserved = ["te", "content-type", "user-agent", "connection", "host"];
        let name = HeaderName::from_bytes(lower.as_bytes())
            .ok()
            .filter(|_| !lower.starts_with("grpc-") && !reserved.contains(&lower.as_str()))
            .ok_or_else(|| {
                ParseError {
                    span: key.span,
                    ..ParseError::new(format!("`{}` cannot be set on a call", key.name))
                }
                .with_help("names are those of HTTP fields; grpc-… and the fields of the protocol are set by gRPC itself")
            })?;
        let value = HeaderValue::from_str(value.as_str()?)
            .map_err(|_| value.error("this is no value of a field"))?;
        metadata.append(name, value);
    }
    Ok(metadata)
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Target")
            .field("addresses", &self.config.addresses)
            .finish_non_exhaustive()
    }
}
