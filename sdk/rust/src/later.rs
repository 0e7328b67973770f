//! What streams and connections ask for besides their messages: what is known, what comes later, what is recorded. It becomes actions.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc::UnboundedSender;
use transom_api::event::{Address, Inbox, Message};
use transom_api::{
    Attribute, CalloutError, CalloutId, CalloutResponse, Event, FilterState, GrpcCall, HttpCall,
    Level, MetadataValue, Resumer, SharedData, TimerId,
};

use crate::proto::v1::{self, Action, Field, action};
use crate::shared::Asked;

/// What one worker's filters share.
#[derive(Clone)]
pub(crate) struct Around {
    /// Where resumers post.
    pub(crate) inbox: Arc<Posts>,
    /// Data of the plugin's process: what is read at once cannot be the host's.
    pub(crate) shared: SharedData,
    /// Lines below this level are not sent.
    pub(crate) level: Level,
}

/// What was posted to a worker's filters.
pub(crate) struct Posts(pub(crate) UnboundedSender<(Address, Posted)>);

/// A post.
pub(crate) enum Posted {
    /// By a resumer.
    Message(Message),
    /// A timer of a worker's part.
    Timer(TimerId),
}

impl Inbox for Posts {
    fn post(&self, to: Address, message: Message) {
        // A worker that is gone takes no more posts, and need not.
        let _ = self.0.send((to, Posted::Message(message)));
    }
}

/// One stream's or connection's share.
pub(crate) struct Later {
    pub(crate) around: Around,
    pub(crate) address: Address,
    pub(crate) attributes: BTreeMap<String, Attribute<'static>>,
    /// What the filter asked for since the last answer. Logs and metrics come by a shared reference.
    pub(crate) actions: RefCell<Vec<Action>>,
    clusters: Rc<[String]>,
    metadata: BTreeMap<String, BTreeMap<String, MetadataValue>>,
    filter_state: FilterState,
    connection_state: FilterState,
    shared: Option<Rc<RefCell<Vec<Asked>>>>,
    last_id: u64,
    /// A resumer was given away.
    lent: Cell<bool>,
}

/// The key under which a stream's state keeps what it asks of the host's shared data.
pub(crate) const SHARED: &str = "transom.sdk.shared";

impl Later {
    pub(crate) fn new(around: Around, address: Address, clusters: Rc<[String]>) -> Self {
        Self {
            around,
            address,
            clusters,
            attributes: BTreeMap::new(),
            actions: RefCell::default(),
            metadata: BTreeMap::new(),
            filter_state: FilterState::default(),
            connection_state: FilterState::default(),
            shared: None,
            last_id: 0,
            lent: Cell::new(false),
        }
    }

    pub(crate) fn learn(&mut self, attributes: impl IntoIterator<Item = (String, v1::Value)>) {
        for (name, value) in attributes {
            if let Some(value) = crate::value::attribute(&value) {
                self.attributes.insert(name, value);
            }
        }
    }

    pub(crate) fn ask(&self, action: action::Action) {
        self.actions.borrow_mut().push(Action {
            action: Some(action),
        });
    }

    /// All that was asked for, in its order.
    pub(crate) fn take_actions(&mut self) -> Vec<Action> {
        if let Some(asked) = &self.shared {
            for asked in asked.borrow_mut().drain(..) {
                self.actions.borrow_mut().push(asked.action());
            }
        }
        self.actions.take()
    }

    pub(crate) fn filter_state(&mut self) -> &mut FilterState {
        if self.shared.is_none() {
            let asked: Rc<RefCell<Vec<Asked>>> = Rc::default();
            self.filter_state.set(SHARED, Rc::clone(&asked));
            self.shared = Some(asked);
        }
        &mut self.filter_state
    }

    pub(crate) fn connection_state(&mut self) -> &mut FilterState {
        &mut self.connection_state
    }

    pub(crate) fn metadata(&self, namespace: &str) -> Option<&BTreeMap<String, MetadataValue>> {
        self.metadata.get(namespace)
    }

    pub(crate) fn set_metadata(&mut self, namespace: &str, key: &str, value: MetadataValue) {
        self.ask(action::Action::Metadata(v1::SetMetadata {
            namespace: namespace.to_owned(),
            key: key.to_owned(),
            value: Some(crate::value::to_wire(&value)),
        }));
        self.metadata
            .entry(namespace.to_owned())
            .or_default()
            .insert(key.to_owned(), value);
    }

    /// Whether nothing can come that the filter has asked for.
    pub(crate) fn is_quiet(&self) -> bool {
        self.last_id == 0 && self.shared.is_none() && !self.lent.get()
    }

    pub(crate) fn resumer(&self) -> Resumer {
        self.lent.set(true);
        let inbox: Arc<Posts> = Arc::clone(&self.around.inbox);
        Resumer::new(inbox, self.address)
    }

    pub(crate) fn set_timer(&mut self, after: Duration) -> TimerId {
        self.last_id += 1;
        self.ask(action::Action::Timer(v1::SetTimer {
            timer: self.last_id,
            after_ms: milliseconds(after),
        }));
        TimerId(self.last_id)
    }

    pub(crate) fn http_call(&mut self, call: HttpCall) -> Result<CalloutId, CalloutError> {
        let has = |name: &[u8]| call.headers.iter().any(|(other, _)| other == name);
        let complete = [&b":method"[..], b":path", b":authority"]
            .into_iter()
            .all(has);
        let callout = self.callout(&call.cluster, complete)?;
        self.ask(action::Action::HttpCall(v1::HttpCall {
            callout,
            cluster: call.cluster,
            headers: fields(call.headers),
            body: call.body.into(),
            trailers: fields(call.trailers),
            timeout_ms: call.timeout.map_or(0, milliseconds),
        }));
        Ok(CalloutId(callout))
    }

    pub(crate) fn grpc_call(&mut self, call: GrpcCall) -> Result<CalloutId, CalloutError> {
        let callout = self.callout(&call.cluster, true)?;
        self.ask(action::Action::GrpcCall(v1::GrpcCall {
            callout,
            cluster: call.cluster,
            service: call.service,
            method: call.method,
            metadata: fields(call.metadata),
            message: call.message.into(),
            timeout_ms: call.timeout.map_or(0, milliseconds),
        }));
        Ok(CalloutId(callout))
    }

    /// The number of the next callout, if it may go to this cluster.
    fn callout(&mut self, cluster: &str, complete: bool) -> Result<u64, CalloutError> {
        if !self.clusters.iter().any(|allowed| allowed == cluster) {
            return Err(CalloutError::NotAllowed);
        }
        if !complete {
            return Err(CalloutError::BadRequest);
        }
        self.last_id += 1;
        Ok(self.last_id)
    }

    pub(crate) fn count(&self, metric: transom_api::metrics::MetricId, amount: i64) {
        self.ask(action::Action::Metric(v1::CountMetric {
            metric: metric.0,
            amount,
        }));
    }

    pub(crate) fn log(&self, level: Level, message: &str) {
        if level >= self.around.level {
            self.ask(action::Action::Log(v1::Log {
                level: level as i32,
                message: message.to_owned(),
            }));
        }
    }
}

/// An event as the interface has it. `None` for one that this revision does not know.
pub(crate) fn event(event: v1::Event) -> Option<Event> {
    Some(match event.event? {
        v1::event::Event::Timer(timer) => Event::Timer(TimerId(timer)),
        v1::event::Event::Callout(done) => Event::Callout(transom_api::CalloutDone {
            id: CalloutId(done.callout),
            result: match done.result? {
                v1::callout_done::Result::Response(response) => Ok(CalloutResponse {
                    headers: pairs(response.headers),
                    body: response.body.into(),
                    trailers: pairs(response.trailers),
                }),
                v1::callout_done::Result::Error(error) => Err(callout_error(error)),
            },
        }),
        v1::event::Event::Watermark(watermark) => Event::Watermark {
            direction: direction(watermark.direction),
            above: watermark.above,
        },
        v1::event::Event::Shared(result) => Event::Resumed(Message {
            token: crate::shared::TOKEN,
            payload: Some(Box::new(crate::shared::SharedResult::from(result))),
        }),
        v1::event::Event::Drain(_) => Event::Drain,
    })
}

fn callout_error(number: i32) -> CalloutError {
    match v1::CalloutError::try_from(number) {
        Ok(v1::CalloutError::NotAllowed) => CalloutError::NotAllowed,
        Ok(v1::CalloutError::NoCluster) => CalloutError::NoCluster,
        Ok(v1::CalloutError::Unsupported) => CalloutError::Unsupported,
        Ok(v1::CalloutError::BadRequest) => CalloutError::BadRequest,
        Ok(v1::CalloutError::CalloutTimeout) => CalloutError::Timeout,
        Ok(v1::CalloutError::Reset) => CalloutError::Reset,
        Ok(v1::CalloutError::TooLarge) => CalloutError::TooLarge,
        Ok(v1::CalloutError::Unavailable | v1::CalloutError::Unspecified) | Err(_) => {
            CalloutError::Unavailable
        }
    }
}

pub(crate) fn direction(number: i32) -> transom_api::Direction {
    if number == v1::Direction::Response as i32 {
        transom_api::Direction::Response
    } else {
        transom_api::Direction::Request
    }
}

pub(crate) fn reset_reason(number: i32) -> transom_api::ResetReason {
    use transom_api::ResetReason;
    match v1::ResetReason::try_from(number) {
        Ok(v1::ResetReason::Downstream) => ResetReason::Downstream,
        Ok(v1::ResetReason::Upstream) => ResetReason::Upstream,
        Ok(v1::ResetReason::Timeout) => ResetReason::Timeout,
        Ok(v1::ResetReason::Local) | Err(_) => ResetReason::Local,
    }
}

fn fields(pairs: Vec<(Vec<u8>, Vec<u8>)>) -> Vec<Field> {
    let field = |(name, value): (Vec<u8>, Vec<u8>)| Field {
        name: name.into(),
        value: value.into(),
    };
    pairs.into_iter().map(field).collect()
}

fn pairs(fields: Vec<Field>) -> Vec<(Vec<u8>, Vec<u8>)> {
    let pair = |field: Field| (Vec::from(field.name), Vec::from(field.value));
    fields.into_iter().map(pair).collect()
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// What an answer costs of the host's credit, in bytes.
pub(crate) fn cost(actions: &[Action]) -> u64 {
    use action::Action as A;
    let bytes = |action: &Action| match &action.action {
        Some(A::Body(body)) => body.data.len(),
        Some(A::Inject(inject)) => inject.data.len(),
        Some(A::LocalReply(reply)) => reply.body.len(),
        Some(A::HttpCall(call)) => call.body.len(),
        Some(A::GrpcCall(call)) => call.message.len(),
        Some(A::Shared(shared)) => match &shared.operation {
            Some(v1::shared::Operation::Set(set)) => set.value.as_ref().map_or(0, Bytes::len),
            _ => 0,
        },
        _ => 0,
    };
    actions.iter().map(|action| bytes(action) as u64).sum()
}

/// Implements the host traits that need nothing but a field `later`; the host has `fn own_attribute` for what it knows by itself.
macro_rules! later_hosts {
    ($host:ty) => {
        impl transom_api::host::RecordHost for $host {
            fn log_enabled(&self, level: transom_api::Level) -> bool {
                level >= self.later.around.level
            }

            fn log(&self, level: transom_api::Level, message: &str) {
                self.later.log(level, message);
            }

            fn add_metric(&self, metric: transom_api::metrics::MetricId, amount: i64) {
                self.later.count(metric, amount);
            }

            /// Is known to the host only.
            fn metric(&self, _metric: transom_api::metrics::MetricId) -> i64 {
                0
            }

            fn observe_metric(
                &self,
                metric: transom_api::metrics::MetricId,
                duration: std::time::Duration,
            ) {
                let nanoseconds = i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX);
                self.later.count(metric, nanoseconds);
            }

            fn observe_value(&self, metric: transom_api::metrics::MetricId, value: u64) {
                self.later
                    .count(metric, i64::try_from(value).unwrap_or(i64::MAX));
            }

            fn shared(&self) -> &transom_api::SharedData {
                &self.later.around.shared
            }
        }

        impl transom_api::host::AsyncHost for $host {
            fn resumer(&mut self) -> transom_api::Resumer {
                self.later.resumer()
            }

            fn set_timer(&mut self, after: std::time::Duration) -> transom_api::TimerId {
                self.later.set_timer(after)
            }

            fn cancel_timer(&mut self, timer: transom_api::TimerId) {
                self.later
                    .ask(crate::proto::v1::action::Action::CancelTimer(timer.0));
            }

            fn http_call(
                &mut self,
                call: transom_api::HttpCall,
            ) -> Result<transom_api::CalloutId, transom_api::CalloutError> {
                self.later.http_call(call)
            }

            fn grpc_call(
                &mut self,
                call: transom_api::GrpcCall,
            ) -> Result<transom_api::CalloutId, transom_api::CalloutError> {
                self.later.grpc_call(call)
            }

            fn cancel_callout(&mut self, callout: transom_api::CalloutId) {
                self.later
                    .ask(crate::proto::v1::action::Action::CancelCallout(callout.0));
            }
        }

        impl transom_api::host::InfoHost for $host {
            fn attribute(&self, name: &str) -> Option<transom_api::Attribute<'_>> {
                match self.later.attributes.get(name) {
                    Some(value) => Some(value.clone()),
                    None => self.own_attribute(name),
                }
            }

            fn metadata(&self, namespace: &str, key: &str) -> Option<&transom_api::MetadataValue> {
                self.later.metadata(namespace)?.get(key)
            }

            fn metadata_namespace(
                &self,
                namespace: &str,
            ) -> Option<&std::collections::BTreeMap<String, transom_api::MetadataValue>> {
                self.later.metadata(namespace)
            }

            fn set_metadata(
                &mut self,
                namespace: &str,
                key: &str,
                value: transom_api::MetadataValue,
            ) {
                self.later.set_metadata(namespace, key, value);
            }

            fn add_response_flags(&mut self, flags: transom_api::ResponseFlags) {
                for letters in flags.letters() {
                    self.later
                        .ask(crate::proto::v1::action::Action::ResponseFlag(
                            letters.to_owned(),
                        ));
                }
            }

            fn filter_state(&mut self) -> &mut transom_api::FilterState {
                self.later.filter_state()
            }

            fn connection_state(&mut self) -> &mut transom_api::FilterState {
                self.later.connection_state()
            }
        }
    };
}

pub(crate) use later_hosts;
