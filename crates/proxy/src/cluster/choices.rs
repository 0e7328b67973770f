//! What a cluster chooses beside its selector.

use std::fmt;
use std::io;
use std::net::TcpStream as StdTcp;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream as StdUnix;
use std::sync::Arc;

use socket2::{Domain, SockRef};
use tokio::net::{TcpStream, UnixStream};
use transom_api::{ClientProtocol, Destination, Transport};

use crate::control::discovery::Followed;
use crate::control::snapshot::PreparedUse;
use crate::io::Io;

/// The name of the client that the proxy itself is.
pub(crate) const HTTP1: &str = "http1";

/// Where a cluster's hosts come from, how they are connected and what they speak, where that is not what goes without saying.
#[derive(Default)]
pub(crate) struct Choices {
    /// The service whose hosts a registry tells; `None`: the hosts are those of the configuration.
    pub(crate) followed: Option<Arc<Followed>>,
    /// What connects hosts; `None`: the proxy itself, by the kind of their address.
    pub(crate) transport: Option<PreparedUse<dyn Transport>>,
    /// What speaks to them; `None` is HTTP/1.1.
    pub(crate) client: Option<PreparedUse<dyn ClientProtocol>>,
}

impl Choices {
    /// Whether they are the same objects.
    pub(crate) fn same(&self, other: &Self) -> bool {
        let followed = match (&self.followed, &other.followed) {
            (Some(a), Some(b)) => Arc::ptr_eq(a, b),
            (None, None) => true,
            _ => false,
        };
        followed && self.same_way(other)
    }

    /// Whether hosts are connected and spoken to by the same objects.
    pub(crate) fn same_way(&self, other: &Self) -> bool {
        fn same<C: ?Sized>(a: Option<&PreparedUse<C>>, b: Option<&PreparedUse<C>>) -> bool {
            match (a, b) {
                (Some(a), Some(b)) => Arc::ptr_eq(&a.config, &b.config),
                (None, None) => true,
                _ => false,
            }
        }
        same(self.transport.as_ref(), other.transport.as_ref())
            && same(self.client.as_ref(), other.client.as_ref())
    }
}

impl fmt::Debug for Choices {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Choices")
            .field("followed", &self.followed.is_some())
            .field("transport", &self.transport.is_some())
            .field("client", &self.client.is_some())
            .finish()
    }
}

/// A socket by way of a transport.
pub(crate) async fn by_transport(transport: Arc<dyn Transport>, to: Destination) -> io::Result<Io> {
    adopt(transport.connect(to).await?)
}

/// A descriptor that a transport gave, as the event loop reads and writes it.
fn adopt(socket: OwnedFd) -> io::Result<Io> {
    let known = SockRef::from(&socket);
    known.set_nonblocking(true)?;
    let domain = known.local_addr()?.domain();
    if domain == Domain::IPV4 || domain == Domain::IPV6 {
        known.set_tcp_nodelay(true)?;
        return TcpStream::from_std(StdTcp::from(socket)).map(Io::Tcp);
    }
    if domain == Domain::UNIX {
        return UnixStream::from_std(StdUnix::from(socket)).map(Io::Unix);
    }
    Err(io::Error::other(
        "the transport gave a socket that is neither of IP nor of Unix",
    ))
}
