//! A plugin's actions, carried out by the interface's own means. What belongs to streams or connections alone is with those.

use std::time::Duration;

use transom_api::metrics::MetricId;
use transom_api::{
    CalloutError, CalloutId, Connection, Counter, Distribution, Gauge, GrpcCall, HeaderError,
    HeaderMap, Histogram, HttpCall, Level, LocalReply, MetadataValue, ResponseFlags, SharedData,
    SharedError, Stream, TimerId, Worker,
};

use super::pool;
use super::wire::Shared;
use crate::v1::metric::Type;
use crate::v1::{self, Action, action, shared, value};

/// What every context can do.
pub(super) trait Records {
    fn log(&self, level: Level, message: &str);
    fn add(&self, metric: (Type, MetricId), amount: i64);
    fn shared(&self) -> &SharedData;
}

/// What contexts of streams and connections can do besides.
pub(super) trait Around: Records {
    fn set_metadata(&mut self, namespace: &str, key: &str, value: MetadataValue);
    fn add_response_flags(&mut self, flags: ResponseFlags);
    fn set_timer(&mut self, after: Duration) -> TimerId;
    fn cancel_timer(&mut self, timer: TimerId);
    fn http_call(&mut self, call: HttpCall) -> Result<CalloutId, CalloutError>;
    fn grpc_call(&mut self, call: GrpcCall) -> Result<CalloutId, CalloutError>;
    fn cancel_callout(&mut self, callout: CalloutId);
}

macro_rules! records {
    ($($context:ident),*) => {$(
        impl Records for $context<'_> {
            fn log(&self, level: Level, message: &str) {
                $context::log(self, level, message);
            }

            fn add(&self, (kind, id): (Type, MetricId), amount: i64) {
                let size = u64::try_from(amount).unwrap_or(0);
                match kind {
                    Type::Counter => self.count(Counter(id), u32::try_from(size).unwrap_or(u32::MAX)),
                    Type::Gauge => self.add_gauge(Gauge(id), amount),
                    Type::Histogram => self.observe(Histogram(id), Duration::from_nanos(size)),
                    Type::Distribution => self.observe_value(Distribution(id), size),
                }
            }

            fn shared(&self) -> &SharedData {
                $context::shared(self)
            }
        }
    )*};
}
records!(Stream, Connection, Worker);

macro_rules! around {
    ($($context:ident),*) => {$(
        impl Around for $context<'_> {
            fn set_metadata(&mut self, namespace: &str, key: &str, value: MetadataValue) {
                $context::set_metadata(self, namespace, key, value);
            }

            fn add_response_flags(&mut self, flags: ResponseFlags) {
                $context::add_response_flags(self, flags);
            }

            fn set_timer(&mut self, after: Duration) -> TimerId {
                $context::set_timer(self, after)
            }

            fn cancel_timer(&mut self, timer: TimerId) {
                $context::cancel_timer(self, timer);
            }

            fn http_call(&mut self, call: HttpCall) -> Result<CalloutId, CalloutError> {
                $context::http_call(self, call)
            }

            fn grpc_call(&mut self, call: GrpcCall) -> Result<CalloutId, CalloutError> {
                $context::grpc_call(self, call)
            }

            fn cancel_callout(&mut self, callout: CalloutId) {
                $context::cancel_callout(self, callout);
            }
        }
    )*};
}
around!(Stream, Connection);

/// Timers and callouts that a plugin has under way, by its own numbers.
#[derive(Debug, Default)]
pub(super) struct UnderWay {
    timers: Vec<(u64, TimerId)>,
    callouts: Vec<(u64, CalloutId)>,
}

/// What the plugin is to be told at once of an action.
pub(super) enum Told {
    Callout(u64, CalloutError),
    Shared(String, Shared),
}

/// Why an action cannot be carried out: the plugin is at fault.
pub(super) type Fault = String;

impl UnderWay {
    /// The plugin's number of a timer that has run out.
    pub(super) fn timer(&mut self, timer: TimerId) -> Option<u64> {
        take(&mut self.timers, |id| *id == timer)
    }

    /// The plugin's number of a callout that has ended.
    pub(super) fn callout(&mut self, callout: CalloutId) -> Option<u64> {
        take(&mut self.callouts, |id| *id == callout)
    }

    /// Carries out an action that streams and connections have in common. It is given back if it is none of those.
    pub(super) fn carry_out(
        &mut self,
        context: &mut impl Around,
        pool: &pool::Shared,
        action: action::Action,
        told: &mut Vec<Told>,
    ) -> Result<Option<action::Action>, Fault> {
        match action {
            action::Action::Metadata(it) => {
                let value = it.value.map_or(MetadataValue::Null, metadata);
                context.set_metadata(&it.namespace, &it.key, value);
            }
            action::Action::Timer(it) => {
                if let Some(before) = number(&mut self.timers, it.timer) {
                    context.cancel_timer(before);
                }
                let id = context.set_timer(Duration::from_millis(it.after_ms));
                self.timers.push((it.timer, id));
            }
            action::Action::CancelTimer(timer) => {
                if let Some(id) = number(&mut self.timers, timer) {
                    context.cancel_timer(id);
                }
            }
            action::Action::HttpCall(it) => {
                let call = HttpCall {
                    cluster: it.cluster,
                    headers: pairs(it.headers),
                    body: it.body.to_vec(),
                    trailers: pairs(it.trailers),
                    timeout: timeout(it.timeout_ms),
                };
                self.started(it.callout, context.http_call(call), told);
            }
            action::Action::GrpcCall(it) => {
                let call = GrpcCall {
                    cluster: it.cluster,
                    service: it.service,
                    method: it.method,
                    metadata: pairs(it.metadata),
                    message: it.message.to_vec(),
                    timeout: timeout(it.timeout_ms),
                };
                self.started(it.callout, context.grpc_call(call), told);
            }
            action::Action::CancelCallout(callout) => {
                if let Some(id) = number(&mut self.callouts, callout) {
                    context.cancel_callout(id);
                }
            }
            action::Action::ResponseFlag(letters) => {
                let flags = ResponseFlags::from_letters(&letters)
                    .ok_or_else(|| format!("there is no response flag `{letters}`"))?;
                context.add_response_flags(flags);
            }
            other => return recorded(context, pool, other, told),
        }
        Ok(None)
    }

    fn started(
        &mut self,
        callout: u64,
        outcome: Result<CalloutId, CalloutError>,
        told: &mut Vec<Told>,
    ) {
        match outcome {
            Ok(id) => self.callouts.push((callout, id)),
            Err(error) => told.push(Told::Callout(callout, error)),
        }
    }
}

/// Carries out what needs no stream. It is given back if it is something else.
fn recorded(
    context: &impl Records,
    pool: &pool::Shared,
    action: action::Action,
    told: &mut Vec<Told>,
) -> Result<Option<action::Action>, Fault> {
    match action {
        action::Action::Log(it) => {
            let level = *usize::try_from(it.level)
                .ok()
                .and_then(|level| Level::ALL.get(level))
                .ok_or_else(|| format!("there is no log level {}", it.level))?;
            context.log(level, &it.message);
        }
        action::Action::Metric(it) => {
            let metric = pool
                .metrics
                .get(it.metric as usize)
                .ok_or_else(|| format!("it has not asked for a metric {}", it.metric))?;
            context.add(*metric, it.amount);
        }
        action::Action::Shared(it) => match it.operation {
            Some(shared::Operation::Get(key)) => {
                let value = context.shared().get(&key);
                let result = Shared {
                    value: value.map(|value| (value.bytes.to_vec(), value.version)),
                    done: true,
                };
                told.push(Told::Shared(key, result));
            }
            Some(shared::Operation::Set(set)) => {
                let (key, result) = set_shared(context.shared(), set);
                told.push(Told::Shared(key, result));
            }
            None => {
                return Err("an operation on shared data that this host does not know".to_owned());
            }
        },
        other => return Ok(Some(other)),
    }
    Ok(None)
}

/// Sets a value, or removes it, and tells whether it did.
fn set_shared(data: &SharedData, set: v1::SharedSet) -> (String, Shared) {
    let key = set.key;
    let outcome = match (&set.value, set.version) {
        (Some(value), None) => data.set(&key, value),
        (Some(value), Some(version)) => data.compare_and_set(&key, value, version),
        (None, None) => data.remove(&key),
        // The interface removes without looking; this much of a look is the same for a plugin.
        (None, Some(version)) if data.get(&key).map_or(0, |value| value.version) == version => {
            data.remove(&key)
        }
        (None, Some(_)) => Err(SharedError::Changed),
    };
    let result = Shared {
        value: None,
        done: outcome.is_ok(),
    };
    (key, result)
}

/// Carries out what is left of a stream that is over.
pub(super) fn record(worker: &Worker<'_>, pool: &pool::Shared, action: Action) {
    if let Some(action) = action.action
        && let Err(why) = recorded(worker, pool, action, &mut Vec::new())
    {
        let plugin = pool.used.plugin.name();
        worker.log(Level::Warn, &format!("the plugin `{plugin}`: {why}"));
    }
}

/// Changes a header map. Fields that are not the plugin's to change are told in the log and left.
pub(super) fn change_fields(
    stream: &mut Stream<'_>,
    change: &v1::ChangeFields,
) -> Result<(), Fault> {
    let map = match v1::HeaderMap::try_from(change.map) {
        Ok(v1::HeaderMap::RequestHeaders) => HeaderMap::RequestHeaders,
        Ok(v1::HeaderMap::RequestTrailers) => HeaderMap::RequestTrailers,
        Ok(v1::HeaderMap::ResponseHeaders) => HeaderMap::ResponseHeaders,
        Ok(v1::HeaderMap::ResponseTrailers) => HeaderMap::ResponseTrailers,
        Err(_) => return Err(format!("there is no header map {}", change.map)),
    };
    let name = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let mut refused = Vec::new();
    let mut headers = stream.headers_mut(map);
    for removed in &change.remove {
        if let Err(error) = headers.remove(&name(removed)) {
            refused.push((name(removed), error));
        }
    }
    // A field that cannot be is not there.
    refused.retain(|(_, error)| *error != HeaderError::InvalidName);
    for field in &change.set {
        if let Err(error) = headers.set(&name(&field.name), &field.value) {
            refused.push((name(&field.name), error));
        }
    }
    for field in &change.add {
        if let Err(error) = headers.add(&name(&field.name), &field.value) {
            refused.push((name(&field.name), error));
        }
    }
    for (name, error) in refused {
        // Whatever it meant to say stands nowhere now, and what a client sent under that name may stand there still.
        if let HeaderError::InvalidName | HeaderError::InvalidValue = error {
            return Err(format!("it set the field {name:?}: {error}"));
        }
        stream.log(
            Level::Warn,
            &format!("the field {name:?} was not changed: {error}"),
        );
    }
    Ok(())
}

/// An answer of the plugin's own.
pub(super) fn local_reply(reply: v1::LocalReply) -> Result<LocalReply, Fault> {
    let status = u16::try_from(reply.status)
        .ok()
        .filter(|status| (200..=599).contains(status))
        .ok_or_else(|| format!("a local reply with the status {}", reply.status))?;
    let mut made = LocalReply::new(status).body(reply.body.to_vec());
    for field in reply.headers {
        let name = String::from_utf8(field.name.to_vec())
            .map_err(|_| "a local reply with a field whose name is no text".to_owned())?;
        made = made.header(name, &field.value);
    }
    if !reply.details.is_empty() {
        made = made.details(reply.details);
    }
    if let Some(status) = reply.grpc_status {
        made = made.grpc_status(status);
    }
    Ok(made)
}

fn metadata(value: v1::Value) -> MetadataValue {
    match value.kind {
        None => MetadataValue::Null,
        Some(value::Kind::Boolean(it)) => MetadataValue::Bool(it),
        Some(value::Kind::Integer(it)) => MetadataValue::Number(it as f64),
        Some(value::Kind::Number(it)) => MetadataValue::Number(it),
        Some(value::Kind::Text(it)) => MetadataValue::String(it),
        Some(value::Kind::Bytes(it)) => {
            MetadataValue::String(String::from_utf8_lossy(&it).into_owned())
        }
        Some(value::Kind::List(it)) => {
            MetadataValue::List(it.values.into_iter().map(metadata).collect())
        }
        Some(value::Kind::Map(it)) => {
            let values = it.values.into_iter();
            MetadataValue::Struct(values.map(|(key, value)| (key, metadata(value))).collect())
        }
    }
}

fn pairs(fields: Vec<v1::Field>) -> Vec<(Vec<u8>, Vec<u8>)> {
    let fields = fields.into_iter();
    fields
        .map(|field| (field.name.to_vec(), field.value.to_vec()))
        .collect()
}

fn timeout(milliseconds: u64) -> Option<Duration> {
    (milliseconds != 0).then(|| Duration::from_millis(milliseconds))
}

fn number<T>(list: &mut Vec<(u64, T)>, number: u64) -> Option<T> {
    let at = list.iter().position(|(known, _)| *known == number)?;
    Some(list.swap_remove(at).1)
}

fn take<T>(list: &mut Vec<(u64, T)>, is: impl Fn(&T) -> bool) -> Option<u64> {
    let at = list.iter().position(|(_, known)| is(known))?;
    Some(list.swap_remove(at).0)
}
