//! The easy way to a built-in filter: a configuration type that makes filters, or just a function.

mod listener;
mod network;

use std::cell::RefCell;
use std::marker::PhantomData;
use std::rc::Rc;
use std::sync::Arc;

use crate::factory::{
    BuildError, Factory, FilterError, Parsed, Prepare, PrepareContext, PrepareError, RouteConfig,
};
use crate::kind::StreamFilters;
use crate::node::{Node, ParseError};
use crate::registry::{DuplicateExtension, Registry};
use crate::schema::Schema;
use crate::stream::{
    Stream, StreamFilter, StreamFilterConfig, StreamFilterWorker, StreamInstance, Wants,
};
use crate::verdict::{HeadersVerdict, Phase};
use crate::worker::{Worker, WorkerPart};

pub use self::listener::ListenerBuiltin;
pub(crate) use self::listener::ListenerBuiltinFactory;
pub use self::network::NetworkBuiltin;
pub(crate) use self::network::NetworkBuiltinFactory;

/// A stream filter whose configuration is all that it needs: no VM, no connection, nothing of its own on a worker.
///
/// ```
/// use transom_api::builtin::Builtin;
/// use transom_api::{HeadersVerdict, LocalReply, Node, ParseError, Registry, Schema, Stream, StreamFilter, Wants};
///
/// /// Refuses methods other than the configured one.
/// #[derive(Clone)]
/// struct OnlyMethod {
///     method: String,
/// }
///
/// impl Builtin for OnlyMethod {
///     type Filter = OnlyMethod;
///
///     fn schema() -> Schema {
///         Schema::object().required("method", Schema::string().describe("The method that passes."))
///     }
///
///     fn parse(node: &Node) -> Result<Self, ParseError> {
///         let mut fields = node.as_fields()?;
///         let method = fields.required("method")?.as_str()?.to_owned();
///         fields.finish()?;
///         Ok(Self { method })
///     }
///
///     fn wants(&self) -> Wants {
///         Wants::REQUEST_HEADERS
///     }
///
///     fn filter(&self) -> Self {
///         self.clone()
///     }
/// }
///
/// impl StreamFilter for OnlyMethod {
///     fn request_headers(&mut self, stream: &mut Stream<'_>, _end: bool) -> HeadersVerdict {
///         if stream.request().get(":method").is_some_and(|method| method == *self.method) {
///             return HeadersVerdict::Continue;
///         }
///         // An error only says that a response is on its way already.
///         let _ = stream.send_local_reply(LocalReply::new(405).details("only_method_denied"));
///         HeadersVerdict::StopIteration
///     }
/// }
///
/// let mut registry = Registry::new();
/// registry.register_builtin::<OnlyMethod>("only_method").unwrap();
/// ```
pub trait Builtin: Clone + Send + Sync + Sized + 'static {
    /// The filter of one stream.
    type Filter: StreamFilter + 'static;

    /// Whether one filter serves all streams of a worker, because it keeps nothing of them: then no stream costs an
    /// allocation.
    const SHARED: bool = false;

    /// The shape of the configuration.
    fn schema() -> Schema;

    /// Reads the configuration.
    fn parse(node: &Node) -> Result<Self, ParseError>;

    /// Reads the configuration of a route; a filter finds it by
    /// [`Stream::route_config`](crate::stream::Stream::route_config) as `Self`. The default reads the same keys.
    fn parse_route(node: &Node) -> Result<Self, ParseError> {
        Self::parse(node)
    }

    /// Names of the clusters that callouts may go to.
    fn clusters(&self) -> Vec<String> {
        Vec::new()
    }

    /// Prepares it: defines metrics.
    fn prepare(&mut self, _context: &PrepareContext) -> Result<(), PrepareError> {
        Ok(())
    }

    /// Which callbacks the filter needs.
    fn wants(&self) -> Wants {
        Wants::EVERYTHING
    }

    /// The request phase of this kind of filter.
    fn phase(&self) -> Phase {
        Phase::BeforeRoute
    }

    /// Makes the filter of a stream. Runs for every stream: what is dear to copy goes behind an `Arc`, made anew for
    /// each worker in [`Builtin::for_worker`], so that workers do not share its count.
    fn filter(&self) -> Self::Filter;

    /// The copy that one worker uses.
    fn for_worker(&self) -> Self {
        self.clone()
    }

    /// Builds the part that one worker has. The default makes filters by [`Builtin::filter`], one for each stream or, with
    /// [`Builtin::SHARED`], one for all; a filter that keeps something on its worker (a count, a connection) answers with a
    /// part of its own.
    fn on_worker(
        &self,
        _worker: &mut Worker<'_>,
    ) -> Result<Rc<dyn StreamFilterWorker>, BuildError> {
        if Self::SHARED {
            return Ok(SharedFilter::on_worker(self.filter()));
        }
        Ok(Rc::new(BuiltinWorker(self.for_worker())))
    }
}

/// A worker's part with one filter for all streams: no stream costs an allocation.
pub struct SharedFilter(Rc<RefCell<dyn StreamFilter>>);

impl SharedFilter {
    /// The part, as [`Builtin::on_worker`] and [`StreamFilterConfig::on_worker`] return it.
    #[must_use]
    pub fn on_worker(filter: impl StreamFilter + 'static) -> Rc<dyn StreamFilterWorker> {
        Rc::new(Self(Rc::new(RefCell::new(filter))))
    }
}

impl WorkerPart for SharedFilter {}

impl StreamFilterWorker for SharedFilter {
    fn stream(&self, _stream: &mut Stream<'_>) -> Result<StreamInstance, FilterError> {
        Ok(StreamInstance::Shared(Rc::clone(&self.0)))
    }
}

/// The factory of a built-in's type, for whoever hosts it otherwise than by its name in a registry.
#[must_use]
pub fn factory<B: Builtin>() -> Arc<dyn Factory<StreamFilters>> {
    Arc::new(BuiltinFactory::<B>(PhantomData))
}

impl Registry {
    /// Registers a built-in stream filter.
    pub fn register_builtin<B: Builtin>(&mut self, name: &str) -> Result<(), DuplicateExtension> {
        self.register::<StreamFilters>(name, factory::<B>())
    }

    /// Registers a stream filter that is just a function of the request's headers.
    ///
    /// ```
    /// # use transom_api::{HeadersVerdict, Registry};
    /// let mut registry = Registry::new();
    /// registry
    ///     .register_fn("tag", |stream| {
    ///         let _ = stream.request_mut().set("x-tag", "1");
    ///         HeadersVerdict::Continue
    ///     })
    ///     .unwrap();
    /// ```
    pub fn register_fn<F>(&mut self, name: &str, on_request: F) -> Result<(), DuplicateExtension>
    where
        F: Fn(&mut Stream<'_>) -> HeadersVerdict + Send + Sync + 'static,
    {
        self.register::<StreamFilters>(name, Arc::new(FnFactory(Arc::new(on_request))))
    }
}

struct BuiltinFactory<B>(PhantomData<fn() -> B>);

impl<B: Builtin> Factory<StreamFilters> for BuiltinFactory<B> {
    fn schema(&self) -> Schema {
        B::schema()
    }

    fn parse(&self, config: &Node) -> Result<Arc<dyn Parsed<StreamFilters>>, ParseError> {
        Ok(Arc::new(BuiltinParsed(B::parse(config)?)))
    }

    fn parse_route(&self, config: &Node) -> Result<RouteConfig, ParseError> {
        Ok(Arc::new(B::parse_route(config)?))
    }
}

struct BuiltinParsed<B>(B);

impl<B: Builtin> Parsed<StreamFilters> for BuiltinParsed<B> {
    fn phase(&self) -> Phase {
        self.0.phase()
    }

    fn clusters(&self) -> Vec<String> {
        self.0.clusters()
    }

    fn prepare(&self, context: PrepareContext) -> Prepare<StreamFilters> {
        let mut config = self.0.clone();
        Box::pin(std::future::ready(config.prepare(&context).map(|()| {
            let config: Arc<dyn StreamFilterConfig> = Arc::new(BuiltinConfig(config));
            config
        })))
    }
}

struct BuiltinConfig<B>(B);

impl<B: Builtin> StreamFilterConfig for BuiltinConfig<B> {
    fn wants(&self) -> Wants {
        self.0.wants()
    }

    fn on_worker(&self, worker: &mut Worker<'_>) -> Result<Rc<dyn StreamFilterWorker>, BuildError> {
        self.0.on_worker(worker)
    }
}

struct BuiltinWorker<B>(B);

impl<B> WorkerPart for BuiltinWorker<B> {}

impl<B: Builtin> StreamFilterWorker for BuiltinWorker<B> {
    fn stream(&self, _stream: &mut Stream<'_>) -> Result<StreamInstance, FilterError> {
        Ok(StreamInstance::own(self.0.filter()))
    }
}

type OnRequest = dyn Fn(&mut Stream<'_>) -> HeadersVerdict + Send + Sync;

struct FnFactory(Arc<OnRequest>);

impl Factory<StreamFilters> for FnFactory {
    fn schema(&self) -> Schema {
        Schema::object()
    }

    fn parse(&self, config: &Node) -> Result<Arc<dyn Parsed<StreamFilters>>, ParseError> {
        config.as_fields()?.finish()?;
        Ok(Arc::new(FnParsed(Arc::clone(&self.0))))
    }
}

struct FnParsed(Arc<OnRequest>);

impl Parsed<StreamFilters> for FnParsed {
    fn prepare(&self, _context: PrepareContext) -> Prepare<StreamFilters> {
        let config: Arc<dyn StreamFilterConfig> = Arc::new(FnConfig(Arc::clone(&self.0)));
        Box::pin(std::future::ready(Ok(config)))
    }
}

struct FnConfig(Arc<OnRequest>);

impl StreamFilterConfig for FnConfig {
    fn wants(&self) -> Wants {
        Wants::REQUEST_HEADERS
    }

    fn on_worker(
        &self,
        _worker: &mut Worker<'_>,
    ) -> Result<Rc<dyn StreamFilterWorker>, BuildError> {
        Ok(Rc::new(FnWorker(Rc::new(Arc::clone(&self.0)))))
    }
}

/// The inner `Rc` keeps the count that every stream touches on this worker.
struct FnWorker(Rc<Arc<OnRequest>>);

impl WorkerPart for FnWorker {}

impl StreamFilterWorker for FnWorker {
    fn stream(&self, _stream: &mut Stream<'_>) -> Result<StreamInstance, FilterError> {
        Ok(StreamInstance::own(FnFilter(Rc::clone(&self.0))))
    }
}

struct FnFilter(Rc<Arc<OnRequest>>);

impl StreamFilter for FnFilter {
    fn request_headers(&mut self, stream: &mut Stream<'_>, _end: bool) -> HeadersVerdict {
        (self.0)(stream)
    }
}
