//! `wire`: a network filter that does one thing to the bytes of a connection, named by `do`:
//! `pause_connection`, `pause_data`, `pause_write` (until the test resumes it), `greet` (injects to the client at once),
//! `inject` (both ways with each piece), `upper` (rewrites), `close` (on the first byte), `panic_make`,
//! `panic_connection`, `panic_data`, `panic_write`, `panic_close`.

use std::rc::Rc;
use std::sync::Arc;

use transom_api::kind::NetworkFilters;
use transom_api::{
    BuildError, Connection, Direction, DuplicateExtension, Event, Factory, FilterError,
    NetworkFilter, NetworkFilterConfig, NetworkFilterWorker, NetworkVerdict, Node, ParseError,
    Parsed, Prepare, PrepareContext, Registry, ResetReason, Schema, Worker, WorkerPart,
};

use crate::Lab;
use crate::kit::Desk;

pub(crate) fn register(registry: &mut Registry, lab: &Lab) -> Result<(), DuplicateExtension> {
    registry.register::<NetworkFilters>("wire", Arc::new(WireFactory(lab.clone())))
}

struct WireFactory(Lab);

impl Factory<NetworkFilters> for WireFactory {
    fn schema(&self) -> Schema {
        Schema::object()
    }

    fn parse(&self, config: &Node) -> Result<Arc<dyn Parsed<NetworkFilters>>, ParseError> {
        let mut fields = config.as_fields()?;
        let what = fields.required("do")?.as_str()?.to_owned();
        fields.finish()?;
        Ok(Arc::new(WireParsed(what, self.0.clone())))
    }
}

struct WireParsed(String, Lab);

impl Parsed<NetworkFilters> for WireParsed {
    fn prepare(&self, context: PrepareContext) -> Prepare<NetworkFilters> {
        let config: Arc<dyn NetworkFilterConfig> = Arc::new(WireUse {
            what: self.0.clone(),
            desk: Desk {
                lab: self.1.clone(),
                name: context.instance,
            },
        });
        Box::pin(std::future::ready(Ok(config)))
    }
}

#[derive(Clone)]
struct WireUse {
    what: String,
    desk: Desk,
}

impl NetworkFilterConfig for WireUse {
    fn on_worker(
        &self,
        _worker: &mut Worker<'_>,
    ) -> Result<Rc<dyn NetworkFilterWorker>, BuildError> {
        Ok(Rc::new(self.clone()))
    }
}

impl WorkerPart for WireUse {}

impl NetworkFilterWorker for WireUse {
    fn connection(
        &self,
        _connection: &mut Connection<'_>,
    ) -> Result<Box<dyn NetworkFilter>, FilterError> {
        self.panic_if("panic_make");
        Ok(Box::new(Wire {
            used: self.clone(),
            paused: false,
        }))
    }
}

impl WireUse {
    fn panic_if(&self, what: &str) {
        assert!(self.what != what, "made to break: {what}");
    }
}

struct Wire {
    used: WireUse,
    paused: bool,
}

impl Wire {
    fn pause(&mut self, connection: &mut Connection<'_>, what: &str) -> NetworkVerdict {
        if self.used.what != what || self.paused {
            return NetworkVerdict::Continue;
        }
        self.paused = true;
        self.used.desk.note("paused");
        self.used
            .desk
            .lab
            .hold(&self.used.desk.name, connection.resumer());
        NetworkVerdict::StopIteration
    }
}

impl NetworkFilter for Wire {
    fn on_new_connection(&mut self, connection: &mut Connection<'_>) -> NetworkVerdict {
        self.used.panic_if("panic_connection");
        if self.used.what == "greet" {
            connection.inject(Direction::Response, b"hello\n", false);
        }
        self.pause(connection, "pause_connection")
    }

    fn on_data(&mut self, connection: &mut Connection<'_>, end: bool) -> NetworkVerdict {
        self.used.panic_if("panic_data");
        match self.used.what.as_str() {
            "close" => {
                connection.inject(Direction::Response, b"go away\n", false);
                connection.close();
            }
            "inject" if !connection.bytes(Direction::Request).is_empty() => {
                connection.inject(Direction::Request, b">", false);
                connection.inject(Direction::Response, b"<", false);
            }
            "upper" => {
                let upper = connection
                    .bytes(Direction::Request)
                    .to_vec()
                    .to_ascii_uppercase();
                let changed = connection.bytes_mut(Direction::Request).replace(upper);
                debug_assert!(changed.is_ok(), "bytes are shown");
            }
            _ => {}
        }
        if end {
            self.used.desk.note("end of data");
        }
        self.pause(connection, "pause_data")
    }

    fn on_write(&mut self, connection: &mut Connection<'_>, _end: bool) -> NetworkVerdict {
        self.used.panic_if("panic_write");
        self.pause(connection, "pause_write")
    }

    fn on_event(&mut self, connection: &mut Connection<'_>, event: Event) {
        if matches!(event, Event::Resumed(_)) {
            self.used.desk.note("resumed");
            if self.used.what == "pause_write" {
                connection.continue_writing();
            } else {
                connection.continue_reading();
            }
        }
    }

    fn on_close(&mut self, _connection: &mut Connection<'_>, _by: ResetReason) {
        self.used.desk.note("close");
        self.used.panic_if("panic_close");
    }
}
