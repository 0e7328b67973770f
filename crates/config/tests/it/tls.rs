//! What `tls` of listeners and clusters means.

use std::path::PathBuf;

use serde_json::json;
use std::time::Duration;

use transom_config::{
    Admitted, CertificateFiles, ClientCertificate, Configuration, ListenerTls, Located, OnDemand,
    SanKind, SanMatch, TlsVersion, TrustedCa, ValueMatch, load_str,
};

fn load(listener: &str, terminal: &str, cluster: &str) -> Configuration {
    let text = format!(
        "listeners:\n  - name: in\n    address: 127.0.0.1:1\n    tls: {listener}\n    network_filters: [{terminal}]\n\
         clusters: [{{name: up, endpoints: [\"127.0.0.1:80\"], tls: {cluster}}}]\n"
    );
    load_str("test", &text).unwrap_or_else(|report| panic!("{report}"))
}

const HTTP: &str = "{name: http, config: {virtual_hosts: []}}";
const TCP: &str = "{name: tcp_proxy, config: {cluster: up}}";
const PAIR: &str = "certificates: [{certificate: a.pem, private_key: a.key}]";

fn path(path: &str) -> Located<PathBuf> {
    Located::new(PathBuf::from(path))
}

fn pair(name: &str) -> CertificateFiles {
    CertificateFiles {
        certificate: path(&format!("{name}.pem")),
        private_key: path(&format!("{name}.key")),
        ocsp_response: None,
    }
}

fn admitted(file: &str) -> Admitted {
    Admitted {
        authorities: Some(path(file)),
        revoked: None,
        names: Vec::new(),
    }
}

fn listener(configuration: &Configuration) -> &ListenerTls {
    configuration.resources.listeners["in"]
        .tls
        .as_ref()
        .unwrap()
}

#[test]
fn a_small_tls_has_the_defaults() {
    let configuration = load(&format!("{{{PAIR}}}"), HTTP, "{}");
    let tls = configuration.resources.listeners["in"]
        .tls
        .as_ref()
        .unwrap();
    assert_eq!(tls.certificates, [pair("a")]);
    assert_eq!(tls.alpn, ["http/1.1"]);
    assert_eq!(tls.client, ClientCertificate::None);
    assert_eq!(tls.min_version, TlsVersion::V12);
    let tls = configuration.resources.clusters["up"].tls.as_ref().unwrap();
    assert_eq!(tls.trusted, Some(TrustedCa::System));
    assert_eq!((&tls.sni, &tls.client), (&None, &None));
    assert!(tls.alpn.is_empty());
    // What a TCP proxy carries is not known.
    let configuration = load(&format!("{{{PAIR}}}"), TCP, "{}");
    let tls = configuration.resources.listeners["in"]
        .tls
        .as_ref()
        .unwrap();
    assert!(tls.alpn.is_empty());
}

#[test]
fn every_key_of_tls_can_be_written() {
    let configuration = load(
        "{certificates: [{certificate: a.pem, private_key: a.key}, {certificate: b.pem, private_key: b.key}], \
         alpn: [spdy], client_ca: ca.pem, client_certificate: optional, min_version: 1.3}",
        TCP,
        "{sni: app.test, auto_sni: true, ca: ca.pem, client: {certificate: a.pem, private_key: a.key}, alpn: [http/1.1], \
         min_version: \"1.3\"}",
    );
    let tls = configuration.resources.listeners["in"]
        .tls
        .as_ref()
        .unwrap();
    assert_eq!(tls.certificates, [pair("a"), pair("b")]);
    assert_eq!(tls.alpn, ["spdy"]);
    assert_eq!(tls.client, ClientCertificate::Optional(admitted("ca.pem")));
    assert_eq!(tls.min_version, TlsVersion::V13);
    let tls = configuration.resources.clusters["up"].tls.as_ref().unwrap();
    assert_eq!(tls.sni.as_deref().map(String::as_str), Some("app.test"));
    assert_eq!(tls.trusted, Some(TrustedCa::File(path("ca.pem"))));
    assert_eq!(tls.client, Some(pair("a")));
    assert_eq!(
        (&*tls.alpn, tls.min_version),
        (&["http/1.1".to_owned()][..], TlsVersion::V13)
    );

    let dump = configuration.dump();
    assert_eq!(
        dump["listeners"][0]["tls"]["client_certificate"],
        "optional"
    );
    assert_eq!(
        dump["clusters"][0]["tls"],
        json!({
            "sni": "app.test", "auto_sni": true, "ca": "ca.pem", "verify": true, "alpn": ["http/1.1"], "min_version": "1.3",
            "client": {"certificate": "a.pem", "private_key": "a.key", "ocsp_response": null},
            "crl": null, "san": [], "providers": [],
        })
    );
}

#[test]
fn a_client_ca_alone_requires_certificates() {
    let configuration = load(
        &format!("{{{PAIR}, client_ca: ca.pem}}"),
        HTTP,
        "{verify: false}",
    );
    let tls = configuration.resources.listeners["in"]
        .tls
        .as_ref()
        .unwrap();
    assert_eq!(tls.client, ClientCertificate::Required(admitted("ca.pem")));
    let tls = configuration.resources.clusters["up"].tls.as_ref().unwrap();
    assert_eq!(tls.trusted, None);
}

#[test]
fn certificates_may_come_from_providers_alone() {
    let tls = "{providers: [{name: self_signed, config: {days: 3}}, {name: self_signed, id: b, on_failure: open}], \
               on_demand: {names: [\"*.A.test\", b.test]}, handshake_timeout: 3s}";
    let configuration = load(tls, HTTP, "{}");
    let tls = listener(&configuration);
    assert!(tls.certificates.is_empty());
    let ids: Vec<&str> = tls.providers.iter().map(|used| &*used.id).collect();
    assert_eq!(ids, ["self_signed", "b"]);
    assert_eq!(tls.handshake_timeout, Duration::from_secs(3));
    assert_eq!(
        tls.on_demand,
        Some(OnDemand {
            names: vec!["*.a.test".to_owned(), "b.test".to_owned()],
            timeout: Duration::from_secs(5),
            max_names: 10_000,
            max_pending: 100,
            retry_after: Duration::from_secs(30),
        })
    );
    let dump = configuration.dump();
    assert_eq!(
        dump["listeners"][0]["tls"]["on_demand"],
        json!({
            "names": ["*.a.test", "b.test"], "timeout": "5s", "max_names": 10_000, "max_pending": 100, "retry_after": "30s",
        })
    );
    assert_eq!(
        dump["listeners"][0]["tls"]["providers"][0]["config"],
        json!({"days": 3})
    );
    // Without a file the providers say who signs certificates of clients.
    let tls = "{providers: [{name: self_signed}], client_certificate: required}";
    let configuration = load(tls, HTTP, "{}");
    let admitted = listener(&configuration).client.admitted().unwrap();
    assert_eq!(admitted.authorities, None);
}

#[test]
fn names_in_certificates_are_read_in_the_form_in_which_they_are_compared() {
    let rules = "[{type: dns, suffix: .A.test}, {type: uri, prefix: \"spiffe://A/\"}, {type: ip, exact: \"::0:1\"}, \
                 {type: email, regex: \".*@a\"}]";
    let configuration = load(
        &format!("{{{PAIR}, client_ca: ca.pem, client_crl: crl.pem, client_san: {rules}}}"),
        HTTP,
        &format!("{{crl: crl.pem, san: {rules}}}"),
    );
    let cluster = configuration.resources.clusters["up"].tls.as_ref().unwrap();
    let admitted = listener(&configuration).client.admitted().unwrap();
    for (names, revoked) in [
        (&admitted.names, &admitted.revoked),
        (&cluster.names, &cluster.revoked),
    ] {
        assert_eq!(revoked, &Some(path("crl.pem")));
        let [dns, uri, ip, email] = &names[..] else {
            panic!("{names:?}");
        };
        let rule = |kind, value| SanMatch { kind, value };
        assert_eq!(
            *dns,
            rule(SanKind::Dns, ValueMatch::Suffix(".a.test".to_owned()))
        );
        assert_eq!(
            *uri,
            rule(SanKind::Uri, ValueMatch::Prefix("spiffe://A/".to_owned()))
        );
        assert_eq!(*ip, rule(SanKind::Ip, ValueMatch::Exact("::1".to_owned())));
        assert!(
            matches!(&email.value, ValueMatch::Regex(regex) if regex.regex().is_match(b"me@a"))
        );
    }
    let dump = configuration.dump();
    assert_eq!(
        dump["clusters"][0]["tls"]["san"][0],
        json!({"type": "dns", "suffix": ".a.test"})
    );
}
