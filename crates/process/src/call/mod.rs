//! `call`: MOSN's `proto.Plugin/Call` over go-plugin.
//!
//! On the wire it is MOSN's to the byte: handshake version 1, cookie `MOSN_PLUGIN=ON`, gRPC without TLS, the variables `MOSN_PROCS` and
//! `MOSN_LOGBASE`, and the method `/proto.Plugin/Call`. So programs that were made for MOSN, in Go, Python or Java, run here untouched, and
//! programs made with [`serve`] run under MOSN.
//!
//! What differs from MOSN's library on purpose: a plugin that cannot be started is tried again after a growing pause, not by every call;
//! a dead one is stopped with all that it started before the next begins; and a host that is PID 1 is a host like any other.

mod admin;
mod backoff;
mod client;
mod config;
mod registry;
mod serve;

pub use admin::{Answer, answer};
pub(crate) use admin::{USAGE, bad, good, unknown, value};
pub use client::{CallError, Client, Status};
pub use config::Config;
pub use proto::{Request, Response};
pub use registry::{RegisterError, register, registered};
pub use serve::{Service, ServiceError, log_base, serve};

/// Messages, client and server as generated from `sdk/proto/mosn/plugin.proto`.
pub mod proto {
    #![allow(missing_docs, unreachable_pub)]
    #![allow(
        clippy::all,
        clippy::pedantic,
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing
    )]

    include!(concat!(env!("OUT_DIR"), "/proto.rs"));
}

/// The variable by which a plugin knows that MOSN, or something like it, started it, and its value.
const COOKIE: (&str, &str) = ("MOSN_PLUGIN", "ON");

/// How many threads the plugin may use; 0 for as many as there are CPUs.
const PROCS: &str = "MOSN_PROCS";

/// The folder for the plugin's logs, with a slash at its end.
const LOG_BASE: &str = "MOSN_LOGBASE";

/// The only version that there has been.
const VERSION: i32 = 1;

pub(crate) fn handshake() -> transom_goplugin::HandshakeConfig {
    transom_goplugin::HandshakeConfig::new(VERSION, COOKIE.0, COOKIE.1)
}

/// What a `call` plugin is told of the host's wishes.
pub(crate) fn environment(
    command: &mut std::process::Command,
    procs: u32,
    log_base: Option<&std::path::Path>,
) {
    command.env(PROCS, procs.to_string());
    if let Some(folder) = log_base {
        // Joining nothing leaves a slash at the end.
        command.env(LOG_BASE, folder.join(""));
    }
}
