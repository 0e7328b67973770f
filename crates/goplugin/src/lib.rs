//! [HashiCorp's go-plugin](https://github.com/hashicorp/go-plugin) in Rust: both sides, over gRPC.
//!
//! A *host* is a program that people extend; a *plugin* is a program that the host starts and calls. The two talk gRPC over a Unix
//! socket or a loopback port, and either may be written with this crate or with Go's library.
//!
//! ```text
//!   host                                                    plugin
//!   Client::start ── fork, exec ── cookie, versions, cert ──▶ serve
//!                 ◀── 1|6|unix|/tmp/…|grpc|MIIC… ── stdout ──
//!   Channel ═══════════════ (TLS) HTTP/2, gRPC ════════════▶ Services        the application's own
//!   GrpcBroker ◀═══════════ ConnInfo, both ways ═══════════▶ GrpcBroker      further connections, either way
//!   sync_stdout ◀══════════ StreamStdio ════════════════════ fd 1, fd 2      the plugin's output
//!   LogConfig  ◀─────────── stderr, line by line ─────────── HclogLayer      the plugin's log
//!   Client::kill ══════════ Shutdown ══════════════════════▶ serve returns   then SIGKILL to the process group
//! ```
//!
//! # Where Go's names are
//!
//! | go-plugin | here |
//! |---|---|
//! | `HandshakeConfig`, the handshake line | [`HandshakeConfig`], [`HandshakeLine`] |
//! | `ClientConfig`, `NewClient`, `Client.Client` | [`host::ClientConfig`], [`host::Client::start`] |
//! | `ClientProtocol.Dispense`, `Ping` | [`host::Client::dispense`], [`host::Client::ping`] |
//! | `Client.Kill`, `Exited`, `ID`, `NegotiatedVersion` | the same, in lower case |
//! | `ReattachConfig`, `SecureConfig`, `RunnerFunc`, `Discover` | [`host::ReattachConfig`], [`host::SecureConfig`], [`host::Runner`], [`host::discover`] |
//! | `Managed`, `CleanupClients` | [`host::Clients`] |
//! | `Cmd`, `StartTimeout`, `SkipHostEnv`, `MinPort`, `UnixSocketConfig`, … | methods of [`host::ClientConfig`] of about the same names |
//! | `AutoMTLS`, `TLSConfig`, `TLSProvider` | [`auto_mtls`](host::ClientConfig::auto_mtls), [`tls`](host::ClientConfig::tls), [`tls`](plugin::ServeConfig::tls) |
//! | `Logger`, `SyncStdout`, `SyncStderr`, `Stderr` | [`log`](host::ClientConfig::log), [`sync_stdout`](host::ClientConfig::sync_stdout), `sync_stderr`, `stderr` |
//! | `AllowedProtocols` | gRPC, always |
//! | `GRPCDialOptions`, `GRPCServer` | options and interceptors of `tonic`'s generated clients and servers |
//! | `ServeConfig`, `Serve`, `ServeTestConfig` | [`plugin::ServeConfig`], [`plugin::serve`], [`plugin::serve_test`] |
//! | `PluginSet`, `VersionedPlugins`, `GRPCPlugin` | [`host::PluginSet`], [`plugin::PluginSet`], `versioned_plugins` |
//! | `GRPCBroker`: `NextId`, `AcceptAndServe`, `Dial` | [`GrpcBroker`]: [`next_id`](GrpcBroker::next_id), [`serve`](GrpcBroker::serve), [`dial`](GrpcBroker::dial) |
//!
//! The documentation's search knows Go's names too.
//!
//! Go's `net/rpc` plugins, and its `MuxBroker`, are not supported: a host refuses them with Go's own error text.
//!
//! # What differs from Go, on purpose
//!
//! * AutoMTLS makes keys on P-256 (Go: P-521, which BoringSSL refuses), pins the certificate and still verifies signatures.
//! * A plugin runs in a process group of its own, which is killed as a whole; its pipes are drained for a bounded time.
//! * The system kills a plugin whose host died; a plugin ends when its host does, also when that is PID 1.
//! * Variables of the command win over the host's own. Standard input is passed on only if asked for.
//! * Nothing that a plugin prints or sends can end the host; log floods are cut; every wait has a bound.
//! * A checksum is verified on the very file that is run.
//! * A Unix socket that a plugin names is called only if the plugin, or what it started, listens there.

#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod base64;
mod broker;
pub mod environment;
#[cfg(feature = "fuzz")]
#[doc(hidden)]
pub mod fuzz;
mod handshake;
pub mod host;
mod http2;
mod logs;
mod mux;
mod net;
mod owner;
mod pidfd;
pub mod plugin;
pub mod proto;
mod services;
mod task;
mod tls;
pub mod version;

pub use broker::{BrokeredServer, GrpcBroker};
pub use handshake::{
    CORE_PROTOCOL_VERSION, HandshakeConfig, HandshakeError, HandshakeLine, Multiplex, PluginAddr,
    Protocol,
};
pub use http2::{Channel, IncomingBody};
pub use logs::{Level, LogConfig, LogLine, LogSink};
pub use services::Services;
pub use tls::{Curve, Identity, Tls, TlsError, first_certificate, provider};

/// Largest message that Go's clients take, 2 GiB − 1: for `max_decoding_message_size` of generated clients. Servers of both languages
/// keep gRPC's default of 4 MiB unless the application says otherwise.
pub const MAX_MESSAGE: usize = i32::MAX as usize;
