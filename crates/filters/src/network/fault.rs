//! `fault`: delays connections, breaks them off and slows them down, by chance: to see how clients and alarms take it.
//!
//! | key | default | what |
//! |---|---|---|
//! | `delay.duration` | | how long a new connection waits before anything is read or a host is connected |
//! | `delay.percentage` | 100 | how many of a hundred connections wait; fractions are allowed |
//! | `abort.percentage` | 100 | how many of a hundred connections are closed when they begin (after their delay) |
//! | `abort.reset` | `false` | closes them by a reset (RST) in place of an end |
//! | `rate_limit.bytes_per_second` | | what passes in a second, in each direction by itself; a size such as `64KiB` |
//! | `rate_limit.percentage` | 100 | how many of a hundred connections are slowed down |
//! | `rate_limit.direction` | `both` | `received` from the client, `sent` to it, or `both` |
//!
//! ```yaml
//! network_filters:
//!   - name: fault
//!     config:
//!       delay: {duration: 200ms, percentage: 10}
//!       abort: {percentage: 0.5, reset: true}
//!       rate_limit: {bytes_per_second: 64KiB, direction: sent}
//! ```
//!
//! Each is drawn for each connection apart. A slowed connection gets its share every 50 ms, and what it does not use is
//! not saved; while bytes wait here, up to 64 KiB in each direction, no more are read from the other side.
//!
//! | metric | what |
//! |---|---|
//! | `transom_network_fault_delays_total{filter}` | connections delayed |
//! | `transom_network_fault_aborts_total{filter}` | connections closed |
//! | `transom_network_fault_rate_limited_total{filter}` | connections slowed down |

use std::rc::Rc;
use std::time::Duration;

use transom_api::builtin::NetworkBuiltin;
use transom_api::network::NetworkFilterWorker;
use transom_api::{
    BuildError, Connection, Counter, Direction, Event, FilterError, NetworkFilter, NetworkVerdict,
    NetworkWants, Node, ParseError, PrepareContext, PrepareError, Schema, Shape, TimerId, Worker,
    WorkerPart,
};

use crate::random::{Random, Share};

/// Bytes are given out so often: seldom enough to cost little, often enough that a person sees no steps.
const TICK: Duration = Duration::from_millis(50);
const TICKS_PER_SECOND: u64 = 20;

/// The configuration.
#[derive(Clone, Debug, Default)]
pub struct Fault {
    delay: Option<(Duration, Share)>,
    /// Whether by a reset.
    abort: Option<(bool, Share)>,
    rate: Option<(RateLimit, Share)>,
    metrics: Option<FaultMetrics>,
}

#[derive(Clone, Copy, Debug)]
struct RateLimit {
    bytes_per_second: u64,
    received: bool,
    sent: bool,
}

#[derive(Clone, Copy, Debug)]
struct FaultMetrics {
    delays: Counter,
    aborts: Counter,
    rate_limited: Counter,
}

impl NetworkBuiltin for Fault {
    type Filter = FaultFilter;

    fn schema() -> Schema {
        let percentage = || {
            Schema::new(Shape::Number(0.0, 100.0))
                .describe("How many of a hundred connections; fractions are allowed.")
                .or(100)
        };
        Schema::object()
            .optional(
                "delay",
                Schema::object()
                    .required(
                        "duration",
                        Schema::new(Shape::Duration).describe("How long a connection waits."),
                    )
                    .optional("percentage", percentage())
                    .describe("Lets new connections wait. By default none."),
            )
            .optional(
                "abort",
                Schema::object()
                    .optional("percentage", percentage())
                    .optional(
                        "reset",
                        Schema::new(Shape::Bool)
                            .describe("Closes by a reset in place of an end.")
                            .or(false),
                    )
                    .describe("Closes new connections. By default none."),
            )
            .optional(
                "rate_limit",
                Schema::object()
                    .required(
                        "bytes_per_second",
                        Schema::new(Shape::Size)
                            .describe("What passes in a second, in each direction by itself."),
                    )
                    .optional("percentage", percentage())
                    .optional(
                        "direction",
                        Schema::new(Shape::OneOf(vec!["both", "received", "sent"]))
                            .describe(
                                "What the client sends (received), what it gets (sent), or both.",
                            )
                            .or("both"),
                    )
                    .describe("Slows connections down. By default none."),
            )
            .describe("Delays connections, breaks them off and slows them down, by chance.")
    }

    fn parse(node: &Node) -> Result<Self, ParseError> {
        let mut fields = node.as_fields()?;
        let delay = fields.optional("delay").map(parse_delay).transpose()?;
        let abort = fields.optional("abort").map(parse_abort).transpose()?;
        let rate = fields.optional("rate_limit").map(parse_rate).transpose()?;
        fields.finish()?;
        if delay.is_none() && abort.is_none() && rate.is_none() {
            return Err(node.error("this is no fault").with_help(
                "write one of `delay`, `abort` and `rate_limit`, or leave the filter out",
            ));
        }
        Ok(Self {
            delay,
            abort,
            rate,
            metrics: None,
        })
    }

    fn prepare(&mut self, context: &PrepareContext) -> Result<(), PrepareError> {
        let counter = |name, help| super::counter(context, name, help);
        self.metrics = Some(FaultMetrics {
            delays: counter(
                "network_fault_delays_total",
                "Connections that fault delayed.",
            )?,
            aborts: counter(
                "network_fault_aborts_total",
                "Connections that fault closed.",
            )?,
            rate_limited: counter(
                "network_fault_rate_limited_total",
                "Connections that fault slowed down.",
            )?,
        });
        Ok(())
    }

    fn wants(&self) -> NetworkWants {
        let rate = self.rate.map(|(rate, _)| rate);
        NetworkWants {
            data: rate.is_some_and(|rate| rate.received),
            write: rate.is_some_and(|rate| rate.sent),
        }
    }

    fn filter(&self) -> FaultFilter {
        FaultWorker::new(self.clone(), 0).filter()
    }

    fn on_worker(
        &self,
        worker: &mut Worker<'_>,
    ) -> Result<Rc<dyn NetworkFilterWorker>, BuildError> {
        let seed = Random::seed(worker.index());
        Ok(Rc::new(FaultWorker::new(self.clone(), seed)))
    }
}

/// A worker's part: what its connections share.
struct FaultWorker(Rc<Shared>);

#[derive(Debug)]
struct Shared {
    config: Fault,
    random: Random,
}

impl FaultWorker {
    fn new(config: Fault, seed: u64) -> Self {
        Self(Rc::new(Shared {
            config,
            random: Random::new(seed),
        }))
    }

    fn filter(&self) -> FaultFilter {
        FaultFilter {
            shared: Rc::clone(&self.0),
            delay: None,
            aborts: None,
            tick: None,
            limits: [None, None],
        }
    }
}

impl WorkerPart for FaultWorker {}

impl NetworkFilterWorker for FaultWorker {
    fn connection(
        &self,
        _connection: &mut Connection<'_>,
    ) -> Result<Box<dyn NetworkFilter>, FilterError> {
        Ok(Box::new(self.filter()))
    }
}

/// The filter of a connection.
#[derive(Debug)]
pub struct FaultFilter {
    shared: Rc<Shared>,
    delay: Option<TimerId>,
    /// It is closed when its delay is over: whether by a reset.
    aborts: Option<bool>,
    tick: Option<TimerId>,
    /// From the client, and to it.
    limits: [Option<Bucket>; 2],
}

/// What may pass now, in twentieths of a byte: so that every tick gives a whole number of them.
#[derive(Clone, Copy, Debug)]
struct Bucket {
    rate: u64,
    credit: u64,
}

impl NetworkFilter for FaultFilter {
    fn on_new_connection(&mut self, connection: &mut Connection<'_>) -> NetworkVerdict {
        let config = &self.shared.config;
        let abort = self.shared.draw(config.abort);
        if let Some(rate) = self.shared.draw(config.rate) {
            let bucket = Bucket::new(rate.bytes_per_second);
            self.limits = [rate.received.then_some(bucket), rate.sent.then_some(bucket)];
            self.shared
                .count(connection, |metrics| metrics.rate_limited);
        }
        if let Some(duration) = self.shared.draw(config.delay) {
            self.shared.count(connection, |metrics| metrics.delays);
            self.delay = Some(connection.set_timer(duration));
            self.aborts = abort;
            return NetworkVerdict::StopIteration;
        }
        match abort {
            Some(reset) => {
                self.shared.abort(connection, reset);
                NetworkVerdict::StopIteration
            }
            None => NetworkVerdict::Continue,
        }
    }

    fn on_data(&mut self, connection: &mut Connection<'_>, _end: bool) -> NetworkVerdict {
        self.pass(connection, Direction::Request)
    }

    fn on_write(&mut self, connection: &mut Connection<'_>, _end: bool) -> NetworkVerdict {
        self.pass(connection, Direction::Response)
    }

    fn on_event(&mut self, connection: &mut Connection<'_>, event: Event) {
        let Event::Timer(timer) = event else { return };
        if self.delay == Some(timer) {
            self.delay = None;
            match self.aborts {
                Some(reset) => self.shared.abort(connection, reset),
                None => connection.continue_reading(),
            }
        } else if self.tick == Some(timer) {
            self.tick = None;
            for bucket in self.limits.iter_mut().flatten() {
                bucket.fill();
            }
            for direction in [Direction::Request, Direction::Response] {
                if !connection.bytes(direction).is_empty()
                    && self.pass(connection, direction) == NetworkVerdict::Continue
                {
                    match direction {
                        Direction::Request => connection.continue_reading(),
                        Direction::Response => connection.continue_writing(),
                    }
                }
            }
        }
    }
}

impl FaultFilter {
    /// Lets what waits go on as far as it may. The verdict is of the rest.
    fn pass(&mut self, connection: &mut Connection<'_>, direction: Direction) -> NetworkVerdict {
        let [received, sent] = &mut self.limits;
        let bucket = match direction {
            Direction::Request => received,
            Direction::Response => sent,
        };
        let Some(bucket) = bucket else {
            return NetworkVerdict::Continue;
        };
        let waiting = connection.bytes(direction).len();
        if waiting == 0 {
            return NetworkVerdict::Continue;
        }
        if self.tick.is_none() {
            self.tick = Some(connection.set_timer(TICK));
        }
        let taken = bucket.take(waiting);
        if taken == waiting {
            return NetworkVerdict::Continue;
        }
        if taken > 0 {
            let mut go = connection.bytes(direction).to_vec();
            go.truncate(taken);
            // These bytes are there: they were just counted.
            let _ = connection.bytes_mut(direction).splice(0..taken, b"");
            connection.inject(direction, &go, false);
        }
        NetworkVerdict::StopIteration
    }
}

impl Bucket {
    fn new(rate: u64) -> Self {
        // The first tick's share is there at once.
        Self { rate, credit: rate }
    }

    fn fill(&mut self) {
        // What was not used is not saved, but for the fraction of a byte.
        let left = self.credit % TICKS_PER_SECOND;
        self.credit = self.rate.saturating_add(left);
    }

    fn take(&mut self, wanted: usize) -> usize {
        let most = usize::try_from(self.credit / TICKS_PER_SECOND).unwrap_or(usize::MAX);
        let taken = wanted.min(most);
        self.credit -= taken as u64 * TICKS_PER_SECOND;
        taken
    }
}

impl Shared {
    /// The fault, if this connection draws it.
    fn draw<T>(&self, fault: Option<(T, Share)>) -> Option<T> {
        let (fault, share) = fault?;
        self.random.draws(share).then_some(fault)
    }

    fn abort(&self, connection: &mut Connection<'_>, reset: bool) {
        self.count(connection, |metrics| metrics.aborts);
        if reset {
            connection.reset();
        } else {
            connection.close();
        }
    }

    fn count(&self, connection: &Connection<'_>, which: impl FnOnce(&FaultMetrics) -> Counter) {
        if let Some(metrics) = &self.config.metrics {
            connection.count(which(metrics), 1);
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

fn parse_abort(node: &Node) -> Result<(bool, Share), ParseError> {
    let mut fields = node.as_fields()?;
    let percentage = Share::parse(fields.optional("percentage"))?;
    let reset = fields.optional("reset").map_or(Ok(false), Node::as_bool)?;
    fields.finish()?;
    Ok((reset, percentage))
}

fn parse_rate(node: &Node) -> Result<(RateLimit, Share), ParseError> {
    let mut fields = node.as_fields()?;
    let rate = fields.required("bytes_per_second")?;
    let percentage = Share::parse(fields.optional("percentage"))?;
    let direction = fields.optional("direction");
    fields.finish()?;
    let bytes_per_second = rate.as_size()?;
    if bytes_per_second == 0 {
        return Err(rate
            .error("at this rate nothing passes, ever")
            .with_help("a connection that stands still is made by `delay`"));
    }
    let (received, sent) = match direction.map_or(Ok("both"), Node::as_str)? {
        "both" => (true, true),
        "received" => (true, false),
        "sent" => (false, true),
        other => {
            let node = direction.unwrap_or(node);
            return Err(node
                .error(format!("unknown direction {other:?}"))
                .with_help(
                    "write `received` (from the client), `sent` (to the client) or `both`",
                ));
        }
    };
    let limit = RateLimit {
        bytes_per_second,
        received,
        sent,
    };
    Ok((limit, percentage))
}

#[cfg(test)]
mod tests;
