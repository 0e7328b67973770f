//! The process's log: lines on standard error, written by a thread of their own.

use std::io::{IsTerminal, stderr};
use std::sync::{Mutex, PoisonError};

use tracing_appender::non_blocking::{NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Registry, reload};
use transom_api::Level;
use transom_api::control::LogLevels;

/// Lines that wait for whoever reads standard error. The queue's memory is taken at the start: 32 bytes for each, beside the
/// lines themselves.
const QUEUED_LINES: usize = 8192;

/// Which lines are written; can be changed at any time.
pub(crate) struct Levels {
    filter: reload::Handle<EnvFilter, Registry>,
    levels: Mutex<LogLevels>,
}

/// Starts the log. What is still in its queue is written when the guard is dropped.
///
/// A worker never waits for whoever reads standard error: when the queue is full, lines are dropped.
pub(crate) fn start() -> (WorkerGuard, Levels) {
    let (writer, guard) = NonBlockingBuilder::default()
        .lossy(true)
        .buffered_lines_limit(QUEUED_LINES)
        .finish(stderr());
    let all = std::env::var("TRANSOM_LOG")
        .ok()
        .filter(|directives| !directives.trim().is_empty())
        .unwrap_or_else(|| Level::Info.name().to_owned());
    let levels = LogLevels {
        all,
        ..LogLevels::default()
    };
    // What cannot be read is told on standard error and left out.
    let filter = EnvFilter::builder()
        .with_default_directive(tracing::Level::INFO.into())
        .parse_lossy(&levels.all);
    let (filter, handle) = reload::Layer::new(filter);
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(writer)
        .with_ansi(stderr().is_terminal());
    // Fails only when a subscriber is set already, which is this function called twice.
    let _ = tracing_subscriber::registry()
        .with(filter)
        .with(lines)
        .try_init();
    let levels = Levels {
        filter: handle,
        levels: Mutex::new(levels),
    };
    (guard, levels)
}

impl Levels {
    pub(crate) fn show(&self) -> LogLevels {
        self.levels
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Sets the level of a target, or of all, which then have no levels of their own any more.
    pub(crate) fn set(&self, target: Option<&str>, level: Option<Level>) -> Result<(), String> {
        let level = level.map_or("off", Level::name).to_owned();
        let mut levels = self.levels.lock().unwrap_or_else(PoisonError::into_inner);
        let mut next = levels.clone();
        match target {
            None => {
                next = LogLevels {
                    all: level.clone(),
                    ..LogLevels::default()
                };
            }
            Some(target) if is_target(target) => {
                next.targets.insert(target.to_owned(), level.clone());
            }
            Some(target) => {
                return Err(format!(
                    "{target:?} is no target: name a module, such as transom_proxy or transom_proxy::tls, or `extension`"
                ));
            }
        }
        let filter = EnvFilter::builder()
            .with_default_directive(tracing::Level::INFO.into())
            .parse_lossy(directives(&next));
        self.filter
            .reload(filter)
            .map_err(|error| format!("the level could not be set: {error}"))?;
        tracing::info!(
            target = target.unwrap_or("all"),
            level,
            "the log's level was set"
        );
        *levels = next;
        Ok(())
    }
}

/// The levels as the filter reads them: later ones win.
fn directives(levels: &LogLevels) -> String {
    let mut directives = levels.all.clone();
    for (target, level) in &levels.targets {
        directives.push_str(&format!(",{target}={level}"));
    }
    directives
}

fn is_target(text: &str) -> bool {
    let is_known = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b':' | b'-');
    !text.is_empty() && text.len() <= 200 && text.bytes().all(is_known)
}
