//! `header_mutation`: sets, adds and removes headers of requests and responses.
//!
//! | key | what |
//! |---|---|
//! | `request`, `response` | what to do with the headers of each; none by default |
//! | `….remove` | a list of names: all their values go |
//! | `….set` | a map of names to values: each value takes the place of all that are there |
//! | `….add` | a map of names to values: each is put behind those that are there |
//!
//! It is done in this order: remove, set, add. Values are plain text: a formatter such as Envoy's
//! `%REQ(x-user)%` is refused, not sent as it is. Pseudo-headers (`:method`, `:path`, `:scheme`, `:authority` with its
//! alias `host`; `:status` on a response) can be set; fields that frame a message or concern one hop
//! (`content-length`, `connection`, …) belong to the proxy and are refused.
//!
//! ```yaml
//! stream_filters:
//!   - name: header_mutation
//!     config:
//!       request:
//!         set: {x-team: blue}
//!         remove: [x-debug]
//!       response:
//!         add: {cache-control: no-store}
//!         remove: [server]
//! ```
//!
//! A route's configuration has the same form and is run after the listener's own. The filter runs after the route was
//! found, so a path or an authority that it sets is what the upstream sees and changes no route; with
//! `phase: before_route` it does, and then the route's own configuration is that of the route which the changed request
//! asks for.
//!
//! Responses of the proxy's own (an error, another filter's answer) are changed like those of upstreams.

use std::sync::Arc;

use transom_api::builtin::Builtin;
use transom_api::{
    Direction, FilterError, HeaderError, HeaderMap, HeadersMut, HeadersVerdict, Key, Node,
    ParseError, Phase, Schema, Stream, StreamFilter, Wants, field,
};

/// The configuration of a listener or of a route. Cheap to clone.
#[derive(Clone, Debug)]
pub struct HeaderMutation {
    /// Shared: a stream must let go of the route's configuration before it can change headers.
    request: Arc<[Mutation]>,
    response: Arc<[Mutation]>,
}

/// One thing to do.
#[derive(Clone, Debug, PartialEq)]
enum Mutation {
    Remove(String),
    Set(String, String),
    Add(String, String),
}

impl Builtin for HeaderMutation {
    type Filter = HeaderMutationFilter;
    /// It keeps nothing of a stream.
    const SHARED: bool = true;

    fn schema() -> Schema {
        let values = || Schema::map_of(Schema::string().describe("Plain text."));
        let mutations = |whose: &str| {
            Schema::object()
                .optional(
                    "set",
                    values().describe(
                        "Names and values that take the place of those that are there. Done after `remove`.",
                    ),
                )
                .optional(
                    "add",
                    values().describe(
                        "Names and values that are put behind those that are there. Done last.",
                    ),
                )
                .optional(
                    "remove",
                    Schema::list(Schema::string())
                        .describe("Names of headers that are removed. Done first."),
                )
                .describe(&format!(
                    "What to do with the headers of {whose}. By default nothing."
                ))
        };
        Schema::object()
            .optional("request", mutations("requests"))
            .optional("response", mutations("responses"))
            .describe(
                "Sets, adds and removes headers. A route's configuration is run after the listener's.",
            )
    }

    fn parse(node: &Node) -> Result<Self, ParseError> {
        let mut fields = node.as_fields()?;
        let request = fields.optional("request");
        let response = fields.optional("response");
        fields.finish()?;
        Ok(Self {
            request: parse_mutations(request, HeaderMap::RequestHeaders)?,
            response: parse_mutations(response, HeaderMap::ResponseHeaders)?,
        })
    }

    fn wants(&self) -> Wants {
        // A route may have mutations where the listener has none.
        Wants::REQUEST_HEADERS.and(Wants::RESPONSE_HEADERS)
    }

    fn phase(&self) -> Phase {
        Phase::AfterRoute
    }

    fn filter(&self) -> HeaderMutationFilter {
        HeaderMutationFilter(self.clone())
    }
}

/// The filter of all streams of a worker.
#[derive(Debug)]
pub struct HeaderMutationFilter(HeaderMutation);

impl StreamFilter for HeaderMutationFilter {
    fn request_headers(&mut self, stream: &mut Stream<'_>, _end: bool) -> HeadersVerdict {
        self.mutate(stream, Direction::Request)
    }

    fn response_headers(&mut self, stream: &mut Stream<'_>, _end: bool) -> HeadersVerdict {
        self.mutate(stream, Direction::Response)
    }
}

impl HeaderMutationFilter {
    fn mutate(&self, stream: &mut Stream<'_>, direction: Direction) -> HeadersVerdict {
        let applied = self.0.apply(stream, direction).and_then(|()| {
            // Looked for after the listener's own mutations: before the route is found they may change which it is.
            let route = stream.route_config::<HeaderMutation>().cloned();
            route.map_or(Ok(()), |route| route.apply(stream, direction))
        });
        if let Err((name, error)) = applied {
            stream.fail(FilterError::broken(format!(
                "cannot change the header `{name}`: {error}"
            )));
        }
        HeadersVerdict::Continue
    }
}

impl HeaderMutation {
    fn apply(
        &self,
        stream: &mut Stream<'_>,
        direction: Direction,
    ) -> Result<(), (String, HeaderError)> {
        let (mutations, mut headers) = match direction {
            Direction::Request => (&self.request, stream.request_mut()),
            Direction::Response => (&self.response, stream.response_mut()),
        };
        mutations.iter().try_for_each(|mutation| {
            mutation
                .apply(&mut headers)
                .map_err(|error| (mutation.name().to_owned(), error))
        })
    }
}

impl Mutation {
    fn apply(&self, headers: &mut HeadersMut<'_>) -> Result<(), HeaderError> {
        match self {
            Self::Remove(name) => headers.remove(name).map(drop),
            Self::Set(name, value) => headers.set(name, value),
            Self::Add(name, value) => headers.add(name, value),
        }
    }

    fn name(&self) -> &str {
        match self {
            Self::Remove(name) | Self::Set(name, _) | Self::Add(name, _) => name,
        }
    }
}

/// Reads what to do with the headers of one direction, in the order in which it is done.
fn parse_mutations(node: Option<&Node>, map: HeaderMap) -> Result<Arc<[Mutation]>, ParseError> {
    let mut mutations = Vec::new();
    let Some(node) = node else {
        return Ok(mutations.into());
    };
    let mut fields = node.as_fields()?;
    let set = fields.optional("set");
    let add = fields.optional("add");
    let remove = fields.optional("remove");
    fields.finish()?;
    for item in remove.map_or(Ok(&[][..]), Node::as_list)? {
        let name = item.as_str()?;
        let at = |error: ParseError| error.or_at(item.span);
        if !field::is_name(name.as_bytes()) && field::Pseudo::of(name.as_bytes()).is_none() {
            return Err(at(refused_name(name)));
        }
        if field::Pseudo::of(name.as_bytes()).is_some() {
            return Err(at(ParseError::new(format!(
                "the header `{name}` cannot be removed"
            ))
            .with_help("every message has it; give it another value with `set`")));
        }
        field::check_removal(name.as_bytes()).map_err(|error| at(refused(map, name, error)))?;
        mutations.push(Mutation::Remove(name.to_owned()));
    }
    let mut names: Vec<&str> = Vec::new();
    for (key, value) in set.map_or(Ok(&[][..]), Node::as_entries)? {
        let value = parse_value(map, key, value)?;
        if names
            .iter()
            .any(|name| name.eq_ignore_ascii_case(&key.name))
        {
            return Err(
                ParseError::new(format!("the header `{}` is set twice", key.name))
                    .with_help("header names have no case; a second value is given with `add`")
                    .or_at(key.span),
            );
        }
        names.push(&key.name);
        mutations.push(Mutation::Set(key.name.clone(), value));
    }
    for (key, value) in add.map_or(Ok(&[][..]), Node::as_entries)? {
        let value = parse_value(map, key, value)?;
        if field::Pseudo::of(key.name.as_bytes()).is_some() {
            return Err(
                ParseError::new(format!("the header `{}` cannot be added", key.name))
                    .with_help("a message has it once; give it another value with `set`")
                    .or_at(key.span),
            );
        }
        mutations.push(Mutation::Add(key.name.clone(), value));
    }
    Ok(mutations.into())
}

/// Reads the value of a header that is set or added, and checks both.
fn parse_value(map: HeaderMap, key: &Key, value: &Node) -> Result<String, ParseError> {
    let text = value.as_str()?;
    if let Some(formatter) = formatter(text) {
        return Err(value
            .error(format!(
                "values are plain text, and `{formatter}` would be sent as it is"
            ))
            .with_help("write the value itself; a filter in Lua or a plugin can make one"));
    }
    field::check(map, key.name.as_bytes(), text.as_bytes()).map_err(|error| match error {
        HeaderError::InvalidValue => value.error(format!(
            "the header `{}` cannot have the value {text:?}",
            key.name
        )),
        error => refused(map, &key.name, error).or_at(key.span),
    })?;
    Ok(text.to_owned())
}

fn refused(map: HeaderMap, name: &str, error: HeaderError) -> ParseError {
    match error {
        HeaderError::Reserved => ParseError::new(format!("the header `{name}` belongs to the proxy"))
            .with_help(format!(
                "leave it out: it frames the message or concerns one connection, and the proxy writes it itself; so it is with {}",
                field::RESERVED.join(", ")
            )),
        _ if name.starts_with(':') => {
            let known: Vec<&str> = field::Pseudo::ALL
                .into_iter()
                .filter(|pseudo| pseudo.is_in(map))
                .map(field::Pseudo::name)
                .collect();
            ParseError::new(format!("there is no `{name}` here"))
                .with_help(format!("pseudo-headers here: {}", known.join(", ")))
        }
        _ => refused_name(name),
    }
}

fn refused_name(name: &str) -> ParseError {
    ParseError::new(format!("{name:?} is no header name"))
        .with_help("a name is made of letters, digits and any of !#$%&'*+-.^_`|~")
}

/// The first of Envoy's formatters (`%PROTOCOL%`, `%REQ(x-user)%`) in a text. What could be percent-encoding (`%AB%`) is
/// none.
fn formatter(text: &str) -> Option<&str> {
    for (start, _) in text.match_indices('%') {
        let rest = text.get(start + 1..)?;
        let len = rest
            .bytes()
            .take_while(|byte| byte.is_ascii_uppercase() || *byte == b'_')
            .count();
        let (name, behind) = rest.split_at_checked(len)?;
        let is_encoding = name.len() >= 2 && name.bytes().take(2).all(|b| b.is_ascii_hexdigit());
        // Bytes of `rest` that belong to it.
        let end = match behind.bytes().next() {
            Some(b'(') if len > 0 => behind.find(")%").map_or(rest.len(), |at| len + at + 2),
            Some(b'%') if len > 1 && !is_encoding => len + 1,
            _ => continue,
        };
        return text.get(start..start + 1 + end);
    }
    None
}

#[cfg(test)]
mod tests {
    use transom_api::testing::{FakeStream, FakeUse, FakeWorker, placed};

    use super::*;

    fn mutations<const N: usize>(entries: [(&str, Node); N]) -> Node {
        Node::map(entries)
    }

    fn built(config: &Node) -> FakeUse {
        FakeWorker::new().builtin::<HeaderMutation>(config).unwrap()
    }

    fn shown(stream: &FakeStream, map: HeaderMap) -> Vec<String> {
        let entries = stream.headers(map);
        let entries = entries.iter();
        entries
            .map(|(name, value)| format!("{name}={value}"))
            .collect()
    }

    fn all_three() -> Node {
        mutations([
            (
                "add",
                Node::map([("x-a", "added".into()), ("x-b", "added".into())]),
            ),
            (
                "set",
                Node::map([("x-a", "set".into()), (":path", "/new".into())]),
            ),
            ("remove", Node::list(["x-b".into(), "X-C".into()])),
        ])
    }

    #[test]
    fn it_removes_then_sets_then_adds() {
        let used = built(&Node::map([("request", all_three())]));
        let mut stream = used
            .stream()
            .with_header("X-A", "1")
            .with_header("x-b", "1")
            .with_header("x-c", "1")
            .with_header("x-a", "2");
        assert_eq!(stream.request_headers(true), Some(HeadersVerdict::Continue));
        assert_eq!(
            shown(&stream, HeaderMap::RequestHeaders),
            [
                ":method=GET",
                ":path=/new",
                ":scheme=http",
                ":authority=example.test",
                "X-A=set",
                "x-a=added",
                "x-b=added"
            ]
        );
    }

    #[test]
    fn responses_are_changed_too() {
        let response = mutations([
            ("set", Node::map([(":status", "418".into())])),
            ("remove", Node::list(["server".into()])),
        ]);
        let used = built(&Node::map([("response", response)]));
        let mut stream = used.stream();
        stream.request_headers(true);
        stream.response_headers(200, &[("Server", "x"), ("x-kept", "1")], true);
        assert_eq!(
            shown(&stream, HeaderMap::ResponseHeaders),
            [":status=418", "x-kept=1"]
        );
    }

    #[test]
    fn a_routes_mutations_come_after_the_listeners() {
        let used = built(&Node::map([(
            "request",
            mutations([(
                "set",
                Node::map([("x-a", "listener".into()), ("x-b", "listener".into())]),
            )]),
        )]));
        let route = used
            .route(&Node::map([
                (
                    "request",
                    mutations([("set", Node::map([("x-a", "route".into())]))]),
                ),
                (
                    "response",
                    mutations([("add", Node::map([("x-c", "route".into())]))]),
                ),
            ]))
            .unwrap();
        let mut stream = used.stream().with_route(route);
        stream.request_headers(true);
        stream.response_headers(200, &[], true);
        let request = shown(&stream, HeaderMap::RequestHeaders);
        assert_eq!(
            request.get(4..),
            Some(&["x-a=route".to_owned(), "x-b=listener".to_owned()][..])
        );
        assert_eq!(
            shown(&stream, HeaderMap::ResponseHeaders),
            [":status=200", "x-c=route"]
        );
    }

    #[test]
    fn an_empty_configuration_changes_nothing() {
        let mut stream = built(&Node::null()).stream();
        stream.request_headers(true);
        assert_eq!(shown(&stream, HeaderMap::RequestHeaders).len(), 4);
        assert_eq!(stream.actions(), []);
    }

    #[test]
    fn a_map_that_would_grow_over_its_limit_fails_the_stream() {
        let used = built(&Node::map([(
            "request",
            mutations([("add", Node::map([("x-a", "1".into())]))]),
        )]));
        let mut stream = (0..1_000).fold(used.stream(), |stream, _| stream.with_header("x", "y"));
        stream.request_headers(true);
        assert_eq!(stream.reply().map(|reply| reply.status), Some(500));
        let [transom_api::testing::Action::Fail(error)] = stream.actions() else {
            panic!("one failure");
        };
        assert_eq!(
            error.message,
            "cannot change the header `x-a`: the header map would grow over its limit"
        );
    }

    #[test]
    fn mistakes_are_shown_at_their_place() {
        let set = |name: &'static str, value: &'static str| {
            mutations([("set", Node::map([(name, value.into())]))])
        };
        let remove = |name: &'static str| mutations([("remove", Node::list([name.into()]))]);
        let reserved = "(leave it out: it frames the message or concerns one connection, and the proxy writes it itself; so it is with content-length, transfer-encoding, connection, keep-alive, proxy-connection, upgrade, te, trailer)";
        let no_name = "(a name is made of letters, digits and any of !#$%&'*+-.^_`|~)";
        for (request, expected) in [
            (
                mutations([("sett", Node::null())]),
                "line 2, column 3: unknown key `sett` (did you mean `set`? Known keys: set, add, remove)".to_owned(),
            ),
            (
                set("Content-Length", "5"),
                format!("line 3, column 5: the header `Content-Length` belongs to the proxy {reserved}"),
            ),
            (
                remove("Transfer-Encoding"),
                format!("line 3, column 7: the header `Transfer-Encoding` belongs to the proxy {reserved}"),
            ),
            (
                mutations([("add", Node::map([("te", "trailers".into())]))]),
                format!("line 3, column 5: the header `te` belongs to the proxy {reserved}"),
            ),
            (
                set("a b", "c"),
                format!("line 3, column 5: \"a b\" is no header name {no_name}"),
            ),
            (
                remove(":what"),
                format!("line 3, column 7: \":what\" is no header name {no_name}"),
            ),
            (
                set(":status", "200"),
                "line 3, column 5: there is no `:status` here (pseudo-headers here: :method, :path, :scheme, :authority)".to_owned(),
            ),
            (
                set(":path", "no/slash"),
                "line 3, column 12: the header `:path` cannot have the value \"no/slash\"".to_owned(),
            ),
            (
                set("a", "line\nbreak"),
                "line 3, column 8: the header `a` cannot have the value \"line\\nbreak\"".to_owned(),
            ),
            (
                set("a", "is %REQ(x-user)% here"),
                "line 3, column 8: values are plain text, and `%REQ(x-user)%` would be sent as it is (write the value itself; a filter in Lua or a plugin can make one)".to_owned(),
            ),
            (
                remove("Host"),
                "line 3, column 7: the header `Host` cannot be removed (every message has it; give it another value with `set`)".to_owned(),
            ),
            (
                mutations([("add", Node::map([(":path", "/".into())]))]),
                "line 3, column 5: the header `:path` cannot be added (a message has it once; give it another value with `set`)".to_owned(),
            ),
            (
                mutations([("set", Node::map([("a", "1".into()), ("A", "2".into())]))]),
                "line 4, column 5: the header `A` is set twice (header names have no case; a second value is given with `add`)".to_owned(),
            ),
            (
                set_number(),
                "line 3, column 8: expected text, found the number 5 (put it in quotes to have it read as text)".to_owned(),
            ),
        ] {
            let config = placed(&Node::map([("request", request)]));
            let error = HeaderMutation::parse(&config).unwrap_err();
            assert_eq!(error.to_string(), expected);
        }
    }

    fn set_number() -> Node {
        mutations([("set", Node::map([("a", 5.into())]))])
    }

    #[test]
    fn formatters_are_found_and_percent_encoding_is_none() {
        for (text, expected) in [
            (
                "%ATTRIBUTE(request.path)%",
                Some("%ATTRIBUTE(request.path)%"),
            ),
            ("a %PROTOCOL% b", Some("%PROTOCOL%")),
            ("%UPSTREAM_HOST%", Some("%UPSTREAM_HOST%")),
            ("%REQ(open", Some("%REQ(open")),
            ("100%", None),
            ("100% (a)", None),
            ("%AB%CD", None),
            ("%E2%80%A6", None),
            ("%%", None),
            ("%a%", None),
            ("caf\u{e9} %", None),
        ] {
            assert_eq!(formatter(text), expected, "{text}");
        }
    }
}
