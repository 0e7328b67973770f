//! An explanation for a program. Durations are in milliseconds.

use serde_json::{Value, json};
use transom_api::{FailurePolicy, Phase};
use transom_proxy::control::explain::{
    Candidate, End, Explanation, FilterUse, Holds, HttpExplanation, Part, Place, RouteAction,
    Target,
};

use super::request::Asked;

/// `{"request", "routed", "address", "listeners", "network_filters", "tcp_proxy" | "http" | "network_filter"}`.
pub(super) fn render(asked: &Asked, explanation: &Explanation) -> Value {
    let mut value = json!({
        "request": {
            "method": asked.method,
            "authority": asked.authority,
            "path": asked.path,
        },
        "routed": explanation.is_routed(),
        "address": explanation.address,
        "listeners": candidates(&explanation.listeners),
        "network_filters": explanation.network_filters,
    });
    let (key, end) = match &explanation.end {
        End::TcpProxy(targets) => {
            let targets = targets.iter().map(
                |it| json!({"when": it.when, "weight": it.weight, "cluster": target(&it.target)}),
            );
            (
                "tcp_proxy",
                json!({"clusters": targets.collect::<Vec<_>>()}),
            )
        }
        End::Http(it) => ("http", http(it)),
        End::Filter(name) => ("network_filter", json!(name)),
    };
    if let Value::Object(entries) = &mut value {
        entries.insert(key.to_owned(), end);
    }
    value
}

/// What becomes of the request stands under one of `clusters` (with `rewrite` and `retry`), `redirect` and `direct_response`.
fn http(http: &HttpExplanation) -> Value {
    let mut value = json!({
        "path": http.path,
        "refused": http.is_refused,
        "route_table": http.route_table,
        "virtual_hosts": candidates(&http.virtual_hosts),
        "routes": candidates(&http.routes),
        "filters": http.filters.iter().map(filter).collect::<Vec<_>>(),
        "response_order": http.response_order,
        "access_logs": http.access_logs,
        "timeout_ms": milliseconds(http.timeout),
    });
    let entries = match &http.action {
        None => Vec::new(),
        Some(RouteAction::Forward(forwarded)) => {
            let clusters = forwarded.targets.iter();
            let cluster = |(weight, it): &(u32, Target)| {
                let mut cluster = target(it);
                if let Value::Object(entries) = &mut cluster {
                    entries.insert("weight".to_owned(), json!(weight));
                }
                cluster
            };
            let rewrite = json!({"path": forwarded.path, "authority": forwarded.authority});
            let clusters = clusters.map(cluster).collect();
            let retry = forwarded.retry.as_ref().map(|retry| {
                let on: Vec<String> = retry.on.iter().map(|on| on.name()).collect();
                json!({"on": on, "attempts": retry.attempts})
            });
            vec![
                ("clusters", clusters),
                ("rewrite", rewrite),
                ("retry", json!(retry)),
            ]
        }
        Some(RouteAction::Redirect { status, location }) => {
            let redirect = json!({"status": status, "location": location});
            vec![("redirect", redirect)]
        }
        Some(RouteAction::DirectResponse { status }) => {
            vec![("direct_response", json!({"status": status}))]
        }
    };
    if let Value::Object(value) = &mut value {
        value.extend(entries.into_iter().map(|(key, it)| (key.to_owned(), it)));
    }
    value
}

fn filter(filter: &FilterUse) -> Value {
    let (part, by) = match filter.part {
        Part::Runs(place) => ("runs", Some(place)),
        Part::Disabled(place) => ("disabled", Some(place)),
        Part::LeftOut => ("left_out", None),
        Part::NotReached => ("not_reached", None),
    };
    json!({
        "name": filter.name,
        "extension": filter.extension,
        "phase": filter.phase.map(Phase::name),
        "on_failure": match filter.on_failure {
            FailurePolicy::Closed => "closed",
            FailurePolicy::Open => "open",
        },
        "part": part,
        "when": filter.when.map(|holds| match holds {
            Holds::Yes => "holds",
            Holds::No => "does_not_hold",
            Holds::Perhaps => "unknown",
        }),
        "sample": filter.sample,
        "by": by.map(|place| match place {
            Place::Listener => "listener",
            Place::VirtualHost => "virtual_host",
            Place::Route => "route",
        }),
    })
}

fn target(target: &Target) -> Value {
    let hosts = target
        .hosts
        .iter()
        .map(|(address, weight)| json!({ "address": address, "weight": weight }));
    json!({
        "name": target.cluster,
        "load_balancing": target.load_balancing,
        "connect_timeout_ms": milliseconds(target.connect_timeout),
        "hosts": hosts.collect::<Vec<_>>(),
    })
}

fn candidates(candidates: &[Candidate]) -> Value {
    candidates
        .iter()
        .map(|candidate| {
            json!({
                "name": candidate.name,
                "taken": candidate.taken,
                "why": candidate.why,
            })
        })
        .collect()
}

fn milliseconds(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
