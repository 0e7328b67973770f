//! Faults that the proxy answers, limits of time and memory, and the end.

use std::io::{Read, Write};
use std::time::{Duration, Instant};

use transom_e2e::upstream::ok;
use transom_e2e::{Setup, Upstream, eventually};

const GET: &str = "GET / HTTP/1.1\r\nHost: test\r\n\r\n";

#[test]
fn faults_have_their_status_flag_and_detail_in_the_access_log() {
    let silent = Upstream::serving(|mut connection| {
        let _ = connection.request();
        let _ = connection.request();
    });
    let breaking = Upstream::answering(|_| Vec::new());
    let gone = Upstream::ok("").address();
    let plane = Setup::to_address(gone)
        .cluster("silent", &[silent.address()])
        .cluster("breaking", &[breaking.address()])
        .route("{match: {prefix: /silent}, cluster: silent, timeout: 20ms, name: slow}")
        .route("{match: {prefix: /breaking}, cluster: breaking}")
        .access_log("{name: record}")
        .start();
    for (host, path, status, log) in [
        (
            "nowhere.test",
            "/",
            404,
            "404 NR route_not_found - - 0 10 - -",
        ),
        (
            "test",
            "/",
            502,
            "502 UF upstream_reset_before_response_started{connection_failure} up - 0 12 - -",
        ),
        (
            "test",
            "/silent",
            504,
            "504 UT response_timeout silent slow 0 16 - -",
        ),
        (
            "test",
            "/breaking",
            502,
            "502 UC upstream_reset_before_response_started{connection_termination} breaking - 0 12 - -",
        ),
    ] {
        let mut client = plane.client();
        let answer = client
            .send(format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n"))
            .answer();
        assert_eq!(answer.status(), status, "{path}");
        plane.lab.wait_for(&format!("log GET {path} {log}"));
        // The connection serves on.
        client.send(GET);
        assert_eq!(client.answer().status(), 502);
    }
    eventually("seven counted", || {
        let counted = plane.metric("transom_requests_total", &[("code_class", "5xx")]);
        (counted == 7).then_some(())
    });
}

#[test]
fn the_status_without_a_host_is_an_option() {
    let gone = Upstream::ok("").address();
    let plane = Setup::to_address(gone)
        .option("local_reply: {upstream_unavailable: 503}")
        .start();
    assert_eq!(plane.get("/").status(), 503);
}

#[test]
fn a_head_that_does_not_come_in_time_is_408() {
    let upstream = Upstream::ok("up");
    let plane = Setup::to(&upstream)
        .option("timeouts: {header: 100ms}")
        .start();
    let mut client = plane.client();
    // An idle connection is not a slow head.
    assert_eq!(client.get("/").status(), 200);
    client.send("GET / HT");
    assert_eq!(client.answer().status(), 408);
    assert!(client.is_closed());
}

#[test]
fn a_body_that_stands_still_is_408() {
    let upstream = Upstream::ok("up");
    let plane = Setup::to(&upstream)
        .option("timeouts: {body_idle: 100ms}")
        .start();
    let mut client = plane.client();
    client.send("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 10\r\n\r\nabc");
    let answer = client.answer();
    assert_eq!(
        (answer.status(), answer.header("connection")),
        (408, Some("close"))
    );
    assert!(client.is_closed());
}

#[test]
fn an_idle_connection_is_closed_without_a_word() {
    let upstream = Upstream::ok("up");
    let plane = Setup::to(&upstream)
        .option("timeouts: {idle: 300ms}")
        .start();
    let mut client = plane.client();
    assert_eq!(client.get("/").status(), 200);
    assert_eq!(client.rest(), b"");
}

#[test]
fn a_request_body_over_the_listeners_limit_is_413() {
    let upstream = Upstream::echo();
    let plane = Setup::to(&upstream)
        .option("limits: {request_body: 4}")
        .filter("{name: trace}")
        .start();
    let mut client = plane.client();
    assert_eq!(client.post("/", "1234").status(), 200);
    assert_eq!(client.post("/", "12345").status(), 413);
    let mut client = plane.client();
    client.send("POST / HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n3\r\n123\r\n2\r\n45\r\n0\r\n\r\n");
    assert_eq!(client.answer().status(), 413);
    assert_eq!(upstream.requests().len(), 1);
    // The filters saw the answers.
    plane.lab.wait_for_times("trace.complete", 3);
    assert_eq!(plane.lab.count("trace.response_headers"), 3);
}

#[test]
fn a_head_over_its_limits_is_refused() {
    let upstream = Upstream::ok("up");
    let plane = Setup::to(&upstream)
        .option("limits: {fields: 10, head: 1KiB, request_line: 256}")
        .start();
    let fields = "a: b\r\n".repeat(20);
    for (request, status) in [
        (format!("GET / HTTP/1.1\r\nHost: test\r\n{fields}\r\n"), 431),
        (
            format!(
                "GET / HTTP/1.1\r\nHost: test\r\nx: {}\r\n\r\n",
                "y".repeat(2000)
            ),
            431,
        ),
        (
            format!("GET /{} HTTP/1.1\r\nHost: test\r\n\r\n", "y".repeat(500)),
            414,
        ),
    ] {
        let mut client = plane.client();
        assert_eq!(client.send(request).answer().status(), status);
        assert!(client.is_closed());
    }
}

#[test]
fn a_client_whose_reading_stops_stops_the_upstream() {
    const PIECE: usize = 1 << 20;
    const PIECES: usize = 64;
    let (send, sent) = std::sync::mpsc::channel();
    let upstream = Upstream::serving(move |mut connection| {
        let Ok(Some(_)) = connection.request() else {
            return;
        };
        connection.send(format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n",
            PIECE * PIECES
        ));
        let piece = vec![b'x'; PIECE];
        for number in 0..PIECES {
            connection.send(&piece);
            let _ = send.send(number);
        }
    });
    for filters in [false, true] {
        let mut setup = Setup::to(&upstream);
        if filters {
            setup = setup
                .filter("{name: trace}")
                .network_filter("{name: trace, id: wire}");
        }
        let plane = setup.start();
        let mut client = plane.client();
        client.send(GET);
        assert_eq!(client.head().status(), 200);
        // The upstream comes to a stop: nothing more is taken for a while that is long for a loopback.
        let mut taken = 0;
        while sent.recv_timeout(Duration::from_millis(200)).is_ok() {
            taken += 1;
        }
        assert!(taken < PIECES / 2, "{taken} MiB were taken of the upstream");
        // Reading on brings the rest.
        let rest = client.bytes(PIECE * PIECES);
        assert!(rest.iter().all(|byte| *byte == b'x'));
        assert_eq!(sent.iter().take(PIECES - taken).count(), PIECES - taken);
    }
}

#[test]
fn a_client_that_takes_nothing_is_given_up() {
    let upstream = Upstream::answering(|_| ok(&"x".repeat(64 << 20)));
    let plane = Setup::to(&upstream)
        .option("timeouts: {write_idle: 50ms}")
        .filter("{name: trace}")
        .start();
    let mut client = plane.client();
    client.send(GET);
    plane.lab.wait_for("trace.reset Timeout");
    plane.lab.wait_for("trace.drop");
    eventually("no connection", || {
        (plane.metric("transom_connections_active", &[]) == 0).then_some(())
    });
}

#[test]
fn a_client_that_leaves_ends_its_stream_and_the_hosts_connection() {
    let upstream = Upstream::serving(|mut connection| {
        let _ = connection.request();
        assert!(connection.client.is_closed());
    });
    let plane = Setup::to(&upstream)
        .filter("{name: trace}")
        .access_log("{name: record}")
        .start();
    let mut client = plane.client();
    client.send(GET);
    upstream.wait_for_requests(1);
    client.reset();
    plane.lab.wait_for("trace.reset Downstream");
    plane.lab.wait_for("trace.complete");
    let line = plane.lab.wait_for_prefix("log");
    assert!(line.starts_with("log GET / - DC "), "{line}");
}

#[test]
fn an_answer_before_the_requests_end_is_passed_on() {
    let upstream = Upstream::serving(|mut connection| {
        let _ = transom_e2e::Message::read_head(connection.client.reader());
        connection
            .send("HTTP/1.1 401 Unauthorized\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno");
    });
    let plane = Setup::to(&upstream).start();
    let mut client = plane.client();
    client.send("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 1000000\r\n\r\nabc");
    let answer = client.answer();
    assert_eq!((answer.status(), answer.text()), (401, "no".to_owned()));
}

#[test]
fn draining_finishes_what_is_under_way_and_takes_nothing_new() {
    let upstream = Upstream::ok("up");
    let plane = Setup::to(&upstream)
        .workers(2)
        .filter("{name: trace}")
        .filter("{name: pause, config: {at: request_headers, stop: all}}")
        .start();
    let address = plane.address("in");
    let mut idle = plane.client();
    // An accepted connection: its first request was answered.
    idle.send(GET);
    plane.lab.resumer("pause").post(0);
    assert_eq!(idle.answer().status(), 200);
    let mut busy = plane.client();
    busy.send(GET);
    let resumer = plane.lab.resumer("pause");
    let proxy = std::sync::Arc::clone(&plane.proxy);
    let draining = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(proxy.drain(Duration::from_secs(5)))
    });
    assert!(idle.is_closed());
    // Filters are told, so that long-lived streams can end.
    plane.lab.wait_for("trace.drain");
    eventually("a closed port", || {
        std::net::TcpStream::connect(address).err()
    });
    resumer.post(0);
    let answer = busy.answer();
    assert_eq!(
        (answer.text(), answer.header("connection")),
        ("up".to_owned(), Some("close"))
    );
    assert!(busy.is_closed());
    assert!(draining.join().unwrap());
}

#[test]
fn a_drain_that_takes_too_long_is_given_up() {
    let upstream = Upstream::ok("up");
    let plane = Setup::to(&upstream)
        .filter("{name: pause, config: {at: request_headers, stop: all}}")
        .start();
    let mut busy = plane.client();
    busy.send(GET);
    let _resumer = plane.lab.resumer("pause");
    let begin = Instant::now();
    assert!(!plane.wait(plane.proxy.drain(Duration::from_millis(50))));
    assert!(begin.elapsed() >= Duration::from_millis(50));
    plane.proxy.stop();
    let mut rest = Vec::new();
    let _ = busy.socket().write(b"");
    // Closed or reset, but closed.
    let _ = busy.reader().read_to_end(&mut rest);
    assert_eq!(rest, b"");
    // Filters still get their end when the worker goes.
    plane.lab.wait_for("pause.complete");
}

#[test]
fn filters_are_told_of_the_watermark() {
    let upstream = Upstream::answering(|_| ok(&"x".repeat(32 << 20)));
    let plane = Setup::to(&upstream).filter("{name: trace}").start();
    let mut client = plane.client();
    client.send(GET);
    assert_eq!(client.head().status(), 200);
    plane.lab.wait_for("trace.watermark Response true");
    let _ = client.bytes(32 << 20);
    plane.lab.wait_for("trace.drop");
    let told = plane.lab.notes();
    let told: Vec<&String> = told
        .iter()
        .filter(|note| note.contains("watermark"))
        .collect();
    // Over and under take turns.
    assert!(told.len() >= 2, "{told:?}");
    for (number, note) in told.iter().enumerate() {
        assert_eq!(
            *note,
            &format!("trace.watermark Response {}", number % 2 == 0)
        );
    }
}
