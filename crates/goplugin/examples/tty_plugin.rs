//! A plugin that asks the person at the terminal: the host passes its standard input on.

use std::io::BufRead;
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

struct Asker;

#[tonic::async_trait]
impl Kv for Asker {
    /// The value of a key is what the person answers.
    async fn get(&self, request: Request<KvGetRequest>) -> Result<Response<KvGetResponse>, Status> {
        let key = request.into_inner().key;
        let answer = tokio::task::spawn_blocking(move || {
            println!("{key}?");
            let mut line = String::new();
            std::io::stdin().lock().read_line(&mut line).map(|_| line)
        })
        .await
        .map_err(|error| Status::internal(error.to_string()))?
        .map_err(|error| Status::internal(error.to_string()))?;
        let value = answer.trim_end().as_bytes().to_vec();
        Ok(Response::new(KvGetResponse { value }))
    }

    async fn put(&self, _: Request<KvPutRequest>) -> Result<Response<KvEmpty>, Status> {
        Err(Status::unimplemented("a person is not told"))
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let plugins = PluginSet::new().plugin("asker", |_| {
        Services::new().add_service(KvServer::new(Asker))
    });
    let handshake = HandshakeConfig::new(1, "BASIC_PLUGIN", "hello");
    serve(ServeConfig::new(handshake).plugins(plugins)).await
}
