//! PEM files: reading them, seeing that they changed, and saying what is wrong with them.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustls::RootCertStore;
use rustls_pki_types::pem::{self, PemObject};
use rustls_pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};
use thiserror::Error;
use transom_api::{PrepareError, Span};
use transom_config::Located;

use crate::control::ApplyError;

/// The system's bundle of authorities has a quarter of a MiB; whatever is much larger is no such file.
const LARGEST: u64 = 4 << 20;

/// Why a file cannot be used for TLS.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{message} ({help})")]
pub(crate) struct TlsFileError {
    /// File, or provider, and cause.
    pub(crate) message: String,
    /// Where the configuration names the file.
    pub(crate) span: Option<Span>,
    /// The remedy.
    pub(crate) help: String,
}

/// What a file looked like from outside. Two equal stamps are the same contents, short of a forgery.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Stamp {
    /// Device and number: a file that took the place of another has another number.
    file: (u64, u64),
    length: u64,
    modified: (i64, i64),
    /// Not to be set by programs that keep the time of modification.
    changed: (i64, i64),
}

impl Stamp {
    /// The stamp of a file; that of no file when it cannot be seen.
    pub(super) fn of(path: &Path) -> Self {
        fs::metadata(path).map_or_else(
            |_| Self::default(),
            |seen| Self {
                file: (seen.dev(), seen.ino()),
                length: seen.len(),
                modified: (seen.mtime(), seen.mtime_nsec()),
                changed: (seen.ctime(), seen.ctime_nsec()),
            },
        )
    }
}

impl TlsFileError {
    pub(super) fn new(file: &Located<PathBuf>, cause: &str, help: impl Into<String>) -> Self {
        Self {
            message: format!("the file {} {cause}", file.display()),
            span: file.span,
            help: help.into(),
        }
    }
}

impl From<TlsFileError> for PrepareError {
    fn from(error: TlsFileError) -> Self {
        Self {
            message: error.message,
            span: error.span,
            help: Some(error.help),
        }
    }
}

impl From<PrepareError> for TlsFileError {
    fn from(error: PrepareError) -> Self {
        Self {
            message: error.message,
            span: error.span,
            help: error.help.unwrap_or_default(),
        }
    }
}

impl From<TlsFileError> for ApplyError {
    fn from(error: TlsFileError) -> Self {
        Self::at(error.span, error.message, &error.help)
    }
}

/// The certificates of a PEM file, in its order; at least one.
pub(super) fn certificates(
    file: &Located<PathBuf>,
) -> Result<Vec<CertificateDer<'static>>, TlsFileError> {
    let bytes = read(file)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    let found = found.map_err(|error| malformed(file, &error))?;
    if found.is_empty() {
        let has_key = has(&bytes, "PRIVATE KEY-----");
        return Err(TlsFileError::new(
            file,
            "has no certificate",
            if has_key {
                "it has a private key: are `certificate` and `private_key` swapped?".to_owned()
            } else if bytes.first() == Some(&0x30) {
                let path = file.display();
                format!(
                    "it looks like DER: make PEM of it with: openssl x509 -inform der -in {path} -out FILE"
                )
            } else {
                "a certificate begins with the line -----BEGIN CERTIFICATE-----".to_owned()
            },
        ));
    }
    Ok(found)
}

/// The private key of a PEM file.
pub(super) fn private_key(file: &Located<PathBuf>) -> Result<PrivateKeyDer<'static>, TlsFileError> {
    let bytes = read(file)?;
    match PrivateKeyDer::from_pem_slice(&bytes) {
        Ok(key) => Ok(key),
        Err(pem::Error::NoItemsFound) => {
            let path = file.display();
            let help = if has(&bytes, "-----BEGIN ENCRYPTED PRIVATE KEY-----") {
                format!("it is encrypted: decrypt it with: openssl pkey -in {path} -out FILE")
            } else if has(&bytes, "-----BEGIN CERTIFICATE-----") {
                "it has a certificate: are `certificate` and `private_key` swapped?".to_owned()
            } else {
                "a private key begins with the line -----BEGIN PRIVATE KEY-----".to_owned()
            };
            Err(TlsFileError::new(file, "has no private key", help))
        }
        Err(error) => Err(malformed(file, &error)),
    }
}

/// The authorities of a PEM file.
pub(super) fn authorities(file: &Located<PathBuf>) -> Result<RootCertStore, TlsFileError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(file)? {
        roots.add(certificate).map_err(|error| {
            TlsFileError::new(
                file,
                &format!("has an authority that cannot be used: {error}"),
                "each block must be the certificate of an authority; see them with: openssl storeutl -noout -text -certs FILE",
            )
        })?;
    }
    Ok(roots)
}

/// An OCSP response (RFC 6960 section 4.2.1) that says something.
pub(super) fn ocsp_response(file: &Located<PathBuf>) -> Result<Vec<u8>, TlsFileError> {
    let bytes = read(file)?;
    let help = "ask the authority's responder for one: openssl ocsp -issuer FILE -cert FILE -url URL -respout FILE";
    // A SEQUENCE that begins with the status, an ENUMERATED: 0 for a response that says something.
    let rest = match bytes.as_slice() {
        [0x30, length, ..] if *length >= 0x80 => bytes.get(2 + usize::from(length & 0x7f)..),
        [0x30, _, rest @ ..] => Some(rest),
        _ => None,
    };
    match rest {
        Some([0x0a, 0x01, 0x00, ..]) => Ok(bytes),
        Some([0x0a, 0x01, status, ..]) => Err(TlsFileError::new(
            file,
            &format!("has an OCSP response that is an error (status {status})"),
            help,
        )),
        _ => Err(TlsFileError::new(file, "is no OCSP response in DER", help)),
    }
}

/// The lists of revoked certificates in a PEM file; at least one.
pub(super) fn revocations(
    file: &Located<PathBuf>,
) -> Result<Vec<CertificateRevocationListDer<'static>>, TlsFileError> {
    let bytes = read(file)?;
    let found: Result<Vec<_>, _> = CertificateRevocationListDer::pem_slice_iter(&bytes).collect();
    let found = found.map_err(|error| malformed(file, &error))?;
    if found.is_empty() {
        return Err(TlsFileError::new(
            file,
            "has no list of revoked certificates",
            "one begins with the line -----BEGIN X509 CRL-----; make PEM of DER with: openssl crl -inform der -in FILE",
        ));
    }
    for list in &found {
        if let Err(error) = webpki::BorrowedCertRevocationList::from_der(list) {
            return Err(TlsFileError::new(
                file,
                &format!("has a list of revoked certificates that cannot be used: {error}"),
                "see what it is with: openssl crl -noout -text -in FILE",
            ));
        }
    }
    Ok(found)
}

pub(super) fn read(file: &Located<PathBuf>) -> Result<Vec<u8>, TlsFileError> {
    let unreadable = |error: io::Error| {
        let help = match error.kind() {
            io::ErrorKind::NotFound if file.is_relative() => match std::env::current_dir() {
                Ok(folder) => format!("the path begins at {}", folder.display()),
                Err(_) => "the path begins where the process was started".to_owned(),
            },
            io::ErrorKind::NotFound => "write the path of a file that is there".to_owned(),
            io::ErrorKind::PermissionDenied => {
                format!("see its owner and mode with: ls -l {}", file.display())
            }
            _ => "write the path of a file that can be read".to_owned(),
        };
        TlsFileError::new(file, &format!("cannot be read: {error}"), help)
    };
    let opened = File::open(&file.value).map_err(unreadable)?;
    let mut bytes = Vec::new();
    opened
        .take(LARGEST + 1)
        .read_to_end(&mut bytes)
        .map_err(unreadable)?;
    if bytes.len() as u64 > LARGEST {
        return Err(TlsFileError::new(
            file,
            "is larger than 4 MiB",
            "name a PEM file with certificates or a key, and nothing else",
        ));
    }
    Ok(bytes)
}

fn malformed(file: &Located<PathBuf>, error: &pem::Error) -> TlsFileError {
    TlsFileError::new(
        file,
        &format!("is not good PEM: {error}"),
        "it was cut off or changed on the way: copy it again",
    )
}

fn has(bytes: &[u8], text: &str) -> bool {
    bytes
        .windows(text.len())
        .any(|window| window == text.as_bytes())
}
