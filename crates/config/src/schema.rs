//! The shape of a configuration as JSON Schema, for editors and for the book.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};
use transom_api::kind::{
    AccessLogs, CertificateProviders, Clients, ListenerFilters, NetworkFilters, Selectors, Servers,
    ServiceRegistries, StreamFilters, Transports,
};
use transom_api::{ExtensionKind, Registry, Schema, Shape};

use crate::dump::node_json;
use crate::file::{self, DURATION, SIZE};

/// The JSON Schema (draft 7, which editors know best) of a configuration file in which the extensions of `registry` can
/// be used.
#[must_use]
pub fn schema(registry: &Registry) -> Value {
    let mut generator = SchemaSettings::draft07().into_generator();
    let http = generator.subschema_for::<file::Http>().to_value();
    let tcp_proxy = generator.subschema_for::<file::TcpProxy>().to_value();
    let udp_proxy = generator.subschema_for::<file::UdpProxy>().to_value();
    let mut root = generator
        .into_root_schema_for::<file::Configuration>()
        .to_value();
    if let Some(root) = root.as_object_mut() {
        root.insert("title".to_owned(), json!("Transom configuration"));
    }
    let Some(definitions) = root.get_mut("definitions").and_then(Value::as_object_mut) else {
        return root;
    };
    let mut network_filters = configs::<NetworkFilters>(registry);
    network_filters.push(("http".to_owned(), http));
    network_filters.push(("tcp_proxy".to_owned(), tcp_proxy));
    network_filters.push(("udp_proxy".to_owned(), udp_proxy));
    splice::<file::NetworkFilterUse>(definitions, &network_filters, &["phase"]);
    splice::<file::ListenerFilterUse>(definitions, &configs::<ListenerFilters>(registry), &PLAIN);
    splice::<file::StreamFilterUse>(definitions, &configs::<StreamFilters>(registry), &[]);
    splice::<file::AccessLogUse>(
        definitions,
        &configs::<AccessLogs>(registry),
        &["phase", "bounds"],
    );
    splice_one::<file::LoadBalancing>(definitions, &configs::<Selectors>(registry));
    splice_one::<file::RegistryUse>(definitions, &configs::<ServiceRegistries>(registry));
    splice_one::<file::TransportUse>(definitions, &configs::<Transports>(registry));
    splice_one::<file::ClientUse>(definitions, &configs::<Clients>(registry));
    splice_one::<file::ServerUse>(definitions, &configs::<Servers>(registry));
    let providers = configs::<CertificateProviders>(registry);
    splice::<file::CertificateProviderUse>(definitions, &providers, &PLAIN);
    splice_runtimes(definitions, registry);
    let mut any = configs::<StreamFilters>(registry);
    any.extend(configs::<NetworkFilters>(registry));
    any.extend(configs::<ListenerFilters>(registry));
    any.extend(configs::<AccessLogs>(registry));
    any.extend(providers);
    splice::<file::Extension>(definitions, &one_per_name(any), &[]);
    root
}

/// What each runtime reads in a declaration of a plugin.
fn splice_runtimes(definitions: &mut Map<String, Value>, registry: &Registry) {
    let Some(definition) = definitions
        .get_mut(&*file::Plugin::schema_name())
        .and_then(Value::as_object_mut)
    else {
        return;
    };
    let names = registry.runtimes();
    if let Some(runtime) = definition
        .get_mut("properties")
        .and_then(|properties| properties.get_mut("runtime"))
        .and_then(Value::as_object_mut)
    {
        runtime.insert("enum".to_owned(), json!(names));
    }
    let rules = names.iter().filter_map(|name| {
        let mut keys = of_extension(&registry.runtime(name)?.schema());
        // The key that chose this schema stands among the runtime's own.
        if let Some(properties) = keys.get_mut("properties").and_then(Value::as_object_mut) {
            properties.insert("runtime".to_owned(), json!({}));
        }
        Some(json!({
            "if": {"properties": {"runtime": {"const": name}}, "required": ["runtime"]},
            "then": keys,
        }))
    });
    let rules: Vec<Value> = rules.collect();
    if !rules.is_empty() {
        definition.insert("allOf".to_owned(), Value::Array(rules));
    }
}

/// The extensions of a kind, with the schema of their configurations.
fn configs<K: ExtensionKind>(registry: &Registry) -> Vec<(String, Value)> {
    let names = registry.names(K::KIND).into_iter();
    names
        .filter_map(|name| {
            let factory = registry.find::<K>(&name).ok()?;
            Some((name, of_extension(&factory.schema())))
        })
        .collect()
}

/// Extensions of all kinds: where several have a name, a configuration may be that of any of them.
fn one_per_name(extensions: Vec<(String, Value)>) -> Vec<(String, Value)> {
    let mut by_name: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for (name, config) in extensions {
        by_name.entry(name).or_default().push(config);
    }
    let merged = by_name.into_iter().map(|(name, mut configs)| {
        let config = match configs.len() {
            1 => configs.remove(0),
            _ => json!({"anyOf": configs}),
        };
        (name, config)
    });
    merged.collect()
}

/// Keys of a use that what is neither a filter nor an access log does not have.
const PLAIN: [&str; 4] = ["phase", "when", "sample", "bounds"];

/// Puts what is known of the extensions of a kind into the definition of their use, which has all keys but some.
fn splice<Use: JsonSchema>(
    definitions: &mut Map<String, Value>,
    extensions: &[(String, Value)],
    without: &[&str],
) {
    if let Some(definition) = definitions
        .get_mut(&*Use::schema_name())
        .and_then(Value::as_object_mut)
    {
        splice_into(definition, extensions, without);
    }
}

/// What there is one of in a place, such as a cluster's selector, is its name alone or a use.
fn splice_one<Use: JsonSchema>(
    definitions: &mut Map<String, Value>,
    selectors: &[(String, Value)],
) {
    let Some(definition) = definitions.get_mut(&*Use::schema_name()) else {
        return;
    };
    let names: Vec<&str> = selectors.iter().map(|(name, _)| name.as_str()).collect();
    if let Some(name) = definition
        .pointer_mut("/anyOf/0")
        .and_then(Value::as_object_mut)
    {
        name.insert("enum".to_owned(), json!(names));
    }
    if let Some(used) = definition
        .pointer_mut("/anyOf/1")
        .and_then(Value::as_object_mut)
    {
        splice_into(used, selectors, &[]);
    }
}

fn splice_into(
    definition: &mut Map<String, Value>,
    extensions: &[(String, Value)],
    without: &[&str],
) {
    if let Some(properties) = definition
        .get_mut("properties")
        .and_then(Value::as_object_mut)
    {
        for key in without {
            properties.remove(*key);
        }
        if let Some(name) = properties.get_mut("name").and_then(Value::as_object_mut) {
            name.insert("type".to_owned(), json!("string"));
        }
    }
    // Beside `go_plugin_config` any name goes.
    let is_library = json!({"required": ["go_plugin_config"]});
    let names: Vec<&str> = extensions.iter().map(|(name, _)| name.as_str()).collect();
    let known =
        json!({"if": {"not": is_library}, "then": {"properties": {"name": {"enum": names}}}});
    let configs = extensions.iter().map(|(name, config)| {
        json!({
            "if": {"properties": {"name": {"const": name}}, "required": ["name"], "not": is_library},
            "then": {"properties": {"config": config}},
        })
    });
    let rules = std::iter::once(known).chain(configs).collect();
    definition.insert("allOf".to_owned(), Value::Array(rules));
}

/// The JSON Schema of an extension's configuration.
fn of_extension(schema: &Schema) -> Value {
    let mut value = match &schema.shape {
        Shape::Any => json!({}),
        Shape::Bool => json!({"type": "boolean"}),
        Shape::Integer(min, max) => json!({"type": "integer", "minimum": min, "maximum": max}),
        Shape::Number(min, max) => json!({"type": "number", "minimum": min, "maximum": max}),
        Shape::String => json!({"type": "string"}),
        Shape::Duration => json!({"type": "string", "pattern": DURATION}),
        Shape::Size => json!({"type": ["integer", "string"], "minimum": 0, "pattern": SIZE}),
        Shape::OneOf(words) => json!({"type": "string", "enum": words}),
        Shape::List(item) => json!({"type": "array", "items": of_extension(item)}),
        Shape::MapOf(item) => json!({"type": "object", "additionalProperties": of_extension(item)}),
        Shape::Object(keys) => {
            let properties: Map<String, Value> = keys
                .iter()
                .map(|(name, _, schema)| ((*name).to_owned(), of_extension(schema)))
                .collect();
            let required = keys.iter().filter(|(_, required, _)| *required);
            let required: Vec<&str> = required.map(|(name, ..)| *name).collect();
            json!({
                "type": "object",
                "properties": properties,
                "required": required,
                "additionalProperties": false,
            })
        }
    };
    if let Some(object) = value.as_object_mut() {
        if !schema.description.is_empty() {
            object.insert("description".to_owned(), json!(schema.description));
        }
        if let Some(default) = &schema.default {
            object.insert("default".to_owned(), node_json(default));
        }
    }
    value
}
