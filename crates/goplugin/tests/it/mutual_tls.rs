//! AutoMTLS refuses strangers, on both sides, on main and on brokered connections.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use transom_goplugin::host::{Client, ClientConfig};
use transom_goplugin::{HandshakeLine, PluginAddr};

use crate::hostile::Fake;
use crate::rogue::{Pair, acceptor, is_admitted, is_admitted_by};
use crate::support::{Folder, assert_answers, config, example, handshake};

/// A plugin that was started by hand, as a host with this certificate would.
struct Plugin {
    child: Child,
    socket: PathBuf,
    certificate: Vec<u8>,
    _folder: Folder,
}

impl Plugin {
    fn start(host: &Pair) -> Self {
        let folder = Folder::new();
        let mut child = Command::new(example("interop_plugin"))
            .env("TEST_MAGIC_COOKIE", "test")
            .env("PLUGIN_PROTOCOL_VERSIONS", "1")
            .env("PLUGIN_CLIENT_CERT", host.pem())
            .env("PLUGIN_UNIX_SOCKET_DIR", folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let line = HandshakeLine::parse(&line).unwrap();
        let PluginAddr::Unix(socket) = line.address else {
            panic!("{}", line.address);
        };
        Self {
            child,
            socket,
            certificate: line.certificate.unwrap(),
            _folder: folder,
        }
    }

    async fn admits(&self, identity: Option<&Pair>) -> bool {
        let stream = UnixStream::connect(&self.socket).await.unwrap();
        is_admitted(stream, identity, &self.certificate).await
    }
}

impl Drop for Plugin {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test]
async fn a_plugin_admits_its_host() {
    let host = Pair::new();
    assert!(Plugin::start(&host).admits(Some(&host)).await);
}

#[tokio::test]
async fn a_plugin_refuses_a_client_without_certificate() {
    assert!(!Plugin::start(&Pair::new()).admits(None).await);
}

#[tokio::test]
async fn a_plugin_refuses_a_client_with_another_certificate() {
    assert!(!Plugin::start(&Pair::new()).admits(Some(&Pair::new())).await);
}

#[tokio::test]
async fn a_plugin_refuses_the_right_certificate_with_a_wrong_key() {
    let host = Pair::new();
    let forged = host.with_key_of(&Pair::new());
    assert!(!Plugin::start(&host).admits(Some(&forged)).await);
}

#[tokio::test]
async fn tls_1_2_is_judged_as_tls_1_3_is() {
    let host = Pair::new();
    let plugin = Plugin::start(&host);
    let forged = host.with_key_of(&Pair::new());
    let stranger = Pair::new();
    for (identity, admitted) in [
        (Some(&host), true),
        (None, false),
        (Some(&stranger), false),
        (Some(&forged), false),
    ] {
        let stream = UnixStream::connect(&plugin.socket).await.unwrap();
        let version = &rustls::version::TLS12;
        let answer = is_admitted_by(version, stream, identity, &plugin.certificate).await;
        assert_eq!(answer, admitted);
    }
}

#[tokio::test]
async fn a_plugin_refuses_a_client_without_tls_and_goes_on() {
    let host = Pair::new();
    let plugin = Plugin::start(&host);
    let mut stream = UnixStream::connect(&plugin.socket).await.unwrap();
    stream
        .write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        .await
        .unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    // What comes is a TLS alert (content type 21), not SETTINGS.
    assert!(answer.is_empty() || answer[0] == 21, "{answer:?}");
    assert!(plugin.admits(Some(&host)).await);
}

/// Starts a fake plugin that announces `announced` and serves with `presented`; says whether the host stays with it.
async fn host_stays_with(announced: &Pair, presented: Option<&Pair>) -> bool {
    let folder = Folder::new();
    let socket = folder.join("s");
    let listener = UnixListener::bind(&socket).unwrap();
    let line = HandshakeLine {
        version: 1,
        address: PluginAddr::Unix(socket),
        protocol: transom_goplugin::Protocol::Grpc,
        certificate: Some(announced.certificate.to_vec()),
        multiplex: None,
    };
    let acceptor = presented.map(acceptor);
    let serving = tokio::spawn(async move {
        loop {
            let Ok((mut stream, _)) = listener.accept().await else {
                return;
            };
            match &acceptor {
                Some(acceptor) => {
                    if let Ok(mut stream) = acceptor.accept(stream).await {
                        let _ = stream.write_all(b"\0\0\0\x04\0\0\0\0\0").await;
                        let _ = stream.read_to_end(&mut Vec::new()).await;
                    }
                }
                None => {
                    let _ = stream.write_all(b"\0\0\0\x04\0\0\0\0\0").await;
                    let _ = stream.read_to_end(&mut Vec::new()).await;
                }
            }
        }
    });
    let config = ClientConfig::new(handshake())
        .runner(Fake::saying(format!("{line}\n")))
        .auto_mtls(true);
    let started = Client::start(config).await;
    serving.abort();
    started.is_ok()
}

#[tokio::test]
async fn a_host_stays_with_the_plugin_that_was_announced() {
    let plugin = Pair::new();
    assert!(host_stays_with(&plugin, Some(&plugin)).await);
}

#[tokio::test]
async fn a_host_refuses_a_plugin_without_tls() {
    assert!(!host_stays_with(&Pair::new(), None).await);
}

#[tokio::test]
async fn a_host_refuses_a_plugin_with_another_certificate() {
    assert!(!host_stays_with(&Pair::new(), Some(&Pair::new())).await);
}

#[tokio::test]
async fn a_host_refuses_the_right_certificate_with_a_wrong_key() {
    let plugin = Pair::new();
    let forged = plugin.with_key_of(&Pair::new());
    assert!(!host_stays_with(&plugin, Some(&forged)).await);
}

#[tokio::test]
async fn both_curves_work_end_to_end() {
    for curve in [transom_goplugin::Curve::P256, transom_goplugin::Curve::P521] {
        let client = Client::start(config().auto_mtls_curve(curve))
            .await
            .unwrap();
        assert_answers(&client).await;
        client.kill().await;
    }
}
