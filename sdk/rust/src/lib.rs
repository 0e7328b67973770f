#![doc = include_str!("../README.md")]
#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod certificate;
mod config;
mod connection;
mod head;
mod later;
mod live;
mod log;
mod mosn;
mod needs;
mod output;
mod part;
mod plugin;
pub mod proto;
mod schema;
mod service;
mod shared;
mod store;
mod stream;
mod threads;
mod uses;
mod value;
mod work;

pub use certificate::CertificateSource;
pub use log::{AccessLog, LogEntry, LogSink};
pub use plugin::{COOKIE, MOSN_COOKIE, Plugin};
pub use shared::{HostShared, SharedResult};
pub use transom_api as api;
