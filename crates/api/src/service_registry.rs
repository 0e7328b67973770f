//! Registries: where the hosts of a service are, and where this process says that it is one of them.
//!
//! A registry lives on the control side and never meets a request. For each service that a cluster asks for it is told to
//! watch, and says whenever the hosts have changed; what it said last stays in use while it has nothing to say.
//!
//! ```text
//! Parsed ── prepare ──▶ ServiceRegistry ── watch(service, Discovered) ──▶ hosts of clusters
//!                        one per use    ├─ register(entry)   ──▶ others find this process
//!                                       └─ deregister(entry)
//! ```
//!
//! Its futures are polled on the control side, so they must not block. One that ends, fails or panics is begun again after
//! a pause that grows.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::certificate_provider::Provide;
use crate::factory::PrepareError;

/// A prepared configuration of a registry: the registry itself.
pub trait ServiceRegistry: Send + Sync {
    /// Tells `hosts` where `service` is, now and whenever that changes, until the future is dropped. It ends only when it
    /// cannot go on; the error says why, and it is called again later. A registry that cannot be reached tells nothing: the
    /// hosts that it told last stay.
    ///
    /// A service that there is not has no hosts: that is to be told, and is no error.
    fn watch(self: Arc<Self>, service: String, hosts: Discovered) -> Provide<()>;

    /// Says that this process serves `entry`, for [`ServiceEntry::ttl`] at least. Called again well before that is over, and
    /// at once when it has failed. The default refuses: most registries are only read.
    fn register(self: Arc<Self>, entry: ServiceEntry) -> Provide<()> {
        let message = format!("it cannot be told of the service `{}`", entry.service);
        Box::pin(std::future::ready(Err(PrepareError::new(message))))
    }

    /// Takes back what [`register`](Self::register) said: the process ends, or its configuration has changed.
    fn deregister(self: Arc<Self>, _entry: ServiceEntry) -> Provide<()> {
        Box::pin(std::future::ready(Ok(())))
    }
}

/// A host of a service.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServiceHost {
    /// Where it is: an IP address and port, or `unix:/path`. Another is left out, and the log tells.
    pub address: String,
    /// Its share beside the other hosts' weights, 1 to 128; what is more or less is brought to that.
    pub weight: u32,
}

/// What a process says of itself to a registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceEntry {
    /// The name of the service.
    pub service: String,
    /// A name of this process among those of the service.
    pub node: String,
    /// Where others reach it: an IP address or host name, and a port.
    pub address: String,
    /// Which version of the service it is; may be empty.
    pub version: String,
    /// Whatever else others may want to know of it.
    pub metadata: Vec<(String, String)>,
    /// How long the registry is to believe it without hearing of it again.
    pub ttl: Duration,
}

/// By which a registry tells the hosts of a service. Cheap to clone; telling never waits, from whatever thread.
#[derive(Clone)]
pub struct Discovered {
    tell: Arc<dyn Fn(Vec<ServiceHost>) + Send + Sync>,
}

impl Discovered {
    /// A handle that calls `tell`: for the host.
    #[must_use]
    pub fn new(tell: impl Fn(Vec<ServiceHost>) + Send + Sync + 'static) -> Self {
        Self {
            tell: Arc::new(tell),
        }
    }

    /// These are all the hosts from now on. Their order means nothing; an address counts once. Telling the same again costs
    /// nothing.
    pub fn tell(&self, hosts: Vec<ServiceHost>) {
        (self.tell)(hosts);
    }
}

impl fmt::Debug for Discovered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Discovered")
    }
}

impl ServiceHost {
    /// A host with the weight 1.
    #[must_use]
    pub fn new(address: impl Into<String>) -> Self {
        Self {
            address: address.into(),
            weight: 1,
        }
    }
}
