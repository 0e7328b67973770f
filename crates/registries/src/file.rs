//! `file`: services whose hosts stand in a file of JSON, which is looked at again and again.
//!
//! ```json
//! {"greeter": ["127.0.0.1:8080", {"address": "127.0.0.1:8081", "weight": 2}]}
//! ```
//!
//! A file that is away, or is not such, changes nothing: the log tells, and the hosts that it named last stay. Write a new
//! one beside it and rename that, so that nobody ever reads half of it.

use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value};
use tokio::time::{MissedTickBehavior, interval};
use transom_api::certificate_provider::Provide;
use transom_api::{
    Discovered, Node, ParseError, PrepareContext, PrepareError, Schema, ServiceHost,
    ServiceRegistry, Shape,
};

use crate::builtin::Builtin;
use crate::hosts;

/// No file of hosts is larger.
const LARGEST: u64 = 16 << 20;
/// A look costs one read of the file.
const INTERVAL: Duration = Duration::from_secs(1);

/// The settings.
#[derive(Clone, Debug)]
pub struct Watched {
    path: PathBuf,
    interval: Duration,
}

impl Builtin for Watched {
    fn schema() -> Schema {
        Schema::object()
            .required(
                "address",
                Schema::string().describe(
                    "The file. A relative path begins at the configuration's folder.",
                ),
            )
            .optional(
                "interval",
                Schema::new(Shape::Duration)
                    .describe("How often it is looked at; 10ms or more.")
                    .or("1s"),
            )
            .describe("Services whose hosts stand in a file of JSON: a map from names to lists of addresses, or of maps with `address` and `weight`.")
    }

    fn parse(config: &Node) -> Result<Self, ParseError> {
        let mut fields = config.as_fields()?;
        let address = fields.required("address")?;
        let interval = fields.optional("interval");
        fields.finish()?;
        let path = PathBuf::from(address.as_str()?);
        if path.as_os_str().is_empty() {
            return Err(address.error("no file is named"));
        }
        let interval = match interval {
            Some(node) => {
                let interval = node.as_duration()?;
                if interval < Duration::from_millis(10) {
                    return Err(node.error("a file is looked at every 10ms at the most"));
                }
                interval
            }
            None => INTERVAL,
        };
        Ok(Self { path, interval })
    }

    fn prepare(&self, context: &PrepareContext) -> Result<Arc<dyn ServiceRegistry>, PrepareError> {
        Ok(Arc::new(Self {
            path: context.path(&self.path),
            interval: self.interval,
        }))
    }
}

impl ServiceRegistry for Watched {
    fn watch(self: Arc<Self>, service: String, hosts: Discovered) -> Provide<()> {
        Box::pin(async move {
            let mut looks = interval(self.interval);
            looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            let mut last_fault = None;
            loop {
                looks.tick().await;
                let (path, service) = (self.path.clone(), service.clone());
                let read = tokio::task::spawn_blocking(move || read(&path, &service)).await;
                match read {
                    Ok(Ok(found)) => {
                        last_fault = None;
                        hosts.tell(found);
                    }
                    Ok(Err(why)) if last_fault.as_deref() != Some(&*why) => {
                        let file = self.path.display();
                        tracing::warn!("the hosts in {file} stay as they were: {why}");
                        last_fault = Some(why);
                    }
                    Ok(Err(_)) => {}
                    Err(error) => return Err(PrepareError::new(error.to_string())),
                }
            }
        })
    }
}

/// The hosts of a service. A service that is not there has none.
fn read(path: &Path, service: &str) -> Result<Vec<ServiceHost>, String> {
    let file = fs::File::open(path).map_err(|error| format!("it cannot be opened: {error}"))?;
    let mut text = String::new();
    file.take(LARGEST + 1)
        .read_to_string(&mut text)
        .map_err(|error| format!("it cannot be read: {error}"))?;
    if text.len() as u64 > LARGEST {
        return Err(format!("it is larger than {LARGEST} bytes"));
    }
    parse(&text, service)
}

fn parse(text: &str, service: &str) -> Result<Vec<ServiceHost>, String> {
    let services: Map<String, Value> = serde_json::from_str(text)
        .map_err(|error| format!("it is no map of services in JSON: {error}"))?;
    let Some(hosts) = services.get(service) else {
        return Ok(Vec::new());
    };
    let hosts = hosts
        .as_array()
        .ok_or_else(|| format!("what it has for `{service}` is no list"))?;
    hosts.iter().map(hosts::of_json).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_a_map_of_services() {
        let text = r#"{"a": ["127.0.0.1:1", {"address": "unix:/s", "weight": 3}], "b": "x"}"#;
        let hosts = parse(text, "a").unwrap();
        assert_eq!(hosts[0], ServiceHost::new("127.0.0.1:1"));
        assert_eq!((hosts[1].address.as_str(), hosts[1].weight), ("unix:/s", 3));
        assert_eq!(parse(text, "c"), Ok(Vec::new()));
        for (text, service, why) in [
            (text, "b", "what it has for `b` is no list"),
            (
                r#"{"a": ["host:1"]}"#,
                "a",
                "\"host:1\" is no address of a host",
            ),
            (r#"{"a": [{"weight": 1}]}"#, "a", "a host has no `address`"),
            (
                r#"{"a": [{"address": "127.0.0.1:1", "weight": 0}]}"#,
                "a",
                "the weight of 127.0.0.1:1 is not from 1 to 128",
            ),
        ] {
            assert_eq!(parse(text, service).unwrap_err(), why);
        }
        assert!(parse("[]", "a").unwrap_err().starts_with("it is no map"));
    }
}
