//! From a configuration to a connected plugin.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::future::Future;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::sync::{oneshot, watch};
use tokio::time::Instant;

use super::client::{Client, Connector, Parts};
use super::command::CommandRunner;
use super::config::{ClientConfig, PluginSet, Source, Writer};
use super::connection::Connection;
use super::error::StartError;
use super::exit::Exit;
use super::folder::SocketFolder;
use super::reattach::{self, Attached, ReattachConfig};
use super::runner::{Launch, Runner};
use super::stdio;
use super::watched::{After, Pipes, Watched};
use crate::broker::{self, GrpcBroker, Mode, Translate};
use crate::environment as env;
use crate::handshake::{HandshakeError, HandshakeLine, MAX_LINE, Multiplex, PluginAddr, Protocol};
use crate::http2::{Channel, Dialer};
use crate::logs::{self, LogConfig, Record};
use crate::mux::Mux;
use crate::net::{Io, ListenerConfig, ListenerKind};
use crate::owner::Owner;
use crate::task::{Task, lock};
use crate::tls::{Identity, Tls};
use crate::version;

impl Client {
    /// Starts a plugin, or attaches to one, and connects to it: Go's `NewClient`, `Start` and `Client` in one.
    ///
    /// The plugin's tasks run on the runtime of this call. When that ends the plugin cannot be called any more and counts as ended; it is
    /// killed when the client is dropped.
    #[doc(alias("NewClient", "Start"))]
    pub async fn start(mut config: ClientConfig) -> Result<Self, StartError> {
        if config.sets.is_empty() {
            config
                .sets
                .insert(config.handshake.protocol_version, PluginSet::new());
        }
        if config.tls.is_some() && config.auto_mtls.is_some() {
            return Err(StartError::Conflict(
                "only one of TLS and AutoMTLS can be set",
            ));
        }
        match config.source.take() {
            None => Err(StartError::NothingToStart),
            Some(Source::Reattach(reattach)) => attach(config, reattach).await,
            Some(Source::Command(command)) => {
                let runner = CommandRunner {
                    command,
                    secure: config.secure.take(),
                    environment: config.environment.clone(),
                    stdin: config.stdin,
                    die_with_host: config.die_with_host,
                    process: None,
                };
                let own = config.check_peer;
                launch(config, Box::new(runner), own).await
            }
            Some(Source::Runner(runner)) => {
                if config.secure.is_some() {
                    return Err(StartError::Conflict(
                        "a checksum can be verified of a command only, not of a runner's plugin",
                    ));
                }
                launch(config, runner, false).await
            }
        }
    }
}

/// Starts a plugin; on every error nothing of it is left. `own` demands that its Unix sockets are those of the process that it started.
async fn launch(
    mut config: ClientConfig,
    mut runner: Box<dyn Runner>,
    own: bool,
) -> Result<Client, StartError> {
    let deadline = Instant::now() + config.start_timeout;
    let folder =
        SocketFolder::new(&config.sockets).map_err(StartError::io("the plugin's socket folder"))?;
    let identity = config.auto_mtls.map(Identity::generate).transpose()?;
    let launch = Launch {
        environment: environment(&config, identity.as_ref(), &folder),
        socket_folder: folder.path().to_owned(),
    };
    let group = folder.group();
    let running = runner.start(launch).await?;
    let runner: Arc<dyn Runner> = Arc::from(runner);
    tracing::debug!(plugin = runner.name(), id = running.id, "plugin started");

    let (line, first_line) = oneshot::channel();
    let record = Arc::<Mutex<Record>>::default();
    let watched = Watched::new(
        Pipes {
            stdout: Task::spawn(read_stdout(
                running.stdout,
                line,
                config.stdout.take().map(|log| (runner.name(), log)),
            )),
            stderr: Task::spawn(logs::read(
                running.stderr,
                runner.name(),
                config.log.clone(),
                config.stderr.take(),
                Arc::clone(&record),
            )),
            timeout: config.drain_timeout,
        },
        Arc::clone(&runner),
        Arc::clone(&record),
        folder,
    );
    watched.own();
    let attempt = Attempt {
        sets: &config.sets,
        tls: config.tls.as_ref(),
        multiplex: config.multiplex,
        start_timeout: config.start_timeout,
        runner: &runner,
        record: &record,
        identity: identity.as_ref(),
        listeners: ListenerConfig {
            kind: ListenerKind::Unix {
                folder: watched.folder_path(),
                group,
            },
        },
        owner: match own {
            true => Owner::process(running.pid),
            false => Owner::Anyone,
        },
        deadline,
        after: &watched.after,
    };
    let connected = attempt.connect(first_line, watched.exit.clone()).await;
    let connected = match connected {
        Ok(connected) => connected,
        Err(error) => {
            watched.abandon().await;
            return Err(error);
        }
    };
    watched.connected(&connected);
    Ok(finish(
        config,
        connected,
        watched,
        running.id,
        running.pid,
        false,
    ))
}

/// Connects to a plugin that runs already.
async fn attach(config: ClientConfig, reattach: ReattachConfig) -> Result<Client, StartError> {
    if config.secure.is_some() {
        return Err(StartError::Conflict(
            "only one of Reattach or SecureConfig can be set",
        ));
    }
    if config.auto_mtls.is_some() {
        return Err(StartError::Conflict(
            "AutoMTLS cannot be used with Reattach: its keys are known to the first host only",
        ));
    }
    if config.multiplex {
        return Err(StartError::Conflict(
            "gRPC broker multiplexing is not supported with Reattach config",
        ));
    }
    if reattach.protocol != Protocol::Grpc {
        return Err(StartError::NetRpc);
    }
    // As in Go no version is negotiated: the configured set is used, whatever the plugin serves.
    let version = if config.sets.contains_key(&reattach.protocol_version) {
        reattach.protocol_version
    } else {
        config.handshake.protocol_version
    };
    let set = set_of(&config.sets, version)?;
    let owner = match config.check_peer && !reattach.test {
        true => Owner::process(reattach.pid),
        false => Owner::Anyone,
    };
    let process = reattach::find(&reattach, owner).await?;
    let folder =
        SocketFolder::new(&config.sockets).map_err(StartError::io("the plugin's socket folder"))?;
    let listeners = ListenerConfig {
        kind: ListenerKind::Unix {
            folder: folder.path().to_owned(),
            group: folder.group(),
        },
    };
    let runner: Arc<dyn Runner> = Arc::new(Attached(process));
    let tls = config.tls.clone();
    let addresses = Arc::new(RunnersAddresses(Arc::clone(&runner), owner));
    let watched = Watched::new(Pipes::none(), runner, Arc::default(), folder);
    let broker = GrpcBroker::new(Mode::Classic(listeners), tls.clone(), addresses);
    let deadline = Instant::now() + config.start_timeout;
    let connected = Connected::open(
        (reattach.address.clone(), owner),
        broker,
        tls,
        version,
        set,
        deadline,
    )
    .await?;
    watched.connected(&connected);
    let id = reattach.pid.to_string();
    Ok(finish(
        config,
        connected,
        watched,
        id,
        reattach.pid,
        reattach.test,
    ))
}

/// Starts what runs beside the connection.
fn finish(
    mut config: ClientConfig,
    connected: Connected,
    watched: Watched,
    id: String,
    pid: u32,
    test: bool,
) -> Client {
    let channel = connected.connection.channel();
    let broker = connected.connection.broker().clone();
    let stdio = stdio_task(
        &channel,
        config.sync_stdout.take(),
        config.sync_stderr.take(),
    );
    Client::new(Parts {
        tasks: [Task::spawn(broker::run_client(broker, channel)), stdio],
        connected,
        watched,
        id,
        pid,
        test,
        stop_timeout: config.stop_timeout,
    })
}

fn stdio_task(channel: &Channel, stdout: Option<Writer>, stderr: Option<Writer>) -> Task {
    Task::spawn(stdio::copy(channel.clone(), stdout, stderr))
}

/// The variables of the protocol.
fn environment(
    config: &ClientConfig,
    identity: Option<&Identity>,
    folder: &SocketFolder,
) -> Vec<(OsString, OsString)> {
    let handshake = &config.handshake;
    let mut variables: Vec<(OsString, OsString)> = Vec::new();
    let mut set = |name: &str, value: OsString| variables.push((name.into(), value));
    set(
        &handshake.magic_cookie_key,
        handshake.magic_cookie_value.clone().into(),
    );
    set(env::MIN_PORT, config.ports.0.to_string().into());
    set(env::MAX_PORT, config.ports.1.to_string().into());
    set(
        env::PROTOCOL_VERSIONS,
        version::format_list(config.sets.keys().copied()).into(),
    );
    if config.multiplex {
        set(env::MULTIPLEX_GRPC, "true".into());
    }
    if let Some(identity) = identity {
        set(env::CLIENT_CERT, identity.certificate_pem().into());
    }
    if let Some(group) = &config.sockets.group {
        set(env::UNIX_SOCKET_GROUP, group.into());
    }
    set(env::UNIX_SOCKET_DIR, folder.path().into());
    variables
}

/// What is known between the start and the connection.
struct Attempt<'a> {
    // Parts of the configuration, and not the whole of it: its writers keep a future that borrows it from moving between threads.
    sets: &'a BTreeMap<i32, PluginSet>,
    tls: Option<&'a Tls>,
    multiplex: bool,
    start_timeout: Duration,
    runner: &'a Arc<dyn Runner>,
    record: &'a Mutex<Record>,
    identity: Option<&'a Identity>,
    listeners: ListenerConfig,
    owner: Owner,
    deadline: Instant,
    after: &'a Mutex<After>,
}

impl Attempt<'_> {
    async fn connect(
        self,
        first_line: oneshot::Receiver<FirstLine>,
        exit: watch::Receiver<Option<Exit>>,
    ) -> Result<Connected, StartError> {
        let line = self.handshake(first_line, exit).await?;
        // From now on there is a socket to be removed, also when the plugin is refused for what follows.
        lock(self.after).address = Some(line.address.clone());
        let set = set_of(self.sets, line.version)?;
        if line.protocol == Protocol::NetRpc {
            return Err(StartError::NetRpc);
        }
        let tls = self.secured(line.certificate.as_deref())?;
        if self.multiplex {
            check_multiplex(line.multiplex)?;
        }
        let address = self
            .runner
            .plugin_to_host(line.address)
            .map_err(StartError::io(
                "the runner's translation of the plugin's address",
            ))?;
        let owner = self.owner;
        let translate = Arc::new(RunnersAddresses(Arc::clone(self.runner), owner));
        if !self.multiplex {
            let broker = GrpcBroker::new(Mode::Classic(self.listeners), tls.clone(), translate);
            let place = (address, owner);
            return Connected::open(place, broker, tls, line.version, set, self.deadline).await;
        }
        let io = within(self.deadline, &address, Io::connect(&address, owner)).await?;
        let broker = GrpcBroker::new(Mode::Multiplexed(Mux::client(io)), tls, translate);
        Connected::multiplexed(address, broker, line.version, set, self.deadline).await
    }

    /// Waits for the line; whatever else happens has an error of its own.
    async fn handshake(
        &self,
        first_line: oneshot::Receiver<FirstLine>,
        mut exit: watch::Receiver<Option<Exit>>,
    ) -> Result<HandshakeLine, StartError> {
        let seen = tokio::select! {
            biased;
            seen = first_line => seen.unwrap_or(FirstLine::Ended(Vec::new())),
            () = tokio::time::sleep_until(self.deadline) => {
                return Err(StartError::Timeout {
                    after: self.start_timeout,
                    stderr: self.stderr(),
                });
            }
        };
        let (bytes, whole) = match seen {
            FirstLine::Line(bytes) => (bytes, true),
            FirstLine::Ended(bytes) => (bytes, false),
            FirstLine::TooLong(bytes) => return Err(self.no_line(&bytes)),
        };
        if !whole && bytes.is_empty() {
            // A closed output is most often a process on its way out, which then can say why.
            let ended = tokio::time::timeout(LAST_WORDS, exit.wait_for(Option::is_some)).await;
            if let Ok(Ok(exit)) = ended {
                return Err(StartError::Exited {
                    exit: exit.clone().unwrap_or_default(),
                    stderr: self.stderr(),
                    notes: self.runner.diagnose(),
                });
            }
            return Err(self.no_line(&bytes));
        }
        let text = String::from_utf8_lossy(&bytes);
        HandshakeLine::parse(&text).map_err(|error| match error {
            HandshakeError::Protocol(_) | HandshakeError::CoreVersion(_) => StartError::Handshake {
                error,
                stderr: String::new(),
                notes: String::new(),
            },
            error => StartError::Handshake {
                error,
                stderr: self.stderr(),
                notes: format!("\n{}", self.runner.diagnose()),
            },
        })
    }

    fn no_line(&self, seen: &[u8]) -> StartError {
        let seen = String::from_utf8_lossy(seen.get(..SHOWN).unwrap_or(seen)).into_owned();
        StartError::NoLine {
            seen,
            stderr: self.stderr(),
            notes: self.runner.diagnose(),
        }
    }

    /// What the plugin said on standard error, as an addition to a message.
    fn stderr(&self) -> String {
        let record = self.record.lock().unwrap_or_else(PoisonError::into_inner);
        match record.tail().trim_end() {
            "" => String::new(),
            tail => format!("\nThe plugin wrote on its standard error:\n{tail}"),
        }
    }

    fn secured(&self, certificate: Option<&[u8]>) -> Result<Option<Tls>, StartError> {
        match (self.identity, certificate) {
            (Some(identity), Some(certificate)) => Ok(Some(Tls::pinned(identity, certificate)?)),
            (Some(_), None) => Err(StartError::NoCertificate),
            (None, Some(_)) => Err(StartError::UnexpectedCertificate),
            (None, None) => Ok(self.tls.cloned()),
        }
    }
}

/// How long a plugin that closed its output may take to end and say why.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// How much of a line that is too long is shown.
const SHOWN: usize = 200;

fn set_of(sets: &BTreeMap<i32, PluginSet>, version: i32) -> Result<PluginSet, StartError> {
    sets.get(&version)
        .cloned()
        .ok_or_else(|| StartError::IncompatibleVersion {
            plugin: version,
            host: sets.keys().copied().collect(),
        })
}

fn check_multiplex(field: Option<Multiplex>) -> Result<(), StartError> {
    match field {
        None => Err(StartError::MuxNotSupported),
        Some(Multiplex::Supported(true)) => Ok(()),
        Some(Multiplex::Supported(false)) => Err(StartError::MuxRefused),
        Some(Multiplex::Unreadable(text)) => Err(StartError::MuxUnreadable(text)),
    }
}

async fn within<T>(
    deadline: Instant,
    address: &PluginAddr,
    connect: impl Future<Output = io::Result<T>>,
) -> Result<T, StartError> {
    tokio::time::timeout_at(deadline, connect)
        .await
        .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
        .map_err(|source| StartError::Connect {
            address: address.to_string(),
            source,
        })
}

/// Addresses as a runner translates them, and whose sockets they may be.
struct RunnersAddresses(Arc<dyn Runner>, Owner);

impl Translate for RunnersAddresses {
    fn incoming(&self, address: PluginAddr) -> io::Result<PluginAddr> {
        self.0.plugin_to_host(address)
    }

    fn outgoing(&self, address: PluginAddr) -> io::Result<PluginAddr> {
        self.0.host_to_plugin(address)
    }

    fn owner(&self) -> Owner {
        self.1
    }
}

/// A plugin that answers.
pub(super) struct Connected {
    pub(super) connection: Connection,
    pub(super) set: PluginSet,
    pub(super) address: PluginAddr,
    /// What opens further connections; none in multiplexed mode.
    pub(super) connector: Option<Connector>,
    /// True once the plugin is gone.
    pub(super) gone: watch::Sender<bool>,
}

impl Connected {
    async fn open(
        (address, owner): (PluginAddr, Owner),
        broker: GrpcBroker,
        tls: Option<Tls>,
        version: i32,
        set: PluginSet,
        deadline: Instant,
    ) -> Result<Self, StartError> {
        let gone = watch::Sender::new(false);
        let connector = Connector::new(address.clone(), owner, tls, gone.subscribe());
        let channel = within(deadline, &address, connector.connect()).await?;
        Ok(Self {
            connection: Connection {
                channel,
                broker,
                version,
            },
            set,
            address,
            connector: Some(connector),
            gone,
        })
    }

    async fn multiplexed(
        address: PluginAddr,
        broker: GrpcBroker,
        version: i32,
        set: PluginSet,
        deadline: Instant,
    ) -> Result<Self, StartError> {
        let gone = watch::Sender::new(false);
        let dialer: Dialer = {
            let broker = broker.clone();
            Arc::new(move || {
                let broker = broker.clone();
                Box::pin(async move { broker.open_main().await })
            })
        };
        let opening = Channel::connect(dialer, gone.subscribe());
        let channel = within(deadline, &address, opening).await?;
        Ok(Self {
            connection: Connection {
                channel,
                broker,
                version,
            },
            set,
            address,
            connector: None,
            gone,
        })
    }
}

/// What came first on a plugin's standard output.
enum FirstLine {
    Line(Vec<u8>),
    /// The output ended, perhaps in the middle of a line.
    Ended(Vec<u8>),
    TooLong(Vec<u8>),
}

/// Reads the first line, then reads on, and forgets or logs: a plugin must not block on its output.
async fn read_stdout<R>(
    mut stdout: R,
    first_line: oneshot::Sender<FirstLine>,
    log: Option<(String, LogConfig)>,
) where
    R: AsyncRead + Unpin,
{
    let mut buffer = vec![0; 4 * 1024];
    let mut line = Vec::new();
    // What came with the first line, and is none of it.
    let mut behind = Vec::new();
    let seen = loop {
        let count = stdout.read(&mut buffer).await.unwrap_or(0);
        let read = buffer.get(..count).unwrap_or_default();
        if read.is_empty() {
            break FirstLine::Ended(line);
        }
        match read.iter().position(|byte| *byte == b'\n') {
            Some(end) => {
                line.extend_from_slice(read.get(..end).unwrap_or_default());
                behind.extend_from_slice(read.get(end + 1..).unwrap_or_default());
                break FirstLine::Line(line);
            }
            None => line.extend_from_slice(read),
        }
        if line.len() > MAX_LINE {
            break FirstLine::TooLong(line);
        }
    };
    let _ = first_line.send(seen);
    if let Some((name, log)) = log {
        let rest = behind.as_slice().chain(stdout);
        return logs::read(rest, name, log, None, Arc::default()).await;
    }
    while stdout.read(&mut buffer).await.is_ok_and(|count| count > 0) {}
}
