//! `header_to_metadata`: puts values of headers and cookies into dynamic metadata, where later filters and logs find them.
//!
//! | key | default | what |
//! |---|---|---|
//! | `request_rules`, `response_rules` | none | lists of rules, done in their order |
//! | `….header` | | the header; of one that comes several times, all values joined by `,` |
//! | `….cookie` | | in place of `header`: the cookie of the request |
//! | `….on_present` | none | what is set when it is there |
//! | `….on_missing` | none | what is set when it is not |
//! | `….remove` | `false` | whether the header goes then |
//!
//! `on_present` and `on_missing` have
//!
//! | key | default | what |
//! |---|---|---|
//! | `namespace` | `header_to_metadata` | where in the metadata |
//! | `key` | must be given | under which key |
//! | `value` | the header's | the value; `on_missing` must have one |
//! | `type` | `string` | `string`, or `number` |
//!
//! ```yaml
//! stream_filters:
//!   - name: header_to_metadata
//!     config:
//!       request_rules:
//!         - header: x-version
//!           on_present: {namespace: transom.lb, key: version}
//!           on_missing: {namespace: transom.lb, key: version, value: stable}
//!           remove: true
//! ```
//!
//! A value that is empty, longer than 8 KiB, not UTF-8, or no number where one is wanted is left out.
//!
//! A route's configuration has the same keys and holds in place of the listener's. The filter runs after the route was
//! found.
//!
//! | metric | what |
//! |---|---|
//! | `transom_header_to_metadata_set_total{filter}` | values set |
//! | `transom_header_to_metadata_skipped_total{filter}` | values left out |

use std::borrow::Cow;
use std::sync::Arc;

use transom_api::builtin::Builtin;
use transom_api::{
    Counter, Direction, FilterError, HeaderMap, Headers, HeadersVerdict, MetadataValue, Node,
    ParseError, Phase, PrepareContext, PrepareError, Schema, Shape, Stream, StreamFilter, Wants,
};

use crate::header_name::parse_header_name;

/// Metadata is for choices and logs; what is longer is no value of either.
const LONGEST_VALUE: usize = 8 << 10;

/// The configuration of a listener or of a route. Cheap to clone.
#[derive(Clone, Debug)]
pub struct HeaderToMetadata {
    /// Shared: a stream must let go of the route's configuration before it can be changed.
    request: Arc<[Rule]>,
    response: Arc<[Rule]>,
    /// Of the listener's configuration only.
    metrics: Option<HeaderToMetadataMetrics>,
}

#[derive(Debug)]
struct Rule {
    source: Source,
    on_present: Option<Entry>,
    on_missing: Option<Entry>,
    remove: bool,
}

#[derive(Debug)]
enum Source {
    Header(String),
    Cookie(String),
}

#[derive(Debug)]
struct Entry {
    namespace: String,
    key: String,
    value: Option<String>,
    is_number: bool,
}

#[derive(Clone, Copy, Debug)]
struct HeaderToMetadataMetrics {
    set: Counter,
    skipped: Counter,
}

impl Builtin for HeaderToMetadata {
    type Filter = HeaderToMetadataFilter;
    /// It keeps nothing of a stream.
    const SHARED: bool = true;

    fn schema() -> Schema {
        let entry = |what: &str| {
            Schema::object()
                .optional(
                    "namespace",
                    Schema::string()
                        .describe("Where in the metadata.")
                        .or("header_to_metadata"),
                )
                .required("key", Schema::string().describe("Under which key."))
                .optional(
                    "value",
                    Schema::string().describe("The value. By default the header's or cookie's."),
                )
                .optional(
                    "type",
                    Schema::new(Shape::OneOf(vec!["string", "number"]))
                        .describe("What the value becomes.")
                        .or("string"),
                )
                .describe(what)
        };
        let rule = || {
            Schema::object()
                .optional(
                    "header",
                    Schema::string().describe("The header; its values joined by commas."),
                )
                .optional(
                    "cookie",
                    Schema::string().describe("In place of `header`: a cookie of the request."),
                )
                .optional("on_present", entry("What is set when it is there."))
                .optional(
                    "on_missing",
                    entry("What is set when it is not there; with a `value`."),
                )
                .optional(
                    "remove",
                    Schema::new(Shape::Bool)
                        .describe("Whether the header is removed then.")
                        .or(false),
                )
        };
        Schema::object()
            .optional(
                "request_rules",
                Schema::list(rule()).describe("What is done with headers of requests, in this order."),
            )
            .optional(
                "response_rules",
                Schema::list(rule()).describe("What is done with headers of responses, in this order."),
            )
            .describe("Puts values of headers and cookies into dynamic metadata. A route's configuration holds in place of the listener's.")
    }

    fn parse(node: &Node) -> Result<Self, ParseError> {
        let mut fields = node.as_fields()?;
        let request = fields.optional("request_rules");
        let response = fields.optional("response_rules");
        fields.finish()?;
        let rules = |node: Option<&Node>, direction| {
            node.map_or(Ok(&[][..]), Node::as_list)?
                .iter()
                .map(|rule| parse_rule(rule, direction))
                .collect::<Result<Vec<_>, _>>()
        };
        Ok(Self {
            request: rules(request, Direction::Request)?.into(),
            response: rules(response, Direction::Response)?.into(),
            metrics: None,
        })
    }

    fn prepare(&mut self, context: &PrepareContext) -> Result<(), PrepareError> {
        let counter = |name, help| {
            let labels = [("filter", &*context.instance)];
            context.metrics.counter(name, help, &labels)
        };
        self.metrics = Some(HeaderToMetadataMetrics {
            set: counter(
                "header_to_metadata_set_total",
                "Values that header_to_metadata set.",
            )?,
            skipped: counter(
                "header_to_metadata_skipped_total",
                "Values that header_to_metadata left out.",
            )?,
        });
        Ok(())
    }

    fn wants(&self) -> Wants {
        // A route may have rules where the listener has none.
        Wants::REQUEST_HEADERS.and(Wants::RESPONSE_HEADERS)
    }

    fn phase(&self) -> Phase {
        Phase::AfterRoute
    }

    fn filter(&self) -> HeaderToMetadataFilter {
        HeaderToMetadataFilter(self.clone())
    }
}

/// The filter of all streams of a worker.
#[derive(Debug)]
pub struct HeaderToMetadataFilter(HeaderToMetadata);

impl StreamFilter for HeaderToMetadataFilter {
    fn request_headers(&mut self, stream: &mut Stream<'_>, _end: bool) -> HeadersVerdict {
        self.run(stream, Direction::Request)
    }

    fn response_headers(&mut self, stream: &mut Stream<'_>, _end: bool) -> HeadersVerdict {
        self.run(stream, Direction::Response)
    }
}

impl HeaderToMetadataFilter {
    fn run(&self, stream: &mut Stream<'_>, direction: Direction) -> HeadersVerdict {
        let config = stream.route_config::<HeaderToMetadata>().unwrap_or(&self.0);
        let (rules, map) = match direction {
            Direction::Request => (Arc::clone(&config.request), HeaderMap::RequestHeaders),
            Direction::Response => (Arc::clone(&config.response), HeaderMap::ResponseHeaders),
        };
        for rule in &*rules {
            let found = rule.source.find(&stream.headers(map));
            let entry = match found {
                Some(_) => &rule.on_present,
                None => &rule.on_missing,
            };
            let entry = entry
                .as_ref()
                .map(|entry| (entry, entry.make(found.as_deref())));
            match entry {
                Some((entry, Some(value))) => {
                    stream.set_metadata(&entry.namespace, &entry.key, value);
                    self.count(stream, |metrics| metrics.set);
                }
                Some((_, None)) => self.count(stream, |metrics| metrics.skipped),
                None => {}
            }
            if let Source::Header(name) = &rule.source
                && rule.remove
                && let Err(error) = stream.headers_mut(map).remove(name)
            {
                stream.fail(FilterError::broken(format!(
                    "cannot remove the header `{name}`: {error}"
                )));
            }
        }
        HeadersVerdict::Continue
    }

    fn count(&self, stream: &Stream<'_>, which: impl FnOnce(&HeaderToMetadataMetrics) -> Counter) {
        if let Some(metrics) = &self.0.metrics {
            stream.count(which(metrics), 1);
        }
    }
}

impl Source {
    fn find(&self, headers: &Headers<'_>) -> Option<Vec<u8>> {
        match self {
            Self::Header(name) => {
                let mut values = headers.get_all(name);
                let mut all = values.next()?.into_owned();
                for value in values {
                    all.push(b',');
                    all.extend_from_slice(&value);
                }
                Some(all)
            }
            // RFC 6265 section 5.4: pairs parted by semicolons.
            Self::Cookie(name) => headers.get_all("cookie").find_map(|value| {
                value.split(|byte| *byte == b';').find_map(|pair| {
                    let rest = pair.trim_ascii().strip_prefix(name.as_bytes())?;
                    let value = rest.strip_prefix(b"=")?.trim_ascii();
                    // A value may stand in quotes, which are no part of it.
                    let bare = value
                        .strip_prefix(b"\"")
                        .and_then(|value| value.strip_suffix(b"\""));
                    Some(bare.unwrap_or(value).to_vec())
                })
            }),
        }
    }
}

impl Entry {
    /// The value, if it is one.
    fn make(&self, found: Option<&[u8]>) -> Option<MetadataValue> {
        let text = match &self.value {
            Some(value) => Cow::Borrowed(value.as_str()),
            None => Cow::Borrowed(std::str::from_utf8(found?).ok()?),
        };
        if text.is_empty() || text.len() > LONGEST_VALUE {
            return None;
        }
        if !self.is_number {
            return Some(MetadataValue::String(text.into_owned()));
        }
        let number: f64 = text.trim().parse().ok()?;
        number.is_finite().then_some(MetadataValue::Number(number))
    }
}

fn parse_rule(node: &Node, direction: Direction) -> Result<Rule, ParseError> {
    let mut fields = node.as_fields()?;
    let header = fields.optional("header");
    let cookie = fields.optional("cookie");
    let on_present = fields.optional("on_present");
    let on_missing = fields.optional("on_missing");
    let remove = fields.optional("remove");
    fields.finish()?;
    let source = match (header, cookie) {
        (Some(header), None) => Source::Header(parse_header_name(header)?),
        (None, Some(cookie)) if direction == Direction::Request => {
            Source::Cookie(cookie.as_str()?.to_owned())
        }
        (None, Some(cookie)) => {
            return Err(cookie
                .error("a response sends no cookies")
                .with_help("its header `set-cookie` can be named"));
        }
        _ => {
            return Err(node
                .error("a rule has either `header` or `cookie`")
                .with_help("name one of the two"));
        }
    };
    let is_cookie = matches!(source, Source::Cookie(_));
    let rule = Rule {
        source,
        on_present: on_present.map(parse_entry).transpose()?,
        on_missing: on_missing.map(parse_entry).transpose()?,
        remove: remove.map_or(Ok(false), Node::as_bool)?,
    };
    if let Some(remove) = remove.filter(|_| rule.remove && is_cookie) {
        return Err(remove.error("one cookie of several cannot be removed"));
    }
    if let Some(node) = on_missing
        && rule
            .on_missing
            .as_ref()
            .is_some_and(|entry| entry.value.is_none())
    {
        return Err(node
            .error("the key `value` is missing")
            .with_help("what is not there has no value of its own"));
    }
    if rule.on_present.is_none() && rule.on_missing.is_none() && !rule.remove {
        return Err(node
            .error("the rule does nothing")
            .with_help("give it `on_present`, `on_missing` or `remove: true`"));
    }
    Ok(rule)
}

fn parse_entry(node: &Node) -> Result<Entry, ParseError> {
    let mut fields = node.as_fields()?;
    let namespace = fields.optional("namespace");
    let key = fields.required("key")?;
    let value = fields.optional("value");
    let kind = fields.optional("type");
    fields.finish()?;
    let text = |node: &Node| match node.as_str()? {
        "" => Err(node.error("this cannot be empty")),
        text => Ok(text.to_owned()),
    };
    let entry = Entry {
        namespace: namespace.map_or_else(|| Ok("header_to_metadata".to_owned()), text)?,
        key: text(key)?,
        value: value.map(text).transpose()?,
        is_number: match kind.map_or(Ok("string"), Node::as_str)? {
            "string" => false,
            "number" => true,
            other => {
                return Err(kind
                    .unwrap_or(node)
                    .error(format!("unknown type {other:?}"))
                    .with_help("write `string` or `number`"));
            }
        },
    };
    if let Some(value) = value.filter(|_| entry.make(None).is_none()) {
        return Err(value.error("this is no number, or longer than 8 KiB"));
    }
    Ok(entry)
}

#[cfg(test)]
mod tests;
