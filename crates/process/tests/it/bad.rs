//! Bad plugins: what they do harms nobody but themselves. What calls lose is what their bounds say; other plugins, on the same runtime and
//! under load, stay as quick as they were.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use transom_process::supervise::{Instance, Outcome, Plugin, Protocol, Spec, StartError, State};

use super::supervise::{PATIENCE, call, exists, signal, spec, start};
use super::{Folder, eventually};

/// Calls a plugin as a worker does: chosen, admitted, within its time, counted.
async fn bounded(plugin: &Plugin, kind: &str) -> Result<Vec<u8>, String> {
    let instance = plugin.choose().ok_or("none runs")?;
    let permit = instance.admit().map_err(|refused| refused.to_string())?;
    match tokio::time::timeout(plugin.spec().bounds.time, call(&instance, kind)).await {
        Ok(Ok(body)) => {
            permit.end(Outcome::Ok);
            Ok(body)
        }
        Ok(Err(status)) => {
            permit.end(match status.code() {
                tonic::Code::Unavailable => Outcome::Lost,
                _ => Outcome::Error,
            });
            Err(status.to_string())
        }
        Err(_) => {
            permit.end(Outcome::Timeout);
            Err("late".to_owned())
        }
    }
}

/// A well-behaved plugin that is called without a pause while something bad goes on.
struct Good {
    plugin: Arc<Plugin>,
    end: Arc<AtomicBool>,
    calling: tokio::task::JoinHandle<Vec<Duration>>,
}

impl Good {
    async fn start() -> Self {
        let plugin = start(spec(&["serve"])).await.unwrap();
        let end = Arc::new(AtomicBool::new(false));
        let calling = tokio::spawn({
            let (plugin, end) = (Arc::clone(&plugin), Arc::clone(&end));
            async move {
                let mut took = Vec::new();
                while !end.load(Ordering::Relaxed) {
                    let begin = Instant::now();
                    bounded(&plugin, "")
                        .await
                        .expect("the good plugin answers each call");
                    took.push(begin.elapsed());
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
                took
            }
        });
        Self {
            plugin,
            end,
            calling,
        }
    }

    /// No call was lost, and half of them were quick: the rest is the machine's, which others use too.
    async fn end(self) {
        self.end.store(true, Ordering::Relaxed);
        let mut took = self.calling.await.unwrap();
        took.sort();
        let median = took[took.len() / 2];
        assert!(took.len() > 3, "{}", took.len());
        assert!(
            median < Duration::from_millis(250),
            "{median:?} of {}",
            took.len()
        );
        self.plugin.stop().await;
    }
}

/// Starts one that will not start, and says how long that took and why.
async fn refused(mode: &[&str], limit: Duration) -> (Duration, StartError) {
    let begin = Instant::now();
    let error = start(Spec {
        start_timeout: limit,
        ..spec(mode)
    })
    .await
    .unwrap_err();
    (begin.elapsed(), error)
}

#[tokio::test]
async fn fifty_that_never_print_a_handshake() {
    let good = Good::start().await;
    let limit = Duration::from_secs(2);
    let mut starting = tokio::task::JoinSet::new();
    for _ in 0..50 {
        starting.spawn(refused(&["silent"], limit));
    }
    while let Some(one) = starting.join_next().await {
        let (took, error) = one.unwrap();
        assert!(
            error
                .to_string()
                .contains("timeout while waiting for plugin to start"),
            "{error}"
        );
        assert!(took < limit + PATIENCE, "{took:?}");
    }
    good.end().await;
    eventually("none is left", || children("hostile-plugin", "silent") == 0).await;
}

/// Processes of this mode that this test started.
fn children(program: &str, mode: &str) -> usize {
    let own = std::process::id().to_string();
    std::fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .filter(|entry| {
            let read = |name| std::fs::read_to_string(entry.path().join(name)).unwrap_or_default();
            let line = read("cmdline");
            let status = read("status");
            let is_ours = status
                .lines()
                .find_map(|line| line.strip_prefix("PPid:"))
                .is_some_and(|parent| parent.trim() == own);
            is_ours && line.contains(program) && line.contains(mode)
        })
        .count()
}

#[tokio::test]
async fn garbage_long_lines_and_wrong_types() {
    let good = Good::start().await;
    let (_, error) = refused(&["garbage"], PATIENCE).await;
    assert!(error.to_string().contains("is not a number"), "{error}");
    let (_, error) = refused(&["long-line"], PATIENCE).await;
    let text = error.to_string();
    assert!(
        text.contains("Failed to read any lines") && text.len() < 2000,
        "{}",
        text.len()
    );
    let (_, error) = refused(&["nobody-there"], PATIENCE).await;
    assert!(error.to_string().contains("cannot connect"), "{error}");
    // Wrong types in its log are no reason not to serve.
    let plugin = start(spec(&["wrong-types"])).await.unwrap();
    bounded(&plugin, "").await.unwrap();
    plugin.stop().await;
    good.end().await;
}

#[tokio::test]
async fn one_that_exits_again_and_again_is_given_up_and_can_be_enabled() {
    let good = Good::start().await;
    let mut spec = spec(&["serve-for", "30"]);
    spec.restart.first = Duration::from_millis(20);
    spec.restart.longest = PATIENCE;
    spec.restart.limit = 4;
    let plugin = start(spec).await.unwrap();
    eventually("it is given up", || plugin.state() == State::Failed).await;
    assert!(plugin.choose().is_none());
    assert_eq!(bounded(&plugin, "").await.unwrap_err(), "none runs");
    plugin.enable().await.unwrap();
    assert!(plugin.state() != State::Failed);
    plugin.stop().await;
    good.end().await;
}

#[tokio::test]
async fn killed_under_load_with_two_instances_no_request_fails() {
    let plugin = start(Spec {
        instances: 2.try_into().unwrap(),
        ..spec(&["serve"])
    })
    .await
    .unwrap();
    eventually("both run", || plugin.instances().len() == 2).await;
    let end = Arc::new(AtomicBool::new(false));
    let mut callers = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let (plugin, end) = (Arc::clone(&plugin), Arc::clone(&end));
        callers.spawn(async move {
            let mut answered = 0_u32;
            while !end.load(Ordering::Relaxed) {
                // A call that the dead one had is made again, on the other: nothing was answered, and asking does no harm.
                if bounded(&plugin, "").await.is_err() {
                    bounded(&plugin, "").await.expect("the other one answers");
                }
                answered += 1;
                tokio::task::yield_now().await;
            }
            answered
        });
    }
    for _ in 0..3 {
        tokio::time::sleep(Duration::from_millis(100)).await;
        let victim = plugin.choose().unwrap();
        signal(&victim, Signal::KILL);
        eventually("it is replaced", || {
            plugin.instances().len() == 2 && victim.is_gone()
        })
        .await;
    }
    end.store(true, Ordering::Relaxed);
    while let Some(answered) = callers.join_next().await {
        assert!(answered.unwrap() > 10);
    }
    plugin.stop().await;
}

#[tokio::test]
async fn a_stopped_process_is_seen_by_its_health_and_replaced() {
    let good = Good::start().await;
    let mut spec = spec(&["serve"]);
    spec.health.interval = Duration::from_millis(100);
    spec.health.timeout = Duration::from_millis(500);
    spec.health.unhealthy = 2;
    spec.bounds.time = Duration::from_millis(200);
    let plugin = start(spec).await.unwrap();
    let old = plugin.choose().unwrap();
    signal(&old, Signal::STOP);
    assert_eq!(bounded(&plugin, "").await.unwrap_err(), "late");
    eventually("it is degraded", || old.state() != State::Ready).await;
    eventually("another one runs", || {
        plugin.choose().is_some_and(|new| new.pid() != old.pid())
    })
    .await;
    eventually("the old one is killed", || !exists(old.pid())).await;
    bounded(&plugin, "").await.unwrap();
    plugin.stop().await;
    good.end().await;
}

#[tokio::test]
async fn one_that_hangs_in_calls_is_replaced_after_so_many() {
    let good = Good::start().await;
    let mut spec = spec(&["serve"]);
    spec.health.timeouts = 4;
    spec.bounds.time = Duration::from_millis(50);
    let plugin = start(spec).await.unwrap();
    let old = plugin.choose().unwrap().pid();
    // One late answer harms nobody.
    assert_eq!(bounded(&plugin, "hang").await.unwrap_err(), "late");
    assert_eq!(plugin.choose().unwrap().pid(), old);
    for _ in 0..4 {
        assert_eq!(bounded(&plugin, "hang").await.unwrap_err(), "late");
    }
    eventually("another one runs", || {
        plugin.choose().is_some_and(|new| new.pid() != old)
    })
    .await;
    eventually("the old one ends", || !exists(old)).await;
    assert!(plugin.counts().timeouts >= 5);
    plugin.stop().await;
    good.end().await;
}

#[tokio::test]
async fn one_that_leaks_is_replaced_at_its_bound() {
    let good = Good::start().await;
    let mut spec = spec(&["serve-leaking"]);
    spec.memory = Some(200 << 20);
    spec.restart.limit = 0;
    let plugin = start(spec).await.unwrap();
    let old = plugin.choose().unwrap().pid();
    eventually("another one runs", || {
        plugin.choose().is_some_and(|new| new.pid() != old)
    })
    .await;
    eventually("the old one ends", || !exists(old)).await;
    plugin.stop().await;
    good.end().await;
}

/// The grandchild has left the process group: nothing can end it but who started it. It holds the pipes; nobody waits for it.
#[tokio::test]
async fn one_that_leaves_a_grandchild_and_dies_is_back_at_once() {
    let good = Good::start().await;
    let plugin = start(spec(&["serve-grandchild", "30"])).await.unwrap();
    let old = plugin.choose().unwrap();
    let begin = Instant::now();
    signal(&old, Signal::KILL);
    eventually("another one runs", || {
        plugin.choose().is_some_and(|new| new.pid() != old.pid())
    })
    .await;
    println!("back after {:?}", begin.elapsed());
    bounded(&plugin, "").await.unwrap();
    plugin.stop().await;
    good.end().await;
}

#[tokio::test]
async fn sixty_four_megabytes_for_an_answer_are_refused() {
    let good = Good::start().await;
    let plugin = start(spec(&["serve"])).await.unwrap();
    let error = bounded(&plugin, "big").await.unwrap_err();
    assert!(error.contains("too large") || error == "late", "{error}");
    bounded(&plugin, "").await.unwrap();
    plugin.stop().await;
    good.end().await;
}

#[tokio::test]
async fn an_answer_after_its_deadline_is_nobodys() {
    let mut spec = spec(&["serve"]);
    spec.bounds.time = Duration::from_millis(50);
    let plugin = start(spec).await.unwrap();
    let instance = plugin.choose().unwrap();
    assert_eq!(bounded(&plugin, "late").await.unwrap_err(), "late");
    tokio::time::sleep(Duration::from_millis(600)).await;
    // The place is free, and the next call has its own answer.
    assert_eq!(instance.in_flight(), 0);
    let body = tokio::time::timeout(PATIENCE, call(&instance, ""))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(String::from_utf8(body).unwrap(), instance.pid().to_string());
    plugin.stop().await;
}

#[tokio::test]
async fn a_flood_on_standard_error_holds_nobody_up() {
    let good = Good::start().await;
    let plugin = start(spec(&["serve-flooding"])).await.unwrap();
    for _ in 0..5 {
        tokio::time::timeout(PATIENCE, call(&plugin.choose().unwrap(), ""))
            .await
            .unwrap()
            .unwrap();
    }
    plugin.stop().await;
    good.end().await;
}

#[tokio::test]
async fn one_that_ignores_sigterm_is_killed() {
    let mut spec = Spec {
        protocol: Protocol::None,
        stop_timeout: Duration::from_millis(200),
        ..spec(&["deaf"])
    };
    spec.drain_timeout = Duration::from_millis(10);
    let plugin = start(spec).await.unwrap();
    let pid = plugin.choose().unwrap().pid();
    // It must have begun to ignore it.
    tokio::time::sleep(Duration::from_millis(200)).await;
    let begin = Instant::now();
    plugin.stop().await;
    assert!(begin.elapsed() >= Duration::from_millis(200));
    assert!(!exists(pid));
}

/// It accepts connections, and then says nothing: neither its start nor its end waits for ever.
#[tokio::test]
async fn one_that_accepts_and_never_speaks() {
    let mut spec = spec(&["mute"]);
    spec.start_timeout = Duration::from_secs(1);
    spec.health.interval = Duration::from_millis(100);
    spec.health.timeout = Duration::from_millis(100);
    spec.restart.limit = 2;
    spec.stop_timeout = Duration::from_millis(200);
    let begin = Instant::now();
    if let Ok(plugin) = start(spec).await {
        let mute: Vec<Arc<Instance>> = plugin.instances().to_vec();
        eventually("it is replaced", || {
            mute.iter().all(|one| !exists(one.pid()))
        })
        .await;
        plugin.stop().await;
    }
    assert!(begin.elapsed() < PATIENCE);
}

/// A plugin that is killed while it is called loses the calls that it had, and no others.
#[tokio::test]
async fn one_that_dies_in_a_call_loses_that_call() {
    let good = Good::start().await;
    let plugin = start(spec(&["serve"])).await.unwrap();
    let old = plugin.choose().unwrap();
    let error = bounded(&plugin, "die").await.unwrap_err();
    assert!(error != "late", "{error}");
    eventually("another one runs", || {
        plugin.choose().is_some_and(|new| new.pid() != old.pid())
    })
    .await;
    bounded(&plugin, "").await.unwrap();
    assert_eq!(plugin.counts().errors, 1);
    plugin.stop().await;
    good.end().await;
}

/// What it listens on goes with it, however it ended.
#[tokio::test]
async fn a_killed_plugin_leaves_no_socket_behind() {
    let folder = Folder::new();
    let mut spec = spec(&["serve"]);
    spec.env
        .push(transom_process::supervise::spec::Variable::Set(
            "TMPDIR".into(),
            folder.0.to_str().unwrap().into(),
        ));
    let plugin = start(spec).await.unwrap();
    let old = plugin.choose().unwrap();
    signal(&old, Signal::KILL);
    eventually("another one runs", || {
        plugin.choose().is_some_and(|new| new.pid() != old.pid())
    })
    .await;
    plugin.stop().await;
    let left: Vec<_> = std::fs::read_dir(Path::new(&folder.0)).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
}
