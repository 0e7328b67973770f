//! Making a connection to a host.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;

use thiserror::Error;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpStream, UnixStream};
use transom_api::Destination;
use transom_config::{HostAddress, socket_name};

use super::slot::{Lease, Room, Slot, room};
use super::{Identity, WorkerHost, by_transport, proxy_header};
use crate::io::Io;
use crate::tls::{self, TlsConnectError, TlsInfo};
use crate::worker::Worker;

/// A connection that is being made, or waited for.
pub(crate) type Connecting = Pin<Box<dyn Future<Output = Result<Obtained, ConnectError>>>>;

/// A connection that is there.
#[derive(Debug)]
pub(crate) enum Obtained {
    /// One that was used before and became idle while this request waited.
    Idle(Lease),
    /// A new one, and its place.
    Fresh(Connected, Slot),
}

/// A connection that was made.
#[derive(Debug)]
pub(crate) struct Connected {
    pub(crate) io: Io,
    pub(crate) facts: Rc<UpstreamConnection>,
    /// What it was made for.
    pub(crate) identity: Identity,
}

/// What is known of a connection to a host for as long as it is there.
#[derive(Debug)]
pub(crate) struct UpstreamConnection {
    /// A number of its own among all connections of the process.
    pub(crate) id: u64,
    /// Where it comes from; `None` for a Unix socket.
    pub(crate) local: Option<SocketAddr>,
    /// What its handshake brought to light; `None` for plain bytes.
    pub(crate) tls: Option<Box<TlsInfo>>,
}

/// Why a host could not be connected.
#[derive(Debug, Error)]
pub(crate) enum ConnectError {
    /// There are as many connections as may be, and as many requests that wait for one.
    #[error("its cluster has as many connections as it may have")]
    Overflow,
    /// Not within the cluster's `connect_timeout`.
    #[error("it did not answer in time")]
    Timeout,
    /// The kernel's own word: refused, unreachable, no such file.
    #[error("{0}")]
    Io(io::Error),
    /// It was reached, and the TLS handshake failed.
    #[error("{0}")]
    Tls(#[from] TlsConnectError),
}

/// Connects a host. With as many connections as bounds allow it waits until there is room or, if the caller can use such,
/// (`use_idle`) an idle one.
pub(crate) fn connection(
    host: &Rc<WorkerHost>,
    worker: &Rc<Worker>,
    identity: Identity,
    use_idle: bool,
) -> Connecting {
    let (host, worker) = (Rc::clone(host), Rc::clone(worker));
    Box::pin(async move { obtain(&host, &worker, identity, use_idle).await })
}

/// Connects a host anew: for what cannot use a connection that others used before.
pub(crate) async fn connect(
    host: &Rc<WorkerHost>,
    worker: &Rc<Worker>,
    identity: Identity,
) -> Result<(Connected, Slot), ConnectError> {
    match obtain(host, worker, identity, false).await? {
        Obtained::Fresh(connected, slot) => Ok((connected, slot)),
        // Not asked for, and so never given.
        Obtained::Idle(_) => Err(ConnectError::Overflow),
    }
}

async fn obtain(
    host: &Rc<WorkerHost>,
    worker: &Rc<Worker>,
    identity: Identity,
    idle: bool,
) -> Result<Obtained, ConnectError> {
    let slot = match Slot::open(host, worker.now()) {
        Some(slot) => slot,
        None => match room(host, worker, &identity, idle).await {
            Some(Room::Slot(slot)) => slot,
            Some(Room::Idle(lease)) => return Ok(Obtained::Idle(lease)),
            None => {
                worker.shard.add(host.metrics.overflows.connections.0, 1);
                return Err(ConnectError::Overflow);
            }
        },
    };
    worker.shard.add(host.metrics.connections.0, 1);
    let made = make(host, &identity).await;
    if made.is_err() {
        worker.shard.add(host.metrics.connect_failures.0, 1);
        host.note_outcome(false, worker);
    }
    let io = made?;
    let facts = UpstreamConnection {
        id: worker.connection_id(),
        local: io.local_address(),
        tls: io.host_tls().map(TlsInfo::of_host).map(Box::new),
    };
    let connected = Connected {
        io,
        facts: Rc::new(facts),
        identity,
    };
    Ok(Obtained::Fresh(connected, slot))
}

/// Connects, TLS and all, within the cluster's `connect_timeout`.
async fn make(host: &WorkerHost, identity: &Identity) -> Result<Io, ConnectError> {
    let connected = tokio::time::timeout(host.cluster.connect_timeout, async {
        let mut io = socket(host).await.map_err(ConnectError::Io)?;
        if let Some(protocol) = &host.cluster.proxy_protocol {
            // Before TLS: it is of the connection, and not of what is said on it.
            let header = proxy_header::header(protocol, identity.client().as_deref());
            io.write_all(&header).await.map_err(ConnectError::Io)?;
        }
        match &host.tls {
            Some(tls) => Ok(tls::connect(tls, &identity.tls, io).await?),
            None => Ok(io),
        }
    });
    match connected.await {
        Ok(Ok(io)) => Ok(io),
        Ok(Err(error)) => Err(error),
        Err(_) => Err(ConnectError::Timeout),
    }
}

/// A connected socket: the proxy's own, or that of the cluster's transport.
async fn socket(host: &WorkerHost) -> io::Result<Io> {
    let Some(transport) = &host.choices.transport else {
        return connect_socket(&host.host.address).await;
    };
    let to = Destination {
        cluster: host.cluster.name.clone(),
        address: host.host.text.clone(),
    };
    by_transport(Arc::clone(&transport.config), to).await
}

async fn connect_socket(address: &HostAddress) -> io::Result<Io> {
    match address {
        HostAddress::Tcp(address) => {
            let stream = TcpStream::connect(address).await?;
            // Heads and small bodies leave in one write; waiting for more only adds latency.
            stream.set_nodelay(true)?;
            Ok(Io::Tcp(stream))
        }
        HostAddress::Unix(path) => {
            let connected = UnixStream::connect(socket_name(path)).await;
            connected.map(Io::Unix)
        }
    }
}
