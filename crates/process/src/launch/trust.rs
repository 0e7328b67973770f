//! Files that were approved, and running exactly those.

use std::fs::File;
use std::io::{ErrorKind, Read, Seek, SeekFrom, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use aws_lc_rs::digest::{self as hash, Digest, SHA256};
use minisign_verify::{PublicKey, Signature};
use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};
use rustix::io::Errno;

use super::order::Order;

/// Reads a minisign key: one line of base64.
pub(crate) fn key(text: &str) -> Result<PublicKey, String> {
    PublicKey::from_base64(text.trim()).map_err(|error| error.to_string())
}

/// Reads 64 hexadecimal digits.
pub(crate) fn digest(text: &str) -> Option<[u8; 32]> {
    let bytes = text.as_bytes();
    if bytes.len() != 64 || !bytes.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    let mut digest = [0; 32];
    for (at, byte) in digest.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(2 * at..2 * at + 2)?, 16).ok()?;
    }
    Some(digest)
}

/// Files that are what they should be, each copied into sealed memory: whatever becomes of the file on disk, what is run is what was
/// verified.
#[derive(Debug, Default)]
pub(super) struct Verified {
    files: Vec<(PathBuf, OwnedFd)>,
}

impl Verified {
    /// Verifies what the order asks for.
    pub(super) fn new(order: &Order) -> Result<Self, String> {
        let key = order.minisign.as_deref().map(key).transpose()?;
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

fn verify(
    path: &Path,
    sha256: Option<[u8; 32]>,
    key: Option<&PublicKey>,
) -> Result<OwnedFd, String> {
    let file = File::open(path).map_err(|error| format!("it cannot be read: {error}"))?;
    let (mut copy, found) = seal(file)?;
    if let Some(wanted) = sha256
        && found.as_ref() != wanted
    {
        let found: String = found
            .as_ref()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        return Err(format!(
            "its SHA-256 is {found}, which is not the one that was approved"
        ));
    }
    if let Some(key) = key {
        let mut name = path.as_os_str().to_owned();
        name.push(".minisig");
        let name = PathBuf::from(name);
        let text = std::fs::read_to_string(&name)
            .map_err(|error| format!("its signature {} cannot be read: {error}", name.display()))?;
        let signature = Signature::decode(&text)
            .map_err(|error| format!("its signature {} is none: {error}", name.display()))?;
        let mut content = Vec::new();
        copy.read_to_end(&mut content)
            .and_then(|_| copy.seek(SeekFrom::Start(0)))
            .map_err(|error| format!("its copy in memory cannot be read: {error}"))?;
        key.verify(&content, &signature, true)
            .map_err(|error| format!("its signature {} is not good: {error}", name.display()))?;
    }
    Ok(copy.into())
}

/// Bytes that are read, hashed and written at once: few enough to stay in the processor's cache, as a plugin waits for this.
const PIECE: usize = 256 * 1024;

/// A copy that nobody can change any more, and its SHA-256. The descriptor stays open in the program: an interpreter opens it by name.
fn seal(mut file: impl Read) -> Result<(File, Digest), String> {
    let in_memory = |error: std::io::Error| format!("it cannot be copied into memory: {error}");
    let mut copy = memory().map_err(in_memory)?;
    let mut hash = hash::Context::new(&SHA256);
    let mut piece = vec![0; PIECE];
    loop {
        let read = match file.read(&mut piece) {
            Ok(0) => break,
            Ok(read) => read,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => return Err(format!("it cannot be read: {error}")),
        };
        let read = piece.get(..read).unwrap_or_default();
        hash.update(read);
        copy.write_all(read).map_err(in_memory)?;
    }
    copy.seek(SeekFrom::Start(0)).map_err(in_memory)?;
    let all = SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL;
    fcntl_add_seals(&copy, all).map_err(|error| in_memory(error.into()))?;
    Ok((copy, hash.finish()))
}

/// A file that is in memory only, and may be run.
fn memory() -> std::io::Result<File> {
    let flags = MemfdFlags::ALLOW_SEALING;
    // Kernels before 6.3 do not know that flag, and make every such file executable.
    let file = match memfd_create("plugin", flags | MemfdFlags::EXEC) {
        Err(Errno::INVAL) => memfd_create("plugin", flags)?,
        file => file?,
    };
    Ok(File::from(file))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hexadecimal_is_read_whole_or_not_at_all() {
        assert_eq!(digest(&"0f".repeat(32)), Some([15; 32]));
        for wrong in ["", "0f", &"0g".repeat(32), &"0f".repeat(33)] {
            assert_eq!(digest(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn sealed_content_cannot_be_changed() {
        let long = b"good".repeat(PIECE);
        let (mut file, digest) = seal(&long[..]).unwrap();
        assert_eq!(
            digest.as_ref(),
            hash::digest(&SHA256, &long).as_ref(),
            "of more than one piece"
        );
        assert!(file.write_all(b"bad").is_err());
        let mut content = String::new();
        file.seek(SeekFrom::Start(0)).unwrap();
        file.read_to_string(&mut content).unwrap();
        assert_eq!(content.as_bytes(), long);
    }
}
