//! The supervisor with real processes: life, death, bounds.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use transom_api::{Node, NodeKind};
use transom_process::Request;
use transom_process::call::proto::plugin_client::PluginClient;
use transom_process::launch::Launcher;
use transom_process::supervise::{
    Instance, Outcome, Place, Plugin, Protocol, Question, Spec, StartError, State, Supervisor,
};

use super::{Folder, eventually, example};

/// What tests are patient for, on a machine that does other things.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) fn place() -> Place {
    Place {
        folder: Path::new("/").into(),
        launcher: Launcher::new(example("plugin-launcher"), [] as [&str; 0]),
    }
}

/// A hostile plugin in one of its modes, of the protocol `call`.
pub(crate) fn spec(mode: &[&str]) -> Spec {
    spec_of(&example("hostile-plugin"), mode)
}

/// The same for a copy of it.
pub(crate) fn spec_of(program: &Path, mode: &[&str]) -> Spec {
    let words = [program.to_str().unwrap().to_owned()]
        .into_iter()
        .chain(mode.iter().map(|word| (*word).to_owned()));
    Spec {
        protocol: Protocol::Call,
        start_timeout: PATIENCE,
        ..Spec::new(words)
    }
}

pub(crate) async fn start(spec: Spec) -> Result<Arc<Plugin>, StartError> {
    Plugin::start("test", Arc::new(spec), place()).await
}

/// A call of the kind, over a connection of its own, as a worker makes it.
pub(crate) async fn call(instance: &Instance, kind: &str) -> Result<Vec<u8>, tonic::Status> {
    let channel = instance.connector().unwrap().connect().await;
    let channel = channel.map_err(|error| tonic::Status::unavailable(error.to_string()))?;
    let request = Request {
        r#type: kind.to_owned(),
        ..Request::default()
    };
    let answer = PluginClient::new(channel).call(request).await?;
    Ok(answer.into_inner().body)
}

pub(crate) fn signal(instance: &Instance, signal: Signal) {
    let pid = Pid::from_raw(instance.pid().try_into().unwrap()).unwrap();
    kill_process(pid, signal).unwrap();
}

pub(crate) fn exists(pid: u32) -> bool {
    Path::new(&format!("/proc/{pid}/exe")).read_link().is_ok()
}

/// What `/api/v1/plugins/NAME` says at a path of keys and places in lists.
pub(crate) fn at(node: &Node, path: &str) -> NodeKind {
    let mut node = node;
    for step in path.split('.') {
        node = match (&node.kind, step.parse::<usize>()) {
            (NodeKind::List(items), Ok(place)) => &items[place],
            _ => node
                .entry(step)
                .unwrap_or_else(|| panic!("no {step} in {node:?}")),
        };
    }
    node.kind.clone()
}

fn text(kind: NodeKind) -> String {
    match kind {
        NodeKind::String(text) => text,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_plugin_is_ready_when_one_instance_is() {
    let plugin = start(Spec {
        instances: 2.try_into().unwrap(),
        ..spec(&["serve"])
    })
    .await
    .unwrap();
    let mut changes = plugin.changes();
    changes
        .wait_for(|_| plugin.instances().len() == 2)
        .await
        .unwrap();
    assert_eq!(plugin.state(), State::Ready);
    let pids: Vec<u32> = plugin.instances().iter().map(|one| one.pid()).collect();
    assert_ne!(pids[0], pids[1]);
    for instance in plugin.instances().iter() {
        let body = call(instance, "").await.unwrap();
        assert_eq!(String::from_utf8(body).unwrap(), instance.pid().to_string());
    }
    plugin.stop().await;
    assert!(plugin.instances().is_empty());
    assert!(plugin.choose().is_none());
    for pid in pids {
        assert!(!exists(pid));
    }
}

#[tokio::test]
async fn a_call_goes_to_the_least_loaded_instance() {
    let plugin = start(Spec {
        instances: 2.try_into().unwrap(),
        ..spec(&["serve"])
    })
    .await
    .unwrap();
    let mut changes = plugin.changes();
    changes
        .wait_for(|_| plugin.instances().len() == 2)
        .await
        .unwrap();
    let first = plugin.choose().unwrap();
    let permit = first.admit().unwrap();
    for _ in 0..10 {
        assert_ne!(plugin.choose().unwrap().number(), first.number());
    }
    permit.end(Outcome::Ok);
    let seen: std::collections::BTreeSet<u64> =
        (0..10).map(|_| plugin.choose().unwrap().number()).collect();
    assert_eq!(seen.len(), 2, "equals take turns");
    plugin.stop().await;
}

/// 100 ms is for a program that was built to be quick; this one is not, and the machine is shared.
#[tokio::test]
async fn a_killed_plugin_is_back_at_once_and_its_death_is_seen_at_once() {
    let plugin = start(spec(&["serve"])).await.unwrap();
    let old = plugin.choose().unwrap();
    let mut changes = plugin.changes();
    changes.mark_unchanged();
    signal(&old, Signal::KILL);
    let begin = Instant::now();
    changes.changed().await.unwrap();
    let seen = begin.elapsed();
    let instances = plugin.instances();
    assert!(old.is_gone());
    assert!(old.admit().is_err());
    drop(instances);
    changes
        .wait_for(|_| plugin.choose().is_some())
        .await
        .unwrap();
    let back = begin.elapsed();
    let new = plugin.choose().unwrap();
    assert_ne!(new.pid(), old.pid());
    call(&new, "").await.unwrap();
    let answered = begin.elapsed();
    println!("seen after {seen:?}, back after {back:?}, answered after {answered:?}");
    assert!(seen < Duration::from_secs(1), "{seen:?}");
    assert!(answered < Duration::from_secs(2), "{answered:?}");
    plugin.stop().await;
}

#[tokio::test]
async fn bounds_hold_over_all_instances() {
    let mut spec = spec(&["serve"]);
    spec.bounds.concurrency = 2;
    let plugin = start(spec).await.unwrap();
    let instance = plugin.choose().unwrap();
    let one = instance.admit().unwrap();
    let two = instance.admit().unwrap();
    assert!(instance.admit().is_err());
    one.end(Outcome::Error);
    let three = instance.admit().unwrap();
    assert_eq!(instance.in_flight(), 2);
    two.end(Outcome::Timeout);
    drop(three);
    let counts = plugin.counts();
    assert_eq!(instance.in_flight(), 0);
    assert_eq!(
        (
            counts.calls,
            counts.errors,
            counts.timeouts,
            counts.given_up,
            counts.busy,
            counts.in_flight
        ),
        (2, 1, 1, 1, 1, 0)
    );
    plugin.stop().await;
}

#[tokio::test]
async fn stopping_waits_for_calls_under_way() {
    let plugin = start(spec(&["serve"])).await.unwrap();
    let instance = plugin.choose().unwrap();
    let permit = instance.admit().unwrap();
    let stopping = tokio::spawn({
        let plugin = Arc::clone(&plugin);
        async move { plugin.stop().await }
    });
    let mut changes = plugin.changes();
    changes
        .wait_for(|_| plugin.instances().is_empty())
        .await
        .unwrap();
    assert_eq!(plugin.state(), State::Draining);
    assert!(instance.admit().is_err());
    // The call that is under way is still answered.
    call(&instance, "").await.unwrap();
    assert!(!stopping.is_finished());
    permit.end(Outcome::Ok);
    stopping.await.unwrap();
    assert!(!exists(instance.pid()));
}

#[tokio::test]
async fn a_dropped_plugin_ends_by_itself() {
    let plugin = start(spec(&["serve"])).await.unwrap();
    let pid = plugin.choose().unwrap().pid();
    drop(plugin);
    eventually("the process ends", || !exists(pid)).await;
}

#[tokio::test]
async fn a_restart_leaves_no_gap() {
    let plugin = start(spec(&["serve"])).await.unwrap();
    let old = plugin.choose().unwrap();
    let watching = tokio::spawn({
        let plugin = Arc::clone(&plugin);
        async move {
            loop {
                assert!(plugin.choose().is_some(), "a gap");
                tokio::task::yield_now().await;
            }
        }
    });
    plugin.restart().await.unwrap();
    let new = plugin.choose().unwrap();
    assert_ne!(new.pid(), old.pid());
    assert!(!watching.is_finished());
    watching.abort();
    eventually("the old one ends", || !exists(old.pid())).await;
    plugin.stop().await;
}

/// A process that cannot be replaced stays.
#[tokio::test]
async fn a_restart_that_fails_leaves_the_old_process() {
    let folder = Folder::new();
    let flag = folder.0.join("flag");
    std::fs::write(&flag, "").unwrap();
    let plugin = start(spec(&["serve-if", flag.to_str().unwrap()]))
        .await
        .unwrap();
    let old = plugin.choose().unwrap();
    std::fs::remove_file(&flag).unwrap();
    let error = plugin.restart().await.unwrap_err();
    assert!(error.contains("exit code 9"), "{error}");
    assert_eq!(plugin.choose().unwrap().pid(), old.pid());
    assert_eq!(plugin.state(), State::Ready);
    plugin.stop().await;
}

#[tokio::test]
async fn a_plugin_that_does_not_start_says_why_and_leaves_nothing() {
    let error = start(spec(&["exit", "3"])).await.unwrap_err();
    assert!(error.to_string().contains("exit code 3"), "{error}");
    let error = start(Spec::new(["no-such-program"])).await.unwrap_err();
    assert!(
        error.to_string().contains("in no folder of PATH"),
        "{error}"
    );
    let error = start(Spec::new(["/no/such/program"])).await.unwrap_err();
    assert!(error.to_string().contains("was not found"), "{error}");
}

#[tokio::test]
async fn any_program_is_kept_running_and_its_output_is_kept() {
    let spec = Spec {
        protocol: Protocol::None,
        env: vec![transom_process::supervise::spec::Variable::Set(
            "HOME".into(),
            "/nowhere".into(),
        )],
        ..spec(&["plain"])
    };
    let supervisor = Supervisor::new();
    let plugin = supervisor
        .plugin("plain", Arc::new(spec), place())
        .await
        .unwrap();
    let lines = || match at(
        &supervisor.describe("plain").unwrap(),
        "versions.0.instances.0.output",
    ) {
        NodeKind::List(lines) => lines
            .into_iter()
            .map(|line| text(line.kind))
            .collect::<Vec<_>>(),
        other => panic!("{other:?}"),
    };
    eventually("three lines", || lines().len() == 3).await;
    let lines = lines();
    assert!(lines.contains(&"plain output".to_owned()), "{lines:?}");
    assert!(
        lines.contains(&"[WARN] plain warning".to_owned()),
        "{lines:?}"
    );
    // Of the proxy's variables only those that were named.
    assert!(
        lines.contains(&r#"HOME is Some("/nowhere"), SECRET is None"#.to_owned()),
        "{lines:?}"
    );
    let old = plugin.choose().unwrap();
    assert!(old.connector().is_err());
    signal(&old, Signal::KILL);
    let mut changes = plugin.changes();
    changes
        .wait_for(|_| plugin.choose().is_some_and(|new| new.pid() != old.pid()))
        .await
        .unwrap();
    plugin.stop().await;
}

#[tokio::test]
async fn a_server_is_ready_when_it_accepts() {
    let free = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let server = |address: &str| Spec {
        protocol: Protocol::ExtProc,
        address: Some(address.to_owned()),
        start_timeout: Duration::from_millis(1500),
        ..spec(&["server", address, "100"])
    };
    // It accepts, and never answers what it is asked: that is not ready.
    let error = start(server(&free.to_string())).await.unwrap_err();
    assert!(matches!(error, StartError::NotReady { .. }), "{error}");
    // A stranger on the port is an error, and not taken for the plugin.
    let stranger = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = stranger.local_addr().unwrap().to_string();
    let error = start(server(&taken)).await.unwrap_err();
    assert!(matches!(error, StartError::Taken(_)), "{error}");
}

#[tokio::test]
async fn a_name_and_specification_are_one_plugin() {
    let supervisor = Supervisor::new();
    let (one, two) = tokio::join!(
        supervisor.plugin("p", Arc::new(spec(&["serve"])), place()),
        supervisor.plugin("p", Arc::new(spec(&["serve"])), place()),
    );
    let (one, two) = (one.unwrap(), two.unwrap());
    assert!(Arc::ptr_eq(&one, &two));
    one.choose().unwrap().admit().unwrap().end(Outcome::Ok);
    // A changed one stands beside it.
    let mut changed = spec(&["serve"]);
    changed.bounds.queue = 7;
    let three = supervisor
        .plugin("p", Arc::new(changed), place())
        .await
        .unwrap();
    assert!(!Arc::ptr_eq(&one, &three));
    assert_eq!(supervisor.versions("p").len(), 2);
    assert_eq!(supervisor.names(), ["p"]);
    assert_eq!(supervisor.counts("p").calls, 1);
    drop((one, two));
    assert_eq!(supervisor.versions("p").len(), 1);
    // What was counted stays.
    assert_eq!(supervisor.counts("p").calls, 1);
    let metrics = supervisor.metrics();
    assert!(
        metrics
            .iter()
            .any(|family| family.name == "transom_plugin_calls_total")
    );
    supervisor.stop().await;
}

#[tokio::test]
async fn mosns_admin_texts_are_answered_to_the_letter() {
    let supervisor = Supervisor::new();
    let plugin = supervisor
        .plugin("p", Arc::new(spec(&["serve"])), place())
        .await
        .unwrap();
    let ask = async |query: &str| {
        let answer = supervisor.answer(&Question::read(query)).await;
        format!("{} {}", answer.status, answer.body)
    };
    assert_eq!(ask("status=p").await, "200 name:p,enable:true,on:true\n");
    let pid = plugin.choose().unwrap().pid();
    assert_eq!(ask("disable=p").await, "200 disable p success\n");
    assert!(!exists(pid));
    assert_eq!(plugin.state(), State::Disabled);
    assert_eq!(
        ask("status=all").await,
        "200 name:p,enable:false,on:false\n\n"
    );
    // A version that comes while it is disabled is not started.
    let mut changed = spec(&["serve"]);
    changed.bounds.queue = 7;
    let next = supervisor
        .plugin("p", Arc::new(changed), place())
        .await
        .unwrap();
    assert!(next.choose().is_none());
    drop(next);
    assert_eq!(ask("enable=p").await, "200 enable p success\n");
    assert_eq!(ask("status=p").await, "200 name:p,enable:true,on:true\n");
    assert!(plugin.choose().is_some());
    for query in ["enable=x", "disable=x", "status=x"] {
        assert_eq!(ask(query).await, "400 plugin x no register\n");
    }
    let usage = "400 Usage:\n/plugin?status=all\n/plugin?status=pluginname\n/plugin?enable=pluginname\n/plugin?disable=pluginname\n";
    assert_eq!(ask("").await, usage);
    supervisor.stop().await;
}

/// Calls until the swap is decided, and says how it was.
async fn decided(
    supervisor: &Supervisor,
    plugin: &Plugin,
    outcome: impl Fn(&Instance) -> Outcome,
) -> String {
    let begin = Instant::now();
    loop {
        assert!(begin.elapsed() < PATIENCE, "undecided");
        for _ in 0..20 {
            let instance = plugin.choose().expect("a plugin that is swapped answers");
            let permit = instance
                .admit()
                .expect("an instance that was chosen takes calls");
            let outcome = outcome(&instance);
            permit.end(outcome);
        }
        let node = supervisor.describe("p").unwrap();
        let state = text(at(&node, "versions.0.swap.state"));
        if state != "watched" {
            return state;
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

fn swapped() -> Spec {
    let mut spec = spec(&["serve"]);
    spec.swap.watch = Duration::from_millis(500);
    spec.swap.share = 20;
    spec.swap.latency = 1000.0;
    spec
}

#[tokio::test]
async fn a_new_version_takes_a_share_and_then_all() {
    let supervisor = Supervisor::new();
    let plugin = supervisor
        .plugin("p", Arc::new(swapped()), place())
        .await
        .unwrap();
    let old = plugin.choose().unwrap();
    supervisor.swap("p").await.unwrap();
    assert!(exists(old.pid()));
    let error = supervisor.swap("p").await.unwrap_err();
    assert!(error.to_string().contains("under way"), "{error}");
    let share = (0..1000)
        .filter(|_| plugin.choose().unwrap().pid() != old.pid())
        .count();
    assert_eq!(share, 200);
    assert_eq!(
        decided(&supervisor, &plugin, |_| Outcome::Ok).await,
        "promoted"
    );
    eventually("the old one ends", || !exists(old.pid())).await;
    assert_ne!(plugin.choose().unwrap().pid(), old.pid());
    // What both counted is there.
    let counts = plugin.counts();
    assert_eq!(counts.calls, counts.buckets.iter().sum::<u64>());
    assert!(counts.calls >= 20);
    supervisor.stop().await;
}

#[tokio::test]
async fn a_new_version_that_fails_is_rolled_back() {
    let supervisor = Supervisor::new();
    let plugin = supervisor
        .plugin("p", Arc::new(swapped()), place())
        .await
        .unwrap();
    let old = plugin.choose().unwrap().pid();
    supervisor.swap("p").await.unwrap();
    let outcome = |instance: &Instance| match instance.pid() == old {
        true => Outcome::Ok,
        false => Outcome::Error,
    };
    assert_eq!(decided(&supervisor, &plugin, outcome).await, "rolled_back");
    eventually("the old one has all calls", || {
        plugin.instances().len() == 1
    })
    .await;
    assert_eq!(plugin.choose().unwrap().pid(), old);
    supervisor.stop().await;
}

#[tokio::test]
async fn a_new_version_that_dies_or_does_not_start_is_rolled_back() {
    let folder = Folder::new();
    let flag = folder.0.join("flag");
    std::fs::write(&flag, "").unwrap();
    let mut spec = spec(&["serve-if", flag.to_str().unwrap()]);
    spec.swap.watch = PATIENCE;
    let supervisor = Supervisor::new();
    let plugin = supervisor
        .plugin("p", Arc::new(spec), place())
        .await
        .unwrap();
    let old = plugin.choose().unwrap().pid();
    supervisor.swap("p").await.unwrap();
    let new = plugin
        .instances()
        .iter()
        .find(|one| one.pid() != old)
        .cloned()
        .unwrap();
    signal(&new, Signal::KILL);
    assert_eq!(
        decided(&supervisor, &plugin, |_| Outcome::Ok).await,
        "rolled_back"
    );
    std::fs::remove_file(&flag).unwrap();
    let error = supervisor.swap("p").await.unwrap_err();
    assert!(error.to_string().contains("exit code 9"), "{error}");
    assert_eq!(plugin.choose().unwrap().pid(), old);
    supervisor.stop().await;
}

#[tokio::test]
async fn an_instance_that_lost_a_call_is_passed_over_until_it_is_seen_to_be_well() {
    let plugin = start(Spec {
        instances: 2.try_into().unwrap(),
        ..spec(&["serve"])
    })
    .await
    .unwrap();
    eventually("both run", || plugin.instances().len() == 2).await;
    let doubtful = plugin.choose().unwrap();
    doubtful.admit().unwrap().end(Outcome::Lost);
    assert_eq!(doubtful.state(), State::Degraded);
    for _ in 0..10 {
        assert_ne!(plugin.choose().unwrap().pid(), doubtful.pid());
    }
    eventually("it is ready again", || doubtful.state() == State::Ready).await;
    plugin.stop().await;
}
