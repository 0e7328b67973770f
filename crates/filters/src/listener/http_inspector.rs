//! `http_inspector`: finds out whether a client without TLS speaks HTTP, by its first line.
//!
//! | key | default | what |
//! |---|---|---|
//! | `max_line` | `8KiB` | how long the first line may be; a longer one that fits so far counts as HTTP/1.1 |
//!
//! What it finds serves the match `application_protocols` of filter chains: `http/1.0`, `http/1.1`, or `h2c` for HTTP/2 with
//! prior knowledge (RFC 9113 section 3.3). With `tls_inspector` before it one port serves HTTP, TLS and anything else: what is
//! neither goes to a chain that asks for none of these, or to the default chain. A client that speaks TLS is let be.
//!
//! A protocol in which the server speaks first shows nothing: for such clients the listener's
//! `on_listener_filters_timeout` must be `continue`.
//!
//! | metric | what |
//! |---|---|
//! | `transom_http_inspector_http1_total{filter}` | connections that begin with a request line of HTTP/1 |
//! | `transom_http_inspector_http2_total{filter}` | connections that begin with HTTP/2's preface |
//! | `transom_http_inspector_not_found_total{filter}` | connections that begin with neither |

use transom_api::builtin::ListenerBuiltin;
use transom_api::{
    Counter, ListenerFilter, ListenerVerdict, Node, ParseError, PrepareContext, PrepareError,
    Schema, Shape, Socket,
};

/// The configuration.
#[derive(Clone, Debug)]
pub struct HttpInspector {
    most: usize,
    metrics: Option<InspectorMetrics>,
}

#[derive(Clone, Copy, Debug)]
struct InspectorMetrics {
    http1: Counter,
    http2: Counter,
    neither: Counter,
}

const LARGEST: u64 = 60 << 10;
const DEFAULT: u64 = 8 << 10;

/// RFC 9113, section 3.4.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// The longest method that is registered (IANA's HTTP Method Registry) has 17 characters. One that is longer than this
/// is most likely no method.
const LONGEST_METHOD: usize = 32;

impl ListenerBuiltin for HttpInspector {
    type Filter = HttpInspectorFilter;

    fn schema() -> Schema {
        Schema::object()
            .optional(
                "max_line",
                Schema::new(Shape::Size)
                    .describe("How long the first line may be. A longer one that fits so far counts as HTTP/1.1.")
                    .or("8KiB"),
            )
            .describe("Finds out whether a client without TLS speaks HTTP, by its first line.")
    }

    fn parse(node: &Node) -> Result<Self, ParseError> {
        let mut fields = node.as_fields()?;
        let most = fields.optional("max_line");
        fields.finish()?;
        let size = most.map_or(Ok(DEFAULT), Node::as_size)?;
        if !(64..=LARGEST).contains(&size) {
            let place = most.unwrap_or(node);
            return Err(place.error("expected a size from 64 to 60KiB"));
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
            http1: counter(
                "http_inspector_http1_total",
                "Connections that begin with a request line of HTTP/1.",
            )?,
            http2: counter(
                "http_inspector_http2_total",
                "Connections that begin with HTTP/2's preface.",
            )?,
            neither: counter(
                "http_inspector_not_found_total",
                "Connections that begin with neither HTTP/1 nor HTTP/2.",
            )?,
        });
        Ok(())
    }

    fn peek(&self) -> usize {
        self.most
    }

    fn filter(&self) -> HttpInspectorFilter {
        HttpInspectorFilter {
            most: self.most,
            metrics: self.metrics,
        }
    }
}

/// The filter of a socket.
#[derive(Debug)]
pub struct HttpInspectorFilter {
    most: usize,
    metrics: Option<InspectorMetrics>,
}

/// What the first bytes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum FirstLine {
    Http10,
    Http11,
    Http2,
    Other,
    Partial,
}

impl ListenerFilter for HttpInspectorFilter {
    fn on_peek(&mut self, socket: &mut Socket<'_>, bytes: &[u8], end: bool) -> ListenerVerdict {
        if socket.info().detected == Some("tls") {
            return ListenerVerdict::Continue;
        }
        let (counter, detected, protocol) = match FirstLine::read(bytes) {
            FirstLine::Partial if !end && bytes.len() < self.most => {
                return ListenerVerdict::StopIteration;
            }
            FirstLine::Partial if !end => (Which::Http1, "http1", Some("http/1.1")),
            FirstLine::Http10 => (Which::Http1, "http1", Some("http/1.0")),
            FirstLine::Http11 => (Which::Http1, "http1", Some("http/1.1")),
            FirstLine::Http2 => (Which::Http2, "http2", Some("h2c")),
            FirstLine::Other | FirstLine::Partial => (Which::Neither, "raw", None),
        };
        if let Some(metrics) = &self.metrics {
            let counter = match counter {
                Which::Http1 => metrics.http1,
                Which::Http2 => metrics.http2,
                Which::Neither => metrics.neither,
            };
            socket.count(counter, 1);
        }
        let info = socket.info();
        info.detected = Some(detected);
        info.application_protocols = protocol.map(str::to_owned).into_iter().collect();
        ListenerVerdict::Continue
    }
}

enum Which {
    Http1,
    Http2,
    Neither,
}

impl FirstLine {
    fn read(bytes: &[u8]) -> Self {
        if bytes.len() >= PREFACE.len() {
            if bytes.starts_with(PREFACE) {
                return Self::Http2;
            }
        } else if PREFACE.starts_with(bytes) {
            return Self::Partial;
        }
        // RFC 9112, section 2.2: empty lines before a request line are passed over. One is what there is in practice.
        let bytes = match bytes {
            [] | b"\r" => return Self::Partial,
            [b'\r', b'\n', rest @ ..] => rest,
            _ => bytes,
        };
        let (line, is_whole) = match bytes.iter().position(|byte| *byte == b'\n') {
            Some(end) => (bytes.get(..end).unwrap_or_default(), true),
            None => (bytes, false),
        };
        let mut parts = line.splitn(3, |byte| *byte == b' ');
        let method = parts.next().unwrap_or_default();
        if method.len() > LONGEST_METHOD || !method.iter().all(is_token) {
            return Self::Other;
        }
        let (target, version) = (parts.next(), parts.next());
        if method.is_empty() && (is_whole || target.is_some()) {
            return Self::Other;
        }
        // RFC 9112, section 3.2: no target has spaces or control characters.
        if target.is_some_and(|target| !target.iter().all(|byte| *byte > b' ' && *byte != 0x7f)) {
            return Self::Other;
        }
        let version = version.unwrap_or_default();
        const VERSIONS: [(&[u8], FirstLine); 2] = [
            (b"HTTP/1.0\r", FirstLine::Http10),
            (b"HTTP/1.1\r", FirstLine::Http11),
        ];
        if is_whole {
            // A line that ends without CR, or has another version, is for the codec to judge: it is meant as HTTP.
            let exact = VERSIONS.iter().find(|(text, _)| version == *text);
            return match exact {
                Some((_, found)) => *found,
                None if version.starts_with(b"HTTP/") => Self::Http11,
                None => Self::Other,
            };
        }
        if version.starts_with(b"HTTP/") || b"HTTP/".starts_with(version) {
            Self::Partial
        } else {
            Self::Other
        }
    }
}

/// RFC 9110, section 5.6.2.
fn is_token(byte: &u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte)
}

#[cfg(test)]
mod tests {
    use transom_api::testing::FakeWorker;

    use super::*;

    #[test]
    fn first_lines_are_told_apart() {
        for (bytes, found) in [
            (&b"GET / HTTP/1.1\r\n"[..], FirstLine::Http11),
            (b"GET / HTTP/1.0\r\nx", FirstLine::Http10),
            (b"\r\nGET / HTTP/1.1\r\n", FirstLine::Http11),
            (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", FirstLine::Http2),
            (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\rx", FirstLine::Http11),
            (b"GET / HTTP/9.9\r\n", FirstLine::Http11),
            (b"GET / HTTP/1.1\n", FirstLine::Http11),
            (b"GET key\r\n", FirstLine::Other),
            (b"GET\r\n", FirstLine::Other),
            (b"SSH-2.0-OpenSSH_9.2\r\n", FirstLine::Other),
            (b"*1\r\n$4\r\nPING\r\n", FirstLine::Other),
            (b"EHLO a.org\r\n", FirstLine::Other),
            (b" / HTTP/1.1\r\n", FirstLine::Other),
            (b"GET / SIP/2.0\r\n", FirstLine::Other),
            (b"\x16\x03\x01", FirstLine::Other),
            (b"\0", FirstLine::Other),
            (b"GET /\0", FirstLine::Other),
            (b"abcdefghijklmnopqrstuvwxyzabcdefghi", FirstLine::Other),
            (b"GET / HTTP/1.", FirstLine::Partial),
            (b"GET / H", FirstLine::Partial),
            (b"GET", FirstLine::Partial),
            (b"PRI * HTTP/2", FirstLine::Partial),
            (b"", FirstLine::Partial),
        ] {
            assert_eq!(FirstLine::read(bytes), found, "{}", bytes.escape_ascii());
        }
    }

    /// What is found does not hang on how the bytes come.
    #[test]
    fn any_cut_finds_the_same() {
        let long = [b"GET /", &[b'a'; 3000][..], b" HTTP/1.1\r\nhost: a\r\n"].concat();
        let mut worker = FakeWorker::new();
        let inspector = worker
            .listener_builtin::<HttpInspector>(&Node::map([]))
            .unwrap();
        for whole in [
            &long[..],
            b"\r\nPOST / HTTP/1.0\r\n",
            PREFACE,
            b"EHLO a.org\r\n",
        ] {
            let mut at_once = inspector.socket();
            assert_eq!(at_once.peek(whole, false), ListenerVerdict::Continue);
            let mut by_byte = inspector.socket();
            let verdict = (1..=whole.len())
                .map(|length| by_byte.peek(&whole[..length], false))
                .find(|verdict| *verdict != ListenerVerdict::StopIteration);
            assert_eq!(verdict, Some(ListenerVerdict::Continue));
            assert_eq!(by_byte.info(), at_once.info());
        }
        let process = worker.process();
        assert_eq!(process.metric("http_inspector_http1_total"), 4);
        assert_eq!(process.metric("http_inspector_http2_total"), 2);
        assert_eq!(process.metric("http_inspector_not_found_total"), 2);
    }

    #[test]
    fn a_line_that_is_too_long_counts_as_http() {
        let mut worker = FakeWorker::new();
        let config = Node::map([("max_line", "64".into())]);
        let inspector = worker.listener_builtin::<HttpInspector>(&config).unwrap();
        let mut socket = inspector.socket();
        let long = [b"GET /", &[b'a'; 59][..]].concat();
        assert_eq!(
            socket.peek(&long[..63], false),
            ListenerVerdict::StopIteration
        );
        assert_eq!(socket.peek(&long, false), ListenerVerdict::Continue);
        assert_eq!(socket.info().application_protocols, ["http/1.1"]);
    }

    #[test]
    fn what_ends_or_waits_for_too_long_is_raw() {
        let mut worker = FakeWorker::new();
        let inspector = worker
            .listener_builtin::<HttpInspector>(&Node::map([]))
            .unwrap();
        for bytes in [&b""[..], b"GET / HT"] {
            let mut socket = inspector.socket();
            assert_eq!(socket.peek(bytes, true), ListenerVerdict::Continue);
            assert_eq!(socket.info().detected, Some("raw"));
            assert!(socket.info().application_protocols.is_empty());
        }
    }
}
