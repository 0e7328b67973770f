//! A key-value store as a plugin: it keeps each value in a file `kv_KEY` of the current folder.
//!
//! Run by a host: `cargo run -p transom-goplugin --example kv_host -- put hello world`, or by go-plugin's own `examples/grpc` with
//! `KV_PLUGIN=target/debug/examples/kv_plugin`.

use std::process::ExitCode;

use tonic::{Request, Response, Status};
use tracing_subscriber::filter::LevelFilter;
use transom_goplugin::plugin::{HclogLayer, PluginSet, ServeConfig, serve};
use transom_goplugin::{HandshakeConfig, MAX_MESSAGE, Services};

#[allow(missing_docs, unreachable_pub, clippy::all)]
mod proto {
    include!(concat!(env!("OUT_DIR"), "/proto.rs"));
}

use proto::kv_server::{Kv, KvServer};
use proto::{KvEmpty, KvGetRequest, KvGetResponse, KvPutRequest};

struct Files;

impl Files {
    fn path(key: &str) -> Result<String, Status> {
        if key.contains(['/', '\0']) {
            return Err(Status::invalid_argument("a key has no slash"));
        }
        Ok(format!("kv_{key}"))
    }
}

#[tonic::async_trait]
impl Kv for Files {
    async fn get(&self, request: Request<KvGetRequest>) -> Result<Response<KvGetResponse>, Status> {
        let path = Self::path(&request.get_ref().key)?;
        let value = std::fs::read(&path)
            .map_err(|error| Status::not_found(format!("open {path}: {error}")))?;
        Ok(Response::new(KvGetResponse { value }))
    }

    async fn put(&self, request: Request<KvPutRequest>) -> Result<Response<KvEmpty>, Status> {
        let KvPutRequest { key, mut value } = request.into_inner();
        let path = Self::path(&key)?;
        value.extend_from_slice(b"\n\nWritten from plugin-rust-grpc");
        std::fs::write(&path, value)
            .map_err(|error| Status::internal(format!("write {path}: {error}")))?;
        tracing::info!(key, "stored");
        Ok(Response::new(KvEmpty {}))
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    use tracing_subscriber::prelude::*;
    let layer = HclogLayer::new().with_filter(LevelFilter::INFO);
    tracing_subscriber::registry().with(layer).init();

    let plugins = PluginSet::new().plugin("kv_grpc", |_broker| {
        Services::new().add_service(KvServer::new(Files).max_decoding_message_size(MAX_MESSAGE))
    });
    let handshake = HandshakeConfig::new(1, "BASIC_PLUGIN", "hello");
    serve(ServeConfig::new(handshake).plugins(plugins)).await
}
