//! `mirror`: sends copies of requests to another cluster and throws the answers away: to try a new version with real
//! traffic.
//!
//! | key | default | what |
//! |---|---|---|
//! | `cluster` | must be given | where the copies go |
//! | `clusters` | none | the clusters that routes may name in place of it |
//! | `percentage` | 100 | how many of a hundred requests are copied; fractions are allowed |
//! | `copies` | 1 | how many copies of each, 1 to 100 |
//! | `max_body` | `64KiB` | the longest body that is copied; requests with a longer one are not |
//! | `suffix` | `-shadow` | what is put behind the host's name in a copy, so that the other side can tell |
//! | `timeout` | `5s` | how long an answer may take |
//! | `max_pending` | 1024 | how many copies may be under way at a time on each worker; more are not sent |
//!
//! ```yaml
//! stream_filters:
//!   - {name: mirror, config: {cluster: next, percentage: 10}}
//! ```
//!
//! A copy leaves when the whole request has come, with the headers that the request has at this filter; the request itself
//! waits for nothing, and whatever becomes of the copy, nothing becomes of the request. Fields that concern one connection
//! are not copied. A request whose client leaves before it is whole is not copied, and
//! neither is one for a tunnel.
//!
//! A route's configuration has the keys `cluster`, `percentage`, `copies`, `max_body`, `suffix` and `timeout` and holds in
//! place of the listener's; its cluster must be the listener's or stand in the listener's `clusters`. The filter runs after
//! the route was found.
//!
//! | metric | what |
//! |---|---|
//! | `transom_mirror_sent_total{filter}` | copies sent |
//! | `transom_mirror_failed_total{filter}` | copies that got no answer |
//! | `transom_mirror_skipped_total{filter}` | requests not copied: too long, or too many under way |

use std::cell::Cell;
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use transom_api::builtin::Builtin;
use transom_api::stream::StreamFilterWorker;
use transom_api::{
    BuildError, Counter, DataVerdict, Direction, Drain, Event, FilterError, HeaderMap,
    HeadersVerdict, HttpCall, Level, Node, ParseError, Phase, PrepareContext, PrepareError,
    Resumer, Schema, Shape, Stream, StreamFilter, StreamInstance, TrailersVerdict, Wants, Worker,
    WorkerPart, field,
};

use crate::random::{Random, Share};
use crate::tunnel;

/// Copies are kept in memory whole.
const MAX_BODY: u64 = 64 << 10;
/// Enough for a slow other side at a good rate, and at most 64 MiB of bodies.
const MAX_PENDING: u32 = 1_024;
const TIMEOUT: Duration = Duration::from_secs(5);

/// The configuration of a listener or of a route. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Mirror {
    rule: Arc<Rule>,
    /// Of the listener's configuration only.
    clusters: Vec<String>,
    max_pending: u32,
    metrics: Option<MirrorMetrics>,
}

#[derive(Debug)]
struct Rule {
    cluster: String,
    percentage: Share,
    copies: u32,
    max_body: u64,
    suffix: String,
    timeout: Duration,
}

#[derive(Clone, Copy, Debug)]
struct MirrorMetrics {
    sent: Counter,
    failed: Counter,
    skipped: Counter,
}

impl Builtin for Mirror {
    type Filter = MirrorFilter;

    fn schema() -> Schema {
        Schema::object()
            .required("cluster", Schema::string().describe("Where the copies go."))
            .optional(
                "clusters",
                Schema::list(Schema::string())
                    .describe("The clusters that routes may name in place of it. Not on routes."),
            )
            .optional("percentage", Share::schema())
            .optional(
                "copies",
                Schema::new(Shape::Integer(1, 100))
                    .describe("How many copies of each request.")
                    .or(1),
            )
            .optional(
                "max_body",
                Schema::new(Shape::Size)
                    .describe("The longest body that is copied; requests with a longer one are not.")
                    .or("64KiB"),
            )
            .optional(
                "suffix",
                Schema::string()
                    .describe("What is put behind the host's name in a copy.")
                    .or("-shadow"),
            )
            .optional(
                "timeout",
                Schema::new(Shape::Duration)
                    .describe("How long an answer may take.")
                    .or("5s"),
            )
            .optional(
                "max_pending",
                Schema::new(Shape::Integer(1, u32::MAX.into()))
                    .describe("How many copies may be under way at a time on each worker; more are not sent. Not on routes.")
                    .or(i64::from(MAX_PENDING)),
            )
            .describe("Sends copies of requests to another cluster and throws the answers away. A route's configuration holds in place of the listener's.")
    }

    fn parse(node: &Node) -> Result<Self, ParseError> {
        let mut fields = node.as_fields()?;
        let cluster = fields.required("cluster")?;
        let clusters = fields.optional("clusters");
        let percentage = fields.optional("percentage");
        let copies = fields.optional("copies");
        let max_body = fields.optional("max_body");
        let suffix = fields.optional("suffix");
        let timeout = fields.optional("timeout");
        let max_pending = fields.optional("max_pending");
        fields.finish()?;
        let count = |node: &Node, most: i64| {
            node.as_integer_in(1..=most)?;
            node.as_integer::<u32>()
        };
        let cluster = cluster.as_str()?.to_owned();
        let mut allowed = vec![cluster.clone()];
        for name in clusters.map_or(Ok(&[][..]), Node::as_list)? {
            allowed.push(name.as_str()?.to_owned());
        }
        Ok(Self {
            rule: Arc::new(Rule {
                cluster,
                percentage: Share::parse(percentage)?,
                copies: copies.map_or(Ok(1), |node| count(node, 100))?,
                max_body: max_body.map_or(Ok(MAX_BODY), Node::as_size)?,
                suffix: suffix.map_or_else(|| Ok("-shadow".to_owned()), parse_suffix)?,
                timeout: timeout.map_or(Ok(TIMEOUT), parse_timeout)?,
            }),
            clusters: allowed,
            max_pending: max_pending
                .map_or(Ok(MAX_PENDING), |node| count(node, u32::MAX.into()))?,
            metrics: None,
        })
    }

    fn parse_route(node: &Node) -> Result<Self, ParseError> {
        for key in ["clusters", "max_pending"] {
            if let Some(value) = node.entry(key) {
                return Err(value
                    .error(format!("`{key}` holds for the filter, not for a route"))
                    .with_help("set it where the filter is used in the listener"));
            }
        }
        Self::parse(node)
    }

    fn clusters(&self) -> Vec<String> {
        self.clusters.clone()
    }

    fn prepare(&mut self, context: &PrepareContext) -> Result<(), PrepareError> {
        let counter = |name, help| {
            let labels = [("filter", &*context.instance)];
            context.metrics.counter(name, help, &labels)
        };
        self.metrics = Some(MirrorMetrics {
            sent: counter("mirror_sent_total", "Copies of requests that mirror sent.")?,
            failed: counter("mirror_failed_total", "Copies that got no answer.")?,
            skipped: counter(
                "mirror_skipped_total",
                "Requests not copied: too long, or too many under way.",
            )?,
        });
        Ok(())
    }

    fn wants(&self) -> Wants {
        Wants::REQUEST_HEADERS
            .and(Wants::REQUEST_BODY)
            .and(Wants::REQUEST_TRAILERS)
    }

    fn phase(&self) -> Phase {
        Phase::AfterRoute
    }

    /// A filter by itself, which has no worker's part to send copies by: it copies nothing.
    fn filter(&self) -> MirrorFilter {
        MirrorFilter {
            shared: Rc::new(Shared::new(self.clone(), 0)),
            sender: None,
            copy: None,
        }
    }

    fn on_worker(&self, worker: &mut Worker<'_>) -> Result<Rc<dyn StreamFilterWorker>, BuildError> {
        Ok(Rc::new(MirrorWorker {
            shared: Rc::new(Shared::new(self.clone(), Random::seed(worker.index()))),
            sender: worker.resumer(),
        }))
    }
}

/// A worker's part: it sends the copies, as they outlive the streams they were made of.
struct MirrorWorker {
    shared: Rc<Shared>,
    sender: Resumer,
}

/// What the streams of a worker share.
#[derive(Debug)]
struct Shared {
    config: Mirror,
    random: Random,
    /// Copies under way, or on their way to be.
    pending: Cell<u32>,
    /// The part was asked to end and waits for them.
    draining: Cell<bool>,
}

impl StreamFilterWorker for MirrorWorker {
    fn stream(&self, _stream: &mut Stream<'_>) -> Result<StreamInstance, FilterError> {
        Ok(StreamInstance::own(MirrorFilter {
            shared: Rc::clone(&self.shared),
            sender: Some(self.sender.clone()),
            copy: None,
        }))
    }
}

impl WorkerPart for MirrorWorker {
    fn on_event(&self, worker: &mut Worker<'_>, event: Event) {
        match event {
            Event::Resumed(mut message) => {
                let Some(call) = message.take::<HttpCall>() else {
                    return;
                };
                let cluster = call.cluster.clone();
                if let Err(error) = worker.http_call(call) {
                    if worker.log_enabled(Level::Warn) {
                        let line = format!("no copy could be sent to `{cluster}`: {error}");
                        worker.log(Level::Warn, &line);
                    }
                    self.ended(worker, true);
                } else if let Some(metrics) = &self.shared.config.metrics {
                    worker.count(metrics.sent, 1);
                }
            }
            Event::Callout(done) => self.ended(worker, done.result.is_err()),
            _ => {}
        }
    }

    fn drain(&self, _worker: &mut Worker<'_>) -> Drain {
        if self.shared.pending.get() == 0 {
            return Drain::Done;
        }
        self.shared.draining.set(true);
        Drain::More
    }
}

impl MirrorWorker {
    fn ended(&self, worker: &mut Worker<'_>, failed: bool) {
        if let Some(metrics) = self.shared.config.metrics.as_ref().filter(|_| failed) {
            worker.count(metrics.failed, 1);
        }
        let pending = self.shared.pending.get().saturating_sub(1);
        self.shared.pending.set(pending);
        if pending == 0 && self.shared.draining.get() {
            worker.drained();
        }
    }
}

impl Shared {
    fn new(config: Mirror, seed: u64) -> Self {
        Self {
            config,
            random: Random::new(seed),
            pending: Cell::new(0),
            draining: Cell::new(false),
        }
    }
}

/// The filter of a stream.
pub struct MirrorFilter {
    shared: Rc<Shared>,
    sender: Option<Resumer>,
    /// What is copied, while it comes.
    copy: Option<(HttpCall, Arc<Rule>)>,
}

impl StreamFilter for MirrorFilter {
    fn request_headers(&mut self, stream: &mut Stream<'_>, end: bool) -> HeadersVerdict {
        let config = stream
            .route_config::<Mirror>()
            .unwrap_or(&self.shared.config);
        let rule = Arc::clone(&config.rule);
        if tunnel::is_asked(&stream.request()) || !self.shared.random.draws(rule.percentage) {
            self.stop_looking(stream);
            return HeadersVerdict::Continue;
        }
        self.copy = Some((rule.begin(stream), rule));
        if end {
            self.send(stream);
        }
        HeadersVerdict::Continue
    }

    fn request_body(&mut self, stream: &mut Stream<'_>, end: bool) -> DataVerdict {
        if let Some((call, rule)) = &mut self.copy {
            let body = stream.body(Direction::Request);
            if (call.body.len() + body.len()) as u64 > rule.max_body {
                self.skip(stream);
                self.stop_looking(stream);
                return DataVerdict::Continue;
            }
            for chunk in body.chunks() {
                call.body.extend_from_slice(&chunk);
            }
        }
        if end {
            self.send(stream);
        }
        DataVerdict::Continue
    }

    fn request_trailers(&mut self, stream: &mut Stream<'_>) -> TrailersVerdict {
        if let Some((call, _)) = &mut self.copy {
            let trailers = stream.headers(HeaderMap::RequestTrailers);
            for (name, value) in trailers.iter() {
                call.trailers.push((name.into_owned(), value.into_owned()));
            }
            self.send(stream);
        }
        TrailersVerdict::Continue
    }
}

impl MirrorFilter {
    /// The request is whole: hands its copies to the worker's part.
    fn send(&mut self, stream: &Stream<'_>) {
        let Some((call, rule)) = self.copy.take() else {
            return;
        };
        let pending = &self.shared.pending;
        let after = pending.get().saturating_add(rule.copies);
        let Some(sender) = self
            .sender
            .as_ref()
            .filter(|_| after <= self.shared.config.max_pending)
        else {
            return self.skip(stream);
        };
        pending.set(after);
        for _ in 1..rule.copies {
            sender.post_with(0, call.clone());
        }
        sender.post_with(0, call);
    }

    fn skip(&mut self, stream: &Stream<'_>) {
        self.copy = None;
        if let Some(metrics) = &self.shared.config.metrics {
            stream.count(metrics.skipped, 1);
        }
    }

    fn stop_looking(&self, stream: &mut Stream<'_>) {
        stream.forgo(Wants::REQUEST_BODY.and(Wants::REQUEST_TRAILERS));
    }
}

impl Rule {
    /// A copy of a request's headers.
    fn begin(&self, stream: &Stream<'_>) -> HttpCall {
        let mut call = HttpCall {
            cluster: self.cluster.clone(),
            timeout: Some(self.timeout),
            ..HttpCall::default()
        };
        for (name, value) in stream.request().iter() {
            if field::is_reserved(&name) {
                continue;
            }
            let value = match field::Pseudo::of(&name) {
                Some(field::Pseudo::Authority) => self.mark(&value),
                _ => value.into_owned(),
            };
            call.headers.push((name.into_owned(), value));
        }
        call
    }

    /// Puts the suffix behind the host's name and before its port. An address has no name that could take it.
    fn mark(&self, authority: &[u8]) -> Vec<u8> {
        let colon = authority.iter().rposition(|byte| *byte == b':');
        let (host, port) = colon
            .filter(|_| !authority.ends_with(b"]"))
            .and_then(|at| authority.split_at_checked(at))
            .unwrap_or((authority, b""));
        if host.ends_with(b"]") || host.is_empty() {
            return authority.to_vec();
        }
        [host, self.suffix.as_bytes(), port].concat()
    }
}

fn parse_suffix(node: &Node) -> Result<String, ParseError> {
    let suffix = node.as_str()?;
    let good = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    if suffix.bytes().all(good) {
        return Ok(suffix.to_owned());
    }
    Err(node
        .error(format!("{suffix:?} cannot stand in a host's name"))
        .with_help("it may have letters, digits, dots, `-` and `_`"))
}

fn parse_timeout(node: &Node) -> Result<Duration, ParseError> {
    let timeout = node.as_duration()?;
    if timeout.is_zero() {
        return Err(node.error("a timeout must be longer than nothing"));
    }
    Ok(timeout)
}

impl fmt::Debug for MirrorFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MirrorFilter").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
