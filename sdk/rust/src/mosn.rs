//! MOSN's `call`, answered by the same extensions.
//!
//! A call with headers is a request that meets the stream filter: what the filter changed comes back as MOSN's agents take it (`pluginfilter`:
//! a field that is set has its value, one that is removed an empty one; a body that was changed comes whole), and a refusal is status -1
//! (`demo_plugin`). A call without headers to a plugin with a certificate provider (`loader`) has the certificate in its body.
//! A filter may wait for timers, its own threads and tasks. Callouts and shared data of the host are not there.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tonic::{Request, Status};
use transom_api::{CalloutDone, CalloutError, CalloutId, Direction, Event, TimerId};
use transom_goplugin::plugin::{PluginSet, ServeConfig};
use transom_goplugin::{HandshakeConfig, MAX_MESSAGE, Services};

use crate::later::{Around, Later, Posted, Posts};
use crate::live::LiveStream;
use crate::part::{Built, Part, address};
use crate::plugin::MOSN_COOKIE;
use crate::proto::mosn;
use crate::proto::v1::{self, ChangeFields, Field, HeaderMap, Kind, action::Action};
use crate::service::Served;
use crate::stream::RemoteStream;
use crate::uses::{Prepared, Use};

/// The use that calls have.
const USE: u64 = 1;

/// How long a filter may wait where the caller has set no deadline.
const LONGEST: Duration = Duration::from_secs(60);

/// What is asked of a plugin that MOSN has started.
#[derive(Clone)]
pub(crate) struct Calls {
    served: Arc<Served>,
    filter: Option<Arc<Use>>,
    certificates: Option<Arc<Use>>,
}

pub(crate) fn config(calls: Calls) -> ServeConfig {
    let plugins = PluginSet::new().plugin("MOSN_SERVICE", move |_broker| {
        let server = mosn::plugin_server::PluginServer::new(calls.clone());
        Services::new().add_service(server.max_decoding_message_size(MAX_MESSAGE))
    });
    ServeConfig::new(HandshakeConfig::new(1, MOSN_COOKIE.0, MOSN_COOKIE.1)).plugins(plugins)
}

impl Calls {
    /// Makes the first stream filter and the first certificate provider ready, with the configuration of the plugin's arguments.
    pub(crate) async fn prepare(served: Arc<Served>) -> Result<Self, String> {
        let mut calls = Self {
            served: Arc::clone(&served),
            filter: None,
            certificates: None,
        };
        for declared in &served.declared {
            let kind = declared.extension.kind();
            let place = match kind {
                Kind::StreamFilter => &mut calls.filter,
                Kind::CertificateProvider => &mut calls.certificates,
                _ => continue,
            };
            if place.is_some() {
                continue;
            }
            let prepared = match served.read(&[]) {
                Ok(config) => served.prepare(kind, declared, "mosn", &config).await,
                Err(faults) => Err(faults),
            };
            let (ready, _) = prepared.map_err(|faults| {
                let shown = |fault: &v1::ConfigFault| match fault.path.as_slice() {
                    [] => fault.message.clone(),
                    path => format!("{}: {}", path.join("."), fault.message),
                };
                let all: Vec<String> = faults.iter().map(shown).collect();
                format!(
                    "the configuration (argument -c FILE) is bad: {}",
                    all.join("; ")
                )
            })?;
            *place = Some(Arc::new(ready));
        }
        if calls.filter.is_none() && calls.certificates.is_none() {
            return Err(
                "MOSN calls stream filters and certificate providers, and this plugin has neither"
                    .to_owned(),
            );
        }
        Ok(calls)
    }

    async fn certificate(used: &Use) -> Result<mosn::Response, Status> {
        let Prepared::Certificates(provider) = &used.prepared else {
            return Err(Status::internal("a certificate provider of another kind"));
        };
        let answer = crate::certificate::answer(provider, "").await;
        let answer = answer.map_err(|error| Status::unknown(error.to_string()))?;
        let text = |bytes: &Bytes| String::from_utf8_lossy(bytes).into_owned();
        let body = serde_json::json!({
            "cert_pem": text(&answer.certificate_chain),
            "key_pem": text(&answer.private_key),
            "ca_pem": text(&answer.client_authorities),
        });
        Ok(mosn::Response {
            body: body.to_string().into_bytes(),
            status: 1,
            ..mosn::Response::default()
        })
    }
}

#[tonic::async_trait]
impl mosn::plugin_server::Plugin for Calls {
    async fn call(
        &self,
        request: Request<mosn::Request>,
    ) -> Result<tonic::Response<mosn::Response>, Status> {
        let request = request.into_inner();
        let used = match (&self.filter, &self.certificates) {
            (Some(filter), Some(_)) if !request.header.is_empty() => filter,
            (_, Some(certificates)) => {
                let answer = Self::certificate(certificates).await?;
                return Ok(tonic::Response::new(answer));
            }
            (Some(filter), None) => filter,
            (None, None) => return Err(Status::unimplemented("nothing to call")),
        };
        // The filter may be bound to its thread, which this call's future is not.
        let (sender, answer) = tokio::sync::oneshot::channel();
        let (served, used) = (Arc::clone(&self.served), Arc::clone(used));
        self.served.threads.run(move || async move {
            let mut sender = sender;
            tokio::select! {
                answer = filtered(&served, used, request) => drop(sender.send(answer)),
                // The caller went away.
                () = sender.closed() => {}
            }
        });
        match answer.await {
            Ok(answer) => answer.map(tonic::Response::new),
            Err(_) => Err(Status::internal("the filter's task ended early")),
        }
    }
}

/// What the filter makes of a request.
async fn filtered(
    served: &Served,
    used: Arc<Use>,
    request: mosn::Request,
) -> Result<mosn::Response, Status> {
    let (posts, posted) = unbounded_channel();
    let around = Around {
        inbox: Arc::new(Posts(posts)),
        shared: served.shared.clone(),
        level: served.level,
    };
    let broken = |error: transom_api::BuildError| Status::unknown(error.message);
    let part = Part::build(USE, used, &around, 0).map_err(broken)?;
    let Built::Stream {
        worker,
        wants,
        phase,
    } = part.built.clone()
    else {
        return Err(Status::internal("a filter of another kind"));
    };
    let later = Later::new(around, address(USE, 0), part.clusters.clone());
    let host = RemoteStream::new(later, wants, phase);
    let stream = LiveStream::new(host, |stream| worker.stream(stream));
    let exchange = Exchange {
        stream,
        part,
        posted,
        timers: HashMap::new(),
        resumed: false,
        response: mosn::Response {
            status: 1,
            ..mosn::Response::default()
        },
        body: Bytes::new(),
    };
    exchange.run(request).await
}

/// A call under way.
struct Exchange {
    stream: LiveStream,
    part: Part,
    posted: UnboundedReceiver<(transom_api::event::Address, Posted)>,
    timers: HashMap<TimerId, tokio::time::Instant>,
    resumed: bool,
    response: mosn::Response,
    body: Bytes,
}

/// How a call goes on after a step.
enum Step {
    On,
    Over,
}

impl Exchange {
    async fn run(mut self, request: mosn::Request) -> Result<mosn::Response, Status> {
        let has_body = !request.body.is_empty();
        let has_trailers = !request.trailer.is_empty();
        let mut fields = fields(&request.header);
        for (name, value) in [(":method", "GET"), (":path", "/"), (":authority", "")] {
            // MOSN's maps have them under names of its own, or not at all.
            if !fields
                .iter()
                .any(|field| field.name.eq_ignore_ascii_case(name.as_bytes()))
            {
                fields.insert(0, field(name, value));
            }
        }
        let end = !has_body && !has_trailers;
        let mut verdict = self.stream.headers(Direction::Request, fields, end);
        let mut over = self.settle().await?;
        if matches!(over, Step::On) && has_body && !self.waits_for_all(verdict) {
            self.body = request.body.into();
            let body = self.body.clone();
            verdict = self.stream.data(Direction::Request, body, !has_trailers);
            over = self.settle().await?;
        }
        if matches!(over, Step::On) && has_trailers && !self.waits_for_all(verdict) {
            let trailers = self::fields(&request.trailer);
            verdict = self.stream.trailers(Direction::Request, trailers);
            over = self.settle().await?;
        }
        if matches!(over, Step::On) && verdict != 0 && !self.resumed {
            let end = tokio::time::Instant::now() + LONGEST;
            loop {
                match self.wait(end).await? {
                    Step::Over => break,
                    Step::On if self.resumed => break,
                    Step::On => {}
                }
            }
        }
        self.stream.complete();
        self.settle().await?;
        Ok(self.response)
    }

    /// `StopAllIteration…` keeps the rest of the message from the filter.
    fn waits_for_all(&self, verdict: i32) -> bool {
        verdict >= 2 && !self.resumed
    }

    /// Waits for the next thing that happens.
    async fn wait(&mut self, end: tokio::time::Instant) -> Result<Step, Status> {
        let next = self.timers.iter().min_by_key(|(_, at)| **at);
        let next = next.map(|(timer, at)| (*timer, *at));
        let at = next.map_or(end, |(_, at)| at.min(end));
        tokio::select! {
            Some((to, post)) = self.posted.recv() => match post {
                Posted::Message(message) if to.filter == 0 => self.stream.event(Event::Resumed(message)),
                post => self.part.event(post),
            },
            () = tokio::time::sleep_until(at) => match next {
                Some((timer, run_out)) if run_out <= at => {
                    self.timers.remove(&timer);
                    self.stream.event(Event::Timer(timer));
                }
                _ => return Err(Status::deadline_exceeded("the filter waits for nothing that comes")),
            },
        }
        self.settle().await
    }

    /// Does what the filter asked for.
    async fn settle(&mut self) -> Result<Step, Status> {
        let mut actions: std::collections::VecDeque<_> = self.stream.take_actions().into();
        let mut refused = Vec::new();
        while let Some(action) = actions.pop_front() {
            match action.action {
                Some(Action::Fields(change)) => self.change(&change),
                Some(Action::Body(body)) if body.direction == 0 => {
                    self.response.body = body.data.into();
                }
                Some(Action::Resume(0)) => self.resumed = true,
                Some(Action::LocalReply(_) | Action::Terminate(_)) => {
                    self.response = mosn::Response {
                        status: -1,
                        ..mosn::Response::default()
                    };
                    return Ok(Step::Over);
                }
                Some(Action::Fail(text)) => return Err(Status::unknown(text)),
                Some(Action::Timer(timer)) => {
                    let at = tokio::time::Instant::now() + Duration::from_millis(timer.after_ms);
                    self.timers.insert(TimerId(timer.timer), at);
                }
                Some(Action::CancelTimer(timer)) => drop(self.timers.remove(&TimerId(timer))),
                Some(Action::HttpCall(call)) => refused.push(call.callout),
                Some(Action::GrpcCall(call)) => refused.push(call.callout),
                Some(Action::Shared(shared)) => self.shared(shared),
                Some(Action::Log(log)) => tracing::info!("{}", log.message),
                _ => {}
            }
            if actions.is_empty() {
                for callout in refused.drain(..) {
                    self.stream.event(Event::Callout(CalloutDone {
                        id: CalloutId(callout),
                        result: Err(CalloutError::Unsupported),
                    }));
                }
                actions.extend(self.stream.take_actions());
            }
        }
        Ok(Step::On)
    }

    /// Shared data is the plugin's own here.
    fn shared(&mut self, shared: v1::Shared) {
        use crate::shared::{Asked, TOKEN};
        let asked = match shared.operation {
            Some(v1::shared::Operation::Get(key)) => Asked::Get(key),
            Some(v1::shared::Operation::Set(set)) => Asked::Set {
                key: set.key,
                value: set.value,
                version: set.version,
            },
            None => return,
        };
        let result = asked.perform(&self.stream.host.later.around.shared);
        self.stream.event(Event::Resumed(transom_api::Message {
            token: TOKEN,
            payload: Some(Box::new(result)),
        }));
    }

    /// MOSN's answer has one map of what changed: empty is gone.
    fn change(&mut self, change: &ChangeFields) {
        let map = match HeaderMap::try_from(change.map) {
            Ok(HeaderMap::RequestHeaders) => &mut self.response.header,
            Ok(HeaderMap::RequestTrailers) => &mut self.response.trailer,
            _ => return,
        };
        let text = |bytes: &Bytes| String::from_utf8_lossy(bytes).into_owned();
        for name in &change.remove {
            map.insert(text(name), String::new());
        }
        for field in &change.set {
            map.insert(text(&field.name), text(&field.value));
        }
        for field in &change.add {
            // One value for a name: the new one stands behind what is there, as in a list of values.
            let head = match HeaderMap::try_from(change.map) {
                Ok(HeaderMap::RequestTrailers) => &self.stream.host.request.trailers,
                _ => &self.stream.host.request.head,
            };
            let all = (0..).map_while(|nth| head.get(&field.name, nth));
            let all: Vec<String> = all
                .map(|value| String::from_utf8_lossy(value).into_owned())
                .collect();
            map.insert(text(&field.name), all.join(", "));
        }
    }
}

fn fields(map: &HashMap<String, String>) -> Vec<Field> {
    let mut fields: Vec<Field> = map.iter().map(|(name, value)| field(name, value)).collect();
    // Pseudo-headers first, and no order of chance.
    fields.sort_by(|a, b| {
        let key = |field: &Field| (!field.name.starts_with(b":"), field.name.clone());
        key(a).cmp(&key(b))
    });
    fields
}

fn field(name: &str, value: &str) -> Field {
    Field {
        name: Bytes::copy_from_slice(name.as_bytes()),
        value: Bytes::copy_from_slice(value.as_bytes()),
    }
}
