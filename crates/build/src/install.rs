//! What was built is tried, put in place under its name, described and signed.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::json;
use transom_library::{Loaded, Prober};
use transom_trust::Sha256;

use crate::Request;
use crate::error::BuildError;
use crate::sign::sign;

/// A library that is in place.
#[derive(Clone, Debug)]
pub struct Built {
    /// The library.
    pub file: PathBuf,
    /// What is known of it, as JSON.
    pub manifest: PathBuf,
    /// Its signature, if it has one.
    pub signature: Option<PathBuf>,
    /// Its SHA-256, as a declaration has it.
    pub sha256: String,
    /// What it says of itself.
    pub description: String,
}

/// Installs the library that lies at `made`.
pub(crate) fn install(
    request: &Request,
    made: &Path,
    prober: &Prober,
) -> Result<Built, BuildError> {
    // The umask may leave more than a library may have.
    let owners = fs::Permissions::from_mode(0o644);
    fs::set_permissions(made, owners).map_err(BuildError::file(made))?;
    // A child process loads it first.
    let loaded = Loaded::open(made, prober)?;
    let bytes = fs::read(made).map_err(BuildError::file(made))?;
    let sha256 = Sha256::of(&bytes).to_string();
    let file = match &request.output {
        Some(output) => output.clone(),
        // A name that no other content has had: a declaration that names it is another one.
        None => PathBuf::from(format!(
            "{}-{}.so",
            request.name,
            sha256.get(..16).unwrap_or(&sha256)
        )),
    };
    if let Some(parent) = file
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty())
    {
        fs::create_dir_all(parent).map_err(|why| BuildError::Folder {
            path: parent.to_path_buf(),
            why,
        })?;
    }
    put(&file, &bytes)?;
    let signature = match &request.key {
        Some(key) => Some(sign(&file, key)?),
        None => None,
    };
    let extensions = loaded.extensions();
    let extensions: Vec<_> = extensions
        .iter()
        .map(|(kind, name)| json!({ "kind": kind, "name": name }))
        .collect();
    let manifest = file.with_extension("json");
    let text = json!({
        "name": request.name,
        "kind": request.kind,
        "version": loaded.version(),
        "file": file.file_name().map(|name| name.to_string_lossy()),
        "sha256": sha256,
        "signature": signature.as_ref().and_then(|path| path.file_name()).map(|name| name.to_string_lossy()),
        "abi": loaded.abi(),
        "made_with": loaded.made_with(),
        "extensions": extensions,
        "constructor": request.new,
        "rustc": rustc(),
        "built_by": concat!("transom ", env!("CARGO_PKG_VERSION")),
    });
    put(&manifest, format!("{text:#}\n").as_bytes())?;
    Ok(Built {
        file,
        manifest,
        signature,
        sha256,
        description: loaded.describe(),
    })
}

/// Writes a file beside its place and renames it: whoever has the old one open keeps it, and nobody sees half of the new one.
fn put(path: &Path, bytes: &[u8]) -> Result<(), BuildError> {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{}.new", std::process::id()));
    let new = PathBuf::from(name);
    let written = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o644)
        .open(&new)
        .and_then(|mut file| {
            file.write_all(bytes)?;
            file.set_permissions(fs::Permissions::from_mode(0o644))?;
            file.sync_all()
        })
        .and_then(|()| fs::rename(&new, path));
    written.map_err(|why| {
        // Whatever is left of it is of no use.
        let _ = fs::remove_file(&new);
        BuildError::file(path)(why)
    })
}

fn rustc() -> Option<String> {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = Command::new(rustc).arg("--version").output().ok()?;
    Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
