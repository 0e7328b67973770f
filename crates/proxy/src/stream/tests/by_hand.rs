//! Chains that are built by hand, and one direction of a stream as its driver sees it.

use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use transom_api::stream::{StreamFilterConfig, StreamFilterWorker};
use transom_api::{
    BuildError, Direction, Event, FailurePolicy, FilterError, Message, Phase, SharedData,
    Stream as FilterContext, StreamFilter, StreamInstance, Wants, Worker as WorkerView, WorkerPart,
};
use transom_config::{
    ForwardClientCertificate, HalfClose, HeaderEdits, HttpTimeouts, LocalReplyOptions, PathMatch,
    PathOptions, Treatment,
};
use transom_http1::Limits;

use crate::cluster::testing::cluster;
use crate::cluster::{AllowedClusters, ClusterId};
use crate::http::head::{Presence, Pseudo};
use crate::http::{HttpListener, HttpMetrics, HttpOptions};
use crate::metrics::MetricStore;
use crate::router::action::{Action, Forward};
use crate::router::matcher::{Matcher, PatternsBuilder};
use crate::router::{FilterOverrides, Route, RouteTable, Routes, VirtualHost};
use crate::shared::SharedStore;
use crate::stream::Stream;
use crate::stream::chain::{Chain, Generation, Place};
use crate::stream::info::ConnectionInfo;
use crate::stream::side::End;
use crate::worker::Worker;
use crate::worker::inbox::WorkerInbox;

pub(super) const BOTH: [Direction; 2] = [Direction::Request, Direction::Response];
pub(super) const WATERMARK: usize = 64;

pub(super) type MakeFilter = Rc<dyn Fn() -> Box<dyn StreamFilter>>;

/// A filter of a chain that is built by hand.
pub(super) struct Part {
    pub(super) name: &'static str,
    pub(super) wants: Wants,
    pub(super) make: MakeFilter,
}

struct Config(Wants);

impl StreamFilterConfig for Config {
    fn wants(&self) -> Wants {
        self.0
    }

    fn on_worker(
        &self,
        _worker: &mut WorkerView<'_>,
    ) -> Result<Rc<dyn StreamFilterWorker>, BuildError> {
        Err(BuildError::new("built by hand"))
    }
}

struct Maker(MakeFilter);

impl WorkerPart for Maker {}

impl StreamFilterWorker for Maker {
    fn stream(&self, _stream: &mut FilterContext<'_>) -> Result<StreamInstance, FilterError> {
        Ok(StreamInstance::Own((self.0)()))
    }
}

fn generation(worker: &Rc<Worker>, wants: Wants, maker: Rc<dyn StreamFilterWorker>) -> Generation {
    let part =
        crate::worker::Part::build(worker, &AllowedClusters::default(), |_| Ok(maker)).unwrap();
    Generation::new(1, Arc::new(Config(wants)), AllowedClusters::default(), part)
}

/// A stream through these filters, to the one host of a cluster; responses pass them in the same order.
fn stream(parts: Vec<Part>) -> Stream {
    let metrics = MetricStore::new(1);
    let define = metrics.metrics();
    let counter = define.counter("a_total", "For tests.", &[]).unwrap();
    let (inbox, _) = WorkerInbox::new();
    let shared = SharedData::new(Arc::new(SharedStore::new()));
    let worker = Rc::new(Worker::new(
        0,
        1,
        Arc::clone(&metrics),
        shared,
        inbox,
        counter,
    ));
    worker.put_cluster(cluster(1));
    let places = parts.into_iter().map(|part| {
        let maker: Rc<dyn StreamFilterWorker> = Rc::new(Maker(part.make));
        let generation = Rc::new(generation(&worker, part.wants, maker));
        let policy = FailurePolicy::Closed;
        let place = Place::new(
            part.name,
            Phase::BeforeRoute,
            policy,
            None,
            AllowedClusters::default(),
            vec![generation],
        );
        Rc::new(place)
    });
    let listener = Rc::new(HttpListener {
        protocol: None,
        chain: Rc::new(Chain::new(places.collect(), Vec::new(), false)),
        table: Rc::new(Routes::new(&Arc::new(table()))),
        options: Rc::new(HttpOptions {
            limits: Limits::default(),
            request_body: None,
            timeouts: HttpTimeouts {
                header: Duration::ZERO,
                body_idle: Duration::ZERO,
                write_idle: Duration::ZERO,
                idle: Duration::ZERO,
                stream: Duration::ZERO,
                tunnel_idle: Duration::ZERO,
            },
            metrics: HttpMetrics {
                requests: [counter; 6],
                active: define.gauge("a", "For tests.", &[]).unwrap(),
                duration: define.histogram("a_seconds", "For tests.", &[]).unwrap(),
                tunnels: define.gauge("b", "For tests.", &[]).unwrap(),
            },
            upgrades: Vec::new(),
            half_close: HalfClose::Serve,
        }),
        local_reply: LocalReplyOptions {
            upstream_unavailable: 502,
            echo_request_headers: false,
        },
        paths: PathOptions {
            escaped_slashes: Treatment::Keep,
            dot_segments: Treatment::Normalise,
            merge_slashes: false,
        },
        forward_client_certificate: ForwardClientCertificate::Forward,
        hop: Arc::default(),
        watermark: WATERMARK,
    });
    let mut connection = Rc::new(ConnectionInfo::new(1, Rc::from("test")));
    let mut stream = Stream::new(worker, Rc::clone(&listener));
    stream.begin(&mut connection, &listener, Instant::now());
    let head = &mut stream.core_mut().request.head;
    head.set_presence(Presence::Here);
    head.set_pseudo(Pseudo::Method, b"POST");
    head.set_pseudo(Pseudo::Path, b"/");
    head.set_pseudo(Pseudo::Authority, b"test");
    stream
}

fn table() -> RouteTable {
    let mut patterns = PatternsBuilder::default();
    let all = PathMatch::Prefix("/".to_owned());
    let clusters = [(1, ClusterId(0))];
    let route = Route {
        name: None,
        matcher: Matcher::new(&all.into(), &mut patterns),
        action: Action::Forward(Forward::new(clusters.into_iter(), None, None)),
        request_headers: HeaderEdits::default(),
        response_headers: HeaderEdits::default(),
        timeout: None,
        metadata: transom_api::Metadata::new(),
        filters: FilterOverrides::new(),
    };
    let host = VirtualHost::new("any".to_owned(), vec![route], FilterOverrides::new());
    let hosts = vec![(host, vec!["*".to_owned()])];
    RouteTable::new("t".to_owned(), hosts, patterns.finish())
}

/// One direction of a stream as its driver sees it.
pub(super) struct Side {
    pub(super) stream: Stream,
    pub(super) direction: Direction,
    head_left: bool,
    end_left: bool,
}

impl Side {
    pub(super) fn new(direction: Direction, parts: Vec<Part>) -> Self {
        let mut stream = stream(parts);
        if direction == Direction::Response {
            stream.request_head(true);
            let head = &mut stream.core_mut().response.head;
            head.set_presence(Presence::Here);
            head.set_pseudo(Pseudo::Status, b"200");
        }
        Self {
            stream,
            direction,
            head_left: false,
            end_left: false,
        }
    }

    /// The other side of the same stream.
    pub(super) fn response(self) -> Self {
        Self {
            stream: self.stream,
            direction: Direction::Response,
            head_left: false,
            end_left: false,
        }
    }

    pub(super) fn head(&mut self, end: bool) {
        match self.direction {
            Direction::Request => self.stream.request_head(end),
            Direction::Response => self.stream.response_head(end),
        }
    }

    pub(super) fn data(&mut self, bytes: &[u8], end: bool) {
        let bytes = Bytes::copy_from_slice(bytes);
        self.stream.data(self.direction, bytes, end);
    }

    pub(super) fn trailers(&mut self) {
        let message = self.stream.outgoing(self.direction).message;
        message.trailers.set_presence(Presence::Here);
        message.trailers.push_own(b"x-end", b"1");
        self.stream.trailers(self.direction);
    }

    pub(super) fn resume(&mut self, filter: usize) {
        self.stream
            .event(filter, Event::Resumed(Message::default()));
    }

    /// What has left the chain since the last look, in words. Panics when it left in a wrong order.
    pub(super) fn left(&mut self) -> Vec<String> {
        let mut left = Vec::new();
        let side = &mut self.stream.outgoing(self.direction).message.side;
        if side.released && !std::mem::replace(&mut self.head_left, true) {
            left.push("head".to_owned());
        }
        while let Some(chunk) = side.out.pop() {
            assert!(self.head_left && !self.end_left, "data out of order");
            left.push(String::from_utf8_lossy(&chunk).into_owned());
        }
        if let Some(end) = side.out_end
            && self.head_left
            && !std::mem::replace(&mut self.end_left, true)
        {
            left.push(match end {
                End::Plain => "end".to_owned(),
                End::Trailers => "trailers".to_owned(),
            });
        }
        left
    }
}

/// Makes a filter that does the same in both directions.
macro_rules! in_both_directions {
    ($filter:ty) => {
        impl StreamFilter for $filter {
            fn request_headers(&mut self, _: &mut FilterContext<'_>, end: bool) -> HeadersVerdict {
                self.on_headers(end)
            }
            fn request_body(&mut self, stream: &mut FilterContext<'_>, end: bool) -> DataVerdict {
                self.on_data(stream, Direction::Request, end)
            }
            fn request_trailers(&mut self, _: &mut FilterContext<'_>) -> TrailersVerdict {
                self.on_trailers()
            }
            fn response_headers(&mut self, _: &mut FilterContext<'_>, end: bool) -> HeadersVerdict {
                self.on_headers(end)
            }
            fn response_body(&mut self, stream: &mut FilterContext<'_>, end: bool) -> DataVerdict {
                self.on_data(stream, Direction::Response, end)
            }
            fn response_trailers(&mut self, _: &mut FilterContext<'_>) -> TrailersVerdict {
                self.on_trailers()
            }
            fn on_event(&mut self, stream: &mut FilterContext<'_>, _event: Event) {
                stream.continue_request();
                stream.continue_response();
            }
        }
    };
}

pub(super) use in_both_directions;
