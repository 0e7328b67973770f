//! What a host says about a plugin before it starts it.

use std::any::Any;
use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncWrite;

use super::checksum::SecureConfig;
use super::connection::Connection;
use super::reattach::ReattachConfig;
use super::runner::Runner;
use crate::handshake::HandshakeConfig;
use crate::logs::LogConfig;
use crate::tls::{Curve, Tls};

/// Go's `ClientConfig`.
///
/// One of [`command`](Self::command), [`runner`](Self::runner) and [`reattach`](Self::reattach) says what the plugin is; the last one
/// said wins.
#[doc(alias = "NewClient")]
pub struct ClientConfig {
    pub(super) handshake: HandshakeConfig,
    pub(super) sets: BTreeMap<i32, PluginSet>,
    pub(super) source: Option<Source>,
    pub(super) secure: Option<SecureConfig>,
    pub(super) tls: Option<Tls>,
    pub(super) auto_mtls: Option<Curve>,
    pub(super) multiplex: bool,
    pub(super) start_timeout: Duration,
    pub(super) stop_timeout: Duration,
    pub(super) drain_timeout: Duration,
    pub(super) ports: (u16, u16),
    pub(super) sockets: UnixSockets,
    pub(super) environment: Environment,
    pub(super) stdin: PluginStdin,
    pub(super) die_with_host: bool,
    pub(super) check_peer: bool,
    pub(super) log: LogConfig,
    pub(super) stdout: Option<LogConfig>,
    pub(super) sync_stdout: Option<Writer>,
    pub(super) sync_stderr: Option<Writer>,
    pub(super) stderr: Option<Writer>,
}

pub(super) type Writer = Box<dyn AsyncWrite + Send + Unpin>;

pub(super) enum Source {
    Command(Command),
    Runner(Box<dyn Runner>),
    Reattach(ReattachConfig),
}

impl ClientConfig {
    /// A plugin of this handshake, to be started with [`command`](Self::command) or another source.
    pub fn new(handshake: HandshakeConfig) -> Self {
        Self {
            handshake,
            sets: BTreeMap::new(),
            source: None,
            secure: None,
            tls: None,
            auto_mtls: None,
            multiplex: false,
            start_timeout: Duration::from_secs(60),
            stop_timeout: Duration::from_secs(2),
            drain_timeout: Duration::from_secs(1),
            ports: (10_000, 25_000),
            sockets: UnixSockets::default(),
            environment: Environment::default(),
            stdin: PluginStdin::default(),
            die_with_host: true,
            check_peer: true,
            log: LogConfig::default(),
            stdout: None,
            sync_stdout: None,
            sync_stderr: None,
            stderr: None,
        }
    }

    /// The plugins of the handshake's own version: Go's `Plugins`.
    #[doc(alias = "Plugins")]
    #[must_use]
    pub fn plugins(self, set: PluginSet) -> Self {
        let version = self.handshake.protocol_version;
        self.versioned_plugins(version, set)
    }

    /// The plugins of `version`: Go's `VersionedPlugins`. The plugin chooses the newest version that it has too.
    ///
    /// On the wire: the versions, without the plugins' names, as `PLUGIN_PROTOCOL_VERSIONS` (`6,5`).
    #[doc(alias = "VersionedPlugins")]
    #[must_use]
    pub fn versioned_plugins(mut self, version: i32, set: PluginSet) -> Self {
        self.sets.insert(version, set);
        self
    }

    /// Starts this program: Go's `Cmd`. Its program, arguments, folder and variables are taken; its standard streams are not.
    ///
    /// Variables set here win over the host's own (in Go the host's own win).
    #[doc(alias = "Cmd")]
    #[must_use]
    pub fn command(mut self, command: Command) -> Self {
        self.source = Some(Source::Command(command));
        self
    }

    /// Lets `runner` start the plugin, in a container say: Go's `RunnerFunc`.
    ///
    /// On the wire: what the runner makes of it; it is handed the same variables as a command.
    #[doc(alias = "RunnerFunc")]
    #[must_use]
    pub fn runner(mut self, runner: impl Runner) -> Self {
        self.source = Some(Source::Runner(Box::new(runner)));
        self
    }

    /// Attaches to a plugin that runs already: Go's `Reattach`. Neither AutoMTLS, a checksum nor multiplexing can be had then.
    ///
    /// On the wire: a connection that is opened and closed at once, to see whether the plugin is there.
    #[doc(alias = "Reattach")]
    #[must_use]
    pub fn reattach(mut self, reattach: ReattachConfig) -> Self {
        self.source = Some(Source::Reattach(reattach));
        self
    }

    /// Starts the program only if its content has this checksum: Go's `SecureConfig`.
    ///
    /// On the wire: nothing; the plugin does not learn of it.
    #[doc(alias = "SecureConfig")]
    #[must_use]
    pub fn secure(mut self, secure: SecureConfig) -> Self {
        self.secure = Some(secure);
        self
    }

    /// TLS as the application configured it: Go's `TLSConfig`. The plugin must be given its side by itself.
    ///
    /// On the wire: nothing in the handshake; the main and all brokered connections are TLS.
    #[doc(alias = "TLSConfig")]
    #[must_use]
    pub fn tls(mut self, tls: Tls) -> Self {
        self.tls = Some(tls);
        self
    }

    /// Mutual TLS with keys made for this start: Go's `AutoMTLS`. The key is on P-256; see [`auto_mtls_curve`](Self::auto_mtls_curve).
    ///
    /// On the wire: `PLUGIN_CLIENT_CERT` in the environment, the plugin's certificate as the handshake line's sixth field.
    #[doc(alias = "AutoMTLS")]
    #[must_use]
    pub fn auto_mtls(self, on: bool) -> Self {
        let curve = on.then(Curve::default);
        Self {
            auto_mtls: curve,
            ..self
        }
    }

    /// AutoMTLS with a key on this curve; Go's own hosts use P-521, which BoringSSL-based plugins refuse.
    #[must_use]
    pub fn auto_mtls_curve(mut self, curve: Curve) -> Self {
        self.auto_mtls = Some(curve);
        self
    }

    /// Puts all brokered connections on one socket: Go's `GRPCBrokerMultiplex`. A plugin older than 1.6.0 is refused then.
    ///
    /// On the wire: `PLUGIN_MULTIPLEX_GRPC=true`, and `true` as the handshake line's seventh field.
    #[doc(alias = "GRPCBrokerMultiplex")]
    #[must_use]
    pub fn grpc_broker_multiplex(mut self, on: bool) -> Self {
        self.multiplex = on;
        self
    }

    /// How long the plugin may take to its handshake line; one minute unless set.
    #[doc(alias = "StartTimeout")]
    #[must_use]
    pub fn start_timeout(mut self, timeout: Duration) -> Self {
        self.start_timeout = timeout;
        self
    }

    /// How long the plugin may take to end after `Shutdown`, before it is killed; two seconds unless set, as in Go.
    ///
    /// On the wire: `/plugin.GRPCController/Shutdown`, then nothing.
    #[must_use]
    pub fn stop_timeout(mut self, timeout: Duration) -> Self {
        self.stop_timeout = timeout;
        self
    }

    /// How long after the plugin's end its pipes are still read, if something else holds them open; one second unless set.
    #[must_use]
    pub fn drain_timeout(mut self, timeout: Duration) -> Self {
        self.drain_timeout = timeout;
        self
    }

    /// The ports that a TCP plugin may take; 10000 to 25000 unless set: Go's `MinPort` and `MaxPort`.
    ///
    /// On the wire: `PLUGIN_MIN_PORT` and `PLUGIN_MAX_PORT`, also for plugins that use Unix sockets.
    #[doc(alias("MinPort", "MaxPort"))]
    #[must_use]
    pub fn ports(mut self, min: u16, max: u16) -> Self {
        self.ports = (min, max);
        self
    }

    /// Folder and group of Unix sockets: Go's `UnixSocketConfig`.
    ///
    /// On the wire: `PLUGIN_UNIX_SOCKET_DIR` (always), and `PLUGIN_UNIX_SOCKET_GROUP` where a group is named.
    #[doc(alias = "UnixSocketConfig")]
    #[must_use]
    pub fn unix_sockets(mut self, sockets: UnixSockets) -> Self {
        self.sockets = sockets;
        self
    }

    /// Which of the host's variables the plugin gets; all unless set. Go's `SkipHostEnv` is [`Environment::Empty`].
    #[doc(alias = "SkipHostEnv")]
    #[must_use]
    pub fn environment(mut self, environment: Environment) -> Self {
        self.environment = environment;
        self
    }

    /// The plugin's standard input; nothing unless set. Go passes the host's on.
    #[must_use]
    pub fn stdin(mut self, stdin: PluginStdin) -> Self {
        self.stdin = stdin;
        self
    }

    /// Whether the system kills the plugin when the host dies without a word; yes unless set. A plugin that other hosts shall
    /// reattach to says no.
    #[must_use]
    pub fn die_with_host(mut self, die: bool) -> Self {
        self.die_with_host = die;
        self
    }

    /// Whether the plugin's Unix sockets must be its own, made by its process, its process group or what it started; yes unless set.
    /// So a plugin cannot have its host call somebody else's socket. Not looked at for runners, test servers and TCP.
    ///
    /// A command that only asks a service to start the plugin (`docker run`, `systemd-run`) needs no.
    #[must_use]
    pub fn check_peer(mut self, check: bool) -> Self {
        self.check_peer = check;
        self
    }

    /// What becomes of the plugin's log (its standard error); `tracing` events unless set. Go's `Logger`.
    ///
    /// On the wire: the plugin's standard error, line by line, as hclog's JSON or with a level in front.
    #[doc(alias = "Logger")]
    #[must_use]
    pub fn log(mut self, log: LogConfig) -> Self {
        self.log = log;
        self
    }

    /// What becomes of lines that the plugin prints on its standard output itself, behind the handshake line; forgotten unless set. Go's
    /// plugins send theirs over the connection instead: [`sync_stdout`](Self::sync_stdout).
    #[must_use]
    pub fn stdout(mut self, log: LogConfig) -> Self {
        self.stdout = Some(log);
        self
    }

    /// Gets what the plugin writes on its standard output after the handshake; dropped unless set. Go's `SyncStdout`.
    ///
    /// On the wire: one call of `/plugin.GRPCStdio/StreamStdio` for both; a plugin without it is left in peace.
    #[doc(alias = "SyncStdout")]
    #[must_use]
    pub fn sync_stdout(mut self, writer: impl AsyncWrite + Send + Unpin + 'static) -> Self {
        self.sync_stdout = Some(Box::new(writer));
        self
    }

    /// Gets what the plugin writes on its standard error, as far as the plugin streams it; dropped unless set. Go's `SyncStderr`.
    #[doc(alias = "SyncStderr")]
    #[must_use]
    pub fn sync_stderr(mut self, writer: impl AsyncWrite + Send + Unpin + 'static) -> Self {
        self.sync_stderr = Some(Box::new(writer));
        self
    }

    /// Gets the plugin's log as it was written, beside [`log`](Self::log): Go's `Stderr`.
    #[doc(alias = "Stderr")]
    #[must_use]
    pub fn stderr(mut self, writer: impl AsyncWrite + Send + Unpin + 'static) -> Self {
        self.stderr = Some(Box::new(writer));
        self
    }
}

impl std::fmt::Debug for ClientConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ClientConfig")
            .field("handshake", &self.handshake)
            .field("sets", &self.sets)
            .field("auto_mtls", &self.auto_mtls)
            .field("multiplex", &self.multiplex)
            .finish_non_exhaustive()
    }
}

/// The plugins of one version: Go's `PluginSet`, from the side that calls.
///
/// Nothing of the names goes on the wire; [`Client::dispense`](super::Client::dispense) looks them up here.
#[derive(Clone, Default)]
pub struct PluginSet {
    plugins: HashMap<String, Make>,
}

type Make = Arc<dyn Fn(&Connection) -> Box<dyn Any + Send> + Send + Sync>;

impl PluginSet {
    /// No plugin yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a plugin: `make` turns the connection into what [`Client::dispense`](super::Client::dispense) returns, usually a
    /// generated client. Go's name for it is `GRPCClient`.
    #[must_use]
    pub fn plugin<T, F>(mut self, name: impl Into<String>, make: F) -> Self
    where
        T: Send + 'static,
        F: Fn(&Connection) -> T + Send + Sync + 'static,
    {
        let make: Make = Arc::new(move |connection| Box::new(make(connection)));
        self.plugins.insert(name.into(), make);
        self
    }

    pub(super) fn make(&self, name: &str) -> Option<&Make> {
        self.plugins.get(name)
    }

    /// The names of the plugins, sorted.
    pub fn names(&self) -> Vec<&str> {
        let mut names: Vec<&str> = self.plugins.keys().map(String::as_str).collect();
        names.sort_unstable();
        names
    }
}

impl std::fmt::Debug for PluginSet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.names()).finish()
    }
}

/// Folder and group of the Unix sockets of a plugin and of the host's brokered servers.
#[doc(alias("UnixSocketConfig", "TempDir"))]
#[derive(Clone, Debug, Default)]
pub struct UnixSockets {
    /// Where the plugin's own folder is made, with mode 0700, and removed afterwards; the temporary folder unless set. Go's `TempDir`.
    pub folder: Option<PathBuf>,
    /// Name or id of the group that may use the sockets: the folder becomes 0770 then, the sockets 0660.
    pub group: Option<String>,
}

/// Which variables of the host's environment a plugin gets beside the protocol's and those of its command.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub enum Environment {
    /// All.
    #[default]
    Inherited,
    /// These, where they are set.
    Allowed(Vec<String>),
    /// None: Go's `SkipHostEnv`.
    Empty,
}

/// A plugin's standard input.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum PluginStdin {
    /// Nothing.
    #[default]
    Null,
    /// The host's. If that is a terminal, the plugin stays in the host's process group, since others may not read from it; killing
    /// it then reaches the plugin alone, not what it started.
    Inherited,
}
