//! Lines of libraries that belong to no stream.

use transom_api::Level;

/// Does the same with the level of `tracing` that is meant.
macro_rules! at_level {
    ($level:expr, $does:ident $(, $line:expr)?) => {
        match $level {
            Level::Trace => tracing::$does!(target: "transom_library", tracing::Level::TRACE $(, "{}", $line)?),
            Level::Debug => tracing::$does!(target: "transom_library", tracing::Level::DEBUG $(, "{}", $line)?),
            Level::Info => tracing::$does!(target: "transom_library", tracing::Level::INFO $(, "{}", $line)?),
            Level::Warn => tracing::$does!(target: "transom_library", tracing::Level::WARN $(, "{}", $line)?),
            Level::Error => tracing::$does!(target: "transom_library", tracing::Level::ERROR $(, "{}", $line)?),
        }
    };
}

/// Whether lines of this level are written.
pub(crate) fn is_enabled(level: Level) -> bool {
    at_level!(level, enabled)
}

/// Writes a line.
pub(crate) fn write(level: Level, line: &str) {
    at_level!(level, event, line);
}
