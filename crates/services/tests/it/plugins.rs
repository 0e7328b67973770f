//! Servers that are run as plugins: started before the first request, asked at their own address, started again when they end.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use transom_e2e::tls::Folder;
use transom_e2e::{Plane, Upstream};
use transom_process::ProcessRuntime;
use transom_process::launch::Launcher;
use transom_process::supervise::Supervisor;

/// The server that cargo built from `examples/`.
fn program() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let path = test
        .ancestors()
        .nth(2)
        .unwrap()
        .join("examples/ext_proc_auth");
    assert!(path.exists(), "{} is not built", path.display());
    path
}

fn file(upstream: &Upstream, socket: &str, used: &str) -> String {
    format!(
        "plugins:\n  auth: {{runtime: process, command: [{:?}, \"unix:{socket}\"], protocol: ext_proc, address: \"unix:{socket}\"}}\n\
         listeners:\n  - name: in\n    address: 127.0.0.1:0\n    network_filters:\n      - name: http\n        config:\n          \
         stream_filters: [{used}]\n          virtual_hosts: [{{domains: [\"*\"], routes: [{{match: {{prefix: /}}, cluster: up}}]}}]\n\
         clusters:\n  - {{name: up, endpoints: [\"{}\"]}}\n",
        program(),
        upstream.address()
    )
}

#[test]
fn a_server_of_ext_proc_is_started_asked_and_started_again() {
    let (upstream, folder, supervisor) = (Upstream::ok("up"), Folder::new(), Supervisor::new());
    let runtime = ProcessRuntime::new(
        Arc::clone(&supervisor),
        Launcher::new(program(), [] as [&str; 0]),
    );
    let socket = folder.write("place", "").replace("place", "auth.sock");
    let used = "{plugin: auth, config: {processing_mode: {response_header_mode: skip}, message_timeout: 5s}}";
    let yaml = file(&upstream, &socket, used);
    let plane = Plane::start_with(1, &yaml, |registry| runtime.register(registry).unwrap());
    let ask = |user: &str| {
        let mut client = plane.client();
        client.send(format!("GET / HTTP/1.1\r\nHost: x\r\nUser: {user}\r\n\r\n"));
        client.answer().status()
    };
    assert_eq!((ask("admin"), ask("guest")), (200, 403));
    let pid = || {
        supervisor.versions("auth")[0]
            .instances()
            .first()
            .map(|it| it.pid())
    };
    let first = pid().unwrap();
    let killed = rustix::process::Pid::from_raw(first.try_into().unwrap()).unwrap();
    rustix::process::kill_process(killed, rustix::process::Signal::KILL).unwrap();
    let deadline = Instant::now() + Duration::from_secs(20);
    while pid().is_none_or(|pid| pid == first) || ask("admin") != 200 {
        assert!(Instant::now() < deadline);
        std::thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(ask("guest"), 403);
    // An address of its own would be another server.
    let wrong = used.replace(
        "{processing",
        "{grpc: {address: \"127.0.0.1:1\"}, processing",
    );
    let error = plane.apply(&file(&upstream, &socket, &wrong)).unwrap_err();
    assert!(error.contains("where its declaration says"), "{error}");
}
