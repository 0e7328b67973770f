//! The library and the supervisor against real processes.

mod bad;
mod cgroup;
mod sandbox;
mod sandbox_keys;
mod supervise;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use transom_process::call::answer;
use transom_process::{CallError, Client, Config, RegisterError, Request, register};

/// A program that cargo built from `examples/`.
fn example(name: &str) -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let path = test.ancestors().nth(2).unwrap().join("examples").join(name);
    assert!(path.exists(), "{} is not built", path.display());
    path
}

/// A folder of one test, removed at its end.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("process-it-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }

    /// The example plugin under a name that no other test has: plugins are registered for the whole process.
    fn plugin(&self, name: &str) {
        std::os::unix::fs::symlink(example("plugin-server"), self.0.join(name)).unwrap();
    }

    fn config(&self) -> Config {
        Config::new().folder(&self.0)
    }

    async fn client(&self, name: &str) -> Arc<Client> {
        self.plugin(name);
        register(name, self.config()).await.unwrap()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn hello() -> Request {
    Request {
        body: b"hello".to_vec(),
        ..Request::default()
    }
}

async fn assert_answers(client: &Client) {
    let response = client.call(hello(), Duration::from_secs(5)).await.unwrap();
    assert_eq!(
        (response.body.as_slice(), response.status),
        (&b"world"[..], 1)
    );
}

fn signal(client: &Client, signal: Signal) {
    let pid = client.pid().unwrap().try_into().unwrap();
    kill_process(Pid::from_raw(pid).unwrap(), signal).unwrap();
}

async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !holds() {
        assert!(begin.elapsed() < Duration::from_secs(10), "never: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[test]
fn the_pair_prints_what_mosns_does() {
    let output = Command::new(example("plugin-client")).output().unwrap();
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        "success! response body: world\n"
    );
    assert!(output.status.success());
}

#[tokio::test]
async fn a_name_is_one_plugin() {
    let folder = Folder::new();
    let first = folder.client("twice").await;
    let second = register("twice", Config::new().folder("/elsewhere"))
        .await
        .unwrap();
    assert!(Arc::ptr_eq(&first, &second));
    assert_eq!(first.name(), "twice");
    first.disable().await;
}

#[tokio::test]
async fn a_name_without_a_program_is_an_error_that_says_where() {
    let error = register("nowhere", Config::default()).await.unwrap_err();
    let beside = std::env::current_exe().unwrap().with_file_name("nowhere");
    assert!(
        error.to_string().contains(beside.to_str().unwrap()),
        "{error}"
    );
    for name in ["", "..", "a/b", "/bin/sh"] {
        let error = register(name, Config::default()).await.unwrap_err();
        assert!(matches!(error, RegisterError::Name(_)), "{name}: {error}");
    }
}

#[tokio::test]
async fn a_killed_plugin_answers_the_next_call_soon() {
    let folder = Folder::new();
    let client = folder.client("killed").await;
    assert_answers(&client).await;
    let first = client.pid().unwrap();
    signal(&client, Signal::KILL);
    eventually("its end is seen", || client.pid().is_none()).await;
    // Many want it at once; one starts it.
    let calls: Vec<_> = (0..20)
        .map(|_| {
            let client = Arc::clone(&client);
            tokio::spawn(async move {
                assert_answers(&client).await;
                client.pid().unwrap()
            })
        })
        .collect();
    let begin = Instant::now();
    let mut pids = Vec::new();
    for call in calls {
        pids.push(call.await.unwrap());
    }
    assert!(begin.elapsed() < Duration::from_secs(5));
    pids.dedup();
    assert_eq!(pids.len(), 1);
    assert_ne!(pids[0], first);
    // The second death in a row is answered by a pause.
    signal(&client, Signal::KILL);
    eventually("its end is seen", || client.pid().is_none()).await;
    let error = client.call(hello(), Duration::ZERO).await.unwrap_err();
    assert!(matches!(error, CallError::Crashing { .. }), "{error}");
    client.disable().await;
}

#[test]
fn a_plugin_outlives_the_runtime_that_started_it_by_being_started_again() {
    let folder = Folder::new();
    let runtime = || {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap()
    };
    let (client, first) = runtime().block_on(async {
        let client = folder.client("runtimes").await;
        assert_answers(&client).await;
        let pid = client.pid().unwrap();
        (client, pid)
    });
    assert_eq!(client.pid(), None);
    runtime().block_on(async {
        assert_answers(&client).await;
        assert_ne!(client.pid(), Some(first));
        eventually("the first one ends", || {
            !Path::new(&format!("/proc/{first}/cmdline")).exists()
        })
        .await;
        client.disable().await;
    });
}

#[tokio::test]
async fn a_plugin_that_does_not_start_is_not_tried_by_every_call() {
    let folder = Folder::new();
    std::os::unix::fs::symlink("/bin/false", folder.0.join("false")).unwrap();
    // As in MOSN it is registered all the same.
    let client = register("false", folder.config()).await.unwrap();
    let begin = Instant::now();
    let mut attempts = 0;
    while begin.elapsed() < Duration::from_millis(600) {
        match client.check().await.unwrap_err() {
            CallError::Start { .. } => attempts += 1,
            CallError::BackingOff { source, .. } => {
                assert!(source.to_string().contains("exit code 1"), "{source}");
            }
            other => panic!("{other}"),
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    // At 100 ms and 300 ms after the registration's own, and at 700 ms.
    assert!((1..=3).contains(&attempts), "{attempts}");
}

#[tokio::test]
async fn a_disabled_plugin_stays_down_until_it_is_enabled() {
    let folder = Folder::new();
    let client = folder.client("switched").await;
    assert_answers(&client).await;
    let text = |answer: transom_process::call::Answer| format!("{} {}", answer.status, answer.body);
    assert_eq!(
        text(answer("status=switched").await),
        "200 name:switched,enable:true,on:true\n"
    );
    let pid = client.pid().unwrap();
    assert_eq!(
        text(answer("disable=switched").await),
        "200 disable switched success\n"
    );
    assert!(!Path::new(&format!("/proc/{pid}")).exists());
    let error = client.call(hello(), Duration::ZERO).await.unwrap_err();
    assert_eq!(error.to_string(), "plugin switched disable");
    assert_eq!(
        text(answer("status=switched").await),
        "200 name:switched,enable:false,on:false\n"
    );
    // `enable` comes before the others.
    assert_eq!(
        text(answer("disable=switched&enable=switched").await),
        "200 enable switched success\n"
    );
    assert_answers(&client).await;
    let all = text(answer("status=all").await);
    assert!(all.contains("name:switched,enable:true,on:true\n"), "{all}");
    assert!(all.ends_with("\n\n"), "{all}");
    client.disable().await;
}

#[tokio::test]
async fn a_plugin_is_bounded_by_a_launcher() {
    let folder = Folder::new();
    folder.plugin("bounded");
    let launcher =
        transom_process::launch::Launcher::new(example("plugin-launcher"), [] as [&str; 0]);
    let config = folder
        .config()
        .launcher(launcher, transom_process::launch::Profile::strict());
    let client = register("bounded", config).await.unwrap();
    assert_answers(&client).await;
    let status =
        std::fs::read_to_string(format!("/proc/{}/status", client.pid().unwrap())).unwrap();
    assert!(
        status.contains("NoNewPrivs:\t1") && status.contains("Seccomp:\t2"),
        "{status}"
    );
    client.disable().await;
}

#[tokio::test]
async fn errors_and_deadlines_are_the_callers() {
    let folder = Folder::new();
    let client = folder.client("failing").await;
    let error = client
        .call(Request::default(), Duration::from_secs(5))
        .await
        .unwrap_err();
    let CallError::Failed { status, .. } = &error else {
        panic!("{error}");
    };
    assert_eq!(status.code(), tonic::Code::Unknown);
    assert_eq!(status.message(), "request body error");
    assert!(!error.is_timeout());
    signal(&client, Signal::STOP);
    let begin = Instant::now();
    let error = client
        .call(hello(), Duration::from_millis(100))
        .await
        .unwrap_err();
    assert!(error.is_timeout(), "{error}");
    assert!(begin.elapsed() < Duration::from_secs(2));
    signal(&client, Signal::CONT);
    assert_answers(&client).await;
    client.disable().await;
}

/// The line that MOSN waits for, and what the cookie is for.
#[test]
fn a_plugin_serves_mosns_handshake_and_nobody_else() {
    use std::io::{BufRead, BufReader};
    let mut plugin = Command::new(example("plugin-server"))
        .env("MOSN_PLUGIN", "ON")
        .env("PLUGIN_PROTOCOL_VERSIONS", "1")
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(plugin.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    plugin.kill().unwrap();
    plugin.wait().unwrap();
    let fields: Vec<&str> = line.trim_end().split('|').collect();
    assert_eq!(fields[..3], ["1", "1", "unix"]);
    assert_eq!(fields[4], "grpc");
    let _ = std::fs::remove_file(fields[3]);
    let output = Command::new(example("plugin-server")).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
}
