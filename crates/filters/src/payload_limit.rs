//! `payload_limit`: refuses requests whose body is too large.
//!
//! | key | default | what |
//! |---|---|---|
//! | `max_bytes` | must be given | the longest body that passes, `10MiB`; a body of just this length does |
//! | `status` | 413 | the status of the answer, 400 to 599 |
//!
//! ```yaml
//! stream_filters:
//!   - {name: payload_limit, config: {max_bytes: 10MiB}}
//! ```
//!
//! A body whose `content-length` says that it is too long is refused before a byte of it goes to the upstream. A body
//! without one is counted as it goes by: when it grows too long, the client gets the answer and the upstream's request
//! ends in the middle, unless its response has begun to leave already; then the stream ends. (`buffer` keeps bodies back
//! until they are whole.) The detail in the access log is `payload_limit_exceeded`.
//!
//! What goes through a tunnel is not counted: it is nobody's payload, and has no end.
//!
//! A route's configuration has the same keys and holds in place of the listener's. The filter runs after the route was
//! found.
//!
//! | metric | what |
//! |---|---|
//! | `transom_payload_limit_refused_total{filter}` | requests refused |

use transom_api::builtin::Builtin;
use transom_api::{
    Counter, DataVerdict, Direction, HeadersVerdict, LocalReply, Node, ParseError, Phase,
    PrepareContext, PrepareError, Schema, Shape, Stream, StreamFilter, Wants,
};

use crate::tunnel;

/// RFC 9110 section 15.5.14.
const CONTENT_TOO_LARGE: u16 = 413;

/// The configuration of a listener or of a route.
#[derive(Clone, Copy, Debug)]
pub struct PayloadLimit {
    limit: Limit,
    /// Of the listener's configuration only.
    refused: Option<Counter>,
}

#[derive(Clone, Copy, Debug)]
struct Limit {
    max_bytes: u64,
    status: u16,
}

impl Builtin for PayloadLimit {
    type Filter = PayloadLimitFilter;

    fn schema() -> Schema {
        Schema::object()
            .required(
                "max_bytes",
                Schema::new(Shape::Size).describe("The longest body of a request that passes."),
            )
            .optional(
                "status",
                Schema::new(Shape::Integer(400, 599))
                    .describe("The status of the answer to a longer one.")
                    .or(i64::from(CONTENT_TOO_LARGE)),
            )
            .describe("Refuses requests whose body is too large. A route's configuration holds in place of the listener's.")
    }

    fn parse(node: &Node) -> Result<Self, ParseError> {
        let mut fields = node.as_fields()?;
        let max_bytes = fields.required("max_bytes")?.as_size()?;
        let status = fields
            .optional("status")
            .map_or(Ok(CONTENT_TOO_LARGE), |status| {
                status.as_integer_in(400..=599)?;
                status.as_integer()
            })?;
        fields.finish()?;
        Ok(Self {
            limit: Limit { max_bytes, status },
            refused: None,
        })
    }

    fn prepare(&mut self, context: &PrepareContext) -> Result<(), PrepareError> {
        self.refused = Some(context.metrics.counter(
            "payload_limit_refused_total",
            "Requests that payload_limit refused.",
            &[("filter", &context.instance)],
        )?);
        Ok(())
    }

    fn wants(&self) -> Wants {
        Wants::REQUEST_HEADERS.and(Wants::REQUEST_BODY)
    }

    fn phase(&self) -> Phase {
        Phase::AfterRoute
    }

    fn filter(&self) -> PayloadLimitFilter {
        PayloadLimitFilter {
            config: *self,
            seen: 0,
        }
    }
}

/// The filter of a stream.
#[derive(Debug)]
pub struct PayloadLimitFilter {
    config: PayloadLimit,
    /// Bytes of the body that went by.
    seen: u64,
}

impl StreamFilter for PayloadLimitFilter {
    fn request_headers(&mut self, stream: &mut Stream<'_>, _end: bool) -> HeadersVerdict {
        if tunnel::is_asked(&stream.request()) {
            stream.forgo(Wants::REQUEST_BODY);
            return HeadersVerdict::Continue;
        }
        let announced = stream
            .request()
            .get("content-length")
            .and_then(|length| length.to_str()?.parse::<u64>().ok());
        let limit = self.limit(stream);
        let Some(length) = announced else {
            return HeadersVerdict::Continue;
        };
        if length > limit.max_bytes {
            self.refuse(stream, limit.status);
            return HeadersVerdict::StopIteration;
        }
        // The codec holds the body to its announced length: there is nothing to count.
        stream.forgo(Wants::REQUEST_BODY);
        HeadersVerdict::Continue
    }

    fn request_body(&mut self, stream: &mut Stream<'_>, _end: bool) -> DataVerdict {
        self.seen += stream.body(Direction::Request).len() as u64;
        let limit = self.limit(stream);
        if self.seen > limit.max_bytes {
            self.refuse(stream, limit.status);
            return DataVerdict::StopIterationNoBuffer;
        }
        DataVerdict::Continue
    }
}

impl PayloadLimitFilter {
    fn limit(&self, stream: &Stream<'_>) -> Limit {
        stream
            .route_config::<PayloadLimit>()
            .unwrap_or(&self.config)
            .limit
    }

    fn refuse(&self, stream: &mut Stream<'_>, status: u16) {
        if let Some(refused) = self.config.refused {
            stream.count(refused, 1);
        }
        let reply = LocalReply::new(status)
            .body("the request's body is too large\n")
            .details("payload_limit_exceeded");
        // A response that has left cannot be taken back; the rest of the body must not get through all the same.
        if stream.send_local_reply(reply).is_err() {
            stream.terminate();
        }
    }
}

#[cfg(test)]
mod tests {
    use transom_api::testing::{Action, FakeUse, FakeWorker, placed};

    use super::*;

    const REQUEST: Direction = Direction::Request;

    fn built(worker: &mut FakeWorker, max_bytes: i64) -> FakeUse {
        let config = Node::map([("max_bytes", max_bytes.into())]);
        worker.builtin::<PayloadLimit>(&config).unwrap()
    }

    #[test]
    fn a_body_of_just_the_limit_passes() {
        let used = built(&mut FakeWorker::new(), 4);
        let mut announced = used.stream().with_header("content-length", "4");
        announced.request_headers(false);
        assert_eq!(announced.request_body("full", true), None, "it goes by");
        assert_eq!(announced.sent(REQUEST), b"full");
        let mut chunked = used.stream();
        chunked.request_headers(false);
        chunked.request_body("fu", false);
        chunked.request_body("ll", true);
        assert_eq!(chunked.sent(REQUEST), b"full");
        assert_eq!(announced.actions(), []);
        assert_eq!(chunked.actions(), []);
    }

    #[test]
    fn tunnels_are_not_counted() {
        let used = built(&mut FakeWorker::new(), 4);
        let mut stream = used.stream().with_header("upgrade", "websocket");
        stream.request_headers(false);
        stream.request_body("longer than four", false);
        assert_eq!(stream.reply(), None);
        assert_eq!(stream.sent(REQUEST), b"longer than four");
    }

    #[test]
    fn an_announced_length_over_the_limit_is_refused_before_the_body() {
        let mut worker = FakeWorker::new().with_instance("small");
        let used = built(&mut worker, 4);
        for length in ["5", "18446744073709551615"] {
            let mut stream = used.stream().with_header("content-length", length);
            stream.request_headers(false);
            let reply = stream.reply().unwrap();
            assert_eq!(
                (reply.status, &*reply.details),
                (413, "payload_limit_exceeded")
            );
            assert!(!stream.has_passed(REQUEST), "{length}");
        }
        let process = worker.process();
        assert_eq!(process.metric("payload_limit_refused_total"), 2);
        let label = ("filter".to_owned(), "small".to_owned());
        assert_eq!(process.labels("payload_limit_refused_total"), [[label]]);
    }

    #[test]
    fn a_chunked_body_is_stopped_where_it_passes_the_limit() {
        let mut worker = FakeWorker::new();
        let used = built(&mut worker, 4);
        let mut stream = used.stream();
        stream.request_headers(false);
        stream.request_body("abc", false);
        stream.request_body("de", false);
        assert_eq!(stream.reply().map(|reply| reply.status), Some(413));
        assert_eq!(stream.sent(REQUEST), b"abc");
        // What still comes of it is nobody's.
        assert_eq!(stream.request_body("f", true), None);
        assert_eq!(worker.process().metric("payload_limit_refused_total"), 1);
    }

    #[test]
    fn when_the_response_has_left_the_stream_ends() {
        let used = built(&mut FakeWorker::new(), 1);
        let mut stream = used.stream();
        stream.request_headers(false);
        stream.response_headers(200, &[], false);
        stream.request_body("ab", false);
        assert_eq!(stream.actions(), [Action::Terminate]);
        assert!(stream.is_over());
        assert_eq!(stream.sent(REQUEST), b"");
    }

    #[test]
    fn a_routes_limit_and_status_replace_the_listeners() {
        let used = built(&mut FakeWorker::new(), 1);
        let route = Node::map([("max_bytes", "1KiB".into()), ("status", 403.into())]);
        let route = used.route(&route).unwrap();
        for (length, expected) in [("1024", None), ("1025", Some(403))] {
            let mut stream = used
                .stream()
                .with_header("content-length", length)
                .with_route(route.clone());
            stream.request_headers(false);
            assert_eq!(stream.reply().map(|reply| reply.status), expected);
        }
    }

    #[test]
    fn mistakes_are_shown_at_their_place() {
        for (config, expected) in [
            (
                Node::null(),
                "line 1, column 1: the key `max_bytes` is missing",
            ),
            (
                Node::map([("max_bytes", "10MB".into())]),
                "line 1, column 12: \"10MB\" is no size (write a number of bytes or a number and its unit: 64KiB, 10MiB)",
            ),
            (
                Node::map([("max_bytes", 1.into()), ("status", 200.into())]),
                "line 2, column 9: expected a number from 400 to 599, found 200",
            ),
            (
                Node::map([("max_bytes", 1.into()), ("max_byte", 1.into())]),
                "line 2, column 1: unknown key `max_byte` (did you mean `max_bytes`? Known keys: max_bytes, status)",
            ),
        ] {
            let error = PayloadLimit::parse(&placed(&config)).unwrap_err();
            assert_eq!(error.to_string(), expected);
        }
    }
}
