//! Clients that end their sending direction and read on.

use transom_e2e::upstream::ok;
use transom_e2e::{Setup, Upstream};

const GET: &str = "GET /a HTTP/1.1\r\nHost: test\r\n\r\n";

#[test]
fn a_client_that_has_ended_its_direction_gets_its_answer() {
    let upstream = Upstream::ok("late");
    let plane = Setup::to(&upstream)
        .filter("{name: pause, config: {at: request_headers, stop: iteration}}")
        .start();
    let mut client = plane.client();
    client.send(GET).end();
    // It is answered after its end was seen.
    let resumer = plane.lab.resumer("pause");
    resumer.post(1);
    let answer = client.answer();
    assert_eq!((answer.status(), answer.text()), (200, "late".to_owned()));
    assert!(client.is_closed());
}

#[test]
fn all_requests_that_were_sent_before_the_end_are_answered() {
    let upstream = Upstream::answering(|request| ok(request.target()));
    let plane = Setup::to(&upstream).start();
    let mut client = plane.client();
    client
        .send(GET)
        .send(GET.replace("/a", "/b"))
        .send(GET.replace("/a", "/c"))
        .end();
    for path in ["/a", "/b", "/c"] {
        assert_eq!(client.answer().text(), path);
    }
    assert!(client.is_closed());
}

#[test]
fn an_end_within_a_request_is_no_half_close() {
    let upstream = Upstream::ok("no");
    let plane = Setup::to(&upstream).start();
    for part in [
        "GET / HT",
        "POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 5\r\n\r\nab",
    ] {
        let mut client = plane.client();
        client.send(part).end();
        assert!(
            matches!(client.try_answer("GET"), Ok(None) | Err(_)),
            "{part}"
        );
    }
}

#[test]
fn an_option_has_requests_end_with_their_clients_direction() {
    let upstream = Upstream::ok("no");
    let plane = Setup::to(&upstream)
        .option("half_close: abort")
        .filter("{name: trace}")
        .filter("{name: pause, config: {at: request_headers, stop: iteration}}")
        .start();
    let mut client = plane.client();
    client.send(GET).end();
    plane.lab.wait_for("trace.reset Downstream");
    assert!(client.is_closed());
    assert_eq!(upstream.requests(), []);
}

#[test]
fn a_client_that_resets_is_gone() {
    let upstream = Upstream::answering(|_| ok("no"));
    let plane = Setup::to(&upstream)
        .filter("{name: trace}")
        .filter("{name: pause, config: {at: request_headers, stop: iteration}}")
        .start();
    let mut client = plane.client();
    client.send(GET);
    plane.lab.wait_for("pause.paused");
    client.reset();
    plane.lab.wait_for("trace.reset Downstream");
    assert_eq!(upstream.requests(), []);
}
