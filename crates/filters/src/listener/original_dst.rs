//! `original_dst`: serves connections that the kernel redirected here by where their clients wanted to go.
//!
//! | key | default | what |
//! |---|---|---|
//! | `hand_over` | `true` | whether the listener that has this address serves the connection |
//! | `fallback_to_local` | `false` | whether a listener on the loopback with this port does, when there is no better one |
//!
//! The address becomes the connection's destination, in attributes and in the matches of filter chains. The listener that
//! serves it is the one that has the very address, else the one on all addresses with the port (`0.0.0.0:80`, `[::]:80`),
//! else, with `fallback_to_local`, the one on `127.0.0.1` or `[::1]`, else this one. The kernel knows the address of what netfilter's
//! `REDIRECT` and `DNAT` brought here, and of what `TPROXY` brought to a listener that is `transparent`.
//!
//! | metric | what |
//! |---|---|
//! | `transom_original_dst_found_total{filter}` | connections that were redirected here |
//! | `transom_original_dst_not_found_total{filter}` | connections that came here by themselves |

use transom_api::builtin::ListenerBuiltin;
use transom_api::listener::HandOver;
use transom_api::{
    Counter, ListenerFilter, ListenerVerdict, Node, ParseError, PrepareContext, PrepareError,
    Schema, Shape, Socket,
};

/// The configuration, and the filter of a socket.
#[derive(Clone, Debug)]
pub struct OriginalDst {
    hand_over: HandOver,
    metrics: Option<OriginalDstMetrics>,
}

#[derive(Clone, Copy, Debug)]
struct OriginalDstMetrics {
    found: Counter,
    not_found: Counter,
}

impl ListenerBuiltin for OriginalDst {
    type Filter = Self;

    fn schema() -> Schema {
        Schema::object()
            .optional(
                "hand_over",
                Schema::new(Shape::Bool)
                    .describe("Whether the listener that has this address serves the connection.")
                    .or(true),
            )
            .optional(
                "fallback_to_local",
                Schema::new(Shape::Bool)
                    .describe("Whether a listener on the loopback with this port does, when there is no better one.")
                    .or(false),
            )
            .describe("Serves connections that the kernel redirected here by where their clients wanted to go.")
    }

    fn parse(node: &Node) -> Result<Self, ParseError> {
        let mut fields = node.as_fields()?;
        let hand_over = fields
            .optional("hand_over")
            .map_or(Ok(true), Node::as_bool)?;
        let fallback = fields.optional("fallback_to_local");
        let to_local = fallback.map_or(Ok(false), Node::as_bool)?;
        if let Some(fallback) = fallback.filter(|_| to_local && !hand_over) {
            return Err(
                fallback.error("`fallback_to_local` has no meaning with `hand_over: false`")
            );
        }
        fields.finish()?;
        Ok(Self {
            hand_over: match (hand_over, to_local) {
                (false, _) => HandOver::Stay,
                (true, false) => HandOver::ToDestination,
                (true, true) => HandOver::ToDestinationOrLoopback,
            },
            metrics: None,
        })
    }

    fn prepare(&mut self, context: &PrepareContext) -> Result<(), PrepareError> {
        let counter = |name, help| {
            let labels = [("filter", &*context.instance)];
            context.metrics.counter(name, help, &labels)
        };
        self.metrics = Some(OriginalDstMetrics {
            found: counter(
                "original_dst_found_total",
                "Connections that the kernel redirected.",
            )?,
            not_found: counter(
                "original_dst_not_found_total",
                "Connections that came to the listener by themselves.",
            )?,
        });
        Ok(())
    }

    fn filter(&self) -> Self {
        self.clone()
    }
}

impl ListenerFilter for OriginalDst {
    fn on_accept(&mut self, socket: &mut Socket<'_>) -> ListenerVerdict {
        let original = socket.original_destination();
        if let Some(metrics) = &self.metrics {
            let counter = match original {
                Some(_) => metrics.found,
                None => metrics.not_found,
            };
            socket.count(counter, 1);
        }
        if original.is_some() {
            let info = socket.info();
            info.destination = original;
            info.hand_over = self.hand_over;
        }
        ListenerVerdict::Continue
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use transom_api::testing::FakeWorker;

    use super::*;

    fn address(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_redirected_connection_gets_its_destination_back() {
        let mut worker = FakeWorker::new();
        let used = worker
            .listener_builtin::<OriginalDst>(&Node::map([]))
            .unwrap();
        let mut socket = used.socket().redirected_from(address("203.0.113.9:80"));
        assert_eq!(socket.accept(), ListenerVerdict::Continue);
        assert_eq!(socket.info().destination, Some(address("203.0.113.9:80")));
        assert_eq!(socket.info().hand_over, HandOver::ToDestination);
        assert_eq!(worker.process().metric("original_dst_found_total"), 1);
    }

    #[test]
    fn a_connection_that_was_not_redirected_stays() {
        let mut worker = FakeWorker::new();
        let used = worker
            .listener_builtin::<OriginalDst>(&Node::map([]))
            .unwrap();
        for mut socket in [
            used.socket(),
            // Tracked, and not redirected.
            used.socket().redirected_from(address("192.0.2.2:2000")),
        ] {
            assert_eq!(socket.accept(), ListenerVerdict::Continue);
            assert_eq!(socket.info().destination, Some(address("192.0.2.2:2000")));
            assert_eq!(socket.info().hand_over, HandOver::Stay);
        }
        assert_eq!(worker.process().metric("original_dst_not_found_total"), 2);
    }

    #[test]
    fn mistakes_are_refused() {
        let mut worker = FakeWorker::new();
        for config in [
            Node::map([("use", true.into())]),
            Node::map([
                ("hand_over", false.into()),
                ("fallback_to_local", true.into()),
            ]),
        ] {
            assert!(worker.listener_builtin::<OriginalDst>(&config).is_err());
        }
    }
}
