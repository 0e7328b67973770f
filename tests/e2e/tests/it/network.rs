//! Network filters, before `http` and before `tcp_proxy`.

use std::io::Read;

use transom_e2e::{Client, Plane, Setup, Upstream, eventually};

/// Sends back what comes, in capitals, and ends when the other side has.
fn shouting() -> Upstream {
    Upstream::serving(|mut connection| {
        let mut piece = [0; 4096];
        while let Ok(count @ 1..) = connection.client.reader().read(&mut piece) {
            connection.send(piece[..count].to_ascii_uppercase());
        }
        connection.send("!");
        connection.client.end();
    })
}

/// A listener `in` with network filters before a `tcp_proxy`.
fn relay(upstream: &Upstream, filters: &[&str], options: &str) -> Plane {
    let filters: String = filters
        .iter()
        .map(|used| format!("      - {used}\n"))
        .collect();
    Plane::start(
        1,
        &format!(
            "listeners:\n  - name: in\n    address: 127.0.0.1:0\n{options}    network_filters:\n{filters}      - {{name: tcp_proxy, config: {{cluster: up}}}}\nclusters:\n  - {{name: up, endpoints: [\"{}\"]}}\n",
            upstream.address()
        ),
    )
}

fn wire(what: &str) -> String {
    format!("{{name: wire, config: {{do: {what}}}}}")
}

#[test]
fn tcp_proxy_carries_both_directions_and_half_closes() {
    let upstream = shouting();
    let plane = relay(&upstream, &[], "");
    let mut client = plane.client();
    client.send("abc");
    assert_eq!(client.bytes(3), b"ABC");
    client.send("def").end();
    // The upstream saw the client's end and still had something to say.
    assert_eq!(client.rest(), b"DEF!");
}

#[test]
fn tcp_proxy_closes_without_a_host() {
    let gone = shouting().address();
    let plane = Plane::start(
        1,
        &format!(
            "listeners: [{{name: in, address: \"127.0.0.1:0\", network_filters: [{{name: tcp_proxy, config: {{cluster: up}}}}]}}]\nclusters: [{{name: up, endpoints: [\"{gone}\"]}}]\n"
        ),
    );
    assert!(plane.client().is_closed());
    assert_eq!(plane.metric("transom_tcp_proxy_unavailable_total", &[]), 1);
}

#[test]
fn tcp_proxy_moves_much_both_ways_at_once() {
    let upstream = shouting();
    let plane = relay(&upstream, &["{name: trace}"], "");
    let client = plane.client();
    let mut sender = Client::over(client.socket().try_clone().unwrap());
    const MOST: usize = 8 << 20;
    let sending = std::thread::spawn(move || {
        sender.send(vec![b'a'; MOST]).end();
    });
    let mut client = client;
    let came = client.rest();
    sending.join().unwrap();
    assert_eq!(came.len(), MOST + 1);
    assert!(came[..MOST].iter().all(|byte| *byte == b'A'));
}

#[test]
fn an_idle_connection_is_closed() {
    let upstream = shouting();
    let yaml = format!(
        "listeners: [{{name: in, address: \"127.0.0.1:0\", network_filters: [{{name: tcp_proxy, config: {{cluster: up, idle_timeout: 300ms}}}}]}}]\nclusters: [{{name: up, endpoints: [\"{}\"]}}]\n",
        upstream.address()
    );
    let plane = Plane::start(1, &yaml);
    let mut client = plane.client();
    client.send("abc");
    assert_eq!(client.bytes(3), b"ABC");
    assert!(client.is_closed());
}

#[test]
fn a_network_filter_pauses_a_new_connection() {
    let upstream = shouting();
    let plane = relay(&upstream, &[&wire("pause_connection")], "");
    let mut client = plane.client();
    client.send("abc");
    plane.lab.resumer("wire").post(0);
    assert_eq!(client.bytes(3), b"ABC");
    client.end();
    assert_eq!(client.rest(), b"!");
    plane.lab.wait_for("wire.close");
}

#[test]
fn a_network_filter_pauses_data_and_writes() {
    let upstream = shouting();
    for what in ["pause_data", "pause_write"] {
        println!("{what}");
        let plane = relay(&upstream, &[&wire(what)], "");
        let mut client = plane.client();
        client.send("abc");
        plane.lab.resumer("wire").post(0);
        assert_eq!(client.bytes(3), b"ABC");
        client.send("def").end();
        assert_eq!(client.rest(), b"DEF!");
    }
}

#[test]
fn http_goes_through_network_filters_that_pause() {
    let upstream = Upstream::echo();
    for what in ["pause_connection", "pause_data", "pause_write"] {
        println!("{what}");
        let plane = Setup::to(&upstream).network_filter(&wire(what)).start();
        let mut client = plane.client();
        client.send("POST /a HTTP/1.1\r\nHost: test\r\nContent-Length: 3\r\n\r\nabc");
        plane.lab.resumer("wire").post(0);
        assert!(client.answer().text().contains("body abc"));
        assert!(client.post("/b", "def").text().contains("body def"));
    }
}

#[test]
fn a_client_that_leaves_a_paused_connection_ends_it() {
    let upstream = shouting();
    let plane = relay(&upstream, &[&wire("pause_data")], "");
    let mut client = plane.client();
    client.send("abc");
    let resumer = plane.lab.resumer("wire");
    drop(client);
    plane.lab.wait_for("wire.paused");
    resumer.post(0);
    plane.lab.wait_for("wire.close");
    eventually("no connection", || {
        (plane.metric("transom_connections_active", &[]) == 0).then_some(())
    });
}

#[test]
fn a_network_filter_injects_both_ways() {
    let upstream = shouting();
    let plane = relay(&upstream, &[&wire("greet")], "");
    let mut client = plane.client();
    // Before anything was sent.
    assert_eq!(client.bytes(6), b"hello\n");
    let plane = relay(&upstream, &[&wire("inject")], "");
    let mut client = plane.client();
    client.send("abc");
    // `<` was injected to the client at once, `>` behind what goes to the host.
    assert_eq!(client.bytes(5), b"<ABC>");
}

#[test]
fn a_network_filter_rewrites() {
    let upstream = Upstream::echo();
    let plane = Setup::to(&upstream)
        .network_filter("{name: trace, id: outer}")
        .network_filter(&wire("upper"))
        .start();
    let answer = plane.client().post("/a", "abc");
    assert!(answer.text().starts_with("POST /A\n"), "{answer:?}");
}

#[test]
fn a_network_filter_closes_after_what_was_written() {
    let upstream = shouting();
    let plane = relay(&upstream, &[&wire("close")], "");
    let mut client = plane.client();
    client.send("abc");
    assert_eq!(client.rest(), b"go away\n");
    plane.lab.wait_for("wire.close");
    let upstream = Upstream::ok("never");
    let plane = Setup::to(&upstream).network_filter(&wire("close")).start();
    let mut client = plane.client();
    client.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n");
    assert_eq!(client.rest(), b"go away\n");
    assert_eq!(upstream.requests(), []);
}

#[test]
fn a_network_filter_that_panics_closes_its_connection_or_is_passed_by() {
    let upstream = Upstream::ok("up");
    for at in [
        "panic_make",
        "panic_connection",
        "panic_data",
        "panic_write",
    ] {
        println!("{at}");
        let plane = Setup::to(&upstream).network_filter(&wire(at)).start();
        let mut client = plane.client();
        // The connection may be closed before the request has been sent.
        let _ = client.try_send("GET / HTTP/1.1\r\nHost: test\r\n\r\n");
        assert!(client.is_closed());
        assert_eq!(plane.metric("transom_filter_failures_total", &[]), 1);
        let open = format!("{{name: wire, on_failure: open, config: {{do: {at}}}}}");
        let plane = Setup::to(&upstream).network_filter(&open).start();
        assert_eq!(plane.get("/").text(), "up");
    }
    let plane = Setup::to(&upstream)
        .network_filter(&wire("panic_close"))
        .start();
    assert_eq!(plane.get("/").text(), "up");
    plane.lab.wait_for("wire.close");
    assert_eq!(plane.get("/").text(), "up");
}

#[test]
fn a_reload_changes_how_many_connections_are_allowed() {
    let upstream = Upstream::ok("up");
    let allowed =
        |most: u32| Setup::to(&upstream).listener_option(&format!("max_connections: {most}"));
    let plane = allowed(1).start();
    let mut first = plane.client();
    assert_eq!(first.get("/").text(), "up");
    assert!(plane.client().is_closed());
    plane.apply(&allowed(2).yaml()).unwrap();
    let mut second = plane.client();
    assert_eq!(second.get("/").text(), "up");
    assert!(plane.client().is_closed());
    assert_eq!(first.get("/").text(), "up");
}

#[test]
fn no_more_connections_than_allowed() {
    let upstream = shouting();
    let plane = relay(&upstream, &[], "    max_connections: 2\n");
    let mut first = plane.client();
    let mut second = plane.client();
    for client in [&mut first, &mut second] {
        client.send("abc");
        assert_eq!(client.bytes(3), b"ABC");
    }
    assert!(plane.client().is_closed());
    assert_eq!(plane.metric("transom_connections_refused_total", &[]), 1);
    drop(first);
    eventually("room", || {
        (plane.metric("transom_connections_active", &[]) == 1).then_some(())
    });
    let mut third = plane.client();
    third.send("abc");
    assert_eq!(third.bytes(3), b"ABC");
}
