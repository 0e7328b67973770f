//! What activation, and the look at files and providers, ask for.

use std::collections::BTreeSet;
use std::sync::Arc;

use tokio::sync::Notify;
use tokio::task::JoinSet;
use transom_api::{CertificateProvider, FailurePolicy, PrepareError, Span};
use transom_config::{CertificateFiles, ClusterTls, ListenerTls};

use super::accept::HandshakeMetrics;
use super::client::ClientTls;
use super::files::TlsFileError;
use super::on_demand::{DemandMetrics, OnDemand};
use super::providers::Files;
use super::published::{Loaded, Published};
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

/// The sources of a listener's certificates while it is prepared.
pub(crate) struct Sources<'k> {
    told: &'k Arc<Notify>,
    known: Option<&'k PreparedServerTls>,
    sources: Vec<Arc<Source>>,
    providers: Vec<PreparedProvider>,
}

impl<'k> Sources<'k> {
    /// None yet; those of `known` stay where they are still named.
    pub(crate) fn new(told: &'k Arc<Notify>, known: Option<&'k PreparedServerTls>) -> Self {
        Self {
            told,
            known,
            sources: Vec::new(),
            providers: Vec::new(),
        }
    }

    /// Adds what stands in `certificates` of the listener itself: a use of `files`.
    pub(crate) async fn add_files(&mut self, files: &[CertificateFiles]) -> Result<(), ApplyError> {
        const NAME: &str = "files";
        let known = self.known.map(|known| &known.tls);
        let known = known.filter(|known| known.config.certificates == files);
        if let Some(source) = known.and_then(|known| known.sources.first()) {
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
        let known = self.known.and_then(|known| {
            let mut sources = known.tls.sources.iter();
            sources.find(|it| {
                Arc::ptr_eq(&it.provider, &prepared.config)
                    && it.may_fail() == (prepared.policy == FailurePolicy::Open)
            })
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

    /// Makes of them what handshakes use, unless that is there already.
    pub(crate) async fn finish(
        self,
        listener: &str,
        config: &ListenerTls,
        metrics: &Arc<MetricStore>,
    ) -> Result<PreparedServerTls, ApplyError> {
        reload_failures(metrics, "listener", listener)?;
        let handshakes = handshake_metrics(metrics, listener)?;
        let demand_metrics = demand_metrics(metrics, listener)?;
        let known = self.known.map(|known| Arc::clone(&known.tls));
        let has_any = self
            .sources
            .iter()
            .any(|source| !source.good().certificates.is_empty() || source.may_fail());
        if !has_any && config.on_demand.is_none() {
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

fn same(before: &[Arc<Source>], now: &[Arc<Source>]) -> bool {
    before.len() == now.len() && before.iter().zip(now).all(|(a, b)| Arc::ptr_eq(a, b))
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
            looks.spawn(async move { ("listener", name, look_at_server(tls).await) });
        }
    }
    for (name, cluster) in &snapshot.clusters {
        if let Some(tls) = &cluster.tls {
            let (name, tls) = (name.clone(), Arc::clone(tls));
            looks.spawn(async move {
                let mut look = Look::default();
                look.note(blocking(move || tls.refresh()).await);
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

async fn look_at_server(tls: Arc<ServerTls>) -> Look {
    let mut look = Look::default();
    let mut asking = JoinSet::new();
    for source in tls.sources.iter().filter(|source| source.is_due()) {
        let source = Arc::clone(source);
        asking.spawn(async move {
            let asked = source.ask().await;
            (source, asked)
        });
    }
    let publish = || {
        let tls = Arc::clone(&tls);
        blocking(move || tls.refresh())
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
