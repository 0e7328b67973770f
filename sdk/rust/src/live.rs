//! Streams and connections under way: the filter and what it sees, and how its callbacks are called.

use std::panic::AssertUnwindSafe;

use bytes::Bytes;
use transom_api::{
    Connection, DataVerdict, Direction, Event, FilterError, HeadersVerdict, NetworkFilter,
    NetworkVerdict, Stream, StreamFilter, StreamInstance, TrailersVerdict, Wants,
};

use crate::connection::RemoteConnection;
use crate::proto::v1::{Action, Field, ReplaceBody, action};
use crate::stream::RemoteStream;

/// A stream and its filter.
pub(crate) struct LiveStream {
    pub(crate) host: RemoteStream,
    instance: StreamInstance,
}

impl LiveStream {
    pub(crate) fn new(
        mut host: RemoteStream,
        make: impl FnOnce(&mut Stream<'_>) -> Result<StreamInstance, FilterError>,
    ) -> Self {
        let made = std::panic::catch_unwind(AssertUnwindSafe(|| make(&mut Stream::new(&mut host))));
        let instance = made.unwrap_or_else(|panic| Err(panicked(&*panic)));
        let instance = instance.unwrap_or_else(|error| {
            fail(&mut host, error);
            StreamInstance::Skip
        });
        Self { host, instance }
    }

    pub(crate) fn headers(&mut self, direction: Direction, fields: Vec<Field>, end: bool) -> i32 {
        self.host.headers_arrive(direction, fields, end);
        let verdict = match direction {
            Direction::Request if self.wants(Wants::REQUEST_HEADERS) => {
                self.call(|filter, stream| filter.request_headers(stream, end))
            }
            Direction::Response if self.wants(Wants::RESPONSE_HEADERS) => {
                self.call(|filter, stream| filter.response_headers(stream, end))
            }
            _ => HeadersVerdict::Continue,
        };
        if matches!(
            verdict,
            HeadersVerdict::Continue | HeadersVerdict::ContinueAndEndStream
        ) {
            self.host.release(direction);
        }
        verdict as i32
    }

    pub(crate) fn data(&mut self, direction: Direction, data: Bytes, end: bool) -> i32 {
        self.host.data_arrives(direction, data, end);
        let verdict = match direction {
            Direction::Request if self.wants(Wants::REQUEST_BODY) => {
                self.call(|filter, stream| filter.request_body(stream, end))
            }
            Direction::Response if self.wants(Wants::RESPONSE_BODY) => {
                self.call(|filter, stream| filter.response_body(stream, end))
            }
            _ => DataVerdict::Continue,
        };
        if let Some(data) = self.host.data_leaves(direction) {
            let action = action::Action::Body(ReplaceBody {
                direction: direction as i32,
                data,
            });
            self.host.later.ask(action);
        }
        if verdict == DataVerdict::Continue {
            self.host.release(direction);
        }
        verdict as i32
    }

    pub(crate) fn trailers(&mut self, direction: Direction, fields: Vec<Field>) -> i32 {
        self.host.trailers_arrive(direction, fields);
        let verdict = match direction {
            Direction::Request if self.wants(Wants::REQUEST_TRAILERS) => {
                self.call(|filter, stream| filter.request_trailers(stream))
            }
            Direction::Response if self.wants(Wants::RESPONSE_TRAILERS) => {
                self.call(|filter, stream| filter.response_trailers(stream))
            }
            _ => TrailersVerdict::Continue,
        };
        if verdict == TrailersVerdict::Continue {
            self.host.release(direction);
        }
        verdict as i32
    }

    pub(crate) fn event(&mut self, event: Event) {
        self.call(|filter, stream| filter.on_event(stream, event));
    }

    pub(crate) fn complete(&mut self) {
        if self.wants(Wants::COMPLETE) {
            self.call(|filter, stream| filter.on_stream_complete(stream));
        }
    }

    pub(crate) fn take_actions(&mut self) -> Vec<Action> {
        self.host.later.take_actions()
    }

    fn wants(&self, callback: Wants) -> bool {
        self.host.wants.contains(callback)
    }

    /// Calls the filter. One that failed is not called, and one that panics has failed.
    fn call<T: Default>(
        &mut self,
        callback: impl FnOnce(&mut dyn StreamFilter, &mut Stream<'_>) -> T,
    ) -> T {
        if self.host.failed {
            return T::default();
        }
        let Self { host, instance } = self;
        let called = std::panic::catch_unwind(AssertUnwindSafe(|| {
            let mut stream = Stream::new(host);
            match instance {
                StreamInstance::Own(filter) => callback(&mut **filter, &mut stream),
                StreamInstance::Shared(filter) => match filter.try_borrow_mut() {
                    Ok(mut filter) => callback(&mut *filter, &mut stream),
                    Err(_) => T::default(),
                },
                StreamInstance::Skip => T::default(),
            }
        }));
        called.unwrap_or_else(|panic| {
            fail(host, panicked(&*panic));
            T::default()
        })
    }
}

fn fail(host: &mut RemoteStream, error: FilterError) {
    use transom_api::host::FlowHost;
    host.fail(error);
}

/// A connection and its filter.
pub(crate) struct LiveConnection {
    pub(crate) host: RemoteConnection,
    filter: Option<Box<dyn NetworkFilter>>,
}

impl LiveConnection {
    pub(crate) fn new(
        mut host: RemoteConnection,
        make: impl FnOnce(&mut Connection<'_>) -> Result<Box<dyn NetworkFilter>, FilterError>,
    ) -> Self {
        let made =
            std::panic::catch_unwind(AssertUnwindSafe(|| make(&mut Connection::new(&mut host))));
        let filter = match made.unwrap_or_else(|panic| Err(panicked(&*panic))) {
            Ok(filter) => Some(filter),
            Err(error) => {
                fail_connection(&mut host, error);
                None
            }
        };
        Self { host, filter }
    }

    pub(crate) fn begin(&mut self) -> i32 {
        self.call(|filter, connection| filter.on_new_connection(connection)) as i32
    }

    pub(crate) fn bytes(&mut self, direction: Direction, data: Bytes, end: bool) -> i32 {
        self.host.bytes_arrive(direction, data);
        let verdict: NetworkVerdict = match direction {
            Direction::Request => self.call(|filter, connection| filter.on_data(connection, end)),
            Direction::Response => self.call(|filter, connection| filter.on_write(connection, end)),
        };
        verdict as i32
    }

    pub(crate) fn event(&mut self, event: Event) {
        self.call(|filter, connection| filter.on_event(connection, event));
    }

    pub(crate) fn closed(&mut self, by: transom_api::ResetReason) {
        self.call(|filter, connection| filter.on_close(connection, by));
    }

    fn call<T: Default>(
        &mut self,
        callback: impl FnOnce(&mut dyn NetworkFilter, &mut Connection<'_>) -> T,
    ) -> T {
        let Self { host, filter } = self;
        let Some(filter) = filter.as_mut().filter(|_| !host.failed) else {
            return T::default();
        };
        let called = std::panic::catch_unwind(AssertUnwindSafe(|| {
            callback(&mut **filter, &mut Connection::new(host))
        }));
        called.unwrap_or_else(|panic| {
            fail_connection(host, panicked(&*panic));
            T::default()
        })
    }
}

fn fail_connection(host: &mut RemoteConnection, error: FilterError) {
    use transom_api::host::ConnectionFlowHost;
    host.fail(error);
}

fn panicked(panic: &(dyn std::any::Any + Send)) -> FilterError {
    let text = match (panic.downcast_ref::<&str>(), panic.downcast_ref::<String>()) {
        (Some(text), _) => *text,
        (_, Some(text)) => text,
        _ => "a value that is no text",
    };
    FilterError::broken(format!("the filter panicked: {text}"))
}
