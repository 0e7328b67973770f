//! The operators, and where each finds its value.

use std::borrow::Cow;
use std::cell::Cell;
use std::net::SocketAddr;
use std::str::FromStr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use transom_api::access_log::Facts;
use transom_api::{HeaderMap, Headers, MetadataOf, Record};

use super::time::TimeFormat;
use super::trace;
use super::value::{FlagNames, Value};

/// An operator with its parameters.
#[derive(Debug)]
pub(super) enum Operator {
    Header(HeaderMap, Names),
    /// Header bytes of a map, names and values.
    HeaderBytes(HeaderMap),
    WithoutQuery(Names),
    Path {
        query: bool,
        which: PathKind,
    },
    QueryParameter(String),
    GrpcStatus(GrpcForm),
    StartTime(TimeFormat),
    EmitTime(TimeFormat),
    Between(Moment, Moment, Unit),
    Duration,
    Protocol,
    Status,
    Details,
    Flags(FlagNames),
    BytesReceived,
    BytesSent,
    UpstreamHost,
    UpstreamRemote,
    UpstreamIp,
    UpstreamPort,
    UpstreamLocal(AddressPart),
    UpstreamCluster,
    UpstreamTlsVersion,
    UpstreamTlsCipher,
    UpstreamPeerSubject,
    UpstreamPeerDnsName,
    UpstreamPeerUri,
    UpstreamProtocol,
    UpstreamConnectionId,
    UpstreamFailure,
    UpstreamAttempts,
    Remote(AddressPart),
    DirectRemote(AddressPart),
    Local(AddressPart),
    ServerName,
    DownstreamFailure,
    TlsVersion,
    TlsCipher,
    PeerSubject,
    PeerDnsName,
    PeerUri,
    Route,
    VirtualHost,
    Listener,
    ConnectionId,
    StreamId,
    LogType,
    Trace(trace::Part),
    /// The id of the client's span.
    ParentSpan,
    /// Dynamic metadata, or what a configuration gives to something.
    Metadata(Option<MetadataOf>, Vec<String>),
    FilterState(String),
    Attribute(String),
    /// Known when the format is compiled.
    Fixed(Arc<str>),
}

/// A header, and the one that is looked at in its absence.
#[derive(Debug)]
pub(super) struct Names {
    pub(super) first: String,
    pub(super) second: Option<String>,
}

/// Which path: as it was sent on, as it came, or that if there is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PathKind {
    Sent,
    Original,
    OriginalOrSent,
}

/// A part of an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AddressPart {
    Whole,
    Ip,
    Port,
}

/// How a gRPC status is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum GrpcForm {
    Camel,
    Snake,
    Number,
}

/// A moment in the life of a stream, by Envoy's names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Moment {
    RequestBegins,
    RequestReceived,
    RequestSent,
    ResponseBegins,
    ResponseBeginsDownstream,
    ResponseSent,
}

/// The unit of a duration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unit {
    Milliseconds,
    Microseconds,
    Nanoseconds,
}

/// A record while its line is written.
pub(super) struct Line<'a> {
    record: &'a Record<'a>,
    facts: Facts<'a>,
    /// The clock, read once if at all.
    now: Cell<Option<SystemTime>>,
}

impl<'a> Line<'a> {
    pub(super) fn new(record: &'a Record<'a>) -> Self {
        Self {
            record,
            facts: record.facts(),
            now: Cell::new(None),
        }
    }

    /// A record is written as soon as it is over.
    fn now(&self) -> SystemTime {
        let now = self.now.get().unwrap_or_else(SystemTime::now);
        self.now.set(Some(now));
        now
    }

    fn headers(&self, map: HeaderMap) -> Headers<'a> {
        self.record.headers(map)
    }

    fn header(&self, map: HeaderMap, name: &str) -> Option<Cow<'a, [u8]>> {
        let value = self.headers(map).get(name)?;
        Some(value.0)
    }

    fn either(&self, map: HeaderMap, names: &Names) -> Option<Cow<'a, [u8]>> {
        self.header(map, &names.first)
            .or_else(|| self.header(map, names.second.as_deref()?))
    }

    /// When it was since the request's first byte.
    fn since(&self, moment: Moment) -> Option<Duration> {
        let facts = &self.facts;
        match moment {
            Moment::RequestBegins => Some(Duration::ZERO),
            Moment::RequestReceived => facts.request_received,
            Moment::RequestSent => facts.request_sent,
            Moment::ResponseBegins => facts.response_received,
            Moment::ResponseBeginsDownstream => facts.response_sent,
            Moment::ResponseSent => facts.response_sent.map(|_| facts.duration),
        }
    }

    fn between(&self, from: Moment, to: Moment) -> Option<Duration> {
        Some(self.since(to)?.saturating_sub(self.since(from)?))
    }
}

impl Operator {
    /// What it finds in a record.
    pub(super) fn value<'a>(&'a self, line: &Line<'a>) -> Value<'a> {
        let facts = &line.facts;
        match self {
            Self::Header(map, names) => Value::bytes_of(line.either(*map, names)),
            Self::HeaderBytes(map) => Value::Number(header_bytes(&line.headers(*map))),
            Self::WithoutQuery(names) => {
                let value = line.either(HeaderMap::RequestHeaders, names);
                Value::bytes_of(value.map(without_query))
            }
            Self::Path { query, which } => Value::bytes_of(path(line, *query, *which)),
            Self::QueryParameter(name) => {
                let path = line.header(HeaderMap::RequestHeaders, ":path");
                Value::bytes_of(path.and_then(|path| query_parameter(&path, name)))
            }
            Self::GrpcStatus(form) => grpc_status(line, *form),
            Self::StartTime(format) => {
                let start = line.now().checked_sub(facts.duration);
                start.map_or(Value::None, |start| Value::Time(start, format))
            }
            Self::EmitTime(format) => Value::Time(line.now(), format),
            Self::Between(from, to, unit) => duration(line.between(*from, *to), *unit),
            Self::Duration => duration(Some(facts.duration), Unit::Milliseconds),
            Self::Protocol => Value::text_of(facts.protocol),
            // Envoy writes 0 where there is no status.
            Self::Status => Value::Number(u64::from(facts.status)),
            Self::Details => Value::text_of(facts.details),
            Self::Flags(names) => Value::Flags(facts.flags, *names),
            Self::BytesReceived => Value::Number(facts.bytes_received),
            Self::BytesSent => Value::Number(facts.bytes_sent),
            Self::UpstreamHost => Value::text_of(facts.upstream_host),
            Self::UpstreamRemote => Value::text_of(connected(facts)),
            Self::UpstreamIp => match upstream(facts) {
                Some(address) => Value::Ip(address.ip()),
                None => Value::text_of(connected(facts)),
            },
            Self::UpstreamPort => match upstream(facts) {
                Some(address) => Value::Number(u64::from(address.port())),
                None => Value::None,
            },
            Self::UpstreamLocal(part) => address(facts.upstream_local, *part),
            Self::UpstreamCluster => Value::text_of(facts.upstream_cluster),
            Self::UpstreamTlsVersion => Value::text_of(facts.upstream_tls.map(|tls| tls.version)),
            Self::UpstreamTlsCipher => {
                Value::text_of(facts.upstream_tls.and_then(|tls| tls.cipher))
            }
            Self::UpstreamPeerSubject => {
                Value::text_of(facts.upstream_tls.and_then(|tls| tls.peer_subject))
            }
            Self::UpstreamPeerDnsName => {
                Value::text_of(facts.upstream_tls.and_then(|tls| tls.peer_dns_name))
            }
            Self::UpstreamPeerUri => {
                Value::text_of(facts.upstream_tls.and_then(|tls| tls.peer_uri))
            }
            Self::UpstreamProtocol => Value::text_of(facts.upstream_protocol),
            Self::UpstreamConnectionId => match facts.upstream_connection_id {
                0 => Value::None,
                id => Value::Number(id),
            },
            Self::UpstreamFailure => Value::text_of(facts.upstream_failure),
            Self::UpstreamAttempts => Value::Number(u64::from(facts.upstream_attempts)),
            Self::Remote(part) => address(facts.remote, *part),
            Self::DirectRemote(part) => address(facts.direct_remote, *part),
            Self::Local(part) => address(facts.local, *part),
            Self::ServerName => Value::text_of(facts.server_name),
            Self::DownstreamFailure => Value::text_of(facts.downstream_failure),
            Self::TlsVersion => Value::text_of(facts.tls.map(|tls| tls.version)),
            Self::TlsCipher => Value::text_of(facts.tls.and_then(|tls| tls.cipher)),
            Self::PeerSubject => Value::text_of(facts.tls.and_then(|tls| tls.peer_subject)),
            Self::PeerDnsName => Value::text_of(facts.tls.and_then(|tls| tls.peer_dns_name)),
            Self::PeerUri => Value::text_of(facts.tls.and_then(|tls| tls.peer_uri)),
            Self::Route => Value::text_of(facts.route),
            Self::VirtualHost => Value::text_of(facts.virtual_host),
            Self::Listener => Value::text_of(Some(facts.listener)),
            Self::ConnectionId => Value::Number(facts.connection_id),
            // As Envoy has it: what tells the request apart everywhere, and only without that what does so in this process.
            Self::StreamId => match line.header(HeaderMap::RequestHeaders, "x-request-id") {
                Some(id) => Value::Bytes(id),
                None => Value::Number(facts.stream_id),
            },
            Self::LogType if facts.is_connection => Value::text_of(Some("TcpConnectionEnd")),
            Self::LogType => Value::text_of(Some("DownstreamEnd")),
            Self::Trace(part) => line
                .header(HeaderMap::RequestHeaders, "traceparent")
                .and_then(|value| trace::part_of(value, *part))
                .map_or(Value::None, Value::Bytes),
            Self::ParentSpan => match facts.parent_span {
                0 => Value::None,
                id => Value::Bytes(Cow::Owned(format!("{id:016x}").into_bytes())),
            },
            Self::Metadata(of, path) => metadata(line, *of, path),
            Self::FilterState(key) => filter_state(line, key),
            Self::Attribute(name) => Value::attribute(line.record.attribute(name)),
            Self::Fixed(text) => Value::text_of(Some(text)),
        }
    }
}

fn address<'a>(address: Option<SocketAddr>, part: AddressPart) -> Value<'a> {
    match (address, part) {
        (None, _) => Value::None,
        (Some(address), AddressPart::Whole) => Value::Address(address),
        (Some(address), AddressPart::Ip) => Value::Ip(address.ip()),
        (Some(address), AddressPart::Port) => Value::Number(u64::from(address.port())),
    }
}

fn upstream(facts: &Facts<'_>) -> Option<SocketAddr> {
    SocketAddr::from_str(connected(facts)?).ok()
}

/// The host, if there was a connection to it.
fn connected<'a>(facts: &Facts<'a>) -> Option<&'a str> {
    facts
        .upstream_host
        .filter(|_| facts.upstream_connection_id != 0)
}

fn duration<'a>(duration: Option<Duration>, unit: Unit) -> Value<'a> {
    let Some(duration) = duration else {
        return Value::None;
    };
    let count = match unit {
        Unit::Milliseconds => duration.as_millis(),
        Unit::Microseconds => duration.as_micros(),
        Unit::Nanoseconds => duration.as_nanos(),
    };
    Value::Number(u64::try_from(count).unwrap_or(u64::MAX))
}

fn header_bytes(headers: &Headers<'_>) -> u64 {
    headers
        .iter()
        .map(|(name, value)| (name.len() + value.len()) as u64)
        .sum()
}

fn without_query(path: Cow<'_, [u8]>) -> Cow<'_, [u8]> {
    let end = path
        .iter()
        .position(|byte| *byte == b'?')
        .unwrap_or(path.len());
    match path {
        Cow::Borrowed(path) => Cow::Borrowed(path.get(..end).unwrap_or(path)),
        Cow::Owned(mut path) => {
            path.truncate(end);
            Cow::Owned(path)
        }
    }
}

fn path<'a>(line: &Line<'a>, query: bool, which: PathKind) -> Option<Cow<'a, [u8]>> {
    let of = |name| line.header(HeaderMap::RequestHeaders, name);
    let path = match which {
        PathKind::Sent => of(":path"),
        PathKind::Original => of("x-original-path"),
        PathKind::OriginalOrSent => of("x-original-path").or_else(|| of(":path")),
    }?;
    Some(if query { path } else { without_query(path) })
}

/// The value of the first parameter of a name, without its percent-encoding.
fn query_parameter<'a>(path: &[u8], name: &str) -> Option<Cow<'a, [u8]>> {
    let start = path.iter().position(|byte| *byte == b'?')? + 1;
    let mut pairs = path.get(start..)?.split(|byte| *byte == b'&');
    let value = pairs.find_map(|pair| {
        pair.strip_prefix(name.as_bytes())
            .and_then(|rest| rest.strip_prefix(b"="))
    })?;
    Some(Cow::Owned(decoded(value)))
}

/// What is no code of a byte stays as it is.
fn decoded(mut text: &[u8]) -> Vec<u8> {
    let digit = |digit: u8| char::from(digit).to_digit(16).map(|digit| digit as u8);
    let mut decoded = Vec::with_capacity(text.len());
    while let [first, rest @ ..] = text {
        let code = match rest {
            [high, low, behind @ ..] if *first == b'%' => digit(*high)
                .zip(digit(*low))
                .map(|(high, low)| (high << 4 | low, behind)),
            _ => None,
        };
        let (byte, behind) = code.unwrap_or((*first, rest));
        decoded.push(byte);
        text = behind;
    }
    decoded
}

const GRPC_STATUSES: [(&str, &str); 17] = [
    ("OK", "OK"),
    ("Canceled", "CANCELLED"),
    ("Unknown", "UNKNOWN"),
    ("InvalidArgument", "INVALID_ARGUMENT"),
    ("DeadlineExceeded", "DEADLINE_EXCEEDED"),
    ("NotFound", "NOT_FOUND"),
    ("AlreadyExists", "ALREADY_EXISTS"),
    ("PermissionDenied", "PERMISSION_DENIED"),
    ("ResourceExhausted", "RESOURCE_EXHAUSTED"),
    ("FailedPrecondition", "FAILED_PRECONDITION"),
    ("Aborted", "ABORTED"),
    ("OutOfRange", "OUT_OF_RANGE"),
    ("Unimplemented", "UNIMPLEMENTED"),
    ("Internal", "INTERNAL"),
    ("Unavailable", "UNAVAILABLE"),
    ("DataLoss", "DATA_LOSS"),
    ("Unauthenticated", "UNAUTHENTICATED"),
];

fn grpc_status<'a>(line: &Line<'a>, form: GrpcForm) -> Value<'a> {
    let is_grpc = line
        .header(HeaderMap::RequestHeaders, "content-type")
        .is_some_and(|kind| kind.starts_with(b"application/grpc"));
    let status = line
        .header(HeaderMap::ResponseTrailers, "grpc-status")
        .or_else(|| line.header(HeaderMap::ResponseHeaders, "grpc-status"));
    let Some(status) = status.filter(|_| is_grpc) else {
        return Value::None;
    };
    let number = std::str::from_utf8(&status)
        .ok()
        .and_then(|status| status.parse::<usize>().ok());
    let names = number.and_then(|number| GRPC_STATUSES.get(number));
    match (form, number, names) {
        (GrpcForm::Number, Some(number), _) => Value::Number(number as u64),
        (GrpcForm::Camel, _, Some((camel, _))) => Value::text_of(Some(camel)),
        (GrpcForm::Snake, _, Some((_, snake))) => Value::text_of(Some(snake)),
        _ => Value::Bytes(status),
    }
}

fn metadata<'a>(line: &Line<'a>, of: Option<MetadataOf>, path: &[String]) -> Value<'a> {
    let [namespace, key, rest @ ..] = path else {
        return Value::None;
    };
    let mut found = match of {
        Some(of) => line.record.configured_metadata(of, namespace, key),
        None => line.record.metadata(namespace, key),
    };
    for key in rest {
        found = match found {
            Some(transom_api::MetadataValue::Struct(values)) => values.get(key),
            _ => None,
        };
    }
    match found {
        None | Some(transom_api::MetadataValue::Null) => Value::None,
        Some(value) => Value::Metadata(value),
    }
}

/// State may be of any type; text and bytes are what a line can show.
fn filter_state<'a>(line: &Line<'a>, key: &str) -> Value<'a> {
    let state = line.record.state();
    if let Some(text) = state.get::<String>(key) {
        return Value::Bytes(Cow::Borrowed(text.as_bytes()));
    }
    if let Some(text) = state.get::<&'static str>(key) {
        return Value::Bytes(Cow::Borrowed(text.as_bytes()));
    }
    if let Some(bytes) = state.get::<Vec<u8>>(key) {
        return Value::Bytes(Cow::Borrowed(bytes));
    }
    Value::None
}
