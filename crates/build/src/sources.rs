//! The SDK's sources, which travel inside this program.

use std::fs;
use std::path::Path;

use crate::error::BuildError;

/// Path and text.
const SOURCES: &[(&str, &str)] = include!(concat!(env!("OUT_DIR"), "/sources.rs"));

/// The header for libraries in C.
pub const HEADER: &str = include_str!("../../../sdk/c/transom.h");

/// Writes the crates `transom-abi`, `transom-api` and `transom-sdk` (with the form "library" alone) into a folder.
pub fn write_sdk(folder: &Path) -> Result<(), BuildError> {
    let manifests = [
        ("transom-abi/Cargo.toml", manifest("transom-abi", "")),
        ("transom-api/Cargo.toml", manifest("transom-api", "")),
        ("transom-sdk/Cargo.toml", manifest("transom-sdk", SDK)),
    ];
    let manifests = manifests.iter().map(|(path, text)| (*path, text.as_str()));
    for (path, text) in manifests.chain(SOURCES.iter().copied()) {
        let path = folder.join(path);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).map_err(|why| BuildError::Folder {
                path: parent.to_path_buf(),
                why,
            })?;
        }
        fs::write(&path, text).map_err(BuildError::file(&path))?;
    }
    Ok(())
}

/// The form of processes depends on others and stays at home.
const SDK: &str = r#"
[features]
library = []

[dependencies]
transom-abi = { path = "../transom-abi" }
transom-api = { path = "../transom-api" }

[lints.rust]
unexpected_cfgs = { level = "allow", check-cfg = ['cfg(feature, values("process"))'] }
"#;

fn manifest(name: &str, more: &str) -> String {
    format!(
        "# Written by transom {version}; the sources are those that it was built with.\n[package]\nname = \"{name}\"\nversion = \"{version}\"\nedition = \"2024\"\n\
         rust-version = \"{rust}\"\nlicense = \"{license}\"\npublish = false\n{more}",
        version = env!("CARGO_PKG_VERSION"),
        rust = env!("CARGO_PKG_RUST_VERSION"),
        license = env!("CARGO_PKG_LICENSE"),
    )
}
