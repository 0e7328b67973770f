//! What is sent again, and what is not.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use transom_e2e::upstream::{ok, tell};
use transom_e2e::{Message, Plane, Setup, Upstream, eventually};

fn status(status: u16) -> Vec<u8> {
    format!("HTTP/1.1 {status} S\r\nContent-Length: 4\r\n\r\nfail").into_bytes()
}

/// Answers the first so many requests so, and later ones with what they were.
fn failing(count: usize, failure: fn() -> Vec<u8>) -> Upstream {
    let so_far = AtomicUsize::new(0);
    Upstream::answering(move |request| {
        if so_far.fetch_add(1, Ordering::SeqCst) < count {
            return failure();
        }
        ok(&tell(request))
    })
}

fn plane(hosts: &[std::net::SocketAddr], retry: &str, cluster: &str) -> Plane {
    let endpoints: Vec<String> = hosts.iter().map(|host| format!("\"{host}\"")).collect();
    Setup::to_address(hosts[0])
        .no_clusters()
        .cluster_of(&format!(
            "{{name: up, endpoints: [{}]{cluster}}}",
            endpoints.join(", ")
        ))
        .route(&format!("{{match: {{prefix: /}}, cluster: up{retry}}}"))
        .access_log("{name: attributes, config: [response.code, response.flags]}")
        .start()
}

fn again(on: &str) -> String {
    format!(", retry: {{on: [{on}], backoff: 0ms..0ms}}")
}

fn flags(plane: &Plane) -> String {
    eventually("a line of the access log", || {
        plane.lab.notes().last().cloned()
    })
}

#[test]
fn a_status_is_answered_by_another_attempt_at_another_host() {
    for on in ["503", "5xx", "gateway_error", "\"500..503\""] {
        let bad = Upstream::answering(|_| status(503));
        let good = Upstream::ok("good");
        let plane = plane(&[bad.address(), good.address()], &again(on), "");
        for _ in 0..4 {
            assert_eq!(plane.get("/").text(), "good", "{on}");
        }
        let failed = i64::try_from(bad.requests().len()).unwrap();
        assert!(failed >= 2);
        assert_eq!(plane.metric("transom_cluster_retries_total", &[]), failed);
    }
}

#[test]
fn other_statuses_are_passed_on() {
    for (on, code) in [
        ("5xx", 429),
        ("gateway_error", 500),
        ("reset", 503),
        ("503", 500),
    ] {
        let bad = Upstream::answering(move |_| status(code));
        let plane = plane(&[bad.address()], &again(on), "");
        assert_eq!(plane.get("/").status(), code, "{on}");
        assert_eq!(bad.requests().len(), 1);
    }
}

#[test]
fn the_last_answer_is_passed_on_with_a_flag() {
    let bad = Upstream::answering(|_| status(503));
    let plane = plane(
        &[bad.address()],
        ", retry: {on: [5xx], attempts: 3, backoff: 0ms..0ms}",
        "",
    );
    let answer = plane.get("/");
    assert_eq!((answer.status(), answer.text().as_str()), (503, "fail"));
    assert_eq!(bad.requests().len(), 4);
    assert!(flags(&plane).contains("URX"), "{}", flags(&plane));
}

#[test]
fn a_host_that_is_not_there_is_passed_by() {
    let gone = Upstream::ok("gone").address();
    let good = Upstream::ok("good");
    for on in ["connect_failure", "5xx", "gateway_error"] {
        let plane = plane(&[gone, good.address()], &again(on), "");
        for _ in 0..4 {
            assert_eq!(plane.get("/").text(), "good", "{on}");
        }
    }
    let plane = plane(&[gone, good.address()], &again("reset"), "");
    assert_eq!(plane.get("/").status(), 502);
}

#[test]
fn a_connection_that_breaks_off_is_no_end() {
    for body in [
        "",
        "Content-Length: 5\r\n\r\nhello",
        "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX-T: 1\r\n\r\n",
    ] {
        let upstream = failing(2, Vec::new);
        let plane = plane(
            &[upstream.address()],
            ", retry: {on: [reset], attempts: 2, backoff: 1ms..2ms}",
            "",
        );
        let mut client = plane.client();
        let end = if body.is_empty() { "\r\n" } else { "" };
        client.send(format!("POST /x HTTP/1.1\r\nHost: test\r\n{body}{end}"));
        let answer = client.answer();
        assert_eq!(answer.status(), 200, "{body:?}");
        let expected = if body.is_empty() {
            "body \n"
        } else {
            "body hello\n"
        };
        assert!(answer.text().contains(expected), "{}", answer.text());
        let requests = upstream.requests();
        assert_eq!(requests.len(), 3);
        let told: Vec<String> = requests.iter().map(tell).collect();
        assert!(
            told.iter().all(|told| *told == told_first(&requests)),
            "{told:?}"
        );
    }
}

fn told_first(requests: &[Message]) -> String {
    tell(&requests[0])
}

#[test]
fn a_body_longer_than_the_limit_goes_once() {
    let upstream = failing(1, || status(503));
    let plane = plane(
        &[upstream.address()],
        ", retry: {on: [5xx], backoff: 0ms..0ms, body_limit: 4}",
        "",
    );
    let mut client = plane.client();
    client.send("PUT / HTTP/1.1\r\nHost: test\r\nContent-Length: 5\r\n\r\nhello");
    assert_eq!(client.answer().status(), 503);
    let upstream = failing(1, || status(503));
    let plane = self::plane(
        &[upstream.address()],
        ", retry: {on: [5xx], backoff: 0ms..0ms, body_limit: 5}",
        "",
    );
    let mut client = plane.client();
    client.send("PUT / HTTP/1.1\r\nHost: test\r\nContent-Length: 5\r\n\r\nhello");
    assert_eq!(client.answer().status(), 200);
}

#[test]
fn a_body_that_is_still_coming_goes_on_at_the_next_attempt() {
    // Breaks off when it has seen the first piece of the body.
    let broken = AtomicUsize::new(0);
    let upstream = Upstream::serving(move |mut connection| {
        if broken.fetch_add(1, Ordering::SeqCst) == 0 {
            let _ = Message::read_head(connection.client.reader());
            return;
        }
        while let Ok(Some(request)) = connection.request() {
            connection.send(ok(&request.text()));
        }
    });
    let plane = plane(&[upstream.address()], &again("reset"), "");
    let mut client = plane.client();
    client.send("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 10\r\n\r\nfirst");
    eventually("another connection", || {
        (upstream.connections() == 2).then_some(())
    });
    client.send("after");
    assert_eq!(client.answer().text(), "firstafter");
}

#[test]
fn an_answer_that_has_begun_is_not_begun_again() {
    let upstream =
        Upstream::answering(|_| b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf".to_vec());
    let requests = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&requests);
    let breaking = Upstream::serving(move |mut connection| {
        let _ = connection.request();
        seen.fetch_add(1, Ordering::SeqCst);
        connection.send("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf");
    });
    drop(upstream);
    let plane = plane(&[breaking.address()], &again("reset, 5xx"), "");
    let mut client = plane.client();
    client.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n");
    assert!(client.try_answer("GET").is_err());
    assert_eq!(requests.load(Ordering::SeqCst), 1);
}

#[test]
fn each_attempt_has_its_time() {
    let slow = Upstream::serving(|mut connection| while let Ok(Some(_)) = connection.request() {});
    let good = Upstream::ok("good");
    let retry = ", retry: {on: [reset], per_try_timeout: 50ms, backoff: 0ms..0ms}";
    let plane = plane(&[slow.address(), good.address()], retry, "");
    assert_eq!(plane.get("/").text(), "good");
    let plane = self::plane(&[slow.address()], retry, "");
    let began = Instant::now();
    assert_eq!(plane.get("/").status(), 504);
    assert!(began.elapsed() >= Duration::from_millis(100));
    let flags = flags(&plane);
    assert!(flags.contains("UT") && flags.contains("URX"), "{flags}");
}

#[test]
fn the_time_of_the_whole_holds_over_all_attempts() {
    let bad = Upstream::answering(|_| status(503));
    let plane = plane(
        &[bad.address()],
        ", timeout: 100ms, retry: {on: [5xx], attempts: 100, backoff: 1h..1h}",
        "",
    );
    assert_eq!(plane.get("/").status(), 504);
}

#[test]
fn a_budget_bounds_retries() {
    let bad = Upstream::answering(|_| status(503));
    let plane = plane(
        &[bad.address()],
        &again("5xx"),
        ", circuit_breakers: {retry_budget: {percent: 0, min: 0}}",
    );
    assert_eq!(plane.get("/").status(), 503);
    assert_eq!(bad.requests().len(), 1);
    assert_eq!(
        plane.metric("transom_cluster_overflows_total", &[("bound", "retries")]),
        1
    );
}

#[test]
fn after_choose_host_runs_once_for_all_attempts() {
    let bad = Upstream::answering(|_| status(503));
    let good = Upstream::echo();
    let plane = {
        let hosts = [bad.address(), good.address()];
        Setup::to_address(hosts[0])
            .no_clusters()
            .cluster("up", &hosts)
            .filter("{name: trace, phase: after_choose_host}")
            .route("{match: {prefix: /}, cluster: up, retry: {on: [503], backoff: 0ms..0ms}}")
            .start()
    };
    assert_eq!(plane.get("/").status(), 200);
    assert_eq!(bad.requests().len(), 1);
    let calls = plane.lab.notes();
    let heads = calls
        .iter()
        .filter(|note| note.contains("request_headers"))
        .count();
    assert_eq!(heads, 1, "{calls:?}");
}

#[test]
fn a_dead_connection_of_the_pool_is_no_failure() {
    for (method, body) in [
        ("GET", ""),
        ("PUT", "Content-Length: 5\r\n\r\nhello"),
        ("DELETE", ""),
    ] {
        // Takes the second request of its first connection and closes without an answer.
        let connections = AtomicUsize::new(0);
        let upstream = Upstream::serving(move |mut connection| {
            let first = connections.fetch_add(1, Ordering::SeqCst) == 0;
            let mut count = 0;
            while let Ok(Some(request)) = connection.request() {
                count += 1;
                if first && count == 2 {
                    return;
                }
                connection.send(ok(&request.text()));
            }
        });
        let plane = plane(&[upstream.address()], "", "");
        let mut client = plane.client();
        assert_eq!(client.get("/").status(), 200);
        let end = if body.is_empty() { "\r\n" } else { "" };
        client.send(format!("{method} / HTTP/1.1\r\nHost: test\r\n{body}{end}"));
        let answer = client.answer();
        assert_eq!(answer.status(), 200, "{method}");
        if !body.is_empty() {
            assert_eq!(answer.text(), "hello");
        }
        assert_eq!(upstream.requests().len(), 3);
    }
}

#[test]
fn what_may_have_done_something_is_not_sent_twice() {
    let connections = AtomicUsize::new(0);
    let upstream = Upstream::serving(move |mut connection| {
        let first = connections.fetch_add(1, Ordering::SeqCst) == 0;
        let mut count = 0;
        while let Ok(Some(_)) = connection.request() {
            count += 1;
            if first && count == 2 {
                return;
            }
            connection.send(ok("up"));
        }
    });
    let plane = plane(&[upstream.address()], "", "");
    let mut client = plane.client();
    assert_eq!(client.get("/").status(), 200);
    client.send("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(client.answer().status(), 502);
    assert_eq!(upstream.requests().len(), 2);
}
