//! Runtimes: ways to host extensions that are not compiled in.
//!
//! A configuration declares each plugin once, below `plugins`, and says which runtime hosts it. The runtime reads the
//! declaration and answers with a [`Plugin`]: what starts it, and for each kind of extension that it may be used as a
//! factory like those that are compiled in.
//!
//! ```text
//! Runtime ── parse(name, declaration) ──▶ Plugin ─┬─ prepare() ──▶ kept as long as the plugin is declared
//! (registry)          pure                        └─ find::<K>() ──▶ Factory<K> ── parse … as for any other extension
//! ```
//!
//! A declaration that a reload leaves as it is keeps its plugin, and with it whatever the plugin has started.

use std::any::Any;
use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};

use crate::factory::{Factory, PrepareContext, PrepareError};
use crate::kind::{ExtensionKind, Kind};
use crate::node::{Node, ParseError};
use crate::schema::Schema;
use crate::verdict::Phase;

/// A way to host extensions, by the name that declarations have in `runtime`.
pub trait Runtime: Send + Sync {
    /// The shape of a declaration, without the key `runtime`.
    fn schema(&self) -> Schema;

    /// Reads the declaration of the plugin `name`, without its key `runtime`. Pure, as [`Factory::parse`] is.
    fn parse(&self, name: &str, declaration: &Node) -> Result<Plugin, ParseError>;
}

/// What starts a plugin.
pub trait PluginLife: Send + Sync {
    /// Starts it, on the control side and under a deadline, before any of its uses is prepared. What it answers is kept as
    /// long as a configuration declares the plugin; its uses may outlive that while they drain.
    fn prepare(&self, context: PrepareContext) -> PreparePlugin;

    /// Has the plugin itself say whether configurations are good, for `check` and `explain`: it may be started for that, and nothing is kept.
    /// Relative paths begin at `folder`. `None`: it knows no more than its factories, which is the default.
    fn ask(&self, _folder: Arc<Path>, _questions: Vec<Question>) -> Option<AskPlugin> {
        None
    }
}

/// A configuration that a plugin is asked about.
#[derive(Clone, Debug)]
pub struct Question {
    /// What it is used as.
    pub kind: Kind,
    /// The extension's name in the plugin; empty for the only one of its kind.
    pub extension: String,
    /// The name of the use.
    pub name: String,
    /// The configuration.
    pub config: Node,
    /// It is that of a route.
    pub is_route: bool,
}

/// What a plugin says of a configuration.
#[derive(Clone, Debug, Default)]
pub struct Opinion {
    /// What is wrong with it.
    pub faults: Vec<ParseError>,
    /// For a stream filter: the phase that it runs in, unless its use says so.
    pub phase: Option<Phase>,
}

/// What [`PluginLife::ask`] returns: an opinion on each question, in their order, or why there are none.
pub type AskPlugin = Pin<Box<dyn Future<Output = Result<Vec<Opinion>, PrepareError>> + Send>>;

/// What [`PluginLife::prepare`] returns.
pub type PreparePlugin =
    Pin<Box<dyn Future<Output = Result<Arc<dyn Any + Send + Sync>, PrepareError>> + Send>>;

/// A declared plugin: how it is started, and the factories of what it can be used as.
pub struct Plugin {
    life: Arc<dyn PluginLife>,
    bounds_uses: bool,
    makers: BTreeMap<Kind, Box<dyn Any + Send + Sync>>,
    /// Each is made once, so that its address tells whether two uses have the same.
    made: Mutex<BTreeMap<(Kind, String), Box<dyn Any + Send + Sync>>>,
}

/// Makes the factory of an extension by its name in the plugin; empty for the only one of its kind.
type Maker<K> = Box<dyn Fn(&str) -> Arc<dyn Factory<K>> + Send + Sync>;

impl Plugin {
    /// A plugin that can be used as nothing yet.
    #[must_use]
    pub fn new(life: Arc<dyn PluginLife>) -> Self {
        Self {
            life,
            bounds_uses: false,
            makers: BTreeMap::new(),
            made: Mutex::default(),
        }
    }

    /// The same with one more kind. `make` gets the name of an extension in the plugin, as a use has it behind the slash
    /// (`plugin: auth/tokens`); it is empty where the use names none.
    #[must_use]
    pub fn with<K: ExtensionKind>(
        mut self,
        make: impl Fn(&str) -> Arc<dyn Factory<K>> + Send + Sync + 'static,
    ) -> Self {
        let make: Maker<K> = Box::new(make);
        self.makers.insert(K::KIND, Box::new(make));
        self
    }

    /// The same that keeps the bounds that a use of a filter has of its own ([`PrepareContext::bounds`]). For the uses of a plugin that does
    /// not they are refused.
    #[must_use]
    pub fn that_bounds_uses(mut self) -> Self {
        self.bounds_uses = true;
        self
    }

    /// Whether it keeps the bounds that a use has of its own.
    #[must_use]
    pub fn bounds_uses(&self) -> bool {
        self.bounds_uses
    }

    /// The factory of an extension. `None` when the plugin cannot be used as a `K`.
    #[must_use]
    pub fn find<K: ExtensionKind>(&self, extension: &str) -> Option<Arc<dyn Factory<K>>> {
        let make = self.makers.get(&K::KIND)?.downcast_ref::<Maker<K>>()?;
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        let factory = made
            .entry((K::KIND, extension.to_owned()))
            .or_insert_with(|| Box::new(make(extension)));
        factory.downcast_ref::<Arc<dyn Factory<K>>>().cloned()
    }

    /// What the plugin can be used as.
    pub fn kinds(&self) -> impl Iterator<Item = Kind> + '_ {
        self.makers.keys().copied()
    }

    /// Has the plugin itself say whether configurations are good. `None`: it knows no more than its factories.
    #[must_use]
    pub fn ask(&self, folder: Arc<Path>, questions: Vec<Question>) -> Option<AskPlugin> {
        self.life.ask(folder, questions)
    }

    /// Starts the plugin.
    #[must_use]
    pub fn prepare(&self, context: PrepareContext) -> PreparePlugin {
        self.life.prepare(context)
    }
}

impl fmt::Debug for Plugin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Plugin")
            .field(&self.kinds().collect::<Vec<_>>())
            .finish()
    }
}

/// The name of a plugin and that of the extension in it, out of what a use names: `auth`, or `auth/tokens`.
#[must_use]
pub fn split_extension(named: &str) -> (&str, &str) {
    named.split_once('/').unwrap_or((named, ""))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::factory::{Parsed, Prepare};
    use crate::kind::{NetworkFilters, StreamFilters};
    use crate::testing::FakeProcess;

    struct Nothing;

    impl PluginLife for Nothing {
        fn prepare(&self, context: PrepareContext) -> PreparePlugin {
            Box::pin(std::future::ready(Ok(Arc::new(context.workers) as _)))
        }
    }

    /// Its schema tells its name.
    struct Named(String);

    impl Factory<StreamFilters> for Named {
        fn schema(&self) -> Schema {
            Schema::object().describe(&self.0)
        }

        fn parse(&self, config: &Node) -> Result<Arc<dyn Parsed<StreamFilters>>, ParseError> {
            Err(config.error("nothing is good enough"))
        }
    }

    impl Parsed<StreamFilters> for Named {
        fn prepare(&self, _context: PrepareContext) -> Prepare<StreamFilters> {
            Box::pin(std::future::ready(Err(PrepareError::new("never"))))
        }
    }

    #[test]
    fn each_extension_has_one_factory() {
        let plugin = Plugin::new(Arc::new(Nothing))
            .with::<StreamFilters>(|name| Arc::new(Named(name.to_owned())));
        let first = plugin.find::<StreamFilters>("tokens").unwrap();
        assert_eq!(first.schema().description, "tokens");
        let again = plugin.find::<StreamFilters>("tokens").unwrap();
        assert!(Arc::ptr_eq(&first, &again));
        let other = plugin.find::<StreamFilters>("").unwrap();
        assert!(!Arc::ptr_eq(&first, &other));
        assert!(plugin.find::<NetworkFilters>("tokens").is_none());
        assert_eq!(plugin.kinds().collect::<Vec<_>>(), [Kind::StreamFilter]);
    }

    #[test]
    fn what_keeps_it_running_is_the_runtimes_own() {
        let process = FakeProcess::new();
        let context = PrepareContext {
            instance: "auth".into(),
            workers: 3,
            metrics: process.metrics(),
            shared: process.shared().clone(),
            folder: std::path::Path::new("").into(),
            bounds: crate::UseBounds::default(),
        };
        let mut prepared = Plugin::new(Arc::new(Nothing)).prepare(context);
        let mut polled = std::task::Context::from_waker(std::task::Waker::noop());
        let std::task::Poll::Ready(Ok(kept)) = prepared.as_mut().poll(&mut polled) else {
            panic!("it is ready at once");
        };
        assert_eq!(kept.downcast_ref::<usize>(), Some(&3));
    }

    #[test]
    fn the_slash_parts_plugin_and_extension() {
        assert_eq!(split_extension("auth"), ("auth", ""));
        assert_eq!(split_extension("auth/tokens"), ("auth", "tokens"));
        assert_eq!(split_extension("auth/a/b"), ("auth", "a/b"));
    }
}
