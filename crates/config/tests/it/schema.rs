//! The JSON Schema says of a file what the loader says.

use serde_json::{Value, json};
use transom_config::{check_str, schema};

use crate::registry::registry;

/// A file in which every kind of definition is used.
fn good() -> Value {
    json!({
        "workers": 2,
        "admin": {"address": "127.0.0.1:34901"},
        "drain_timeout": "1.5s",
        "listeners": [{
            "name": "ingress",
            "address": "127.0.0.1:2046",
            "listener_filters": [{"name": "inspect", "config": {"cluster": "a"}}],
            "network_filters": [
                {"name": "gate", "config": {"cluster": "a", "status": 404, "timeout": "1s"}},
                {"name": "http", "config": {
                    "stream_filters": [
                        {"name": "header_match", "phase": "after_route", "on_failure": "open", "config": {"User": "x"}},
                        {"name": "authorize", "id": "second", "disabled": true, "config": {"cluster": "a"}},
                        {"name": "of a library", "go_plugin_config": {"so_path": "a.so"}, "config": {"User": "x"}},
                    ],
                    "access_logs": [{"name": "ship", "config": {"cluster": "a"}}],
                    "limits": {"head": 4096, "request_line": "4KiB"},
                    "timeouts": {"idle": "1m"},
                    "paths": {"merge_slashes": true, "escaped_slashes": "reject"},
                    "local_reply": {"upstream_unavailable": 503},
                    "virtual_hosts": [{
                        "domains": ["*"],
                        "filters": {"header_match": {"disabled": true}},
                        "routes": [{"match": {"prefix": "/"}, "cluster": "a", "filters": {"header_match": {"config": {}}}}],
                    }],
                }},
            ],
        }],
        "clusters": [{"name": "a", "pool": {"max_idle": 5}, "host_set": "h"}],
        "host_sets": [{"name": "h", "endpoints": ["127.0.0.1:1", {"address": "[::1]:1", "weight": 2}]}],
    })
}

#[test]
fn a_good_file_fits_the_schema() {
    let good = good();
    check_str("good.json", &good.to_string(), &registry()).unwrap();
    let schema = schema(&registry());
    fits(&schema, &schema, &good).unwrap();
}

/// A change anywhere that the loader refuses as a wrong key, type, word or number is refused by the schema too.
#[test]
fn what_the_loader_refuses_does_not_fit_the_schema() {
    let registry = registry();
    let schema = schema(&registry);
    let filters = "/listeners/0/network_filters";
    let http = "/listeners/0/network_filters/1/config";
    for (place, value) in [
        ("/workers", json!(0)),
        ("/workers", json!("two")),
        ("/drain_timeout", json!(5)),
        ("/admin/address", json!(["127.0.0.1:1"])),
        ("/admin/port", json!(1)),
        ("/clusters/0/pool/max_idle", json!(-1)),
        ("/clusters/0/pool/maximum", json!(1)),
        ("/host_sets/0/endpoints/1/weight", json!(129)),
        ("/host_sets/0/endpoints/1/wait", json!(1)),
        (&format!("{filters}/0/name"), json!("gat")),
        (&format!("{filters}/0/config/status"), json!(200)),
        (&format!("{filters}/0/config/state"), json!(404)),
        (&format!("{filters}/0/phase"), json!("after_route")),
        (&format!("{filters}/1/config/limit"), json!({})),
        (&format!("{http}/stream_filters/0/phase"), json!("after")),
        (&format!("{http}/stream_filters/0/config/User"), json!(5)),
        (
            &format!("{http}/stream_filters/2/go_plugin_config"),
            json!({}),
        ),
        (&format!("{http}/stream_filters/1/config"), json!({})),
        (&format!("{http}/limits/fields"), json!(0)),
        (
            &format!("{http}/local_reply/upstream_unavailable"),
            json!(200),
        ),
        (
            &format!("{http}/virtual_hosts/0/routes/0/timeout"),
            json!(1),
        ),
        (
            &format!("{http}/virtual_hosts/0/routes/0/match"),
            json!("/"),
        ),
        (
            &format!("{http}/virtual_hosts/0/routes/0/match/headers"),
            json!([{"name": "x", "exact": 5}]),
        ),
        (
            &format!("{http}/virtual_hosts/0/routes/0/rewrite"),
            json!({"regex": {"pattern": "a"}}),
        ),
        (
            &format!("{http}/virtual_hosts/0/request_headers"),
            json!({"set": ["a"]}),
        ),
        (&format!("{http}/paths/dot_segments"), json!("remove")),
    ] {
        let mut bad = good();
        let (parent, key) = place.rsplit_once('/').unwrap();
        bad.pointer_mut(parent)
            .unwrap()
            .as_object_mut()
            .unwrap()
            .insert(key.to_owned(), value);
        assert!(
            check_str("bad.json", &bad.to_string(), &registry).is_err(),
            "the loader takes {place}"
        );
        assert!(
            fits(&schema, &schema, &bad).is_err(),
            "the schema takes {place}"
        );
    }
}

#[test]
fn the_extensions_of_the_registry_are_in_the_schema() {
    let schema = schema(&registry());
    let names = |definition: &str| {
        schema["definitions"][definition]["allOf"][0]["then"]["properties"]["name"]["enum"].clone()
    };
    assert_eq!(
        names("StreamFilterUse"),
        json!(["authorize", "header_match"])
    );
    assert_eq!(
        names("NetworkFilterUse"),
        json!(["final", "gate", "http", "tcp_proxy", "udp_proxy"])
    );
    assert_eq!(names("ListenerFilterUse"), json!(["inspect"]));
    assert_eq!(names("AccessLogUse"), json!(["ship"]));
    let authorize =
        &schema["definitions"]["StreamFilterUse"]["allOf"][1]["then"]["properties"]["config"];
    assert_eq!(
        authorize["properties"]["status"],
        json!({"type": "integer", "minimum": 400, "maximum": 599, "default": 403})
    );
    assert_eq!(
        authorize["properties"]["cluster"]["description"],
        "Whom to ask."
    );
}

/// As much of JSON Schema as the schema uses, except patterns.
fn fits(root: &Value, schema: &Value, value: &Value) -> Result<(), String> {
    let refuse = |why: &str| Err(format!("{why}: {value} against {schema}"));
    let Some(rules) = schema.as_object() else {
        return Ok(());
    };
    for (rule, wanted) in rules {
        let good = match (rule.as_str(), value) {
            ("$ref", _) => {
                let pointer = wanted.as_str().unwrap().strip_prefix('#').unwrap();
                fits(root, root.pointer(pointer).unwrap(), value).is_ok()
            }
            ("type", _) => {
                let one = |name: &Value| match name.as_str().unwrap() {
                    "string" => value.is_string(),
                    "integer" => value.is_u64() || value.is_i64(),
                    "number" => value.is_number(),
                    "boolean" => value.is_boolean(),
                    "array" => value.is_array(),
                    "object" => value.is_object(),
                    "null" => value.is_null(),
                    name => panic!("unknown type {name}"),
                };
                wanted
                    .as_array()
                    .map_or_else(|| one(wanted), |names| names.iter().any(one))
            }
            ("enum", _) => wanted.as_array().unwrap().contains(value),
            ("const", _) => wanted == value,
            ("minimum", Value::Number(_)) => value.as_f64().unwrap() >= wanted.as_f64().unwrap(),
            ("maximum", Value::Number(_)) => value.as_f64().unwrap() <= wanted.as_f64().unwrap(),
            ("items", Value::Array(items)) => {
                items.iter().all(|item| fits(root, wanted, item).is_ok())
            }
            ("properties", Value::Object(entries)) => entries
                .iter()
                .filter_map(|(key, value)| Some((wanted.get(key)?, value)))
                .all(|(schema, value)| fits(root, schema, value).is_ok()),
            ("required", Value::Object(entries)) => {
                let keys = wanted.as_array().unwrap().iter();
                keys.map(|key| key.as_str().unwrap())
                    .all(|key| entries.contains_key(key))
            }
            ("additionalProperties", Value::Object(entries)) => {
                let known = rules.get("properties").and_then(Value::as_object);
                let mut others = entries
                    .iter()
                    .filter(|(key, _)| known.is_none_or(|known| !known.contains_key(*key)));
                match wanted {
                    Value::Bool(false) => others.next().is_none(),
                    wanted => others.all(|(_, value)| fits(root, wanted, value).is_ok()),
                }
            }
            ("anyOf", _) => wanted
                .as_array()
                .unwrap()
                .iter()
                .any(|schema| fits(root, schema, value).is_ok()),
            ("allOf", _) => wanted
                .as_array()
                .unwrap()
                .iter()
                .all(|schema| fits(root, schema, value).is_ok()),
            ("not", _) => fits(root, wanted, value).is_err(),
            ("if", _) => {
                fits(root, wanted, value).is_err() || fits(root, &rules["then"], value).is_ok()
            }
            _ => true,
        };
        if !good {
            return refuse(rule);
        }
    }
    Ok(())
}
