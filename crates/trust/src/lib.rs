//! Code that was approved, for the runtimes that run it from files: programs and libraries.
//!
//! A file is read once. What was read is measured ([`Sha256`]) and its signature looked at ([`Key`]), and the very same bytes are
//! [sealed] in memory, from where they are run: whatever becomes of the file on disk, what runs is what was approved.

#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

use std::fmt;
use std::fs::File;
use std::io::{self, ErrorKind, Read, Seek as _, SeekFrom, Write as _};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use aws_lc_rs::digest::{Context, SHA256, digest};
use minisign_verify::{PublicKey, Signature};
use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};
use rustix::io::Errno;

/// The SHA-256 of a content. As text: 64 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Sha256(pub [u8; 32]);

impl Sha256 {
    /// That of `content`.
    #[must_use]
    pub fn of(content: &[u8]) -> Self {
        let mut sha256 = [0; 32];
        sha256.copy_from_slice(digest(&SHA256, content).as_ref());
        Self(sha256)
    }
}

/// The text has not 64 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoSha256;

impl FromStr for Sha256 {
    type Err = NoSha256;

    fn from_str(text: &str) -> Result<Self, NoSha256> {
        if text.len() != 64 || !text.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return Err(NoSha256);
        }
        let mut sha256 = [0; 32];
        for (at, byte) in sha256.iter_mut().enumerate() {
            let pair = text.get(2 * at..2 * at + 2).ok_or(NoSha256)?;
            *byte = u8::from_str_radix(pair, 16).map_err(|_| NoSha256)?;
        }
        Ok(Self(sha256))
    }
}

impl fmt::Display for Sha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// The public key of [minisign](https://jedisct1.github.io/minisign/), by which files are signed.
#[derive(Clone, Debug)]
pub struct Key(PublicKey);

impl Key {
    /// Reads a key: the line of base64 in a `.pub` file. The error is what is wrong with it.
    pub fn new(text: &str) -> Result<Self, String> {
        let key = PublicKey::from_base64(text.trim());
        key.map(Self).map_err(|error| error.to_string())
    }

    /// Sees whether `content`, which was read from `path`, has a good signature in the file beside it. The error is why not, of the
    /// file as "it".
    pub fn verify(&self, content: &[u8], path: &Path) -> Result<(), String> {
        let name = signature_of(path);
        let shown = name.display();
        let text = std::fs::read_to_string(&name)
            .map_err(|error| format!("its signature {shown} cannot be read: {error}"))?;
        let signature = Signature::decode(&text)
            .map_err(|error| format!("its signature {shown} is none: {error}"))?;
        // Signatures of the whole content, which minisign made before 0.10, are as good as those of its hash.
        self.0
            .verify(content, &signature, true)
            .map_err(|error| format!("its signature {shown} is not good: {error}"))
    }
}

/// Where the signature of a file lies: `FILE.minisig`.
#[must_use]
pub fn signature_of(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".minisig");
    PathBuf::from(name)
}

/// Why there is no copy.
#[derive(Debug)]
pub enum CopyError {
    /// What is to be copied cannot be read.
    Read(io::Error),
    /// There is no memory for it.
    Memory(io::Error),
}

/// Content in memory that has a path, may be run, and that nobody can change any more. `name` is seen in lists of processes.
pub fn sealed(name: &str, content: &[u8]) -> io::Result<OwnedFd> {
    match sealed_copy(name, content) {
        Ok((copy, _)) => Ok(copy.into()),
        Err(CopyError::Read(error) | CopyError::Memory(error)) => Err(error),
    }
}

/// Bytes that are read, hashed and written at once: few enough to stay in the processor's cache, as a plugin waits for this.
const PIECE: usize = 256 * 1024;

/// The same of what `from` gives, at its beginning, and its SHA-256.
pub fn sealed_copy(name: &str, mut from: impl Read) -> Result<(File, Sha256), CopyError> {
    let mut copy = memory(name).map_err(CopyError::Memory)?;
    let mut hash = Context::new(&SHA256);
    let mut piece = vec![0; PIECE];
    loop {
        let read = match from.read(&mut piece) {
            Ok(0) => break,
            Ok(read) => read,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => return Err(CopyError::Read(error)),
        };
        let read = piece.get(..read).unwrap_or_default();
        hash.update(read);
        copy.write_all(read).map_err(CopyError::Memory)?;
    }
    copy.seek(SeekFrom::Start(0)).map_err(CopyError::Memory)?;
    let all = SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL;
    fcntl_add_seals(&copy, all).map_err(|error| CopyError::Memory(error.into()))?;
    let mut sha256 = [0; 32];
    sha256.copy_from_slice(hash.finish().as_ref());
    Ok((copy, Sha256(sha256)))
}

/// A file that is in memory only, and may be run.
fn memory(name: &str) -> io::Result<File> {
    let flags = MemfdFlags::ALLOW_SEALING | MemfdFlags::CLOEXEC;
    // Kernels before 6.3 do not know that flag, and make every such file executable.
    let file = match memfd_create(name, flags | MemfdFlags::EXEC) {
        Err(Errno::INVAL) => memfd_create(name, flags)?,
        file => file?,
    };
    Ok(File::from(file))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hexadecimal_is_read_whole_or_not_at_all() {
        let digits = "0f".repeat(32);
        let sha256: Sha256 = digits.parse().unwrap();
        assert_eq!(sha256, Sha256([15; 32]));
        assert_eq!(sha256.to_string(), digits);
        for wrong in [
            "",
            "0f",
            &"0g".repeat(32),
            &"0f".repeat(33),
            &"é".repeat(32),
        ] {
            assert_eq!(wrong.parse::<Sha256>(), Err(NoSha256), "{wrong}");
        }
    }

    #[test]
    fn a_content_has_its_hash() {
        // FIPS 180-2, appendix B.1.
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(Sha256::of(b"abc").to_string(), abc);
    }

    #[test]
    fn sealed_content_cannot_be_changed() {
        let long = b"good".repeat(PIECE);
        let (mut file, sha256) = sealed_copy("test", &long[..]).unwrap();
        assert_eq!(sha256, Sha256::of(&long), "of more than one piece");
        assert!(file.write_all(b"bad").is_err());
        let mut content = Vec::new();
        file.seek(SeekFrom::Start(0)).unwrap();
        file.read_to_end(&mut content).unwrap();
        assert_eq!(content, long);
    }

    #[test]
    fn what_is_no_key_is_refused() {
        assert!(Key::new("untrusted").is_err());
        let good = "RWS+IZuhE11jUU1qGznBdbikI9zYbNo7Z7hCRmBzjepuLNplVQR6DzUU\n";
        let error = Key::new(good).unwrap().verify(b"", Path::new("/nowhere"));
        let error = error.unwrap_err();
        assert!(error.contains("/nowhere.minisig cannot be read"), "{error}");
    }
}
