//! What all tests start from.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use transom_goplugin::host::{Client, ClientConfig};
use transom_goplugin::{Channel, HandshakeConfig, MAX_MESSAGE};

#[allow(missing_docs, unreachable_pub, clippy::all)]
pub(crate) mod proto {
    include!(concat!(env!("OUT_DIR"), "/grpctest.rs"));
}

#[allow(missing_docs, unreachable_pub, dead_code, clippy::all)]
pub(crate) mod kv {
    include!(concat!(env!("OUT_DIR"), "/proto.rs"));
}

use proto::test_client::TestClient;
use proto::{PrintKvRequest, TestRequest, print_kv_request::Value};

/// A program that cargo built from `examples/`.
pub(crate) fn example(name: &str) -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let path = test.ancestors().nth(2).unwrap().join("examples").join(name);
    assert!(path.exists(), "{} is not built", path.display());
    path
}

pub(crate) fn handshake() -> HandshakeConfig {
    HandshakeConfig::new(1, "TEST_MAGIC_COOKIE", "test")
}

/// Starts the suite's plugin as its usual self.
pub(crate) fn config() -> ClientConfig {
    ClientConfig::new(handshake()).command(Command::new(example("interop_plugin")))
}

/// Starts what the shell makes of `script`; `$PLUGIN` is the suite's plugin.
pub(crate) fn shell(script: &str) -> ClientConfig {
    let mut command = Command::new("/bin/sh");
    command.arg("-c").arg(script);
    command.env("PLUGIN", example("interop_plugin"));
    ClientConfig::new(handshake()).command(command)
}

/// Calls the plugin once.
pub(crate) async fn double(channel: Channel) -> Result<i32, tonic::Status> {
    let request = TestRequest { input: 21 };
    let answer = TestClient::new(channel).double(request).await?;
    Ok(answer.into_inner().output)
}

/// Has the plugin take a message of this size.
pub(crate) async fn send(channel: Channel, bytes: usize) -> Result<(), tonic::Status> {
    let request = PrintKvRequest {
        key: "some-key".into(),
        value: Some(Value::ValueString("x".repeat(bytes))),
    };
    TestClient::new(channel)
        .max_encoding_message_size(MAX_MESSAGE)
        .print_kv(request)
        .await
        .map(drop)
}

pub(crate) async fn assert_answers(client: &Client) {
    assert_eq!(double(client.channel()).await.unwrap(), 42);
}

/// A folder of one test, removed at its end.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!(
            "it-{}-{}",
            std::process::id(),
            NEXT.fetch_add(1, Ordering::Relaxed)
        );
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    pub(crate) fn join(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Whether a process runs; a zombie does not.
pub(crate) fn runs(pid: u32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|stat| !stat.rsplit_once(')').unwrap().1.starts_with(" Z"))
}

/// Waits, in real time, for something that other processes do.
pub(crate) async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !holds() {
        assert!(begin.elapsed() < Duration::from_secs(10), "never: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Sends a signal to a process that this test started.
pub(crate) fn signal(pid: u32, signal: rustix::process::Signal) {
    let pid = rustix::process::Pid::from_raw(pid.try_into().unwrap()).unwrap();
    rustix::process::kill_process(pid, signal).unwrap();
}
