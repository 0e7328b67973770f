//! The example that runs without a file: the auth filter before an upstream of its own.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use axum::Router;
use axum::http::{Method, Uri};

/// The configuration of the example; `UPSTREAM` stands for the upstream's address.
const CONFIGURATION: &str = include_str!("example.yaml");

/// An upstream on a port of the kernel's choice, and the configuration that leads to it.
pub(crate) struct Example {
    socket: TcpListener,
    address: SocketAddr,
}

impl Example {
    pub(crate) fn bind() -> std::io::Result<Self> {
        let socket = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        socket.set_nonblocking(true)?;
        let address = socket.local_addr()?;
        Ok(Self { socket, address })
    }

    pub(crate) fn configuration(&self) -> String {
        CONFIGURATION.replace("UPSTREAM", &self.address.to_string())
    }

    /// Serves the upstream on the runtime that this is called on.
    pub(crate) fn serve(self) -> std::io::Result<()> {
        let socket = tokio::net::TcpListener::from_std(self.socket)?;
        let answer =
            |method: Method, uri: Uri| async move { format!("the upstream saw {method} {uri}\n") };
        tokio::spawn(async move {
            if let Err(error) = axum::serve(socket, Router::new().fallback(answer)).await {
                tracing::error!(%error, "the example's upstream ended");
            }
        });
        Ok(())
    }
}
