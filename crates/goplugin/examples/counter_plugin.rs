//! A counter whose sums are made by its host: the plugin calls an interface of the host, through the broker.
//!
//! Run by a host: `counter_host put hello 1`, or by go-plugin's own `examples/bidirectional` with `COUNTER_PLUGIN`.

use std::process::ExitCode;

use tonic::{Request, Response, Status};
use transom_goplugin::plugin::{PluginSet, ServeConfig, serve};
use transom_goplugin::{GrpcBroker, HandshakeConfig, Services};

#[allow(missing_docs, unreachable_pub, clippy::all)]
mod proto {
    include!(concat!(env!("OUT_DIR"), "/proto.rs"));
}

use proto::add_helper_client::AddHelperClient;
use proto::counter_server::{Counter, CounterServer};
use proto::{CounterEmpty, CounterGetRequest, CounterGetResponse, CounterPutRequest, SumRequest};

struct Files {
    broker: GrpcBroker,
}

impl Files {
    fn read(key: &str) -> Result<i64, Status> {
        match std::fs::read_to_string(path(key)?) {
            Ok(text) => text
                .trim()
                .parse()
                .map_err(|_| Status::data_loss(format!("the value of {key} is no number"))),
            Err(_) => Ok(0),
        }
    }
}

fn path(key: &str) -> Result<String, Status> {
    if key.contains(['/', '\0']) {
        return Err(Status::invalid_argument("a key has no slash"));
    }
    Ok(format!("kv_{key}"))
}

#[tonic::async_trait]
impl Counter for Files {
    async fn get(
        &self,
        request: Request<CounterGetRequest>,
    ) -> Result<Response<CounterGetResponse>, Status> {
        let value = Self::read(&request.get_ref().key)?;
        Ok(Response::new(CounterGetResponse { value }))
    }

    async fn put(
        &self,
        request: Request<CounterPutRequest>,
    ) -> Result<Response<CounterEmpty>, Status> {
        let CounterPutRequest {
            add_server,
            key,
            value,
        } = request.into_inner();
        let channel = self
            .broker
            .dial(add_server)
            .await
            .map_err(|error| Status::unavailable(error.to_string()))?;
        let sum = SumRequest {
            a: Self::read(&key)?,
            b: value,
        };
        let sum = AddHelperClient::new(channel).sum(sum).await?;
        std::fs::write(path(&key)?, sum.get_ref().r.to_string())
            .map_err(|error| Status::internal(error.to_string()))?;
        Ok(Response::new(CounterEmpty {}))
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let plugins = PluginSet::new().plugin("counter", |broker| {
        let broker = broker.clone();
        Services::new().add_service(CounterServer::new(Files { broker }))
    });
    let handshake = HandshakeConfig::new(1, "BASIC_PLUGIN", "hello");
    serve(ServeConfig::new(handshake).plugins(plugins)).await
}
