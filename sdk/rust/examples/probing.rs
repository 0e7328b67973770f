//! A library whose filter tries what an interface can do, and panics where it is told to: for `tests/library`.

use std::cell::Cell;
use std::rc::Rc;

use transom_sdk::api::builtin::Builtin;
use transom_sdk::api::{
    BuildError, Direction, Drain, Event, FilterError, HeadersVerdict, MetadataValue, Node,
    ParseError, Phase, PrepareContext, PrepareError, Resumer, Schema, Stream, StreamFilter,
    StreamFilterWorker, StreamInstance, Wants, Worker, WorkerPart,
};

transom_sdk::export_plugin! {
    probing: Probing,
}

#[derive(Clone)]
struct Probing {
    panics_in: String,
}

impl Builtin for Probing {
    type Filter = Filter;

    fn schema() -> Schema {
        Schema::object().optional("panics_in", Schema::string())
    }

    fn parse(node: &Node) -> Result<Self, ParseError> {
        let mut fields = node.as_fields()?;
        let panics_in = fields.optional("panics_in").map(Node::as_str).transpose()?;
        let panics_in = panics_in.unwrap_or_default().to_owned();
        fields.finish()?;
        panics("parse", &panics_in);
        Ok(Self { panics_in })
    }

    fn prepare(&mut self, context: &PrepareContext) -> Result<(), PrepareError> {
        panics("prepare", &self.panics_in);
        if &*context.instance != "p" || context.workers != 1 {
            return Err(PrepareError::new(format!("{context:?}")));
        }
        Ok(())
    }

    fn wants(&self) -> Wants {
        Wants::EVERYTHING
    }

    fn phase(&self) -> Phase {
        Phase::AfterRoute
    }

    fn filter(&self) -> Filter {
        Filter {
            panics_in: self.panics_in.clone(),
            spawned: Rc::default(),
            resumed: None,
        }
    }

    fn on_worker(&self, worker: &mut Worker<'_>) -> Result<Rc<dyn StreamFilterWorker>, BuildError> {
        panics("on_worker", &self.panics_in);
        let spawned = Rc::new(Cell::new(false));
        let ran = Rc::clone(&spawned);
        worker.spawn(async move { ran.set(true) });
        Ok(Rc::new(Part {
            config: self.clone(),
            spawned,
        }))
    }
}

fn panics(here: &str, wanted: &str) {
    assert_ne!(here, wanted, "as it was told");
}

struct Part {
    config: Probing,
    spawned: Rc<Cell<bool>>,
}

impl WorkerPart for Part {
    fn drain(&self, _worker: &mut Worker<'_>) -> Drain {
        Drain::Done
    }
}

impl StreamFilterWorker for Part {
    fn stream(&self, stream: &mut Stream<'_>) -> Result<StreamInstance, FilterError> {
        panics("stream", &self.config.panics_in);
        if stream
            .request()
            .get(":path")
            .is_some_and(|path| path == "/skip")
        {
            return Ok(StreamInstance::Skip);
        }
        let mut filter = self.config.filter();
        filter.spawned = Rc::clone(&self.spawned);
        Ok(StreamInstance::own(filter))
    }
}

struct Filter {
    panics_in: String,
    spawned: Rc<Cell<bool>>,
    resumed: Option<String>,
}

impl Drop for Filter {
    fn drop(&mut self) {
        panics("drop", &self.panics_in);
    }
}

impl StreamFilter for Filter {
    fn request_headers(&mut self, stream: &mut Stream<'_>, _end: bool) -> HeadersVerdict {
        panics("request_headers", &self.panics_in);
        let list = MetadataValue::List(vec![1.0.into(), "two".into()]);
        stream.set_metadata("probing", "list", list.clone());
        let same = stream.metadata("probing", "list") == Some(&list);
        let shared = stream.shared().set("probing", b"value").is_ok()
            && stream
                .shared()
                .get("probing")
                .is_some_and(|found| *found.bytes == *b"value")
            && stream.shared().remove("probing").is_ok()
            && stream.shared().get("probing").is_none();
        stream.filter_state().set("probing", 7_u8);
        let state = stream.filter_state().get::<u8>("probing") == Some(&7);
        let names = stream.request().iter().count();
        let told = format!(
            "metadata={same} shared={shared} state={state} names={names} spawned={}",
            self.spawned.get()
        );
        let _ = stream.request_mut().set("x-told", told);
        let resumer: Resumer = stream.resumer();
        std::thread::spawn(move || resumer.post_with(3, "from a thread".to_owned()));
        HeadersVerdict::StopAllIterationAndWatermark
    }

    fn response_headers(&mut self, stream: &mut Stream<'_>, _end: bool) -> HeadersVerdict {
        panics("response_headers", &self.panics_in);
        let _ = stream
            .response_mut()
            .set("x-resumed", self.resumed.as_deref().unwrap_or("no"));
        let _ = stream.body(Direction::Response).len();
        HeadersVerdict::Continue
    }

    fn on_event(&mut self, stream: &mut Stream<'_>, event: Event) {
        panics("on_event", &self.panics_in);
        if let Event::Resumed(mut message) = event {
            let text = message.take::<String>().unwrap_or_default();
            self.resumed = Some(format!("{} {text}", message.token));
            stream.continue_request();
        }
    }

    fn on_stream_complete(&mut self, _stream: &mut Stream<'_>) {
        panics("on_stream_complete", &self.panics_in);
    }
}
