//! `etcd`: services in an etcd, in go-micro's layout of keys: `/micro/registry/SERVICE/NODE`, whose value is a JSON text with the
//! service and its one node. So a process of go-micro and a Transom find each other.
//!
//! ```yaml
//! service: greeter
//! registry: {name: etcd, config: {address: ["127.0.0.1:2379"]}}
//! ```
//!
//! It is spoken to by its gateway of JSON over HTTP, which every etcd from 3.4 on has. A watch tells that something has changed, and
//! then all keys of the service are read; so nothing can be missed. Who registers does it under a lease of its time to live, which
//! is kept alive with each further call.

mod gateway;

use std::collections::BTreeMap;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};
use tokio::sync::Mutex;
use transom_api::certificate_provider::Provide;
use transom_api::{
    Discovered, Node, ParseError, PrepareContext, PrepareError, Schema, ServiceEntry, ServiceHost,
    ServiceRegistry,
};

use self::gateway::{Fault, Gateway};
use crate::builtin::{Builtin, addresses, addresses_schema};

/// Where go-micro keeps its services.
const PREFIX: &str = "/micro/registry/";

/// The settings.
#[derive(Clone, Debug)]
pub struct Etcd {
    /// Host and port of each member.
    members: Vec<String>,
    user: Option<(String, String)>,
    prefix: String,
}

struct Connected {
    gateway: Gateway,
    prefix: String,
    /// By its key: the lease of a registration, and what was put.
    leases: Mutex<BTreeMap<String, (String, String)>>,
}

impl Builtin for Etcd {
    fn schema() -> Schema {
        Schema::object()
            .required(
                "address",
                addresses_schema("The members: host and port; a list, or one text with commas."),
            )
            .optional("username", Schema::string().describe("Who asks."))
            .optional(
                "password",
                Schema::string().describe("The user's password."),
            )
            .optional(
                "prefix",
                Schema::string()
                    .describe("What the keys of services begin with.")
                    .or(PREFIX),
            )
            .describe("Services in an etcd, in go-micro's layout of keys.")
    }

    fn parse(config: &Node) -> Result<Self, ParseError> {
        let mut fields = config.as_fields()?;
        let address = fields.required("address")?;
        let username = fields.optional("username");
        let password = fields.optional("password");
        let prefix = fields.optional("prefix");
        fields.finish()?;
        let mut members = Vec::new();
        for (text, node) in addresses(address)? {
            members.push(member(&text, &node)?);
        }
        let user = match (username, password) {
            (Some(name), Some(password)) => {
                Some((name.as_str()?.to_owned(), password.as_str()?.to_owned()))
            }
            (None, None) => None,
            (Some(alone), None) | (None, Some(alone)) => {
                return Err(alone.error("`username` and `password` belong together"));
            }
        };
        let prefix = prefix.map_or(Ok(PREFIX), Node::as_str)?;
        Ok(Self {
            members,
            user,
            prefix: format!("{}/", prefix.trim_end_matches('/')),
        })
    }

    fn prepare(&self, _context: &PrepareContext) -> Result<Arc<dyn ServiceRegistry>, PrepareError> {
        Ok(Arc::new(Connected {
            gateway: Gateway::new(self.members.clone(), self.user.clone()),
            prefix: self.prefix.clone(),
            leases: Mutex::default(),
        }))
    }
}

/// Host and port of a member.
fn member(text: &str, node: &Node) -> Result<String, ParseError> {
    if text.starts_with("https://") {
        return Err(node
            .error("etcd is not spoken to with TLS")
            .with_help("let a proxy on this machine do that, or name a member without TLS"));
    }
    let address = text.strip_prefix("http://").unwrap_or(text);
    let address = address.trim_end_matches('/');
    let port = address
        .rsplit_once(':')
        .map(|(host, port)| (host, port.parse::<u16>()));
    match port {
        Some((host, Ok(port))) if !host.is_empty() && port != 0 => Ok(address.to_owned()),
        _ => Err(node
            .error(format!("{text:?} is no address of an etcd"))
            .with_help("write host and port, such as 127.0.0.1:2379")),
    }
}

impl ServiceRegistry for Connected {
    fn watch(self: Arc<Self>, service: String, hosts: Discovered) -> Provide<()> {
        Box::pin(async move {
            let range = self.range(&service);
            loop {
                let (found, revision) = self.read(&range).await?;
                hosts.tell(found);
                let mut create = range.clone();
                if let Some(create) = create.as_object_mut() {
                    create.insert(
                        "start_revision".to_owned(),
                        json!((revision + 1).to_string()),
                    );
                    create.insert("progress_notify".to_owned(), json!(true));
                }
                let body = json!({ "create_request": create });
                let mut watch = self.gateway.stream("/v3/watch", &body).await?;
                loop {
                    let Some(told) = watch.next().await? else {
                        return Err(PrepareError::new("etcd has ended the watch"));
                    };
                    let result = told.get("result").unwrap_or(&told);
                    if result.get("canceled").and_then(Value::as_bool) == Some(true) {
                        // What happened since was compacted: all is read anew.
                        break;
                    }
                    let events = result.get("events").and_then(Value::as_array);
                    if events.is_some_and(|events| !events.is_empty()) {
                        hosts.tell(self.read(&range).await?.0);
                    }
                }
            }
        })
    }

    fn register(self: Arc<Self>, entry: ServiceEntry) -> Provide<()> {
        Box::pin(async move {
            let key = self.key(&entry);
            let value = value(&entry);
            let mut leases = self.leases.lock().await;
            if let Some((lease, put)) = leases.get(&key)
                && *put == value
                && self.keep_alive(lease).await?
            {
                return Ok(());
            }
            let ttl = entry.ttl.as_secs().max(1).to_string();
            let granted = self
                .gateway
                .call("/v3/lease/grant", &json!({"TTL": ttl}))
                .await?;
            let lease =
                text(&granted, "ID").ok_or_else(|| PrepareError::new("etcd grants no lease"))?;
            let put = json!({
                "key": BASE64.encode(&key),
                "value": BASE64.encode(&value),
                "lease": lease,
            });
            self.gateway.call("/v3/kv/put", &put).await?;
            leases.insert(key, (lease, value));
            Ok(())
        })
    }

    fn deregister(self: Arc<Self>, entry: ServiceEntry) -> Provide<()> {
        Box::pin(async move {
            let key = self.key(&entry);
            let lease = self.leases.lock().await.remove(&key);
            let delete = json!({"key": BASE64.encode(&key)});
            self.gateway.call("/v3/kv/deleterange", &delete).await?;
            if let Some((lease, _)) = lease {
                let revoke = json!({ "ID": lease });
                self.gateway.call("/v3/lease/revoke", &revoke).await?;
            }
            Ok(())
        })
    }
}

impl Connected {
    /// All keys of a service.
    fn range(&self, service: &str) -> Value {
        let begin = format!("{}{}/", self.prefix, part(service));
        // The first key behind those that begin so: `0` is what comes after `/`.
        let end = format!("{}{}0", self.prefix, part(service));
        json!({"key": BASE64.encode(begin), "range_end": BASE64.encode(end)})
    }

    fn key(&self, entry: &ServiceEntry) -> String {
        format!(
            "{}{}/{}",
            self.prefix,
            part(&entry.service),
            part(&entry.node)
        )
    }

    /// The hosts of a service, and the revision that they are of.
    async fn read(&self, range: &Value) -> Result<(Vec<ServiceHost>, u64), Fault> {
        let answer = self.gateway.call("/v3/kv/range", range).await?;
        let revision = answer
            .get("header")
            .and_then(|header| text(header, "revision"));
        let revision = revision
            .and_then(|revision| revision.parse().ok())
            .unwrap_or(0);
        let mut hosts = Vec::new();
        let keys = answer.get("kvs").and_then(Value::as_array);
        for pair in keys.into_iter().flatten() {
            let value = text(pair, "value").and_then(|value| BASE64.decode(value).ok());
            match hosts_of(&value.unwrap_or_default()) {
                Some(found) => hosts.extend(found),
                None => {
                    let key = text(pair, "key").and_then(|key| BASE64.decode(key).ok());
                    let key =
                        String::from_utf8_lossy(key.as_deref().unwrap_or_default()).into_owned();
                    tracing::warn!(key, "what etcd has there is no service of go-micro");
                }
            }
        }
        Ok((hosts, revision))
    }

    /// False when the lease is over.
    async fn keep_alive(&self, lease: &str) -> Result<bool, Fault> {
        let answer = self
            .gateway
            .call("/v3/lease/keepalive", &json!({ "ID": lease }))
            .await?;
        let result = answer.get("result").unwrap_or(&answer);
        Ok(text(result, "TTL").is_some_and(|ttl| ttl != "0"))
    }
}

/// A name as a part of a key: go-micro has no slash in one.
fn part(name: &str) -> String {
    name.replace('/', "-")
}

/// The gateway writes numbers of 64 bits as text.
fn text(value: &Value, key: &str) -> Option<String> {
    match value.get(key)? {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

/// What go-micro keeps under the key of a node: the service, with this one node.
fn value(entry: &ServiceEntry) -> String {
    let metadata: serde_json::Map<String, Value> = entry
        .metadata
        .iter()
        .map(|(name, value)| (name.clone(), json!(value)))
        .collect();
    json!({
        "name": entry.service,
        "version": entry.version,
        "metadata": null,
        "endpoints": [],
        "nodes": [{"id": entry.node, "address": entry.address, "metadata": metadata}],
    })
    .to_string()
}

/// The nodes in such a value. A node may have its weight in its metadata.
fn hosts_of(value: &[u8]) -> Option<Vec<ServiceHost>> {
    let service: Value = serde_json::from_slice(value).ok()?;
    let nodes = service.get("nodes")?.as_array()?.iter();
    let hosts = nodes.filter_map(|node| {
        let weight = node
            .get("metadata")
            .and_then(|metadata| text(metadata, "weight"));
        Some(ServiceHost {
            address: text(node, "address")?,
            weight: weight.and_then(|weight| weight.parse().ok()).unwrap_or(1),
        })
    });
    Some(hosts.collect())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn entry() -> ServiceEntry {
        ServiceEntry {
            service: "go.micro/greeter".to_owned(),
            node: "greeter-1".to_owned(),
            address: "127.0.0.1:80".to_owned(),
            version: "latest".to_owned(),
            metadata: vec![("weight".to_owned(), "3".to_owned())],
            ttl: Duration::from_secs(60),
        }
    }

    #[test]
    fn a_registration_is_read_back_as_a_host() {
        let hosts = hosts_of(value(&entry()).as_bytes()).unwrap();
        let weighted = ServiceHost {
            weight: 3,
            ..ServiceHost::new("127.0.0.1:80")
        };
        assert_eq!(hosts, [weighted]);
        assert_eq!(hosts_of(b"{}"), None);
    }

    #[test]
    fn keys_are_those_of_go_micro() {
        let registry = Connected {
            gateway: Gateway::new(vec!["127.0.0.1:1".to_owned()], None),
            prefix: PREFIX.to_owned(),
            leases: Mutex::default(),
        };
        assert_eq!(
            registry.key(&entry()),
            "/micro/registry/go.micro-greeter/greeter-1"
        );
        let range = registry.range("a");
        let decoded = |key: &str| BASE64.decode(range[key].as_str().unwrap()).unwrap();
        assert_eq!(decoded("key"), b"/micro/registry/a/");
        assert_eq!(decoded("range_end"), b"/micro/registry/a0");
    }

    #[test]
    fn members_are_hosts_with_ports() {
        let node = Node::from("x");
        for good in ["127.0.0.1:2379", "http://etcd:2379/", "[::1]:2379"] {
            assert!(member(good, &node).is_ok(), "{good}");
        }
        for bad in ["etcd", "https://etcd:2379", ":1", "etcd:0"] {
            assert!(member(bad, &node).is_err(), "{bad}");
        }
    }
}
