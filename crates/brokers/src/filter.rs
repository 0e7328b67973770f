//! The stream filter `publish`: a request becomes a message.
//!
//! | key | default | what |
//! |---|---|---|
//! | `topic` | must be given | where the message goes |
//! | `broker` | what `--broker` chose, or `memory` | the broker: its name, or a map with `name` and `config` |
//! | `then` | `answer` | `answer`: the request ends here; `pass`: it goes on when the broker has the message |
//! | `status` | 202 | the status of that answer, 200 to 299 |
//! | `headers` | `[content-type]` | the fields that go with the message |
//! | `max_body` | `1MiB` | the longest body; requests with a longer one are answered 413 |
//! | `timeout` | `5s` | how long the broker may take |
//!
//! ```yaml
//! stream_filters:
//!   - {name: publish, config: {topic: orders, broker: nats}}
//! ```
//!
//! The message has the request's body, and as `method` and `path` what the request asks. It counts as published when the broker says
//! so. A broker that is away, whose queue is full or that takes too long is a failure of the filter: `on_failure: closed` answers 503,
//! `open` lets the request go on as if there were no filter. A message that the broker does not take is answered 500.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use transom_api::{
    Broker, BrokerMessage, BuildError, Counter, DataVerdict, Direction, Event, Factory,
    FilterError, HeadersVerdict, LocalReply, Node, ParseError, Parsed, Prepare, PrepareContext,
    PublishError, Schema, Shape, Stream, StreamFilter, StreamFilterConfig, StreamFilterWorker,
    StreamFilters, StreamInstance, TimerId, TrailersVerdict, Wants, Worker, WorkerPart, field,
};

use crate::table::{self, Named, Table};

const TIMEOUT: Duration = Duration::from_secs(5);
/// What NATS takes unless it is told otherwise.
const MAX_BODY: u64 = 1 << 20;

/// Makes the filter.
#[derive(Debug)]
pub struct PublishFactory {
    table: Arc<Table>,
}

impl PublishFactory {
    /// A filter that finds its brokers in `table`.
    #[must_use]
    pub fn new(table: Arc<Table>) -> Self {
        Self { table }
    }
}

#[derive(Clone)]
struct Settings {
    topic: String,
    named: Named,
    answer: Option<u16>,
    headers: Vec<String>,
    max_body: u64,
    timeout: Duration,
}

struct ParsedPublish {
    settings: Settings,
    table: Arc<Table>,
}

/// What all streams share.
struct Publish {
    settings: Settings,
    broker: Arc<dyn Broker>,
    published: Counter,
    failed: Counter,
}

struct PublishConfig(Arc<Publish>);

struct PublishWorker(Arc<Publish>);

struct PublishFilter {
    shared: Arc<Publish>,
    state: State,
}

enum State {
    Reading,
    Waiting(TimerId),
    Done,
}

impl Factory<StreamFilters> for PublishFactory {
    fn schema(&self) -> Schema {
        Schema::object()
            .required("topic", Schema::string().describe("Where the message goes."))
            .optional("broker", table::schema())
            .optional(
                "then",
                Schema::new(Shape::OneOf(vec!["answer", "pass"]))
                    .describe("What becomes of the request when the broker has the message: it is answered here, or goes on.")
                    .or("answer"),
            )
            .optional(
                "status",
                Schema::new(Shape::Integer(200, 299))
                    .describe("The status of that answer.")
                    .or(202),
            )
            .optional(
                "headers",
                Schema::list(Schema::string())
                    .describe("The fields that go with the message. `[content-type]` when it is left out."),
            )
            .optional(
                "max_body",
                Schema::new(Shape::Size)
                    .describe("The longest body; requests with a longer one are answered 413.")
                    .or("1MiB"),
            )
            .optional(
                "timeout",
                Schema::new(Shape::Duration)
                    .describe("How long the broker may take.")
                    .or("5s"),
            )
            .describe("Requests become messages of a broker.")
    }

    fn parse(&self, config: &Node) -> Result<Arc<dyn Parsed<StreamFilters>>, ParseError> {
        let mut fields = config.as_fields()?;
        let topic = fields.required("topic")?;
        let broker = fields.optional("broker");
        let then = fields.optional("then");
        let status = fields.optional("status");
        let headers = fields.optional("headers");
        let max_body = fields.optional("max_body");
        let timeout = fields.optional("timeout");
        fields.finish()?;
        let passes = match then.map(Node::as_str).transpose()? {
            None | Some("answer") => false,
            Some("pass") => true,
            Some(other) => {
                let message = format!("expected `answer` or `pass`, found `{other}`");
                return Err(then.unwrap_or(config).error(message));
            }
        };
        if let (true, Some(status)) = (passes, status) {
            return Err(status.error("`status` has no meaning with `then: pass`"));
        }
        let text = topic.as_str()?;
        if text.is_empty() || text.contains(|letter: char| letter.is_ascii_control()) {
            return Err(topic.error("this is no name of a topic"));
        }
        let headers = match headers {
            None => vec!["content-type".to_owned()],
            Some(list) => {
                let names = list.as_list()?.iter();
                let names = names.map(|name| Ok(name.as_str()?.to_ascii_lowercase()));
                names.collect::<Result<_, ParseError>>()?
            }
        };
        let timeout = match timeout {
            None => TIMEOUT,
            Some(node) => {
                let timeout = node.as_duration()?;
                if timeout.is_zero() {
                    return Err(node.error("a timeout must be longer than nothing"));
                }
                timeout
            }
        };
        let status = status.map_or(Ok(202), |status| status.as_integer_in(200..=299))?;
        Ok(Arc::new(ParsedPublish {
            settings: Settings {
                topic: text.to_owned(),
                named: self.table.parse(broker)?,
                answer: (!passes).then(|| u16::try_from(status).unwrap_or(202)),
                headers,
                max_body: max_body.map_or(Ok(MAX_BODY), Node::as_size)?,
                timeout,
            },
            table: Arc::clone(&self.table),
        }))
    }
}

impl Parsed<StreamFilters> for ParsedPublish {
    fn prepare(&self, context: PrepareContext) -> Prepare<StreamFilters> {
        let (settings, table) = (self.settings.clone(), Arc::clone(&self.table));
        Box::pin(async move {
            let counter = |name, help| {
                let labels = [("filter", &*context.instance)];
                context.metrics.counter(name, help, &labels)
            };
            let published = counter("publish_messages_total", "Requests that became messages.")?;
            let failed = counter("publish_failed_total", "Requests that became no message.")?;
            let broker = table.prepare(&settings.named, context).await?;
            let config: Arc<dyn StreamFilterConfig> = Arc::new(PublishConfig(Arc::new(Publish {
                settings,
                broker,
                published,
                failed,
            })));
            Ok(config)
        })
    }
}

impl StreamFilterConfig for PublishConfig {
    fn wants(&self) -> Wants {
        Wants::REQUEST_HEADERS
            .and(Wants::REQUEST_BODY)
            .and(Wants::REQUEST_TRAILERS)
            .whole_request_body(self.0.settings.max_body)
    }

    fn on_worker(
        &self,
        _worker: &mut Worker<'_>,
    ) -> Result<Rc<dyn StreamFilterWorker>, BuildError> {
        Ok(Rc::new(PublishWorker(Arc::clone(&self.0))))
    }
}

impl WorkerPart for PublishWorker {}

impl StreamFilterWorker for PublishWorker {
    fn stream(&self, _stream: &mut Stream<'_>) -> Result<StreamInstance, FilterError> {
        Ok(StreamInstance::own(PublishFilter {
            shared: Arc::clone(&self.0),
            state: State::Reading,
        }))
    }
}

impl StreamFilter for PublishFilter {
    fn request_headers(&mut self, stream: &mut Stream<'_>, end: bool) -> HeadersVerdict {
        if end {
            self.publish(stream);
        }
        HeadersVerdict::StopIteration
    }

    fn request_body(&mut self, stream: &mut Stream<'_>, end: bool) -> DataVerdict {
        match self.state {
            State::Reading if end => {
                self.publish(stream);
                DataVerdict::StopIterationAndBuffer
            }
            State::Reading | State::Waiting(_) => DataVerdict::StopIterationAndBuffer,
            State::Done => DataVerdict::Continue,
        }
    }

    fn request_trailers(&mut self, stream: &mut Stream<'_>) -> TrailersVerdict {
        match self.state {
            State::Reading => {
                self.publish(stream);
                TrailersVerdict::StopIteration
            }
            State::Waiting(_) => TrailersVerdict::StopIteration,
            State::Done => TrailersVerdict::Continue,
        }
    }

    fn on_event(&mut self, stream: &mut Stream<'_>, event: Event) {
        let State::Waiting(timer) = self.state else {
            return;
        };
        match event {
            Event::Resumed(mut message) => {
                stream.cancel_timer(timer);
                match message.take::<Result<(), PublishError>>() {
                    Some(Ok(())) => self.published(stream),
                    Some(Err(error)) => self.failed(stream, &error),
                    None => {}
                }
            }
            Event::Timer(ended) if ended == timer => {
                let why = format!("no answer within {:?}", self.shared.settings.timeout);
                self.failed(stream, &PublishError::Away(why));
            }
            _ => {}
        }
    }
}

impl PublishFilter {
    /// The request is whole.
    fn publish(&mut self, stream: &mut Stream<'_>) {
        let settings = &self.shared.settings;
        let mut headers = Vec::new();
        let request = stream.request();
        for (name, asked) in [("method", ":method"), ("path", ":path")] {
            if let Some(value) = request.get(asked) {
                headers.push((name.to_owned(), lossy(value.as_bytes())));
            }
        }
        for name in &settings.headers {
            if field::Pseudo::of(name.as_bytes()).is_some() {
                continue;
            }
            for value in request.get_all(name) {
                headers.push((name.clone(), lossy(value.as_bytes())));
            }
        }
        let message = BrokerMessage {
            topic: settings.topic.clone(),
            headers,
            body: stream.body(Direction::Request).to_vec(),
        };
        let resumer = stream.resumer();
        self.state = State::Waiting(stream.set_timer(settings.timeout));
        let taken = self
            .shared
            .broker
            .publish(message, Box::new(move |told| resumer.post_with(0, told)));
        if let Err(error) = taken {
            self.failed(stream, &error);
        }
    }

    fn published(&mut self, stream: &mut Stream<'_>) {
        self.state = State::Done;
        stream.count(self.shared.published, 1);
        match self.shared.settings.answer {
            Some(status) => {
                let reply = LocalReply::new(status).details("published");
                // A response that has left cannot be taken back.
                if stream.send_local_reply(reply).is_err() {
                    stream.terminate();
                }
            }
            None => stream.continue_request(),
        }
    }

    fn failed(&mut self, stream: &mut Stream<'_>, error: &PublishError) {
        if let State::Waiting(timer) = std::mem::replace(&mut self.state, State::Done) {
            stream.cancel_timer(timer);
        }
        stream.count(self.shared.failed, 1);
        let message = format!("no message was published: {error}");
        stream.fail(match error {
            PublishError::Refused(_) => FilterError::broken(message),
            PublishError::Full | PublishError::Away(_) => FilterError::unavailable(message),
        });
    }
}

/// Headers of messages are text.
fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
