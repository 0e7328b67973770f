//! TLS of listeners and clusters.

use std::path::PathBuf;

use super::Lowering;
use crate::decode::Tried;
use crate::file;
use crate::file::tls as shape;
use crate::report::Problem;
use crate::{
    CertificateFiles, ClientCertificate, ClusterTls, HostAddress, HostSet, ListenerTls, Located,
    NetworkFilter, TlsVersion, TrustedCa,
};

/// What the `http` network filter speaks.
const HTTP_PROTOCOLS: [&str; 2] = ["http/1.1", "http/1.0"];

impl Lowering<'_> {
    /// `None` when it is so wrong that nothing of it is left.
    pub(super) fn listener_tls(
        &mut self,
        tls: shape::ListenerTls,
        filters: &[NetworkFilter],
    ) -> Option<ListenerTls> {
        let list = tls.certificates.span;
        if tls.certificates.items.is_empty() && tls.certificates.whole {
            self.problems.push(
                Problem::new("a listener that speaks TLS needs a certificate", list).with_help(
                    "write at least one: certificates: [{certificate: FILE, private_key: FILE}]",
                ),
            );
        }
        let certificates = tls.certificates.value.items.into_iter();
        let certificates = certificates
            .filter_map(|files| self.certificate_files(files))
            .collect();
        let before_http = matches!(filters.last(), Some(NetworkFilter::Http(_)));
        let alpn = match tls.alpn {
            Some(protocols) => self.protocols(protocols, before_http),
            None if before_http => vec!["http/1.1".to_owned()],
            None => Vec::new(),
        };
        let asked = tls.client_certificate;
        let client = match (tls.client_ca, asked.as_ref().map(|asked| asked.value)) {
            (Some(file), None | Some(shape::ClientCertificate::Required)) => {
                ClientCertificate::Required(self.path(file))
            }
            (Some(file), Some(shape::ClientCertificate::Optional)) => {
                ClientCertificate::Optional(self.path(file))
            }
            (None, None | Some(shape::ClientCertificate::None)) => ClientCertificate::None,
            (Some(file), Some(shape::ClientCertificate::None)) => {
                self.problems.push(
                    Problem::new("`client_ca` has no meaning here", file.span)
                        .with_label(
                            asked.and_then(|asked| asked.span),
                            "certificates of clients are not asked for",
                        )
                        .with_help(
                            "leave one of the two out, or ask for certificates: optional, required",
                        ),
                );
                return None;
            }
            (None, Some(_)) => {
                self.problems.push(
                    Problem::new(
                        "certificates of clients cannot be checked without `client_ca`",
                        asked.and_then(|asked| asked.span),
                    )
                    .with_help(
                        "name the file with the authorities that sign them: client_ca: FILE",
                    ),
                );
                return None;
            }
        };
        Some(ListenerTls {
            certificates,
            alpn,
            client,
            min_version: version(tls.min_version),
        })
    }

    pub(super) fn cluster_tls(
        &mut self,
        tls: Located<shape::ClusterTls>,
        hosts: Option<&HostSet>,
    ) -> Option<ClusterTls> {
        let Located { value: tls, span } = tls;
        if let Some(sni) = tls.sni.as_ref().filter(|sni| !is_host_name(sni)) {
            self.problems.push(
                Problem::new(format!("{:?} is no name of a host", sni.value), sni.span).with_help(
                    "write a name such as app.example.org, without port; for an IP address leave `sni` out",
                ),
            );
        }
        let unix = hosts.and_then(|set| {
            let mut hosts = set.hosts.iter().map(|host| &host.address);
            hosts.find(|address| matches!(address, HostAddress::Unix(_)))
        });
        if let (Some(unix), None, true) = (unix, &tls.sni, tls.verify) {
            self.problems.push(
                Problem::new(
                    format!("there is no name that the certificate of {unix} could have"),
                    span,
                )
                .with_help("write the name in its certificate: sni: NAME"),
            );
        }
        let trusted = match (tls.ca, tls.verify) {
            (Some(ca), false) => {
                self.problems.push(
                    Problem::new("`ca` has no meaning with `verify: false`", ca.span).with_help(
                        "leave `verify` out, so that the hosts' certificates are checked",
                    ),
                );
                None
            }
            (None, false) => None,
            (Some(ca), true) if ca.value.0.as_os_str() != "system" => {
                Some(TrustedCa::File(self.path(ca)))
            }
            (_, true) => Some(TrustedCa::System),
        };
        let client = match tls.client {
            Some(Tried(files)) => Some(self.certificate_files(files?)?),
            None => None,
        };
        Some(ClusterTls {
            sni: tls.sni,
            trusted,
            client,
            alpn: self.protocols(tls.alpn, true),
            min_version: version(tls.min_version),
        })
    }

    /// Checks names of protocols; `http`: they are spoken by the proxy's own HTTP.
    fn protocols(&mut self, names: file::Items<Located<String>>, http: bool) -> Vec<String> {
        for name in &names.items {
            // RFC 7301, section 3.1.
            if name.is_empty() || name.len() > 255 {
                let message = "the name of a protocol has 1 to 255 bytes";
                self.problems.push(Problem::new(message, name.span));
            } else if http && !HTTP_PROTOCOLS.contains(&name.as_str()) {
                self.problems.push(
                    Problem::new(
                        format!("the protocol `{name}` is not spoken here"),
                        name.span,
                    )
                    .with_help("the known protocols are http/1.1 and http/1.0"),
                );
            }
        }
        names.items.into_iter().map(|name| name.value).collect()
    }

    fn certificate_files(&self, files: shape::CertificateFiles) -> Option<CertificateFiles> {
        Some(CertificateFiles {
            certificate: self.path(files.certificate.0?),
            private_key: self.path(files.private_key.0?),
        })
    }

    /// A relative path begins at the configuration's folder.
    fn path(&self, path: Located<shape::FilePath>) -> Located<PathBuf> {
        let Located { value, span } = path;
        Located::at(self.resources.path(&value.0), span)
    }
}

fn version(version: shape::Version) -> TlsVersion {
    match version {
        shape::Version::V12 => TlsVersion::V12,
        shape::Version::V13 => TlsVersion::V13,
    }
}

/// RFC 6066, section 3: a name of DNS, without a dot at its end, and no IP address.
fn is_host_name(name: &str) -> bool {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'))
    };
    let last = name.rsplit('.').next().unwrap_or_default();
    name.len() <= 253 && name.split('.').all(label) && !last.chars().all(|c| c.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::is_host_name;

    #[test]
    fn names_of_hosts_are_told_from_addresses() {
        for name in [
            "a",
            "a.example.org",
            "xn--bcher-kva.example",
            "_a.b",
            "1.example",
        ] {
            assert!(is_host_name(name), "{name}");
        }
        for name in [
            "",
            "10.0.0.1",
            "::1",
            "a.org:443",
            "a..b",
            "a.",
            "-a.org",
            "*.a.org",
        ] {
            assert!(!is_host_name(name), "{name}");
        }
    }
}
