//! One check of a host: a connection, TLS if its cluster has it, and a request if one is asked for.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;
use transom_config::{HealthCheck, HostAddress, Statuses, socket_name};
use transom_http1::{Event, Field, Limits, RequestKind, ResponseDecoder};

use crate::cluster::{PreparedCluster, proxy_header};
use crate::tls::WorkerTls;

/// How a host is checked.
pub(super) struct Probe {
    address: HostAddress,
    /// What a connection begins with.
    header: Option<Vec<u8>>,
    tls: Option<WorkerTls>,
    request: Option<Request>,
}

struct Request {
    bytes: Vec<u8>,
    /// The host that was configured.
    host: Option<String>,
    kind: RequestKind,
    statuses: Vec<Statuses>,
}

trait Socket: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Socket for T {}

impl Probe {
    pub(super) fn new(host: &HostAddress, check: &HealthCheck, cluster: &PreparedCluster) -> Self {
        let address = match (host, check.port) {
            (HostAddress::Tcp(address), Some(port)) => {
                HostAddress::Tcp(SocketAddr::new(address.ip(), port))
            }
            _ => host.clone(),
        };
        let tls = cluster.tls.as_ref().zip(cluster.config.tls.as_ref());
        let protocol = cluster.config.proxy_protocol.as_ref();
        Self {
            header: protocol.map(|protocol| proxy_header::header(protocol, None)),
            tls: tls.map(|(tls, config)| WorkerTls::new(Arc::clone(tls), &address, config)),
            request: check.http.as_ref().map(|http| {
                let authority = http.host.clone().unwrap_or_else(|| match &address {
                    HostAddress::Tcp(address) => address.to_string(),
                    HostAddress::Unix(_) => "localhost".to_owned(),
                });
                // A connection of its own for each check: that the host takes new ones is what is to be found out.
                let bytes = format!(
                    "{} {} HTTP/1.1\r\nHost: {authority}\r\nUser-Agent: transom-health-check\r\nConnection: close\r\n\r\n",
                    http.method, http.path
                );
                Request {
                    kind: RequestKind::of(http.method.as_bytes(), false),
                    bytes: bytes.into_bytes(),
                    host: http.host.clone(),
                    statuses: http.statuses.clone(),
                }
            }),
            address,
        }
    }

    /// Checks once. The error says what was wrong with the host.
    pub(super) async fn run(&mut self, limit: Duration) -> Result<(), String> {
        match tokio::time::timeout(limit, self.check()).await {
            Ok(result) => result,
            Err(_) => Err(format!("no answer within {limit:?}")),
        }
    }

    async fn check(&mut self) -> Result<(), String> {
        let mut socket = self
            .connect()
            .await
            .map_err(|error| format!("cannot be connected: {error}"))?;
        let Some(request) = &self.request else {
            return Ok(());
        };
        let status = request
            .exchange(&mut *socket)
            .await
            .map_err(|error| format!("no answer: {error}"))?;
        if request.statuses.iter().any(|good| good.contain(status)) {
            Ok(())
        } else {
            Err(format!("answered {status}"))
        }
    }

    async fn connect(&mut self) -> io::Result<Box<dyn Socket>> {
        // A check asks for a host by name only where it says so; else the name is that of the cluster.
        let host = self
            .request
            .as_ref()
            .and_then(|request| request.host.as_ref());
        let handshake = match &self.tls {
            Some(tls) => {
                let identity = tls.identity(host.map(String::as_bytes));
                Some(identity.and_then(|identity| tls.handshake(&identity)))
            }
            None => None,
        };
        let mut socket: Box<dyn Socket> = match &self.address {
            HostAddress::Tcp(address) => Box::new(TcpStream::connect(address).await?),
            HostAddress::Unix(path) => Box::new(UnixStream::connect(socket_name(path)).await?),
        };
        if let Some(header) = &self.header {
            socket.write_all(header).await?;
        }
        match handshake {
            None => Ok(socket),
            Some(None) => Err(io::Error::other("its TLS is not ready")),
            Some(Some((config, name))) => {
                let connected = TlsConnector::from(config).connect(name, socket).await?;
                Ok(Box::new(connected))
            }
        }
    }
}

impl Request {
    /// Sends the request and reads until the answer's head is there. Its status.
    async fn exchange(&self, socket: &mut dyn Socket) -> io::Result<u16> {
        socket.write_all(&self.bytes).await?;
        socket.flush().await?;
        let mut decoder = ResponseDecoder::new(Limits::default());
        decoder.begin(self.kind);
        let mut input = Vec::new();
        loop {
            let mut no_fields = |_: Field| {};
            let (consumed, event) = decoder
                .decode(&input, &mut no_fields)
                .map_err(io::Error::other)?;
            input.drain(..consumed.min(input.len()));
            match event {
                Event::Head(head) => return Ok(head.status),
                // Interim responses come before the answer (RFC 9110 section 15.2).
                Event::NeedMore if socket.read_buf(&mut input).await? == 0 => {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                _ => {}
            }
        }
    }
}
