//! What activation, and the look at the files, ask for.

use std::sync::Arc;

use transom_config::{ClusterTls, ListenerTls};

use super::accept::HandshakeMetrics;
use super::client::ClientTls;
use super::files::TlsFileError;
use super::published::{Loaded, Published};
use super::server::ServerTls;
use crate::control::ApplyError;
use crate::control::snapshot::Snapshot;
use crate::metrics::MetricStore;

/// What a look at the files of all `tls` found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CertificateNews {
    /// Listeners and clusters whose files changed and are in use now.
    pub renewed: usize,
    /// Those whose files changed and cannot be used. What they had before stays in use.
    pub failed: usize,
}

/// TLS of a listener with what is counted of it.
#[derive(Clone)]
pub(crate) struct PreparedServerTls {
    pub(crate) tls: Arc<ServerTls>,
    pub(crate) metrics: HandshakeMetrics,
}

/// Reads the files of a listener's `tls`, unless that was done and they have not changed.
pub(crate) async fn server(
    name: &str,
    config: &ListenerTls,
    known: Option<&PreparedServerTls>,
    metrics: &Arc<MetricStore>,
) -> Result<PreparedServerTls, ApplyError> {
    reload_failures(metrics, "listener", name)?;
    let known_tls = known.map(|known| Arc::clone(&known.tls));
    let tls = load(format!("listener `{name}`"), config, known_tls).await?;
    let define = metrics.metrics();
    let handshakes = |resumed| {
        define.counter(
            "tls_handshakes_total",
            "TLS handshakes of clients that succeeded, by whether they resumed a session.",
            &[("listener", name), ("resumed", resumed)],
        )
    };
    let metrics = HandshakeMetrics {
        full: handshakes("no")?,
        resumed: handshakes("yes")?,
        failed: define.counter(
            "tls_handshake_failures_total",
            "TLS handshakes of clients that failed.",
            &[("listener", name)],
        )?,
    };
    Ok(PreparedServerTls { tls, metrics })
}

/// Reads the files of a cluster's `tls`, unless that was done and they have not changed.
pub(crate) async fn client(
    name: &str,
    config: &ClusterTls,
    known: Option<&Arc<ClientTls>>,
    metrics: &Arc<MetricStore>,
) -> Result<Arc<ClientTls>, ApplyError> {
    reload_failures(metrics, "cluster", name)?;
    load(format!("cluster `{name}`"), config, known.map(Arc::clone)).await
}

/// Looks at the files of everything in a snapshot.
pub(crate) async fn refresh(snapshot: &Snapshot, metrics: &Arc<MetricStore>) -> CertificateNews {
    let mut news = CertificateNews::default();
    for (name, listener) in &snapshot.listeners {
        let tls = listener
            .chains
            .iter()
            .filter_map(|chain| chain.tls.as_ref());
        for prepared in tls {
            let outcome = refresh_one(Arc::clone(&prepared.tls)).await;
            news.note(outcome, metrics, "listener", name);
        }
    }
    for (name, cluster) in &snapshot.clusters {
        if let Some(tls) = &cluster.tls {
            let outcome = refresh_one(Arc::clone(tls)).await;
            news.note(outcome, metrics, "cluster", name);
        }
    }
    news
}

impl CertificateNews {
    fn note(
        &mut self,
        outcome: Result<bool, TlsFileError>,
        metrics: &Arc<MetricStore>,
        kind: &str,
        name: &str,
    ) {
        match outcome {
            Ok(true) => {
                self.renewed += 1;
                tracing::info!("the files of {kind} `{name}` changed and are in use now");
            }
            Ok(false) => {}
            Err(error) => {
                self.failed += 1;
                tracing::error!(
                    "the files of {kind} `{name}` changed and cannot be used, what it had before stays in use: {error}"
                );
                if let Ok(counter) = reload_failures(metrics, kind, name) {
                    metrics.control_shard().add(counter.0, 1);
                }
            }
        }
    }
}

/// Files are read on a thread for blocking work.
async fn load<L>(
    owner: String,
    config: &L::Config,
    known: Option<Arc<Published<L>>>,
) -> Result<Arc<Published<L>>, ApplyError>
where
    L: Loaded + Send + Sync + 'static,
    L::Config: Send + Sync + 'static,
{
    let config = config.clone();
    let loaded = tokio::task::spawn_blocking(move || {
        if let Some(known) = known.as_ref().filter(|known| known.is_fresh(&config)) {
            return Ok(Arc::clone(known));
        }
        Published::load(&config, known.as_deref()).map(Arc::new)
    });
    match loaded.await {
        Ok(loaded) => Ok(loaded?),
        Err(_) => Err(ApplyError::new(format!(
            "the TLS of {owner} could not be read"
        ))),
    }
}

async fn refresh_one<L>(tls: Arc<Published<L>>) -> Result<bool, TlsFileError>
where
    L: Loaded + Send + Sync + 'static,
    L::Config: Send + Sync + 'static,
{
    tokio::task::spawn_blocking(move || tls.refresh())
        .await
        .unwrap_or(Ok(false))
}

fn reload_failures(
    metrics: &Arc<MetricStore>,
    kind: &str,
    name: &str,
) -> Result<transom_api::Counter, ApplyError> {
    Ok(metrics.metrics().counter(
        "tls_reload_failures_total",
        "Times that files of TLS changed on disk and could not be used.",
        &[("of", kind), ("name", name)],
    )?)
}
