//! `ext_authz`: a service says whether a request may pass, by Envoy's protocol of that name: by gRPC
//! (`envoy.service.auth.v3.Authorization`) or by HTTP.
//!
//! - `settings`: the configuration;
//! - `filter`: the filter of a stream;
//! - `question`: what the service is sent; `http`: the same, and its answers, by HTTP;
//! - `verdict`: what its answer does.

mod filter;
mod http;
mod question;
mod settings;
mod verdict;

use std::rc::Rc;
use std::sync::Arc;

use transom_api::factory::{Prepare, RouteConfig};
use transom_api::stream::{StreamFilterConfig, StreamFilterWorker};
use transom_api::{
    BuildError, Counter, DuplicateExtension, Factory, FilterError, Histogram, Node, ParseError,
    Parsed, Phase, PrepareContext, PrepareError, Registry, Schema, Stream, StreamFilters,
    StreamInstance, Wants, Worker, WorkerPart,
};

use self::filter::ExtAuthz;
use self::settings::{Route, RouteSettings, Service, Settings};
use crate::grpc::{Method, Pool, Target};

const METHOD: &str = "/envoy.service.auth.v3.Authorization/Check";

/// Puts the filter into a registry.
pub(crate) fn register(registry: &mut Registry) -> Result<(), DuplicateExtension> {
    registry.register::<StreamFilters>("ext_authz", Arc::new(ExtAuthzFactory))
}

struct ExtAuthzFactory;

struct ParsedExtAuthz(Arc<Settings>);

struct Config {
    settings: Arc<Settings>,
    target: Option<Arc<Target>>,
    metrics: Metrics,
}

/// What the streams of a worker share.
struct Shared {
    settings: Arc<Settings>,
    /// What holds for streams whose route says nothing.
    no_route: Arc<RouteSettings>,
    metrics: Metrics,
    /// Where a gRPC service is asked.
    server: Option<(Rc<Pool>, Method)>,
}

struct Part(Rc<Shared>);

/// What the filter counts.
#[derive(Clone, Copy, Debug)]
struct Metrics {
    allowed: Counter,
    denied: Counter,
    failed: Counter,
    failed_open: Counter,
    rejected_changes: Counter,
    answer_time: Histogram,
}

impl Metrics {
    fn define(context: &PrepareContext) -> Result<Self, PrepareError> {
        let labels = [("filter", &*context.instance)];
        let counter = |name: &str, help: &str| context.metrics.counter(name, help, &labels);
        Ok(Self {
            allowed: counter(
                "ext_authz_allowed_total",
                "Requests that the service let pass.",
            )?,
            denied: counter(
                "ext_authz_denied_total",
                "Requests that the service refused.",
            )?,
            failed: counter(
                "ext_authz_errors_total",
                "Questions that got no answer, or a bad one.",
            )?,
            failed_open: counter(
                "ext_authz_failure_mode_allowed_total",
                "Requests that passed after that because of failure_mode_allow.",
            )?,
            rejected_changes: counter(
                "ext_authz_rejected_header_mutations_total",
                "Changes of headers that were not allowed or not possible.",
            )?,
            answer_time: context.metrics.histogram(
                "ext_authz_answer_seconds",
                "From a question to its answer.",
                &labels,
            )?,
        })
    }
}

impl Factory<StreamFilters> for ExtAuthzFactory {
    fn schema(&self) -> Schema {
        Settings::schema()
    }

    fn parse(&self, config: &Node) -> Result<Arc<dyn Parsed<StreamFilters>>, ParseError> {
        Ok(Arc::new(ParsedExtAuthz(Arc::new(Settings::parse(config)?))))
    }

    fn parse_route(&self, config: &Node) -> Result<RouteConfig, ParseError> {
        Ok(Arc::new(Route(Arc::new(RouteSettings::parse(config)?))))
    }
}

impl Parsed<StreamFilters> for ParsedExtAuthz {
    fn clusters(&self) -> Vec<String> {
        match &self.0.service {
            Service::Grpc(_) => Vec::new(),
            Service::Http(http) => vec![http.cluster.clone()],
        }
    }

    /// As in Envoy: what the service changes has no say in the route unless `clear_route_cache` says so.
    fn phase(&self) -> Phase {
        Phase::AfterRoute
    }

    fn prepare(&self, context: PrepareContext) -> Prepare<StreamFilters> {
        let settings = Arc::clone(&self.0);
        Box::pin(async move {
            let target = match &settings.service {
                Service::Grpc(grpc) => Some(Arc::new(grpc.prepare(&context)?)),
                Service::Http(_) => None,
            };
            let config: Arc<dyn StreamFilterConfig> = Arc::new(Config {
                target,
                metrics: Metrics::define(&context)?,
                settings,
            });
            Ok(config)
        })
    }
}

impl StreamFilterConfig for Config {
    fn wants(&self) -> Wants {
        Wants::REQUEST_HEADERS
            .and(Wants::REQUEST_BODY)
            .and(Wants::REQUEST_TRAILERS)
            .and(Wants::RESPONSE_HEADERS)
            // A route may have a limit of its own, so the filter looks itself.
            .buffer_limit(u64::MAX)
    }

    fn on_worker(
        &self,
        _worker: &mut Worker<'_>,
    ) -> Result<Rc<dyn StreamFilterWorker>, BuildError> {
        let server = self.target.as_ref().map(|target| {
            let pool = Pool::new(Arc::clone(target));
            let method = Method::new(&pool, METHOD);
            (pool, method)
        });
        Ok(Rc::new(Part(Rc::new(Shared {
            settings: Arc::clone(&self.settings),
            no_route: Arc::default(),
            metrics: self.metrics,
            server,
        }))))
    }
}

impl WorkerPart for Part {}

impl StreamFilterWorker for Part {
    fn stream(&self, _stream: &mut Stream<'_>) -> Result<StreamInstance, FilterError> {
        Ok(StreamInstance::own(ExtAuthz::new(Rc::clone(&self.0))))
    }
}
