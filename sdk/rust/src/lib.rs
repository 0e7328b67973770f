#![doc = include_str!("../README.md")]
#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

#[cfg(feature = "process")]
mod certificate;
#[cfg(feature = "process")]
mod config;
#[cfg(feature = "process")]
mod connection;
#[cfg(feature = "process")]
mod head;
#[cfg(feature = "process")]
mod later;
#[cfg(feature = "library")]
pub mod library;
#[cfg(feature = "process")]
mod live;
#[cfg(feature = "process")]
mod log;
#[cfg(feature = "process")]
mod mosn;
#[cfg(feature = "process")]
mod needs;
#[cfg(feature = "process")]
mod output;
#[cfg(feature = "process")]
mod part;
#[cfg(feature = "process")]
mod plugin;
#[cfg(feature = "process")]
pub mod proto;
#[cfg(feature = "process")]
mod schema;
#[cfg(feature = "process")]
mod service;
#[cfg(feature = "process")]
mod shared;
#[cfg(feature = "process")]
mod store;
#[cfg(feature = "process")]
mod stream;
#[cfg(feature = "process")]
mod threads;
#[cfg(feature = "process")]
mod uses;
#[cfg(feature = "process")]
mod value;
#[cfg(feature = "process")]
mod work;

#[cfg(feature = "process")]
pub use certificate::CertificateSource;
#[cfg(feature = "process")]
pub use log::{AccessLog, LogEntry, LogSink};
#[cfg(feature = "process")]
pub use plugin::{COOKIE, MOSN_COOKIE, Plugin};
#[cfg(feature = "process")]
pub use shared::{HostShared, SharedResult};
pub use transom_api as api;
