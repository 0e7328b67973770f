//! Listeners and their network filters.

use std::time::Duration;

use crate::{FilterChain, Http, ListenAddress, ListenerTls, Located, Targets, Use};

/// An address on which connections are accepted, and what is done with them.
#[derive(Clone, Debug, PartialEq)]
pub struct Listener {
    /// Its name.
    pub name: String,
    /// Where it listens. No two listeners have the same address, unless it has port 0.
    pub address: Located<ListenAddress>,
    /// What looks at a connection before anything is read from it.
    pub listener_filters: Vec<Use>,
    /// How long the listener filters may wait for a client's bytes; 10 s, more than zero.
    pub listener_filters_timeout: Duration,
    /// What becomes of a connection whose listener filters wait for longer.
    pub on_listener_filters_timeout: OnTimeout,
    /// What records each connection when it ends.
    pub access_logs: Vec<Use>,
    /// Chains for connections that they match.
    pub filter_chains: Vec<FilterChain>,
    /// TLS of the default chain; `None` for plain bytes.
    pub tls: Option<ListenerTls>,
    /// The default chain: for connections that no other matches. The last filter is the only one that ends the chain.
    /// Empty when there is no default chain.
    pub network_filters: Vec<NetworkFilter>,
    /// How many connections may be open at once; `None` is no limit but the process's.
    pub max_connections: Option<u32>,
    /// How fast connections are accepted; `None`: as they come.
    pub accept_rate: Option<AcceptRate>,
    /// How connections are dealt out to the workers.
    pub balance: Balance,
    /// The file of the socket, where it is a Unix socket.
    pub unix_socket: UnixSocket,
    /// Whether connections to any address are taken that the kernel brings here (`IP_TRANSPARENT`).
    pub transparent: bool,
}

/// How fast connections are accepted, by all workers together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AcceptRate {
    /// So many in each second, 1 to 1,000,000.
    pub per_second: u32,
    /// So many at once, 1 to 1,000,000; as many as `per_second`.
    pub burst: u32,
}

/// How connections are dealt out to the workers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Balance {
    /// By the kernel, as the addresses of both ends fall.
    #[default]
    Kernel,
    /// To the worker that has the fewest.
    Exact,
}

/// The file of a Unix socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnixSocket {
    /// Its mode, without the type of the file; 0600.
    pub mode: u32,
    /// Its user, by name or number; `None` is the process's.
    pub user: Option<Located<String>>,
    /// Its group, by name or number; `None` is the process's.
    pub group: Option<Located<String>>,
}

impl Default for UnixSocket {
    fn default() -> Self {
        Self {
            mode: 0o600,
            user: None,
            group: None,
        }
    }
}

impl Balance {
    /// The word for it in a configuration.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Kernel => "kernel",
            Self::Exact => "exact",
        }
    }
}

/// A mode as it is written: `0660`.
pub(crate) fn format_mode(mode: u32) -> String {
    format!("{mode:04o}")
}

/// What becomes of a connection whose listener filters wait for too long.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnTimeout {
    /// It is closed.
    #[default]
    Close,
    /// It goes on with what the filters know by then.
    Continue,
}

/// One chain of a listener.
#[derive(Clone, Copy, Debug)]
pub struct Chain<'l> {
    /// Its name; empty for the default chain.
    pub name: &'l str,
    /// TLS that is spoken with clients.
    pub tls: Option<&'l ListenerTls>,
    /// What handles the connection's bytes.
    pub network_filters: &'l [NetworkFilter],
}

/// A network filter. Those that are part of the proxy, and end a chain, have a shape of their own.
#[derive(Clone, Debug, PartialEq)]
pub enum NetworkFilter {
    /// `http`: HTTP streams, their filters and routes. Ends the chain.
    Http(Box<Http>),
    /// `tcp_proxy`: bytes to and from a cluster. Ends the chain.
    TcpProxy(Box<TcpProxy>),
    /// `udp_proxy`: datagrams to and from a cluster. The only one of a listener for datagrams.
    UdpProxy(Box<UdpProxy>),
    /// Any other. The last of a chain may end it: its extension knows.
    Extension(Use),
}

/// Carries clients' datagrams to a cluster and the answers back.
#[derive(Clone, Debug, PartialEq)]
pub struct UdpProxy {
    /// The name of this use: `udp_proxy` unless `id` is given.
    pub id: String,
    /// Where datagrams go.
    pub targets: Targets,
    /// After this time without a datagram either way a session is over; 1 min, more than zero.
    pub idle_timeout: Duration,
    /// How many sessions there may be at once, on all workers; 10,000.
    pub max_sessions: u32,
    /// How many datagrams a host answers to each one of a client; `None` is not known.
    pub replies: Option<u32>,
    /// Whether the host is chosen by the client's address, and not by load balancing.
    pub hash_source: bool,
    /// What records each session when it is over.
    pub access_logs: Vec<Use>,
}

/// Carries a connection's bytes to a cluster and back.
#[derive(Clone, Debug, PartialEq)]
pub struct TcpProxy {
    /// The name of this use: `tcp_proxy` unless `id` is given.
    pub id: String,
    /// Where connections go.
    pub targets: Targets,
    /// After this time without a byte either way the connection is closed; 1 h, zero is never.
    pub idle_timeout: Duration,
    /// After this time the connection is closed, whatever it does; `None` is never.
    pub max_duration: Option<Duration>,
    /// How many hosts are tried before the connection is given up; 3, at least 1.
    pub connect_attempts: u32,
    /// What records each connection when it is over.
    pub access_logs: Vec<Use>,
}

impl NetworkFilter {
    /// The name of this use.
    #[must_use]
    pub fn id(&self) -> &str {
        match self {
            Self::Http(http) => &http.id,
            Self::TcpProxy(tcp_proxy) => &tcp_proxy.id,
            Self::UdpProxy(udp_proxy) => &udp_proxy.id,
            Self::Extension(used) => &used.id,
        }
    }

    /// True for a part of the proxy, which must be the last of its chain.
    #[must_use]
    pub fn is_terminal(&self) -> bool {
        matches!(self, Self::Http(_) | Self::TcpProxy(_) | Self::UdpProxy(_))
    }
}

impl Listener {
    /// The `http` filter that ends the default chain, if one does.
    #[must_use]
    pub fn http(&self) -> Option<&Http> {
        match self.network_filters.last() {
            Some(NetworkFilter::Http(http)) => Some(http),
            _ => None,
        }
    }

    /// All chains: those with a match in their order, then the default chain, if there is one.
    pub fn chains(&self) -> impl Iterator<Item = Chain<'_>> {
        let default = (!self.network_filters.is_empty()).then_some(Chain {
            name: "",
            tls: self.tls.as_ref(),
            network_filters: &self.network_filters,
        });
        let matched = self.filter_chains.iter().map(|chain| Chain {
            name: &chain.name,
            tls: chain.tls.as_ref(),
            network_filters: &chain.network_filters,
        });
        matched.chain(default)
    }
}

impl<'l> Chain<'l> {
    /// The `http` filter that ends the chain, if one does.
    #[must_use]
    pub fn http(&self) -> Option<&'l Http> {
        match self.network_filters.last() {
            Some(NetworkFilter::Http(http)) => Some(http),
            _ => None,
        }
    }
}
