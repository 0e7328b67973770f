//! A started plugin.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tonic::{Code, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

use super::connection::Connection;
use super::error::DispenseError;
use super::exit::Exit;
use super::reattach::ReattachConfig;
use super::start::Connected;
use super::watched::Watched;
use crate::broker::GrpcBroker;
use crate::handshake::{PluginAddr, Protocol};
use crate::http2::{Channel, Dialer};
use crate::net::Io;
use crate::owner::Owner;
use crate::proto::Empty;
use crate::proto::grpc_controller_client::GrpcControllerClient;
use crate::task::{Task, raised};
use crate::tls::Tls;

/// A plugin that was started or attached to: Go's `Client` and `ClientProtocol`.
///
/// Dropping it kills the plugin and what the plugin started; [`kill`](Self::kill) lets it end by itself first.
#[doc(alias("ClientProtocol", "GRPCClient"))]
pub struct Client {
    connected: Connected,
    watched: Watched,
    id: String,
    pid: u32,
    test: bool,
    stop_timeout: Duration,
    /// Held while the plugin is stopped, so that it is asked once.
    stopping: tokio::sync::Mutex<bool>,
    _tasks: [Task; 2],
}

/// How long a killed plugin may take to end, its pipes included. Only a kernel that is stuck, or a runner, makes it take so long.
pub(super) const AFTER_KILL: Duration = Duration::from_secs(10);

/// What a client is made of.
pub(super) struct Parts {
    pub(super) connected: Connected,
    pub(super) watched: Watched,
    pub(super) id: String,
    pub(super) pid: u32,
    pub(super) test: bool,
    pub(super) stop_timeout: Duration,
    pub(super) tasks: [Task; 2],
}

impl Client {
    pub(super) fn new(parts: Parts) -> Self {
        Self {
            connected: parts.connected,
            watched: parts.watched,
            id: parts.id,
            pid: parts.pid,
            test: parts.test,
            stop_timeout: parts.stop_timeout,
            stopping: tokio::sync::Mutex::new(false),
            _tasks: parts.tasks,
        }
    }

    /// What the plugin of this name makes of the connection: Go's `Dispense`. Nothing goes on the wire.
    #[doc(alias = "Dispense")]
    pub fn dispense<T: 'static>(&self, name: &str) -> Result<T, DispenseError> {
        let make = self
            .connected
            .set
            .make(name)
            .ok_or_else(|| DispenseError::Unknown {
                name: name.to_owned(),
                version: self.negotiated_version(),
                known: self
                    .connected
                    .set
                    .names()
                    .into_iter()
                    .map(str::to_owned)
                    .collect(),
            })?;
        make(self.connection())
            .downcast()
            .map(|plugin| *plugin)
            .map_err(|_| DispenseError::WrongType {
                name: name.to_owned(),
                wanted: std::any::type_name::<T>(),
            })
    }

    /// The connection itself.
    pub fn connection(&self) -> &Connection {
        &self.connected.connection
    }

    /// The gRPC connection, for `tonic`'s generated clients.
    pub fn channel(&self) -> Channel {
        self.connection().channel()
    }

    /// The broker, for further connections in either direction.
    pub fn broker(&self) -> &GrpcBroker {
        self.connection().broker()
    }

    /// What opens further connections to the plugin's main server, each on the runtime that asks for it. In multiplexed mode there is
    /// only the one connection, and the error says so.
    pub fn connector(&self) -> io::Result<Connector> {
        self.connected.connector.clone().ok_or_else(|| {
            io::Error::new(
                io::ErrorKind::Unsupported,
                "a multiplexed plugin has one connection only: use Client::channel, or start it without grpc_broker_multiplex",
            )
        })
    }

    /// Whether the plugin answers: Go's `Ping`. On the wire: a health check of the service `plugin`, whose status is not looked at.
    #[doc(alias = "Ping")]
    pub async fn ping(&self) -> Result<(), Status> {
        let request = HealthCheckRequest {
            service: "plugin".into(),
        };
        HealthClient::new(self.channel()).check(request).await?;
        Ok(())
    }

    /// The version that the plugin chose: Go's `NegotiatedVersion`.
    #[doc(alias = "NegotiatedVersion")]
    pub fn negotiated_version(&self) -> i32 {
        self.connection().version()
    }

    /// The plugin's process id as text, or the name that its runner gave it: Go's `ID`.
    #[doc(alias = "ID")]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The plugin's process id; 0 where its runner has none.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Where the plugin listens.
    pub fn address(&self) -> &PluginAddr {
        &self.connected.address
    }

    /// What another host needs to attach to this plugin: Go's `ReattachConfig`. A plugin with AutoMTLS cannot be attached to.
    pub fn reattach_config(&self) -> ReattachConfig {
        ReattachConfig {
            protocol: Protocol::Grpc,
            protocol_version: self.negotiated_version(),
            address: self.connected.address.clone(),
            pid: self.pid,
            test: self.test,
        }
    }

    /// Leaves the plugin running without this host, and says how to attach to it. The plugin must not watch its parent, and must have
    /// been started with [`die_with_host(false)`](super::ClientConfig::die_with_host); its log has no reader from now on.
    pub fn detach(self) -> ReattachConfig {
        self.watched.detach();
        self.reattach_config()
    }

    /// Whether the plugin has ended: Go's `Exited`. Also true once the runtime that it was started on has ended:
    /// nobody reads its output then, and its connection is gone.
    #[doc(alias = "Exited")]
    pub fn exited(&self) -> bool {
        let exit = &self.watched.exit;
        exit.borrow().is_some() || exit.has_changed().is_err()
    }

    /// Waits until the plugin has ended, for whatever reason, and says how. Its pipes are read to the end by then, its socket is gone.
    pub async fn wait(&self) -> Exit {
        let mut exit = self.watched.exit.clone();
        match exit.wait_for(Option::is_some).await {
            Ok(exit) => exit.clone().unwrap_or_default(),
            Err(_) => Exit::default(),
        }
    }

    /// Stops the plugin: Go's `Kill`. It is asked to end (`/plugin.GRPCController/Shutdown`), given the stop timeout for it, and then
    /// killed with all that is in its process group. When this returns, the process is reaped.
    ///
    /// Further calls return when the first one does. A plugin in test mode is left alone.
    #[doc(alias = "Kill")]
    pub async fn kill(&self) {
        if self.test {
            return;
        }
        let mut stopped = self.stopping.lock().await;
        if !*stopped && !self.exited() {
            self.stop().await;
        }
        *stopped = true;
        if tokio::time::timeout(AFTER_KILL, self.wait()).await.is_err() {
            tracing::warn!(
                plugin = self.watched.runner.name(),
                "the killed plugin does not end"
            );
        }
    }

    async fn stop(&self) {
        let watched = &self.watched;
        let mut exit = watched.exit.clone();
        let channel = self.channel();
        let asking = async {
            // The broker's stream ends with the first step, so that a plugin which waits for its streams does not wait for this one.
            self.broker().close();
            let asked = GrpcControllerClient::new(channel.clone())
                .shutdown(Empty {})
                .await;
            match asked {
                // Go's plugins close the connection before their answer leaves.
                Ok(_) => {}
                Err(status)
                    if matches!(
                        status.code(),
                        Code::Unavailable | Code::Cancelled | Code::Unknown | Code::Internal
                    ) => {}
                Err(status) => tracing::debug!(%status, "plugin did not take the shutdown"),
            }
            channel.close();
            std::future::pending::<()>().await;
        };
        tokio::select! {
            biased;
            _ = exit.wait_for(Option::is_some) => return,
            () = tokio::time::sleep(self.stop_timeout) => {}
            () = asking => {}
        }
        tracing::warn!(
            plugin = watched.runner.name(),
            "plugin failed to exit gracefully"
        );
        if let Err(error) = watched.runner.kill().await {
            tracing::warn!(%error, plugin = watched.runner.name(), "cannot kill the plugin");
        }
    }
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client")
            .field("id", &self.id)
            .field("address", &self.connected.address)
            .finish_non_exhaustive()
    }
}

/// Opens further connections to a plugin, from any thread and onto the runtime of the caller.
#[derive(Clone)]
pub struct Connector {
    address: PluginAddr,
    owner: Owner,
    tls: Option<Tls>,
    gone: watch::Receiver<bool>,
}

impl Connector {
    pub(super) fn new(
        address: PluginAddr,
        owner: Owner,
        tls: Option<Tls>,
        gone: watch::Receiver<bool>,
    ) -> Self {
        Self {
            address,
            owner,
            tls,
            gone,
        }
    }

    /// What opens connections to a server that was started in another way, without a handshake. Its calls end when `gone` becomes true, or
    /// its sender goes. Whose socket it is, is not looked at.
    pub fn to(address: PluginAddr, gone: watch::Receiver<bool>) -> Self {
        Self::new(address, Owner::Anyone, None, gone)
    }

    /// Resolves when the plugin has ended, as soon as the system says so: before its pipes are read to the end.
    pub async fn ended(&self) {
        raised(&mut self.gone.clone()).await;
    }

    /// Opens a connection. Its calls end with the plugin, as those of [`Client::channel`] do.
    pub async fn connect(&self) -> io::Result<Channel> {
        let Self {
            address,
            owner,
            tls,
            ..
        } = self.clone();
        let dialer: Dialer = Arc::new(move || {
            let (address, tls) = (address.clone(), tls.clone());
            Box::pin(async move {
                let io = Io::connect(&address, owner).await?;
                io.secure(tls.as_ref()).await
            })
        });
        Channel::connect(dialer, self.gone.clone()).await
    }
}

impl std::fmt::Debug for Connector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connector")
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}
