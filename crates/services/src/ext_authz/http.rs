//! A service that is asked by HTTP.

use std::collections::BTreeMap;

use transom_api::{CalloutResponse, HttpCall, MetadataValue, Stream, field};

use super::question::Body;
use super::settings::{HttpService, Settings};
use super::verdict::{Allowed, Denied, Verdict};
use crate::headers::lower;
use crate::proto::core;
use crate::proto::core::header_value_option::HeaderAppendAction as Action;
use crate::values::struct_of;

/// The request without its body, below the service's path, with the fields that it may see.
pub(super) fn question(
    service: &HttpService,
    settings: &Settings,
    stream: &Stream<'_>,
    body: Option<Body>,
) -> HttpCall {
    let request = stream.request();
    let pseudo = |name: &str| {
        request
            .get(name)
            .map(transom_api::Value::into_owned)
            .unwrap_or_default()
    };
    let mut path = service.path_prefix.clone().into_bytes();
    path.extend_from_slice(&pseudo(":path"));
    let authority = match &service.authority {
        Some(authority) => authority.clone().into_bytes(),
        None => pseudo(":authority"),
    };
    let mut call = HttpCall {
        cluster: service.cluster.clone(),
        timeout: Some(settings.timeout),
        ..HttpCall::default()
    }
    .header(":method", pseudo(":method"))
    .header(":path", path)
    .header(":authority", authority);
    for (name, value) in request.iter() {
        let own = field::Pseudo::of(&name).is_some()
            || field::is_reserved(&name)
            || name.eq_ignore_ascii_case(b"host");
        let shown =
            name.eq_ignore_ascii_case(b"authorization") || settings.shown.allowed.contain(&name);
        if !own && shown && !settings.shown.disallowed.contain(&name) {
            call.headers.push((name.into_owned(), value.into_owned()));
        }
    }
    for (name, value) in &service.added {
        call = call.header(name, value);
    }
    if let Some(body) = body {
        call = call
            .header("x-envoy-auth-partial-body", body.is_partial.to_string())
            .body(body.bytes);
    }
    call
}

/// What the service's answer says.
pub(super) fn verdict(service: &HttpService, answer: CalloutResponse) -> Verdict {
    let status = answer.status();
    if !(200..500).contains(&status) {
        return Verdict::Failed(format!("it answered with status {status}"));
    }
    let fields = || {
        answer
            .headers
            .iter()
            .filter(|(name, _)| field::Pseudo::of(name).is_none())
    };
    if status == 200 {
        let mut allowed = Allowed::default();
        let mut metadata = BTreeMap::new();
        for (name, value) in fields() {
            if service.to_upstream.contain(name) {
                allowed
                    .request
                    .push(option(name, value, Action::OverwriteIfExistsOrAdd));
            }
            if service.to_upstream_appended.contain(name) {
                allowed
                    .request
                    .push(option(name, value, Action::AppendIfExistsOrAdd));
            }
            if service.to_client_on_success.contain(name) {
                allowed
                    .response
                    .push(option(name, value, Action::AppendIfExistsOrAdd));
            }
            if service.to_metadata.contain(name) {
                let text = String::from_utf8_lossy(value).into_owned();
                metadata.insert(lower(name), MetadataValue::String(text));
            }
        }
        allowed.metadata = (!metadata.is_empty()).then(|| struct_of(&metadata));
        return Verdict::Allowed(Box::new(allowed));
    }
    // As in Envoy, these always reach the client.
    const ALWAYS: [&[u8]; 2] = [b"www-authenticate", b"location"];
    let headers = fields()
        .filter(|(name, _)| {
            let wanted = service
                .to_client
                .as_ref()
                .is_none_or(|names| names.contain(name));
            let always = ALWAYS.iter().any(|known| name.eq_ignore_ascii_case(known));
            (wanted || always) && !field::is_reserved(name)
        })
        .map(|(name, value)| (lower(name), value.clone()))
        .collect();
    Verdict::Denied(Denied {
        status,
        headers,
        body: answer.body,
    })
}

fn option(name: &[u8], value: &[u8], action: Action) -> core::HeaderValueOption {
    core::HeaderValueOption {
        header: Some(core::HeaderValue {
            key: lower(name),
            raw_value: value.to_vec(),
            ..Default::default()
        }),
        append: Some(action == Action::AppendIfExistsOrAdd),
        append_action: action as i32,
        ..Default::default()
    }
}
