//! TLS of listeners and clusters.

use std::path::PathBuf;
use std::time::Duration;

use crate::{Located, Use, ValueMatch};

/// TLS that a listener speaks with its clients.
#[derive(Clone, Debug, PartialEq)]
pub struct ListenerTls {
    /// What the listener shows, chosen by the name that the client asks for (SNI, RFC 6066 section 3). The first is
    /// shown to clients that ask for no name or for one that no certificate has.
    pub certificates: Vec<CertificateFiles>,
    /// Where more certificates come from, behind those in files. There is one of either at least.
    pub providers: Vec<Use>,
    /// Which names the providers may be asked for while a client waits; `None` for none.
    pub on_demand: Option<OnDemand>,
    /// The protocols that may be agreed on (ALPN, RFC 7301), the most wanted first. Empty agrees on none.
    pub alpn: Vec<String>,
    /// What becomes of certificates of clients.
    pub client: ClientCertificate,
    /// How many tickets a client of TLS 1.3 gets for each connection; 1. With 0 no session is resumed, of TLS 1.2 neither.
    pub session_tickets: u32,
    /// The oldest version that is spoken.
    pub min_version: TlsVersion,
    /// How long a client may take for its handshake; 10 s, more than zero.
    pub handshake_timeout: Duration,
}

/// Which certificates are asked for when a client names a host for which there is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OnDemand {
    /// The names that are allowed: `a.org`, `*.a.org` for all names below it, `*` for all. In lower case; at least one.
    pub names: Vec<String>,
    /// How long a client waits for an answer; 5 s, more than zero.
    pub timeout: Duration,
    /// How many names are remembered with what was answered; 10,000. The one that was not asked for the longest goes first.
    pub max_names: u32,
    /// For how many names answers may be waited for at once; 100.
    pub max_pending: u32,
    /// How long a name is not asked for again after there was no certificate for it; 30 s.
    pub retry_after: Duration,
}

/// TLS that a cluster's hosts are spoken to with.
#[derive(Clone, Debug, PartialEq)]
pub struct ClusterTls {
    /// The name that is asked for and that the host's certificate must have. The host's address when there is none.
    pub sni: Option<Located<String>>,
    /// Whether the host of a request's authority stands in the place of `sni`, for connections with requests.
    pub auto_sni: bool,
    /// Whose certificates are believed; `None` believes any.
    pub trusted: Option<TrustedCa>,
    /// A file with what the authorities have revoked.
    pub revoked: Option<Located<PathBuf>>,
    /// If not empty, the host's certificate must have a name that one of these fits, in place of `sni` or the address.
    pub names: Vec<SanMatch>,
    /// What the proxy shows to hosts that ask for a certificate.
    pub client: Option<CertificateFiles>,
    /// Where more of these come from, behind the one in files.
    pub providers: Vec<Use>,
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
    /// An OCSP response to staple, in DER.
    pub ocsp_response: Option<Located<PathBuf>>,
}

/// What a listener does with certificates of clients.
#[derive(Clone, Debug, PartialEq)]
pub enum ClientCertificate {
    /// They are not asked for.
    None,
    /// They are asked for; who shows one must show one that is admitted.
    Optional(Admitted),
    /// Who shows none that is admitted is refused.
    Required(Admitted),
}

/// Which certificates of clients are good.
#[derive(Clone, Debug, PartialEq)]
pub struct Admitted {
    /// Those that this file's authorities have signed; `None` for the authorities that the providers name.
    pub authorities: Option<Located<PathBuf>>,
    /// A file with what the authorities have revoked.
    pub revoked: Option<Located<PathBuf>>,
    /// If not empty, a certificate must have a name that one of these fits.
    pub names: Vec<SanMatch>,
}

/// What an alternative name of a certificate (RFC 5280 section 4.2.1.6) must be.
#[derive(Clone, Debug, PartialEq)]
pub struct SanMatch {
    /// The kind of name.
    pub kind: SanKind,
    /// What its text must be: one of `Exact`, `Prefix`, `Suffix` and `Regex`. Names of DNS and hosts of mail addresses are
    /// compared in lower case, IP addresses in their usual text.
    pub value: ValueMatch,
}

/// The kinds of alternative names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SanKind {
    /// `dNSName`.
    Dns,
    /// `uniformResourceIdentifier`, such as a SPIFFE id.
    Uri,
    /// `rfc822Name`.
    Email,
    /// `iPAddress`.
    Ip,
}

/// Whose certificates a cluster believes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TrustedCa {
    /// The authorities that the system trusts.
    System,
    /// Those that the certificate providers name.
    Providers,
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

/// The system's authorities sign what hosts show, for the host's address.
impl Default for ClusterTls {
    fn default() -> Self {
        Self {
            sni: None,
            auto_sni: false,
            trusted: Some(TrustedCa::System),
            revoked: None,
            names: Vec::new(),
            client: None,
            providers: Vec::new(),
            alpn: Vec::new(),
            min_version: TlsVersion::V12,
        }
    }
}

impl ClientCertificate {
    /// Which certificates are good, if they are asked for.
    #[must_use]
    pub fn admitted(&self) -> Option<&Admitted> {
        match self {
            Self::None => None,
            Self::Optional(admitted) | Self::Required(admitted) => Some(admitted),
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

impl SanKind {
    /// The name in a configuration.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Dns => "dns",
            Self::Uri => "uri",
            Self::Email => "email",
            Self::Ip => "ip",
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
