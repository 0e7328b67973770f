//! The plugin of the interop suite: `grpctest.Test` and what hosts want to see of a plugin.
//!
//! Its environment makes it different: `PEER_VERSIONS=2,3` serves several versions, `PEER_EXIT_FILE` names a file to be written at
//! the end, `PEER_STUBBORN` keeps it from ending, `PEER_TCP` makes it listen on TCP, `PEER_DEFAULT_LIMIT` leaves the size of messages at
//! gRPC's own limit.
//!
//! With an argument it serves as go-plugin's test binary does in the mode of that name, for Go's own tests; the folder `PEER_TLS` has that
//! binary's authority, certificate and key as `ca.pem`, `cert.pem` and `key.pem`.

use std::io::Write;
use std::path::PathBuf;
use std::pin::Pin;
use std::process::ExitCode;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use tokio_stream::{Stream, StreamExt};
use tonic::{Request, Response, Status, Streaming};
use tracing_subscriber::filter::LevelFilter;
use transom_goplugin::plugin::{HclogLayer, Network, PluginSet, ServeConfig, serve};
use transom_goplugin::{GrpcBroker, HandshakeConfig, MAX_MESSAGE, Services, Tls, provider};

#[allow(missing_docs, unreachable_pub, clippy::all)]
mod proto {
    include!(concat!(env!("OUT_DIR"), "/grpctest.rs"));
}

use proto::ping_pong_client::PingPongClient;
use proto::ping_pong_server::{PingPong, PingPongServer};
use proto::test_server::{Test, TestServer};
use proto::{
    BidirectionalRequest, BidirectionalResponse, PanicRequest, PingRequest, PongResponse,
    PrintKvRequest, PrintKvResponse, PrintStdioRequest, TestRequest, TestResponse,
    print_kv_request::Value,
};

struct Peer {
    broker: GrpcBroker,
}

#[tonic::async_trait]
impl Test for Peer {
    type StreamStream = Pin<Box<dyn Stream<Item = Result<TestResponse, Status>> + Send>>;

    async fn double(
        &self,
        request: Request<TestRequest>,
    ) -> Result<Response<TestResponse>, Status> {
        let output = request.get_ref().input * 2;
        Ok(Response::new(TestResponse { output }))
    }

    async fn print_kv(
        &self,
        request: Request<PrintKvRequest>,
    ) -> Result<Response<PrintKvResponse>, Status> {
        let PrintKvRequest { key, value } = request.into_inner();
        let value = match value {
            Some(Value::ValueString(text)) => text,
            Some(Value::ValueInt(number)) => {
                tracing::info!(foo = number, "PrintKV called");
                return Ok(Response::new(PrintKvResponse {}));
            }
            None => return Err(Status::invalid_argument("no value")),
        };
        if key == "panic" {
            std::panic::panic_any(value);
        }
        if key == "print" {
            // Blocks if nobody takes the output; the call then never ends.
            tokio::task::spawn_blocking(move || std::io::stdout().write_all(value.as_bytes()))
                .await
                .map_err(|error| Status::internal(error.to_string()))?
                .map_err(|error| Status::internal(error.to_string()))?;
            return Ok(Response::new(PrintKvResponse {}));
        }
        // The names of an event's fields are fixed in the program; these are the ones that the suite and Go's tests use.
        match key.as_str() {
            "foo" => tracing::info!(foo = value, "PrintKV called"),
            _ => tracing::info!("some-key" = value, "PrintKV called"),
        }
        Ok(Response::new(PrintKvResponse {}))
    }

    async fn bidirectional(
        &self,
        request: Request<BidirectionalRequest>,
    ) -> Result<Response<BidirectionalResponse>, Status> {
        let failed = |what: &str| {
            let what = what.to_owned();
            move |error: std::io::Error| Status::unavailable(format!("{what}: {error}"))
        };
        let channel = self
            .broker
            .dial(request.get_ref().id)
            .await
            .map_err(failed("plugin dials the host"))?;
        let answer = PingPongClient::new(channel).ping(PingRequest {}).await?;
        if answer.get_ref().msg != "pong" {
            return Err(Status::internal("the host's answer is no pong"));
        }
        let id = self.broker.next_id();
        let services = Services::new().add_service(PingPongServer::new(Pong));
        let mut server = self
            .broker
            .serve(id, services)
            .await
            .map_err(failed("plugin serves the host"))?;
        tokio::spawn(async move { server.wait().await });
        Ok(Response::new(BidirectionalResponse { id }))
    }

    async fn stream(
        &self,
        request: Request<Streaming<TestRequest>>,
    ) -> Result<Response<Self::StreamStream>, Status> {
        let answers = request.into_inner().map(|request| {
            request.map(|request| TestResponse {
                output: request.input,
            })
        });
        Ok(Response::new(Box::pin(answers)))
    }

    async fn print_stdio(
        &self,
        request: Request<PrintStdioRequest>,
    ) -> Result<Response<()>, Status> {
        // Writing blocks while the host reads through this very thread, so it is done on another.
        let PrintStdioRequest { stdout, stderr } = request.into_inner();
        tokio::task::spawn_blocking(move || {
            std::io::stdout().write_all(&stdout)?;
            std::io::stdout().flush()?;
            std::io::stderr().write_all(&stderr)
        })
        .await
        .map_err(|error| Status::internal(error.to_string()))?
        .map_err(|error| Status::internal(error.to_string()))?;
        Ok(Response::new(()))
    }

    async fn panic(&self, request: Request<PanicRequest>) -> Result<Response<()>, Status> {
        std::panic::panic_any(request.into_inner().message);
    }
}

struct Pong;

#[tonic::async_trait]
impl PingPong for Pong {
    async fn ping(&self, _: Request<PingRequest>) -> Result<Response<PongResponse>, Status> {
        let msg = "pong".into();
        Ok(Response::new(PongResponse { msg }))
    }
}

fn main() -> ExitCode {
    use tracing_subscriber::prelude::*;
    let layer = HclogLayer::new().with_filter(LevelFilter::INFO);
    tracing_subscriber::registry().with(layer).init();

    let runtime = match tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("runtime: {error}");
            return ExitCode::FAILURE;
        }
    };
    let code = runtime.block_on(serve(config()));
    if let Some(path) = std::env::var_os("PEER_EXIT_FILE")
        && let Err(error) = std::fs::write(path, "bye")
    {
        eprintln!("exit file: {error}");
    }
    if std::env::var_os("PEER_STUBBORN").is_some() {
        std::thread::sleep(std::time::Duration::from_secs(60));
    }
    code
}

fn config() -> ServeConfig {
    let limit = match std::env::var_os("PEER_DEFAULT_LIMIT") {
        Some(_) => 4 * 1024 * 1024,
        None => MAX_MESSAGE,
    };
    let set = PluginSet::new().plugin("test", move |broker| {
        let peer = Peer {
            broker: broker.clone(),
        };
        Services::new()
            .add_service(TestServer::new(peer).max_decoding_message_size(limit))
            .describe(DESCRIPTORS)
    });
    let with = |version| {
        let handshake = HandshakeConfig::new(version, "TEST_MAGIC_COOKIE", "test");
        let config = ServeConfig::new(handshake);
        match std::env::var_os("PEER_TCP") {
            Some(_) => config.network(Network::Tcp),
            None => config,
        }
    };
    match std::env::args().nth(1).as_deref() {
        // Go's binary has a net/rpc plugin as version 1 beside it.
        Some(
            "test-versioned-plugins" | "test-proto-upgraded-plugin" | "test-proto-upgraded-client",
        ) => with(2).plugins(set).tls(own_tls()),
        Some("test-grpc-tls") => with(1).plugins(set).tls(own_tls()),
        Some("test-mtls") => with(2).plugins(set),
        _ => match std::env::var("PEER_VERSIONS") {
            Ok(versions) => versions
                .split(',')
                .filter_map(|version| version.parse().ok())
                .fold(with(1), |config, version| {
                    config.versioned_plugins(version, set.clone())
                }),
            Err(_) => with(1).plugins(set),
        },
    }
}

const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/grpctest.bin"));

/// TLS that is not the protocol's: certificates of an authority, of clients only if they give one.
fn own_tls() -> Tls {
    let folder = PathBuf::from(std::env::var_os("PEER_TLS").expect("PEER_TLS"));
    let certificate = |name: &str| CertificateDer::from_pem_file(folder.join(name)).expect("PEM");
    let key = || PrivateKeyDer::from_pem_file(folder.join("key.pem")).expect("key");
    let mut roots = rustls::RootCertStore::empty();
    roots.add(certificate("ca.pem")).expect("authority");
    let roots = Arc::new(roots);
    let verifier = WebPkiClientVerifier::builder_with_provider(roots.clone(), provider())
        .allow_unauthenticated()
        .build()
        .expect("verifier");
    let server = rustls::ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .and_then(|builder| {
            builder
                .with_client_cert_verifier(verifier)
                .with_single_cert(vec![certificate("cert.pem")], key())
        });
    let client = rustls::ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .and_then(|builder| {
            builder
                .with_root_certificates(roots)
                .with_client_auth_cert(vec![certificate("cert.pem")], key())
        });
    let (client, server) = (client.expect("client"), server.expect("server"));
    Tls::new(client, Some(server), "127.0.0.1").expect("TLS")
}
