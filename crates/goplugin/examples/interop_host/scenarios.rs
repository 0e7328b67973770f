//! What the host does with a plugin, one function per row of the table.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::io::AsyncWrite;
use tokio_stream::StreamExt;
use tonic::{Code, Request, Response, Status};
use transom_goplugin::host::{
    Client, Environment, PluginStdin, ReattachConfig, SecureConfig, StartError,
};
use transom_goplugin::{
    HandshakeConfig, Level, PluginAddr, Services, Tls, first_certificate, provider,
};

use super::proto::ping_pong_client::PingPongClient;
use super::proto::ping_pong_server::{PingPong, PingPongServer};
use super::proto::print_kv_request::Value;
use super::proto::{
    BidirectionalRequest, PingRequest, PongResponse, PrintKvRequest, PrintStdioRequest, TestRequest,
};
use super::{Failure, Peer, Run};

pub(super) async fn run(name: &str, run: Run) -> Result<(), Failure> {
    match name {
        "plain" => plain(&run).await,
        "bidirection" => bidirection(&run).await,
        "stdio" => stdio(&run).await,
        "stdio-absent" => stdio_absent(&run).await,
        "logs" => logs(&run).await,
        "panic" => panic(&run).await,
        "kill" => kill(run).await,
        "graceful" => graceful(run).await,
        "version" => version(&run).await,
        "negotiate" => negotiate(run).await,
        "cookie" => cookie(&run).await,
        "reattach" => reattach(&run).await,
        "checksum" => checksum(&run).await,
        "checksum-bad" => checksum_bad(&run).await,
        "netrpc" => netrpc(run).await,
        "reflection" => reflection(&run).await,
        "big" => big(&run).await,
        "start-error" => start_error(&run).await,
        "tls" => tls(&run).await,
        "soak" => super::soak::soak(&run).await,
        "idle" => idle(&run).await,
        "wait" => wait(&run, true).await,
        "wait-unbound" => wait(&run, false).await,
        _ => Err(format!("unknown scenario {name:?}").into()),
    }
}

pub(super) async fn double(peer: &mut Peer, input: i32) -> Result<(), Failure> {
    let answer = peer.test.double(TestRequest { input }).await?.into_inner();
    if answer.output != 2 * input {
        return Err(format!("the double of {input} is {}", answer.output).into());
    }
    Ok(())
}

async fn plain(run: &Run) -> Result<(), Failure> {
    let (client, mut peer) = run.start().await?;
    double(&mut peer, 21).await?;
    client.ping().await?;
    let numbers = tokio_stream::iter((0..100).map(|input| TestRequest { input }));
    let mut answers = peer.test.stream(numbers).await?.into_inner();
    for number in 0..100 {
        match answers.next().await {
            Some(Ok(answer)) if answer.output == number => {}
            other => return Err(format!("the stream answers {other:?} to {number}").into()),
        }
    }
    if let Some(more) = answers.next().await {
        return Err(format!("the stream ends with {more:?}").into());
    }
    client.kill().await;
    Ok(())
}

struct Pong;

#[tonic::async_trait]
impl PingPong for Pong {
    async fn ping(&self, _: Request<PingRequest>) -> Result<Response<PongResponse>, Status> {
        let msg = "pong".into();
        Ok(Response::new(PongResponse { msg }))
    }
}

async fn bidirection(run: &Run) -> Result<(), Failure> {
    let (client, mut peer) = run.start().await?;
    for _ in 0..3 {
        let id = peer.broker.next_id();
        let services = Services::new().add_service(PingPongServer::new(Pong));
        let _server = peer.broker.serve(id, services).await?;
        let request = BidirectionalRequest { id };
        let answer = peer.test.bidirectional(request).await?.into_inner();
        let channel = peer.broker.dial(answer.id).await?;
        let pong = PingPongClient::new(channel).ping(PingRequest {}).await?;
        if pong.get_ref().msg != "pong" {
            return Err("the plugin's answer is no pong".into());
        }
    }
    client.kill().await;
    Ok(())
}

/// Keeps what is written to it.
#[derive(Clone, Default)]
struct Recorder(Arc<Mutex<Vec<u8>>>);

impl AsyncWrite for Recorder {
    fn poll_write(
        self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
        bytes: &[u8],
    ) -> std::task::Poll<std::io::Result<usize>> {
        if let Ok(mut kept) = self.0.lock() {
            kept.extend_from_slice(bytes);
        }
        std::task::Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(
        self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        std::task::Poll::Ready(Ok(()))
    }

    fn poll_shutdown(
        self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        std::task::Poll::Ready(Ok(()))
    }
}

impl Recorder {
    fn is(&self, expected: &[u8]) -> bool {
        self.0.lock().is_ok_and(|kept| *kept == expected)
    }

    fn len(&self) -> usize {
        self.0.lock().map_or(0, |kept| kept.len())
    }
}

async fn stdio(run: &Run) -> Result<(), Failure> {
    let bytes = |count: u32, step: u32| -> Vec<u8> {
        (0..count).map(|at| (at * step % 256) as u8).collect()
    };
    let (stdout, stderr) = (bytes(300_000, 7), bytes(200_000, 11));
    let (out, err) = (Recorder::default(), Recorder::default());
    let config = run
        .config()
        .sync_stdout(out.clone())
        .sync_stderr(err.clone());
    let client = Client::start(config).await?;
    let mut peer: Peer = client.dispense("test")?;
    peer.test
        .print_stdio(PrintStdioRequest {
            stdout: stdout.clone(),
            stderr: stderr.clone(),
        })
        .await?;
    for _ in 0..500 {
        if out.is(&stdout) && err.is(&stderr) {
            client.kill().await;
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    Err(format!(
        "{} of 300000 and {} of 200000 bytes arrived, or others",
        out.len(),
        err.len()
    )
    .into())
}

/// A plugin without GRPCStdio must work all the same.
async fn stdio_absent(run: &Run) -> Result<(), Failure> {
    let config = run.config().sync_stdout(Recorder::default());
    let client = Client::start(config).await?;
    let mut peer: Peer = client.dispense("test")?;
    double(&mut peer, 5).await?;
    let mut stdio =
        transom_goplugin::proto::grpc_stdio_client::GrpcStdioClient::new(client.channel());
    match stdio.stream_stdio(()).await {
        Err(status) if status.code() == Code::Unimplemented => {}
        other => return Err(format!("expected UNIMPLEMENTED, got {other:?}").into()),
    }
    client.kill().await;
    Ok(())
}

async fn print_kv(peer: &mut Peer, key: &str, value: &str) -> Result<(), Status> {
    peer.test
        .print_kv(PrintKvRequest {
            key: key.into(),
            value: Some(Value::ValueString(value.into())),
        })
        .await
        .map(drop)
}

async fn logs(run: &Run) -> Result<(), Failure> {
    let (client, mut peer) = run.start().await?;
    print_kv(&mut peer, "some-key", "some-value").await?;
    let line = run
        .await_line(|line| line.message == "PrintKV called")
        .await?;
    if line.level != Level::Info || line.fields.get("some-key") != Some(&"some-value".into()) {
        return Err(format!("level or fields are not what was logged: {line:?}").into());
    }
    if line.timestamp.is_none() {
        return Err(format!("the line has no time stamp: {line:?}").into());
    }
    client.kill().await;
    Ok(())
}

/// A panic of a Go plugin ends it; of a Rust plugin, the call.
async fn panic(run: &Run) -> Result<(), Failure> {
    let (client, mut peer) = run.start().await?;
    if print_kv(&mut peer, "panic", "boom").await.is_ok() {
        return Err("the call of a panicking method succeeds".into());
    }
    let line = run
        .await_line(|line| line.message.contains("panic: "))
        .await?;
    if line.level != Level::Error || !line.message.contains("boom") {
        return Err(format!("the panic is not an error: {line:?}").into());
    }
    client.kill().await;
    match client.wait().await.crash {
        Some(crash) if crash.contains("boom") && crash.lines().count() >= 10 => Ok(()),
        other => Err(format!("the record of the crash is {other:?}").into()),
    }
}

async fn kill(mut run: Run) -> Result<(), Failure> {
    run.variables.push(("PEER_STUBBORN", "1".into()));
    let (client, _) = run.start().await?;
    let begin = Instant::now();
    client.kill().await;
    let took = begin.elapsed();
    if took < Duration::from_millis(1900) || took > Duration::from_secs(4) {
        return Err(format!("a stubborn plugin is killed after {took:?}, not 2 s").into());
    }
    let exit = client.wait().await;
    if exit.signal != Some(9) {
        return Err(format!("the plugin ended otherwise: {exit}").into());
    }
    Ok(())
}

async fn graceful(mut run: Run) -> Result<(), Failure> {
    let folder = std::env::temp_dir().join(format!("interop-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    let file = folder.join("exit");
    run.variables
        .push(("PEER_EXIT_FILE", file.display().to_string()));
    let started = run.start().await.inspect_err(|_| {
        let _ = std::fs::remove_dir_all(&folder);
    });
    let (client, mut peer) = started?;
    double(&mut peer, 1).await?;
    let PluginAddr::Unix(socket) = client.address().clone() else {
        return Err("the plugin does not listen on a Unix socket".into());
    };
    let begin = Instant::now();
    client.kill().await;
    let took = begin.elapsed();
    let written = std::fs::read(&file);
    std::fs::remove_dir_all(&folder)?;
    if took > Duration::from_millis(1900) {
        return Err(format!("stopping takes {took:?}").into());
    }
    let exit = client.wait().await;
    if !exit.success() {
        return Err(format!("the plugin ended with {exit}").into());
    }
    written.map_err(|error| format!("the plugin did not run to its end: {error}"))?;
    if socket.exists()
        || socket
            .parent()
            .is_some_and(|folder| folder.ends_with("goplugin"))
    {
        return Err(format!("the socket {} is still there", socket.display()).into());
    }
    Ok(())
}

fn expect<T>(result: Result<T, StartError>, text: &str) -> Result<(), Failure> {
    match result {
        Ok(_) => Err(format!("no error; expected {text:?}").into()),
        Err(error) if error.to_string().contains(text) => Ok(()),
        Err(error) => Err(format!("expected {text:?}, got: {error}").into()),
    }
}

async fn version(run: &Run) -> Result<(), Failure> {
    let handshake = HandshakeConfig::new(9, "TEST_MAGIC_COOKIE", "test");
    let started = Client::start(run.base(handshake).plugins(Run::set())).await;
    expect(
        started,
        "incompatible API version with plugin. Plugin version: 1, Client versions: [9]",
    )
}

async fn negotiate(mut run: Run) -> Result<(), Failure> {
    run.variables.push(("PEER_VERSIONS", "2,3,7".into()));
    let config = [2, 3, 5]
        .into_iter()
        .fold(run.base(Run::handshake()), |config, version| {
            config.versioned_plugins(version, Run::set())
        });
    let client = Client::start(config).await?;
    if client.negotiated_version() != 3 {
        return Err(format!("version {} was negotiated", client.negotiated_version()).into());
    }
    double(&mut client.dispense("test")?, 3).await?;
    client.kill().await;
    Ok(())
}

async fn cookie(run: &Run) -> Result<(), Failure> {
    let handshake = HandshakeConfig::new(1, "TEST_MAGIC_COOKIE", "wrong");
    match Client::start(run.base(handshake)).await {
        Err(StartError::Exited { exit, stderr, .. }) => {
            let text = "This binary is a plugin. These are not meant to be executed directly.\n\
                        Please execute the program that consumes these plugins, which will\n\
                        load any plugins automatically";
            if exit.code != Some(1) || !stderr.contains(text) {
                return Err(format!("{exit}, and on standard error: {stderr}").into());
            }
            Ok(())
        }
        other => Err(format!("a plugin with the wrong cookie: {other:?}").into()),
    }
}

async fn reattach(run: &Run) -> Result<(), Failure> {
    let (first, mut peer) = run.start().await?;
    double(&mut peer, 1).await?;
    let json = first.reattach_config().to_json();
    let reattach = ReattachConfig::from_json(&json).ok_or("the JSON form is not read back")?;
    let config = run.config().reattach(reattach);
    let second = Client::start(config).await?;
    double(&mut second.dispense("test")?, 2).await?;
    second.kill().await;
    let exit = tokio::time::timeout(Duration::from_secs(5), first.wait()).await;
    let exit = exit.map_err(|_| "the plugin lives on after the second host killed it")?;
    if !exit.success() {
        return Err(format!("the plugin ended with {exit}").into());
    }
    let again = Client::start(run.config().reattach(first.reattach_config())).await;
    expect(again, "Reattachment process not found")
}

async fn checksum(run: &Run) -> Result<(), Failure> {
    let program = run.command.first().ok_or("no command")?;
    let output = std::process::Command::new("sha256sum")
        .arg(program)
        .output()?;
    let text = String::from_utf8(output.stdout)?;
    let secure = text.get(..64).and_then(SecureConfig::sha256_hex);
    let config = run
        .config()
        .secure(secure.ok_or("sha256sum printed something else")?);
    let client = Client::start(config).await?;
    double(&mut client.dispense("test")?, 4).await?;
    client.kill().await;
    Ok(())
}

async fn checksum_bad(run: &Run) -> Result<(), Failure> {
    let config = run.config().secure(SecureConfig::sha256(vec![0; 32]));
    expect(Client::start(config).await, "checksums did not match")
}

async fn netrpc(mut run: Run) -> Result<(), Failure> {
    run.variables.push(("PEER_NETRPC", "1".into()));
    let started = Client::start(run.config()).await;
    expect(
        started,
        "unsupported plugin protocol \"netrpc\". Supported: [grpc]",
    )
}

/// Asks for the list of services, in both versions of the protocol where the plugin has both.
async fn reflection(run: &Run) -> Result<(), Failure> {
    use tonic_reflection::pb::v1alpha::server_reflection_client::ServerReflectionClient;
    use tonic_reflection::pb::v1alpha::server_reflection_request::MessageRequest;
    use tonic_reflection::pb::v1alpha::{
        ServerReflectionRequest, server_reflection_response::MessageResponse,
    };
    let (client, _) = run.start().await?;
    let request = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let mut answers = ServerReflectionClient::new(client.channel())
        .server_reflection_info(tokio_stream::iter([request]))
        .await?
        .into_inner();
    let names: Vec<String> = match answers.next().await {
        Some(Ok(answer)) => match answer.message_response {
            Some(MessageResponse::ListServicesResponse(list)) => list
                .service
                .into_iter()
                .map(|service| service.name)
                .collect(),
            other => return Err(format!("no list: {other:?}").into()),
        },
        other => return Err(format!("no answer: {other:?}").into()),
    };
    for service in [
        "plugin.GRPCBroker",
        "plugin.GRPCController",
        "plugin.GRPCStdio",
        "grpc.health.v1.Health",
    ] {
        if !names.iter().any(|name| name == service) {
            return Err(format!("{service} is not in {names:?}").into());
        }
    }
    client.kill().await;
    Ok(())
}

/// Messages above gRPC's default limit: refused by a Go server that did not raise it, and by name.
async fn big(run: &Run) -> Result<(), Failure> {
    let (client, mut peer) = run.start().await?;
    let huge = "x".repeat(6 * 1024 * 1024);
    match print_kv(&mut peer, "some-key", &huge).await {
        Ok(()) => {}
        Err(status) if status.code() == Code::ResourceExhausted => {}
        Err(status) => return Err(format!("6 MiB: {status}").into()),
    }
    // The connection survives either.
    double(&mut peer, 8).await?;
    client.kill().await;
    Ok(())
}

/// Prints why a plugin did not start, and what it logged. `PEER_EMPTY` gives it no variable of the host.
async fn start_error(run: &Run) -> Result<(), Failure> {
    let environment = match std::env::var_os("PEER_EMPTY") {
        Some(_) => Environment::Empty,
        None => Environment::Inherited,
    };
    let config = run
        .config()
        .environment(environment)
        .stdin(PluginStdin::Inherited)
        .start_timeout(Duration::from_secs(2));
    let started = Client::start(config).await;
    for line in run.log.lock().map_err(|_| "poisoned")?.iter() {
        println!("log {:?} {}", line.level, line.message);
    }
    match started {
        Ok(_) => Err("it starts".into()),
        Err(error) => {
            println!("{error}");
            Ok(())
        }
    }
}

/// A plugin with TLS of its own: the authority is in the file `PEER_CA`.
async fn tls(run: &Run) -> Result<(), Failure> {
    let path = std::env::var("PEER_CA")?;
    let authority = first_certificate(&std::fs::read_to_string(path)?)?;
    let mut roots = rustls::RootCertStore::empty();
    roots.add(authority.into())?;
    let config = rustls::ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let tls = Tls::new(config, None, "127.0.0.1")?;
    let client = Client::start(run.config().tls(tls)).await?;
    double(&mut client.dispense("test")?, 6).await?;
    client.ping().await?;
    client.kill().await;
    Ok(())
}

/// Keeps a plugin until this host is killed.
async fn wait(run: &Run, bound: bool) -> Result<(), Failure> {
    let client = Client::start(run.config().die_with_host(bound)).await?;
    double(&mut client.dispense("test")?, 1).await?;
    println!("pid {}", client.pid());
    client.wait().await;
    Err("the plugin ended".into())
}

/// Says nothing for longer than the 30 s after which a multiplexed connection is asked whether it lives, then calls.
async fn idle(run: &Run) -> Result<(), Failure> {
    let (client, mut peer) = run.start().await?;
    double(&mut peer, 1).await?;
    tokio::time::sleep(Duration::from_secs(75)).await;
    double(&mut peer, 2).await?;
    client.kill().await;
    Ok(())
}
