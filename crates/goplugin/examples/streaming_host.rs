//! Writes a file through a plugin and reads it back, both as streams: `streaming_host FILE [BYTES]`.
//!
//! `STREAMER_PLUGIN` names the plugin's program; without it the example plugin beside this one is used.

use std::error::Error;
use std::process::Command;

use tokio_stream::StreamExt;
use transom_goplugin::host::{Client, ClientConfig, Connection, PluginSet};
use transom_goplugin::{Channel, HandshakeConfig};

#[allow(missing_docs, unreachable_pub, clippy::all)]
mod proto {
    include!(concat!(env!("OUT_DIR"), "/proto.rs"));
}

use proto::streamer_service_client::StreamerServiceClient;
use proto::{ConfigureRequest, ReadRequest, WriteChunk};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let program = match std::env::var_os("STREAMER_PLUGIN") {
        Some(program) => program.into(),
        None => std::env::current_exe()?.with_file_name("streaming_plugin"),
    };
    let plugins = PluginSet::new().plugin("streamer", |connection: &Connection| {
        StreamerServiceClient::new(connection.channel())
    });
    let config = ClientConfig::new(HandshakeConfig::new(1, "BASIC_PLUGIN", "hello"))
        .plugins(plugins)
        .command(Command::new(program));
    let client = Client::start(config).await?;
    let answer = run(client.dispense("streamer")?).await;
    client.kill().await;
    answer
}

async fn run(mut streamer: StreamerServiceClient<Channel>) -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let path = arguments
        .next()
        .ok_or("usage: streaming_host FILE [BYTES]")?;
    let bytes: usize = arguments
        .next()
        .map_or(Ok(1_000_000), |text| text.parse())?;
    let chunk_size = 1000;
    streamer
        .configure(ConfigureRequest { path, chunk_size })
        .await?;

    let content: Vec<u8> = (0..bytes).map(|at| (at % 251) as u8).collect();
    let chunks: Vec<WriteChunk> = content
        .chunks(1000)
        .map(|chunk| WriteChunk {
            bytes_to_write: chunk.to_vec(),
        })
        .collect();
    match streamer.write(tokio_stream::iter(chunks)).await {
        Ok(_) => {}
        // Go's example plugin ends this call without the message that it owes; its own host overlooks that too.
        Err(status) if status.message() == "Missing response message." => {}
        Err(status) => return Err(status.into()),
    }

    let mut read = Vec::new();
    let mut stream = streamer.read(ReadRequest {}).await?.into_inner();
    while let Some(chunk) = stream.next().await {
        read.extend(chunk?.read_bytes);
    }
    if read != content {
        return Err(format!("{} of {bytes} bytes came back, or others", read.len()).into());
    }
    println!("{bytes} bytes there and back");
    Ok(())
}
