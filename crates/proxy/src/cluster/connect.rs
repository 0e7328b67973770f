//! Making a connection to a host.

use std::future::Future;
use std::io;
use std::pin::Pin;

use thiserror::Error;
use tokio::net::{TcpStream, UnixStream};
use transom_config::HostAddress;

use super::WorkerHost;
use crate::io::Io;

/// A connection that is being made.
pub(crate) type Connecting = Pin<Box<dyn Future<Output = Result<Io, ConnectError>>>>;

/// Why a host could not be connected.
#[derive(Debug, Error)]
pub(crate) enum ConnectError {
    /// Not within the cluster's `connect_timeout`.
    #[error("it did not answer in time")]
    Timeout,
    /// The kernel's own word: refused, unreachable, no such file.
    #[error("{0}")]
    Io(io::Error),
}

/// Connects a host within its cluster's `connect_timeout`.
pub(crate) fn connect(host: &WorkerHost) -> Connecting {
    let address = host.host.address.clone();
    let limit = host.cluster.connect_timeout;
    Box::pin(async move {
        let connected = tokio::time::timeout(limit, async {
            match address {
                HostAddress::Tcp(address) => {
                    let stream = TcpStream::connect(address).await?;
                    // Heads and small bodies leave in one write; waiting for more only adds latency.
                    stream.set_nodelay(true)?;
                    Ok(Io::Tcp(stream))
                }
                HostAddress::Unix(path) => UnixStream::connect(path).await.map(Io::Unix),
            }
        });
        match connected.await {
            Ok(Ok(io)) => Ok(io),
            Ok(Err(error)) => Err(ConnectError::Io(error)),
            Err(_) => Err(ConnectError::Timeout),
        }
    })
}
