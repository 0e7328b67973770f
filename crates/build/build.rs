//! Lists the sources that travel inside the program: what a library is built against where there is nothing but cargo.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

/// Where the sources lie, and where they are put.
const TREES: [(&str, &str); 5] = [
    ("crates/abi/src", "transom-abi/src"),
    ("crates/api/src", "transom-api/src"),
    ("sdk/rust/src/lib.rs", "transom-sdk/src/lib.rs"),
    ("sdk/rust/src/library", "transom-sdk/src/library"),
    ("sdk/rust/README.md", "transom-sdk/README.md"),
];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let root = Path::new(&env::var("CARGO_MANIFEST_DIR")?)
        .join("../..")
        .canonicalize()?;
    let mut list = String::from("&[\n");
    for (from, to) in TREES {
        let from = root.join(from);
        println!("cargo:rerun-if-changed={}", from.display());
        for file in files(&from)? {
            let to = match file.strip_prefix(&from)? {
                rest if rest.as_os_str().is_empty() => PathBuf::from(to),
                rest => Path::new(to).join(rest),
            };
            writeln!(
                list,
                "    ({:?}, include_str!({:?})),",
                to.display().to_string(),
                file.display().to_string()
            )?;
        }
    }
    list.push(']');
    fs::write(Path::new(&env::var("OUT_DIR")?).join("sources.rs"), list)?;
    Ok(())
}

fn files(path: &Path) -> io::Result<Vec<PathBuf>> {
    if path.is_file() {
        return Ok(vec![path.to_path_buf()]);
    }
    let mut found = Vec::new();
    for entry in fs::read_dir(path)? {
        found.extend(files(&entry?.path())?);
    }
    found.sort();
    Ok(found)
}
