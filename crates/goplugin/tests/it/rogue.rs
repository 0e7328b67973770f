//! Peers that present what they should not.

use std::sync::Arc;

use rustls::client::ResolvesClientCert;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, ServerConfig, SignatureScheme};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// A key and its certificate, whose parts can be exchanged.
pub(crate) struct Pair {
    pub(crate) certificate: CertificateDer<'static>,
    pub(crate) key: PrivatePkcs8KeyDer<'static>,
}

impl Pair {
    pub(crate) fn new() -> Self {
        let key = rcgen::KeyPair::generate().unwrap();
        let params = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        let certificate = params.self_signed(&key).unwrap();
        Self {
            certificate: certificate.der().clone(),
            key: PrivatePkcs8KeyDer::from(key.serialize_der()),
        }
    }

    pub(crate) fn pem(&self) -> String {
        use std::fmt::Write;
        let mut body = String::new();
        const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        for chunk in self.certificate.chunks(3) {
            let mut group = [0; 3];
            group[..chunk.len()].copy_from_slice(chunk);
            let bits = u32::from_be_bytes([0, group[0], group[1], group[2]]);
            for place in 0..4 {
                let symbol = match place <= chunk.len() {
                    true => ALPHABET[(bits >> (18 - 6 * place) & 63) as usize],
                    false => b'=',
                };
                write!(body, "{}", char::from(symbol)).unwrap();
            }
        }
        format!("-----BEGIN CERTIFICATE-----\n{body}\n-----END CERTIFICATE-----\n")
    }

    /// This certificate with another's key.
    pub(crate) fn with_key_of(&self, other: &Self) -> Self {
        Self {
            certificate: self.certificate.clone(),
            key: other.key.clone_key(),
        }
    }

    fn certified(&self) -> Arc<CertifiedKey> {
        let key = PrivateKeyDer::Pkcs8(self.key.clone_key());
        let key = provider().key_provider.load_private_key(key).unwrap();
        // Unlike the builder, this does not check that the two belong together.
        Arc::new(CertifiedKey::new(vec![self.certificate.clone()], key))
    }
}

#[derive(Debug)]
struct Always(Arc<CertifiedKey>);

impl ResolvesClientCert for Always {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }

    fn has_certs(&self) -> bool {
        true
    }
}

impl ResolvesServerCert for Always {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }
}

/// Connects with the given identity, or with none, and says whether the other side then speaks HTTP/2.
///
/// With TLS 1.3 a client learns of its rejection only by what it reads.
pub(crate) async fn is_admitted<S>(stream: S, identity: Option<&Pair>, server: &[u8]) -> bool
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    is_admitted_by(&rustls::version::TLS13, stream, identity, server).await
}

/// As [`is_admitted`], by this version of TLS.
pub(crate) async fn is_admitted_by<S>(
    version: &'static rustls::SupportedProtocolVersion,
    stream: S,
    identity: Option<&Pair>,
    server: &[u8],
) -> bool
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut roots = rustls::RootCertStore::empty();
    roots.add(server.to_vec().into()).unwrap();
    let builder = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[version])
        .unwrap()
        .with_root_certificates(roots);
    let mut config = match identity {
        Some(pair) => builder.with_client_cert_resolver(Arc::new(Always(pair.certified()))),
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![b"h2".to_vec()];
    let name = ServerName::try_from("localhost").unwrap();
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    let Ok(mut stream) = connector.connect(name, stream).await else {
        return false;
    };
    // The client's preface and an empty SETTINGS frame (RFC 9113, sections 3.4 and 6.5).
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    if stream.write_all(preface).await.is_err() {
        return false;
    }
    let mut frame = [0; 9];
    matches!(stream.read_exact(&mut frame).await, Ok(9) if frame[3] == 4)
}

/// A server's TLS with the given identity, that takes any client or none.
pub(crate) fn acceptor(identity: &Pair) -> tokio_rustls::TlsAcceptor {
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(Always(identity.certified())));
    config.alpn_protocols = vec![b"h2".to_vec()];
    Arc::new(config).into()
}

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}
