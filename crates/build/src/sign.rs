//! Signatures of minisign.

use std::fs;
use std::io::Cursor;
use std::path::{Path, PathBuf};

use minisign::SecretKeyBox;
use transom_trust::signature_of;

/// The variable that has the secret key's password.
const PASSWORD: &str = "TRANSOM_SIGN_PASSWORD";

/// Why a file is not signed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SignError {
    /// A file cannot be read or written.
    #[error("{path}: {why}", path = .path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        why: std::io::Error,
    },
    /// The secret key is none, or its password is another one.
    #[error("the key {key} cannot be used: {why}; {PASSWORD} has its password, and `minisign -G` makes a key", key = .key.display())]
    Key {
        /// Where it lies.
        key: PathBuf,
        /// Why.
        why: String,
    },
}

/// Signs a file with the secret key in the file `key`, whose password is in `TRANSOM_SIGN_PASSWORD`. The signature lies beside the file,
/// as `minisign -S` would leave it.
pub fn sign(path: &Path, key: &Path) -> Result<PathBuf, SignError> {
    let file = |path: &Path| {
        let path = path.to_path_buf();
        move |why| SignError::File { path, why }
    };
    let content = fs::read(path).map_err(file(path))?;
    let text = fs::read_to_string(key).map_err(file(key))?;
    let bad = |error: minisign::PError| SignError::Key {
        key: key.to_path_buf(),
        why: error.to_string(),
    };
    let password = std::env::var(PASSWORD).unwrap_or_default();
    let boxed = SecretKeyBox::from_string(&text).map_err(bad)?;
    let secret = match password.is_empty() {
        true => boxed.into_unencrypted_secret_key(),
        false => boxed.into_secret_key(Some(password)),
    };
    let secret = secret.map_err(bad)?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let trusted = format!("file:{name}\thashed");
    let untrusted = concat!("signature by transom ", env!("CARGO_PKG_VERSION"));
    let signed = minisign::sign(
        None,
        &secret,
        Cursor::new(content),
        Some(&trusted),
        Some(untrusted),
    );
    let signature = signature_of(path);
    let text = signed.map_err(bad)?.into_string();
    fs::write(&signature, text).map_err(file(&signature))?;
    Ok(signature)
}
