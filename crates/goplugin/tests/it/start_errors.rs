//! Why a plugin did not start, in words.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use transom_goplugin::host::{Client, ClientConfig, StartError};

use crate::support::{Folder, example, handshake, shell};

async fn error_of(path: impl AsRef<Path>) -> StartError {
    let config = ClientConfig::new(handshake()).command(Command::new(path.as_ref()));
    Client::start(config).await.unwrap_err()
}

fn write(folder: &Folder, name: &str, content: &[u8], mode: u32) -> std::path::PathBuf {
    let path = folder.join(name);
    std::fs::write(&path, content).unwrap();
    std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
    path
}

#[tokio::test]
async fn a_missing_program_is_named_with_a_hint() {
    let error = error_of("/nowhere/plugin").await;
    let text = error.to_string();
    assert!(matches!(error, StartError::NotFound { .. }));
    assert!(
        text.contains("/nowhere/plugin") && text.contains("/nowhere does not exist"),
        "{text}"
    );
    let text = error_of("no-such-plugin-in-path").await.to_string();
    assert!(text.contains("in no folder of PATH"), "{text}");
}

#[tokio::test]
async fn a_program_that_may_not_run_is_shown_with_its_mode() {
    let folder = Folder::new();
    let error = error_of(write(&folder, "plugin", b"#!/bin/sh\n", 0o600)).await;
    assert!(matches!(error, StartError::NotExecutable { .. }), "{error}");
    assert!(error.to_string().contains("Mode: 600"), "{error}");
}

#[tokio::test]
async fn a_program_for_another_machine_is_told_by_its_header() {
    let folder = Folder::new();
    let mut elf = std::fs::read(example("interop_plugin")).unwrap();
    elf.truncate(4096);
    // The machine at offset 18: S390, which no test of ours runs on.
    elf[18] = 22;
    let error = error_of(write(&folder, "plugin", &elf, 0o700)).await;
    assert!(matches!(error, StartError::WrongFormat { .. }), "{error}");
    assert!(error.to_string().contains("S390"), "{error}");
}

#[tokio::test]
async fn a_missing_interpreter_is_told_from_a_missing_program() {
    let folder = Folder::new();
    let error = error_of(write(&folder, "plugin", b"#!/no/such/interpreter\n", 0o700)).await;
    assert!(matches!(error, StartError::WrongFormat { .. }), "{error}");
    assert!(error.to_string().contains("interpreter"), "{error}");
}

#[tokio::test]
async fn an_early_exit_shows_the_code_and_the_last_words() {
    let error = Client::start(shell("echo oh no >&2; exit 3"))
        .await
        .unwrap_err();
    let text = error.to_string();
    assert!(matches!(error, StartError::Exited { .. }), "{text}");
    assert!(
        text.contains("exit code 3") && text.contains("oh no"),
        "{text}"
    );
}

#[tokio::test]
async fn something_else_on_standard_output_is_shown_with_notes_on_the_file() {
    let error = Client::start(shell("echo welcome; sleep 60"))
        .await
        .unwrap_err();
    let text = error.to_string();
    assert!(
        text.starts_with("Unrecognized remote plugin message: welcome"),
        "{text}"
    );
    assert!(text.contains("Path: /bin/sh"), "{text}");
}

#[tokio::test]
async fn options_that_exclude_each_other_are_refused() {
    let error = Client::start(ClientConfig::new(handshake()))
        .await
        .unwrap_err();
    assert!(matches!(error, StartError::NothingToStart));
}
