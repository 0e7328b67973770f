//! Filters in processes of their own, between real clients and real upstreams: the SDK's conformance plugin in the proxy.

mod swap;
mod uses;

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use transom_e2e::tls::{Authority, Folder, Secure};
use transom_e2e::upstream::ok;
use transom_e2e::{Client, Plane, Upstream};
use transom_process::ProcessRuntime;
use transom_process::launch::Launcher;
use transom_process::supervise::Supervisor;

/// The conformance plugin.
fn program() -> PathBuf {
    example("conformance")
}

/// A program that cargo built from `examples/`.
fn example(name: &str) -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let path = test.ancestors().nth(2).unwrap().join("examples").join(name);
    assert!(path.exists(), "{} is not built", path.display());
    path
}

/// A data plane with the runtime `process`.
struct Setup {
    plane: Plane,
    supervisor: Arc<Supervisor>,
}

impl Setup {
    fn start(yaml: &str) -> Self {
        let supervisor = Supervisor::new();
        let runtime = ProcessRuntime::new(
            Arc::clone(&supervisor),
            Launcher::new(program(), [] as [&str; 0]),
        );
        let plane = Plane::start_with(1, yaml, |registry| runtime.register(registry).unwrap());
        Self { plane, supervisor }
    }

    /// One process of the plugin `p` with these uses in the chain.
    fn with(upstream: &Upstream, uses: &[&str]) -> Self {
        Self::start(&file(upstream, "", uses))
    }

    /// The processes that run.
    fn pids(&self) -> Vec<u32> {
        let versions = self.supervisor.versions("p");
        let instances = versions
            .iter()
            .flat_map(|plugin| plugin.instances().to_vec());
        instances.map(|instance| instance.pid()).collect()
    }

    fn signal(&self, pid: u32, signal: Signal) {
        kill_process(Pid::from_raw(pid.try_into().unwrap()).unwrap(), signal).unwrap();
    }
}

/// A listener whose chain has these uses, of the plugin `p` with these further keys.
fn file(upstream: &Upstream, keys: &str, uses: &[&str]) -> String {
    format!(
        "plugins:\n  p: {{runtime: process, command: [{:?}]{keys}}}\nlisteners:\n  - name: in\n    address: 127.0.0.1:0\n    \
         network_filters:\n      - name: http\n        config:\n          stream_filters: [{}]\n          virtual_hosts:\n            \
         - domains: [\"*\"]\n              routes:\n{}                - {{match: {{prefix: /}}, cluster: up}}\nclusters:\n  - \
         {{name: up, endpoints: [\"{}\"]}}\n",
        program(),
        uses.join(", "),
        match uses.iter().any(|it| it.contains("p/edit")) {
            true => {
                "                - {match: {prefix: /team}, cluster: up, filters: {edit: {config: {team: blue}}}}\n"
            }
            false => "",
        },
        upstream.address()
    )
}

fn get(client: &mut Client, path: &str, fields: &str) -> (u16, String) {
    client.send(format!("GET {path} HTTP/1.1\r\nHost: x\r\n{fields}\r\n"));
    let answer = client.answer();
    (answer.status(), answer.text())
}

#[test]
fn requests_pass_or_are_answered() {
    let upstream = Upstream::ok("up");
    let setup = Setup::with(&upstream, &["{plugin: p/auth, config: {User: admin}}"]);
    let mut client = setup.plane.client();
    for _ in 0..3 {
        assert_eq!(
            get(&mut client, "/", "User: admin\r\n"),
            (200, "up".to_owned())
        );
        client.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
        let denied = client.answer();
        assert_eq!(denied.status(), 403);
        assert_eq!(denied.text(), "denied\n");
        assert_eq!(denied.header("x-denied-by"), Some("auth"));
    }
    assert_eq!(upstream.requests().len(), 3);
    let counts = setup.supervisor.counts("p");
    assert_eq!((counts.calls, counts.errors, counts.in_flight), (6, 0, 0));
}

#[test]
fn a_body_that_comes_while_the_head_waits_follows_it_unseen() {
    let upstream = Upstream::ok("up");
    let setup = Setup::with(&upstream, &["{plugin: p/auth, config: {User: admin}}"]);
    let mut client = setup.plane.client();
    for length in [5, 30_000, 200_000] {
        client.send(format!(
            "POST / HTTP/1.1\r\nHost: x\r\nUser: admin\r\nContent-Length: {length}\r\n\r\n{}",
            "b".repeat(length)
        ));
        assert_eq!(client.answer().status(), 200);
        assert_eq!(upstream.last().text().len(), length);
    }
}

#[test]
fn many_streams_at_once_have_their_own_answers() {
    let upstream = Upstream::answering(|request| ok(request.target()));
    let setup = Setup::with(&upstream, &["{plugin: p/auth, config: {User: admin}}"]);
    let mut clients: Vec<Client> = (0..64).map(|_| setup.plane.client()).collect();
    for round in 0..5 {
        for (number, client) in clients.iter_mut().enumerate() {
            let user = if number % 2 == 0 { "admin" } else { "guest" };
            client.send(format!(
                "GET /{round}/{number} HTTP/1.1\r\nHost: x\r\nUser: {user}\r\n\r\n"
            ));
        }
        for (number, client) in clients.iter_mut().enumerate() {
            let answer = client.answer();
            match number % 2 {
                0 => assert_eq!(answer.text(), format!("/{round}/{number}")),
                _ => assert_eq!(answer.status(), 403),
            }
        }
    }
}

#[test]
fn bodies_are_rewritten_in_both_directions() {
    let upstream = Upstream::answering(|request| {
        ok(&format!(
            "{} {}",
            request.header("x-body-length").unwrap_or("none"),
            request.text()
        ))
    });
    let setup = Setup::with(&upstream, &["{plugin: p/rewrite, config: {suffix: \"?\"}}"]);
    let mut client = setup.plane.client();
    let answer = client.post("/", "hello");
    assert_eq!(answer.header("x-rewritten"), Some("yes"));
    assert_eq!(answer.text(), "5 HELLO?");
    // Larger than a read, and than the watermark of the response.
    let long = "abc".repeat(20_000);
    let answer = client.post("/", &long);
    assert_eq!(answer.text(), format!("60000 {}?", long.to_uppercase()));
    // More than the plugin wants to see.
    let answer = client.post("/", &"x".repeat(70_000));
    assert_eq!(answer.status(), 413);
    let mut client = setup.plane.client();
    assert_eq!(client.get("/").text(), "NONE ?");
}

#[test]
fn headers_trailers_and_routes_are_edited() {
    let upstream = Upstream::ok("up");
    let setup = Setup::with(
        &upstream,
        &["{plugin: p/edit, phase: after_route, config: {team: red}}"],
    );
    let mut client = setup.plane.client();
    client.send(
        "POST / HTTP/1.1\r\nHost: x\r\nX-Remove: 1\r\nX-Set: old\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n",
    );
    let answer = client.answer();
    assert_eq!(answer.header("x-edited"), Some("yes"));
    let request = upstream.last();
    assert_eq!(request.header("x-remove"), None);
    assert_eq!(request.header("x-set"), Some("a"));
    assert_eq!(request.headers("x-add"), "1,2");
    assert_eq!(request.header("x-team"), Some("red"));
    assert_eq!(request.text(), "body");
    client.get("/team");
    assert_eq!(upstream.last().header("x-team"), Some("blue"));
}

#[test]
fn filters_wait_for_time_threads_and_callouts() {
    let upstream = Upstream::ok("up");
    let auth = Upstream::answering(|request| match request.header("x-token") {
        Some("good") => b"HTTP/1.1 200 OK\r\nx-user: ann\r\ncontent-length: 0\r\n\r\n".to_vec(),
        _ => b"HTTP/1.1 401 No\r\ncontent-length: 0\r\n\r\n".to_vec(),
    });
    let yaml = file(
        &upstream,
        "",
        &[
            "{plugin: p/pause, config: {ms: 20}}",
            "{plugin: p/thread}",
            "{plugin: p/callout, config: {cluster: auth}}",
        ],
    ) + &format!("  - {{name: auth, endpoints: [\"{}\"]}}\n", auth.address());
    let setup = Setup::start(&yaml);
    let mut client = setup.plane.client();
    let begun = Instant::now();
    assert_eq!(get(&mut client, "/", "x-token: good\r\n").0, 200);
    assert!(begun.elapsed() >= Duration::from_millis(20));
    let request = upstream.last();
    assert_eq!(request.header("x-paused"), Some("yes"));
    assert_eq!(request.header("x-thread"), Some("yes"));
    assert_eq!(request.header("x-user"), Some("ann"));
    assert_eq!(get(&mut client, "/", "x-token: bad\r\n").0, 403);
    // A body that comes meanwhile is kept, and follows.
    client.send(format!(
        "POST / HTTP/1.1\r\nHost: x\r\nx-token: good\r\nContent-Length: 30000\r\n\r\n{}",
        "b".repeat(30_000)
    ));
    assert_eq!(client.answer().status(), 200);
    assert_eq!(upstream.last().text().len(), 30_000);
}

#[test]
fn notes_metrics_and_shared_data_reach_the_host() {
    let upstream = Upstream::ok("up");
    let setup = Setup::with(&upstream, &["{plugin: p/notes}"]);
    let mut client = setup.plane.client();
    client.get("/first");
    assert_eq!(upstream.last().header("x-visits"), Some("1"));
    client.get("/second");
    let request = upstream.last();
    assert_eq!(request.header("x-visits"), Some("2"));
    let from = request.header("x-from").unwrap();
    assert!(from.starts_with("127.0.0.1:"), "{from}");
    let labels = [("plugin", "p"), ("use", "notes")];
    assert_eq!(setup.plane.metric("transom_notes_total", &labels), 2);
}

#[test]
fn a_failing_plugin_meets_the_policy_of_its_use() {
    let upstream = Upstream::ok("up");
    for (policy, status) in [("closed", 500), ("open", 200)] {
        let used = format!("{{plugin: p/faulty, on_failure: {policy}}}");
        let setup = Setup::with(&upstream, &[&used]);
        let mut client = setup.plane.client();
        for path in ["/fail", "/panic"] {
            assert_eq!(get(&mut client, path, "").0, status, "{policy} {path}");
        }
        assert_eq!(get(&mut client, "/good", "").0, 200);
        assert_eq!(setup.supervisor.counts("p").errors, 2);
    }
}

#[test]
fn a_frozen_plugin_is_late_and_others_do_not_notice() {
    let upstream = Upstream::ok("up");
    let yaml = file(
        &upstream,
        ", bounds: {time: 100ms}, health: {timeouts: 0}",
        &["{plugin: p/auth, config: {User: admin}}"],
    );
    let setup = Setup::start(&yaml);
    let mut client = setup.plane.client();
    assert_eq!(get(&mut client, "/", "User: admin\r\n").0, 200);
    let [pid] = setup.pids()[..] else {
        panic!("{:?}", setup.pids())
    };
    setup.signal(pid, Signal::STOP);
    let begun = Instant::now();
    let mut frozen = setup.plane.client();
    assert_eq!(get(&mut frozen, "/", "User: admin\r\n").0, 503);
    let took = begun.elapsed();
    assert!(
        took >= Duration::from_millis(100) && took < Duration::from_secs(5),
        "{took:?}"
    );
    assert_eq!(setup.supervisor.counts("p").timeouts, 1);
    setup.signal(pid, Signal::CONT);
    assert_eq!(get(&mut client, "/", "User: admin\r\n").0, 200);
}

#[test]
fn with_two_processes_a_killed_one_costs_no_request() {
    let upstream = Upstream::ok("up");
    let yaml = file(
        &upstream,
        ", instances: 2",
        &["{plugin: p/auth, config: {User: admin}}"],
    );
    let setup = Setup::start(&yaml);
    let deadline = Instant::now() + Duration::from_secs(20);
    while setup.pids().len() < 2 {
        assert!(Instant::now() < deadline, "{:?}", setup.pids());
        std::thread::sleep(Duration::from_millis(10));
    }
    let address = setup.plane.address("in");
    let failed = Mutex::new(Vec::new());
    let ends = Instant::now() + Duration::from_millis(1500);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let mut client = Client::connect(address);
                while Instant::now() < ends {
                    let (status, _) = get(&mut client, "/", "User: admin\r\n");
                    if status != 200 {
                        failed.lock().unwrap().push(status);
                    }
                }
            });
        }
        for _ in 0..3 {
            std::thread::sleep(Duration::from_millis(300));
            if let Some(pid) = setup.pids().first() {
                setup.signal(*pid, Signal::KILL);
            }
        }
    });
    assert_eq!(*failed.lock().unwrap(), [] as [u16; 0]);
}

#[test]
fn a_killed_plugin_answers_again_soon() {
    let upstream = Upstream::ok("up");
    let setup = Setup::with(&upstream, &["{plugin: p/auth, config: {User: admin}}"]);
    let mut client = setup.plane.client();
    assert_eq!(get(&mut client, "/", "User: admin\r\n").0, 200);
    let [pid] = setup.pids()[..] else {
        panic!("{:?}", setup.pids())
    };
    setup.signal(pid, Signal::KILL);
    // Those that come meanwhile wait for the next process, within the bounds of the queue.
    let begun = Instant::now();
    assert_eq!(get(&mut client, "/", "User: admin\r\n").0, 200);
    let took = begun.elapsed();
    assert!(took < Duration::from_secs(5), "{took:?}");
    assert_ne!(setup.pids(), [pid]);
}

#[test]
fn faults_of_a_configuration_stand_at_their_lines() {
    let upstream = Upstream::ok("up");
    let setup = Setup::with(&upstream, &["{plugin: p/pause, config: {ms: 1}}"]);
    let wrong = file(&upstream, "", &["{plugin: p/pause, config: {ms: no}}"]);
    let error = setup.plane.apply_error(&wrong);
    assert!(error.span.is_some(), "{error}");
    assert!(error.message.contains("`pause`"), "{error}");
    for (used, says) in [
        ("{plugin: p/puase}", "no stream_filter `puase`"),
        ("{plugin: p}", "several"),
    ] {
        let error = setup.plane.apply_error(&file(&upstream, "", &[used]));
        assert!(error.message.contains(says), "{error}");
    }
    let gone = file(&upstream, "", &[]).replace("conformance", "nowhere");
    let error = setup.plane.apply_error(&gone);
    assert!(
        error
            .message
            .contains("the plugin `p` could not be started"),
        "{error}"
    );
    // What was active stays.
    assert_eq!(setup.plane.get("/").status(), 200);
}

#[test]
fn a_changed_declaration_is_taken_over_without_a_lost_request() {
    let upstream = Upstream::ok("up");
    let uses = ["{plugin: p/auth, config: {User: admin}}"];
    let setup = Setup::start(&file(&upstream, "", &uses));
    let before = setup.pids();
    let address = setup.plane.address("in");
    let failed = Mutex::new(Vec::new());
    let ends = Instant::now() + Duration::from_millis(800);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let mut client = Client::connect(address);
                while Instant::now() < ends {
                    let (status, _) = get(&mut client, "/", "User: admin\r\n");
                    if status != 200 {
                        failed.lock().unwrap().push(status);
                    }
                }
            });
        }
        // Unchanged, the process stays; changed, another takes over.
        setup.plane.apply(&file(&upstream, "", &uses)).unwrap();
        assert_eq!(setup.pids(), before);
        let changed = file(&upstream, ", env: [\"A=b\"]", &uses);
        setup.plane.apply(&changed).unwrap();
        let deadline = Instant::now() + Duration::from_secs(20);
        while setup.pids().iter().any(|pid| before.contains(pid)) {
            assert!(Instant::now() < deadline, "{:?}", setup.pids());
            std::thread::sleep(Duration::from_millis(10));
        }
    });
    assert_eq!(*failed.lock().unwrap(), [] as [u16; 0]);
}

#[test]
fn connections_have_filters_too() {
    let upstream = Upstream::serving(|mut connection| {
        while let Ok(Some(request)) = connection.head() {
            connection.send(format!("{}\n", request.target()));
        }
    });
    let yaml = format!(
        "plugins:\n  p: {{runtime: process, command: [{:?}]}}\nlisteners:\n  - name: in\n    address: 127.0.0.1:0\n    \
         network_filters:\n      - {{plugin: p/greet}}\n      - {{name: tcp_proxy, config: {{cluster: up}}}}\nclusters:\n  - {{name: \
         up, endpoints: [\"{}\"]}}\n",
        program(),
        upstream.address()
    );
    let setup = Setup::start(&yaml);
    let mut client = setup.plane.client();
    assert_eq!(client.bytes(6), b"hello\n");
    client.send("get /path HTTP/1.1\r\nhost: x\r\n\r\n");
    assert_eq!(client.bytes(6), b"/PATH\n");
    client.send("bye");
    assert!(client.is_closed());
}

/// A file with the configuration of a plugin of MOSN's.
fn arguments(folder: &Folder, json: &str) -> String {
    folder.write("config.json", json)
}

#[test]
fn programs_of_mosn_are_asked_by_its_agents() {
    let upstream = Upstream::ok("up");
    let folder = Folder::new();
    let config = arguments(&folder, r#"{"User": "admin"}"#);
    let checker = folder.write(
        "checker",
        &format!(
            "#!/bin/sh\nTRANSOM_CONFORMANCE=auth exec {:?} \"$@\"\n",
            program()
        ),
    );
    // As MOSN's example is configured, but for where the program lies.
    let demo = format!(
        "{{name: demo_plugin, config: {{command: [/bin/sh, {checker:?}], config_path: {config:?}}}}}"
    );
    // The same program, declared.
    let keys = format!(", {config:?}], protocol: call, env: [TRANSOM_CONFORMANCE=auth]");
    let declared = |used: &str| {
        let yaml = file(&upstream, &keys, &[used]);
        yaml.replace("conformance\"], ", "conformance\", \"-c\", ")
    };
    for yaml in [
        file(&upstream, "", &[&demo]),
        declared("{plugin: p/demo_plugin}"),
    ] {
        let setup = Setup::start(&yaml);
        let mut client = setup.plane.client();
        assert_eq!(get(&mut client, "/", "User: admin\r\n").0, 200);
        assert_eq!(get(&mut client, "/", "User: guest\r\n").0, 403);
        assert_eq!(get(&mut client, "/", "").0, 403);
    }
    assert_eq!(upstream.requests().len(), 2);
}

#[test]
fn the_agent_of_whole_requests_applies_what_the_plugin_changed() {
    let upstream = Upstream::ok("up");
    let folder = Folder::new();
    let config = arguments(&folder, r#"{"User": "admin"}"#);
    let keys = format!(", {config:?}], protocol: call, env: [TRANSOM_CONFORMANCE=auth]");
    let yaml = file(
        &upstream,
        &keys,
        &["{plugin: p, config: {timeout: 5s, largest_body: 64KiB}}"],
    );
    let yaml = yaml.replace("conformance\"], ", "conformance\", \"-c\", ");
    let setup = Setup::start(&yaml);
    let mut client = setup.plane.client();
    let body = "b".repeat(40_000);
    client.send(format!(
        "POST / HTTP/1.1\r\nHost: x\r\nUser: admin\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    ));
    assert_eq!(client.answer().status(), 200);
    assert_eq!(upstream.last().text(), body);
    assert_eq!(client.post("/", &"b".repeat(70_000)).status(), 413);
    let [pid] = setup.pids()[..] else {
        panic!("{:?}", setup.pids())
    };
    // A frozen one is late: closed by default, where MOSN's lets it go on.
    setup.signal(pid, Signal::STOP);
    let yaml = yaml.replace("timeout: 5s", "timeout: 50ms");
    setup.plane.apply(&yaml).unwrap();
    assert_eq!(setup.plane.get("/").status(), 500);
    let yaml = yaml.replace("timeout: 50ms", "timeout: 50ms, mosn_defects: true");
    setup.plane.apply(&yaml).unwrap();
    assert_eq!(setup.plane.get("/").status(), 200);
    setup.signal(pid, Signal::CONT);
}

#[test]
fn certificates_come_from_plugins() {
    let upstream = Upstream::ok("up");
    let (authority, folder) = (Authority::new("ca"), Folder::new());
    let pair = authority.sign(&["a.test"]);
    let chain = folder.write("a.pem", &pair.certificate);
    let key = folder.write("a.key", &pair.key);
    let json = arguments(
        &folder,
        &format!("{{\"chain\": {chain:?}, \"key\": {key:?}}}"),
    );
    let over_v1 = format!("{{plugin: p, config: {{chain: {chain:?}, key: {key:?}}}}}");
    // As MOSN's `loader`: http fails, https works.
    let loader = format!(
        "{{name: loader, config: {{command: [{:?}, -c, {json:?}]}}}}",
        program()
    );
    for provider in [over_v1, loader] {
        let yaml = file(&upstream, "", &[]).replace(
            "    network_filters:",
            &format!("    tls: {{providers: [{provider}]}}\n    network_filters:"),
        );
        let setup = Setup::start(&yaml);
        let mut client = Secure::new(&authority)
            .connect(setup.plane.address("in"), "a.test")
            .unwrap();
        assert_eq!(client.certificate(), pair.bytes());
        assert_eq!(client.get("/").text(), "up");
        let mut plain = setup.plane.client();
        plain.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
        assert!(plain.try_answer("GET").is_err() || plain.is_closed());
    }
}
