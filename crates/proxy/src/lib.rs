//! The data plane.
//!
//! ```text
//! socket ── network filters ─┬─ tcp_proxy ──────────────────────── cluster ── host
//!                            └─ http ── stream ── filters ── routes ── cluster ── host
//! ```
//!
//! - [`control`]: prepares configurations and makes them active on all workers or none; the public face ([`Proxy`]);
//! - `worker`: a thread with its own event loop, and what lives on it; `listener`, `socket`: where connections come from;
//! - `network`: filters on the bytes of a connection, and `tcp_proxy`;
//! - `http`: a connection's requests; `stream`: one request and its response as a machine without I/O;
//! - `tls`: what clients and hosts are spoken to with, below all of that;
//! - `router`, `cluster`: where a request goes; `health`: which hosts are well; `metrics`, `shared`: numbers and data of the process;
//! - `error`: what can go wrong with a stream and what the client is told.
//!
//! The crate knows no runtime and no source of configuration: extensions come by the registry of `transom-api`,
//! configurations as the plain data of `transom-config`.

#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod cluster;
pub mod control;
mod error;
mod gate;
mod health;
mod http;
mod io;
mod listener;
mod log;
mod metrics;
mod network;
mod router;
mod shared;
mod socket;
mod stream;
mod tcp;
mod timer;
mod tls;
mod worker;

pub use control::generations::{GenerationStatus, PlaceStatus};
pub use control::{ApplyError, Proxy, Settings};
#[doc(hidden)]
pub use router::measure::{Lookup, RequestHead};
#[doc(hidden)]
pub use stream::hop::measure::HopCost;
pub use tls::prepare::CertificateNews;
pub use tls::providers::register as register_certificate_providers;

/// Puts the transports and clients that are part of the proxy into a registry.
pub fn register_ways(
    registry: &mut transom_api::Registry,
) -> Result<(), transom_api::DuplicateExtension> {
    cluster::transports::register(registry)?;
    http::http1_codec::register(registry)
}
