//! The services that every plugin has beside its own.

use tokio_stream::StreamExt;
use tonic::Code;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use transom_goplugin::host::Client;

use crate::support::config;

/// The names that one version of the reflection service lists, and whether it knows a method's file.
macro_rules! reflected {
    ($version:ident, $channel:expr) => {{
        use tonic_reflection::pb::$version::ServerReflectionRequest;
        use tonic_reflection::pb::$version::server_reflection_client::ServerReflectionClient;
        use tonic_reflection::pb::$version::server_reflection_request::MessageRequest;
        use tonic_reflection::pb::$version::server_reflection_response::MessageResponse;
        let request = |message| ServerReflectionRequest {
            host: String::new(),
            message_request: Some(message),
        };
        let requests = tokio_stream::iter([
            request(MessageRequest::ListServices(String::new())),
            request(MessageRequest::FileContainingSymbol(
                "plugin.GRPCStdio".into(),
            )),
        ]);
        let mut answers = ServerReflectionClient::new($channel)
            .server_reflection_info(requests)
            .await
            .unwrap()
            .into_inner();
        let mut next = async || {
            answers
                .next()
                .await
                .unwrap()
                .unwrap()
                .message_response
                .unwrap()
        };
        let MessageResponse::ListServicesResponse(list) = next().await else {
            panic!("no list");
        };
        assert!(matches!(
            next().await,
            MessageResponse::FileDescriptorResponse(_)
        ));
        list.service
            .into_iter()
            .map(|service| service.name)
            .collect::<Vec<_>>()
    }};
}

#[tokio::test]
async fn reflection_tells_the_services_in_both_versions() {
    let client = Client::start(config()).await.unwrap();
    for names in [
        reflected!(v1, client.channel()),
        reflected!(v1alpha, client.channel()),
    ] {
        assert_eq!(
            names,
            [
                "grpc.health.v1.Health",
                "grpc.reflection.v1.ServerReflection",
                "grpc.reflection.v1alpha.ServerReflection",
                "grpctest.Test",
                "plugin.GRPCBroker",
                "plugin.GRPCController",
                "plugin.GRPCStdio",
            ]
        );
    }
    client.kill().await;
}

#[tokio::test]
async fn health_knows_the_plugin_and_nobody_else() {
    let client = Client::start(config()).await.unwrap();
    client.ping().await.unwrap();
    let mut health = HealthClient::new(client.channel());
    let check = |service: &str| HealthCheckRequest {
        service: service.into(),
    };
    let answer = health.check(check("plugin")).await.unwrap();
    assert_eq!(answer.get_ref().status, 1);
    let status = health.check(check("stranger")).await.unwrap_err();
    assert_eq!(status.code(), Code::NotFound);
    client.kill().await;
}

#[tokio::test]
async fn an_unknown_service_is_unimplemented() {
    let client = Client::start(config()).await.unwrap();
    let status = crate::support::kv::kv_client::KvClient::new(client.channel())
        .get(crate::support::kv::KvGetRequest { key: String::new() })
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::Unimplemented, "{status}");
    client.kill().await;
}
