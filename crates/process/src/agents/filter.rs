//! The stream filters `demo_plugin` and `pluginfilter`.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::AbortHandle;
use tonic::{Code, Status};
use transom_api::kind::StreamFilters;
use transom_api::{
    BuildError, DataVerdict, Direction, Event, Factory, FilterError, HeaderError, HeaderMap,
    HeadersVerdict, LocalReply, Node, ParseError, Parsed, Prepare, PrepareContext, Schema, Shape,
    Stream, StreamFilter, StreamFilterConfig, StreamFilterWorker, StreamInstance, Wants, Worker,
    WorkerPart,
};
use transom_goplugin::{Channel, MAX_MESSAGE};

use super::{Agent, Agents, Called, fields, outcome};
use crate::call::proto::plugin_client::PluginClient;
use crate::call::{Request, Response};
use crate::supervise::{Instance, Outcome, Permit};

/// How long MOSN's `pluginfilter` waits.
const WHOLE_TIMEOUT: Duration = Duration::from_millis(10);

/// How long MOSN's `demo_plugin` waits.
const DEMO_TIMEOUT: Duration = Duration::from_secs(1);

/// The largest body that `pluginfilter` keeps, as long as its configuration does not say another.
const LARGEST: u64 = 1 << 20;

/// The status by which a checker refuses.
const REFUSED: i32 = -1;

/// Which of the two.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Manner {
    /// `demo_plugin`: headers, and yes or no.
    Demo,
    /// `pluginfilter`: all of the request, and changes of it.
    Whole,
}

pub(super) struct FilterFactory {
    pub(super) agents: Agents,
    pub(super) manner: Manner,
}

impl Factory<StreamFilters> for FilterFactory {
    fn schema(&self) -> Schema {
        let schema = Called::schema();
        match self.manner {
            Manner::Demo => schema.optional(
                "config_path",
                Schema::string().describe("A file that the checker is given with `-c`."),
            ),
            Manner::Whole => schema
                .optional(
                    "largest_body",
                    Schema::new(Shape::Size)
                        .describe("The largest body that is asked about; a larger one is answered 413.")
                        .or("1MiB"),
                )
                .optional(
                    "mosn_defects",
                    Schema::new(Shape::Bool)
                        .describe("Does as MOSN's agent: a plugin that fails, is late or refuses lets the request go on, and the answer's trailers become headers.")
                        .or(false),
                ),
        }
    }

    fn parse(&self, config: &Node) -> Result<Arc<dyn Parsed<StreamFilters>>, ParseError> {
        let mut keys = fields(config)?;
        let timeout = match self.manner {
            Manner::Demo => DEMO_TIMEOUT,
            Manner::Whole => WHOLE_TIMEOUT,
        };
        let called = Called::read(&mut keys, &self.agents, timeout)?;
        let mut written = Written {
            agents: self.agents.clone(),
            manner: self.manner,
            called,
            config_path: None,
            largest_body: LARGEST,
            mosn_defects: false,
        };
        match self.manner {
            Manner::Demo => {
                let path = keys.optional("config_path").map(Node::as_str).transpose()?;
                written.config_path = path.map(str::to_owned);
            }
            Manner::Whole => {
                if let Some(size) = keys.optional("largest_body") {
                    written.largest_body = size.as_size()?;
                }
                if let Some(defects) = keys.optional("mosn_defects") {
                    written.mosn_defects = defects.as_bool()?;
                }
            }
        }
        keys.finish()?;
        Ok(Arc::new(written))
    }
}

#[derive(Clone)]
struct Written {
    agents: Agents,
    manner: Manner,
    called: Called,
    config_path: Option<String>,
    largest_body: u64,
    mosn_defects: bool,
}

impl Parsed<StreamFilters> for Written {
    fn prepare(&self, context: PrepareContext) -> Prepare<StreamFilters> {
        let written = self.clone();
        Box::pin(async move {
            let (program, arguments) = match written.manner {
                Manner::Demo => (
                    "checker",
                    match written.config_path {
                        Some(path) => vec!["-c".to_owned(), path],
                        None => Vec::new(),
                    },
                ),
                Manner::Whole => ("pluginfilter", Vec::new()),
            };
            let timeout = written.called.timeout;
            let called = written.called;
            let agent = called
                .agent(written.agents, program, arguments, &context)
                .await?;
            let config: Arc<dyn StreamFilterConfig> = Arc::new(Ready {
                agent,
                manner: written.manner,
                timeout,
                largest_body: written.largest_body,
                mosn_defects: written.mosn_defects,
            });
            Ok(config)
        })
    }
}

#[derive(Clone, Debug)]
struct Ready {
    agent: Agent,
    manner: Manner,
    timeout: Duration,
    largest_body: u64,
    mosn_defects: bool,
}

impl StreamFilterConfig for Ready {
    fn wants(&self) -> Wants {
        match self.manner {
            Manner::Demo => Wants::REQUEST_HEADERS,
            Manner::Whole => Wants::REQUEST_HEADERS
                .and(Wants::CHANGES_REQUEST_LENGTH)
                .whole_request_body(self.largest_body),
        }
    }

    fn on_worker(
        &self,
        _worker: &mut Worker<'_>,
    ) -> Result<Rc<dyn StreamFilterWorker>, BuildError> {
        Ok(Rc::new(Part {
            ready: Rc::new(self.clone()),
            channels: Rc::default(),
            waiting: Rc::default(),
        }))
    }
}

/// The worker's connections, by the numbers of the processes.
type Channels = Rc<RefCell<HashMap<u64, (Arc<Instance>, Channel)>>>;

struct Part {
    ready: Rc<Ready>,
    channels: Channels,
    /// How many requests wait for a process.
    waiting: Rc<Cell<usize>>,
}

/// A request that waits for a process, until it is dropped.
struct Waits(Rc<Cell<usize>>);

impl Waits {
    fn begin(waiting: &Rc<Cell<usize>>) -> Self {
        waiting.set(waiting.get() + 1);
        Self(Rc::clone(waiting))
    }
}

impl Drop for Waits {
    fn drop(&mut self) {
        self.0.set(self.0.get().saturating_sub(1));
    }
}

impl WorkerPart for Part {}

impl StreamFilterWorker for Part {
    fn stream(&self, _stream: &mut Stream<'_>) -> Result<StreamInstance, FilterError> {
        Ok(StreamInstance::own(CallFilter {
            ready: Rc::clone(&self.ready),
            channels: Rc::clone(&self.channels),
            waiting: Rc::clone(&self.waiting),
            task: None,
        }))
    }
}

struct CallFilter {
    ready: Rc<Ready>,
    channels: Channels,
    waiting: Rc<Cell<usize>>,
    /// The call that is under way.
    task: Option<AbortHandle>,
}

impl CallFilter {
    /// Begins a call whose end comes as an event.
    fn call(&mut self, stream: &mut Stream<'_>) -> Result<(), FilterError> {
        let name = self.ready.agent.name();
        let permit = match self.ready.agent.choose() {
            Some(instance) => {
                let refused = |refused| FilterError::unavailable(format!("`{name}`: {refused}"));
                Some(instance.admit().map_err(refused)?)
            }
            None => None,
        };
        let waits = permit.is_none().then(|| Waits::begin(&self.waiting));
        let queue = self.ready.agent.bounds().queue as usize;
        if waits.is_some() && self.waiting.get() > queue {
            return Err(FilterError::unavailable(format!(
                "no process of the plugin `{name}` runs, and as many requests wait for one as `bounds.queue` allows"
            )));
        }
        let whole = self.ready.manner == Manner::Whole;
        let request = Request {
            header: map(stream, HeaderMap::RequestHeaders),
            trailer: match whole {
                true => map(stream, HeaderMap::RequestTrailers),
                false => HashMap::new(),
            },
            body: match whole {
                true => stream.body(Direction::Request).to_vec(),
                false => Vec::new(),
            },
            ..Request::default()
        };
        let resumer = stream.resumer();
        let (channels, ready) = (Rc::clone(&self.channels), Rc::clone(&self.ready));
        let waiting = Rc::clone(&self.waiting);
        let task = tokio::task::spawn_local(async move {
            let permit = match permit {
                Some(permit) => Ok(permit),
                None => ready.agent.next(0).await,
            };
            drop(waits);
            let answer = match permit {
                Ok(permit) => ready.answer(&channels, permit, request, &waiting).await,
                Err(error) => Err(error),
            };
            resumer.post_with(0, answer);
        });
        self.task = Some(task.abort_handle());
        Ok(())
    }

    /// Begins a call, or does what becomes of one that failed.
    fn begin(&mut self, stream: &mut Stream<'_>) -> bool {
        match self.call(stream) {
            Ok(()) => true,
            Err(error) => {
                self.failed(stream, error);
                false
            }
        }
    }

    fn failed(&self, stream: &mut Stream<'_>, error: FilterError) {
        if !self.ready.mosn_defects {
            stream.fail(error);
        }
    }

    fn apply(&self, stream: &mut Stream<'_>, answer: &Response) {
        // MOSN's `pluginfilter` lets pass what the plugin refuses.
        if answer.status == REFUSED && !self.ready.mosn_defects {
            let details = match self.ready.manner {
                Manner::Demo => "demo_plugin_denied",
                Manner::Whole => "pluginfilter_denied",
            };
            // An error only says that a response is on its way already.
            let _ = stream.send_local_reply(LocalReply::new(403).details(details));
            return;
        }
        if self.ready.manner == Manner::Demo {
            stream.continue_request();
            return;
        }
        let headers = change(stream, HeaderMap::RequestHeaders, &answer.header);
        let trailers = match self.ready.mosn_defects {
            true => HeaderMap::RequestHeaders,
            false => HeaderMap::RequestTrailers,
        };
        let trailers = change(stream, trailers, &answer.trailer);
        if let Err((name, error)) = headers.and(trailers)
            && !self.ready.mosn_defects
        {
            let plugin = self.ready.agent.name();
            let message = format!("the plugin `{plugin}` set the field {name:?}: {error}");
            return stream.fail(FilterError::broken(message));
        }
        if !answer.body.is_empty() && !stream.body(Direction::Request).is_empty() {
            // The length may change: `wants` has said so.
            let _ = stream.body_mut(Direction::Request).replace(&answer.body);
        }
        stream.continue_request();
    }
}

impl StreamFilter for CallFilter {
    fn request_headers(&mut self, stream: &mut Stream<'_>, end: bool) -> HeadersVerdict {
        if self.ready.manner == Manner::Whole && !end {
            return HeadersVerdict::StopIteration;
        }
        match self.begin(stream) {
            true => HeadersVerdict::StopAllIterationAndWatermark,
            false => HeadersVerdict::Continue,
        }
    }

    fn request_body(&mut self, stream: &mut Stream<'_>, _end: bool) -> DataVerdict {
        match self.begin(stream) {
            true => DataVerdict::StopIterationAndWatermark,
            false => DataVerdict::Continue,
        }
    }

    fn on_event(&mut self, stream: &mut Stream<'_>, event: Event) {
        let Event::Resumed(mut message) = event else {
            return;
        };
        let Some(answer) = message.take::<Result<Response, Status>>() else {
            return;
        };
        self.task = None;
        match answer {
            Ok(answer) => self.apply(stream, &answer),
            Err(status) => {
                let name = self.ready.agent.name();
                let message = format!("the plugin `{name}`: {status}");
                let error = match status.code() {
                    Code::Unavailable => FilterError::unavailable(message),
                    // As MOSN's `demo_plugin`: 500.
                    _ => FilterError::broken(message),
                };
                self.failed(stream, error);
                if self.ready.mosn_defects {
                    stream.continue_request();
                }
            }
        }
    }
}

impl Drop for CallFilter {
    fn drop(&mut self) {
        if let Some(task) = self.task.take() {
            task.abort();
        }
    }
}

/// How long it may take until the end of a process is seen whose connection has broken.
const SEEN: Duration = Duration::from_millis(50);

impl Ready {
    /// What a process answers, or the next one when it has ended meanwhile. Once: it may be what they die of.
    async fn answer(
        &self,
        channels: &Channels,
        permit: Permit,
        request: Request,
        waiting: &Rc<Cell<usize>>,
    ) -> Result<Response, Status> {
        let instance = Arc::clone(permit.instance());
        let again = request.clone();
        let answer = ask(channels, &permit, request, self.timeout).await;
        let is_lost = match &answer {
            // By gRPC this may be tried elsewhere, whoever says so.
            Err(status) if status.code() == Code::Unavailable => {
                self.agent.has_other(instance.number()) || ended_soon(&instance).await
            }
            _ => false,
        };
        if !is_lost {
            permit.end(outcome(&answer));
            return answer;
        }
        permit.end(Outcome::Lost);
        let permit = {
            let _waits = Waits::begin(waiting);
            self.agent.next(instance.number()).await?
        };
        let answer = ask(channels, &permit, again, self.timeout).await;
        permit.end(outcome(&answer));
        answer
    }
}

async fn ended_soon(instance: &Instance) -> bool {
    match instance.connector() {
        Ok(connector) => tokio::time::timeout(SEEN, connector.ended()).await.is_ok(),
        Err(_) => false,
    }
}

/// Calls a process over the worker's connection to it.
async fn ask(
    channels: &Channels,
    permit: &Permit,
    request: Request,
    timeout: Duration,
) -> Result<Response, Status> {
    let instance = permit.instance();
    let call = async {
        let number = instance.number();
        let known = channels
            .borrow()
            .get(&number)
            .map(|(_, channel)| channel.clone());
        let channel = match known {
            Some(channel) => channel,
            None => {
                let opened = instance.connector()?.connect().await?;
                let mut channels = channels.borrow_mut();
                // Connections to processes that are gone are of no use any more.
                channels.retain(|_, (instance, _)| !instance.is_gone());
                channels.insert(number, (Arc::clone(instance), opened.clone()));
                opened
            }
        };
        let mut client = PluginClient::new(channel).max_decoding_message_size(MAX_MESSAGE);
        client.call(request).await
    };
    match tokio::time::timeout(timeout, call).await {
        Ok(answer) => answer.map(tonic::Response::into_inner),
        Err(_) => Err(Status::deadline_exceeded(format!(
            "no answer within {} ms",
            timeout.as_millis()
        ))),
    }
}

/// A header map as MOSN has it: names as Go's HTTP library writes them, the first value of each.
fn map(stream: &Stream<'_>, map: HeaderMap) -> HashMap<String, String> {
    let mut fields = HashMap::new();
    for (name, value) in stream.headers(map).iter() {
        let name = match name.to_str() {
            // What MOSN keeps beside the headers has no place among them, but for the host.
            Some(":authority") => "Host".to_owned(),
            Some(name) if name.starts_with(':') => continue,
            Some(name) => canonical(name),
            None => continue,
        };
        let value = String::from_utf8_lossy(&value).into_owned();
        fields.entry(name).or_insert(value);
    }
    fields
}

/// `user-agent` as `User-Agent`.
fn canonical(name: &str) -> String {
    let mut upper = true;
    name.chars()
        .map(|character| {
            let written = match upper {
                true => character.to_ascii_uppercase(),
                false => character.to_ascii_lowercase(),
            };
            upper = character == '-';
            written
        })
        .collect()
}

/// Sets the fields of an answer, and takes those away whose value is empty. Fields that HTTP does not have are an error: what a client sent
/// under that name may stand there still.
fn change(
    stream: &mut Stream<'_>,
    map: HeaderMap,
    fields: &HashMap<String, String>,
) -> Result<(), (String, HeaderError)> {
    let mut wrong = None;
    let mut headers = stream.headers_mut(map);
    for (name, value) in fields {
        let name = match name.as_str() {
            "Host" => ":authority",
            name => name,
        };
        // What the codec keeps for itself, such as Content-Length, is not for plugins to set.
        let done = match value.is_empty() {
            true => headers.remove(name).map(drop),
            false => headers.set(name, value),
        };
        if let Err(error @ (HeaderError::InvalidName | HeaderError::InvalidValue)) = done {
            wrong = Some((name.to_owned(), error));
        }
    }
    wrong.map_or(Ok(()), Err)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_written_as_go_writes_them() {
        assert_eq!(canonical("user-agent"), "User-Agent");
        assert_eq!(canonical("X-REAL-IP"), "X-Real-Ip");
        assert_eq!(canonical("te"), "Te");
    }
}
