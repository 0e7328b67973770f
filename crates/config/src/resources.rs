//! The whole of a configuration, and the difference between two.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use transom_api::Node;

use crate::{
    Cluster, Dropped, Extension, ExtensionName, HostSet, ListenAddress, Listener,
    PluginDeclaration, RouteTable, Sources, Use,
};

/// All that a source of configuration says.
#[derive(Clone, Debug)]
pub struct Configuration {
    /// What holds for the process and is read once, at start.
    pub process: Process,
    /// What may change while the process runs.
    pub resources: Resources,
    /// The texts it was read from, so that later checks can show the lines at fault.
    pub sources: Sources,
    /// What folders of plugins had in them.
    pub dropped: Dropped,
}

/// Settings of the process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    /// Number of workers (`workers`); `None` is one per core.
    pub workers: Option<NonZeroUsize>,
    /// The admin interface (`admin`); `None` is no admin interface.
    pub admin: Option<Admin>,
    /// How long connections may take to end after the process was told to stop (`drain_timeout`, 30 s).
    pub drain_timeout: Duration,
}

/// The admin interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admin {
    /// Where it listens: a loopback address or a Unix socket.
    pub address: ListenAddress,
    /// Whether `GET /plugin` changes things, as it does in MOSN.
    pub mosn_compatible: bool,
}

/// The named resources. Each name is unique within its kind, and every reference between them resolves.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Resources {
    /// Listeners by name.
    pub listeners: BTreeMap<String, Arc<Listener>>,
    /// Route tables by name. A table written inside an `http` filter is named `<listener>/<id of the filter>`.
    pub route_tables: BTreeMap<String, Arc<RouteTable>>,
    /// Clusters by name.
    pub clusters: BTreeMap<String, Arc<Cluster>>,
    /// Host sets by name. One written inside a cluster has the cluster's name.
    pub host_sets: BTreeMap<String, Arc<HostSet>>,
    /// Plugins by name.
    pub plugins: BTreeMap<String, Arc<PluginDeclaration>>,
    /// Extensions that are configured once and used by name, by name.
    pub extensions: BTreeMap<String, Arc<Extension>>,
    /// What the process takes in all.
    pub limits: ProcessLimits,
    /// Where relative paths begin: the folder of the file that these were read from. `None` is the process's working
    /// directory.
    pub folder: Option<PathBuf>,
}

/// What the process takes in all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProcessLimits {
    /// How many connections of clients may be open at once; `None`: as many as the process's descriptors allow.
    pub max_connections: Option<u32>,
}

/// What leads from one set of resources to another.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Changes {
    /// New and changed resources; what is referred to comes before what refers to it.
    pub set: Vec<Resource>,
    /// Resources that are gone; what refers comes before what it refers to.
    pub remove: Vec<ResourceName>,
}

/// A resource of any kind.
#[derive(Clone, Debug, PartialEq)]
pub enum Resource {
    /// Hosts of a cluster.
    HostSet(Arc<HostSet>),
    /// A cluster.
    Cluster(Arc<Cluster>),
    /// A plugin.
    Plugin(Arc<PluginDeclaration>),
    /// An extension that is used by name.
    Extension(Arc<Extension>),
    /// A route table.
    RouteTable(Arc<RouteTable>),
    /// A listener.
    Listener(Arc<Listener>),
}

/// The name of a resource with its kind.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ResourceName {
    /// Its kind.
    pub kind: ResourceKind,
    /// Its name within the kind.
    pub name: String,
}

/// The kinds of resources, in the order in which they refer: each refers only to kinds before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ResourceKind {
    /// Hosts of a cluster.
    HostSet,
    /// A cluster.
    Cluster,
    /// A plugin.
    Plugin,
    /// An extension that is used by name.
    Extension,
    /// A route table.
    RouteTable,
    /// A listener.
    Listener,
}

impl Resources {
    /// What must be set and removed to come from `old` to `new`. Resources that mean the same are left alone, wherever
    /// they were written.
    #[must_use]
    pub fn difference(old: &Self, new: &Self) -> Changes {
        let mut changes = Changes::default();
        compare(
            &old.host_sets,
            &new.host_sets,
            ResourceKind::HostSet,
            Resource::HostSet,
            &mut changes,
        );
        compare(
            &old.clusters,
            &new.clusters,
            ResourceKind::Cluster,
            Resource::Cluster,
            &mut changes,
        );
        compare(
            &old.plugins,
            &new.plugins,
            ResourceKind::Plugin,
            Resource::Plugin,
            &mut changes,
        );
        compare(
            &old.extensions,
            &new.extensions,
            ResourceKind::Extension,
            Resource::Extension,
            &mut changes,
        );
        compare(
            &old.route_tables,
            &new.route_tables,
            ResourceKind::RouteTable,
            Resource::RouteTable,
            &mut changes,
        );
        compare(
            &old.listeners,
            &new.listeners,
            ResourceKind::Listener,
            Resource::Listener,
            &mut changes,
        );
        changes.remove.reverse();
        changes
    }

    /// These resources after `changes`. Unchanged ones are shared, not copied.
    #[must_use]
    pub fn apply(&self, changes: &Changes) -> Self {
        let mut next = self.clone();
        for name in &changes.remove {
            match name.kind {
                ResourceKind::HostSet => drop(next.host_sets.remove(&name.name)),
                ResourceKind::Cluster => drop(next.clusters.remove(&name.name)),
                ResourceKind::Plugin => drop(next.plugins.remove(&name.name)),
                ResourceKind::Extension => drop(next.extensions.remove(&name.name)),
                ResourceKind::RouteTable => drop(next.route_tables.remove(&name.name)),
                ResourceKind::Listener => drop(next.listeners.remove(&name.name)),
            }
        }
        for resource in &changes.set {
            match resource.clone() {
                Resource::HostSet(it) => drop(next.host_sets.insert(it.name.clone(), it)),
                Resource::Cluster(it) => drop(next.clusters.insert(it.name.clone(), it)),
                Resource::Plugin(it) => drop(next.plugins.insert(it.name.clone(), it)),
                Resource::Extension(it) => drop(next.extensions.insert(it.name.clone(), it)),
                Resource::RouteTable(it) => drop(next.route_tables.insert(it.name.clone(), it)),
                Resource::Listener(it) => drop(next.listeners.insert(it.name.clone(), it)),
            }
        }
        next
    }

    /// Where a path that is written in these resources leads: a relative one begins at their folder.
    #[must_use]
    pub fn path(&self, path: &Path) -> PathBuf {
        match &self.folder {
            Some(folder) => folder.join(path),
            None => path.to_owned(),
        }
    }

    /// What a use stands for: the extension and its configuration, of its own or those of the resource that it names.
    /// `None` when there is no such resource.
    #[must_use]
    pub fn implementation<'r>(&'r self, used: &'r Use) -> Option<(&'r ExtensionName, &'r Node)> {
        match &used.extension {
            ExtensionName::Resource(name) => {
                let declared = self.extensions.get(name)?;
                Some((&declared.extension, &declared.config))
            }
            name => Some((name, &used.config)),
        }
    }
}

impl Changes {
    /// True when there is nothing to do.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.set.is_empty() && self.remove.is_empty()
    }
}

fn compare<T: PartialEq>(
    old: &BTreeMap<String, Arc<T>>,
    new: &BTreeMap<String, Arc<T>>,
    kind: ResourceKind,
    resource: impl Fn(Arc<T>) -> Resource,
    changes: &mut Changes,
) {
    for (name, it) in new {
        if old.get(name).is_none_or(|before| before != it) {
            changes.set.push(resource(Arc::clone(it)));
        }
    }
    for name in old.keys().filter(|name| !new.contains_key(*name)) {
        changes.remove.push(ResourceName {
            kind,
            name: name.clone(),
        });
    }
}
