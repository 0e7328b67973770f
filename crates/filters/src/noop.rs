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
