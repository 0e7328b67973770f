//! How plugins end, and what is left of them: nothing.

use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use tonic::Code;
use transom_goplugin::host::{Client, ClientConfig, Clients};

use crate::support::{
    Folder, assert_answers, config, double, eventually, example, handshake, runs, shell, signal,
};

#[tokio::test]
async fn a_killed_plugin_fails_calls_at_once_and_is_told_with_its_signal() {
    let client = Client::start(config()).await.unwrap();
    assert_answers(&client).await;
    assert!(!client.exited());
    let begin = Instant::now();
    signal(client.pid(), Signal::KILL);
    let exit = client.wait().await;
    assert_eq!((exit.code, exit.signal), (None, Some(9)));
    let status = double(client.channel()).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable, "{status}");
    assert!(begin.elapsed() < Duration::from_secs(2));
    assert!(client.exited());
    let address = client.address().address();
    assert!(!std::path::Path::new(&address).exists());
    // Killing what is dead takes no time.
    client.kill().await;
    assert!(begin.elapsed() < Duration::from_secs(2));
}

#[tokio::test]
async fn calls_under_way_end_with_the_plugin() {
    let client = Client::start(config()).await.unwrap();
    // Number 77 is served by nobody: the plugin waits five seconds for it.
    let waiting = {
        let channel = client.channel();
        tokio::spawn(async move {
            let request = crate::support::proto::BidirectionalRequest { id: 77 };
            crate::support::proto::test_client::TestClient::new(channel)
                .bidirectional(request)
                .await
        })
    };
    tokio::time::sleep(Duration::from_millis(100)).await;
    let begin = Instant::now();
    signal(client.pid(), Signal::KILL);
    let status = waiting.await.unwrap().unwrap_err();
    assert_eq!(status.code(), Code::Unavailable, "{status}");
    assert!(begin.elapsed() < Duration::from_secs(2));
}

#[tokio::test]
async fn what_the_plugin_started_ends_with_it() {
    let folder = Folder::new();
    let file = folder.join("pid");
    let client = Client::start(shell(&format!(
        "sleep 60 & echo $! > {}; exec $PLUGIN",
        file.display()
    )))
    .await
    .unwrap();
    let grandchild: u32 = std::fs::read_to_string(&file)
        .unwrap()
        .trim()
        .parse()
        .unwrap();
    assert!(runs(grandchild));
    let begin = Instant::now();
    client.kill().await;
    assert!(
        begin.elapsed() < Duration::from_secs(2),
        "{:?}",
        begin.elapsed()
    );
    eventually("the grandchild ends", || !runs(grandchild)).await;
}

#[tokio::test]
async fn who_left_the_group_and_holds_the_pipes_delays_the_end_by_a_second_only() {
    let folder = Folder::new();
    let file = folder.join("pid");
    let client = Client::start(shell(&format!(
        "setsid sleep 60 & echo $! > {}; exec $PLUGIN",
        file.display()
    )))
    .await
    .unwrap();
    let begin = Instant::now();
    client.kill().await;
    assert!(
        begin.elapsed() < Duration::from_secs(3),
        "{:?}",
        begin.elapsed()
    );
    let escaped: u32 = std::fs::read_to_string(&file)
        .unwrap()
        .trim()
        .parse()
        .unwrap();
    signal(escaped, Signal::KILL);
}

#[tokio::test]
async fn dropping_a_client_kills_its_plugin() {
    let client = Client::start(config()).await.unwrap();
    let (pid, address) = (client.pid(), client.address().address());
    drop(client);
    eventually("the plugin ends", || !runs(pid)).await;
    eventually("its folder goes", || {
        !std::path::Path::new(&address).parent().unwrap().exists()
    })
    .await;
}

#[tokio::test]
async fn giving_up_a_start_leaves_no_process() {
    let folder = Folder::new();
    let file = folder.join("pid");
    let config = shell(&format!("echo $$ > {}; exec sleep 60", file.display()));
    let start = Client::start(config);
    assert!(
        tokio::time::timeout(Duration::from_millis(300), start)
            .await
            .is_err()
    );
    let pid: u32 = std::fs::read_to_string(&file)
        .unwrap()
        .trim()
        .parse()
        .unwrap();
    eventually("the plugin ends", || !runs(pid)).await;
}

#[tokio::test]
async fn an_interrupt_does_not_end_a_plugin_and_a_termination_ends_it_well() {
    let client = Client::start(config()).await.unwrap();
    signal(client.pid(), Signal::INT);
    // The signal is there before the call is, so an answer tells that it was taken.
    assert_answers(&client).await;
    signal(client.pid(), Signal::TERM);
    assert!(client.wait().await.success());
}

#[tokio::test]
async fn many_are_stopped_in_the_time_of_the_slowest() {
    let clients = Clients::new();
    let mut started = Vec::new();
    for stubborn in [true, true, true, false, false] {
        let mut command = Command::new(example("interop_plugin"));
        if stubborn {
            command.env("PEER_STUBBORN", "1");
        }
        let config = ClientConfig::new(handshake())
            .command(command)
            .stop_timeout(Duration::from_millis(700));
        started.push(clients.start(config).await.unwrap());
    }
    let begin = Instant::now();
    clients.kill_all().await;
    let took = begin.elapsed();
    assert!(
        took > Duration::from_millis(600) && took < Duration::from_millis(2000),
        "{took:?}"
    );
    assert!(started.iter().all(|client| client.exited()));
}

#[tokio::test]
async fn killing_twice_at_once_is_one_kill() {
    let client = Arc::new(Client::start(config()).await.unwrap());
    let other = Arc::clone(&client);
    tokio::join!(client.kill(), other.kill());
    assert!(client.wait().await.success());
}

/// Starts a host as a process of its own and returns it with its plugin's id, which it prints.
fn host(scenario: &str) -> (std::process::Child, u32) {
    host_of(scenario, &[example("interop_plugin").to_str().unwrap()])
}

/// As `host`, of the plugin that `command` starts.
fn host_of(scenario: &str, command: &[&str]) -> (std::process::Child, u32) {
    use std::io::{BufRead, BufReader};
    let mut host = Command::new(example("interop_host"))
        .arg(scenario)
        .args(command)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(host.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    let pid = line.trim().strip_prefix("pid ").unwrap().parse().unwrap();
    (host, pid)
}

#[tokio::test]
async fn a_plugin_ends_when_its_host_is_killed() {
    // The first by the system's hand, the second by the plugin's own: its host told the system not to.
    for scenario in ["wait", "wait-unbound"] {
        let (mut host, plugin) = host(scenario);
        assert!(runs(plugin));
        host.kill().unwrap();
        host.wait().unwrap();
        eventually("the plugin ends", || !runs(plugin)).await;
    }
}

#[tokio::test]
async fn a_plugin_behind_a_shell_ends_with_the_host_that_it_cannot_see() {
    // The shell stays the plugin's parent, and waits for it.
    let plugin = example("interop_plugin");
    let shell = format!("{}; exit 0", plugin.display());
    let (mut host, shell) = host_of("wait-unbound", &["/bin/sh", "-c", &shell]);
    assert!(runs(shell));
    host.kill().unwrap();
    host.wait().unwrap();
    eventually("the shell, and so the plugin, ends", || !runs(shell)).await;
}

#[tokio::test]
async fn a_frozen_plugin_is_killed_after_the_stop_timeout() {
    let client = Client::start(config()).await.unwrap();
    signal(client.pid(), Signal::STOP);
    let begin = Instant::now();
    client.kill().await;
    let took = begin.elapsed();
    // Shutdown is never answered.
    assert!(took > Duration::from_millis(1900), "{took:?}");
    assert!(took < Duration::from_millis(4000), "{took:?}");
    assert_eq!(client.wait().await.signal, Some(9));
}

#[test]
fn a_host_may_be_pid_1() {
    let namespace = ["--pid", "--fork", "--mount-proc"];
    let possible = Command::new("unshare").args(namespace).arg("true").status();
    if !possible.is_ok_and(|status| status.success()) {
        assert!(
            std::env::var("CI").is_err(),
            "no right to make a PID namespace"
        );
        eprintln!("no right to make a PID namespace");
        return;
    }
    let output = Command::new("unshare")
        .args(namespace)
        .args([
            example("interop_host"),
            "plain".into(),
            example("interop_plugin"),
        ])
        .output()
        .unwrap();
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        "ok\n",
        "{output:?}"
    );
}

#[test]
fn a_plugin_can_ask_at_the_terminal() {
    // `script` gives its command a terminal, and types what it reads.
    let Ok(mut script) = Command::new("script")
        .args([
            "-qec",
            &format!("{} colour", example("tty_host").display()),
            "/dev/null",
        ])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
    else {
        assert!(std::env::var("CI").is_err(), "there is no `script`");
        eprintln!("there is no `script`");
        return;
    };
    use std::io::Write;
    script.stdin.take().unwrap().write_all(b"green\n").unwrap();
    let output = script.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("colour?"), "{text}");
    assert!(text.trim_end().ends_with("green"), "{text}");
}

#[tokio::test]
async fn a_dropped_client_removes_the_socket_of_a_plugin_that_ignores_its_folder() {
    // As plugins of go-plugin before 1.5 do, which do not know the variable.
    let folder = Folder::new();
    let script = format!(
        "unset PLUGIN_UNIX_SOCKET_DIR; TMPDIR={} exec $PLUGIN",
        folder.path().display()
    );
    let client = Client::start(shell(&script)).await.unwrap();
    let socket = client.address().address();
    assert!(std::path::Path::new(&socket).starts_with(folder.path()));
    drop(client);
    assert!(!std::path::Path::new(&socket).exists());
}
