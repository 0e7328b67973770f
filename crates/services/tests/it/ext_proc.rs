//! `ext_proc`.

use bytes::Bytes;
use prost::Message as _;
use transom_e2e::{Setup, Upstream, eventually};
use transom_services::proto::core::{HeaderValue, HeaderValueOption};
use transom_services::proto::envoy::r#type::v3::HttpStatus;
use transom_services::proto::ext_proc::body_mutation::Mutation;
use transom_services::proto::ext_proc::processing_request::Request;
use transom_services::proto::ext_proc::processing_response::Response;
use transom_services::proto::ext_proc::{
    BodyMutation, BodyResponse, CommonResponse, HeaderMutation, HeadersResponse, ImmediateResponse,
    ProcessingRequest, ProcessingResponse, TrailersResponse,
};

use crate::server::{Server, Step};

/// Answers each message with what `change` makes of its kind; nothing by default.
fn processor(
    change: impl Fn(&Request) -> Option<CommonResponse> + Send + Sync + 'static,
) -> Server {
    Server::start(move |_, message| {
        let request = ProcessingRequest::decode(message).unwrap().request.unwrap();
        vec![Step::send(&answer(&request, change(&request)))]
    })
}

fn answer(request: &Request, response: Option<CommonResponse>) -> ProcessingResponse {
    let response = match request {
        Request::RequestHeaders(_) => Response::RequestHeaders(HeadersResponse { response }),
        Request::ResponseHeaders(_) => Response::ResponseHeaders(HeadersResponse { response }),
        Request::RequestBody(_) => Response::RequestBody(BodyResponse { response }),
        Request::ResponseBody(_) => Response::ResponseBody(BodyResponse { response }),
        Request::RequestTrailers(_) => Response::RequestTrailers(TrailersResponse::default()),
        Request::ResponseTrailers(_) => Response::ResponseTrailers(TrailersResponse::default()),
    };
    ProcessingResponse {
        response: Some(response),
        ..ProcessingResponse::default()
    }
}

pub(crate) fn set(name: &str, value: &str) -> HeaderValueOption {
    HeaderValueOption {
        header: Some(HeaderValue {
            key: name.to_owned(),
            raw_value: value.as_bytes().to_vec(),
            ..HeaderValue::default()
        }),
        ..HeaderValueOption::default()
    }
}

fn headers(options: Vec<HeaderValueOption>) -> CommonResponse {
    CommonResponse {
        header_mutation: Some(HeaderMutation {
            set_headers: options,
            remove_headers: Vec::new(),
        }),
        ..CommonResponse::default()
    }
}

fn body(bytes: &'static str) -> CommonResponse {
    CommonResponse {
        body_mutation: Some(BodyMutation {
            mutation: Some(Mutation::Body(Bytes::from_static(bytes.as_bytes()))),
        }),
        ..CommonResponse::default()
    }
}

fn filter(server: &Server, more: &str) -> String {
    format!("{{name: ext_proc, config: {{{}{more}}}}}", server.grpc())
}

#[test]
fn headers_go_to_the_server_and_come_back_changed() {
    let server = processor(|request| match request {
        Request::RequestHeaders(_) => Some(headers(vec![set("x-in", "1")])),
        Request::ResponseHeaders(_) => Some(headers(vec![set("x-out", "2")])),
        _ => None,
    });
    let upstream = Upstream::echo();
    let plane = Setup::to(&upstream).filter(&filter(&server, "")).start();
    let answer = plane.get("/");
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.header("x-out"), Some("2"));
    assert_eq!(upstream.last().header("x-in"), Some("1"));
    // One call for the stream, ended in peace.
    assert_eq!(server.count(), 1);
    eventually("the end of the call", || {
        server.calls.lock().unwrap()[0].ended.then_some(())
    });
    assert_eq!(plane.metric("transom_ext_proc_messages_sent_total", &[]), 2);
}

#[test]
fn a_body_that_nobody_changed_keeps_its_length() {
    for mode in ["none", "buffered", "buffered_partial"] {
        let server = processor(|_| None);
        let upstream = Upstream::echo();
        let filter = filter(
            &server,
            &format!(", processing_mode: {{request_body_mode: {mode}}}"),
        );
        let plane = Setup::to(&upstream).filter(&filter).start();
        assert_eq!(plane.client().post("/", "four").status(), 200);
        let request = upstream.last();
        assert_eq!(request.header("content-length"), Some("4"), "{mode}");
        assert_eq!(request.body, b"four", "{mode}");
    }
}

#[test]
fn bodies_are_replaced_in_every_mode() {
    for mode in ["streamed", "buffered", "buffered_partial"] {
        for headers in ["send", "skip"] {
            let server = processor(|request| match request {
                // The end of a streamed body may come as a piece without bytes.
                Request::RequestBody(piece) if !piece.body.is_empty() => Some(body("another")),
                _ => None,
            });
            let upstream = Upstream::echo();
            let mode = format!(
                ", processing_mode: {{request_header_mode: {headers}, request_body_mode: {mode}}}"
            );
            let plane = Setup::to(&upstream).filter(&filter(&server, &mode)).start();
            assert_eq!(plane.client().post("/", "four").status(), 200);
            assert_eq!(upstream.last().body, b"another", "{mode}");
        }
    }
}

#[test]
fn a_body_over_the_limit_is_refused_or_sent_in_part() {
    let long = "x".repeat(100_000);
    for (mode, expected) in [("buffered", 413), ("buffered_partial", 200)] {
        let server = processor(|request| match request {
            Request::RequestBody(_) => Some(body("begin-")),
            _ => None,
        });
        let upstream = Upstream::echo();
        let mode = format!(", buffer_limit: 1000, processing_mode: {{request_body_mode: {mode}}}");
        let plane = Setup::to(&upstream).filter(&filter(&server, &mode)).start();
        assert_eq!(plane.client().post("/", &long).status(), expected, "{mode}");
        if expected == 200 {
            let request = upstream.last();
            assert!(request.body.starts_with(b"begin-x"), "{mode}");
            assert!(request.body.len() < long.len());
        }
    }
}

#[test]
fn pieces_pass_in_their_order_however_slow_the_server_is() {
    let server = Server::start(|number, message| {
        let request = ProcessingRequest::decode(message).unwrap().request.unwrap();
        if number % 3 == 1 {
            std::thread::sleep(std::time::Duration::from_millis(2));
        }
        vec![Step::send(&answer(&request, None))]
    });
    let upstream = Upstream::echo();
    let mode = ", processing_mode: {request_body_mode: streamed}, message_timeout: 10s";
    let plane = Setup::to(&upstream).filter(&filter(&server, mode)).start();
    let long: String = (0..200_000).map(|number| format!("{number},")).collect();
    assert_eq!(plane.client().post("/", &long).status(), 200);
    assert_eq!(upstream.last().body, long.as_bytes());
}

#[test]
fn the_server_of_a_full_duplex_body_says_what_it_is() {
    use transom_services::proto::ext_proc::StreamedBodyResponse;
    let server = processor(|request| match request {
        Request::RequestBody(body) if body.end_of_stream => Some(CommonResponse {
            body_mutation: Some(BodyMutation {
                mutation: Some(Mutation::StreamedResponse(StreamedBodyResponse {
                    body: Bytes::from_static(b"of the server"),
                    end_of_stream: true,
                    ..StreamedBodyResponse::default()
                })),
            }),
            ..CommonResponse::default()
        }),
        Request::RequestBody(_) => Some(CommonResponse {
            body_mutation: Some(BodyMutation {
                mutation: Some(Mutation::StreamedResponse(StreamedBodyResponse::default())),
            }),
            ..CommonResponse::default()
        }),
        _ => None,
    });
    let upstream = Upstream::echo();
    let mode =
        ", processing_mode: {request_body_mode: full_duplex_streamed, request_trailer_mode: send}";
    let plane = Setup::to(&upstream).filter(&filter(&server, mode)).start();
    assert_eq!(plane.client().post("/", "of the client").status(), 200);
    assert_eq!(upstream.last().body, b"of the server");
}

#[test]
fn the_server_answers_in_place_of_the_host() {
    let server = Server::start(|_, _| {
        let reply = ImmediateResponse {
            status: Some(HttpStatus { code: 403 }),
            headers: Some(HeaderMutation {
                set_headers: vec![set("x-why", "because"), set("content-length", "99")],
                remove_headers: Vec::new(),
            }),
            body: Bytes::from_static(b"no"),
            ..ImmediateResponse::default()
        };
        vec![Step::send(&ProcessingResponse {
            response: Some(Response::ImmediateResponse(reply)),
            ..ProcessingResponse::default()
        })]
    });
    let upstream = Upstream::echo();
    let plane = Setup::to(&upstream).filter(&filter(&server, "")).start();
    let answer = plane.get("/");
    assert_eq!(answer.status(), 403);
    assert_eq!(answer.header("x-why"), Some("because"));
    assert_eq!(answer.body, b"no");
    assert!(upstream.requests().is_empty());
}

#[test]
fn what_a_failing_server_does_to_a_request_is_configured() {
    // The configuration, what is put beside the filter's name, and the status.
    let cases = [
        ("", "", 500),
        (", status_on_error: 502", "", 502),
        (", failure_mode_allow: true", "", 200),
        ("", ", on_failure: open", 200),
    ];
    for (more, policy, status) in cases {
        let server = Server::start(|_, _| vec![Step::End(14)]);
        let upstream = Upstream::echo();
        let mode = format!("{more}, processing_mode: {{request_body_mode: streamed}}");
        let filter = format!(
            "{{name: ext_proc{policy}, config: {{{}{mode}}}}}",
            server.grpc()
        );
        let plane = Setup::to(&upstream).filter(&filter).start();
        assert_eq!(
            plane.client().post("/", "four").status(),
            status,
            "{more}{policy}"
        );
        if status == 200 {
            assert_eq!(upstream.last().body, b"four");
        }
    }
}

#[test]
fn pieces_that_the_server_took_with_it_are_not_lost() {
    // It answers the headers and then dies with the body.
    let server = Server::start(|number, message| {
        let request = ProcessingRequest::decode(message).unwrap().request.unwrap();
        match number {
            0 => vec![Step::send(&answer(&request, None))],
            _ => vec![Step::Hang],
        }
    });
    for policy in ["", ", on_failure: open"] {
        let upstream = Upstream::echo();
        let allow = if policy.is_empty() {
            ", failure_mode_allow: true"
        } else {
            ""
        };
        let mode = format!("{allow}, processing_mode: {{request_body_mode: streamed}}");
        let filter = format!(
            "{{name: ext_proc{policy}, config: {{{}{mode}}}}}",
            server.grpc()
        );
        let plane = Setup::to(&upstream).filter(&filter).start();
        assert_eq!(plane.client().post("/", "a body").status(), 200, "{policy}");
        assert_eq!(upstream.last().body, b"a body", "{policy}");
    }
}

#[test]
fn a_late_server_is_504_and_may_ask_for_time() {
    let late = |extended: bool| {
        Server::start(move |_, message| {
            let request = ProcessingRequest::decode(message).unwrap().request.unwrap();
            let more = ProcessingResponse {
                override_message_timeout: Some(prost_types::Duration {
                    seconds: 5,
                    nanos: 0,
                }),
                ..ProcessingResponse::default()
            };
            // The script waits before it answers, so the demand for time goes by a message of its own.
            if extended {
                return vec![
                    Step::send(&more),
                    Step::Later(400, Box::new(Step::send(&answer(&request, None)))),
                ];
            }
            vec![Step::Later(
                400,
                Box::new(Step::send(&answer(&request, None))),
            )]
        })
    };
    for (extended, status) in [(false, 504), (true, 200)] {
        let server = late(extended);
        let upstream = Upstream::echo();
        let more = ", message_timeout: 150ms, max_message_timeout: 10s, processing_mode: {response_header_mode: skip}";
        let plane = Setup::to(&upstream).filter(&filter(&server, more)).start();
        assert_eq!(plane.get("/").status(), status);
    }
}

#[test]
fn an_answer_that_was_not_asked_is_a_failure() {
    let server = Server::start(|_, _| {
        vec![Step::send(&ProcessingResponse {
            response: Some(Response::ResponseBody(BodyResponse::default())),
            ..ProcessingResponse::default()
        })]
    });
    let upstream = Upstream::echo();
    let plane = Setup::to(&upstream).filter(&filter(&server, "")).start();
    assert_eq!(plane.get("/").status(), 500);
    assert_eq!(
        plane.metric("transom_ext_proc_spurious_messages_total", &[]),
        1
    );
}

#[test]
fn bytes_that_are_no_message_are_a_failure() {
    let server =
        Server::start(|_, _| vec![Step::Send(Bytes::from_static(&[0, 0, 0, 0, 2, 0xff, 0xff]))]);
    let upstream = Upstream::echo();
    let plane = Setup::to(&upstream).filter(&filter(&server, "")).start();
    assert_eq!(plane.get("/").status(), 500);
}

#[test]
fn a_route_has_its_own_mode_or_none() {
    let server = processor(|_| None);
    let upstream = Upstream::echo();
    let plane = Setup::to(&upstream)
        .filter(&filter(&server, ""))
        .route("{match: {prefix: /off}, cluster: up, filters: {ext_proc: {disabled: true}}}")
        .route("{match: {prefix: /out}, cluster: up, filters: {ext_proc: {config: {disabled: true}}}}")
        .route("{match: {prefix: /body}, cluster: up, filters: {ext_proc: {config: {processing_mode: {request_body_mode: buffered}, grpc_initial_metadata: {x-route: body}}}}}")
        .start();
    assert_eq!(plane.get("/off").status(), 200);
    assert_eq!(plane.get("/out").status(), 200);
    assert_eq!(server.count(), 0);
    assert_eq!(plane.client().post("/body", "four").status(), 200);
    let kinds: Vec<_> = server
        .messages::<ProcessingRequest>(0)
        .into_iter()
        .map(|message| std::mem::discriminant(&message.request.unwrap()))
        .collect();
    let expected = [
        std::mem::discriminant(&Request::RequestHeaders(Default::default())),
        std::mem::discriminant(&Request::RequestBody(Default::default())),
        std::mem::discriminant(&Request::ResponseHeaders(Default::default())),
    ];
    assert_eq!(kinds, expected);
    let calls = server.calls.lock().unwrap();
    assert_eq!(calls[0].headers.get("x-route").unwrap(), "body");
    assert_eq!(
        calls[0].path,
        "/envoy.service.ext_proc.v3.ExternalProcessor/Process"
    );
}

#[test]
fn a_server_that_watches_holds_nothing_up() {
    let server = Server::start(|_, _| vec![]);
    let upstream = Upstream::echo();
    let mode = ", observability_mode: true, processing_mode: {request_body_mode: streamed}";
    let plane = Setup::to(&upstream).filter(&filter(&server, mode)).start();
    assert_eq!(plane.client().post("/", "four").status(), 200);
    eventually("all messages", || {
        (server.count() == 1 && server.messages::<ProcessingRequest>(0).len() >= 3).then_some(())
    });
    let messages = server.messages::<ProcessingRequest>(0);
    assert!(messages.iter().all(|message| message.observability_mode));
}

/// Trailers of a response: those that are there are changed, and to a message without them some are added.
#[test]
fn trailers_are_changed_and_added() {
    for (answered, expected) in [
        (
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: x-t\r\n\r\n3\r\nabc\r\n0\r\nx-t: 1\r\n\r\n",
            Some("1"),
        ),
        (
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
            None,
        ),
    ] {
        for mode in ["none", "streamed", "buffered", "buffered_partial"] {
            let server = Server::start(|_, message| {
                let request = ProcessingRequest::decode(message).unwrap().request.unwrap();
                let mut reply = answer(&request, None);
                if let Some(Response::ResponseTrailers(trailers)) = &mut reply.response {
                    trailers.header_mutation = headers(vec![set("x-added", "2")]).header_mutation;
                }
                vec![Step::send(&reply)]
            });
            let upstream = Upstream::answering(move |_| answered.as_bytes().to_vec());
            let mode = format!(
                ", processing_mode: {{response_body_mode: {mode}, response_trailer_mode: send}}"
            );
            let plane = Setup::to(&upstream).filter(&filter(&server, &mode)).start();
            let answer = plane
                .client()
                .send("GET / HTTP/1.1\r\nHost: test\r\nTE: trailers\r\n\r\n")
                .answer();
            assert_eq!(answer.body, b"abc", "{mode}");
            assert_eq!(answer.trailer("x-t"), expected, "{mode}");
            assert_eq!(answer.trailer("x-added"), Some("2"), "{mode}");
        }
    }
}

#[test]
fn the_server_may_ask_for_another_mode() {
    use transom_services::proto::envoy::extensions::filters::http::ext_proc::v3::ProcessingMode;
    use transom_services::proto::envoy::extensions::filters::http::ext_proc::v3::processing_mode::{BodySendMode, HeaderSendMode};
    for (allowed, messages) in [(true, 2), (false, 2)] {
        let server = Server::start(|_, message| {
            let request = ProcessingRequest::decode(message).unwrap().request.unwrap();
            let mut reply = answer(&request, None);
            if matches!(request, Request::RequestHeaders(_)) {
                reply.mode_override = Some(ProcessingMode {
                    request_body_mode: BodySendMode::Buffered as i32,
                    response_header_mode: HeaderSendMode::Skip as i32,
                    ..ProcessingMode::default()
                });
            }
            vec![Step::send(&reply)]
        });
        let upstream = Upstream::echo();
        let more = format!(", allow_mode_override: {allowed}");
        let plane = Setup::to(&upstream).filter(&filter(&server, &more)).start();
        assert_eq!(plane.client().post("/", "four").status(), 200);
        let seen = server.messages::<ProcessingRequest>(0);
        assert_eq!(seen.len(), messages);
        let is_body = matches!(seen[1].request, Some(Request::RequestBody(_)));
        assert_eq!(is_body, allowed);
    }
}

#[test]
fn metadata_and_attributes_go_to_the_server_and_metadata_comes_back() {
    use prost_types::value::Kind;
    use prost_types::{Struct, Value};
    let server = Server::start(|_, message| {
        let request = ProcessingRequest::decode(message).unwrap().request.unwrap();
        let text = Value {
            kind: Some(Kind::StringValue("blue".to_owned())),
        };
        let space = |key: &str| Struct {
            fields: [(key.to_owned(), text.clone())].into(),
        };
        let spaces = ["mine", "forbidden"].map(|name| {
            let value = Value {
                kind: Some(Kind::StructValue(space("team"))),
            };
            (name.to_owned(), value)
        });
        let reply = ProcessingResponse {
            dynamic_metadata: Some(Struct {
                fields: spaces.into(),
            }),
            ..answer(&request, None)
        };
        vec![Step::send(&reply)]
    });
    let upstream = Upstream::echo();
    let more = ", request_attributes: [request.path], metadata_options: {receiving_namespaces: [mine], forwarding_namespaces: [mine, other]}";
    let plane = Setup::to(&upstream).filter(&filter(&server, more)).start();
    assert_eq!(plane.get("/some").status(), 200);
    let seen = server.messages::<ProcessingRequest>(0);
    let attributes = &seen[0].attributes["envoy.filters.http.ext_proc"];
    let path = Value {
        kind: Some(Kind::StringValue("/some".to_owned())),
    };
    assert_eq!(attributes.fields["request.path"], path);
    assert!(seen[1].attributes.is_empty());
    // What it said to the request's headers it is told with the response's.
    let metadata = seen[1].metadata_context.as_ref().unwrap();
    assert!(metadata.filter_metadata.contains_key("mine"));
    assert!(!metadata.filter_metadata.contains_key("forbidden"));
}

#[test]
fn a_tunnel_is_not_kept_for_an_end_that_it_does_not_have() {
    let server = processor(|_| None);
    let upstream = Upstream::serving(|mut connection| {
        connection.head().unwrap();
        connection.send(
            "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n",
        );
        connection.send("welcome");
        connection.rest();
    });
    let mode = ", processing_mode: {request_body_mode: buffered, response_body_mode: buffered}";
    let plane = Setup::to(&upstream).filter(&filter(&server, mode)).start();
    let mut client = plane.client();
    client
        .send("GET / HTTP/1.1\r\nHost: test\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n");
    assert_eq!(client.head().status(), 101);
    assert_eq!(client.bytes(7), b"welcome");
}
