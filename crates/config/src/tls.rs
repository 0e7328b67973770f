//! TLS of listeners and clusters.

use std::path::PathBuf;

use crate::Located;

/// TLS that a listener speaks with its clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenerTls {
    /// What the listener shows, chosen by the name that the client asks for (SNI, RFC 6066 section 3). At least one;
    /// the first is shown to clients that ask for no name or for one that no certificate has.
    pub certificates: Vec<CertificateFiles>,
    /// The protocols that may be agreed on (ALPN, RFC 7301), the most wanted first. Empty agrees on none.
    pub alpn: Vec<String>,
    /// What becomes of certificates of clients.
    pub client: ClientCertificate,
    /// The oldest version that is spoken.
    pub min_version: TlsVersion,
}

/// TLS that a cluster's hosts are spoken to with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterTls {
    /// The name that is asked for and that the host's certificate must have. The host's address when there is none.
    pub sni: Option<Located<String>>,
    /// Whose certificates are believed; `None` believes any.
    pub trusted: Option<TrustedCa>,
    /// What the proxy shows to hosts that ask for a certificate.
    pub client: Option<CertificateFiles>,
    /// The protocols that may be agreed on, the most wanted first. Empty offers none.
    pub alpn: Vec<String>,
    /// The oldest version that is spoken.
    pub min_version: TlsVersion,
}

/// A certificate and its private key, as PEM files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFiles {
    /// The certificate, then those that lead from it to a root.
    pub certificate: Located<PathBuf>,
    /// The private key: PKCS #8, PKCS #1 or SEC 1.
    pub private_key: Located<PathBuf>,
}

/// What a listener does with certificates of clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientCertificate {
    /// They are not asked for.
    None,
    /// They are asked for; who shows one must show one that this file's authorities have signed.
    Optional(Located<PathBuf>),
    /// Who shows none that this file's authorities have signed is refused.
    Required(Located<PathBuf>),
}

/// Whose certificates a cluster believes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TrustedCa {
    /// The authorities that the system trusts.
    System,
    /// Those in a PEM file.
    File(Located<PathBuf>),
}

/// A version of TLS. There is none before 1.2 (RFC 8996).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum TlsVersion {
    /// TLS 1.2, RFC 5246.
    #[default]
    V12,
    /// TLS 1.3, RFC 8446.
    V13,
}

impl ClientCertificate {
    /// The file with the authorities, if certificates are asked for.
    #[must_use]
    pub fn authorities(&self) -> Option<&Located<PathBuf>> {
        match self {
            Self::None => None,
            Self::Optional(file) | Self::Required(file) => Some(file),
        }
    }

    /// The name in a configuration.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Optional(_) => "optional",
            Self::Required(_) => "required",
        }
    }
}

impl TlsVersion {
    /// The name in a configuration.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::V12 => "1.2",
            Self::V13 => "1.3",
        }
    }
}
