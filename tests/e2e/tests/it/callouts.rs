//! Filters that call out to a cluster while their stream waits.

use std::net::TcpListener;

use transom_e2e::upstream::ok;
use transom_e2e::{Setup, Upstream};

/// A plane whose filter calls `cluster: other`.
fn calling(upstream: &Upstream, other: &Upstream, config: &str) -> transom_e2e::Plane {
    Setup::to(upstream)
        .cluster("other", &[other.address()])
        .filter(&format!("{{name: callout, config: {config}}}"))
        .start()
}

fn told(upstream: &Upstream) -> String {
    upstream.last().headers("x-callout")
}

#[test]
fn a_callout_is_answered() {
    let upstream = Upstream::ok("good");
    let other = Upstream::answering(|request| {
        ok(&format!(
            "{} {} {}",
            request.method(),
            request.target(),
            request.text()
        ))
    });
    let plane = calling(&upstream, &other, "{cluster: other, body: question}");
    assert_eq!(plane.get("/").text(), "good");
    assert_eq!(told(&upstream), "200 POST /call question");
    assert_eq!(other.last().header("host"), Some("callout.test"));
    // The connection is kept for the next one.
    assert_eq!(plane.get("/").text(), "good");
    assert_eq!(other.connections(), 1);
}

#[test]
fn a_callout_whose_time_is_over_fails() {
    let upstream = Upstream::ok("good");
    let silent = Upstream::serving(|mut connection| {
        // Reads the request, then waits for the proxy to close.
        let _ = connection.request();
        let _ = connection.request();
    });
    let plane = calling(&upstream, &silent, "{cluster: other, timeout: 20ms}");
    assert_eq!(plane.get("/").text(), "good");
    assert_eq!(told(&upstream), "failed Timeout");
}

#[test]
fn a_callout_to_a_cluster_that_was_not_named_is_refused() {
    let upstream = Upstream::ok("good");
    let plane = calling(&upstream, &upstream, "{cluster: up, allowed: other}");
    assert_eq!(plane.get("/").text(), "good");
    assert_eq!(told(&upstream), "refused NotAllowed");
}

#[test]
fn a_cluster_that_does_not_exist_is_an_error_of_the_configuration() {
    let upstream = Upstream::ok("good");
    let plane = calling(&upstream, &upstream, "{cluster: other}");
    let setup = Setup::to(&upstream).filter("{name: callout, config: {cluster: nobody}}");
    let error = plane.apply(&setup.yaml()).unwrap_err();
    assert!(error.contains("unknown cluster `nobody`"), "{error}");
    assert_eq!(plane.get("/").text(), "good");
}

#[test]
fn a_callout_to_nobody_is_unavailable_and_one_that_breaks_off_is_reset() {
    let upstream = Upstream::ok("good");
    let nobody = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let plane = Setup::to(&upstream)
        .cluster("other", &[nobody])
        .filter("{name: callout, config: {cluster: other}}")
        .start();
    assert_eq!(plane.get("/").text(), "good");
    assert_eq!(told(&upstream), "failed Unavailable");
    let breaking = Upstream::answering(|_| Vec::new());
    let plane = calling(&upstream, &breaking, "{cluster: other}");
    assert_eq!(plane.get("/").text(), "good");
    assert_eq!(told(&upstream), "failed Reset");
}

#[test]
fn an_answer_of_more_than_a_mebibyte_is_too_large() {
    let upstream = Upstream::ok("good");
    let large = Upstream::answering(|_| ok(&"x".repeat((1 << 20) + 1)));
    let plane = calling(&upstream, &large, "{cluster: other}");
    assert_eq!(plane.get("/").text(), "good");
    assert_eq!(told(&upstream), "failed TooLarge");
}

#[test]
fn a_large_body_is_sent_as_a_whole() {
    let upstream = Upstream::ok("good");
    let other = Upstream::answering(|request| ok(&request.body.len().to_string()));
    let body = "x".repeat(3 << 20);
    let plane = calling(
        &upstream,
        &other,
        &format!("{{cluster: other, body: {body}}}"),
    );
    assert_eq!(plane.get("/").text(), "good");
    assert_eq!(told(&upstream), format!("200 {}", 3 << 20));
}

#[test]
fn a_cancelled_callout_tells_nothing() {
    let upstream = Upstream::ok("good");
    let other = Upstream::ok("late");
    let plane = calling(&upstream, &other, "{cluster: other, cancel: true}");
    assert_eq!(plane.get("/").text(), "good");
    assert_eq!(told(&upstream), "cancelled");
}

#[test]
fn a_client_that_leaves_during_a_callout_ends_it() {
    let upstream = Upstream::ok("good");
    let silent = Upstream::serving(|mut connection| {
        let _ = connection.request();
        // The end of the callout closes its connection.
        assert!(connection.client.is_closed());
    });
    let plane = calling(&upstream, &silent, "{cluster: other}");
    let mut client = plane.client();
    client.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n");
    silent.wait_for_requests(1);
    client.reset();
    plane.lab.wait_for("callout.reset");
    assert_eq!(upstream.requests(), []);
}

#[test]
fn an_async_filter_waits_asks_and_goes_on() {
    let upstream = Upstream::echo();
    let other = Upstream::answering(|request| match request.target() {
        "/auth/good" => ok("alice"),
        _ => b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n".to_vec(),
    });
    let plane = Setup::to(&upstream)
        .cluster("other", &[other.address()])
        .filter("{name: asynchronous, config: {cluster: other}}")
        .start();
    let mut client = plane.client();
    assert!(client.get("/good").text().contains("x-user: alice\n"));
    assert_eq!(client.get("/bad").status(), 401);
    assert_eq!(upstream.requests().len(), 1);
    assert_eq!(plane.lab.count("asynchronous.slept"), 2);
}

/// A host that answers the first request of a connection, and ends it at the second without a word.
fn forgetful() -> Upstream {
    Upstream::serving(|mut connection| {
        if let Ok(Some(_)) = connection.request() {
            connection.send(ok("first"));
            let _ = connection.request();
        }
    })
}

#[test]
fn a_callout_that_may_have_arrived_is_repeated_only_if_that_does_no_harm() {
    let (upstream, other) = (Upstream::ok("good"), forgetful());
    // This filter asks by POST, and the other by GET.
    let plane = calling(&upstream, &other, "{cluster: other}");
    for answer in ["200 first", "failed Reset"] {
        assert_eq!(plane.get("/").text(), "good");
        assert_eq!(told(&upstream), answer);
    }
    let plane = Setup::to(&upstream)
        .cluster("other", &[other.address()])
        .filter("{name: asynchronous, config: {cluster: other}}")
        .start();
    for _ in 0..2 {
        assert_eq!(plane.get("/").text(), "good");
        assert_eq!(upstream.last().header("x-user"), Some("first"));
    }
}
