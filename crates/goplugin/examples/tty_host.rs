//! Lets a plugin ask the person at the terminal, and prints the answer: `tty_host QUESTION`.

use std::error::Error;
use std::process::Command;

use transom_goplugin::HandshakeConfig;
use transom_goplugin::host::{Client, ClientConfig, PluginStdin};

#[allow(missing_docs, unreachable_pub, clippy::all)]
mod proto {
    include!(concat!(env!("OUT_DIR"), "/proto.rs"));
}

use proto::KvGetRequest;
use proto::kv_client::KvClient;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let plugin = std::env::current_exe()?.with_file_name("tty_plugin");
    let config = ClientConfig::new(HandshakeConfig::new(1, "BASIC_PLUGIN", "hello"))
        .command(Command::new(plugin))
        .stdin(PluginStdin::Inherited)
        .sync_stdout(tokio::io::stderr());
    let client = Client::start(config).await?;
    let key = std::env::args().nth(1).unwrap_or_else(|| "name".into());
    let answer = KvClient::new(client.channel())
        .get(KvGetRequest { key })
        .await;
    client.kill().await;
    println!("{}", String::from_utf8_lossy(&answer?.get_ref().value));
    Ok(())
}
