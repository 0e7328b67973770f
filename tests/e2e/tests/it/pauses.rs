//! Filters that wait: stopped in each phase and direction, and resumed from another thread.

use transom_e2e::{Setup, Upstream};

/// A request with a body and trailers, to which the upstream answers with a body and trailers.
const REQUEST: &str = "POST /a HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\nTrailer: x-end\r\n\r\n\
    3\r\nabc\r\n0\r\nx-end: 1\r\n\r\n";

fn upstream() -> Upstream {
    Upstream::answering(|_| {
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\ndef\r\n0\r\nx-fin: 2\r\n\r\n"
            .to_vec()
    })
}

/// Stops at `at` with `stop` in a phase, sees that nothing goes on, resumes it and sees all of both messages.
fn pauses(at: &str, stop: &str, phase: &str) {
    // Shown when the test fails.
    println!("at {at}, stop {stop}, phase {phase}");
    let upstream = upstream();
    let plane = Setup::to(&upstream)
        .filter(&format!(
            "{{name: pause, phase: {phase}, config: {{at: {at}, stop: {stop}}}}}"
        ))
        .filter("{name: trace}")
        .start();
    let mut client = plane.client();
    client.send(REQUEST);
    let resumer = plane.lab.resumer("pause");
    if at.starts_with("request") {
        assert_eq!(upstream.requests(), [], "{at} {stop} {phase}");
    } else {
        client.socket().set_nonblocking(true).unwrap();
        if at == "response_headers" {
            assert!(client.try_answer("POST").is_err(), "{at} {stop} {phase}");
        }
        client.socket().set_nonblocking(false).unwrap();
    }
    resumer.post(7);
    let answer = client.answer();
    assert_eq!((answer.status(), answer.text()), (200, "def".to_owned()));
    assert_eq!(answer.trailer("x-fin"), Some("2"));
    let request = upstream.last();
    assert_eq!(request.text(), "abc");
    assert_eq!(request.trailer("x-end"), Some("1"));
    plane.lab.wait_for("pause.resumed 7");
}

#[test]
fn a_filter_pauses_in_each_phase_and_direction_and_is_resumed_from_another_thread() {
    for phase in ["before_route", "after_route", "after_choose_host"] {
        for at in [
            "request_headers",
            "request_body",
            "request_trailers",
            "response_headers",
            "response_body",
            "response_trailers",
        ] {
            for stop in ["iteration", "buffer", "all", "all_and_buffer"] {
                pauses(at, stop, phase);
            }
        }
    }
}
