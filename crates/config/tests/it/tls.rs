//! What `tls` of listeners and clusters means.

use std::path::PathBuf;

use serde_json::json;
use transom_config::{
    CertificateFiles, ClientCertificate, Configuration, Located, TlsVersion, TrustedCa, load_str,
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
    }
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
        "{sni: app.test, ca: ca.pem, client: {certificate: a.pem, private_key: a.key}, alpn: [http/1.1], \
         min_version: \"1.3\"}",
    );
    let tls = configuration.resources.listeners["in"]
        .tls
        .as_ref()
        .unwrap();
    assert_eq!(tls.certificates, [pair("a"), pair("b")]);
    assert_eq!(tls.alpn, ["spdy"]);
    assert_eq!(tls.client, ClientCertificate::Optional(path("ca.pem")));
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
            "sni": "app.test", "ca": "ca.pem", "verify": true, "alpn": ["http/1.1"], "min_version": "1.3",
            "client": {"certificate": "a.pem", "private_key": "a.key"},
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
    assert_eq!(tls.client, ClientCertificate::Required(path("ca.pem")));
    let tls = configuration.resources.clusters["up"].tls.as_ref().unwrap();
    assert_eq!(tls.trusted, None);
}
