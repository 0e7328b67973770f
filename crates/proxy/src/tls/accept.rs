//! A client's handshake.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustls::server::Acceptor;
use rustls::{
    CipherSuite, ClientConnection, CommonState, HandshakeKind, ProtocolVersion, ServerConnection,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::{LazyConfigAcceptor, TlsStream, server};
use transom_api::Counter;

use super::certificate::PeerCertificate;
use super::server::ServerTls;
use crate::io::Io;
use crate::worker::Worker;

/// How long a client that was refused is read on, so that the alert arrives before the connection is reset.
const LINGER: Duration = Duration::from_secs(1);
/// And how much is read meanwhile at the most.
const LINGER_BYTES: u64 = 64 << 10;

/// What is counted of a listener's handshakes.
#[derive(Clone, Debug)]
pub(crate) struct HandshakeMetrics {
    pub(crate) full: Counter,
    pub(crate) resumed: Counter,
    pub(crate) failed: Counter,
}

/// What a handshake brought to light.
#[derive(Debug)]
pub(crate) struct TlsInfo {
    /// The name that the client asked for.
    pub(crate) server_name: Option<String>,
    pub(crate) version: &'static str,
    /// The cipher suite by its name in IANA's registry.
    pub(crate) cipher: Option<&'static str>,
    /// The protocol that was agreed on (ALPN).
    pub(crate) alpn: Option<Box<[u8]>>,
    /// The client's certificate, which was verified.
    pub(crate) peer: Option<PeerCertificate>,
}

/// Does a client's handshake. `None`: it failed, which is counted and told to the client.
pub(crate) async fn accept(
    worker: &Worker,
    tls: &ServerTls,
    metrics: &HandshakeMetrics,
    io: Io,
) -> Option<(Io, TlsInfo)> {
    // A handshake is two round trips; who needs longer is broken or wants to hold the connection.
    match tokio::time::timeout(tls.handshake_timeout(), handshake(worker, tls, io)).await {
        Ok(Ok(stream)) => {
            let (_, connection) = stream.get_ref();
            let kind = match connection.handshake_kind() {
                Some(HandshakeKind::Resumed) => &metrics.resumed,
                _ => &metrics.full,
            };
            worker.shard.add(kind.0, 1);
            let info = TlsInfo::of(connection);
            Some((Io::Tls(Box::new(TlsStream::Server(stream))), info))
        }
        Ok(Err((error, io))) => {
            worker.shard.add(metrics.failed.0, 1);
            tracing::debug!(%error, "a client's TLS handshake failed");
            // A client that went away needs no word.
            if let (io::ErrorKind::InvalidData, Some(io)) = (error.kind(), io) {
                let _ = tokio::time::timeout(LINGER, linger(io)).await;
            }
            None
        }
        Err(_) => {
            worker.shard.add(metrics.failed.0, 1);
            tracing::debug!("a client's TLS handshake took too long");
            None
        }
    }
}

type Failed = (io::Error, Option<Io>);

async fn handshake(
    worker: &Worker,
    tls: &ServerTls,
    io: Io,
) -> Result<server::TlsStream<Io>, Failed> {
    let mut hello = LazyConfigAcceptor::new(Acceptor::default(), Io::read_ahead(io));
    let start = match (&mut hello).await {
        Ok(start) => start,
        Err(error) => return Err((error, hello.take_io())),
    };
    let mut current = tls.current();
    if let Some((demand, published)) = &current.demand {
        let name = start
            .client_hello()
            .server_name()
            .map(str::to_ascii_lowercase);
        if let Some(name) = name.filter(|name| !published.has(name)) {
            demand.wait_for(&name).await;
            // It may have been published meanwhile.
            current = tls.current();
        }
    }
    let accepting = start.into_stream(Arc::clone(&current.config));
    let accepted = worker.handshakes.pass(accepting.into_fallible()).await;
    accepted.map_err(|(error, io)| (error, Some(io)))
}

/// Says that nothing more comes, and reads on until the client has closed too.
async fn linger(mut io: Io) {
    if io.shutdown().await.is_ok() {
        let mut rest = io.take(LINGER_BYTES);
        let mut dropped = [0; 1024];
        while matches!(rest.read(&mut dropped).await, Ok(count) if count > 0) {}
    }
}

impl TlsInfo {
    fn of(connection: &ServerConnection) -> Self {
        Self {
            server_name: connection.server_name().map(str::to_owned),
            ..Self::common(connection)
        }
    }

    /// Of a handshake with a host.
    pub(crate) fn of_host(connection: &ClientConnection) -> Self {
        Self::common(connection)
    }

    fn common(connection: &CommonState) -> Self {
        Self {
            server_name: None,
            version: match connection.protocol_version() {
                Some(ProtocolVersion::TLSv1_3) => "TLSv1.3",
                _ => "TLSv1.2",
            },
            cipher: connection
                .negotiated_cipher_suite()
                .and_then(|suite| cipher_name(suite.suite())),
            alpn: connection.alpn_protocol().map(Into::into),
            peer: connection
                .peer_certificates()
                .and_then(<[_]>::first)
                .map(PeerCertificate::of),
        }
    }
}

/// A cipher suite's name in IANA's registry: rustls calls those of TLS 1.3 `TLS13_…`.
fn cipher_name(suite: CipherSuite) -> Option<&'static str> {
    Some(match suite {
        CipherSuite::TLS13_AES_128_GCM_SHA256 => "TLS_AES_128_GCM_SHA256",
        CipherSuite::TLS13_AES_256_GCM_SHA384 => "TLS_AES_256_GCM_SHA384",
        CipherSuite::TLS13_CHACHA20_POLY1305_SHA256 => "TLS_CHACHA20_POLY1305_SHA256",
        suite => suite.as_str()?,
    })
}
