//! A new version of a plugin beside the old one, under load, in the real data plane.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use transom_api::Node;
use transom_e2e::tls::Folder;
use transom_e2e::upstream::ok;
use transom_e2e::{Client, Upstream};

use crate::{Setup, example};

/// A folder with the plugin's program, a script that begins the version that was installed last.
struct Installed {
    folder: Folder,
    path: String,
}

impl Installed {
    fn new(version: &str) -> Self {
        let folder = Folder::new();
        let path = folder.write("plugin", "");
        let installed = Self { folder, path };
        installed.install(version);
        installed
    }

    fn install(&self, version: &str) {
        let script = format!("#!/bin/sh\nexec {:?} {version}\n", example("versioned"));
        assert_eq!(self.folder.write("plugin", &script), self.path);
    }

    fn setup(&self, upstream: &Upstream, keys: &str) -> Setup {
        Setup::start(&self.file(upstream, keys))
    }

    fn file(&self, upstream: &Upstream, keys: &str) -> String {
        format!(
            "plugins:\n  p: {{runtime: process, command: [/bin/sh, {:?}]{keys}}}\nlisteners:\n  - name: in\n    address: 127.0.0.1:0\n    \
             network_filters:\n      - name: http\n        config:\n          stream_filters: [{{plugin: p}}]\n          \
             virtual_hosts: [{{domains: [\"*\"], routes: [{{match: {{prefix: /}}, cluster: up}}]}}]\nclusters:\n  - \
             {{name: up, endpoints: [\"{}\"]}}\n",
            self.path,
            upstream.address()
        )
    }
}

impl Setup {
    fn swap(&self) -> String {
        self.plane.wait(self.supervisor.swap("p")).unwrap()
    }

    /// How the last swap went.
    fn swapped(&self) -> String {
        let text = |node: &Node, key: &str| node.entry(key).map(Node::to_json);
        let described = self.supervisor.describe("p").unwrap();
        let versions = described.entry("versions").unwrap().as_list().unwrap();
        let swap = versions.last().and_then(|version| version.entry("swap"));
        let state = swap.and_then(|swap| text(swap, "state"));
        let why = swap.and_then(|swap| text(swap, "why"));
        format!("{} {}", state.unwrap_or_default(), why.unwrap_or_default())
    }

    fn wait_for_swap(&self, state: &str) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while !self.swapped().contains(state) {
            assert!(Instant::now() < deadline, "{}", self.swapped());
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

/// What became of the requests of a while: how often each answer came. `during` runs meanwhile.
fn under_load(setup: &Setup, during: impl FnOnce()) -> BTreeMap<String, usize> {
    let address = setup.plane.address("in");
    let (answers, over) = (Mutex::new(BTreeMap::new()), AtomicBool::new(false));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let mut client = Client::connect(address);
                while !over.load(Ordering::Relaxed) {
                    let answer = client.get("/");
                    let version = answer.header("x-version").unwrap_or("nobody");
                    let answer = format!("{} by {version}", answer.status());
                    *answers.lock().unwrap().entry(answer).or_default() += 1;
                }
            });
        }
        during();
        over.store(true, Ordering::Relaxed);
    });
    answers.into_inner().unwrap()
}

#[test]
fn a_version_that_does_well_takes_a_share_and_then_all_and_no_request_is_lost() {
    let upstream = Upstream::ok("up");
    let installed = Installed::new("one");
    let setup = installed.setup(
        &upstream,
        ", swap: {share: 20, watch: 600ms, latency: 100.0}",
    );
    let begun = under_load(&setup, || {
        std::thread::sleep(Duration::from_millis(200));
        installed.install("two");
        assert!(setup.swap().contains("20 %"));
        setup.wait_for_swap("promoted");
        std::thread::sleep(Duration::from_millis(200));
    });
    let versions: Vec<&str> = begun.keys().map(String::as_str).collect();
    assert_eq!(versions, ["200 by one", "200 by two"], "{begun:?}");
    let after = under_load(&setup, || std::thread::sleep(Duration::from_millis(100)));
    let versions: Vec<&str> = after.keys().map(String::as_str).collect();
    assert_eq!(versions, ["200 by two"]);
    assert_eq!(setup.pids().len(), 1);
}

#[test]
fn a_version_that_fails_or_dawdles_goes_again() {
    let upstream = Upstream::ok("up");
    for (version, why) in [("two fails", "calls failed"), ("two slow", "or longer")] {
        let installed = Installed::new("one");
        let keys = ", swap: {share: 10, watch: 30s, calls: 20}";
        let setup = installed.setup(&upstream, keys);
        let before = setup.pids();
        let answers = under_load(&setup, || {
            installed.install(version);
            setup.swap();
            setup.wait_for_swap("rolled_back");
        });
        assert!(setup.swapped().contains(why), "{}", setup.swapped());
        // What the new version failed is all that failed, and it had its share and no more.
        let all: usize = answers.values().sum();
        let good: usize = ["200 by one", "200 by two"]
            .iter()
            .filter_map(|answer| answers.get(*answer))
            .sum();
        assert!(all - good <= all / 5 + 4, "{answers:?}");
        let after = under_load(&setup, || std::thread::sleep(Duration::from_millis(100)));
        let versions: Vec<&str> = after.keys().map(String::as_str).collect();
        assert_eq!(versions, ["200 by one"]);
        assert_eq!(setup.pids(), before);
    }
}

/// The response comes back through the process that has seen the request, however long the host takes.
#[test]
fn a_stream_keeps_its_process_through_an_upgrade() {
    let (held, let_go) = (std::sync::mpsc::channel(), std::sync::mpsc::channel());
    let (arrived, release) = (Mutex::new(held.0), Mutex::new(let_go.1));
    let upstream = Upstream::answering(move |request| {
        if request.target() == "/slow" {
            arrived.lock().unwrap().send(()).unwrap();
            release.lock().unwrap().recv().unwrap();
        }
        ok("up")
    });
    let installed = Installed::new("one");
    let setup = installed.setup(&upstream, ", swap: {watch: 100ms}");
    let before = setup.pids();
    let mut slow = setup.plane.client();
    slow.send("GET /slow HTTP/1.1\r\nHost: x\r\n\r\n");
    held.1.recv().unwrap();
    installed.install("two");
    setup.swap();
    setup.wait_for_swap("promoted");
    assert_eq!(setup.plane.get("/").header("x-version"), Some("two"));
    let alive = |pid: &u32| std::path::Path::new(&format!("/proc/{pid}")).exists();
    std::thread::sleep(Duration::from_millis(200));
    assert!(before.iter().all(alive), "a stream still needs it");
    let_go.0.send(()).unwrap();
    let answer = slow.answer();
    assert_eq!(
        (answer.status(), answer.header("x-version")),
        (200, Some("one"))
    );
    let deadline = Instant::now() + Duration::from_secs(5);
    while before.iter().any(alive) {
        assert!(Instant::now() < deadline, "nobody needs it any more");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A declaration that a reload changes, with `swap: {on_reload: true}`.
#[test]
fn a_reload_takes_over_by_share_and_goes_back_when_it_does_worse() {
    let upstream = Upstream::ok("up");
    let rules = ", swap: {on_reload: true, share: 20, watch: 600ms, calls: 20, latency: 100.0}";
    for (version, end, answers) in [
        ("two", "promoted", ["200 by one", "200 by two"].as_slice()),
        ("two fails", "rolled_back", &["200 by one", "500 by nobody"]),
    ] {
        let installed = Installed::new("one");
        let setup = installed.setup(&upstream, rules);
        let before = setup.pids();
        let changed = installed.file(&upstream, &format!("{rules}, env: [A=b]"));
        let seen = under_load(&setup, || {
            std::thread::sleep(Duration::from_millis(100));
            installed.install(version);
            setup.plane.apply(&changed).unwrap();
            setup.wait_for_swap(end);
        });
        let kinds: Vec<&str> = seen.keys().map(String::as_str).collect();
        assert_eq!(kinds, answers, "{seen:?}");
        let after = under_load(&setup, || std::thread::sleep(Duration::from_millis(100)));
        let kept = if end == "promoted" {
            "200 by two"
        } else {
            "200 by one"
        };
        assert_eq!(after.keys().collect::<Vec<_>>(), [kept]);
        if end == "rolled_back" {
            assert!(before.iter().all(|pid| setup.pids().contains(pid)));
            // The same again changes nothing; another declaration is another try, and the version that works is still there for it.
            setup.plane.apply(&changed).unwrap();
            installed.install("three");
            let another = installed.file(&upstream, &format!("{rules}, env: [A=c]"));
            setup.plane.apply(&another).unwrap();
            setup.wait_for_swap("promoted");
            let after = under_load(&setup, || std::thread::sleep(Duration::from_millis(100)));
            assert_eq!(after.keys().collect::<Vec<_>>(), ["200 by three"]);
        }
        let deadline = Instant::now() + Duration::from_secs(20);
        while setup.pids().len() > 1 {
            assert!(Instant::now() < deadline, "{:?}", setup.pids());
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}
