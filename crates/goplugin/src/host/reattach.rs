//! Plugins that somebody else started.

use std::io;

use super::error::StartError;
use super::exit::Exit;
use super::process::Process;
use super::runner::{Boxed, Launch, Runner, Running};
use crate::handshake::{PluginAddr, Protocol};
use crate::net::Io;
use crate::owner::Owner;

/// Where a running plugin is: Go's `ReattachConfig`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ReattachConfig {
    /// What it speaks; only gRPC can be attached to.
    pub protocol: Protocol,
    /// Its version.
    pub protocol_version: i32,
    /// Where it listens.
    pub address: PluginAddr,
    /// Its process id.
    pub pid: u32,
    /// Whether it is part of a test: then it ends by itself, and killing the client leaves it alone.
    pub test: bool,
}

impl ReattachConfig {
    /// The JSON form that Terraform reads (one value of `TF_REATTACH_PROVIDERS`).
    pub fn to_json(&self) -> String {
        serde_json::json!({
            "Protocol": self.protocol.to_string(),
            "ProtocolVersion": self.protocol_version,
            "Pid": self.pid,
            "Test": self.test,
            "Addr": {"Network": self.address.network(), "String": self.address.address()},
        })
        .to_string()
    }

    /// Reads that JSON form; `None` when something is missing or of another type.
    pub fn from_json(text: &str) -> Option<Self> {
        let value: serde_json::Value = serde_json::from_str(text).ok()?;
        let address = value.get("Addr")?;
        let network = address.get("Network")?.as_str()?;
        let path = address.get("String")?.as_str()?;
        Some(Self {
            protocol: match value.get("Protocol")?.as_str()? {
                "grpc" => Protocol::Grpc,
                "netrpc" | "" => Protocol::NetRpc,
                _ => return None,
            },
            protocol_version: value.get("ProtocolVersion")?.as_i64()?.try_into().ok()?,
            address: PluginAddr::parse(network, path).ok()?,
            pid: value.get("Pid")?.as_u64()?.try_into().ok()?,
            test: value
                .get("Test")
                .and_then(serde_json::Value::as_bool)
                .unwrap_or(false),
        })
    }
}

/// Finds the process and knocks at its address once, as Go does: a stale configuration is found out before anything is called.
pub(super) async fn find(config: &ReattachConfig, owner: Owner) -> Result<Process, StartError> {
    let gone = |what: String| StartError::ReattachNotFound(what);
    let process = Process::stranger(config.pid)
        .map_err(|error| gone(format!("process {}: {error}", config.pid)))?;
    Io::connect(&config.address, owner)
        .await
        .map_err(|error| gone(format!("{}: {error}", config.address)))?;
    Ok(process)
}

/// Watches a plugin that it did not start.
pub(super) struct Attached(pub(super) Process);

impl Runner for Attached {
    fn start(&mut self, _: Launch) -> Boxed<'_, Result<Running, StartError>> {
        Box::pin(async {
            Err(StartError::Conflict(
                "a plugin that runs already cannot be started",
            ))
        })
    }

    fn wait(&self) -> Boxed<'_, io::Result<Exit>> {
        Box::pin(self.0.wait())
    }

    fn kill(&self) -> Boxed<'_, io::Result<()>> {
        Box::pin(async { self.0.kill() })
    }

    fn name(&self) -> String {
        format!("process {}", self.0.pid())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_json_form_is_terraforms() {
        let text = r#"{"Protocol":"grpc","ProtocolVersion":6,"Pid":1,"Test":true,"Addr":{"Network":"unix","String":"/path"}}"#;
        let config = ReattachConfig::from_json(text).unwrap();
        assert_eq!(config.protocol_version, 6);
        assert_eq!(config.address, PluginAddr::Unix("/path".into()));
        assert!(config.test);
        assert_eq!(ReattachConfig::from_json(&config.to_json()), Some(config));
        assert_eq!(ReattachConfig::from_json("{}"), None);
        assert_eq!(ReattachConfig::from_json("["), None);
    }
}
