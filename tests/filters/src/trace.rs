//! `trace` as a stream filter, a network filter and an access log: notes every event in its order.

use std::rc::Rc;
use std::sync::Arc;

use transom_api::kind::{AccessLogs, NetworkFilters};
use transom_api::{
    AccessLogConfig, AccessLogWorker, BuildError, Connection, Direction, DuplicateExtension, Event,
    Factory, FilterError, NetworkFilter, NetworkFilterConfig, NetworkFilterWorker, NetworkVerdict,
    Node, ParseError, Parsed, Prepare, PrepareContext, Record, Registry, ResetReason, Schema,
    Stream, StreamInstance, Worker, WorkerPart,
};

use crate::Lab;
use crate::kit::{self, Act, Answer, At, Desk, Test, acting};

pub(crate) fn register(registry: &mut Registry, lab: &Lab) -> Result<(), DuplicateExtension> {
    kit::register::<Trace>(registry, lab, "trace")?;
    registry.register::<NetworkFilters>("trace", Arc::new(Bare(lab.clone())))?;
    registry.register::<AccessLogs>("trace", Arc::new(Bare(lab.clone())))
}

#[derive(Clone)]
struct Trace;

impl Test for Trace {
    fn parse(node: &Node) -> Result<Self, ParseError> {
        if !node.is_null() {
            node.as_fields()?.finish()?;
        }
        Ok(Self)
    }

    fn stream(&self, desk: &Desk, _: &mut Stream<'_>) -> Result<StreamInstance, FilterError> {
        desk.note("make");
        acting(Tracing(desk.clone()))
    }
}

struct Tracing(Desk);

impl Act for Tracing {
    fn act(&mut self, _stream: &mut Stream<'_>, at: At, end: bool) -> Answer {
        let end = if end { " end" } else { "" };
        self.0.note(&format!("{}{end}", at.name()));
        Answer::Continue
    }

    fn event(&mut self, _stream: &mut Stream<'_>, event: Event) {
        match event {
            Event::Reset(reason) => self.0.note(&format!("reset {reason:?}")),
            Event::Drain => self.0.note("drain"),
            Event::Watermark { direction, above } => {
                self.0.note(&format!("watermark {direction:?} {above}"));
            }
            _ => self.0.note("event"),
        }
    }

    fn complete(&mut self, _stream: &mut Stream<'_>) {
        self.0.note("complete");
    }
}

impl Drop for Tracing {
    fn drop(&mut self) {
        self.0.note("drop");
    }
}

/// The network filter and the access log, at all their levels.
struct Bare(Lab);

impl Factory<NetworkFilters> for Bare {
    fn schema(&self) -> Schema {
        Schema::object()
    }

    fn parse(&self, _config: &Node) -> Result<Arc<dyn Parsed<NetworkFilters>>, ParseError> {
        Ok(Arc::new(Self(self.0.clone())))
    }
}

impl Parsed<NetworkFilters> for Bare {
    fn prepare(&self, context: PrepareContext) -> Prepare<NetworkFilters> {
        let config: Arc<dyn NetworkFilterConfig> = Arc::new(Placed(Desk {
            lab: self.0.clone(),
            name: context.instance,
        }));
        Box::pin(std::future::ready(Ok(config)))
    }
}

impl Factory<AccessLogs> for Bare {
    fn schema(&self) -> Schema {
        Schema::object()
    }

    fn parse(&self, _config: &Node) -> Result<Arc<dyn Parsed<AccessLogs>>, ParseError> {
        Ok(Arc::new(Self(self.0.clone())))
    }
}

impl Parsed<AccessLogs> for Bare {
    fn prepare(&self, context: PrepareContext) -> Prepare<AccessLogs> {
        let config: Arc<dyn AccessLogConfig> = Arc::new(Placed(Desk {
            lab: self.0.clone(),
            name: context.instance,
        }));
        Box::pin(std::future::ready(Ok(config)))
    }
}

#[derive(Clone)]
struct Placed(Desk);

impl AccessLogConfig for Placed {
    fn on_worker(&self, _worker: &mut Worker<'_>) -> Result<Rc<dyn AccessLogWorker>, BuildError> {
        Ok(Rc::new(self.clone()))
    }
}

impl NetworkFilterConfig for Placed {
    fn on_worker(
        &self,
        _worker: &mut Worker<'_>,
    ) -> Result<Rc<dyn NetworkFilterWorker>, BuildError> {
        Ok(Rc::new(self.clone()))
    }
}

impl WorkerPart for Placed {}

impl AccessLogWorker for Placed {
    fn log(&self, _record: &Record<'_>) {
        self.0.note("log");
    }
}

impl NetworkFilterWorker for Placed {
    fn connection(
        &self,
        _connection: &mut Connection<'_>,
    ) -> Result<Box<dyn NetworkFilter>, FilterError> {
        self.0.note("make");
        Ok(Box::new(TracingBytes(self.0.clone())))
    }
}

struct TracingBytes(Desk);

impl TracingBytes {
    fn bytes(&self, connection: &Connection<'_>, what: &str, direction: Direction, end: bool) {
        let bytes = connection.bytes(direction).len();
        if bytes > 0 {
            self.0.note(what);
        }
        if end {
            self.0.note(&format!("{what} end"));
        }
    }
}

impl NetworkFilter for TracingBytes {
    fn on_new_connection(&mut self, _connection: &mut Connection<'_>) -> NetworkVerdict {
        self.0.note("new_connection");
        NetworkVerdict::Continue
    }

    fn on_data(&mut self, connection: &mut Connection<'_>, end: bool) -> NetworkVerdict {
        self.bytes(connection, "data", Direction::Request, end);
        NetworkVerdict::Continue
    }

    fn on_write(&mut self, connection: &mut Connection<'_>, end: bool) -> NetworkVerdict {
        self.bytes(connection, "write", Direction::Response, end);
        NetworkVerdict::Continue
    }

    fn on_close(&mut self, _connection: &mut Connection<'_>, _by: ResetReason) {
        self.0.note("close");
    }
}

impl Drop for TracingBytes {
    fn drop(&mut self) {
        self.0.note("drop");
    }
}
