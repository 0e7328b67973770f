//! A host for one plugin at a time, without a proxy: for trying a plugin from the shell, and for tests that show that a plugin, in whatever
//! language, speaks `transom.plugin.v1` well.
//!
//! [`Probe`] starts a plugin and asks the control side's questions, [`Work`] is one worker's stream, message by message, and
//! [`Exchange`] has one request and its response pass one filter, by the rules of the proxy.

mod exchange;
mod services;
mod work;

use std::time::Duration;

use tonic::Status;
use transom_goplugin::host::{Client, ClientConfig, StartError};
use transom_goplugin::{Channel, HandshakeConfig, MAX_MESSAGE};

/// gRPC's codes, in what plugins answer.
pub use tonic::Code;

pub use exchange::{Answers, Exchange, Outcome, Reply, Sent};
pub use services::services;
pub use work::{Work, WorkError};

use crate::v1::plugin_client::PluginClient;
use crate::v1::{
    CertificateRequest, CertificateResponse, CheckRequest, ConfigFault, DescribeRequest,
    DescribeResponse, Kind, LogBatch, LogSummary, Needs, PrepareRequest, REVISION, ReleaseRequest,
    Use,
};

/// The cookie by which a plugin knows that it is started to speak `transom.plugin.v1`.
pub const COOKIE: (&str, &str) = ("TRANSOM_PLUGIN_COOKIE", "transom.plugin.v1");

/// A plugin that runs for this probe only.
pub struct Probe {
    client: Client,
    plugin: PluginClient<Channel>,
    next_use: u64,
}

/// Why something that was asked for did not come.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProbeError {
    /// The plugin could not be started.
    #[error(transparent)]
    Start(#[from] StartError),
    /// It answered a question of the control side with an error.
    #[error("the plugin answers {call} with {status}")]
    Call {
        /// The call.
        call: &'static str,
        /// Its answer.
        status: Status,
    },
    /// It refuses a configuration.
    #[error("the plugin refuses the configuration: {}", shown(.0))]
    Refused(Vec<ConfigFault>),
    /// It breaks the protocol.
    #[error(transparent)]
    Work(#[from] WorkError),
}

/// Faults as one line.
fn shown(faults: &[ConfigFault]) -> String {
    let one = |fault: &ConfigFault| match fault.path.as_slice() {
        [] => fault.message.clone(),
        path => format!("{}: {}", path.join("."), fault.message),
    };
    faults.iter().map(one).collect::<Vec<_>>().join("; ")
}

/// A use of the plugin that is ready.
#[derive(Clone, Debug)]
pub struct Ready {
    /// Its number.
    pub id: u64,
    /// What its filter needs.
    pub needs: Needs,
}

impl Probe {
    /// Starts a plugin. `config` tells how, all but its handshake.
    pub async fn start(
        config: impl FnOnce(ClientConfig) -> ClientConfig,
    ) -> Result<Self, ProbeError> {
        let handshake = HandshakeConfig::new(1, COOKIE.0, COOKIE.1);
        let client = Client::start(config(ClientConfig::new(handshake))).await?;
        Ok(Self::of(client))
    }

    /// A plugin that was started with this protocol's [`COOKIE`].
    pub fn of(client: Client) -> Self {
        let plugin = PluginClient::new(client.channel()).max_decoding_message_size(MAX_MESSAGE);
        Self {
            client,
            plugin,
            next_use: 1,
        }
    }

    /// The process.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// What the plugin is.
    pub async fn describe(&self) -> Result<DescribeResponse, ProbeError> {
        let request = DescribeRequest {
            revision: REVISION,
            host: concat!("transom/", env!("CARGO_PKG_VERSION")).to_owned(),
        };
        let answer = self.plugin.clone().describe(request).await;
        answer
            .map(tonic::Response::into_inner)
            .map_err(of("Describe"))
    }

    /// Has a configuration checked: the faults that the plugin finds.
    pub async fn check(&self, subject: Use, route: bool) -> Result<Vec<ConfigFault>, ProbeError> {
        let request = CheckRequest {
            subject: Some(subject),
            route,
        };
        let answer = self.plugin.clone().check(request).await;
        let answer = answer.map_err(of("Check"))?;
        Ok(answer.into_inner().faults)
    }

    /// Makes a use ready: of a kind, by the name of its extension (empty for the only one), with a configuration in JSON.
    pub async fn prepare(
        &mut self,
        kind: Kind,
        extension: &str,
        config: &str,
    ) -> Result<Ready, ProbeError> {
        let id = self.next_use;
        self.next_use += 1;
        let request = PrepareRequest {
            subject: Some(Use {
                id,
                kind: kind.into(),
                extension: extension.to_owned(),
                name: format!("probe-{id}"),
                config: config.as_bytes().to_vec(),
            }),
        };
        let answer = self.plugin.prepare(request).await.map_err(of("Prepare"))?;
        let answer = answer.into_inner();
        if !answer.faults.is_empty() {
            return Err(ProbeError::Refused(answer.faults));
        }
        Ok(Ready {
            id,
            needs: answer.needs.unwrap_or_default(),
        })
    }

    /// Lets a use go.
    pub async fn release(&mut self, used: &Ready) -> Result<(), ProbeError> {
        let request = ReleaseRequest { use_id: used.id };
        let answer = self.plugin.release(request).await;
        answer.map(drop).map_err(of("Release"))
    }

    /// Asks a certificate provider.
    pub async fn certificate(
        &mut self,
        used: &Ready,
        server_name: &str,
    ) -> Result<CertificateResponse, ProbeError> {
        let request = CertificateRequest {
            use_id: used.id,
            server_name: server_name.to_owned(),
        };
        let answer = self.plugin.certificate(request).await;
        let answer = answer.map_err(of("Certificate"))?;
        Ok(answer.into_inner())
    }

    /// Sends batches of logs in one call, and ends it.
    pub async fn log(&mut self, batches: Vec<LogBatch>) -> Result<LogSummary, ProbeError> {
        let answer = self.plugin.log(tokio_stream::iter(batches)).await;
        answer.map(tonic::Response::into_inner).map_err(of("Log"))
    }

    /// Opens a worker's stream, with as much credit as a host gives.
    pub async fn work(&self) -> Result<Work, ProbeError> {
        Ok(Work::open(self.plugin.clone(), 0, u64::MAX / 4, u64::MAX / 4).await?)
    }

    /// The same with little credit.
    pub async fn work_with_credit(&self, messages: u64, bytes: u64) -> Result<Work, ProbeError> {
        Ok(Work::open(self.plugin.clone(), 0, messages, bytes).await?)
    }

    /// Ends the plugin; whether it ended by itself in time.
    pub async fn stop(self) -> bool {
        let limit = Duration::from_secs(10);
        tokio::time::timeout(limit, self.client.kill())
            .await
            .is_ok()
    }
}

fn of(call: &'static str) -> impl FnOnce(Status) -> ProbeError {
    move |status| ProbeError::Call { call, status }
}
