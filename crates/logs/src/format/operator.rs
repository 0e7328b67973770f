//! The operators: their names, their parameters, and where each finds its value.

use std::borrow::Cow;
use std::cell::Cell;
use std::net::SocketAddr;
use std::str::FromStr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use transom_api::access_log::Facts;
use transom_api::suggest::nearest;
use transom_api::{HeaderMap, Headers, Record};

use super::FormatError;
use super::time::{self, TimeFormat};
use super::value::{FlagNames, Value};
use crate::host_name;

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
    UpstreamIp,
    UpstreamPort,
    UpstreamLocal(AddressPart),
    UpstreamCluster,
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
    TraceId,
    SpanId,
    Metadata(Vec<String>),
    FilterState(String),
    Attribute(String),
    /// Known when the format is compiled.
    Fixed(Arc<str>),
}

/// A header, and the one that is looked at in its absence.
#[derive(Debug)]
pub(super) struct Names {
    first: String,
    second: Option<String>,
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
                Value::bytes_of(path.and_then(|path| query_parameter(path, name)))
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
            Self::UpstreamIp => match upstream(facts) {
                Some(address) => Value::Ip(address.ip()),
                None => Value::text_of(facts.upstream_host),
            },
            Self::UpstreamPort => match upstream(facts) {
                Some(address) => Value::Number(u64::from(address.port())),
                None => Value::None,
            },
            Self::UpstreamLocal(part) => address(facts.upstream_local, *part),
            Self::UpstreamCluster => Value::text_of(facts.upstream_cluster),
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
            Self::StreamId => Value::Number(facts.stream_id),
            Self::LogType if facts.is_connection => Value::text_of(Some("TcpConnectionEnd")),
            Self::LogType => Value::text_of(Some("DownstreamEnd")),
            Self::TraceId => Value::attribute(line.record.attribute("trace.id")),
            Self::SpanId => Value::attribute(line.record.attribute("trace.parent_id")),
            Self::Metadata(path) => metadata(line, path),
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
    SocketAddr::from_str(facts.upstream_host?).ok()
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

/// The value of the first parameter of a name, as it is written.
fn query_parameter<'a>(path: Cow<'a, [u8]>, name: &str) -> Option<Cow<'a, [u8]>> {
    let find = |path: &[u8]| {
        let start = path.iter().position(|byte| *byte == b'?')? + 1;
        let mut at = start;
        for pair in path.get(start..)?.split(|byte| *byte == b'&') {
            if let Some(value) = pair.strip_prefix(name.as_bytes())
                && let Some(value) = value.strip_prefix(b"=")
            {
                let end = at + pair.len();
                return Some(end - value.len()..end);
            }
            at += pair.len() + 1;
        }
        None
    };
    let range = find(&path)?;
    match path {
        Cow::Borrowed(path) => path.get(range).map(Cow::Borrowed),
        Cow::Owned(path) => path.get(range).map(|value| Cow::Owned(value.to_vec())),
    }
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

fn metadata<'a>(line: &Line<'a>, path: &[String]) -> Value<'a> {
    let [namespace, key, rest @ ..] = path else {
        return Value::None;
    };
    let mut found = line.record.metadata(namespace, key);
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

type Make = fn() -> Operator;

/// Names of operators without parameters, and what makes them.
const PLAIN: &[(&str, Make)] = &[
    ("ACCESS_LOG_TYPE", || Operator::LogType),
    ("BYTES_RECEIVED", || Operator::BytesReceived),
    ("BYTES_SENT", || Operator::BytesSent),
    ("CONNECTION_ID", || Operator::ConnectionId),
    ("DOWNSTREAM_DIRECT_REMOTE_ADDRESS", || {
        Operator::DirectRemote(AddressPart::Whole)
    }),
    ("DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT", || {
        Operator::DirectRemote(AddressPart::Ip)
    }),
    ("DOWNSTREAM_DIRECT_REMOTE_PORT", || {
        Operator::DirectRemote(AddressPart::Port)
    }),
    ("DOWNSTREAM_LOCAL_ADDRESS", || {
        Operator::Local(AddressPart::Whole)
    }),
    ("DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT", || {
        Operator::Local(AddressPart::Ip)
    }),
    ("DOWNSTREAM_LOCAL_PORT", || {
        Operator::Local(AddressPart::Port)
    }),
    ("DOWNSTREAM_PEER_DNS_SAN", || Operator::PeerDnsName),
    ("DOWNSTREAM_PEER_SUBJECT", || Operator::PeerSubject),
    ("DOWNSTREAM_PEER_URI_SAN", || Operator::PeerUri),
    ("DOWNSTREAM_REMOTE_ADDRESS", || {
        Operator::Remote(AddressPart::Whole)
    }),
    ("DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT", || {
        Operator::Remote(AddressPart::Ip)
    }),
    ("DOWNSTREAM_REMOTE_PORT", || {
        Operator::Remote(AddressPart::Port)
    }),
    ("DOWNSTREAM_TLS_CIPHER", || Operator::TlsCipher),
    ("DOWNSTREAM_TLS_VERSION", || Operator::TlsVersion),
    ("DOWNSTREAM_TRANSPORT_FAILURE_REASON", || {
        Operator::DownstreamFailure
    }),
    ("DURATION", || Operator::Duration),
    ("GRPC_STATUS_NUMBER", || {
        Operator::GrpcStatus(GrpcForm::Number)
    }),
    ("HOSTNAME", || Operator::Fixed(host_name().into())),
    ("LISTENER_NAME", || Operator::Listener),
    ("METHOD", || header(HeaderMap::RequestHeaders, ":method")),
    ("PROTOCOL", || Operator::Protocol),
    ("REQUESTED_SERVER_NAME", || Operator::ServerName),
    ("REQUEST_DURATION", || since_start(Moment::RequestReceived)),
    ("REQUEST_HEADERS_BYTES", || {
        Operator::HeaderBytes(HeaderMap::RequestHeaders)
    }),
    ("REQUEST_TX_DURATION", || since_start(Moment::RequestSent)),
    ("RESPONSE_CODE", || Operator::Status),
    ("RESPONSE_CODE_DETAILS", || Operator::Details),
    ("RESPONSE_DURATION", || since_start(Moment::ResponseBegins)),
    ("RESPONSE_FLAGS", || Operator::Flags(FlagNames::Letters)),
    ("RESPONSE_FLAGS_LONG", || Operator::Flags(FlagNames::Long)),
    ("RESPONSE_HEADERS_BYTES", || {
        Operator::HeaderBytes(HeaderMap::ResponseHeaders)
    }),
    ("RESPONSE_TRAILERS_BYTES", || {
        Operator::HeaderBytes(HeaderMap::ResponseTrailers)
    }),
    ("RESPONSE_TX_DURATION", || {
        Operator::Between(
            Moment::ResponseBegins,
            Moment::ResponseSent,
            Unit::Milliseconds,
        )
    }),
    ("ROUTE_NAME", || Operator::Route),
    ("SPAN_ID", || Operator::SpanId),
    ("STREAM_ID", || Operator::StreamId),
    ("TRACE_ID", || Operator::TraceId),
    ("UPSTREAM_CLUSTER", || Operator::UpstreamCluster),
    ("UPSTREAM_CLUSTER_RAW", || Operator::UpstreamCluster),
    ("UPSTREAM_HOST", || Operator::UpstreamHost),
    ("UPSTREAM_LOCAL_ADDRESS", || {
        Operator::UpstreamLocal(AddressPart::Whole)
    }),
    ("UPSTREAM_LOCAL_ADDRESS_WITHOUT_PORT", || {
        Operator::UpstreamLocal(AddressPart::Ip)
    }),
    ("UPSTREAM_LOCAL_PORT", || {
        Operator::UpstreamLocal(AddressPart::Port)
    }),
    ("UPSTREAM_REMOTE_ADDRESS", || Operator::UpstreamHost),
    ("UPSTREAM_REMOTE_ADDRESS_WITHOUT_PORT", || {
        Operator::UpstreamIp
    }),
    ("UPSTREAM_REMOTE_PORT", || Operator::UpstreamPort),
    ("UPSTREAM_REQUEST_ATTEMPT_COUNT", || {
        Operator::UpstreamAttempts
    }),
    ("UPSTREAM_TRANSPORT_FAILURE_REASON", || {
        Operator::UpstreamFailure
    }),
    ("VIRTUAL_HOST_NAME", || Operator::VirtualHost),
];

/// Reads the parameters of an operator; none when it has none.
type Read = fn(Option<&str>, usize) -> Result<Operator, FormatError>;

/// Names of operators with parameters, how they are written, and what reads them.
const WITH_PARAMETERS: &[(&str, &str, Read)] = &[
    ("ATTRIBUTE", "%ATTRIBUTE(name)%", |text, at| {
        Ok(Operator::Attribute(
            needed(text, at, "ATTRIBUTE(name)")?.to_owned(),
        ))
    }),
    (
        "COMMON_DURATION",
        "%COMMON_DURATION(FROM:TO:unit)%",
        common_duration,
    ),
    (
        "DYNAMIC_METADATA",
        "%DYNAMIC_METADATA(namespace:key)%",
        |text, at| {
            let path = needed(text, at, "DYNAMIC_METADATA(namespace:key)")?;
            metadata_path(path, at)
        },
    ),
    ("EMIT_TIME", "%EMIT_TIME(format)%", |text, at| {
        Ok(Operator::EmitTime(TimeFormat::compile(
            text.unwrap_or(time::DEFAULT),
            at + "%EMIT_TIME(".len(),
        )?))
    }),
    ("ENVIRONMENT", "%ENVIRONMENT(name)%", |text, at| {
        let name = needed(text, at, "ENVIRONMENT(name)")?;
        // As Envoy has it: read once, and `-` for what is not set.
        Ok(Operator::Fixed(
            std::env::var(name).unwrap_or_default().into(),
        ))
    }),
    ("FILTER_STATE", "%FILTER_STATE(key)%", |text, at| {
        let text = needed(text, at, "FILTER_STATE(key)")?;
        let (key, form) = text.split_once(':').unwrap_or((text, "PLAIN"));
        match form {
            "PLAIN" | "TYPED" => Ok(Operator::FilterState(key.to_owned())),
            form => Err(
                FormatError::new(at, format!("filter state has no form `{form}`"))
                    .with_help("write %FILTER_STATE(key)% or %FILTER_STATE(key:PLAIN)%"),
            ),
        }
    }),
    (
        "GRPC_STATUS",
        "%GRPC_STATUS(CAMEL_STRING|SNAKE_STRING|NUMBER)%",
        |text, at| match text.unwrap_or("CAMEL_STRING") {
            "CAMEL_STRING" => Ok(Operator::GrpcStatus(GrpcForm::Camel)),
            "SNAKE_STRING" => Ok(Operator::GrpcStatus(GrpcForm::Snake)),
            "NUMBER" => Ok(Operator::GrpcStatus(GrpcForm::Number)),
            form => Err(
                FormatError::new(at, format!("a gRPC status has no form `{form}`"))
                    .with_help("known are CAMEL_STRING, SNAKE_STRING and NUMBER"),
            ),
        },
    ),
    (
        "METADATA",
        "%METADATA(DYNAMIC:namespace:key)%",
        |text, at| {
            let text = needed(text, at, "METADATA(DYNAMIC:namespace:key)")?;
            match text.split_once(':') {
                Some(("DYNAMIC", path)) => metadata_path(path, at),
                _ => Err(FormatError::new(at, "only dynamic metadata can be written")
                    .with_help("write %METADATA(DYNAMIC:namespace:key)%")),
            }
        },
    ),
    ("PATH", "%PATH(WQ|NQ:PATH|ORIG|PATH_OR_ORIG)%", request_path),
    ("QUERY_PARAM", "%QUERY_PARAM(name)%", |text, at| {
        Ok(Operator::QueryParameter(
            needed(text, at, "QUERY_PARAM(name)")?.to_owned(),
        ))
    }),
    ("REQ", "%REQ(name?other)%", |text, at| {
        Ok(Operator::Header(
            HeaderMap::RequestHeaders,
            names(text, at, "REQ(name?other)")?,
        ))
    }),
    (
        "REQUEST_HEADER",
        "%REQUEST_HEADER(name?other)%",
        |text, at| {
            Ok(Operator::Header(
                HeaderMap::RequestHeaders,
                names(text, at, "REQUEST_HEADER(name?other)")?,
            ))
        },
    ),
    (
        "REQ_WITHOUT_QUERY",
        "%REQ_WITHOUT_QUERY(name?other)%",
        |text, at| {
            Ok(Operator::WithoutQuery(names(
                text,
                at,
                "REQ_WITHOUT_QUERY(name?other)",
            )?))
        },
    ),
    ("RESP", "%RESP(name?other)%", |text, at| {
        Ok(Operator::Header(
            HeaderMap::ResponseHeaders,
            names(text, at, "RESP(name?other)")?,
        ))
    }),
    (
        "RESPONSE_HEADER",
        "%RESPONSE_HEADER(name?other)%",
        |text, at| {
            Ok(Operator::Header(
                HeaderMap::ResponseHeaders,
                names(text, at, "RESPONSE_HEADER(name?other)")?,
            ))
        },
    ),
    (
        "RESPONSE_TRAILER",
        "%RESPONSE_TRAILER(name?other)%",
        |text, at| {
            Ok(Operator::Header(
                HeaderMap::ResponseTrailers,
                names(text, at, "RESPONSE_TRAILER(name?other)")?,
            ))
        },
    ),
    ("START_TIME", "%START_TIME(format)%", |text, at| {
        Ok(Operator::StartTime(TimeFormat::compile(
            text.unwrap_or(time::DEFAULT),
            at + "%START_TIME(".len(),
        )?))
    }),
    ("TRAILER", "%TRAILER(name?other)%", |text, at| {
        Ok(Operator::Header(
            HeaderMap::ResponseTrailers,
            names(text, at, "TRAILER(name?other)")?,
        ))
    }),
];

/// The operator of a name, which stands at `at`.
pub(super) fn find(
    name: &str,
    parameters: Option<&str>,
    at: usize,
) -> Result<Operator, FormatError> {
    if let Some((_, make)) = PLAIN.iter().find(|(known, _)| *known == name) {
        return match parameters {
            None => Ok(make()),
            Some(_) => Err(
                FormatError::new(at, format!("`%{name}%` takes no parameters"))
                    .with_help(format!("write `%{name}%`")),
            ),
        };
    }
    if let Some((.., read)) = WITH_PARAMETERS.iter().find(|(known, ..)| *known == name) {
        return read(parameters, at);
    }
    let known = PLAIN
        .iter()
        .map(|(name, _)| *name)
        .chain(WITH_PARAMETERS.iter().map(|(name, ..)| *name));
    let help = match nearest(name, known) {
        Some(near) => {
            let shape = WITH_PARAMETERS.iter().find(|(known, ..)| *known == near);
            let shape =
                shape.map_or_else(|| format!("%{near}%"), |(_, shape, _)| (*shape).to_owned());
            format!("did you mean `{shape}`?")
        }
        None => "docs/access-logs.md lists the operators; `%%` is a percent sign".to_owned(),
    };
    Err(FormatError::new(at, format!("unknown operator `%{name}%`")).with_help(help))
}

fn header(map: HeaderMap, name: &str) -> Operator {
    Operator::Header(
        map,
        Names {
            first: name.to_owned(),
            second: None,
        },
    )
}

fn since_start(moment: Moment) -> Operator {
    Operator::Between(Moment::RequestBegins, moment, Unit::Milliseconds)
}

/// Parameters that must be there.
fn needed<'t>(text: Option<&'t str>, at: usize, shape: &str) -> Result<&'t str, FormatError> {
    match text {
        Some(text) if !text.is_empty() => Ok(text),
        _ => Err(FormatError::new(
            at,
            format!("`%{shape}%` needs its parameters"),
        )),
    }
}

fn names(text: Option<&str>, at: usize, shape: &str) -> Result<Names, FormatError> {
    let text = needed(text, at, shape)?;
    let (first, second) = match text.split_once('?') {
        Some((first, second)) => (first, Some(second)),
        None => (text, None),
    };
    // `:PATH` is how Envoy's formats spell `:path`.
    let name = |name: &str| {
        let plain = name.strip_prefix(':').unwrap_or(name);
        let is_token =
            |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        if plain.is_empty() || !plain.bytes().all(is_token) {
            return Err(
                FormatError::new(at, format!("`{name}` is no name of a header"))
                    .with_help(format!("write %{shape}%")),
            );
        }
        Ok(name.to_ascii_lowercase())
    };
    Ok(Names {
        first: name(first)?,
        second: second.map(name).transpose()?,
    })
}

fn metadata_path(text: &str, at: usize) -> Result<Operator, FormatError> {
    let path: Vec<String> = text.split(':').map(str::to_owned).collect();
    if path.len() < 2 || path.iter().any(String::is_empty) {
        return Err(FormatError::new(at, "metadata needs a namespace and a key")
            .with_help("write %DYNAMIC_METADATA(namespace:key)%"));
    }
    Ok(Operator::Metadata(path))
}

fn request_path(text: Option<&str>, at: usize) -> Result<Operator, FormatError> {
    let (mut query, mut which) = (true, PathKind::OriginalOrSent);
    for word in text
        .unwrap_or_default()
        .split(':')
        .filter(|word| !word.is_empty())
    {
        match word {
            "WQ" => query = true,
            "NQ" => query = false,
            "PATH" => which = PathKind::Sent,
            "ORIG" => which = PathKind::Original,
            "PATH_OR_ORIG" | "ORIG_OR_PATH" => which = PathKind::OriginalOrSent,
            word => {
                return Err(FormatError::new(at, format!("unknown word `{word}` of a path")).with_help(
                    "write WQ or NQ (with or without the query), then PATH, ORIG or PATH_OR_ORIG: %PATH(NQ:ORIG)%",
                ));
            }
        }
    }
    Ok(Operator::Path { query, which })
}

fn common_duration(text: Option<&str>, at: usize) -> Result<Operator, FormatError> {
    const MOMENTS: [(&str, Moment); 6] = [
        ("DS_RX_BEG", Moment::RequestBegins),
        ("DS_RX_END", Moment::RequestReceived),
        ("US_TX_END", Moment::RequestSent),
        ("US_RX_BEG", Moment::ResponseBegins),
        ("DS_TX_BEG", Moment::ResponseBeginsDownstream),
        ("DS_TX_END", Moment::ResponseSent),
    ];
    let text = needed(text, at, "COMMON_DURATION(FROM:TO:unit)")?;
    let refused = || {
        FormatError::new(at, format!("`{text}` is no duration")).with_help(
            "write %COMMON_DURATION(FROM:TO:unit)% with two of DS_RX_BEG, DS_RX_END, US_TX_END, US_RX_BEG, DS_TX_BEG, DS_TX_END and one of ms, us, ns",
        )
    };
    let mut words = text.split(':');
    let mut moment = || {
        let word = words.next()?;
        let mut known = MOMENTS.iter();
        known
            .find(|(name, _)| *name == word)
            .map(|(_, moment)| *moment)
    };
    let from = moment().ok_or_else(refused)?;
    let to = moment().ok_or_else(refused)?;
    let unit = match (words.next().unwrap_or("ms"), words.next()) {
        ("ms", None) => Unit::Milliseconds,
        ("us", None) => Unit::Microseconds,
        ("ns", None) => Unit::Nanoseconds,
        _ => return Err(refused()),
    };
    Ok(Operator::Between(from, to, unit))
}
