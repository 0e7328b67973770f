//! Declared plugins made ready: started once, and shared by their uses.

use std::any::Any;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use transom_api::runtime::split_extension;
use transom_api::{
    ExtensionKind, Factory, Kind, ParseError, Plugin, PrepareContext, Registry, Runtime,
};
use transom_config::{ExtensionName, PluginDeclaration, Resources};

use super::{Preparer, failure_of};
use crate::control::ApplyError;
use crate::control::retire::Retired;
use crate::control::snapshot::Snapshot;

/// Plugins by name.
#[derive(Clone, Default)]
pub(crate) struct PreparedPlugins(BTreeMap<String, Arc<PreparedPlugin>>);

/// A plugin that was started.
struct PreparedPlugin {
    declared: Arc<PluginDeclaration>,
    runtime: Arc<dyn Runtime>,
    folder: Option<std::path::PathBuf>,
    plugin: Plugin,
    /// What the runtime keeps for as long as the plugin is declared.
    #[expect(dead_code, reason = "held for its life only")]
    running: Arc<dyn Any + Send + Sync>,
}

impl PreparedPlugin {
    /// Whether it is what the same declaration would be again.
    fn stands_for(
        &self,
        declared: &PluginDeclaration,
        runtime: &Arc<dyn Runtime>,
        folder: Option<&Path>,
    ) -> bool {
        *self.declared == *declared
            && Arc::ptr_eq(&self.runtime, runtime)
            && self.folder.as_deref() == folder
    }
}

impl PreparedPlugins {
    /// Shows every plugin, with its address to know it by.
    pub(crate) fn visit(&self, mut each: impl FnMut(*const (), Box<dyn Retired>)) {
        for plugin in self.0.values() {
            each(Arc::as_ptr(plugin).cast(), Box::new(Arc::clone(plugin)));
        }
    }

    /// The factory of an extension, of a plugin or compiled in.
    pub(crate) fn factory<K: ExtensionKind>(
        &self,
        extension: &ExtensionName,
        registry: &Registry,
    ) -> Result<Arc<dyn Factory<K>>, ParseError> {
        let ExtensionName::Plugin(name) = extension else {
            return Ok(registry.find::<K>(extension.as_str())?);
        };
        let (plugin, extension) = split_extension(name);
        let Some(prepared) = self.0.get(plugin) else {
            return Err(ParseError::new(format!("there is no plugin `{plugin}`"))
                .with_help("declare it under `plugins`"));
        };
        prepared.plugin.find::<K>(extension).ok_or_else(|| {
            let kinds: Vec<&str> = prepared.plugin.kinds().map(Kind::name).collect();
            ParseError::new(format!(
                "the plugin `{plugin}` cannot be used as a {}",
                K::KIND
            ))
            .with_help(format!("it can be used as: {}", kinds.join(", ")))
        })
    }
}

impl Preparer {
    /// Starts the plugins that are new or changed; the others are those of the snapshot before.
    pub(super) async fn prepare_plugins(
        &self,
        resources: &Resources,
        before: Option<&Snapshot>,
    ) -> Result<PreparedPlugins, ApplyError> {
        let mut prepared = BTreeMap::new();
        let folder = resources.folder.as_deref();
        for (name, declared) in &resources.plugins {
            let runtime = self.registry.runtime(&declared.runtime).ok_or_else(|| {
                ApplyError::at(
                    declared.runtime.span,
                    format!("unknown runtime `{}`", declared.runtime),
                    "see `transom schema` for those that there are",
                )
            })?;
            let known = before.and_then(|before| before.plugins.0.get(name));
            let plugin = match known {
                Some(known) if known.stands_for(declared, &runtime, folder) => Arc::clone(known),
                _ => self.start_plugin(declared, runtime, folder).await?,
            };
            prepared.insert(name.clone(), plugin);
        }
        Ok(PreparedPlugins(prepared))
    }

    async fn start_plugin(
        &self,
        declared: &Arc<PluginDeclaration>,
        runtime: Arc<dyn Runtime>,
        folder: Option<&Path>,
    ) -> Result<Arc<PreparedPlugin>, ApplyError> {
        let plugin = runtime
            .parse(&declared.name, &declared.declaration)
            .map_err(|error| error.or_at(declared.declaration.span.or(declared.span)))?;
        let context = PrepareContext {
            instance: Arc::from(declared.name.as_str()),
            workers: self.workers,
            metrics: self.metrics.metrics(),
            shared: self.shared.clone(),
            folder: Arc::from(folder.unwrap_or(Path::new(""))),
            bounds: transom_api::UseBounds::default(),
        };
        let started = tokio::time::timeout(super::PREPARE_LIMIT, plugin.prepare(context)).await;
        let what = format!("the plugin `{}` could not be started", declared.name);
        let running = failure_of(started, &what, declared.span)?;
        Ok(Arc::new(PreparedPlugin {
            declared: Arc::clone(declared),
            runtime,
            folder: folder.map(Path::to_owned),
            plugin,
            running,
        }))
    }
}
