//! TLS of listeners: providers are prepared and asked, and what they have becomes what handshakes use.

use std::sync::Arc;

use transom_api::{CertificateProviders, FailurePolicy};
use transom_config::{ListenerTls, Use};

use super::Preparer;
use crate::control::ApplyError;
use crate::tls::prepare::{PreparedProvider, PreparedServerTls, Sources};

impl Preparer {
    /// Prepares a listener's TLS, of which `known` is what it had before.
    pub(super) async fn prepare_server_tls(
        &self,
        listener: &str,
        config: &ListenerTls,
        known: Option<&PreparedServerTls>,
    ) -> Result<PreparedServerTls, ApplyError> {
        let mut sources = Sources::new(&self.told, known);
        if !config.certificates.is_empty() {
            sources.add_files(&config.certificates).await?;
        }
        for used in config.providers.iter().filter(|used| !used.disabled) {
            self.add_provider(used, known, &mut sources).await?;
        }
        sources.finish(listener, config, &self.metrics).await
    }

    async fn add_provider(
        &self,
        used: &Use,
        known: Option<&PreparedServerTls>,
        sources: &mut Sources<'_>,
    ) -> Result<(), ApplyError> {
        let known = known.and_then(|known| known.providers.iter().find(|it| it.name == used.id));
        let prepared = self.prepare_provider(used, known).await?;
        let Some(prepared) = prepared else {
            return Ok(());
        };
        let known = known.filter(|known| Arc::ptr_eq(&known.config, &prepared.config));
        if sources.add(&prepared, used.span).await? || known.is_none() {
            return Ok(());
        }
        // The one that is known says that its configuration is at fault; what is written now may say it elsewhere, and a new
        // one may see what that one does not.
        if let Some(prepared) = self.prepare_provider(used, None).await? {
            sources.add(&prepared, used.span).await?;
        }
        Ok(())
    }

    /// `None`: it could not be prepared, and the listener may do without it.
    async fn prepare_provider(
        &self,
        used: &Use,
        known: Option<&PreparedProvider>,
    ) -> Result<Option<PreparedProvider>, ApplyError> {
        match self.prepare_use::<CertificateProviders>(used, known).await {
            Ok(prepared) => Ok(Some(prepared)),
            Err(error) if used.on_failure == FailurePolicy::Open => {
                tracing::error!(provider = used.id, %error, "the listener goes without a certificate provider");
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }
}
