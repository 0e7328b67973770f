//! The access log `publish`: a message for each stream or connection.
//!
//! | key | default | what |
//! |---|---|---|
//! | `topic` | must be given | where the messages go |
//! | `broker` | what `--broker` chose, or `memory` | the broker: its name, or a map with `name` and `config` |
//! | `format`, `json` | Envoy's own fields | what a message says, as in the other access logs, without a line end |
//!
//! A worker never waits: a message that the broker does not take at once, or loses, is counted and gone.

use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use transom_api::{
    AccessLogConfig, AccessLogWorker, AccessLogs, Broker, BrokerMessage, BuildError, Counter,
    Factory, Node, ParseError, Parsed, Prepare, PrepareContext, Record, Schema, Shape, Worker,
    WorkerPart,
};
use transom_logs::format::Format;

use crate::table::{self, Named, Table};

/// Makes the log.
#[derive(Debug)]
pub struct PublishLogFactory {
    table: Arc<Table>,
}

impl PublishLogFactory {
    /// A log that finds its brokers in `table`.
    #[must_use]
    pub fn new(table: Arc<Table>) -> Self {
        Self { table }
    }
}

struct ParsedLog {
    topic: String,
    named: Named,
    format: Arc<Format>,
    table: Arc<Table>,
}

struct PreparedLog(Arc<Log>);

struct Log {
    topic: String,
    format: Arc<Format>,
    broker: Arc<dyn Broker>,
    messages: Counter,
    dropped: Counter,
    /// Lost after the broker had taken them, and not counted yet.
    lost: Arc<AtomicU32>,
}

struct WorkerLog(Arc<Log>);

impl Factory<AccessLogs> for PublishLogFactory {
    fn schema(&self) -> Schema {
        Schema::object()
            .required("topic", Schema::string().describe("Where the messages go."))
            .optional("broker", table::schema())
            .optional(
                "format",
                Schema::string().describe("A text with operators such as %RESPONSE_CODE%. Either this or `json`; by default Envoy's own fields."),
            )
            .optional(
                "json",
                Schema::map_of(Schema::new(Shape::Any))
                    .describe("JSON: a map whose texts may have operators. Either this or `format`."),
            )
            .describe("Publishes a message for each stream or connection.")
    }

    fn parse(&self, config: &Node) -> Result<Arc<dyn Parsed<AccessLogs>>, ParseError> {
        let mut fields = config.as_fields()?;
        let topic = fields.required("topic")?;
        let broker = fields.optional("broker");
        let text = fields.optional("format");
        let json = fields.optional("json");
        fields.finish()?;
        let format = match (text, json) {
            (Some(_), Some(json)) => {
                return Err(json.error("`format` and `json` exclude each other"));
            }
            (Some(text), None) => {
                Format::text(text.as_str()?).map_err(|error| text.error(error.message))?
            }
            (None, Some(map)) => Format::json(map)?,
            (None, None) => Format::text(transom_logs::format::DEFAULT)
                .map_err(|error| config.error(error.message))?,
        };
        let name = topic.as_str()?;
        if name.is_empty() {
            return Err(topic.error("this is no name of a topic"));
        }
        Ok(Arc::new(ParsedLog {
            topic: name.to_owned(),
            named: self.table.parse(broker)?,
            format: Arc::new(format),
            table: Arc::clone(&self.table),
        }))
    }
}

impl Parsed<AccessLogs> for ParsedLog {
    fn prepare(&self, context: PrepareContext) -> Prepare<AccessLogs> {
        let (topic, format) = (self.topic.clone(), Arc::clone(&self.format));
        let (named, table) = (self.named.clone(), Arc::clone(&self.table));
        Box::pin(async move {
            let labels = [("log", &*context.instance)];
            let counter = |name, help| context.metrics.counter(name, help, &labels);
            let messages = counter("access_log_lines_total", "Lines of an access log.")?;
            let dropped = counter(
                "access_log_dropped_total",
                "Lines of an access log that were dropped because it could not be written, or not as fast.",
            )?;
            let broker = table.prepare(&named, context.clone()).await?;
            let config: Arc<dyn AccessLogConfig> = Arc::new(PreparedLog(Arc::new(Log {
                topic,
                format,
                broker,
                messages,
                dropped,
                lost: Arc::default(),
            })));
            Ok(config)
        })
    }
}

impl AccessLogConfig for PreparedLog {
    fn on_worker(&self, _worker: &mut Worker<'_>) -> Result<Rc<dyn AccessLogWorker>, BuildError> {
        Ok(Rc::new(WorkerLog(Arc::clone(&self.0))))
    }
}

impl WorkerPart for WorkerLog {}

impl AccessLogWorker for WorkerLog {
    fn log(&self, record: &Record<'_>) {
        let log = &self.0;
        let mut body = Vec::new();
        log.format.write(record, &mut body);
        let lost = Arc::clone(&log.lost);
        let message = BrokerMessage {
            topic: log.topic.clone(),
            headers: Vec::new(),
            body,
        };
        let taken = log.broker.publish(
            message,
            Box::new(move |told| {
                if told.is_err() {
                    lost.fetch_add(1, Ordering::Relaxed);
                }
            }),
        );
        record.count(
            if taken.is_ok() {
                log.messages
            } else {
                log.dropped
            },
            1,
        );
        let lost = log.lost.swap(0, Ordering::Relaxed);
        if lost > 0 {
            record.count(log.dropped, lost);
        }
    }
}
