//! A worker's parts of uses: what all streams of one worker share.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::task::AbortHandle;
use transom_api::event::{Address, Message};
use transom_api::host::{AsyncHost, LocalTask, RecordHost, WorkerHost};
use transom_api::metrics::MetricId;
use transom_api::{
    BuildError, CalloutError, CalloutId, Event, GrpcCall, HttpCall, Level, NetworkFilterWorker,
    Phase, Resumer, RouteConfig, SharedData, StreamFilterWorker, TimerId, Wants, Worker,
    WorkerPart,
};

use crate::config::Config;
use crate::later::{Around, Posted};
use crate::uses::{Prepared, Use};

/// The number in an address that stands for a part itself; its streams have 0.
pub(crate) const PART: u32 = 1;

/// One use on one worker.
pub(crate) struct Part {
    pub(crate) used: Arc<Use>,
    pub(crate) clusters: Rc<[String]>,
    pub(crate) built: Built,
    host: PartHost,
    /// Configurations of routes, by their JSON.
    routes: HashMap<Bytes, RouteConfig>,
}

#[derive(Clone)]
pub(crate) enum Built {
    Stream {
        worker: Rc<dyn StreamFilterWorker>,
        wants: Wants,
        phase: Phase,
    },
    Network(Rc<dyn NetworkFilterWorker>),
}

impl Part {
    pub(crate) fn build(
        id: u64,
        used: Arc<Use>,
        around: &Around,
        index: usize,
    ) -> Result<Self, BuildError> {
        let mut host = PartHost {
            around: around.clone(),
            address: address(id, PART),
            index,
            timers: Rc::default(),
            tasks: Vec::new(),
            last_id: 0,
        };
        let built = match &used.prepared {
            Prepared::Stream { config, phase, .. } => Built::Stream {
                worker: config.on_worker(&mut Worker::new(&mut host))?,
                wants: config.wants(),
                phase: *phase,
            },
            Prepared::Network(config) => {
                Built::Network(config.on_worker(&mut Worker::new(&mut host))?)
            }
            Prepared::Certificates(_) | Prepared::Log(_) => {
                return Err(BuildError::new(
                    "a certificate provider meets no streams: the host has mistaken the use",
                ));
            }
        };
        Ok(Self {
            clusters: used.clusters.clone().into(),
            used,
            built,
            host,
            routes: HashMap::new(),
        })
    }

    /// The configuration of a route.
    pub(crate) fn route(&mut self, json: Bytes) -> Result<RouteConfig, String> {
        if let Some(known) = self.routes.get(&json) {
            return Ok(Arc::clone(known));
        }
        let Prepared::Stream {
            factory, config, ..
        } = &self.used.prepared
        else {
            return Err("only stream filters have configurations of routes".to_owned());
        };
        let read = Config::read(&json).map_err(|fault| fault.message)?;
        let parsed = factory
            .parse_route(&read.node)
            .map_err(|error| error.message)?;
        let route = config
            .prepare_route(parsed)
            .map_err(|error| error.message)?;
        self.routes.insert(json, Arc::clone(&route));
        Ok(route)
    }

    /// Something for the part itself.
    pub(crate) fn event(&mut self, event: Posted) {
        let event = match event {
            Posted::Message(message) => Event::Resumed(message),
            Posted::Timer(timer) => {
                if self.host.timers.borrow_mut().remove(&timer).is_none() {
                    return; // cancelled after it had run out
                }
                Event::Timer(timer)
            }
        };
        let part: &dyn WorkerPart = match &self.built {
            Built::Stream { worker, .. } => &**worker,
            Built::Network(worker) => &**worker,
        };
        part.on_event(&mut Worker::new(&mut self.host), event);
    }
}

/// The address of a use's part or of a stream, by its number.
pub(crate) fn address(number: u64, filter: u32) -> Address {
    Address {
        slot: number as u32,
        generation: (number >> 32) as u32,
        filter,
    }
}

/// The number in an address.
pub(crate) fn number(address: Address) -> u64 {
    u64::from(address.slot) | u64::from(address.generation) << 32
}

/// What a part may do outside of streams: all of it happens in the plugin's own process.
struct PartHost {
    around: Around,
    address: Address,
    index: usize,
    timers: Rc<RefCell<HashMap<TimerId, AbortHandle>>>,
    tasks: Vec<AbortHandle>,
    last_id: u64,
}

impl Drop for PartHost {
    fn drop(&mut self) {
        for timer in self.timers.borrow().values().chain(&self.tasks) {
            timer.abort();
        }
    }
}

impl RecordHost for PartHost {
    fn log_enabled(&self, level: Level) -> bool {
        level >= self.around.level
    }

    /// By the plugin's own log: no stream carries it.
    fn log(&self, level: Level, message: &str) {
        match level {
            Level::Trace => tracing::trace!("{message}"),
            Level::Debug => tracing::debug!("{message}"),
            Level::Info => tracing::info!("{message}"),
            Level::Warn => tracing::warn!("{message}"),
            Level::Error => tracing::error!("{message}"),
        }
    }

    fn add_metric(&self, _metric: MetricId, _amount: i64) {}

    fn metric(&self, _metric: MetricId) -> i64 {
        0
    }

    fn observe_metric(&self, _metric: MetricId, _duration: Duration) {}

    fn observe_value(&self, _metric: MetricId, _value: u64) {}

    fn shared(&self) -> &SharedData {
        &self.around.shared
    }
}

impl AsyncHost for PartHost {
    fn resumer(&mut self) -> Resumer {
        let inbox: Arc<crate::later::Posts> = Arc::clone(&self.around.inbox);
        Resumer::new(inbox, self.address)
    }

    fn set_timer(&mut self, after: Duration) -> TimerId {
        self.last_id += 1;
        let timer = TimerId(self.last_id);
        let inbox = Arc::clone(&self.around.inbox);
        let address = self.address;
        let task = tokio::task::spawn_local(async move {
            tokio::time::sleep(after).await;
            let _ = inbox.0.send((address, Posted::Timer(timer)));
        });
        self.timers.borrow_mut().insert(timer, task.abort_handle());
        timer
    }

    fn cancel_timer(&mut self, timer: TimerId) {
        if let Some(task) = self.timers.borrow_mut().remove(&timer) {
            task.abort();
        }
    }

    fn http_call(&mut self, _call: HttpCall) -> Result<CalloutId, CalloutError> {
        Err(CalloutError::Unsupported)
    }

    fn grpc_call(&mut self, _call: GrpcCall) -> Result<CalloutId, CalloutError> {
        Err(CalloutError::Unsupported)
    }

    fn cancel_callout(&mut self, _callout: CalloutId) {}
}

impl WorkerHost for PartHost {
    fn worker_index(&self) -> usize {
        self.index
    }

    /// A plugin is not told how many there are.
    fn worker_count(&self) -> usize {
        1
    }

    fn spawn(&mut self, task: LocalTask) {
        self.tasks
            .push(tokio::task::spawn_local(task).abort_handle());
    }
}

impl From<Message> for Posted {
    fn from(message: Message) -> Self {
        Self::Message(message)
    }
}
