//! One test for each form, and no line of it knows which.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use one_source::Gate;
use transom_e2e::{Plane, Upstream};
use transom_library::{LibraryRuntime, Prober};
use transom_process::ProcessRuntime;
use transom_process::launch::Launcher;
use transom_process::supervise::Supervisor;

/// What cargo built beside this test.
fn built(name: &str) -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let path = test.ancestors().nth(2).unwrap().join(name);
    assert!(path.exists(), "{} is not built", path.display());
    path
}

fn file(upstream: &Upstream, declared: &str, used: &str) -> String {
    format!(
        "{declared}listeners:\n  - name: in\n    address: 127.0.0.1:0\n    network_filters:\n      - name: http\n        config:\n          \
         stream_filters:\n            - {{{used}, id: gate, config: {{headers: {{User: admin}}, wait: 20ms}}}}\n          virtual_hosts:\n            \
         - domains: [\"*\"]\n              routes:\n                - {{match: {{prefix: /open}}, cluster: up, filters: {{gate: {{config: \
         {{headers: {{}}}}}}}}}}\n                - {{match: {{prefix: /}}, cluster: up}}\nclusters:\n  - {{name: up, endpoints: [\"{}\"]}}\n",
        upstream.address()
    )
}

fn passes(plane: &Plane, upstream: &Upstream) {
    let mut client = plane.client();
    client.send("GET /1 HTTP/1.1\r\nHost: x\r\nuser: guest\r\nUser: admin\r\n\r\n");
    let answer = client.answer();
    assert_eq!((answer.status(), answer.text().as_str()), (200, "up"));
    assert_eq!(answer.header("x-gate"), Some("one source"));

    let asked = Instant::now();
    client.send("POST /2 HTTP/1.1\r\nHost: x\r\nUser: Admin\r\nContent-Length: 5\r\n\r\nhello");
    let answer = client.answer();
    assert!(asked.elapsed() >= Duration::from_millis(20));
    assert_eq!(
        (answer.status(), answer.text().as_str()),
        (403, "a required header is missing\n")
    );
    assert_eq!(answer.header("x-gate"), Some("one source"));

    assert_eq!(client.get("/open/3").status(), 200);
    let seen: Vec<String> = upstream
        .requests()
        .iter()
        .map(|request| request.target().to_owned())
        .collect();
    assert_eq!(seen, ["/1", "/open/3"]);
    assert_eq!(
        plane.metric("transom_one_source_refused_total", &[("filter", "gate")]),
        1
    );
}

/// What is wrong with its configuration is said at the same value.
fn refuses(plane: &Plane, yaml: &str) {
    let wrong = yaml.replace("wait: 20ms", "wait: soon");
    let error = plane.apply(&wrong).unwrap_err();
    assert!(error.contains("soon"), "{error}");
}

fn passes_as(declared: &str, used: &str, register: impl FnOnce(&mut transom_sdk::api::Registry)) {
    let upstream = Upstream::ok("up");
    let yaml = file(&upstream, declared, used);
    let plane = Plane::start_with(1, &yaml, register);
    passes(&plane, &upstream);
    refuses(&plane, &yaml);
}

#[test]
fn compiled_in() {
    passes_as("", "name: gate", |registry| {
        registry.register_builtin::<Gate>("gate").unwrap();
    });
}

#[test]
fn in_a_process_of_its_own() {
    let program = built("one-source");
    let declared = format!("plugins:\n  p: {{runtime: process, command: [{program:?}]}}\n");
    passes_as(&declared, "plugin: p", |registry| {
        let launcher = Launcher::new(&program, [] as [&str; 0]);
        let runtime = ProcessRuntime::new(Supervisor::new(), launcher);
        runtime.register(registry).unwrap();
    });
}

#[test]
fn in_a_shared_library() {
    let library = built("examples/libone_source.so");
    let declared = format!("plugins:\n  p: {{runtime: library, file: {library:?}}}\n");
    passes_as(&declared, "plugin: p", |registry| {
        // The library is cargo's own work of a moment ago: nobody has to try it.
        LibraryRuntime::new(Prober::new("true", [] as [&str; 0])).register(registry);
    });
}
