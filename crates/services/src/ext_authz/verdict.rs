//! What a service says, and what that does to a request and its response.

use transom_api::{HeadersMut, Stream, field};

use crate::headers::{Changes, Refused, lower, value_of};
use crate::proto::auth::check_response::HttpResponse;
use crate::proto::auth::{CheckResponse, DeniedHttpResponse, OkHttpResponse};
use crate::proto::core;
use crate::proto::core::header_value_option::HeaderAppendAction as Action;
use crate::rules::Rules;
use crate::values::set_metadata;

/// The namespace of metadata that a service gives; Envoy's own, so that logs and servers find it.
pub(super) const NAMESPACE: &str = "envoy.filters.http.ext_authz";

/// What a service says.
#[derive(Debug)]
pub(super) enum Verdict {
    Allowed(Box<Allowed>),
    Denied(Denied),
    /// Nothing that could be followed, and why.
    Failed(String),
}

/// The request may pass, with changes.
#[derive(Debug, Default)]
pub(super) struct Allowed {
    pub(super) request: Vec<core::HeaderValueOption>,
    pub(super) remove: Vec<String>,
    pub(super) response: Vec<core::HeaderValueOption>,
    pub(super) set_query: Vec<core::QueryParameter>,
    pub(super) remove_query: Vec<String>,
    pub(super) metadata: Option<prost_types::Struct>,
}

/// The client is answered.
#[derive(Debug)]
pub(super) struct Denied {
    pub(super) status: u16,
    pub(super) headers: Vec<(String, Vec<u8>)>,
    pub(super) body: Vec<u8>,
}

/// What became of a service's changes.
pub(super) struct Changed {
    pub(super) made: bool,
    pub(super) rejected: u32,
}

impl Verdict {
    pub(super) fn of(answer: CheckResponse) -> Self {
        let allowed = answer.status.as_ref().is_none_or(|status| status.code == 0);
        match answer.http_response {
            Some(HttpResponse::ErrorResponse(error)) => Self::Failed(format!(
                "it reports a failure with status {}",
                error.status.map_or(0, |status| status.code)
            )),
            Some(HttpResponse::OkResponse(ok)) if allowed => {
                Self::Allowed(Box::new(Allowed::of(ok, answer.dynamic_metadata)))
            }
            _ if allowed => Self::Allowed(Box::new(Allowed {
                metadata: answer.dynamic_metadata,
                ..Allowed::default()
            })),
            Some(HttpResponse::DeniedResponse(denied)) => Self::Denied(Denied::of(denied)),
            _ => Self::Denied(Denied::of(DeniedHttpResponse::default())),
        }
    }
}

impl Allowed {
    fn of(ok: OkHttpResponse, metadata: Option<prost_types::Struct>) -> Self {
        Self {
            request: ok.headers,
            remove: ok.headers_to_remove,
            response: ok.response_headers_to_add,
            set_query: ok.query_parameters_to_set,
            remove_query: ok.query_parameters_to_remove,
            metadata: metadata.or(ok.dynamic_metadata),
        }
    }

    /// Changes the request.
    pub(super) fn change_request(
        &self,
        stream: &mut Stream<'_>,
        rules: Option<&Rules>,
    ) -> Result<Changed, Refused> {
        if let Some(metadata) = &self.metadata {
            set_metadata(stream, NAMESPACE, metadata.clone());
        }
        let mut headers = stream.request_mut();
        // As in Envoy, what the client has not sent is not appended to.
        let rejected = change(&mut headers, &self.request, &self.remove, rules, true)?;
        let path_changed = self.change_query(&mut headers);
        Ok(Changed {
            made: !self.request.is_empty() || !self.remove.is_empty() || path_changed,
            rejected,
        })
    }

    /// Changes the response; answers how many changes were not possible.
    pub(super) fn change_response(&self, stream: &mut Stream<'_>, rules: Option<&Rules>) -> u32 {
        let mut headers = stream.response_mut();
        // The request has passed: what cannot be done is left out.
        change(&mut headers, &self.response, &[], rules, false).unwrap_or(1)
    }

    fn change_query(&self, headers: &mut HeadersMut<'_>) -> bool {
        if self.set_query.is_empty() && self.remove_query.is_empty() {
            return false;
        }
        let Some(path) = headers.get(":path").map(transom_api::Value::into_owned) else {
            return false;
        };
        let path = String::from_utf8_lossy(&path);
        let (path, query) = path.split_once('?').unwrap_or((&path, ""));
        let key_of = |pair: &str| pair.split_once('=').map_or(pair, |(key, _)| key).to_owned();
        let mut pairs: Vec<String> = query
            .split('&')
            .filter(|pair| !pair.is_empty() && !self.remove_query.contains(&key_of(pair)))
            .map(str::to_owned)
            .collect();
        for set in &self.set_query {
            if self.remove_query.contains(&set.key) {
                continue;
            }
            // In the place of the first of its name, and of all of them.
            let pair = format!("{}={}", set.key, set.value);
            let first = pairs.iter().position(|known| key_of(known) == set.key);
            pairs.retain(|known| key_of(known) != set.key);
            pairs.insert(first.unwrap_or(pairs.len()), pair);
        }
        let path = if pairs.is_empty() {
            path.to_owned()
        } else {
            format!("{path}?{}", pairs.join("&"))
        };
        headers.set(":path", path).is_ok()
    }
}

impl Denied {
    fn of(denied: DeniedHttpResponse) -> Self {
        let status = denied.status.map_or(0, |status| status.code);
        let status = u16::try_from(status)
            .ok()
            .filter(|status| (200..=599).contains(status));
        let headers = denied.headers.iter().filter_map(|option| {
            let header = option.header.as_ref()?;
            let name = lower(header.key.as_bytes());
            let good = field::is_name(name.as_bytes()) && !field::is_reserved(name.as_bytes());
            let value = value_of(header);
            (good && field::is_value(value)).then(|| (name, value.to_vec()))
        });
        Self {
            status: status.unwrap_or(403),
            headers: headers.collect(),
            body: denied.body.into_bytes(),
        }
    }
}

/// Without rules a service may change what it likes, as in Envoy, but for what the proxy keeps for itself.
fn change(
    headers: &mut HeadersMut<'_>,
    set: &[core::HeaderValueOption],
    remove: &[String],
    rules: Option<&Rules>,
    append_makes_none: bool,
) -> Result<u32, Refused> {
    let all = Rules::everything();
    let changes = Changes {
        set,
        remove,
        rules: rules.unwrap_or(&all),
        replacing: false,
        default: Action::OverwriteIfExistsOrAdd,
        append_makes_none,
    };
    changes.apply(headers)
}
