//! Transports: how a socket is connected to a host.
//!
//! A transport gives a connected stream socket, and no more: PROXY protocol, TLS and the protocol that is spoken come on top
//! and are the proxy's. So whatever a transport does (a tunnel, a queue, another network's addresses), its descriptor is read
//! and written as fast as any.

use std::fmt;
use std::future::Future;
use std::io;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::sync::Arc;

/// A prepared configuration of a transport, shared by all workers.
pub trait Transport: Send + Sync {
    /// Connects. The future is polled on the worker that wants the connection, and must not block there; it is dropped when
    /// the cluster's `connect_timeout` is over.
    fn connect(self: Arc<Self>, to: Destination) -> Connect;

    /// Whether hosts must be spoken to with TLS: a cluster that says nothing of TLS has the default one then.
    fn requires_tls(&self) -> bool {
        false
    }

    /// What is wrong with a host's address, for a transport that cannot reach every host. Asked on the control side, before
    /// a host is used.
    fn check(&self, _address: &str) -> Result<(), String> {
        Ok(())
    }
}

/// What [`Transport::connect`] returns: a connected stream socket, or the end of a pair of them. Whether it blocks is set by
/// the proxy.
pub type Connect = Pin<Box<dyn Future<Output = io::Result<OwnedFd>> + Send>>;

/// Where a connection is to lead.
#[derive(Clone, PartialEq, Eq)]
pub struct Destination {
    /// The name of the cluster; empty where there is none.
    pub cluster: String,
    /// The host as the configuration or a registry writes it: `127.0.0.1:80`, `unix:/path`.
    pub address: String,
}

impl fmt::Debug for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of `{}`", self.address, self.cluster)
    }
}
