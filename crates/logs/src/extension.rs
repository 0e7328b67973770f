//! What the proxy knows of a built-in access log: the levels of the kind `access_log`.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use transom_api::kind::AccessLogs;
use transom_api::{
    AccessLogConfig, AccessLogWorker, BuildError, Counter, Drain, Event, Factory, Node, ParseError,
    Parsed, Prepare, PrepareContext, PrepareError, Record, Schema, Worker, WorkerPart,
};

use crate::settings::{Kind, Settings};
use crate::sink::{Lane, Port, Sink, Sinks};
use crate::target::{OpenError, Target};
use crate::when::Random;

/// The factory of one kind of sink.
pub(crate) struct Builtin {
    kind: Kind,
    sinks: Arc<Sinks>,
}

struct ParsedLog {
    settings: Arc<Settings>,
    sinks: Arc<Sinks>,
}

struct PreparedLog {
    settings: Arc<Settings>,
    /// One for each worker.
    lanes: Vec<Arc<Lane>>,
    lines: Counter,
    dropped: Counter,
    sink: Arc<Sink>,
}

struct WorkerLog {
    settings: Arc<Settings>,
    random: Random,
    lines: Counter,
    dropped: Counter,
    port: RefCell<Port>,
    /// Let go of after what the port still had was handed over.
    _sink: Arc<Sink>,
}

impl Builtin {
    pub(crate) fn new(kind: Kind, sinks: Arc<Sinks>) -> Self {
        Self { kind, sinks }
    }
}

impl Factory<AccessLogs> for Builtin {
    fn schema(&self) -> Schema {
        self.kind.schema()
    }

    fn parse(&self, config: &Node) -> Result<Arc<dyn Parsed<AccessLogs>>, ParseError> {
        Ok(Arc::new(ParsedLog {
            settings: Arc::new(self.kind.parse(config)?),
            sinks: Arc::clone(&self.sinks),
        }))
    }
}

impl Parsed<AccessLogs> for ParsedLog {
    fn prepare(&self, context: PrepareContext) -> Prepare<AccessLogs> {
        let settings = Arc::clone(&self.settings);
        let sinks = Arc::clone(&self.sinks);
        Box::pin(async move {
            let target = match &settings.target {
                Target::File(path) => Target::File(context.path(path)),
                target => target.clone(),
            };
            let sink = sinks.sink(&target).await.map_err(|error| {
                let OpenError { message, help } = error;
                PrepareError::new(message).with_help(help)
            })?;
            let labels = [("log", &*context.instance)];
            let counter = |name, help| context.metrics.counter(name, help, &labels);
            let config: Arc<dyn AccessLogConfig> = Arc::new(PreparedLog {
                lines: counter("access_log_lines_total", "Lines of an access log.")?,
                dropped: counter(
                    "access_log_dropped_total",
                    "Lines of an access log that were dropped because it could not be written, or not as fast.",
                )?,
                lanes: (0..context.workers)
                    .map(|_| sink.lane(settings.buffer))
                    .collect(),
                settings,
                sink,
            });
            Ok(config)
        })
    }
}

impl AccessLogConfig for PreparedLog {
    fn on_worker(&self, worker: &mut Worker<'_>) -> Result<Rc<dyn AccessLogWorker>, BuildError> {
        let lane = self
            .lanes
            .get(worker.index())
            .ok_or_else(|| BuildError::new("it was prepared for fewer workers"))?;
        lane.ask(worker.resumer());
        Ok(Rc::new(WorkerLog {
            settings: Arc::clone(&self.settings),
            random: Random::of_worker(worker.index()),
            lines: self.lines,
            dropped: self.dropped,
            port: RefCell::new(Port::new(Arc::clone(lane))),
            _sink: Arc::clone(&self.sink),
        }))
    }
}

impl AccessLogWorker for WorkerLog {
    fn log(&self, record: &Record<'_>) {
        let when = &self.settings.when;
        if !when.always() && !when.holds(&record.facts(), &self.random) {
            return;
        }
        // Records come one after another.
        let Ok(mut port) = self.port.try_borrow_mut() else {
            return;
        };
        let counter = if port.line(|out| self.settings.format.write(record, out)) {
            self.lines
        } else {
            self.dropped
        };
        record.count(counter, 1);
        let lost = port.lane().take_lost();
        if lost > 0 {
            record.count(self.dropped, u32::try_from(lost).unwrap_or(u32::MAX));
        }
    }
}

impl WorkerPart for WorkerLog {
    /// The sink asks for what there is.
    fn on_event(&self, worker: &mut Worker<'_>, event: Event) {
        if let Event::Resumed(_) = event {
            let Ok(mut port) = self.port.try_borrow_mut() else {
                return;
            };
            port.hand_over();
            let lost = port.lane().take_lost();
            if lost > 0 {
                worker.count(self.dropped, u32::try_from(lost).unwrap_or(u32::MAX));
            }
        }
    }

    fn drain(&self, _worker: &mut Worker<'_>) -> Drain {
        if let Ok(mut port) = self.port.try_borrow_mut() {
            port.hand_over();
        }
        Drain::Done
    }
}
