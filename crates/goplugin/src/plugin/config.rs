//! How a plugin is served.

use std::collections::BTreeMap;
use std::time::Duration;

use super::set::PluginSet;
use crate::handshake::HandshakeConfig;
use crate::tls::{Curve, Tls};

/// Go's `ServeConfig`.
#[derive(Clone, Debug)]
pub struct ServeConfig {
    pub(crate) handshake: HandshakeConfig,
    pub(crate) sets: BTreeMap<i32, PluginSet>,
    pub(crate) tls: Option<Tls>,
    pub(crate) curve: Curve,
    pub(crate) network: Network,
    pub(crate) stdio: PluginStdio,
    pub(crate) watch_parent: bool,
    pub(crate) print_panics: bool,
}

/// What kind of socket a plugin listens on.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Network {
    /// A Unix socket in `PLUGIN_UNIX_SOCKET_DIR`, else in the temporary folder. The default.
    #[default]
    Unix,
    /// A loopback TCP port between `PLUGIN_MIN_PORT` and `PLUGIN_MAX_PORT`.
    Tcp,
}

/// What becomes of the plugin's own standard output and error after the handshake.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum PluginStdio {
    /// Both are streamed to the host, byte for byte (`GRPCStdio`); logs and panics keep the true standard error. The default.
    #[default]
    Streamed,
    /// Both stay as they are: the host drops standard output and reads standard error as log lines.
    Untouched,
}

impl ServeConfig {
    /// Serves no plugin yet, over Unix sockets, with everything else as Go has it.
    pub fn new(handshake: HandshakeConfig) -> Self {
        Self {
            handshake,
            sets: BTreeMap::new(),
            tls: None,
            curve: Curve::default(),
            network: Network::default(),
            stdio: PluginStdio::default(),
            watch_parent: true,
            print_panics: true,
        }
    }

    /// The plugins of the handshake's own version: Go's `Plugins`.
    #[doc(alias = "Plugins")]
    #[must_use]
    pub fn plugins(self, set: PluginSet) -> Self {
        let version = self.handshake.protocol_version;
        self.versioned_plugins(version, set)
    }

    /// The plugins of `version`: Go's `VersionedPlugins`. The newest version that the host has too is served; if there is none,
    /// the lowest, and the host reports that they do not fit.
    ///
    /// On the wire: the chosen version is the handshake line's second field.
    #[doc(alias = "VersionedPlugins")]
    #[must_use]
    pub fn versioned_plugins(mut self, version: i32, set: PluginSet) -> Self {
        self.sets.insert(version, set);
        self
    }

    /// TLS of the plugin's own: Go's `TLSProvider`. A host's offer of AutoMTLS is not taken up then, and no certificate goes into
    /// the handshake line. `tls` needs its server side.
    ///
    /// On the wire: an empty sixth field of the handshake line; the main and all brokered connections are TLS.
    #[doc(alias = "TLSProvider")]
    #[must_use]
    pub fn tls(mut self, tls: Tls) -> Self {
        self.tls = Some(tls);
        self
    }

    /// The curve of the key that AutoMTLS generates; P-256 unless set.
    ///
    /// On the wire: the certificate in the handshake line's sixth field, if the host sent its own in `PLUGIN_CLIENT_CERT`.
    #[must_use]
    pub fn auto_mtls_curve(mut self, curve: Curve) -> Self {
        self.curve = curve;
        self
    }

    /// The kind of socket; Unix unless set. It holds for brokered servers too.
    ///
    /// On the wire: the handshake line's third and fourth field; for brokered servers those of a `ConnInfo`.
    #[must_use]
    pub fn network(mut self, network: Network) -> Self {
        self.network = network;
        self
    }

    /// What becomes of standard output and error; streamed unless set.
    ///
    /// On the wire: `/plugin.GRPCStdio/StreamStdio`, in pieces of up to 16 KiB.
    #[must_use]
    pub fn stdio(mut self, stdio: PluginStdio) -> Self {
        self.stdio = stdio;
        self
    }

    /// Whether the plugin stops when its host is gone; yes unless set. A plugin that hosts reattach to says no.
    ///
    /// The host is gone when the process that started the plugin has ended, or, where a shell or another PID namespace is between the two,
    /// when nobody reads the pipes of standard output and standard error any more and nobody has been connected for two seconds.
    #[must_use]
    pub fn watch_parent(mut self, watch: bool) -> Self {
        self.watch_parent = watch;
        self
    }

    /// Whether panics are printed the way Go prints them, so that Go hosts show them as errors; yes unless set.
    ///
    /// On the wire: `panic: ` and the message at the start of a line of standard error, then the thread, the place and the backtrace.
    #[must_use]
    pub fn print_panics(mut self, print: bool) -> Self {
        self.print_panics = print;
        self
    }
}

/// How long a multiplexed host may take to connect after the handshake, as in Go.
pub(crate) const CONNECT: Duration = Duration::from_secs(5);
