//! All plugins of the process, by name.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, Weak};

use tokio::task::JoinSet;

use super::child::Place;
use super::error::StartError;
use super::load::Counts;
use super::plugin::{Plugin, lock};
use super::spec::Spec;

/// All plugins of the process, by name. Each name has one version, or, while a configuration changes, several.
#[derive(Debug, Default)]
pub struct Supervisor {
    plugins: Mutex<BTreeMap<String, Arc<Entry>>>,
}

/// The versions of one plugin.
#[derive(Debug, Default)]
pub(super) struct Entry {
    /// Held by who starts a version, so that uses that are prepared side by side share it.
    starting: tokio::sync::Mutex<()>,
    inner: Mutex<Versions>,
}

#[derive(Debug, Default)]
struct Versions {
    /// Oldest first.
    all: Vec<(Weak<Plugin>, Counts)>,
    /// What versions that are gone have counted.
    retired: Counts,
    disabled: bool,
}

impl Supervisor {
    /// No plugin yet.
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// The plugin of this name and specification: the one that runs already, or one that is started. So all uses share it, and a reload
    /// that does not change it leaves its processes alone. It lives as long as somebody holds it.
    ///
    /// Where the specification says so, it takes over from the version that runs as a swap does: by share at first.
    ///
    /// A name that was disabled stays so: then the plugin is not started, and has no instances.
    pub async fn plugin(
        &self,
        name: &str,
        spec: Arc<Spec>,
        place: Place,
    ) -> Result<Arc<Plugin>, StartError> {
        let entry = self.entry(name);
        let _one = entry.starting.lock().await;
        if let Some(plugin) = entry.of(&spec) {
            return Ok(plugin);
        }
        let plugin = match entry.is_disabled() {
            true => Plugin::disabled(name, spec, place),
            false => {
                let plugin = Plugin::start(name, spec, place).await?;
                if let Some(older) = entry.newest() {
                    plugin.take_over_from(&older);
                }
                plugin
            }
        };
        entry.add(&plugin);
        Ok(plugin)
    }

    fn entry(&self, name: &str) -> Arc<Entry> {
        Arc::clone(lock(&self.plugins).entry(name.to_owned()).or_default())
    }

    /// The names that have a version, sorted.
    pub fn names(&self) -> Vec<String> {
        let plugins = lock(&self.plugins);
        plugins
            .iter()
            .filter(|(_, entry)| !entry.versions().is_empty())
            .map(|(name, _)| name.clone())
            .collect()
    }

    /// The versions of a plugin, oldest first; empty for a name that there is not.
    pub fn versions(&self, name: &str) -> Vec<Arc<Plugin>> {
        let entry = lock(&self.plugins).get(name).cloned();
        entry.map(|entry| entry.versions()).unwrap_or_default()
    }

    /// What all versions of a plugin counted, those that are gone included.
    pub fn counts(&self, name: &str) -> Counts {
        let entry = lock(&self.plugins).get(name).cloned();
        entry.map(|entry| entry.counts()).unwrap_or_default()
    }

    /// Starts all versions of a plugin again, or for the first time. Why not, if one does not.
    pub async fn enable(&self, name: &str) -> Result<(), Order> {
        let entry = self.known(name)?;
        entry.set_disabled(false);
        for plugin in entry.versions() {
            plugin.enable().await.map_err(Order::Failed)?;
        }
        Ok(())
    }

    /// Stops all versions of a plugin, and those to come, until it is enabled.
    pub async fn disable(&self, name: &str) -> Result<(), Order> {
        let entry = self.known(name)?;
        entry.set_disabled(true);
        for plugin in entry.versions() {
            plugin.disable().await;
        }
        Ok(())
    }

    /// Starts new processes of a plugin and ends the old ones.
    pub async fn restart(&self, name: &str) -> Result<(), Order> {
        for plugin in self.known(name)?.versions() {
            if !plugin.is_enabled() {
                return Err(Order::Disabled);
            }
            plugin.restart().await.map_err(Order::Failed)?;
        }
        Ok(())
    }

    /// Has what lies on disk now take over from the newest version of a plugin, if it does well: [`Plugin::swap`].
    pub async fn swap(&self, name: &str) -> Result<String, Order> {
        let versions = self.known(name)?.versions();
        let newest = versions.last().ok_or(Order::Unknown)?;
        newest.swap().await.map_err(Order::Failed)
    }

    fn known(&self, name: &str) -> Result<Arc<Entry>, Order> {
        let entry = lock(&self.plugins).get(name).cloned();
        entry
            .filter(|entry| !entry.versions().is_empty())
            .ok_or(Order::Unknown)
    }

    /// Ends all plugins at the same time, and waits for it.
    pub async fn stop(&self) {
        let entries: Vec<Arc<Entry>> = lock(&self.plugins).values().cloned().collect();
        let mut stopping = JoinSet::new();
        for plugin in entries.iter().flat_map(|entry| entry.versions()) {
            stopping.spawn(async move { plugin.stop().await });
        }
        while stopping.join_next().await.is_some() {}
    }
}

/// Why an order was not obeyed.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Order {
    /// There is no such plugin.
    #[error("there is no plugin of this name")]
    Unknown,
    /// It is disabled.
    #[error("the plugin is disabled: enable it first")]
    Disabled,
    /// It would not start.
    #[error("{0}")]
    Failed(String),
}

impl Entry {
    fn of(&self, spec: &Spec) -> Option<Arc<Plugin>> {
        self.versions()
            .into_iter()
            .rfind(|plugin| **plugin.spec() == *spec)
    }

    fn newest(&self) -> Option<Arc<Plugin>> {
        self.versions().pop()
    }

    fn add(&self, plugin: &Arc<Plugin>) {
        let mut inner = lock(&self.inner);
        inner.all.push((Arc::downgrade(plugin), Counts::default()));
    }

    fn versions(&self) -> Vec<Arc<Plugin>> {
        let mut inner = lock(&self.inner);
        inner.look();
        inner
            .all
            .iter()
            .filter_map(|(plugin, _)| plugin.upgrade())
            .collect()
    }

    fn counts(&self) -> Counts {
        let mut inner = lock(&self.inner);
        inner.look();
        let mut counts = inner.retired.clone();
        for (_, seen) in &inner.all {
            counts.add(seen);
        }
        counts
    }

    fn is_disabled(&self) -> bool {
        lock(&self.inner).disabled
    }

    fn set_disabled(&self, disabled: bool) {
        lock(&self.inner).disabled = disabled;
    }
}

impl Versions {
    /// Takes note of what each version has counted, and lets go of those that are gone. What one counted between the last look and its
    /// end is lost.
    fn look(&mut self) {
        let retired = &mut self.retired;
        self.all
            .retain_mut(|(plugin, seen)| match plugin.upgrade() {
                Some(plugin) => {
                    *seen = plugin.counts();
                    true
                }
                None => {
                    seen.in_flight = 0;
                    retired.add(seen);
                    false
                }
            });
    }
}
