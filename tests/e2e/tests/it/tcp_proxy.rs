//! `tcp_proxy`: where connections go, when they end, and what is told of them.

use std::io::Read;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use transom_e2e::{Client, PATIENCE, Plane, Upstream, eventually, sockets};

/// Says its name to whoever connects, then what comes, and ends when the other side has.
fn named(name: &'static str) -> Upstream {
    Upstream::serving(move |mut connection| {
        connection.send(name);
        let mut piece = [0; 4096];
        while let Ok(count @ 1..) = connection.client.reader().read(&mut piece) {
            connection.send(&piece[..count]);
        }
    })
}

/// A listener `in` with a `tcp_proxy` of this configuration, and clusters.
fn plane(workers: usize, config: &str, clusters: &[(&str, &[SocketAddr])]) -> Plane {
    Plane::start(workers, &yaml(config, clusters))
}

fn yaml(config: &str, clusters: &[(&str, &[SocketAddr])]) -> String {
    let clusters: Vec<String> = clusters
        .iter()
        .map(|(name, hosts)| {
            let hosts: Vec<String> = hosts.iter().map(|host| format!("\"{host}\"")).collect();
            format!(
                "{{name: {name}, connect_timeout: 300ms, endpoints: [{}]}}",
                hosts.join(", ")
            )
        })
        .collect();
    format!(
        "listeners: [{{name: in, address: \"127.0.0.1:0\", network_filters: [{{name: tcp_proxy, config: {{{config}}}}}]}}]\nclusters: [{}]\n",
        clusters.join(", ")
    )
}

#[test]
fn weighted_clusters_get_their_shares() {
    let (a, b) = (named("a"), named("b"));
    let plane = plane(
        1,
        "weighted_clusters: [{cluster: a, weight: 1}, {cluster: b, weight: 3}, {cluster: c, weight: 0}]",
        &[
            ("a", &[a.address()]),
            ("b", &[b.address()]),
            ("c", &[a.address()]),
        ],
    );
    let of_a = (0..200).filter(|_| plane.client().bytes(1) == b"a").count();
    // Fifty; five standard deviations are 31.
    assert!((19..=81).contains(&of_a), "{of_a}");
}

#[test]
fn routes_choose_by_the_addresses_of_a_connection() {
    let ups = [named("a"), named("b"), named("c")];
    let clusters = ["a", "b", "c"];
    let addresses = [0, 1, 2].map(|at: usize| [ups[at].address()]);
    let clusters: Vec<(&str, &[SocketAddr])> = clusters
        .iter()
        .zip(&addresses)
        .map(|(name, address)| (*name, &address[..]))
        .collect();
    // Bound first, so that its port can stand in the configuration.
    let known = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = known.local_addr().unwrap().port();
    drop(known);
    let plane = plane(
        1,
        &format!(
            "routes: [{{source: [127.0.0.2], cluster: a}}, {{source: [127.0.0.0/8], source_ports: [{port}], cluster: b}}], cluster: c"
        ),
        &clusters,
    );
    let from = |source: &str| {
        let socket = sockets::connect_from(source.parse().unwrap(), plane.address("in"));
        Client::over(socket).bytes(1)
    };
    assert_eq!(from("127.0.0.2:0"), b"a");
    assert_eq!(from("127.0.0.1:0"), b"c");
    assert_eq!(from(&format!("127.0.0.1:{port}")), b"b");
}

#[test]
fn a_connection_that_no_route_takes_is_closed() {
    let a = named("a");
    let plane = plane(
        1,
        "routes: [{source: [192.0.2.1], cluster: a}], access_logs: [{name: record}]",
        &[("a", &[a.address()])],
    );
    assert!(plane.client().is_closed());
    assert_eq!(plane.metric("transom_tcp_proxy_no_cluster_total", &[]), 1);
    assert_eq!(a.connections(), 0);
    let line = plane.lab.wait_for_prefix("log");
    assert!(line.contains(" NR "), "{line}");
}

#[test]
fn a_host_that_cannot_be_connected_is_passed_over() {
    let a = named("a");
    let gone = named("gone").address();
    let plane = plane(1, "cluster: up", &[("up", &[gone, a.address()])]);
    for _ in 0..4 {
        assert_eq!(plane.client().bytes(1), b"a");
    }
    assert!(plane.metric("transom_tcp_proxy_connect_failures_total", &[]) >= 2);
    assert_eq!(plane.metric("transom_tcp_proxy_unavailable_total", &[]), 0);
}

#[test]
fn attempts_are_counted_and_then_the_client_is_closed() {
    let gone = [
        named("x").address(),
        named("y").address(),
        named("z").address(),
    ];
    let plane = plane(
        1,
        "cluster: up, connect_attempts: 2, access_logs: [{name: record}]",
        &[("up", &gone)],
    );
    assert!(plane.client().is_closed());
    assert_eq!(
        plane.metric("transom_tcp_proxy_connect_failures_total", &[]),
        2
    );
    assert_eq!(plane.metric("transom_tcp_proxy_unavailable_total", &[]), 1);
    let line = plane.lab.wait_for_prefix("log");
    assert!(line.contains(" UF "), "{line}");
}

#[test]
fn a_client_that_leaves_while_a_host_is_connected_is_let_go() {
    // A listener whose queue is full does not answer: the attempt lasts until the timeout.
    let (silent, _held) = sockets::silent();
    let config = "cluster: up, connect_attempts: 100, access_logs: [{name: record}]";
    let plane = plane(1, config, &[("up", &[silent])]);
    let client = plane.client();
    eventually("the connection is there", || {
        (plane.metric("transom_connections_active", &[]) == 1).then_some(())
    });
    sockets::reset(client.socket());
    drop(client);
    let began = Instant::now();
    eventually("the connection is gone", || {
        (plane.metric("transom_connections_active", &[]) == 0).then_some(())
    });
    assert!(began.elapsed() < Duration::from_secs(3));
    let line = plane.lab.wait_for_prefix("log");
    assert!(line.contains(" DC "), "{line}");
}

#[test]
fn a_connection_ends_when_its_time_is_over_however_busy() {
    let a = named("a");
    let plane = plane(
        1,
        "cluster: a, max_duration: 500ms, access_logs: [{name: record}]",
        &[("a", &[a.address()])],
    );
    let mut client = plane.client();
    let began = Instant::now();
    assert_eq!(client.bytes(1), b"a");
    while client.try_send("x").is_ok()
        && client
            .reader()
            .read(&mut [0; 16])
            .is_ok_and(|count| count > 0)
    {
        assert!(began.elapsed() < PATIENCE, "it goes on");
        std::thread::sleep(Duration::from_millis(10));
    }
    assert!(began.elapsed() >= Duration::from_millis(400));
    assert_eq!(
        plane.metric("transom_tcp_proxy_duration_limits_total", &[]),
        1
    );
    let line = plane.lab.wait_for_prefix("log");
    assert!(line.contains(" DT "), "{line}");
}

#[test]
fn an_idle_connection_is_counted_and_one_that_moves_stays() {
    let a = named("a");
    let plane = plane(
        1,
        "cluster: a, idle_timeout: 400ms, access_logs: [{name: record}]",
        &[("a", &[a.address()])],
    );
    let mut client = plane.client();
    assert_eq!(client.bytes(1), b"a");
    for _ in 0..8 {
        std::thread::sleep(Duration::from_millis(100));
        client.send("x");
        assert_eq!(client.bytes(1), b"x");
    }
    assert!(client.is_closed());
    assert_eq!(
        plane.metric("transom_tcp_proxy_idle_timeouts_total", &[]),
        1
    );
    let line = plane.lab.wait_for_prefix("log");
    assert!(line.contains(" SI "), "{line}");
}

#[test]
fn bytes_are_counted_and_told_when_the_connection_is_over() {
    let a = named("name");
    let plane = plane(
        1,
        "cluster: a, access_logs: [{name: record}]",
        &[("a", &[a.address()])],
    );
    let mut client = plane.client();
    client.send("0123456789").end();
    assert_eq!(client.rest(), b"name0123456789");
    let line = plane.lab.wait_for_prefix("log");
    assert!(line.contains(" 10 14 "), "{line}");
    assert!(line.contains(" a "), "{line}");
    assert_eq!(
        plane.metric("transom_tcp_proxy_received_bytes_total", &[]),
        10
    );
    assert_eq!(plane.metric("transom_tcp_proxy_sent_bytes_total", &[]), 14);
    assert_eq!(plane.metric("transom_tcp_proxy_joined_active", &[]), 0);
}

#[test]
fn a_side_that_breaks_off_ends_the_other() {
    let up = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = up.local_addr().unwrap();
    let resetting = std::thread::spawn(move || {
        let mut connection = up.accept().unwrap().0;
        connection.read_exact(&mut [0]).unwrap();
        sockets::reset(&connection);
    });
    let plane = plane(
        1,
        "cluster: a, access_logs: [{name: record}]",
        &[("a", &[address])],
    );
    let mut client = plane.client();
    client.send("x");
    assert!(client.is_closed());
    resetting.join().unwrap();
    let line = plane.lab.wait_for_prefix("log");
    assert!(line.contains(" UC "), "{line}");
    let broken = |by| plane.metric("transom_tcp_proxy_broken_total", &[("by", by)]);
    assert_eq!((broken("host"), broken("client")), (1, 0));
}

#[test]
fn a_receiver_that_does_not_read_stops_the_sender() {
    let up = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = up.local_addr().unwrap();
    let plane = plane(1, "cluster: a", &[("a", &[address])]);
    let socket = TcpStream::connect(plane.address("in")).unwrap();
    let _held = up.accept().unwrap();
    socket
        .set_write_timeout(Some(Duration::from_secs(1)))
        .unwrap();
    let sent = sockets::send_until_stuck(&socket, 64 << 20);
    assert!(sent < 64 << 20, "everything is taken");
    // What is in no kernel's buffer is one read: no more is held here.
    let taken = plane.metric("transom_tcp_proxy_received_bytes_total", &[]);
    assert!(taken <= sent as i64);
}

#[test]
fn a_reload_sends_new_connections_elsewhere_and_leaves_old_ones() {
    let (a, b) = (named("a"), named("b"));
    let clusters: [(&str, &[SocketAddr]); 2] = [("a", &[a.address()]), ("b", &[b.address()])];
    let plane = plane(2, "cluster: a", &clusters);
    let mut old = plane.client();
    assert_eq!(old.bytes(1), b"a");
    let address = plane.address("in");
    let yaml = yaml("cluster: b", &clusters).replace("127.0.0.1:0", &address.to_string());
    plane.apply(&yaml).unwrap();
    assert_eq!(plane.client().bytes(1), b"b");
    old.send("still here");
    assert_eq!(old.bytes(10), b"still here");
}

#[test]
fn a_dump_has_routes_and_shares() {
    let text = yaml(
        "routes: [{source: [10.0.0.0/8], destination_ports: [80, 8000..8080], cluster: a}], weighted_clusters: [{cluster: b, weight: 2}]",
        &[
            ("a", &["127.0.0.1:1".parse().unwrap()]),
            ("b", &["127.0.0.1:2".parse().unwrap()]),
        ],
    );
    let configuration = transom_config::load_str("test.yaml", &text).unwrap();
    let dump = configuration.dump();
    let proxy = &dump["listeners"][0]["network_filters"][0]["config"];
    assert_eq!(proxy["routes"][0]["destination_ports"][1], "8000..8080");
    assert_eq!(proxy["routes"][0]["source"][0], "10.0.0.0/8");
    assert_eq!(proxy["weighted_clusters"][0]["weight"], 2);
    assert_eq!(proxy["idle_timeout"], "1h");
}
