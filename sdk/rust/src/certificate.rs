//! Certificate providers: the easy way to one, and its answers to the host.

use std::marker::PhantomData;
use std::sync::Arc;

use transom_api::{
    Certificate, CertificateProvider, CertificateProviders, Certificates, Factory, Node,
    ParseError, Parsed, Prepare, PrepareContext, PrepareError, Provide, Schema,
};

use crate::proto::v1::CertificateResponse;

/// Where certificates come from, in its shortest form: a configuration that is asked for them.
///
/// It may block: each question is asked on a thread of its own.
pub trait CertificateSource: Send + Sync + Sized + 'static {
    /// The shape of its configuration. Anything, unless it says so.
    fn schema() -> Schema {
        Schema::new(transom_api::Shape::Any)
    }

    /// Reads the configuration.
    fn parse(node: &Node) -> Result<Self, ParseError>;

    /// All certificates that there are now.
    fn certificates(&self) -> Result<Certificates, PrepareError>;
}

pub(crate) struct SourceFactory<S>(pub(crate) PhantomData<fn() -> S>);

impl<S: CertificateSource> Factory<CertificateProviders> for SourceFactory<S> {
    fn schema(&self) -> Schema {
        S::schema()
    }

    fn parse(&self, config: &Node) -> Result<Arc<dyn Parsed<CertificateProviders>>, ParseError> {
        Ok(Arc::new(Source(Arc::new(S::parse(config)?))))
    }
}

struct Source<S>(Arc<S>);

impl<S: CertificateSource> Parsed<CertificateProviders> for Source<S> {
    fn prepare(&self, _context: PrepareContext) -> Prepare<CertificateProviders> {
        let provider: Arc<dyn CertificateProvider> = Arc::new(Self(Arc::clone(&self.0)));
        Box::pin(async move {
            // The first answer must be good: else the use is not ready.
            Arc::clone(&provider).certificates().await?;
            Ok(provider)
        })
    }
}

impl<S: CertificateSource> CertificateProvider for Source<S> {
    fn certificates(self: Arc<Self>) -> Provide<Arc<Certificates>> {
        let source = Arc::clone(&self.0);
        Box::pin(async move {
            let asked = tokio::task::spawn_blocking(move || source.certificates());
            match asked.await {
                Ok(answer) => answer.map(Arc::new),
                Err(error) => Err(PrepareError::new(format!("the provider failed: {error}"))),
            }
        })
    }
}

/// A provider's answer for the name that a client asks for; empty for a client that asks for none.
pub(crate) async fn answer(
    provider: &Arc<dyn CertificateProvider>,
    server_name: &str,
) -> Result<CertificateResponse, PrepareError> {
    if !server_name.is_empty() && provider.answers_on_demand() {
        let name = server_name.to_owned();
        let found = Arc::clone(provider).certificate_for(name).await?;
        if let Some(certificate) = found {
            return Ok(response(&certificate, &Certificates::default()));
        }
    }
    let all = Arc::clone(provider).certificates().await?;
    Ok(match all.certificates.first() {
        Some(certificate) => response(certificate, &all),
        None => CertificateResponse::default(),
    })
}

fn response(certificate: &Certificate, all: &Certificates) -> CertificateResponse {
    let refresh = all.refresh_after.map(|after| after.as_millis());
    CertificateResponse {
        certificate_chain: certificate.chain.clone().into(),
        private_key: certificate.key.clone().into(),
        client_authorities: all.authorities.clone().unwrap_or_default().into(),
        // 0 on the wire stands for the certificate's end.
        refresh_after_ms: refresh.map_or(0, |ms| u64::try_from(ms).unwrap_or(u64::MAX).max(1)),
    }
}
