//! Files that were approved, and running exactly those.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::io::{FdFlags, fcntl_setfd};
use transom_trust::{CopyError, Key, sealed_copy};

use super::order::Order;

/// Files that are what they should be, each copied into sealed memory: whatever becomes of the file on disk, what is run is what was
/// verified.
#[derive(Debug, Default)]
pub(super) struct Verified {
    files: Vec<(PathBuf, OwnedFd)>,
}

impl Verified {
    /// Verifies what the order asks for.
    pub(super) fn new(order: &Order) -> Result<Self, String> {
        let key = order.minisign.as_deref().map(Key::new).transpose()?;
        let mut asked: Vec<(PathBuf, Option<[u8; 32]>, bool)> = order
            .files
            .iter()
            .map(|(path, sha256)| (order.folder.join(path), *sha256, true))
            .collect();
        let listed = asked.iter().any(|(path, ..)| same(path, &order.program));
        // Where files are listed, it is these that are signed: the program may be an interpreter of the system.
        let signed = key.is_some() && asked.is_empty();
        if !listed && (order.sha256.is_some() || signed) {
            asked.push((order.program.clone(), order.sha256, signed));
        } else if let Some((_, sha256, _)) = asked
            .iter_mut()
            .find(|(path, ..)| same(path, &order.program))
        {
            *sha256 = sha256.or(order.sha256);
        }
        let mut verified = Self::default();
        for (path, sha256, signed) in asked {
            let key = key.as_ref().filter(|_| signed);
            let file = verify(&path, sha256, key)
                .map_err(|why| format!("{} is not run: {why}", path.display()))?;
            verified.files.push((path, file));
        }
        Ok(verified)
    }

    pub(super) fn count(&self) -> usize {
        self.files.len()
    }

    /// The verified content of a file.
    pub(super) fn of(&self, path: &Path) -> Option<&OwnedFd> {
        let found = self.files.iter().find(|(verified, _)| same(verified, path));
        found.map(|(_, file)| file)
    }

    /// An argument as the program gets it: the name of the verified content in place of a file's.
    pub(super) fn argument(&self, text: &str, folder: &Path) -> String {
        match self.of(&folder.join(text)) {
            Some(file) => format!("/proc/self/fd/{}", file.as_raw_fd()),
            None => text.to_owned(),
        }
    }
}

/// Whether two paths lead to one file.
fn same(one: &Path, other: &Path) -> bool {
    one == other
        || match (std::fs::canonicalize(one), std::fs::canonicalize(other)) {
            (Ok(one), Ok(other)) => one == other,
            _ => false,
        }
}

fn verify(path: &Path, sha256: Option<[u8; 32]>, key: Option<&Key>) -> Result<OwnedFd, String> {
    let file = File::open(path).map_err(|error| format!("it cannot be read: {error}"))?;
    let (mut copy, found) = sealed_copy("plugin", file).map_err(|error| match error {
        CopyError::Read(error) => format!("it cannot be read: {error}"),
        CopyError::Memory(error) => format!("it cannot be copied into memory: {error}"),
    })?;
    if sha256.is_some_and(|approved| approved != found.0) {
        return Err(format!(
            "its SHA-256 is {found}, which is not the one that was approved"
        ));
    }
    let in_memory = |error| format!("its copy in memory cannot be read: {error}");
    if let Some(key) = key {
        let mut content = Vec::new();
        copy.read_to_end(&mut content)
            .and_then(|_| copy.seek(SeekFrom::Start(0)))
            .map_err(in_memory)?;
        key.verify(&content, path)?;
    }
    // The descriptor stays open in the program: an interpreter opens it by name.
    fcntl_setfd(&copy, FdFlags::empty()).map_err(|error| in_memory(error.into()))?;
    Ok(copy.into())
}
