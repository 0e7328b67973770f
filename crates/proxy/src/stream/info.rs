//! What is known of a stream beside its messages: the attributes.

use std::borrow::Cow;
use std::cell::{OnceCell, Ref, RefCell};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Instant, SystemTime};

pub(crate) use transom_api::Metadata;
use transom_api::access_log::{Facts, TlsFacts};
use transom_api::value::{MetadataValue, metadata_json};
use transom_api::{Attribute, FilterState, attribute};

use crate::cluster::{UpstreamConnection, WorkerHost};
use crate::error::Flags;
use crate::http::head::{Head, Pseudo};
use crate::listener::ConnectionNotes;
use crate::tls::TlsInfo;

/// What all streams of a connection share.
#[derive(Debug)]
pub(crate) struct ConnectionInfo {
    pub(crate) id: u64,
    pub(crate) listener: Rc<str>,
    /// The client's address; `None` for a Unix socket.
    pub(crate) source: Option<SocketAddr>,
    /// The address that the client connected to; `None` for a Unix socket.
    pub(crate) destination: Option<SocketAddr>,
    /// Where the client wanted to go, when it is served by a listener that is not there: by the kernel's word, or that of a
    /// trusted proxy.
    pub(crate) original: Option<Box<SocketAddr>>,
    pub(crate) tls: Option<Box<TlsInfo>>,
    /// Apart, because most connections live without it, and rest most of the time.
    pub(crate) more: OnceCell<Box<More>>,
}

/// What few connections have.
#[derive(Debug, Default)]
pub(crate) struct More {
    /// The name that the client asked for, as a listener filter saw it.
    server_name: Option<String>,
    metadata: Metadata,
    state: RefCell<FilterState>,
    notes: ConnectionNotes,
}

impl ConnectionInfo {
    /// A connection of this listener, of which nothing is known yet.
    pub(crate) fn new(id: u64, listener: Rc<str>) -> Self {
        Self {
            id,
            listener,
            source: None,
            destination: None,
            original: None,
            tls: None,
            more: OnceCell::new(),
        }
    }

    /// What stands in the place of a connection in streams that have none.
    pub(crate) fn of_nobody() -> Self {
        Self::new(0, Rc::from(""))
    }

    /// Adds what listener filters found out.
    pub(crate) fn found(mut self, server_name: Option<String>, metadata: Metadata) -> Self {
        if server_name.is_some() || !metadata.is_empty() {
            self.more = OnceCell::from(Box::new(More {
                server_name,
                metadata,
                ..More::default()
            }));
        }
        self
    }

    /// The scheme of its requests.
    pub(crate) fn scheme(&self) -> &'static str {
        if self.tls.is_some() { "https" } else { "http" }
    }

    /// The name that the client asked for, as TLS or a listener filter saw it.
    pub(crate) fn server_name(&self) -> Option<&str> {
        match &self.tls {
            Some(tls) => tls.server_name.as_deref(),
            None => self.more.get()?.server_name.as_deref(),
        }
    }

    /// What listener filters found out: seen through the metadata of streams, where that has no such namespace.
    pub(crate) fn metadata(&self, namespace: &str) -> Option<&BTreeMap<String, MetadataValue>> {
        self.more.get()?.metadata.get(namespace)
    }

    /// The state that filters share.
    pub(crate) fn state(&self) -> Option<Ref<'_, FilterState>> {
        self.more.get().map(|more| more.state.borrow())
    }

    pub(crate) fn take_state(&self) -> FilterState {
        self.more
            .get()
            .map(|more| more.state.take())
            .unwrap_or_default()
    }

    pub(crate) fn set_state(&self, state: FilterState) {
        self.more().state.replace(state);
    }

    /// What is learnt of it while it lives.
    pub(crate) fn notes(&self) -> &ConnectionNotes {
        &self.more().notes
    }

    fn more(&self) -> &More {
        self.more.get_or_init(Box::default)
    }
}

/// What is known of one stream.
#[derive(Debug)]
pub(crate) struct StreamInfo {
    pub(crate) start: Instant,
    pub(crate) end: Option<Instant>,
    /// Moments on the way, as of the beginning of the turn in which they came.
    pub(crate) times: Times,
    /// A number of its own in the process.
    pub(crate) id: u64,
    /// The client's address, where a trusted proxy tells it; else the connection's.
    pub(crate) remote: Option<SocketAddr>,
    pub(crate) protocol: &'static str,
    pub(crate) request_bytes: u64,
    pub(crate) response_bytes: u64,
    pub(crate) flags: Flags,
    /// Why the response is what it is.
    pub(crate) details: Cow<'static, str>,
    pub(crate) upstream: Option<Rc<WorkerHost>>,
    pub(crate) cluster: Option<Rc<str>>,
    /// The connection to the host, where somebody may ask about it.
    pub(crate) upstream_connection: Option<Rc<UpstreamConnection>>,
    /// Why TLS with the host failed.
    pub(crate) upstream_failure: Option<Cow<'static, str>>,
    /// Connections to hosts that were taken or made for it.
    pub(crate) attempts: u32,
    /// The client's span, where this proxy is one below it; 0 for none.
    pub(crate) parent_span: u64,
    pub(crate) metadata: Metadata,
    pub(crate) filter_state: FilterState,
}

/// When a stream got how far.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Times {
    pub(crate) request_received: Option<Instant>,
    pub(crate) request_sent: Option<Instant>,
    pub(crate) response_received: Option<Instant>,
    pub(crate) response_sent: Option<Instant>,
}

impl StreamInfo {
    pub(crate) fn new() -> Self {
        Self {
            start: Instant::now(),
            end: None,
            times: Times::default(),
            id: 0,
            remote: None,
            protocol: "HTTP/1.1",
            request_bytes: 0,
            response_bytes: 0,
            flags: Flags::default(),
            details: Cow::Borrowed(""),
            upstream: None,
            cluster: None,
            upstream_connection: None,
            upstream_failure: None,
            attempts: 0,
            parent_span: 0,
            metadata: Metadata::new(),
            filter_state: FilterState::default(),
        }
    }

    /// Makes it as new for another stream.
    pub(crate) fn clear(&mut self) {
        self.end = None;
        self.times = Times::default();
        self.remote = None;
        self.request_bytes = 0;
        self.response_bytes = 0;
        self.flags = Flags::default();
        self.details = Cow::Borrowed("");
        self.upstream = None;
        self.cluster = None;
        self.upstream_connection = None;
        self.upstream_failure = None;
        self.attempts = 0;
        self.parent_span = 0;
        // To empty an empty one takes it apart nevertheless.
        if !self.metadata.is_empty() {
            self.metadata.clear();
        }
        self.filter_state.clear();
    }
}

/// Where attributes are read from.
pub(crate) struct Attributes<'a> {
    pub(crate) connection: &'a ConnectionInfo,
    pub(crate) info: &'a StreamInfo,
    pub(crate) request: &'a Head,
    pub(crate) response: &'a Head,
    pub(crate) route_name: Option<&'a str>,
    pub(crate) virtual_host: Option<&'a str>,
    /// The metadata of the route, and of its virtual host.
    pub(crate) route: Option<[&'a Metadata; 2]>,
}

impl<'a> Attributes<'a> {
    /// All that an access log may want at once.
    pub(crate) fn facts(&self) -> Facts<'a> {
        let Self {
            connection, info, ..
        } = *self;
        let start = info.start;
        let since = |time: Option<Instant>| time.map(|time| time.saturating_duration_since(start));
        let end = info.end.unwrap_or_else(Instant::now);
        let upstream = info.upstream_connection.as_deref();
        Facts {
            duration: end.saturating_duration_since(start),
            request_received: since(info.times.request_received),
            request_sent: since(info.times.request_sent),
            response_received: since(info.times.response_received),
            response_sent: since(info.times.response_sent),
            protocol: Some(info.protocol),
            status: self.response.status(),
            bytes_received: info.request_bytes,
            bytes_sent: info.response_bytes,
            flags: info.flags,
            details: Some(&*info.details).filter(|details| !details.is_empty()),
            upstream_host: info.upstream.as_ref().map(|host| host.host.text.as_str()),
            upstream_local: upstream.and_then(|connection| connection.local),
            upstream_tls: upstream.and_then(|connection| connection.tls.as_deref().map(tls_facts)),
            upstream_connection_id: upstream.map_or(0, |connection| connection.id),
            // A relayed connection has none.
            upstream_protocol: upstream.and(info.upstream.as_ref().map(|host| host.protocol())),
            upstream_cluster: info.cluster.as_deref(),
            upstream_failure: info.upstream_failure.as_deref(),
            upstream_attempts: info.attempts,
            parent_span: info.parent_span,
            remote: info.remote.or(connection.source),
            route: self.route_name,
            virtual_host: self.virtual_host,
            stream_id: info.id,
            ..connection.facts()
        }
    }

    /// The attribute under a name of Envoy's.
    pub(crate) fn get(&self, name: &str) -> Option<Attribute<'a>> {
        if let Some(remote) = self.info.remote {
            match name {
                attribute::SOURCE_ADDRESS => {
                    let text = remote.to_string().into_bytes();
                    return Some(Attribute::Bytes(Cow::Owned(text)));
                }
                attribute::SOURCE_PORT => return Some(Attribute::Int(remote.port().into())),
                _ => {}
            }
        }
        if let Some(attribute) = connection_attribute(self.connection, name) {
            return Some(attribute);
        }
        let path = || self.request.pseudo(Pseudo::Path);
        let borrowed = |bytes: &'a [u8]| Attribute::Bytes(Cow::Borrowed(bytes));
        let count = |bytes: u64| Attribute::Int(i64::try_from(bytes).unwrap_or(i64::MAX));
        match name {
            attribute::REQUEST_PATH => path().map(borrowed),
            attribute::REQUEST_URL_PATH => path().map(|path| borrowed(split_query(path).0)),
            attribute::REQUEST_QUERY => path().map(|path| borrowed(split_query(path).1)),
            attribute::REQUEST_HOST => self.request.pseudo(Pseudo::Authority).map(borrowed),
            attribute::REQUEST_SCHEME => self.request.pseudo(Pseudo::Scheme).map(borrowed),
            attribute::REQUEST_METHOD => self.request.pseudo(Pseudo::Method).map(borrowed),
            attribute::REQUEST_PROTOCOL => Some(borrowed(self.info.protocol.as_bytes())),
            attribute::REQUEST_ID => self.request.get(b"x-request-id", 0).map(borrowed),
            attribute::REQUEST_TIME => SystemTime::now()
                .checked_sub(self.info.start.elapsed())
                .map(Attribute::Time),
            attribute::REQUEST_DURATION => {
                let end = self.info.end.unwrap_or_else(Instant::now);
                Some(Attribute::Duration(
                    end.saturating_duration_since(self.info.start),
                ))
            }
            attribute::REQUEST_SIZE => Some(count(self.info.request_bytes)),
            attribute::RESPONSE_SIZE => Some(count(self.info.response_bytes)),
            attribute::RESPONSE_CODE => match self.response.status() {
                0 => None,
                status => Some(Attribute::Int(status.into())),
            },
            attribute::RESPONSE_CODE_DETAILS if !self.info.details.is_empty() => {
                Some(borrowed(self.info.details.as_bytes()))
            }
            attribute::RESPONSE_FLAGS => Some(Attribute::Bytes(Cow::Owned(
                self.info.flags.to_string().into_bytes(),
            ))),
            attribute::UPSTREAM_ADDRESS => self
                .info
                .upstream
                .as_ref()
                .map(|host| borrowed(host.host.text.as_bytes())),
            attribute::UPSTREAM_LOCAL_ADDRESS => {
                let local = self.info.upstream_connection.as_ref()?.local?;
                Some(Attribute::Bytes(Cow::Owned(local.to_string().into_bytes())))
            }
            attribute::UPSTREAM_REQUEST_ATTEMPT_COUNT => {
                Some(Attribute::Int(self.info.attempts.into()))
            }
            attribute::ROUTE_METADATA => {
                let [route, _] = self.route?;
                let json = metadata_json(route).into_bytes();
                Some(Attribute::Bytes(Cow::Owned(json)))
            }
            attribute::VIRTUAL_HOST_METADATA => {
                let [_, virtual_host] = self.route?;
                let json = metadata_json(virtual_host).into_bytes();
                Some(Attribute::Bytes(Cow::Owned(json)))
            }
            attribute::CLUSTER_NAME => self
                .info
                .cluster
                .as_ref()
                .map(|name| borrowed(name.as_bytes())),
            attribute::ROUTE_NAME => self.route_name.map(|name| borrowed(name.as_bytes())),
            attribute::VIRTUAL_HOST_NAME => self.virtual_host.map(|name| borrowed(name.as_bytes())),
            _ => None,
        }
    }
}

impl ConnectionInfo {
    /// What is known of all its streams.
    pub(crate) fn facts(&self) -> Facts<'_> {
        Facts {
            remote: self.source,
            direct_remote: self.source,
            local: self.destination,
            server_name: self.server_name(),
            tls: self.tls.as_deref().map(tls_facts),
            listener: &self.listener,
            connection_id: self.id,
            ..Facts::default()
        }
    }
}

pub(crate) fn tls_facts(tls: &TlsInfo) -> TlsFacts<'_> {
    let peer = tls.peer.as_ref();
    TlsFacts {
        version: tls.version,
        cipher: tls.cipher,
        peer_subject: peer.map(|peer| &*peer.subject),
        peer_dns_name: peer.and_then(|peer| peer.dns_name.as_deref()),
        peer_uri: peer.and_then(|peer| peer.uri_name.as_deref()),
    }
}

/// The attributes that a connection has before it has streams.
pub(crate) fn connection_attribute<'a>(
    connection: &'a ConnectionInfo,
    name: &str,
) -> Option<Attribute<'a>> {
    let address = |address: Option<SocketAddr>| {
        address.map(|address| Attribute::Bytes(Cow::Owned(address.to_string().into_bytes())))
    };
    let port =
        |address: Option<SocketAddr>| address.map(|address| Attribute::Int(address.port().into()));
    let text =
        |text: Option<&'a str>| text.map(|text| Attribute::Bytes(Cow::Borrowed(text.as_bytes())));
    let tls = connection.tls.as_deref();
    let peer = tls.and_then(|tls| tls.peer.as_ref());
    match name {
        attribute::SOURCE_ADDRESS => address(connection.source),
        attribute::SOURCE_PORT => port(connection.source),
        attribute::DESTINATION_ADDRESS => address(connection.destination),
        attribute::DESTINATION_PORT => port(connection.destination),
        attribute::CONNECTION_ID => Some(Attribute::Int(
            i64::try_from(connection.id).unwrap_or(i64::MAX),
        )),
        attribute::CONNECTION_REQUESTED_SERVER_NAME => text(connection.server_name()),
        attribute::CONNECTION_TLS_VERSION => text(tls.map(|tls| tls.version)),
        attribute::CONNECTION_MTLS => Some(Attribute::Bool(peer.is_some())),
        attribute::CONNECTION_SUBJECT_PEER_CERTIFICATE => text(peer.map(|peer| &*peer.subject)),
        attribute::CONNECTION_DNS_SAN_PEER_CERTIFICATE => {
            text(peer.and_then(|peer| peer.dns_name.as_deref()))
        }
        attribute::CONNECTION_URI_SAN_PEER_CERTIFICATE => {
            text(peer.and_then(|peer| peer.uri_name.as_deref()))
        }
        attribute::CONNECTION_SHA256_PEER_CERTIFICATE_DIGEST => {
            text(peer.map(|peer| &*peer.digest))
        }
        attribute::CONNECTION_PEM_PEER_CERTIFICATE => {
            peer.map(|peer| Attribute::Bytes(Cow::Owned(peer.pem().into_bytes())))
        }
        attribute::LISTENER_NAME => Some(Attribute::Bytes(Cow::Borrowed(
            connection.listener.as_bytes(),
        ))),
        _ => None,
    }
}

/// A path's part before its first question mark, and what stands behind it.
pub(crate) fn split_query(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().position(|byte| *byte == b'?') {
        Some(at) => (
            path.get(..at).unwrap_or_default(),
            path.get(at + 1..).unwrap_or_default(),
        ),
        None => (path, &[]),
    }
}

#[cfg(all(test, target_pointer_width = "64"))]
mod tests {
    use super::*;

    /// The allocator hands out 128 bytes or 160, and each connection at rest has one.
    #[test]
    fn what_is_known_of_a_connection_fits_into_128_bytes() {
        let size = size_of::<ConnectionInfo>() + 2 * size_of::<usize>();
        assert!(size <= 128, "{size}");
    }
}
