//! The certificate provider `loader`.

use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use transom_api::kind::CertificateProviders;
use transom_api::{
    Certificate, CertificateProvider, Certificates, Factory, Node, ParseError, Parsed, Prepare,
    PrepareContext, PrepareError, Provide, Schema, Shape,
};
use transom_goplugin::MAX_MESSAGE;

use super::{Agent, Agents, Called, fields, outcome};
use crate::call::Request;
use crate::call::proto::plugin_client::PluginClient;

/// How long MOSN's loader waits.
const TIMEOUT: Duration = Duration::from_secs(1);

/// How often it is asked again.
const REFRESH: Duration = Duration::from_secs(3600);

pub(super) struct LoaderFactory {
    pub(super) agents: Agents,
}

impl Factory<CertificateProviders> for LoaderFactory {
    fn schema(&self) -> Schema {
        Called::schema()
            .optional(
                "refresh",
                Schema::new(Shape::Duration)
                    .describe("How often it is asked again.")
                    .or("1h"),
            )
            .optional(
                "client_authorities",
                Schema::new(Shape::Bool)
                    .describe("Takes the plugin's `ca_pem` as the authority of clients' certificates. MOSN's loader asks clients for none.")
                    .or(false),
            )
    }

    fn parse(&self, config: &Node) -> Result<Arc<dyn Parsed<CertificateProviders>>, ParseError> {
        let mut keys = fields(config)?;
        let called = Called::read(&mut keys, &self.agents, TIMEOUT)?;
        let refresh = match keys.optional("refresh") {
            Some(node) => node.as_duration()?,
            None => REFRESH,
        };
        let client_authorities = match keys.optional("client_authorities") {
            Some(node) => node.as_bool()?,
            None => false,
        };
        keys.finish()?;
        Ok(Arc::new(Written {
            agents: self.agents.clone(),
            called,
            refresh,
            client_authorities,
        }))
    }
}

struct Written {
    agents: Agents,
    called: Called,
    refresh: Duration,
    client_authorities: bool,
}

impl Parsed<CertificateProviders> for Written {
    fn prepare(&self, context: PrepareContext) -> Prepare<CertificateProviders> {
        let (agents, called) = (self.agents.clone(), self.called.clone());
        let (refresh, client_authorities) = (self.refresh, self.client_authorities);
        Box::pin(async move {
            let timeout = called.timeout;
            let agent = called.agent(agents, "loader", Vec::new(), &context).await?;
            let provider: Arc<dyn CertificateProvider> = Arc::new(Loader {
                agent,
                timeout,
                refresh,
                client_authorities,
            });
            Ok(provider)
        })
    }
}

struct Loader {
    agent: Agent,
    timeout: Duration,
    refresh: Duration,
    client_authorities: bool,
}

/// What a loader puts into the body of its answer.
#[derive(Deserialize)]
struct Loaded {
    cert_pem: String,
    key_pem: String,
    #[serde(default)]
    ca_pem: String,
}

impl CertificateProvider for Loader {
    fn certificates(self: Arc<Self>) -> Provide<Arc<Certificates>> {
        Box::pin(async move {
            let name = self.agent.name();
            let failed = |why: String| {
                PrepareError::new(format!("the plugin `{name}` gave no certificate: {why}"))
            };
            let instance = self
                .agent
                .choose()
                .ok_or_else(|| failed("no process of it runs".to_owned()))?;
            let permit = instance
                .admit()
                .map_err(|error| failed(error.to_string()))?;
            let channel = instance
                .channel()
                .ok_or_else(|| failed("it has no connection".to_owned()))?;
            let mut client = PluginClient::new(channel).max_decoding_message_size(MAX_MESSAGE);
            let answer = tokio::time::timeout(self.timeout, client.call(Request::default())).await;
            let answer = answer.unwrap_or_else(|_| {
                Err(tonic::Status::deadline_exceeded(format!(
                    "no answer within {} ms",
                    self.timeout.as_millis()
                )))
            });
            permit.end(outcome(&answer));
            let answer = answer.map_err(|status| failed(status.to_string()))?;
            let loaded: Loaded =
                serde_json::from_slice(&answer.into_inner().body).map_err(|error| {
                    failed(format!(
                        "its answer's body is not JSON with cert_pem and key_pem: {error}"
                    ))
                })?;
            Ok(Arc::new(Certificates {
                authorities: (self.client_authorities && !loaded.ca_pem.is_empty())
                    .then(|| loaded.ca_pem.into_bytes()),
                refresh_after: Some(self.refresh),
                certificates: vec![Certificate {
                    chain: loaded.cert_pem.into_bytes(),
                    key: loaded.key_pem.into_bytes(),
                    ocsp_response: None,
                }],
            }))
        })
    }
}
