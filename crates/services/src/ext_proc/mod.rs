//! `ext_proc`: a server sees each phase of a request and its response and changes them, by Envoy's protocol of that name
//! (`envoy.service.ext_proc.v3.ExternalProcessor`).
//!
//! - `settings`, `mode`: the configuration;
//! - `filter`: the filter of a stream, which has a call of its own, and its callbacks;
//! - `side`: what is under way in one direction;
//! - `answers`: what a message of the server does;
//! - `messages`: what it is sent.

mod answers;
mod filter;
mod messages;
mod metrics;
mod mode;
mod settings;
mod side;

use std::any::Any;
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use transom_api::factory::{Prepare, RouteConfig};
use transom_api::stream::{StreamFilterConfig, StreamFilterWorker};
use transom_api::{
    BuildError, DuplicateExtension, Factory, FilterError, Node, ParseError, Parsed, Phase,
    PrepareContext, PrepareError, Registry, Schema, Stream, StreamFilters, StreamInstance, Wants,
    Worker, WorkerPart,
};

use self::filter::ExtProc;
use self::metrics::Metrics;
use self::settings::{Route, RouteSettings, Settings};
use crate::grpc::{Method, Pool, Target};

const METHOD: &str = "/envoy.service.ext_proc.v3.ExternalProcessor/Process";

/// Puts the filter into a registry.
pub(crate) fn register(registry: &mut Registry) -> Result<(), DuplicateExtension> {
    registry.register::<StreamFilters>("ext_proc", Arc::new(ExtProcFactory))
}

struct ExtProcFactory;

struct ParsedExtProc(Arc<Settings>);

/// Prepared: what all workers share.
struct Config {
    settings: Arc<Settings>,
    target: Arc<Target>,
    metrics: Metrics,
    context: PrepareContext,
}

/// What a worker has.
struct Part {
    shared: Rc<Shared>,
}

/// What the streams of a worker share.
struct Shared {
    settings: Arc<Settings>,
    metrics: Metrics,
    server: Server,
    /// Servers of routes, by their prepared target.
    others: RefCell<Vec<(Arc<Target>, Rc<Server>)>>,
}

/// A server that calls go to.
struct Server {
    pool: Rc<Pool>,
    method: Method,
}

impl Factory<StreamFilters> for ExtProcFactory {
    fn schema(&self) -> Schema {
        Settings::schema()
    }

    fn parse(&self, config: &Node) -> Result<Arc<dyn Parsed<StreamFilters>>, ParseError> {
        Ok(Arc::new(ParsedExtProc(Arc::new(Settings::parse(config)?))))
    }

    fn parse_route(&self, config: &Node) -> Result<RouteConfig, ParseError> {
        Ok(Arc::new(Route(Arc::new(RouteSettings::parse(config)?))))
    }
}

impl Parsed<StreamFilters> for ParsedExtProc {
    /// As in Envoy: what the server changes has no say in the route unless it asks for that.
    fn phase(&self) -> Phase {
        Phase::AfterRoute
    }

    fn prepare(&self, context: PrepareContext) -> Prepare<StreamFilters> {
        let settings = Arc::clone(&self.0);
        Box::pin(async move {
            let target = Arc::new(settings.grpc.prepare(&context)?);
            let metrics = Metrics::define(&context)?;
            let config: Arc<dyn StreamFilterConfig> = Arc::new(Config {
                settings,
                target,
                metrics,
                context,
            });
            Ok(config)
        })
    }
}

impl StreamFilterConfig for Config {
    /// Everything: a route may ask for what the listener does not, and each stream says soon what it does without.
    fn wants(&self) -> Wants {
        Wants::EVERYTHING
            .without(Wants::COMPLETE)
            .and(Wants::CHANGES_REQUEST_LENGTH)
            .and(Wants::CHANGES_RESPONSE_LENGTH)
            .buffer_limit(self.settings.buffer_limit)
    }

    fn prepare_route(&self, parsed: RouteConfig) -> Result<RouteConfig, PrepareError> {
        let Some(route) = (&*parsed as &dyn Any).downcast_ref::<Route>() else {
            return Ok(parsed);
        };
        let Some(grpc) = &route.0.grpc else {
            return Ok(parsed);
        };
        let target = Some(Arc::new(grpc.prepare(&self.context)?));
        Ok(Arc::new(Route(Arc::new(RouteSettings {
            target,
            ..RouteSettings::clone(&route.0)
        }))))
    }

    fn on_worker(
        &self,
        _worker: &mut Worker<'_>,
    ) -> Result<Rc<dyn StreamFilterWorker>, BuildError> {
        Ok(Rc::new(Part {
            shared: Rc::new(Shared {
                settings: Arc::clone(&self.settings),
                metrics: self.metrics,
                server: Server::new(&self.target),
                others: RefCell::default(),
            }),
        }))
    }
}

impl WorkerPart for Part {}

impl StreamFilterWorker for Part {
    fn stream(&self, _stream: &mut Stream<'_>) -> Result<StreamInstance, FilterError> {
        Ok(StreamInstance::own(ExtProc::new(Rc::clone(&self.shared))))
    }
}

impl Shared {
    /// The server of a route, with a connection that its streams share.
    fn server_of(&self, target: &Arc<Target>) -> Rc<Server> {
        let mut others = self.others.borrow_mut();
        if let Some((_, server)) = others.iter().find(|(known, _)| Arc::ptr_eq(known, target)) {
            return Rc::clone(server);
        }
        // Those of routes that a reload has replaced: nobody but this list and their connection knows them.
        others.retain(|(_, server)| Rc::strong_count(server) > 1);
        let server = Rc::new(Server::new(target));
        others.push((Arc::clone(target), Rc::clone(&server)));
        server
    }
}

impl Server {
    fn new(target: &Arc<Target>) -> Self {
        let pool = Pool::new(Arc::clone(target));
        let method = Method::new(&pool, METHOD);
        Self { pool, method }
    }
}
