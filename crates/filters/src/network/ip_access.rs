//! `ip_access`: lets connections pass, or closes them, by the client's address.
//!
//! | key | default | what |
//! |---|---|---|
//! | `rules` | none | a list, of which the first that has the address decides |
//! | `rules[].action` | must be given | `allow` or `deny` |
//! | `rules[].addresses` | must be given | addresses and networks: `192.0.2.1`, `10.0.0.0/8`, `2001:db8::/32` |
//! | `default` | must be given | `allow` or `deny`: what becomes of an address that no rule has |
//!
//! ```yaml
//! network_filters:
//!   - name: ip_access
//!     config:
//!       default: deny
//!       rules:
//!         - {action: allow, addresses: [10.0.0.0/8, "::1"]}
//!   - {name: tcp_proxy, config: {cluster: database}}
//! ```
//!
//! Who is denied is closed before a byte is read or a host is connected; with TLS that is after the handshake. A client
//! without an IP address (a Unix socket) gets the `default`. An IPv4 address inside IPv6 (`::ffff:192.0.2.1`) is that of
//! IPv4. The stream filter of the same name does this for each request.
//!
//! | metric | what |
//! |---|---|
//! | `transom_network_ip_access_allowed_total{filter}` | connections let through |
//! | `transom_network_ip_access_denied_total{filter}` | connections closed |

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use transom_api::builtin::NetworkBuiltin;
use transom_api::{
    Connection, Counter, NetworkFilter, NetworkVerdict, NetworkWants, Node, ParseError,
    PrepareContext, PrepareError, Schema, attribute,
};

use crate::ip_access::policy::{Action, AddressPolicy};

/// The configuration.
#[derive(Clone, Debug)]
pub struct IpAccess {
    policy: Arc<AddressPolicy>,
    metrics: Option<(Counter, Counter)>,
}

impl NetworkBuiltin for IpAccess {
    type Filter = IpAccessFilter;

    fn schema() -> Schema {
        AddressPolicy::schema()
            .describe("Lets connections pass or closes them by the client's address.")
    }

    fn parse(node: &Node) -> Result<Self, ParseError> {
        let mut fields = node.as_fields()?;
        let policy = AddressPolicy::parse(&mut fields)?;
        fields.finish()?;
        Ok(Self {
            policy: Arc::new(policy),
            metrics: None,
        })
    }

    fn prepare(&mut self, context: &PrepareContext) -> Result<(), PrepareError> {
        let allowed = super::counter(
            context,
            "network_ip_access_allowed_total",
            "Connections that ip_access let through.",
        )?;
        let denied = super::counter(
            context,
            "network_ip_access_denied_total",
            "Connections that ip_access closed.",
        )?;
        self.metrics = Some((allowed, denied));
        Ok(())
    }

    fn wants(&self) -> NetworkWants {
        NetworkWants::CONNECTION
    }

    fn filter(&self) -> IpAccessFilter {
        IpAccessFilter(Rc::new(self.clone()))
    }
}

/// The filter of a connection.
#[derive(Debug)]
pub struct IpAccessFilter(Rc<IpAccess>);

impl NetworkFilter for IpAccessFilter {
    fn on_new_connection(&mut self, connection: &mut Connection<'_>) -> NetworkVerdict {
        let source = connection.attribute(attribute::SOURCE_ADDRESS);
        let source = source.and_then(|source| source.as_str()?.parse::<SocketAddr>().ok());
        let action = self.0.policy.judge(source.map(|source| source.ip()));
        if let Some((allowed, denied)) = self.0.metrics {
            let counter = match action {
                Action::Allow => allowed,
                Action::Deny => denied,
            };
            connection.count(counter, 1);
        }
        if action == Action::Allow {
            return NetworkVerdict::Continue;
        }
        connection.close();
        NetworkVerdict::StopIteration
    }
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use transom_api::Attribute;
    use transom_api::testing::{FakeConnection, FakeNetworkUse, FakeWorker};

    use super::*;

    fn config(default: &str) -> Node {
        let rule = Node::map([
            (
                "action",
                if default == "deny" { "allow" } else { "deny" }.into(),
            ),
            ("addresses", Node::list(["10.0.0.0/8".into(), "::1".into()])),
        ]);
        Node::map([("default", default.into()), ("rules", Node::list([rule]))])
    }

    fn from(used: &FakeNetworkUse, address: &'static str) -> FakeConnection {
        let address = Attribute::Bytes(Cow::Borrowed(address.as_bytes()));
        used.connection()
            .with_attribute(attribute::SOURCE_ADDRESS, address)
    }

    #[test]
    fn a_rule_or_the_default_decides() {
        let mut worker = FakeWorker::new();
        for default in ["allow", "deny"] {
            let used = worker
                .network_builtin::<IpAccess>(&config(default))
                .unwrap();
            for (address, has_rule) in [
                ("10.1.2.3:1", true),
                ("[::1]:1", true),
                ("[::ffff:10.1.2.3]:1", true),
                ("192.0.2.1:1", false),
            ] {
                let mut connection = from(&used, address);
                connection.begin();
                let closed = has_rule == (default == "allow");
                assert_eq!(connection.is_closed(), closed, "{default} {address}");
            }
        }
        assert_eq!(worker.process().metric("network_ip_access_denied_total"), 4);
        assert_eq!(
            worker.process().metric("network_ip_access_allowed_total"),
            4
        );
    }

    #[test]
    fn a_client_without_an_address_gets_the_default() {
        let mut worker = FakeWorker::new();
        for (default, closed) in [("allow", false), ("deny", true)] {
            let used = worker
                .network_builtin::<IpAccess>(&config(default))
                .unwrap();
            let mut connection = used.connection();
            connection.begin();
            assert_eq!(connection.is_closed(), closed, "{default}");
        }
    }

    #[test]
    fn a_header_is_of_no_use_here() {
        let node = Node::map([("default", "deny".into()), ("header", "x".into())]);
        let error = FakeWorker::new()
            .network_builtin::<IpAccess>(&node)
            .unwrap_err();
        assert!(
            error.to_string().contains("unknown key `header`"),
            "{error}"
        );
    }
}
