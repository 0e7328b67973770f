//! A library's stream filter, as the data plane calls it.

use std::rc::Rc;
use std::sync::Arc;

use transom_abi::{self as abi, Field, Object, Slice};
use transom_api::callout::{CalloutDone, CalloutError, CalloutResponse};
use transom_api::event::{Event, ResetReason};
use transom_api::factory::{Factory, Parsed, Prepare, RouteConfig};
use transom_api::kind::StreamFilters;
use transom_api::schema::{Schema, Shape};
use transom_api::stream::{
    Stream, StreamFilter, StreamFilterConfig, StreamFilterWorker, StreamInstance, Wants,
};
use transom_api::{
    BuildError, DataVerdict, Direction, FilterError, HeadersVerdict, Node, ParseError, Phase,
    PrepareContext, PrepareError, TrailersVerdict, Worker, WorkerPart,
};

use crate::configs::{Configured, Said, check};
use crate::current::{slice_of, with_stream, with_worker};
use crate::load::{Cell, Loaded, StreamFilterTable};

/// Makes stream filters of an extension of a library.
pub(crate) struct StreamFactory {
    pub(crate) cell: Cell,
    pub(crate) extension: String,
}

impl StreamFactory {
    fn table(&self) -> Option<(Arc<Loaded>, StreamFilterTable)> {
        let library = self.cell.get()?;
        let table = library.stream_filter(&self.extension).ok()?;
        Some((Arc::clone(library), table))
    }
}

impl Factory<StreamFilters> for StreamFactory {
    fn schema(&self) -> Schema {
        Schema::new(Shape::Any)
    }

    fn parse(&self, config: &Node) -> Result<Arc<dyn Parsed<StreamFilters>>, ParseError> {
        Ok(Arc::new(Written {
            cell: Arc::clone(&self.cell),
            extension: self.extension.clone(),
            config: config.clone(),
            said: Arc::default(),
        }))
    }

    fn parse_route(&self, config: &Node) -> Result<RouteConfig, ParseError> {
        if let Some((library, table)) = self.table() {
            check(&library, &table, config, true).map_err(|error| {
                let mut refused = config.error(error.message);
                refused.span = error.span.or(refused.span);
                refused
            })?;
        }
        Ok(Arc::new(config.clone()))
    }
}

/// A use as it is written.
struct Written {
    cell: Cell,
    extension: String,
    config: Node,
    said: Arc<Said>,
}

impl Parsed<StreamFilters> for Written {
    fn clusters(&self) -> Vec<String> {
        self.said.clusters.get().cloned().unwrap_or_default()
    }

    fn phase(&self) -> Phase {
        if let Some(phase) = self.said.phase.get() {
            return *phase;
        }
        let library = self.cell.get();
        let table = library.and_then(|library| library.stream_filter(&self.extension).ok());
        table.map_or(Phase::BeforeRoute, |table| table.phase)
    }

    fn prepare(&self, context: PrepareContext) -> Prepare<StreamFilters> {
        let (cell, extension) = (Arc::clone(&self.cell), self.extension.clone());
        let (config, said) = (self.config.clone(), Arc::clone(&self.said));
        Box::pin(async move {
            let library = cell
                .get()
                .ok_or_else(|| PrepareError::new("the library is not loaded"))?;
            let table = library.stream_filter(&extension)?;
            let library = Arc::clone(library);
            // It may take its time, and the control side has more to do.
            let prepared = tokio::task::spawn_blocking(move || {
                check(&library, &table, &config, false)?;
                Configured::prepare(&library, table, &config, &context)
            });
            let prepared = prepared.await.map_err(|error| {
                PrepareError::new(format!(
                    "the library's preparation ended in a panic: {error}"
                ))
            })??;
            // A second preparation says the same.
            let _ = said.clusters.set(prepared.clusters.clone());
            if let Some(phase) = prepared.phase {
                let _ = said.phase.set(phase);
            }
            let config: Arc<dyn StreamFilterConfig> = Arc::new(Config(Arc::new(prepared)));
            Ok(config)
        })
    }
}

/// A use that is ready.
struct Config(Arc<Configured>);

impl StreamFilterConfig for Config {
    fn wants(&self) -> Wants {
        self.0.wants
    }

    fn prepare_route(&self, parsed: RouteConfig) -> Result<RouteConfig, PrepareError> {
        match parsed.downcast_ref::<Node>() {
            Some(route) => Ok(Arc::new(self.0.prepare_route(route)?)),
            None => Ok(parsed),
        }
    }

    fn on_worker(&self, worker: &mut Worker<'_>) -> Result<Rc<dyn StreamFilterWorker>, BuildError> {
        let config = Arc::clone(&self.0);
        let object = match config.table.worker_start {
            None => config.object,
            Some(start) => {
                // SAFETY: The library's function, with an object of its own and a handle.
                let object = with_worker(worker, |worker| unsafe { start(config.object, worker) });
                if object.is_null() {
                    return Err(BuildError {
                        message: format!("{} cannot begin on this worker", config.library),
                    });
                }
                object
            }
        };
        Ok(Rc::new(Part(Rc::new(WorkerObject { object, config }))))
    }
}

/// What the library has on this worker.
struct WorkerObject {
    object: Object,
    config: Arc<Configured>,
}

impl Drop for WorkerObject {
    fn drop(&mut self) {
        let table = &self.config.table;
        if let (Some(_), Some(end)) = (table.worker_start, table.worker_end) {
            // SAFETY: The library's own object, used by nobody any more.
            unsafe { end(self.object) };
        }
    }
}

struct Part(Rc<WorkerObject>);

impl WorkerPart for Part {
    fn on_event(&self, worker: &mut Worker<'_>, event: Event) {
        if let Some(on_event) = self.0.config.table.worker_event {
            with_event(&event, |event| {
                // SAFETY: The library's function, with an object of its own, a handle and an event that holds for the call.
                with_worker(worker, |worker| unsafe {
                    on_event(self.0.object, worker, event);
                });
            });
        }
    }
}

impl StreamFilterWorker for Part {
    fn stream(&self, stream: &mut Stream<'_>) -> Result<StreamInstance, FilterError> {
        let part = Rc::clone(&self.0);
        // SAFETY: The library's function, with an object of its own and a handle.
        let object = with_stream(stream, |stream| unsafe {
            (part.config.table.stream_start)(part.object, stream)
        });
        Ok(StreamInstance::own(Filter { object, part }))
    }
}

/// A filter of one stream.
struct Filter {
    object: Object,
    part: Rc<WorkerObject>,
}

impl Drop for Filter {
    fn drop(&mut self) {
        if let Some(end) = self.part.config.table.stream_end {
            // SAFETY: The library's own object, used by nobody any more.
            unsafe { end(self.object) };
        }
    }
}

/// What a callback answered, as a verdict; a number that is none is a failure of the filter.
macro_rules! verdict {
    ($self:ident, $stream:ident, $verdict:ident, $callback:ident $(, $end:ident)?) => {{
        let Some(callback) = $self.part.config.table.$callback else {
            return $verdict::Continue;
        };
        let object = $self.object;
        // SAFETY: The library's function, with an object of its own and a handle.
        let number = with_stream($stream, |stream| unsafe {
            callback(object, stream $(, u32::from($end))?)
        });
        $verdict::from_number(number).unwrap_or_else(|| {
            $self.answered_nonsense($stream, stringify!($callback), number);
            $verdict::Continue
        })
    }};
}

impl Filter {
    #[cold]
    fn answered_nonsense(&self, stream: &mut Stream<'_>, callback: &str, number: i32) {
        let library = &self.part.config.library;
        stream.fail(FilterError::broken(format!(
            "{library} answered {callback} with {number}, which is no verdict"
        )));
    }
}

impl StreamFilter for Filter {
    fn request_headers(&mut self, stream: &mut Stream<'_>, end: bool) -> HeadersVerdict {
        verdict!(self, stream, HeadersVerdict, request_headers, end)
    }

    fn request_body(&mut self, stream: &mut Stream<'_>, end: bool) -> DataVerdict {
        verdict!(self, stream, DataVerdict, request_body, end)
    }

    fn request_trailers(&mut self, stream: &mut Stream<'_>) -> TrailersVerdict {
        verdict!(self, stream, TrailersVerdict, request_trailers)
    }

    fn response_headers(&mut self, stream: &mut Stream<'_>, end: bool) -> HeadersVerdict {
        verdict!(self, stream, HeadersVerdict, response_headers, end)
    }

    fn response_body(&mut self, stream: &mut Stream<'_>, end: bool) -> DataVerdict {
        verdict!(self, stream, DataVerdict, response_body, end)
    }

    fn response_trailers(&mut self, stream: &mut Stream<'_>) -> TrailersVerdict {
        verdict!(self, stream, TrailersVerdict, response_trailers)
    }

    fn on_event(&mut self, stream: &mut Stream<'_>, event: Event) {
        if let Some(on_event) = self.part.config.table.event {
            with_event(&event, |event| {
                // SAFETY: The library's function, with an object of its own, a handle and an event that holds for the call.
                with_stream(stream, |stream| unsafe {
                    on_event(self.object, stream, event);
                });
            });
        }
    }

    fn on_stream_complete(&mut self, stream: &mut Stream<'_>) {
        if let Some(complete) = self.part.config.table.complete {
            // SAFETY: The library's function, with an object of its own and a handle.
            with_stream(stream, |stream| unsafe { complete(self.object, stream) });
        }
    }
}

/// Shows an event as C sees it. One that this version of the border does not have is not told.
fn with_event(event: &Event, call: impl FnOnce(*const abi::Event)) {
    let (kind, number) = match event {
        Event::Resumed(message) => (abi::EVENT_RESUMED, message.token),
        Event::Timer(timer) => (abi::EVENT_TIMER, timer.0),
        Event::Callout(done) => return with_callout(done, call),
        Event::Watermark { direction, above } => {
            let kind = match above {
                true => abi::EVENT_ABOVE_WATERMARK,
                false => abi::EVENT_BELOW_WATERMARK,
            };
            let direction = match direction {
                Direction::Request => abi::REQUEST,
                Direction::Response => abi::RESPONSE,
            };
            (kind, u64::from(direction))
        }
        Event::Reset(reason) => {
            let number = match reason {
                ResetReason::Downstream => 0,
                ResetReason::Upstream => 1,
                ResetReason::Timeout => 3,
                _ => 2,
            };
            (abi::EVENT_RESET, number)
        }
        Event::Drain => (abi::EVENT_DRAIN, 0),
        _ => return,
    };
    let event = event_of(kind, number, std::ptr::null());
    call(&raw const event);
}

fn event_of(kind: abi::EventKind, number: u64, callout: *const abi::Callout) -> abi::Event {
    abi::Event {
        size: size_of::<abi::Event>(),
        kind,
        reserved: 0,
        number,
        callout,
    }
}

fn with_callout(done: &CalloutDone, call: impl FnOnce(*const abi::Event)) {
    let none = CalloutResponse::default();
    let (error, answer) = match &done.result {
        Ok(answer) => (0, answer),
        Err(error) => (error_number(error), &none),
    };
    let (fields, trailers) = (fields_of(&answer.headers), fields_of(&answer.trailers));
    let body: Slice = slice_of(&answer.body);
    let callout = abi::Callout {
        size: size_of::<abi::Callout>(),
        error,
        reserved: 0,
        fields: fields.as_ptr(),
        field_count: fields.len(),
        body,
        trailers: trailers.as_ptr(),
        trailer_count: trailers.len(),
    };
    let event = event_of(abi::EVENT_CALLOUT, done.id.0, &raw const callout);
    call(&raw const event);
}

fn fields_of(fields: &[(Vec<u8>, Vec<u8>)]) -> Vec<Field> {
    let fields = fields.iter();
    fields
        .map(|(name, value)| Field {
            name: slice_of(name),
            value: slice_of(value),
        })
        .collect()
}

fn error_number(error: &CalloutError) -> u32 {
    match error {
        CalloutError::NotAllowed => 1,
        CalloutError::NoCluster => 2,
        CalloutError::Unsupported => 3,
        CalloutError::BadRequest => 4,
        CalloutError::Timeout => 6,
        CalloutError::Reset => 7,
        CalloutError::TooLarge => 8,
        _ => 5,
    }
}
