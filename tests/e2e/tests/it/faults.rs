//! Filters that break, answer or end the stream in each of their callbacks.

use transom_e2e::{Client, Message, Setup, Upstream, eventually};

const REQUEST: &str = "POST /a HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n\
    3\r\nabc\r\n0\r\nx-end: 1\r\n\r\n";

fn upstream() -> Upstream {
    Upstream::answering(|_| {
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\ndef\r\n0\r\nx-fin: 2\r\n\r\n"
            .to_vec()
    })
}

/// The answer to [`REQUEST`], if the connection does not break off before it or within it.
fn exchange(client: &mut Client) -> Option<Message> {
    client.send(REQUEST).try_answer("POST").ok().flatten()
}

fn is_whole(answer: &Message) -> bool {
    answer.status() == 200 && answer.text() == "def" && answer.trailer("x-fin") == Some("2")
}

/// Callbacks after which a response may have left already, so that it can only break off.
const LATE: [&str; 2] = ["response_body", "response_trailers"];

#[test]
fn a_panic_in_each_callback_is_500_under_the_policy_closed() {
    for at in [
        "make",
        "request_headers",
        "request_body",
        "request_trailers",
        "event",
        "response_headers",
        "response_body",
        "response_trailers",
    ] {
        println!("at {at}");
        let upstream = upstream();
        let plane = Setup::to(&upstream)
            .filter(&format!("{{name: panic, config: {{at: {at}}}}}"))
            .filter("{name: trace}")
            .access_log("{name: record}")
            .start();
        let answer = exchange(&mut plane.client());
        match answer {
            Some(answer) => {
                assert_eq!(answer.status(), 500, "{at}");
                let line = plane.lab.wait_for_prefix("log");
                assert!(line.contains(" 500 - filter_failed{panic} "), "{line}");
            }
            None => assert!(LATE.contains(&at), "{at}"),
        }
        plane.lab.wait_for("trace.drop");
        assert_eq!(plane.lab.count("panic.called after it broke"), 0, "{at}");
        assert_eq!(plane.lab.count("trace.complete"), 1, "{at}");
        assert_eq!(plane.metric("transom_filter_failures_total", &[]), 1);
        // The worker serves on, and nothing of the stream is left.
        eventually("no active request", || {
            (plane.metric("transom_requests_active", &[]) == 0).then_some(())
        });
    }
}

#[test]
fn a_panic_in_each_callback_goes_by_under_the_policy_open() {
    for at in [
        "make",
        "request_headers",
        "request_body",
        "request_trailers",
        "event",
        "response_headers",
        "response_body",
        "response_trailers",
        "complete",
        "drop",
    ] {
        println!("at {at}");
        let upstream = upstream();
        let plane = Setup::to(&upstream)
            .filter(&format!(
                "{{name: panic, on_failure: open, config: {{at: {at}}}}}"
            ))
            .filter("{name: trace}")
            .start();
        let mut client = plane.client();
        for _ in 0..2 {
            assert!(
                exchange(&mut client).is_some_and(|answer| is_whole(&answer)),
                "{at}"
            );
        }
        assert_eq!(upstream.last().text(), "abc");
        plane.lab.wait_for_times("trace.drop", 2);
        assert_eq!(plane.lab.count("panic.called after it broke"), 0, "{at}");
    }
}

#[test]
fn a_panic_at_the_end_of_a_stream_harms_nobody() {
    let upstream = upstream();
    for at in ["complete", "drop"] {
        let plane = Setup::to(&upstream)
            .filter(&format!("{{name: panic, config: {{at: {at}}}}}"))
            .filter("{name: trace}")
            .access_log("{name: panic_log}")
            .access_log("{name: record}")
            .start();
        let mut client = plane.client();
        for _ in 0..3 {
            assert!(
                exchange(&mut client).is_some_and(|answer| is_whole(&answer)),
                "{at}"
            );
        }
        plane.lab.wait_for_times("trace.drop", 3);
        assert_eq!(plane.lab.count("panic.drop"), 3);
        // The log behind the one that panicked was written too.
        let lines = plane
            .lab
            .notes()
            .into_iter()
            .filter(|note| note.starts_with("log"));
        assert_eq!(lines.count(), 3);
    }
}

#[test]
fn a_failure_reported_is_500_or_503_by_its_kind() {
    let upstream = upstream();
    for (at, status) in [
        ("make", 500),
        ("make", 503),
        ("request_headers", 503),
        ("request_body", 500),
        ("request_trailers", 503),
        ("response_headers", 503),
    ] {
        let filter = format!("{{name: fail, config: {{at: {at}, status: {status}}}}}");
        let plane = Setup::to(&upstream).filter(&filter).start();
        assert_eq!(
            exchange(&mut plane.client()).unwrap().status(),
            status,
            "{at}"
        );
        let open = filter.replace("name: fail", "name: fail, on_failure: open");
        let plane = Setup::to(&upstream).filter(&open).start();
        assert!(is_whole(&exchange(&mut plane.client()).unwrap()), "{at}");
    }
}

#[test]
fn a_local_reply_comes_from_each_callback_and_passes_the_response_callbacks() {
    for at in [
        "make",
        "request_headers",
        "request_body",
        "request_trailers",
        "response_headers",
        "response_body",
        "response_trailers",
    ] {
        println!("at {at}");
        let upstream = upstream();
        let plane = Setup::to(&upstream)
            .filter("{name: trace, id: outer}")
            .filter(&format!(
                "{{name: reply, config: {{at: {at}, status: 418, body: short}}}}"
            ))
            .access_log("{name: record}")
            .start();
        let mut client = plane.client();
        let answer = exchange(&mut client);
        plane.lab.wait_for("outer.drop");
        // Trailers and later pieces of a body: the head has left.
        if plane.lab.count("reply.too late") > 0 {
            assert!(LATE.contains(&at), "{at}");
            continue;
        }
        let answer = answer.unwrap();
        assert_eq!(
            (answer.status(), answer.text()),
            (418, "short".to_owned()),
            "{at}"
        );
        assert_eq!(answer.header("x-by"), Some("reply"));
        assert_eq!(answer.header("content-type"), Some("text/plain"));
        assert_eq!(plane.lab.count("outer.response_headers"), 1, "{at}");
        assert_eq!(plane.lab.count("outer.response_body end"), 1, "{at}");
        let line = plane.lab.wait_for_prefix("log");
        assert!(line.contains(" 418 - test_reply "), "{line}");
    }
}

#[test]
fn a_local_reply_without_a_body_has_length_zero() {
    let upstream = upstream();
    let plane = Setup::to(&upstream)
        .filter("{name: reply, config: {at: request_headers, status: 403}}")
        .start();
    let mut client = plane.client();
    for _ in 0..2 {
        let answer = client.get("/");
        assert_eq!(
            (answer.status(), answer.header("content-length")),
            (403, Some("0"))
        );
    }
    // HEAD is told the length of what GET would get, and gets no body.
    let plane = Setup::to(&upstream)
        .filter("{name: reply, config: {at: request_headers, body: four}}")
        .start();
    let mut client = plane.client();
    for _ in 0..2 {
        let answer = client
            .send("HEAD / HTTP/1.1\r\nHost: test\r\n\r\n")
            .answer_to("HEAD");
        assert_eq!(
            (answer.status(), answer.header("content-length")),
            (403, Some("4"))
        );
    }
    assert_eq!(upstream.requests(), []);
}

#[test]
fn a_waiting_filter_answers_from_another_threads_word() {
    let upstream = upstream();
    let plane = Setup::to(&upstream)
        .filter("{name: reply, config: {at: request_headers, status: 403, later: true}}")
        .start();
    let mut client = plane.client();
    client.send(REQUEST);
    let resumer = plane.lab.resumer("reply");
    resumer.post(0);
    resumer.post(1);
    let answer = client.answer();
    assert_eq!(answer.status(), 403);
    assert_eq!(plane.lab.count("reply.replied"), 1);
    assert_eq!(upstream.requests(), []);
}

#[test]
fn a_reply_after_the_answer_is_too_late() {
    let upstream = upstream();
    let plane = Setup::to(&upstream)
        .filter("{name: reply, config: {at: complete}}")
        .start();
    assert!(is_whole(&exchange(&mut plane.client()).unwrap()));
    plane.lab.wait_for("reply.too late");
}

#[test]
fn a_terminated_stream_has_no_answer() {
    for at in [
        "request_headers",
        "request_body",
        "request_trailers",
        "response_headers",
    ] {
        println!("at {at}");
        let upstream = upstream();
        let plane = Setup::to(&upstream)
            .filter(&format!("{{name: terminate, config: {{at: {at}}}}}"))
            .filter("{name: trace}")
            .access_log("{name: record}")
            .start();
        let mut client = plane.client();
        client.send(REQUEST);
        assert!(client.is_closed(), "{at}");
        plane.lab.wait_for("trace.drop");
        assert_eq!(plane.lab.count("terminate.complete"), 1);
        let line = plane.lab.wait_for_prefix("log");
        assert!(line.contains(" LR terminated_by_filter "), "{line}");
    }
}

#[test]
fn a_grpc_client_is_answered_in_its_own_way() {
    let upstream = upstream();
    let plane = Setup::to(&upstream)
        .filter("{name: reply, config: {at: request_headers, status: 403, body: not you}}")
        .start();
    let answer = plane
        .client()
        .send("POST / HTTP/1.1\r\nHost: test\r\nContent-Type: application/grpc\r\nContent-Length: 0\r\n\r\n")
        .answer();
    assert_eq!((answer.status(), answer.text()), (200, String::new()));
    assert_eq!(answer.header("grpc-status"), Some("7"));
    assert_eq!(answer.header("grpc-message"), Some("not you"));
}
