//! A host's handshake.

use std::io;

use rustls::{CertificateError, Error};
use tokio_rustls::{TlsConnector, TlsStream};

use super::client::WorkerTls;
use super::identity::TlsIdentity;
use crate::io::Io;

/// Does the handshake with a host over a connection that is there. The caller limits its time.
pub(crate) async fn connect(
    tls: &WorkerTls,
    identity: &TlsIdentity,
    io: Io,
) -> Result<Io, TlsConnectError> {
    let Some((config, name)) = tls.handshake(identity) else {
        return Err(TlsConnectError("not_ready", io::ErrorKind::Other.into()));
    };
    let connected = TlsConnector::from(config)
        .connect(name, Io::read_ahead(io))
        .await;
    match connected {
        Ok(stream) => Ok(Io::Tls(Box::new(TlsStream::Client(stream)))),
        Err(error) => Err(TlsConnectError(cause(&error), error)),
    }
}

/// Why a host's handshake failed: in a word for details of responses, and in full for logs.
#[derive(Debug, thiserror::Error)]
#[error("the TLS handshake failed ({0}): {1}")]
pub(crate) struct TlsConnectError(pub(crate) &'static str, io::Error);

impl TlsConnectError {
    /// The request names a host that no certificate can be for.
    pub(crate) fn no_name() -> Self {
        Self("authority_is_no_name", io::ErrorKind::InvalidInput.into())
    }
}

fn cause(error: &io::Error) -> &'static str {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref());
    match inner {
        Some(Error::InvalidCertificate(error)) => match error {
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                "certificate_expired"
            }
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                "certificate_not_valid_yet"
            }
            CertificateError::UnknownIssuer => "certificate_of_unknown_issuer",
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                "certificate_for_another_name"
            }
            CertificateError::Revoked
            | CertificateError::UnknownRevocationStatus
            | CertificateError::ExpiredRevocationList
            | CertificateError::ExpiredRevocationListContext { .. } => "certificate_revoked",
            _ => "certificate_not_valid",
        },
        Some(Error::AlertReceived(_)) => "refused_by_host",
        Some(Error::InvalidMessage(_)) => "host_speaks_no_tls",
        Some(Error::PeerIncompatible(_) | Error::NoApplicationProtocol) => "nothing_in_common",
        Some(_) => "handshake_failed",
        None => "connection_termination",
    }
}
