//! TLS for tests: authorities, certificates in files, clients and upstreams.

use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DnType, IsCa, Issuer,
    KeyIdMethod, KeyPair, RevokedCertParams, SanType,
};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection, StreamOwned,
    SupportedProtocolVersion, version,
};

use crate::{Message, PATIENCE};

/// An authority that signs certificates.
#[derive(Debug)]
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

/// A certificate and its key, as PEM.
#[derive(Clone, Debug)]
pub struct Pair {
    /// The certificate.
    pub certificate: String,
    /// Its private key.
    pub key: String,
    serial: u64,
}

/// A folder for files, which goes with its value.
#[derive(Debug)]
pub struct Folder(PathBuf);

impl Authority {
    /// A new authority of this name.
    ///
    /// # Panics
    /// When no key can be made.
    #[must_use]
    pub fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self {
            issuer: Issuer::new(params, key),
            pem,
        }
    }

    /// Its certificate, as PEM.
    #[must_use]
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// A certificate for these names; the first is its common name too. What has `://` in it is a URI.
    #[must_use]
    pub fn sign(&self, names: &[&str]) -> Pair {
        self.sign_until(names, 2099)
    }

    /// A certificate that is good until the end of January of a year.
    ///
    /// # Panics
    /// When a name is none.
    #[must_use]
    pub fn sign_until(&self, names: &[&str], year: i32) -> Pair {
        static SERIAL: AtomicU64 = AtomicU64::new(1);
        let (uris, names): (Vec<&str>, Vec<&str>) =
            names.iter().partition(|name| name.contains("://"));
        let sans: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let mut params = CertificateParams::new(sans).unwrap();
        for uri in &uris {
            let uri = SanType::URI((*uri).try_into().unwrap());
            params.subject_alt_names.push(uri);
        }
        let serial = SERIAL.fetch_add(1, Ordering::SeqCst);
        params.serial_number = Some(serial.into());
        params
            .distinguished_name
            .push(DnType::CommonName, *names.first().or(uris.first()).unwrap());
        params.not_before = rcgen::date_time_ymd(2000, 1, 1);
        params.not_after = rcgen::date_time_ymd(year, 1, 31);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        Pair {
            certificate: certificate.pem(),
            key: key.serialize_pem(),
            serial,
        }
    }

    /// The list of certificates that it has revoked, as PEM, good for a day.
    ///
    /// # Panics
    /// When it cannot be signed.
    #[must_use]
    pub fn revoke(&self, pairs: &[&Pair]) -> String {
        let now = SystemTime::now();
        let revoked = pairs.iter().map(|pair| RevokedCertParams {
            serial_number: pair.serial.into(),
            revocation_time: now.into(),
            reason_code: None,
            invalidity_date: None,
        });
        let params = CertificateRevocationListParams {
            this_update: now.into(),
            next_update: (now + Duration::from_secs(24 * 60 * 60)).into(),
            crl_number: 1_u64.into(),
            issuing_distribution_point: None,
            revoked_certs: revoked.collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        params.signed_by(&self.issuer).unwrap().pem().unwrap()
    }

    fn roots(&self) -> RootCertStore {
        roots(&self.pem)
    }
}

fn roots(pem: &str) -> RootCertStore {
    let mut roots = RootCertStore::empty();
    let der = CertificateDer::from_pem_slice(pem.as_bytes()).unwrap();
    roots.add(der).unwrap();
    roots
}

impl Pair {
    fn der(&self) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
        let certificate = CertificateDer::from_pem_slice(self.certificate.as_bytes()).unwrap();
        let key = PrivateKeyDer::from_pem_slice(self.key.as_bytes()).unwrap();
        (vec![certificate], key)
    }
}

impl Folder {
    /// A new, empty folder.
    ///
    /// # Panics
    /// When it cannot be made.
    #[must_use]
    pub fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let next = NEXT.fetch_add(1, Ordering::SeqCst);
        let name = format!("transom-e2e-{}-{next}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    /// Writes a file, in one step for those who look at it; gives its path.
    ///
    /// # Panics
    /// When it cannot be written.
    #[must_use]
    pub fn write(&self, name: &str, contents: &str) -> String {
        let path = self.0.join(name);
        let fresh = self.0.join(format!("{name}.new"));
        fs::write(&fresh, contents).unwrap();
        fs::rename(&fresh, &path).unwrap();
        path.display().to_string()
    }

    /// Writes `NAME.pem` and `NAME.key`; gives the two keys of a configuration that name them.
    #[must_use]
    pub fn pair(&self, name: &str, pair: &Pair) -> String {
        format!(
            "certificate: {}, private_key: {}",
            self.write(&format!("{name}.pem"), &pair.certificate),
            self.write(&format!("{name}.key"), &pair.key),
        )
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Default for Folder {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What is left lies in the temporary folder and harms nobody.
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

/// What clients do in their handshakes. Those made from one share its sessions.
#[derive(Clone, Debug)]
pub struct Secure {
    config: Arc<ClientConfig>,
}

impl Secure {
    /// Trusts this authority, and speaks every version.
    #[must_use]
    pub fn new(trusted: &Authority) -> Self {
        Self::with(trusted, None, &[], &[&version::TLS13, &version::TLS12])
    }

    /// The same with everything that can be chosen.
    ///
    /// # Panics
    /// When the certificate is not good.
    #[must_use]
    pub fn with(
        trusted: &Authority,
        own: Option<&Pair>,
        alpn: &[&str],
        versions: &[&'static SupportedProtocolVersion],
    ) -> Self {
        Self::trusting(trusted.roots(), own, alpn, versions)
    }

    /// Trusts the authority in a PEM file.
    ///
    /// # Panics
    /// When there is none.
    #[must_use]
    pub fn trusting_file(file: &Path) -> Self {
        let roots = roots(&fs::read_to_string(file).unwrap());
        Self::trusting(roots, None, &[], &[&version::TLS13, &version::TLS12])
    }

    fn trusting(
        roots: RootCertStore,
        own: Option<&Pair>,
        alpn: &[&str],
        versions: &[&'static SupportedProtocolVersion],
    ) -> Self {
        let builder = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(versions)
            .unwrap()
            .with_root_certificates(roots);
        let mut config = match own {
            Some(own) => {
                let (chain, key) = own.der();
                builder.with_client_auth_cert(chain, key).unwrap()
            }
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        Self {
            config: Arc::new(config),
        }
    }

    /// Connects and does the handshake with the server of this name.
    pub fn connect(&self, address: SocketAddr, name: &str) -> io::Result<SecureClient> {
        self.over(TcpStream::connect(address)?, name)
    }

    /// The handshake on a connection that is there.
    pub fn over(&self, mut stream: TcpStream, name: &str) -> io::Result<SecureClient> {
        stream.set_read_timeout(Some(PATIENCE))?;
        let name = ServerName::try_from(name.to_owned()).map_err(io::Error::other)?;
        let mut connection =
            ClientConnection::new(Arc::clone(&self.config), name).map_err(io::Error::other)?;
        connection.complete_io(&mut stream)?;
        Ok(SecureClient(BufReader::new(StreamOwned::new(
            connection, stream,
        ))))
    }
}

/// A client's connection.
#[derive(Debug)]
pub struct SecureClient(BufReader<StreamOwned<ClientConnection, TcpStream>>);

impl SecureClient {
    /// Sends a GET and reads its answer.
    pub fn try_get(&mut self, path: &str) -> io::Result<Option<Message>> {
        let request = format!("GET {path} HTTP/1.1\r\nHost: test\r\n\r\n");
        self.0.get_mut().write_all(request.as_bytes())?;
        Message::read_response(&mut self.0, "GET")
    }

    /// Sends a GET and reads its answer.
    ///
    /// # Panics
    /// When there is none.
    #[track_caller]
    pub fn get(&mut self, path: &str) -> Message {
        self.try_get(path).unwrap().unwrap()
    }

    /// Sends bytes.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.0.get_mut().write_all(bytes.as_ref())
    }

    /// Reads until the other side ends. An end without `close_notify` is an error.
    pub fn rest(&mut self) -> io::Result<Vec<u8>> {
        let mut rest = Vec::new();
        self.0.read_to_end(&mut rest)?;
        Ok(rest)
    }

    /// What is read.
    pub fn reader(&mut self) -> &mut impl BufRead {
        &mut self.0
    }

    /// What the handshake agreed on.
    #[must_use]
    pub fn session(&self) -> &ClientConnection {
        &self.0.get_ref().conn
    }

    /// Says that nothing more will be sent.
    pub fn close(&mut self) -> io::Result<()> {
        let stream = self.0.get_mut();
        stream.conn.send_close_notify();
        stream.flush()
    }

    /// The names in the certificate that the server showed, as the bytes of the certificate.
    ///
    /// # Panics
    /// When it showed none.
    #[must_use]
    pub fn certificate(&self) -> Vec<u8> {
        let shown = self.session().peer_certificates().unwrap();
        shown.first().unwrap().to_vec()
    }
}

impl Pair {
    /// As a provider gives it.
    #[must_use]
    pub fn plain(&self) -> transom_api::Certificate {
        transom_api::Certificate {
            chain: self.certificate.clone().into_bytes(),
            key: self.key.clone().into_bytes(),
            ocsp_response: None,
        }
    }

    /// The certificate's bytes.
    ///
    /// # Panics
    /// When it is not good.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        self.der().0.first().unwrap().to_vec()
    }
}

/// Serves each connection with TLS, by a thread of its own. Ends with the process: nobody waits for it.
///
/// # Panics
/// When no port can be bound, or the certificate is not good.
pub fn upstream(
    own: &Pair,
    clients: Option<&Authority>,
    serve: impl Fn(BufReader<StreamOwned<ServerConnection, TcpStream>>) + Send + Sync + 'static,
) -> SocketAddr {
    let builder = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .unwrap();
    let builder = match clients {
        Some(clients) => {
            let roots = Arc::new(clients.roots());
            let verifier =
                rustls::server::WebPkiClientVerifier::builder_with_provider(roots, provider());
            builder.with_client_cert_verifier(verifier.build().unwrap())
        }
        None => builder.with_no_client_auth(),
    };
    let (chain, key) = own.der();
    let config = Arc::new(builder.with_single_cert(chain, key).unwrap());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let serve = Arc::new(serve);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let serve = Arc::clone(&serve);
            let config = Arc::clone(&config);
            std::thread::spawn(move || {
                stream.set_read_timeout(Some(PATIENCE)).unwrap();
                let mut connection = ServerConnection::new(config).unwrap();
                if connection.complete_io(&mut stream).is_ok() {
                    serve(BufReader::new(StreamOwned::new(connection, stream)));
                }
            });
        }
    });
    address
}

/// Answers every request on a connection with what `answer` makes of it and of what is known of the connection.
pub fn answering(
    answer: impl Fn(&Message, &ServerConnection) -> Vec<u8> + Send + Sync + 'static,
) -> impl Fn(BufReader<StreamOwned<ServerConnection, TcpStream>>) + Send + Sync + 'static {
    move |mut connection| {
        while let Ok(Some(request)) = Message::read_request(&mut connection) {
            let bytes = answer(&request, &connection.get_ref().conn);
            if connection.get_mut().write_all(&bytes).is_err() {
                return;
            }
        }
    }
}
