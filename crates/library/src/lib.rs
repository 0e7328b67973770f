//! The runtime `library`: extensions in shared libraries, behind the C ABI of `transom-abi`.
//!
//! ```text
//! declaration ─▶ files.rs   read once; owner, mode, SHA-256
//!             ─▶ elf.rs     a whole shared library of this machine?
//!             ─▶ probe.rs   loaded by a child process first
//!             ─▶ load.rs    sealed in memory, mapped, described; never unmapped
//! use         ─▶ configs.rs prepared, checked, released
//! stream      ─▶ stream_filter.rs ─▶ the library ─▶ table.rs ─▶ current.rs ─▶ the stream
//! ```
//!
//! Each kind of extension has a file: `stream_filter.rs`, `network_filter.rs`, `listener_filter.rs`, `access_log.rs` (with
//! `batches.rs`, the way of its entries to the thread that writes) and `certificate_provider.rs` (with `questions.rs`, which are
//! answered later, and `news.rs`), `selector.rs`, `client.rs`. `tables.rs` has what they have in common.
//!
//! A library is code that its operator trusts as the proxy itself: it shares the proxy's memory. What this crate guards against are
//! mistakes: wrong files, wrong versions, objects used too late or on the wrong thread, answers that are none.

#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]
// The border of the process's own code is what this crate is for.
#![expect(unsafe_code)]

mod access_log;
mod batches;
mod brought;
mod certificate_provider;
mod client;
mod configs;
mod current;
mod elf;
mod error;
mod events;
mod files;
mod json;
mod listener_filter;
mod load;
mod log;
mod network_filter;
mod news;
mod probe;
mod questions;
mod runtime;
mod selector;
mod stream_filter;
mod table;
mod tables;

pub use batches::finish_logs;
pub use brought::Brought;
pub use error::LoadError;
pub use load::Loaded;
pub use probe::{Prober, probe_main};
pub use runtime::{LibraryRuntime, NAME};
