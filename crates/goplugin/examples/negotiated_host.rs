//! A host that can be told which versions it has: `VERSIONS=2,3 negotiated_host put KEY VALUE | get KEY`. The plugin is `./kv-plugin`,
//! or the example beside this program.

use std::error::Error;
use std::path::PathBuf;
use std::process::Command;

use transom_goplugin::host::{Client, ClientConfig, Connection, PluginSet};
use transom_goplugin::{Channel, HandshakeConfig};

#[allow(missing_docs, unreachable_pub, clippy::all)]
mod proto {
    include!(concat!(env!("OUT_DIR"), "/proto.rs"));
}

use proto::kv_client::KvClient;
use proto::{KvGetRequest, KvPutRequest};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let own = PathBuf::from("./kv-plugin");
    let program = match own.exists() {
        true => own,
        false => std::env::current_exe()?.with_file_name("negotiated_plugin"),
    };
    let plugins = PluginSet::new().plugin("kv", |connection: &Connection| {
        KvClient::new(connection.channel())
    });
    let mut config = ClientConfig::new(HandshakeConfig::new(1, "BASIC_PLUGIN", "hello"))
        .command(Command::new(program));
    let versions = std::env::var("VERSIONS").unwrap_or_else(|_| "2,3".into());
    for version in versions.split(',') {
        config = config.versioned_plugins(version.parse()?, plugins.clone());
    }
    let client = Client::start(config).await?;
    eprintln!("version {}", client.negotiated_version());
    let answer = run(client.dispense("kv")?).await;
    client.kill().await;
    answer
}

async fn run(mut kv: KvClient<Channel>) -> Result<(), Box<dyn Error>> {
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
        _ => return Err("usage: negotiated_host get KEY | put KEY VALUE".into()),
    }
    Ok(())
}
