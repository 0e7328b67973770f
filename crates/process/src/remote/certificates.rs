//! Certificates from a plugin, over `transom.plugin.v1`.

use std::sync::Arc;
use std::time::Duration;

use transom_api::kind::CertificateProviders;
use transom_api::{
    Certificate, CertificateProvider, Certificates, Factory, Node, ParseError, Parsed, Prepare,
    PrepareContext, PrepareError, Provide, Schema, Shape,
};

use super::uses::{self, Cell, Subject, Used};
use crate::v1::{self, CertificateRequest, CertificateResponse};

/// Makes the certificate provider `extension` of a plugin.
pub(crate) struct CertificateFactory {
    pub(crate) cell: Cell,
    pub(crate) extension: String,
}

impl Factory<CertificateProviders> for CertificateFactory {
    fn schema(&self) -> Schema {
        Schema::new(Shape::Any)
    }

    fn parse(&self, config: &Node) -> Result<Arc<dyn Parsed<CertificateProviders>>, ParseError> {
        Ok(Arc::new(Written {
            cell: Arc::clone(&self.cell),
            extension: self.extension.clone(),
            config: config.clone(),
        }))
    }
}

struct Written {
    cell: Cell,
    extension: String,
    config: Node,
}

impl Parsed<CertificateProviders> for Written {
    fn prepare(&self, context: PrepareContext) -> Prepare<CertificateProviders> {
        let (cell, extension) = (Arc::clone(&self.cell), self.extension.clone());
        let config = self.config.clone();
        Box::pin(async move {
            let running = uses::running(&cell)?;
            let kind = v1::Kind::CertificateProvider;
            let found = running.extension(kind, &extension)?;
            let subject = Subject {
                kind,
                extension: found.name.clone(),
                name: Arc::clone(&context.instance),
                config,
            };
            let used = Used::prepare(&running, subject).await?;
            let provider: Arc<dyn CertificateProvider> = Arc::new(RemoteProvider {
                time: running.plugin.spec().bounds.time,
                used,
            });
            Ok(provider)
        })
    }
}

struct RemoteProvider {
    used: Used,
    time: Duration,
}

impl RemoteProvider {
    /// Asks a process for the certificate of a name; empty for that of clients that ask for none.
    async fn ask(&self, server_name: String) -> Result<CertificateResponse, PrepareError> {
        let name = self.used.plugin.name();
        let failed = |why: String| {
            PrepareError::new(format!("the plugin `{name}` gave no certificate: {why}"))
        };
        let ready = Arc::clone(&self.used.ready().borrow());
        let instance = ready
            .iter()
            .find(|instance| instance.is_open())
            .ok_or_else(|| failed("no process of it runs".to_owned()))?;
        let permit = instance
            .admit()
            .map_err(|error| failed(error.to_string()))?;
        let channel = instance
            .channel()
            .ok_or_else(|| failed("it has no connection".to_owned()))?;
        let request = CertificateRequest {
            use_id: self.used.id,
            server_name,
        };
        let answer = uses::bounded(self.time, uses::client(channel).certificate(request)).await;
        permit.end(uses::outcome(&answer));
        answer.map_err(|status| failed(status.to_string()))
    }
}

impl CertificateProvider for RemoteProvider {
    fn certificates(self: Arc<Self>) -> Provide<Arc<Certificates>> {
        Box::pin(async move {
            let answer = self.ask(String::new()).await?;
            let authorities = answer.client_authorities;
            Ok(Arc::new(Certificates {
                refresh_after: match answer.refresh_after_ms {
                    // When its certificate ends is for the host to see; this often at the least.
                    0 => Some(Duration::from_secs(3600)),
                    after => Some(Duration::from_millis(after)),
                },
                authorities: (!authorities.is_empty()).then(|| authorities.to_vec()),
                certificates: certificate(answer.certificate_chain, answer.private_key)
                    .into_iter()
                    .collect(),
            }))
        })
    }

    fn answers_on_demand(&self) -> bool {
        // Whether it has one for a name is known to it alone: it is asked where the listener allows that.
        true
    }

    fn certificate_for(self: Arc<Self>, name: String) -> Provide<Option<Certificate>> {
        Box::pin(async move {
            let answer = self.ask(name).await?;
            Ok(certificate(answer.certificate_chain, answer.private_key))
        })
    }
}

fn certificate(chain: Vec<u8>, key: Vec<u8>) -> Option<Certificate> {
    (!chain.is_empty()).then_some(Certificate {
        chain,
        key,
        ocsp_response: None,
    })
}
