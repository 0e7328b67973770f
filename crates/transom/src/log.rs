//! The process's log: lines on standard error, written by a thread of their own.

use std::io::{IsTerminal, stderr};

use tracing_appender::non_blocking::{NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::EnvFilter;

/// Starts the log. What is still in its queue is written when the guard is dropped.
///
/// A worker never waits for whoever reads standard error: when the queue is full, lines are dropped.
pub(crate) fn start() -> WorkerGuard {
    let (writer, guard) = NonBlockingBuilder::default().lossy(true).finish(stderr());
    let filter = EnvFilter::builder()
        .with_env_var("TRANSOM_LOG")
        .with_default_directive(tracing::Level::INFO.into())
        .from_env_lossy();
    // Fails only when a subscriber is set already, which is this function called twice.
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(writer)
        .with_ansi(stderr().is_terminal())
        .try_init();
    guard
}
