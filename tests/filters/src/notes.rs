//! What filters leave behind: `leave` and `find` pass filter state and metadata on, `shared_count` counts in shared data
//! across workers, `measure` defines and moves metrics, and the access log `record` writes lines of attributes.

use std::rc::Rc;
use std::sync::Arc;

use transom_api::kind::AccessLogs;
use transom_api::{
    AccessLogConfig, AccessLogWorker, BuildError, Counter, Distribution, DuplicateExtension,
    Factory, FilterError, Gauge, HeaderMap, Histogram, MetadataValue, Node, ParseError, Parsed,
    Prepare, PrepareContext, PrepareError, Record, Registry, Schema, SharedError, Stream,
    StreamInstance, Wants, Worker, WorkerPart, attribute,
};

use crate::Lab;
use crate::kit::{self, Act, Answer, At, Desk, Test, acting};

pub(crate) fn register(registry: &mut Registry, lab: &Lab) -> Result<(), DuplicateExtension> {
    kit::register::<Leave>(registry, lab, "leave")?;
    kit::register::<Find>(registry, lab, "find")?;
    kit::register::<SharedCount>(registry, lab, "shared_count")?;
    kit::register::<Measure>(registry, lab, "measure")?;
    registry.register::<AccessLogs>("record", Arc::new(RecordLog { lab: lab.clone() }))
}

macro_rules! no_configuration {
    () => {
        fn parse(node: &Node) -> Result<Self, ParseError> {
            node.as_fields()?.finish()?;
            Ok(Self::default())
        }
    };
}

/// Leaves filter state, connection state and metadata.
#[derive(Clone, Default)]
struct Leave;

impl Test for Leave {
    no_configuration!();

    fn stream(&self, _desk: &Desk, _: &mut Stream<'_>) -> Result<StreamInstance, FilterError> {
        acting(Leaving)
    }
}

struct Leaving;

impl Act for Leaving {
    fn act(&mut self, stream: &mut Stream<'_>, at: At, _end: bool) -> Answer {
        if at == At::RequestHeaders {
            stream.filter_state().set("test.count", 7_u32);
            stream.set_metadata("test", "who", "leave");
            let streams = stream.connection_state();
            match streams.get_mut::<u32>("test.streams") {
                Some(count) => *count += 1,
                None => streams.set("test.streams", 1_u32),
            }
        }
        Answer::Continue
    }

    fn complete(&mut self, stream: &mut Stream<'_>) {
        // The access log comes after this and sees it.
        stream.set_metadata("test", "complete", "yes");
    }
}

/// Tells what it found, in the request.
#[derive(Clone, Default)]
struct Find;

impl Test for Find {
    no_configuration!();

    fn stream(&self, _desk: &Desk, _: &mut Stream<'_>) -> Result<StreamInstance, FilterError> {
        acting(Finding)
    }
}

struct Finding;

impl Act for Finding {
    fn act(&mut self, stream: &mut Stream<'_>, at: At, _end: bool) -> Answer {
        if at == At::RequestHeaders {
            let count = stream.filter_state().get::<u32>("test.count").copied();
            let wrong_type = stream.filter_state().get::<String>("test.count").is_some();
            let streams = stream
                .connection_state()
                .get::<u32>("test.streams")
                .copied();
            let who = match stream.metadata("test", "who") {
                Some(MetadataValue::String(who)) => who.clone(),
                _ => String::new(),
            };
            let found = format!(
                "{} {} {who} {wrong_type}",
                count.unwrap_or_default(),
                streams.unwrap_or_default()
            );
            let set = stream.request_mut().set("x-found", found);
            debug_assert!(set.is_ok(), "a good name and value");
        }
        Answer::Continue
    }
}

/// Counts its requests in shared data, with compare-and-set.
#[derive(Clone, Default)]
struct SharedCount;

impl Test for SharedCount {
    no_configuration!();

    fn wants(&self) -> Wants {
        Wants::REQUEST_HEADERS.and(Wants::RESPONSE_HEADERS)
    }

    fn stream(&self, _desk: &Desk, _: &mut Stream<'_>) -> Result<StreamInstance, FilterError> {
        acting(Counting(0))
    }
}

struct Counting(u64);

impl Act for Counting {
    fn act(&mut self, stream: &mut Stream<'_>, at: At, _end: bool) -> Answer {
        if at == At::ResponseHeaders {
            let set = stream.response_mut().set("x-count", self.0.to_string());
            debug_assert!(set.is_ok(), "a good name and value");
            return Answer::Continue;
        }
        self.0 = loop {
            let (before, version) = match stream.shared().get("test.count") {
                Some(value) => {
                    let text = String::from_utf8_lossy(&value.bytes).into_owned();
                    (text.parse().unwrap_or(0), value.version)
                }
                None => (0_u64, 0),
            };
            let next = (before + 1).to_string();
            match stream
                .shared()
                .compare_and_set("test.count", next.as_bytes(), version)
            {
                Ok(()) => break before + 1,
                Err(SharedError::Changed) => {}
                Err(_) => break 0,
            }
        };
        Answer::Continue
    }
}

/// Defines metrics when it is prepared and moves them with each request.
#[derive(Clone, Default)]
struct Measure {
    metrics: Option<(Counter, Gauge, Histogram, Distribution)>,
}

impl Test for Measure {
    no_configuration!();

    fn prepare(&mut self, context: &PrepareContext) -> Result<(), PrepareError> {
        let labels = [("instance", &*context.instance)];
        let metrics = &context.metrics;
        self.metrics = Some((
            metrics.counter("test_requests_total", "Requests.", &labels)?,
            metrics.gauge("test_active", "Requests under way.", &labels)?,
            metrics.histogram("test_wait_seconds", "Waits.", &labels)?,
            metrics.distribution("test_path_bytes", "Lengths of paths.", &labels)?,
        ));
        Ok(())
    }

    fn stream(&self, _desk: &Desk, _: &mut Stream<'_>) -> Result<StreamInstance, FilterError> {
        acting(Measuring(self.metrics))
    }
}

struct Measuring(Option<(Counter, Gauge, Histogram, Distribution)>);

impl Act for Measuring {
    fn act(&mut self, stream: &mut Stream<'_>, at: At, _end: bool) -> Answer {
        if let (At::RequestHeaders, Some((requests, active, wait, lengths))) = (at, self.0) {
            stream.count(requests, 2);
            stream.add_gauge(active, 1);
            stream.observe(wait, std::time::Duration::from_millis(3));
            stream.observe_value(lengths, 1);
        }
        Answer::Continue
    }

    fn complete(&mut self, stream: &mut Stream<'_>) {
        if let Some((_, active, _, _)) = self.0 {
            stream.add_gauge(active, -1);
        }
    }
}

/// An access log that notes a line for each stream:
/// `log METHOD PATH CODE FLAGS DETAILS CLUSTER ROUTE REQUEST-BYTES RESPONSE-BYTES METADATA`.
struct RecordLog {
    lab: Lab,
}

impl Factory<AccessLogs> for RecordLog {
    fn schema(&self) -> Schema {
        Schema::object()
    }

    fn parse(&self, config: &Node) -> Result<Arc<dyn Parsed<AccessLogs>>, ParseError> {
        if !config.is_null() {
            config.as_fields()?.finish()?;
        }
        Ok(Arc::new(Self {
            lab: self.lab.clone(),
        }))
    }
}

impl Parsed<AccessLogs> for RecordLog {
    fn prepare(&self, _context: PrepareContext) -> Prepare<AccessLogs> {
        let config: Arc<dyn AccessLogConfig> = Arc::new(Self {
            lab: self.lab.clone(),
        });
        Box::pin(std::future::ready(Ok(config)))
    }
}

impl AccessLogConfig for RecordLog {
    fn on_worker(&self, _worker: &mut Worker<'_>) -> Result<Rc<dyn AccessLogWorker>, BuildError> {
        Ok(Rc::new(Self {
            lab: self.lab.clone(),
        }))
    }
}

impl WorkerPart for RecordLog {}

impl AccessLogWorker for RecordLog {
    fn log(&self, record: &Record<'_>) {
        let names = [
            attribute::REQUEST_METHOD,
            attribute::REQUEST_PATH,
            attribute::RESPONSE_CODE,
            attribute::RESPONSE_FLAGS,
            attribute::RESPONSE_CODE_DETAILS,
            attribute::CLUSTER_NAME,
            attribute::ROUTE_NAME,
            attribute::REQUEST_SIZE,
            attribute::RESPONSE_SIZE,
        ];
        let mut line = String::from("log");
        for name in names {
            let value = record.attribute(name);
            line.push(' ');
            line.push_str(&value.map_or_else(|| "-".to_owned(), |value| value.to_string()));
        }
        let metadata = match record.metadata("test", "complete") {
            Some(MetadataValue::String(text)) => text.as_str(),
            _ => "-",
        };
        // A header of the response as it was sent, too.
        let tag = record.headers(HeaderMap::ResponseHeaders).get("x-tag");
        let tag = tag.map_or_else(|| "-".to_owned(), |tag| tag.to_string());
        self.lab.note(format!("{line} {metadata} {tag}"));
    }
}
