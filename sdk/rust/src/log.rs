//! Access logs and log sinks: what a plugin keeps of what the host tells it in batches.

use std::collections::HashMap;
use std::marker::PhantomData;
use std::sync::Arc;

use transom_api::{MetadataValue, Node, ParseError, Schema};

use crate::proto::v1::LogBatch;
use crate::value::from_wire;

/// An access log in its shortest form: a configuration that is told of streams and connections that are over.
///
/// Name what an entry has when the log is added: [`Plugin::attributes`](crate::Plugin::attributes),
/// [`request_headers`](crate::Plugin::request_headers), [`response_headers`](crate::Plugin::response_headers); nothing else is sent.
pub trait AccessLog: Send + Sync + Sized + 'static {
    /// The shape of its configuration. Anything, unless it says so.
    fn schema() -> Schema {
        Schema::new(transom_api::Shape::Any)
    }

    /// Reads the configuration.
    fn parse(node: &Node) -> Result<Self, ParseError>;

    /// Takes a batch: entries of one of the host's workers, in their order. `lost`: so many were dropped before them, because this plugin was slow
    /// or away.
    ///
    /// It may block: it is called on a thread of its own. Until it returns the host keeps what follows, and then drops the oldest.
    fn log(&self, entries: &[LogEntry], lost: u64);
}

/// A log sink in its shortest form: a configuration that is told the lines of the host's own log.
pub trait LogSink: Send + Sync + Sized + 'static {
    /// The shape of its configuration. Anything, unless it says so.
    fn schema() -> Schema {
        Schema::new(transom_api::Shape::Any)
    }

    /// Reads the configuration.
    fn parse(node: &Node) -> Result<Self, ParseError>;

    /// Takes a batch of lines, without their line feeds. As [`AccessLog::log`] in all else.
    fn write(&self, lines: &[&[u8]], lost: u64);
}

/// A stream or connection that is over.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LogEntry {
    values: HashMap<String, MetadataValue>,
}

impl LogEntry {
    /// An attribute that was asked for, if it was known.
    #[must_use]
    pub fn attribute(&self, name: &str) -> Option<&MetadataValue> {
        self.values.get(name)
    }

    /// The same as text: numbers in decimal.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<String> {
        match self.values.get(name)? {
            MetadataValue::String(text) => Some(text.clone()),
            value => Some(value.to_string()),
        }
    }

    /// The same as a number.
    #[must_use]
    pub fn number(&self, name: &str) -> Option<f64> {
        match self.values.get(name)? {
            MetadataValue::Number(number) => Some(*number),
            _ => None,
        }
    }

    /// A header of the request that was asked for, by its name in lower case. Values of a repeated one are joined by `,`.
    #[must_use]
    pub fn request_header(&self, name: &str) -> Option<&str> {
        self.header("request.headers", name)
    }

    /// The same of the response.
    #[must_use]
    pub fn response_header(&self, name: &str) -> Option<&str> {
        self.header("response.headers", name)
    }

    fn header(&self, map: &str, name: &str) -> Option<&str> {
        match self.values.get(map)? {
            MetadataValue::Struct(headers) => match headers.get(name)? {
                MetadataValue::String(text) => Some(text),
                _ => None,
            },
            _ => None,
        }
    }
}

/// What takes a batch, whatever its kind.
pub(crate) trait Keep: Send + Sync {
    fn keep(&self, batch: LogBatch);
}

/// Reads the configuration of a log.
pub(crate) type MakeLog = Box<dyn Fn(&Node) -> Result<Arc<dyn Keep>, ParseError> + Send + Sync>;

pub(crate) fn access_log<L: AccessLog>() -> MakeLog {
    struct Log<L>(L);
    impl<L: AccessLog> Keep for Log<L> {
        fn keep(&self, batch: LogBatch) {
            let entry = |entry: crate::proto::v1::ValueMap| LogEntry {
                values: entry
                    .values
                    .iter()
                    .map(|(name, value)| (name.clone(), from_wire(value)))
                    .collect(),
            };
            let entries: Vec<LogEntry> = batch.entries.into_iter().map(entry).collect();
            self.0.log(&entries, batch.lost);
        }
    }
    let kind = PhantomData::<fn() -> L>;
    Box::new(move |node| {
        let _ = kind;
        Ok(Arc::new(Log(L::parse(node)?)))
    })
}

pub(crate) fn log_sink<L: LogSink>() -> MakeLog {
    struct Sink<L>(L);
    impl<L: LogSink> Keep for Sink<L> {
        fn keep(&self, batch: LogBatch) {
            let lines: Vec<&[u8]> = batch.lines.iter().map(|line| &**line).collect();
            self.0.write(&lines, batch.lost);
        }
    }
    let kind = PhantomData::<fn() -> L>;
    Box::new(move |node| {
        let _ = kind;
        Ok(Arc::new(Sink(L::parse(node)?)))
    })
}
