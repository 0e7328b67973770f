//! A plugin under observation: its pipes while it lives, and all that must end with it.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::watch;

use super::client::AFTER_KILL;
use super::exit::Exit;
use super::folder::SocketFolder;
use super::runner::Runner;
use super::start::Connected;
use crate::broker::GrpcBroker;
use crate::handshake::PluginAddr;
use crate::http2::Channel;
use crate::logs::Record;
use crate::task::{Task, lock};

/// A plugin under observation until its end.
pub(super) struct Watched {
    pub(super) exit: watch::Receiver<Option<Exit>>,
    pub(super) runner: Arc<dyn Runner>,
    pub(super) folder: Folder,
    pub(super) after: Arc<Mutex<After>>,
    _watcher: Task,
}

/// The folder of the plugin's sockets, until the plugin has ended or is left alone.
pub(super) type Folder = Arc<Mutex<Option<SocketFolder>>>;

/// What is to be closed once the plugin has ended.
#[derive(Default)]
pub(super) struct After {
    channel: Option<Channel>,
    broker: Option<GrpcBroker>,
    gone: Option<watch::Sender<bool>>,
    pub(super) address: Option<PluginAddr>,
    /// The plugin ended, perhaps before the rest was said.
    ended: bool,
    /// The plugin was started here, and ends with its client: then what it cannot remove itself is removed for it.
    ours: bool,
}

impl Watched {
    pub(super) fn new(
        pipes: Pipes,
        runner: Arc<dyn Runner>,
        record: Arc<Mutex<Record>>,
        folder: SocketFolder,
    ) -> Self {
        let (ended, exit) = watch::channel(None);
        let folder: Folder = Arc::new(Mutex::new(Some(folder)));
        let after = Arc::<Mutex<After>>::default();
        let watcher = Task::spawn({
            let runner = Arc::clone(&runner);
            let folder = Arc::clone(&folder);
            let after = Arc::clone(&after);
            async move {
                let mut exit = runner.wait().await.unwrap_or_else(|error| {
                    tracing::warn!(%error, plugin = runner.name(), "cannot watch the plugin");
                    Exit::default()
                });
                // Calls fail at once; the log may take its time.
                lock(&after).close();
                pipes.drain().await;
                exit.crash = lock(&record).crash().map(str::to_owned);
                lock(&folder).take();
                tracing::debug!(plugin = runner.name(), %exit, "plugin process exited");
                let _ = ended.send(Some(exit));
            }
        });
        Self {
            exit,
            runner,
            folder,
            after,
            _watcher: watcher,
        }
    }

    pub(super) fn folder_path(&self) -> PathBuf {
        lock(&self.folder)
            .as_ref()
            .map(|folder| folder.path().to_owned())
            .unwrap_or_default()
    }

    /// Says what belongs to the plugin, to be closed when it ends.
    pub(super) fn connected(&self, connected: &Connected) {
        let mut after = lock(&self.after);
        after.channel = Some(connected.connection.channel());
        after.broker = Some(connected.connection.broker().clone());
        after.gone = Some(connected.gone.clone());
        after.address = Some(connected.address.clone());
        if after.ended {
            after.close();
        }
    }

    /// Has `gone` raised when the plugin has ended.
    pub(super) fn tell(&self, gone: watch::Sender<bool>) {
        let mut after = lock(&self.after);
        after.gone = Some(gone);
        if after.ended {
            after.close();
        }
    }

    /// Says that the plugin was started here.
    pub(super) fn own(&self) {
        lock(&self.after).ours = true;
    }

    /// Leaves the plugin, and the folder that its socket is in, to others.
    pub(super) fn detach(&self) {
        lock(&self.after).ours = false;
        self.runner.detach();
        if let Some(folder) = lock(&self.folder).take() {
            folder.leave();
        }
    }

    /// Kills a plugin that did not start well, and waits until nothing of it is left.
    pub(super) async fn abandon(mut self) {
        let _ = self.runner.kill().await;
        let _ = tokio::time::timeout(AFTER_KILL, self.exit.wait_for(Option::is_some)).await;
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        let mut after = lock(&self.after);
        if after.ours {
            after.close();
        }
    }
}

impl After {
    fn close(&mut self) {
        self.ended = true;
        if let Some(gone) = self.gone.take() {
            gone.send_replace(true);
        }
        if let Some(channel) = self.channel.take() {
            channel.close();
        }
        let mut sockets: Vec<PluginAddr> = self.address.take().into_iter().collect();
        if let Some(broker) = self.broker.take() {
            sockets.extend(broker.peer_addresses());
            broker.close();
        }
        for socket in sockets {
            remove_socket(&socket);
        }
    }
}

/// Removes what a killed plugin could not, if it is a socket of this user with a name that go-plugin gives: the address is the plugin's word.
fn remove_socket(address: &PluginAddr) {
    use std::os::unix::fs::{FileTypeExt, MetadataExt};
    let PluginAddr::Unix(path) = address else {
        return;
    };
    let name = path.file_name().unwrap_or_default().as_encoded_bytes();
    let plugins = name
        .strip_prefix(b"plugin")
        .is_some_and(|digits| !digits.is_empty() && digits.iter().all(u8::is_ascii_digit));
    let user = rustix::process::geteuid().as_raw();
    let ours = std::fs::symlink_metadata(path)
        .is_ok_and(|file| file.file_type().is_socket() && file.uid() == user);
    if plugins && ours {
        let _ = std::fs::remove_file(path);
    }
}

/// The tasks that read a plugin's pipes.
pub(super) struct Pipes {
    pub(super) stdout: Task,
    pub(super) stderr: Task,
    /// How long they may go on after the plugin's end.
    pub(super) timeout: Duration,
}

impl Pipes {
    pub(super) fn none() -> Self {
        Self {
            stdout: Task::spawn(async {}),
            stderr: Task::spawn(async {}),
            timeout: Duration::ZERO,
        }
    }

    /// Reads what is left, but not for ever: something that the plugin started may hold the other end.
    async fn drain(mut self) {
        let _ = tokio::time::timeout(self.timeout, async {
            self.stdout.join().await;
            self.stderr.join().await;
        })
        .await;
    }
}
