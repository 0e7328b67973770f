//! What lives on a worker: `part` keeps a `!Send` part, which is built anew after a failure; `second_worker` fails to
//! build on every worker but the first; `one_for_all` is one filter that all streams of a worker share.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use transom_api::builtin::SharedFilter;
use transom_api::{
    AfterFailure, BuildError, DuplicateExtension, Event, FilterError, Node, ParseError, Registry,
    Stream, StreamFilterWorker, StreamInstance, Worker, WorkerPart,
};

use crate::Lab;
use crate::kit::{self, Act, Acting, Answer, At, Desk, Test, acting, flag, number, text};

pub(crate) fn register(registry: &mut Registry, lab: &Lab) -> Result<(), DuplicateExtension> {
    kit::register::<Part>(registry, lab, "part")?;
    kit::register::<SecondWorker>(registry, lab, "second_worker")?;
    kit::register::<OneForAll>(registry, lab, "one_for_all")
}

/// Has a part on each worker that counts its streams without any lock; tells in `x-part` which version of the
/// configuration and which stream of the part it is. Panics for the path `/break`, waits for the path `/wait`.
#[derive(Clone)]
struct Part {
    version: String,
    panics: bool,
    /// How many rebuilds fail before one succeeds.
    failing_rebuilds: u64,
    builds: Arc<AtomicU64>,
}

impl Test for Part {
    fn parse(node: &Node) -> Result<Self, ParseError> {
        let mut fields = node.as_fields()?;
        let part = Self {
            version: text(&mut fields, "version", "1")?.to_owned(),
            panics: flag(&mut fields, "panics")?,
            failing_rebuilds: number(&mut fields, "failing_rebuilds", 0)?,
            builds: Arc::default(),
        };
        fields.finish()?;
        Ok(part)
    }

    fn after_failure(&self) -> AfterFailure {
        AfterFailure::Rebuild
    }

    fn on_worker(
        &self,
        desk: &Desk,
        worker: &mut Worker<'_>,
    ) -> Result<Rc<dyn StreamFilterWorker>, BuildError> {
        let builds = self.builds.fetch_add(1, Ordering::SeqCst);
        if (1..=self.failing_rebuilds).contains(&builds) {
            desk.note("not rebuilt");
            return Err(BuildError::new("made not to be built again yet"));
        }
        desk.note(&format!("built on {}", worker.index()));
        if self.panics {
            panic!("made to break while it is built");
        }
        // A part may have messages of its own: this one arrives when it is built.
        worker.resumer().post(0);
        Ok(Rc::new(WorkersPart {
            state: Rc::new(State {
                version: self.version.clone(),
                streams: Cell::new(0),
                desk: desk.clone(),
            }),
        }))
    }

    fn stream(&self, _desk: &Desk, _: &mut Stream<'_>) -> Result<StreamInstance, FilterError> {
        Ok(StreamInstance::Skip)
    }
}

struct WorkersPart {
    state: Rc<State>,
}

/// What a VM would be: it must not leave its worker, and streams share it.
struct State {
    version: String,
    streams: Cell<u32>,
    desk: Desk,
}

impl WorkerPart for WorkersPart {
    fn on_event(&self, worker: &mut Worker<'_>, event: Event) {
        if matches!(event, Event::Resumed(_)) {
            self.state
                .desk
                .note(&format!("told itself on {}", worker.index()));
        }
    }
}

impl StreamFilterWorker for WorkersPart {
    fn stream(&self, _stream: &mut Stream<'_>) -> Result<StreamInstance, FilterError> {
        let state = Rc::clone(&self.state);
        state.streams.set(state.streams.get() + 1);
        acting(PartStream {
            number: state.streams.get(),
            state,
        })
    }
}

impl Drop for WorkersPart {
    fn drop(&mut self) {
        self.state.desk.note("part dropped");
    }
}

impl Drop for State {
    fn drop(&mut self) {
        self.desk.note(&format!("state {} dropped", self.version));
    }
}

struct PartStream {
    number: u32,
    state: Rc<State>,
}

impl Act for PartStream {
    fn act(&mut self, stream: &mut Stream<'_>, at: At, _end: bool) -> Answer {
        if at == At::ResponseHeaders {
            let told = format!("{}/{}", self.state.version, self.number);
            let set = stream.response_mut().set("x-part", told);
            debug_assert!(set.is_ok(), "a good name and value");
        }
        if at != At::RequestHeaders {
            return Answer::Continue;
        }
        let path = stream.request().get(":path");
        let path = path.map(|path| path.to_string()).unwrap_or_default();
        match path.as_str() {
            "/break" => panic!("made to break the part"),
            "/wait" => {
                self.state.desk.hold(stream);
                Answer::All
            }
            _ => Answer::Continue,
        }
    }

    fn event(&mut self, stream: &mut Stream<'_>, event: Event) {
        if matches!(event, Event::Resumed(_)) {
            stream.continue_request();
        }
    }
}

/// Cannot be built on any worker but the first.
#[derive(Clone)]
struct SecondWorker;

impl Test for SecondWorker {
    fn parse(node: &Node) -> Result<Self, ParseError> {
        node.as_fields()?.finish()?;
        Ok(Self)
    }

    fn on_worker(
        &self,
        desk: &Desk,
        worker: &mut Worker<'_>,
    ) -> Result<Rc<dyn StreamFilterWorker>, BuildError> {
        if worker.index() > 0 {
            return Err(BuildError::new("made not to be built here"));
        }
        struct First(Desk);
        impl WorkerPart for First {}
        impl StreamFilterWorker for First {
            fn stream(&self, _stream: &mut Stream<'_>) -> Result<StreamInstance, FilterError> {
                self.0.note("stream");
                Ok(StreamInstance::Skip)
            }
        }
        impl Drop for First {
            fn drop(&mut self) {
                self.0.note("dropped");
            }
        }
        Ok(Rc::new(First(desk.clone())))
    }

    fn stream(&self, _desk: &Desk, _: &mut Stream<'_>) -> Result<StreamInstance, FilterError> {
        Ok(StreamInstance::Skip)
    }
}

/// Counts all requests of its worker in the one object that they share.
#[derive(Clone)]
struct OneForAll;

impl Test for OneForAll {
    fn parse(node: &Node) -> Result<Self, ParseError> {
        node.as_fields()?.finish()?;
        Ok(Self)
    }

    fn on_worker(
        &self,
        _desk: &Desk,
        _worker: &mut Worker<'_>,
    ) -> Result<Rc<dyn StreamFilterWorker>, BuildError> {
        Ok(SharedFilter::on_worker(Acting(Counting(0))))
    }

    fn stream(&self, _desk: &Desk, _: &mut Stream<'_>) -> Result<StreamInstance, FilterError> {
        Ok(StreamInstance::Skip)
    }
}

struct Counting(u32);

impl Act for Counting {
    fn act(&mut self, stream: &mut Stream<'_>, at: At, _end: bool) -> Answer {
        match at {
            At::RequestHeaders => self.0 += 1,
            At::ResponseHeaders => {
                let set = stream.response_mut().set("x-all", self.0.to_string());
                debug_assert!(set.is_ok(), "a good name and value");
            }
            _ => {}
        }
        Answer::Continue
    }
}
