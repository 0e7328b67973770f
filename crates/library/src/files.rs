//! Reads a library's file: whose it is, and whether it is what was declared.

use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use aws_lc_rs::digest;

use crate::error::LoadError;

/// No library is larger.
const LARGEST: u64 = 512 << 20;
/// Rights to write of the group and of all.
const OTHERS_WRITE: u32 = 0o022;

/// What was read of a file, once, and looked at.
pub(crate) struct Verified {
    pub(crate) bytes: Vec<u8>,
    pub(crate) sha256: [u8; 32],
    /// The file's name, for messages.
    pub(crate) file: String,
}

impl Verified {
    /// Reads the file at `path`. What is verified is what was read: the file may change at any time.
    pub(crate) fn read(path: &Path, declared: Option<&[u8; 32]>) -> Result<Self, LoadError> {
        let file = File::open(path).map_err(LoadError::Unreadable)?;
        let facts = file.metadata().map_err(LoadError::Unreadable)?;
        if !facts.is_file() {
            return Err(LoadError::NotRegular);
        }
        let own = rustix::process::geteuid().as_raw();
        if facts.uid() != 0 && facts.uid() != own {
            return Err(LoadError::Owner {
                owner: facts.uid(),
                own,
            });
        }
        if facts.mode() & OTHERS_WRITE != 0 {
            return Err(LoadError::Mode(facts.mode() & 0o7777));
        }
        let mut bytes = Vec::new();
        let mut limited = file.take(LARGEST + 1);
        limited
            .read_to_end(&mut bytes)
            .map_err(LoadError::Unreadable)?;
        if bytes.len() as u64 > LARGEST {
            return Err(LoadError::TooLarge(LARGEST));
        }
        let hash = digest::digest(&digest::SHA256, &bytes);
        let mut sha256 = [0; 32];
        sha256.copy_from_slice(hash.as_ref());
        if let Some(declared) = declared
            && *declared != sha256
        {
            return Err(LoadError::Sha256 {
                found: hex(&sha256),
                declared: hex(declared),
            });
        }
        Ok(Self {
            bytes,
            sha256,
            file: path.display().to_string(),
        })
    }
}

/// Bytes as hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A SHA-256 out of 64 hexadecimal digits.
pub(crate) fn sha256_of(text: &str) -> Option<[u8; 32]> {
    let digits = text.as_bytes();
    if digits.len() != 64 || !text.is_ascii() {
        return None;
    }
    let mut sha256 = [0; 32];
    for (byte, pair) in sha256.iter_mut().zip(digits.chunks(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(sha256)
}
