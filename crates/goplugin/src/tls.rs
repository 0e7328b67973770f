//! Mutual TLS: certificates that live as long as their process, pinned byte for byte.
//!
//! Each side makes a key and a self-signed certificate at start, gives the certificate to the other side during the handshake, and
//! from then on accepts exactly that certificate **and** a signature made with its key. The same identity serves the main
//! connection and every brokered one, in either TLS role.
//!
//! Chains, dates and names are not looked at: Go's certificates are authorities for themselves, which a path builder refuses in
//! a leaf, and the pin says more than a path could. The cryptography is aws-lc's whatever the process installed as its default,
//! because the P-521 keys of Go's side must be verified.

use std::fmt;
use std::sync::Arc;

use rcgen::{
    CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, KeyPair, KeyUsagePurpose,
};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, DistinguishedName as DerName,
    ServerConfig, SignatureScheme,
};

use crate::base64;

/// The curve of a generated key.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Curve {
    /// P-256: every TLS library in use can verify it. The default.
    #[default]
    P256,
    /// P-521: what Go's go-plugin generates; BoringSSL and ring refuse it.
    P521,
}

/// A key and its self-signed certificate, made anew for each start.
pub struct Identity {
    certificate: CertificateDer<'static>,
    key: PrivatePkcs8KeyDer<'static>,
}

impl Identity {
    /// Makes a key on `curve` and a certificate for `localhost`, usable in both TLS roles.
    pub fn generate(curve: Curve) -> Result<Self, TlsError> {
        let algorithm = match curve {
            Curve::P256 => &rcgen::PKCS_ECDSA_P256_SHA256,
            Curve::P521 => &rcgen::PKCS_ECDSA_P521_SHA512,
        };
        let key = KeyPair::generate_for(algorithm).map_err(|error| TlsError::generate(&error))?;
        // Go insists on the name `localhost` in the alternative names; if there are extended usages, both roles must be among them.
        let mut params = CertificateParams::new(vec!["localhost".to_owned()])
            .map_err(|error| TlsError::generate(&error))?;
        let mut name = DistinguishedName::new();
        name.push(DnType::CommonName, "localhost");
        params.distinguished_name = name;
        params.key_usages = vec![
            KeyUsagePurpose::DigitalSignature,
            KeyUsagePurpose::KeyEncipherment,
        ];
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ClientAuth,
            ExtendedKeyUsagePurpose::ServerAuth,
        ];
        let certificate = params
            .self_signed(&key)
            .map_err(|error| TlsError::generate(&error))?;
        Ok(Self {
            certificate: certificate.der().clone(),
            key: PrivatePkcs8KeyDer::from(key.serialize_der()),
        })
    }

    /// The certificate in DER: what stands, in base64, in the handshake line.
    pub fn certificate(&self) -> &[u8] {
        &self.certificate
    }

    /// The certificate as PEM text: what stands in `PLUGIN_CLIENT_CERT`.
    pub fn certificate_pem(&self) -> String {
        pem(&self.certificate)
    }
}

impl fmt::Debug for Identity {
    /// Never shows the key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").finish_non_exhaustive()
    }
}

/// What both roles of a connection need: how to dial with TLS, and how to accept with it.
#[derive(Clone, Debug)]
pub struct Tls {
    pub(crate) client: Arc<ClientConfig>,
    pub(crate) server: Option<Arc<ServerConfig>>,
    pub(crate) server_name: ServerName<'static>,
}

impl Tls {
    /// Mutual TLS between `own` and the owner of the certificate `peer` (DER), and nobody else.
    pub fn pinned(own: &Identity, peer: &[u8]) -> Result<Self, TlsError> {
        let peer = CertificateDer::from(peer.to_vec());
        // Parsing once here turns a broken certificate into an error at start instead of one at the first call.
        rustls::server::ParsedCertificate::try_from(&peer)
            .map_err(|error| TlsError::Peer(error.to_string()))?;
        let provider = provider();
        let pin = Arc::new(Pin {
            peer,
            provider: Arc::clone(&provider),
        });
        let chain = vec![own.certificate.clone()];
        let key = || PrivateKeyDer::Pkcs8(own.key.clone_key());
        let mut client = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()?
            .dangerous()
            .with_custom_certificate_verifier(Arc::clone(&pin) as Arc<dyn ServerCertVerifier>)
            .with_client_auth_cert(chain.clone(), key())?;
        let mut server = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_client_cert_verifier(pin)
            .with_single_cert(chain, key())?;
        // A resumed session would skip the pin's verifier, and there is one connection to speed up.
        client.resumption = rustls::client::Resumption::disabled();
        server.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
        server.send_tls13_tickets = 0;
        Self::new(client, Some(server), "localhost")
    }

    /// TLS as the application configured it: `server` is needed only to accept brokered connections on the host's side, and to
    /// serve on the plugin's. ALPN `h2` is added where no protocol is named, since newer Go peers insist on it.
    pub fn new(
        mut client: ClientConfig,
        server: Option<ServerConfig>,
        server_name: &str,
    ) -> Result<Self, TlsError> {
        if client.alpn_protocols.is_empty() {
            client.alpn_protocols = vec![b"h2".to_vec()];
        }
        let server = server.map(|mut server| {
            if server.alpn_protocols.is_empty() {
                server.alpn_protocols = vec![b"h2".to_vec()];
            }
            Arc::new(server)
        });
        let server_name = ServerName::try_from(server_name.to_owned())
            .map_err(|_| TlsError::ServerName(server_name.to_owned()))?;
        Ok(Self {
            client: Arc::new(client),
            server,
            server_name,
        })
    }
}

/// aws-lc's cryptography, by name: the process's default provider may be another one.
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

/// The first certificate of a PEM text, in DER: what a plugin reads from `PLUGIN_CLIENT_CERT`.
pub fn first_certificate(pem: &str) -> Result<Vec<u8>, TlsError> {
    CertificateDer::from_pem_slice(pem.as_bytes())
        .map(|certificate| certificate.to_vec())
        .map_err(|error| TlsError::Peer(error.to_string()))
}

/// Why TLS could not be set up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// No key or certificate could be made.
    #[error("cannot generate a certificate: {0}")]
    Generate(String),
    /// The other side's certificate cannot be read.
    #[error("error parsing the other side's certificate: {0}")]
    Peer(String),
    /// The configured server name is neither a DNS name nor an IP address.
    #[error("{0:?} is not a server name: use a DNS name or an IP address")]
    ServerName(String),
    /// The TLS library refused the configuration.
    #[error("TLS configuration: {0}")]
    Config(#[from] rustls::Error),
}

impl TlsError {
    fn generate(error: &rcgen::Error) -> Self {
        Self::Generate(error.to_string())
    }
}

/// Accepts one certificate, and only from the owner of its key.
#[derive(Debug)]
struct Pin {
    peer: CertificateDer<'static>,
    provider: Arc<CryptoProvider>,
}

impl Pin {
    fn check(&self, presented: &CertificateDer<'_>) -> Result<(), rustls::Error> {
        if presented.as_ref() == self.peer.as_ref() {
            Ok(())
        } else {
            Err(CertificateError::ApplicationVerificationFailure.into())
        }
    }

    fn tls12(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn tls13(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}

impl ServerCertVerifier for Pin {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        self.check(end_entity)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.tls12(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.tls13(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.schemes()
    }
}

impl ClientCertVerifier for Pin {
    fn root_hint_subjects(&self) -> &[DerName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        self.check(end_entity)?;
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.tls12(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.tls13(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.schemes()
    }
}

/// One CERTIFICATE block, lines of 64, with the line feed at the end that Go's encoder writes too.
fn pem(der: &[u8]) -> String {
    let mut body = base64::encode_unpadded(der);
    while !body.len().is_multiple_of(4) {
        body.push('=');
    }
    let mut text = String::from("-----BEGIN CERTIFICATE-----\n");
    let mut rest = body.as_str();
    while !rest.is_empty() {
        let (line, after) = rest.split_at(rest.len().min(64));
        text.push_str(line);
        text.push('\n');
        rest = after;
    }
    text.push_str("-----END CERTIFICATE-----\n");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_survives_its_way_through_the_environment() {
        for curve in [Curve::P256, Curve::P521] {
            let identity = Identity::generate(curve).unwrap();
            let read = first_certificate(&identity.certificate_pem()).unwrap();
            assert_eq!(read, identity.certificate());
        }
    }

    #[test]
    fn text_without_a_certificate_is_an_error() {
        assert!(first_certificate("-----BEGIN CERTIFICATE-----\n").is_err());
        assert!(first_certificate("").is_err());
        let identity = Identity::generate(Curve::P256).unwrap();
        assert!(Tls::pinned(&identity, b"no certificate").is_err());
    }
}
