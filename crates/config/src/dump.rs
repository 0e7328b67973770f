//! A configuration as JSON for a person to look at, with its secrets hidden.

mod condition;
mod hop;
mod network;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value, json};
use transom_api::units::format_duration;
use transom_api::{FailurePolicy, Metadata, MetadataValue, Node, NodeKind, Phase};

use crate::{
    CertificateFiles, Cluster, ClusterTls, Configuration, Extension, ExtensionName, FieldMatch,
    FilterChain, ForwardClientCertificate, HalfClose, HeaderEdits, HealthCheck, HostSet, Http,
    IpNetwork, ListenAddress, Listener, ListenerTls, NetworkFilter, OnTimeout, PathMatch,
    PathRewrite, PluginDeclaration, Process, ProxyVersion, RedirectPath, Resources, ResponseOrder,
    RetryPolicy, RouteAction, RouteFilter, RouteMatch, RouteTable, SanMatch, SourceType,
    TransportProtocol, Treatment, TrustedCa, Use, ValueMatch, WeightedCluster,
    listener::format_mode,
};

/// What stands in place of a secret.
const HIDDEN: &str = "[hidden]";

impl Configuration {
    /// What `/config_dump` shows: the process's settings and all resources with their defaults filled in. Keys keep the
    /// names they have in a file.
    ///
    /// In the configurations of extensions, the values of keys that are named like secrets (`password`, `client_secret`,
    /// `token`, `private_key`, `api_key`, `authorization`) are `"[hidden]"`, and so are user and password in URLs.
    #[must_use]
    pub fn dump(&self) -> Value {
        let mut dump = process(&self.process);
        if let (Some(dump), Value::Object(resources)) =
            (dump.as_object_mut(), self.resources.dump())
        {
            dump.extend(resources);
        }
        dump
    }
}

impl Resources {
    /// The part of [`Configuration::dump`] that can change while the process runs.
    #[must_use]
    pub fn dump(&self) -> Value {
        json!({
            "limits": {"max_connections": self.limits.max_connections},
            "listeners": list(&self.listeners, listener),
            "route_tables": list(&self.route_tables, route_table),
            "clusters": list(&self.clusters, cluster),
            "host_sets": list(&self.host_sets, host_set),
            "plugins": plugins(&self.plugins),
            "extensions": list(&self.extensions, extension),
        })
    }
}

fn list<T>(resources: &BTreeMap<String, Arc<T>>, one: impl Fn(&T) -> Value) -> Value {
    resources.values().map(|resource| one(resource)).collect()
}

fn process(process: &Process) -> Value {
    json!({
        "workers": process.workers,
        "admin": process.admin.as_ref().map(|admin| json!({"address": admin.address.to_string(), "mosn_compatible": admin.mosn_compatible})),
        "drain_timeout": duration(process.drain_timeout),
    })
}

fn listener(listener: &Listener) -> Value {
    json!({
        "name": listener.name,
        "address": listener.address.to_string(),
        "tls": listener.tls.as_ref().map(listener_tls),
        "listener_filters": listener.listener_filters.iter().map(used).collect::<Value>(),
        "listener_filters_timeout": duration(listener.listener_filters_timeout),
        "on_listener_filters_timeout": match listener.on_listener_filters_timeout {
            OnTimeout::Close => "close",
            OnTimeout::Continue => "continue",
        },
        "access_logs": listener.access_logs.iter().map(used).collect::<Value>(),
        "filter_chains": listener.filter_chains.iter().map(filter_chain).collect::<Value>(),
        "network_filters": network_filters(&listener.network_filters),
        "max_connections": listener.max_connections,
        "accept_rate": listener.accept_rate.map(|rate| json!({
            "per_second": rate.per_second,
            "burst": rate.burst,
        })),
        "balance": listener.balance.name(),
        "unix_socket": matches!(listener.address.value, ListenAddress::Unix(_)).then(|| json!({
            "mode": format_mode(listener.unix_socket.mode),
            "user": listener.unix_socket.user.as_ref().map(|user| &user.value),
            "group": listener.unix_socket.group.as_ref().map(|group| &group.value),
        })),
        "transparent": listener.transparent,
    })
}

fn filter_chain(chain: &FilterChain) -> Value {
    let texts = |networks: &[IpNetwork]| -> Value {
        networks.iter().map(|it| json!(it.to_string())).collect()
    };
    let matches = &chain.matches;
    json!({
        "name": chain.name,
        "match": {
            "destination_port": matches.destination_port,
            "destination_networks": texts(&matches.destination_networks),
            "server_names": matches.server_names,
            "transport_protocol": matches.transport_protocol.map(TransportProtocol::name),
            "application_protocols": matches.application_protocols,
            "direct_source_networks": texts(&matches.direct_source_networks),
            "source_type": matches.source_type.map(SourceType::name),
            "source_networks": texts(&matches.source_networks),
            "source_ports": matches.source_ports,
        },
        "tls": chain.tls.as_ref().map(listener_tls),
        "network_filters": network_filters(&chain.network_filters),
    })
}

fn network_filters(filters: &[NetworkFilter]) -> Value {
    let filters = filters.iter().map(|filter| match filter {
        NetworkFilter::Http(it) => json!({"name": "http", "id": it.id, "config": http(it)}),
        NetworkFilter::TcpProxy(it) => network::tcp_proxy(it),
        NetworkFilter::UdpProxy(it) => network::udp_proxy(it),
        NetworkFilter::Extension(it) => used(it),
    });
    filters.collect()
}

/// Paths of keys are no secrets; what is in the files is not here.
fn listener_tls(tls: &ListenerTls) -> Value {
    let admitted = tls.client.admitted();
    json!({
        "certificates": tls.certificates.iter().map(certificate_files).collect::<Value>(),
        "providers": tls.providers.iter().map(used).collect::<Value>(),
        "on_demand": tls.on_demand.as_ref().map(|it| json!({
            "names": it.names,
            "timeout": duration(it.timeout),
            "max_names": it.max_names,
            "max_pending": it.max_pending,
            "retry_after": duration(it.retry_after),
        })),
        "alpn": tls.alpn,
        "client_ca": admitted.and_then(|it| it.authorities.as_ref()).map(|file| &file.value),
        "client_certificate": tls.client.name(),
        "client_san": admitted.map(|it| san_matches(&it.names)),
        "client_crl": admitted.and_then(|it| it.revoked.as_ref()).map(|file| &file.value),
        "session_tickets": tls.session_tickets,
        "min_version": tls.min_version.name(),
        "handshake_timeout": duration(tls.handshake_timeout),
    })
}

fn san_matches(rules: &[SanMatch]) -> Value {
    let rule = |rule: &SanMatch| {
        let (key, value) = value_match(&rule.value);
        json!({"type": rule.kind.name(), key: value})
    };
    rules.iter().map(rule).collect()
}

fn cluster_tls(tls: &ClusterTls) -> Value {
    json!({
        "sni": tls.sni.as_ref().map(|sni| &sni.value),
        "auto_sni": tls.auto_sni,
        "ca": match &tls.trusted {
            Some(TrustedCa::File(file)) => json!(file.value),
            Some(TrustedCa::System) => json!("system"),
            Some(TrustedCa::Providers) => json!("providers"),
            None => Value::Null,
        },
        "crl": tls.revoked.as_ref().map(|file| &file.value),
        "san": san_matches(&tls.names),
        "verify": tls.trusted.is_some(),
        "client": tls.client.as_ref().map(certificate_files),
        "providers": tls.providers.iter().map(used).collect::<Value>(),
        "alpn": tls.alpn,
        "min_version": tls.min_version.name(),
    })
}

fn certificate_files(files: &CertificateFiles) -> Value {
    json!({
        "certificate": files.certificate.value,
        "private_key": files.private_key.value,
        "ocsp_response": files.ocsp_response.as_ref().map(|file| &file.value),
    })
}

fn http(http: &Http) -> Value {
    let mut dump = json!({
        "stream_filters": http.stream_filters.iter().map(used).collect::<Value>(),
        "access_logs": http.access_logs.iter().map(used).collect::<Value>(),
        "route_table": http.route_table.value,
        "paths": {
            "escaped_slashes": treatment(http.paths.escaped_slashes),
            "dot_segments": treatment(http.paths.dot_segments),
            "merge_slashes": http.paths.merge_slashes,
        },
        "forward_client_certificate": match http.forward_client_certificate {
            ForwardClientCertificate::Sanitise => "sanitise",
            ForwardClientCertificate::Forward => "forward",
            ForwardClientCertificate::Set => "set",
        },
        "protocol": http.protocol.as_ref().map(implementation),
        "response_order": match http.response_order {
            ResponseOrder::Reverse => "reverse",
            ResponseOrder::Config => "config",
        },
        "local_reply": {
            "upstream_unavailable": http.local_reply.upstream_unavailable,
            "echo_request_headers": http.local_reply.echo_request_headers,
        },
        "upgrades": http.upgrades,
        "half_close": match http.half_close {
            HalfClose::Serve => "serve",
            HalfClose::Abort => "abort",
        },
        "allow_bare_lf": http.allow_bare_lf,
        "limits": {
            "fields": http.limits.fields,
            "head": http.limits.head,
            "request_line": http.limits.request_line,
            "request_body": http.limits.request_body,
        },
        "timeouts": {
            "header": duration(http.timeouts.header),
            "body_idle": duration(http.timeouts.body_idle),
            "write_idle": duration(http.timeouts.write_idle),
            "idle": duration(http.timeouts.idle),
            "stream": duration(http.timeouts.stream),
            "tunnel_idle": duration(http.timeouts.tunnel_idle),
        },
        "watermark": http.watermark,
    });
    if let Some(keys) = dump.as_object_mut() {
        keys.extend(hop::hop(&http.hop).map(|(key, value)| (key.to_owned(), value)));
    }
    dump
}

fn treatment(treatment: Treatment) -> &'static str {
    match treatment {
        Treatment::Keep => "keep",
        Treatment::Reject => "reject",
        Treatment::Normalise => "normalise",
    }
}

fn plugins(plugins: &BTreeMap<String, Arc<PluginDeclaration>>) -> Value {
    let one = |plugin: &PluginDeclaration| {
        let mut shown = redacted(&plugin.declaration);
        if shown.is_null() {
            shown = json!({});
        }
        if let Some(keys) = shown.as_object_mut() {
            keys.insert("runtime".to_owned(), json!(plugin.runtime.value));
        }
        shown
    };
    let plugins = plugins.iter();
    plugins
        .map(|(name, plugin)| (name.clone(), one(plugin)))
        .collect::<Map<String, Value>>()
        .into()
}

fn extension(extension: &Extension) -> Value {
    let (kind, name) = name_of(&extension.extension);
    json!({
        "id": extension.name,
        kind: name,
        "config": redacted(&extension.config),
    })
}

fn name_of(extension: &ExtensionName) -> (&'static str, &str) {
    let kind = match extension {
        ExtensionName::Builtin(_) => "name",
        ExtensionName::Plugin(_) => "plugin",
        ExtensionName::Resource(_) => "extension",
    };
    (kind, extension.as_str())
}

fn used(used: &Use) -> Value {
    let (kind, name) = name_of(&used.extension);
    json!({
        kind: name,
        "id": used.id,
        "config": redacted(&used.config),
        "phase": used.phase.map(Phase::name),
        "on_failure": match used.on_failure {
            FailurePolicy::Closed => "closed",
            FailurePolicy::Open => "open",
        },
        "when": used.when.as_ref().map(condition::shown),
        "sample": used.sample,
        "bounds": used.bounds.as_deref().map(condition::bounds),
        "disabled": used.disabled,
    })
}

fn route_table(table: &RouteTable) -> Value {
    let virtual_hosts = table.virtual_hosts.iter().map(|host| {
        let routes = host.routes.iter().map(|route| {
            json!({
                "name": route.name,
                "match": matcher(&route.matcher),
                "action": action(&route.action),
                "timeout": route.timeout.map(duration),
                "request_headers": edits(&route.request_headers),
                "response_headers": edits(&route.response_headers),
                "metadata": metadata(&route.metadata),
                "filters": route_filters(&route.filters),
            })
        });
        json!({
            "name": host.name,
            "domains": host.domains,
            "routes": routes.collect::<Value>(),
            "request_headers": edits(&host.request_headers),
            "response_headers": edits(&host.response_headers),
            "metadata": metadata(&host.metadata),
            "filters": route_filters(&host.filters),
        })
    });
    json!({"name": table.name, "virtual_hosts": virtual_hosts.collect::<Value>()})
}

/// Metadata is no place for secrets: every filter and log line may show it.
fn metadata(metadata: &Metadata) -> Value {
    let spaces = metadata.iter().map(|(namespace, values)| {
        let values = values
            .iter()
            .map(|(key, value)| (key.clone(), metadata_value(value)));
        (namespace.clone(), Value::Object(values.collect()))
    });
    Value::Object(spaces.collect())
}

fn metadata_value(value: &MetadataValue) -> Value {
    match value {
        MetadataValue::Null => Value::Null,
        MetadataValue::Bool(value) => json!(value),
        MetadataValue::Number(value) => json!(value),
        MetadataValue::String(text) => json!(text),
        MetadataValue::List(values) => values.iter().map(metadata_value).collect(),
        MetadataValue::Struct(values) => Value::Object(
            values
                .iter()
                .map(|(key, value)| (key.clone(), metadata_value(value)))
                .collect(),
        ),
    }
}

fn matcher(matcher: &RouteMatch) -> Value {
    let mut shown = Map::new();
    let mut put = |key: &str, value: Value| drop(shown.insert(key.to_owned(), value));
    match &matcher.path {
        PathMatch::Any => {}
        PathMatch::Connect => put("connect", json!(true)),
        PathMatch::Prefix(prefix) => put("prefix", json!(prefix)),
        PathMatch::Exact(path) => put("path", json!(path)),
        PathMatch::Regex(regex) => put("regex", json!(regex.as_str())),
    }
    if !matcher.methods.is_empty() {
        put("methods", json!(matcher.methods));
    }
    for (key, fields) in [("headers", &matcher.headers), ("query", &matcher.query)] {
        if !fields.is_empty() {
            put(key, fields.iter().map(field_match).collect());
        }
    }
    Value::Object(shown)
}

fn action(action: &RouteAction) -> Value {
    match action {
        RouteAction::Forward(forward) => {
            let clusters = forward.clusters.iter();
            json!({
                "weighted_clusters": clusters.map(weighted).collect::<Value>(),
                "rewrite": {
                    "prefix": match &forward.path {
                        Some(PathRewrite::Prefix(prefix)) => json!(prefix),
                        _ => Value::Null,
                    },
                    "regex": match &forward.path {
                        Some(PathRewrite::Regex(pattern, substitution)) => {
                            json!({"pattern": pattern.as_str(), "substitution": substitution})
                        }
                        _ => Value::Null,
                    },
                    "host": forward.host,
                },
                "retry": forward.retry.as_ref().map(retry),
                "terminate_connect": forward.terminate_connect,
            })
        }
        RouteAction::Redirect(redirect) => json!({"redirect": {
            "code": redirect.status,
            "scheme": redirect.scheme,
            "host": redirect.host,
            "port": redirect.port,
            "path": match &redirect.path {
                Some(RedirectPath::Whole(path)) => json!(path),
                _ => Value::Null,
            },
            "prefix": match &redirect.path {
                Some(RedirectPath::Prefix(prefix)) => json!(prefix),
                _ => Value::Null,
            },
            "strip_query": redirect.strip_query,
        }}),
        RouteAction::DirectResponse(direct) => {
            json!({"direct_response": {"status": direct.status, "body": direct.body}})
        }
    }
}

fn retry(retry: &RetryPolicy) -> Value {
    let (first, last) = retry.backoff;
    json!({
        "on": retry.on.iter().map(|on| on.name()).collect::<Vec<_>>(),
        "attempts": retry.attempts,
        "per_try_timeout": retry.per_try_timeout.map(duration),
        "backoff": format!("{}..{}", duration(first), duration(last)),
        "body_limit": retry.body_limit,
    })
}

fn weighted(weighted: &WeightedCluster) -> Value {
    json!({"cluster": weighted.cluster.value, "weight": weighted.weight})
}

fn edits(edits: &HeaderEdits) -> Value {
    let pairs = |pairs: &[(String, String)]| -> Value {
        let pairs = pairs.iter();
        let shown = |(name, value): &(String, String)| {
            let value = if is_secret(name) { HIDDEN } else { value };
            (name.clone(), json!(value))
        };
        Value::Object(pairs.map(shown).collect())
    };
    json!({"remove": edits.remove, "set": pairs(&edits.set), "add": pairs(&edits.add)})
}

fn field_match(field: &FieldMatch) -> Value {
    // A route that asks for a token in a header names it.
    let (key, value) = value_match(&field.value);
    let value = match value {
        Value::String(_) if is_secret(&field.name) => json!(HIDDEN),
        value => value,
    };
    json!({"name": field.name, key: value, "invert": field.invert})
}

fn value_match(value: &ValueMatch) -> (&'static str, Value) {
    match value {
        ValueMatch::Present => ("present", json!(true)),
        ValueMatch::Absent => ("absent", json!(true)),
        ValueMatch::Exact(value) => ("exact", json!(value)),
        ValueMatch::Prefix(value) => ("prefix", json!(value)),
        ValueMatch::Suffix(value) => ("suffix", json!(value)),
        ValueMatch::Regex(value) => ("regex", json!(value.as_str())),
    }
}

fn route_filters(filters: &BTreeMap<String, RouteFilter>) -> Value {
    let filter = |filter: &RouteFilter| match filter {
        RouteFilter::Disabled => json!({"disabled": true}),
        RouteFilter::Config(config) => json!({"config": redacted(config)}),
    };
    let filters = filters.iter();
    Value::Object(
        filters
            .map(|(name, it)| (name.clone(), filter(it)))
            .collect(),
    )
}

fn implementation(used: &Use) -> Value {
    json!({"name": used.extension.as_str(), "config": redacted(&used.config)})
}

fn cluster(cluster: &Cluster) -> Value {
    json!({
        "name": cluster.name,
        "load_balancing": implementation(&cluster.load_balancing),
        "connect_timeout": duration(cluster.connect_timeout),
        "host_set": cluster.host_set,
        "service": cluster.discovery.as_ref().map(|discovery| discovery.service.as_str()),
        "registry": cluster.discovery.as_ref().map(|discovery| implementation(&discovery.registry)),
        "transport": cluster.transport.as_ref().map(implementation),
        "client": cluster.client.as_ref().map(implementation),
        "original_dst": cluster.original_dst.as_ref().map(|original| json!({
            "networks": original.networks.iter().map(|it| json!(it.to_string())).collect::<Value>(),
            "port": original.port,
        })),
        "proxy_protocol": cluster.proxy_protocol.as_ref().map(|protocol| json!({
            "version": match protocol.version {
                ProxyVersion::V1 => 1,
                ProxyVersion::V2 => 2,
            },
            "values": protocol.values.iter().map(|value| json!(value.name())).collect::<Value>(),
        })),
        "health_check": cluster.health_check.as_ref().map(health_check),
        "outlier_detection": cluster.outlier_detection.as_ref().map(|outliers| json!({
            "consecutive_failures": outliers.consecutive_failures,
            "base_ejection": duration(outliers.base_ejection),
            "max_ejection": duration(outliers.max_ejection),
            "max_ejected": outliers.max_ejected,
        })),
        "panic_threshold": cluster.panic_threshold,
        "circuit_breakers": {
            "max_connections": cluster.circuit_breakers.max_connections,
            "max_pending": cluster.circuit_breakers.max_pending,
            "max_requests": cluster.circuit_breakers.max_requests,
            "max_retries": cluster.circuit_breakers.max_retries,
            "retry_budget": {
                "percent": cluster.circuit_breakers.retry_budget.percent,
                "min": cluster.circuit_breakers.retry_budget.min,
            },
        },
        "pool": {
            "idle_timeout": duration(cluster.pool.idle_timeout),
            "max_idle": cluster.pool.max_idle,
            "max_requests_per_connection": cluster.pool.max_requests_per_connection,
            "max_connections_per_host": cluster.pool.max_connections_per_host,
            "max_age": cluster.pool.max_age.map(duration),
        },
        "tls": cluster.tls.as_ref().map(cluster_tls),
    })
}

fn health_check(check: &HealthCheck) -> Value {
    json!({
        "http": check.http.as_ref().map(|http| json!({
            "path": http.path,
            "host": http.host,
            "method": http.method,
            "statuses": http.statuses.iter().map(ToString::to_string).collect::<Vec<_>>(),
        })),
        "interval": duration(check.interval),
        "jitter": duration(check.jitter),
        "timeout": duration(check.timeout),
        "unhealthy_threshold": check.unhealthy_threshold,
        "healthy_threshold": check.healthy_threshold,
        "initially": if check.initially_healthy { "healthy" } else { "unhealthy" },
        "port": check.port,
    })
}

fn host_set(set: &HostSet) -> Value {
    let hosts = set.hosts.iter();
    let host =
        |host: &crate::Host| json!({"address": host.address.to_string(), "weight": host.weight});
    json!({"name": set.name, "endpoints": hosts.map(host).collect::<Value>()})
}

fn duration(duration: Duration) -> String {
    format_duration(duration)
}

/// A node as JSON. Numbers beyond 64 bits become floats, as JSON's readers have it.
pub(crate) fn node_json(node: &Node) -> Value {
    json(node, &|_, node| node_json(node))
}

/// The same without secrets.
fn redacted(node: &Node) -> Value {
    match &node.kind {
        NodeKind::String(text) => Value::String(without_user(text)),
        _ => json(node, &|name, node| match name {
            Some(name) if is_secret(name) => hidden(node),
            _ => redacted(node),
        }),
    }
}

fn json(node: &Node, child: &dyn Fn(Option<&str>, &Node) -> Value) -> Value {
    match &node.kind {
        NodeKind::Null => Value::Null,
        NodeKind::Bool(value) => json!(value),
        NodeKind::Integer(value) => match (u64::try_from(*value), i64::try_from(*value)) {
            (Ok(value), _) => json!(value),
            (_, Ok(value)) => json!(value),
            _ => json!(*value as f64),
        },
        NodeKind::Float(value) => json!(value),
        NodeKind::String(text) => json!(text),
        NodeKind::List(items) => items.iter().map(|item| child(None, item)).collect(),
        NodeKind::Map(entries) => {
            let entries = entries.iter();
            let map: Map<String, Value> = entries
                .map(|(key, value)| (key.name.clone(), child(Some(&key.name), value)))
                .collect();
            Value::Object(map)
        }
    }
}

/// Everything below a secret key is hidden, but for the shape.
fn hidden(node: &Node) -> Value {
    match &node.kind {
        NodeKind::Null => Value::Null,
        NodeKind::List(_) | NodeKind::Map(_) => json(node, &|_, node| hidden(node)),
        _ => json!(HIDDEN),
    }
}

/// Whether a key is named like a secret, in any of the ways that words are put together (`api_key`, `X-Api-Key`,
/// `clientSecret`). Better one too many: `token_bucket` is not hidden, `tokens` is.
fn is_secret(name: &str) -> bool {
    const SECRETS: &[&str] = &[
        "password",
        "passwords",
        "passwd",
        "passphrase",
        "secret",
        "secrets",
        "token",
        "tokens",
        "credential",
        "credentials",
        "authorization",
        "cookie",
    ];
    const SECRET_KEYS: &[&str] = &[
        "private",
        "api",
        "access",
        "secret",
        "signing",
        "encryption",
        "hmac",
    ];
    // A word after which the value is about the secret and not the secret.
    const ABOUT: &[&str] = &[
        "file", "path", "name", "header", "ttl", "timeout", "bucket", "url", "type", "length",
        "size",
    ];
    let words = words(name);
    let Some(last) = words.last() else {
        return false;
    };
    if ABOUT.contains(&last.as_str()) {
        return false;
    }
    let pairs = words.iter().zip(words.iter().skip(1));
    words.iter().any(|word| SECRETS.contains(&word.as_str()))
        || pairs.into_iter().any(|(first, second)| {
            SECRET_KEYS.contains(&first.as_str()) && matches!(second.as_str(), "key" | "keys")
        })
        || matches!(
            words.concat().as_str(),
            "privatekey" | "apikey" | "accesskey" | "secretkey"
        )
}

/// The words of a name, in lower case.
fn words(name: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut was_lower = false;
    for c in name.chars() {
        let begins = !c.is_alphanumeric() || c.is_uppercase() && was_lower;
        if begins {
            words.push(String::new());
        }
        if let Some(word) = words.last_mut().filter(|_| c.is_alphanumeric()) {
            word.extend(c.to_lowercase());
        }
        was_lower = c.is_lowercase();
    }
    words.retain(|word| !word.is_empty());
    words
}

/// `redis://user:password@host` without its user and password (RFC 3986, section 3.2.1).
fn without_user(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once("://") else {
        return text.to_owned();
    };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at_checked(end).unwrap_or((rest, ""));
    match authority.rsplit_once('@') {
        Some((_, host)) => format!("{scheme}://{HIDDEN}@{host}{path}"),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_named_like_secrets_are_told_from_keys_about_them() {
        for name in [
            "password",
            "db_password",
            "client_secret",
            "clientSecret",
            "token",
            "X-Auth-Token",
            "private_key",
            "privateKey",
            "apikey",
            "X-Api-Key",
            "Authorization",
            "secret_key",
            "tokens",
        ] {
            assert!(is_secret(name), "{name}");
        }
        for name in [
            "user",
            "key",
            "token_bucket",
            "password_file",
            "public_key",
            "secret_name",
            "tokenizer",
            "",
            "_",
        ] {
            assert!(!is_secret(name), "{name}");
        }
    }

    #[test]
    fn what_is_below_a_secret_key_is_hidden_too() {
        let node = Node::map([
            ("password", "hunter2".into()),
            (
                "secrets",
                Node::list(["a".into(), Node::map([("b", 5.into())])]),
            ),
            ("user", "me".into()),
            ("url", "redis://u:p@h:1/2?x=a@b".into()),
        ]);
        assert_eq!(
            redacted(&node),
            json!({
                "password": "[hidden]",
                "secrets": ["[hidden]", {"b": "[hidden]"}],
                "user": "me",
                "url": "redis://[hidden]@h:1/2?x=a@b",
            })
        );
    }
}
