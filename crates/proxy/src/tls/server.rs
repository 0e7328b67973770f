//! TLS of a listener: which certificate is shown, and whose are asked for.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use rustls::server::{ClientHello, NoServerSessionStorage, ProducesTickets, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{RootCertStore, ServerConfig};
use transom_config::{CertificateFiles, ClientCertificate, ListenerTls, SanMatch};

use super::certificate::{Certificate, chain_of};
use super::files::{Stamp, TlsFileError, authorities, revocations};
use super::on_demand::{Known, OnDemand};
use super::provider::{provider, tickets, versions};
use super::source::{Good, Source};
use super::verify::{self, Trust};

/// TLS of a listener: where it comes from, and what handshakes use now.
pub(crate) struct ServerTls {
    pub(super) config: ListenerTls,
    pub(super) sources: Vec<Arc<Source>>,
    demand: Option<Arc<OnDemand>>,
    current: ArcSwap<Server>,
    seen: Mutex<Seen>,
}

/// What the current one was made from.
struct Seen {
    /// The files that are no certificates.
    stamps: Vec<Stamp>,
    goods: Vec<Arc<Good>>,
    /// Whether the files could be used when they were last read.
    good: bool,
}

/// What handshakes use.
pub(super) struct Server {
    pub(super) config: Arc<ServerConfig>,
    /// For names that are not published.
    pub(super) demand: Option<(Arc<OnDemand>, Arc<BySni>)>,
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
    revoked: Vec<Vec<u8>>,
    names: Vec<SanMatch>,
}

impl ServerTls {
    /// Makes it of what `sources` have given. `before` is what the listener had until now. Reads files: not for a worker,
    /// nor for the control thread.
    pub(super) fn load(
        config: &ListenerTls,
        sources: Vec<Arc<Source>>,
        demand: Option<Arc<OnDemand>>,
        before: Option<&Self>,
    ) -> Result<Self, TlsFileError> {
        let stamps = stamps(config);
        let goods: Vec<_> = sources.iter().map(|source| source.good()).collect();
        let before = before.map(|before| before.current.load_full());
        let server = Server::new(config, &goods, demand.as_ref(), before.as_deref())?;
        Ok(Self {
            config: config.clone(),
            sources,
            demand,
            current: ArcSwap::from_pointee(server),
            seen: Mutex::new(Seen {
                stamps,
                goods,
                good: true,
            }),
        })
    }

    /// Looks at its files and at what the sources have by now; publishes what is new. True when something was. What cannot
    /// be used leaves what is there. Reads files.
    pub(super) fn refresh(&self) -> Result<bool, TlsFileError> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let stamps = stamps(&self.config);
        let goods: Vec<_> = self.sources.iter().map(|source| source.good()).collect();
        let same_goods = goods
            .iter()
            .zip(&seen.goods)
            .all(|(now, before)| Arc::ptr_eq(now, before));
        if same_goods && seen.stamps == stamps {
            return Ok(false);
        }
        let before = self.current.load_full();
        seen.stamps = stamps;
        seen.good = false;
        let server = Server::new(&self.config, &goods, self.demand.as_ref(), Some(&before))?;
        seen.good = true;
        seen.goods = goods;
        self.current.store(Arc::new(server));
        Ok(true)
    }

    /// Whether its files could be used when they were last read.
    pub(super) fn is_good(&self) -> bool {
        self.seen
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .good
    }

    /// What handshakes use now.
    pub(super) fn current(&self) -> Arc<Server> {
        self.current.load_full()
    }

    /// The certificates that are shown now.
    pub(super) fn goods(&self) -> Vec<Arc<Good>> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.goods.clone()
    }

    pub(super) fn demand(&self) -> Option<&Arc<OnDemand>> {
        self.demand.as_ref()
    }

    pub(super) fn handshake_timeout(&self) -> Duration {
        self.config.handshake_timeout
    }
}

fn stamps(config: &ListenerTls) -> Vec<Stamp> {
    let admitted = config.client.admitted();
    let files = admitted
        .into_iter()
        .flat_map(|it| [&it.authorities, &it.revoked]);
    files.flatten().map(|file| Stamp::of(&file.value)).collect()
}

impl Server {
    fn new(
        config: &ListenerTls,
        goods: &[Arc<Good>],
        demand: Option<&Arc<OnDemand>>,
        before: Option<&Self>,
    ) -> Result<Self, TlsFileError> {
        let trust = match config.client.admitted() {
            Some(admitted) => Some(Trust {
                roots: match &admitted.authorities {
                    Some(file) => authorities(file)?,
                    None => authorities_of(goods, "clients", "client_ca")?,
                },
                revoked: match &admitted.revoked {
                    Some(file) => revocations(file)?,
                    None => Vec::new(),
                },
            }),
            None => None,
        };
        let admission = Admission::new(&config.client, trust.as_ref());
        let file = config
            .client
            .admitted()
            .and_then(|it| it.authorities.as_ref());
        let refused = |error: String| TlsFileError {
            message: format!("TLS cannot be set up: {error}"),
            span: file.and_then(|file| file.span),
            help: "this is a fault of the program, or of a file in `client_ca`".to_owned(),
        };
        let builder = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(versions(config.min_version))
            .map_err(|error| refused(error.to_string()))?;
        let builder = match (&config.client, trust) {
            (ClientCertificate::Optional(admitted), Some(trust)) => builder
                .with_client_cert_verifier(
                    verify::of_clients(trust, admitted, true).map_err(refused)?,
                ),
            (ClientCertificate::Required(admitted), Some(trust)) => builder
                .with_client_cert_verifier(
                    verify::of_clients(trust, admitted, false).map_err(refused)?,
                ),
            _ => builder.with_no_client_auth(),
        };
        let certificates = goods.iter().flat_map(|good| &good.certificates);
        let by_sni = Arc::new(BySni::new(certificates, demand.map(Arc::clone)));
        let mut server = builder.with_cert_resolver(Arc::<BySni>::clone(&by_sni));
        let tickets = match before.filter(|before| before.admission == admission) {
            Some(before) => Arc::clone(&before.tickets),
            None => tickets().map_err(|error| refused(error.to_string()))?,
        };
        // A ticket costs both sides about a twentieth of a handshake, and a client gets another with each connection.
        server.send_tls13_tickets = config.session_tickets as usize;
        if config.session_tickets > 0 {
            server.ticketer = Arc::clone(&tickets);
        }
        // Tickets keep sessions with the clients: whichever worker a client comes to, it needs no lock.
        server.session_storage = Arc::new(NoServerSessionStorage {});
        server.alpn_protocols = config
            .alpn
            .iter()
            .map(|name| name.clone().into_bytes())
            .collect();
        Ok(Self {
            config: Arc::new(server),
            demand: demand.map(|demand| (Arc::clone(demand), by_sni)),
            tickets,
            admission,
        })
    }
}

/// The authorities that providers name, of certificates of these peers, which `key` could name in a file.
pub(super) fn authorities_of(
    goods: &[Arc<Good>],
    peers: &str,
    key: &str,
) -> Result<RootCertStore, TlsFileError> {
    let error = |message: String| TlsFileError {
        message,
        span: None,
        help: format!(
            "name the file with the authorities that sign certificates of {peers}: {key}: FILE"
        ),
    };
    let mut roots = RootCertStore::empty();
    let given = goods.iter().filter_map(|good| good.given.as_ref());
    for bytes in given.filter_map(|given| given.authorities.as_ref()) {
        let chain = chain_of(bytes)
            .map_err(|cause| error(format!("what a provider names as authorities {cause}")))?;
        for certificate in chain {
            roots.add(certificate).map_err(|cause| {
                error(format!(
                    "an authority that a provider names cannot be used: {cause}"
                ))
            })?;
        }
    }
    if roots.is_empty() {
        return Err(error(format!(
            "no provider names an authority for certificates of {peers}"
        )));
    }
    Ok(roots)
}

impl Admission {
    fn new(client: &ClientCertificate, trust: Option<&Trust>) -> Self {
        let roots = trust.iter().flat_map(|trust| &trust.roots.roots);
        let revoked = trust.iter().flat_map(|trust| &trust.revoked);
        Self {
            policy: client.name(),
            authorities: roots
                .map(|root| [&*root.subject, &*root.subject_public_key_info].concat())
                .collect(),
            revoked: revoked.map(|list| list.to_vec()).collect(),
            names: client
                .admitted()
                .map(|admitted| admitted.names.clone())
                .unwrap_or_default(),
        }
    }
}

/// The files of a certificate.
pub(super) fn paths(files: &CertificateFiles) -> Vec<PathBuf> {
    let files = [
        Some(&files.certificate),
        Some(&files.private_key),
        files.ocsp_response.as_ref(),
    ];
    files
        .into_iter()
        .flatten()
        .map(|file| file.value.clone())
        .collect()
}

/// Chooses the certificate by the name that the client asks for.
pub(super) struct BySni {
    certificates: Vec<Arc<CertifiedKey>>,
    /// Which of them have a name. More than one where there is one for each kind of key.
    names: HashMap<String, Vec<usize>>,
    demand: Option<Arc<OnDemand>>,
}

impl BySni {
    fn new<'c>(
        certificates: impl Iterator<Item = &'c Certificate> + Clone,
        demand: Option<Arc<OnDemand>>,
    ) -> Self {
        let mut names: HashMap<String, Vec<usize>> = HashMap::new();
        for (index, certificate) in certificates.clone().enumerate() {
            for name in &certificate.names {
                names.entry(name.clone()).or_default().push(index);
            }
        }
        Self {
            certificates: certificates
                .map(|certificate| Arc::clone(&certificate.key))
                .collect(),
            names,
            demand,
        }
    }

    /// Whether a name in lower case is published.
    pub(super) fn has(&self, name: &str) -> bool {
        self.of_name(name).is_some()
    }

    /// The certificates for a name in lower case: those that have it, or else those whose wildcard stands for its first
    /// label (RFC 6125 section 6.4.3).
    fn of_name(&self, name: &str) -> Option<&[usize]> {
        let exact = self.names.get(name);
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
        let name = hello.server_name().map(str::to_ascii_lowercase);
        let named = name.as_deref().and_then(|name| self.of_name(name));
        // A client that can verify none has nothing in common with the listener: with any certificate the handshake goes on
        // to the place where that is told.
        let Some(named) = named else {
            if let (Some(demand), Some(name)) = (&self.demand, &name)
                && let Known::Certificate(key) = demand.find(name)
            {
                return Some(key);
            }
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

impl std::fmt::Debug for BySni {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BySni")
            .field("certificates", &self.certificates.len())
            .field("names", &self.names)
            .finish_non_exhaustive()
    }
}
