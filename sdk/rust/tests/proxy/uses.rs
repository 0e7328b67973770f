//! What a use of a plugin may say, what the plugin says of it, and the logs that it keeps.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use transom_api::runtime::Question;
use transom_api::{Kind, Node, Phase, Runtime as _};
use transom_e2e::{Upstream, eventually};
use transom_process::ProcessRuntime;
use transom_process::launch::Launcher;
use transom_process::supervise::Supervisor;

use crate::{Setup, file, get, program};

/// A file that goes with its value.
struct Log(PathBuf);

impl Log {
    fn new(name: &str) -> Self {
        let name = format!("transom-sdk-proxy-{name}-{}.log", std::process::id());
        Self(std::env::temp_dir().join(name))
    }

    fn lines(&self) -> Vec<String> {
        let text = std::fs::read_to_string(&self.0).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    fn wait_for(&self, count: usize) -> Vec<String> {
        eventually("lines of the log", || {
            Some(self.lines()).filter(|lines| lines.len() >= count)
        })
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// The file of a proxy whose plugin keeps its access log.
fn logging(upstream: &Upstream, log: &Log, more: &str) -> String {
    file(upstream, "", &[]).replace(
        "stream_filters: []",
        &format!(
            "access_logs: [{{plugin: p, config: {{file: {:?}}}{more}}}]",
            log.0
        ),
    )
}

const LOST: &str = "transom_plugin_log_lost_total";
const ENTRIES: &str = "transom_plugin_log_entries_total";

#[test]
fn a_plugin_keeps_the_access_log() {
    let upstream = Upstream::answering(|_| {
        b"HTTP/1.1 200 OK\r\nx-note: well\r\ncontent-length: 5\r\n\r\nhello".to_vec()
    });
    let log = Log::new("kept");
    let when = ", when: {attributes: [{name: request.path, prefix: /quiet, invert: true}]}";
    let setup = Setup::start(&logging(&upstream, &log, when));
    let mut client = setup.plane.client();
    for path in ["/a?b", "/quiet", "/c"] {
        let (status, _) = get(&mut client, path, "User-Agent: curl/8\r\n");
        assert_eq!(status, 200);
    }
    // What waits when the log goes is written first.
    setup.plane.apply(&file(&upstream, "", &[])).unwrap();
    let wanted = ["GET /a?b 200 5 curl/8 well", "GET /c 200 5 curl/8 well"];
    assert_eq!(log.wait_for(2), wanted);
    assert_eq!(setup.plane.metric(ENTRIES, &[("plugin", "p")]), 2);
    assert_eq!(setup.plane.metric(LOST, &[("plugin", "p")]), 0);
}

#[test]
fn a_log_that_stands_still_holds_nobody_up_and_tells_what_it_lost() {
    let upstream = Upstream::ok("up");
    let log = Log::new("still");
    let setup = Setup::start(&logging(&upstream, &log, ""));
    let mut client = setup.plane.client();
    assert_eq!(client.get("/first").status(), 200);
    log.wait_for(1);
    let [pid] = setup.pids()[..] else { panic!() };
    setup.signal(pid, Signal::STOP);
    // More than the queue, HTTP/2's windows and the socket hold together.
    let long = "x".repeat(4000);
    let begun = Instant::now();
    for number in 0..1500 {
        assert_eq!(client.get(&format!("/{number}/{long}")).status(), 200);
    }
    assert!(begun.elapsed() < Duration::from_secs(60));
    setup.signal(pid, Signal::CONT);
    let lines = eventually("the last entry", || {
        let lines = log.lines();
        let is_last = |line: &String| line.starts_with("GET /1499/");
        lines.iter().any(is_last).then_some(lines)
    });
    let lost = setup.plane.metric(LOST, &[("plugin", "p")]);
    assert!(lost > 0, "nothing was lost");
    let told: i64 = lines
        .iter()
        .filter_map(|line| line.strip_prefix("lost "))
        .map(|count| count.parse::<i64>().unwrap())
        .sum();
    assert_eq!(told, lost);
    let kept = lines.iter().filter(|line| line.starts_with("GET ")).count() as i64;
    assert_eq!(kept + lost, 1501);
}

#[test]
fn what_waits_when_the_proxy_ends_is_logged() {
    let upstream = Upstream::ok("up");
    let log = Log::new("end");
    let setup = Setup::start(&logging(&upstream, &log, ""));
    let mut client = setup.plane.client();
    assert_eq!(client.get("/last").status(), 200);
    drop(client);
    setup
        .plane
        .wait(setup.plane.proxy.drain(Duration::from_secs(5)));
    setup.plane.proxy.stop();
    let lines = log.lines();
    assert!(
        lines.iter().any(|line| line.starts_with("GET /last ")),
        "{lines:?}"
    );
}

#[test]
fn a_log_goes_on_with_the_next_process() {
    let upstream = Upstream::ok("up");
    let log = Log::new("next");
    let setup = Setup::start(&logging(&upstream, &log, ""));
    let mut client = setup.plane.client();
    assert_eq!(client.get("/one").status(), 200);
    log.wait_for(1);
    let [pid] = setup.pids()[..] else { panic!() };
    setup.signal(pid, Signal::KILL);
    eventually("another process", || {
        let pids = setup.pids();
        (pids.len() == 1 && pids != [pid]).then_some(())
    });
    assert_eq!(client.get("/two").status(), 200);
    eventually("the entry after it", || {
        let lines = log.lines();
        lines
            .iter()
            .any(|line| line.starts_with("GET /two"))
            .then_some(())
    });
}

#[test]
fn one_use_has_bounds_of_its_own() {
    let upstream = Upstream::ok("up");
    let setup = Setup::with(
        &upstream,
        &[
            "{plugin: p/auth, config: {}, bounds: {concurrency: 1, queue: 0, time: 20s}}",
            "{plugin: p/rewrite, when: {path: /long}, bounds: {message_size: 1KiB}}",
            "{plugin: p/edit, when: {path: /late}, phase: after_route, bounds: {time: 100ms}}",
        ],
    );
    let mut first = setup.plane.client();
    assert_eq!(get(&mut first, "/", "").0, 200);
    let long = "x".repeat(2000);
    assert_eq!(first.post("/long", &long).status(), 500);
    assert_eq!(first.post("/long", "short").status(), 200);

    let [pid] = setup.pids()[..] else { panic!() };
    setup.signal(pid, Signal::STOP);
    first.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    eventually("the call is under way", || {
        (setup.supervisor.counts("p").in_flight == 1).then_some(())
    });
    let begun = Instant::now();
    let mut second = setup.plane.client();
    assert_eq!(get(&mut second, "/", "").0, 503);
    assert!(begun.elapsed() < Duration::from_secs(5));
    setup.signal(pid, Signal::CONT);
    assert_eq!(first.answer().status(), 200);
    assert_eq!(get(&mut second, "/", "").0, 200);
}

#[test]
fn a_use_that_waits_for_its_place_gets_it() {
    let upstream = Upstream::ok("up");
    let setup = Setup::with(
        &upstream,
        &["{plugin: p/auth, config: {}, bounds: {concurrency: 1, queue_time: 20s, time: 20s}}"],
    );
    let mut clients: Vec<_> = (0..20).map(|_| setup.plane.client()).collect();
    for _ in 0..10 {
        for client in &mut clients {
            client.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
        }
        for client in &mut clients {
            assert_eq!(client.answer().status(), 200);
        }
    }
    assert_eq!(setup.supervisor.counts("p").calls, 200);
}

#[test]
fn the_first_answers_may_take_longer() {
    let upstream = Upstream::ok("up");
    for (keys, status) in [("", 200), (", warm_up: 0s", 503)] {
        let setup = Setup::start(&file(&upstream, keys, &["{plugin: p/auth, config: {}}"]));
        let mut client = setup.plane.client();
        // Its connection is there.
        assert_eq!(get(&mut client, "/", "").0, 200);
        let [pid] = setup.pids()[..] else { panic!() };
        setup.signal(pid, Signal::STOP);
        client.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
        std::thread::sleep(Duration::from_millis(1500));
        setup.signal(pid, Signal::CONT);
        assert_eq!(client.answer().status(), status, "{keys}");
    }
}

#[test]
fn a_plugin_is_asked_about_configurations_without_a_proxy() {
    let supervisor = Supervisor::new();
    let runtime = ProcessRuntime::new(
        Arc::clone(&supervisor),
        Launcher::new(program(), [] as [&str; 0]),
    );
    let command = Node::list([program().to_str().unwrap().into()]);
    let plugin = runtime
        .parse("p", &Node::map([("command", command)]))
        .unwrap();
    let question = |kind, extension: &str, config: Node, is_route| Question {
        kind,
        extension: extension.to_owned(),
        name: "used".to_owned(),
        config,
        is_route,
    };
    let good = Node::map([("team", "red".into())]);
    let questions = vec![
        question(Kind::StreamFilter, "edit", good.clone(), false),
        question(
            Kind::StreamFilter,
            "edit",
            Node::map([("team", 1.into())]),
            true,
        ),
        question(Kind::StreamFilter, "edti", good, false),
        question(Kind::AccessLog, "", Node::map([]), false),
    ];
    let asking = plugin.ask(Arc::from(Path::new("")), questions).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let opinions = runtime.block_on(async {
        let opinions = asking.await.unwrap();
        supervisor.stop().await;
        opinions
    });
    let [first, route, unknown, log] = &opinions[..] else {
        panic!("four opinions")
    };
    assert!(first.faults.is_empty());
    assert_eq!(first.phase, Some(Phase::BeforeRoute));
    assert_eq!(route.faults.len(), 1);
    let message = &unknown.faults[0].message;
    assert!(message.contains("no stream_filter `edti`"), "{message}");
    assert!(log.faults[0].message.contains("file"), "{:?}", log.faults);
}
