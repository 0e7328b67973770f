//! Why a plugin does not serve.

use std::io;

use crate::tls::TlsError;

/// Why [`try_serve`](super::try_serve) returned without having served.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// The configuration has an empty cookie.
    #[error(
        "Misconfigured ServeConfig given to serve this plugin: no magic cookie\n\
         key or value was set. Please notify the plugin author and report\n\
         this as a bug."
    )]
    NoCookie,
    /// The environment has no cookie, or another one: a person ran the plugin.
    #[error(
        "This binary is a plugin. These are not meant to be executed directly.\n\
         Please execute the program that consumes these plugins, which will\n\
         load any plugins automatically"
    )]
    WrongCookie,
    /// No plugin set was given.
    #[error("this plugin serves no plugin set: give ServeConfig at least one")]
    NoPlugins,
    /// TLS could not be set up.
    #[error("plugin tls init: {0}")]
    Tls(#[from] TlsError),
    /// The system refused a socket, a pipe or a signal.
    #[error("plugin init error: {what}: {source}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// A multiplexed host did not connect in time.
    #[error("timed out waiting for connection to be established")]
    NoConnection,
    /// The descriptors for reflection are not valid.
    #[error("reflection: {0}")]
    Reflection(String),
}

impl ServeError {
    pub(super) fn io(what: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { what, source }
    }
}
