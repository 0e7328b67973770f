//! The plugin of the benchmark: answers each key with 256 bytes.

use std::process::ExitCode;

use tonic::{Request, Response, Status};
use transom_goplugin::plugin::{PluginSet, ServeConfig, serve};
use transom_goplugin::{HandshakeConfig, Services};

#[allow(missing_docs, unreachable_pub, clippy::all)]
mod proto {
    include!(concat!(env!("OUT_DIR"), "/proto.rs"));
}

use proto::kv_server::{Kv, KvServer};
use proto::{KvEmpty, KvGetRequest, KvGetResponse, KvPutRequest};

struct Fixed;

#[tonic::async_trait]
impl Kv for Fixed {
    async fn get(&self, _: Request<KvGetRequest>) -> Result<Response<KvGetResponse>, Status> {
        let value = vec![b'v'; 256];
        Ok(Response::new(KvGetResponse { value }))
    }

    async fn put(&self, _: Request<KvPutRequest>) -> Result<Response<KvEmpty>, Status> {
        Ok(Response::new(KvEmpty {}))
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let plugins =
        PluginSet::new().plugin("kv", |_| Services::new().add_service(KvServer::new(Fixed)));
    let handshake = HandshakeConfig::new(1, "BASIC_PLUGIN", "hello");
    serve(ServeConfig::new(handshake).plugins(plugins)).await
}
