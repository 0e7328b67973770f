//! The cases of AutoMTLS: a host that gives its certificate, as every host of go-plugin may.

use std::process::Command;

use transom_goplugin::Curve;
use transom_process::probe::{Answers, Probe};

use crate::Verdict;
use crate::scene::{Scene, configured, get, holds, same};

type Case = fn(Command) -> std::pin::Pin<Box<dyn Future<Output = Verdict>>>;

/// All of them. Each starts the plugin anew.
pub(crate) fn cases() -> [(&'static str, Case); 3] {
    [
        ("mtls_with_this_librarys_hosts", |command| {
            Box::pin(works(command, Curve::P256))
        }),
        // What the Go library's hosts have, and BoringSSL refuses.
        ("mtls_with_keys_of_hosts_in_go", |command| {
            Box::pin(works(command, Curve::P521))
        }),
        ("mtls_of_a_broken_certificate_ends_the_plugin", |command| {
            Box::pin(broken(command))
        }),
    ]
}

async fn works(command: Command, curve: Curve) -> Verdict {
    let config = |config| configured(config, command).auto_mtls_curve(curve);
    let probe = Probe::start(config).await?;
    holds(probe.client().ping().await.is_ok(), "health is served")?;
    let work = probe.work().await?;
    let mut scene = Scene { probe, work };
    for (user, status) in [("admin", None), ("guest", Some(403))] {
        let request = get("/", &[("user", user)]);
        let config = r#"{"User": "admin"}"#;
        let outcome = scene
            .pass("auth", config, request, Answers::default())
            .await?;
        let seen = outcome.reply.map(|reply| reply.status);
        same(&seen, &status, &format!("what becomes of {user}"))?;
    }
    holds(scene.stop().await, "it ends when it is asked to")
}

async fn broken(mut command: Command) -> Verdict {
    command.env(
        "PLUGIN_CLIENT_CERT",
        "-----BEGIN CERTIFICATE-----\nbm90aGluZw==\n-----END CERTIFICATE-----\n",
    );
    match Probe::start(|config| configured(config, command)).await {
        Err(_) => Ok(()),
        Ok(_) => Err("it starts, though it cannot know its host".into()),
    }
}
