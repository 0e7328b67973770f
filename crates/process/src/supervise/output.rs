//! What a plugin prints: into the log, and the last of it kept.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use tokio::io::AsyncWrite;
use transom_api::Level;
use transom_goplugin::{self as goplugin, LogConfig, LogLine};

use super::spec::Logging;
use crate::launch::Granted;

/// Lines that are kept for the admin API.
const KEPT_LINES: usize = 200;

/// Bytes of them.
const KEPT_BYTES: usize = 64 * 1024;

/// Longest line that is kept; the log has the whole of it.
const KEPT_LINE: usize = 2 * 1024;

/// Longest line of standard output that is logged in one piece.
const LONGEST: usize = 64 * 1024;

/// The output of one slot of a plugin, over all its processes.
#[derive(Debug)]
pub(super) struct Output {
    plugin: Arc<str>,
    rules: Logging,
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    lines: VecDeque<String>,
    bytes: usize,
    granted: Option<Granted>,
}

#[derive(Clone, Copy)]
enum Stream {
    Stdout,
    Stderr,
}

impl Output {
    pub(super) fn new(plugin: Arc<str>, rules: Logging) -> Arc<Self> {
        Arc::new(Self {
            plugin,
            rules,
            kept: Mutex::default(),
        })
    }

    /// What reads the standard error of a process. If that begins as a launcher, its first line says what was granted; whatever says so
    /// later is the program's.
    pub(super) fn stderr(self: &Arc<Self>, launched: bool) -> LogConfig {
        self.kept().granted = None;
        let first = AtomicBool::new(launched);
        self.config(Stream::Stderr, move |output, line| {
            let granted = match first.swap(false, Ordering::Relaxed) {
                true => Granted::read(line),
                false => None,
            };
            let is_told = granted.is_some();
            if is_told {
                output.kept().granted = granted;
            }
            is_told
        })
    }

    /// What reads standard output of a program without a protocol.
    pub(super) fn stdout(self: &Arc<Self>) -> LogConfig {
        self.config(Stream::Stdout, |_, _| false)
    }

    /// What takes standard output that a plugin sends over its connection.
    pub(super) fn writer(self: &Arc<Self>) -> Lines {
        Lines {
            output: Arc::clone(self),
            begun: Vec::new(),
        }
    }

    fn config(
        self: &Arc<Self>,
        stream: Stream,
        taken: impl Fn(&Self, &LogLine) -> bool + Send + Sync + 'static,
    ) -> LogConfig {
        let output = Arc::clone(self);
        LogConfig::new()
            .lines_per_second(self.rules.lines_per_second)
            .sink(move |line| {
                if !taken(&output, line) {
                    output.line(stream, line);
                }
            })
    }

    fn line(&self, stream: Stream, line: &LogLine) {
        self.keep(&line.message);
        let level = match (line.tagged && !line.message.starts_with('{'), stream) {
            (true, _) => Some(level_of(line.level)),
            (false, Stream::Stdout) => self.rules.stdout,
            // The lines of a crash are errors, whatever the rule.
            (false, Stream::Stderr) if line.level == goplugin::Level::Error => Some(Level::Error),
            (false, Stream::Stderr) => self.rules.stderr,
        };
        if let Some(level) = level {
            let fields = serde_json::Value::Object(line.fields.clone());
            let fields = (!line.fields.is_empty()).then(|| fields.to_string());
            let stream = match stream {
                Stream::Stdout => "stdout",
                Stream::Stderr => "stderr",
            };
            event(&self.plugin, stream, level, line, fields.as_deref());
        }
    }

    fn keep(&self, text: &str) {
        let cut = text.floor_char_boundary(text.len().min(KEPT_LINE));
        let text = text.get(..cut).unwrap_or_default().to_owned();
        let mut kept = self.kept();
        kept.bytes += text.len();
        kept.lines.push_back(text);
        while kept.lines.len() > KEPT_LINES || kept.bytes > KEPT_BYTES {
            let Some(line) = kept.lines.pop_front() else {
                return;
            };
            kept.bytes -= line.len();
        }
    }

    /// The last lines, oldest first.
    pub(super) fn tail(&self) -> Vec<String> {
        self.kept().lines.iter().cloned().collect()
    }

    /// What the kernel granted of the sandbox of the process that was started last.
    pub(super) fn granted(&self) -> Option<Granted> {
        self.kept().granted.clone()
    }

    fn kept(&self) -> std::sync::MutexGuard<'_, Kept> {
        // Locked for moments, on the control side only. A panic under it left lines that are as good as before.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn level_of(level: goplugin::Level) -> Level {
    match level {
        goplugin::Level::Trace => Level::Trace,
        goplugin::Level::Debug => Level::Debug,
        goplugin::Level::Info => Level::Info,
        goplugin::Level::Warn => Level::Warn,
        goplugin::Level::Error => Level::Error,
    }
}

/// A `tracing` event's level is fixed in the program.
fn event(plugin: &str, stream: &str, level: Level, line: &LogLine, fields: Option<&str>) {
    macro_rules! at {
        ($level:ident) => {
            tracing::event!(
                target: "plugin",
                tracing::Level::$level,
                plugin,
                stream,
                module = line.module.as_deref(),
                timestamp = line.timestamp.as_deref(),
                fields,
                "{}",
                line.message
            )
        };
    }
    match level {
        Level::Trace => at!(TRACE),
        Level::Debug => at!(DEBUG),
        Level::Info => at!(INFO),
        Level::Warn => at!(WARN),
        Level::Error => at!(ERROR),
    }
}

/// Cuts what is written into lines. It never waits, so a plugin is not held up by its own talk.
#[derive(Debug)]
pub(super) struct Lines {
    output: Arc<Output>,
    begun: Vec<u8>,
}

impl Lines {
    fn emit(&mut self) {
        let text = String::from_utf8_lossy(&self.begun);
        let line = LogLine::parse(text.strip_suffix('\r').unwrap_or(&text));
        self.output.line(Stream::Stdout, &line);
        self.begun.clear();
    }
}

impl AsyncWrite for Lines {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let lines = self.get_mut();
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            let (text, ended) = match piece.strip_suffix(b"\n") {
                Some(text) => (text, true),
                None => (piece, false),
            };
            for part in text.chunks(LONGEST) {
                if lines.begun.len() + part.len() > LONGEST {
                    lines.emit();
                }
                lines.begun.extend_from_slice(part);
            }
            if ended {
                lines.emit();
            }
        }
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncWriteExt;

    #[tokio::test]
    async fn lines_are_kept_within_bounds() {
        let output = Output::new("p".into(), Logging::default());
        let mut writer = output.writer();
        writer.write_all(b"a\nb").await.unwrap();
        assert_eq!(output.tail(), ["a"]);
        writer.write_all(b"c\r\n").await.unwrap();
        assert_eq!(output.tail(), ["a", "bc"]);
        for _ in 0..1000 {
            writer.write_all(&[b'x'; 10_000]).await.unwrap();
            writer.write_all(b"\n").await.unwrap();
        }
        let tail = output.tail();
        assert!(tail.len() <= KEPT_LINES);
        assert!(tail.iter().map(String::len).sum::<usize>() <= KEPT_BYTES);
        assert!(tail.iter().all(|line| line.len() == KEPT_LINE));
    }
}
