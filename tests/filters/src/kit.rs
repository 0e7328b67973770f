//! What the test filters have in common: a way from a configuration type to a registered filter that, unlike a
//! built-in's, knows the [`Lab`] and its own instance name.

use std::marker::PhantomData;
use std::rc::Rc;
use std::sync::Arc;

use transom_api::kind::StreamFilters;
use transom_api::node::Fields;
use transom_api::{
    AfterFailure, BuildError, DataVerdict, DuplicateExtension, Event, Factory, FilterError,
    HeadersVerdict, Node, ParseError, Parsed, Phase, Prepare, PrepareContext, PrepareError,
    Registry, RouteConfig, Schema, Stream, StreamFilter, StreamFilterConfig, StreamFilterWorker,
    StreamInstance, TrailersVerdict, Wants, Worker, WorkerPart,
};

use crate::Lab;

/// A test filter: a configuration that makes the filters of streams.
pub(crate) trait Test: Clone + Send + Sync + 'static {
    fn parse(node: &Node) -> Result<Self, ParseError>;

    fn clusters(&self) -> Vec<String> {
        Vec::new()
    }

    fn prepare(&mut self, _context: &PrepareContext) -> Result<(), PrepareError> {
        Ok(())
    }

    fn wants(&self) -> Wants {
        Wants::EVERYTHING
    }

    fn phase(&self) -> Phase {
        Phase::BeforeRoute
    }

    fn after_failure(&self) -> AfterFailure {
        AfterFailure::Keep
    }

    fn on_worker(
        &self,
        desk: &Desk,
        _worker: &mut Worker<'_>,
    ) -> Result<Rc<dyn StreamFilterWorker>, BuildError> {
        Ok(Rc::new(TestWorker {
            test: self.clone(),
            desk: desk.clone(),
        }))
    }

    /// Makes the filter of a stream, where the worker's part is the usual one.
    fn stream(&self, desk: &Desk, stream: &mut Stream<'_>) -> Result<StreamInstance, FilterError>;
}

/// Where a use of a filter stands: the lab, and the name of the use.
#[derive(Clone)]
pub(crate) struct Desk {
    pub(crate) lab: Lab,
    pub(crate) name: Arc<str>,
}

impl Desk {
    /// Notes that something happened here.
    pub(crate) fn note(&self, what: &str) {
        self.lab.note(format!("{}.{what}", self.name));
    }

    /// Hands a filter's resumer to the test.
    pub(crate) fn hold(&self, stream: &mut Stream<'_>) {
        self.lab.hold(&self.name, stream.resumer());
    }
}

/// Registers a test filter.
pub(crate) fn register<T: Test>(
    registry: &mut Registry,
    lab: &Lab,
    name: &str,
) -> Result<(), DuplicateExtension> {
    registry.register::<StreamFilters>(
        name,
        Arc::new(TestFactory::<T> {
            lab: lab.clone(),
            test: PhantomData,
        }),
    )
}

struct TestFactory<T> {
    lab: Lab,
    test: PhantomData<fn() -> T>,
}

impl<T: Test> Factory<StreamFilters> for TestFactory<T> {
    fn schema(&self) -> Schema {
        Schema::object()
    }

    fn parse(&self, config: &Node) -> Result<Arc<dyn Parsed<StreamFilters>>, ParseError> {
        Ok(Arc::new(TestParsed {
            test: T::parse(config)?,
            lab: self.lab.clone(),
        }))
    }

    fn parse_route(&self, config: &Node) -> Result<RouteConfig, ParseError> {
        Ok(Arc::new(T::parse(config)?))
    }
}

struct TestParsed<T> {
    test: T,
    lab: Lab,
}

impl<T: Test> Parsed<StreamFilters> for TestParsed<T> {
    fn phase(&self) -> Phase {
        self.test.phase()
    }

    fn clusters(&self) -> Vec<String> {
        self.test.clusters()
    }

    fn prepare(&self, context: PrepareContext) -> Prepare<StreamFilters> {
        let mut test = self.test.clone();
        let prepared = test.prepare(&context).map(|()| {
            let desk = Desk {
                lab: self.lab.clone(),
                name: context.instance,
            };
            desk.note("prepare");
            let config: Arc<dyn StreamFilterConfig> = Arc::new(TestConfig { test, desk });
            config
        });
        Box::pin(std::future::ready(prepared))
    }
}

struct TestConfig<T> {
    test: T,
    desk: Desk,
}

impl<T: Test> StreamFilterConfig for TestConfig<T> {
    fn wants(&self) -> Wants {
        self.test.wants()
    }

    fn after_failure(&self) -> AfterFailure {
        self.test.after_failure()
    }

    fn on_worker(&self, worker: &mut Worker<'_>) -> Result<Rc<dyn StreamFilterWorker>, BuildError> {
        self.test.on_worker(&self.desk, worker)
    }
}

struct TestWorker<T> {
    test: T,
    desk: Desk,
}

impl<T> WorkerPart for TestWorker<T> {}

impl<T: Test> StreamFilterWorker for TestWorker<T> {
    fn stream(&self, stream: &mut Stream<'_>) -> Result<StreamInstance, FilterError> {
        self.test.stream(&self.desk, stream)
    }
}

/// The callbacks of a stream filter, by their names in the configuration of test filters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum At {
    Make,
    RequestHeaders,
    RequestBody,
    RequestTrailers,
    ResponseHeaders,
    ResponseBody,
    ResponseTrailers,
    Event,
    Complete,
    Drop,
}

impl At {
    const ALL: [(&'static str, At); 10] = [
        ("make", At::Make),
        ("request_headers", At::RequestHeaders),
        ("request_body", At::RequestBody),
        ("request_trailers", At::RequestTrailers),
        ("response_headers", At::ResponseHeaders),
        ("response_body", At::ResponseBody),
        ("response_trailers", At::ResponseTrailers),
        ("event", At::Event),
        ("complete", At::Complete),
        ("drop", At::Drop),
    ];

    pub(crate) fn name(self) -> &'static str {
        Self::ALL
            .iter()
            .find(|(_, at)| *at == self)
            .map_or("", |(name, _)| name)
    }

    pub(crate) fn is_response(self) -> bool {
        matches!(
            self,
            At::ResponseHeaders | At::ResponseBody | At::ResponseTrailers
        )
    }

    /// Reads the key `at`.
    pub(crate) fn parse(fields: &mut Fields<'_>) -> Result<Self, ParseError> {
        let node = fields.required("at")?;
        let name = node.as_str()?;
        Self::ALL
            .iter()
            .find(|(known, _)| *known == name)
            .map(|(_, at)| *at)
            .ok_or_else(|| node.error(format!("`{name}` is no callback")))
    }
}

/// A text of the configuration, or what stands for it.
pub(crate) fn text<'n>(
    fields: &mut Fields<'n>,
    name: &'static str,
    default: &'n str,
) -> Result<&'n str, ParseError> {
    fields.optional(name).map_or(Ok(default), Node::as_str)
}

/// A truth of the configuration; false when it is left out.
pub(crate) fn flag(fields: &mut Fields<'_>, name: &'static str) -> Result<bool, ParseError> {
    fields.optional(name).map_or(Ok(false), Node::as_bool)
}

/// A number of the configuration, or what stands for it.
pub(crate) fn number(
    fields: &mut Fields<'_>,
    name: &'static str,
    default: u64,
) -> Result<u64, ParseError> {
    fields.optional(name).map_or(Ok(default), Node::as_integer)
}

/// A filter that does the same thing in whatever callback it is told to.
pub(crate) trait Act {
    /// A message callback.
    fn act(&mut self, stream: &mut Stream<'_>, at: At, end: bool) -> Answer;

    fn event(&mut self, _stream: &mut Stream<'_>, _event: Event) {}

    fn complete(&mut self, _stream: &mut Stream<'_>) {}
}

/// What an [`Act`] answers, whichever the callback.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Continue,
    /// What was shown waits; a head lets data come.
    Stop,
    /// What was shown waits, with a limit.
    Buffer,
    /// All waits.
    All,
    /// All waits, with a limit.
    AllAndBuffer,
    /// Data is taken away.
    Swallow,
    /// The head is the whole message.
    EndStream,
}

/// An [`Act`] as a stream filter.
pub(crate) struct Acting<A>(pub(crate) A);

impl<A: Act> Acting<A> {
    fn headers(&mut self, stream: &mut Stream<'_>, at: At, end: bool) -> HeadersVerdict {
        match self.0.act(stream, at, end) {
            Answer::Continue | Answer::Swallow => HeadersVerdict::Continue,
            Answer::Stop | Answer::Buffer => HeadersVerdict::StopIteration,
            Answer::All => HeadersVerdict::StopAllIterationAndWatermark,
            Answer::AllAndBuffer => HeadersVerdict::StopAllIterationAndBuffer,
            Answer::EndStream => HeadersVerdict::ContinueAndEndStream,
        }
    }

    fn body(&mut self, stream: &mut Stream<'_>, at: At, end: bool) -> DataVerdict {
        match self.0.act(stream, at, end) {
            Answer::Continue | Answer::EndStream => DataVerdict::Continue,
            Answer::Buffer | Answer::AllAndBuffer => DataVerdict::StopIterationAndBuffer,
            Answer::Stop | Answer::All => DataVerdict::StopIterationAndWatermark,
            Answer::Swallow => DataVerdict::StopIterationNoBuffer,
        }
    }

    fn trailers(&mut self, stream: &mut Stream<'_>, at: At) -> TrailersVerdict {
        match self.0.act(stream, at, true) {
            Answer::Continue | Answer::Swallow | Answer::EndStream => TrailersVerdict::Continue,
            _ => TrailersVerdict::StopIteration,
        }
    }
}

impl<A: Act> StreamFilter for Acting<A> {
    fn request_headers(&mut self, stream: &mut Stream<'_>, end: bool) -> HeadersVerdict {
        self.headers(stream, At::RequestHeaders, end)
    }

    fn request_body(&mut self, stream: &mut Stream<'_>, end: bool) -> DataVerdict {
        self.body(stream, At::RequestBody, end)
    }

    fn request_trailers(&mut self, stream: &mut Stream<'_>) -> TrailersVerdict {
        self.trailers(stream, At::RequestTrailers)
    }

    fn response_headers(&mut self, stream: &mut Stream<'_>, end: bool) -> HeadersVerdict {
        self.headers(stream, At::ResponseHeaders, end)
    }

    fn response_body(&mut self, stream: &mut Stream<'_>, end: bool) -> DataVerdict {
        self.body(stream, At::ResponseBody, end)
    }

    fn response_trailers(&mut self, stream: &mut Stream<'_>) -> TrailersVerdict {
        self.trailers(stream, At::ResponseTrailers)
    }

    fn on_event(&mut self, stream: &mut Stream<'_>, event: Event) {
        self.0.event(stream, event);
    }

    fn on_stream_complete(&mut self, stream: &mut Stream<'_>) {
        self.0.complete(stream);
    }
}

/// The filter of a stream that consists of an [`Act`].
pub(crate) fn acting(act: impl Act + 'static) -> Result<StreamInstance, FilterError> {
    Ok(StreamInstance::own(Acting(act)))
}
