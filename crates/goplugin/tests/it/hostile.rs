//! Plugins that print what no plugin should. Each must end in an error of its own, soon, with nothing left.

use std::io;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use tokio::io::AsyncWriteExt;
use tokio::sync::watch;
use transom_goplugin::host::{
    Boxed, Client, ClientConfig, Exit, Launch, Runner, Running, StartError,
};

use crate::support::{Folder, handshake, shell};

/// A plugin that says one thing and lives until it is killed.
pub(crate) struct Fake {
    says: Mutex<Vec<u8>>,
    killed: watch::Sender<bool>,
}

impl Fake {
    pub(crate) fn saying(text: impl Into<Vec<u8>>) -> Self {
        Self {
            says: Mutex::new(text.into()),
            killed: watch::Sender::new(false),
        }
    }
}

impl Runner for Fake {
    fn start(&mut self, _: Launch) -> Boxed<'_, Result<Running, StartError>> {
        Box::pin(async {
            let (mut said, stdout) = tokio::io::duplex(1024);
            let (quiet, stderr) = tokio::io::duplex(1024);
            let text = std::mem::take(&mut *self.says.lock().unwrap());
            let mut killed = self.killed.subscribe();
            tokio::spawn(async move {
                let _ = said.write_all(&text).await;
                let _ = killed.wait_for(|killed| *killed).await;
                drop((said, quiet));
            });
            Ok(Running {
                stdout: Box::new(stdout),
                stderr: Box::new(stderr),
                id: "fake".into(),
                pid: 0,
            })
        })
    }

    fn wait(&self) -> Boxed<'_, io::Result<Exit>> {
        Box::pin(async {
            let _ = self.killed.subscribe().wait_for(|killed| *killed).await;
            Ok(Exit::default())
        })
    }

    fn kill(&self) -> Boxed<'_, io::Result<()>> {
        Box::pin(async {
            self.killed.send_replace(true);
            Ok(())
        })
    }

    fn name(&self) -> String {
        "fake".into()
    }
}

async fn refusal(says: impl Into<Vec<u8>>) -> StartError {
    let config = ClientConfig::new(handshake()).runner(Fake::saying(says));
    let begin = Instant::now();
    let error = Client::start(config).await.unwrap_err();
    assert!(begin.elapsed() < Duration::from_secs(5), "{error}");
    error
}

#[tokio::test]
async fn what_is_no_handshake_is_shown() {
    let error = refusal("hello there\n").await;
    assert!(
        error
            .to_string()
            .starts_with("Unrecognized remote plugin message: hello there"),
        "{error}"
    );
    let error = refusal(b"\xff\xfe\0\0|||\n".to_vec()).await;
    assert!(matches!(error, StartError::Handshake { .. }), "{error}");
}

#[tokio::test]
async fn a_line_without_end_is_given_up() {
    let error = refusal("x".repeat(1_000_000)).await;
    assert!(matches!(error, StartError::NoLine { .. }), "{error}");
    assert!(error.to_string().len() < 1000);
}

#[tokio::test]
async fn a_certificate_that_nobody_asked_for_is_an_error() {
    let line = format!("1|1|unix|/nowhere|grpc|{}\n", "AAAA".repeat(30));
    let error = refusal(line).await;
    assert!(
        matches!(error, StartError::UnexpectedCertificate),
        "{error}"
    );
}

#[tokio::test]
async fn an_unknown_network_and_a_dead_address_are_errors() {
    let error = refusal("1|1|udp|127.0.0.1:9|grpc|\n").await;
    assert!(
        error.to_string().starts_with("unknown address type"),
        "{error}"
    );
    let error = refusal("1|1|unix|/nowhere/at/all|grpc|\n").await;
    assert!(matches!(error, StartError::Connect { .. }), "{error}");
}

#[tokio::test]
async fn asked_for_tls_and_given_none_is_an_error() {
    let config = ClientConfig::new(handshake())
        .runner(Fake::saying("1|1|unix|/nowhere|grpc|\n"))
        .auto_mtls(true);
    let error = Client::start(config).await.unwrap_err();
    assert!(matches!(error, StartError::NoCertificate), "{error}");
    let certificate = "AAAA".repeat(30);
    let config = ClientConfig::new(handshake())
        .runner(Fake::saying(format!(
            "1|1|unix|/nowhere|grpc|{certificate}\n"
        )))
        .auto_mtls(true);
    let error = Client::start(config).await.unwrap_err();
    assert!(matches!(error, StartError::Tls(_)), "{error}");
}

#[tokio::test]
async fn silence_is_given_up_at_the_start_timeout() {
    let config = shell("sleep 60").start_timeout(Duration::from_millis(300));
    let begin = Instant::now();
    let error = Client::start(config).await.unwrap_err();
    assert!(matches!(error, StartError::Timeout { .. }), "{error}");
    assert!(begin.elapsed() < Duration::from_secs(2));
}

#[tokio::test]
async fn a_closed_output_of_a_living_plugin_is_noticed() {
    let error = Client::start(shell("exec >&-; sleep 60"))
        .await
        .unwrap_err();
    assert!(matches!(error, StartError::NoLine { .. }), "{error}");
}

#[tokio::test]
async fn a_flood_on_both_pipes_neither_blocks_the_plugin_nor_the_host() {
    let config = shell("yes '[INFO] flood' | head -c 20000000 >&2 & { $PLUGIN; } & wait");
    let client = Client::start(config).await.unwrap();
    crate::support::assert_answers(&client).await;
    client.kill().await;
}

/// A plugin that names a socket of somebody else, this process, as its own.
#[tokio::test]
async fn a_socket_of_somebody_else_is_not_called() {
    let folder = Folder::new();
    let socket = folder.join("s");
    // The kernel lets clients in before anybody accepts them.
    let _listener = tokio::net::UnixListener::bind(&socket).unwrap();
    let script = format!("echo '1|1|unix|{}|grpc|'; exec sleep 60", socket.display());
    for mux in [false, true] {
        // A plugin without the seventh field is refused for that otherwise.
        let script = script.replace("|grpc|", if mux { "|grpc||true" } else { "|grpc|" });
        let error = Client::start(shell(&script).grpc_broker_multiplex(mux))
            .await
            .unwrap_err();
        let StartError::Connect { source, .. } = &error else {
            panic!("{error}");
        };
        assert_eq!(source.kind(), io::ErrorKind::PermissionDenied, "{error}");
        let own = format!("process {} of user", std::process::id());
        assert!(error.to_string().contains(&own), "{error}");
        assert!(error.to_string().contains("check_peer(false)"), "{error}");
    }
    let listener = tokio::net::UnixListener::bind(folder.join("t")).unwrap();
    let script = script.replace("/s|", "/t|");
    let client = Client::start(shell(&script).check_peer(false))
        .await
        .unwrap();
    listener.accept().await.unwrap();
    drop(client);
}
