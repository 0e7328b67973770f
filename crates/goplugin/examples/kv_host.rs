//! A host of the key-value store: `kv_host put KEY VALUE` or `kv_host get KEY`.
//!
//! `KV_PLUGIN` names the plugin's command line, which the shell runs; without it the example plugin beside this program is used.
//! `AUTO_MTLS=1` asks for TLS, `MULTIPLEX=1` for one socket.

use std::error::Error;
use std::process::Command;

use transom_goplugin::host::{Client, ClientConfig, Connection, PluginSet};
use transom_goplugin::{Channel, HandshakeConfig, MAX_MESSAGE};

#[allow(missing_docs, unreachable_pub, clippy::all)]
mod proto {
    include!(concat!(env!("OUT_DIR"), "/proto.rs"));
}

use proto::kv_client::KvClient;
use proto::{KvGetRequest, KvPutRequest};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
        .init();
    let command = match std::env::var_os("KV_PLUGIN") {
        Some(line) => {
            let mut shell = Command::new("sh");
            shell.arg("-c").arg(line);
            shell
        }
        None => Command::new(std::env::current_exe()?.with_file_name("kv_plugin")),
    };
    let set = |name: &str| std::env::var_os(name).is_some();
    let plugins = PluginSet::new().plugin("kv_grpc", |connection: &Connection| {
        KvClient::new(connection.channel()).max_decoding_message_size(MAX_MESSAGE)
    });
    let config = ClientConfig::new(HandshakeConfig::new(1, "BASIC_PLUGIN", "hello"))
        .plugins(plugins)
        .command(command)
        .auto_mtls(set("AUTO_MTLS"))
        .grpc_broker_multiplex(set("MULTIPLEX"));
    let client = Client::start(config).await?;
    let answer = run(&client).await;
    client.kill().await;
    answer
}

async fn run(client: &Client) -> Result<(), Box<dyn Error>> {
    let mut kv: KvClient<Channel> = client.dispense("kv_grpc")?;
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["get", key] => {
            let response = kv.get(KvGetRequest { key: key.into() }).await?;
            println!("{}", String::from_utf8_lossy(&response.into_inner().value));
        }
        ["put", key, value] => {
            let (key, value) = (key.into(), value.into());
            kv.put(KvPutRequest { key, value }).await?;
        }
        _ => return Err("usage: kv_host get KEY | kv_host put KEY VALUE".into()),
    }
    Ok(())
}
