//! TLS of a cluster: whose certificates are believed, and which one is shown.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use rustls::client::Resumption;
use rustls::{ClientConfig, RootCertStore, SignatureScheme};
use rustls_pki_types::ServerName;
use transom_config::{ClusterTls, HostAddress, TrustedCa};

use super::certificate::Certificate;
use super::files::{TlsFileError, authorities, revocations};
use super::identity::{TlsIdentity, name_of};
use super::names::NameRules;
use super::provider::{provider, versions};
use super::published::{Loaded, Published};
use super::server::paths;
use super::verify::{self, Trust, Unverified};

/// TLS of a cluster.
pub(crate) type ClientTls = Published<Client>;

/// What the files of a cluster's `tls` became.
pub(crate) struct Client {
    config: ClientConfig,
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
            .is_some_and(|(client, _)| self.shared.is_current(client));
        if !same {
            // A worker's sessions with this host: it has one name, or those that requests bring.
            let names = if self.by_authority { 64 } else { 1 };
            let client = self.shared.current();
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

impl Loaded for Client {
    type Config = ClusterTls;

    fn files(config: &ClusterTls) -> Vec<PathBuf> {
        let authorities = match &config.trusted {
            Some(TrustedCa::File(file)) => Some(file.value.clone()),
            Some(TrustedCa::System) | None => None,
        };
        let own = config.client.iter().flat_map(paths);
        let revoked = config.revoked.as_ref().map(|file| file.value.clone());
        own.chain(authorities).chain(revoked).collect()
    }

    fn load(config: &ClusterTls, _: Option<&Self>) -> Result<Self, TlsFileError> {
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
        let mut client = match &config.client {
            Some(files) => {
                let own = Certificate::load(files, SystemTime::now())?;
                builder.with_client_cert_resolver(Arc::new(Own(own.key)))
            }
            None => builder.with_no_client_auth(),
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

/// Shows the same certificate to whoever asks.
#[derive(Debug)]
struct Own(Arc<rustls::sign::CertifiedKey>);

impl rustls::client::ResolvesClientCert for Own {
    fn resolve(
        &self,
        _: &[&[u8]],
        _: &[SignatureScheme],
    ) -> Option<Arc<rustls::sign::CertifiedKey>> {
        Some(Arc::clone(&self.0))
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
