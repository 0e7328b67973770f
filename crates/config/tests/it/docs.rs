//! `docs/configuration.md` says what the schema says, and its examples load.

use std::collections::BTreeSet;

use serde_json::Value;
use transom_config::{check_str, schema};

use crate::registry::registry;
use crate::{expect, folder};

/// Definitions of uses, and the keys of stream filters' that they do not have.
const LIKE_STREAM_FILTERS: [(&str, &[&str]); 4] = [
    ("ListenerFilterUse", &["phase", "when", "sample", "bounds"]),
    ("NetworkFilterUse", &["phase"]),
    ("AccessLogUse", &["phase", "bounds"]),
    (
        "CertificateProviderUse",
        &["phase", "when", "sample", "bounds"],
    ),
];

/// The tables between `<!-- keys NAME -->` and `<!-- end -->` are made from the schema (`UPDATE_EXPECTED=1` writes them).
#[test]
fn the_tables_of_keys_are_those_of_the_schema() {
    let file = folder("../../docs/configuration.md");
    let text = std::fs::read_to_string(&file).unwrap();
    let schema = schema(&registry());
    let mut shown = BTreeSet::new();
    let mut made = String::new();
    let mut rest = text.as_str();
    while let Some((before, after)) = rest.split_once("<!-- keys ") {
        let (name, after) = after.split_once(" -->").unwrap();
        let (_, after) = after.split_once("<!-- end -->").unwrap();
        let definition = match name {
            "Configuration" => &schema,
            name => &schema["definitions"][name],
        };
        // A host is an address or such a map, a selector a name or such a map.
        let definition = definition.pointer("/anyOf/1").unwrap_or(definition);
        made.push_str(before);
        made.push_str(&format!(
            "<!-- keys {name} -->\n{}<!-- end -->",
            table(definition)
        ));
        shown.insert(name.to_owned());
        rest = after;
    }
    made.push_str(rest);
    expect(&file, &made);

    // Uses have the same keys everywhere, but for some.
    shown.extend(LIKE_STREAM_FILTERS.map(|(name, _)| name.to_owned()));
    let definitions = schema["definitions"].as_object().unwrap();
    let missing: Vec<_> = definitions
        .keys()
        .filter(|name| !shown.contains(*name))
        .collect();
    assert!(missing.is_empty(), "without a table: {missing:?}");
    let keys = |name: &str| {
        let properties = definitions[name]["properties"].as_object().unwrap();
        properties.keys().cloned().collect::<Vec<_>>()
    };
    for (name, without) in LIKE_STREAM_FILTERS {
        let mut expected = keys("StreamFilterUse");
        expected.retain(|key| !without.contains(&key.as_str()));
        assert_eq!(keys(name), expected, "{name}");
    }
}

#[test]
fn the_examples_load() {
    let text = std::fs::read_to_string(folder("../../docs/configuration.md")).unwrap();
    let mut count = 0;
    for block in text.split("```yaml\n").skip(1) {
        let (example, _) = block.split_once("```").unwrap();
        check_str("example.yaml", example, &registry()).unwrap();
        count += 1;
    }
    assert!(count >= 3, "only {count} examples were found");
}

fn table(definition: &Value) -> String {
    let empty = Vec::new();
    let required = definition["required"].as_array().unwrap_or(&empty);
    let properties = definition["properties"].as_object().unwrap();
    let is_required = |key: &String| required.iter().any(|name| name == key);
    let mut keys: Vec<&String> = properties.keys().collect();
    keys.sort_by_key(|key| (!is_required(key), key.as_str()));
    let mut table = String::from("| key | value | default | meaning |\n|---|---|---|---|\n");
    for key in keys {
        let schema = &properties[key];
        let default = match &schema["default"] {
            _ if is_required(key) => "required".to_owned(),
            Value::Null => "–".to_owned(),
            Value::String(text) => format!("`{text}`"),
            value => format!("`{value}`"),
        };
        let meaning = schema["description"].as_str().unwrap().replace('\n', " ");
        table.push_str(&format!(
            "| `{key}` | {} | {default} | {meaning} |\n",
            value_of(key, schema)
        ));
    }
    table
}

/// The kind of a value in a few words.
fn value_of(key: &str, schema: &Value) -> String {
    for list in ["anyOf", "allOf"] {
        if let Some(first) = schema[list]
            .get(0)
            .filter(|first| first.get("$ref").is_some())
        {
            return value_of(key, first);
        }
    }
    if let Some(reference) = schema["$ref"].as_str() {
        let name = reference.rsplit('/').next().unwrap();
        let (title, anchor) = match name {
            name if name == "StreamFilterUse"
                || LIKE_STREAM_FILTERS.iter().any(|(like, _)| *like == name) =>
            {
                ("use", "uses-of-extensions")
            }
            "Condition" => ("condition", "when-a-use-works"),
            "UseBounds" => ("bounds", "bounds-of-a-use"),
            "Extension" => ("extension", "shared-extensions"),
            "OriginalDst" => ("hosts that clients choose", "hosts-that-clients-choose"),
            "ProxyProtocol" => ("PROXY protocol", "proxy-protocol"),
            "ProcessLimits" => ("limits of the process", "limits-of-the-process"),
            "AcceptRate" => ("rate", "accept-rates"),
            "UnixSocket" => ("Unix socket", "unix-sockets"),
            "Plugin" => ("plugin", "plugins"),
            "PluginFolder" => ("folder of plugins", "folders-of-plugins"),
            "GoPluginConfig" => ("library", "libraries-as-mosn-names-them"),
            "Admin" => ("admin", "the-admin-interface"),
            "Listener" => ("listener", "listeners"),
            "FilterChain" => ("filter chain", "filter-chains"),
            "ChainMatch" => ("match of a chain", "matches-of-chains"),
            "LocalReply" => ("local reply", "local-replies"),
            "Paths" => ("paths", "paths"),
            "Forwarded" => ("forwarded", "who-the-client-is"),
            "RequestId" => ("request id", "request-ids"),
            "Trace" => ("trace", "trace-context"),
            "Server" => ("server", "the-field-server"),
            "Limits" => ("limits", "limits"),
            "Timeouts" => ("timeouts", "timeouts"),
            "RouteTable" => ("route table", "route-tables"),
            "VirtualHost" => ("virtual host", "virtual-hosts"),
            "Route" => ("route", "routes"),
            "Match" => ("match", "matches"),
            "AddressRoute" => ("address route", "routes-by-address"),
            "WeightedCluster" => ("weighted cluster", "weighted-clusters"),
            "Redirect" => ("redirect", "redirects"),
            "DirectResponse" => ("direct response", "direct-responses"),
            "Rewrite" => ("rewrite", "rewrites"),
            "RegexRewrite" => ("replacement", "replacements"),
            "HeaderEdits" => ("changes", "changes-of-headers"),
            "FieldMatch" => ("match of a field", "matches-of-fields"),
            "RouteFilter" => ("filter of a route", "filters-of-routes"),
            "ListenerTls" => ("tls", "tls-with-clients"),
            "ClusterTls" => ("tls", "tls-with-hosts"),
            "OnDemand" => ("on demand", "certificates-on-demand"),
            "SanMatch" => ("alternative name", "alternative-names"),
            "CertificateFiles" => ("certificate", "certificates"),
            "CircuitBreakers" => ("circuit breakers", "circuit-breakers"),
            "Retry" => ("retries", "retries"),
            "RetryBudget" => ("retry budget", "retry-budgets"),
            "Cluster" => ("cluster", "clusters"),
            "LoadBalancing" => ("selector", "selectors"),
            "RegistryUse" => ("registry", "registries-transports-clients-servers"),
            "TransportUse" => ("transport", "registries-transports-clients-servers"),
            "ServerUse" => ("server", "registries-transports-clients-servers"),
            "ClientUse" => ("client", "registries-transports-clients-servers"),
            "Pool" => ("pool", "pools"),
            "HealthCheck" => ("health check", "health-checks"),
            "OutlierDetection" => ("outlier detection", "outlier-detection"),
            "HttpCheck" => ("request", "requests-of-health-checks"),
            "HostSet" => ("host set", "host-sets"),
            "Endpoint" => ("host", "hosts"),
            name => panic!("{name} has no section"),
        };
        return format!("[{title}](#{anchor})");
    }
    if key == "name" && schema.get("enum").is_some() {
        return "text".to_owned();
    }
    if let Some(words) = schema["enum"].as_array() {
        let words = words
            .iter()
            .filter_map(Value::as_str)
            .map(|word| format!("`{word}`"));
        return words.collect::<Vec<_>>().join(", ");
    }
    let pattern = schema["pattern"].as_str().unwrap_or_default();
    if pattern.contains(r"\.\.[0-9]") && pattern.contains("(ms|s|m|h)") {
        return "two durations".to_owned();
    }
    if pattern.contains("(ms|s|m|h)") {
        return "duration".to_owned();
    }
    if pattern.contains("unix:") {
        return "address".to_owned();
    }
    if pattern.contains("5xx") {
        return "word, status or range".to_owned();
    }
    if pattern.contains("[1-5]") {
        return "status or range".to_owned();
    }
    let range = |of: &dyn Fn(u64) -> String| {
        let (min, max) = (schema["minimum"].as_u64(), schema["maximum"].as_u64());
        match (min, max.filter(|max| *max < u64::from(u32::MAX))) {
            (Some(min), Some(max)) => format!(", {} to {}", of(min), of(max)),
            (Some(min), None) => format!(", {} or more", of(min)),
            (None, _) => String::new(),
        }
    };
    if pattern.contains("KiB") {
        return format!("size{}", range(&size));
    }
    let types = match &schema["type"] {
        Value::String(one) => vec![one.as_str()],
        Value::Array(names) => names.iter().filter_map(Value::as_str).collect(),
        _ => vec!["anything"],
    };
    match types[0] {
        "integer" => format!("number{}", range(&|number| number.to_string())),
        "boolean" => "`true`, `false`".to_owned(),
        "string" => "text".to_owned(),
        "array" => format!("list of {}", value_of(key, &schema["items"])),
        "number" => "percentage".to_owned(),
        // Free values by namespace.
        "object" if schema["additionalProperties"]["type"] == "object" => "map".to_owned(),
        "object" => format!("map to {}", value_of(key, &schema["additionalProperties"])),
        other => other.to_owned(),
    }
}

fn size(bytes: u64) -> String {
    for (unit, size) in [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)] {
        if bytes >= size && bytes.is_multiple_of(size) {
            return format!("{}{unit}", bytes / size);
        }
    }
    bytes.to_string()
}
