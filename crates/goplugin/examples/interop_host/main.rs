//! The host of the interop suite: `interop_host SCENARIO[+mtls][+mux] COMMAND…` drives a plugin and prints `ok`, or what went wrong.

mod scenarios;
mod soak;

use std::process::{Command, ExitCode};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use transom_goplugin::host::{Client, ClientConfig, Connection, PluginSet, StartError};
use transom_goplugin::{Channel, GrpcBroker, HandshakeConfig, LogConfig, LogLine, MAX_MESSAGE};

#[allow(missing_docs, unreachable_pub, clippy::all)]
mod proto {
    include!(concat!(env!("OUT_DIR"), "/grpctest.rs"));
}

use proto::test_client::TestClient;

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// What the scenarios work with.
#[derive(Clone)]
struct Peer {
    test: TestClient<Channel>,
    broker: GrpcBroker,
}

/// What a scenario says about its plugin before it starts it.
struct Run {
    command: Vec<String>,
    variables: Vec<(&'static str, String)>,
    mtls: bool,
    mux: bool,
    log: Arc<Mutex<Vec<LogLine>>>,
}

impl Run {
    fn set() -> PluginSet {
        PluginSet::new().plugin("test", |connection: &Connection| Peer {
            test: TestClient::new(connection.channel()).max_decoding_message_size(MAX_MESSAGE),
            broker: connection.broker().clone(),
        })
    }

    /// `PEER_APP_VERSION` is the version of the handshake; 1 unless set.
    fn handshake() -> HandshakeConfig {
        let version = std::env::var("PEER_APP_VERSION").ok();
        let version = version.and_then(|text| text.parse().ok()).unwrap_or(1);
        HandshakeConfig::new(version, "TEST_MAGIC_COOKIE", "test")
    }

    fn command(&self) -> Command {
        let mut words = self.command.iter();
        let mut command = Command::new(words.next().map_or("", String::as_str));
        command.args(words);
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Everything but the plugins.
    fn base(&self, handshake: HandshakeConfig) -> ClientConfig {
        let log = Arc::clone(&self.log);
        ClientConfig::new(handshake)
            .command(self.command())
            .auto_mtls(self.mtls)
            .grpc_broker_multiplex(self.mux)
            .start_timeout(Duration::from_secs(20))
            .log(LogConfig::new().sink(move |line| {
                if let Ok(mut log) = log.lock() {
                    log.push(line.clone());
                }
            }))
    }

    fn config(&self) -> ClientConfig {
        self.base(Self::handshake()).plugins(Self::set())
    }

    async fn start(&self) -> Result<(Client, Peer), StartError> {
        let client = Client::start(self.config()).await?;
        let peer = Peer {
            test: TestClient::new(client.channel()).max_decoding_message_size(MAX_MESSAGE),
            broker: client.broker().clone(),
        };
        Ok((client, peer))
    }

    /// Waits until a line that fits was logged.
    async fn await_line(&self, fits: impl Fn(&LogLine) -> bool) -> Result<LogLine, Failure> {
        for _ in 0..500 {
            let found = self
                .log
                .lock()
                .map_err(|_| "poisoned")?
                .iter()
                .find(|line| fits(line))
                .cloned();
            if let Some(line) = found {
                return Ok(line);
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Err(format!("no such line in the log: {:?}", self.log).into())
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let scenario = arguments.next().unwrap_or_default();
    let mut words = scenario.split('+');
    let name = words.next().unwrap_or_default();
    let options: Vec<&str> = words.collect();
    let run = Run {
        command: arguments.collect(),
        variables: Vec::new(),
        mtls: options.contains(&"mtls"),
        mux: options.contains(&"mux"),
        log: Arc::default(),
    };
    let limit = match name {
        "soak" => 600,
        "idle" => 120,
        _ => 30,
    };
    let outcome = tokio::time::timeout(Duration::from_secs(limit), scenarios::run(name, run)).await;
    match outcome {
        Ok(Ok(())) => {
            println!("ok");
            ExitCode::SUCCESS
        }
        Ok(Err(error)) => {
            println!("error: {error}");
            ExitCode::FAILURE
        }
        Err(_) => {
            println!("error: the scenario hangs");
            ExitCode::FAILURE
        }
    }
}
