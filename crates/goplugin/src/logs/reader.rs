//! Reads a plugin's standard error for as long as it lives.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::limit::Pace;
use super::{Level, Limit, LogLine};

/// Where understood lines go.
pub type LogSink = Arc<dyn Fn(&LogLine) + Send + Sync>;

/// What becomes of a plugin's log.
#[derive(Clone)]
pub struct LogConfig {
    pub(crate) sink: Option<LogSink>,
    pub(crate) lines_per_second: u32,
    pub(crate) longest_line: usize,
}

impl Default for LogConfig {
    /// `tracing` events, 1,000 lines a second and as many in a burst, lines up to 64 KiB.
    fn default() -> Self {
        Self {
            sink: None,
            lines_per_second: 1000,
            longest_line: 64 * 1024,
        }
    }
}

impl LogConfig {
    /// The defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// Hands each line to `sink` instead of making it a `tracing` event. It is called on the host's runtime and must not block.
    #[must_use]
    pub fn sink(mut self, sink: impl Fn(&LogLine) + Send + Sync + 'static) -> Self {
        self.sink = Some(Arc::new(sink));
        self
    }

    /// Lines that reach the log in a second. Above it lines are counted instead; the count is logged.
    #[must_use]
    pub fn lines_per_second(mut self, lines: u32) -> Self {
        self.lines_per_second = lines.max(1);
        self
    }

    /// Bytes of the longest line that is understood: Go's `PluginLogBufferSize`. Longer ones are logged in pieces, at `Debug`.
    #[doc(alias = "PluginLogBufferSize")]
    #[must_use]
    pub fn longest_line(mut self, bytes: usize) -> Self {
        self.longest_line = bytes.max(1024);
        self
    }
}

impl std::fmt::Debug for LogConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LogConfig")
            .field("lines_per_second", &self.lines_per_second)
            .field("longest_line", &self.longest_line)
            .finish_non_exhaustive()
    }
}

/// The end of what a plugin wrote on its standard error, and what it wrote when it crashed.
#[derive(Debug, Default)]
pub(crate) struct Record {
    tail: String,
    crash: Option<String>,
}

/// How much of the end is kept for error messages.
const TAIL: usize = 4 * 1024;

/// How much of a crash is kept.
const CRASH: usize = 64 * 1024;

impl Record {
    fn add(&mut self, text: &str, crash: bool) {
        push_line(&mut self.tail, text);
        if self.tail.len() > 2 * TAIL {
            let cut = self.tail.floor_char_boundary(self.tail.len() - TAIL);
            self.tail.drain(..cut);
        }
        if crash {
            let kept = self.crash.get_or_insert_default();
            if kept.len() < CRASH {
                push_line(kept, text);
            }
        }
    }

    /// The last lines.
    pub(crate) fn tail(&self) -> &str {
        let from = self.tail.len().saturating_sub(TAIL);
        self.tail
            .get(self.tail.ceil_char_boundary(from)..)
            .unwrap_or_default()
    }

    /// The panic's lines, if there was one.
    pub(crate) fn crash(&self) -> Option<&str> {
        self.crash.as_deref()
    }
}

fn push_line(text: &mut String, line: &str) {
    text.push_str(line);
    text.push('\n');
}

/// Reads to the end of `stderr`. Whatever is in it, reading goes on: a plugin must not block on its log, unless it writes as much as nobody
/// would read ([`Pace`]).
pub(crate) async fn read<R>(
    mut stderr: R,
    plugin: String,
    config: LogConfig,
    mut raw: Option<Box<dyn AsyncWrite + Send + Unpin>>,
    record: Arc<Mutex<Record>>,
) where
    R: AsyncRead + Unpin,
{
    let mut log = Log {
        plugin,
        limit: Limit::new(config.lines_per_second),
        config,
        crashed: false,
        record,
    };
    let mut buffer = vec![0; 16 * 1024];
    let mut line = Vec::new();
    let mut piece_of_longer = false;
    let mut pace = Pace::new();
    while let Ok(count) = stderr.read(&mut buffer).await {
        if count == 0 {
            break;
        }
        let read = buffer.get(..count).unwrap_or_default();
        if let Some(writer) = &mut raw
            && (writer.write_all(read).await.is_err() || writer.flush().await.is_err())
        {
            raw = None;
        }
        for part in read.split_inclusive(|byte| *byte == b'\n') {
            let (text, ends) = match part.split_last() {
                Some((b'\n', text)) => (text, true),
                _ => (part, false),
            };
            line.extend_from_slice(text);
            while line.len() > log.config.longest_line {
                let rest = line.split_off(log.config.longest_line);
                log.piece(&line);
                line = rest;
                piece_of_longer = true;
            }
            if ends {
                if piece_of_longer {
                    log.piece(&line);
                } else {
                    log.line(&line);
                }
                line.clear();
                piece_of_longer = false;
            }
        }
        // Lines are handled without waiting; a flood must leave room for others.
        match pace.wait(count) {
            Some(pause) => tokio::time::sleep(pause).await,
            None => tokio::task::yield_now().await,
        }
    }
    if !line.is_empty() {
        log.line(&line);
    }
    log.finish();
}

struct Log {
    plugin: String,
    config: LogConfig,
    limit: Limit,
    crashed: bool,
    record: Arc<Mutex<Record>>,
}

impl Log {
    fn line(&mut self, bytes: &[u8]) {
        let bytes = bytes.strip_suffix(b"\r").unwrap_or(bytes);
        let text = String::from_utf8_lossy(bytes);
        let mut line = LogLine::parse(&text);
        if !line.tagged {
            self.crashed |= begins_crash(&text);
            if self.crashed {
                line.level = Level::Error;
            }
        }
        let crash = self.crashed && !line.tagged;
        self.record(&text, crash);
        self.emit(&line);
    }

    /// A part of a line that is too long to be understood.
    fn piece(&mut self, bytes: &[u8]) {
        let text = String::from_utf8_lossy(bytes).into_owned();
        self.record(&text, self.crashed);
        self.emit(&LogLine::unparsed(text));
    }

    fn record(&self, text: &str, crash: bool) {
        let mut record = self.record.lock().unwrap_or_else(PoisonError::into_inner);
        record.add(text, crash);
    }

    fn emit(&mut self, line: &LogLine) {
        let Ok(dropped) = self.limit.admit() else {
            return;
        };
        self.tell(dropped);
        match &self.config.sink {
            Some(sink) => sink(line),
            None => event(&self.plugin, line),
        }
    }

    fn tell(&self, dropped: u64) {
        if dropped > 0 {
            tracing::warn!(
                plugin = self.plugin,
                lines = dropped,
                "plugin log lines left out"
            );
        }
    }

    fn finish(&mut self) {
        let dropped = self.limit.dropped();
        self.tell(dropped);
    }
}

/// How a crash begins: Go's panics and fatal errors, and Rust's own panics.
fn begins_crash(text: &str) -> bool {
    text.starts_with("panic: ")
        || text.starts_with("fatal error: ")
        || (text.starts_with("thread '") && text.contains("' panicked at "))
        || (text.starts_with("thread '") && text.contains(") panicked at "))
}

/// A `tracing` event's level and names are fixed in the program, so the line's own are fields.
fn event(plugin: &str, line: &LogLine) {
    let fields = serde_json::Value::Object(line.fields.clone());
    let fields = (!line.fields.is_empty()).then(|| fields.to_string());
    macro_rules! at {
        ($level:ident) => {
            tracing::event!(
                target: "goplugin",
                tracing::Level::$level,
                plugin,
                module = line.module.as_deref(),
                timestamp = line.timestamp.as_deref(),
                fields = fields.as_deref(),
                "{}",
                line.message
            )
        };
    }
    match line.level {
        Level::Trace => at!(TRACE),
        Level::Debug => at!(DEBUG),
        Level::Info => at!(INFO),
        Level::Warn => at!(WARN),
        Level::Error => at!(ERROR),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Everything that one input makes of the log, with the record.
    async fn logged(input: &[u8], config: LogConfig) -> (Vec<LogLine>, Arc<Mutex<Record>>) {
        let lines = Arc::new(Mutex::new(Vec::new()));
        let record = Arc::new(Mutex::new(Record::default()));
        let sink = {
            let lines = Arc::clone(&lines);
            move |line: &LogLine| lines.lock().unwrap().push(line.clone())
        };
        read(
            input,
            "test".into(),
            config.sink(sink),
            None,
            Arc::clone(&record),
        )
        .await;
        let lines = std::mem::take(&mut *lines.lock().unwrap());
        (lines, record)
    }

    /// Without a sink, a line is an event at its own level, its parts are fields.
    #[tokio::test]
    async fn lines_are_events_with_fields() {
        use tracing::field::{Field, Visit};
        use tracing_subscriber::prelude::*;

        #[derive(Clone, Default)]
        struct Events(Arc<Mutex<Vec<String>>>);

        impl Visit for Events {
            fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
                let text = format!("{}={value:?}", field.name());
                self.0.lock().unwrap().push(text);
            }
        }

        impl<S: tracing::Subscriber> tracing_subscriber::Layer<S> for Events {
            fn on_event(
                &self,
                event: &tracing::Event<'_>,
                _: tracing_subscriber::layer::Context<'_, S>,
            ) {
                let metadata = event.metadata();
                let text = format!("{} {}", metadata.target(), metadata.level());
                self.0.lock().unwrap().push(text);
                event.record(&mut self.clone());
            }
        }

        let events = Events::default();
        let subscriber = tracing_subscriber::registry().with(events.clone());
        let _guard = tracing::subscriber::set_default(subscriber);
        let line = br#"{"@level":"warn","@message":"stored","@module":"kv","@timestamp":"2026-01-02T03:04:05.000006Z","key":"a","n":1}"#;
        read(
            &line[..],
            "plug".into(),
            LogConfig::new(),
            None,
            Arc::default(),
        )
        .await;
        let seen = events.0.lock().unwrap().join(" | ");
        for part in [
            "goplugin WARN",
            "message=stored",
            r#"plugin="plug""#,
            r#"module="kv""#,
            r#"timestamp="2026-01-02T03:04:05.000006Z""#,
            r#"fields="{\"key\":\"a\",\"n\":1}""#,
        ] {
            assert!(seen.contains(part), "{part} in {seen}");
        }
    }

    #[tokio::test]
    async fn a_panic_and_what_follows_it_are_errors_and_kept() {
        let input = b"before\npanic: boom\n\ngoroutine 1 [running]:\n[INFO] tagged\n{\"@level\":\"info\",\"@message\":\"json\"}\nmain.go:1\n";
        let (lines, record) = logged(input, LogConfig::new()).await;
        let levels: Vec<Level> = lines.iter().map(|line| line.level).collect();
        use Level::{Debug, Error, Info};
        assert_eq!(levels, [Debug, Error, Error, Error, Info, Info, Error]);
        let record = record.lock().unwrap();
        assert_eq!(
            record.crash(),
            Some("panic: boom\n\ngoroutine 1 [running]:\nmain.go:1\n")
        );
    }

    #[tokio::test]
    async fn the_panic_of_a_rust_plugin_is_recognised_too() {
        for text in [
            "thread 'main' panicked at src/main.rs:1:1:",
            "thread 'main' (7) panicked at a.rs:1:1:",
        ] {
            let (lines, _) = logged(text.as_bytes(), LogConfig::new()).await;
            assert_eq!(lines[0].level, Level::Error, "{text}");
        }
    }

    #[tokio::test]
    async fn a_line_of_any_length_comes_in_pieces_and_the_next_one_is_understood() {
        let mut input = vec![b'x'; 1_000_000];
        input.extend_from_slice(b"\n[WARN] after\n");
        let (lines, _) = logged(&input, LogConfig::new()).await;
        let pieces: usize = lines[..lines.len() - 1]
            .iter()
            .map(|line| line.message.len())
            .sum();
        assert_eq!(pieces, 1_000_000);
        assert!(lines.iter().all(|line| line.message.len() <= 64 * 1024));
        assert_eq!(lines.last().unwrap().level, Level::Warn);
    }

    #[tokio::test]
    async fn bytes_that_are_no_text_pass() {
        let (lines, _) = logged(b"\xff\xfe\0\n\r\nlast without end", LogConfig::new()).await;
        assert_eq!(lines.len(), 3);
        assert_eq!(lines[2].message, "last without end");
    }
}
