//! Filter chains, and the listener filters that tell connections apart.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use transom_e2e::tls::{Authority, Folder, Secure, answering, upstream};
use transom_e2e::upstream::ok;
use transom_e2e::{PATIENCE, Plane, Upstream, eventually};

/// Says who it is, and ends.
fn greeter(name: &'static str) -> Upstream {
    Upstream::serving(move |mut connection| {
        connection.send(name);
        connection.client.end();
    })
}

fn tcp(cluster: &str) -> String {
    format!("network_filters: [{{name: tcp_proxy, config: {{cluster: {cluster}}}}}]")
}

fn cluster(name: &str, upstream: &Upstream) -> String {
    format!(
        "  - {{name: {name}, endpoints: [\"{}\"]}}\n",
        upstream.address()
    )
}

const HTTP: &str = "network_filters: [{name: http, config: {virtual_hosts: [{domains: [\"*\"], routes: [{match: {prefix: /}, direct_response: {status: 200, body: http}}]}]}}]";

/// One port for HTTP, TLS that is passed through by its name, TLS that ends here, and anything else.
#[test]
fn one_port_serves_http_tls_and_neither() {
    let raw = greeter("raw");
    let authority = Authority::new("passed through");
    let behind = upstream(
        &authority.sign(&["behind.test"]),
        None,
        answering(|request, _| ok(request.target())),
    );
    let own = Authority::new("own");
    let folder = Folder::new();
    let certificate = folder.pair("own", &own.sign(&["own.test"]));
    let yaml = format!(
        "listeners:\n  - name: in\n    address: 127.0.0.1:0\n    listener_filters: [{{name: tls_inspector}}, {{name: http_inspector}}]\n    on_listener_filters_timeout: continue\n    listener_filters_timeout: 300ms\n    filter_chains:\n      - {{match: {{transport_protocol: tls, server_names: [behind.test]}}, {pass}}}\n      - {{match: {{transport_protocol: tls, server_names: [\"*.test\"]}}, tls: {{certificates: [{{{certificate}}}]}}, {HTTP}}}\n      - {{match: {{application_protocols: [http/1.0, http/1.1]}}, {HTTP}}}\n    {raw_chain}\nclusters:\n{}  - {{name: behind, endpoints: [\"{}\"]}}\n",
        cluster("raw", &raw),
        behind,
        pass = tcp("behind"),
        raw_chain = tcp("raw"),
    );
    let plane = Plane::start(2, &yaml);
    // HTTP without TLS.
    assert_eq!(plane.get("/").text(), "http");
    // TLS that ends here, with the chain's certificate.
    let mut client = Secure::new(&own)
        .connect(plane.address("in"), "own.test")
        .unwrap();
    assert_eq!(client.get("/").text(), "http");
    // TLS that is passed through: the certificate is the upstream's, the proxy knows no key of it.
    let mut client = Secure::new(&authority)
        .connect(plane.address("in"), "behind.test")
        .unwrap();
    assert_eq!(client.get("/x").text(), "/x");
    // Another protocol, whole at once.
    let mut client = plane.client();
    client.send("EHLO me\r\n");
    assert_eq!(client.rest(), b"raw");
    // One in which the server speaks first.
    assert_eq!(plane.client().rest(), b"raw");
    assert_eq!(
        plane.metric("transom_listener_filter_timeouts_total", &[]),
        1
    );
}

/// However the hello is cut, the chain is the same, and the handshake sees every byte of it.
#[test]
fn a_hello_in_single_bytes_finds_its_chain() {
    let authority = Authority::new("passed through");
    let behind = upstream(
        &authority.sign(&["behind.test"]),
        None,
        answering(|request, _| ok(request.target())),
    );
    let yaml = format!(
        "listeners:\n  - name: in\n    address: 127.0.0.1:0\n    listener_filters: [{{name: tls_inspector}}]\n    filter_chains:\n      - {{match: {{server_names: [behind.test]}}, {}}}\nclusters:\n  - {{name: behind, endpoints: [\"{}\"]}}\n",
        tcp("behind"),
        behind,
    );
    let plane = Plane::start(1, &yaml);
    // Between the client and the proxy stands somebody who cuts what it sends.
    let cutting = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = cutting.local_addr().unwrap();
    let proxy = plane.address("in");
    let cutter = std::thread::spawn(move || {
        let (mut from, _) = cutting.accept().unwrap();
        let mut to = TcpStream::connect(proxy).unwrap();
        to.set_nodelay(true).unwrap();
        let (mut back_from, mut back_to) = (to.try_clone().unwrap(), from.try_clone().unwrap());
        let back = std::thread::spawn(move || {
            let _ = std::io::copy(&mut back_from, &mut back_to);
        });
        let mut byte = [0; 1];
        while let Ok(1) = from.read(&mut byte) {
            if to.write_all(&byte).is_err() {
                break;
            }
        }
        let _ = to.shutdown(std::net::Shutdown::Write);
        back.join().unwrap();
    });
    let mut client = Secure::new(&authority)
        .connect(address, "behind.test")
        .unwrap();
    assert_eq!(client.get("/x").text(), "/x");
    drop(client);
    cutter.join().unwrap();
}

#[test]
fn a_connection_that_no_chain_matches_is_closed() {
    let raw = greeter("raw");
    let yaml = format!(
        "listeners:\n  - name: in\n    address: 127.0.0.1:0\n    filter_chains:\n      - {{match: {{source_networks: [192.0.2.0/24]}}, {}}}\nclusters:\n{}",
        tcp("raw"),
        cluster("raw", &raw),
    );
    let plane = Plane::start(1, &yaml);
    assert!(plane.client().is_closed());
    assert_eq!(
        plane.metric("transom_connections_unmatched_total", &[("listener", "in")]),
        1
    );
    eventually("the connection to be given up", || {
        (plane.metric("transom_connections_active", &[]) == 0).then_some(())
    });
}

/// Bytes that come one by one buy no time.
#[test]
fn a_slow_client_does_not_stretch_the_time_for_peeking() {
    let raw = greeter("raw");
    let yaml = format!(
        "listeners:\n  - name: in\n    address: 127.0.0.1:0\n    listener_filters: [{{name: tls_inspector}}]\n    listener_filters_timeout: 400ms\n    {}\nclusters:\n{}",
        tcp("raw"),
        cluster("raw", &raw),
    );
    let plane = Plane::start(1, &yaml);
    let mut slow = TcpStream::connect(plane.address("in")).unwrap();
    slow.set_nodelay(true).unwrap();
    let began = Instant::now();
    // The first bytes of a hello of 8 KiB, in time for anything that would begin anew with each of them.
    slow.write_all(b"\x16\x03\x01\x20\x00\x01\x00\x1f\xfc")
        .unwrap();
    while slow.write_all(b"\0").is_ok() {
        assert!(began.elapsed() < PATIENCE, "it is still read");
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(began.elapsed() >= Duration::from_millis(400));
    assert_eq!(
        plane.metric(
            "transom_listener_filter_timeouts_total",
            &[("listener", "in")]
        ),
        1
    );
}

/// A chain is known by its name: what changes in it reaches connections that it has, and when it goes they end.
#[test]
fn connections_follow_their_chain_through_reloads() {
    let yaml = |body: &str, has_chain: bool| {
        let routes = |body: &str| {
            format!(
                "network_filters: [{{name: http, config: {{virtual_hosts: [{{domains: [\"*\"], routes: [{{match: {{prefix: /}}, direct_response: {{status: 200, body: {body}}}}}]}}]}}}}]"
            )
        };
        let chain = if has_chain {
            format!(
                "      - {{name: local, match: {{source_type: local}}, {}}}\n",
                routes(body)
            )
        } else {
            format!(
                "      - {{name: other, match: {{source_networks: [192.0.2.0/24]}}, {}}}\n",
                routes("other")
            )
        };
        format!(
            "listeners:\n  - name: in\n    address: 127.0.0.1:0\n    filter_chains:\n{chain}    {}\n",
            routes("default")
        )
    };
    let plane = Plane::start(1, &yaml("one", true));
    let mut client = plane.client();
    assert_eq!(client.get("/").text(), "one");
    plane.apply(&yaml("two", true)).unwrap();
    assert_eq!(client.get("/").text(), "two");
    plane.apply(&yaml("-", false)).unwrap();
    assert!(client.is_closed());
    assert_eq!(plane.get("/").text(), "default");
}

/// Two chains of one listener have a filter of the same name: each has its own.
#[test]
fn generations_find_the_filter_of_a_chain() {
    let http = |body: &str| {
        format!(
            "network_filters: [{{name: http, config: {{stream_filters: [{{name: noop}}], virtual_hosts: [{{domains: [\"*\"], routes: [{{match: {{prefix: /}}, direct_response: {{status: 200, body: {body}}}}}]}}]}}}}]"
        )
    };
    let yaml = format!(
        "listeners:\n  - name: in\n    address: 127.0.0.1:0\n    filter_chains:\n      - {{name: far, match: {{source_type: external}}, {}}}\n      - {{name: near, match: {{source_type: local}}, {}}}\n",
        http("far"),
        http("near"),
    );
    let plane = Plane::start(1, &yaml);
    assert_eq!(plane.get("/").text(), "near");
    let refuse = transom_api::Node::map([("x-never", "1".into())]);
    let start = |filter: &str| {
        let order = plane
            .proxy
            .start_generation("in", filter, "header_match", &refuse, 100);
        plane.wait(order)
    };
    start("far/noop").unwrap();
    assert_eq!(plane.get("/").status(), 200);
    start("near/noop").unwrap();
    assert_eq!(plane.get("/").status(), 403);
    assert!(start("none/noop").is_err());
}

#[test]
fn a_filter_that_fails_holds_by_its_policy() {
    let raw = greeter("raw");
    for what in ["panic", "panic_at_accept"] {
        for policy in ["closed", "open"] {
            let plane = peeking(&raw, what, policy);
            let mut client = plane.client();
            client.send("x");
            if policy == "open" {
                assert_eq!(client.rest(), b"raw", "{what}");
            } else {
                assert!(client.is_closed(), "{what}");
            }
            assert_eq!(plane.metric("transom_filter_failures_total", &[]), 1);
        }
    }
}

#[test]
fn a_filter_closes_eats_and_waits() {
    let shouting = Upstream::serving(|mut connection| {
        let bytes = connection.client.rest();
        connection.send(bytes.to_ascii_uppercase());
        connection.client.end();
    });
    let plane = peeking(&shouting, "close", "closed");
    let mut client = plane.client();
    client.send("abc");
    assert!(client.is_closed());
    for (what, rest) in [
        ("eat", &b"BC"[..]),
        // The client's end is all that can come.
        ("wait", b"ABC"),
        ("nothing", b"ABC"),
    ] {
        let plane = peeking(&shouting, what, "closed");
        let mut client = plane.client();
        client.send("abc").end();
        assert_eq!(client.rest(), rest, "{what}");
        assert_eq!(plane.metric("transom_filter_failures_total", &[]), 0);
    }
}

fn peeking(upstream: &Upstream, what: &str, policy: &str) -> Plane {
    let yaml = format!(
        "listeners:\n  - name: in\n    address: 127.0.0.1:0\n    listener_filters: [{{name: peek, config: {{do: {what}}}, on_failure: {policy}}}]\n    {}\nclusters:\n{}",
        tcp("up"),
        cluster("up", upstream),
    );
    Plane::start(1, &yaml)
}

/// The header is gone before TLS, routes see the client that it names, and chains may ask for it.
#[test]
fn proxy_protocol_names_the_client() {
    let own = Authority::new("own");
    let folder = Folder::new();
    let certificate = folder.pair("own", &own.sign(&["own.test"]));
    let deny = "network_filters: [{name: http, config: {stream_filters: [{name: ip_access, config: {default: deny, rules: [{action: allow, addresses: [203.0.113.7]}]}}], virtual_hosts: [{domains: [\"*\"], routes: [{match: {prefix: /}, direct_response: {status: 200, body: let in}}]}]}}]";
    let yaml = |trusted: &str| {
        format!(
            "listeners:\n  - name: in\n    address: 127.0.0.1:0\n    listener_filters: [{{name: proxy_protocol, config: {{trusted: [{trusted}], required: false}}}}, {{name: tls_inspector}}]\n    filter_chains:\n      - {{match: {{transport_protocol: tls}}, tls: {{certificates: [{{{certificate}}}]}}, {HTTP}}}\n    {deny}\n",
        )
    };
    let plane = Plane::start(1, &yaml("127.0.0.0/8"));
    let get = |line: &str| {
        let mut client = plane.client();
        client.send(line);
        client.get("/")
    };
    assert_eq!(
        get("PROXY TCP4 203.0.113.7 192.0.2.1 1 2\r\n").text(),
        "let in"
    );
    assert_eq!(
        get("PROXY TCP4 203.0.113.8 192.0.2.1 1 2\r\n").status(),
        403
    );
    assert_eq!(get("PROXY UNKNOWN\r\n").status(), 403);
    assert_eq!(get("").status(), 403);
    // Before TLS, in one piece with the hello or not.
    let socket = TcpStream::connect(plane.address("in")).unwrap();
    (&socket)
        .write_all(b"PROXY TCP4 203.0.113.7 192.0.2.1 1 2\r\n")
        .unwrap();
    let mut client = Secure::new(&own).over(socket, "own.test").unwrap();
    assert_eq!(client.get("/").text(), "http");
    // Malformed headers, and those of strangers, which are no HTTP either.
    let mut client = plane.client();
    client.send("PROXY TCP4 203.0.113.7 192.0.2.1 1\r\n");
    assert!(client.is_closed());
    plane.apply(&yaml("192.0.2.0/24")).unwrap();
    let mut client = plane.client();
    client.send("PROXY TCP4 203.0.113.7 192.0.2.1 1 2\r\n\r\n");
    assert_eq!(client.answer().status(), 400);
}

#[test]
fn ip_access_of_a_listener_closes_before_a_byte() {
    let yaml = |default: &str| {
        format!(
            "listeners:\n  - name: in\n    address: 127.0.0.1:0\n    listener_filters: [{{name: ip_access, config: {{default: {default}}}}}]\n    {HTTP}\n"
        )
    };
    let plane = Plane::start(1, &yaml("deny"));
    assert!(plane.client().is_closed());
    plane.apply(&yaml("allow")).unwrap();
    assert_eq!(plane.get("/").text(), "http");
}

/// Bytes that the first listener's filters looked at are there for the second one's.
#[test]
fn a_connection_is_handed_over_to_the_listener_of_its_destination() {
    let yaml = |to: &str| {
        let http = |body: &str| HTTP.replace("body: http", &format!("body: {body}"));
        format!(
            "listeners:\n  - name: in\n    address: 127.0.0.1:0\n    listener_filters: [{{name: peek, config: {{do: \"to {to}\"}}}}]\n    {}\n  - name: there\n    address: 127.0.0.1:0\n    listener_filters: [{{name: http_inspector}}]\n    filter_chains:\n      - {{match: {{application_protocols: [http/1.1]}}, {}}}\n",
            http("here"),
            http("there"),
        )
    };
    let plane = Plane::start(1, &yaml("127.0.0.1:1"));
    assert_eq!(plane.get("/").text(), "here");
    let there = plane.address("there").to_string();
    plane.apply(&yaml(&there)).unwrap();
    let mut client = plane.client();
    assert_eq!(client.get("/").text(), "there");
    let active = |name| plane.metric("transom_connections_active", &[("listener", name)]);
    assert_eq!(active("there"), 1);
    eventually("the first listener to let go", || {
        (active("in") == 0).then_some(())
    });
}
