//! `transom plugin check`.

use std::time::Duration;

use serde_json::{Value, json};
use transom_goplugin::host::Client;
use transom_process::Request;
use transom_process::call::proto::plugin_client::PluginClient;
use transom_process::probe::{Code, Probe, ProbeError, services};
use transom_process::v1::{ConfigFault, DescribeResponse, Extension, Kind, Use};

use super::start::{Started, help, start};
use super::{Program, Protocol, failed};
use crate::command::Output;
use crate::{FAULT, GOOD};

/// How long a plugin may take for an answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// What was found out.
struct Found {
    protocol: &'static str,
    handshake: String,
    pid: u32,
    started: Duration,
    healthy: bool,
    services: Option<Vec<String>>,
    /// By `transom.plugin.v1` only.
    described: Option<DescribeResponse>,
    first: First,
}

/// What it answered first.
struct First {
    asked: String,
    answer: String,
    good: bool,
}

pub(super) async fn check(
    protocol: Option<Protocol>,
    config: &str,
    output: Output,
    program: &Program,
) -> u8 {
    let (started, time) = match start(protocol, program).await {
        Ok(started) => started,
        Err(error) => return failed(output, FAULT, &error.to_string(), help(&error)),
    };
    let found = match tokio::time::timeout(PATIENCE, find(&started, config, time)).await {
        Ok(found) => found,
        Err(_) => Err("the plugin started, but did not answer within 10 s".to_owned()),
    };
    match started {
        Started::Transom(probe) => drop(probe.stop().await),
        Started::Call(client) => client.kill().await,
    }
    let found = match found {
        Ok(found) => found,
        Err(error) => {
            let help = "its first call must be answered: for transom.plugin.v1 that is Describe, for MOSN's protocol Call";
            return failed(output, FAULT, &error, help);
        }
    };
    match output {
        Output::Text => print!("{}", found.text()),
        Output::Json => println!("{:#}", found.json()),
    }
    if found.first.good { GOOD } else { FAULT }
}

async fn find(started: &Started, config: &str, time: Duration) -> Result<Found, String> {
    let client = match started {
        Started::Transom(probe) => probe.client(),
        Started::Call(client) => client,
    };
    let mut found = Found {
        protocol: "call",
        handshake: handshake(client),
        pid: client.pid(),
        started: time,
        healthy: client.ping().await.is_ok(),
        services: services(client.channel()).await,
        described: None,
        first: First {
            asked: "Call with nothing".to_owned(),
            answer: String::new(),
            good: true,
        },
    };
    match started {
        Started::Transom(probe) => {
            found.protocol = "transom.plugin.v1";
            let described = probe.describe().await.map_err(|error| error.to_string())?;
            found.first = first(probe, &described, config).await;
            found.described = Some(described);
        }
        Started::Call(client) => {
            let mut plugin = PluginClient::new(client.channel());
            match plugin.call(Request::default()).await {
                Ok(answer) => {
                    let answer = answer.into_inner();
                    found.first.answer =
                        format!("status {}, {} bytes", answer.status, answer.body.len());
                }
                // An answer all the same: a plugin may want more than nothing.
                Err(status) if status.code() == Code::Unknown => {
                    found.first.answer = format!("error: {}", status.message());
                }
                Err(status) => return Err(format!("the plugin answers Call with {status}")),
            }
        }
    }
    Ok(found)
}

/// Has the first extension check a configuration.
async fn first(probe: &Probe, described: &DescribeResponse, config: &str) -> First {
    let Some(extension) = described.extensions.first() else {
        return First {
            asked: "Describe".to_owned(),
            answer: "the plugin has no extensions".to_owned(),
            good: false,
        };
    };
    let subject = Use {
        kind: extension.kind,
        extension: extension.name.clone(),
        name: "check".to_owned(),
        config: config.as_bytes().to_vec(),
        ..Use::default()
    };
    let shown = if config.is_empty() {
        "no configuration"
    } else {
        config
    };
    let (answer, good) = match probe.check(subject, false).await {
        Ok(faults) if faults.is_empty() => ("good".to_owned(), true),
        // A configuration that must say something: the plugin is good, and says what it wants.
        Ok(faults) => (lines(&faults), config.is_empty()),
        Err(error) => (error.to_string(), matches!(error, ProbeError::Refused(_))),
    };
    First {
        asked: format!("Check of {} with {shown}", named(extension)),
        answer,
        good,
    }
}

fn handshake(client: &Client) -> String {
    let version = client.negotiated_version();
    // An address is written with a colon behind its network, the line has a bar there.
    let address = client.address().to_string().replacen(':', "|", 1);
    format!("1|{version}|{address}|grpc")
}

fn named(extension: &Extension) -> String {
    let kind = kind_name(extension.kind());
    match extension.name.as_str() {
        "" => kind,
        name => format!("{kind} {name}"),
    }
}

pub(super) fn kind_name(kind: Kind) -> String {
    kind.as_str_name().to_ascii_lowercase()
}

fn lines(faults: &[ConfigFault]) -> String {
    let line = |fault: &ConfigFault| match fault.path.as_slice() {
        [] => fault.message.clone(),
        path => format!("{}: {}", path.join("."), fault.message),
    };
    faults.iter().map(line).collect::<Vec<_>>().join("; ")
}

impl Found {
    fn text(&self) -> String {
        let mut text = String::new();
        let mut row = |name: &str, value: &str| {
            text.push_str(&format!("{name:<13}{value}\n"));
        };
        row("handshake", &self.handshake);
        row("started", &format!("in {} ms", self.started.as_millis()));
        match &self.described {
            Some(described) => {
                let revision = described.revision;
                row(
                    "protocol",
                    &format!("{}, revision {revision}", self.protocol),
                );
                row(
                    "plugin",
                    &format!("{} {}", described.name, described.version),
                );
                for extension in &described.extensions {
                    row("extension", &named(extension));
                }
            }
            None => row("protocol", "call (MOSN's proto.Plugin/Call)"),
        }
        row("health", if self.healthy { "serving" } else { "not told" });
        match &self.services {
            Some(services) => row("services", &services.join(", ")),
            None => row("services", "not told (the plugin has no reflection)"),
        }
        row("asked", &self.first.asked);
        row("answer", &self.first.answer);
        text
    }

    fn json(&self) -> Value {
        let extension = |extension: &Extension| {
            json!({
                "kind": kind_name(extension.kind()),
                "name": extension.name,
                "phase": extension.phase().as_str_name().to_ascii_lowercase(),
                "schema": serde_json::from_str::<Value>(&extension.schema).ok(),
            })
        };
        let described = self.described.as_ref();
        json!({
            "protocol": self.protocol,
            "handshake": self.handshake,
            "pid": self.pid,
            "started_ms": self.started.as_millis() as u64,
            "healthy": self.healthy,
            "services": self.services,
            "revision": described.map(|d| d.revision),
            "name": described.map(|d| d.name.clone()),
            "version": described.map(|d| d.version.clone()),
            "extensions": described.map(|d| d.extensions.iter().map(extension).collect::<Vec<_>>()),
            "first_answer": {
                "asked": self.first.asked,
                "answer": self.first.answer,
                "good": self.first.good,
            },
        })
    }
}
