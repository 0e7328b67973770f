//! TLS, downstream and upstream.
//!
//! ```text
//! control side:  files, providers ── source ──┬── server ──┐                      ┌── accept   (a client's connection)
//!                                             └── client ──┴── published ── worker ┴── connect  (a host's connection)
//! ```
//!
//! - `provider`: the only place that names a cryptographic provider;
//! - `files`, `certificate`: PEM files, and what is said of a certificate that cannot be used;
//! - `providers`, `source`: where certificates come from, and how that is asked; files are one of them;
//! - `on_demand`: certificates for names that clients ask for;
//! - `names`, `verify`: whose certificates are believed;
//! - `server`, `client`: what all this becomes for a listener and for a cluster; `identity`: which connections to a host are alike;
//! - `expiry`: when certificates end, for metrics and warnings;
//! - `prepare`: what activation and the look at the files ask for;
//! - `accept`, `connect`: handshakes on a worker, and what is known after them; `gate` keeps them short.
//!
//! Everything here but the handshakes happens on the control side. A connection keeps the keys that it began with:
//! nothing that happens to a file ends it.

mod accept;
mod certificate;
mod client;
mod connect;
pub(crate) mod expiry;
mod files;
mod gate;
mod identity;
mod names;
mod on_demand;
mod pem;
pub(crate) mod prepare;
mod provider;
pub(crate) mod providers;
mod server;
mod source;
mod verify;

pub(crate) use self::accept::{TlsInfo, accept};
pub(crate) use self::certificate::PeerCertificate;
pub(crate) use self::client::{ClientTls, WorkerTls};
pub(crate) use self::connect::{TlsConnectError, connect};
pub(crate) use self::gate::HandshakeGate;
pub(crate) use self::identity::TlsIdentity;
