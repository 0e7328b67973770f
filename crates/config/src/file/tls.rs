//! The shapes of `tls` in listeners and clusters.

use std::path::PathBuf;
use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;

use super::leaf::{Items, NonZeroTime, Ranged, Time, tried};
use super::{CertificateProviderUse, Use};
use crate::Located;
use crate::decode::{Tried, Verbatim, refuse};

/// TLS that a listener speaks with its clients. Files are read again when they change.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ListenerTls {
    /// Certificates and their keys in files. The one whose names fit the name that the client asks for is shown, or the
    /// first. At least one of these or of `providers`.
    #[serde(default)]
    pub(crate) certificates: Located<Items<CertificateFiles>>,
    /// Where more certificates come from, behind those in files.
    #[serde(default, deserialize_with = "tried")]
    #[schemars(with = "Vec<CertificateProviderUse>")]
    pub(crate) providers: Items<Located<Use>>,
    /// Has providers make or fetch certificates for names that clients ask for. Only what is there is shown when it is left
    /// out.
    #[serde(default)]
    pub(crate) on_demand: Option<Tried<Located<OnDemand>>>,
    /// The protocols that may be agreed on, the most wanted first; `[]` agrees on none. `[http/1.1]` before an `http`
    /// filter and none before another when it is left out.
    #[serde(default, deserialize_with = "tried")]
    pub(crate) alpn: Option<Items<Located<String>>>,
    /// A PEM file with the authorities that sign certificates of clients. Those that the providers name when it is left
    /// out.
    #[serde(default, deserialize_with = "tried")]
    pub(crate) client_ca: Option<Located<FilePath>>,
    /// Whether clients must show a certificate: `none` does not ask, `optional` checks the one that is shown, `required`
    /// refuses who shows none. `required` with a `client_ca` and `none` without when it is left out.
    #[serde(default, deserialize_with = "tried")]
    pub(crate) client_certificate: Option<Located<ClientCertificate>>,
    /// What a client's certificate must be for: it is refused unless one of its alternative names fits one of these. Any
    /// name is good when it is left out.
    #[serde(default, deserialize_with = "tried")]
    pub(crate) client_san: Located<Items<Located<SanMatch>>>,
    /// A PEM file with the lists of revoked certificates (CRLs) of all authorities that lead to clients. Nothing is revoked
    /// when it is left out.
    #[serde(default, deserialize_with = "tried")]
    pub(crate) client_crl: Option<Located<FilePath>>,
    /// How long a client may take for its handshake, and be waited for.
    #[serde(default = "handshake_timeout", deserialize_with = "tried")]
    pub(crate) handshake_timeout: NonZeroTime,
    /// How many tickets, to resume its session by, a client of TLS 1.3 gets for each connection; one of TLS 1.2 gets one. `0`:
    /// no session is resumed.
    #[serde(default = "session_tickets", deserialize_with = "tried")]
    pub(crate) session_tickets: Ranged<0, 8>,
    /// The oldest version of TLS that is spoken, `"1.2"` or `"1.3"`.
    #[serde(default, deserialize_with = "tried")]
    #[schemars(extend("default" = "1.2"))]
    pub(crate) min_version: Version,
}

/// TLS that hosts are spoken to with. Files are read again when they change.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ClusterTls {
    /// The name that is asked for and that the host's certificate must have. The certificate must have the host's IP address
    /// when it is left out.
    #[serde(default, deserialize_with = "tried")]
    pub(crate) sni: Option<Located<String>>,
    /// Whether the name is that of the request instead: the host of its `:authority`, as it is sent. `sni` is then the name
    /// for connections without a request, as of `tcp_proxy` and most health checks.
    #[serde(default, deserialize_with = "tried")]
    pub(crate) auto_sni: bool,
    /// Whose certificates are believed: a PEM file with authorities, `system` for those that the system trusts, or
    /// `providers` for those that the providers name.
    #[serde(default, deserialize_with = "tried")]
    #[schemars(extend("default" = "system"))]
    pub(crate) ca: Option<Located<FilePath>>,
    /// What the host's certificate must be for, in place of the name `sni` or the address: one of its alternative names must
    /// fit one of these.
    #[serde(default, deserialize_with = "tried")]
    pub(crate) san: Located<Items<Located<SanMatch>>>,
    /// A PEM file with the lists of revoked certificates (CRLs) of all authorities that lead to hosts. Nothing is revoked
    /// when it is left out.
    #[serde(default, deserialize_with = "tried")]
    pub(crate) crl: Option<Located<FilePath>>,
    /// Whether the host's certificate is checked. Without this check anybody on the way can read and change everything.
    #[serde(default = "verify", deserialize_with = "tried")]
    pub(crate) verify: bool,
    /// The proxy's own certificate, for hosts that ask for one.
    #[serde(default)]
    pub(crate) client: Option<Tried<CertificateFiles>>,
    /// Where more certificates of the proxy come from, behind the one in `client`. The first that the host can accept is
    /// shown.
    #[serde(default, deserialize_with = "tried")]
    #[schemars(with = "Vec<CertificateProviderUse>")]
    pub(crate) providers: Items<Located<Use>>,
    /// The protocols that may be agreed on, the most wanted first. None are offered when it is left out.
    #[serde(default, deserialize_with = "tried")]
    pub(crate) alpn: Items<Located<String>>,
    /// The oldest version of TLS that is spoken, `"1.2"` or `"1.3"`.
    #[serde(default, deserialize_with = "tried")]
    #[schemars(extend("default" = "1.2"))]
    pub(crate) min_version: Version,
}

/// A certificate and its private key.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CertificateFiles {
    /// A PEM file with the certificate, followed by those that lead from it to a root.
    pub(crate) certificate: Tried<Located<FilePath>>,
    /// A PEM file with the certificate's private key, not encrypted.
    pub(crate) private_key: Tried<Located<FilePath>>,
    /// A file with an OCSP response in DER, which is stapled. Nothing is when it is left out.
    #[serde(default, deserialize_with = "tried")]
    pub(crate) ocsp_response: Option<Located<FilePath>>,
}

/// Which names providers are asked for, and within what bounds.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct OnDemand {
    /// The names that may be asked for: a name, `*.example.org` for all names below one, `*` for every name. At least one.
    pub(crate) names: Located<Items<Located<String>>>,
    /// How long a client waits. When it is over the client is shown what it would be shown without `on_demand`.
    #[serde(default = "demand_timeout", deserialize_with = "tried")]
    pub(crate) timeout: NonZeroTime,
    /// How many names are remembered with what was answered. The one that was not asked for the longest goes first.
    #[serde(default = "max_names", deserialize_with = "tried")]
    pub(crate) max_names: Ranged<1, 1_000_000>,
    /// For how many names an answer may be waited for at once. Clients that ask for more do not wait.
    #[serde(default = "max_pending", deserialize_with = "tried")]
    pub(crate) max_pending: Ranged<1, 100_000>,
    /// How long a name is not asked for again after there was no certificate for it.
    #[serde(default = "retry_after", deserialize_with = "tried")]
    pub(crate) retry_after: Time,
}

/// What an alternative name of a certificate must be. One of `exact`, `prefix`, `suffix` and `regex`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SanMatch {
    /// The kind of name.
    #[serde(rename = "type")]
    pub(crate) kind: SanKind,
    /// The name is this text.
    #[serde(default, deserialize_with = "tried")]
    pub(crate) exact: Option<Located<String>>,
    /// The name begins with this text.
    #[serde(default, deserialize_with = "tried")]
    pub(crate) prefix: Option<Located<String>>,
    /// The name ends with this text.
    #[serde(default, deserialize_with = "tried")]
    pub(crate) suffix: Option<Located<String>>,
    /// The whole of the name matches this regular expression.
    #[serde(default, deserialize_with = "tried")]
    pub(crate) regex: Option<Located<String>>,
}

/// The kinds of alternative names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub(crate) enum SanKind {
    Dns,
    Uri,
    Email,
    Ip,
}

/// Whether clients must show a certificate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub(crate) enum ClientCertificate {
    #[default]
    None,
    Optional,
    Required,
}

/// A version of TLS.
#[derive(Clone, Copy, Debug, Default, JsonSchema)]
#[schemars(inline)]
pub(crate) enum Version {
    #[default]
    #[schemars(rename = "1.2")]
    V12,
    #[schemars(rename = "1.3")]
    V13,
}

/// The path of a file: not empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct FilePath(pub(crate) PathBuf);

fn verify() -> bool {
    true
}

fn handshake_timeout() -> NonZeroTime {
    NonZeroTime(Duration::from_secs(10))
}

fn session_tickets() -> Ranged<0, 8> {
    Ranged(1)
}

fn demand_timeout() -> NonZeroTime {
    NonZeroTime(Duration::from_secs(5))
}

fn max_names() -> Ranged<1, 1_000_000> {
    Ranged(10_000)
}

fn max_pending() -> Ranged<1, 100_000> {
    Ranged(100)
}

fn retry_after() -> Time {
    Time::seconds(30)
}

impl<'de> Deserialize<'de> for FilePath {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Verbatim(node) = Verbatim::deserialize(deserializer)?;
        let path = node.as_str().map_err(refuse)?;
        if path.is_empty() || path.contains('\0') {
            return Err(refuse(node.error("this is no path of a file")));
        }
        Ok(Self(PathBuf::from(path)))
    }
}

impl<'de> Deserialize<'de> for Version {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Verbatim(node) = Verbatim::deserialize(deserializer)?;
        // Without quotes it is a number in YAML.
        let text = match &node.kind {
            transom_api::NodeKind::Float(value) => value.to_string(),
            _ => node.as_str().map_err(refuse)?.to_owned(),
        };
        match text.as_str() {
            "1.2" => Ok(Self::V12),
            "1.3" => Ok(Self::V13),
            "1.0" | "1.1" | "1" => Err(refuse(
                node.error(format!("TLS {text} is not spoken"))
                    .with_help("it is broken (RFC 8996); the versions are \"1.2\" and \"1.3\""),
            )),
            _ => Err(refuse(
                node.error(format!("unknown version of TLS {text:?}"))
                    .with_help("the versions are \"1.2\" and \"1.3\""),
            )),
        }
    }
}

impl JsonSchema for FilePath {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "file path".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({"type": "string", "minLength": 1})
    }
}
