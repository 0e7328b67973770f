//! Starts `plugin-server`, which lies beside it, and asks it once.

use std::error::Error;
use std::time::Duration;

use transom_process::{Config, Request, register};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let client = register("plugin-server", Config::default()).await?;
    let request = Request {
        body: b"hello".to_vec(),
        ..Request::default()
    };
    let response = client.call(request, Duration::from_secs(1)).await?;
    if response.status != 1 {
        return Err(format!("the plugin answers with status {}", response.status).into());
    }
    println!(
        "success! response body: {}",
        String::from_utf8_lossy(&response.body)
    );
    client.disable().await;
    Ok(())
}
