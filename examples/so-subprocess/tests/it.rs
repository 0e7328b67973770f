//! The library in the data plane, named as in MOSN's files, and the program behind it.

use std::path::PathBuf;
use std::process::Command;

use transom_e2e::{Plane, Upstream, eventually};
use transom_library::{LibraryRuntime, Prober};

/// What cargo built beside this test.
fn built(name: &str) -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let path = test.ancestors().nth(2).unwrap().join(name);
    assert!(path.exists(), "{} is not built", path.display());
    path
}

#[test]
fn a_library_asks_a_program_of_its_own() {
    let upstream = Upstream::ok("up");
    let (library, program) = (
        built("examples/libso_subprocess.so"),
        built("so-subprocess-checker"),
    );
    let yaml = format!(
        "listeners:\n  - name: in\n    address: 127.0.0.1:0\n    network_filters:\n      - name: http\n        config:\n          \
         stream_filters:\n            - {{name: loadso, go_plugin_config: {{so_path: {library:?}}}, config: {{program: {program:?}, timeout: 10s}}}}\n          \
         virtual_hosts: [{{domains: [\"*\"], routes: [{{match: {{prefix: /}}, cluster: up}}]}}]\nclusters:\n  - {{name: up, endpoints: [\"{}\"]}}\n",
        upstream.address()
    );
    let plane = Plane::start_with(1, &yaml, |registry| {
        // The library is cargo's own work of a moment ago: nobody has to try it.
        LibraryRuntime::new(Prober::new("true", [] as [&str; 0])).register(registry);
    });
    let mut client = plane.client();
    for _ in 0..3 {
        client.send("GET / HTTP/1.1\r\nHost: x\r\nUser: admin\r\n\r\n");
        assert_eq!(client.answer().text(), "up");
        client.send("GET / HTTP/1.1\r\nHost: x\r\nUser: guest\r\n\r\n");
        let answer = client.answer();
        assert_eq!(
            (answer.status(), answer.text().as_str()),
            (403, "the program refuses\n")
        );
    }
    let asked = upstream.last().header("x-checked-by").unwrap().to_owned();
    // The program dies; the next is there when it is asked again.
    assert!(
        Command::new("kill")
            .args(["-KILL", &asked])
            .status()
            .unwrap()
            .success()
    );
    eventually("another program answers", || {
        client.send("GET / HTTP/1.1\r\nHost: x\r\nUser: admin\r\n\r\n");
        let answer = client.answer();
        let by = upstream.last().header("x-checked-by").unwrap().to_owned();
        // Not available in between: 503.
        (answer.status() == 200 && by != asked).then_some(())
    });
}
