//! HTTP/1.1 from the client's wire to the host's and back.

use transom_e2e::message::Framing;
use transom_e2e::upstream::{ok, tell};
use transom_e2e::{Client, Setup, Upstream};

fn send(client: &mut Client, request: &str) -> transom_e2e::Message {
    let method = request.split(' ').next().unwrap().to_owned();
    client.send(request).answer_to(&method)
}

#[test]
fn requests_of_one_connection_follow_each_other() {
    let upstream = Upstream::echo();
    let plane = Setup::to(&upstream).start();
    let mut client = plane.client();
    for path in ["/a", "/b?c=d", "/"] {
        assert!(
            client
                .get(path)
                .text()
                .starts_with(&format!("GET {path}\nhost: test\n"))
        );
    }
    assert_eq!(upstream.connections(), 1);
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let upstream = Upstream::echo();
    let plane = Setup::to(&upstream).start();
    let mut client = plane.client();
    let mut requests = String::new();
    for number in 0..50 {
        requests += &format!(
            "POST /{number} HTTP/1.1\r\nHost: test\r\nContent-Length: 2\r\n\r\n{number:02}"
        );
    }
    client.send(&requests);
    for number in 0..50 {
        let text = client.answer().text();
        assert!(text.starts_with(&format!("POST /{number}\n")), "{text}");
        assert!(text.contains(&format!("body {number:02}\n")), "{text}");
    }
}

#[test]
fn a_request_in_pieces_is_the_same_request() {
    let upstream = Upstream::echo();
    let plane = Setup::to(&upstream).start();
    let mut client = plane.client();
    for byte in b"POST /a HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nx-a: b\r\n\r\n" {
        client.send([*byte]);
    }
    let text = client.answer().text();
    assert!(text.contains("body abc\nx-a: b\n"), "{text}");
}

#[test]
fn bodies_keep_their_framing_both_ways() {
    let upstream = Upstream::answering(|request| match request.target() {
        "/length" => ok("12345"),
        "/chunked" => {
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n12\r\n3\r\n345\r\n0\r\n\r\n"
                .to_vec()
        }
        "/empty" => ok(""),
        _ => Vec::new(),
    });
    let plane = Setup::to(&upstream).start();
    let mut client = plane.client();
    // What has no length may get one when all of it is there before its head leaves.
    let known = [Framing::Length];
    let unknown = [Framing::Chunked, Framing::Length];
    for (path, framings) in [("/length", &known[..]), ("/chunked", &unknown[..])] {
        let answer = client.post(path, "abc");
        assert_eq!(answer.text(), "12345");
        assert!(framings.contains(&answer.framing), "{answer:?}");
        assert_eq!(upstream.last().framing, Framing::Length);
        let answer = send(
            &mut client,
            &format!(
                "POST {path} HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
            ),
        );
        assert!(framings.contains(&answer.framing), "{answer:?}");
        assert_eq!(upstream.last().text(), "abc");
        assert!(unknown.contains(&upstream.last().framing));
    }
    assert_eq!(client.get("/empty").header("content-length"), Some("0"));
    assert_eq!(client.post("/empty", "").status(), 200);
    assert_eq!(upstream.last().header("content-length"), Some("0"));
}

#[test]
fn a_body_that_ends_with_its_connection_is_passed_on() {
    let upstream = Upstream::serving(|mut connection| {
        let _ = connection.request();
        connection.send("HTTP/1.1 200 OK\r\n\r\nall of it");
    });
    let plane = Setup::to(&upstream).start();
    let mut client = plane.client();
    for _ in 0..2 {
        let answer = client.get("/");
        assert_eq!(answer.text(), "all of it");
        assert_ne!(answer.framing, Framing::UntilClose);
    }
}

#[test]
fn large_bodies_pass_both_ways_with_and_without_filters() {
    let upstream = Upstream::answering(|request| {
        let mut answer = format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n",
            request.body.len()
        )
        .into_bytes();
        answer.extend_from_slice(&request.body);
        answer
    });
    let body: String = (0..1_000_000)
        .map(|number| char::from(b'a' + (number * 7 % 26) as u8))
        .collect();
    for setup in [
        Setup::to(&upstream),
        Setup::to(&upstream)
            .filter("{name: trace}")
            .filter("{name: trace, id: second}"),
        Setup::to(&upstream).option("watermark: 1KiB"),
        Setup::to(&upstream)
            .option("watermark: 1KiB")
            .filter("{name: trace}"),
        Setup::to(&upstream).network_filter("{name: trace}"),
    ] {
        let plane = setup.start();
        let mut client = plane.client();
        for _ in 0..2 {
            let mut sender = Client::over(client.socket().try_clone().unwrap());
            let request = format!(
                "POST / HTTP/1.1\r\nHost: test\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            );
            let sending = std::thread::spawn(move || {
                sender.send(request);
            });
            let answer = client.answer();
            sending.join().unwrap();
            assert!(answer.text() == body, "another body came back");
        }
    }
}

#[test]
fn trailers_pass_both_ways() {
    let upstream = Upstream::answering(|request| {
        format!(
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nx-was: {}\r\n\r\n",
            request.trailer("x-end").unwrap_or("-")
        )
        .into_bytes()
    });
    let plane = Setup::to(&upstream).start();
    let answer = send(
        &mut plane.client(),
        "POST / HTTP/1.1\r\nHost: test\r\nTE: trailers\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nx-end: 1\r\n\r\n",
    );
    assert_eq!(answer.trailer("x-was"), Some("1"));
}

#[test]
fn head_and_statuses_without_a_body_have_none() {
    let upstream = Upstream::answering(|request| match request.target() {
        "/204" => b"HTTP/1.1 204 No Content\r\n\r\n".to_vec(),
        "/304" => b"HTTP/1.1 304 Not Modified\r\nContent-Length: 100\r\n\r\n".to_vec(),
        _ => b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n".to_vec(),
    });
    let plane = Setup::to(&upstream).filter("{name: trace}").start();
    let mut client = plane.client();
    for _ in 0..2 {
        let answer = send(&mut client, "HEAD / HTTP/1.1\r\nHost: test\r\n\r\n");
        assert_eq!(
            (answer.status(), answer.header("content-length")),
            (200, Some("100"))
        );
        let answer = client.get("/204");
        assert_eq!(
            (answer.status(), answer.header("content-length")),
            (204, None)
        );
        assert_eq!(answer.header("transfer-encoding"), None);
        assert_eq!(client.get("/304").status(), 304);
    }
    assert_eq!(upstream.connections(), 1);
}

#[test]
fn interim_responses_pass() {
    let upstream = Upstream::answering(|request| {
        if request.target() == "/hints" {
            let mut answer = b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n".to_vec();
            answer.extend(ok("after hints"));
            return answer;
        }
        ok(&tell(request))
    });
    let plane = Setup::to(&upstream).start();
    let mut client = plane.client();
    client.send("GET /hints HTTP/1.1\r\nHost: test\r\n\r\n");
    let hints = client.answer();
    assert_eq!((hints.status(), hints.header("link")), (103, Some("</a>")));
    assert_eq!(client.answer().text(), "after hints");
}

#[test]
fn a_request_that_is_answered_here_does_not_invite_its_body() {
    let upstream = Upstream::echo();
    let plane = Setup::to(&upstream)
        .filter("{name: reply, config: {at: request_headers, status: 403}}")
        .start();
    let mut client = plane.client();
    client
        .send("POST / HTTP/1.1\r\nHost: test\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n");
    let answer = client.answer();
    assert_eq!(
        (answer.status(), answer.header("connection")),
        (403, Some("close"))
    );
    assert!(client.is_closed());
}

#[test]
fn http_1_0_clients_get_what_they_understand() {
    let upstream = Upstream::answering(|request| match request.target() {
        "/chunked" => {
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n".to_vec()
        }
        _ => ok("abc"),
    });
    let plane = Setup::to(&upstream).start();
    let mut client = plane.client();
    let answer = send(&mut client, "GET / HTTP/1.0\r\n\r\n");
    assert_eq!(
        (answer.text(), answer.header("connection")),
        ("abc".to_owned(), Some("close"))
    );
    assert!(client.is_closed());
    let mut client = plane.client();
    for _ in 0..2 {
        let answer = send(
            &mut client,
            "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
        );
        assert_eq!(
            (answer.text(), answer.header("connection")),
            ("abc".to_owned(), Some("keep-alive"))
        );
    }
    let answer = send(
        &mut client,
        "GET /chunked HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
    );
    assert_eq!(
        (answer.text(), answer.framing),
        ("abc".to_owned(), Framing::UntilClose)
    );
    assert!(
        upstream
            .requests()
            .iter()
            .all(|request| request.start.ends_with("HTTP/1.1"))
    );
}

#[test]
fn connection_close_is_honoured_on_both_sides() {
    let upstream = Upstream::answering(|_| {
        b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok".to_vec()
    });
    let plane = Setup::to(&upstream).start();
    let mut client = plane.client();
    for count in 1..=3 {
        assert_eq!(client.get("/").text(), "ok");
        // The host closes; the client's connection is none of its business.
        assert_eq!(upstream.connections(), count);
    }
    let answer = send(
        &mut client,
        "GET / HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n",
    );
    assert_eq!(answer.header("connection"), Some("close"));
    assert!(client.is_closed());
}

#[test]
fn fields_of_a_connection_stay_on_it() {
    let upstream = Upstream::answering(|request| {
        let mut answer =
            b"HTTP/1.1 200 OK\r\nKeep-Alive: timeout=5\r\nx-Keep: Spelling\r\n".to_vec();
        let body = tell(request);
        answer.extend(format!("Content-Length: {}\r\n\r\n{body}", body.len()).into_bytes());
        answer
    });
    let plane = Setup::to(&upstream).start();
    let answer = send(
        &mut plane.client(),
        "GET / HTTP/1.1\r\nHost: test\r\nConnection: x-mine, keep-alive\r\nx-mine: 1\r\nKeep-Alive: 5\r\nProxy-Connection: x\r\nX-Kept: 2\r\n\r\n",
    );
    assert_eq!(answer.text(), "GET /\nhost: test\nx-kept: 2\nbody \n");
    assert_eq!(answer.header("keep-alive"), None);
    // Spelling and order are kept.
    assert!(
        answer
            .headers
            .contains(&("x-Keep".to_owned(), "Spelling".to_owned()))
    );
    assert!(
        upstream
            .last()
            .headers
            .contains(&("X-Kept".to_owned(), "2".to_owned()))
    );
}

#[test]
fn a_request_that_is_no_request_is_refused() {
    let upstream = Upstream::ok("up");
    let plane = Setup::to(&upstream).start();
    for (request, status) in [
        ("NONSENSE\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\n\r\n", 400),
        ("GET / HTTP/1.2\r\nHost: test\r\n\r\n", 505),
        (
            "POST / HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: gzip\r\n\r\n",
            501,
        ),
        (
            "POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            400,
        ),
    ] {
        let mut client = plane.client();
        let answer = client.send(request).answer();
        assert_eq!(
            (answer.status(), answer.header("connection")),
            (status, Some("close")),
            "{request}"
        );
        assert!(client.is_closed());
    }
    // In the middle of a body it is too late for anything but an answer in its place.
    let mut client = plane.client();
    client.send("POST / HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n");
    assert_eq!(client.answer().status(), 400);
    assert_eq!(upstream.requests(), []);
}

#[test]
fn an_answer_that_is_no_answer_is_502() {
    for answer in [
        "NONSENSE\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n",
    ] {
        let upstream = Upstream::answering(move |_| answer.as_bytes().to_vec());
        let plane = Setup::to(&upstream).access_log("{name: record}").start();
        assert_eq!(plane.get("/").status(), 502, "{answer}");
        let line = plane.lab.wait_for_prefix("log");
        assert!(
            line.contains(" UPE upstream_reset_before_response_started{protocol_error}"),
            "{line}"
        );
    }
}

#[test]
fn an_answer_that_breaks_off_breaks_off() {
    let upstream = Upstream::serving(|mut connection| {
        let _ = connection.request();
        connection.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf");
    });
    let plane = Setup::to(&upstream).access_log("{name: record}").start();
    let mut client = plane.client();
    client.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n");
    assert!(client.try_answer("GET").is_err() || client.is_closed());
    let line = plane.lab.wait_for_prefix("log");
    assert!(line.starts_with("log GET / 200 "), "{line}");
}

#[test]
fn a_dead_connection_of_the_pool_costs_no_request() {
    let upstream = Upstream::ok("up");
    let plane = Setup::to(&upstream).start();
    let mut client = plane.client();
    for round in 1..=3 {
        assert_eq!(client.get("/").text(), "up");
        assert_eq!(upstream.connections(), round);
        upstream.close_connections();
    }
    // Closed while the request is on its way: no byte of an answer, so a safe request is sent once more.
    let upstream = Upstream::serving(|mut connection| {
        let Ok(Some(first)) = connection.request() else {
            return;
        };
        connection.send(ok(first.method()));
        let _ = connection.request();
    });
    let plane = Setup::to(&upstream).start();
    let mut client = plane.client();
    assert_eq!(client.get("/").text(), "GET");
    assert_eq!(client.get("/").text(), "GET");
    assert_eq!(upstream.requests().len(), 3);
    // One that is not safe to repeat is not repeated.
    let answer = client.post("/", "abc");
    assert_eq!(answer.status(), 502);
}

/// The host answers before the body has come, and keeps its connection open: what comes next on that connection is the
/// rest of that body to it, whatever it says.
#[test]
fn a_connection_whose_request_was_not_sent_whole_is_not_used_again() {
    let upstream = Upstream::serving(|mut connection| {
        while let Ok(Some(head)) = connection.head() {
            connection.send(ok(head.target()));
            if head.method() == "POST" {
                // Whatever comes now is body, also what looks like a request, and gets no answer.
                connection.rest();
            }
        }
    });
    let plane = Setup::to(&upstream).start();
    for _ in 0..3 {
        let mut slow = plane.client();
        slow.send("POST /slow HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nthe beginning");
        assert_eq!(slow.answer().text(), "/slow");
        assert_eq!(plane.get("/next").text(), "/next");
        // The rest of the body comes too late to change that.
        let _ = slow.try_send("x");
    }
    assert_eq!(upstream.connections(), 4, "three given up, one of the pool");
}

#[test]
fn weighted_hosts_take_turns_by_their_weights() {
    let first = Upstream::ok("1");
    let second = Upstream::ok("2");
    let plane = Setup::to(&first)
        .no_clusters()
        .cluster_of(&format!(
            "{{name: up, endpoints: [{{address: \"{}\", weight: 3}}, {{address: \"{}\", weight: 1}}]}}",
            first.address(),
            second.address()
        ))
        .start();
    let mut client = plane.client();
    let order: String = (0..8).map(|_| client.get("/").text()).collect();
    assert_eq!(order.matches('1').count(), 6, "{order}");
    // Spread, not in a row.
    assert!(!order.contains("22"), "{order}");
}

#[test]
fn a_connection_to_a_host_is_used_no_more_often_than_allowed() {
    let upstream = Upstream::ok("up");
    let plane = Setup::to(&upstream)
        .no_clusters()
        .cluster_of(&format!(
            "{{name: up, endpoints: [\"{}\"], pool: {{max_requests_per_connection: 2}}}}",
            upstream.address()
        ))
        .start();
    let mut client = plane.client();
    for _ in 0..5 {
        assert_eq!(client.get("/").status(), 200);
    }
    assert_eq!(upstream.connections(), 3);
}

#[test]
fn bare_lf_in_heads_is_refused_unless_an_option_takes_it() {
    const LF: &str = "POST / HTTP/1.1\nHost: test\nContent-Length: 3\n\nabc";
    const LF_IN_CHUNKS: &str =
        "POST / HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n3\nabc\n0\n\n";
    let upstream = Upstream::echo();
    let plane = Setup::to(&upstream).start();
    for request in [LF, LF_IN_CHUNKS] {
        assert_eq!(plane.client().send(request).answer().status(), 400);
    }
    let plane = Setup::to(&upstream).option("allow_bare_lf: true").start();
    let mut client = plane.client();
    for _ in 0..2 {
        let text = client.send(LF).answer().text();
        assert!(text.contains("body abc\n"), "{text}");
    }
    // What goes on has CRLF, whatever came.
    assert_eq!(upstream.last().header("host"), Some("test"));
    assert_eq!(plane.client().send(LF_IN_CHUNKS).answer().status(), 400);
}
