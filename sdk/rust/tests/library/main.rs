//! The form "library" between real clients and real upstreams: what crosses the border, and panics, which do not.

use std::path::PathBuf;

use transom_e2e::{Plane, Upstream};
use transom_library::{LibraryRuntime, Prober};

/// The library that cargo built from `examples/`.
fn library() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let path = test
        .ancestors()
        .nth(2)
        .unwrap()
        .join("examples/libprobing.so");
    assert!(path.exists(), "{} is not built", path.display());
    path
}

fn file(upstream: &Upstream, config: &str, policy: &str) -> String {
    format!(
        "plugins:\n  p: {{runtime: library, file: {:?}}}\nlisteners:\n  - name: in\n    address: 127.0.0.1:0\n    network_filters:\n      - name: http\n        \
         config:\n          stream_filters: [{{plugin: p, id: p, config: {config}, on_failure: {policy}}}]\n          virtual_hosts: [{{domains: [\"*\"], routes: \
         [{{match: {{prefix: /}}, cluster: up}}]}}]\nclusters:\n  - {{name: up, endpoints: [\"{}\"]}}\n",
        library(),
        upstream.address()
    )
}

fn start(yaml: &str) -> Plane {
    Plane::start_with(1, yaml, |registry| {
        // The library is cargo's own work of a moment ago: nobody has to try it.
        LibraryRuntime::new(Prober::new("true", [] as [&str; 0])).register(registry);
    })
}

#[test]
fn what_a_filter_can_do_crosses_the_border() {
    let upstream = Upstream::ok("up");
    let plane = start(&file(&upstream, "{}", "closed"));
    let mut client = plane.client();
    client.send("GET / HTTP/1.1\r\nHost: x\r\nX-One: 1\r\n\r\n");
    let answer = client.answer();
    assert_eq!(
        (answer.status(), answer.header("x-resumed")),
        (200, Some("3 from a thread"))
    );
    let told = upstream.last().header("x-told").unwrap().to_owned();
    assert!(
        told.starts_with("metadata=true shared=true state=true names=")
            && told.ends_with("spawned=true"),
        "{told}"
    );
    let answer = client.get("/skip");
    assert_eq!((answer.status(), answer.header("x-resumed")), (200, None));
}

#[test]
fn a_panic_is_what_the_policy_makes_of_it() {
    let upstream = Upstream::ok("up");
    for place in ["stream", "request_headers", "on_event", "response_headers"] {
        let config = format!("{{panics_in: {place}}}");
        for (policy, status) in [("closed", 500), ("open", 200)] {
            let plane = start(&file(&upstream, &config, policy));
            let mut client = plane.client();
            for _ in 0..2 {
                assert_eq!(client.get("/").status(), status, "{place} {policy}");
            }
        }
    }
    // Where nothing is left to refuse, it harms nothing.
    for place in ["on_stream_complete", "drop"] {
        let plane = start(&file(
            &upstream,
            &format!("{{panics_in: {place}}}"),
            "closed",
        ));
        let mut client = plane.client();
        for _ in 0..2 {
            assert_eq!(client.get("/").status(), 200, "{place}");
        }
    }
}

#[test]
fn a_panic_before_traffic_refuses_the_configuration() {
    let upstream = Upstream::ok("up");
    let plane = start(&file(&upstream, "{}", "closed"));
    for place in ["parse", "prepare", "on_worker"] {
        let error = plane.apply(&file(
            &upstream,
            &format!("{{panics_in: {place}}}"),
            "closed",
        ));
        let error = error.unwrap_err();
        assert!(
            error.contains("it panicked") || place == "on_worker",
            "{place}: {error}"
        );
        assert_eq!(plane.client().get("/").status(), 200);
    }
}
