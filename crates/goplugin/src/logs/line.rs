//! One line of a plugin's standard error, understood.

use serde_json::{Map, Value};

use super::timestamp;

/// How much a line matters.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Level {
    /// Finest detail.
    Trace,
    /// For developers; also every line that says nothing of its level.
    Debug,
    /// For operators.
    Info,
    /// Something is not as it should be.
    Warn,
    /// Something failed; also every line of a panic.
    Error,
}

/// A line as the host logs it.
#[derive(Clone, Debug, PartialEq)]
pub struct LogLine {
    /// Its level.
    pub level: Level,
    /// Its text; of a line that is not hclog's, the whole of it.
    pub message: String,
    /// hclog's `@module`.
    pub module: Option<String>,
    /// hclog's `@timestamp`, as it was written.
    pub timestamp: Option<String>,
    /// hclog's further keys, `@caller` among them.
    pub fields: Map<String, Value>,
    /// Whether the line said its level itself, or is a JSON object, whose level nobody knows.
    pub tagged: bool,
}

impl LogLine {
    /// Understands any line; none is an error.
    ///
    /// A JSON object with `@message`, a known `@level` and a `@timestamp` of exactly six digits of fraction (each may be missing but
    /// the level) is hclog's. Else `[TRACE]` to `[ERROR]` in front give the level, and the text keeps it. Else it is `Debug`.
    pub fn parse(line: &str) -> Self {
        Self::hclog(line).unwrap_or_else(|| Self::plain(line))
    }

    /// A text that nobody tried to understand.
    pub(crate) fn unparsed(message: String) -> Self {
        Self {
            level: Level::Debug,
            message,
            module: None,
            timestamp: None,
            fields: Map::new(),
            tagged: false,
        }
    }

    fn hclog(line: &str) -> Option<Self> {
        if !line.trim_start().starts_with('{') {
            return None;
        }
        let Ok(Value::Object(mut fields)) = serde_json::from_str(line) else {
            return None;
        };
        // Each key is looked at as what it is. Go's host casts here, and one line with a number for a message ends it.
        let level = match fields.remove("@level")? {
            Value::String(level) => named(&level)?,
            _ => return None,
        };
        let message = match fields.remove("@message") {
            Some(Value::String(message)) => message,
            None => String::new(),
            Some(_) => return None,
        };
        let timestamp = match fields.remove("@timestamp") {
            Some(Value::String(stamp)) if timestamp::is_valid(&stamp) => Some(stamp),
            None => None,
            Some(_) => return None,
        };
        let module = match fields.get("@module") {
            Some(Value::String(module)) => Some(module.clone()),
            _ => None,
        };
        if module.is_some() {
            fields.remove("@module");
        }
        Some(Self {
            level,
            message,
            module,
            timestamp,
            fields,
            tagged: true,
        })
    }

    fn plain(line: &str) -> Self {
        let tag = [
            ("[TRACE]", Level::Trace),
            ("[DEBUG]", Level::Debug),
            ("[INFO]", Level::Info),
            ("[WARN]", Level::Warn),
            ("[ERROR]", Level::Error),
        ]
        .into_iter()
        .find(|(tag, _)| line.starts_with(tag));
        // A JSON object that is not hclog's is data, not the text of a panic.
        let json = line.starts_with('{') && serde_json::from_str::<Value>(line).is_ok();
        Self {
            level: tag.map_or(Level::Debug, |(_, level)| level),
            message: line.to_owned(),
            module: None,
            timestamp: None,
            fields: Map::new(),
            tagged: tag.is_some() || json,
        }
    }
}

/// hclog's `LevelFromString`.
fn named(level: &str) -> Option<Level> {
    let levels = [
        ("trace", Level::Trace),
        ("debug", Level::Debug),
        ("info", Level::Info),
        ("warn", Level::Warn),
        ("error", Level::Error),
    ];
    let level = level.trim();
    levels
        .into_iter()
        .find(|(name, _)| level.eq_ignore_ascii_case(name))
        .map(|(_, level)| level)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hclog_lines_give_their_parts() {
        let line = LogLine::parse(
            r#"{"@level":"INFO","@message":"hi","@module":"kv","@timestamp":"2024-05-01T10:20:30.123456Z","@caller":"a.go:1","n":1}"#,
        );
        assert_eq!(line.level, Level::Info);
        assert_eq!(line.message, "hi");
        assert_eq!(line.module.as_deref(), Some("kv"));
        assert_eq!(
            line.timestamp.as_deref(),
            Some("2024-05-01T10:20:30.123456Z")
        );
        assert_eq!(line.fields["@caller"], "a.go:1");
        assert_eq!(line.fields["n"], 1);
    }

    #[test]
    fn what_is_not_quite_hclog_is_kept_whole_at_debug() {
        for text in [
            r#"{"@message":1}"#,
            r#"{"@message":"x"}"#,
            r#"{"@level":"loud","@message":"x"}"#,
            r#"{"@level":7,"@message":"x"}"#,
            r#"{"@level":"info","@message":1}"#,
            r#"{"@level":"info","@message":"x","@timestamp":1}"#,
            r#"{"@level":"info","@message":"x","@timestamp":"2024-05-01T10:20:30.123Z"}"#,
            r#"["HELLO"]"#,
            "12345",
            r#"{"a":1}"#,
            "{",
            "[ERR] x",
            "",
        ] {
            let line = LogLine::parse(text);
            assert_eq!((line.level, line.message.as_str()), (Level::Debug, text));
        }
    }

    #[test]
    fn a_level_in_front_is_read_and_kept() {
        let line = LogLine::parse("[WARN] test line 98765");
        assert_eq!(line.level, Level::Warn);
        assert_eq!(line.message, "[WARN] test line 98765");
    }
}
