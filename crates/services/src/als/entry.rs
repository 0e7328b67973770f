//! A record as the service has it.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use transom_api::access_log::{Facts, TlsFacts};
use transom_api::{Attribute, HeaderMap, Headers, Record, ResponseFlags as Flags, attribute};

use super::settings::Settings;
use crate::proto::accesslog::http_access_log_entry::HttpVersion;
use crate::proto::accesslog::response_flags::Unauthorized;
use crate::proto::accesslog::response_flags::unauthorized::Reason;
use crate::proto::accesslog::tls_properties::certificate_properties::SubjectAltName;
use crate::proto::accesslog::tls_properties::certificate_properties::subject_alt_name::San;
use crate::proto::accesslog::tls_properties::{CertificateProperties, TlsVersion};
use crate::proto::accesslog::{
    AccessLogCommon, ConnectionProperties, HttpAccessLogEntry, HttpRequestProperties,
    HttpResponseProperties, ResponseFlags, TcpAccessLogEntry, TlsProperties,
};
use crate::proto::core::{Address, RequestMethod};
use crate::values::{address_of, timestamp};

pub(super) fn stream_entry(record: &Record<'_>, settings: &Settings) -> HttpAccessLogEntry {
    let facts = record.facts();
    let request = record.headers(HeaderMap::RequestHeaders);
    let response = record.headers(HeaderMap::ResponseHeaders);
    let trailers = record.headers(HeaderMap::ResponseTrailers);
    let version = match facts.protocol {
        Some("HTTP/1.0") => HttpVersion::Http10,
        Some("HTTP/1.1") => HttpVersion::Http11,
        Some("HTTP/2") => HttpVersion::Http2,
        Some("HTTP/3") => HttpVersion::Http3,
        _ => HttpVersion::ProtocolUnspecified,
    };
    HttpAccessLogEntry {
        common_properties: Some(common(record, &facts)),
        protocol_version: version as i32,
        request: Some(HttpRequestProperties {
            request_method: method(&text(request, ":method")) as i32,
            scheme: text(request, ":scheme"),
            authority: text(request, ":authority"),
            path: text(request, ":path"),
            user_agent: text(request, "user-agent"),
            referer: text(request, "referer"),
            forwarded_for: text(request, "x-forwarded-for"),
            request_id: text(request, "x-request-id"),
            original_path: text(request, "x-envoy-original-path"),
            request_headers_bytes: size(request),
            request_body_bytes: facts.bytes_received,
            request_headers: picked(request, &settings.request_headers),
            ..HttpRequestProperties::default()
        }),
        response: Some(HttpResponseProperties {
            response_code: (facts.status != 0).then_some(u32::from(facts.status)),
            response_headers_bytes: size(response),
            response_body_bytes: facts.bytes_sent,
            response_headers: picked(response, &settings.response_headers),
            response_trailers: picked(trailers, &settings.response_trailers),
            response_code_details: facts.details.unwrap_or_default().to_owned(),
            ..HttpResponseProperties::default()
        }),
    }
}

pub(super) fn connection_entry(record: &Record<'_>) -> TcpAccessLogEntry {
    let facts = record.facts();
    TcpAccessLogEntry {
        common_properties: Some(common(record, &facts)),
        connection_properties: Some(ConnectionProperties {
            received_bytes: facts.bytes_received,
            sent_bytes: facts.bytes_sent,
        }),
    }
}

fn common(record: &Record<'_>, facts: &Facts<'_>) -> AccessLogCommon {
    let start = match record.attribute(attribute::REQUEST_TIME) {
        Some(Attribute::Time(time)) => time,
        _ => SystemTime::now() - facts.duration,
    };
    AccessLogCommon {
        sample_rate: 1.0,
        downstream_remote_address: facts.remote.map(socket),
        downstream_local_address: facts.local.map(socket),
        downstream_direct_remote_address: facts.direct_remote.map(socket),
        tls_properties: facts.tls.map(|tls| tls_properties(&tls, facts)),
        start_time: Some(timestamp(start)),
        time_to_last_rx_byte: facts.request_received.map(duration),
        time_to_last_upstream_tx_byte: facts.request_sent.map(duration),
        time_to_first_upstream_rx_byte: facts.response_received.map(duration),
        time_to_first_downstream_tx_byte: facts.response_sent.map(duration),
        time_to_last_downstream_tx_byte: Some(duration(facts.duration)),
        duration: Some(duration(facts.duration)),
        upstream_remote_address: facts.upstream_host.and_then(address_of),
        upstream_local_address: facts.upstream_local.map(socket),
        upstream_cluster: facts.upstream_cluster.unwrap_or_default().to_owned(),
        upstream_request_attempt_count: facts.upstream_attempts,
        upstream_transport_failure_reason: facts.upstream_failure.unwrap_or_default().to_owned(),
        downstream_transport_failure_reason: facts
            .downstream_failure
            .unwrap_or_default()
            .to_owned(),
        response_flags: flags(facts.flags),
        route_name: facts.route.unwrap_or_default().to_owned(),
        stream_id: facts.stream_id.to_string(),
        ..AccessLogCommon::default()
    }
}

fn tls_properties(tls: &TlsFacts<'_>, facts: &Facts<'_>) -> TlsProperties {
    let version = match tls.version {
        "TLSv1.2" => TlsVersion::TlSv12,
        "TLSv1.3" => TlsVersion::TlSv13,
        _ => TlsVersion::VersionUnspecified,
    };
    let names = [
        tls.peer_uri.map(|uri| San::Uri(uri.to_owned())),
        tls.peer_dns_name.map(|dns| San::Dns(dns.to_owned())),
    ];
    let shows_certificate = tls.peer_subject.is_some() || names.iter().any(Option::is_some);
    TlsProperties {
        tls_version: version as i32,
        tls_cipher_suite: tls.cipher.and_then(cipher),
        tls_sni_hostname: facts.server_name.unwrap_or_default().to_owned(),
        peer_certificate_properties: shows_certificate.then(|| CertificateProperties {
            subject_alt_name: names
                .into_iter()
                .flatten()
                .map(|san| SubjectAltName { san: Some(san) })
                .collect(),
            subject: tls.peer_subject.unwrap_or_default().to_owned(),
            ..CertificateProperties::default()
        }),
        ..TlsProperties::default()
    }
}

/// Numbers of the cipher suites that rustls has (IANA's registry "TLS Cipher Suites").
fn cipher(name: &str) -> Option<u32> {
    Some(match name {
        "TLS_AES_128_GCM_SHA256" => 0x1301,
        "TLS_AES_256_GCM_SHA384" => 0x1302,
        "TLS_CHACHA20_POLY1305_SHA256" => 0x1303,
        "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256" => 0xc02b,
        "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384" => 0xc02c,
        "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256" => 0xc02f,
        "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384" => 0xc030,
        "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256" => 0xcca8,
        "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256" => 0xcca9,
        _ => return None,
    })
}

fn flags(flags: Flags) -> Option<ResponseFlags> {
    if flags == Flags::default() {
        return None;
    }
    let has = |flag| flags.intersects(flag);
    Some(ResponseFlags {
        failed_local_healthcheck: has(Flags::FAILED_LOCAL_HEALTH_CHECK),
        no_healthy_upstream: has(Flags::NO_HEALTHY_UPSTREAM),
        upstream_request_timeout: has(Flags::UPSTREAM_REQUEST_TIMEOUT),
        local_reset: has(Flags::LOCAL_RESET),
        upstream_remote_reset: has(Flags::UPSTREAM_REMOTE_RESET),
        upstream_connection_failure: has(Flags::UPSTREAM_CONNECTION_FAILURE),
        upstream_connection_termination: has(Flags::UPSTREAM_CONNECTION_TERMINATION),
        upstream_overflow: has(Flags::UPSTREAM_OVERFLOW),
        no_route_found: has(Flags::NO_ROUTE),
        delay_injected: has(Flags::DELAY_INJECTED),
        fault_injected: has(Flags::FAULT_INJECTED),
        rate_limited: has(Flags::RATE_LIMITED),
        unauthorized_details: has(Flags::UNAUTHORIZED_EXTERNAL_SERVICE).then_some(Unauthorized {
            reason: Reason::ExternalService as i32,
        }),
        rate_limit_service_error: has(Flags::RATE_LIMIT_SERVICE_ERROR),
        downstream_connection_termination: has(Flags::DOWNSTREAM_CONNECTION_TERMINATION),
        upstream_retry_limit_exceeded: has(Flags::UPSTREAM_RETRY_LIMIT_EXCEEDED),
        stream_idle_timeout: has(Flags::STREAM_IDLE_TIMEOUT),
        invalid_envoy_request_headers: has(Flags::INVALID_STEERING_HEADERS),
        ..later_flags(flags)
    })
}

/// Flags by their letters, for those that came later.
fn later_flags(flags: Flags) -> ResponseFlags {
    let text = flags.to_string();
    let has = |letters: &str| text.split(',').any(|flag| flag == letters);
    ResponseFlags {
        downstream_protocol_error: has("DPE"),
        upstream_max_stream_duration_reached: has("UMSDR"),
        response_from_cache_filter: has("RFCF"),
        no_filter_config_found: has("NFCF"),
        duration_timeout: has("DT"),
        upstream_protocol_error: has("UPE"),
        no_cluster_found: has("NC"),
        overload_manager: has("OM"),
        dns_resolution_failure: has("DF"),
        downstream_remote_reset: has("DR"),
        ..ResponseFlags::default()
    }
}

fn method(name: &str) -> RequestMethod {
    RequestMethod::from_str_name(name)
        .filter(|method| *method != RequestMethod::MethodUnspecified)
        .unwrap_or(RequestMethod::MethodUnspecified)
}

fn text(headers: Headers<'_>, name: &str) -> String {
    headers
        .get(name)
        .map(|value| value.to_string())
        .unwrap_or_default()
}

fn size(headers: Headers<'_>) -> u64 {
    headers
        .iter()
        .map(|(name, value)| (name.len() + value.len()) as u64)
        .sum()
}

fn picked(headers: Headers<'_>, names: &[String]) -> HashMap<String, String> {
    let mut picked = HashMap::new();
    for name in names {
        let values: Vec<String> = headers
            .get_all(name)
            .map(|value| value.to_string())
            .collect();
        if !values.is_empty() {
            picked.insert(name.to_ascii_lowercase(), values.join(","));
        }
    }
    picked
}

fn socket(address: SocketAddr) -> Address {
    crate::values::socket(address)
}

fn duration(duration: Duration) -> prost_types::Duration {
    // Longer than protobuf can say is longer than any stream.
    duration.try_into().unwrap_or_default()
}
