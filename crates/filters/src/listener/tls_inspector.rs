//! `tls_inspector`: finds out whether a client speaks TLS, the name that it asks for, and the protocols that it offers.
//!
//! | key | default | what |
//! |---|---|---|
//! | `max_client_hello` | `16KiB` | a client whose hello is longer is closed; at most 60KiB |
//!
//! What it finds serves the matches of filter chains (`server_names`, `application_protocols`, `transport_protocol`)
//! and the attribute `connection.requested_server_name`. A client that does not speak TLS goes on, as `raw`.
//!
//! | metric | what |
//! |---|---|
//! | `transom_tls_inspector_found_total{filter}` | connections that begin with a hello |
//! | `transom_tls_inspector_not_found_total{filter}` | connections that do not |
//! | `transom_tls_inspector_too_large_total{filter}` | connections that were closed for their long hello |

use transom_api::builtin::ListenerBuiltin;
use transom_api::{
    Counter, ListenerFilter, ListenerVerdict, Node, ParseError, PrepareContext, PrepareError,
    Schema, Shape, Socket,
};

use super::client_hello::FirstBytes;

/// The configuration.
#[derive(Clone, Debug)]
pub struct TlsInspector {
    most: usize,
    metrics: Option<InspectorMetrics>,
}

#[derive(Clone, Copy, Debug)]
struct InspectorMetrics {
    tls: Counter,
    raw: Counter,
    too_large: Counter,
}

/// The largest hello that may be allowed: what is read ahead of a chain is held in memory.
const LARGEST: u64 = 60 << 10;
const DEFAULT: u64 = 16 << 10;

impl ListenerBuiltin for TlsInspector {
    type Filter = TlsInspectorFilter;

    fn schema() -> Schema {
        Schema::object()
            .optional(
                "max_client_hello",
                Schema::new(Shape::Size)
                    .describe("A client whose hello is longer is closed. At most 60KiB.")
                    .or("16KiB"),
            )
            .describe("Finds out whether a client speaks TLS, the name that it asks for, and the protocols that it offers.")
    }

    fn parse(node: &Node) -> Result<Self, ParseError> {
        let mut fields = node.as_fields()?;
        let most = fields.optional("max_client_hello");
        fields.finish()?;
        let size = most.map_or(Ok(DEFAULT), Node::as_size)?;
        if !(512..=LARGEST).contains(&size) {
            let place = most.unwrap_or(node);
            return Err(place.error("expected a size from 512 to 60KiB"));
        }
        Ok(Self {
            most: usize::try_from(size).unwrap_or(usize::MAX),
            metrics: None,
        })
    }

    fn prepare(&mut self, context: &PrepareContext) -> Result<(), PrepareError> {
        let counter = |name, help| {
            let labels = [("filter", &*context.instance)];
            context.metrics.counter(name, help, &labels)
        };
        self.metrics = Some(InspectorMetrics {
            tls: counter(
                "tls_inspector_found_total",
                "Connections that begin with a hello of TLS.",
            )?,
            raw: counter(
                "tls_inspector_not_found_total",
                "Connections that do not begin with a hello of TLS.",
            )?,
            too_large: counter(
                "tls_inspector_too_large_total",
                "Connections that tls_inspector closed for their long hello.",
            )?,
        });
        Ok(())
    }

    fn peek(&self) -> usize {
        self.most
    }

    fn filter(&self) -> TlsInspectorFilter {
        TlsInspectorFilter {
            most: self.most,
            metrics: self.metrics,
            wanted: 0,
        }
    }
}

/// The filter of a socket.
#[derive(Debug)]
pub struct TlsInspectorFilter {
    most: usize,
    metrics: Option<InspectorMetrics>,
    /// Before so many bytes are there nothing new can be found.
    wanted: usize,
}

impl ListenerFilter for TlsInspectorFilter {
    fn on_peek(&mut self, socket: &mut Socket<'_>, bytes: &[u8], end: bool) -> ListenerVerdict {
        if bytes.len() < self.wanted && !end {
            return ListenerVerdict::StopIteration;
        }
        let count = |socket: &Socket<'_>, which: fn(&InspectorMetrics) -> Counter| {
            if let Some(metrics) = &self.metrics {
                socket.count(which(metrics), 1);
            }
        };
        match FirstBytes::read(bytes) {
            FirstBytes::Hello(hello) => {
                count(socket, |metrics| metrics.tls);
                let info = socket.info();
                info.detected = Some("tls");
                info.server_name = hello.server_name;
                info.application_protocols = hello.application_protocols;
                ListenerVerdict::Continue
            }
            FirstBytes::Partial(wanted) if !end => {
                if wanted > self.most {
                    count(socket, |metrics| metrics.too_large);
                    return ListenerVerdict::Close;
                }
                self.wanted = wanted;
                ListenerVerdict::StopIteration
            }
            // A hello that does not end is not one that could be served.
            FirstBytes::Other | FirstBytes::Partial(_) => {
                count(socket, |metrics| metrics.raw);
                socket.info().detected.get_or_insert("raw");
                ListenerVerdict::Continue
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use transom_api::testing::{FakeListenerUse, FakeWorker};

    use super::super::client_hello::tests::{alpn, message, records, sni};
    use super::*;

    fn inspector(worker: &mut FakeWorker) -> FakeListenerUse {
        worker
            .listener_builtin::<TlsInspector>(&Node::map([]))
            .unwrap()
    }

    #[test]
    fn a_hello_in_pieces_is_found() {
        let mut worker = FakeWorker::new();
        let inspector = inspector(&mut worker);
        let hello = records(&message(&[sni(b"A.org"), alpn(&[b"h2"])]), 50);
        let mut socket = inspector.socket();
        for length in 1..hello.len() {
            assert_eq!(
                socket.peek(&hello[..length], false),
                ListenerVerdict::StopIteration
            );
            assert_eq!(socket.info().detected, None);
        }
        assert_eq!(socket.peek(&hello, false), ListenerVerdict::Continue);
        let info = socket.info();
        assert_eq!(info.detected, Some("tls"));
        assert_eq!(info.server_name.as_deref(), Some("a.org"));
        assert_eq!(info.application_protocols, ["h2"]);
        assert_eq!(info.consumed, 0);
        assert_eq!(worker.process().metric("tls_inspector_found_total"), 1);
    }

    #[test]
    fn what_is_no_tls_goes_on() {
        let mut worker = FakeWorker::new();
        let inspector = inspector(&mut worker);
        for (bytes, end) in [(&b"G"[..], false), (b"", true), (b"\x16\x03", true)] {
            let mut socket = inspector.socket();
            assert_eq!(socket.peek(bytes, end), ListenerVerdict::Continue);
            assert_eq!(socket.info().detected, Some("raw"));
            assert_eq!(socket.info().server_name, None);
        }
        assert_eq!(worker.process().metric("tls_inspector_not_found_total"), 3);
    }

    #[test]
    fn a_hello_that_is_too_large_is_closed_before_it_has_come() {
        let mut worker = FakeWorker::new();
        let config = Node::map([("max_client_hello", "1KiB".into())]);
        let inspector = worker.listener_builtin::<TlsInspector>(&config).unwrap();
        assert_eq!(inspector.wanted(), 1024);
        let hello = records(&message(&[sni(b"a.org"), (21, vec![0; 2000])]), 1 << 14);
        let mut socket = inspector.socket();
        assert_eq!(
            socket.peek(&hello[..5], false),
            ListenerVerdict::StopIteration
        );
        assert_eq!(socket.peek(&hello[..9], false), ListenerVerdict::Close);
        assert_eq!(worker.process().metric("tls_inspector_too_large_total"), 1);
    }

    #[test]
    fn sizes_have_bounds() {
        let mut worker = FakeWorker::new();
        for size in ["100", "61KiB", "1GiB"] {
            let config = Node::map([("max_client_hello", size.into())]);
            assert!(worker.listener_builtin::<TlsInspector>(&config).is_err());
        }
    }
}
