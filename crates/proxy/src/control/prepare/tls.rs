//! TLS of listeners: providers are prepared and asked, and what they have becomes what handshakes use.

use transom_api::{CertificateProviders, FailurePolicy};
use transom_config::{ListenerTls, Use};

use super::{Declared, Preparer};
use crate::control::ApplyError;
use crate::tls::prepare::{PreparedProvider, PreparedServerTls, Sources};

impl Preparer {
    /// Prepares a listener's TLS, of which `known` is what it had before.
    pub(super) async fn prepare_server_tls(
        &self,
        listener: &str,
        config: &ListenerTls,
        known: Option<&PreparedServerTls>,
        declared: &Declared<'_>,
    ) -> Result<PreparedServerTls, ApplyError> {
        let mut sources = Sources::new(&self.told, known);
        if !config.certificates.is_empty() {
            sources.add_files(&config.certificates).await?;
        }
        for used in config.providers.iter().filter(|used| !used.disabled) {
            self.add_provider(used, known, &mut sources, declared)
                .await?;
        }
        sources.finish(listener, config, &self.metrics).await
    }

    async fn add_provider(
        &self,
        used: &Use,
        known: Option<&PreparedServerTls>,
        sources: &mut Sources<'_>,
        declared: &Declared<'_>,
    ) -> Result<(), ApplyError> {
        let known = known.and_then(|known| known.providers.iter().find(|it| it.name == used.id));
        let Some(prepared) = self.prepare_provider(used, known, declared).await? else {
            return Ok(());
        };
        if sources.add(&prepared, used.span, false).await? {
            return Ok(());
        }
        // The one that is known says that its configuration is at fault; what is written now may say it elsewhere, and a new
        // one may see what that one does not.
        if let Some(prepared) = self.prepare_provider(used, None, declared).await? {
            sources.add(&prepared, used.span, true).await?;
        }
        Ok(())
    }

    /// `None`: it could not be prepared, and the listener may do without it.
    async fn prepare_provider(
        &self,
        used: &Use,
        known: Option<&PreparedProvider>,
        declared: &Declared<'_>,
    ) -> Result<Option<PreparedProvider>, ApplyError> {
        let prepared = self
            .prepare_use::<CertificateProviders>(used, known, declared)
            .await;
        match prepared {
            Ok(prepared) => Ok(Some(prepared)),
            Err(error) if used.on_failure == FailurePolicy::Open => {
                tracing::error!(provider = used.id, %error, "the listener goes without a certificate provider");
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }
}
