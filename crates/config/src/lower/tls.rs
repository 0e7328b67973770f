//! TLS of listeners and clusters.

use std::path::PathBuf;

use super::Lowering;
use super::conditions::Stand;
use crate::decode::Tried;
use crate::file;
use crate::file::tls as shape;
use crate::report::Problem;
use crate::{
    Admitted, CertificateFiles, ClientCertificate, ClusterTls, HostAddress, HostSet, ListenerTls,
    Located, NetworkFilter, OnDemand, SanKind, SanMatch, TlsVersion, TrustedCa, Use, ValueMatch,
};

/// Makes a test of a text.
type Make = fn(String) -> ValueMatch;

/// What the `http` network filter speaks.
const HTTP_PROTOCOLS: [&str; 2] = ["http/1.1", "http/1.0"];

impl Lowering<'_> {
    /// `None` when it is so wrong that nothing of it is left.
    pub(super) fn listener_tls(
        &mut self,
        tls: Located<shape::ListenerTls>,
        filters: &[NetworkFilter],
    ) -> Option<ListenerTls> {
        let Located { value: tls, span } = tls;
        let list = tls.certificates.span.or(span);
        let whole = tls.certificates.whole && tls.providers.whole;
        if tls.certificates.items.is_empty() && tls.providers.items.is_empty() && whole {
            self.problems.push(
                Problem::new("a listener that speaks TLS needs a certificate", list).with_help(
                    "write at least one: certificates: [{certificate: FILE, private_key: FILE}], or name a provider",
                ),
            );
        }
        let certificates = tls.certificates.value.items.into_iter();
        let certificates = certificates
            .filter_map(|files| self.certificate_files(files))
            .collect();
        let providers = self.chain(Stand::Other, tls.providers);
        let on_demand = match tls.on_demand {
            Some(Tried(on_demand)) => Some(self.on_demand(on_demand?, &providers)?),
            None => None,
        };
        let names_at = tls.client_san.span;
        let names = self.san_matches(tls.client_san.value);
        let revoked = tls.client_crl.map(|file| self.path(file));
        let before_http = matches!(filters.last(), Some(NetworkFilter::Http(_)));
        let alpn = match tls.alpn {
            Some(protocols) => self.protocols(protocols, before_http),
            None if before_http => vec!["http/1.1".to_owned()],
            None => Vec::new(),
        };
        let asked = tls.client_certificate;
        let rules = [
            ("client_ca", tls.client_ca.as_ref().map(|file| file.span)),
            ("client_crl", revoked.as_ref().map(|file| file.span)),
            ("client_san", (!names.is_empty()).then_some(names_at)),
        ];
        let first_rule = rules.into_iter().find_map(|(key, span)| Some((key, span?)));
        let asks = match asked.as_ref().map(|asked| asked.value) {
            Some(asks) => asks,
            None if tls.client_ca.is_some() => shape::ClientCertificate::Required,
            None => shape::ClientCertificate::None,
        };
        if asks == shape::ClientCertificate::None
            && let Some((key, span)) = first_rule
        {
            let problem = Problem::new(format!("`{key}` has no meaning here"), span);
            self.problems.push(match asked.and_then(|asked| asked.span) {
                Some(asked) => problem
                    .with_label(Some(asked), "certificates of clients are not asked for")
                    .with_help("leave one of the two out, or ask for certificates: optional, required"),
                None => problem.with_help(
                    "certificates of clients are not asked for: name the file with the authorities that sign them: \
                     client_ca: FILE",
                ),
            });
            return None;
        }
        if asks != shape::ClientCertificate::None && tls.client_ca.is_none() && providers.is_empty()
        {
            self.problems.push(
                Problem::new(
                    "certificates of clients cannot be checked without `client_ca`",
                    asked.and_then(|asked| asked.span),
                )
                .with_help("name the file with the authorities that sign them: client_ca: FILE"),
            );
            return None;
        }
        let admitted = Admitted {
            authorities: tls.client_ca.map(|file| self.path(file)),
            revoked,
            names,
        };
        let client = match asks {
            shape::ClientCertificate::None => ClientCertificate::None,
            shape::ClientCertificate::Optional => ClientCertificate::Optional(admitted),
            shape::ClientCertificate::Required => ClientCertificate::Required(admitted),
        };
        Some(ListenerTls {
            certificates,
            providers,
            on_demand,
            alpn,
            client,
            session_tickets: tls.session_tickets.0,
            min_version: version(tls.min_version),
            handshake_timeout: tls.handshake_timeout.0,
        })
    }

    fn on_demand(
        &mut self,
        on_demand: Located<shape::OnDemand>,
        providers: &[Use],
    ) -> Option<OnDemand> {
        let Located { value, span } = on_demand;
        if providers.is_empty() {
            self.problems.push(
                Problem::new("there is no provider that could be asked", span).with_help(
                    "name one in `providers`, such as: providers: [{name: self_signed}]",
                ),
            );
            return None;
        }
        let mut names = Vec::new();
        for name in &value.names.items {
            let host = name.strip_prefix("*.").unwrap_or(name);
            if name.as_str() != "*" && !is_host_name(host) {
                let message = format!("{:?} is no name that a client can ask for", name.value);
                self.problems
                    .push(Problem::new(message, name.span).with_help(
                    "write a name, `*.example.org` for all names below one, or `*` for every name",
                ));
                continue;
            }
            names.push(name.to_ascii_lowercase());
        }
        if value.names.items.is_empty() && value.names.whole {
            self.problems.push(
                Problem::new("no name may be asked for", value.names.span).with_help(
                    "write those that may: names: [\"*.example.org\"]; \"*\" lets strangers have a certificate made for any name",
                ),
            );
        }
        Some(OnDemand {
            names,
            timeout: value.timeout.0,
            max_names: value.max_names.0,
            max_pending: value.max_pending.0,
            retry_after: value.retry_after.0,
        })
    }

    fn san_matches(&mut self, rules: file::Items<Located<shape::SanMatch>>) -> Vec<SanMatch> {
        let rules = rules.items.into_iter();
        rules.filter_map(|rule| self.san_match(rule)).collect()
    }

    fn san_match(&mut self, rule: Located<shape::SanMatch>) -> Option<SanMatch> {
        const KEYS: &str = "write one of `exact`, `prefix`, `suffix`, `regex`";
        let Located { value, span } = rule;
        let kind = match value.kind {
            shape::SanKind::Dns => SanKind::Dns,
            shape::SanKind::Uri => SanKind::Uri,
            shape::SanKind::Email => SanKind::Email,
            shape::SanKind::Ip => SanKind::Ip,
        };
        if let (SanKind::Ip, Some(exact)) = (kind, &value.exact)
            && exact.parse::<std::net::IpAddr>().is_err()
        {
            let message = format!("{:?} is no IP address", exact.value);
            self.problems.push(Problem::new(message, exact.span));
            return None;
        }
        // In the form in which they are compared.
        let folded = |text: String| match kind {
            SanKind::Dns => text.to_ascii_lowercase(),
            SanKind::Ip => text
                .parse::<std::net::IpAddr>()
                .map_or(text, |address| address.to_string()),
            SanKind::Uri | SanKind::Email => text,
        };
        let mut asked = Vec::new();
        let texts: [(_, Make); 3] = [
            (value.exact, ValueMatch::Exact),
            (value.prefix, ValueMatch::Prefix),
            (value.suffix, ValueMatch::Suffix),
        ];
        for (text, what) in texts {
            asked.extend(text.map(|text| (what(folded(text.value)), text.span)));
        }
        if let Some(regex) = value.regex {
            asked.push((ValueMatch::Regex(self.pattern(&regex)?), regex.span));
        }
        let mut asked = asked.into_iter();
        let first = asked.next();
        if let Some((_, place)) = asked.next() {
            self.problems
                .push(Problem::new("two things are asked of one name", place).with_help(KEYS));
            return None;
        }
        let Some((value, _)) = first else {
            if !self.problems.any_within(span) {
                self.problems
                    .push(Problem::new("nothing is asked of the name", span).with_help(KEYS));
            }
            return None;
        };
        Some(SanMatch { kind, value })
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
        let names_at = tls.san.span;
        let names = self.san_matches(tls.san.value);
        let revoked = tls.crl.map(|file| self.path(file));
        let rules = [
            ("crl", revoked.as_ref().map(|file| file.span)),
            ("san", (!names.is_empty()).then_some(names_at)),
        ];
        for (key, span) in rules {
            if let (Some(span), false) = (span, tls.verify) {
                let message = format!("`{key}` has no meaning with `verify: false`");
                self.problems.push(
                    Problem::new(message, span).with_help(
                        "leave `verify` out, so that the hosts' certificates are checked",
                    ),
                );
            }
        }
        if let (Some(unix), None, true, true) = (unix, &tls.sni, tls.verify, names.is_empty()) {
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
            (Some(ca), true) if ca.value.0.as_os_str() == "providers" => {
                if tls.providers.items.is_empty() && tls.providers.whole {
                    self.problems.push(
                        Problem::new(
                            "there are no providers that could name authorities",
                            ca.span,
                        )
                        .with_help(
                            "name one in `providers`, or a file with the authorities: ca: FILE",
                        ),
                    );
                }
                Some(TrustedCa::Providers)
            }
            (Some(ca), true) if ca.value.0.as_os_str() != "system" => {
                Some(TrustedCa::File(self.path(ca)))
            }
            (_, true) => Some(TrustedCa::System),
        };
        let providers = self.chain(Stand::Other, tls.providers);
        let client = match tls.client {
            Some(Tried(files)) => Some(self.certificate_files(files?)?),
            None => None,
        };
        Some(ClusterTls {
            sni: tls.sni,
            auto_sni: tls.auto_sni,
            trusted,
            revoked,
            names,
            client,
            providers,
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
            ocsp_response: files.ocsp_response.map(|file| self.path(file)),
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
pub(super) fn is_host_name(name: &str) -> bool {
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
