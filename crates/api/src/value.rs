//! Values that travel beside a stream: attributes, dynamic metadata, filter state.

use std::any::Any;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, SystemTime};

/// Dynamic metadata: values by namespace and key.
pub type Metadata = BTreeMap<String, BTreeMap<String, MetadataValue>>;

/// A value of dynamic metadata: what protobuf's `Struct` can hold.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum MetadataValue {
    /// Nothing.
    #[default]
    Null,
    /// True or false.
    Bool(bool),
    /// A number.
    Number(f64),
    /// Text.
    String(String),
    /// A list.
    List(Vec<MetadataValue>),
    /// A map.
    Struct(BTreeMap<String, MetadataValue>),
}

/// What a configuration gives metadata to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum MetadataOf {
    /// The route.
    Route,
    /// The virtual host that the route is in.
    VirtualHost,
}

/// As JSON, which has `null` for numbers that are none.
impl fmt::Display for MetadataValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("null"),
            Self::Bool(value) => value.fmt(f),
            Self::Number(value) if !value.is_finite() => f.write_str("null"),
            Self::Number(value) => value.fmt(f),
            Self::String(text) => json_string(text, f),
            Self::List(values) => {
                f.write_str("[")?;
                for (index, value) in values.iter().enumerate() {
                    f.write_str(if index == 0 { "" } else { "," })?;
                    value.fmt(f)?;
                }
                f.write_str("]")
            }
            Self::Struct(values) => json_map(values, f, fmt::Display::fmt),
        }
    }
}

/// Metadata as a JSON object of its namespaces.
#[must_use]
pub fn metadata_json(metadata: &Metadata) -> String {
    struct Whole<'m>(&'m Metadata);
    impl fmt::Display for Whole<'_> {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            json_map(self.0, f, |space, f| json_map(space, f, fmt::Display::fmt))
        }
    }
    Whole(metadata).to_string()
}

fn json_map<V>(
    values: &BTreeMap<String, V>,
    f: &mut fmt::Formatter<'_>,
    one: impl Fn(&V, &mut fmt::Formatter<'_>) -> fmt::Result,
) -> fmt::Result {
    f.write_str("{")?;
    for (index, (key, value)) in values.iter().enumerate() {
        f.write_str(if index == 0 { "" } else { "," })?;
        json_string(key, f)?;
        f.write_str(":")?;
        one(value, f)?;
    }
    f.write_str("}")
}

/// RFC 8259 section 7.
fn json_string(text: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    f.write_str("\"")?;
    for character in text.chars() {
        match character {
            '"' | '\\' => write!(f, "\\{character}")?,
            '\0'..='\x1f' => write!(f, "\\u{:04x}", u32::from(character))?,
            _ => write!(f, "{character}")?,
        }
    }
    f.write_str("\"")
}

impl From<&str> for MetadataValue {
    fn from(text: &str) -> Self {
        Self::String(text.to_owned())
    }
}

impl From<bool> for MetadataValue {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

impl From<f64> for MetadataValue {
    fn from(value: f64) -> Self {
        Self::Number(value)
    }
}

/// The value of an attribute. Names are Envoy's; [`attribute`] lists those that there are.
#[derive(Clone, Debug, PartialEq)]
pub enum Attribute<'a> {
    /// Text or bytes.
    Bytes(Cow<'a, [u8]>),
    /// A whole number.
    Int(i64),
    /// True or false.
    Bool(bool),
    /// A moment.
    Time(SystemTime),
    /// A length of time.
    Duration(Duration),
}

impl Attribute<'_> {
    /// The text, if it is text.
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::Bytes(bytes) => std::str::from_utf8(bytes).ok(),
            _ => None,
        }
    }

    /// The number, if it is one.
    #[must_use]
    pub fn as_int(&self) -> Option<i64> {
        match self {
            Self::Int(value) => Some(*value),
            _ => None,
        }
    }
}

impl fmt::Display for Attribute<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bytes(bytes) => f.write_str(&String::from_utf8_lossy(bytes)),
            Self::Int(value) => value.fmt(f),
            Self::Bool(value) => value.fmt(f),
            Self::Time(time) => match time.duration_since(SystemTime::UNIX_EPOCH) {
                Ok(since) => write!(f, "{}.{:03}", since.as_secs(), since.subsec_millis()),
                Err(_) => f.write_str("0"),
            },
            Self::Duration(duration) => write!(f, "{}us", duration.as_micros()),
        }
    }
}

/// The names of attributes, which are Envoy's.
pub mod attribute {
    /// The client's address and port.
    pub const SOURCE_ADDRESS: &str = "source.address";
    /// The client's port.
    pub const SOURCE_PORT: &str = "source.port";
    /// The address and port that the client connected to.
    pub const DESTINATION_ADDRESS: &str = "destination.address";
    /// The port that the client connected to.
    pub const DESTINATION_PORT: &str = "destination.port";
    /// A number of the connection, unique in the process.
    pub const CONNECTION_ID: &str = "connection.id";
    /// The name that the client asked for in its TLS handshake (SNI).
    pub const CONNECTION_REQUESTED_SERVER_NAME: &str = "connection.requested_server_name";
    /// `TLSv1.2`, `TLSv1.3`.
    pub const CONNECTION_TLS_VERSION: &str = "connection.tls_version";
    /// Whether the client has shown a certificate, which was verified.
    pub const CONNECTION_MTLS: &str = "connection.mtls";
    /// The subject of the client's certificate, as in RFC 4514.
    pub const CONNECTION_SUBJECT_PEER_CERTIFICATE: &str = "connection.subject_peer_certificate";
    /// The first DNS name of the client's certificate.
    pub const CONNECTION_DNS_SAN_PEER_CERTIFICATE: &str = "connection.dns_san_peer_certificate";
    /// The first URI of the client's certificate.
    pub const CONNECTION_URI_SAN_PEER_CERTIFICATE: &str = "connection.uri_san_peer_certificate";
    /// The SHA-256 of the client's certificate, in hexadecimal.
    pub const CONNECTION_SHA256_PEER_CERTIFICATE_DIGEST: &str =
        "connection.sha256_peer_certificate_digest";
    /// The client's certificate in PEM. Not one of Envoy's.
    pub const CONNECTION_PEM_PEER_CERTIFICATE: &str = "connection.pem_peer_certificate";
    /// The path with its query.
    pub const REQUEST_PATH: &str = "request.path";
    /// The path without its query.
    pub const REQUEST_URL_PATH: &str = "request.url_path";
    /// The query, without the question mark.
    pub const REQUEST_QUERY: &str = "request.query";
    /// The authority.
    pub const REQUEST_HOST: &str = "request.host";
    /// `http` or `https`.
    pub const REQUEST_SCHEME: &str = "request.scheme";
    /// The method.
    pub const REQUEST_METHOD: &str = "request.method";
    /// `HTTP/1.0`, `HTTP/1.1`.
    pub const REQUEST_PROTOCOL: &str = "request.protocol";
    /// The value of `x-request-id`.
    pub const REQUEST_ID: &str = "request.id";
    /// When the first byte of the request was seen.
    pub const REQUEST_TIME: &str = "request.time";
    /// From the first byte of the request until now, or until the stream's end.
    pub const REQUEST_DURATION: &str = "request.duration";
    /// Bytes of the request's body so far.
    pub const REQUEST_SIZE: &str = "request.size";
    /// Status of the response.
    pub const RESPONSE_CODE: &str = "response.code";
    /// Why the response is what it is: `via_upstream`, or the detail of a local reply.
    pub const RESPONSE_CODE_DETAILS: &str = "response.code_details";
    /// Envoy's response flags, such as `UH` or `UF`; `-` for none.
    pub const RESPONSE_FLAGS: &str = "response.flags";
    /// Bytes of the response's body so far.
    pub const RESPONSE_SIZE: &str = "response.size";
    /// The chosen host's address and port.
    pub const UPSTREAM_ADDRESS: &str = "upstream.address";
    /// Where the connection to the host comes from: address and port.
    pub const UPSTREAM_LOCAL_ADDRESS: &str = "upstream.local_address";
    /// How many connections to hosts were taken or made for the stream.
    pub const UPSTREAM_REQUEST_ATTEMPT_COUNT: &str = "upstream.request_attempt_count";
    /// The name of the route.
    pub const ROUTE_NAME: &str = "xds.route_name";
    /// The route's metadata, as a JSON object of its namespaces.
    pub const ROUTE_METADATA: &str = "xds.route_metadata";
    /// The metadata of the route's virtual host, as a JSON object of its namespaces.
    pub const VIRTUAL_HOST_METADATA: &str = "xds.virtual_host_metadata";
    /// The name of the virtual host.
    pub const VIRTUAL_HOST_NAME: &str = "xds.virtual_host_name";
    /// The name of the cluster.
    pub const CLUSTER_NAME: &str = "xds.cluster_name";
    /// The name of the listener.
    pub const LISTENER_NAME: &str = "xds.listener_name";
}

/// Values that filters of one stream (or of one connection) leave for each other, under a name, of any type.
/// What crosses a language border is a `Vec<u8>`.
#[derive(Default)]
pub struct FilterState {
    entries: Vec<(Cow<'static, str>, Box<dyn Any>)>,
}

impl FilterState {
    /// The value under `name`, if there is one and it is a `T`.
    #[must_use]
    pub fn get<T: 'static>(&self, name: &str) -> Option<&T> {
        self.entries
            .iter()
            .find(|(key, _)| key == name)?
            .1
            .downcast_ref()
    }

    /// The same, to change.
    #[must_use]
    pub fn get_mut<T: 'static>(&mut self, name: &str) -> Option<&mut T> {
        self.entries
            .iter_mut()
            .find(|(key, _)| key == name)?
            .1
            .downcast_mut()
    }

    /// Puts a value under `name`, in place of the one that is there.
    pub fn set<T: 'static>(&mut self, name: impl Into<Cow<'static, str>>, value: T) {
        let name = name.into();
        let value: Box<dyn Any> = Box::new(value);
        match self.entries.iter_mut().find(|(key, _)| *key == name) {
            Some(entry) => entry.1 = value,
            None => self.entries.push((name, value)),
        }
    }

    /// Drops all values.
    pub fn clear(&mut self) {
        self.entries.clear();
    }
}

impl fmt::Debug for FilterState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set()
            .entries(self.entries.iter().map(|(name, _)| name))
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_is_shown_as_json() {
        let list = vec![MetadataValue::Null, true.into(), f64::NAN.into()];
        let inner = BTreeMap::from([("n".to_owned(), 1.5.into()), ("i".to_owned(), 2.0.into())]);
        let space = BTreeMap::from([
            ("list".to_owned(), MetadataValue::List(list)),
            ("map".to_owned(), MetadataValue::Struct(inner)),
            ("text \"\\".to_owned(), "a\n\u{7f}\u{e4}".into()),
        ]);
        let metadata = Metadata::from([("space".to_owned(), space)]);
        assert_eq!(
            metadata_json(&metadata),
            "{\"space\":{\"list\":[null,true,null],\"map\":{\"i\":2,\"n\":1.5},\"text \\\"\\\\\":\"a\\u000a\u{7f}\u{e4}\"}}"
        );
    }
}
