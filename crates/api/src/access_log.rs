//! Access logs: a record of each finished stream or connection.

use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use crate::context::record_methods;
use crate::factory::BuildError;
use crate::flags::ResponseFlags;
use crate::headers::{HeaderHost, HeaderMap, Headers};
use crate::host::{InfoHost, RecordHost};
use crate::value::{Attribute, FilterState, MetadataOf, MetadataValue};
use crate::worker::{Worker, WorkerPart};

/// A prepared configuration of an access log, shared by all workers.
pub trait AccessLogConfig: Send + Sync {
    /// Builds the part that one worker has.
    fn on_worker(&self, worker: &mut Worker<'_>) -> Result<Rc<dyn AccessLogWorker>, BuildError>;
}

/// A worker's part of an access log.
pub trait AccessLogWorker: WorkerPart {
    /// A stream (or, in the log of a listener, a connection) is over. Called once for each; for a stream after the
    /// filters' `on_stream_complete`. Must not wait.
    fn log(&self, record: &Record<'_>);
}

/// The host's side of a [`Record`].
pub trait RecordSource: HeaderHost + InfoHost + RecordHost {
    /// What is known without a look-up by name.
    fn facts(&self) -> Facts<'_>;

    /// State that filters left on the stream, or on the connection.
    fn state(&self) -> &FilterState;
}

/// What a record knows for sure, as plain values: for logs that are compiled in, which look at many of them for every
/// line. Attributes give the same by name.
#[derive(Clone, Copy, Debug, Default)]
pub struct Facts<'a> {
    /// Whether this is a connection's record and not a stream's.
    pub is_connection: bool,
    /// From the first byte of the request (of the connection) to its end.
    pub duration: Duration,
    /// From the first byte of the request to its last.
    pub request_received: Option<Duration>,
    /// From the first byte of the request until the last of it was handed to the host's socket.
    pub request_sent: Option<Duration>,
    /// From the first byte of the request to the first of the host's response.
    pub response_received: Option<Duration>,
    /// From the first byte of the request until the head of the response was handed to the client's socket.
    pub response_sent: Option<Duration>,
    /// `HTTP/1.1`; nothing for a connection.
    pub protocol: Option<&'a str>,
    /// The status of the response; 0 for none.
    pub status: u16,
    /// Bytes of the request's body; of a connection, all that came from the client.
    pub bytes_received: u64,
    /// Bytes of the response's body; of a connection, all that went to the client.
    pub bytes_sent: u64,
    /// What happened.
    pub flags: ResponseFlags,
    /// Why the response is what it is.
    pub details: Option<&'a str>,
    /// The chosen host's address.
    pub upstream_host: Option<&'a str>,
    /// Where the connection to the host comes from.
    pub upstream_local: Option<SocketAddr>,
    /// What the connection to the host is, in TLS; `None` for plain bytes.
    pub upstream_tls: Option<TlsFacts<'a>>,
    /// A number of the connection to the host, unique in the process; 0 for none.
    pub upstream_connection_id: u64,
    /// The protocol that is spoken with the host: `HTTP/1.1`.
    pub upstream_protocol: Option<&'a str>,
    /// The name of the cluster.
    pub upstream_cluster: Option<&'a str>,
    /// Why TLS with the host failed.
    pub upstream_failure: Option<&'a str>,
    /// How many hosts, or times one host, were tried.
    pub upstream_attempts: u32,
    /// The client's address, as a trusted proxy before this one tells it. `None` for a Unix socket.
    pub remote: Option<SocketAddr>,
    /// The other end of the connection itself. `None` for a Unix socket.
    pub direct_remote: Option<SocketAddr>,
    /// The address that the client connected to. `None` for a Unix socket.
    pub local: Option<SocketAddr>,
    /// The name that the client asked for in its TLS handshake.
    pub server_name: Option<&'a str>,
    /// What the client's TLS is; `None` for plain bytes.
    pub tls: Option<TlsFacts<'a>>,
    /// Why the client's TLS handshake failed.
    pub downstream_failure: Option<&'a str>,
    /// The name of the route.
    pub route: Option<&'a str>,
    /// The name of the virtual host.
    pub virtual_host: Option<&'a str>,
    /// The id of the client's span, where this proxy is a span of its own; 0 for none.
    pub parent_span: u64,
    /// The name of the listener.
    pub listener: &'a str,
    /// A number of the connection, unique in the process.
    pub connection_id: u64,
    /// A number of the stream, unique in the process; the connection's own for a connection.
    pub stream_id: u64,
}

/// What is known of a connection's TLS, by the peer on it.
#[derive(Clone, Copy, Debug, Default)]
pub struct TlsFacts<'a> {
    /// `TLSv1.2`, `TLSv1.3`.
    pub version: &'a str,
    /// The cipher suite by its name in IANA's registry, such as `TLS_AES_128_GCM_SHA256`.
    pub cipher: Option<&'a str>,
    /// The subject of the peer's certificate, as in RFC 4514.
    pub peer_subject: Option<&'a str>,
    /// The first DNS name of the peer's certificate.
    pub peer_dns_name: Option<&'a str>,
    /// The first URI of the peer's certificate.
    pub peer_uri: Option<&'a str>,
}

/// A finished stream or connection.
#[derive(Clone, Copy)]
pub struct Record<'a> {
    host: &'a dyn RecordSource,
}

impl<'a> Record<'a> {
    /// A record over a source.
    #[must_use]
    pub fn new(host: &'a dyn RecordSource) -> Self {
        Self { host }
    }

    /// What is known without a look-up by name.
    #[must_use]
    pub fn facts(&self) -> Facts<'a> {
        self.host.facts()
    }

    /// One of its header maps, as it was sent on. Those of a connection are empty.
    #[must_use]
    pub fn headers(&self, map: HeaderMap) -> Headers<'a> {
        Headers::new(self.host, map)
    }

    /// An attribute by its name (see [`attribute`](crate::value::attribute)).
    #[must_use]
    pub fn attribute(&self, name: &str) -> Option<Attribute<'a>> {
        self.host.attribute(name)
    }

    /// A value of dynamic metadata.
    #[must_use]
    pub fn metadata(&self, namespace: &str, key: &str) -> Option<&'a MetadataValue> {
        self.host.metadata(namespace, key)
    }

    /// A value of the metadata that the configuration gives to the stream's route, or to its virtual host.
    #[must_use]
    pub fn configured_metadata(
        &self,
        of: MetadataOf,
        namespace: &str,
        key: &str,
    ) -> Option<&'a MetadataValue> {
        self.host.configured_metadata(of, namespace)?.get(key)
    }

    /// State that filters left on the stream, or on the connection.
    #[must_use]
    pub fn state(&self) -> &'a FilterState {
        self.host.state()
    }

    record_methods!();
}
