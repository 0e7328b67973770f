//! `fault`: delays requests and answers them with an error, by chance: to see how clients and alarms take it.
//!
//! | key | default | what |
//! |---|---|---|
//! | `delay.duration` | | how long a request waits |
//! | `delay.percentage` | 100 | how many of a hundred requests wait; fractions are allowed |
//! | `abort.status` | | the status of the answer, 200 to 599 |
//! | `abort.percentage` | 100 | how many of a hundred requests are answered here |
//! | `headers` | none | only requests with these headers meet a fault: name (without case) to exact value |
//! | `max_delays` | 1024 | how many requests may wait at a time on each worker; more go on at once |
//!
//! ```yaml
//! stream_filters:
//!   - name: fault
//!     config:
//!       delay: {duration: 200ms, percentage: 10}
//!       abort: {status: 503, percentage: 0.5}
//!       headers: {x-chaos: "yes"}
//! ```
//!
//! Delay and abort are drawn for each request apart; a request that draws both waits and is answered then. A waiting
//! request is read up to the watermark, and the time it waits counts against the timeout of its stream. The answer's
//! detail in the access log is `fault_filter_abort`; the response flags are `DI` for a delay and `FI` for an answer.
//!
//! A route's configuration has the same keys but `max_delays` and holds in place of the listener's; an empty one means
//! no faults on that route. An empty one at the listener leaves all to the routes. The filter runs after the route was
//! found (`phase:` of the use changes that).
//!
//! | metric | what |
//! |---|---|
//! | `transom_fault_delays_total{filter}` | requests delayed |
//! | `transom_fault_delays_skipped_total{filter}` | requests that drew a delay while `max_delays` were waiting |
//! | `transom_fault_aborts_total{filter}` | requests answered |

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use transom_api::builtin::Builtin;
use transom_api::stream::StreamFilterWorker;
use transom_api::{
    BuildError, Counter, Event, FilterError, HeadersVerdict, LocalReply, Node, ParseError, Phase,
    PrepareContext, PrepareError, ResponseFlags, Schema, Shape, Stream, StreamFilter,
    StreamInstance, TimerId, Wants, Worker, WorkerPart,
};

use crate::random::{Random, Share};
use crate::required_headers::RequiredHeaders;

/// Enough for any test that a person watches, and few enough that the waiting requests stay small beside the others.
const MAX_DELAYS: u32 = 1_024;

/// The configuration of a listener or of a route.
#[derive(Clone, Debug)]
pub struct Fault {
    rule: Rule,
    max_delays: u32,
    /// Of the listener's configuration only.
    metrics: Option<FaultMetrics>,
}

/// Which requests meet which faults.
#[derive(Clone, Debug)]
struct Rule {
    delay: Option<(Duration, Share)>,
    abort: Option<(u16, Share)>,
    headers: RequiredHeaders,
}

#[derive(Clone, Copy, Debug)]
struct FaultMetrics {
    delays: Counter,
    skipped: Counter,
    aborts: Counter,
}

impl Builtin for Fault {
    type Filter = FaultFilter;

    fn schema() -> Schema {
        let duration = Schema::new(Shape::Duration).describe("How long a request waits.");
        let status = Schema::new(Shape::Integer(200, 599)).describe("The status of the answer.");
        Schema::object()
            .optional(
                "delay",
                Schema::object()
                    .required("duration", duration)
                    .optional("percentage", Share::schema())
                    .describe("Lets requests wait before they go on. By default none."),
            )
            .optional(
                "abort",
                Schema::object()
                    .required("status", status)
                    .optional("percentage", Share::schema())
                    .describe("Answers requests in place of the upstream. By default none."),
            )
            .optional(
                "headers",
                RequiredHeaders::schema().describe(
                    "Only requests with all of these headers meet a fault: name (without case) to exact value. By default all requests.",
                ),
            )
            .optional(
                "max_delays",
                Schema::new(Shape::Integer(0, u32::MAX.into()))
                    .describe(
                        "How many requests may wait at a time on each worker; more go on at once. Not on routes.",
                    )
                    .or(i64::from(MAX_DELAYS)),
            )
            .describe("Delays requests and answers them with an error, by chance. A route's configuration holds in place of the listener's.")
    }

    fn parse(node: &Node) -> Result<Self, ParseError> {
        let mut fields = node.as_fields()?;
        let delay = fields.optional("delay").map(parse_delay).transpose()?;
        let abort = fields.optional("abort").map(parse_abort).transpose()?;
        let headers = RequiredHeaders::parse(fields.optional("headers").unwrap_or(&Node::null()))?;
        let max_delays = fields.optional("max_delays");
        let max_delays = max_delays.map_or(Ok(MAX_DELAYS), Node::as_integer)?;
        fields.finish()?;
        Ok(Self {
            rule: Rule {
                delay,
                abort,
                headers,
            },
            max_delays,
            metrics: None,
        })
    }

    fn parse_route(node: &Node) -> Result<Self, ParseError> {
        if let Some(max_delays) = node.entry("max_delays") {
            return Err(max_delays
                .error("`max_delays` holds for the filter, not for a route")
                .with_help("set it where the filter is used in the listener"));
        }
        Self::parse(node)
    }

    fn prepare(&mut self, context: &PrepareContext) -> Result<(), PrepareError> {
        let counter = |name, help| {
            context
                .metrics
                .counter(name, help, &[("filter", &context.instance)])
        };
        self.metrics = Some(FaultMetrics {
            delays: counter("fault_delays_total", "Requests that fault delayed.")?,
            skipped: counter(
                "fault_delays_skipped_total",
                "Requests that fault did not delay because max_delays were waiting.",
            )?,
            aborts: counter("fault_aborts_total", "Requests that fault answered.")?,
        });
        Ok(())
    }

    fn wants(&self) -> Wants {
        Wants::REQUEST_HEADERS
    }

    fn phase(&self) -> Phase {
        Phase::AfterRoute
    }

    /// A filter by itself, which shares its generator and its count of delays with no other.
    fn filter(&self) -> FaultFilter {
        FaultWorker::new(self.clone(), 0).filter()
    }

    fn on_worker(&self, worker: &mut Worker<'_>) -> Result<Rc<dyn StreamFilterWorker>, BuildError> {
        Ok(Rc::new(FaultWorker::new(
            self.clone(),
            Random::seed(worker.index()),
        )))
    }
}

/// A worker's part: what its streams share.
struct FaultWorker(Rc<Shared>);

#[derive(Debug)]
struct Shared {
    config: Fault,
    random: Random,
    /// Requests that wait now.
    waiting: Cell<u32>,
}

impl FaultWorker {
    fn new(config: Fault, seed: u64) -> Self {
        Self(Rc::new(Shared {
            config,
            random: Random::new(seed),
            waiting: Cell::new(0),
        }))
    }

    fn filter(&self) -> FaultFilter {
        FaultFilter {
            shared: Rc::clone(&self.0),
            wait: None,
        }
    }
}

impl WorkerPart for FaultWorker {}

impl StreamFilterWorker for FaultWorker {
    fn stream(&self, _stream: &mut Stream<'_>) -> Result<StreamInstance, FilterError> {
        Ok(StreamInstance::own(self.filter()))
    }
}

/// The filter of a stream.
#[derive(Debug)]
pub struct FaultFilter {
    shared: Rc<Shared>,
    wait: Option<Wait>,
}

/// A request that waits. Its end, however it comes, makes room for another.
#[derive(Debug)]
struct Wait {
    shared: Rc<Shared>,
    timer: TimerId,
    then_abort: Option<u16>,
}

impl Drop for Wait {
    fn drop(&mut self) {
        let waiting = &self.shared.waiting;
        waiting.set(waiting.get().saturating_sub(1));
    }
}

impl StreamFilter for FaultFilter {
    fn request_headers(&mut self, stream: &mut Stream<'_>, _end: bool) -> HeadersVerdict {
        let route = stream.route_config::<Fault>();
        let rule = &route.unwrap_or(&self.shared.config).rule;
        if !rule.headers.are_in(&stream.request()) {
            return HeadersVerdict::Continue;
        }
        let delay = self.shared.draw(rule.delay);
        let abort = self.shared.draw(rule.abort);
        if let Some(duration) = delay {
            self.wait = self.shared.wait(stream, duration, abort);
            if self.wait.is_some() {
                return HeadersVerdict::StopAllIterationAndWatermark;
            }
        }
        let Some(status) = abort else {
            return HeadersVerdict::Continue;
        };
        self.shared.abort(stream, status);
        HeadersVerdict::StopIteration
    }

    fn on_event(&mut self, stream: &mut Stream<'_>, event: Event) {
        let Event::Timer(timer) = event else { return };
        let Some(wait) = self.wait.take_if(|wait| wait.timer == timer) else {
            return;
        };
        match wait.then_abort {
            Some(status) => self.shared.abort(stream, status),
            None => stream.continue_request(),
        }
    }
}

impl Shared {
    /// The fault, if this request draws it.
    fn draw<T>(&self, fault: Option<(T, Share)>) -> Option<T> {
        let (fault, share) = fault?;
        self.random.draws(share).then_some(fault)
    }

    /// Begins to wait, unless as many as may are waiting.
    fn wait(
        self: &Rc<Self>,
        stream: &mut Stream<'_>,
        duration: Duration,
        then_abort: Option<u16>,
    ) -> Option<Wait> {
        if self.waiting.get() >= self.config.max_delays {
            self.count(stream, |metrics| metrics.skipped);
            return None;
        }
        self.count(stream, |metrics| metrics.delays);
        self.waiting.set(self.waiting.get() + 1);
        stream.add_response_flags(ResponseFlags::DELAY_INJECTED);
        Some(Wait {
            shared: Rc::clone(self),
            timer: stream.set_timer(duration),
            then_abort,
        })
    }

    fn abort(&self, stream: &mut Stream<'_>, status: u16) {
        let reply = LocalReply::new(status)
            .body("fault filter abort\n")
            .details("fault_filter_abort");
        // An error says that a response is on its way already: then it is no more ours to answer.
        if stream.send_local_reply(reply).is_ok() {
            stream.add_response_flags(ResponseFlags::FAULT_INJECTED);
            self.count(stream, |metrics| metrics.aborts);
        }
    }

    fn count(&self, stream: &Stream<'_>, which: impl FnOnce(&FaultMetrics) -> Counter) {
        if let Some(metrics) = &self.config.metrics {
            stream.count(which(metrics), 1);
        }
    }
}

fn parse_delay(node: &Node) -> Result<(Duration, Share), ParseError> {
    let mut fields = node.as_fields()?;
    let duration = fields.required("duration")?;
    let percentage = Share::parse(fields.optional("percentage"))?;
    fields.finish()?;
    let length = duration.as_duration()?;
    if length.is_zero() {
        return Err(duration
            .error("a delay must be longer than nothing")
            .with_help("leave `delay` out for none"));
    }
    Ok((length, percentage))
}

fn parse_abort(node: &Node) -> Result<(u16, Share), ParseError> {
    let mut fields = node.as_fields()?;
    let status = fields.required("status")?;
    let percentage = Share::parse(fields.optional("percentage"))?;
    fields.finish()?;
    status.as_integer_in(200..=599)?;
    Ok((status.as_integer()?, percentage))
}

#[cfg(test)]
mod tests;
