//! Attaching to plugins that somebody else started: test mode, detached plugins.

use std::process::Command;
use std::time::Duration;

use tonic::{Request, Response, Status};
use transom_goplugin::Services;
use transom_goplugin::host::{Client, ClientConfig, ReattachConfig, StartError, discover};
use transom_goplugin::plugin::{PluginSet, ServeConfig, serve_test};

use crate::support::kv::kv_server::{Kv, KvServer};
use crate::support::kv::{KvEmpty, KvGetRequest, KvGetResponse, KvPutRequest, kv_client::KvClient};
use crate::support::{Folder, config, eventually, example, handshake, runs};

struct Echo;

#[tonic::async_trait]
impl Kv for Echo {
    async fn get(&self, request: Request<KvGetRequest>) -> Result<Response<KvGetResponse>, Status> {
        let value = request.into_inner().key.into_bytes();
        Ok(Response::new(KvGetResponse { value }))
    }

    async fn put(&self, _: Request<KvPutRequest>) -> Result<Response<KvEmpty>, Status> {
        Err(Status::unimplemented("nothing is kept"))
    }
}

#[tokio::test]
async fn a_plugin_served_in_a_test_is_attached_to_and_outlives_its_hosts() {
    let plugins =
        PluginSet::new().plugin("kv", |_| Services::new().add_service(KvServer::new(Echo)));
    let server = serve_test(ServeConfig::new(handshake()).plugins(plugins))
        .await
        .unwrap();
    let reattach = server.reattach_config().clone();
    assert!(reattach.test);
    for _ in 0..3 {
        let json = reattach.to_json();
        let config =
            ClientConfig::new(handshake()).reattach(ReattachConfig::from_json(&json).unwrap());
        let client = Client::start(config).await.unwrap();
        let answer = KvClient::new(client.channel())
            .get(KvGetRequest { key: "echo".into() })
            .await
            .unwrap();
        assert_eq!(answer.get_ref().value, b"echo");
        client.ping().await.unwrap();
        client.kill().await;
    }
    let address = reattach.address.address();
    assert!(std::path::Path::new(&address).exists());
    tokio::time::timeout(Duration::from_secs(3), server.stop())
        .await
        .unwrap();
    assert!(!std::path::Path::new(&address).exists());
    let error = Client::start(ClientConfig::new(handshake()).reattach(reattach))
        .await
        .unwrap_err();
    assert!(matches!(error, StartError::ReattachNotFound(_)), "{error}");
}

#[tokio::test]
async fn what_cannot_be_had_with_an_attached_plugin_is_refused() {
    let reattach = || ReattachConfig {
        protocol: transom_goplugin::Protocol::Grpc,
        protocol_version: 1,
        address: transom_goplugin::PluginAddr::Unix("/nowhere".into()),
        pid: std::process::id(),
        test: true,
    };
    let config = || ClientConfig::new(handshake()).reattach(reattach());
    for config in [
        config().auto_mtls(true),
        config().grpc_broker_multiplex(true),
        config().secure(transom_goplugin::host::SecureConfig::sha256([1])),
    ] {
        let error = Client::start(config).await.unwrap_err();
        assert!(matches!(error, StartError::Conflict(_)), "{error}");
    }
}

#[tokio::test]
async fn a_detached_plugin_lives_until_another_host_ends_it() {
    // The suite's plugin watches its parent, which is this process and lives on.
    let first = Client::start(config().die_with_host(false)).await.unwrap();
    let pid = first.pid();
    let reattach = first.detach();
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(runs(pid));
    let second = Client::start(ClientConfig::new(handshake()).reattach(reattach))
        .await
        .unwrap();
    crate::support::assert_answers(&second).await;
    second.kill().await;
    eventually("the plugin ends", || !runs(pid)).await;
}

#[tokio::test]
async fn plugins_are_discovered_by_name() {
    let folder = Folder::new();
    for name in ["kv-plugin", "cert-plugin", "readme"] {
        std::fs::copy(example("interop_plugin"), folder.join(name)).unwrap();
    }
    std::fs::create_dir(folder.join("folder-plugin")).unwrap();
    let found = discover("*-plugin", folder.path()).unwrap();
    assert_eq!(
        found,
        [folder.join("cert-plugin"), folder.join("kv-plugin")]
    );
    assert!(discover("*", &folder.join("none")).unwrap().is_empty());
    let client = Client::start(ClientConfig::new(handshake()).command(Command::new(&found[1])))
        .await
        .unwrap();
    client.kill().await;
}
