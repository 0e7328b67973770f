//! Serving, from the cookie to the last reply.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tonic_health::ServingStatus;

use super::config::{CONNECT, Network, PluginStdio, ServeConfig};
use super::controller::Controller;
use super::error::ServeError;
use super::panic;
use super::parent::{Parent, Pipes};
use super::set::PluginSet;
use super::stdio::{Capture, Output, StdioService, write_log};
use crate::broker::{BrokerService, GrpcBroker, Identical, Mode};
use crate::environment as env;
use crate::handshake::{HandshakeLine, Multiplex, Protocol};
use crate::host::ReattachConfig;
use crate::http2::{Presence, Server};
use crate::mux::Mux;
use crate::net::{Listener, ListenerConfig, ListenerKind, group_id};
use crate::proto;
use crate::services::Services;
use crate::task::{Task, raised};
use crate::tls::{Identity, Tls, first_certificate};
use crate::version;

/// The name under which health is told, for `Ping`.
const HEALTH_NAME: &str = "plugin";

/// The services that tell of the others.
const REFLECTION: [&str; 2] = [
    "grpc.reflection.v1.ServerReflection",
    "grpc.reflection.v1alpha.ServerReflection",
];

/// Serves a plugin until its host ends it; a plugin's `main` returns what this returns.
///
/// ```no_run
/// use transom_goplugin::plugin::{PluginSet, ServeConfig, serve};
/// use transom_goplugin::{HandshakeConfig, Services};
///
/// #[tokio::main(flavor = "current_thread")]
/// async fn main() -> std::process::ExitCode {
///     let handshake = HandshakeConfig::new(1, "BASIC_PLUGIN", "hello");
///     let plugins = PluginSet::new().plugin("kv", |_broker| Services::new() /* .add_service(KvServer::new(…)) */);
///     serve(ServeConfig::new(handshake).plugins(plugins)).await
/// }
/// ```
///
/// Nothing may be printed on standard output before: the first line there is the handshake. Exit code 1 means that the cookie was
/// missing or that serving could not begin; the reason is on standard error. (Go exits with 0 in the latter case.)
#[doc(alias = "Serve")]
pub async fn serve(config: ServeConfig) -> ExitCode {
    match try_serve(config).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            write_log(format!("{error}\n").as_bytes());
            ExitCode::FAILURE
        }
    }
}

/// As [`serve`], for a `main` with an error handling of its own.
pub async fn try_serve(config: ServeConfig) -> Result<(), ServeError> {
    let handshake = &config.handshake;
    if handshake.magic_cookie_key.is_empty() || handshake.magic_cookie_value.is_empty() {
        return Err(ServeError::NoCookie);
    }
    let cookie = variable(&handshake.magic_cookie_key);
    if cookie.as_deref() != Some(handshake.magic_cookie_value.as_str()) {
        return Err(ServeError::WrongCookie);
    }
    if config.print_panics {
        panic::install_hook();
    }
    // Ctrl-C reaches the whole process group, and it is the host that decides when a plugin ends.
    let mut interrupt =
        signal(SignalKind::interrupt()).map_err(ServeError::io("signal handler"))?;
    let mut terminate =
        signal(SignalKind::terminate()).map_err(ServeError::io("signal handler"))?;
    let parent = config.watch_parent.then(Parent::find).flatten();

    let prepared = Prepared::new(&config, &variable)?;
    let line = prepared.line.to_string();
    print_handshake(&line).map_err(ServeError::io("printing the handshake"))?;

    let (stop, _) = watch::channel(false);
    let pipes = config.watch_parent.then(Pipes::find).flatten();
    let _signals = Task::spawn({
        let stop = stop.clone();
        async move {
            loop {
                tokio::select! {
                    _ = interrupt.recv() => {
                        tracing::trace!("plugin received interrupt signal, ignoring");
                    }
                    _ = terminate.recv() => break,
                    () = ended(parent.as_ref()) => break,
                }
            }
            let _ = stop.send(true);
        }
    });
    let output = Output::default();
    let capture = match config.stdio {
        PluginStdio::Streamed => {
            Some(Capture::begin(&output).map_err(ServeError::io("capturing the output"))?)
        }
        PluginStdio::Untouched => None,
    };
    prepared.run(stop, output, capture, pipes).await
}

/// A plugin served inside a test: Go's `ServeTestConfig`.
///
/// The cookie is not checked, nothing is printed, signals and standard output stay as they are, and no environment is read.
#[doc(alias = "ServeTestConfig")]
#[derive(Debug)]
pub struct TestServer {
    reattach: ReattachConfig,
    stop: watch::Sender<bool>,
    task: Task<Result<(), ServeError>>,
}

impl TestServer {
    /// What a host needs to attach.
    pub fn reattach_config(&self) -> &ReattachConfig {
        &self.reattach
    }

    /// Ends serving and waits for the end: Go's cancelled `Context` and `CloseCh`.
    pub async fn stop(mut self) {
        let _ = self.stop.send(true);
        self.task.join().await;
    }
}

/// Serves in this process, for tests of a plugin.
#[doc(alias("ServeTestConfig", "ServeConfig.Test"))]
pub async fn serve_test(config: ServeConfig) -> Result<TestServer, ServeError> {
    let prepared = Prepared::new(&config, &|_| None)?;
    let reattach = ReattachConfig {
        protocol: Protocol::Grpc,
        protocol_version: prepared.line.version,
        address: prepared.line.address.clone(),
        pid: std::process::id(),
        test: true,
    };
    let (stop, _) = watch::channel(false);
    let task = Task::spawn(prepared.run(stop.clone(), Output::default(), None, None));
    Ok(TestServer {
        reattach,
        stop,
        task,
    })
}

/// Everything that is known when the handshake line is printed.
struct Prepared {
    set: PluginSet,
    tls: Option<Tls>,
    multiplex: bool,
    listeners: ListenerConfig,
    listener: Listener,
    line: HandshakeLine,
}

impl Prepared {
    fn new(
        config: &ServeConfig,
        variable: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Self, ServeError> {
        let list = variable(env::PROTOCOL_VERSIONS).unwrap_or_default();
        let (host_versions, wrong) = version::parse_list(&list);
        for item in wrong {
            write_log(format!("server sent invalid plugin version {item:?}\n").as_bytes());
        }
        let version = version::choose(config.sets.keys().copied(), &host_versions)
            .ok_or(ServeError::NoPlugins)?;
        let set = config.sets.get(&version).cloned().unwrap_or_default();

        let host_certificate = variable(env::CLIENT_CERT).filter(|text| !text.is_empty());
        let (tls, certificate) = match (&config.tls, host_certificate) {
            (Some(tls), _) => (Some(tls.clone()), None),
            (None, Some(pem)) => {
                let identity = Identity::generate(config.curve)?;
                let tls = Tls::pinned(&identity, &first_certificate(&pem)?)?;
                (Some(tls), Some(identity.certificate().to_vec()))
            }
            (None, None) => (None, None),
        };

        let multiplex = variable(env::MULTIPLEX_GRPC).unwrap_or_default();
        let listeners = listeners(config.network, variable)?;
        let (listener, address) = listeners.listen().map_err(ServeError::io("listening"))?;
        Ok(Self {
            set,
            tls,
            listeners,
            listener,
            line: HandshakeLine {
                version,
                address,
                protocol: Protocol::Grpc,
                certificate,
                // Hosts before 1.6.0 glue a seventh field to the sixth; those that know better set the variable, to whatever value.
                multiplex: (!multiplex.is_empty()).then_some(Multiplex::Supported(true)),
            },
            multiplex: env::parse_bool(&multiplex) == Some(true),
        })
    }

    /// Serves until `stop`, then ends what the host's connections wait for, so that they can close by themselves.
    async fn run(
        self,
        stop: watch::Sender<bool>,
        output: Output,
        capture: Option<Capture>,
        pipes: Option<Pipes>,
    ) -> Result<(), ServeError> {
        let mut listener = self.listener;
        let mut own_socket = None;
        let mut connection = None;
        let mode = if self.multiplex {
            // The first connection carries everything; the socket's name is not needed after it, but stays until the end as Go's does.
            let io = tokio::time::timeout(CONNECT, listener.accept())
                .await
                .map_err(|_| ServeError::NoConnection)?
                .map_err(ServeError::io("accepting the host's connection"))?;
            let (mux, streams) = Mux::server(io);
            own_socket = Some(std::mem::replace(&mut listener, Listener::Mux(streams)));
            connection = Some(mux.gone());
            Mode::Multiplexed(mux)
        } else {
            Mode::Classic(self.listeners)
        };
        let broker = GrpcBroker::new(mode, self.tls.clone(), Arc::new(Identical));
        let services = assemble(&self.set, &broker, &output, &stop).await?;
        let presence = Presence::default();
        let server = Server {
            services: Arc::new(services),
            tls: self.tls,
            stop: stop.subscribe(),
            presence: presence.clone(),
        };
        let mut serving = Task::spawn(server.serve(listener));
        let mut stopped = stop.subscribe();
        tokio::select! {
            () = raised(&mut stopped) => {}
            // Without its one connection a multiplexed plugin can never be reached again.
            () = lost(connection) => { let _ = stop.send(true); }
            () = abandoned(pipes.as_ref(), &presence) => { let _ = stop.send(true); }
        }
        broker.close();
        if let Some(capture) = capture {
            capture.end().await;
        }
        output.close();
        serving.join().await;
        drop(own_socket);
        Ok(())
    }
}

/// The protocol's own services and the application's.
async fn assemble(
    set: &PluginSet,
    broker: &GrpcBroker,
    output: &Output,
    stop: &watch::Sender<bool>,
) -> Result<Services, ServeError> {
    let (health, health_service) = tonic_health::server::health_reporter();
    health
        .set_service_status(HEALTH_NAME, ServingStatus::Serving)
        .await;
    let mut services = Services::new()
        .add_service(health_service)
        .add_service(proto::grpc_broker_server::GrpcBrokerServer::new(
            BrokerService(broker.clone()),
        ))
        .add_service(proto::grpc_controller_server::GrpcControllerServer::new(
            Controller(stop.clone()),
        ))
        .add_service(proto::grpc_stdio_server::GrpcStdioServer::new(
            StdioService(output.clone()),
        ))
        .describe(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .describe(proto::DESCRIPTORS);
    services.merge(set.services(broker));
    // As in Go, both versions list what is served, each other included, in the order of the alphabet.
    let mut names: Vec<&str> = services.names().chain(REFLECTION).collect();
    names.sort_unstable();
    let reflection = || {
        let own = [
            tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET,
            tonic_reflection::pb::v1alpha::FILE_DESCRIPTOR_SET,
        ];
        let builder =
            tonic_reflection::server::Builder::configure().include_reflection_service(false);
        let builder = names
            .iter()
            .fold(builder, |builder, name| builder.with_service_name(*name));
        own.iter()
            .chain(services.descriptors())
            .fold(builder, |builder, descriptors| {
                builder.register_encoded_file_descriptor_set(descriptors)
            })
    };
    let wrong = |error: tonic_reflection::server::Error| ServeError::Reflection(error.to_string());
    let v1 = reflection().build_v1().map_err(wrong)?;
    let v1alpha = reflection().build_v1alpha().map_err(wrong)?;
    Ok(services.add_service(v1).add_service(v1alpha))
}

fn listeners(
    network: Network,
    variable: &dyn Fn(&str) -> Option<String>,
) -> Result<ListenerConfig, ServeError> {
    let kind = match network {
        Network::Unix => ListenerKind::Unix {
            folder: variable(env::UNIX_SOCKET_DIR)
                .filter(|folder| !folder.is_empty())
                .map_or_else(std::env::temp_dir, PathBuf::from),
            group: variable(env::UNIX_SOCKET_GROUP)
                .filter(|group| !group.is_empty())
                .map(|group| group_id(&group))
                .transpose()
                .map_err(ServeError::io("PLUGIN_UNIX_SOCKET_GROUP"))?,
        },
        Network::Tcp => ListenerKind::Tcp {
            min: port(env::MIN_PORT, variable)?,
            max: port(env::MAX_PORT, variable)?,
        },
    };
    Ok(ListenerConfig { kind })
}

fn port(name: &'static str, variable: &dyn Fn(&str) -> Option<String>) -> Result<u16, ServeError> {
    match variable(name).filter(|text| !text.is_empty()) {
        None => Ok(0),
        Some(text) => text.parse().map_err(|_| ServeError::Io {
            what: name,
            source: std::io::Error::new(
                std::io::ErrorKind::InvalidInput,
                format!("{text:?} is no port"),
            ),
        }),
    }
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

fn print_handshake(line: &str) -> std::io::Result<()> {
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "{line}")?;
    stdout.flush()
}

async fn ended(parent: Option<&Parent>) {
    match parent {
        Some(parent) => parent.ended().await,
        None => std::future::pending().await,
    }
}

async fn abandoned(pipes: Option<&Pipes>, presence: &Presence) {
    match pipes {
        Some(pipes) => pipes.abandoned(presence).await,
        None => std::future::pending().await,
    }
}

async fn lost(connection: Option<watch::Receiver<bool>>) {
    match connection {
        Some(mut gone) => raised(&mut gone).await,
        None => std::future::pending().await,
    }
}
