//! Why a plugin does not run.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use transom_goplugin::host::{self, Exit};

use crate::launch::LaunchError;

/// Why a plugin could not be started. Nothing of it is left by then.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The handshake failed, or the system did not start the program.
    #[error(transparent)]
    Plugin(#[from] host::StartError),
    /// No folder of `PATH` has the program.
    #[error("the program {} is in no folder of PATH: write where it is, `./{}` for one beside the configuration", .0.display(), .0.display())]
    NotFound(PathBuf),
    /// The sandbox or the verification could not be ordered.
    #[error(transparent)]
    Launch(#[from] LaunchError),
    /// It cannot be connected to.
    #[error("cannot connect to the plugin: {0}")]
    Connect(io::Error),
    /// The address cannot be read.
    #[error("{0:?} is no address: write an IP address and a port, or `unix:` and a path")]
    Address(String),
    /// Somebody else listens where the plugin is to listen.
    #[error("something listens at {0} already: end it, or give the plugin another `address`")]
    Taken(String),
    /// It ended before it was ready.
    #[error("the plugin ended before it was ready: {exit}{said}")]
    Exited {
        /// How.
        exit: Exit,
        /// What it printed last, led in by a line of its own; or empty.
        said: String,
    },
    /// It was not ready in time.
    #[error(
        "the plugin was not ready at {address} within {after:?}: it must accept there, and its health service, if it has one, say SERVING{said}"
    )]
    NotReady {
        /// Where it was to listen.
        address: String,
        /// How long it was waited.
        after: Duration,
        /// What it printed last, led in by a line of its own; or empty.
        said: String,
    },
    /// The kernel does not hold all bounds that are required.
    #[error("a cgroup that holds all of `cgroup` and `memory` cannot be had: {0}")]
    Cgroup(String),
    /// It was stopped or disabled before it was ready.
    #[error("the plugin was stopped while it started")]
    Stopped,
}
