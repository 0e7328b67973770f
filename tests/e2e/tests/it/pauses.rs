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

/// A request that stops in its headers.
fn held(upstream: &Upstream, options: &str) -> transom_e2e::Plane {
    Setup::to(upstream)
        .filter(&format!(
            "{{name: pause, config: {{at: request_headers, stop: all{options}}}}}"
        ))
        .start()
}

#[test]
fn resumed_twice_is_resumed_once() {
    let upstream = Upstream::ok("good");
    let plane = held(&upstream, "");
    let mut client = plane.client();
    client.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n");
    let resumer = plane.lab.resumer("pause");
    resumer.post(1);
    resumer.post(2);
    assert_eq!(client.answer().text(), "good");
    plane.lab.wait_for("pause.complete");
    assert_eq!(upstream.requests().len(), 1);
    // Posts of one thread keep their order; the second may find the stream over.
    assert_eq!(plane.lab.count("pause.resumed 1"), 1);
    assert!(plane.lab.count("pause.resumed 2") <= 1);
    // The connection is as good as new.
    client.send("GET /again HTTP/1.1\r\nHost: test\r\n\r\n");
    plane.lab.resumer("pause").post(3);
    assert_eq!(client.answer().text(), "good");
}

#[test]
fn resumed_after_the_client_left_is_dropped() {
    let upstream = Upstream::ok("good");
    let plane = held(&upstream, "");
    let mut client = plane.client();
    client.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n");
    let resumer = plane.lab.resumer("pause");
    client.reset();
    // The stream ends as soon as the client is gone, whoever it waits for.
    plane.lab.wait_for("pause.complete");
    assert_eq!(plane.lab.count("pause.reset Downstream"), 1);
    resumer.post(1);
    // A whole exchange goes through the same worker after the post.
    let mut client = plane.client();
    client.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n");
    plane.lab.resumer("pause").post(2);
    assert_eq!(client.answer().status(), 200);
    assert_eq!(plane.lab.count("pause.resumed 1"), 0);
    assert_eq!(upstream.requests().len(), 1);
}

#[test]
fn a_post_during_the_filters_own_callback_comes_after_it() {
    let upstream = Upstream::ok("good");
    let plane = held(&upstream, ", own_callback: true");
    assert_eq!(plane.get("/").text(), "good");
    plane.lab.wait_for("pause.complete");
    let notes = plane.lab.notes();
    assert_eq!(
        notes,
        [
            "pause.prepare",
            "pause.paused",
            "pause.resumed 1",
            "pause.complete"
        ]
    );
}

#[test]
fn a_post_carries_a_value() {
    let upstream = Upstream::ok("good");
    let plane = held(&upstream, "");
    let mut client = plane.client();
    client.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n");
    plane
        .lab
        .resumer("pause")
        .post_with(5, " with a word".to_owned());
    assert_eq!(client.answer().status(), 200);
    plane.lab.wait_for("pause.resumed 5 with a word");
}

#[test]
fn each_of_two_filters_waits_for_its_own_resumer() {
    let upstream = Upstream::echo();
    let plane = Setup::to(&upstream)
        .filter("{name: pause, id: first, config: {at: request_body, stop: buffer}}")
        .filter("{name: pause, id: second, config: {at: request_headers, stop: all}}")
        .start();
    let mut client = plane.client();
    client.send("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 3\r\n\r\nabc");
    let first = plane.lab.resumer("first");
    let second = plane.lab.resumer("second");
    first.post(1);
    plane.lab.wait_for("first.resumed 1");
    assert_eq!(upstream.requests(), []);
    second.post(2);
    assert!(client.answer().text().contains("body abc"));
}

#[test]
fn timers_run_out_and_can_be_cancelled() {
    let upstream = Upstream::ok("good");
    let plane = Setup::to(&upstream)
        .filter("{name: timer, config: {after: 5ms}}")
        .start();
    let begin = std::time::Instant::now();
    assert_eq!(plane.get("/").text(), "good");
    assert!(begin.elapsed() >= std::time::Duration::from_millis(5));
    assert_eq!(plane.lab.notes(), ["timer.prepare", "timer.timer"]);
}

#[test]
fn the_stream_time_limit_runs_while_a_filter_waits() {
    let upstream = Upstream::ok("good");
    let plane = Setup::to(&upstream)
        .filter("{name: pause, config: {at: request_headers, stop: all}}")
        .option("timeouts: {stream: 30ms}")
        .access_log("{name: record}")
        .start();
    let answer = plane.get("/");
    assert_eq!(answer.status(), 504);
    assert_eq!(upstream.requests(), []);
    let line = plane.lab.wait_for_prefix("log");
    assert!(
        line.starts_with("log GET / 504 UT response_timeout"),
        "{line}"
    );
}

#[test]
fn reading_stops_at_the_watermark_while_a_filter_waits() {
    let upstream =
        Upstream::answering(|request| transom_e2e::upstream::ok(&request.body.len().to_string()));
    let plane = Setup::to(&upstream)
        .filter("{name: pause, config: {at: request_headers, stop: all}}")
        .option("watermark: 4KiB")
        .start();
    const BODY: usize = 64 << 20;
    let client = plane.client();
    let mut sender = transom_e2e::Client::over(client.socket().try_clone().unwrap());
    sender.send(format!(
        "POST / HTTP/1.1\r\nHost: test\r\nContent-Length: {BODY}\r\n\r\n"
    ));
    let resumer = plane.lab.resumer("pause");
    // Whatever fits into the kernel's buffers and the watermark is taken, then sending blocks.
    sender.socket().set_nonblocking(true).unwrap();
    let piece = vec![b'x'; 64 << 10];
    let mut sent = 0;
    let mut quiet = 0;
    while quiet < 20 && sent < BODY {
        use std::io::Write;
        match sender
            .socket()
            .write(&piece[..piece.len().min(BODY - sent)])
        {
            Ok(count) => {
                sent += count;
                quiet = 0;
            }
            Err(_) => {
                quiet += 1;
                std::thread::sleep(std::time::Duration::from_millis(1));
            }
        }
    }
    assert!(sent < 16 << 20, "{sent} bytes were read from the client");
    sender.socket().set_nonblocking(false).unwrap();
    resumer.post(1);
    while sent < BODY {
        let count = piece.len().min(BODY - sent);
        sender.send(&piece[..count]);
        sent += count;
    }
    let mut client = client;
    assert_eq!(client.answer().text(), BODY.to_string());
}
