//! A filter that knows nothing of where it runs: requests must have certain headers, and who guesses is kept waiting.
//!
//! [`process.rs`](../process.rs) hosts it in a process of its own, [`library.rs`](../library.rs) in a shared library; a program that
//! is built with it registers it by its type.

use std::sync::Arc;
use std::time::Duration;

use transom_sdk::api::builtin::{self, Builtin};
use transom_sdk::api::{
    Counter, Event, Factory, HeadersVerdict, LocalReply, Node, ParseError, PrepareContext,
    PrepareError, Schema, Shape, Stream, StreamFilter, StreamFilters, Wants,
};

/// What the filter is configured with.
#[derive(Clone)]
pub struct Gate {
    headers: Arc<[(String, String)]>,
    wait: Duration,
    /// Requests that were refused. There after the preparation.
    refused: Option<Counter>,
}

/// What `transom plugin build --new one_source::new` is given.
#[must_use]
pub fn new() -> Arc<dyn Factory<StreamFilters>> {
    builtin::factory::<Gate>()
}

impl Builtin for Gate {
    type Filter = Self;

    fn schema() -> Schema {
        Schema::object()
            .required(
                "headers",
                Schema::map_of(Schema::string()).describe("Headers that a request must have."),
            )
            .optional(
                "wait",
                Schema::new(Shape::Duration).describe("How long a refusal is kept back."),
            )
    }

    fn parse(node: &Node) -> Result<Self, ParseError> {
        let mut fields = node.as_fields()?;
        let mut headers = Vec::new();
        for (name, value) in fields.required("headers")?.as_entries()? {
            headers.push((name.name.clone(), value.as_str()?.to_owned()));
        }
        let wait = fields.optional("wait").map(Node::as_duration).transpose()?;
        fields.finish()?;
        Ok(Self {
            headers: headers.into(),
            wait: wait.unwrap_or_default(),
            refused: None,
        })
    }

    fn prepare(&mut self, context: &PrepareContext) -> Result<(), PrepareError> {
        let labels = [("filter", &*context.instance)];
        let refused = context.metrics.counter(
            "one_source_refused_total",
            "Requests without the headers that they must have.",
            &labels,
        )?;
        self.refused = Some(refused);
        Ok(())
    }

    fn wants(&self) -> Wants {
        Wants::REQUEST_HEADERS.and(Wants::RESPONSE_HEADERS)
    }

    fn filter(&self) -> Self {
        self.clone()
    }
}

impl Gate {
    fn lets_pass(&self, stream: &Stream<'_>) -> bool {
        // A route may have a configuration of its own.
        let gate = stream.route_config::<Self>().unwrap_or(self);
        let request = stream.request();
        let has = |(name, value): &(String, String)| {
            request
                .get_all(name)
                .any(|found| *found == *value.as_bytes())
        };
        gate.headers.iter().all(has)
    }

    fn refuse(&self, stream: &mut Stream<'_>) {
        if let Some(refused) = self.refused {
            stream.count(refused, 1);
        }
        let reply = LocalReply::new(403)
            .body("a required header is missing\n")
            .details("gate_refused");
        // An error would say that a response has left already.
        let _ = stream.send_local_reply(reply);
    }
}

impl StreamFilter for Gate {
    fn request_headers(&mut self, stream: &mut Stream<'_>, _end: bool) -> HeadersVerdict {
        if self.lets_pass(stream) {
            return HeadersVerdict::Continue;
        }
        if self.wait.is_zero() {
            self.refuse(stream);
        } else {
            stream.set_timer(self.wait);
        }
        HeadersVerdict::StopAllIterationAndWatermark
    }

    fn response_headers(&mut self, stream: &mut Stream<'_>, _end: bool) -> HeadersVerdict {
        // An error would say that the headers have left already.
        let _ = stream.response_mut().set("x-gate", "one source");
        HeadersVerdict::Continue
    }

    fn on_event(&mut self, stream: &mut Stream<'_>, event: Event) {
        if let Event::Timer(_) = event {
            self.refuse(stream);
        }
    }
}
