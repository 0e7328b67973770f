//! Uses of extensions made ready, and those that are declared once and shared by their users.

use std::any::Any;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use transom_api::kind::{AccessLogs, ExtensionKind, Kind, StreamFilters};
use transom_api::{
    AccessLogConfig, Factory, FailurePolicy, Node, ParseError, Phase, PrepareContext, Registry,
    Span, StreamFilterConfig, UseBounds,
};
use transom_config::{Extension, ExtensionName, Resources, Use};

use super::{PREPARE_LIMIT, PreparedPlugins, Preparer, failure_of};
use crate::cluster::AllowedClusters;
use crate::control::ApplyError;
use crate::control::retire::Retired;
use crate::control::snapshot::{PreparedUse, Snapshot};
use crate::gate::PreparedGate;

/// The declared extensions of one activation. Each is prepared when the first of its users is.
pub(super) struct Declared<'a> {
    resources: &'a Resources,
    before: Option<&'a PreparedExtensions>,
    prepared: Mutex<PreparedExtensions>,
    plugins: PreparedPlugins,
}

/// Declared extensions made ready, by the kind that they are used as and their name.
#[derive(Clone, Default)]
pub(crate) struct PreparedExtensions(BTreeMap<(Kind, String), Arc<dyn Shared>>);

/// A [`PreparedUse`] of any kind.
trait Shared: Any + Send + Sync {
    fn config(&self) -> (*const (), Box<dyn Retired>);
}

impl<C: ?Sized + Send + Sync + 'static> Shared for PreparedUse<C> {
    fn config(&self) -> (*const (), Box<dyn Retired>) {
        let config = Arc::clone(&self.config);
        (Arc::as_ptr(&config).cast(), Box::new(config))
    }
}

impl PreparedExtensions {
    /// Shows every prepared configuration, with its address to know it by.
    pub(crate) fn visit(&self, mut each: impl FnMut(*const (), Box<dyn Retired>)) {
        for prepared in self.0.values() {
            let (address, config) = prepared.config();
            each(address, config);
        }
    }

    fn find<K: ExtensionKind>(&self, name: &str) -> Option<Arc<PreparedUse<K::Config>>> {
        let prepared = self.0.get(&(K::KIND, name.to_owned()))?;
        let prepared: Arc<dyn Any + Send + Sync> = Arc::<dyn Shared>::clone(prepared);
        prepared.downcast().ok()
    }
}

impl<'a> Declared<'a> {
    pub(super) fn new(
        resources: &'a Resources,
        before: Option<&'a Snapshot>,
        plugins: PreparedPlugins,
    ) -> Self {
        Self {
            resources,
            before: before.map(|before| &before.extensions),
            prepared: Mutex::default(),
            plugins,
        }
    }

    pub(super) fn into_prepared(self) -> (PreparedExtensions, PreparedPlugins) {
        let prepared = self.prepared.into_inner();
        (
            prepared.unwrap_or_else(PoisonError::into_inner),
            self.plugins,
        )
    }

    /// The factory of what a use stands for.
    pub(super) fn factory<K: ExtensionKind>(
        &self,
        used: &Use,
        registry: &Registry,
    ) -> Result<Arc<dyn Factory<K>>, ParseError> {
        let implementation = self.resources.implementation(used);
        let extension = implementation.map_or(&used.extension, |(extension, _)| extension);
        self.plugins.factory(extension, registry)
    }

    fn find<K: ExtensionKind>(&self, name: &str) -> Option<Arc<PreparedUse<K::Config>>> {
        let prepared = self.prepared.lock();
        prepared
            .unwrap_or_else(PoisonError::into_inner)
            .find::<K>(name)
    }

    fn keep<K: ExtensionKind>(&self, name: &str, shared: Arc<PreparedUse<K::Config>>) {
        let prepared = self.prepared.lock();
        let mut prepared = prepared.unwrap_or_else(PoisonError::into_inner);
        prepared.0.insert((K::KIND, name.to_owned()), shared);
    }
}

/// What is prepared: an extension and its configuration, of a use or of a declaration.
struct Wanted<'a> {
    /// What messages and metrics call it.
    name: &'a str,
    extension: &'a ExtensionName,
    config: &'a Node,
    bounds: UseBounds,
    span: Option<Span>,
    folder: Option<&'a Path>,
    plugins: &'a PreparedPlugins,
}

impl Preparer {
    pub(super) async fn prepare_logs(
        &self,
        uses: &[Use],
        known: &[PreparedUse<dyn AccessLogConfig>],
        declared: &Declared<'_>,
    ) -> Result<Vec<PreparedUse<dyn AccessLogConfig>>, ApplyError> {
        let mut logs = Vec::new();
        for used in uses.iter().filter(|used| !used.disabled) {
            let known = known.iter().find(|known| known.name == used.id);
            logs.push(
                self.prepare_use::<AccessLogs>(used, known, declared)
                    .await?,
            );
        }
        Ok(logs)
    }

    /// Parses and prepares a use, unless an equal one is known.
    pub(super) async fn prepare_use<K: ExtensionKind>(
        &self,
        used: &Use,
        known: Option<&PreparedUse<K::Config>>,
        declared: &Declared<'_>,
    ) -> Result<PreparedUse<K::Config>, ApplyError> {
        let folder = declared.resources.folder.as_deref();
        let mut prepared = match &used.extension {
            extension @ (ExtensionName::Builtin(_) | ExtensionName::Plugin(_)) => {
                let wanted = Wanted {
                    name: &used.id,
                    extension,
                    config: &used.config,
                    bounds: used.bounds.as_deref().copied().unwrap_or_default(),
                    span: used.span,
                    folder,
                    plugins: &declared.plugins,
                };
                let known = known.filter(|known| known.declared.is_none());
                self.prepare_wanted::<K>(&wanted, known).await?
            }
            ExtensionName::Resource(name) => {
                let extension = declared.resources.extensions.get(name).ok_or_else(|| {
                    ApplyError::at(
                        used.span,
                        format!("there is no extension `{name}`"),
                        "declare it under `extensions`, with this as its `id`",
                    )
                })?;
                let shared = self.prepare_declared::<K>(extension, declared).await?;
                match known {
                    // A generation that was promoted stands for the declaration until that changes.
                    Some(known)
                        if known.declared.as_deref() == Some(name.as_str())
                            && known.stands_for(
                                shared.factory,
                                &shared.extension,
                                &shared.node,
                                &shared.bounds,
                            ) =>
                    {
                        known.clone()
                    }
                    _ => {
                        let mut prepared = PreparedUse::clone(&shared);
                        prepared.declared = Some(name.clone());
                        prepared
                    }
                }
            }
        };
        prepared.name.clone_from(&used.id);
        prepared.policy = used.on_failure;
        let known_gate = known.and_then(|known| known.gate.as_ref());
        prepared.gate =
            PreparedGate::new(used, known_gate, &self.metrics.metrics()).map_err(|error| {
                ApplyError::at(used.span, error.message, "give the use another `id`")
            })?;
        Ok(prepared)
    }

    async fn prepare_declared<K: ExtensionKind>(
        &self,
        extension: &Extension,
        declared: &Declared<'_>,
    ) -> Result<Arc<PreparedUse<K::Config>>, ApplyError> {
        let name = extension.name.as_str();
        if let Some(shared) = declared.find::<K>(name) {
            return Ok(shared);
        }
        let wanted = Wanted {
            name,
            extension: &extension.extension,
            config: &extension.config,
            bounds: UseBounds::default(),
            span: extension.span,
            folder: declared.resources.folder.as_deref(),
            plugins: &declared.plugins,
        };
        let known = declared.before.and_then(|before| before.find::<K>(name));
        let prepared = self.prepare_wanted::<K>(&wanted, known.as_deref()).await?;
        let shared = Arc::new(prepared);
        declared.keep::<K>(name, Arc::clone(&shared));
        Ok(shared)
    }

    async fn prepare_wanted<K: ExtensionKind>(
        &self,
        wanted: &Wanted<'_>,
        known: Option<&PreparedUse<K::Config>>,
    ) -> Result<PreparedUse<K::Config>, ApplyError> {
        let factory = wanted
            .plugins
            .factory::<K>(wanted.extension, &self.registry)
            .map_err(|error| error.or_at(wanted.span))?;
        // The same name may stand for another factory in another registry.
        let identity = Arc::as_ptr(&factory).cast::<()>().addr();
        let is_same = |known: &&PreparedUse<K::Config>| {
            known.stands_for(identity, wanted.extension, wanted.config, &wanted.bounds)
        };
        if let Some(known) = known.filter(is_same) {
            return Ok(known.clone());
        }
        let parsed = factory
            .parse(wanted.config)
            .map_err(|error| error.or_at(wanted.config.span).or_at(wanted.span))?;
        let context = PrepareContext {
            instance: Arc::from(wanted.name),
            workers: self.workers,
            metrics: self.metrics.metrics(),
            shared: self.shared.clone(),
            folder: Arc::from(wanted.folder.unwrap_or(Path::new(""))),
            bounds: wanted.bounds,
        };
        let prepared = tokio::time::timeout(PREPARE_LIMIT, parsed.prepare(context)).await;
        let what = format!("the {} `{}` could not be prepared", K::KIND, wanted.name);
        let config = failure_of(prepared, &what, wanted.span)?;
        // Asked now: a plugin says only when it is prepared what it calls.
        let clusters = AllowedClusters {
            named: parsed.clusters(),
            any: parsed.any_cluster(),
        };
        Ok(PreparedUse {
            name: wanted.name.to_owned(),
            extension: wanted.extension.clone(),
            declared: None,
            factory: identity,
            node: wanted.config.clone(),
            config,
            generation: self.next_generation(),
            phase: Phase::BeforeRoute,
            own_phase: parsed.phase(),
            policy: FailurePolicy::Closed,
            gate: None,
            bounds: wanted.bounds,
            clusters,
            is_terminal: parsed.is_terminal(),
        })
    }

    /// Prepares a stream filter for a swap in the running chain.
    pub(crate) async fn prepare_swap(
        &self,
        extension: &ExtensionName,
        id: &str,
        config: &Node,
        bounds: UseBounds,
        before: &Snapshot,
    ) -> Result<PreparedUse<dyn StreamFilterConfig>, ApplyError> {
        let wanted = Wanted {
            name: id,
            extension,
            config,
            bounds,
            span: None,
            folder: before.resources.folder.as_deref(),
            plugins: &before.plugins,
        };
        self.prepare_wanted::<StreamFilters>(&wanted, None).await
    }
}
