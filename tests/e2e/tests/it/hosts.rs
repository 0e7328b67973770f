//! What filters say of hosts and answers, and what routes give to filters.

use transom_e2e::{Message, Plane, Setup, Upstream, eventually};

fn ask(plane: &Plane, lines: &str) -> Message {
    let mut client = plane.client();
    client.send(format!("GET / HTTP/1.1\r\nHost: a.test\r\n{lines}\r\n"));
    client.answer()
}

/// An upstream each of whose answers is its name.
fn three() -> [Upstream; 3] {
    ["one", "two", "three"].map(Upstream::ok)
}

#[test]
fn a_filter_asks_for_a_host() {
    let ups = three();
    let hosts = [0, 1, 2].map(|at| ups[at].address());
    let setup = |phase: &str| {
        Setup::to(&ups[0])
            .no_clusters()
            .cluster("up", &hosts)
            .filter(&format!("{{name: ask_host, phase: {phase}, config: {{}}}}"))
    };
    let plane = setup("after_route").start();
    for phase in ["before_route", "after_route", "after_choose_host"] {
        plane.apply(&setup(phase).yaml()).unwrap();
        for _ in 0..2 {
            for (host, name) in hosts.iter().zip(["one", "two", "three"]) {
                for strict in ["", "x-strict: 1\r\n"] {
                    let answer = ask(&plane, &format!("x-host: {host}\r\n{strict}"));
                    assert_eq!(answer.text(), name, "{phase}");
                }
            }
        }
        // A host of nobody's, and another cluster's: any, or none.
        assert_eq!(ask(&plane, "x-host: 127.0.0.1:1\r\n").status(), 200);
        let none = ask(&plane, "x-host: 127.0.0.1:1\r\nx-strict: 1\r\n");
        assert_eq!(none.status(), 502, "{phase}");
    }
    assert_eq!(ask(&plane, "x-host: a.test:80\r\n").status(), 200);
    let note = plane.lab.wait_for_prefix("ask_host.RequestHeaders");
    assert!(note.contains("no address of a host"), "{note}");
}

#[test]
fn a_retry_leaves_the_host_that_was_asked_for_unless_no_other_will_do() {
    let bad = Upstream::answering(|_| {
        b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n".to_vec()
    });
    let good = Upstream::ok("good");
    let plane = Setup::to(&good)
        .no_clusters()
        .cluster("up", &[good.address(), bad.address()])
        .filter("{name: ask_host, config: {}}")
        .route(
            "{match: {prefix: /}, cluster: up, retry: {on: [5xx], attempts: 2, backoff: 1ms..1ms}}",
        )
        .start();
    let host = format!("x-host: {}\r\n", bad.address());
    assert_eq!(ask(&plane, &host).status(), 200);
    assert_eq!(bad.requests().len(), 1);
    assert_eq!(ask(&plane, &format!("{host}x-strict: 1\r\n")).status(), 503);
    assert_eq!(bad.requests().len(), 4);
}

#[test]
fn a_filter_reads_and_sets_the_words_of_an_answer() {
    let up = Upstream::answering(|request| match request.target() {
        "/plain" => b"HTTP/1.1 200\r\ncontent-length: 0\r\n\r\n".to_vec(),
        _ => b"HTTP/1.1 200 All Is Well\r\ncontent-length: 0\r\n\r\n".to_vec(),
    });
    let plane = Setup::to(&up)
        .filter("{name: reason, config: {set: Splendid indeed}}")
        .route("{match: {path: /here}, direct_response: {status: 204}}")
        .start();
    assert_eq!(plane.get("/").start, "HTTP/1.1 200 Splendid indeed");
    let notes = plane.lab.take_notes();
    assert!(
        notes.contains(&"reason.RequestHeaders None".to_owned()),
        "{notes:?}"
    );
    assert!(
        notes.contains(&"reason.RequestHeaders Absent".to_owned()),
        "{notes:?}"
    );
    assert!(
        notes.contains(&"reason.ResponseHeaders Some(\"All Is Well\")".to_owned()),
        "{notes:?}"
    );
    assert_eq!(plane.get("/plain").start, "HTTP/1.1 200 Splendid indeed");
    assert!(plane.lab.count("reason.ResponseHeaders Some(\"\")") == 1);
    assert_eq!(plane.get("/here").start, "HTTP/1.1 204 Splendid indeed");
    // Nothing of one answer is left for the next on its memory.
    let setup = Setup::to(&up);
    plane.apply(&setup.yaml()).unwrap();
    assert_eq!(plane.get("/").start, "HTTP/1.1 200 OK");
    // What could split a message is refused.
    let bad = setup.filter("{name: reason, config: {set: \"a\\r\\nb: c\"}}");
    plane.apply(&bad.yaml()).unwrap();
    assert_eq!(plane.get("/").start, "HTTP/1.1 200 OK");
    plane.lab.wait_for("reason.ResponseHeaders InvalidValue");
}

#[test]
fn filters_and_logs_read_what_the_configuration_gives_to_a_route() {
    let up = Upstream::ok("good");
    let folder = std::env::temp_dir().join(format!("transom-metadata-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let path = folder.join("access.log");
    let log = format!(
        "{{name: file, config: {{path: {}, flush_interval: 10ms, \
          format: \"%METADATA(ROUTE:route_metadata:tier)% %METADATA(ROUTE:route_metadata:deep:list)% %METADATA(VIRTUAL_HOST:route_metadata:tier)%\"}}}}",
        path.display()
    );
    let yaml = format!(
        "
listeners:
  - name: in
    address: 127.0.0.1:0
    network_filters:
      - name: http
        config:
          stream_filters: [{{name: route_metadata, config: {{}}}}]
          access_logs:
            - {log}
            - {{name: attributes, config: [xds.route_metadata, xds.virtual_host_metadata]}}
          virtual_hosts:
            - domains: ['*']
              metadata: {{route_metadata: {{tier: 1}}}}
              routes:
                - {{match: {{path: /gold}}, cluster: up, metadata: {{route_metadata: {{tier: gold, deep: {{list: [1, true]}}}}}}}}
                - {{match: {{prefix: /}}, cluster: up}}
clusters: [{{name: up, endpoints: ['{}']}}]
",
        up.address()
    );
    let plane = Plane::start(1, &yaml);
    assert_eq!(plane.get("/gold").status(), 200);
    for note in [
        "route_metadata.RequestHeaders \"gold\" 1",
        "route_metadata.ResponseHeaders \"gold\" 1",
        "xds.route_metadata={\"route_metadata\":{\"deep\":{\"list\":[1,true]},\"tier\":\"gold\"}} \
         xds.virtual_host_metadata={\"route_metadata\":{\"tier\":1}}",
    ] {
        plane.lab.wait_for(note);
    }
    assert_eq!(plane.get("/").status(), 200);
    plane.lab.wait_for("route_metadata.RequestHeaders - 1");
    let lines = eventually("two lines", || {
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        let lines: Vec<String> = text.lines().map(str::to_owned).collect();
        (lines.len() == 2).then_some(lines)
    });
    assert_eq!(lines, ["gold [1,true] 1", "- - 1"]);
    std::fs::remove_dir_all(&folder).unwrap();
}
