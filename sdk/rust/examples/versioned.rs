//! A plugin that says which version of itself it is: `versioned NAME [fails|slow]`, in the header `x-version` of requests and responses.
//! The version `fails` fails each request, and `slow` takes 20 ms for each.

use std::process::ExitCode;
use std::time::Duration;

use transom_sdk::Plugin;
use transom_sdk::api::builtin::Builtin;
use transom_sdk::api::{
    FilterError, HeadersVerdict, Node, ParseError, Schema, Stream, StreamFilter, Wants,
};

fn main() -> ExitCode {
    Plugin::new("versioned", word(1))
        .stream_filter::<Versioned>()
        .serve()
}

fn word(number: usize) -> String {
    std::env::args().nth(number).unwrap_or_default()
}

#[derive(Clone)]
struct Versioned {
    name: String,
    manner: String,
}

impl Builtin for Versioned {
    type Filter = Self;

    fn schema() -> Schema {
        Schema::object()
    }

    fn parse(node: &Node) -> Result<Self, ParseError> {
        node.as_fields()?.finish()?;
        Ok(Self {
            name: word(1),
            manner: word(2),
        })
    }

    fn wants(&self) -> Wants {
        Wants::REQUEST_HEADERS.and(Wants::RESPONSE_HEADERS)
    }

    fn filter(&self) -> Self {
        self.clone()
    }
}

impl StreamFilter for Versioned {
    fn request_headers(&mut self, stream: &mut Stream<'_>, _end: bool) -> HeadersVerdict {
        // Headers that wait can be changed.
        let _ = stream.request_mut().set("x-version", &*self.name);
        match &*self.manner {
            "fails" => stream.fail(FilterError::broken("this version does")),
            // In the callback itself: what a stream waits for afterwards is no part of the call that the host measures.
            "slow" => std::thread::sleep(Duration::from_millis(20)),
            _ => {}
        }
        HeadersVerdict::Continue
    }

    fn response_headers(&mut self, stream: &mut Stream<'_>, _end: bool) -> HeadersVerdict {
        let _ = stream.response_mut().set("x-version", &*self.name);
        if &*self.manner == "slow" {
            std::thread::sleep(Duration::from_millis(20));
        }
        HeadersVerdict::Continue
    }
}
