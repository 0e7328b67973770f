//! A host of the counter: `counter_host put KEY NUMBER` adds, `counter_host get KEY` reads.
//!
//! `COUNTER_PLUGIN` names the plugin's command line; without it the example plugin beside this program is used. `AUTO_MTLS=1` asks
//! for TLS, `MULTIPLEX=1` for one socket.

use std::error::Error;
use std::process::Command;

use tonic::{Request, Response, Status};
use transom_goplugin::host::{Client, ClientConfig, Connection, PluginSet};
use transom_goplugin::{GrpcBroker, HandshakeConfig, Services};

#[allow(missing_docs, unreachable_pub, clippy::all)]
mod proto {
    include!(concat!(env!("OUT_DIR"), "/proto.rs"));
}

use proto::add_helper_server::{AddHelper, AddHelperServer};
use proto::counter_client::CounterClient;
use proto::{CounterGetRequest, CounterPutRequest, SumRequest, SumResponse};

/// What the plugin calls back.
struct Adder;

#[tonic::async_trait]
impl AddHelper for Adder {
    async fn sum(&self, request: Request<SumRequest>) -> Result<Response<SumResponse>, Status> {
        let SumRequest { a, b } = request.into_inner();
        let r = a
            .checked_add(b)
            .ok_or(Status::out_of_range("the sum is too large"))?;
        Ok(Response::new(SumResponse { r }))
    }
}

/// The counter as the rest of a program would see it: the broker's part is hidden here.
#[derive(Clone)]
struct Counter {
    client: CounterClient<transom_goplugin::Channel>,
    broker: GrpcBroker,
}

impl Counter {
    async fn get(&mut self, key: &str) -> Result<i64, Box<dyn Error>> {
        let response = self
            .client
            .get(CounterGetRequest { key: key.into() })
            .await?;
        Ok(response.get_ref().value)
    }

    async fn put(&mut self, key: &str, value: i64) -> Result<(), Box<dyn Error>> {
        let services = Services::new().add_service(AddHelperServer::new(Adder));
        let server = self.broker.serve(self.broker.next_id(), services).await?;
        let request = CounterPutRequest {
            add_server: server.id(),
            key: key.into(),
            value,
        };
        self.client.put(request).await?;
        Ok(())
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let command = match std::env::var_os("COUNTER_PLUGIN") {
        Some(line) => {
            let mut shell = Command::new("sh");
            shell.arg("-c").arg(line);
            shell
        }
        None => Command::new(std::env::current_exe()?.with_file_name("counter_plugin")),
    };
    let set = |name: &str| std::env::var_os(name).is_some();
    let plugins = PluginSet::new().plugin("counter", |connection: &Connection| Counter {
        client: CounterClient::new(connection.channel()),
        broker: connection.broker().clone(),
    });
    let config = ClientConfig::new(HandshakeConfig::new(1, "BASIC_PLUGIN", "hello"))
        .plugins(plugins)
        .command(command)
        .auto_mtls(set("AUTO_MTLS"))
        .grpc_broker_multiplex(set("MULTIPLEX"));
    let client = Client::start(config).await?;
    let answer = run(client.dispense("counter")?).await;
    client.kill().await;
    answer
}

async fn run(mut counter: Counter) -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["get", key] => println!("{}", counter.get(key).await?),
        ["put", key, value] => counter.put(key, value.parse()?).await?,
        _ => return Err("usage: counter_host get KEY | counter_host put KEY NUMBER".into()),
    }
    Ok(())
}
