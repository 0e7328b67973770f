//! The crate that an extension comes from.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::cargo;
use crate::error::BuildError;

/// A crate, as far as the glue must know it.
#[derive(Debug)]
pub(crate) struct User {
    /// Where its manifest lies, without links.
    pub(crate) folder: PathBuf,
    pub(crate) package: String,
    pub(crate) version: String,
    /// What other crates call it.
    pub(crate) library: String,
    /// Where the SDK lies that it names by a path; it is the glue's then, so that both have the same.
    pub(crate) sdk: Option<PathBuf>,
    /// The versions that it was tested with.
    pub(crate) lock: Option<PathBuf>,
}

impl User {
    /// Asks cargo for the crate in `path`.
    pub(crate) fn find(path: &Path) -> Result<Self, BuildError> {
        let no_crate = |why: String| BuildError::NoCrate {
            path: path.to_path_buf(),
            why,
        };
        let folder = path
            .canonicalize()
            .map_err(|error| no_crate(error.to_string()))?;
        let manifest = folder.join("Cargo.toml");
        if !manifest.is_file() {
            return Err(no_crate("it has no Cargo.toml".to_owned()));
        }
        let mut command = Command::new(cargo::program());
        command
            .args([
                "metadata",
                "--no-deps",
                "--offline",
                "--format-version",
                "1",
            ])
            .arg("--manifest-path")
            .arg(&manifest);
        let output = command.output().map_err(BuildError::NoCargo)?;
        if !output.status.success() {
            return Err(no_crate(
                String::from_utf8_lossy(&output.stderr).trim().to_owned(),
            ));
        }
        let told: Value = serde_json::from_slice(&output.stdout)
            .map_err(|error| no_crate(format!("cargo metadata is no JSON: {error}")))?;
        let package = list(&told, "packages")
            .find(|package| {
                text(package, "manifest_path").is_some_and(|it| Path::new(it) == manifest)
            })
            .ok_or_else(|| {
                no_crate("its Cargo.toml is a workspace's without a package".to_owned())
            })?;
        let name = text(package, "name").unwrap_or_default();
        let library = list(package, "targets")
            .find(|target| list(target, "crate_types").any(|kind| kind == "lib" || kind == "rlib"))
            .and_then(|target| text(target, "name"))
            .ok_or_else(|| BuildError::NoLibrary(name.to_owned()))?;
        let sdk = list(package, "dependencies")
            .filter(|dependency| text(dependency, "name") == Some("transom-sdk"))
            .find_map(|dependency| text(dependency, "path"));
        let lock = text(&told, "workspace_root").map(|root| Path::new(root).join("Cargo.lock"));
        Ok(Self {
            package: name.to_owned(),
            version: text(package, "version").unwrap_or_default().to_owned(),
            library: library.replace('-', "_"),
            sdk: sdk.map(PathBuf::from),
            lock: lock.filter(|lock| lock.is_file()),
            folder,
        })
    }
}

fn list<'v>(value: &'v Value, key: &str) -> impl Iterator<Item = &'v Value> {
    value
        .get(key)
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
}

fn text<'v>(value: &'v Value, key: &str) -> Option<&'v str> {
    value.get(key)?.as_str()
}
