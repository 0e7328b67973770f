//! Any program as a child: started, watched and ended as a plugin is, but without a handshake.

use std::io;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};

use super::client::AFTER_KILL;
use super::command::CommandRunner;
use super::config::{Environment, PluginStdin, UnixSockets};
use super::error::StartError;
use super::exit::Exit;
use super::folder::SocketFolder;
use super::launch;
use super::runner::{Launch, Runner};
use super::watched::{Pipes, Watched};
use crate::logs::{self, LogConfig};
use crate::task::{Task, raised};
use tokio::sync::watch;

/// A program that speaks no protocol of this crate. It has a process group of its own, dies with its host, and its output is read line by
/// line for as long as it lives.
///
/// Dropping it kills it and what it started.
pub struct Program {
    watched: Watched,
    pid: u32,
    gone: watch::Receiver<bool>,
}

impl Program {
    /// Starts `command`. Its program, arguments, folder and variables are taken; its standard streams are not.
    pub async fn start(
        command: Command,
        environment: Environment,
        stdout: LogConfig,
        stderr: LogConfig,
    ) -> Result<Self, StartError> {
        let mut runner = CommandRunner {
            command,
            secure: None,
            environment,
            stdin: PluginStdin::Null,
            die_with_host: true,
            process: None,
        };
        let running = runner
            .start(Launch {
                environment: Vec::new(),
                socket_folder: PathBuf::new(),
            })
            .await?;
        let runner: Arc<dyn Runner> = Arc::new(runner);
        let name = runner.name();
        let folder = SocketFolder::new(&UnixSockets::default())
            .map_err(StartError::io("the program's folder"))?;
        let record = Arc::default();
        let watched = Watched::new(
            Pipes {
                stdout: Task::spawn(logs::read(
                    running.stdout,
                    name.clone(),
                    stdout,
                    None,
                    Arc::default(),
                )),
                stderr: Task::spawn(logs::read(
                    running.stderr,
                    name,
                    stderr,
                    None,
                    Arc::clone(&record),
                )),
                timeout: DRAIN,
            },
            runner,
            record,
            folder,
        );
        let gone = watch::Sender::new(false);
        let ended = gone.subscribe();
        watched.tell(gone);
        Ok(Self {
            watched,
            pid: running.pid,
            gone: ended,
        })
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Becomes true as soon as the system says that it has ended.
    pub fn gone(&self) -> watch::Receiver<bool> {
        self.gone.clone()
    }

    /// Resolves when it has ended, before its pipes are read to the end.
    pub async fn ended(&self) {
        raised(&mut self.gone.clone()).await;
    }

    /// Waits until it has ended, and its pipes are read to the end, and says how.
    pub async fn wait(&self) -> Exit {
        let mut exit = self.watched.exit.clone();
        match exit.wait_for(Option::is_some).await {
            Ok(exit) => exit.clone().unwrap_or_default(),
            Err(_) => Exit::default(),
        }
    }

    /// Ends it: SIGTERM to its process group, and SIGKILL when it has not ended after `patience`.
    pub async fn stop(&self, patience: Duration) {
        if *self.gone.borrow() {
            return;
        }
        // It is not reaped yet, or was reaped a moment ago: then the group is empty, and its number not yet another's.
        if let Some(group) = launch::pid(self.pid).filter(|_| !*self.gone.borrow()) {
            terminate(group);
        }
        if tokio::time::timeout(patience, self.ended()).await.is_ok() {
            return;
        }
        self.kill().await;
    }

    /// Kills it, and all of its process group.
    pub async fn kill(&self) {
        if let Err(error) = self.watched.runner.kill().await {
            tracing::warn!(%error, program = self.watched.runner.name(), "cannot kill the program");
        }
        if tokio::time::timeout(AFTER_KILL, self.ended())
            .await
            .is_err()
        {
            tracing::warn!(
                program = self.watched.runner.name(),
                "the killed program does not end"
            );
        }
    }
}

/// How long its pipes are read after its end, if something else holds them open.
const DRAIN: Duration = Duration::from_secs(1);

fn terminate(group: Pid) {
    let _: Result<(), io::Error> = kill_process_group(group, Signal::TERM).map_err(Into::into);
}

impl std::fmt::Debug for Program {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Program")
            .field("pid", &self.pid)
            .finish_non_exhaustive()
    }
}
