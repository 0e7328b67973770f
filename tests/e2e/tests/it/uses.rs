//! `when` and `sample`: for which requests, connections and records a use works.

use std::io::Read as _;

use transom_e2e::{Plane, Setup, Upstream};

const SKIPPED: &str = "transom_uses_skipped_total";

fn tag(when: &str) -> String {
    format!("{{name: tag, config: {{value: seen}}, {when}}}")
}

#[test]
fn a_filter_is_made_for_the_requests_that_its_condition_names() {
    let upstream = Upstream::ok("up");
    let plane = Setup::to(&upstream)
        .filter(&tag(
            "when: [{prefix: /api/, methods: [GET]}, {headers: [{name: x-user, regex: \"a.*\"}]}, {query: [{name: debug, present: true}]}]",
        ))
        .filter("{name: trace, when: {path: /only}}")
        .start();
    let mut client = plane.client();
    assert_eq!(client.get("/api/a").header("x-tag"), Some("seen"));
    assert_eq!(client.get("/other").header("x-tag"), None);
    assert_eq!(client.get("/other?debug").header("x-tag"), Some("seen"));
    client.send("GET / HTTP/1.1\r\nHost: a.org\r\nX-User: anna\r\n\r\n");
    assert_eq!(client.answer().header("x-tag"), Some("seen"));
    client.send("POST /api/a HTTP/1.1\r\nHost: a.org\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(client.answer().header("x-tag"), None);
    // Nothing of a filter that is left out exists, not even its end.
    assert_eq!(plane.lab.count("trace.make"), 0);
    assert_eq!(plane.lab.count("trace.complete"), 0);
    assert_eq!(client.get("/only").status(), 200);
    assert_eq!(plane.lab.count("trace.make"), 1);
    let by = |used, why| plane.metric(SKIPPED, &[("use", used), ("by", why)]);
    assert_eq!((by("tag", "when"), by("tag", "sample")), (3, 0));
    assert_eq!(by("trace", "when"), 5);
}

#[test]
fn what_a_condition_sees_is_the_request_as_it_came() {
    let upstream = Upstream::ok("up");
    // The filter before it changes the path; that brings the other neither in nor out.
    let plane = Setup::to(&upstream)
        .filter("{name: rematch, config: {path: /other/a}}")
        .filter("{name: trace, phase: after_choose_host, when: {prefix: /other/}}")
        .start();
    assert_eq!(plane.get("/").status(), 200);
    assert_eq!(plane.lab.count("trace.make"), 0);
    assert_eq!(plane.get("/x/../other/b").status(), 200);
    assert_eq!(plane.lab.count("trace.make"), 1);
}

#[test]
fn a_condition_asks_where_a_request_comes_from() {
    let upstream = Upstream::ok("up");
    let plane = Setup::to(&upstream)
        .option("forwarded: {trusted_networks: [127.0.0.0/8]}")
        .filter(&tag("when: {source_networks: [10.0.0.0/8]}"))
        .filter("{name: trace, when: {attributes: [{name: request.host, suffix: .org}, {name: connection.mtls, exact: \"true\", invert: true}]}}")
        .start();
    let mut client = plane.client();
    client.send("GET / HTTP/1.1\r\nHost: a.org\r\nX-Forwarded-For: 10.1.2.3\r\n\r\n");
    assert_eq!(client.answer().header("x-tag"), Some("seen"));
    client.send("GET / HTTP/1.1\r\nHost: a.com\r\nX-Forwarded-For: 192.0.2.1\r\n\r\n");
    assert_eq!(client.answer().header("x-tag"), None);
    assert_eq!(plane.lab.count("trace.make"), 1);
}

#[test]
fn a_sampled_filter_sees_its_share() {
    let upstream = Upstream::ok("up");
    let plane = Setup::to(&upstream)
        .filter("{name: trace, id: some, sample: 25}")
        .filter("{name: trace, id: none, sample: 0}")
        .filter("{name: trace, id: all, sample: 100}")
        .filter("{name: trace, id: rare, sample: 50, when: {path: /never}}")
        .start();
    let mut client = plane.client();
    for _ in 0..400 {
        assert_eq!(client.get("/").status(), 200);
    }
    let some = plane.lab.count("some.make");
    // Five standard deviations of 8.7 on either side.
    assert!((56..=144).contains(&some), "{some}");
    assert_eq!(plane.lab.count("none.make"), 0);
    assert_eq!(plane.lab.count("all.make"), 400);
    let by = |used, why| plane.metric(SKIPPED, &[("use", used), ("by", why)]);
    assert_eq!(by("some", "sample"), 400 - some as i64);
    // Chance decides about those only for which the condition holds.
    assert_eq!((by("rare", "when"), by("rare", "sample")), (400, 0));
}

#[test]
fn a_reload_changes_a_condition_and_keeps_the_filter() {
    let upstream = Upstream::ok("up");
    let setup = Setup::to(&upstream);
    let plane = setup
        .clone()
        .filter("{name: trace, when: {prefix: /a}}")
        .start();
    let mut client = plane.client();
    assert_eq!(client.get("/b").status(), 200);
    assert_eq!(plane.lab.count("trace.make"), 0);
    plane
        .apply(
            &setup
                .clone()
                .filter("{name: trace, when: {prefix: /b}}")
                .yaml(),
        )
        .unwrap();
    assert_eq!(client.get("/b").status(), 200);
    assert_eq!(plane.lab.count("trace.make"), 1);
    plane.apply(&setup.filter("{name: trace}").yaml()).unwrap();
    assert_eq!(client.get("/c").status(), 200);
    assert_eq!(plane.lab.count("trace.make"), 2);
}

fn relay(upstream: &Upstream, filters: &[&str]) -> Plane {
    let filters: String = filters
        .iter()
        .map(|used| format!("      - {used}\n"))
        .collect();
    Plane::start(
        1,
        &format!(
            "listeners:\n  - name: in\n    address: 127.0.0.1:0\n    network_filters:\n{filters}      - {{name: tcp_proxy, config: {{cluster: up}}}}\nclusters:\n  - {{name: up, endpoints: [\"{}\"]}}\n",
            upstream.address()
        ),
    )
}

#[test]
fn a_network_filter_is_made_for_the_connections_that_its_condition_names() {
    let upstream = Upstream::serving(|mut connection| {
        let mut piece = [0; 3];
        connection.client.reader().read_exact(&mut piece).unwrap();
        connection.send(piece.to_ascii_uppercase());
        connection.client.end();
    });
    for (when, expected) in [
        ("{source_networks: [127.0.0.0/8]}", "hello\nABC"),
        ("{source_networks: [10.0.0.0/8]}", "ABC"),
        (
            "{attributes: [{name: xds.listener_name, exact: in}]}",
            "hello\nABC",
        ),
        (
            "[{attributes: [{name: xds.listener_name, exact: in}], invert: true}]",
            "ABC",
        ),
    ] {
        // One that stops everything, for no connection at all, before and behind it.
        let first = "{name: wire, id: first, config: {do: pause_data}, sample: 0}";
        let second = format!("{{name: wire, config: {{do: greet}}, when: {when}}}");
        let third = "{name: wire, id: third, config: {do: pause_write}, when: {source_networks: [192.0.2.1]}}";
        let plane = relay(&upstream, &[first, &second, third]);
        let mut client = plane.client();
        client.send("abc");
        assert_eq!(
            String::from_utf8(client.rest()).unwrap(),
            expected,
            "{when}"
        );
        let by = |used, why| plane.metric(SKIPPED, &[("use", used), ("by", why)]);
        assert_eq!((by("first", "sample"), by("third", "when")), (1, 1));
    }
}

#[test]
fn an_access_log_tells_of_what_its_condition_names() {
    let upstream = Upstream::ok("up");
    let plane = Setup::to(&upstream)
        .route("{match: {path: /gone}, direct_response: {status: 410}}")
        .access_log("{name: record, when: {attributes: [{name: response.code, prefix: \"4\"}]}}")
        .start();
    let mut client = plane.client();
    assert_eq!(client.get("/").status(), 200);
    assert_eq!(client.get("/gone").status(), 410);
    let line = plane.lab.wait_for_prefix("log");
    assert!(line.starts_with("log GET /gone 410"), "{line}");
    assert_eq!(
        plane.metric(SKIPPED, &[("use", "record"), ("by", "when")]),
        1
    );
}
