//! What happens later: timers, callouts and posts that the test brings to an end; and values beside the messages.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::FakeProcess;
use crate::callout::{CalloutError, CalloutId, GrpcCall, HttpCall};
use crate::event::{Address, Inbox, Message, Resumer, TimerId};
use crate::flags::ResponseFlags;
use crate::value::{Attribute, FilterState, MetadataValue};

/// A callout that waits for its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Callout {
    /// By HTTP.
    Http(HttpCall),
    /// By gRPC.
    Grpc(GrpcCall),
}

/// The part of a fake that all contexts have.
pub(super) struct Later {
    pub(super) process: FakeProcess,
    pub(super) clusters: Vec<String>,
    pub(super) timers: Vec<(TimerId, Duration)>,
    pub(super) callouts: Vec<(CalloutId, Callout)>,
    pub(super) attributes: BTreeMap<String, Attribute<'static>>,
    pub(super) metadata: BTreeMap<String, BTreeMap<String, MetadataValue>>,
    pub(super) flags: ResponseFlags,
    pub(super) filter_state: FilterState,
    pub(super) connection_state: FilterState,
    inbox: Arc<Queue>,
    now: Duration,
    last_id: u64,
}

#[derive(Default)]
struct Queue(Mutex<VecDeque<Message>>);

impl Inbox for Queue {
    fn post(&self, _to: Address, message: Message) {
        let mut queue = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        queue.push_back(message);
    }
}

impl Later {
    pub(super) fn new(process: FakeProcess) -> Self {
        Self {
            process,
            clusters: Vec::new(),
            timers: Vec::new(),
            callouts: Vec::new(),
            attributes: BTreeMap::new(),
            metadata: BTreeMap::new(),
            flags: ResponseFlags::default(),
            filter_state: FilterState::default(),
            connection_state: FilterState::default(),
            inbox: Arc::default(),
            now: Duration::ZERO,
            last_id: 0,
        }
    }

    /// The oldest post, taken out.
    pub(super) fn next_post(&self) -> Option<Message> {
        let mut queue = self.inbox.0.lock().unwrap_or_else(PoisonError::into_inner);
        queue.pop_front()
    }

    /// The next timer that runs out by `until`, taken out, with the clock set to its moment.
    pub(super) fn next_timer(&mut self, until: Duration) -> Option<TimerId> {
        // Timers of one moment run out in the order in which they were set.
        let (id, at) = self
            .timers
            .iter()
            .copied()
            .filter(|(_, at)| *at <= until)
            .min_by_key(|(id, at)| (*at, *id))?;
        self.timers.retain(|(other, _)| *other != id);
        self.now = self.now.max(at);
        Some(id)
    }

    pub(super) fn now(&self) -> Duration {
        self.now
    }

    pub(super) fn set_now(&mut self, now: Duration) {
        self.now = now;
    }

    /// Takes a callout out.
    pub(super) fn end_callout(&mut self, id: CalloutId) {
        let before = self.callouts.len();
        self.callouts.retain(|(other, _)| *other != id);
        assert!(
            self.callouts.len() < before,
            "{id:?} is not under way: it ended, was cancelled or never was"
        );
    }

    /// Nothing that was begun comes any more.
    pub(super) fn forget(&mut self) {
        self.timers.clear();
        self.callouts.clear();
        while self.next_post().is_some() {}
    }

    pub(super) fn resumer(&self) -> Resumer {
        let address = Address {
            slot: 0,
            generation: 0,
            filter: 0,
        };
        let inbox: Arc<Queue> = Arc::clone(&self.inbox);
        Resumer::new(inbox, address)
    }

    pub(super) fn set_timer(&mut self, after: Duration) -> TimerId {
        self.last_id += 1;
        let id = TimerId(self.last_id);
        self.timers.push((id, self.now.saturating_add(after)));
        id
    }

    pub(super) fn cancel_timer(&mut self, timer: TimerId) {
        self.timers.retain(|(other, _)| *other != timer);
    }

    pub(super) fn call(
        &mut self,
        cluster: &str,
        callout: Callout,
    ) -> Result<CalloutId, CalloutError> {
        if !self.clusters.iter().any(|allowed| allowed == cluster) {
            return Err(CalloutError::NotAllowed);
        }
        if let Callout::Http(call) = &callout {
            let has = |name: &[u8]| call.headers.iter().any(|(other, _)| other == name);
            if ![&b":method"[..], b":path", b":authority"]
                .into_iter()
                .all(has)
            {
                return Err(CalloutError::BadRequest);
            }
        }
        self.last_id += 1;
        let id = CalloutId(self.last_id);
        self.callouts.push((id, callout));
        Ok(id)
    }

    pub(super) fn cancel_callout(&mut self, callout: CalloutId) {
        self.callouts.retain(|(other, _)| *other != callout);
    }
}

/// Implements the host traits that need nothing but a field `later`.
macro_rules! later_hosts {
    ($host:ty) => {
        impl crate::host::RecordHost for $host {
            fn log_enabled(&self, level: crate::host::Level) -> bool {
                self.later.process.log_enabled(level)
            }

            fn log(&self, level: crate::host::Level, message: &str) {
                self.later.process.log(level, message);
            }

            fn metric(&self, metric: crate::metrics::MetricId) -> i64 {
                self.later.process.metric_value(metric)
            }

            fn add_metric(&self, metric: crate::metrics::MetricId, amount: i64) {
                self.later.process.add_metric(metric, amount);
            }

            fn observe_metric(
                &self,
                metric: crate::metrics::MetricId,
                duration: std::time::Duration,
            ) {
                self.later.process.observe_metric(metric, duration);
            }

            fn observe_value(&self, metric: crate::metrics::MetricId, value: u64) {
                self.later.process.observe_value(metric, value);
            }

            fn shared(&self) -> &crate::shared::SharedData {
                self.later.process.shared()
            }
        }

        impl crate::host::AsyncHost for $host {
            fn resumer(&mut self) -> crate::event::Resumer {
                self.later.resumer()
            }

            fn set_timer(&mut self, after: std::time::Duration) -> crate::event::TimerId {
                self.later.set_timer(after)
            }

            fn cancel_timer(&mut self, timer: crate::event::TimerId) {
                self.later.cancel_timer(timer);
            }

            fn http_call(
                &mut self,
                call: crate::callout::HttpCall,
            ) -> Result<crate::callout::CalloutId, crate::callout::CalloutError> {
                let cluster = call.cluster.clone();
                self.later
                    .call(&cluster, crate::testing::Callout::Http(call))
            }

            fn grpc_call(
                &mut self,
                call: crate::callout::GrpcCall,
            ) -> Result<crate::callout::CalloutId, crate::callout::CalloutError> {
                let cluster = call.cluster.clone();
                self.later
                    .call(&cluster, crate::testing::Callout::Grpc(call))
            }

            fn cancel_callout(&mut self, callout: crate::callout::CalloutId) {
                self.later.cancel_callout(callout);
            }
        }
    };
}

/// Implements the values beside the messages; the host has `fn own_attribute` for those that it knows by itself.
macro_rules! info_host {
    ($host:ty $(, $route_metadata:ident)?) => {
        impl crate::host::InfoHost for $host {
            $(fn configured_metadata(
                &self,
                of: crate::value::MetadataOf,
                namespace: &str,
            ) -> Option<&std::collections::BTreeMap<String, crate::value::MetadataValue>> {
                match of {
                    crate::value::MetadataOf::Route => self.$route_metadata.get(namespace),
                    crate::value::MetadataOf::VirtualHost => None,
                }
            })?

            fn attribute(&self, name: &str) -> Option<crate::value::Attribute<'_>> {
                match self.later.attributes.get(name) {
                    Some(value) => Some(value.clone()),
                    None => self.own_attribute(name),
                }
            }

            fn metadata(&self, namespace: &str, key: &str) -> Option<&crate::value::MetadataValue> {
                self.later.metadata.get(namespace)?.get(key)
            }

            fn metadata_namespace(
                &self,
                namespace: &str,
            ) -> Option<&std::collections::BTreeMap<String, crate::value::MetadataValue>> {
                self.later.metadata.get(namespace)
            }

            fn set_metadata(
                &mut self,
                namespace: &str,
                key: &str,
                value: crate::value::MetadataValue,
            ) {
                self.later
                    .metadata
                    .entry(namespace.to_owned())
                    .or_default()
                    .insert(key.to_owned(), value);
            }

            fn add_response_flags(&mut self, flags: crate::flags::ResponseFlags) {
                self.later.flags.add(flags);
            }

            fn filter_state(&mut self) -> &mut crate::value::FilterState {
                &mut self.later.filter_state
            }

            fn connection_state(&mut self) -> &mut crate::value::FilterState {
                &mut self.later.connection_state
            }
        }
    };
}

pub(super) use {info_host, later_hosts};
