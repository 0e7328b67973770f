//! `header_match`: lets only requests with certain headers pass. Also known as `demo`.
//!
//! The configuration maps the names of headers to the value that each must have. Names have no case; a value must be
//! the same byte for byte; of a header that comes several times one value must be it. A request that lacks one of them
//! is answered with 403 before a route is looked for (`phase:` of the use changes where), and the access log's detail
//! is `header_match_denied`.
//!
//! ```yaml
//! stream_filters:
//!   - name: header_match
//!     config: {User: admin}
//! ```
//!
//! A route's own configuration has the same form and holds in place of the listener's:
//!
//! ```yaml
//! routes:
//!   - match: {prefix: /internal}
//!     cluster: backend
//!     filters: {header_match: {User: root}}
//! ```
//!
//! It is no authentication: whoever knows the value gets in, and the answer's time depends on the value.
//!
//! | metric | what |
//! |---|---|
//! | `transom_header_match_denied_total{filter}` | requests refused |

use std::rc::Rc;

use transom_api::builtin::{Builtin, SharedFilter};
use transom_api::stream::StreamFilterWorker;
use transom_api::{
    BuildError, Counter, HeadersVerdict, LocalReply, Node, ParseError, PrepareContext,
    PrepareError, Schema, Stream, StreamFilter, Wants, Worker,
};

use crate::required_headers::RequiredHeaders;

/// The configuration of a listener or of a route.
#[derive(Clone, Debug)]
pub struct HeaderMatch {
    required: RequiredHeaders,
    /// Of the listener's configuration only.
    denied: Option<Counter>,
}

impl Builtin for HeaderMatch {
    type Filter = HeaderMatchFilter;

    fn schema() -> Schema {
        RequiredHeaders::schema().describe(
            "Headers that a request must have, at least one: name (without case) to exact value. Without them: 403.",
        )
    }

    fn parse(node: &Node) -> Result<Self, ParseError> {
        let required = RequiredHeaders::parse(node)?;
        if required.is_empty() {
            return Err(node
                .error("at least one header must be named")
                .with_help("name it with its value, such as `User: admin`"));
        }
        Ok(Self {
            required,
            denied: None,
        })
    }

    fn prepare(&mut self, context: &PrepareContext) -> Result<(), PrepareError> {
        self.denied = Some(context.metrics.counter(
            "header_match_denied_total",
            "Requests that header_match refused.",
            &[("filter", &context.instance)],
        )?);
        Ok(())
    }

    fn wants(&self) -> Wants {
        Wants::REQUEST_HEADERS
    }

    fn filter(&self) -> HeaderMatchFilter {
        HeaderMatchFilter(self.clone())
    }

    /// One filter for all streams of a worker, because it keeps nothing of them.
    fn on_worker(
        &self,
        _worker: &mut Worker<'_>,
    ) -> Result<Rc<dyn StreamFilterWorker>, BuildError> {
        Ok(SharedFilter::on_worker(self.filter()))
    }
}

/// The filter of all streams of a worker.
#[derive(Debug)]
pub struct HeaderMatchFilter(HeaderMatch);

impl StreamFilter for HeaderMatchFilter {
    fn request_headers(&mut self, stream: &mut Stream<'_>, _end: bool) -> HeadersVerdict {
        let config = stream.route_config::<HeaderMatch>().unwrap_or(&self.0);
        if config.required.are_in(&stream.request()) {
            return HeadersVerdict::Continue;
        }
        if let Some(denied) = self.0.denied {
            stream.count(denied, 1);
        }
        // An error says that a response is on its way already: then there is nothing left to refuse.
        let _ = stream.send_local_reply(
            LocalReply::new(403)
                .body("a required header is missing\n")
                .details("header_match_denied"),
        );
        HeadersVerdict::StopIteration
    }
}
