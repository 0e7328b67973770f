//! `als`: a server is sent a record of each finished stream or connection, by Envoy's access log service
//! (`envoy.service.accesslog.v3.AccessLogService`).
//!
//! Each worker has a call of its own. Records are gathered until there are enough, or for a moment, and then go as one message. A server that is
//! slow or away costs records, which are counted, and never time.
//!
//! - `settings`: the configuration;
//! - `part`: a worker's part, with what it has gathered;
//! - `entry`: a record as the service has it.

mod entry;
mod part;
mod settings;

use std::rc::Rc;
use std::sync::Arc;

use transom_api::factory::Prepare;
use transom_api::kind::AccessLogs;
use transom_api::{
    AccessLogConfig, AccessLogWorker, BuildError, DuplicateExtension, Factory, Node, ParseError,
    Parsed, PrepareContext, Registry, Schema, Worker,
};

use self::part::{Metrics, Part};
use self::settings::Settings;
use crate::grpc::Target;

/// Puts the access log into a registry.
pub(crate) fn register(registry: &mut Registry) -> Result<(), DuplicateExtension> {
    registry.register::<AccessLogs>("als", Arc::new(AlsFactory))
}

struct AlsFactory;

struct ParsedAls(Arc<Settings>);

struct Config {
    settings: Arc<Settings>,
    target: Arc<Target>,
    metrics: Metrics,
}

impl Factory<AccessLogs> for AlsFactory {
    fn schema(&self) -> Schema {
        Settings::schema()
    }

    fn parse(&self, config: &Node) -> Result<Arc<dyn Parsed<AccessLogs>>, ParseError> {
        Ok(Arc::new(ParsedAls(Arc::new(Settings::parse(config)?))))
    }
}

impl Parsed<AccessLogs> for ParsedAls {
    fn prepare(&self, context: PrepareContext) -> Prepare<AccessLogs> {
        let settings = Arc::clone(&self.0);
        Box::pin(async move {
            let target = Arc::new(settings.grpc.prepare(&context)?);
            let config: Arc<dyn AccessLogConfig> = Arc::new(Config {
                metrics: Metrics::define(&context, &settings.log_name)?,
                target,
                settings,
            });
            Ok(config)
        })
    }
}

impl AccessLogConfig for Config {
    fn on_worker(&self, worker: &mut Worker<'_>) -> Result<Rc<dyn AccessLogWorker>, BuildError> {
        let part = Part::new(
            Arc::clone(&self.settings),
            Arc::clone(&self.target),
            self.metrics,
            worker,
        );
        Ok(Rc::new(part))
    }
}
