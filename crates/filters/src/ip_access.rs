//! `ip_access`: lets requests pass, or refuses them, by the client's address.
//!
//! | key | default | what |
//! |---|---|---|
//! | `rules` | none | a list, of which the first that has the address decides |
//! | `rules[].action` | must be given | `allow` or `deny` |
//! | `rules[].addresses` | must be given | addresses and networks: `192.0.2.1`, `10.0.0.0/8`, `2001:db8::/32` |
//! | `default` | must be given | `allow` or `deny`: what becomes of an address that no rule has |
//! | `header` | none | the header that tells the client's address, in place of what `http` knows |
//!
//! ```yaml
//! stream_filters:
//!   - name: ip_access
//!     config:
//!       default: deny
//!       rules:
//!         - {action: deny, addresses: [10.0.13.0/24]}
//!         - {action: allow, addresses: [10.0.0.0/8, "::1"]}
//! ```
//!
//! The client is who connected, or whom a proxy tells of that the `http` filter's `forwarded` trusts. With `header` (such
//! as `cf-connecting-ip`) the last address in it counts instead, which is the one that the nearest proxy has put there;
//! those before it are what others say. Clients can send any header: this is for a listener that only such a proxy
//! reaches. A request without the header is judged by the client's address, one whose header has no address at its end is
//! refused. Fields that `forwarded` looks after (`x-forwarded-for`, `x-real-ip`) cannot be named here: strangers' are gone
//! by then. A client without an IP address (a Unix socket) gets the `default`.
//!
//! Who is refused gets 403 before a route is looked for; the access log's detail is `ip_access_denied`. An IPv4 address
//! inside IPv6 (`::ffff:192.0.2.1`) is that of IPv4.
//!
//! A route's configuration has the same keys and holds in place of the listener's.
//!
//! | metric | what |
//! |---|---|
//! | `transom_ip_access_allowed_total{filter}` | requests let through |
//! | `transom_ip_access_denied_total{filter}` | requests refused |

pub(crate) mod policy;

use std::net::IpAddr;
use std::sync::Arc;

use transom_api::builtin::Builtin;
use transom_api::{
    Counter, HeadersVerdict, LocalReply, Node, ParseError, PrepareContext, PrepareError, Schema,
    Stream, StreamFilter, Wants,
};

use self::policy::{Action, AddressPolicy};
use crate::header_name::parse_header_name;
use crate::source_ip::{parse_ip, source_ip};

/// The configuration of a listener or of a route. Cheap to clone.
#[derive(Clone, Debug)]
pub struct IpAccess {
    policy: Arc<Policy>,
    /// Of the listener's configuration only.
    metrics: Option<IpAccessMetrics>,
}

#[derive(Debug)]
struct Policy {
    addresses: AddressPolicy,
    header: Option<String>,
}

#[derive(Clone, Copy, Debug)]
struct IpAccessMetrics {
    allowed: Counter,
    denied: Counter,
}

impl Builtin for IpAccess {
    type Filter = IpAccessFilter;
    /// It keeps nothing of a stream.
    const SHARED: bool = true;

    fn schema() -> Schema {
        AddressPolicy::schema()
            .optional(
                "header",
                Schema::string().describe(
                    "The header whose last address counts in place of the connection's. Only where none but a proxy that sets it can connect.",
                ),
            )
            .describe("Lets requests pass or refuses them (403) by the client's address. A route's configuration holds in place of the listener's.")
    }

    fn parse(node: &Node) -> Result<Self, ParseError> {
        let mut fields = node.as_fields()?;
        let addresses = AddressPolicy::parse(&mut fields)?;
        let header = fields.optional("header");
        fields.finish()?;
        let header = header.map(parse_header).transpose()?;
        Ok(Self {
            policy: Arc::new(Policy { addresses, header }),
            metrics: None,
        })
    }

    fn prepare(&mut self, context: &PrepareContext) -> Result<(), PrepareError> {
        let counter = |name, help| {
            let labels = [("filter", &*context.instance)];
            context.metrics.counter(name, help, &labels)
        };
        self.metrics = Some(IpAccessMetrics {
            allowed: counter(
                "ip_access_allowed_total",
                "Requests that ip_access let through.",
            )?,
            denied: counter("ip_access_denied_total", "Requests that ip_access refused.")?,
        });
        Ok(())
    }

    fn wants(&self) -> Wants {
        Wants::REQUEST_HEADERS
    }

    fn filter(&self) -> IpAccessFilter {
        IpAccessFilter(self.clone())
    }
}

/// A field that is not taken away before the filter sees it: without it anybody would be judged by another's address.
fn parse_header(node: &Node) -> Result<String, ParseError> {
    let name = parse_header_name(node)?;
    let lower = name.to_ascii_lowercase();
    if lower.starts_with("x-forwarded-") || lower == "x-real-ip" || lower == "forwarded" {
        let message = format!("`{name}` is believed by the `http` filter or by nobody");
        return Err(node.error(message).with_help(
            "leave `header` out, and say whom to trust in the `http` filter: `forwarded: {trusted_networks: [10.0.0.0/8]}`",
        ));
    }
    Ok(name)
}

/// The filter of all streams of a worker.
#[derive(Debug)]
pub struct IpAccessFilter(IpAccess);

/// Whose request it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Client {
    Known(IpAddr),
    /// It has no IP address.
    Unknown,
    /// The header that should tell it does not.
    Unreadable,
}

impl StreamFilter for IpAccessFilter {
    fn request_headers(&mut self, stream: &mut Stream<'_>, _end: bool) -> HeadersVerdict {
        let connection = source_ip(stream);
        let config = stream.route_config::<IpAccess>().unwrap_or(&self.0);
        let action = config.policy.judge(stream, connection);
        if let Some(metrics) = &self.0.metrics {
            let counter = match action {
                Action::Allow => metrics.allowed,
                Action::Deny => metrics.denied,
            };
            stream.count(counter, 1);
        }
        if action == Action::Allow {
            return HeadersVerdict::Continue;
        }
        // An error says that a response is on its way already: then there is nothing left to refuse.
        let _ = stream.send_local_reply(
            LocalReply::new(403)
                .body("this address is not allowed\n")
                .details("ip_access_denied"),
        );
        HeadersVerdict::StopIteration
    }
}

impl Policy {
    fn judge(&self, stream: &Stream<'_>, connection: Option<IpAddr>) -> Action {
        match self.client(stream, connection) {
            Client::Known(address) => self.addresses.judge(Some(address)),
            Client::Unknown => self.addresses.judge(None),
            Client::Unreadable => Action::Deny,
        }
    }

    fn client(&self, stream: &Stream<'_>, connection: Option<IpAddr>) -> Client {
        let request = stream.request();
        // Of a header that comes several times the last one is the nearest proxy's.
        let said = self
            .header
            .as_deref()
            .and_then(|name| request.get_all(name).last());
        let Some(said) = said else {
            return connection.map_or(Client::Unknown, Client::Known);
        };
        let last = said.to_str().and_then(|text| text.rsplit(',').next());
        last.and_then(|text| parse_ip(text.trim()))
            .map_or(Client::Unreadable, Client::Known)
    }
}

#[cfg(test)]
mod tests;
