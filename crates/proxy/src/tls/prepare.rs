//! What activation, and the look at files and providers, ask for.

use std::collections::BTreeSet;
use std::sync::Arc;

use tokio::sync::Notify;
use tokio::task::JoinSet;
use transom_api::{CertificateProvider, FailurePolicy, PrepareError, Span};
use transom_config::{CertificateFiles, ClusterTls, ListenerTls, TrustedCa};

use super::accept::HandshakeMetrics;
use super::client::ClientTls;
use super::expiry;
use super::files::TlsFileError;
use super::on_demand::{DemandMetrics, OnDemand};
use super::providers::Files;
use super::server::ServerTls;
use super::source::{News, Source};
use crate::control::ApplyError;
use crate::control::snapshot::{PreparedUse, Snapshot};
use crate::metrics::MetricStore;

/// What a look at the files and providers of all `tls` found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CertificateNews {
    /// Listeners and clusters that have something new, which is in use now.
    pub renewed: usize,
    /// Files and providers with something new that cannot be used. What they had before stays in use.
    pub failed: usize,
}

/// TLS of a listener with what is counted of it.
#[derive(Clone)]
pub(crate) struct PreparedServerTls {
    pub(crate) tls: Arc<ServerTls>,
    pub(crate) metrics: HandshakeMetrics,
    pub(crate) providers: Vec<PreparedProvider>,
}

/// The use of a certificate provider made ready.
pub(crate) type PreparedProvider = PreparedUse<dyn CertificateProvider>;

/// The sources of the certificates of a listener or cluster while it is prepared.
pub(crate) struct Sources<'k> {
    told: &'k Arc<Notify>,
    /// What it had until now, and the files among that.
    known: &'k [Arc<Source>],
    known_files: &'k [CertificateFiles],
    sources: Vec<Arc<Source>>,
    providers: Vec<PreparedProvider>,
}

impl<'k> Sources<'k> {
    /// None yet; those of `known` stay where they are still named.
    pub(crate) fn of_listener(told: &'k Arc<Notify>, known: Option<&'k PreparedServerTls>) -> Self {
        Self {
            told,
            known: known.map_or(&[], |known| &known.tls.sources),
            known_files: known.map_or(&[], |known| &known.tls.config.certificates),
            sources: Vec::new(),
            providers: Vec::new(),
        }
    }

    /// The same for a cluster.
    pub(crate) fn of_cluster(told: &'k Arc<Notify>, known: Option<&'k ClientTls>) -> Self {
        Self {
            told,
            known: known.map_or(&[], |known| &known.sources),
            known_files: known.map_or(&[], |known| known.config.client.as_slice()),
            sources: Vec::new(),
            providers: Vec::new(),
        }
    }

    /// Adds the files that the listener or cluster names itself: a use of `files`.
    pub(crate) async fn add_files(&mut self, files: &[CertificateFiles]) -> Result<(), ApplyError> {
        const NAME: &str = "files";
        let known = self.known.first();
        if let Some(source) = known.filter(|_| self.known_files == files) {
            // Whether it succeeds is seen below.
            let _ = source.ask().await;
            if source.failing().is_none() {
                self.sources.push(Arc::clone(source));
                return Ok(());
            }
        }
        let provider = Files::new(files.to_vec());
        let source = Source::new(NAME, provider, FailurePolicy::Closed, Arc::clone(self.told));
        let asked = source.ask().await;
        asked.map_err(|error| ApplyError::from(source.told(error)))?;
        self.sources.push(source);
        Ok(())
    }

    /// Adds a provider and asks it. False: it is one that was there already, and it says that its configuration is at fault;
    /// as the `last` word that is an error.
    pub(crate) async fn add(
        &mut self,
        prepared: &PreparedProvider,
        place: Option<Span>,
        last: bool,
    ) -> Result<bool, ApplyError> {
        let known = self.known.iter().find(|it| {
            Arc::ptr_eq(&it.provider, &prepared.config)
                && it.may_fail() == (prepared.policy == FailurePolicy::Open)
        });
        let is_known = known.is_some();
        let source = known.map_or_else(
            || {
                Source::new(
                    &prepared.name,
                    Arc::clone(&prepared.config),
                    prepared.policy,
                    Arc::clone(self.told),
                )
            },
            Arc::clone,
        );
        let asked = source.ask().await;
        let failing = match asked {
            Err(error) => Some(error),
            Ok(_) => source.failing(),
        };
        if let Some(error) = failing {
            let at_fault = error.span.is_some();
            if is_known && at_fault && !last {
                return Ok(false);
            }
            let error = source.told(error);
            // A known one has what it gave last.
            if (!is_known || at_fault) && !source.may_fail() {
                let mut error = ApplyError::from(error);
                error.span = error.span.or(place);
                return Err(error);
            }
            tracing::error!("{error}");
        }
        self.sources.push(source);
        self.providers.push(prepared.clone());
        Ok(true)
    }

    /// Makes of them what handshakes with clients use, unless that is there already.
    pub(crate) async fn finish_listener(
        self,
        listener: &str,
        config: &ListenerTls,
        known: Option<&PreparedServerTls>,
        metrics: &Arc<MetricStore>,
    ) -> Result<PreparedServerTls, ApplyError> {
        reload_failures(metrics, "listener", listener)?;
        let handshakes = handshake_metrics(metrics, listener)?;
        let demand_metrics = demand_metrics(metrics, listener)?;
        let known = known.map(|known| Arc::clone(&known.tls));
        if !self.has_any() && config.on_demand.is_none() {
            return Err(ApplyError::new(format!(
                "no certificate provider of the listener `{listener}` has a certificate"
            )));
        }
        let demand = config.on_demand.as_ref().map(|rules| {
            let known = known
                .as_ref()
                .filter(|known| same(&known.sources, &self.sources));
            let known = known.and_then(|known| known.demand());
            match known.filter(|known| known.is_of(rules)) {
                Some(known) => Arc::clone(known),
                None => {
                    OnDemand::start(rules, &self.sources, (Arc::clone(metrics), demand_metrics))
                }
            }
        });
        let config = config.clone();
        let sources = self.sources;
        let loaded = tokio::task::spawn_blocking(move || {
            let fresh = known.as_ref().filter(|known| {
                known.config == config && same(&known.sources, &sources) && known.is_good()
            });
            if let Some(fresh) = fresh
                && fresh.refresh().is_ok()
            {
                return Ok(Arc::clone(fresh));
            }
            ServerTls::load(&config, sources, demand, known.as_deref()).map(Arc::new)
        });
        let tls = loaded.await.map_err(|_| {
            ApplyError::new(format!(
                "the TLS of listener `{listener}` could not be read"
            ))
        })??;
        Ok(PreparedServerTls {
            tls,
            metrics: handshakes,
            providers: self.providers,
        })
    }
}

impl Sources<'_> {
    /// Makes of them what handshakes with hosts use, unless that is there already.
    pub(crate) async fn finish_cluster(
        self,
        cluster: &str,
        config: &ClusterTls,
        known: Option<Arc<ClientTls>>,
        metrics: &Arc<MetricStore>,
    ) -> Result<(Arc<ClientTls>, Vec<PreparedProvider>), ApplyError> {
        reload_failures(metrics, "cluster", cluster)?;
        let only_authorities = config.trusted == Some(TrustedCa::Providers);
        if !config.providers.is_empty() && !only_authorities && !self.has_any() {
            return Err(ApplyError::new(format!(
                "no certificate provider of the cluster `{cluster}` has a certificate"
            )));
        }
        let config = config.clone();
        let sources = self.sources;
        let loaded = tokio::task::spawn_blocking(move || {
            let fresh = known.filter(|known| {
                known.config == config && same(&known.sources, &sources) && known.is_good()
            });
            if let Some(fresh) = fresh
                && fresh.refresh().is_ok()
            {
                return Ok(fresh);
            }
            ClientTls::load(&config, sources).map(Arc::new)
        });
        let tls = loaded.await.map_err(|_| {
            ApplyError::new(format!("the TLS of cluster `{cluster}` could not be read"))
        })??;
        Ok((tls, self.providers))
    }

    fn has_any(&self) -> bool {
        let mut sources = self.sources.iter();
        sources.any(|source| !source.good().certificates.is_empty() || source.may_fail())
    }
}

fn same(before: &[Arc<Source>], now: &[Arc<Source>]) -> bool {
    before.len() == now.len() && before.iter().zip(now).all(|(a, b)| Arc::ptr_eq(a, b))
}

/// What a look at one `tls` found.
#[derive(Default)]
struct Look {
    renewed: bool,
    failures: Vec<TlsFileError>,
}

impl Look {
    fn note(&mut self, outcome: Result<bool, TlsFileError>) {
        match outcome {
            Ok(renewed) => self.renewed |= renewed,
            Err(error) => self.failures.push(error),
        }
    }
}

/// Looks at the files of everything in a snapshot, and asks the providers that are to be asked. One that takes long keeps
/// nobody else waiting.
pub(crate) async fn refresh(snapshot: &Snapshot, metrics: &Arc<MetricStore>) -> CertificateNews {
    let mut looks = JoinSet::new();
    for (name, listener) in &snapshot.listeners {
        let tls = listener
            .chains
            .iter()
            .filter_map(|chain| chain.tls.as_ref());
        for prepared in tls {
            let (name, tls) = (name.clone(), Arc::clone(&prepared.tls));
            looks.spawn(async move {
                let publish = move |tls: &ServerTls| tls.refresh();
                let look = look_at(&tls.sources, &tls, publish).await;
                expiry::warn("listener", &name, &tls.goods());
                ("listener", name, look)
            });
        }
    }
    for (name, cluster) in &snapshot.clusters {
        if let Some(tls) = &cluster.tls {
            let (name, tls) = (name.clone(), Arc::clone(tls));
            looks.spawn(async move {
                let publish = move |tls: &ClientTls| tls.refresh();
                let look = look_at(&tls.sources, &tls, publish).await;
                expiry::warn("cluster", &name, &tls.goods());
                ("cluster", name, look)
            });
        }
    }
    let mut renewed = BTreeSet::new();
    let mut failed = 0;
    while let Some(look) = looks.join_next().await {
        // A look has no reason to panic; if one does, the next is three seconds away.
        let Ok((kind, name, look)) = look else {
            continue;
        };
        for error in &look.failures {
            failed += 1;
            tracing::error!(
                "what is new in the TLS of {kind} `{name}` cannot be used, what it had before stays in use: {error}"
            );
            if let Ok(counter) = reload_failures(metrics, kind, &name) {
                metrics.control_shard().add(counter.0, 1);
            }
        }
        if look.renewed {
            tracing::info!("the TLS of {kind} `{name}` has something new, which is in use now");
            renewed.insert((kind, name));
        }
    }
    CertificateNews {
        renewed: renewed.len(),
        failed,
    }
}

/// Asks the sources of a `tls` that are to be asked, and publishes what is new.
async fn look_at<T: Send + Sync + 'static>(
    sources: &[Arc<Source>],
    tls: &Arc<T>,
    refresh: impl Fn(&T) -> Result<bool, TlsFileError> + Copy + Send + 'static,
) -> Look {
    let mut look = Look::default();
    let mut asking = JoinSet::new();
    for source in sources.iter().filter(|source| source.is_due()) {
        let source = Arc::clone(source);
        asking.spawn(async move {
            let asked = source.ask().await;
            (source, asked)
        });
    }
    let publish = || {
        let tls = Arc::clone(tls);
        blocking(move || refresh(&tls))
    };
    look.note(publish().await);
    while let Some(asked) = asking.join_next().await {
        match asked {
            Ok((_, Ok(News::Some))) => look.note(publish().await),
            Ok((_, Ok(News::None | News::StillFailing))) => {}
            Ok((source, Err(error))) => look.failures.push(source.told(error)),
            Err(_) => look.failures.push(TlsFileError::from(PrepareError::new(
                "a provider could not be asked",
            ))),
        }
    }
    look
}

async fn blocking(
    refresh: impl FnOnce() -> Result<bool, TlsFileError> + Send + 'static,
) -> Result<bool, TlsFileError> {
    tokio::task::spawn_blocking(refresh)
        .await
        .unwrap_or(Ok(false))
}

fn handshake_metrics(
    metrics: &Arc<MetricStore>,
    listener: &str,
) -> Result<HandshakeMetrics, ApplyError> {
    let define = metrics.metrics();
    let handshakes = |resumed| {
        define.counter(
            "tls_handshakes_total",
            "TLS handshakes of clients that succeeded, by whether they resumed a session.",
            &[("listener", listener), ("resumed", resumed)],
        )
    };
    Ok(HandshakeMetrics {
        full: handshakes("no")?,
        resumed: handshakes("yes")?,
        failed: define.counter(
            "tls_handshake_failures_total",
            "TLS handshakes of clients that failed.",
            &[("listener", listener)],
        )?,
    })
}

fn demand_metrics(metrics: &Arc<MetricStore>, listener: &str) -> Result<DemandMetrics, ApplyError> {
    let define = metrics.metrics();
    let questions = |outcome| {
        define.counter(
            "tls_on_demand_total",
            "Names that certificate providers were asked for because a client named them, by what came of it.",
            &[("listener", listener), ("outcome", outcome)],
        )
    };
    Ok(DemandMetrics {
        found: questions("found")?,
        none: questions("none")?,
        failed: questions("failed")?,
        refused: questions("refused")?,
    })
}

fn reload_failures(
    metrics: &Arc<MetricStore>,
    kind: &str,
    name: &str,
) -> Result<transom_api::Counter, ApplyError> {
    Ok(metrics.metrics().counter(
        "tls_reload_failures_total",
        "Times that files or providers of TLS had something new that could not be used.",
        &[("of", kind), ("name", name)],
    )?)
}
