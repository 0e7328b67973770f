//! The chains of a listener, and which connections they are for.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use crate::{IpNetwork, ListenerTls, NetworkFilter};

/// A chain of a listener: for the connections that it matches.
#[derive(Clone, Debug, PartialEq)]
pub struct FilterChain {
    /// Its name, unique in the listener: what is written, or else its match as text. A connection stays with the chain
    /// of this name when the listener changes.
    pub name: String,
    /// Which connections it is for.
    pub matches: ChainMatch,
    /// TLS that is spoken with these clients; `None` for the bytes as they come.
    pub tls: Option<ListenerTls>,
    /// What handles the connection's bytes. The last one is the only one that ends the chain.
    pub network_filters: Vec<NetworkFilter>,
}

/// Which connections a chain is for. An empty criterion is met by every connection. All of the others must be met.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChainMatch {
    /// The port that the client connected to.
    pub destination_port: Option<u16>,
    /// Networks of the address that the client connected to.
    pub destination_networks: Vec<IpNetwork>,
    /// Names that the client asks for in TLS, in lower case: exact (`a.org`), or all below a name (`*.a.org`).
    pub server_names: Vec<String>,
    /// What the first bytes were found to be.
    pub transport_protocol: Option<TransportProtocol>,
    /// Protocols that the client offers (ALPN), or speaks without TLS.
    pub application_protocols: Vec<String>,
    /// Networks of the peer of the socket, whatever PROXY protocol says.
    pub direct_source_networks: Vec<IpNetwork>,
    /// From where the client comes.
    pub source_type: Option<SourceType>,
    /// Networks of the client's address.
    pub source_networks: Vec<IpNetwork>,
    /// Ports of the client.
    pub source_ports: Vec<u16>,
}

/// What a connection begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TransportProtocol {
    /// A hello of TLS.
    Tls,
    /// Anything else.
    Raw,
}

/// From where a client comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SourceType {
    /// From this machine: of the loopback, or with the very address that it connected to.
    Local,
    /// From another machine.
    External,
}

/// What is known of a connection when its chain is chosen.
#[derive(Clone, Copy, Debug)]
pub struct ConnectionFacts<'a> {
    /// The address that the client connected to; `None` for a Unix socket.
    pub destination: Option<SocketAddr>,
    /// The name that it asks for in TLS, in lower case.
    pub server_name: Option<&'a str>,
    /// What it begins with.
    pub transport_protocol: TransportProtocol,
    /// The protocols that it offers, the most wanted first.
    pub application_protocols: &'a [String],
    /// The peer of the socket.
    pub direct_source: Option<IpAddr>,
    /// The client; another than the peer where PROXY protocol told so.
    pub source: Option<SocketAddr>,
}

impl ChainMatch {
    /// Whether it looks at what only the first bytes of a connection tell.
    #[must_use]
    pub fn needs_inspection(&self) -> bool {
        !self.server_names.is_empty()
            || self.transport_protocol.is_some()
            || !self.application_protocols.is_empty()
    }
}

impl ConnectionFacts<'_> {
    /// From where the client comes. One without an address uses a Unix socket.
    #[must_use]
    pub fn source_type(&self) -> SourceType {
        let Some(source) = self.source.map(|source| source.ip().to_canonical()) else {
            return SourceType::Local;
        };
        let destination = self.destination.map(|address| address.ip().to_canonical());
        if source.is_loopback() || destination == Some(source) {
            SourceType::Local
        } else {
            SourceType::External
        }
    }
}

impl TransportProtocol {
    /// The name in a configuration.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Tls => "tls",
            Self::Raw => "raw",
        }
    }
}

impl SourceType {
    /// The name in a configuration.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::External => "external",
        }
    }
}

/// The criteria as they are written: `server_names=a.org,b.org source_ports=1`; `any` when there is none.
impl fmt::Display for ChainMatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fn list<T: fmt::Display>(items: &[T]) -> String {
            let items: Vec<String> = items.iter().map(T::to_string).collect();
            items.join(",")
        }
        let one = |item: Option<String>| item.unwrap_or_default();
        let criteria = [
            (
                "destination_port",
                one(self.destination_port.map(|port| port.to_string())),
            ),
            ("destination_networks", list(&self.destination_networks)),
            ("server_names", list(&self.server_names)),
            (
                "transport_protocol",
                one(self.transport_protocol.map(|it| it.name().to_owned())),
            ),
            ("application_protocols", list(&self.application_protocols)),
            ("direct_source_networks", list(&self.direct_source_networks)),
            (
                "source_type",
                one(self.source_type.map(|it| it.name().to_owned())),
            ),
            ("source_networks", list(&self.source_networks)),
            ("source_ports", list(&self.source_ports)),
        ];
        let mut space = "";
        for (name, value) in criteria {
            if !value.is_empty() {
                write!(f, "{space}{name}={value}")?;
                space = " ";
            }
        }
        if space.is_empty() {
            f.write_str("any")?;
        }
        Ok(())
    }
}
