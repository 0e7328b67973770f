//! Checksums: what is hashed is what runs.

use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use transom_goplugin::host::{ChecksumError, Client, ClientConfig, SecureConfig, StartError};

use crate::support::{Folder, assert_answers, example, handshake};

fn sha256(content: &[u8]) -> SecureConfig {
    SecureConfig::sha256(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, content).as_ref())
}

#[tokio::test]
async fn a_program_with_the_right_checksum_runs() {
    let path = example("interop_plugin");
    let secure = sha256(&std::fs::read(&path).unwrap());
    let config = ClientConfig::new(handshake())
        .command(Command::new(path))
        .secure(secure);
    let client = Client::start(config).await.unwrap();
    assert_answers(&client).await;
    client.kill().await;
}

#[tokio::test]
async fn another_program_does_not_run_at_all() {
    let folder = Folder::new();
    let (path, trace) = (folder.join("plugin"), folder.join("ran"));
    std::fs::write(&path, format!("#!/bin/sh\ntouch {}\n", trace.display())).unwrap();
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o700)).unwrap();
    let config = || ClientConfig::new(handshake()).command(Command::new(&path));
    let error = Client::start(config().secure(sha256(b"other")))
        .await
        .unwrap_err();
    assert!(
        matches!(error, StartError::Checksum(ChecksumError::Mismatch { .. })),
        "{error}"
    );
    let error = Client::start(config().secure(SecureConfig::sha256([])))
        .await
        .unwrap_err();
    assert_eq!(error.to_string(), "no checksum provided");
    assert!(!trace.exists());
}

#[tokio::test]
async fn a_script_runs_from_the_copy_that_was_hashed() {
    let folder = Folder::new();
    let (path, trace) = (folder.join("plugin"), folder.join("name"));
    // It takes its own file away before it goes on, and would fail if the shell read from there.
    let script = format!(
        "#!/bin/sh\necho $0 > {}\necho exit 9 > {}\nexec {}\n",
        trace.display(),
        path.display(),
        example("interop_plugin").display()
    );
    std::fs::write(&path, &script).unwrap();
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o700)).unwrap();
    let config = ClientConfig::new(handshake())
        .command(Command::new(&path))
        .secure(sha256(script.as_bytes()));
    let client = Client::start(config).await.unwrap();
    assert_answers(&client).await;
    client.kill().await;
    let name = std::fs::read_to_string(trace).unwrap();
    assert!(name.starts_with("/proc/self/fd/"), "{name}");
}
