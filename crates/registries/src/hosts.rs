//! Hosts as configurations and files write them.

use std::net::SocketAddr;

use serde_json::Value;
use transom_api::{Node, ParseError, ServiceHost};

/// A host in a configuration: its address alone, or with a weight.
pub(crate) fn of_node(node: &Node) -> Result<ServiceHost, ParseError> {
    if node.as_str().is_ok() {
        return host(node, 1);
    }
    let mut fields = node.as_fields()?;
    let address = fields.required("address")?;
    let weight = fields.optional("weight");
    fields.finish()?;
    let weight = match weight {
        Some(weight) => weight.as_integer_in(1..=128)? as u32,
        None => 1,
    };
    host(address, weight)
}

fn host(node: &Node, weight: u32) -> Result<ServiceHost, ParseError> {
    let address = node.as_str()?.to_owned();
    if !is_address(&address) {
        return Err(node
            .error(format!("{address:?} is no address of a host"))
            .with_help("write an IP address and a port, such as 127.0.0.1:8080, or unix:/path"));
    }
    Ok(ServiceHost { address, weight })
}

/// A host in JSON: its address alone, or with a weight. The error says what is wrong.
pub(crate) fn of_json(value: &Value) -> Result<ServiceHost, String> {
    let (address, weight) = match value {
        Value::String(address) => (address.as_str(), Some(1)),
        Value::Object(host) => {
            let address = host.get("address").and_then(Value::as_str);
            let weight = match host.get("weight") {
                Some(weight) => weight.as_u64().filter(|it| (1..=128).contains(it)),
                None => Some(1),
            };
            (address.ok_or("a host has no `address`")?, weight)
        }
        _ => return Err("a host is an address, or a map with `address` and `weight`".to_owned()),
    };
    if !is_address(address) {
        return Err(format!("{address:?} is no address of a host"));
    }
    let weight = weight.ok_or_else(|| format!("the weight of {address} is not from 1 to 128"))?;
    Ok(ServiceHost {
        address: address.to_owned(),
        weight: weight as u32,
    })
}

fn is_address(text: &str) -> bool {
    match text.strip_prefix("unix:") {
        Some(path) => !path.is_empty(),
        None => text.parse::<SocketAddr>().is_ok_and(|it| it.port() != 0),
    }
}
