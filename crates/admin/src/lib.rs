//! The admin API: what an operator, a probe or Prometheus asks the running proxy, and the one thing they may order.
//!
//! ```text
//!  socket ──► connection ──────────► guard ─────────────► routes ──────► Control
//!  loopback   one request each,      Host and Origin,      /ready         the running proxy, as
//!  or Unix    64 at once, 10 s for   bodies up to 64 KiB   /metrics       transom-api shows it
//!             the head, 30 s for                           /config_dump
//!             the rest                                     /reload
//! ```
//!
//! The API has no password, so the socket is the lock: [`Admin::bind`] opens a loopback address or a Unix socket that only
//! its owner can use, and nothing else. What a browser on the same machine could be tricked into is refused by its `Host`
//! and `Origin` fields.
//!
//! Everything runs on the control thread, which must never be held for long, because reloads and child processes wait for
//! it. So what takes time (reading all metrics, rendering, hiding secrets) is done on a thread for blocking work, one
//! request at a time, and of an answer 16 KiB are written per turn.

#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod answer;
mod connection;
mod dump;
mod error;
mod guard;
mod logging;
mod plugins;
mod prometheus;
mod routes;
mod secrets;
mod server;
mod socket;

pub use error::AdminError;
pub use server::Admin;
