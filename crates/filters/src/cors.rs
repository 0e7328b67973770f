//! `cors`: tells browsers which other sites' pages may use what is here (Fetch standard, "CORS protocol").
//!
//! | key | default | what |
//! |---|---|---|
//! | `allow_origins` | none | origins that may: `https://app.example`, with one `*` for a part without slashes (`https://*.example`, `http://localhost:*`), or `"*"` for all |
//! | `allow_methods` | none | a list: what a preflight answers in `access-control-allow-methods` |
//! | `allow_headers` | none | a list: `access-control-allow-headers` |
//! | `expose_headers` | none | a list: `access-control-expose-headers` of responses |
//! | `allow_credentials` | `false` | `access-control-allow-credentials: true`; not together with `"*"` |
//! | `max_age` | none | how long a browser may keep a preflight's answer: `access-control-max-age` |
//!
//! ```yaml
//! stream_filters:
//!   - name: cors
//!     config:
//!       allow_origins: ["https://app.example", "https://*.app.example"]
//!       allow_methods: [GET, PUT]
//!       allow_headers: [content-type]
//!       max_age: 1h
//! ```
//!
//! A preflight (`OPTIONS` with `origin` and `access-control-request-method`) of an origin that may is answered here with
//! 200; the access log's detail is `cors_preflight`. Responses to other requests of such an origin get
//! `access-control-allow-origin` with it, in place of what the upstream says. An origin that may not is no error: its
//! requests, preflights too, go on, and what comes back lets no page see it. All responses get `vary: origin`, as
//! they depend on it, unless every origin may.
//!
//! It protects browsers' users, not the upstream: other clients send what they like. It stands before filters that
//! refuse requests without credentials, because preflights have none.
//!
//! A route's configuration has the same keys and holds in place of the listener's; an empty one adds nothing.
//!
//! | metric | what |
//! |---|---|
//! | `transom_cors_origin_valid_total{filter}` | requests of an origin that may |
//! | `transom_cors_origin_invalid_total{filter}` | requests of an origin that may not |
//! | `transom_cors_preflights_total{filter}` | preflights answered |

mod origin;

use std::sync::Arc;

use transom_api::builtin::Builtin;
use transom_api::{
    Counter, FilterError, HeaderError, HeadersMut, HeadersVerdict, LocalReply, Node, ParseError,
    PrepareContext, PrepareError, Schema, Shape, Stream, StreamFilter, Wants, field,
};

use self::origin::OriginPattern;
use crate::vary;

/// The configuration of a listener or of a route. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Cors {
    policy: Arc<Policy>,
    /// Of the listener's configuration only.
    metrics: Option<CorsMetrics>,
}

/// The lists as they are sent: joined.
#[derive(Debug, Default)]
struct Policy {
    origins: Vec<OriginPattern>,
    methods: Option<String>,
    headers: Option<String>,
    expose: Option<String>,
    credentials: bool,
    max_age: Option<String>,
}

#[derive(Clone, Copy, Debug)]
struct CorsMetrics {
    valid: Counter,
    invalid: Counter,
    preflights: Counter,
}

impl Builtin for Cors {
    type Filter = CorsFilter;

    fn schema() -> Schema {
        let list = |what: &str| Schema::list(Schema::string()).describe(what);
        Schema::object()
            .optional(
                "allow_origins",
                list("Origins that may: https://app.example, with one * for a part without slashes, or \"*\" alone for all."),
            )
            .optional(
                "allow_methods",
                list("Methods that a preflight is told it may use."),
            )
            .optional(
                "allow_headers",
                list("Request headers that a preflight is told it may send."),
            )
            .optional(
                "expose_headers",
                list("Response headers that pages may see beside the safe ones."),
            )
            .optional(
                "allow_credentials",
                Schema::new(Shape::Bool)
                    .describe("Whether pages may send cookies and credentials. Not together with \"*\".")
                    .or(false),
            )
            .optional(
                "max_age",
                Schema::new(Shape::Duration)
                    .describe("How long a browser may keep a preflight's answer; whole seconds."),
            )
            .describe("Tells browsers which other sites' pages may use what is here. A route's configuration holds in place of the listener's.")
    }

    fn parse(node: &Node) -> Result<Self, ParseError> {
        let mut fields = node.as_fields()?;
        let origins = fields.optional("allow_origins");
        let methods = fields.optional("allow_methods");
        let headers = fields.optional("allow_headers");
        let expose = fields.optional("expose_headers");
        let credentials = fields.optional("allow_credentials");
        let max_age = fields.optional("max_age");
        fields.finish()?;
        let origins = origins.map_or(Ok(&[][..]), Node::as_list)?;
        let policy = Policy {
            origins: origins
                .iter()
                .map(OriginPattern::parse)
                .collect::<Result<_, _>>()?,
            methods: methods.map(join_tokens).transpose()?,
            headers: headers.map(join_tokens).transpose()?,
            expose: expose.map(join_tokens).transpose()?,
            credentials: credentials.map_or(Ok(false), Node::as_bool)?,
            max_age: max_age
                .map(|node| node.as_duration().map(|age| age.as_secs().to_string()))
                .transpose()?,
        };
        if let Some(credentials) = credentials.filter(|_| policy.credentials && policy.allows_all())
        {
            return Err(credentials
                .error("credentials cannot be allowed to every origin")
                .with_help("any page could act as its visitor then; name the origins"));
        }
        Ok(Self {
            policy: Arc::new(policy),
            metrics: None,
        })
    }

    fn prepare(&mut self, context: &PrepareContext) -> Result<(), PrepareError> {
        let counter = |name, help| {
            let labels = [("filter", &*context.instance)];
            context.metrics.counter(name, help, &labels)
        };
        self.metrics = Some(CorsMetrics {
            valid: counter("cors_origin_valid_total", "Requests of an origin that may.")?,
            invalid: counter(
                "cors_origin_invalid_total",
                "Requests of an origin that may not.",
            )?,
            preflights: counter("cors_preflights_total", "Preflights that cors answered.")?,
        });
        Ok(())
    }

    fn wants(&self) -> Wants {
        Wants::REQUEST_HEADERS.and(Wants::RESPONSE_HEADERS)
    }

    fn filter(&self) -> CorsFilter {
        CorsFilter {
            config: self.clone(),
            origin: None,
        }
    }
}

/// The filter of a stream.
#[derive(Debug)]
pub struct CorsFilter {
    config: Cors,
    /// The origin that sent the request, if it may. Kept, because a later filter may change the request.
    origin: Option<Vec<u8>>,
}

impl StreamFilter for CorsFilter {
    fn request_headers(&mut self, stream: &mut Stream<'_>, _end: bool) -> HeadersVerdict {
        let policy = self.policy(stream);
        if policy.origins.is_empty() {
            return HeadersVerdict::Continue;
        }
        let Some(origin) = stream.request().get("origin") else {
            return HeadersVerdict::Continue;
        };
        if !policy.allows(&origin) {
            self.count(stream, |metrics| metrics.invalid);
            return HeadersVerdict::Continue;
        }
        let origin = origin.into_owned();
        self.count(stream, |metrics| metrics.valid);
        let request = stream.request();
        let is_preflight = request
            .get(":method")
            .is_some_and(|method| method == "OPTIONS")
            && request.contains("access-control-request-method");
        if !is_preflight {
            self.origin = Some(origin);
            return HeadersVerdict::Continue;
        }
        self.origin = Some(origin);
        self.count(stream, |metrics| metrics.preflights);
        let lists = [
            ("access-control-allow-methods", &policy.methods),
            ("access-control-allow-headers", &policy.headers),
            ("access-control-max-age", &policy.max_age),
        ];
        let reply = lists
            .into_iter()
            .filter_map(|(name, value)| Some((name, value.as_ref()?)))
            .fold(LocalReply::new(200), |reply, (name, value)| {
                reply.header(name, value)
            });
        // The origin is added on the answer's way back, as to any other. An error says that a response has left.
        let _ = stream.send_local_reply(reply.details("cors_preflight"));
        HeadersVerdict::StopIteration
    }

    fn response_headers(&mut self, stream: &mut Stream<'_>, _end: bool) -> HeadersVerdict {
        let policy = self.policy(stream);
        if let Err(error) = self.mark(&policy, &mut stream.response_mut()) {
            stream.fail(FilterError::broken(format!(
                "cannot set the headers of CORS: {error}"
            )));
        }
        HeadersVerdict::Continue
    }
}

impl CorsFilter {
    fn policy(&self, stream: &Stream<'_>) -> Arc<Policy> {
        let config = stream.route_config::<Cors>().unwrap_or(&self.config);
        Arc::clone(&config.policy)
    }

    fn mark(&self, policy: &Policy, response: &mut HeadersMut<'_>) -> Result<(), HeaderError> {
        if !policy.origins.is_empty() && !policy.allows_all() {
            vary::add(response, "origin")?;
        }
        let Some(origin) = &self.origin else {
            return Ok(());
        };
        response.set("access-control-allow-origin", origin)?;
        if policy.credentials {
            response.set("access-control-allow-credentials", "true")?;
        }
        if let Some(expose) = &policy.expose {
            response.set("access-control-expose-headers", expose)?;
        }
        Ok(())
    }

    fn count(&self, stream: &Stream<'_>, which: impl FnOnce(&CorsMetrics) -> Counter) {
        if let Some(metrics) = &self.config.metrics {
            stream.count(which(metrics), 1);
        }
    }
}

impl Policy {
    fn allows(&self, origin: &[u8]) -> bool {
        self.origins.iter().any(|pattern| pattern.matches(origin))
    }

    fn allows_all(&self) -> bool {
        self.origins.contains(&OriginPattern::Any)
    }
}

/// Reads a list of methods or names of headers.
fn join_tokens(node: &Node) -> Result<String, ParseError> {
    let tokens: Vec<&str> = node
        .as_list()?
        .iter()
        .map(|item| {
            let token = item.as_str()?;
            if field::is_name(token.as_bytes()) {
                return Ok(token);
            }
            Err(item
                .error(format!("{token:?} is no method and no header name"))
                .with_help("each is an item of the list by itself; `*` stands for all"))
        })
        .collect::<Result<_, _>>()?;
    if tokens.is_empty() {
        return Err(node
            .error("the list is empty")
            .with_help("leave the key out"));
    }
    Ok(tokens.join(", "))
}

#[cfg(test)]
mod tests;
