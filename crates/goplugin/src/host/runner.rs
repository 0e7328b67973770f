//! How a plugin is started: as a child process, or in any other way.

use std::ffi::OsString;
use std::future::Future;
use std::io;
use std::path::PathBuf;
use std::pin::Pin;

use tokio::io::AsyncRead;

use super::error::StartError;
use super::exit::Exit;
use crate::handshake::PluginAddr;

/// Starts a plugin and watches it: Go's `runner.Runner`. A child process is the one that comes with the crate.
///
/// Dropping a runner must leave nothing of its plugin running.
pub trait Runner: Send + Sync + 'static {
    /// Starts the plugin with the environment of `launch`. Called once.
    fn start(&mut self, launch: Launch) -> Boxed<'_, Result<Running, StartError>>;

    /// Resolves when the plugin has ended and nothing of it is left to clean up.
    fn wait(&self) -> Boxed<'_, io::Result<Exit>>;

    /// Ends the plugin by force. Must not fail on one that has ended.
    fn kill(&self) -> Boxed<'_, io::Result<()>>;

    /// From now on the plugin lives without this host: dropping the runner leaves it running.
    fn detach(&self) {}

    /// What the log calls it.
    fn name(&self) -> String;

    /// What may explain why it did not start: paths, modes, kinds of file. May be empty.
    fn diagnose(&self) -> String {
        String::new()
    }

    /// An address as the plugin sees it, to one that this host can connect to.
    fn plugin_to_host(&self, address: PluginAddr) -> io::Result<PluginAddr> {
        Ok(address)
    }

    /// An address as this host sees it, to one that the plugin can connect to.
    fn host_to_plugin(&self, address: PluginAddr) -> io::Result<PluginAddr> {
        Ok(address)
    }
}

/// A boxed future.
pub type Boxed<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// What the protocol wants a plugin to be started with.
#[derive(Clone, Debug)]
pub struct Launch {
    /// The variables of the protocol, which win over all others.
    pub environment: Vec<(OsString, OsString)>,
    /// The folder for Unix sockets, also in the environment: it must be the same, or mapped, for the plugin.
    pub socket_folder: PathBuf,
}

/// A plugin that was started.
pub struct Running {
    /// Its standard output, read to the end.
    pub stdout: Box<dyn AsyncRead + Send + Unpin>,
    /// Its standard error, read to the end.
    pub stderr: Box<dyn AsyncRead + Send + Unpin>,
    /// A name for it: a process id, a container's name.
    pub id: String,
    /// Its process id, where it has one here; 0 else.
    pub pid: u32,
}

impl std::fmt::Debug for Running {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Running")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}
