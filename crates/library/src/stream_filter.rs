//! A library's stream filter, as the data plane calls it.

use std::rc::Rc;
use std::sync::Arc;

use transom_abi::{self as abi, Object, Slice};
use transom_api::event::Event;
use transom_api::factory::RouteConfig;
use transom_api::kind::StreamFilters;
use transom_api::stream::{
    Stream, StreamFilter, StreamFilterConfig, StreamFilterWorker, StreamInstance, Wants,
};
use transom_api::{
    BuildError, DataVerdict, FilterError, HeadersVerdict, Node, ParseError, Phase, PrepareContext,
    PrepareError, TrailersVerdict, Worker, WorkerPart,
};

use crate::configs::{Configured, Hosted, Maker, Refusal, WorkerObject, check, clusters_of};
use crate::current::{slice_of, with_stream};
use crate::error::LoadError;
use crate::events::with_event;
use crate::load::Loaded;
use crate::news::News;
use crate::tables::{AnyTable, Check, Common, Prepare, Raw, Release, Start, Table};

/// The functions of a stream filter.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StreamFilterTable {
    phase: Phase,
    all: abi::StreamFilter,
    prepare: Prepare<abi::Wants>,
    release: Release,
    stream_start: Start,
}

impl StreamFilterTable {
    pub(crate) fn new(
        phase: Phase,
        all: abi::StreamFilter,
        raw: &Raw<'_>,
    ) -> Result<Self, LoadError> {
        Ok(Self {
            phase,
            prepare: raw.must(all.prepare, "prepare")?,
            release: raw.must(all.release, "release")?,
            stream_start: raw.must(all.stream_start, "stream_start")?,
            all,
        })
    }
}

impl Table for StreamFilterTable {
    const KIND: abi::Kind = abi::STREAM_FILTER;
    type Wants = abi::Wants;
    type Wishes = (Wants, Vec<String>);

    fn common(&self) -> Common<abi::Wants> {
        Common {
            check: Check::WithRoute(self.all.check),
            prepare: self.prepare,
            release: self.release,
            worker_start: self.all.worker_start,
            worker_event: self.all.worker_event,
            worker_end: self.all.worker_end,
        }
    }

    fn wants(&self) -> abi::Wants {
        abi::Wants {
            size: size_of::<abi::Wants>(),
            callbacks: 127,
            reserved: 0,
            whole_request_body: 0,
            whole_response_body: 0,
            buffer_limit: 0,
            clusters: std::ptr::null(),
            cluster_count: 0,
        }
    }

    unsafe fn read(wants: &abi::Wants, library: &Loaded) -> Result<Self::Wishes, PrepareError> {
        let callbacks = Wants::from_bits(wants.callbacks).ok_or_else(|| {
            PrepareError::new(format!(
                "{library} asks for callbacks with the bits {:#x}, of which some are unknown: it was made for a newer host",
                wants.callbacks
            ))
        })?;
        let bounded = callbacks.bounds(
            wants.whole_request_body,
            wants.whole_response_body,
            wants.buffer_limit,
        );
        // SAFETY: Promised by the caller.
        let clusters = unsafe { clusters_of(wants.clusters, wants.cluster_count, library)? };
        Ok((bounded, clusters))
    }

    fn of(table: &AnyTable) -> Option<&Self> {
        match table {
            AnyTable::StreamFilter(table) => Some(table),
            _ => None,
        }
    }
}

impl Hosted for StreamFilterTable {
    type Kind = StreamFilters;

    fn config(
        configured: Configured<Self>,
        (wants, _): Self::Wishes,
        _context: &PrepareContext,
        _news: Option<News>,
    ) -> Result<Arc<dyn StreamFilterConfig>, PrepareError> {
        Ok(Arc::new(Config {
            configured: Arc::new(configured),
            wants,
        }))
    }

    fn clusters((_, clusters): &Self::Wishes) -> &[String] {
        clusters
    }

    fn phase(&self) -> Phase {
        self.phase
    }

    fn parse_route(maker: &Maker<Self>, config: &Node) -> Result<RouteConfig, ParseError> {
        if let Some((library, table)) = maker.table() {
            check(&library, &table, config, true).map_err(|error| {
                let mut refused = config.error(error.message);
                refused.span = error.span.or(refused.span);
                refused
            })?;
        }
        Ok(Arc::new(config.clone()))
    }
}

/// A use that is ready.
struct Config {
    configured: Arc<Configured<StreamFilterTable>>,
    wants: Wants,
}

impl StreamFilterConfig for Config {
    fn wants(&self) -> Wants {
        self.wants
    }

    fn prepare_route(&self, parsed: RouteConfig) -> Result<RouteConfig, PrepareError> {
        match parsed.downcast_ref::<Node>() {
            Some(route) => Ok(Arc::new(RouteObject::prepare(&self.configured, route)?)),
            None => Ok(parsed),
        }
    }

    fn on_worker(&self, worker: &mut Worker<'_>) -> Result<Rc<dyn StreamFilterWorker>, BuildError> {
        Ok(Rc::new(Part(WorkerObject::start(
            &self.configured,
            worker,
        )?)))
    }
}

/// A configuration of a route, as its library has made it.
pub(crate) struct RouteObject {
    object: Object,
    config: Arc<Configured<StreamFilterTable>>,
}

// SAFETY: The border says that a configuration may be used from any worker, and released on any thread.
unsafe impl Send for RouteObject {}
// SAFETY: As above.
unsafe impl Sync for RouteObject {}

impl RouteObject {
    /// Has the library make a configuration of a route ready.
    fn prepare(
        config: &Arc<Configured<StreamFilterTable>>,
        route: &Node,
    ) -> Result<Self, PrepareError> {
        let library = &config.library;
        let Some(prepare) = config.table.all.prepare_route else {
            let error = format!("{library} takes no configuration per route");
            return Err(PrepareError::new(error));
        };
        let written = route.to_json();
        let mut refusal = Refusal::new();
        let mut fault = refusal.fault();
        let slice: Slice = slice_of(written.as_bytes());
        // SAFETY: The library's function, with an object of its own.
        let object = unsafe { prepare(config.object, slice, &raw mut fault) };
        if object.is_null() {
            return Err(refusal.error(&fault, library, route));
        }
        Ok(Self {
            object,
            config: Arc::clone(config),
        })
    }

    pub(crate) fn get(&self) -> Object {
        self.object
    }
}

impl Drop for RouteObject {
    fn drop(&mut self) {
        if let Some(release) = self.config.table.all.release_route {
            // SAFETY: The library's own object, used by nobody any more.
            unsafe { release(self.object) };
        }
    }
}

struct Part(Rc<WorkerObject<StreamFilterTable>>);

impl WorkerPart for Part {
    fn on_event(&self, worker: &mut Worker<'_>, event: Event) {
        self.0.on_event(worker, &event);
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
    part: Rc<WorkerObject<StreamFilterTable>>,
}

impl Drop for Filter {
    fn drop(&mut self) {
        if let Some(end) = self.part.config.table.all.stream_end {
            // SAFETY: The library's own object, used by nobody any more.
            unsafe { end(self.object) };
        }
    }
}

/// What a callback answered, as a verdict; a number that is none is a failure of the filter.
macro_rules! verdict {
    ($self:ident, $stream:ident, $verdict:ident, $callback:ident $(, $end:ident)?) => {{
        let Some(callback) = $self.part.config.table.all.$callback else {
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
        if let Some(on_event) = self.part.config.table.all.event {
            with_event(&event, |event| {
                // SAFETY: The library's function, with an object of its own, a handle and an event that holds for the call.
                with_stream(stream, |stream| unsafe {
                    on_event(self.object, stream, event);
                });
            });
        }
    }

    fn on_stream_complete(&mut self, stream: &mut Stream<'_>) {
        if let Some(complete) = self.part.config.table.all.complete {
            // SAFETY: The library's function, with an object of its own and a handle.
            with_stream(stream, |stream| unsafe { complete(self.object, stream) });
        }
    }
}
