//! What a gRPC service is sent.

use std::collections::HashMap;
use std::time::SystemTime;

use transom_api::{Attribute, Stream, attribute};

use super::settings::{RouteSettings, Settings};
use crate::headers::{Shown, lower, to_message};
use crate::proto::auth::attribute_context::{HttpRequest, Peer, Request, TlsSession};
use crate::proto::auth::{AttributeContext, CheckRequest};
use crate::proto::core;
use crate::values::{address_of, metadata_of, timestamp};

/// A field by which the service learns whether it sees the whole body.
const PARTIAL: &str = "x-envoy-auth-partial-body";

/// A request's body as the service sees it.
pub(super) struct Body {
    pub(super) bytes: Vec<u8>,
    pub(super) is_partial: bool,
    pub(super) as_bytes: bool,
}

pub(super) fn question(
    settings: &Settings,
    route: &RouteSettings,
    stream: &Stream<'_>,
    body: Option<Body>,
) -> CheckRequest {
    let text = |name: &str| text(stream, name);
    let mut http = HttpRequest {
        id: text(attribute::REQUEST_ID),
        method: text(attribute::REQUEST_METHOD),
        path: text(attribute::REQUEST_PATH),
        host: text(attribute::REQUEST_HOST),
        scheme: text(attribute::REQUEST_SCHEME),
        protocol: text(attribute::REQUEST_PROTOCOL),
        size: number(stream, "content-length").unwrap_or(-1),
        ..HttpRequest::default()
    };
    if settings.raw_headers {
        http.header_map = Some(to_message(stream.request(), &settings.shown));
    } else {
        http.headers = joined(stream, &settings.shown);
    }
    if let Some(body) = body {
        let partial = body.is_partial.to_string();
        match &mut http.header_map {
            Some(map) => map.headers.push(core::HeaderValue {
                key: PARTIAL.to_owned(),
                raw_value: partial.into_bytes(),
                ..Default::default()
            }),
            None => {
                http.headers.insert(PARTIAL.to_owned(), partial);
            }
        }
        if body.as_bytes {
            http.raw_body = body.bytes;
        } else {
            http.body = String::from_utf8_lossy(&body.bytes).into_owned();
        }
    }
    let tls_session = settings.include_tls_session.then(|| TlsSession {
        sni: text(attribute::CONNECTION_REQUESTED_SERVER_NAME),
    });
    let time = match stream.attribute(attribute::REQUEST_TIME) {
        Some(Attribute::Time(time)) => time,
        _ => SystemTime::now(),
    };
    CheckRequest {
        attributes: Some(AttributeContext {
            source: Some(Peer {
                address: address_of(&text(attribute::SOURCE_ADDRESS)),
                principal: principal(stream),
                certificate: match settings.include_peer_certificate {
                    true => url_encoded(&text(attribute::CONNECTION_PEM_PEER_CERTIFICATE)),
                    false => String::new(),
                },
                ..Peer::default()
            }),
            destination: Some(Peer {
                address: address_of(&text(attribute::DESTINATION_ADDRESS)),
                ..Peer::default()
            }),
            request: Some(Request {
                time: Some(timestamp(time)),
                http: Some(http),
            }),
            context_extensions: route.context_extensions.clone(),
            metadata_context: metadata_of(stream, &settings.metadata_namespaces),
            tls_session,
            ..AttributeContext::default()
        }),
    }
}

/// Header fields by name; those that come several times are joined, as RFC 9110 section 5.3 has it.
fn joined(stream: &Stream<'_>, shown: &Shown) -> HashMap<String, String> {
    let mut fields: HashMap<String, String> = HashMap::new();
    for (name, value) in stream.request().iter() {
        if !shown.shows(&name) {
            continue;
        }
        let value = String::from_utf8_lossy(&value);
        fields
            .entry(lower(&name))
            .and_modify(|all| {
                all.push(',');
                all.push_str(&value);
            })
            .or_insert_with(|| value.into_owned());
    }
    fields
}

/// PEM as Envoy sends it: what has a meaning in a URL is written as its code, and nothing else (`urlEncodedPemEncodedPeerCertificate`).
fn url_encoded(pem: &str) -> String {
    let mut encoded = String::with_capacity(pem.len() + pem.len() / 8);
    for character in pem.chars() {
        match character {
            '\n' => encoded.push_str("%0A"),
            ' ' => encoded.push_str("%20"),
            '+' => encoded.push_str("%2B"),
            '/' => encoded.push_str("%2F"),
            '=' => encoded.push_str("%3D"),
            other => encoded.push(other),
        }
    }
    encoded
}

/// Who the client is by its certificate: the first of its URI, its DNS name and its subject.
fn principal(stream: &Stream<'_>) -> String {
    let names = [
        attribute::CONNECTION_URI_SAN_PEER_CERTIFICATE,
        attribute::CONNECTION_DNS_SAN_PEER_CERTIFICATE,
        attribute::CONNECTION_SUBJECT_PEER_CERTIFICATE,
    ];
    let mut known = names.into_iter().map(|name| text(stream, name));
    known.find(|name| !name.is_empty()).unwrap_or_default()
}

fn text(stream: &Stream<'_>, name: &str) -> String {
    match stream.attribute(name) {
        Some(Attribute::Bytes(bytes)) => String::from_utf8_lossy(&bytes).into_owned(),
        _ => String::new(),
    }
}

fn number(stream: &Stream<'_>, name: &str) -> Option<i64> {
    stream.request().get(name)?.to_str()?.parse().ok()
}
