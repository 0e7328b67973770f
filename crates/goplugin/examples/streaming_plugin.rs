//! A file behind streams: written from the host in pieces, read back in pieces.
//!
//! Run by a host: `streaming_host FILE`, or by go-plugin's own `examples/streaming` as `./plugin/streamer`.

use std::pin::Pin;
use std::process::ExitCode;
use std::sync::{Mutex, PoisonError};

use tokio_stream::{Stream, StreamExt};
use tonic::{Request, Response, Status, Streaming};
use transom_goplugin::plugin::{PluginSet, ServeConfig, serve};
use transom_goplugin::{HandshakeConfig, Services};

#[allow(missing_docs, unreachable_pub, clippy::all)]
mod proto {
    include!(concat!(env!("OUT_DIR"), "/proto.rs"));
}

use proto::streamer_service_server::{StreamerService, StreamerServiceServer};
use proto::{
    ConfigureRequest, ConfigureResponse, ReadChunk, ReadRequest, WriteChunk, WriteResponse,
};

#[derive(Default)]
struct Streamer(Mutex<ConfigureRequest>);

impl Streamer {
    fn configured(&self) -> Result<ConfigureRequest, Status> {
        let configured = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if configured.path.is_empty() {
            return Err(Status::failed_precondition("Configure was not called"));
        }
        Ok(configured.clone())
    }
}

fn failed(error: &std::io::Error) -> Status {
    Status::internal(error.to_string())
}

#[tonic::async_trait]
impl StreamerService for Streamer {
    type ReadStream = Pin<Box<dyn Stream<Item = Result<ReadChunk, Status>> + Send>>;

    async fn configure(
        &self,
        request: Request<ConfigureRequest>,
    ) -> Result<Response<ConfigureResponse>, Status> {
        let mut configured = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *configured = request.into_inner();
        Ok(Response::new(ConfigureResponse {}))
    }

    async fn read(&self, _: Request<ReadRequest>) -> Result<Response<Self::ReadStream>, Status> {
        let ConfigureRequest { path, chunk_size } = self.configured()?;
        let size = usize::try_from(chunk_size).unwrap_or(0).max(1);
        let content = std::fs::read(path).map_err(|error| failed(&error))?;
        let chunks: Vec<_> = content
            .chunks(size)
            .map(|chunk| {
                Ok(ReadChunk {
                    read_bytes: chunk.to_vec(),
                })
            })
            .collect();
        Ok(Response::new(Box::pin(tokio_stream::iter(chunks))))
    }

    async fn write(
        &self,
        request: Request<Streaming<WriteChunk>>,
    ) -> Result<Response<WriteResponse>, Status> {
        let path = self.configured()?.path;
        let mut chunks = request.into_inner();
        let mut content = Vec::new();
        while let Some(chunk) = chunks.next().await {
            content.extend(chunk?.bytes_to_write);
        }
        std::fs::write(path, content).map_err(|error| failed(&error))?;
        Ok(Response::new(WriteResponse {}))
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let plugins = PluginSet::new().plugin("streamer", |_| {
        Services::new().add_service(StreamerServiceServer::new(Streamer::default()))
    });
    let handshake = HandshakeConfig::new(1, "BASIC_PLUGIN", "hello");
    serve(ServeConfig::new(handshake).plugins(plugins)).await
}
