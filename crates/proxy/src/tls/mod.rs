//! TLS, downstream and upstream.
//!
//! ```text
//! control side:  files ── certificate ──┬── server ──┐                      ┌── accept   (a client's connection)
//!                                       └── client ──┴── published ── worker ┴── connect  (a host's connection)
//! ```
//!
//! - `provider`: the only place that names a cryptographic provider;
//! - `files`, `certificate`: PEM files, and what is said of a certificate that cannot be used;
//! - `server`, `client`: what files become for a listener and for a cluster;
//! - `published`: holds that where all workers see it, and puts another in its place when files change;
//! - `prepare`: what activation and the look at the files ask for;
//! - `accept`, `connect`: handshakes on a worker, and what is known after them.
//!
//! Everything here but the handshakes happens on the control side. A connection keeps the keys that it began with:
//! nothing that happens to a file ends it.

mod accept;
mod certificate;
mod client;
mod connect;
mod files;
pub(crate) mod prepare;
mod provider;
mod published;
mod server;

pub(crate) use self::accept::{TlsInfo, accept};
pub(crate) use self::client::{ClientTls, WorkerTls};
pub(crate) use self::connect::{TlsConnectError, connect};
