//! The header of PROXY protocol that hosts are sent.

use std::io::{BufRead, Read};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use transom_e2e::upstream::ok;
use transom_e2e::{Client, Message, Plane, Setup, Upstream, eventually};

/// A host that answers each request with the line that its connection began with, and the number of the request on it.
fn host_of_lines() -> Upstream {
    Upstream::serving(|mut connection| {
        let mut line = String::new();
        connection.client.reader().read_line(&mut line).unwrap();
        let mut count = 0;
        while let Ok(Some(_)) = connection.request() {
            count += 1;
            connection.send(ok(&format!("{}#{count}", line.trim_end())));
        }
    })
}

fn cluster(host: &Upstream, version: u8, more: &str) -> String {
    format!(
        "{{name: up, endpoints: [\"{}\"], proxy_protocol: {{version: {version}}}{more}}}",
        host.address()
    )
}

#[test]
fn each_client_has_connections_of_its_own_that_tell_of_it() {
    let host = host_of_lines();
    let setup = Setup::to(&host).no_clusters();
    let plane = setup.cluster_of(&cluster(&host, 1, "")).start();
    let to = plane.address("in");
    let mut clients = [plane.client(), plane.client()];
    for count in 1..=3 {
        for client in &mut clients {
            let from = client.socket().local_addr().unwrap();
            let line = format!(
                "PROXY TCP4 {} {} {} {}#{count}",
                from.ip(),
                to.ip(),
                from.port(),
                to.port()
            );
            assert_eq!(client.get("/").text(), line);
        }
    }
    assert_eq!(host.connections(), 2);
    // Neither is for a client that comes later.
    drop(clients);
    let mut third = plane.client();
    let port = third.socket().local_addr().unwrap().port();
    let told = third.get("/").text();
    assert!(
        told.contains(&format!(" {port} ")) && told.ends_with("#1"),
        "{told}"
    );
    assert_eq!(host.connections(), 3);
}

/// Whoever waits for a connection is given none of another client's.
#[test]
fn a_client_that_waits_for_a_connection_gets_one_of_its_own() {
    let host = host_of_lines();
    let setup = Setup::to(&host).no_clusters();
    let plane = setup
        .cluster_of(&cluster(
            &host,
            1,
            ", circuit_breakers: {max_connections: 1}",
        ))
        .start();
    let mut first = plane.client();
    assert!(first.get("/").text().ends_with("#1"));
    // The idle one stands in its way and goes.
    let mut second = plane.client();
    let port = second.socket().local_addr().unwrap().port();
    let told = second.get("/").text();
    assert!(
        told.contains(&format!(" {port} ")) && told.ends_with("#1"),
        "{told}"
    );
}

/// The fixed part of version 2: command, family, and the addresses.
fn read_v2(client: &mut Client) -> (u8, u8, Vec<u8>) {
    let mut fixed = [0; 16];
    client.reader().read_exact(&mut fixed).unwrap();
    assert_eq!(&fixed[..12], b"\r\n\r\n\0\r\nQUIT\n");
    let mut rest = vec![0; usize::from(u16::from_be_bytes([fixed[14], fixed[15]]))];
    client.reader().read_exact(&mut rest).unwrap();
    (fixed[12], fixed[13], rest)
}

#[test]
fn version_2_comes_before_the_bytes_of_tcp_proxy_and_checks_are_local() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let told = Arc::clone(&seen);
    let host = Upstream::serving(move |mut connection| {
        let header = read_v2(&mut connection.client);
        told.lock().unwrap().push(header);
        while let Ok(Some(_)) = Message::read_request(connection.client.reader()) {
            connection.send(ok("yes"));
        }
    });
    let plane = Plane::start(
        1,
        &format!(
            "listeners: [{{name: in, address: \"127.0.0.1:0\", network_filters: [{{name: tcp_proxy, config: {{cluster: up}}}}]}}]
clusters: [{{name: up, endpoints: [\"{}\"], proxy_protocol: {{values: [unique_id, authority]}}, health_check: {{interval: 20ms, initially: healthy, http: {{path: /}}}}}}]",
            host.address()
        ),
    );
    let mut client = plane.client();
    assert_eq!(client.get("/").text(), "yes");
    let from = client.socket().local_addr().unwrap();
    let to = plane.address("in");
    let (clients, checks) = eventually("a check and a client", || {
        let seen = seen.lock().unwrap();
        let (checks, clients): (Vec<_>, Vec<_>) = seen.iter().cloned().partition(|it| it.0 == 0x20);
        (!clients.is_empty() && !checks.is_empty()).then_some((clients, checks))
    });
    assert_eq!(checks[0], (0x20, 0, Vec::new()));
    let [(command, family, rest)] = clients.as_slice() else {
        panic!("{clients:?}");
    };
    assert_eq!((*command, *family), (0x21, 0x11));
    let mut expected = [127, 0, 0, 1, 127, 0, 0, 1].to_vec();
    expected.extend(from.port().to_be_bytes());
    expected.extend(to.port().to_be_bytes());
    // No server name without TLS; the identifier has 32 digits.
    expected.extend([5, 0, 32]);
    assert_eq!(rest[..15], expected);
    assert_eq!(rest.len(), 15 + 32);
}

#[test]
fn the_header_comes_before_tls() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let told = Arc::clone(&seen);
    let host = Upstream::serving(move |mut connection| {
        let mut line = String::new();
        connection.client.reader().read_line(&mut line).unwrap();
        let mut first = [0; 1];
        connection.client.reader().read_exact(&mut first).unwrap();
        told.lock().unwrap().push((line, first[0]));
    });
    let setup = Setup::to(&host).no_clusters();
    let plane = setup
        .cluster_of(&cluster(&host, 1, ", tls: {verify: false}"))
        .start();
    assert_eq!(plane.get("/").status(), 502);
    let seen = seen.lock().unwrap();
    let (line, first) = &seen[0];
    assert!(line.starts_with("PROXY TCP4 127.0.0.1 "), "{line}");
    // A handshake's record (RFC 8446 section 5.1).
    assert_eq!(*first, 22);
}

/// What came in by PROXY protocol goes out by it, and the client's bytes are not told of.
#[test]
fn a_client_behind_two_proxies_is_still_known() {
    let host = host_of_lines();
    let setup = Setup::to(&host)
        .no_clusters()
        .cluster_of(&cluster(&host, 1, ""))
        .listener_option(
            "listener_filters: [{name: proxy_protocol, config: {trusted: [127.0.0.0/8]}}]",
        );
    let plane = setup.start();
    let mut client = plane.client();
    client.send("PROXY TCP6 2001:db8::1 2001:db8::2 4711 443\r\n");
    assert_eq!(
        client.get("/").text(),
        "PROXY TCP6 2001:db8::1 2001:db8::2 4711 443#1"
    );
    let mut unknown = plane.client();
    let from: SocketAddr = unknown.socket().local_addr().unwrap();
    unknown.send("PROXY UNKNOWN\r\n");
    assert!(
        unknown
            .get("/")
            .text()
            .contains(&format!(" {} ", from.port()))
    );
}

/// A trusted proxy tells where the client wanted to go, and a cluster brings it there.
#[test]
fn a_cluster_brings_clients_where_they_wanted_to_go() {
    let (one, other) = (Upstream::ok("one"), Upstream::ok("other"));
    let yaml = |more: &str| {
        format!(
            "listeners:
  - name: in
    address: 127.0.0.1:0
    listener_filters: [{{name: proxy_protocol, config: {{trusted: [127.0.0.0/8], required: false}}}}]
    network_filters: [{{name: http, config: {{virtual_hosts: [{{domains: [\"*\"], routes: [{{match: {{prefix: /}}, cluster: there}}]}}]}}}}]
  - name: tcp
    address: 127.0.0.1:0
    listener_filters: [{{name: proxy_protocol, config: {{trusted: [127.0.0.0/8]}}}}]
    network_filters: [{{name: tcp_proxy, config: {{cluster: there}}}}]
clusters: [{{name: there, original_dst: {{{more}}}}}]
"
        )
    };
    let plane = Plane::start(1, &yaml(""));
    let ask = |listener: &str, to: SocketAddr| {
        let mut client = Client::connect(plane.address(listener));
        client.send(format!(
            "PROXY TCP4 192.0.2.1 {} 1 {}\r\n",
            to.ip(),
            to.port()
        ));
        let answers = [client.get("/"), client.get("/")];
        answers.map(|answer| format!("{} {}", answer.status(), answer.text()))
    };
    for listener in ["in", "tcp"] {
        assert_eq!(ask(listener, one.address()), ["200 one", "200 one"]);
        assert_eq!(ask(listener, other.address()), ["200 other", "200 other"]);
    }
    // The connections of http are used again, also after a reload.
    let before = one.connections();
    plane
        .apply(&yaml("").replace("required: false", "required: false, versions: [1]"))
        .unwrap();
    assert_eq!(ask("in", one.address()), ["200 one", "200 one"]);
    assert_eq!(one.connections(), before);
    // Who came by itself wanted to come here: the proxy does not call itself.
    assert_eq!(plane.get("/").status(), 502);
    plane.apply(&yaml("networks: [10.0.0.0/8]")).unwrap();
    let mut client = Client::connect(plane.address("in"));
    let to = one.address();
    client.send(format!(
        "PROXY TCP4 192.0.2.1 {} 1 {}\r\n",
        to.ip(),
        to.port()
    ));
    assert_eq!(client.get("/").status(), 502);
    plane
        .apply(&yaml(&format!("port: {}", other.address().port())))
        .unwrap();
    assert_eq!(ask("in", one.address()), ["200 other", "200 other"]);
}
