//! `health_check`: answers the requests by which load balancers ask whether this proxy is well.
//!
//! | key | default | what |
//! |---|---|---|
//! | `path` | must be given | the path that they ask for, exactly, without regard to a query |
//! | `headers` | none | only requests with these headers ask: name (without case) to exact value |
//! | `mode` | `answer` | `answer`: 200 from here. `pass_through`: the upstream answers |
//! | `cache` | none | with `pass_through`: for so long the status that the upstream gave last is the answer, from here |
//!
//! ```yaml
//! stream_filters:
//!   - {name: health_check, config: {path: /healthz}}
//! ```
//!
//! With `cache`, one status holds for all workers, and a reload keeps it; the many balancers of a large site ask the
//! upstream once in that time between them. Answers of the proxy's own (no host can be reached) are kept like the
//! upstream's. The access log's detail is `health_check_ok` or `health_check_cached`.
//!
//! The filter stands before those that refuse or limit requests, so that they do not see the checks. It marks all checks,
//! passed through or not, with `health_check: true` in the dynamic metadata `transom`, by which later filters and logs
//! can tell them. Other requests pass without costing anything.
//!
//! A route's configuration has the same keys and holds in place of the listener's; the cache of a route begins anew when
//! its route table changes.
//!
//! | metric | what |
//! |---|---|
//! | `transom_health_check_answered_total{filter}` | checks answered here, from the cache or not |
//! | `transom_health_check_passed_total{filter}` | checks passed through |

mod cache;

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use transom_api::builtin::Builtin;
use transom_api::stream::StreamFilterWorker;
use transom_api::{
    BuildError, Counter, FilterError, HeadersVerdict, LocalReply, Node, ParseError, PrepareContext,
    PrepareError, ResponseFlags, Schema, Shape, Stream, StreamFilter, StreamInstance, Wants,
    Worker, WorkerPart,
};

use self::cache::StatusCache;
use crate::required_headers::RequiredHeaders;

/// The configuration of a listener or of a route. Cheap to clone.
#[derive(Clone, Debug)]
pub struct HealthCheck {
    check: Arc<Check>,
    /// In place of the configuration's own, where it outlives that.
    kept: Option<Arc<StatusCache>>,
    /// Of the listener's configuration only.
    metrics: Option<HealthCheckMetrics>,
}

#[derive(Debug)]
struct Check {
    path: String,
    headers: RequiredHeaders,
    mode: Mode,
}

#[derive(Clone, Debug)]
enum Mode {
    Answer,
    PassThrough,
    Cached(Duration, Arc<StatusCache>),
}

#[derive(Clone, Copy, Debug)]
struct HealthCheckMetrics {
    answered: Counter,
    passed: Counter,
}

impl Builtin for HealthCheck {
    type Filter = HealthCheckFilter;

    fn schema() -> Schema {
        Schema::object()
            .required(
                "path",
                Schema::string().describe("The path that checks ask for, exactly; a query does not matter."),
            )
            .optional(
                "headers",
                RequiredHeaders::schema().describe(
                    "Only requests with all of these headers are checks: name (without case) to exact value. By default all for the path.",
                ),
            )
            .optional(
                "mode",
                Schema::new(Shape::OneOf(vec!["answer", "pass_through"]))
                    .describe("Who answers: the proxy with 200, or the upstream.")
                    .or("answer"),
            )
            .optional(
                "cache",
                Schema::new(Shape::Duration).describe(
                    "With `pass_through`: how long the upstream's last status is the answer. By default not at all.",
                ),
            )
            .describe("Answers the health checks of load balancers, or marks them. A route's configuration holds in place of the listener's.")
    }

    fn parse(node: &Node) -> Result<Self, ParseError> {
        let mut fields = node.as_fields()?;
        let path = fields.required("path")?;
        let headers = fields.optional("headers");
        let mode = fields.optional("mode");
        let cache = fields.optional("cache");
        fields.finish()?;
        let check = Check {
            path: parse_path(path)?,
            headers: RequiredHeaders::parse(headers.unwrap_or(&Node::null()))?,
            mode: parse_mode(mode, cache)?,
        };
        Ok(Self {
            check: Arc::new(check),
            kept: None,
            metrics: None,
        })
    }

    fn prepare(&mut self, context: &PrepareContext) -> Result<(), PrepareError> {
        if let Mode::Cached(..) = &self.check.mode {
            let name = format!("{} {}", context.instance, self.check.path);
            self.kept = Some(context.keep(&name, StatusCache::default));
        }
        let counter = |name, help| {
            let labels = [("filter", &*context.instance)];
            context.metrics.counter(name, help, &labels)
        };
        self.metrics = Some(HealthCheckMetrics {
            answered: counter(
                "health_check_answered_total",
                "Health checks answered by the proxy, from the cache or not.",
            )?,
            passed: counter(
                "health_check_passed_total",
                "Health checks passed through to the upstream.",
            )?,
        });
        Ok(())
    }

    fn wants(&self) -> Wants {
        Wants::REQUEST_HEADERS.and(Wants::RESPONSE_HEADERS)
    }

    fn filter(&self) -> HealthCheckFilter {
        HealthCheckFilter {
            config: self.clone(),
            fills: None,
        }
    }

    fn on_worker(
        &self,
        _worker: &mut Worker<'_>,
    ) -> Result<Rc<dyn StreamFilterWorker>, BuildError> {
        Ok(Rc::new(HealthCheckWorker(self.clone())))
    }
}

/// A worker's part: it gives only health checks a filter.
struct HealthCheckWorker(HealthCheck);

impl WorkerPart for HealthCheckWorker {}

impl StreamFilterWorker for HealthCheckWorker {
    fn stream(&self, stream: &mut Stream<'_>) -> Result<StreamInstance, FilterError> {
        let config = stream.route_config::<HealthCheck>().unwrap_or(&self.0);
        if !config.check.is_asked(stream) {
            return Ok(StreamInstance::Skip);
        }
        Ok(StreamInstance::own(HealthCheckFilter {
            config: HealthCheck {
                metrics: self.0.metrics,
                ..config.clone()
            },
            fills: None,
        }))
    }
}

/// The filter of a health check.
#[derive(Debug)]
pub struct HealthCheckFilter {
    config: HealthCheck,
    /// The cache that waits for the status of the response, and how long that holds.
    fills: Option<(Duration, Arc<StatusCache>)>,
}

impl StreamFilter for HealthCheckFilter {
    fn request_headers(&mut self, stream: &mut Stream<'_>, _end: bool) -> HeadersVerdict {
        stream.set_metadata("transom", "health_check", true);
        let (status, details) = match &self.config.check.mode {
            Mode::Answer => (200, "health_check_ok"),
            Mode::PassThrough => return self.pass(stream),
            Mode::Cached(time, own) => {
                let cache = self.config.kept.as_ref().unwrap_or(own);
                let Some(status) = cache.status() else {
                    self.fills = Some((*time, Arc::clone(cache)));
                    return self.pass(stream);
                };
                (status, "health_check_cached")
            }
        };
        if let Some(metrics) = &self.config.metrics {
            stream.count(metrics.answered, 1);
        }
        // An error says that a response is on its way already: then there is nothing left to answer.
        let answer = stream.send_local_reply(LocalReply::new(status).details(details));
        if answer.is_ok() && status >= 500 {
            stream.add_response_flags(ResponseFlags::FAILED_LOCAL_HEALTH_CHECK);
        }
        HeadersVerdict::StopIteration
    }

    fn response_headers(&mut self, stream: &mut Stream<'_>, _end: bool) -> HeadersVerdict {
        if let Some((time, cache)) = self.fills.take()
            && let Some(status) = stream.response().get(":status")
            && let Some(status) = status.to_str().and_then(|status| status.parse().ok())
        {
            cache.set(status, time);
        }
        HeadersVerdict::Continue
    }
}

impl HealthCheckFilter {
    fn pass(&self, stream: &Stream<'_>) -> HeadersVerdict {
        if let Some(metrics) = &self.config.metrics {
            stream.count(metrics.passed, 1);
        }
        HeadersVerdict::Continue
    }
}

impl Check {
    fn is_asked(&self, stream: &Stream<'_>) -> bool {
        let request = stream.request();
        let is_path = request.get(":path").is_some_and(|path| {
            path.strip_prefix(self.path.as_bytes())
                .is_some_and(|rest| matches!(rest.first(), None | Some(b'?')))
        });
        is_path && self.headers.are_in(&request)
    }
}

fn parse_path(node: &Node) -> Result<String, ParseError> {
    let path = node.as_str()?;
    let good = |byte: u8| byte.is_ascii_graphic() && byte != b'?' && byte != b'#';
    if path.starts_with('/') && path.bytes().all(good) {
        return Ok(path.to_owned());
    }
    Err(node
        .error(format!("{path:?} is no path"))
        .with_help("a path begins with a slash and has no `?`, `#` or white space"))
}

fn parse_mode(mode: Option<&Node>, cache: Option<&Node>) -> Result<Mode, ParseError> {
    let passes = match mode {
        None => false,
        Some(node) => match node.as_str()? {
            "answer" => false,
            "pass_through" => true,
            other => {
                return Err(node
                    .error(format!("unknown mode {other:?}"))
                    .with_help("write `answer` or `pass_through`"));
            }
        },
    };
    let Some(cache) = cache else {
        return Ok(if passes {
            Mode::PassThrough
        } else {
            Mode::Answer
        });
    };
    if !passes {
        return Err(cache
            .error("there is nothing to keep when the proxy answers by itself")
            .with_help("leave `cache` out, or add `mode: pass_through`"));
    }
    let time = cache.as_duration()?;
    if time.is_zero() {
        return Err(cache
            .error("a status must be kept for longer than nothing")
            .with_help("leave `cache` out to keep none"));
    }
    Ok(Mode::Cached(time, Arc::default()))
}

#[cfg(test)]
mod tests;
