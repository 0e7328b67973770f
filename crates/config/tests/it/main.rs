//! Tests of the crate as those who use it see it.

mod bounds;
mod docs;
mod hops;
mod load;
mod messages;
mod registry;
mod robustness;
mod schema;
mod tls;

use std::path::{Path, PathBuf};

/// Compares `actual` with what `file` says, or writes it there when `UPDATE_EXPECTED` is set.
fn expect(file: &Path, actual: &str) {
    if std::env::var_os("UPDATE_EXPECTED").is_some() {
        std::fs::write(file, actual).unwrap();
        return;
    }
    let expected = std::fs::read_to_string(file).unwrap_or_default();
    assert!(
        expected == actual,
        "{} differs; with UPDATE_EXPECTED=1 it is written anew\n--- expected\n{expected}\n--- actual\n{actual}",
        file.display(),
    );
}

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}
