//! The kinds of extension.

use std::fmt;

use crate::access_log::AccessLogConfig;
use crate::broker::Broker;
use crate::certificate_provider::CertificateProvider;
use crate::client::ClientProtocol;
use crate::listener::ListenerFilterConfig;
use crate::network::NetworkFilterConfig;
use crate::selector::SelectorConfig;
use crate::server::ServerProtocol;
use crate::service_registry::ServiceRegistry;
use crate::stream::StreamFilterConfig;
#[cfg(unix)]
use crate::transport::Transport;

/// What an extension can be. Names are those of the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Kind {
    /// Sees requests and responses.
    StreamFilter,
    /// Sees the bytes of a connection.
    NetworkFilter,
    /// Sees an accepted socket before its connection begins.
    ListenerFilter,
    /// Writes a record of each finished stream.
    AccessLog,
    /// Gives a connected socket to a host.
    Transport,
    /// Gives certificates to listeners and clusters.
    CertificateProvider,
    /// Tells which hosts a cluster has.
    Registry,
    /// Publishes and subscribes to topics.
    Broker,
    /// Takes the process's log lines.
    LogSink,
    /// Chooses a host of a cluster.
    Selector,
    /// Speaks a protocol to upstreams.
    Client,
    /// Speaks a protocol to downstreams.
    Server,
    /// Brings configuration.
    ConfigSource,
    /// Answers paths of the admin API.
    AdminHandler,
}

impl Kind {
    /// The kinds of which one is chosen by name for whoever names none, as in go-micro.
    pub const CHOSEN: [Self; 6] = [
        Self::Registry,
        Self::Selector,
        Self::Transport,
        Self::Client,
        Self::Server,
        Self::Broker,
    ];

    /// The kind's name in configuration and messages, such as `stream_filter`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::StreamFilter => "stream_filter",
            Self::NetworkFilter => "network_filter",
            Self::ListenerFilter => "listener_filter",
            Self::AccessLog => "access_log",
            Self::Transport => "transport",
            Self::CertificateProvider => "certificate_provider",
            Self::Registry => "registry",
            Self::Broker => "broker",
            Self::LogSink => "log_sink",
            Self::Selector => "selector",
            Self::Client => "client",
            Self::Server => "server",
            Self::ConfigSource => "config_source",
            Self::AdminHandler => "admin_handler",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Ties a [`Kind`] to the type that [`Parsed::prepare`](crate::factory::Parsed::prepare) yields for it.
pub trait ExtensionKind: 'static {
    /// The kind.
    const KIND: Kind;
    /// A prepared configuration of this kind: shared by all workers.
    type Config: ?Sized + Send + Sync + 'static;
}

macro_rules! kinds {
    ($($(#[$doc:meta])* $marker:ident = $kind:ident => $config:ty;)*) => {$(
        $(#[$doc])*
        #[derive(Debug)]
        pub enum $marker {}
        impl ExtensionKind for $marker {
            const KIND: Kind = Kind::$kind;
            type Config = $config;
        }
    )*};
}

kinds! {
    /// The kind `stream_filter`.
    StreamFilters = StreamFilter => dyn StreamFilterConfig;
    /// The kind `network_filter`.
    NetworkFilters = NetworkFilter => dyn NetworkFilterConfig;
    /// The kind `listener_filter`.
    ListenerFilters = ListenerFilter => dyn ListenerFilterConfig;
    /// The kind `access_log`.
    AccessLogs = AccessLog => dyn AccessLogConfig;
    /// The kind `selector`.
    Selectors = Selector => dyn SelectorConfig;
    /// The kind `certificate_provider`.
    CertificateProviders = CertificateProvider => dyn CertificateProvider;
    /// The kind `registry`.
    ServiceRegistries = Registry => dyn ServiceRegistry;
    /// The kind `client`.
    Clients = Client => dyn ClientProtocol;
    /// The kind `server`.
    Servers = Server => dyn ServerProtocol;
    /// The kind `broker`.
    Brokers = Broker => dyn Broker;
}

#[cfg(unix)]
kinds! {
    /// The kind `transport`.
    Transports = Transport => dyn Transport;
}
