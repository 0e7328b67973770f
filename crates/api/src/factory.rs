//! The life of an extension before it meets traffic: parse, prepare, build on each worker.
//!
//! ```text
//! Factory ── parse(node) ──▶ Parsed ── prepare() ──▶ Config: Send + Sync ── on_worker() ──▶ worker part: !Send ──▶ one per stream
//! (registry)   pure          (check,    control        shared by workers      each worker
//!                            explain)   side, may wait
//! ```

use std::any::Any;
use std::borrow::Cow;
use std::fmt;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;

use crate::bounds::UseBounds;
use crate::kind::ExtensionKind;
use crate::metrics::Metrics;
use crate::node::Span;
use crate::node::{Node, ParseError};
use crate::schema::Schema;
use crate::shared::SharedData;
use crate::verdict::Phase;

/// Makes extensions of one kind and name. Lives in the [`Registry`](crate::registry::Registry).
pub trait Factory<K: ExtensionKind>: Send + Sync {
    /// The shape of its configuration.
    fn schema(&self) -> Schema;

    /// Reads a configuration. Pure: touches no file, no network, no clock, so that `check` and `explain` may call it.
    fn parse(&self, config: &Node) -> Result<Arc<dyn Parsed<K>>, ParseError>;

    /// Reads a configuration that holds for one route or virtual host. The default refuses: most kinds have none.
    fn parse_route(&self, config: &Node) -> Result<RouteConfig, ParseError> {
        Err(config.error("this extension takes no configuration per route"))
    }
}

/// A configuration that was read and found good.
pub trait Parsed<K: ExtensionKind>: Send + Sync {
    /// Names of the clusters that its callouts may go to. A callout to any other is refused; a name that the
    /// configuration does not have is an error when it is loaded. Asked again after [`prepare`](Parsed::prepare), for those whose
    /// names only that brings to light; so is [`phase`](Parsed::phase).
    fn clusters(&self) -> Vec<String> {
        Vec::new()
    }

    /// Whether its callouts may go to any cluster: for scripts that compute names, where the use's own configuration
    /// grants it.
    fn any_cluster(&self) -> bool {
        false
    }

    /// For stream filters: the request phase that this kind of filter runs in. `phase:` of a use overrides it.
    fn phase(&self) -> Phase {
        Phase::BeforeRoute
    }

    /// For network filters: whether this one ends its chain, because it answers the client itself (as `echo` does). Then it
    /// must be the last, and what passes it goes nowhere.
    fn is_terminal(&self) -> bool {
        false
    }

    /// Prepares it for use, on the control side and under a deadline: compile, fetch, start a child, define metrics.
    fn prepare(&self, context: PrepareContext) -> Prepare<K>;
}

/// What [`Parsed::prepare`] returns.
pub type Prepare<K> =
    Pin<Box<dyn Future<Output = Result<Arc<<K as ExtensionKind>::Config>, PrepareError>> + Send>>;

/// A configuration per route: whatever the extension's own type is. The stream's context hands it back.
pub type RouteConfig = Arc<dyn Any + Send + Sync>;

/// What a prepare may use. Cheap to clone.
#[derive(Clone, Debug)]
pub struct PrepareContext {
    /// The name of the use, unique in its chain.
    pub instance: Arc<str>,
    /// How many workers will build it.
    pub workers: usize,
    /// Defines metrics; their handles are good on every worker.
    pub metrics: Metrics,
    /// Data that all uses and workers share.
    pub shared: SharedData,
    /// Where relative paths begin: the folder of the configuration's file, or the process's working directory.
    pub folder: Arc<Path>,
    /// What the use may have on its way to its plugin: for plugins whose [`bounds_uses`](crate::runtime::Plugin::bounds_uses) says so.
    pub bounds: UseBounds,
}

impl PrepareContext {
    /// Where a path that is written in the configuration leads: a relative one begins at the configuration's folder.
    #[must_use]
    pub fn path(&self, written: impl AsRef<Path>) -> PathBuf {
        self.folder.join(written)
    }

    /// The process's object of this type and name: made by `make` when nobody holds one, else the one that others hold
    /// already. So what must hold on all workers and through reloads (a token bucket, a cache) is an object with atomics
    /// in it, kept by the configurations that use it: the next one is prepared before the last one is dropped.
    ///
    /// The name is shared by the whole process; with the name of the use in it
    /// ([`instance`](PrepareContext::instance)), uses of one name share the object, in whatever listener they stand.
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use std::sync::atomic::{AtomicU64, Ordering};
    /// # use transom_api::PrepareContext;
    /// fn prepare(context: &PrepareContext) -> Arc<AtomicU64> {
    ///     context.keep(&context.instance, || AtomicU64::new(0))
    /// }
    /// # let process = transom_api::testing::FakeProcess::new();
    /// # let context = PrepareContext {
    /// #     instance: "quota".into(),
    /// #     workers: 1,
    /// #     metrics: process.metrics(),
    /// #     shared: process.shared().clone(),
    /// #     folder: std::path::Path::new("").into(),
    /// #     bounds: transom_api::UseBounds::default(),
    /// # };
    /// let before = prepare(&context);
    /// before.store(5, Ordering::Relaxed);
    /// let after = prepare(&context);
    /// drop(before);
    /// assert_eq!(after.load(Ordering::Relaxed), 5);
    /// drop(after);
    /// assert_eq!(prepare(&context).load(Ordering::Relaxed), 0);
    /// ```
    pub fn keep<T: Send + Sync + 'static>(&self, name: &str, make: impl FnOnce() -> T) -> Arc<T> {
        self.shared.keep(name, make)
    }
}

/// Why an extension could not be prepared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PrepareError {
    /// What was tried, on what, what came instead.
    pub message: String,
    /// The place in the configuration that is at fault, when it is finer than the whole use.
    pub span: Option<Span>,
    /// What to do about it.
    pub help: Option<String>,
}

/// Why a worker could not build its part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BuildError {
    /// What was tried, on what, what came instead, what to do.
    pub message: String,
}

/// A failure of an extension while it handled a stream or a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FilterError {
    /// Status of the answer under the policy `closed`: 500 when the extension is broken, 503 when it is not available.
    pub status: u16,
    /// What happened, for the log. The answer's detail names only the filter.
    pub message: Cow<'static, str>,
}

/// What becomes of a stream or connection when an extension on its path fails.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum FailurePolicy {
    /// It ends: a stream with 500 or 503, a connection by closing. A broken guard lets nobody in.
    #[default]
    Closed,
    /// It goes on without the extension.
    Open,
}

/// What becomes of the worker's part after one of its streams failed in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum AfterFailure {
    /// It stays: the failure concerned one stream.
    #[default]
    Keep,
    /// It is built anew (a VM whose state may be broken). Streams that hold the old part end on it; a part that cannot be
    /// built is tried again with a growing pause, and new streams meet the failure policy until then.
    Rebuild,
}

impl PrepareError {
    /// An error from its message.
    #[must_use]
    pub fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            span: None,
            help: None,
        }
    }

    /// The same error at a place.
    #[must_use]
    pub fn at(mut self, span: Option<Span>) -> Self {
        self.span = span;
        self
    }

    /// The same error with a remedy.
    #[must_use]
    pub fn with_help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

impl BuildError {
    /// An error from its message.
    #[must_use]
    pub fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
        }
    }
}

impl FilterError {
    /// The extension is broken: 500.
    #[must_use]
    pub fn broken(message: impl Into<Cow<'static, str>>) -> Self {
        Self {
            status: 500,
            message: message.into(),
        }
    }

    /// The extension is not available: 503.
    #[must_use]
    pub fn unavailable(message: impl Into<Cow<'static, str>>) -> Self {
        Self {
            status: 503,
            message: message.into(),
        }
    }
}

macro_rules! message_error {
    ($($error:ident),*) => {$(
        impl fmt::Display for $error {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.message)
            }
        }
        impl std::error::Error for $error {}
    )*};
}
message_error!(PrepareError, BuildError, FilterError);
