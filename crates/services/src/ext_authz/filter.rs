//! The filter of a stream.

use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use ::http::HeaderMap as CallMetadata;
use prost::Message as _;
use transom_api::{
    CalloutId, DataVerdict, Direction, Event, FilterError, HeadersVerdict, LocalReply,
    ResponseFlags, Stream, StreamFilter, TimerId, TrailersVerdict, Wants,
};

use super::Shared;
use super::http;
use super::question::{Body, question};
use super::settings::{BodySettings, Route, RouteSettings, Service};
use super::verdict::{Allowed, Verdict};
use crate::grpc::{Call, Received, frame, waker};
use crate::headers::asks_for_tunnel;
use crate::proto::auth::CheckResponse;

/// How long the server has for its last word.
const FAREWELL: Duration = Duration::from_secs(5);

/// The filter of a stream: it asks once, before the request goes on.
pub(super) struct ExtAuthz {
    shared: Rc<Shared>,
    route: Arc<RouteSettings>,
    state: State,
    /// For the response, of an answer that let the request pass.
    allowed: Option<Box<Allowed>>,
}

#[expect(
    clippy::large_enum_variant,
    reason = "the large one is what nearly every stream comes to"
)]
enum State {
    /// For the request's headers.
    New,
    /// For the body, of which the service is sent so much.
    Gathering(BodySettings),
    Asked {
        call: Option<Call>,
        callout: Option<CalloutId>,
        timer: Option<TimerId>,
        since: Instant,
    },
    Done,
}

impl ExtAuthz {
    pub(super) fn new(shared: Rc<Shared>) -> Self {
        Self {
            route: Arc::clone(&shared.no_route),
            shared,
            state: State::New,
            allowed: None,
        }
    }
}

impl StreamFilter for ExtAuthz {
    fn request_headers(&mut self, stream: &mut Stream<'_>, end: bool) -> HeadersVerdict {
        if let Some(Route(route)) = stream.route_config::<Route>() {
            self.route = Arc::clone(route);
        }
        if self.route.disabled {
            self.state = State::Done;
            stream.forgo(request_body().and(Wants::RESPONSE_HEADERS));
            return HeadersVerdict::Continue;
        }
        let body = self.route.body.or(self.shared.settings.body);
        // A tunnel has no body that would come before its answer.
        let has_body = !end && !asks_for_tunnel(stream.request());
        match body.filter(|_| has_body && !self.route.without_body) {
            Some(body) => {
                self.state = State::Gathering(body);
                HeadersVerdict::StopIteration
            }
            None => {
                stream.forgo(request_body());
                self.ask(stream, None)
            }
        }
    }

    fn request_body(&mut self, stream: &mut Stream<'_>, end: bool) -> DataVerdict {
        match self.state {
            State::Gathering(settings) => {
                let len = stream.body(Direction::Request).len() as u64;
                if len > settings.most && !settings.partial {
                    self.state = State::Done;
                    let reply = LocalReply::new(413).details("request_payload_too_large");
                    // An error says that a response is on its way already.
                    let _ = stream.send_local_reply(reply);
                    return DataVerdict::StopIterationAndWatermark;
                }
                if !end && len < settings.most {
                    return DataVerdict::StopIterationAndBuffer;
                }
                self.ask_with_body(stream, settings);
                DataVerdict::StopIterationAndWatermark
            }
            State::New | State::Asked { .. } => DataVerdict::StopIterationAndWatermark,
            State::Done => DataVerdict::Continue,
        }
    }

    fn request_trailers(&mut self, stream: &mut Stream<'_>) -> TrailersVerdict {
        if let State::Gathering(settings) = self.state {
            self.ask_with_body(stream, settings);
        }
        match self.state {
            State::Done => TrailersVerdict::Continue,
            _ => TrailersVerdict::StopIteration,
        }
    }

    fn response_headers(&mut self, stream: &mut Stream<'_>, _end: bool) -> HeadersVerdict {
        if let Some(allowed) = self.allowed.take() {
            let rejected = allowed.change_response(stream, self.shared.settings.rules.as_ref());
            stream.count(self.shared.metrics.rejected_changes, rejected);
        }
        HeadersVerdict::Continue
    }

    fn on_event(&mut self, stream: &mut Stream<'_>, event: Event) {
        let State::Asked {
            call,
            callout,
            timer,
            ..
        } = &mut self.state
        else {
            return;
        };
        let verdict = match event {
            Event::Resumed(_) => match call.as_mut().map(Call::poll) {
                None | Some(Poll::Pending) => return,
                Some(Poll::Ready(Received::Message(message))) => {
                    if let Some(call) = call.take() {
                        call.close(FAREWELL);
                    }
                    match CheckResponse::decode(message) {
                        Ok(answer) => Verdict::of(answer),
                        Err(error) => {
                            Verdict::Failed(format!("its answer cannot be read: {error}"))
                        }
                    }
                }
                Some(Poll::Ready(Received::End(status))) => Verdict::Failed(status.to_string()),
            },
            Event::Timer(id) if *timer == Some(id) => {
                Verdict::Failed("it did not answer in time".to_owned())
            }
            Event::Callout(done) if *callout == Some(done.id) => {
                let Service::Http(service) = &self.shared.settings.service else {
                    return;
                };
                match done.result {
                    Ok(answer) => http::verdict(service, answer),
                    Err(error) => Verdict::Failed(error.to_string()),
                }
            }
            _ => return,
        };
        self.decide(stream, verdict);
    }
}

impl ExtAuthz {
    fn ask_with_body(&mut self, stream: &mut Stream<'_>, settings: BodySettings) {
        let mut bytes = stream.body(Direction::Request).to_vec();
        let is_partial = bytes.len() as u64 > settings.most;
        bytes.truncate(usize::try_from(settings.most).unwrap_or(usize::MAX));
        let body = Body {
            bytes,
            is_partial,
            as_bytes: settings.as_bytes,
        };
        self.ask(stream, Some(body));
    }

    fn ask(&mut self, stream: &mut Stream<'_>, body: Option<Body>) -> HeadersVerdict {
        let shared = Rc::clone(&self.shared);
        let settings = &shared.settings;
        let mut asked = (None, None, None);
        match (&settings.service, &shared.server) {
            (Service::Http(service), _) => {
                let call = http::question(service, settings, stream, body);
                match stream.http_call(call) {
                    Ok(id) => asked.1 = Some(id),
                    Err(error) => {
                        self.decide(stream, Verdict::Failed(error.to_string()));
                        return HeadersVerdict::StopIteration;
                    }
                }
            }
            (Service::Grpc(_), Some((pool, method))) => {
                let message = question(settings, &self.route, stream, body);
                let waker = waker(stream.resumer());
                let mut call = Call::open(pool, method, CallMetadata::new(), waker);
                // Both in one turn: they leave in one frame.
                call.finish_with(frame(&message));
                asked.0 = Some(call);
                asked.2 = Some(stream.set_timer(settings.timeout));
            }
            (Service::Grpc(_), None) => {
                self.decide(stream, Verdict::Failed("it has no address".to_owned()));
                return HeadersVerdict::StopIteration;
            }
        }
        let (call, callout, timer) = asked;
        self.state = State::Asked {
            call,
            callout,
            timer,
            since: Instant::now(),
        };
        HeadersVerdict::StopIteration
    }

    fn decide(&mut self, stream: &mut Stream<'_>, verdict: Verdict) {
        if let State::Asked { timer, since, .. } = &mut self.state {
            if let Some(timer) = timer.take() {
                stream.cancel_timer(timer);
            }
            stream.observe(self.shared.metrics.answer_time, since.elapsed());
        }
        self.state = State::Done;
        let shared = Rc::clone(&self.shared);
        let (settings, metrics) = (&shared.settings, &shared.metrics);
        match verdict {
            Verdict::Allowed(allowed) => {
                stream.count(metrics.allowed, 1);
                match allowed.change_request(stream, settings.rules.as_ref()) {
                    Ok(changes) => {
                        stream.count(metrics.rejected_changes, changes.rejected);
                        if settings.clear_route_cache && changes.made {
                            // The request's headers are here, so this cannot fail.
                            let _ = stream.clear_route();
                        }
                    }
                    Err(refused) => {
                        stream.count(metrics.rejected_changes, 1);
                        return self.fail(
                            stream,
                            &format!("its change of headers was refused: {refused}"),
                        );
                    }
                }
                if allowed.response.is_empty() {
                    stream.forgo(Wants::RESPONSE_HEADERS);
                } else {
                    self.allowed = Some(allowed);
                }
                stream.continue_request();
            }
            Verdict::Denied(denied) => {
                stream.count(metrics.denied, 1);
                stream.add_response_flags(ResponseFlags::UNAUTHORIZED_EXTERNAL_SERVICE);
                let mut reply = LocalReply::new(denied.status)
                    .body(denied.body)
                    .details("ext_authz_denied");
                for (name, value) in denied.headers {
                    reply = reply.header(name, value);
                }
                // An error says that a response is on its way already.
                let _ = stream.send_local_reply(reply);
            }
            Verdict::Failed(why) => self.fail(stream, &why),
        }
    }

    fn fail(&mut self, stream: &mut Stream<'_>, why: &str) {
        let (settings, metrics) = (&self.shared.settings, &self.shared.metrics);
        stream.count(metrics.failed, 1);
        if settings.failure_mode_allow {
            stream.count(metrics.failed_open, 1);
            if settings.mark_failures {
                // The name and the value are good, and the headers are here.
                let _ = stream
                    .request_mut()
                    .set("x-envoy-auth-failure-mode-allowed", "true");
            }
            return stream.continue_request();
        }
        stream.add_response_flags(ResponseFlags::UNAUTHORIZED_EXTERNAL_SERVICE);
        stream.fail(FilterError {
            status: settings.status_on_error,
            message: format!("the authorization service: {why}").into(),
        });
    }
}

fn request_body() -> Wants {
    Wants::REQUEST_BODY.and(Wants::REQUEST_TRAILERS)
}
