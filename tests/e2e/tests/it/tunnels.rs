//! Tunnels: Upgrade and CONNECT, what is refused of them, and what becomes of the bytes.

use std::io::Read;
use std::net::TcpListener;
use std::time::Duration;

use transom_e2e::upstream::{Connection, ok};
use transom_e2e::{Client, Message, Setup, Upstream, eventually};

const WEBSOCKET: &str = "GET /chat HTTP/1.1\r\nHost: test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
    Sec-WebSocket-Key: x\r\n\r\n";
const SWITCH: &str = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
    Sec-WebSocket-Accept: y\r\n\r\n";
const CONNECT: &str = "CONNECT db.test:5432 HTTP/1.1\r\nHost: db.test:5432\r\n\r\n";
const CONNECT_ROUTE: &str = "{match: {connect: true}, cluster: up}";
const NEXT: &str = "GET /next HTTP/1.1\r\nHost: test\r\n\r\n";

/// An upstream that switches at once and then sends back what it gets, twice each byte; it ends when the other side does.
fn switching(switch: &'static str) -> Upstream {
    Upstream::serving(move |mut connection| {
        if connection.request().is_ok_and(|request| request.is_some()) {
            connection.send(switch);
            double(&mut connection);
        }
    })
}

fn double(connection: &mut Connection) {
    let mut bytes = [0; 4096];
    while let Ok(count) = connection.client.reader().read(&mut bytes) {
        if count == 0 {
            return;
        }
        let twice: Vec<u8> = bytes[..count]
            .iter()
            .flat_map(|byte| [*byte, *byte])
            .collect();
        connection.send(twice);
    }
}

/// The client's and the upstream's end of a tunnel.
fn talk(client: &mut Client) {
    client.send("ab");
    assert_eq!(client.bytes(4), b"aabb");
    client.send("c");
    assert_eq!(client.bytes(2), b"cc");
}

#[test]
fn an_upgrade_becomes_a_tunnel() {
    let upstream = switching(SWITCH);
    let plane = Setup::to(&upstream).access_log("{name: record}").start();
    let mut client = plane.client();
    let answer = client.send(WEBSOCKET).head();
    assert_eq!(answer.start, "HTTP/1.1 101 Switching Protocols");
    assert_eq!(answer.header("connection"), Some("upgrade"));
    assert_eq!(answer.header("upgrade"), Some("websocket"));
    assert_eq!(answer.header("sec-websocket-accept"), Some("y"));
    let request = upstream.last();
    assert_eq!(request.header("connection"), Some("upgrade"));
    assert_eq!(request.header("upgrade"), Some("websocket"));
    assert_eq!(request.header("sec-websocket-key"), Some("x"));
    assert_eq!(request.header("content-length"), None);
    assert_eq!(request.header("transfer-encoding"), None);
    talk(&mut client);
    let tunnels = |count: i64| {
        eventually("the gauge", || {
            (plane.metric("transom_tunnels_active", &[]) == count).then_some(())
        });
    };
    tunnels(1);
    client.end();
    assert!(client.is_closed());
    plane
        .lab
        .wait_for("log GET /chat 101 - via_upstream up - 3 6 - -");
    tunnels(0);
    eventually("the request to be counted", || {
        let count = plane.metric("transom_requests_total", &[("code_class", "1xx")]);
        (count == 1).then_some(())
    });
}

#[test]
fn nothing_of_a_tunnel_is_sent_before_the_host_has_switched() {
    // What a client sends too early is what another reading of the request would take for a second request.
    let upstream = Upstream::serving(|mut connection| {
        if connection.request().is_err() {
            return;
        }
        let socket = connection.client.socket();
        socket
            .set_read_timeout(Some(Duration::from_millis(100)))
            .unwrap();
        let mut early = [0; 64];
        let got = connection.client.reader().read(&mut early);
        assert!(got.is_err(), "{got:?} before the 101");
        connection
            .client
            .socket()
            .set_read_timeout(Some(transom_e2e::PATIENCE))
            .unwrap();
        connection.send(SWITCH);
        double(&mut connection);
    });
    let plane = Setup::to(&upstream)
        .filter("{name: inject, config: {text: \"+\"}}")
        .start();
    let mut client = plane.client();
    client.send(format!("{WEBSOCKET}{NEXT}"));
    assert_eq!(client.head().status(), 101);
    // The filter puts its text behind each piece.
    let expected: String = format!("{NEXT}+")
        .chars()
        .flat_map(|letter| [letter, letter])
        .collect();
    assert_eq!(
        String::from_utf8(client.bytes(expected.len())).unwrap(),
        expected
    );
    assert_eq!(upstream.requests().len(), 1);
}

#[test]
fn an_upgrade_that_the_host_declines_is_a_plain_exchange() {
    let upstream = Upstream::answering(|request| match request.target() {
        "/next" => ok("next"),
        "/forbidden" => b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno".to_vec(),
        _ => {
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nplain\r\n0\r\n\r\n".to_vec()
        }
    });
    let plane = Setup::to(&upstream).filter("{name: trace}").start();
    plane.lab.take_notes();
    let mut client = plane.client();
    for (path, status, body) in [("/chat", 200, "plain"), ("/forbidden", 403, "no")] {
        // The next request is there before the answer to the upgrade.
        client.send(WEBSOCKET.replace("/chat", path)).send(NEXT);
        let answer = client.answer();
        assert_eq!((answer.status(), answer.text()), (status, body.to_owned()));
        assert_eq!(answer.header("upgrade"), None);
        assert_eq!(client.answer().text(), "next");
    }
    assert_eq!(upstream.connections(), 1, "the connection is used again");
    // To filters the request was open until the answer told.
    let notes = plane.lab.take_notes();
    let upto = notes
        .iter()
        .position(|note| note == "trace.response_headers");
    assert_eq!(
        notes[..upto.unwrap()],
        [
            "trace.make",
            "trace.request_headers",
            "trace.request_body end"
        ]
    );
}

#[test]
fn upgrades_that_are_not_allowed_go_on_as_plain_requests() {
    let upstream = Upstream::echo();
    let plane = Setup::to(&upstream).start();
    let mut client = plane.client();
    for request in [
        "GET / HTTP/1.1\r\nHost: test\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMA\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: test\r\nConnection: Upgrade\r\nUpgrade: TLS/1.3\r\n\r\n",
        // A body comes first: where it ends and the switch begins is not to be two readings.
        "GET / HTTP/1.1\r\nHost: test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 1\r\n\r\nx",
        "GET / HTTP/1.1\r\nHost: test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        // Upgrade is an option of the connection or it is nothing (RFC 9110 section 7.8).
        "GET / HTTP/1.1\r\nHost: test\r\nUpgrade: websocket\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nUpgrade: websocket\r\n\r\n",
        "HEAD / HTTP/1.1\r\nHost: test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
    ] {
        let method = request.split(' ').next().unwrap();
        let answer = client.send(request).answer_to(method);
        assert_eq!(answer.status(), 200, "{request}");
        let sent = upstream.last();
        assert_eq!(sent.header("upgrade"), None, "{request}");
        assert_eq!(sent.header("http2-settings"), None, "{request}");
        assert_eq!(sent.header("connection"), None, "{request}");
    }
    let mut old = plane.client();
    let answer = old
        .send("GET / HTTP/1.0\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
        .answer();
    assert_eq!(answer.status(), 200);
    assert_eq!(upstream.last().header("upgrade"), None);
}

#[test]
fn the_host_is_asked_for_what_is_allowed_and_may_switch_to_nothing_else() {
    let switch =
        |to: &str| format!("HTTP/1.1 101 S\r\nConnection: upgrade\r\nUpgrade: {to}\r\n\r\n");
    let upstream = Upstream::serving(move |mut connection| {
        while let Ok(Some(request)) = connection.request() {
            let to = request.target().trim_start_matches('/').to_owned();
            if connection.client.try_send(switch(&to)).is_err() {
                return;
            }
            double(&mut connection);
        }
    });
    let plane = Setup::to(&upstream)
        .option("upgrades: [WebSocket, tcp]")
        .start();
    let upgrade = |path: &str, offer: &str| {
        format!(
            "POST /{path} HTTP/1.1\r\nHost: test\r\nConnection: upgrade\r\nUpgrade: {offer}\r\nContent-Length: 0\r\n\r\n"
        )
    };
    let mut client = plane.client();
    assert_eq!(
        client
            .send(upgrade("tcp", "h2c, TCP/2, foo"))
            .head()
            .status(),
        101
    );
    assert_eq!(upstream.last().header("upgrade"), Some("TCP/2"));
    talk(&mut client);
    for (path, offer) in [
        ("websocket", "tcp"),
        ("h2c", "websocket"),
        ("websocket,h2c", "websocket"),
    ] {
        let answer = plane.client().send(upgrade(path, offer)).answer();
        assert_eq!(answer.status(), 502, "{path} for {offer}");
    }
}

#[test]
fn a_switch_that_nobody_asked_for_is_a_fault_of_the_host() {
    let upstream = switching(SWITCH);
    let plane = Setup::to(&upstream).option("upgrades: []").start();
    assert_eq!(plane.get("/").status(), 502);
    assert_eq!(plane.client().send(WEBSOCKET).answer().status(), 502);
    assert_eq!(upstream.last().header("upgrade"), None);
}

#[test]
fn tunnel_bytes_pass_the_filters_as_bodies() {
    let upstream = switching(SWITCH);
    let plane = Setup::to(&upstream)
        .filter("{name: trace}")
        .filter("{name: rewrite, config: {direction: request, declared: true}}")
        .filter("{name: rewrite, id: back, config: {direction: response, declared: true}}")
        .start();
    plane.lab.take_notes();
    let mut client = plane.client();
    assert_eq!(client.send(WEBSOCKET).head().status(), 101);
    client.send("a");
    // Twice by the first filter, by the upstream, by the second filter.
    assert_eq!(client.bytes(8), b"aaaaaaaa");
    client.end();
    assert!(client.is_closed());
    plane.lab.wait_for("trace.drop");
    assert_eq!(
        plane.lab.take_notes(),
        [
            "trace.make",
            "trace.request_headers",
            "trace.response_headers",
            "trace.request_body",
            "trace.response_body",
            "trace.request_body end",
            "trace.response_body end",
            "trace.complete",
            "trace.drop"
        ]
    );
}

#[test]
fn a_filter_that_wants_whole_bodies_does_not_hold_up_a_tunnel() {
    let upstream = switching(SWITCH);
    let plane = Setup::to(&upstream)
        .filter("{name: whole, config: {direction: request, limit: 2}}")
        .filter("{name: whole, id: back, config: {direction: response, limit: 2}}")
        .start();
    plane.lab.take_notes();
    let mut client = plane.client();
    assert_eq!(client.send(WEBSOCKET).head().status(), 101);
    talk(&mut client);
    assert_eq!(plane.lab.take_notes(), [] as [&str; 0]);
}

#[test]
fn a_filter_may_answer_in_place_of_a_tunnel() {
    let upstream = switching(SWITCH);
    let plane = Setup::to(&upstream)
        .filter("{name: header_match, config: {User: admin}}")
        .start();
    let mut client = plane.client();
    client.send(WEBSOCKET).send(NEXT);
    assert_eq!(client.answer().status(), 403);
    assert_eq!(client.answer().status(), 403);
    assert_eq!(upstream.requests(), []);
}

#[test]
fn each_side_of_a_tunnel_ends_by_itself() {
    let upstream = Upstream::serving(|mut connection| {
        if connection.request().is_err() {
            return;
        }
        connection.send(SWITCH);
        connection.send("first");
        connection.client.end();
        // Reads on after it has ended.
        let rest = connection.client.rest();
        assert_eq!(rest, b"and last");
    });
    let plane = Setup::to(&upstream).access_log("{name: record}").start();
    let mut client = plane.client();
    assert_eq!(client.send(WEBSOCKET).head().status(), 101);
    assert_eq!(client.rest(), b"first");
    client.send("and ").send("last");
    client.end();
    plane
        .lab
        .wait_for("log GET /chat 101 - via_upstream up - 8 5 - -");

    let upstream = Upstream::serving(|mut connection| {
        if connection.request().is_err() {
            return;
        }
        connection.send(SWITCH);
        let all = connection.client.rest();
        connection.send(format!("{} bytes", all.len()));
    });
    let plane = Setup::to(&upstream).start();
    let mut client = plane.client();
    assert_eq!(client.send(WEBSOCKET).head().status(), 101);
    client.send("12345");
    client.end();
    assert_eq!(client.rest(), b"5 bytes");
}

#[test]
fn much_passes_a_tunnel_both_ways() {
    const LEN: usize = 8 << 20;
    let upstream = switching(SWITCH);
    let plane = Setup::to(&upstream).start();
    let mut client = plane.client();
    assert_eq!(client.send(WEBSOCKET).head().status(), 101);
    let mut sender = Client::over(client.socket().try_clone().unwrap());
    let sending = std::thread::spawn(move || {
        for _ in 0..LEN / 65536 {
            sender.send([b'x'; 65536]);
        }
        sender.end();
    });
    assert_eq!(client.rest().len(), 2 * LEN);
    sending.join().unwrap();
}

#[test]
fn a_silent_tunnel_ends_and_one_that_speaks_does_not() {
    let upstream = switching(SWITCH);
    let plane = Setup::to(&upstream)
        .option("timeouts: {stream: 30ms, tunnel_idle: 150ms}")
        .access_log("{name: record}")
        .start();
    let mut client = plane.client();
    assert_eq!(client.send(WEBSOCKET).head().status(), 101);
    // Longer than the timeout of streams, and than that of silence.
    for _ in 0..8 {
        talk(&mut client);
        std::thread::sleep(Duration::from_millis(30));
    }
    assert!(client.is_closed());
    plane
        .lab
        .wait_for("log GET /chat 101 SI via_upstream up - 24 48 - -");
}

#[test]
fn a_host_that_does_not_switch_in_time_is_a_timeout() {
    let upstream = Upstream::serving(|mut connection| {
        let _ = connection.request();
        let _ = connection.request();
    });
    let plane = Setup::to(&upstream)
        .option("timeouts: {stream: 30ms, body_idle: 10ms}")
        .start();
    assert_eq!(plane.client().send(WEBSOCKET).answer().status(), 504);
}

#[test]
fn connect_needs_a_route_of_its_own() {
    let upstream = switching("HTTP/1.1 200 OK\r\n\r\n");
    // Routes for all paths are no routes for tunnels.
    let plane = Setup::to(&upstream).start();
    let mut client = plane.client();
    let answer = client.send(CONNECT).answer();
    assert_eq!(answer.status(), 501);
    assert!(client.is_closed());
    let plane = Setup::to(&upstream)
        .route("{match: {connect: true, headers: [{name: user, exact: admin}]}, cluster: up}")
        .start();
    assert_eq!(plane.client().send(CONNECT).answer().status(), 404);
    // And a route for tunnels is one for nothing else.
    assert_eq!(upstream.requests(), []);
    let plain = Upstream::ok("plain");
    let plane = Setup::to(&plain)
        .cluster("tunnels", &[upstream.address()])
        .route("{match: {connect: true}, cluster: tunnels}")
        .start();
    assert_eq!(plane.get("/").text(), "plain");
}

#[test]
fn connect_goes_on_to_a_host_that_makes_the_tunnel() {
    let upstream = switching("HTTP/1.1 200 Connection established\r\nX-Via: up\r\n\r\n");
    let plane = Setup::to(&upstream)
        .route(CONNECT_ROUTE)
        .filter("{name: trace}")
        .start();
    let mut client = plane.client();
    let answer = client.send(CONNECT).head();
    assert_eq!(answer.start, "HTTP/1.1 200 OK");
    // RFC 9110 section 9.3.6: no framing, and the connection is the tunnel's.
    for name in ["content-length", "transfer-encoding", "connection"] {
        assert_eq!(answer.header(name), None, "{name}");
    }
    assert_eq!(answer.header("x-via"), Some("up"));
    let request = upstream.last();
    assert_eq!(request.start, "CONNECT db.test:5432 HTTP/1.1");
    assert_eq!(
        request.headers,
        [("Host".to_owned(), "db.test:5432".to_owned())]
    );
    talk(&mut client);
    client.end();
    assert!(client.is_closed());
    plane.lab.wait_for("trace.request_body");
    plane.lab.wait_for("trace.response_body end");
}

#[test]
fn a_connect_that_is_declined_ends_its_connection() {
    // What the client sent early was meant for the tunnel: it must not be read as a request.
    let upstream = Upstream::answering(|_| {
        b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 2\r\n\r\nno".to_vec()
    });
    let plane = Setup::to(&upstream).route(CONNECT_ROUTE).start();
    let mut client = plane.client();
    client.send(CONNECT).send(NEXT);
    let answer = client.answer();
    assert_eq!((answer.status(), answer.text()), (407, "no".to_owned()));
    assert_eq!(answer.header("connection"), Some("close"));
    assert!(client.is_closed());
    assert_eq!(upstream.requests().len(), 1);
}

#[test]
fn a_tunnel_can_end_here_and_its_bytes_go_to_a_host() {
    let upstream = Upstream::serving(|mut connection| double(&mut connection));
    let plane = Setup::to(&upstream)
        .route("{match: {connect: true}, cluster: up, terminate_connect: true}")
        .start();
    let mut client = plane.client();
    // Bytes that come early wait for the host.
    client.send(CONNECT).send("x");
    let answer = client.head();
    assert_eq!(answer.start, "HTTP/1.1 200 OK");
    assert_eq!(answer.headers, []);
    assert_eq!(client.bytes(2), b"xx");
    talk(&mut client);
    client.end();
    assert!(client.is_closed());

    let gone = Upstream::ok("").address();
    let plane = Setup::to_address(gone)
        .route("{match: {connect: true}, cluster: up, terminate_connect: true}")
        .start();
    assert_eq!(plane.client().send(CONNECT).answer().status(), 502);
}

#[test]
fn no_success_is_feigned_where_there_is_no_tunnel() {
    let upstream = switching("HTTP/1.1 200 OK\r\n\r\n");
    let plane = Setup::to(&upstream)
        .route(CONNECT_ROUTE)
        .filter("{name: reply, config: {at: request_headers, status: 200}}")
        .start();
    let answer = plane.client().send(CONNECT).answer();
    assert_eq!(answer.status(), 500);
}

#[test]
fn a_tunnel_lives_on_while_the_listener_drains() {
    let upstream = switching(SWITCH);
    let setup = Setup::to(&upstream).filter("{name: trace}");
    let plane = setup.start();
    let mut client = plane.client();
    assert_eq!(client.send(WEBSOCKET).head().status(), 101);
    // The listener goes; the connection is asked to end, and tells its filters.
    plane.apply("listeners: []").unwrap();
    plane.lab.wait_for("trace.drain");
    talk(&mut client);
    client.end();
    assert!(client.is_closed());
}

#[test]
fn what_was_good_of_a_tunnel_that_breaks_arrives() {
    let upstream = Upstream::serving(|mut connection| {
        if connection.request().is_err() {
            return;
        }
        connection.send(SWITCH);
        connection.send("good");
        // Ends with input unread: a reset to whoever sends on.
        let _ = connection.client.bytes(1);
    });
    let plane = Setup::to(&upstream).start();
    let mut client = plane.client();
    assert_eq!(client.send(WEBSOCKET).head().status(), 101);
    client.send("12345678");
    assert_eq!(client.bytes(4), b"good");
    // Whether the client hears of the end as such or as a reset hangs on who was first.
    assert!(client.is_closed());
}

#[test]
fn a_host_that_resets_a_tunnel_has_its_flag() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let host = std::thread::spawn(move || {
        let mut connection = Client::over(listener.accept().unwrap().0);
        let request = Message::read_request(connection.reader()).unwrap().unwrap();
        assert_eq!(request.header("upgrade"), Some("websocket"));
        connection.send(SWITCH);
        assert_eq!(connection.bytes(1), b"x");
        connection.reset();
    });
    let plane = Setup::to_address(address)
        .access_log("{name: record}")
        .start();
    let mut client = plane.client();
    assert_eq!(client.send(WEBSOCKET).head().status(), 101);
    client.send("x");
    assert!(client.is_closed());
    host.join().unwrap();
    plane
        .lab
        .wait_for("log GET /chat 101 UC via_upstream up - 1 0 - -");
}

#[test]
fn filters_of_bodies_leave_tunnels_alone() {
    let upstream = switching(
        "HTTP/1.1 101 S\r\nConnection: upgrade\r\nUpgrade: websocket\r\nContent-Type: text/plain\r\n\r\n",
    );
    let plane = Setup::to(&upstream)
        .filter("{name: compressor}")
        .filter("{name: payload_limit, config: {max_bytes: 1}}")
        .start();
    let mut client = plane.client();
    let request = WEBSOCKET.replace("\r\n\r\n", "\r\nAccept-Encoding: gzip\r\n\r\n");
    let answer = client.send(request).head();
    assert_eq!(
        (answer.status(), answer.header("content-encoding")),
        (101, None)
    );
    talk(&mut client);
}
