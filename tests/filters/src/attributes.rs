//! The access log `attributes`: notes the attributes of each stream that its configuration names.

use std::rc::Rc;
use std::sync::Arc;

use transom_api::kind::AccessLogs;
use transom_api::{
    AccessLogConfig, AccessLogWorker, BuildError, DuplicateExtension, Factory, Node, NodeKind,
    ParseError, Parsed, Prepare, PrepareContext, Record, Registry, Schema, Worker, WorkerPart,
};

use crate::Lab;

pub(crate) fn register(registry: &mut Registry, lab: &Lab) -> Result<(), DuplicateExtension> {
    let factory = Attributes {
        lab: lab.clone(),
        names: Vec::new(),
    };
    registry.register::<AccessLogs>("attributes", Arc::new(factory))
}

/// Notes `NAME=VALUE …`; what a stream does not have is `-`.
#[derive(Clone)]
struct Attributes {
    lab: Lab,
    names: Vec<String>,
}

impl Factory<AccessLogs> for Attributes {
    fn schema(&self) -> Schema {
        Schema::list(Schema::string())
    }

    fn parse(&self, config: &Node) -> Result<Arc<dyn Parsed<AccessLogs>>, ParseError> {
        let NodeKind::List(items) = &config.kind else {
            return Err(config.error("expected a list of names"));
        };
        let names = items.iter().map(|item| item.as_str().map(str::to_owned));
        Ok(Arc::new(Self {
            lab: self.lab.clone(),
            names: names.collect::<Result<_, _>>()?,
        }))
    }
}

impl Parsed<AccessLogs> for Attributes {
    fn prepare(&self, _context: PrepareContext) -> Prepare<AccessLogs> {
        let config: Arc<dyn AccessLogConfig> = Arc::new(self.clone());
        Box::pin(std::future::ready(Ok(config)))
    }
}

impl AccessLogConfig for Attributes {
    fn on_worker(&self, _worker: &mut Worker<'_>) -> Result<Rc<dyn AccessLogWorker>, BuildError> {
        Ok(Rc::new(self.clone()))
    }
}

impl WorkerPart for Attributes {}

impl AccessLogWorker for Attributes {
    fn log(&self, record: &Record<'_>) {
        let told = self.names.iter().map(|name| {
            let value = record.attribute(name);
            let value = value.map_or_else(|| "-".to_owned(), |value| value.to_string());
            format!("{name}={value}")
        });
        self.lab.note(told.collect::<Vec<_>>().join(" "));
    }
}
