//! `udp_proxy`: sessions of datagrams.

use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use transom_e2e::{Plane, UdpClient, UdpUpstream, eventually};

/// A listener `in` for datagrams with this configuration, and clusters.
fn yaml(address: &str, config: &str, clusters: &[(&str, &[SocketAddr])]) -> String {
    let clusters: Vec<String> = clusters
        .iter()
        .map(|(name, hosts)| {
            let hosts: Vec<String> = hosts.iter().map(|host| format!("\"{host}\"")).collect();
            format!("{{name: {name}, endpoints: [{}]}}", hosts.join(", "))
        })
        .collect();
    format!(
        "listeners: [{{name: in, address: \"udp:{address}\", network_filters: [{{name: udp_proxy, config: {{{config}}}}}]}}]\nclusters: [{}]\n",
        clusters.join(", ")
    )
}

fn plane(workers: usize, config: &str, clusters: &[(&str, &[SocketAddr])]) -> Plane {
    Plane::start(workers, &yaml("127.0.0.1:0", config, clusters))
}

fn client(plane: &Plane) -> UdpClient {
    UdpClient::new("127.0.0.1:0", plane.address("in"))
}

fn dropped(plane: &Plane, reason: &str) -> i64 {
    plane.metric("transom_udp_proxy_dropped_total", &[("reason", reason)])
}

fn sessions(plane: &Plane) -> i64 {
    plane.metric("transom_udp_proxy_sessions_active", &[])
}

#[test]
fn each_client_has_a_session_of_its_own() {
    let up = UdpUpstream::answering("a:", 1);
    let plane = plane(2, "cluster: a", &[("a", &[up.address()])]);
    let clients: Vec<UdpClient> = (0..20).map(|_| client(&plane)).collect();
    for round in 0..3 {
        for (number, client) in clients.iter().enumerate() {
            client.send(format!("{number}/{round}").as_bytes());
        }
        for (number, client) in clients.iter().enumerate() {
            assert_eq!(client.answer(), format!("a:{number}/{round}").as_bytes());
        }
    }
    assert_eq!(sessions(&plane), 20);
    assert_eq!(plane.metric("transom_udp_proxy_sessions_total", &[]), 20);
    assert_eq!(plane.metric("transom_udp_proxy_received_total", &[]), 60);
    assert_eq!(plane.metric("transom_udp_proxy_sent_total", &[]), 60);
    assert_eq!(plane.metric("transom_connections_active", &[]), 20);
    let mut ports: Vec<SocketAddr> = up.senders();
    ports.sort();
    ports.dedup();
    assert_eq!(ports.len(), 20, "a socket for each");
}

#[test]
fn datagrams_keep_their_length_from_none_to_the_longest() {
    let up = UdpUpstream::answering("", 1);
    let plane = plane(1, "cluster: a", &[("a", &[up.address()])]);
    let client = client(&plane);
    for length in [0, 1, 1_472, 9_000, 65_507, 3] {
        let bytes = vec![7; length];
        assert_eq!(client.send(&bytes).answer(), bytes);
    }
}

#[test]
fn a_question_and_its_answers_are_a_session_when_their_number_is_known() {
    // As with DNS: each question from a port of its own.
    let up = UdpUpstream::answering("", 2);
    let plane = plane(
        1,
        "cluster: a, replies: 2, max_sessions: 4",
        &[("a", &[up.address()])],
    );
    for question in 0..40_u16 {
        let client = client(&plane);
        let id = question.to_be_bytes();
        client.send(&id);
        assert_eq!([client.answer(), client.answer()], [id, id]);
        eventually("the session is over", || {
            (sessions(&plane) == 0).then_some(())
        });
    }
    assert_eq!(plane.metric("transom_udp_proxy_sessions_total", &[]), 40);
    assert_eq!(
        plane.metric("transom_udp_proxy_idle_timeouts_total", &[]),
        0
    );
}

#[test]
fn a_quiet_session_is_over_and_the_client_gets_another() {
    let up = UdpUpstream::answering("", 1);
    let plane = plane(
        1,
        "cluster: a, idle_timeout: 200ms, access_logs: [{name: record}]",
        &[("a", &[up.address()])],
    );
    let client = client(&plane);
    assert_eq!(client.send(b"12345").answer(), b"12345");
    eventually("the session is over", || {
        (sessions(&plane) == 0).then_some(())
    });
    assert_eq!(
        plane.metric("transom_udp_proxy_idle_timeouts_total", &[]),
        1
    );
    let line = plane.lab.wait_for_prefix("log");
    assert!(line.contains(" a ") && line.contains(" 5 5 "), "{line}");
    assert_eq!(client.send(b"again").answer(), b"again");
    let senders = up.senders();
    assert_ne!(senders[0], senders[1]);
}

#[test]
fn there_are_no_more_sessions_than_allowed_on_all_workers() {
    let up = UdpUpstream::answering("", 1);
    let plane = plane(2, "cluster: a, max_sessions: 3", &[("a", &[up.address()])]);
    let clients: Vec<UdpClient> = (0..8).map(|_| client(&plane)).collect();
    for client in &clients {
        client.send(b"x");
    }
    eventually("all were looked at", || {
        (plane.metric("transom_udp_proxy_received_total", &[]) == 8).then_some(())
    });
    assert_eq!(sessions(&plane), 3);
    assert_eq!(dropped(&plane, "too_many_sessions"), 5);
    let answered = clients
        .iter()
        .filter(|client| client.try_answer(Duration::from_millis(300)).is_some())
        .count();
    assert_eq!(answered, 3);
}

#[test]
fn a_host_that_is_not_there_leaves_its_clients_to_another() {
    let up = UdpUpstream::answering("", 1);
    let gone = UdpSocket::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let plane = plane(1, "cluster: a", &[("a", &[gone, up.address()])]);
    for _ in 0..4 {
        let client = client(&plane);
        let began = Instant::now();
        // The first may be lost; a client of UDP asks again.
        while client
            .send(b"x")
            .try_answer(Duration::from_millis(100))
            .is_none()
        {
            assert!(began.elapsed() < transom_e2e::PATIENCE, "no answer");
        }
    }
    assert!(plane.metric("transom_udp_proxy_host_errors_total", &[]) >= 1);
}

#[test]
fn an_address_keeps_its_host_by_hash() {
    let ups =
        [("a", 1), ("b", 1), ("c", 1)].map(|(name, copies)| UdpUpstream::answering(name, copies));
    let hosts = [0, 1, 2].map(|at: usize| ups[at].address());
    let plane = plane(2, "cluster: a, hash: source_ip", &[("a", &hosts)]);
    let mut seen = std::collections::BTreeSet::new();
    for number in 1..=16 {
        let from = format!("127.0.0.{number}:0");
        let answers: Vec<Vec<u8>> = (0..4)
            .map(|_| {
                UdpClient::new(&from, plane.address("in"))
                    .send(b"")
                    .answer()
            })
            .collect();
        assert!(
            answers.iter().all(|answer| *answer == answers[0]),
            "{answers:?}"
        );
        seen.insert(answers[0].clone());
    }
    assert!(seen.len() > 1, "all addresses have the same host");
}

#[test]
fn answers_come_from_the_address_that_was_asked() {
    let up = UdpUpstream::answering("", 1);
    let plane = Plane::start(
        1,
        &yaml("0.0.0.0:0", "cluster: a", &[("a", &[up.address()])]),
    );
    let port = plane.address("in").port();
    for address in ["127.0.0.1", "127.0.0.2", "127.1.2.3"] {
        // A connected socket takes datagrams from nowhere else.
        let to = format!("{address}:{port}").parse().unwrap();
        let client = UdpClient::new("127.0.0.1:0", to);
        assert_eq!(client.send(address.as_bytes()).answer(), address.as_bytes());
    }
}

#[test]
fn routes_and_weights_choose_the_cluster_of_a_session() {
    let (a, b) = (
        UdpUpstream::answering("a", 1),
        UdpUpstream::answering("b", 1),
    );
    let clusters: [(&str, &[SocketAddr]); 2] = [("a", &[a.address()]), ("b", &[b.address()])];
    let plane = plane(
        1,
        "routes: [{source: [127.0.0.2], cluster: a}], weighted_clusters: [{cluster: a, weight: 0}, {cluster: b, weight: 1}]",
        &clusters,
    );
    let from = |from: &str| UdpClient::new(from, plane.address("in")).send(b"").answer();
    assert_eq!(from("127.0.0.2:0"), b"a");
    assert_eq!(from("127.0.0.1:0"), b"b");
}

#[test]
fn what_no_route_takes_is_dropped_and_counted() {
    let a = UdpUpstream::answering("a", 1);
    let plane = plane(
        1,
        "routes: [{source: [192.0.2.1], cluster: a}]",
        &[("a", &[a.address()])],
    );
    client(&plane).send(b"x");
    eventually("the drop is counted", || {
        (dropped(&plane, "no_cluster") == 1).then_some(())
    });
    assert_eq!(sessions(&plane), 0);
}

#[test]
fn a_reload_keeps_sessions_and_gives_new_ones_the_new_configuration() {
    let (a, b) = (
        UdpUpstream::answering("a", 1),
        UdpUpstream::answering("b", 1),
    );
    let clusters: [(&str, &[SocketAddr]); 2] = [("a", &[a.address()]), ("b", &[b.address()])];
    let plane = plane(2, "cluster: a", &clusters);
    let old: Vec<UdpClient> = (0..8).map(|_| client(&plane)).collect();
    for client in &old {
        assert_eq!(client.send(b"").answer(), b"a");
    }
    let address = plane.address("in").to_string();
    plane
        .apply(&yaml(&address, "cluster: b, idle_timeout: 5m", &clusters))
        .unwrap();
    for client in &old {
        assert_eq!(client.send(b"").answer(), b"a");
    }
    assert_eq!(client(&plane).send(b"").answer(), b"b");
    assert_eq!(plane.metric("transom_udp_proxy_sessions_total", &[]), 9);
    // A listener that goes takes nothing any more.
    plane.apply("listeners: []").unwrap();
    eventually("the sessions are over", || {
        (sessions(&plane) == 0).then_some(())
    });
}

#[test]
fn a_drain_ends_with_the_sessions_soon_after_they_are_quiet() {
    let up = UdpUpstream::answering("", 1);
    let plane = plane(
        2,
        "cluster: a, idle_timeout: 10m",
        &[("a", &[up.address()])],
    );
    let client = client(&plane);
    assert_eq!(client.send(b"x").answer(), b"x");
    let began = Instant::now();
    let drained = plane.wait({
        let proxy = std::sync::Arc::clone(&plane.proxy);
        async move { proxy.drain(Duration::from_secs(20)).await }
    });
    assert!(drained);
    assert!(began.elapsed() < Duration::from_secs(10));
}

#[test]
fn an_address_in_use_is_refused_with_its_place() {
    let taken = UdpSocket::bind("127.0.0.1:0").unwrap();
    let up = UdpUpstream::answering("", 1);
    let plane = plane(1, "cluster: a", &[("a", &[up.address()])]);
    let address = taken.local_addr().unwrap().to_string();
    let error = plane
        .apply(&yaml(&address, "cluster: a", &[("a", &[up.address()])]))
        .unwrap_err();
    assert!(
        error.contains(&format!("cannot listen on udp:{address}")),
        "{error}"
    );
    // What was active stays.
    assert_eq!(client(&plane).send(b"x").answer(), b"x");
}

#[test]
fn sessions_keep_to_the_bounds_of_their_cluster_on_all_workers_and_after_a_reload() {
    let up = UdpUpstream::answering("", 1);
    let yaml = |most: u32| {
        format!(
            "listeners: [{{name: in, address: \"udp:127.0.0.1:0\", network_filters: [{{name: udp_proxy, config: {{cluster: a}}}}]}}]\n\
             clusters: [{{name: a, endpoints: [\"{}\"], circuit_breakers: {{max_connections: {most}}}}}]\n",
            up.address()
        )
    };
    let plane = Plane::start(2, &yaml(3));
    let clients: Vec<UdpClient> = (0..12).map(|_| client(&plane)).collect();
    let served = |clients: &[UdpClient]| {
        let answers = clients.iter().map(|client| {
            client.send(b"x");
            client.try_answer(Duration::from_millis(100)).is_some()
        });
        answers.filter(|answered| *answered).count()
    };
    assert_eq!(served(&clients), 3);
    assert_eq!(dropped(&plane, "overflow"), 9);
    let connections = |plane: &Plane| plane.metric("transom_cluster_connections_active", &[]);
    assert_eq!(connections(&plane), 3);
    assert_eq!(plane.metric("transom_host_active", &[]), 3);
    // The three that are there count after a reload; two more may come.
    plane.apply(&yaml(5)).unwrap();
    assert_eq!(served(&clients), 5);
    assert_eq!(connections(&plane), 5);
}
