//! `tracing` events as the log lines that go-plugin hosts read.

use std::fmt::{Debug, Write};

use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

use super::stdio::write_log;
use crate::logs::timestamp;

/// Writes each event as one line of hclog's JSON on the standard error that the host reads, past any capture.
///
/// The keys are `@level` (lower case), `@message`, `@module` (the event's target), `@timestamp` (UTC, exactly six digits of fraction,
/// because hosts refuse any other number) and the event's own fields.
///
/// ```
/// use tracing_subscriber::prelude::*;
/// let subscriber = tracing_subscriber::registry().with(transom_goplugin::plugin::HclogLayer::new());
/// # drop(subscriber);
/// ```
#[derive(Debug, Default)]
pub struct HclogLayer {
    module: Option<String>,
}

impl HclogLayer {
    /// A layer that names each event's target as its module.
    pub fn new() -> Self {
        Self::default()
    }

    /// Names `module` instead.
    #[must_use]
    pub fn module(mut self, module: impl Into<String>) -> Self {
        self.module = Some(module.into());
        self
    }

    fn line(&self, event: &Event<'_>) -> String {
        let metadata = event.metadata();
        let mut fields = Fields(Map::new());
        event.record(&mut fields);
        let mut line = fields.0;
        let message = line.remove("message").unwrap_or_else(|| "".into());
        let level = metadata.level().as_str().to_ascii_lowercase();
        let module = self.module.as_deref().unwrap_or(metadata.target());
        line.insert("@level".into(), level.into());
        line.insert("@message".into(), message);
        line.insert("@module".into(), module.into());
        line.insert("@timestamp".into(), timestamp::now().into());
        if let (Some(file), Some(number)) = (metadata.file(), metadata.line()) {
            line.insert("@caller".into(), format!("{file}:{number}").into());
        }
        // One line in one write, so that lines of several threads do not mix.
        let mut text = Value::Object(line).to_string();
        text.push('\n');
        text
    }
}

impl<S: Subscriber> Layer<S> for HclogLayer {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        write_log(self.line(event).as_bytes());
    }
}

struct Fields(Map<String, Value>);

impl Visit for Fields {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.0.insert(field.name().into(), value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.0.insert(field.name().into(), value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.0.insert(field.name().into(), value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.0.insert(field.name().into(), value.into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name().into(), value.into());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let mut text = String::new();
        // A type whose Debug fails has said all it will.
        let _ = write!(text, "{value:?}");
        self.0.insert(field.name().into(), text.into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logs::{Level, LogLine};
    use std::sync::{Arc, Mutex};
    use tracing_subscriber::prelude::*;

    /// Keeps what the layer would write.
    struct Recorder(HclogLayer, Arc<Mutex<Vec<String>>>);

    impl<S: Subscriber> Layer<S> for Recorder {
        fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
            self.1.lock().unwrap().push(self.0.line(event));
        }
    }

    #[test]
    fn an_event_is_read_back_by_the_hosts_own_parser() {
        let lines = Arc::new(Mutex::new(Vec::new()));
        let recorder = Recorder(HclogLayer::new(), Arc::clone(&lines));
        let subscriber = tracing_subscriber::registry().with(recorder);
        tracing::subscriber::with_default(subscriber, || {
            tracing::warn!(target: "kv", key = "a\"b\n", count = 3, on = true, "stored");
        });
        let text = lines.lock().unwrap().concat();
        assert_eq!(text.matches('\n').count(), 1, "{text}");
        let line = LogLine::parse(text.trim_end());
        assert_eq!(line.level, Level::Warn);
        assert_eq!(line.message, "stored");
        assert_eq!(line.module.as_deref(), Some("kv"));
        assert!(line.timestamp.is_some());
        assert_eq!(line.fields["key"], "a\"b\n");
        assert_eq!(line.fields["count"], 3);
        assert_eq!(line.fields["on"], true);
    }
}
