//! Cargo, which does the work.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::error::BuildError;
use crate::glue::{Folder, Glue};

/// What to call.
pub(crate) fn program() -> OsString {
    std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}

/// Builds the glue; where cargo put the library. Its words go to standard error.
pub(crate) fn build(folder: &Folder, glue: &Glue) -> Result<PathBuf, BuildError> {
    let mut command = Command::new(program());
    command
        .args([
            "build",
            "--release",
            "--offline",
            "--message-format",
            "json-render-diagnostics",
        ])
        .current_dir(&folder.path)
        // Beside the glue, and gone with it. The outer cargo's wishes are not for this build.
        .env("CARGO_TARGET_DIR", folder.path.join("target"))
        .env_remove("CARGO_BUILD_TARGET")
        .stdin(Stdio::null())
        .stderr(Stdio::inherit());
    let output = command.output().map_err(BuildError::NoCargo)?;
    if !output.status.success() {
        return Err(BuildError::Cargo(output.status.to_string()));
    }
    let lines = output.stdout.split(|byte| *byte == b'\n');
    let mut messages = lines.filter_map(|line| serde_json::from_slice::<Value>(line).ok());
    messages
        .find_map(|message| {
            let target = message.get("target")?.get("name")?;
            if message.get("reason")? != "compiler-artifact" || target != glue.package() {
                return None;
            }
            let files = message.get("filenames")?.as_array()?.iter();
            let mut files = files.filter_map(Value::as_str).map(PathBuf::from);
            files.find(|file| file.extension().is_some_and(|it| it == "so"))
        })
        .ok_or(BuildError::NoArtifact)
}
