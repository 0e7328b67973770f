//! The order of events: the rules of MOSN's stream filter chain that hold here, one test for each or for a few.

use transom_e2e::{Plane, Setup, Upstream};

/// Three filters, whose order in the configuration is not that of their phases, between a network filter and a log.
fn traced(order: &str) -> Plane {
    let upstream = Upstream::ok("answer");
    let plane = Setup::to(&upstream)
        .option(&format!("response_order: {order}"))
        .network_filter("{name: trace, id: wire}")
        .filter("{name: trace, id: host, phase: after_choose_host}")
        .filter("{name: trace, id: first}")
        .filter("{name: trace, id: route, phase: after_route}")
        .filter("{name: trace, id: second}")
        .access_log("{name: trace, id: record}")
        .start();
    plane.lab.take_notes();
    let mut client = plane.client();
    assert_eq!(client.post("/", "question").text(), "answer");
    client.end();
    plane.lab.wait_for("wire.drop");
    plane
}

const REQUEST: [&str; 14] = [
    "wire.make",
    "wire.new_connection",
    "wire.data",
    "host.make",
    "first.make",
    "route.make",
    "second.make",
    "first.request_headers",
    "second.request_headers",
    "route.request_headers",
    "host.request_headers",
    "first.request_body",
    "second.request_body",
    "route.request_body",
];

fn without_repeats(notes: Vec<String>) -> Vec<String> {
    let mut seen = Vec::new();
    for note in notes {
        // A body may come in any number of pieces; its end is told with the last or behind it.
        let note = note.replace("_body end", "_body");
        if !seen.contains(&note) {
            seen.push(note);
        }
    }
    seen
}

#[test]
fn the_order_from_accept_to_destroy_is_that_of_mosn() {
    let plane = traced("config");
    let mut expected: Vec<&str> = REQUEST.to_vec();
    expected.push("host.request_body");
    // Rule 11: the order of the configuration, for both directions.
    for filter in ["host", "first", "route", "second"] {
        expected.push(match filter {
            "host" => "host.response_headers",
            "first" => "first.response_headers",
            "route" => "route.response_headers",
            _ => "second.response_headers",
        });
    }
    expected.extend([
        "host.response_body",
        "first.response_body",
        "route.response_body",
        "second.response_body",
        // The answer, whole or in two pieces, is written before the stream is over.
        "wire.write",
        "host.complete",
        "first.complete",
        "route.complete",
        "second.complete",
        "record.log",
        // Rule 12: each filter of the chain is destroyed, at the end of the stream.
        "host.drop",
        "first.drop",
        "route.drop",
        "second.drop",
        "wire.data end",
        "wire.close",
        "wire.drop",
    ]);
    assert_eq!(without_repeats(plane.lab.notes()), expected);
}

#[test]
fn by_default_a_response_goes_back_the_way_that_its_request_came() {
    let plane = traced("reverse");
    let notes = without_repeats(plane.lab.notes());
    let responses: Vec<&str> = notes
        .iter()
        .map(String::as_str)
        .filter(|note| note.contains("response_headers"))
        .collect();
    let way_back = ["host", "route", "second", "first"].map(|it| format!("{it}.response_headers"));
    assert_eq!(responses, way_back);
    assert_eq!(notes[..14], REQUEST);
}

#[test]
fn rules_1_and_2_continue_goes_to_the_next_filter_and_a_stop_ends_the_phase() {
    let upstream = Upstream::ok("up");
    let plane = Setup::to(&upstream)
        .option("response_order: config")
        .filter("{name: trace, id: a}")
        .filter("{name: reply, config: {at: request_headers, status: 403}}")
        .filter("{name: trace, id: b}")
        .filter("{name: trace, id: c, phase: after_route}")
        .start();
    assert_eq!(plane.get("/").status(), 403);
    plane.lab.wait_for("c.drop");
    for (note, times) in [
        ("a.request_headers end", 1),
        ("b.request_headers end", 0),
        ("c.request_headers end", 0),
        // Rules 6 and 8: the response callbacks run for local replies too.
        ("a.response_headers end", 1),
        ("b.response_headers end", 1),
        ("c.response_headers end", 1),
    ] {
        assert_eq!(plane.lab.count(note), times, "{note}");
    }
}

#[test]
fn rule_5_a_stop_without_a_reply_skips_the_rest_of_the_phase_only() {
    // What MOSN's loader makes of it is `skip_phase`.
    let upstream = Upstream::ok("up");
    let plane = Setup::to(&upstream)
        .filter("{name: skip, config: {}}")
        .filter("{name: trace, id: same}")
        .filter("{name: trace, id: later, phase: after_route}")
        .start();
    assert_eq!(plane.get("/").text(), "up");
    assert_eq!(plane.lab.count("same.request_headers end"), 0);
    assert_eq!(plane.lab.count("later.request_headers end"), 1);
}

#[test]
fn rule_7_a_terminated_stream_is_dropped_without_an_answer() {
    let upstream = Upstream::ok("up");
    let plane = Setup::to(&upstream)
        .filter("{name: terminate, config: {at: request_headers}}")
        .filter("{name: trace}")
        .start();
    let mut client = plane.client();
    client.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n");
    assert!(client.is_closed());
    plane.lab.wait_for("trace.drop");
    assert_eq!(plane.lab.count("trace.response_headers end"), 0);
    assert_eq!(upstream.requests(), []);
}

#[test]
fn rule_14_a_panic_cleans_the_stream_up() {
    let upstream = Upstream::ok("up");
    let plane = Setup::to(&upstream)
        .filter("{name: trace}")
        .filter("{name: panic, config: {at: request_headers}}")
        .start();
    let mut client = plane.client();
    assert_eq!(client.get("/").status(), 500);
    plane.lab.wait_for("trace.drop");
    plane.lab.wait_for("panic.drop");
    // Rule 14's leak: nothing is left of the stream, and its connection serves on.
    assert_eq!(client.get("/").status(), 500);
}

#[test]
fn rule_16_no_route_is_answered_after_the_filters_that_come_after_the_route() {
    let upstream = Upstream::ok("up");
    let plane = Setup::to(&upstream)
        .filter("{name: trace, id: route, phase: after_route}")
        .filter("{name: trace, id: host, phase: after_choose_host}")
        .access_log("{name: record}")
        .start();
    let mut client = plane.client();
    let answer = client
        .send("GET / HTTP/1.1\r\nHost: nowhere.test\r\n\r\n")
        .answer();
    assert_eq!(answer.status(), 404);
    plane.lab.wait_for("host.drop");
    assert_eq!(plane.lab.count("route.request_headers end"), 1);
    assert_eq!(plane.lab.count("host.request_headers end"), 0);
    let line = plane.lab.wait_for_prefix("log");
    assert!(
        line.starts_with("log GET / 404 NR route_not_found - "),
        "{line}"
    );
}
