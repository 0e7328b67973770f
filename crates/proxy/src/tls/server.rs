//! TLS of a listener: which certificate is shown, and whose are asked for.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use rustls::server::{
    ClientHello, NoServerSessionStorage, ProducesTickets, ResolvesServerCert, WebPkiClientVerifier,
};
use rustls::sign::CertifiedKey;
use rustls::{RootCertStore, ServerConfig};
use transom_config::{CertificateFiles, ClientCertificate, ListenerTls};

use super::certificate::Certificate;
use super::files::{TlsFileError, authorities};
use super::provider::{provider, tickets, versions};
use super::published::{Loaded, Published};

/// TLS of a listener.
pub(crate) type ServerTls = Published<Server>;

/// What the files of a listener's `tls` became.
pub(crate) struct Server {
    pub(super) config: Arc<ServerConfig>,
    tickets: Arc<dyn ProducesTickets>,
    /// Who was let in when tickets were given out.
    admission: Admission,
}

/// What decides whether a client is let in. A ticket lets a client in without its certificate being looked at again, so
/// tickets are good only as long as this stays.
#[derive(PartialEq)]
struct Admission {
    policy: &'static str,
    authorities: Vec<Vec<u8>>,
}

impl Loaded for Server {
    type Config = ListenerTls;

    fn files(config: &ListenerTls) -> Vec<PathBuf> {
        let certificates = config.certificates.iter().flat_map(paths);
        let authorities = config.client.authorities().map(|file| file.value.clone());
        certificates.chain(authorities).collect()
    }

    fn load(config: &ListenerTls, before: Option<&Self>) -> Result<Self, TlsFileError> {
        let now = SystemTime::now();
        let loaded = config
            .certificates
            .iter()
            .map(|it| Certificate::load(it, now));
        let certificates: Vec<Certificate> = loaded.collect::<Result<_, _>>()?;
        let (roots, file) = match config.client.authorities() {
            Some(file) => (authorities(file)?, Some(file)),
            None => (RootCertStore::empty(), None),
        };
        let admission = Admission {
            policy: config.client.name(),
            authorities: roots
                .roots
                .iter()
                .map(|root| [&*root.subject, &*root.subject_public_key_info].concat())
                .collect(),
        };
        let refused = |error: String| TlsFileError {
            message: format!("TLS cannot be set up: {error}"),
            span: file.and_then(|file| file.span),
            help: "this is a fault of the program, or of a file in `client_ca`".to_owned(),
        };
        let builder = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(versions(config.min_version))
            .map_err(|error| refused(error.to_string()))?;
        let verifier = || WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider());
        let builder = match &config.client {
            ClientCertificate::None => builder.with_no_client_auth(),
            ClientCertificate::Optional(_) => builder.with_client_cert_verifier(
                verifier()
                    .allow_unauthenticated()
                    .build()
                    .map_err(|error| refused(error.to_string()))?,
            ),
            ClientCertificate::Required(_) => builder.with_client_cert_verifier(
                verifier()
                    .build()
                    .map_err(|error| refused(error.to_string()))?,
            ),
        };
        let mut server = builder.with_cert_resolver(Arc::new(BySni::new(&certificates)));
        let tickets = match before.filter(|before| before.admission == admission) {
            Some(before) => Arc::clone(&before.tickets),
            None => tickets().map_err(|error| refused(error.to_string()))?,
        };
        server.ticketer = Arc::clone(&tickets);
        // Tickets keep sessions with the clients: whichever worker a client comes to, it needs no lock.
        server.session_storage = Arc::new(NoServerSessionStorage {});
        server.alpn_protocols = config
            .alpn
            .iter()
            .map(|name| name.clone().into_bytes())
            .collect();
        Ok(Self {
            config: Arc::new(server),
            tickets,
            admission,
        })
    }
}

pub(super) fn paths(files: &CertificateFiles) -> [PathBuf; 2] {
    [
        files.certificate.value.clone(),
        files.private_key.value.clone(),
    ]
}

/// Chooses the certificate by the name that the client asks for.
#[derive(Debug)]
struct BySni {
    certificates: Vec<Arc<CertifiedKey>>,
    /// Which of them have a name. More than one where there is one for each kind of key.
    names: HashMap<String, Vec<usize>>,
}

impl BySni {
    fn new(certificates: &[Certificate]) -> Self {
        let mut names: HashMap<String, Vec<usize>> = HashMap::new();
        for (index, certificate) in certificates.iter().enumerate() {
            for name in &certificate.names {
                names.entry(name.clone()).or_default().push(index);
            }
        }
        Self {
            certificates: certificates
                .iter()
                .map(|certificate| Arc::clone(&certificate.key))
                .collect(),
            names,
        }
    }

    /// The certificates for a name: those that have it, or else those whose wildcard stands for its first label
    /// (RFC 6125 section 6.4.3).
    fn of_name(&self, name: &str) -> Option<&[usize]> {
        let name = name.to_ascii_lowercase();
        let exact = self.names.get(&name);
        let found = exact.or_else(|| {
            let (_, parent) = name.split_once('.')?;
            self.names.get(&format!("*.{parent}"))
        });
        found.map(Vec::as_slice)
    }
}

impl ResolvesServerCert for BySni {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let usable =
            |key: &&Arc<CertifiedKey>| key.key.choose_scheme(hello.signature_schemes()).is_some();
        let named = hello.server_name().and_then(|name| self.of_name(name));
        // A client that can verify none has nothing in common with the listener: with any certificate the handshake goes on
        // to the place where that is told.
        let Some(named) = named else {
            let mut all = self.certificates.iter();
            return all
                .find(usable)
                .or(self.certificates.first())
                .map(Arc::clone);
        };
        let mut named = named
            .iter()
            .filter_map(|index| self.certificates.get(*index));
        let first = named.clone().next();
        named.find(usable).or(first).map(Arc::clone)
    }
}
