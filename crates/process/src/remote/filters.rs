//! The factories of a plugin's stream and network filters.

use std::rc::Rc;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use transom_api::kind::{NetworkFilters, StreamFilters};
use transom_api::metrics::MetricId;
use transom_api::{
    BuildError, Connection, Drain, Event, Factory, FilterError, NetworkFilter, NetworkFilterConfig,
    NetworkFilterWorker, NetworkWants, Node, ParseError, Parsed, Phase, Prepare, PrepareContext,
    PrepareError, RouteConfig, Schema, Shape, Stream, StreamFilterConfig, StreamFilterWorker,
    StreamInstance, Wants, Worker, WorkerPart,
};

use super::most::Most;
use super::network::RemoteNetworkFilter;
use super::pool::{Pool, Shared};
use super::stream::RemoteFilter;
use super::uses::{self, Cell, Subject, Used};
use crate::needs;
use crate::v1::metric::Type;
use crate::v1::{self, Needs};

/// Makes the stream filter `extension` of a plugin.
pub(crate) struct StreamFactory {
    pub(crate) cell: Cell,
    pub(crate) extension: String,
}

/// Makes the network filter `extension` of a plugin.
pub(crate) struct NetworkFactory {
    pub(crate) cell: Cell,
    pub(crate) extension: String,
}

/// The configuration of a use, as written: what it must be is known to the plugin, which is asked when the use is prepared.
struct Written {
    cell: Cell,
    extension: String,
    config: Node,
    /// What the plugin said when the use was prepared.
    said: Arc<OnceLock<Said>>,
}

struct Said {
    phase: Phase,
    clusters: Vec<String>,
}

impl Factory<StreamFilters> for StreamFactory {
    fn schema(&self) -> Schema {
        Schema::new(Shape::Any)
    }

    fn parse(&self, config: &Node) -> Result<Arc<dyn Parsed<StreamFilters>>, ParseError> {
        Ok(Arc::new(Written::new(&self.cell, &self.extension, config)))
    }

    fn parse_route(&self, config: &Node) -> Result<RouteConfig, ParseError> {
        uses::parse_route(config)
    }
}

impl Factory<NetworkFilters> for NetworkFactory {
    fn schema(&self) -> Schema {
        Schema::new(Shape::Any)
    }

    fn parse(&self, config: &Node) -> Result<Arc<dyn Parsed<NetworkFilters>>, ParseError> {
        Ok(Arc::new(Written::new(&self.cell, &self.extension, config)))
    }
}

impl Written {
    fn new(cell: &Cell, extension: &str, config: &Node) -> Self {
        Self {
            cell: Arc::clone(cell),
            extension: extension.to_owned(),
            config: config.clone(),
            said: Arc::default(),
        }
    }

    /// Has the plugin prepare the use. What it needs may be no more than this kind has.
    fn prepare_as(
        &self,
        kind: v1::Kind,
        context: PrepareContext,
        wants: fn(&Needs) -> Result<Wants, PrepareError>,
    ) -> impl Future<Output = Result<Arc<Shared>, PrepareError>> + Send + use<> {
        let (cell, extension) = (Arc::clone(&self.cell), self.extension.clone());
        let (config, said) = (self.config.clone(), Arc::clone(&self.said));
        async move {
            let running = uses::running(&cell)?;
            let found = running.extension(kind, &extension)?;
            let phase = phase(found.phase)?;
            let subject = Subject {
                kind,
                extension: found.name.clone(),
                name: Arc::clone(&context.instance),
                config,
            };
            let used = Used::prepare(&running, subject).await?;
            let wants = wants(&used.needs)?;
            let metrics = metrics(&used, &context)?;
            // A second preparation says the same.
            let _ = said.set(Said {
                phase,
                clusters: used.needs.clusters.clone(),
            });
            let spec = running.plugin.spec();
            let (bounds, own) = (&spec.bounds, &context.bounds);
            Ok(Arc::new(Shared {
                wants,
                metrics,
                most: own.concurrency.map(Most::new),
                queue: own.queue.unwrap_or(bounds.queue) as usize,
                queue_time: own.queue_time.unwrap_or(bounds.queue_time),
                time: own.time.unwrap_or(bounds.time),
                // Whoever says how long an answer may take means the first ones too.
                warm_up: match own.time {
                    Some(_) => Duration::ZERO,
                    None => spec.warm_up,
                },
                message_size: match own.message_size {
                    Some(bytes) => usize::try_from(bytes).unwrap_or(usize::MAX),
                    None => bounds.message_size,
                },
                used,
            }))
        }
    }
}

impl Parsed<StreamFilters> for Written {
    fn clusters(&self) -> Vec<String> {
        self.said
            .get()
            .map(|it| it.clusters.clone())
            .unwrap_or_default()
    }

    fn phase(&self) -> Phase {
        self.said.get().map_or(Phase::BeforeRoute, |it| it.phase)
    }

    fn prepare(&self, context: PrepareContext) -> Prepare<StreamFilters> {
        let prepared = self.prepare_as(v1::Kind::StreamFilter, context, |needs| {
            needs::wants(needs).map_err(|error| PrepareError::new(error.to_string()))
        });
        Box::pin(async move {
            let config: Arc<dyn StreamFilterConfig> = Arc::new(RemoteConfig(prepared.await?));
            Ok(config)
        })
    }
}

impl Parsed<NetworkFilters> for Written {
    fn clusters(&self) -> Vec<String> {
        self.said
            .get()
            .map(|it| it.clusters.clone())
            .unwrap_or_default()
    }

    fn prepare(&self, context: PrepareContext) -> Prepare<NetworkFilters> {
        let prepared = self.prepare_as(v1::Kind::NetworkFilter, context, |needs| {
            let wants = needs::wants(needs).map_err(|error| PrepareError::new(error.to_string()))?;
            let bytes = Wants::REQUEST_BODY.and(Wants::RESPONSE_BODY);
            match bytes.contains(wants.without(Wants::REQUEST_HEADERS)) {
                true => Ok(wants),
                false => Err(PrepareError::new(
                    "the plugin asks for callbacks that a network filter does not have: of the bits of `Needs.callbacks` only 2 and 16 are for it",
                )),
            }
        });
        Box::pin(async move {
            let config: Arc<dyn NetworkFilterConfig> = Arc::new(RemoteConfig(prepared.await?));
            Ok(config)
        })
    }
}

/// A use that is ready.
struct RemoteConfig(Arc<Shared>);

impl StreamFilterConfig for RemoteConfig {
    fn wants(&self) -> Wants {
        self.0.wants
    }

    fn on_worker(&self, worker: &mut Worker<'_>) -> Result<Rc<dyn StreamFilterWorker>, BuildError> {
        Ok(Rc::new(Part(Pool::build(Arc::clone(&self.0), worker))))
    }
}

impl NetworkFilterConfig for RemoteConfig {
    fn wants(&self) -> NetworkWants {
        NetworkWants {
            data: self.0.wants.contains(Wants::REQUEST_BODY),
            write: self.0.wants.contains(Wants::RESPONSE_BODY),
        }
    }

    fn on_worker(
        &self,
        worker: &mut Worker<'_>,
    ) -> Result<Rc<dyn NetworkFilterWorker>, BuildError> {
        Ok(Rc::new(Part(Pool::build(Arc::clone(&self.0), worker))))
    }
}

/// A worker's part.
struct Part(Rc<Pool>);

impl WorkerPart for Part {
    fn on_event(&self, worker: &mut Worker<'_>, event: Event) {
        self.0.on_event(worker, &event);
    }

    fn drain(&self, _worker: &mut Worker<'_>) -> Drain {
        Drain::Done
    }
}

impl StreamFilterWorker for Part {
    fn stream(&self, _stream: &mut Stream<'_>) -> Result<StreamInstance, FilterError> {
        Ok(StreamInstance::own(RemoteFilter::new(Rc::clone(&self.0))))
    }
}

impl NetworkFilterWorker for Part {
    fn connection(
        &self,
        _connection: &mut Connection<'_>,
    ) -> Result<Box<dyn NetworkFilter>, FilterError> {
        Ok(Box::new(RemoteNetworkFilter::new(Rc::clone(&self.0))))
    }
}

fn phase(number: i32) -> Result<Phase, PrepareError> {
    match v1::Phase::try_from(number) {
        Ok(v1::Phase::BeforeRoute) => Ok(Phase::BeforeRoute),
        Ok(v1::Phase::AfterRoute) => Ok(Phase::AfterRoute),
        Ok(v1::Phase::AfterChooseHost) => Ok(Phase::AfterChooseHost),
        Err(_) => Err(PrepareError::new(format!(
            "the plugin says that the extension runs in the unknown phase {number}"
        ))),
    }
}

/// Defines what a use counts, with the names of plugin and use as labels.
fn metrics(used: &Used, context: &PrepareContext) -> Result<Vec<(Type, MetricId)>, PrepareError> {
    let plugin = used.plugin.name();
    let metrics = used.needs.metrics.iter();
    metrics
        .map(|metric| {
            let kind = Type::try_from(metric.r#type).map_err(|_| {
                PrepareError::new(format!(
                    "the plugin's metric `{}` is of the unknown type {}",
                    metric.name, metric.r#type
                ))
            })?;
            let mut labels = vec![("plugin", plugin), ("use", &*context.instance)];
            let own = metric.labels.iter();
            labels.extend(own.map(|(name, value)| (name.as_str(), value.as_str())));
            let define = &context.metrics;
            let (name, help) = (metric.name.as_str(), metric.help.as_str());
            let id = match kind {
                Type::Counter => define.counter(name, help, &labels).map(|it| it.0),
                Type::Gauge => define.gauge(name, help, &labels).map(|it| it.0),
                Type::Histogram => define.histogram(name, help, &labels).map(|it| it.0),
                Type::Distribution => define.distribution(name, help, &labels).map(|it| it.0),
            };
            let id = id.map_err(|error| PrepareError::new(error.message))?;
            Ok((kind, id))
        })
        .collect()
}
