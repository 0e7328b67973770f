//! A plugin as a child process of this one.

use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::checksum::{SecureConfig, Verified};
use super::config::{Environment, PluginStdin};
use super::diagnose;
use super::error::StartError;
use super::exit::Exit;
use super::launch;
use super::process::Process;
use super::runner::{Boxed, Launch, Runner, Running};

/// Starts a program.
pub(super) struct CommandRunner {
    pub(super) command: Command,
    pub(super) secure: Option<SecureConfig>,
    pub(super) environment: Environment,
    pub(super) stdin: PluginStdin,
    pub(super) die_with_host: bool,
    pub(super) process: Option<Process>,
}

impl CommandRunner {
    fn path(&self) -> PathBuf {
        let program = Path::new(self.command.get_program());
        find(program).unwrap_or_else(|| program.to_owned())
    }

    async fn start(&mut self, launch: Launch) -> Result<Running, StartError> {
        let path = self.path();
        let verified = match &self.secure {
            Some(secure) => Some(Verified::open(&path, secure).await?),
            None => None,
        };
        let command = self.assemble(&launch, &path, verified.as_ref());
        let own_group = !(self.stdin == PluginStdin::Inherited && launch::stdin_is_terminal());
        let options = launch::Options {
            own_group,
            die_with_host: self.die_with_host,
            inherit: verified.as_ref().and_then(Verified::inherited),
        };
        let mut child = launch::spawn(command, options)
            .await
            .map_err(|source| diagnose::spawn_error(&path, source))?;
        drop(verified);
        let (stdout, stderr) = child
            .pipes()
            .map_err(StartError::io("the plugin's pipes"))?;
        let process = child
            .watch(own_group)
            .map_err(StartError::io("watching the plugin"))?;
        let pid = process.pid();
        self.process = Some(process);
        Ok(Running {
            stdout: Box::new(stdout),
            stderr: Box::new(stderr),
            id: pid.to_string(),
            pid,
        })
    }

    /// The host's variables, then the command's own, then the protocol's.
    fn assemble(&self, launch: &Launch, path: &Path, verified: Option<&Verified>) -> Command {
        let mut command = match verified {
            Some(verified) => {
                let mut command = Command::new(verified.path());
                std::os::unix::process::CommandExt::arg0(&mut command, path);
                command
            }
            None => Command::new(path),
        };
        command.args(self.command.get_args());
        if let Some(folder) = self.command.get_current_dir() {
            command.current_dir(folder);
        }
        match &self.environment {
            Environment::Inherited => {}
            Environment::Allowed(names) => {
                command.env_clear();
                for name in names {
                    if let Some(value) = std::env::var_os(name) {
                        command.env(name, value);
                    }
                }
            }
            Environment::Empty => {
                command.env_clear();
            }
        }
        // A host that is itself a plugin must not hand its own host's wishes on.
        for name in launch::PROTOCOL_VARIABLES {
            command.env_remove(name);
        }
        for (name, value) in self.command.get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        command.envs(launch.environment.iter().map(|(name, value)| (name, value)));
        launch::streams(&mut command, self.stdin);
        command
    }
}

impl Runner for CommandRunner {
    fn start(&mut self, launch: Launch) -> Boxed<'_, Result<Running, StartError>> {
        Box::pin(CommandRunner::start(self, launch))
    }

    fn wait(&self) -> Boxed<'_, io::Result<Exit>> {
        Box::pin(async move {
            match &self.process {
                Some(process) => process.wait().await,
                None => Ok(Exit::default()),
            }
        })
    }

    fn kill(&self) -> Boxed<'_, io::Result<()>> {
        Box::pin(async move { self.process.as_ref().map_or(Ok(()), Process::kill) })
    }

    fn detach(&self) {
        if let Some(process) = &self.process {
            process.detach();
        }
    }

    fn name(&self) -> String {
        let path = Path::new(self.command.get_program());
        let name = path.file_name().unwrap_or(path.as_os_str());
        name.to_string_lossy().into_owned()
    }

    fn diagnose(&self) -> String {
        diagnose::notes(&self.path())
    }
}

/// Looks a name without a slash up in `PATH`, as the shell does.
fn find(program: &Path) -> Option<PathBuf> {
    if program.components().count() != 1 || program.as_os_str().is_empty() {
        return Some(program.to_owned());
    }
    let bytes = program.as_os_str().as_encoded_bytes();
    if bytes.contains(&b'/') {
        return Some(program.to_owned());
    }
    std::env::split_paths(&std::env::var_os("PATH")?)
        .map(|folder| folder.join(program))
        .find(|path| path.is_file())
}
