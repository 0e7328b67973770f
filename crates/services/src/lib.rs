//! Extensions that ask a server, with Envoy's own protocols, so that servers written for Envoy work as they are.
//!
//! ```text
//!  stream ─▶ ext_proc  ─┐
//!  stream ─▶ ext_authz ─┼─▶ grpc::Call ─▶ grpc::Pool (one per worker) ─▶ HTTP/2 ─▶ the server
//!  record ─▶ als       ─┘        ▲                  │
//!  filter's on_event ◀── Resumer ┴── a waker ◀──────┘
//! ```
//!
//! - [`ext_proc`]: a server sees each phase of a request and its response, and changes them;
//! - [`ext_authz`]: a server says whether a request may pass;
//! - [`als`]: a server is sent a record of each finished stream or connection;
//! - [`mod@grpc`]: calls to a server over a connection of the worker's own, without a task for each call: what comes on a call wakes the
//!   filter of its stream, which then looks;
//! - [`proto`]: the messages, generated from `sdk/proto/envoy`.
//!
//! The servers may run anywhere; who starts them is not this crate's concern.

#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

pub mod als;
pub mod ext_authz;
pub mod ext_proc;
pub mod grpc;
mod headers;
mod names;
mod parse;
pub mod proto;
mod rules;
mod values;

use transom_api::{DuplicateExtension, Registry};

/// Puts the extensions of this crate into a registry, under the names of the configuration.
pub fn register(registry: &mut Registry) -> Result<(), DuplicateExtension> {
    ext_proc::register(registry)?;
    ext_authz::register(registry)?;
    als::register(registry)
}
