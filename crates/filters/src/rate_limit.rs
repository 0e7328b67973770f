//! `rate_limit`: lets so many requests pass in a time and answers the others with 429.
//!
//! | key | default | what |
//! |---|---|---|
//! | `requests` | must be given | how many requests pass in each `per`, on the long run |
//! | `per` | `1s` | the time |
//! | `burst` | as `requests` | how many may come at once after a pause |
//! | `bucket` | the use's name | whose tokens are taken: uses and routes that name one bucket share it |
//! | `status` | 429 | the status of the answer, 400 to 599 |
//! | `headers` | `false` | whether responses tell `x-ratelimit-limit`, `-remaining` and `-reset` |
//!
//! ```yaml
//! stream_filters:
//!   - {name: rate_limit, config: {requests: 100, per: 1s, burst: 200}}
//! ```
//!
//! A bucket holds `burst` tokens, each request takes one, and tokens come back evenly, `requests` in each `per`. It is one
//! bucket for the whole process: all workers take from it, and a reload leaves it as it is, also one that changes the
//! limit. Buckets are known by name, so uses of one name share theirs, in whatever listener they stand; they should have
//! the same limit then. The answer has `retry-after` (RFC 9110 section 10.2.3); the access log's detail is
//! `rate_limited`.
//!
//! `x-ratelimit-limit` is the burst, `-remaining` what is left of it when the response leaves, and `-reset` the seconds
//! until it is whole again.
//!
//! A route's configuration has the same keys and takes from its own bucket in place of the listener's. Without `bucket`
//! that bucket is the route's alone, and full again when its route table changes; with one it keeps through that, too.
//! The filter runs after the route was found.
//!
//! | metric | what |
//! |---|---|
//! | `transom_rate_limit_allowed_total{filter}` | requests let through |
//! | `transom_rate_limit_limited_total{filter}` | requests refused |

mod bucket;

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use transom_api::builtin::Builtin;
use transom_api::{
    Counter, FilterError, HeadersVerdict, LocalReply, Node, ParseError, Phase, PrepareContext,
    PrepareError, ResponseFlags, Schema, Shape, Stream, StreamFilter, Wants,
};

use self::bucket::{Bucket, Buckets, Limit};

/// RFC 6585 section 4.
const TOO_MANY_REQUESTS: u16 = 429;

/// The configuration of a listener or of a route. Cheap to clone.
#[derive(Clone, Debug)]
pub struct RateLimit {
    rule: Arc<Rule>,
    /// Of the listener's configuration only.
    prepared: Option<Prepared>,
}

#[derive(Debug)]
struct Rule {
    limit: Limit,
    status: u16,
    headers: bool,
    name: Option<String>,
    /// The bucket, once it is known: a named one is looked up when the first request asks for it.
    bucket: OnceLock<Arc<Bucket>>,
}

#[derive(Clone, Debug)]
struct Prepared {
    buckets: Arc<Buckets>,
    instance: Arc<str>,
    allowed: Counter,
    limited: Counter,
}

impl Builtin for RateLimit {
    type Filter = RateLimitFilter;
    /// It keeps nothing of a stream.
    const SHARED: bool = true;

    fn schema() -> Schema {
        let count = || Schema::new(Shape::Integer(1, Limit::MOST.into()));
        Schema::object()
            .required(
                "requests",
                count().describe("How many requests pass in each `per`, on the long run."),
            )
            .optional(
                "per",
                Schema::new(Shape::Duration)
                    .describe("The time in which `requests` pass.")
                    .or("1s"),
            )
            .optional(
                "burst",
                count().describe(
                    "How many may come at once after a pause. By default as many as `requests`.",
                ),
            )
            .optional(
                "bucket",
                Schema::string().describe(
                    "Whose tokens are taken: those that name one bucket share it. By default the use's name; on a route, a bucket of its own.",
                ),
            )
            .optional(
                "status",
                Schema::new(Shape::Integer(400, 599))
                    .describe("The status of the answer.")
                    .or(i64::from(TOO_MANY_REQUESTS)),
            )
            .optional(
                "headers",
                Schema::new(Shape::Bool)
                    .describe("Whether responses tell x-ratelimit-limit, -remaining and -reset.")
                    .or(false),
            )
            .describe("Lets so many requests pass in a time, of all workers together, and answers the others. A route's configuration holds in place of the listener's.")
    }

    fn parse(node: &Node) -> Result<Self, ParseError> {
        let mut fields = node.as_fields()?;
        let requests = fields.required("requests")?;
        let per = fields.optional("per");
        let burst = fields.optional("burst");
        let name = fields.optional("bucket");
        let status = fields.optional("status");
        let headers = fields.optional("headers");
        fields.finish()?;
        let count = |node: &Node| {
            node.as_integer_in(1..=Limit::MOST.into())?;
            node.as_integer::<u32>()
        };
        let period = per.map_or(Ok(Duration::from_secs(1)), Node::as_duration)?;
        let number = count(requests)?;
        let Some(limit) = Limit::new(number, period, burst.map_or(Ok(number), count)?) else {
            return Err(per
                .unwrap_or(requests)
                .error("so many requests in so short a time are no limit")
                .with_help("at most ten for each microsecond"));
        };
        Ok(Self {
            rule: Arc::new(Rule {
                limit,
                status: status.map_or(Ok(TOO_MANY_REQUESTS), |status| {
                    status.as_integer_in(400..=599)?;
                    status.as_integer()
                })?,
                headers: headers.map_or(Ok(false), Node::as_bool)?,
                name: name.map(parse_name).transpose()?,
                bucket: OnceLock::new(),
            }),
            prepared: None,
        })
    }

    fn parse_route(node: &Node) -> Result<Self, ParseError> {
        let config = Self::parse(node)?;
        if config.rule.name.is_none() {
            config.rule.bucket.get_or_init(Arc::default);
        }
        Ok(config)
    }

    fn prepare(&mut self, context: &PrepareContext) -> Result<(), PrepareError> {
        let counter = |name, help| {
            let labels = [("filter", &*context.instance)];
            context.metrics.counter(name, help, &labels)
        };
        let prepared = Prepared {
            buckets: context.keep("rate_limit", Buckets::default),
            instance: Arc::clone(&context.instance),
            allowed: counter(
                "rate_limit_allowed_total",
                "Requests that rate_limit let through.",
            )?,
            limited: counter(
                "rate_limit_limited_total",
                "Requests that rate_limit refused.",
            )?,
        };
        // Here rather than at the first request: the configuration before this one may be gone by then.
        self.rule.bucket(&prepared);
        self.prepared = Some(prepared);
        Ok(())
    }

    fn wants(&self) -> Wants {
        // A route may have headers where the listener has none.
        Wants::REQUEST_HEADERS.and(Wants::RESPONSE_HEADERS)
    }

    fn phase(&self) -> Phase {
        Phase::AfterRoute
    }

    fn filter(&self) -> RateLimitFilter {
        RateLimitFilter(self.clone())
    }
}

/// The filter of all streams of a worker.
#[derive(Debug)]
pub struct RateLimitFilter(RateLimit);

impl StreamFilter for RateLimitFilter {
    fn request_headers(&mut self, stream: &mut Stream<'_>, _end: bool) -> HeadersVerdict {
        let Some(prepared) = &self.0.prepared else {
            return HeadersVerdict::Continue;
        };
        let config = stream.route_config::<RateLimit>().unwrap_or(&self.0);
        let rule = &config.rule;
        let Err(wait) = rule.bucket(prepared).take(rule.limit) else {
            stream.count(prepared.allowed, 1);
            return HeadersVerdict::Continue;
        };
        let reply = LocalReply::new(rule.status)
            .header("retry-after", whole_seconds(wait))
            .body("too many requests\n")
            .details("rate_limited");
        stream.count(prepared.limited, 1);
        // An error says that a response is on its way already: then there is nothing left to refuse.
        if stream.send_local_reply(reply).is_ok() {
            stream.add_response_flags(ResponseFlags::RATE_LIMITED);
        }
        HeadersVerdict::StopIteration
    }

    fn response_headers(&mut self, stream: &mut Stream<'_>, _end: bool) -> HeadersVerdict {
        let Some(prepared) = &self.0.prepared else {
            return HeadersVerdict::Continue;
        };
        let config = stream.route_config::<RateLimit>().unwrap_or(&self.0);
        if !config.rule.headers {
            return HeadersVerdict::Continue;
        }
        let limit = config.rule.limit;
        let (remaining, reset) = config.rule.bucket(prepared).look(limit);
        let mut response = stream.response_mut();
        let told = response
            .set("x-ratelimit-limit", limit.burst().to_string())
            .and_then(|()| response.set("x-ratelimit-remaining", remaining.to_string()))
            .and_then(|()| response.set("x-ratelimit-reset", whole_seconds(reset)));
        if let Err(error) = told {
            stream.fail(FilterError::broken(format!(
                "cannot tell the rate limit: {error}"
            )));
        }
        HeadersVerdict::Continue
    }
}

impl Rule {
    /// The bucket. Looking a name up takes a lock for a moment, once in the life of a configuration.
    fn bucket(&self, prepared: &Prepared) -> &Bucket {
        self.bucket.get_or_init(|| {
            let name = self.name.as_deref().unwrap_or(&prepared.instance);
            prepared.buckets.named(name)
        })
    }
}

/// At least the time, in whole seconds.
fn whole_seconds(time: Duration) -> String {
    let part = u64::from(time.subsec_nanos() > 0);
    (time.as_secs() + part).to_string()
}

fn parse_name(node: &Node) -> Result<String, ParseError> {
    match node.as_str()? {
        "" => Err(node.error("a bucket's name cannot be empty")),
        name => Ok(name.to_owned()),
    }
}

#[cfg(test)]
mod tests;
