//! Filters that break: `panic` in any callback, `fail` by an honest report, `panic_log` in an access log.

use std::rc::Rc;
use std::sync::Arc;

use transom_api::kind::AccessLogs;
use transom_api::{
    AccessLogConfig, AccessLogWorker, BuildError, DuplicateExtension, Event, Factory, FilterError,
    Node, ParseError, Parsed, Prepare, PrepareContext, Record, Registry, Schema, Stream,
    StreamInstance, Worker, WorkerPart,
};

use crate::Lab;
use crate::kit::{self, Act, Answer, At, Desk, Test, acting, number};

pub(crate) fn register(registry: &mut Registry, lab: &Lab) -> Result<(), DuplicateExtension> {
    kit::register::<Panic>(registry, lab, "panic")?;
    kit::register::<Fail>(registry, lab, "fail")?;
    registry.register::<AccessLogs>("panic_log", Arc::new(PanicLog))
}

/// Panics in one callback; in any later one it notes that it was called, which it must not be.
#[derive(Clone)]
struct Panic {
    at: At,
}

impl Test for Panic {
    fn parse(node: &Node) -> Result<Self, ParseError> {
        let mut fields = node.as_fields()?;
        let at = At::parse(&mut fields)?;
        fields.finish()?;
        Ok(Self { at })
    }

    fn stream(&self, desk: &Desk, _: &mut Stream<'_>) -> Result<StreamInstance, FilterError> {
        if self.at == At::Make {
            panic!("made to break");
        }
        acting(Panicking {
            at: self.at,
            desk: desk.clone(),
            broken: false,
        })
    }
}

struct Panicking {
    at: At,
    desk: Desk,
    broken: bool,
}

impl Panicking {
    fn pass(&mut self, at: At) {
        if self.broken {
            self.desk.note("called after it broke");
        }
        if at == self.at {
            self.broken = true;
            panic!("made to break in {}", at.name());
        }
    }
}

impl Act for Panicking {
    fn act(&mut self, stream: &mut Stream<'_>, at: At, _end: bool) -> Answer {
        if at == At::RequestHeaders && self.at == At::Event {
            stream.resumer().post(0);
            return Answer::All;
        }
        self.pass(at);
        Answer::Continue
    }

    fn event(&mut self, _stream: &mut Stream<'_>, _event: Event) {
        self.pass(At::Event);
    }

    fn complete(&mut self, _stream: &mut Stream<'_>) {
        self.pass(At::Complete);
    }
}

impl Drop for Panicking {
    fn drop(&mut self) {
        self.desk.note("drop");
        if self.at == At::Drop {
            panic!("made to break when it is dropped");
        }
    }
}

/// Reports that it failed.
#[derive(Clone)]
struct Fail {
    at: At,
    status: u64,
}

impl Fail {
    fn error(&self) -> FilterError {
        if self.status == 503 {
            FilterError::unavailable("made to be away")
        } else {
            FilterError::broken("made to break")
        }
    }
}

impl Test for Fail {
    fn parse(node: &Node) -> Result<Self, ParseError> {
        let mut fields = node.as_fields()?;
        let fail = Self {
            at: At::parse(&mut fields)?,
            status: number(&mut fields, "status", 500)?,
        };
        fields.finish()?;
        Ok(fail)
    }

    fn stream(&self, _desk: &Desk, _: &mut Stream<'_>) -> Result<StreamInstance, FilterError> {
        if self.at == At::Make {
            return Err(self.error());
        }
        acting(Failing(self.clone()))
    }
}

struct Failing(Fail);

impl Act for Failing {
    fn act(&mut self, stream: &mut Stream<'_>, at: At, _end: bool) -> Answer {
        if at == self.0.at {
            stream.fail(self.0.error());
            // Whatever a broken filter answers: its policy holds.
            return Answer::All;
        }
        Answer::Continue
    }
}

/// An access log that panics.
struct PanicLog;

impl Factory<AccessLogs> for PanicLog {
    fn schema(&self) -> Schema {
        Schema::object()
    }

    fn parse(&self, _config: &Node) -> Result<Arc<dyn Parsed<AccessLogs>>, ParseError> {
        Ok(Arc::new(Self))
    }
}

impl Parsed<AccessLogs> for PanicLog {
    fn prepare(&self, _context: PrepareContext) -> Prepare<AccessLogs> {
        let config: Arc<dyn AccessLogConfig> = Arc::new(Self);
        Box::pin(std::future::ready(Ok(config)))
    }
}

impl AccessLogConfig for PanicLog {
    fn on_worker(&self, _worker: &mut Worker<'_>) -> Result<Rc<dyn AccessLogWorker>, BuildError> {
        Ok(Rc::new(Self))
    }
}

impl WorkerPart for PanicLog {}

impl AccessLogWorker for PanicLog {
    fn log(&self, _record: &Record<'_>) {
        panic!("made to break in an access log");
    }
}
