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
//!     filters: {header_match: {config: {User: root}}}
//! ```
//!
//! It is no authentication: whoever knows the value gets in, and the answer's time depends on the value.
//!
//! | metric | what |
//! |---|---|
//! | `transom_header_match_denied_total{filter}` | requests refused |

use transom_api::builtin::Builtin;
use transom_api::{
    Counter, HeadersVerdict, LocalReply, Node, ParseError, PrepareContext, PrepareError, Schema,
    Stream, StreamFilter, Wants,
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
    /// It keeps nothing of a stream.
    const SHARED: bool = true;

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

#[cfg(test)]
mod tests {
    use transom_api::testing::{FakeUse, FakeWorker, placed};
    use transom_api::{Direction, Registry, StreamFilters};

    use super::*;

    fn admins(worker: &mut FakeWorker) -> FakeUse {
        worker
            .builtin::<HeaderMatch>(&Node::map([("User", "admin".into())]))
            .unwrap()
    }

    fn refusal(config: &Node) -> String {
        FakeWorker::new()
            .builtin::<HeaderMatch>(&placed(config))
            .unwrap_err()
            .to_string()
    }

    #[test]
    fn the_header_passes_in_any_case_and_among_several() {
        let used = admins(&mut FakeWorker::new());
        for headers in [
            &[("User", "admin")][..],
            &[("uSER", "admin")],
            &[("user", "guest"), ("x", "y"), ("user", "admin")],
        ] {
            let mut stream = headers.iter().fold(used.stream(), |stream, (name, value)| {
                stream.with_header(name, value)
            });
            assert_eq!(
                stream.request_headers(true),
                Some(HeadersVerdict::Continue),
                "{headers:?}"
            );
            assert_eq!(stream.actions(), []);
        }
    }

    #[test]
    fn another_value_or_none_is_refused() {
        let mut worker = FakeWorker::new().with_instance("admins");
        let used = admins(&mut worker);
        for headers in [
            &[][..],
            &[("User", "Admin")],
            &[("User", "admin2")],
            &[("User", "")],
            &[("Usr", "admin")],
        ] {
            let mut stream = headers.iter().fold(used.stream(), |stream, (name, value)| {
                stream.with_header(name, value)
            });
            stream.request_headers(false);
            let reply = stream.reply().unwrap();
            assert_eq!(
                (reply.status, &*reply.details),
                (403, "header_match_denied"),
                "{headers:?}"
            );
            assert_eq!(
                stream.sent(Direction::Response),
                b"a required header is missing\n"
            );
            assert!(!stream.has_passed(Direction::Request));
        }
        let process = worker.process();
        assert_eq!(process.metric("header_match_denied_total"), 5);
        let label = ("filter".to_owned(), "admins".to_owned());
        assert_eq!(process.labels("header_match_denied_total"), [[label]]);
    }

    #[test]
    fn all_named_headers_are_needed() {
        let used = FakeWorker::new()
            .builtin::<HeaderMatch>(&Node::map([("a", "1".into()), ("b", "".into())]))
            .unwrap();
        let mut one = used.stream().with_header("a", "1");
        one.request_headers(true);
        assert!(one.reply().is_some());
        let mut both = used.stream().with_header("a", "1").with_header("B", "");
        both.request_headers(true);
        assert!(both.reply().is_none());
    }

    #[test]
    fn a_routes_configuration_replaces_the_listeners() {
        let mut worker = FakeWorker::new();
        let used = admins(&mut worker);
        let route = used.route(&Node::map([("User", "root".into())])).unwrap();
        for (user, passes) in [("root", true), ("admin", false)] {
            let mut stream = used
                .stream()
                .with_header("User", user)
                .with_route(route.clone());
            stream.request_headers(true);
            assert_eq!(stream.has_passed(Direction::Request), passes, "{user}");
        }
        assert_eq!(worker.process().metric("header_match_denied_total"), 1);
        assert!(used.route(&Node::null()).is_err());
    }

    #[test]
    fn a_response_that_has_begun_stays() {
        let used = admins(&mut FakeWorker::new());
        let mut stream = used.stream();
        stream.response_headers(200, &[], true);
        stream.request_headers(true);
        assert!(stream.reply().is_none());
    }

    #[test]
    fn mistakes_are_shown_at_their_place() {
        for (config, expected) in [
            (
                Node::null(),
                "line 1, column 1: at least one header must be named (name it with its value, such as `User: admin`)",
            ),
            (
                Node::from("admin"),
                "line 1, column 1: expected a map of keys to values, found the text \"admin\"",
            ),
            (
                Node::map([("ok", "1".into()), ("a b", "1".into())]),
                "line 2, column 1: \"a b\" is no header name (a name is made of letters, digits and any of !#$%&'*+-.^_`|~)",
            ),
            (
                Node::map([("", "1".into())]),
                "line 1, column 1: \"\" is no header name (a name is made of letters, digits and any of !#$%&'*+-.^_`|~)",
            ),
            (
                Node::map([("User", "1".into()), ("user", "2".into())]),
                "line 2, column 1: the header `user` is named twice (header names have no case)",
            ),
            (
                Node::map([("User", 1.into())]),
                "line 1, column 7: expected text, found the number 1 (put it in quotes to have it read as text)",
            ),
            (
                Node::map([("User", " admin".into())]),
                "line 1, column 7: no header can have the value \" admin\" (a value has no control characters, and no white space at its ends)",
            ),
        ] {
            assert_eq!(refusal(&config), expected);
        }
    }

    #[test]
    fn it_is_also_known_as_demo() {
        let mut registry = Registry::new();
        crate::register(&mut registry).unwrap();
        let config = Node::map([("User", "admin".into())]);
        for name in ["header_match", "demo"] {
            let factory = registry.find::<StreamFilters>(name).unwrap();
            let used = FakeWorker::new().stream_filter(factory, &config).unwrap();
            let mut stream = used.stream();
            stream.request_headers(true);
            assert_eq!(stream.reply().unwrap().status, 403, "{name}");
        }
    }

    #[test]
    fn streams_of_a_worker_share_one_filter() {
        let used = admins(&mut FakeWorker::new());
        let made = used
            .stream()
            .with_context(|stream| used.part().stream(stream));
        assert!(matches!(made, Ok(transom_api::StreamInstance::Shared(_))));
    }
}
