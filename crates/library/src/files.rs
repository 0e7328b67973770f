//! Reads a library's file: whose it is, and whether it is what was declared.

use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use transom_trust::{Key, Sha256};

use crate::error::LoadError;

/// No library is larger.
const LARGEST: u64 = 512 << 20;
/// Rights to write of the group and of all.
const OTHERS_WRITE: u32 = 0o022;

/// What a file must be.
#[derive(Clone, Debug, Default)]
pub(crate) struct Trust {
    pub(crate) sha256: Option<Sha256>,
    pub(crate) minisign: Option<Key>,
}

/// What was read of a file, once, and looked at.
pub(crate) struct Verified {
    pub(crate) bytes: Vec<u8>,
    pub(crate) sha256: Sha256,
    /// The file's name, for messages.
    pub(crate) file: String,
}

impl Verified {
    /// Reads the file at `path`. What is verified is what was read: the file may change at any time.
    pub(crate) fn read(path: &Path, trust: &Trust) -> Result<Self, LoadError> {
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
        let sha256 = Sha256::of(&bytes);
        if let Some(declared) = trust.sha256
            && declared != sha256
        {
            return Err(LoadError::Sha256 {
                found: sha256,
                declared,
            });
        }
        if let Some(key) = &trust.minisign {
            key.verify(&bytes, path).map_err(LoadError::Signature)?;
        }
        Ok(Self {
            bytes,
            sha256,
            file: path.display().to_string(),
        })
    }
}
