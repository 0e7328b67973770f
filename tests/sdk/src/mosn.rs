//! The cases of MOSN's `call`: the same filters, by the other cookie.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::process::Command;

use transom_goplugin::HandshakeConfig;
use transom_goplugin::host::{Client, ClientConfig};
use transom_process::call::proto::plugin_client::PluginClient;
use transom_process::{Request, Response};

use crate::Verdict;
use crate::scene::{configured, same};

type Case = fn(Command) -> Pin<Box<dyn Future<Output = Verdict>>>;

/// All of them. Each starts the plugin anew, as what it serves is told by its arguments.
pub(crate) fn cases() -> [(&'static str, Case); 2] {
    [
        ("mosn_calls_pass_and_are_denied", |command| {
            Box::pin(passes_and_denies(command))
        }),
        (
            "mosn_a_configuration_that_is_not_there_ends_the_plugin",
            |command| Box::pin(no_configuration(command)),
        ),
    ]
}

async fn start(command: Command) -> Result<Client, Box<dyn std::error::Error + Send + Sync>> {
    let handshake = HandshakeConfig::new(1, "MOSN_PLUGIN", "ON");
    let config = configured(ClientConfig::new(handshake), command);
    Ok(Client::start(config).await?)
}

/// The first filter of a conformance plugin is `auth`, and it has certificates: calls with headers are the filter's.
async fn passes_and_denies(mut command: Command) -> Verdict {
    let file = std::env::temp_dir().join(format!("transom-sdk-call-{}.json", std::process::id()));
    std::fs::write(&file, r#"{"User": "admin"}"#)?;
    command
        .arg("-c")
        .arg(&file)
        .env("TRANSOM_CONFORMANCE", "auth");
    let client = start(command).await?;
    let mut plugin = PluginClient::new(client.channel());
    for (user, status) in [(Some("admin"), 1), (Some("guest"), -1), (None, -1)] {
        let mut header: HashMap<String, String> = [("Accept".to_owned(), "*/*".to_owned())].into();
        header.extend(user.map(|user| ("User".to_owned(), user.to_owned())));
        let request = Request {
            header,
            ..Request::default()
        };
        let answer: Response = plugin.call(request).await?.into_inner();
        same(&answer.status, &status, &format!("status for {user:?}"))?;
        same(&answer.header.len(), &0, "changed headers")?;
        same(&answer.body.len(), &0, "body")?;
    }
    client.kill().await;
    std::fs::remove_file(file)?;
    Ok(())
}

async fn no_configuration(mut command: Command) -> Verdict {
    command
        .args(["-c", "/nowhere/config.json"])
        .env("TRANSOM_CONFORMANCE", "auth");
    match start(command).await {
        Err(error) => {
            let text = format!("{error:?}");
            if text.contains("/nowhere/config.json") {
                Ok(())
            } else {
                Err(format!("it does not say which file: {text}").into())
            }
        }
        Ok(_) => Err("it starts without its configuration".into()),
    }
}
