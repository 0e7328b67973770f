//! The broker between our own two sides; Go's are in the interop suite.

use std::time::{Duration, Instant};

use tonic::{Request, Response, Status};
use transom_goplugin::Services;
use transom_goplugin::host::Client;

use crate::support::proto::BidirectionalRequest;
use crate::support::proto::ping_pong_client::PingPongClient;
use crate::support::proto::ping_pong_server::{PingPong, PingPongServer};
use crate::support::proto::test_client::TestClient;
use crate::support::proto::{PingRequest, PongResponse};
use crate::support::{assert_answers, config};

struct Pong;

#[tonic::async_trait]
impl PingPong for Pong {
    async fn ping(&self, _: Request<PingRequest>) -> Result<Response<PongResponse>, Status> {
        let msg = "pong".into();
        Ok(Response::new(PongResponse { msg }))
    }
}

async fn round(client: &Client) {
    let broker = client.broker();
    let id = broker.next_id();
    let services = Services::new().add_service(PingPongServer::new(Pong));
    let _server = broker.serve(id, services).await.unwrap();
    let mut test = TestClient::new(client.channel());
    let answer = test
        .bidirectional(BidirectionalRequest { id })
        .await
        .unwrap();
    let channel = broker.dial(answer.get_ref().id).await.unwrap();
    let pong = PingPongClient::new(channel)
        .ping(PingRequest {})
        .await
        .unwrap();
    assert_eq!(pong.get_ref().msg, "pong");
}

#[tokio::test]
async fn fifty_rounds_at_once_in_every_mode() {
    for (mtls, mux) in [(false, false), (true, false), (false, true), (true, true)] {
        let config = config().auto_mtls(mtls).grpc_broker_multiplex(mux);
        let client = std::sync::Arc::new(Client::start(config).await.unwrap());
        let rounds: Vec<_> = (0..50)
            .map(|_| {
                let client = client.clone();
                tokio::spawn(async move { round(&client).await })
            })
            .collect();
        for round in rounds {
            round.await.unwrap();
        }
        client.kill().await;
    }
}

#[tokio::test]
async fn dialling_what_nobody_serves_ends_after_five_seconds_and_harms_nothing() {
    for mux in [false, true] {
        let client = Client::start(config().grpc_broker_multiplex(mux))
            .await
            .unwrap();
        let begin = Instant::now();
        let error = client.broker().dial(77).await.unwrap_err();
        let took = begin.elapsed();
        assert!(took < Duration::from_secs(6), "{took:?}: {error}");
        assert!(took > Duration::from_secs(3), "{took:?}: {error}");
        assert_answers(&client).await;
        round(&client).await;
        client.kill().await;
    }
}

#[tokio::test]
async fn the_broker_ends_with_the_plugin() {
    let client = Client::start(config()).await.unwrap();
    let services = Services::new().add_service(PingPongServer::new(Pong));
    let mut server = client.broker().serve(1, services.clone()).await.unwrap();
    client.kill().await;
    tokio::time::timeout(Duration::from_secs(3), server.wait())
        .await
        .unwrap();
    assert!(client.broker().serve(2, services).await.is_err());
    assert!(client.broker().dial(3).await.is_err());
}
