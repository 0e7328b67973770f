//! `basic_auth`: lets only users with a password pass (RFC 7617).
//!
//! | key | default | what |
//! |---|---|---|
//! | `users` | must be given | the lines of an htpasswd file with SHA-1, `name:{SHA}…`, as `htpasswd -nbs` prints them; at least one |
//! | `realm` | `restricted` | what the browser shows and keeps passwords by |
//! | `header` | `authorization` | the request's header that has the credentials |
//! | `forward_username` | none | a header in which the upstream gets the user's name |
//!
//! ```yaml
//! stream_filters:
//!   - name: basic_auth
//!     config:
//!       users: |
//!         ada:{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=
//!         bob:{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g=
//!       forward_username: x-user
//! ```
//!
//! Without good credentials the answer is 401 with `www-authenticate`, before a route is looked for; the access log's
//! detail is `basic_auth_missing` or `basic_auth_invalid`. What `forward_username` names is set to the name that was
//! proved, whatever the client sent in it; on a route where the filter is `disabled` the client's own value stays.
//!
//! Passwords go over the wire as they are, so this belongs behind TLS. SHA-1 without a salt is quick to try out: whoever
//! reads the configuration soon knows weak passwords. How long an answer takes tells nothing of names or passwords.
//!
//! A route's configuration has the same keys and holds in place of the listener's: its users, not also the listener's.
//!
//! | metric | what |
//! |---|---|
//! | `transom_basic_auth_allowed_total{filter}` | requests with good credentials |
//! | `transom_basic_auth_denied_total{filter}` | requests refused |

mod htpasswd;

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use transom_api::builtin::Builtin;
use transom_api::{
    Counter, FilterError, HeadersVerdict, LocalReply, Node, ParseError, PrepareContext,
    PrepareError, Schema, Stream, StreamFilter, Wants,
};

use self::htpasswd::Users;
use crate::header_name::parse_header_name;

/// The configuration of a listener or of a route. Cheap to clone.
#[derive(Clone, Debug)]
pub struct BasicAuth {
    policy: Arc<Policy>,
    /// Of the listener's configuration only.
    metrics: Option<BasicAuthMetrics>,
}

#[derive(Debug)]
struct Policy {
    users: Users,
    /// The whole value of `www-authenticate`.
    challenge: String,
    header: String,
    forward_username: Option<String>,
}

#[derive(Clone, Copy, Debug)]
struct BasicAuthMetrics {
    allowed: Counter,
    denied: Counter,
}

impl Builtin for BasicAuth {
    type Filter = BasicAuthFilter;
    /// It keeps nothing of a stream.
    const SHARED: bool = true;

    fn schema() -> Schema {
        Schema::object()
            .required(
                "users",
                Schema::string().describe(
                    "Lines of an htpasswd file with SHA-1: name:{SHA}…, as `htpasswd -nbs` prints them.",
                ),
            )
            .optional(
                "realm",
                Schema::string()
                    .describe("What the browser shows and keeps passwords by.")
                    .or("restricted"),
            )
            .optional(
                "header",
                Schema::string()
                    .describe("The request's header that has the credentials.")
                    .or("authorization"),
            )
            .optional(
                "forward_username",
                Schema::string()
                    .describe("A header in which the upstream gets the user's name. By default none."),
            )
            .describe("Lets only users with a password pass (401). A route's configuration holds in place of the listener's.")
    }

    fn parse(node: &Node) -> Result<Self, ParseError> {
        let mut fields = node.as_fields()?;
        let users = fields.required("users")?;
        let realm = fields.optional("realm");
        let header = fields.optional("header");
        let forward_username = fields.optional("forward_username");
        fields.finish()?;
        let policy = Policy {
            users: Users::parse(users)?,
            challenge: realm.map_or_else(|| Ok(challenge("restricted")), parse_realm)?,
            header: header.map_or_else(|| Ok("authorization".to_owned()), parse_header_name)?,
            forward_username: forward_username.map(parse_header_name).transpose()?,
        };
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
        self.metrics = Some(BasicAuthMetrics {
            allowed: counter(
                "basic_auth_allowed_total",
                "Requests with good credentials.",
            )?,
            denied: counter(
                "basic_auth_denied_total",
                "Requests that basic_auth refused.",
            )?,
        });
        Ok(())
    }

    fn wants(&self) -> Wants {
        Wants::REQUEST_HEADERS
    }

    fn filter(&self) -> BasicAuthFilter {
        BasicAuthFilter(self.clone())
    }
}

/// The filter of all streams of a worker.
#[derive(Debug)]
pub struct BasicAuthFilter(BasicAuth);

/// Why nobody was recognized.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Denied {
    Missing,
    Invalid,
}

impl StreamFilter for BasicAuthFilter {
    fn request_headers(&mut self, stream: &mut Stream<'_>, _end: bool) -> HeadersVerdict {
        let config = stream.route_config::<BasicAuth>().unwrap_or(&self.0);
        let policy = Arc::clone(&config.policy);
        match policy.recognize(stream) {
            Ok(name) => self.admit(stream, &policy, &name),
            Err(denied) => self.deny(stream, &policy, denied),
        }
    }
}

impl BasicAuthFilter {
    fn admit(&self, stream: &mut Stream<'_>, policy: &Policy, name: &[u8]) -> HeadersVerdict {
        if let Some(metrics) = &self.0.metrics {
            stream.count(metrics.allowed, 1);
        }
        if let Some(header) = &policy.forward_username
            && let Err(error) = stream.request_mut().set(header, name)
        {
            // Going on would hand the upstream the name that the client chose.
            stream.fail(FilterError::broken(format!(
                "cannot set the header `{header}`: {error}"
            )));
        }
        HeadersVerdict::Continue
    }

    fn deny(&self, stream: &mut Stream<'_>, policy: &Policy, denied: Denied) -> HeadersVerdict {
        if let Some(metrics) = &self.0.metrics {
            stream.count(metrics.denied, 1);
        }
        let (body, details) = match denied {
            Denied::Missing => ("credentials are needed\n", "basic_auth_missing"),
            Denied::Invalid => ("the credentials are not good\n", "basic_auth_invalid"),
        };
        // An error says that a response is on its way already: then there is nothing left to refuse.
        let _ = stream.send_local_reply(
            LocalReply::new(401)
                .header("www-authenticate", &policy.challenge)
                .body(body)
                .details(details),
        );
        HeadersVerdict::StopIteration
    }
}

impl Policy {
    /// The name of the user whose credentials the request has.
    fn recognize(&self, stream: &Stream<'_>) -> Result<Vec<u8>, Denied> {
        let request = stream.request();
        let mut values = request.get_all(&self.header);
        let credentials = values.next().ok_or(Denied::Missing)?;
        // The upstream might read another of several than the one that was proved.
        if values.next().is_some() {
            return Err(Denied::Invalid);
        }
        let credentials = decode(&credentials).ok_or(Denied::Invalid)?;
        // A name cannot have a colon, a password can (RFC 7617 section 2).
        let colon = credentials.iter().position(|byte| *byte == b':');
        let (name, password) = colon
            .and_then(|at| credentials.split_at_checked(at))
            .ok_or(Denied::Invalid)?;
        let password = password.strip_prefix(b":").unwrap_or_default();
        if self.users.have(name, password) {
            Ok(name.to_vec())
        } else {
            Err(Denied::Invalid)
        }
    }
}

/// What stands encoded behind the scheme, whose name has no case (RFC 9110 section 11.1).
fn decode(value: &[u8]) -> Option<Vec<u8>> {
    let (scheme, encoded) = value.split_at_checked("basic ".len())?;
    if !scheme.eq_ignore_ascii_case(b"basic ") {
        return None;
    }
    STANDARD.decode(encoded.trim_ascii()).ok()
}

fn challenge(realm: &str) -> String {
    format!("Basic realm=\"{realm}\", charset=\"UTF-8\"")
}

fn parse_realm(node: &Node) -> Result<String, ParseError> {
    let realm = node.as_str()?;
    let good = |byte: u8| (b' '..=b'~').contains(&byte) && byte != b'"' && byte != b'\\';
    if realm.bytes().all(good) {
        return Ok(challenge(realm));
    }
    Err(node
        .error(format!("{realm:?} is no realm"))
        .with_help("write it in ASCII, without quotes and backslashes"))
}

#[cfg(test)]
mod tests;
