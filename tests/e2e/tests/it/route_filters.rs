//! Filters that meddle with routes, hosts and phases, and what routes say about filters.

use transom_e2e::{Setup, Upstream};

const BOTH: &str = "{match: {prefix: /other}, cluster: other, name: the-other}";

fn two() -> (Upstream, Upstream) {
    (Upstream::ok("up"), Upstream::ok("other"))
}

#[test]
fn a_filter_has_the_route_matched_again_once() {
    let (up, other) = two();
    let plane = Setup::to(&up)
        .cluster("other", &[other.address()])
        .route(BOTH)
        .filter("{name: rematch, config: {path: /other/a}}")
        .filter("{name: trace, phase: after_route}")
        .access_log("{name: record}")
        .start();
    assert_eq!(plane.get("/").text(), "other");
    // The same filter is run again, and it alone.
    assert_eq!(plane.lab.count("rematch.called"), 2);
    assert_eq!(plane.lab.count("trace.request_headers end"), 1);
    let line = plane.lab.wait_for_prefix("log");
    assert_eq!(
        line,
        "log GET /other/a 200 - via_upstream other the-other 0 5 - -"
    );
}

#[test]
fn a_filter_that_asks_for_another_route_for_ever_is_stopped() {
    let (up, _) = two();
    let plane = Setup::to(&up)
        .filter("{name: rematch, config: {forever: true}}")
        .access_log("{name: record}")
        .start();
    assert_eq!(plane.get("/").status(), 500);
    let line = plane.lab.wait_for_prefix("log");
    assert!(line.contains("too_many_rematches"), "{line}");
    assert_eq!(plane.lab.count("rematch.called"), 11);
    assert_eq!(up.requests(), []);
}

#[test]
fn rematch_does_nothing_outside_of_its_phase() {
    let (up, _) = two();
    for phase in ["before_route", "after_choose_host"] {
        let filter = format!("{{name: rematch, phase: {phase}, config: {{forever: true}}}}");
        let plane = Setup::to(&up).filter(&filter).start();
        assert_eq!(plane.get("/").text(), "up", "{phase}");
        assert_eq!(plane.lab.count("rematch.called"), 1);
    }
    for phase in ["before_route", "after_route"] {
        let filter = format!("{{name: rechoose, phase: {phase}, config: {{forever: true}}}}");
        let plane = Setup::to(&up).filter(&filter).start();
        assert_eq!(plane.get("/").text(), "up", "{phase}");
        assert_eq!(plane.lab.count("rechoose.called"), 1);
    }
}

#[test]
fn a_filter_has_the_host_chosen_again_once() {
    let (first, second) = two();
    let both = [first.address(), second.address()];
    let plane = Setup::to(&first)
        .no_clusters()
        .cluster("up", &both)
        .filter("{name: rechoose, config: {}}")
        .start();
    // Round robin: each stream takes two turns.
    let mut client = plane.client();
    for _ in 0..3 {
        assert_eq!(client.get("/").text(), "other");
    }
    assert_eq!(plane.lab.count("rechoose.called"), 6);
    let plane = Setup::to(&first)
        .filter("{name: rechoose, config: {forever: true}}")
        .start();
    assert_eq!(plane.get("/").status(), 500);
}

#[test]
fn a_cleared_route_is_that_of_the_new_path() {
    let (up, other) = two();
    for phase in ["before_route", "after_route", "after_choose_host"] {
        let plane = Setup::to(&up)
            .cluster("other", &[other.address()])
            .route(BOTH)
            .filter(&format!(
                "{{name: reroute, phase: {phase}, config: {{path: /other}}}}"
            ))
            .start();
        assert_eq!(plane.get("/").text(), "other", "{phase}");
        // Once the request has left it is too late.
        assert_eq!(plane.lab.count("reroute.released"), 1);
    }
}

#[test]
fn a_filter_skips_the_rest_of_its_phase() {
    let up = Upstream::ok("up");
    let plane = Setup::to(&up)
        .filter("{name: trace, id: before}")
        .filter("{name: skip, config: {}}")
        .filter("{name: trace, id: behind}")
        .filter("{name: trace, id: next, phase: after_route}")
        .start();
    assert_eq!(plane.client().post("/", "abc").text(), "up");
    let lab = &plane.lab;
    assert_eq!(lab.count("before.request_headers"), 1);
    assert_eq!(lab.count("behind.request_headers"), 0);
    assert_eq!(lab.count("behind.request_body end"), 0);
    assert_eq!(lab.count("next.request_headers"), 1);
    // Responses pass it.
    assert_eq!(lab.count("behind.response_headers"), 1);
}

#[test]
fn routes_and_virtual_hosts_have_configurations_of_their_own() {
    let up = Upstream::answering(|request| transom_e2e::upstream::ok(&request.headers("x-tag")));
    let plane = Setup::to(&up)
        .route(
            "{match: {prefix: /special}, cluster: up, filters: {tag: {config: {value: special}}}}",
        )
        .route("{match: {prefix: /off}, cluster: up, filters: {tag: {disabled: true}}}")
        .filter("{name: tag, config: {value: usual}}")
        .filter("{name: tag, id: second, phase: after_route, config: {value: second}}")
        .start();
    let mut client = plane.client();
    assert_eq!(client.get("/").text(), "usual,second");
    assert_eq!(client.get("/special").text(), "special,second");
    let answer = client.get("/off");
    assert_eq!(answer.text(), "second");
    assert_eq!(answer.headers("x-tag"), "second");
    // Without a route there is no configuration of it: the filter's own holds.
    let answer = client
        .send("GET / HTTP/1.1\r\nHost: nowhere.test\r\n\r\n")
        .answer();
    assert_eq!(
        (answer.status(), answer.headers("x-tag")),
        (404, "second,usual".to_owned())
    );

    let yaml = format!(
        "listeners:
  - name: in
    address: 127.0.0.1:0
    network_filters:
      - name: http
        config:
          stream_filters: [{{name: tag, config: {{value: usual}}}}]
          virtual_hosts:
            - domains: [a.test]
              filters: {{tag: {{config: {{value: host}}}}}}
              routes:
                - {{match: {{path: /route}}, cluster: up, filters: {{tag: {{config: {{value: route}}}}}}}}
                - {{match: {{prefix: /}}, cluster: up}}
clusters: [{{name: up, endpoints: [\"{}\"]}}]
",
        up.address()
    );
    let plane = transom_e2e::Plane::start(1, &yaml);
    let mut client = plane.client();
    for (path, expected) in [("/route", "route"), ("/", "host")] {
        let answer = client
            .send(format!("GET {path} HTTP/1.1\r\nHost: a.test\r\n\r\n"))
            .answer();
        assert_eq!(answer.text(), expected);
    }
}

#[test]
fn a_disabled_filter_of_the_chain_is_not_there() {
    let up = Upstream::ok("up");
    let plane = Setup::to(&up)
        .filter("{name: trace, disabled: true}")
        .start();
    assert_eq!(plane.get("/").text(), "up");
    assert_eq!(plane.lab.notes(), [] as [&str; 0]);
}
