//! TLS of listeners and clusters: providers are prepared and asked, and what they have becomes what handshakes use.

use std::sync::Arc;

use transom_api::{CertificateProviders, FailurePolicy};
use transom_config::{ClusterTls, ListenerTls, Use};

use super::{Declared, Preparer};
use crate::cluster::PreparedCluster;
use crate::control::ApplyError;
use crate::tls::ClientTls;
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
        let mut sources = Sources::of_listener(&self.told, known);
        let known_providers = known.map_or(&[][..], |known| &known.providers);
        if !config.certificates.is_empty() {
            sources.add_files(&config.certificates).await?;
        }
        for used in config.providers.iter().filter(|used| !used.disabled) {
            self.add_provider(used, known_providers, &mut sources, declared)
                .await?;
        }
        sources
            .finish_listener(listener, config, known, &self.metrics)
            .await
    }

    /// Prepares a cluster's TLS, of which `known` is the cluster before.
    pub(super) async fn prepare_client_tls(
        &self,
        cluster: &str,
        config: &ClusterTls,
        known: Option<&PreparedCluster>,
        declared: &Declared<'_>,
    ) -> Result<(Arc<ClientTls>, Vec<PreparedProvider>), ApplyError> {
        let known_tls = known.and_then(|known| known.tls.as_ref());
        let known_providers = known.map_or(&[][..], |known| &known.providers);
        let mut sources = Sources::of_cluster(&self.told, known_tls.map(|tls| &**tls));
        if config.client.is_some() {
            sources.add_files(config.client.as_slice()).await?;
        }
        for used in config.providers.iter().filter(|used| !used.disabled) {
            self.add_provider(used, known_providers, &mut sources, declared)
                .await?;
        }
        let known = known_tls.map(Arc::clone);
        sources
            .finish_cluster(cluster, config, known, &self.metrics)
            .await
    }

    async fn add_provider(
        &self,
        used: &Use,
        known: &[PreparedProvider],
        sources: &mut Sources<'_>,
        declared: &Declared<'_>,
    ) -> Result<(), ApplyError> {
        let known = known.iter().find(|it| it.name == used.id);
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

    /// `None`: it could not be prepared, and there may be none.
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
                tracing::error!(provider = used.id, %error, "TLS goes without a certificate provider");
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }
}
