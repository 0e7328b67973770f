//! What the launcher is told, and how it is started.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::cgroup::Delegated;
use super::profile::Profile;

/// The variable by which a launcher is told what to do. The program that it becomes does not get it.
pub(super) const VARIABLE: &str = "TRANSOM_LAUNCH";

/// Longest text that Linux takes for one variable (`MAX_ARG_STRLEN`), less its name.
const LONGEST: usize = 128 * 1024 - 64;

/// The program that sets up a sandbox in the child and then becomes the plugin: one whose `main` calls [`main`](super::main) first of
/// all, before it has a second thread.
#[derive(Clone, Debug, PartialEq)]
pub struct Launcher {
    program: PathBuf,
    arguments: Vec<OsString>,
    cgroup: Option<Arc<Delegated>>,
}

impl Launcher {
    /// A launcher, and the arguments by which it knows that it is one.
    pub fn new(
        program: impl Into<PathBuf>,
        arguments: impl IntoIterator<Item = impl Into<OsString>>,
    ) -> Self {
        Self {
            program: program.into(),
            arguments: arguments.into_iter().map(Into::into).collect(),
            cgroup: None,
        }
    }

    /// The same, for a proxy that was delegated a part of the tree of cgroups: each process gets a group of its own there.
    #[must_use]
    pub fn in_cgroup(mut self, delegated: Option<Delegated>) -> Self {
        self.cgroup = delegated.map(Arc::new);
        self
    }

    pub(crate) fn cgroup(&self) -> Option<&Delegated> {
        self.cgroup.as_deref()
    }

    /// The running program itself: the very file that runs, even when another has taken its place on disk.
    pub fn own(arguments: impl IntoIterator<Item = impl Into<OsString>>) -> Self {
        Self::new("/proc/self/exe", arguments)
    }

    pub(crate) fn command(&self, order: &Order) -> Result<Command, LaunchError> {
        let text = serde_json::to_string(order).map_err(LaunchError::Unreadable)?;
        if text.len() > LONGEST {
            return Err(LaunchError::TooLong);
        }
        let mut command = Command::new(&self.program);
        command.args(&self.arguments).env(VARIABLE, text);
        Ok(command)
    }
}

/// What a launcher does.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Order {
    /// The cgroup that it goes into.
    pub(crate) cgroup: Option<PathBuf>,
    pub(crate) profile: Option<Profile>,
    /// Where the program is.
    pub(crate) program: PathBuf,
    /// All arguments, the program's name first.
    pub(crate) arguments: Vec<String>,
    /// Where relative paths of the profile and of files begin.
    pub(crate) folder: PathBuf,
    pub(crate) sha256: Option<[u8; 32]>,
    pub(crate) minisign: Option<String>,
    pub(crate) files: Vec<(PathBuf, Option<[u8; 32]>)>,
}

impl Order {
    /// A program in a sandbox, of which nothing is verified.
    pub(crate) fn sandboxed(
        program: &Path,
        arguments: &[OsString],
        profile: Profile,
    ) -> Result<Self, LaunchError> {
        let text = |text: &OsStr| {
            let text = text.to_str().ok_or(LaunchError::NoText);
            text.map(str::to_owned)
        };
        let arguments = arguments.iter().map(|argument| text(argument));
        Ok(Self {
            cgroup: None,
            profile: Some(profile),
            program: program.to_owned(),
            arguments: std::iter::once(text(program.as_os_str()))
                .chain(arguments)
                .collect::<Result<_, _>>()?,
            folder: std::env::current_dir().unwrap_or_default(),
            sha256: None,
            minisign: None,
            files: Vec::new(),
        })
    }
}

/// Why a launcher could not be told what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LaunchError {
    /// The order does not fit into a variable.
    #[error(
        "the sandbox and the command are longer than the system takes: shorten the lists of paths and files"
    )]
    TooLong,
    /// A path or argument that is no UTF-8.
    #[error("a path or an argument of a sandboxed plugin is no UTF-8")]
    NoText,
    /// The order cannot be written: a path that is no text.
    #[error("the sandbox cannot be written down: {0}")]
    Unreadable(serde_json::Error),
}
