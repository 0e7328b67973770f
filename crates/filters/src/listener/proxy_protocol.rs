//! `proxy_protocol`: believes what a proxy before this one says of its clients (PROXY protocol, versions 1 and 2).
//!
//! | key | default | what |
//! |---|---|---|
//! | `trusted` | must be given | addresses and networks of the proxies that are believed |
//! | `required` | `true` | whether a trusted proxy's connection must begin with a header |
//! | `versions` | `[1, 2]` | the versions that are believed |
//! | `values` | none | additional values (TLVs) of version 2 that become metadata: key to the value's type, 0 to 255 |
//!
//! Connections of other peers are theirs: what they begin with is not read here. To keep them out, use `ip_access`.
//! The client that a header names becomes the connection's source, and the address that it asked for the destination: for
//! attributes, filters, and the matches of filter chains. A header that says `LOCAL` or `UNKNOWN` changes neither.
//!
//! The values become dynamic metadata of the namespace `proxy_protocol`: as text, or in hexadecimal digits where they are no
//! text. `authority: 2` keeps the name that the client asked the proxy for, `alpn: 1` the protocol, `unique_id: 5` the connection's
//! name.
//!
//! The reader is strict: a header that the document does not define closes the connection.
//!
//! | metric | what |
//! |---|---|
//! | `transom_proxy_protocol_v1_total{filter}`, `…_v2_total{filter}` | headers that were believed |
//! | `transom_proxy_protocol_absent_total{filter}` | connections of trusted peers without a header |
//! | `transom_proxy_protocol_untrusted_total{filter}` | connections of other peers |
//! | `transom_proxy_protocol_malformed_total{filter}` | connections that were closed for their header, or for the lack of one |

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use transom_api::builtin::ListenerBuiltin;
use transom_api::{
    Counter, ListenerFilter, ListenerVerdict, MetadataValue, Networks, Node, ParseError,
    PrepareContext, PrepareError, Schema, Shape, Socket,
};

use super::proxy_header::{Header, Read, read};

/// The configuration. Cheap to clone.
#[derive(Clone, Debug)]
pub struct ProxyProtocol {
    policy: Arc<Policy>,
    metrics: Option<ProxyProtocolMetrics>,
}

#[derive(Debug)]
struct Policy {
    trusted: Networks,
    required: bool,
    versions: [bool; 2],
    /// The key in metadata of a value's type.
    values: BTreeMap<u8, String>,
}

#[derive(Clone, Copy, Debug)]
struct ProxyProtocolMetrics {
    versions: [Counter; 2],
    absent: Counter,
    untrusted: Counter,
    malformed: Counter,
}

/// The namespace of metadata.
const NAMESPACE: &str = "proxy_protocol";
/// The longest header of version 2.
const LONGEST: usize = 16 + 65_535;

impl ListenerBuiltin for ProxyProtocol {
    type Filter = ProxyProtocolFilter;

    fn schema() -> Schema {
        Schema::object()
            .required(
                "trusted",
                Schema::list(Schema::string()).describe(
                    "Addresses and networks of the proxies that are believed: 192.0.2.1, 10.0.0.0/8, 2001:db8::/32.",
                ),
            )
            .optional(
                "required",
                Schema::new(Shape::Bool)
                    .describe("Whether a trusted proxy's connection must begin with a header.")
                    .or(true),
            )
            .optional(
                "versions",
                Schema::list(Schema::new(Shape::Integer(1, 2)))
                    .describe("The versions that are believed. Both when it is left out."),
            )
            .optional(
                "values",
                Schema::map_of(Schema::new(Shape::Integer(0, 255))).describe(
                    "Additional values (TLVs) of version 2 that become metadata of the namespace `proxy_protocol`: key to the value's type.",
                ),
            )
            .describe("Believes what a proxy before this one says of its clients (PROXY protocol, versions 1 and 2).")
    }

    fn parse(node: &Node) -> Result<Self, ParseError> {
        let mut fields = node.as_fields()?;
        let trusted = Networks::parse(fields.required("trusted")?)?;
        let required = fields
            .optional("required")
            .map_or(Ok(true), Node::as_bool)?;
        let mut versions = [true; 2];
        if let Some(node) = fields.optional("versions") {
            versions = [false; 2];
            for version in node.as_list()? {
                let at: usize = version.as_integer_in(1..=2)?.try_into().unwrap_or(1);
                if let Some(known) = versions.get_mut(at - 1) {
                    *known = true;
                }
            }
            if versions == [false; 2] {
                return Err(node.error("at least one version must be named"));
            }
        }
        let mut values = BTreeMap::new();
        if let Some(node) = fields.optional("values") {
            for (key, kind) in node.as_entries()? {
                kind.as_integer_in(0..=255)?;
                if values
                    .insert(kind.as_integer()?, key.name.clone())
                    .is_some()
                {
                    return Err(kind.error("this type of value is named twice"));
                }
            }
        }
        fields.finish()?;
        Ok(Self {
            policy: Arc::new(Policy {
                trusted,
                required,
                versions,
                values,
            }),
            metrics: None,
        })
    }

    fn prepare(&mut self, context: &PrepareContext) -> Result<(), PrepareError> {
        let counter = |name, help| {
            let labels = [("filter", &*context.instance)];
            context.metrics.counter(name, help, &labels)
        };
        self.metrics = Some(ProxyProtocolMetrics {
            versions: [
                counter(
                    "proxy_protocol_v1_total",
                    "Headers of version 1 that were believed.",
                )?,
                counter(
                    "proxy_protocol_v2_total",
                    "Headers of version 2 that were believed.",
                )?,
            ],
            absent: counter(
                "proxy_protocol_absent_total",
                "Connections of trusted peers without a header.",
            )?,
            untrusted: counter(
                "proxy_protocol_untrusted_total",
                "Connections of peers that are not believed.",
            )?,
            malformed: counter(
                "proxy_protocol_malformed_total",
                "Connections that were closed for their header, or for the lack of one.",
            )?,
        });
        Ok(())
    }

    fn peek(&self) -> usize {
        LONGEST
    }

    fn filter(&self) -> ProxyProtocolFilter {
        ProxyProtocolFilter(self.clone())
    }
}

/// The filter of a socket.
#[derive(Debug)]
pub struct ProxyProtocolFilter(ProxyProtocol);

impl ProxyProtocolFilter {
    fn count(&self, socket: &Socket<'_>, which: impl Fn(&ProxyProtocolMetrics) -> Counter) {
        if let Some(metrics) = &self.0.metrics {
            socket.count(which(metrics), 1);
        }
    }

    fn refuse(&self, socket: &Socket<'_>) -> ListenerVerdict {
        self.count(socket, |metrics| metrics.malformed);
        ListenerVerdict::Close
    }

    fn is_trusted(&self, source: Option<SocketAddr>) -> bool {
        // Who can open a Unix socket was let in by the file's mode.
        source.is_none_or(|source| self.0.policy.trusted.contain(source.ip()))
    }

    fn believe(&self, socket: &mut Socket<'_>, header: Header) {
        let info = socket.info();
        info.consumed = header.length;
        if let Some((source, destination)) = header.addresses {
            info.source = Some(source);
            info.destination = Some(destination);
        }
        for (kind, value) in header.values {
            if let Some(key) = self.0.policy.values.get(&kind) {
                let space = info.metadata.entry(NAMESPACE.to_owned()).or_default();
                space.insert(key.clone(), MetadataValue::String(text(&value)));
            }
        }
        self.count(socket, |metrics| {
            let [first, second] = metrics.versions;
            if header.version == 1 { first } else { second }
        });
    }
}

impl ListenerFilter for ProxyProtocolFilter {
    fn on_accept(&mut self, socket: &mut Socket<'_>) -> ListenerVerdict {
        if self.is_trusted(socket.info().direct_source) {
            return ListenerVerdict::StopIteration;
        }
        // Its bytes are its own: not one is waited for.
        self.count(socket, |metrics| metrics.untrusted);
        ListenerVerdict::Continue
    }

    fn on_peek(&mut self, socket: &mut Socket<'_>, bytes: &[u8], end: bool) -> ListenerVerdict {
        let policy = &self.0.policy;
        match read(bytes) {
            Read::Header(header) => {
                let [first, second] = policy.versions;
                if !(if header.version == 1 { first } else { second }) {
                    return self.refuse(socket);
                }
                self.believe(socket, header);
                ListenerVerdict::Continue
            }
            Read::Partial(_) if !end => ListenerVerdict::StopIteration,
            // Nothing came, or something else did.
            Read::None | Read::Partial(_) if !policy.required => {
                self.count(socket, |metrics| metrics.absent);
                ListenerVerdict::Continue
            }
            Read::None | Read::Partial(_) => self.refuse(socket),
            Read::Malformed(reason) => {
                socket.log(
                    transom_api::Level::Debug,
                    &format!("a header of PROXY protocol was refused: {reason}"),
                );
                self.refuse(socket)
            }
        }
    }
}

/// Text as it is, other bytes as hexadecimal digits.
fn text(value: &[u8]) -> String {
    match std::str::from_utf8(value) {
        Ok(text) if !text.contains(char::is_control) => text.to_owned(),
        _ => value.iter().map(|byte| format!("{byte:02x}")).collect(),
    }
}

#[cfg(test)]
mod tests {
    use transom_api::testing::{FakeListenerUse, FakeWorker};

    use super::*;

    const LINE: &[u8] = b"PROXY TCP4 203.0.113.1 203.0.113.2 1 2\r\n";

    fn used(worker: &mut FakeWorker, more: &[(&'static str, Node)]) -> FakeListenerUse {
        let mut keys = vec![("trusted", Node::list(["192.0.2.0/24".into()]))];
        keys.extend(more.iter().cloned());
        worker
            .listener_builtin::<ProxyProtocol>(&Node::map(keys))
            .unwrap()
    }

    #[test]
    fn a_trusted_header_names_the_client() {
        let mut worker = FakeWorker::new();
        let used = used(&mut worker, &[]);
        let mut socket = used.socket();
        assert_eq!(
            socket.peek(&LINE[..20], false),
            ListenerVerdict::StopIteration
        );
        let bytes = [LINE, b"GET /"].concat();
        assert_eq!(socket.peek(bytes, false), ListenerVerdict::Continue);
        let info = socket.info();
        assert_eq!(info.consumed, LINE.len());
        assert_eq!(info.source, Some("203.0.113.1:1".parse().unwrap()));
        assert_eq!(info.destination, Some("203.0.113.2:2".parse().unwrap()));
        assert_eq!(info.direct_source, Some("192.0.2.1:1000".parse().unwrap()));
        assert_eq!(worker.process().metric("proxy_protocol_v1_total"), 1);
    }

    #[test]
    fn who_is_not_trusted_is_not_read() {
        let mut worker = FakeWorker::new();
        let used = used(&mut worker, &[]);
        let mut socket = used.socket().from(Some("198.51.100.1:9".parse().unwrap()));
        assert_eq!(socket.accept(), ListenerVerdict::Continue);
        assert_eq!(worker.process().metric("proxy_protocol_untrusted_total"), 1);
        assert_eq!(used.socket().accept(), ListenerVerdict::StopIteration);
        let mut unix = used.socket().from(None);
        assert_eq!(unix.accept(), ListenerVerdict::StopIteration);
    }

    #[test]
    fn without_a_header_it_depends() {
        let mut worker = FakeWorker::new();
        let required = used(&mut worker, &[]);
        let optional = used(&mut worker, &[("required", false.into())]);
        for (bytes, end) in [(&b"GET /"[..], false), (b"", true), (b"PROXY", true)] {
            assert_eq!(required.socket().peek(bytes, end), ListenerVerdict::Close);
            let mut socket = optional.socket();
            assert_eq!(socket.peek(bytes, end), ListenerVerdict::Continue);
            assert_eq!(socket.info().consumed, 0);
        }
        assert_eq!(worker.process().metric("proxy_protocol_malformed_total"), 3);
        assert_eq!(worker.process().metric("proxy_protocol_absent_total"), 3);
        // What begins as one must be one.
        let malformed = b"PROXY TCP4 a b c d\r\n";
        assert_eq!(
            optional.socket().peek(malformed, false),
            ListenerVerdict::Close
        );
    }

    #[test]
    fn versions_can_be_chosen() {
        let mut worker = FakeWorker::new();
        let used = used(&mut worker, &[("versions", Node::list([2.into()]))]);
        assert_eq!(used.socket().peek(LINE, false), ListenerVerdict::Close);
    }

    #[test]
    fn values_become_metadata() {
        let mut worker = FakeWorker::new();
        let values = Node::map([("authority", 2.into()), ("raw", 0xea.into())]);
        let used = used(&mut worker, &[("values", values)]);
        let mut bytes = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x1f".to_vec();
        bytes.extend([203, 0, 113, 1, 203, 0, 113, 2, 0, 1, 0, 2]);
        bytes.extend(b"\x02\0\x05a.org\xea\0\x02\xff\x00\x05\0\x03uid");
        let length = bytes.len();
        bytes[15] = u8::try_from(length - 16).unwrap();
        let mut socket = used.socket();
        assert_eq!(socket.peek(&bytes, false), ListenerVerdict::Continue);
        let space = &socket.info().metadata["proxy_protocol"];
        assert_eq!(
            space["authority"],
            MetadataValue::String("a.org".to_owned())
        );
        assert_eq!(space["raw"], MetadataValue::String("ff00".to_owned()));
        assert_eq!(space.len(), 2);
    }

    #[test]
    fn mistakes_are_refused() {
        let mut worker = FakeWorker::new();
        let trusted = || ("trusted", Node::list(["::/0".into()]));
        for config in [
            Node::map([]),
            Node::map([("trusted", Node::list([]))]),
            Node::map([("trusted", Node::list(["10.0.0.1/8".into()]))]),
            Node::map([trusted(), ("versions", Node::list([3.into()]))]),
            Node::map([trusted(), ("versions", Node::list([]))]),
            Node::map([trusted(), ("values", Node::map([("a", 256.into())]))]),
            Node::map([
                trusted(),
                ("values", Node::map([("a", 1.into()), ("b", 1.into())])),
            ]),
        ] {
            assert!(
                worker.listener_builtin::<ProxyProtocol>(&config).is_err(),
                "{config:?}"
            );
        }
    }
}
