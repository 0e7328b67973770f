//! A certificate with its key, checked so far that it can be shown.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustls::Error;
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::{self, PemObject};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use transom_config::CertificateFiles;
use x509_cert::certificate::{CertificateInner, Raw};
use x509_cert::der::{Decode, Encode};

use super::files::{TlsFileError, certificates, ocsp_response, private_key};
use super::provider::{provider, sha256};

/// A certificate, the key that belongs to it, and the names that it is for.
#[derive(Clone, Debug)]
pub(super) struct Certificate {
    pub(super) key: Arc<CertifiedKey>,
    /// Names of DNS in lower case, `*.a.org` for wildcards.
    pub(super) names: Vec<String>,
    /// From when to when it is good.
    pub(super) validity: (SystemTime, SystemTime),
    /// When the first certificate of its chain ends: it or, rarely, one that leads from it to a root.
    pub(super) ends: SystemTime,
}

/// What a peer's certificate says of the peer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct PeerCertificate {
    /// The subject as text (RFC 4514).
    pub(crate) subject: String,
    /// Its first name of DNS.
    pub(crate) dns_name: Option<String>,
    /// Its first URI, such as a SPIFFE id.
    pub(crate) uri_name: Option<String>,
    /// The SHA-256 of its DER, in hexadecimal.
    pub(crate) digest: String,
    /// As it came.
    pub(crate) der: Box<[u8]>,
}

/// Why a certificate cannot be shown.
#[derive(Debug)]
pub(super) enum Unusable {
    /// The certificate itself: what is wrong, in words that follow the name of a file, and the remedy.
    Chain(String, Option<String>),
    /// Its key.
    Key(String),
    /// The two do not belong together.
    Mismatch,
}

impl Certificate {
    /// Checks that the key belongs to the certificate, and that the certificate is valid now.
    pub(super) fn check(
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
        ocsp_response: Option<Vec<u8>>,
        now: SystemTime,
    ) -> Result<Self, Unusable> {
        let unusable = |cause: &str| {
            Unusable::Chain(
                format!("has a certificate that cannot be used: {cause}"),
                None,
            )
        };
        let Some(leaf) = chain.first() else {
            return Err(unusable("it is not there"));
        };
        let names = names(leaf).map_err(|error| unusable(&error.to_string()))?;
        let validity = validity(leaf, now)?;
        let above = chain.iter().skip(1).filter_map(not_after);
        let ends = above.fold(validity.1, SystemTime::min);
        let mut key =
            CertifiedKey::from_der(chain, key, &provider()).map_err(|error| match error {
                Error::InconsistentKeys(_) => Unusable::Mismatch,
                Error::InvalidCertificate(error) => unusable(&error.to_string()),
                error => Unusable::Key(format!("has a private key that cannot be used: {error}")),
            })?;
        key.ocsp = ocsp_response;
        Ok(Self {
            key: Arc::new(key),
            names,
            validity,
            ends,
        })
    }

    /// The certificates, the key and the response in files, each well-formed.
    pub(super) fn read(files: &CertificateFiles) -> Result<Parts, TlsFileError> {
        Ok((
            certificates(&files.certificate)?,
            private_key(&files.private_key)?,
            files
                .ocsp_response
                .as_ref()
                .map(ocsp_response)
                .transpose()?,
        ))
    }

    /// Like [`check`](Self::check), with errors that name the files.
    pub(super) fn check_files(
        (chain, key, ocsp_response): Parts,
        files: &CertificateFiles,
        now: SystemTime,
    ) -> Result<Self, TlsFileError> {
        Self::check(chain, key, ocsp_response, now).map_err(|error| match error {
            Unusable::Chain(cause, help) => TlsFileError::new(
                &files.certificate,
                &cause,
                help.unwrap_or_else(|| {
                    format!(
                        "see what it is with: openssl x509 -noout -text -in {}",
                        files.certificate.display()
                    )
                }),
            ),
            Unusable::Key(cause) => TlsFileError::new(&files.private_key, &cause, KEYS),
            Unusable::Mismatch => TlsFileError::new(
                &files.private_key,
                &format!(
                    "has a key that does not belong to the certificate in {}",
                    files.certificate.display()
                ),
                "write the two files that were made together; the first certificate of a chain must be the server's own",
            ),
        })
    }

    /// Checks what a provider gave: PEM, or DER.
    pub(super) fn of_provider(
        given: &transom_api::Certificate,
        now: SystemTime,
    ) -> Result<Self, String> {
        let chain = chain_of(&given.chain).map_err(|error| format!("its chain {error}"))?;
        let key = key_of(&given.key).map_err(|error| format!("its key {error}"))?;
        Self::check(chain, key, given.ocsp_response.clone(), now).map_err(|error| match error {
            Unusable::Chain(cause, _) => format!("it {cause}"),
            Unusable::Key(cause) => format!("it {cause} ({KEYS})"),
            Unusable::Mismatch => "its key does not belong to it".to_owned(),
        })
    }

    /// Whether it is for `name`, which is in lower case (RFC 6125 section 6.4.3).
    pub(super) fn is_for(&self, name: &str) -> bool {
        let wildcard = name.split_once('.').map(|(_, parent)| parent);
        self.names.iter().any(|own| match own.strip_prefix("*.") {
            Some(parent) => wildcard == Some(parent),
            None => own == name,
        })
    }

    /// When a new one is due: with a third of its life left.
    pub(super) fn renewal(&self) -> SystemTime {
        let (from, until) = self.validity;
        let life = until.duration_since(from).unwrap_or(Duration::ZERO);
        until.checked_sub(life / 3).unwrap_or(until)
    }
}

/// A chain, its key, and an OCSP response.
pub(super) type Parts = (
    Vec<CertificateDer<'static>>,
    PrivateKeyDer<'static>,
    Option<Vec<u8>>,
);

const KEYS: &str =
    "keys can be RSA with 2048 to 8192 bits, ECDSA on P-256, P-384 or P-521, or Ed25519";

/// Certificates as PEM, or as DER one behind the other.
pub(super) fn chain_of(bytes: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    if is_der(bytes) {
        let mut chain = Vec::new();
        let mut rest = bytes;
        while !rest.is_empty() {
            let (certificate, after) =
                first_of_der(rest).ok_or_else(|| "is not good DER".to_owned())?;
            chain.push(CertificateDer::from(certificate.to_vec()));
            rest = after;
        }
        return Ok(chain);
    }
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(bytes).collect();
    match found {
        Ok(found) if found.is_empty() => Err("has no certificate".to_owned()),
        Ok(found) => Ok(found),
        Err(error) => Err(format!("is not good PEM: {error}")),
    }
}

fn key_of(bytes: &[u8]) -> Result<PrivateKeyDer<'static>, String> {
    if is_der(bytes) {
        return PrivateKeyDer::try_from(bytes.to_vec())
            .map_err(|error| format!("is not good DER: {error}"));
    }
    PrivateKeyDer::from_pem_slice(bytes).map_err(|error| match error {
        pem::Error::NoItemsFound => "has no private key".to_owned(),
        error => format!("is not good PEM: {error}"),
    })
}

/// All that is meant here is a SEQUENCE in DER, and no text begins with its tag and a long length or a control character.
fn is_der(bytes: &[u8]) -> bool {
    matches!(bytes, [0x30, length, ..] if *length >= 0x80 || *length < b' ')
}

impl PeerCertificate {
    /// What a certificate says that the handshake has verified.
    pub(super) fn of(certificate: &CertificateDer<'_>) -> Self {
        let parsed = webpki::EndEntityCert::try_from(certificate).ok();
        Self {
            // What the handshake took and this does not is shown without a subject.
            subject: parse(certificate)
                .map(|parsed| parsed.tbs_certificate().subject().to_string())
                .unwrap_or_default(),
            dns_name: parsed
                .as_ref()
                .and_then(|parsed| parsed.valid_dns_names().next().map(str::to_owned)),
            uri_name: parsed
                .as_ref()
                .and_then(|parsed| parsed.valid_uri_names().next().map(str::to_owned)),
            digest: sha256(certificate)
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect(),
            der: certificate.as_ref().into(),
        }
    }

    /// The certificate in PEM.
    pub(crate) fn pem(&self) -> String {
        super::pem::certificate(&self.der)
    }
}

/// The names of DNS among a certificate's alternative names (RFC 6125 section 6.4.4: its common name is none).
fn names(leaf: &CertificateDer<'_>) -> Result<Vec<String>, webpki::Error> {
    let parsed = webpki::EndEntityCert::try_from(leaf)?;
    Ok(parsed
        .valid_dns_names()
        .map(str::to_ascii_lowercase)
        .collect())
}

/// Parts the first SEQUENCE from what is behind it (X.690 section 8.1.3).
fn first_of_der(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let length = usize::from(*bytes.get(1)?);
    let (header, length) = match length {
        0..=0x7f => (2, length),
        // No certificate is longer than four bytes of length can say.
        0x81..=0x84 => {
            let count = length - 0x80;
            let said = bytes.get(2..2 + count)?;
            let length = said
                .iter()
                .fold(0, |sum, byte| sum << 8 | usize::from(*byte));
            (2 + count, length)
        }
        _ => return None,
    };
    (bytes.first() == Some(&0x30)).then_some(())?;
    bytes.split_at_checked(header.checked_add(length)?)
}

/// Real certificates bend the rules of RFC 5280 for serial numbers and times; they are not the point here.
pub(super) fn parse(
    der: &CertificateDer<'_>,
) -> Result<CertificateInner<Raw>, x509_cert::der::Error> {
    CertificateInner::<Raw>::from_der(der)
}

/// Until when a certificate is good.
fn not_after(certificate: &CertificateDer<'_>) -> Option<SystemTime> {
    let parsed = parse(certificate).ok()?;
    Some(
        parsed
            .tbs_certificate()
            .validity()
            .not_after
            .to_system_time(),
    )
}

/// Who has signed a certificate: its issuer's name in DER.
pub(super) fn issuer(certificate: &CertificateDer<'_>) -> Option<Vec<u8>> {
    let parsed = parse(certificate).ok()?;
    parsed.tbs_certificate().issuer().to_der().ok()
}

/// From when to when a certificate is good, if that is now.
fn validity(
    leaf: &CertificateDer<'_>,
    now: SystemTime,
) -> Result<(SystemTime, SystemTime), Unusable> {
    let parsed = parse(leaf).map_err(|error| {
        Unusable::Chain(
            format!("has a certificate that cannot be used: {error}"),
            None,
        )
    })?;
    let validity = parsed.tbs_certificate().validity();
    let not_before = validity.not_before.to_system_time();
    let not_after = validity.not_after.to_system_time();
    if now > not_after {
        return Err(Unusable::Chain(
            format!(
                "has a certificate that expired on {}",
                validity.not_after.to_date_time()
            ),
            Some("renew it, and write the new one to this file".to_owned()),
        ));
    }
    if now < not_before {
        return Err(Unusable::Chain(
            format!(
                "has a certificate that is not valid before {}",
                validity.not_before.to_date_time()
            ),
            Some("see whether the clock of this machine is right: date".to_owned()),
        ));
    }
    Ok((not_before, not_after))
}
