//! When a use works, and what it may have.

use serde_json::{Map, Value, json};
use transom_api::UseBounds;

use super::{duration, field_match, matcher};
use crate::{Case, Condition};

/// In the form that a file may have: a list of cases.
pub(super) fn shown(condition: &Condition) -> Value {
    condition.cases.iter().map(case).collect()
}

fn case(case: &Case) -> Value {
    let mut shown = match case.request.as_ref().map(matcher) {
        Some(Value::Object(shown)) => shown,
        _ => Map::new(),
    };
    if !case.source_networks.is_empty() {
        let networks = case.source_networks.iter().map(ToString::to_string);
        shown.insert("source_networks".to_owned(), networks.collect());
    }
    if !case.attributes.is_empty() {
        let attributes = case.attributes.iter().map(field_match);
        shown.insert("attributes".to_owned(), attributes.collect());
    }
    shown.insert("invert".to_owned(), json!(case.invert));
    Value::Object(shown)
}

/// What is as the plugin's own bounds say is `null`.
pub(super) fn bounds(bounds: &UseBounds) -> Value {
    json!({
        "concurrency": bounds.concurrency,
        "queue": bounds.queue,
        "queue_time": bounds.queue_time.map(duration),
        "time": bounds.time.map(duration),
        "message_size": bounds.message_size,
    })
}
