//! One plugin of two versions: version 2 answers in upper case, version 3 as it is asked. The newest that the host has is served.

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

struct Store {
    version: i32,
}

#[tonic::async_trait]
impl Kv for Store {
    async fn get(&self, request: Request<KvGetRequest>) -> Result<Response<KvGetResponse>, Status> {
        let path = format!("kv_{}", request.get_ref().key.replace('/', "_"));
        let mut value =
            std::fs::read(path).map_err(|error| Status::not_found(error.to_string()))?;
        if self.version == 2 {
            value.make_ascii_uppercase();
        }
        Ok(Response::new(KvGetResponse { value }))
    }

    async fn put(&self, request: Request<KvPutRequest>) -> Result<Response<KvEmpty>, Status> {
        let KvPutRequest { key, value } = request.into_inner();
        std::fs::write(format!("kv_{}", key.replace('/', "_")), value)
            .map_err(|error| Status::internal(error.to_string()))?;
        Ok(Response::new(KvEmpty {}))
    }
}

fn set(version: i32) -> PluginSet {
    PluginSet::new().plugin("kv", move |_| {
        Services::new().add_service(KvServer::new(Store { version }))
    })
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let handshake = HandshakeConfig::new(1, "BASIC_PLUGIN", "hello");
    let config = ServeConfig::new(handshake)
        .versioned_plugins(2, set(2))
        .versioned_plugins(3, set(3));
    serve(config).await
}
