//! Running only the program that was approved.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::path::{Path, PathBuf};

use aws_lc_rs::digest;
use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};

use super::launch;

/// The checksum that a plugin's program must have: Go's `SecureConfig`.
///
/// The file is opened once; that open file is hashed and that open file is run, so that no other can take its place between the two.
/// A script, which its interpreter opens again by name, is copied into sealed memory first. Arguments are not covered.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SecureConfig {
    /// What the content must hash to.
    pub checksum: Checksum,
}

/// A checksum and its algorithm.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Checksum {
    /// SHA-256, 32 bytes.
    Sha256(Vec<u8>),
    /// SHA-384, 48 bytes.
    Sha384(Vec<u8>),
    /// SHA-512, 64 bytes.
    Sha512(Vec<u8>),
}

impl SecureConfig {
    /// Demands a SHA-256.
    pub fn sha256(checksum: impl Into<Vec<u8>>) -> Self {
        Self {
            checksum: Checksum::Sha256(checksum.into()),
        }
    }

    /// Demands a SHA-256 written as 64 hexadecimal digits; `None` for any other text.
    pub fn sha256_hex(text: &str) -> Option<Self> {
        if text.len() != 64 || !text.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return None;
        }
        (0..32)
            .map(|at| u8::from_str_radix(text.get(2 * at..2 * at + 2)?, 16).ok())
            .collect::<Option<Vec<u8>>>()
            .map(Self::sha256)
    }

    fn expected(&self) -> &[u8] {
        match &self.checksum {
            Checksum::Sha256(bytes) | Checksum::Sha384(bytes) | Checksum::Sha512(bytes) => bytes,
        }
    }

    fn algorithm(&self) -> &'static digest::Algorithm {
        match self.checksum {
            Checksum::Sha256(_) => &digest::SHA256,
            Checksum::Sha384(_) => &digest::SHA384,
            Checksum::Sha512(_) => &digest::SHA512,
        }
    }
}

/// Why a program was not run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ChecksumError {
    /// The content is another.
    #[error("checksums did not match: {} is not the program that was approved", path.display())]
    Mismatch {
        /// The program.
        path: PathBuf,
    },
    /// The configuration has an empty checksum.
    #[error("no checksum provided")]
    Empty,
    /// The file could not be read.
    #[error("cannot read {} to verify its checksum: {source}", path.display())]
    Read {
        /// The program.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// An open file with the right content, ready to be run.
pub(super) struct Verified {
    fd: OwnedFd,
    script: bool,
}

impl Verified {
    /// Opens, hashes and compares, on a thread for blocking work.
    pub(super) async fn open(path: &Path, secure: &SecureConfig) -> Result<Self, ChecksumError> {
        let (path, secure) = (path.to_owned(), secure.clone());
        let failed = path.clone();
        tokio::task::spawn_blocking(move || Self::open_now(path, &secure))
            .await
            .unwrap_or_else(|error| {
                Err(ChecksumError::Read {
                    path: failed,
                    source: io::Error::other(error),
                })
            })
    }

    fn open_now(path: PathBuf, secure: &SecureConfig) -> Result<Self, ChecksumError> {
        if secure.expected().is_empty() {
            return Err(ChecksumError::Empty);
        }
        match Self::compare(&path, secure) {
            Ok(Some(verified)) => Ok(verified),
            Ok(None) => Err(ChecksumError::Mismatch { path }),
            Err(source) => Err(ChecksumError::Read { path, source }),
        }
    }

    fn compare(path: &Path, secure: &SecureConfig) -> io::Result<Option<Self>> {
        let mut file = File::open(path)?;
        let mut magic = [0; 2];
        let script = file.read_exact(&mut magic).is_ok() && &magic == b"#!";
        file.seek(SeekFrom::Start(0))?;
        if script {
            let copy = memfd_create("plugin", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
            let mut copy = File::from(copy);
            io::copy(&mut file, &mut copy)?;
            copy.flush()?;
            fcntl_add_seals(
                &copy,
                SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL,
            )?;
            copy.seek(SeekFrom::Start(0))?;
            file = copy;
        }
        let mut hash = digest::Context::new(secure.algorithm());
        let mut buffer = vec![0; 64 * 1024];
        loop {
            let count = file.read(&mut buffer)?;
            if count == 0 {
                break;
            }
            hash.update(buffer.get(..count).unwrap_or_default());
        }
        let same = equal(hash.finish().as_ref(), secure.expected());
        Ok(same.then(|| Self {
            fd: file.into(),
            script,
        }))
    }

    /// The name under which exactly this file is run.
    pub(super) fn path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}", self.fd.as_raw_fd()))
    }

    /// The descriptor that must stay open in the child: a script's interpreter opens it by name.
    pub(super) fn inherited(&self) -> Option<RawFd> {
        self.script.then(|| launch::number(&self.fd))
    }
}

/// Compares in a time that does not tell where the difference is.
fn equal(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len()
        && a.iter()
            .zip(b)
            .fold(0, |different, (a, b)| different | (a ^ b))
            == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hexadecimal_is_read_whole_or_not_at_all() {
        let text = "00ff".repeat(16);
        let secure = SecureConfig::sha256_hex(&text).unwrap();
        assert_eq!(secure.expected(), [0, 255].repeat(16));
        for wrong in ["", "00", &"zz".repeat(32), &"00".repeat(33)] {
            assert_eq!(SecureConfig::sha256_hex(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn comparison_looks_at_every_byte() {
        assert!(equal(b"abc", b"abc"));
        for other in [&b"abd"[..], b"bbc", b"ab", b"abcd", b""] {
            assert!(!equal(b"abc", other));
        }
    }
}
