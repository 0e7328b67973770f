//! A certificate with its key, checked so far that it can be shown.

use std::sync::Arc;
use std::time::SystemTime;

use rustls::Error;
use rustls::sign::CertifiedKey;
use rustls_pki_types::CertificateDer;
use transom_config::CertificateFiles;
use x509_cert::certificate::{CertificateInner, Raw};
use x509_cert::der::Decode;

use super::files::{TlsFileError, certificates, private_key};
use super::provider::provider;

/// A certificate, the key that belongs to it, and the names that it is for.
#[derive(Clone, Debug)]
pub(super) struct Certificate {
    pub(super) key: Arc<CertifiedKey>,
    /// Names of DNS in lower case, `*.a.org` for wildcards.
    pub(super) names: Vec<String>,
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
}

impl Certificate {
    /// Reads and checks: the key belongs to the certificate, and the certificate is valid now.
    pub(super) fn load(files: &CertificateFiles, now: SystemTime) -> Result<Self, TlsFileError> {
        let chain = certificates(&files.certificate)?;
        let key = private_key(&files.private_key)?;
        let unusable = |cause: &str| {
            TlsFileError::new(
                &files.certificate,
                &format!("has a certificate that cannot be used: {cause}"),
                format!(
                    "see what it is with: openssl x509 -noout -text -in {}",
                    files.certificate.display()
                ),
            )
        };
        let Some(leaf) = chain.first() else {
            return Err(unusable("it is not there"));
        };
        let names = names(leaf).map_err(|error| unusable(&error.to_string()))?;
        check_validity(leaf, now, files, &unusable)?;
        let key = CertifiedKey::from_der(chain, key, &provider()).map_err(|error| match error {
            Error::InconsistentKeys(_) => TlsFileError::new(
                &files.private_key,
                &format!(
                    "has a key that does not belong to the certificate in {}",
                    files.certificate.display()
                ),
                "write the two files that were made together; the first certificate of a chain must be the server's own",
            ),
            Error::InvalidCertificate(error) => unusable(&error.to_string()),
            error => TlsFileError::new(
                &files.private_key,
                &format!("has a private key that cannot be used: {error}"),
                "keys can be RSA with 2048 to 8192 bits, ECDSA on P-256, P-384 or P-521, or Ed25519",
            ),
        })?;
        Ok(Self {
            key: Arc::new(key),
            names,
        })
    }
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
        }
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

/// Real certificates bend the rules of RFC 5280 for serial numbers and times; they are not the point here.
fn parse(der: &CertificateDer<'_>) -> Result<CertificateInner<Raw>, x509_cert::der::Error> {
    CertificateInner::<Raw>::from_der(der)
}

fn check_validity(
    leaf: &CertificateDer<'_>,
    now: SystemTime,
    files: &CertificateFiles,
    unusable: &dyn Fn(&str) -> TlsFileError,
) -> Result<(), TlsFileError> {
    let parsed = parse(leaf).map_err(|error| unusable(&error.to_string()))?;
    let validity = parsed.tbs_certificate().validity();
    if now > validity.not_after.to_system_time() {
        return Err(TlsFileError::new(
            &files.certificate,
            &format!(
                "has a certificate that expired on {}",
                validity.not_after.to_date_time()
            ),
            "renew it, and write the new one to this file",
        ));
    }
    if now < validity.not_before.to_system_time() {
        return Err(TlsFileError::new(
            &files.certificate,
            &format!(
                "has a certificate that is not valid before {}",
                validity.not_before.to_date_time()
            ),
            "see whether the clock of this machine is right: date",
        ));
    }
    Ok(())
}
