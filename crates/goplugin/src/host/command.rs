//! A plugin as a child process of this one.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::checksum::{SecureConfig, Verified};
use super::config::{Environment, PluginStdin};
use super::diagnose;
use super::error::StartError;
use super::exit::Exit;
use super::launch::{self, Program};
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
        let program = self.assemble(&launch, &path, verified.as_ref());
        let own_group = !(self.stdin == PluginStdin::Inherited && launch::stdin_is_terminal());
        let options = launch::Options {
            own_group,
            die_with_host: self.die_with_host,
            inherit: verified.as_ref().and_then(Verified::inherited),
        };
        let mut child = launch::spawn(&program, options)
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
    fn assemble(&self, launch: &Launch, path: &Path, verified: Option<&Verified>) -> Program {
        let mut environment: BTreeMap<OsString, OsString> = match &self.environment {
            Environment::Inherited => std::env::vars_os().collect(),
            Environment::Allowed(names) => names
                .iter()
                .filter_map(|name| Some((name.into(), std::env::var_os(name)?)))
                .collect(),
            Environment::Empty => BTreeMap::new(),
        };
        // A host that is itself a plugin must not hand its own host's wishes on.
        for name in launch::PROTOCOL_VARIABLES {
            environment.remove(OsStr::new(name));
        }
        for (name, value) in self.command.get_envs() {
            match value {
                Some(value) => environment.insert(name.to_owned(), value.to_owned()),
                None => environment.remove(name),
            };
        }
        environment.extend(launch.environment.iter().cloned());
        let arguments = self.command.get_args().map(OsStr::to_owned);
        Program {
            path: verified.map_or_else(|| path.to_owned(), Verified::path),
            arguments: [self.command.get_program().to_owned()]
                .into_iter()
                .chain(arguments)
                .collect(),
            environment,
            folder: self.command.get_current_dir().map(Path::to_owned),
            stdin: self.stdin,
        }
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
