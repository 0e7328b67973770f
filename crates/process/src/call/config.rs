//! What is said of a plugin when it is registered.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::launch::{LaunchError, Launcher, Order, Profile};

/// Most threads that a plugin may be given, as in MOSN.
const MAX_PROCS: u32 = 4;

/// How a plugin is started: MOSN's `Config`.
#[derive(Clone, Debug)]
pub struct Config {
    max_procs: u32,
    args: Vec<OsString>,
    folder: Option<PathBuf>,
    log_base: Option<PathBuf>,
    sandbox: Option<(Profile, Launcher)>,
}

impl Default for Config {
    /// One thread, no arguments, beside the running program.
    fn default() -> Self {
        Self {
            max_procs: 1,
            args: Vec::new(),
            folder: None,
            log_base: None,
            sandbox: None,
        }
    }
}

impl Config {
    /// The default.
    pub fn new() -> Self {
        Self::default()
    }

    /// Threads that the plugin may use: 1 to 4, or 0 for as many as there are CPUs; every other number means 1, as in MOSN.
    ///
    /// On the wire: the variable `MOSN_PROCS`.
    #[must_use]
    pub fn max_procs(mut self, procs: u32) -> Self {
        self.max_procs = if procs <= MAX_PROCS { procs } else { 1 };
        self
    }

    /// The plugin's command line, without its name; none unless set.
    #[must_use]
    pub fn args(mut self, args: impl IntoIterator<Item = impl Into<OsString>>) -> Self {
        self.args = args.into_iter().map(Into::into).collect();
        self
    }

    /// The folder of the plugin's program; that of the running program unless set, as in MOSN.
    #[must_use]
    pub fn folder(mut self, folder: impl Into<PathBuf>) -> Self {
        self.folder = Some(folder.into());
        self
    }

    /// The folder where the plugin keeps its logs: MOSN's `log_base`. Not told unless set.
    ///
    /// On the wire: the variable `MOSN_LOGBASE`, with a slash at its end.
    #[must_use]
    pub fn log_base(mut self, folder: impl Into<PathBuf>) -> Self {
        self.log_base = Some(folder.into());
        self
    }

    /// What the plugin may do. It is set up by `launcher`, a program that calls [`launch::main`](crate::launch::main): a library cannot do
    /// that in a process that has threads. Not bounded unless set.
    #[must_use]
    pub fn launcher(mut self, launcher: Launcher, sandbox: Profile) -> Self {
        self.sandbox = Some((sandbox, launcher));
        self
    }

    /// Where the program of this name is.
    pub(super) fn path(&self, name: &str) -> std::io::Result<PathBuf> {
        match &self.folder {
            Some(folder) => Ok(folder.join(name)),
            None => {
                let own = std::env::current_exe()?;
                Ok(own.parent().unwrap_or(Path::new("/")).join(name))
            }
        }
    }

    /// The command that starts the program at `path`.
    pub(super) fn command(&self, path: &Path) -> Result<Command, LaunchError> {
        let mut command = match &self.sandbox {
            None => {
                let mut command = Command::new(path);
                command.args(&self.args);
                command
            }
            Some((profile, launcher)) => {
                launcher.command(&Order::sandboxed(path, &self.args, profile.clone())?)?
            }
        };
        super::environment(&mut command, self.max_procs, self.log_base.as_deref());
        Ok(command)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{LOG_BASE, PROCS};
    use super::*;

    fn variable(config: &Config, name: &str) -> Option<String> {
        let command = config.command(Path::new("/p")).unwrap();
        let found = command.get_envs().find(|(key, _)| *key == name);
        found.and_then(|(_, value)| Some(value?.to_str()?.to_owned()))
    }

    #[test]
    fn threads_are_zero_to_four_or_one() {
        for (asked, told) in [(0, "0"), (1, "1"), (4, "4"), (5, "1"), (u32::MAX, "1")] {
            let config = Config::new().max_procs(asked);
            assert_eq!(variable(&config, PROCS).as_deref(), Some(told), "{asked}");
        }
    }

    #[test]
    fn the_folder_of_logs_ends_with_a_slash() {
        assert_eq!(variable(&Config::new(), LOG_BASE), None);
        for folder in ["/tmp/logs", "/tmp/logs/"] {
            let config = Config::new().log_base(folder);
            assert_eq!(variable(&config, LOG_BASE).as_deref(), Some("/tmp/logs/"));
        }
    }

    #[test]
    fn a_plugin_lies_beside_the_program_unless_a_folder_is_named() {
        let beside = Config::new().path("p").unwrap();
        assert_eq!(beside.parent(), std::env::current_exe().unwrap().parent());
        let named = Config::new().folder("/plugins").path("p").unwrap();
        assert_eq!(named, Path::new("/plugins/p"));
    }
}
