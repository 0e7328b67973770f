//! Why a plugin did not start, in words that a person can act on.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use super::checksum::ChecksumError;
use super::exit::Exit;
use crate::handshake::HandshakeError;
use crate::tls::TlsError;

/// Why [`Client::start`](super::Client::start) failed. The plugin, if it was started, is dead and reaped by then.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The configuration names no plugin to start.
    #[error(
        "no plugin to start: give ClientConfig a command, a runner or a reattach configuration"
    )]
    NothingToStart,
    /// Options that exclude each other.
    #[error("{0}")]
    Conflict(&'static str),
    /// There is no such program.
    #[error("plugin program {} was not found: {hint}", path.display())]
    NotFound {
        /// The path or name that was given.
        path: PathBuf,
        /// What to look at.
        hint: String,
    },
    /// The program may not be run.
    #[error("plugin program {} cannot be run: permission denied\n{notes}", path.display())]
    NotExecutable {
        /// The program.
        path: PathBuf,
        /// Mode, owner and what else is known of the file.
        notes: String,
    },
    /// The program is for another kind of machine, or no program.
    #[error("plugin program {} cannot be run on this machine\n{notes}", path.display())]
    WrongFormat {
        /// The program.
        path: PathBuf,
        /// What kind of file it is.
        notes: String,
    },
    /// The system did not start the program for another reason.
    #[error("cannot start plugin program {}: {source}\n{notes}", path.display())]
    Spawn {
        /// The program.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
        /// What is known of the file.
        notes: String,
    },
    /// The program is not the one that was approved.
    #[error(transparent)]
    Checksum(#[from] ChecksumError),
    /// TLS could not be set up.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// Nothing on standard output in time.
    #[error(
        "timeout while waiting for plugin to start: no handshake line within {after:?}{stderr}"
    )]
    Timeout {
        /// How long it was waited.
        after: Duration,
        /// What the plugin wrote on standard error, led in by a line of its own; or empty.
        stderr: String,
    },
    /// The program ended without a handshake line.
    #[error("plugin exited before we could connect: {exit}{stderr}\n{notes}")]
    Exited {
        /// How it ended.
        exit: Exit,
        /// What it wrote on standard error, led in by a line of its own; or empty.
        stderr: String,
        /// What is known of the file.
        notes: String,
    },
    /// The first line is no handshake.
    #[error("{error}{stderr}{notes}")]
    Handshake {
        /// Which rule the line broke.
        error: HandshakeError,
        /// What the plugin wrote on standard error, led in by a line of its own; or empty.
        stderr: String,
        /// What is known of the file, for a line that is no handshake at all.
        notes: String,
    },
    /// The plugin closed its standard output, or wrote more than a line may have.
    #[error(
        "Unrecognized remote plugin message: {seen}\nFailed to read any lines from plugin's stdout{stderr}\n{notes}"
    )]
    NoLine {
        /// The beginning of what it wrote.
        seen: String,
        /// What it wrote on standard error, led in by a line of its own; or empty.
        stderr: String,
        /// What is known of the file.
        notes: String,
    },
    /// The plugin speaks `net/rpc`.
    #[error(
        "unsupported plugin protocol \"netrpc\". Supported: [grpc]\n\
         This plugin serves Go's net/rpc only; its author must give it a GRPCServer"
    )]
    NetRpc,
    /// The plugin has none of the host's versions.
    #[error(
        "incompatible API version with plugin. Plugin version: {plugin}, Client versions: {host:?}"
    )]
    IncompatibleVersion {
        /// What the plugin chose.
        plugin: i32,
        /// What the host has.
        host: Vec<i32>,
    },
    /// Multiplexing was asked for, and the plugin is too old for it.
    #[error(
        "client requested gRPC broker multiplexing but plugin does not support the feature; for Go plugins, \
         you will need to update the github.com/hashicorp/go-plugin dependency and recompile"
    )]
    MuxNotSupported,
    /// Multiplexing was asked for, and the plugin says no.
    #[error("client requested gRPC broker multiplexing but plugin does not support the feature")]
    MuxRefused,
    /// Multiplexing was asked for, and the plugin's answer cannot be read.
    #[error("error parsing {0:?} as a boolean for gRPC broker multiplexing support")]
    MuxUnreadable(String),
    /// The plugin presented a certificate, and the host did not ask for TLS.
    #[error(
        "the plugin sent a certificate although AutoMTLS is off: start it without PLUGIN_CLIENT_CERT in its environment, or turn AutoMTLS on"
    )]
    UnexpectedCertificate,
    /// AutoMTLS was asked for, and the plugin sent no certificate.
    #[error(
        "AutoMTLS was requested but the plugin sent no certificate: it has TLS of its own, or does not know AutoMTLS"
    )]
    NoCertificate,
    /// The plugin's address does not answer.
    #[error("cannot connect to the plugin at {address}: {source}")]
    Connect {
        /// Where it said that it listens.
        address: String,
        /// What happened.
        source: io::Error,
    },
    /// There is no plugin to attach to.
    #[error("Reattachment process not found: {0}")]
    ReattachNotFound(String),
    /// The system refused a pipe, a folder or a thread.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// What the system said.
        source: io::Error,
    },
}

impl StartError {
    pub(super) fn io(what: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { what, source }
    }
}

/// Why a plugin could not be dispensed.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum DispenseError {
    /// The version that was negotiated has no plugin of that name.
    #[error("unknown plugin type: {name}; version {version} has {known:?}")]
    Unknown {
        /// What was asked for.
        name: String,
        /// The negotiated version.
        version: i32,
        /// What there is.
        known: Vec<String>,
    },
    /// The plugin's maker makes something else.
    #[error("plugin {name} is not of the type {wanted}")]
    WrongType {
        /// What was asked for.
        name: String,
        /// The type that was asked for.
        wanted: &'static str,
    },
}
