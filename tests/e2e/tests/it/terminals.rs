//! The built-in network filters in the running proxy: those that end a chain, and those before `tcp_proxy`.

use std::io::{ErrorKind, Read};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use transom_e2e::{Client, PATIENCE, Plane, Upstream, eventually, sockets};

/// A listener `in` with these network filters, and the clusters `a` and `b`.
fn plane(filters: &str, clusters: [&Upstream; 2]) -> Plane {
    let [a, b] = clusters.map(Upstream::address);
    Plane::start(
        1,
        &format!(
            "listeners: [{{name: in, address: \"127.0.0.1:0\", network_filters: [{filters}]}}]\nclusters: [{{name: a, endpoints: [\"{a}\"]}}, {{name: b, endpoints: [\"{b}\"]}}]\n"
        ),
    )
}

/// Says its name to whoever connects, then what comes.
fn named(name: &'static str) -> Upstream {
    Upstream::serving(move |mut connection| {
        connection.send(name);
        let mut piece = [0; 4096];
        while let Ok(count @ 1..) = connection.client.reader().read(&mut piece) {
            connection.send(&piece[..count]);
        }
        connection.client.end();
    })
}

fn alone(filters: &str) -> Plane {
    plane(filters, [&named("a"), &named("b")])
}

#[test]
fn echo_sends_back_what_comes_and_ends_when_the_client_has() {
    let plane = alone("{name: echo}");
    let mut client = plane.client();
    client.send("abc");
    assert_eq!(client.bytes(3), b"abc");
    client.send("def").end();
    assert_eq!(client.rest(), b"def");
    eventually("the connection is over", || {
        (plane.metric("transom_connections_active", &[]) == 0).then_some(())
    });
    assert_eq!(
        plane.metric("transom_echo_bytes_total", &[("filter", "echo")]),
        6
    );
}

#[test]
fn echo_moves_much() {
    let plane = alone("{name: trace}, {name: echo}");
    let client = plane.client();
    let mut sender = Client::over(client.socket().try_clone().unwrap());
    const MOST: usize = 8 << 20;
    let sending = std::thread::spawn(move || {
        sender.send(vec![b'a'; MOST]).end();
    });
    let mut client = client;
    assert_eq!(client.rest().len(), MOST);
    sending.join().unwrap();
}

#[test]
fn a_client_of_echo_that_reads_nothing_is_read_no_more() {
    let plane = alone("{name: echo}");
    let socket = TcpStream::connect(plane.address("in")).unwrap();
    socket
        .set_write_timeout(Some(Duration::from_secs(1)))
        .unwrap();
    // The kernel's buffers on both ways and what waits in the proxy, and no more.
    let sent = sockets::send_until_stuck(&socket, 64 << 20);
    assert!(sent < 64 << 20, "everything is taken");
    let echoed = plane.metric("transom_echo_bytes_total", &[]);
    assert!(echoed < 32 << 20, "{echoed}");
}

#[test]
fn direct_response_answers_and_ends() {
    let plane = alone("{name: direct_response, config: {text: \"moved\\n\"}}");
    let mut client = plane.client();
    assert_eq!(client.rest(), b"moved\n");
    // It may still talk: nobody listens, and it is closed when it ends.
    client.send("too late").end();
    eventually("the connection is over", || {
        (plane.metric("transom_connections_active", &[]) == 0).then_some(())
    });
    assert_eq!(plane.metric("transom_direct_response_total", &[]), 1);
}

#[test]
fn what_ends_a_chain_comes_last() {
    let plane = alone("{name: echo}");
    let yaml = |filters: &str| {
        format!("listeners: [{{name: in, address: \"127.0.0.1:0\", network_filters: [{filters}]}}]")
    };
    let error = plane.apply(&yaml("{name: ip_access, config: {default: allow}}"));
    assert!(
        error
            .unwrap_err()
            .contains("end without `http` or `tcp_proxy`")
    );
    let error = plane.apply(&yaml("{name: echo}, {name: echo, id: other}"));
    assert!(error.unwrap_err().contains("must be the last one"));
    // What was active stays.
    let mut client = plane.client();
    client.send("abc");
    assert_eq!(client.bytes(3), b"abc");
}

#[test]
fn fault_delays_before_a_host_is_connected() {
    let upstream = named("a");
    let plane = plane(
        "{name: fault, config: {delay: {duration: 300ms}}}, {name: tcp_proxy, config: {cluster: a}}",
        [&upstream, &upstream],
    );
    let began = Instant::now();
    let mut client = plane.client();
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!(upstream.connections(), 0);
    assert_eq!(client.bytes(1), b"a");
    assert!(began.elapsed() >= Duration::from_millis(300));
}

#[test]
fn fault_aborts_by_an_end_or_by_a_reset() {
    for (reset, expected) in [(false, None), (true, Some(ErrorKind::ConnectionReset))] {
        let upstream = named("a");
        let plane = plane(
            &format!(
                "{{name: fault, config: {{abort: {{reset: {reset}}}}}}}, {{name: tcp_proxy, config: {{cluster: a}}}}"
            ),
            [&upstream, &upstream],
        );
        let mut socket = TcpStream::connect(plane.address("in")).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        let outcome = socket.read(&mut [0; 16]);
        match expected {
            None => assert_eq!(outcome.unwrap(), 0),
            Some(kind) => assert_eq!(outcome.unwrap_err().kind(), kind),
        }
        assert_eq!(upstream.connections(), 0);
        assert_eq!(plane.metric("transom_network_fault_aborts_total", &[]), 1);
    }
}

#[test]
fn fault_slows_what_the_client_gets() {
    let upstream = named("a");
    let plane = plane(
        "{name: fault, config: {rate_limit: {bytes_per_second: 20KiB, direction: sent}}}, {name: tcp_proxy, config: {cluster: a}}",
        [&upstream, &upstream],
    );
    let mut client = plane.client();
    let sent = vec![b'x'; 8 << 10];
    let began = Instant::now();
    client.send(&sent).end();
    let came = client.rest();
    assert_eq!(came.len(), sent.len() + 1);
    // A twentieth of it comes at once.
    let took = began.elapsed();
    assert!(took >= Duration::from_millis(300), "{took:?}");
}

#[test]
fn ip_access_closes_before_a_host_is_connected() {
    for (rule, passes) in [("allow", true), ("deny", false)] {
        let upstream = named("a");
        let plane = plane(
            &format!(
                "{{name: ip_access, config: {{default: allow, rules: [{{action: {rule}, addresses: [127.0.0.0/8]}}]}}}}, {{name: tcp_proxy, config: {{cluster: a}}}}"
            ),
            [&upstream, &upstream],
        );
        let mut client = plane.client();
        if passes {
            client.send("b").end();
            assert_eq!(client.rest(), b"ab");
        } else {
            assert!(client.is_closed());
            assert_eq!(upstream.connections(), 0);
        }
        let counted = ["denied", "allowed"]
            .map(|what| plane.metric(&format!("transom_network_ip_access_{what}_total"), &[]));
        assert_eq!(counted, if passes { [0, 1] } else { [1, 0] });
    }
}

#[test]
fn sni_cluster_is_asked_only_for_what_it_names() {
    let (a, b) = (named("a"), named("b"));
    // Without TLS there is no name: `pass` goes to the cluster of `tcp_proxy`, `close` nowhere.
    for (otherwise, closed) in [("pass", false), ("close", true)] {
        let plane = plane(
            &format!(
                "{{name: sni_cluster, config: {{clusters: [b], otherwise: {otherwise}}}}}, {{name: tcp_proxy, config: {{cluster: a}}}}"
            ),
            [&a, &b],
        );
        let mut client = plane.client();
        if closed {
            assert!(client.is_closed());
        } else {
            assert_eq!(client.bytes(1), b"a");
        }
        assert_eq!(plane.metric("transom_sni_cluster_unknown_total", &[]), 1);
    }
    let plane = alone("{name: echo}");
    let address = a.address();
    let unknown = plane.apply(&format!(
        "listeners: [{{name: in, address: \"127.0.0.1:0\", network_filters: [{{name: sni_cluster, config: {{clusters: [nowhere]}}}}, {{name: tcp_proxy, config: {{cluster: a}}}}]}}]\nclusters: [{{name: a, endpoints: [\"{address}\"]}}]"
    ));
    assert!(
        unknown
            .unwrap_err()
            .contains("the unknown cluster `nowhere`")
    );
}

#[test]
fn http_goes_on_behind_filters_that_look_at_no_bytes() {
    let upstream = Upstream::echo();
    let plane = transom_e2e::Setup::to(&upstream)
        .network_filter("{name: ip_access, config: {default: allow}}")
        .start();
    let mut client = plane.client();
    let body = "x".repeat(300_000);
    for _ in 0..2 {
        let answer = client.post("/", &body);
        assert_eq!(answer.status(), 200);
        assert!(answer.text().contains(&body));
    }
}
