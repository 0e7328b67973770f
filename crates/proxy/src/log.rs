//! Log lines of extensions, by the process's log.

use transom_api::Level;

/// True when lines of this level are written.
pub(crate) fn enabled(level: Level) -> bool {
    match level {
        Level::Trace => tracing::enabled!(target: "extension", tracing::Level::TRACE),
        Level::Debug => tracing::enabled!(target: "extension", tracing::Level::DEBUG),
        Level::Info => tracing::enabled!(target: "extension", tracing::Level::INFO),
        Level::Warn => tracing::enabled!(target: "extension", tracing::Level::WARN),
        Level::Error => tracing::enabled!(target: "extension", tracing::Level::ERROR),
    }
}

/// Writes a line of the extension `name`.
pub(crate) fn extension(level: Level, name: &str, message: &str) {
    match level {
        Level::Trace => tracing::trace!(target: "extension", name, "{message}"),
        Level::Debug => tracing::debug!(target: "extension", name, "{message}"),
        Level::Info => tracing::info!(target: "extension", name, "{message}"),
        Level::Warn => tracing::warn!(target: "extension", name, "{message}"),
        Level::Error => tracing::error!(target: "extension", name, "{message}"),
    }
}
