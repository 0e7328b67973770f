//! TLS of a cluster: whose certificates are believed, and which one is shown.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use rustls::client::{ResolvesClientCert, Resumption};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, RootCertStore, SignatureScheme};
use rustls_pki_types::ServerName;
use transom_config::{ClusterTls, HostAddress, TrustedCa};

use super::certificate::{Certificate, issuer};
use super::files::{Stamp, TlsFileError, authorities, revocations};
use super::identity::{TlsIdentity, name_of};
use super::names::NameRules;
use super::provider::{provider, versions};
use super::server::authorities_of;
use super::source::{Good, Source};
use super::verify::{self, Trust, Unverified};

/// TLS of a cluster: where it comes from, and what handshakes use now.
pub(crate) struct ClientTls {
    pub(super) config: ClusterTls,
    pub(super) sources: Vec<Arc<Source>>,
    current: ArcSwap<Client>,
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
pub(crate) struct Client {
    config: ClientConfig,
}

impl ClientTls {
    /// Makes it of what `sources` have given. Reads files: not for a worker, nor for the control thread.
    pub(super) fn load(
        config: &ClusterTls,
        sources: Vec<Arc<Source>>,
    ) -> Result<Self, TlsFileError> {
        // Before the files are read: what changes meanwhile is seen at the next look.
        let stamps = stamps(config);
        let goods: Vec<_> = sources.iter().map(|source| source.good()).collect();
        let client = Client::load(config, &goods)?;
        Ok(Self {
            config: config.clone(),
            sources,
            current: ArcSwap::from_pointee(client),
            seen: Mutex::new(Seen {
                stamps,
                goods,
                good: true,
            }),
        })
    }

    /// Looks at its files and at what the sources have by now; publishes what is new. True when something was. What cannot
    /// be used leaves what is there, and is not read again before it changes again. Reads files.
    pub(super) fn refresh(&self) -> Result<bool, TlsFileError> {
        let mut seen = self.lock();
        let stamps = stamps(&self.config);
        let goods: Vec<_> = self.sources.iter().map(|source| source.good()).collect();
        let same_goods = goods
            .iter()
            .zip(&seen.goods)
            .all(|(now, before)| Arc::ptr_eq(now, before));
        if same_goods && seen.stamps == stamps {
            return Ok(false);
        }
        seen.stamps = stamps;
        seen.good = false;
        let client = Client::load(&self.config, &goods)?;
        seen.good = true;
        seen.goods = goods;
        self.current.store(Arc::new(client));
        Ok(true)
    }

    /// Whether its files could be used when they were last read.
    pub(super) fn is_good(&self) -> bool {
        self.lock().good
    }

    /// The certificates that are shown now, as far as they are known.
    pub(super) fn goods(&self) -> Vec<Arc<Good>> {
        self.lock().goods.clone()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn stamps(config: &ClusterTls) -> Vec<Stamp> {
    let authorities = match &config.trusted {
        Some(TrustedCa::File(file)) => Some(file),
        Some(TrustedCa::System | TrustedCa::Providers) | None => None,
    };
    let files = [authorities, config.revoked.as_ref()];
    let files = files.into_iter().flatten();
    files.map(|file| Stamp::of(&file.value)).collect()
}

/// TLS of a host as one worker has it: with sessions of its own, so that no other is waited for.
pub(crate) struct WorkerTls {
    shared: Arc<ClientTls>,
    name: ServerName<'static>,
    /// The name is that of the request, where there is one.
    by_authority: bool,
    /// The authority that came last, with its name: mostly the next one is the same.
    last: RefCell<Option<Named>>,
    mine: RefCell<Option<(Arc<Client>, Arc<ClientConfig>)>>,
    generation: Cell<u64>,
}

/// An authority, and the name that it is.
type Named = (Box<[u8]>, Arc<ServerName<'static>>);

impl WorkerTls {
    pub(crate) fn new(shared: Arc<ClientTls>, address: &HostAddress, config: &ClusterTls) -> Self {
        // The loader has seen to it that a name is one, and that a Unix socket has one unless nothing is verified.
        let sni = config.sni.as_ref().map(|sni| sni.value.clone());
        let named = sni.and_then(|sni| ServerName::try_from(sni).ok());
        let name = named.unwrap_or_else(|| {
            ServerName::from(match address {
                HostAddress::Tcp(address) => address.ip(),
                HostAddress::Unix(_) => IpAddr::V4(Ipv4Addr::LOCALHOST),
            })
        });
        Self {
            shared,
            name,
            by_authority: config.auto_sni,
            last: RefCell::default(),
            mine: RefCell::default(),
            generation: Cell::new(0),
        }
    }

    /// Counts up when files changed: a connection of an earlier generation was made with what they were.
    pub(crate) fn generation(&self) -> u64 {
        let mut mine = self.mine.borrow_mut();
        let same = mine
            .as_ref()
            .is_some_and(|(client, _)| Arc::ptr_eq(&self.shared.current.load(), client));
        if !same {
            // A worker's sessions with this host: it has one name, or those that requests bring.
            let names = if self.by_authority { 64 } else { 1 };
            let client = self.shared.current.load_full();
            let mut config = client.config.clone();
            config.resumption = Resumption::in_memory_sessions(names);
            *mine = Some((client, Arc::new(config)));
            self.generation.set(self.generation.get() + 1);
        }
        self.generation.get()
    }

    /// What a connection for a request to this authority is made with. `None` when its host can be no certificate's.
    pub(crate) fn identity(&self, authority: Option<&[u8]>) -> Option<TlsIdentity> {
        let name = match authority.filter(|_| self.by_authority) {
            Some(authority) => Some(self.name_of(authority)?),
            None => None,
        };
        Some(TlsIdentity {
            generation: self.generation(),
            name,
        })
    }

    fn name_of(&self, authority: &[u8]) -> Option<Arc<ServerName<'static>>> {
        let mut last = self.last.borrow_mut();
        if let Some((known, name)) = last.as_ref()
            && **known == *authority
        {
            return Some(Arc::clone(name));
        }
        let name = Arc::new(name_of(authority)?);
        *last = Some((Box::from(authority), Arc::clone(&name)));
        Some(name)
    }

    /// What the next handshake uses, and the name that the host's certificate must have.
    pub(crate) fn handshake(
        &self,
        identity: &TlsIdentity,
    ) -> Option<(Arc<ClientConfig>, ServerName<'static>)> {
        self.generation();
        let mine = self.mine.borrow();
        let (_, config) = mine.as_ref()?;
        let name = identity.name.as_deref().unwrap_or(&self.name);
        Some((Arc::clone(config), name.clone()))
    }

    pub(crate) fn shares(&self, other: &Arc<ClientTls>) -> bool {
        Arc::ptr_eq(&self.shared, other)
    }
}

impl Client {
    fn load(config: &ClusterTls, goods: &[Arc<Good>]) -> Result<Self, TlsFileError> {
        let refused = |error: String| TlsFileError {
            message: format!("TLS cannot be set up: {error}"),
            span: None,
            help: "this is a fault of the program".to_owned(),
        };
        let builder = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(versions(config.min_version))
            .map_err(|error| refused(error.to_string()))?;
        let roots = match &config.trusted {
            Some(TrustedCa::File(file)) => Some(authorities(file)?),
            Some(TrustedCa::System) => Some(system_authorities()?),
            Some(TrustedCa::Providers) => Some(authorities_of(goods, "hosts", "ca")?),
            None => None,
        };
        let verifier = match roots {
            Some(roots) => {
                let revoked = config.revoked.as_ref().map(revocations).transpose()?;
                let trust = Trust {
                    roots,
                    revoked: revoked.unwrap_or_default(),
                };
                verify::of_hosts(trust, NameRules::new(&config.names)).map_err(refused)?
            }
            None => Arc::new(Unverified),
        };
        let builder = builder
            .dangerous()
            .with_custom_certificate_verifier(verifier);
        let own = goods.iter().flat_map(|good| &good.certificates);
        let own: Vec<Own> = own.map(Own::new).collect();
        let mut client = match own.is_empty() {
            true => builder.with_no_client_auth(),
            false => builder.with_client_cert_resolver(Arc::new(OwnCertificates(own))),
        };
        client.alpn_protocols = config
            .alpn
            .iter()
            .map(|name| name.clone().into_bytes())
            .collect();
        Ok(Self { config: client })
    }
}

fn system_authorities() -> Result<RootCertStore, TlsFileError> {
    let mut roots = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    // Systems carry certificates that nobody can use; they are no reason to trust nobody.
    let (good, _) = roots.add_parsable_certificates(found.certs);
    if good == 0 {
        return Err(TlsFileError {
            message: "the system has no authorities that it trusts".to_owned(),
            span: None,
            help: "install them (Debian: ca-certificates), set SSL_CERT_FILE, or name a file: ca: FILE"
                .to_owned(),
        });
    }
    Ok(roots)
}

/// The proxy's own certificates, the most wanted first.
#[derive(Debug)]
struct OwnCertificates(Vec<Own>);

/// A certificate of the proxy, and who has signed the certificates of its chain.
#[derive(Debug)]
struct Own {
    key: Arc<CertifiedKey>,
    issuers: Vec<Vec<u8>>,
}

impl Own {
    fn new(certificate: &Certificate) -> Self {
        Self {
            issuers: certificate.key.cert.iter().filter_map(issuer).collect(),
            key: Arc::clone(&certificate.key),
        }
    }
}

impl ResolvesClientCert for OwnCertificates {
    /// The first that the host can verify and whose authority it names; or else the first that it can verify, as what
    /// hosts say of authorities is a hint (RFC 8446 section 4.2.4); or else the first, so that the host says what is wrong.
    fn resolve(
        &self,
        authorities: &[&[u8]],
        schemes: &[SignatureScheme],
    ) -> Option<Arc<CertifiedKey>> {
        let usable = |own: &&Own| own.key.key.choose_scheme(schemes).is_some();
        let mut wanted = self.0.iter().filter(usable).filter(|own| {
            own.issuers
                .iter()
                .any(|issuer| authorities.contains(&issuer.as_slice()))
        });
        let own = wanted
            .next()
            .or_else(|| self.0.iter().find(usable))
            .or(self.0.first())?;
        Some(Arc::clone(&own.key))
    }

    fn has_certs(&self) -> bool {
        true
    }
}

impl fmt::Debug for WorkerTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WorkerTls")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}
