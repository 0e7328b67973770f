//! `noop`: looks at the headers of requests and responses and does nothing.
//!
//! What a place in a chain costs by itself: benchmarks put copies of it into a chain and compare. It takes no
//! configuration, keeps nothing and allocates nothing.
//!
//! ```yaml
//! stream_filters:
//!   - {name: noop}
//! ```

use transom_api::builtin::Builtin;
use transom_api::{Node, ParseError, Schema, StreamFilter, Wants};

/// The configuration, and the filter of a stream: both are empty.
#[derive(Clone, Copy, Debug)]
pub struct Noop;

impl Builtin for Noop {
    type Filter = Self;

    fn schema() -> Schema {
        Schema::object().describe("No keys. For benchmarks: what an empty filter costs.")
    }

    fn parse(node: &Node) -> Result<Self, ParseError> {
        node.as_fields()?.finish()?;
        Ok(Self)
    }

    fn wants(&self) -> Wants {
        // Both callbacks are asked for although they do nothing: being called is what is measured.
        Wants::REQUEST_HEADERS.and(Wants::RESPONSE_HEADERS)
    }

    fn filter(&self) -> Self {
        Self
    }
}

impl StreamFilter for Noop {}

#[cfg(test)]
mod tests {
    use transom_api::testing::{FakeWorker, placed};
    use transom_api::{HeadersVerdict, StreamInstance};

    use super::*;

    #[test]
    fn it_is_called_and_does_nothing() {
        let mut worker = FakeWorker::new();
        let mut stream = worker.builtin::<Noop>(&Node::null()).unwrap().stream();
        assert_eq!(
            stream.request_headers(false),
            Some(HeadersVerdict::Continue)
        );
        assert_eq!(stream.request_body("a", true), None);
        assert_eq!(
            stream.response_headers(200, &[], true),
            Some(HeadersVerdict::Continue)
        );
        assert_eq!(stream.actions(), []);
    }

    #[test]
    fn it_takes_no_configuration() {
        let config = placed(&Node::map([("a", 1.into())]));
        let error = FakeWorker::new().builtin::<Noop>(&config).unwrap_err();
        assert_eq!(
            error.to_string(),
            "line 1, column 1: unknown key `a` (no keys are known here)"
        );
    }

    #[test]
    fn a_filter_without_fields_costs_no_allocation() {
        assert_eq!(size_of::<Noop>(), 0);
        let mut worker = FakeWorker::new();
        let used = worker.builtin::<Noop>(&Node::null()).unwrap();
        let made = used
            .stream()
            .with_context(|stream| used.part().stream(stream));
        assert!(matches!(made, Ok(StreamInstance::Own(_))));
    }
}
