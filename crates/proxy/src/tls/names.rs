//! The alternative names of a certificate, and what a configuration asks of them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use regex::bytes::Regex;
use rustls_pki_types::CertificateDer;
use transom_config::{SanKind, SanMatch, ValueMatch};
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;

use super::certificate::parse;

/// What is asked of the alternative names of a certificate: that one of them fits one of these.
#[derive(Debug)]
pub(super) struct NameRules {
    rules: Vec<(SanKind, Test)>,
}

#[derive(Debug)]
enum Test {
    Exact(String),
    Prefix(String),
    Suffix(String),
    Regex(Box<Regex>),
}

impl NameRules {
    /// `None` when nothing is asked.
    pub(super) fn new(rules: &[SanMatch]) -> Option<Self> {
        let test = |value: &ValueMatch| match value {
            ValueMatch::Exact(text) => Some(Test::Exact(text.clone())),
            ValueMatch::Prefix(text) => Some(Test::Prefix(text.clone())),
            ValueMatch::Suffix(text) => Some(Test::Suffix(text.clone())),
            ValueMatch::Regex(pattern) => Some(Test::Regex(Box::new(pattern.regex().clone()))),
            // The loader makes none of these.
            ValueMatch::Present | ValueMatch::Absent => None,
        };
        let rules: Vec<_> = rules
            .iter()
            .filter_map(|rule| Some((rule.kind, test(&rule.value)?)))
            .collect();
        (!rules.is_empty()).then_some(Self { rules })
    }

    /// Whether one of a certificate's names fits. One that cannot be read has none.
    pub(super) fn admit(&self, certificate: &CertificateDer<'_>) -> bool {
        let names = alternative_names(certificate);
        names.iter().any(|(kind, name)| {
            self.rules
                .iter()
                .any(|(wanted, test)| wanted == kind && test.fits(name))
        })
    }
}

impl Test {
    fn fits(&self, name: &str) -> bool {
        match self {
            Self::Exact(text) => name == text,
            Self::Prefix(text) => name.starts_with(text),
            Self::Suffix(text) => name.ends_with(text),
            Self::Regex(regex) => regex.is_match(name.as_bytes()),
        }
    }
}

/// The alternative names of a certificate that rules can be about, in the form in which they are compared.
fn alternative_names(certificate: &CertificateDer<'_>) -> Vec<(SanKind, String)> {
    let Ok(parsed) = parse(certificate) else {
        return Vec::new();
    };
    let Ok(Some((_, SubjectAltName(names)))) =
        parsed.tbs_certificate().get_extension::<SubjectAltName>()
    else {
        return Vec::new();
    };
    let name = |name: &GeneralName| match name {
        GeneralName::DnsName(name) => Some((SanKind::Dns, name.to_string().to_ascii_lowercase())),
        GeneralName::UniformResourceIdentifier(name) => Some((SanKind::Uri, name.to_string())),
        GeneralName::Rfc822Name(name) => Some((SanKind::Email, mail_address(name.as_ref()))),
        GeneralName::IpAddress(bytes) => {
            Some((SanKind::Ip, ip_address(bytes.as_bytes())?.to_string()))
        }
        _ => None,
    };
    names.iter().filter_map(name).collect()
}

/// The host of an address is compared without case (RFC 5280 section 7.5).
fn mail_address(address: &str) -> String {
    match address.rsplit_once('@') {
        Some((who, host)) => format!("{who}@{}", host.to_ascii_lowercase()),
        None => address.to_owned(),
    }
}

fn ip_address(bytes: &[u8]) -> Option<IpAddr> {
    if let Ok(v4) = <[u8; 4]>::try_from(bytes) {
        return Some(Ipv4Addr::from(v4).into());
    }
    let v6 = <[u8; 16]>::try_from(bytes).ok()?;
    Some(Ipv6Addr::from(v6).into())
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, SanType};
    use transom_config::Pattern;

    use super::*;

    fn certificate() -> CertificateDer<'static> {
        let mut params =
            CertificateParams::new(vec!["App.test".to_owned(), "10.0.0.1".to_owned()]).unwrap();
        let uri = "spiffe://a.test/ns/x".try_into().unwrap();
        params.subject_alt_names.push(SanType::URI(uri));
        let mail = "Me@Mail.test".try_into().unwrap();
        params.subject_alt_names.push(SanType::Rfc822Name(mail));
        let address = "::1".parse().unwrap();
        params.subject_alt_names.push(SanType::IpAddress(address));
        let key = KeyPair::generate().unwrap();
        params.self_signed(&key).unwrap().der().clone()
    }

    #[test]
    fn a_name_of_the_right_kind_must_fit() {
        let certificate = certificate();
        let text = |text: &str| text.to_owned();
        for (kind, value, good) in [
            (SanKind::Dns, ValueMatch::Exact(text("app.test")), true),
            (SanKind::Dns, ValueMatch::Exact(text("pp.test")), false),
            (SanKind::Dns, ValueMatch::Suffix(text(".test")), true),
            (SanKind::Dns, ValueMatch::Prefix(text("app.")), true),
            (SanKind::Dns, ValueMatch::Prefix(text("spiffe://")), false),
            (
                SanKind::Uri,
                ValueMatch::Prefix(text("spiffe://a.test/")),
                true,
            ),
            (
                SanKind::Uri,
                ValueMatch::Exact(text("spiffe://a.test")),
                false,
            ),
            (SanKind::Uri, ValueMatch::Exact(text("app.test")), false),
            (
                SanKind::Email,
                ValueMatch::Exact(text("Me@mail.test")),
                true,
            ),
            (
                SanKind::Email,
                ValueMatch::Exact(text("me@mail.test")),
                false,
            ),
            (SanKind::Ip, ValueMatch::Exact(text("10.0.0.1")), true),
            (SanKind::Ip, ValueMatch::Exact(text("::1")), true),
            (SanKind::Ip, ValueMatch::Exact(text("10.0.0.2")), false),
            (
                SanKind::Uri,
                ValueMatch::Regex(Pattern::whole("spiffe://[^/]+/ns/x").unwrap()),
                true,
            ),
            (
                SanKind::Uri,
                ValueMatch::Regex(Pattern::whole("spiffe://[^/]+").unwrap()),
                false,
            ),
        ] {
            let rule = SanMatch { kind, value };
            let rules = NameRules::new(std::slice::from_ref(&rule)).unwrap();
            assert_eq!(rules.admit(&certificate), good, "{rule:?}");
        }
    }

    #[test]
    fn one_rule_of_several_is_enough_and_no_rule_asks_nothing() {
        assert!(NameRules::new(&[]).is_none());
        let rule = |text: &str| SanMatch {
            kind: SanKind::Dns,
            value: ValueMatch::Exact(text.to_owned()),
        };
        let rules = NameRules::new(&[rule("other.test"), rule("app.test")]).unwrap();
        assert!(rules.admit(&certificate()));
    }

    #[test]
    fn what_is_no_certificate_is_not_admitted() {
        let rule = SanMatch {
            kind: SanKind::Dns,
            value: ValueMatch::Prefix(String::new()),
        };
        let rules = NameRules::new(&[rule]).unwrap();
        assert!(!rules.admit(&CertificateDer::from(vec![0x30, 0x00])));
    }
}
