//! The transports that are built in: `tcp`, `unix`, `tls`, `memory`.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream as StdUnix;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::net::{TcpStream, UnixStream};
use transom_api::{
    Connect, Destination, DuplicateExtension, Factory, Node, ParseError, Parsed, Prepare,
    PrepareContext, Registry, Schema, SharedData, Transport, Transports,
};
use transom_config::{HostAddress, socket_name};

/// Adds them.
pub(crate) fn register(registry: &mut Registry) -> Result<(), DuplicateExtension> {
    for kind in [Kind::Tcp, Kind::Unix, Kind::Tls, Kind::Memory] {
        registry.register::<Transports>(kind.name(), Arc::new(Builtin(kind)))?;
    }
    Ok(())
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Tcp,
    Unix,
    /// TCP on which there must be TLS.
    Tls,
    /// A pair of sockets to a listener of this process.
    Memory,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Unix => "unix",
            Self::Tls => "tls",
            Self::Memory => "memory",
        }
    }
}

struct Builtin(Kind);

/// A transport in use.
struct Used {
    kind: Kind,
    listeners: Arc<MemoryListeners>,
}

impl Factory<Transports> for Builtin {
    fn schema(&self) -> Schema {
        Schema::object().describe(match self.0 {
            Kind::Tcp => "TCP, to an IP address and port.",
            Kind::Unix => "A Unix socket.",
            Kind::Tls => "TCP, on which TLS is spoken: a cluster without `tls` has the default one.",
            Kind::Memory => "A pair of sockets to a listener of this process that is at this Unix socket; nobody else can be there.",
        })
    }

    fn parse(&self, config: &Node) -> Result<Arc<dyn Parsed<Transports>>, ParseError> {
        if !config.is_null() {
            config.as_fields()?.finish()?;
        }
        Ok(Arc::new(Self(self.0)))
    }
}

impl Parsed<Transports> for Builtin {
    fn prepare(&self, context: PrepareContext) -> Prepare<Transports> {
        let transport: Arc<dyn Transport> = Arc::new(Used {
            kind: self.0,
            listeners: MemoryListeners::of(&context.shared),
        });
        Box::pin(std::future::ready(Ok(transport)))
    }
}

impl Transport for Used {
    fn connect(self: Arc<Self>, to: Destination) -> Connect {
        Box::pin(async move {
            let address: HostAddress = to
                .address
                .parse()
                .map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
            match (self.kind, address) {
                (Kind::Tcp | Kind::Tls, HostAddress::Tcp(address)) => {
                    let stream = TcpStream::connect(address).await?.into_std()?;
                    Ok(stream.into())
                }
                (Kind::Unix, HostAddress::Unix(path)) => {
                    let stream = UnixStream::connect(socket_name(&path)).await?.into_std()?;
                    Ok(stream.into())
                }
                (Kind::Memory, _) => self.listeners.connect(&to.address),
                _ => Err(io::ErrorKind::AddrNotAvailable.into()),
            }
        })
    }

    fn requires_tls(&self) -> bool {
        matches!(self.kind, Kind::Tls)
    }

    fn check(&self, address: &str) -> Result<(), String> {
        let is_unix = address.starts_with("unix:");
        match self.kind {
            Kind::Tcp | Kind::Tls if is_unix => Err("it is a Unix socket".to_owned()),
            Kind::Unix | Kind::Memory if !is_unix => Err("it is no Unix socket".to_owned()),
            _ => Ok(()),
        }
    }
}

/// Listeners of this process to which connections can be handed, by their address.
#[derive(Default)]
pub(crate) struct MemoryListeners(Mutex<BTreeMap<String, Weak<dyn Take>>>);

/// Takes connections as if they were accepted.
pub(crate) trait Take: Send + Sync {
    /// Takes one, or refuses it: it has its most.
    fn take(&self, socket: OwnedFd) -> bool;
}

impl MemoryListeners {
    /// Those of the process. Who holds them keeps them.
    pub(crate) fn of(shared: &SharedData) -> Arc<Self> {
        shared.keep("transport/memory", Self::default)
    }

    pub(crate) fn put(&self, address: String, listener: Weak<dyn Take>) {
        let mut listeners = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        listeners.retain(|_, listener| listener.strong_count() > 0);
        listeners.insert(address, listener);
    }

    fn connect(&self, address: &str) -> io::Result<OwnedFd> {
        let listener = {
            let listeners = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            listeners.get(address).and_then(Weak::upgrade)
        };
        let listener = listener.ok_or_else(|| {
            let message = format!("no listener of this process is at {address}");
            io::Error::new(io::ErrorKind::ConnectionRefused, message)
        })?;
        let (here, there) = StdUnix::pair()?;
        there.set_nonblocking(true)?;
        if !listener.take(there.into()) {
            let message = format!("the listener at {address} has as many connections as it may");
            return Err(io::Error::new(io::ErrorKind::ConnectionRefused, message));
        }
        Ok(here.into())
    }
}
