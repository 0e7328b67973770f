//! Making a connection to a host.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::rc::Rc;

use thiserror::Error;
use tokio::net::{TcpStream, UnixStream};
use transom_config::HostAddress;

use super::WorkerHost;
use crate::io::Io;
use crate::tls::{self, TlsConnectError};

/// A connection that is being made.
pub(crate) type Connecting = Pin<Box<dyn Future<Output = Result<Connected, ConnectError>>>>;

/// A connection that was made.
#[derive(Debug)]
pub(crate) struct Connected {
    pub(crate) io: Io,
    /// Which TLS of the host it was made with; 0 for none.
    pub(crate) generation: u64,
}

/// Why a host could not be connected.
#[derive(Debug, Error)]
pub(crate) enum ConnectError {
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

/// Connects a host, TLS and all, within its cluster's `connect_timeout`.
pub(crate) fn connect(host: &Rc<WorkerHost>) -> Connecting {
    let host = Rc::clone(host);
    let limit = host.cluster.connect_timeout;
    Box::pin(async move {
        let generation = host.generation();
        let connected = tokio::time::timeout(limit, async {
            let io = connect_socket(&host.host.address)
                .await
                .map_err(ConnectError::Io)?;
            match &host.tls {
                Some(tls) => Ok(tls::connect(tls, io).await?),
                None => Ok(io),
            }
        });
        match connected.await {
            Ok(Ok(io)) => Ok(Connected { io, generation }),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(ConnectError::Timeout),
        }
    })
}

async fn connect_socket(address: &HostAddress) -> io::Result<Io> {
    match address {
        HostAddress::Tcp(address) => {
            let stream = TcpStream::connect(address).await?;
            // Heads and small bodies leave in one write; waiting for more only adds latency.
            stream.set_nodelay(true)?;
            Ok(Io::Tcp(stream))
        }
        HostAddress::Unix(path) => UnixStream::connect(path).await.map(Io::Unix),
    }
}
