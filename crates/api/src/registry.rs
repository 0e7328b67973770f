//! Which implementations exist: `(kind, name)` to factory.

use std::any::Any;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use crate::factory::Factory;
use crate::kind::{ExtensionKind, Kind};
use crate::node::{Node, ParseError, known};
use crate::runtime::Runtime;

/// A map from `(kind, name)` to the factory of that implementation.
///
/// Built-in factories are registered at start. What configuration adds later (plugins) is an overlay: a registry of its
/// own [over](Registry::over) the built-in one, made anew for each snapshot, so that nothing global changes.
#[derive(Default)]
pub struct Registry {
    base: Option<Arc<Registry>>,
    factories: BTreeMap<(Kind, String), Box<dyn Any + Send + Sync>>,
    runtimes: BTreeMap<String, Arc<dyn Runtime>>,
    chosen: BTreeMap<Kind, Chosen>,
}

/// What stands for a kind where a configuration names none.
#[derive(Clone, Debug, PartialEq)]
pub struct Chosen {
    /// The name of the implementation.
    pub name: String,
    /// Its configuration; null for none.
    pub config: Node,
}

/// A name was registered twice for one kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DuplicateExtension {
    /// The kind.
    pub kind: Kind,
    /// The name.
    pub name: String,
}

/// No implementation of a kind has this name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownExtension {
    /// The kind asked for.
    pub kind: Kind,
    /// The name asked for.
    pub name: String,
    /// The names that there are.
    pub known: Vec<String>,
}

impl Registry {
    /// An empty registry.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty overlay: names that it lacks are looked up in `base`.
    #[must_use]
    pub fn over(base: Arc<Registry>) -> Self {
        Self {
            base: Some(base),
            factories: BTreeMap::new(),
            runtimes: BTreeMap::new(),
            chosen: BTreeMap::new(),
        }
    }

    /// Adds an implementation. A name of the base can be covered by an overlay; a name of the same layer cannot.
    pub fn register<K: ExtensionKind>(
        &mut self,
        name: &str,
        factory: Arc<dyn Factory<K>>,
    ) -> Result<(), DuplicateExtension> {
        let key = (K::KIND, name.to_owned());
        if self.factories.contains_key(&key) {
            return Err(DuplicateExtension {
                kind: key.0,
                name: key.1,
            });
        }
        self.factories.insert(key, Box::new(factory));
        Ok(())
    }

    /// The factory of the implementation `name`.
    pub fn find<K: ExtensionKind>(
        &self,
        name: &str,
    ) -> Result<Arc<dyn Factory<K>>, UnknownExtension> {
        let key = (K::KIND, name.to_owned());
        let mut layer = Some(self);
        while let Some(registry) = layer {
            if let Some(factory) = registry
                .factories
                .get(&key)
                .and_then(|any| any.downcast_ref::<Arc<dyn Factory<K>>>())
            {
                return Ok(Arc::clone(factory));
            }
            layer = registry.base.as_deref();
        }
        Err(UnknownExtension {
            kind: key.0,
            name: key.1,
            known: self.names(K::KIND),
        })
    }

    /// Has an implementation stand for its kind where a configuration names none. It must be there, and must take the
    /// configuration.
    pub fn choose<K: ExtensionKind>(&mut self, name: &str, config: Node) -> Result<(), ParseError> {
        self.find::<K>(name)?.parse(&config)?;
        let name = name.to_owned();
        self.chosen.insert(K::KIND, Chosen { name, config });
        Ok(())
    }

    /// What was chosen for a kind.
    #[must_use]
    pub fn chosen(&self, kind: Kind) -> Option<&Chosen> {
        match self.chosen.get(&kind) {
            Some(chosen) => Some(chosen),
            None => self.base.as_ref()?.chosen(kind),
        }
    }

    /// Adds a runtime, in place of one of the same name.
    pub fn register_runtime(&mut self, name: &str, runtime: Arc<dyn Runtime>) {
        self.runtimes.insert(name.to_owned(), runtime);
    }

    /// The runtime `name`, which declarations of plugins name in `runtime`.
    #[must_use]
    pub fn runtime(&self, name: &str) -> Option<Arc<dyn Runtime>> {
        match self.runtimes.get(name) {
            Some(runtime) => Some(Arc::clone(runtime)),
            None => self.base.as_ref()?.runtime(name),
        }
    }

    /// The names of all runtimes, sorted.
    #[must_use]
    pub fn runtimes(&self) -> Vec<String> {
        let mut names = self
            .base
            .as_ref()
            .map(|base| base.runtimes())
            .unwrap_or_default();
        names.extend(self.runtimes.keys().cloned());
        names.sort();
        names.dedup();
        names
    }

    /// The names of all implementations of a kind, sorted.
    #[must_use]
    pub fn names(&self, kind: Kind) -> Vec<String> {
        let mut names = self
            .base
            .as_ref()
            .map(|base| base.names(kind))
            .unwrap_or_default();
        names.extend(
            self.factories
                .keys()
                .filter(|key| key.0 == kind)
                .map(|key| key.1.clone()),
        );
        names.sort();
        names.dedup();
        names
    }
}

impl UnknownExtension {
    /// The remedy: the nearest known name and all known names.
    #[must_use]
    pub fn help(&self) -> String {
        let names: Vec<&str> = self.known.iter().map(String::as_str).collect();
        known(&self.name, "names", &names)
    }
}

impl From<UnknownExtension> for ParseError {
    fn from(error: UnknownExtension) -> Self {
        let help = error.help();
        ParseError::new(error.to_string()).with_help(help)
    }
}

impl fmt::Display for UnknownExtension {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "unknown {} `{}`", self.kind, self.name)
    }
}

impl std::error::Error for UnknownExtension {}

impl fmt::Display for DuplicateExtension {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the {} `{}` is registered twice", self.kind, self.name)
    }
}

impl std::error::Error for DuplicateExtension {}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self
            .factories
            .keys()
            .map(|(kind, name)| format!("{kind}/{name}"));
        f.debug_struct("Registry")
            .field("factories", &names.collect::<Vec<_>>())
            .field("runtimes", &self.runtimes.keys())
            .field("base", &self.base)
            .finish()
    }
}
