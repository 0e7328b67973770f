//! The names of the operators, and their parameters.

use transom_api::suggest::nearest;
use transom_api::{HeaderMap, MetadataOf};

use super::FormatError;
use super::operator::{AddressPart, GrpcForm, Moment, Names, Operator, PathKind, Unit};
use super::time::{self, TimeFormat};
use super::trace;
use super::value::FlagNames;
use crate::host_name;

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
    ("PARENT_SPAN_ID", || Operator::ParentSpan),
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
    ("SPAN_ID", || Operator::Trace(trace::Part::Span)),
    ("STREAM_ID", || Operator::StreamId),
    ("TRACE_ID", || Operator::Trace(trace::Part::Trace)),
    ("UPSTREAM_CLUSTER", || Operator::UpstreamCluster),
    ("UPSTREAM_CLUSTER_RAW", || Operator::UpstreamCluster),
    ("UPSTREAM_CONNECTION_ID", || Operator::UpstreamConnectionId),
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
    ("UPSTREAM_PEER_DNS_SAN", || Operator::UpstreamPeerDnsName),
    ("UPSTREAM_PEER_SUBJECT", || Operator::UpstreamPeerSubject),
    ("UPSTREAM_PEER_URI_SAN", || Operator::UpstreamPeerUri),
    ("UPSTREAM_PROTOCOL", || Operator::UpstreamProtocol),
    ("UPSTREAM_REMOTE_ADDRESS", || Operator::UpstreamRemote),
    ("UPSTREAM_REMOTE_ADDRESS_WITHOUT_PORT", || {
        Operator::UpstreamIp
    }),
    ("UPSTREAM_REMOTE_PORT", || Operator::UpstreamPort),
    ("UPSTREAM_REQUEST_ATTEMPT_COUNT", || {
        Operator::UpstreamAttempts
    }),
    ("UPSTREAM_TLS_CIPHER", || Operator::UpstreamTlsCipher),
    ("UPSTREAM_TLS_VERSION", || Operator::UpstreamTlsVersion),
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
            metadata_path(None, path, at)
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
        // As Envoy has it: read once, and `-` for what is not set, in JSON too.
        Ok(Operator::Fixed(
            std::env::var(name)
                .unwrap_or_else(|_| "-".to_owned())
                .into(),
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
        "%METADATA(DYNAMIC|ROUTE|VIRTUAL_HOST:namespace:key)%",
        |text, at| {
            let text = needed(text, at, "METADATA(DYNAMIC:namespace:key)")?;
            match text.split_once(':') {
                Some(("DYNAMIC", path)) => metadata_path(None, path, at),
                Some(("ROUTE", path)) => metadata_path(Some(MetadataOf::Route), path, at),
                Some(("VIRTUAL_HOST", path)) => {
                    metadata_path(Some(MetadataOf::VirtualHost), path, at)
                }
                _ => {
                    let message = "metadata is of DYNAMIC, ROUTE or VIRTUAL_HOST here";
                    Err(FormatError::new(at, message)
                        .with_help("write %METADATA(DYNAMIC:namespace:key)%"))
                }
            }
        },
    ),
    ("PATH", "%PATH(WQ|NQ:PATH|ORIG|ORIG_OR_PATH)%", request_path),
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

fn metadata_path(of: Option<MetadataOf>, text: &str, at: usize) -> Result<Operator, FormatError> {
    let path: Vec<String> = text.split(':').map(str::to_owned).collect();
    if path.len() < 2 || path.iter().any(String::is_empty) {
        return Err(FormatError::new(at, "metadata needs a namespace and a key")
            .with_help("write %DYNAMIC_METADATA(namespace:key)%"));
    }
    Ok(Operator::Metadata(of, path))
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
                    "write WQ or NQ (with or without the query), then PATH, ORIG or ORIG_OR_PATH: %PATH(NQ:ORIG)%",
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
