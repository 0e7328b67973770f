//! `buffer`: keeps requests back until they are whole.
//!
//! | key | default | what |
//! |---|---|---|
//! | `max_bytes` | must be given | the longest body that is kept, `64KiB`; a longer one is answered with 413 |
//!
//! ```yaml
//! stream_filters:
//!   - {name: buffer, config: {max_bytes: 1MiB}}
//! ```
//!
//! The upstream gets a request only when all of it has come, so that a slow client costs it no worker, and the length of a
//! body that came without one is known: it goes with `content-length`, unless it has trailers. A body over the limit
//! reaches the upstream with no byte; the access log's detail is `buffer_overflow`. Each request may keep `max_bytes` of
//! memory for as long as `body_idle` and the stream's timeout let it.
//!
//! A route's configuration has the same key and holds in place of the listener's. The filter runs after the route was
//! found; filters behind it see the body in one piece.
//!
//! | metric | what |
//! |---|---|
//! | `transom_buffer_refused_total{filter}` | requests refused |

use transom_api::builtin::Builtin;
use transom_api::{
    Counter, DataVerdict, Direction, HeadersVerdict, LocalReply, Node, ParseError, Phase,
    PrepareContext, PrepareError, Schema, Shape, Stream, StreamFilter, Wants,
};

/// The configuration of a listener or of a route, and the filter of a stream: the body itself waits in the proxy.
#[derive(Clone, Copy, Debug)]
pub struct Buffer {
    max_bytes: u64,
    /// Of the listener's configuration only.
    refused: Option<Counter>,
}

impl Builtin for Buffer {
    type Filter = Self;

    fn schema() -> Schema {
        Schema::object()
            .required(
                "max_bytes",
                Schema::new(Shape::Size).describe("The longest body that is kept; a longer one is answered with 413."),
            )
            .describe("Keeps requests back until they are whole. A route's configuration holds in place of the listener's.")
    }

    fn parse(node: &Node) -> Result<Self, ParseError> {
        let mut fields = node.as_fields()?;
        let max_bytes = fields.required("max_bytes")?.as_size()?;
        fields.finish()?;
        Ok(Self {
            max_bytes,
            refused: None,
        })
    }

    fn prepare(&mut self, context: &PrepareContext) -> Result<(), PrepareError> {
        self.refused = Some(context.metrics.counter(
            "buffer_refused_total",
            "Requests whose body was too large for buffer.",
            &[("filter", &context.instance)],
        )?);
        Ok(())
    }

    fn wants(&self) -> Wants {
        // The limit depends on the route, so this filter keeps it by itself.
        Wants::REQUEST_HEADERS
            .and(Wants::REQUEST_BODY)
            // Their callback lets go what waits here.
            .and(Wants::REQUEST_TRAILERS)
            .buffer_limit(u64::MAX)
    }

    fn phase(&self) -> Phase {
        Phase::AfterRoute
    }

    fn filter(&self) -> Self {
        *self
    }
}

impl StreamFilter for Buffer {
    fn request_headers(&mut self, stream: &mut Stream<'_>, end: bool) -> HeadersVerdict {
        if end {
            return HeadersVerdict::Continue;
        }
        let announced = stream
            .request()
            .get("content-length")
            .and_then(|length| length.to_str()?.parse::<u64>().ok());
        if announced.is_some_and(|length| length > self.limit(stream)) {
            self.refuse(stream);
        }
        HeadersVerdict::StopIteration
    }

    fn request_body(&mut self, stream: &mut Stream<'_>, end: bool) -> DataVerdict {
        if stream.body(Direction::Request).len() as u64 > self.limit(stream) {
            self.refuse(stream);
            return DataVerdict::StopIterationNoBuffer;
        }
        if end {
            DataVerdict::Continue
        } else {
            DataVerdict::StopIterationAndBuffer
        }
    }
}

impl Buffer {
    fn limit(&self, stream: &Stream<'_>) -> u64 {
        let route = stream.route_config::<Buffer>();
        route.unwrap_or(self).max_bytes
    }

    fn refuse(&self, stream: &mut Stream<'_>) {
        if let Some(refused) = self.refused {
            stream.count(refused, 1);
        }
        let reply = LocalReply::new(413)
            .body("the request's body is too large\n")
            .details("buffer_overflow");
        // A response that has left cannot be taken back.
        if stream.send_local_reply(reply).is_err() {
            stream.terminate();
        }
    }
}

#[cfg(test)]
mod tests {
    use transom_api::testing::{Action, FakeUse, FakeWorker, placed};
    use transom_api::{HeaderMap, ResetReason};

    use super::*;

    const REQUEST: Direction = Direction::Request;

    fn built(worker: &mut FakeWorker, max_bytes: i64) -> FakeUse {
        let config = Node::map([("max_bytes", max_bytes.into())]);
        worker.builtin::<Buffer>(&config).unwrap()
    }

    #[test]
    fn a_request_goes_on_when_it_is_whole() {
        let used = built(&mut FakeWorker::new(), 6);
        let mut stream = used.stream();
        stream.request_headers(false);
        stream.request_body("abc", false);
        assert!(!stream.has_passed(REQUEST));
        stream.request_body("def", true);
        assert_eq!(stream.sent(REQUEST), b"abcdef");
        assert!(stream.has_ended(REQUEST));
        assert_eq!(stream.actions(), []);
    }

    #[test]
    fn a_request_without_a_body_does_not_wait() {
        let mut stream = built(&mut FakeWorker::new(), 0).stream();
        stream.request_headers(true);
        assert!(stream.has_ended(REQUEST));
        let mut empty = built(&mut FakeWorker::new(), 0).stream();
        empty.request_headers(false);
        assert!(!empty.has_passed(REQUEST));
        empty.request_body("", true);
        assert!(empty.has_ended(REQUEST));
    }

    #[test]
    fn trailers_end_the_wait() {
        let mut stream = built(&mut FakeWorker::new(), 6).stream();
        stream.request_headers(false);
        stream.request_body("abc", false);
        stream.request_trailers(&[("x-sum", "1")]);
        assert_eq!(stream.sent(REQUEST), b"abc");
        assert!(stream.has_ended(REQUEST));
        let trailers = stream.headers(HeaderMap::RequestTrailers);
        assert!(trailers.get("x-sum").is_some());
    }

    #[test]
    fn a_body_over_the_limit_reaches_nobody() {
        let mut worker = FakeWorker::new().with_instance("small");
        let used = built(&mut worker, 4);
        let mut chunked = used.stream();
        chunked.request_headers(false);
        chunked.request_body("abcd", false);
        assert!(chunked.reply().is_none());
        chunked.request_body("e", false);
        let mut announced = used.stream().with_header("content-length", "5");
        announced.request_headers(false);
        for stream in [&chunked, &announced] {
            let reply = stream.reply().unwrap();
            assert_eq!((reply.status, &*reply.details), (413, "buffer_overflow"));
            assert!(!stream.has_passed(REQUEST));
        }
        let process = worker.process();
        assert_eq!(process.metric("buffer_refused_total"), 2);
        let label = ("filter".to_owned(), "small".to_owned());
        assert_eq!(process.labels("buffer_refused_total"), [[label]]);
    }

    #[test]
    fn when_another_answer_has_left_the_stream_ends() {
        let mut stream = built(&mut FakeWorker::new(), 1).stream();
        stream.request_headers(false);
        stream.response_headers(200, &[], false);
        stream.request_body("ab", false);
        assert_eq!(stream.actions(), [Action::Terminate]);
    }

    #[test]
    fn a_client_that_leaves_takes_its_body_along() {
        let mut stream = built(&mut FakeWorker::new(), 8).stream();
        stream.request_headers(false);
        stream.request_body("abc", false);
        stream.reset(ResetReason::Downstream);
        assert!(!stream.has_passed(REQUEST));
        assert_eq!(stream.sent(REQUEST), b"");
    }

    #[test]
    fn a_routes_limit_replaces_the_listeners() {
        let used = built(&mut FakeWorker::new(), 1);
        let route = used
            .route(&Node::map([("max_bytes", "2MiB".into())]))
            .unwrap();
        // Longer than what verdicts may keep by default.
        let body = vec![b'x'; (1 << 20) + 1];
        let mut stream = used.stream().with_route(route);
        stream.request_headers(false);
        stream.request_body(&body, false);
        stream.request_body("", true);
        assert_eq!(stream.sent(REQUEST).len(), body.len());
    }

    #[test]
    fn mistakes_are_shown_at_their_place() {
        for (config, expected) in [
            (
                Node::null(),
                "line 1, column 1: the key `max_bytes` is missing",
            ),
            (
                Node::map([("max_bytes", (-1).into())]),
                "line 1, column 12: -1 is out of range here",
            ),
            (
                Node::map([("max_bytes", 1.into()), ("status", 413.into())]),
                "line 2, column 1: unknown key `status` (known keys: max_bytes)",
            ),
        ] {
            let error = Buffer::parse(&placed(&config)).unwrap_err();
            assert_eq!(error.to_string(), expected);
        }
    }
}
