//! `ip_access`: lets connections in, or closes them, by the client's address, before anything is read from them.
//!
//! | key | default | what |
//! |---|---|---|
//! | `rules` | none | a list, of which the first that has the address decides |
//! | `rules[].action` | must be given | `allow` or `deny` |
//! | `rules[].addresses` | must be given | addresses and networks: `192.0.2.1`, `10.0.0.0/8`, `2001:db8::/32` |
//! | `default` | must be given | `allow` or `deny`: what becomes of an address that no rule has |
//!
//! Before `proxy_protocol` the address is the peer's, after it the client's. A client without an IP address (a Unix
//! socket) gets the `default`.
//!
//! | metric | what |
//! |---|---|
//! | `transom_listener_ip_access_allowed_total{filter}` | connections let in |
//! | `transom_listener_ip_access_denied_total{filter}` | connections closed |

use std::sync::Arc;

use transom_api::builtin::ListenerBuiltin;
use transom_api::{
    Counter, ListenerFilter, ListenerVerdict, Node, ParseError, PrepareContext, PrepareError,
    Schema, Socket,
};

use crate::ip_access::policy::{Action, AddressPolicy};

/// The configuration, and the filter of a socket. Cheap to clone.
#[derive(Clone, Debug)]
pub struct ListenerIpAccess {
    policy: Arc<AddressPolicy>,
    metrics: Option<IpAccessMetrics>,
}

#[derive(Clone, Copy, Debug)]
struct IpAccessMetrics {
    allowed: Counter,
    denied: Counter,
}

impl ListenerBuiltin for ListenerIpAccess {
    type Filter = Self;

    fn schema() -> Schema {
        AddressPolicy::schema()
            .describe("Lets connections in or closes them by the client's address.")
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
        let counter = |name, help| {
            let labels = [("filter", &*context.instance)];
            context.metrics.counter(name, help, &labels)
        };
        self.metrics = Some(IpAccessMetrics {
            allowed: counter(
                "listener_ip_access_allowed_total",
                "Connections that the listener filter ip_access let in.",
            )?,
            denied: counter(
                "listener_ip_access_denied_total",
                "Connections that the listener filter ip_access closed.",
            )?,
        });
        Ok(())
    }

    fn filter(&self) -> Self {
        self.clone()
    }
}

impl ListenerFilter for ListenerIpAccess {
    fn on_accept(&mut self, socket: &mut Socket<'_>) -> ListenerVerdict {
        let address = socket.info().source.map(|source| source.ip());
        let action = self.policy.judge(address);
        if let Some(metrics) = &self.metrics {
            let counter = match action {
                Action::Allow => metrics.allowed,
                Action::Deny => metrics.denied,
            };
            socket.count(counter, 1);
        }
        match action {
            Action::Allow => ListenerVerdict::Continue,
            Action::Deny => ListenerVerdict::Close,
        }
    }
}

#[cfg(test)]
mod tests {
    use transom_api::testing::FakeWorker;

    use super::*;

    #[test]
    fn addresses_are_let_in_or_closed() {
        let mut worker = FakeWorker::new();
        let rule = Node::map([
            ("action", "allow".into()),
            ("addresses", Node::list(["192.0.2.0/24".into()])),
        ]);
        let config = Node::map([("default", "deny".into()), ("rules", Node::list([rule]))]);
        let used = worker
            .listener_builtin::<ListenerIpAccess>(&config)
            .unwrap();
        assert_eq!(used.wanted(), 0);
        let from = |source: Option<&str>| {
            let source = source.map(|source| source.parse().unwrap());
            used.socket().from(source).accept()
        };
        assert_eq!(from(Some("192.0.2.9:1")), ListenerVerdict::Continue);
        assert_eq!(
            from(Some("[::ffff:192.0.2.9]:1")),
            ListenerVerdict::Continue
        );
        assert_eq!(from(Some("198.51.100.1:1")), ListenerVerdict::Close);
        assert_eq!(from(None), ListenerVerdict::Close);
        let process = worker.process();
        assert_eq!(process.metric("listener_ip_access_allowed_total"), 2);
        assert_eq!(process.metric("listener_ip_access_denied_total"), 2);
    }
}
