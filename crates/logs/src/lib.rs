//! The built-in access logs: `file`, `stdout`, `stderr` and `syslog`.
//!
//! ```text
//!  worker: record ─▶ when? ─▶ format ─▶ the lane's buffer ─┐ full, or its time is over
//!  worker: record ─▶ when? ─▶ format ─▶ the lane's buffer ─┼──▶ queues without locks ─▶ the sink's thread ─▶ file, …
//!                                                          └──◀ emptied buffers ◀───────────┘
//! ```
//!
//! - `format`: text and JSON with Envoy's operators, compiled when the configuration is loaded;
//! - `when`: which records are written at all;
//! - `sink`: buffers of the workers and the thread that writes them; `target`: where to;
//! - `settings`: the configuration; `extension`: what the proxy knows of all this.
//!
//! A worker never waits: it writes into memory of its own and hands that over as a whole. When the sink falls behind,
//! lines are dropped and counted. Whoever runs the process keeps the [`Logs`]: to have files opened again, and to
//! have what is still in memory written at the end.

#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod extension;
pub mod format;
mod settings;
mod sink;
mod target;
mod when;

use std::sync::Arc;
use std::time::Duration;

use transom_api::kind::AccessLogs;
use transom_api::{DuplicateExtension, Registry};

use self::extension::Builtin;
use self::settings::Kind;
use self::sink::Sinks;

/// All sinks of the process.
#[derive(Clone, Debug, Default)]
pub struct Logs(Arc<Sinks>);

impl Logs {
    /// Puts the built-in access logs into a registry. What is written by way of it belongs to these `Logs`.
    pub fn register(&self, registry: &mut Registry) -> Result<(), DuplicateExtension> {
        for kind in Kind::ALL {
            let factory = Builtin::new(kind, Arc::clone(&self.0));
            registry.register::<AccessLogs>(kind.name(), Arc::new(factory))?;
        }
        Ok(())
    }

    /// Has all files opened again, after they were moved away: what was logged before goes to the old ones. A file that
    /// cannot be opened stays as it is, and the process's log says why.
    pub fn reopen(&self) {
        self.0.reopen();
    }

    /// Writes what is still in memory, for so long at the most. True when that was all. Of use when the workers have
    /// ended.
    #[must_use]
    pub fn finish(&self, limit: Duration) -> bool {
        self.0.finish(limit)
    }
}

/// The name of this machine.
fn host_name() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname")
        .ok()
        .or_else(|| std::env::var("HOSTNAME").ok())
        .map(|name| name.trim().to_owned())
        .filter(|name| !name.is_empty())
        .unwrap_or_else(|| "localhost".to_owned())
}
