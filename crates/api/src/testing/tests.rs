//! The stand-in keeps the proxy's rules.

use std::time::Duration;

use super::{Action, Callout, FakeConnection, FakeProcess, FakeStream, FakeWorker};
use crate::*;

type Callback<V> = Option<Box<dyn FnMut(&mut Stream<'_>) -> V>>;
type CallbackWith<A, V> = Option<Box<dyn FnMut(&mut Stream<'_>, A) -> V>>;

/// A filter that is made of closures.
#[derive(Default)]
struct Script {
    request_headers: Callback<HeadersVerdict>,
    request_body: CallbackWith<bool, DataVerdict>,
    request_trailers: Callback<TrailersVerdict>,
    response_headers: Callback<HeadersVerdict>,
    on_event: CallbackWith<Event, ()>,
}

impl Script {
    fn headers(f: impl FnMut(&mut Stream<'_>) -> HeadersVerdict + 'static) -> Self {
        Self {
            request_headers: Some(Box::new(f)),
            ..Self::default()
        }
    }

    fn body(mut self, f: impl FnMut(&mut Stream<'_>, bool) -> DataVerdict + 'static) -> Self {
        self.request_body = Some(Box::new(f));
        self
    }

    fn trailers(mut self, f: impl FnMut(&mut Stream<'_>) -> TrailersVerdict + 'static) -> Self {
        self.request_trailers = Some(Box::new(f));
        self
    }

    fn response(mut self, f: impl FnMut(&mut Stream<'_>) -> HeadersVerdict + 'static) -> Self {
        self.response_headers = Some(Box::new(f));
        self
    }

    fn event(mut self, f: impl FnMut(&mut Stream<'_>, Event) + 'static) -> Self {
        self.on_event = Some(Box::new(f));
        self
    }
}

impl StreamFilter for Script {
    fn request_headers(&mut self, stream: &mut Stream<'_>, _end: bool) -> HeadersVerdict {
        self.request_headers
            .as_mut()
            .map_or_else(HeadersVerdict::default, |f| f(stream))
    }
    fn request_body(&mut self, stream: &mut Stream<'_>, end: bool) -> DataVerdict {
        self.request_body
            .as_mut()
            .map_or_else(DataVerdict::default, |f| f(stream, end))
    }
    fn request_trailers(&mut self, stream: &mut Stream<'_>) -> TrailersVerdict {
        self.request_trailers
            .as_mut()
            .map_or_else(TrailersVerdict::default, |f| f(stream))
    }
    fn response_headers(&mut self, stream: &mut Stream<'_>, _end: bool) -> HeadersVerdict {
        self.response_headers
            .as_mut()
            .map_or_else(HeadersVerdict::default, |f| f(stream))
    }
    fn on_event(&mut self, stream: &mut Stream<'_>, event: Event) {
        if let Some(f) = &mut self.on_event {
            f(stream, event);
        }
    }
}

const REQUEST: Direction = Direction::Request;
const RESPONSE: Direction = Direction::Response;

#[test]
fn a_head_that_went_on_is_frozen() {
    let mut stream = FakeStream::new(
        Script::headers(|stream| {
            stream.request_mut().set("x-a", "1").unwrap();
            HeadersVerdict::Continue
        })
        .response(|stream| {
            assert_eq!(
                stream.request_mut().set("x-a", "2"),
                Err(HeaderError::Released)
            );
            assert_eq!(stream.clear_route(), Err(Released));
            HeadersVerdict::Continue
        }),
    );
    stream.request_headers(true);
    stream.response_headers(200, &[], true);
    let map = HeaderMap::RequestHeaders;
    assert!(
        stream
            .headers(map)
            .get("X-A")
            .is_some_and(|value| value == "1")
    );
    let late = stream.with_context(|stream| stream.send_local_reply(LocalReply::new(500)));
    assert_eq!(late, Err(Released));
    assert!(stream.has_ended(REQUEST) && stream.has_ended(RESPONSE));
}

#[test]
fn headers_are_checked_as_the_proxy_does() {
    let mut stream = FakeStream::new(Script::default())
        .with_header("Accept", "a")
        .with_header("User", "x")
        .with_header("accept", "b");
    stream.with_context(|stream| {
        let mut request = stream.request_mut();
        assert_eq!(
            request.set("connection", "close"),
            Err(HeaderError::Reserved)
        );
        assert_eq!(request.set("x y", ""), Err(HeaderError::InvalidName));
        assert_eq!(request.add("x", "\n"), Err(HeaderError::InvalidValue));
        assert_eq!(request.remove("host"), Err(HeaderError::Reserved));
        assert_eq!(request.remove("absent"), Ok(0));
        request.set("ACCEPT", "c").unwrap();
        request.set("host", "other.test").unwrap();
        assert_eq!(stream.response_mut().set("x", ""), Err(HeaderError::Absent));
        let trailers = HeaderMap::RequestTrailers;
        assert_eq!(
            stream.headers_mut(trailers).set("x", ""),
            Err(HeaderError::Absent)
        );
    });
    let shown: Vec<String> = stream
        .headers(HeaderMap::RequestHeaders)
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    assert_eq!(
        shown,
        [
            ":method=GET",
            ":path=/",
            ":scheme=http",
            ":authority=other.test",
            "Accept=c",
            "User=x"
        ]
    );
    let grown = stream.with_context(|stream| {
        (0..2_000).find_map(|_| stream.request_mut().add("x", [b'v'; 400]).err())
    });
    assert_eq!(grown, Some(HeaderError::TooLarge));
}

#[test]
fn a_filter_is_called_only_for_what_it_wants() {
    let mut stream = FakeStream::new(Script::headers(|_| HeadersVerdict::StopIteration))
        .with_wants(Wants::RESPONSE_HEADERS);
    assert_eq!(stream.request_headers(false), None);
    assert_eq!(stream.request_body("a", true), None);
    assert_eq!(stream.sent(REQUEST), b"a");
    assert_eq!(
        stream.response_headers(200, &[], true),
        Some(HeadersVerdict::Continue)
    );
}

#[test]
fn a_filter_is_not_called_for_what_it_does_without() {
    let mut stream = FakeStream::new(Script::headers(|stream| {
        stream.forgo(Wants::REQUEST_BODY.and(Wants::CHANGES_REQUEST_LENGTH));
        HeadersVerdict::Continue
    }))
    .with_wants(Wants::EVERYTHING.and(Wants::CHANGES_REQUEST_LENGTH));
    stream.request_headers(false);
    assert_eq!(stream.request_body("a", true), None);
    assert_eq!(stream.sent(REQUEST), b"a");
    assert!(!stream.wants().contains(Wants::CHANGES_REQUEST_LENGTH));
    assert!(stream.wants().contains(Wants::RESPONSE_BODY));
    assert!(stream.response_headers(200, &[], true).is_some());
}

#[test]
fn what_came_while_all_was_stopped_is_shown_on_resuming() {
    let mut stream = FakeStream::new(
        Script::headers(|stream| {
            stream.set_timer(Duration::from_secs(2));
            HeadersVerdict::StopAllIterationAndWatermark
        })
        .body(|stream, _| {
            stream.body_mut(REQUEST).append("!").unwrap();
            DataVerdict::Continue
        })
        .event(|stream, event| {
            assert!(matches!(event, Event::Timer(_)));
            stream.continue_request();
            stream.continue_request();
        }),
    );
    stream.request_headers(false);
    assert_eq!(stream.request_body("ab", false), None);
    assert_eq!(stream.request_body("cd", true), None);
    assert_eq!(stream.advance(Duration::from_secs(1)), 0);
    assert_eq!(stream.timers()[0].1, Duration::from_secs(1));
    assert!(!stream.has_passed(REQUEST));
    assert_eq!(stream.advance(Duration::from_secs(1)), 1);
    assert_eq!(stream.sent(REQUEST), b"abcd!");
    assert!(stream.has_ended(REQUEST));
}

#[test]
fn a_body_that_waits_takes_its_head_along() {
    let mut stream = FakeStream::new(Script::headers(|_| HeadersVerdict::StopIteration).body(
        |stream, end| {
            if !end {
                return DataVerdict::StopIterationAndBuffer;
            }
            let len = stream.body(REQUEST).len();
            stream
                .request_mut()
                .set("x-length", len.to_string())
                .unwrap();
            DataVerdict::Continue
        },
    ));
    stream.request_headers(false);
    assert_eq!(
        stream.request_body("abc", false),
        Some(DataVerdict::StopIterationAndBuffer)
    );
    assert_eq!(stream.sent(REQUEST), b"");
    stream.request_body("de", true);
    assert_eq!(stream.sent(REQUEST), b"abcde");
    let map = HeaderMap::RequestHeaders;
    assert!(
        stream
            .headers(map)
            .get("x-length")
            .is_some_and(|len| len == "5")
    );
}

#[test]
fn more_than_the_limit_is_413() {
    let keep = || {
        Script::headers(|_| HeadersVerdict::StopIteration)
            .body(|_, _| DataVerdict::StopIterationAndBuffer)
    };
    let whole = Wants::EVERYTHING.whole_request_body(4);
    for (script, wants) in [
        (keep(), Wants::EVERYTHING.buffer_limit(4)),
        (Script::default(), whole),
        (
            Script::headers(|_| HeadersVerdict::StopAllIterationAndBuffer),
            Wants::EVERYTHING.buffer_limit(4),
        ),
    ] {
        let mut stream = FakeStream::new(script).with_wants(wants);
        stream.request_headers(false);
        stream.request_body("abcd", false);
        assert!(stream.reply().is_none());
        stream.request_body("e", false);
        assert_eq!(stream.reply().map(|reply| reply.status), Some(413));
        assert_eq!(stream.sent(REQUEST), b"");
    }
}

#[test]
fn a_whole_body_is_shown_once_and_before_its_trailers() {
    let wants = Wants::EVERYTHING.whole_request_body(100);
    let mut stream = FakeStream::new(
        Script::headers(|_| HeadersVerdict::Continue)
            .body(|stream, end| {
                assert!(!end, "trailers follow");
                stream.body_mut(REQUEST).append(">").unwrap();
                DataVerdict::Continue
            })
            .trailers(|stream| {
                let map = HeaderMap::RequestTrailers;
                stream.headers_mut(map).add("x-b", "2").unwrap();
                TrailersVerdict::Continue
            }),
    )
    .with_wants(wants);
    stream.request_headers(false);
    assert_eq!(stream.request_body("ab", false), None);
    assert_eq!(stream.request_body("cd", false), None);
    stream.request_trailers(&[("x-a", "1")]);
    assert_eq!(stream.sent(REQUEST), b"abcd>");
    assert!(stream.has_ended(REQUEST));
    let trailers = stream.headers(HeaderMap::RequestTrailers);
    assert!(trailers.contains("x-a") && trailers.contains("x-b"));
}

#[test]
fn an_announced_length_is_kept() {
    let longer = || {
        Script::headers(|_| HeadersVerdict::Continue).body(|stream, _| {
            let _ = stream.body_mut(REQUEST).append("!");
            DataVerdict::Continue
        })
    };
    let mut stream = FakeStream::new(longer()).with_header("content-length", "2");
    stream.request_headers(false);
    stream.request_body("ab", true);
    assert_eq!(stream.reply().map(|reply| reply.status), Some(500));
    assert!(matches!(stream.actions(), [Action::Fail(_)]));

    let mut stream = FakeStream::new(longer())
        .with_header("content-length", "2")
        .with_wants(Wants::EVERYTHING.and(Wants::CHANGES_REQUEST_LENGTH));
    stream.request_headers(false);
    stream.request_body("ab", true);
    assert_eq!(stream.sent(REQUEST), b"ab!");
}

#[test]
fn a_local_reply_passes_the_filters_own_response_callbacks() {
    let mut stream = FakeStream::new(
        Script::headers(|stream| {
            let reply = LocalReply::new(403).body("no\n").details("why");
            stream.send_local_reply(reply).unwrap();
            stream.send_local_reply(LocalReply::new(500)).unwrap();
            HeadersVerdict::StopIteration
        })
        .response(|stream| {
            assert!(
                stream
                    .response()
                    .get(":status")
                    .is_some_and(|status| status == "403")
            );
            stream.response_mut().set("x-seen", "1").unwrap();
            HeadersVerdict::Continue
        }),
    );
    stream.request_headers(false);
    assert_eq!(stream.request_body("dropped", true), None);
    assert_eq!(stream.reply().map(|reply| reply.status), Some(403));
    assert_eq!(stream.details(), "why");
    assert_eq!(stream.sent(RESPONSE), b"no\n");
    assert!(stream.has_ended(RESPONSE) && !stream.has_passed(REQUEST));
    assert!(
        stream
            .headers(HeaderMap::ResponseHeaders)
            .contains("x-seen")
    );
    assert_eq!(stream.response_headers(200, &[], true), None);
}

#[test]
fn a_failure_meets_the_policy() {
    let failing = || {
        Script::headers(|stream| {
            stream.fail(FilterError::unavailable("gone"));
            HeadersVerdict::StopIteration
        })
    };
    let mut closed = FakeStream::new(failing());
    closed.request_headers(true);
    assert_eq!(closed.reply().map(|reply| reply.status), Some(503));
    assert_eq!(closed.details(), "filter_failed{test}");

    let mut open = FakeStream::new(failing()).with_failure_policy(FailurePolicy::Open);
    open.request_headers(false);
    assert!(open.reply().is_none() && open.has_passed(REQUEST));
    assert_eq!(open.request_body("a", true), None, "it is called no more");
    assert_eq!(open.sent(REQUEST), b"a");
}

#[test]
#[expect(
    clippy::redundant_closure_for_method_calls,
    reason = "the method is not general enough over its lifetime"
)]
fn posts_arrive_in_their_order_and_not_after_the_end() {
    let mut stream = FakeStream::new(
        Script::headers(|stream| {
            let resumer = stream.resumer();
            resumer.post(1);
            std::thread::spawn(move || resumer.post_with(2, String::from("value")))
                .join()
                .unwrap();
            HeadersVerdict::StopIteration
        })
        .event(|stream, event| {
            let Event::Resumed(mut message) = event else {
                return;
            };
            let text: String = message.take().unwrap_or_default();
            stream.set_metadata("test", &message.token.to_string(), text.as_str());
        }),
    );
    stream.request_headers(true);
    assert!(
        stream.metadata("test", "1").is_none(),
        "not during the callback"
    );
    assert_eq!(stream.deliver(), 2);
    assert_eq!(stream.metadata("test", "2"), Some(&"value".into()));
    let resumer = stream.with_context(|stream| stream.resumer());
    stream.reset(ResetReason::Downstream);
    resumer.post(3);
    assert_eq!(stream.deliver(), 0);
}

#[test]
fn callouts_go_to_named_clusters_only() {
    let mut stream = FakeStream::new(
        Script::headers(|stream| {
            let call = |cluster: &str| HttpCall::new(cluster, "GET", "auth", "/check");
            let other = stream.http_call(call("other"));
            assert_eq!(other, Err(CalloutError::NotAllowed));
            let bad = HttpCall {
                cluster: "auth".to_owned(),
                ..HttpCall::default()
            };
            assert_eq!(stream.http_call(bad), Err(CalloutError::BadRequest));
            stream.http_call(call("auth")).unwrap();
            HeadersVerdict::StopAllIterationAndBuffer
        })
        .event(|stream, event| {
            if let Event::Callout(CalloutDone { result: Ok(_), .. }) = event {
                stream.continue_request();
            }
        }),
    )
    .with_cluster("auth");
    stream.request_headers(true);
    let [(id, Callout::Http(call))] = stream.callouts() else {
        panic!("one callout");
    };
    assert_eq!(call.cluster, "auth");
    let id = *id;
    stream.end_callout(id, Ok(CalloutResponse::default()));
    assert!(stream.has_passed(REQUEST));
    assert!(stream.callouts().is_empty());
}

#[test]
fn a_route_is_matched_again_ten_times_at_most() {
    let mut stream = FakeStream::new(Script::headers(|stream| {
        if stream.route_config::<u8>() == Some(&2) {
            return HeadersVerdict::Continue;
        }
        stream.rematch_route().unwrap();
        HeadersVerdict::Continue
    }))
    .with_phase(Phase::AfterRoute)
    .with_route(std::sync::Arc::new(1_u8))
    .with_next_route(Some(std::sync::Arc::new(2_u8)));
    stream.request_headers(true);
    assert_eq!(stream.actions(), [Action::RematchRoute]);
    assert!(stream.has_passed(REQUEST));

    let mut looping = FakeStream::new(Script::headers(|stream| {
        stream.rematch_route().unwrap();
        HeadersVerdict::Continue
    }))
    .with_phase(Phase::AfterRoute);
    looping.request_headers(true);
    assert_eq!(looping.details(), "too_many_rematches");
    assert_eq!(looping.actions().len(), 11);

    let mut elsewhere = FakeStream::new(Script::headers(|stream| {
        stream.rematch_route().unwrap();
        HeadersVerdict::Continue
    }));
    elsewhere.request_headers(true);
    assert_eq!(elsewhere.process().log_lines().len(), 1);
}

#[test]
fn bytes_are_injected_behind_what_went_on() {
    let mut stream = FakeStream::new(
        Script::headers(|stream| {
            assert_eq!(stream.inject(REQUEST, b"early", false), Err(Released));
            HeadersVerdict::Continue
        })
        .body(|stream, end| {
            stream
                .inject(REQUEST, if end { b"]" } else { b"|" }, false)
                .unwrap();
            if end {
                DataVerdict::Continue
            } else {
                DataVerdict::StopIterationNoBuffer
            }
        }),
    );
    stream.request_headers(false);
    stream.request_body("gone", false);
    assert_eq!(stream.sent(REQUEST), b"|");
    stream.request_body("kept", true);
    assert_eq!(stream.sent(REQUEST), b"|kept]");
    let late = stream.with_context(|stream| stream.inject(REQUEST, b"x", false));
    assert_eq!(late, Err(Released));
}

#[test]
fn headers_may_end_the_message() {
    let mut stream = FakeStream::new(Script::headers(|_| HeadersVerdict::ContinueAndEndStream));
    stream.request_headers(false);
    assert!(stream.has_ended(REQUEST));
    assert_eq!(stream.request_body("dropped", true), None);
    assert_eq!(stream.sent(REQUEST), b"");
}

#[test]
fn attributes_follow_from_the_messages() {
    let mut stream = FakeStream::new(Script::default())
        .with_path("/a?b=c")
        .with_attribute(
            attribute::SOURCE_ADDRESS,
            Attribute::Bytes(b"192.0.2.1:4".into()),
        );
    stream.request_headers(false);
    stream.request_body("12345", true);
    stream.response_headers(204, &[], true);
    stream.with_context(|stream| {
        let text = |name| stream.attribute(name).map(|value| value.to_string());
        assert_eq!(text(attribute::REQUEST_URL_PATH), Some("/a".to_owned()));
        assert_eq!(text(attribute::REQUEST_QUERY), Some("b=c".to_owned()));
        assert_eq!(text(attribute::REQUEST_SIZE), Some("5".to_owned()));
        assert_eq!(text(attribute::RESPONSE_CODE), Some("204".to_owned()));
        assert_eq!(
            text(attribute::SOURCE_ADDRESS),
            Some("192.0.2.1:4".to_owned())
        );
        assert_eq!(text("unknown"), None);
    });
}

#[test]
fn metrics_are_known_by_name_and_labels() {
    let process = FakeProcess::new();
    let metrics = process.metrics();
    let a = metrics.counter("x_total", "X.", &[("n", "a")]).unwrap();
    let b = metrics.counter("x_total", "X.", &[("n", "b")]).unwrap();
    assert_eq!(a, metrics.counter("x_total", "X.", &[("n", "a")]).unwrap());
    assert!(metrics.gauge("x_total", "X.", &[]).is_err());
    assert!(metrics.counter("transom_x", "X.", &[]).is_err());
    assert!(metrics.counter("X", "X.", &[]).is_err());
    process.add_metric(a.0, 2);
    process.add_metric(b.0, 3);
    assert_eq!(process.metric("x_total"), 5);
}

#[test]
fn shared_data_is_compared_and_set() {
    let process = FakeProcess::new();
    let shared = process.shared();
    shared.compare_and_set("k", b"1", 0).unwrap();
    assert_eq!(
        shared.compare_and_set("k", b"2", 0),
        Err(SharedError::Changed)
    );
    let version = shared.get("k").unwrap().version;
    shared.compare_and_set("k", b"2", version).unwrap();
    assert_eq!(
        shared.set("k", &vec![0; 2 << 20]),
        Err(SharedError::TooLarge)
    );
    shared.remove("k").unwrap();
    assert!(shared.get("k").is_none());
}

#[test]
fn an_async_filter_runs_on_it() {
    use crate::async_filter::{AsyncFilter, Outcome};
    let mut stream = FakeStream::new(AsyncFilter::new(|exchange| async move {
        exchange.sleep(Duration::from_secs(1)).await;
        let call = HttpCall::new("auth", "GET", "auth", "/");
        match exchange.http_call(call).await {
            Ok(_) => Outcome::Continue,
            Err(_) => Outcome::Reply(LocalReply::new(503)),
        }
    }))
    .with_cluster("auth");
    assert_eq!(
        stream.request_headers(true),
        Some(HeadersVerdict::StopAllIterationAndWatermark)
    );
    stream.advance(Duration::from_secs(1));
    let id = stream.callouts()[0].0;
    stream.end_callout(id, Err(CalloutError::Timeout));
    assert_eq!(stream.reply().map(|reply| reply.status), Some(503));
}

/// Waits at the beginning and for a whole line; answers `ping` itself.
struct Lines;

impl NetworkFilter for Lines {
    fn on_new_connection(&mut self, connection: &mut Connection<'_>) -> NetworkVerdict {
        connection.set_timer(Duration::from_secs(1));
        NetworkVerdict::StopIteration
    }

    fn on_data(&mut self, connection: &mut Connection<'_>, _end: bool) -> NetworkVerdict {
        let bytes = connection.bytes(REQUEST).to_vec();
        match bytes.as_slice() {
            b"ping\n" => {
                connection.inject(RESPONSE, b"pong\n", false);
                connection.bytes_mut(REQUEST).clear().unwrap();
                NetworkVerdict::Continue
            }
            b"break\n" => {
                connection.fail(FilterError::broken("asked to"));
                NetworkVerdict::StopIteration
            }
            bytes if bytes.ends_with(b"\n") => NetworkVerdict::Continue,
            _ => NetworkVerdict::StopIteration,
        }
    }

    fn on_event(&mut self, connection: &mut Connection<'_>, event: Event) {
        if matches!(event, Event::Timer(_)) {
            connection.continue_reading();
        }
    }
}

#[test]
fn a_connection_waits_and_goes_on() {
    let mut connection = FakeConnection::new(Lines);
    assert_eq!(connection.begin(), Some(NetworkVerdict::StopIteration));
    assert_eq!(connection.data("he", false), None);
    connection.advance(Duration::from_secs(1));
    assert_eq!(connection.sent(REQUEST), b"", "shown, but no whole line");
    connection.data("llo\n", false);
    assert_eq!(connection.sent(REQUEST), b"hello\n");
    connection.data("ping\n", false);
    assert_eq!(connection.sent(REQUEST), b"hello\n");
    assert_eq!(connection.sent(RESPONSE), b"pong\n");
    connection.data("break\n", false);
    assert!(connection.is_closed());
    assert_eq!(connection.failure().unwrap().message, "asked to");
    assert_eq!(connection.data("more", true), None);
}

#[test]
fn a_connections_filter_that_fails_open_lets_all_go() {
    let mut connection = FakeConnection::new(Lines).with_failure_policy(FailurePolicy::Open);
    connection.begin();
    connection.advance(Duration::from_secs(1));
    connection.data("break\n", false);
    assert_eq!(connection.data("more", true), None);
    assert_eq!(connection.sent(REQUEST), b"break\nmore");
    assert!(connection.has_ended(REQUEST) && !connection.is_closed());
}

#[test]
fn a_worker_part_has_timers_of_its_own() {
    struct Part(std::cell::Cell<u32>);
    impl WorkerPart for Part {
        fn on_event(&self, worker: &mut Worker<'_>, event: Event) {
            if matches!(event, Event::Timer(_)) {
                self.0.set(self.0.get() + 1);
                worker.set_timer(Duration::from_secs(1));
                if self.0.get() == 3 {
                    worker.drained();
                }
            }
        }
    }
    let part = Part(std::cell::Cell::new(0));
    let mut worker = FakeWorker::new();
    assert!(!worker.event(&part, Event::Timer(TimerId(0))));
    assert_eq!(worker.advance(&part, Duration::from_millis(1_500)), 1);
    assert!(worker.event(&part, Event::Timer(TimerId(0))));
}

#[test]
fn hosts_words_and_metadata_keep_the_proxys_rules() {
    struct Asking;
    impl StreamFilter for Asking {
        fn request_headers(&mut self, stream: &mut Stream<'_>, _end: bool) -> HeadersVerdict {
            let tier = stream.route_metadata("app").and_then(|app| app.get("tier"));
            assert_eq!(tier, Some(&"gold".into()));
            assert_eq!(stream.virtual_host_metadata("app"), None);
            assert_eq!(stream.source_address(), "192.0.2.1:80".parse().ok());
            assert_eq!(
                stream.override_host("a.test:80", true),
                Err(OverrideError::NoAddress)
            );
            assert_eq!(stream.override_host("127.0.0.1:80", true), Ok(()));
            assert_eq!(stream.set_reason_phrase(b"x"), Err(HeaderError::Absent));
            HeadersVerdict::Continue
        }

        fn response_headers(&mut self, stream: &mut Stream<'_>, _end: bool) -> HeadersVerdict {
            assert_eq!(
                stream.override_host("127.0.0.1:80", true),
                Err(OverrideError::Released)
            );
            assert_eq!(
                stream.set_reason_phrase(b"a\r\nb: c"),
                Err(HeaderError::InvalidValue)
            );
            assert_eq!(stream.set_reason_phrase(b"Fine"), Ok(()));
            HeadersVerdict::Continue
        }
    }
    let mut stream = FakeStream::new(Asking)
        .with_attribute(
            attribute::SOURCE_ADDRESS,
            Attribute::Bytes(b"192.0.2.1:80"[..].into()),
        )
        .with_route_metadata("app", "tier", "gold");
    stream.request_headers(true);
    assert!(stream.actions().contains(&Action::OverrideHost {
        host: "127.0.0.1:80".to_owned(),
        strict: true,
    }));
    stream.response_headers(200, &[], true);
    assert_eq!(stream.reason_phrase(), Some(&b"Fine"[..]));
}
