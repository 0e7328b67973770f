//! A filter for Transom, in a shared library: lets requests pass only if they have the headers of its configuration, such as `{"User": "admin"}`.

use std::sync::Arc;

use transom_sdk::api::builtin::{self, Builtin};
use transom_sdk::api::{
    Factory, HeadersVerdict, LocalReply, Node, ParseError, Schema, Stream, StreamFilter, StreamFilters, Wants,
};

/// Makes the filter: what `transom plugin build --new @NAME@::new` exports.
#[must_use]
pub fn new() -> Arc<dyn Factory<StreamFilters>> {
    builtin::factory::<Filter>()
}

/// The headers that a request must have.
#[derive(Clone)]
pub struct Filter(Arc<[(String, String)]>);

impl Builtin for Filter {
    type Filter = Self;

    fn schema() -> Schema {
        Schema::map_of(Schema::string()).describe("Headers that a request must have.")
    }

    fn parse(node: &Node) -> Result<Self, ParseError> {
        let mut wanted = Vec::new();
        for (name, value) in node.as_entries()? {
            wanted.push((name.name.clone(), value.as_str()?.to_owned()));
        }
        Ok(Self(wanted.into()))
    }

    // Nothing else is called.
    fn wants(&self) -> Wants {
        Wants::REQUEST_HEADERS
    }

    fn filter(&self) -> Self {
        self.clone()
    }
}

impl StreamFilter for Filter {
    fn request_headers(&mut self, stream: &mut Stream<'_>, _end: bool) -> HeadersVerdict {
        let request = stream.request();
        let has = |(name, value): &(String, String)| request.get(name).is_some_and(|found| found == **value);
        if self.0.iter().all(has) {
            return HeadersVerdict::Continue;
        }
        let reply = LocalReply::new(403).body("a required header is missing\n").details("@NAME@_denied");
        // An error would say that a response has left already.
        let _ = stream.send_local_reply(reply);
        HeadersVerdict::StopIteration
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use transom_sdk::api::testing::FakeWorker;

    #[test]
    fn who_has_the_header_passes() {
        let config = Node::map([("User", "admin".into())]);
        let filter = FakeWorker::new().builtin::<Filter>(&config).unwrap();
        for (user, status) in [("admin", None), ("guest", Some(403))] {
            let mut stream = filter.stream().with_header("user", user);
            stream.request_headers(true);
            assert_eq!(stream.reply().map(|reply| reply.status), status, "{user}");
        }
    }
}
