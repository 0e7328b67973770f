//! Certificate providers: where the certificates come from that TLS shows.
//!
//! A provider lives on the control side and never meets a connection. It is asked for what it has when its configuration
//! is prepared, again whenever that may have changed, and, if it says so, for the certificate of a name that a client asks
//! for at this moment. What it answers is plain bytes; the host checks them, and workers use what the host has published.
//!
//! ```text
//! Parsed ── prepare ──▶ CertificateProvider ── certificates() ────▶ Certificates   published for all names that are in them
//!                        ▲ one per use     └── certificate_for() ─▶ Certificate    for one name, while the ClientHello waits
//!                        └ watch(Changed)
//! ```
//!
//! Whatever a provider does, a worker does not wait for it: its futures are polled on the control side (so they must not
//! block), each under a deadline. One that fails, panics or is late leaves in place what it published before.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use crate::factory::PrepareError;

/// A prepared configuration of a certificate provider: the provider itself.
pub trait CertificateProvider: Send + Sync {
    /// Everything that it has for whoever asks. When its configuration is prepared it must succeed; later an error leaves
    /// what was published in use, and it is asked again.
    ///
    /// An error with a [place](PrepareError::span) says that the configuration is at fault, and refuses a reload. One
    /// without says that the provider could not do it now, and does not.
    ///
    /// To say that nothing has changed it gives the very [`Arc`] that it gave before.
    fn certificates(self: Arc<Self>) -> Provide<Arc<Certificates>>;

    /// Whether it makes or fetches certificates for names that are not among [`certificates`](Self::certificates).
    fn answers_on_demand(&self) -> bool {
        false
    }

    /// The certificate for a name that no published one has: a name of DNS in lower case, without a dot at its end, which
    /// the configuration allows to be asked for. A client waits, `on_demand.timeout` at the most. `None`: it has none, and
    /// is not asked again for a while.
    ///
    /// There is never more than one question for a name at a time. An answer is used until a third of its certificate's
    /// life is left, and then this is asked again.
    fn certificate_for(self: Arc<Self>, _name: String) -> Provide<Option<Certificate>> {
        Box::pin(std::future::ready(Ok(None)))
    }

    /// Called once, after it was prepared: a provider that learns by itself that something changed keeps the handle and
    /// tells.
    fn watch(&self, _changed: Changed) {}
}

/// What the questions to a provider return.
pub type Provide<T> = Pin<Box<dyn Future<Output = Result<T, PrepareError>> + Send>>;

/// All that a provider has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Certificates {
    /// Certificates with their keys. A client is shown one that has the name it asks for. May be empty.
    pub certificates: Vec<Certificate>,
    /// Authorities that sign certificates of clients, as PEM: for a listener that asks for them and names no file itself.
    pub authorities: Option<Vec<u8>>,
    /// After this time it wants to be asked again; zero is at every look that the process takes at files, about every
    /// three seconds. `None`: not before it [tells](Changed::tell).
    pub refresh_after: Option<Duration>,
}

/// A certificate with its key.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Certificate {
    /// The certificate, then those that lead from it to a root: PEM, or DER one behind the other.
    pub chain: Vec<u8>,
    /// Its private key in PKCS #8, PKCS #1 or SEC 1: PEM or DER, not encrypted.
    pub key: Vec<u8>,
    /// What its authority says of its revocation, to be stapled: an `OCSPResponse` in DER (RFC 6960).
    pub ocsp_response: Option<Vec<u8>>,
}

/// By which a provider says that it has something new. Cheap to clone; telling never waits, from whatever thread.
#[derive(Clone)]
pub struct Changed {
    tell: Arc<dyn Fn() + Send + Sync>,
}

impl Changed {
    /// A handle that calls `tell`: for the host.
    #[must_use]
    pub fn new(tell: impl Fn() + Send + Sync + 'static) -> Self {
        Self {
            tell: Arc::new(tell),
        }
    }

    /// Has the provider be asked for its certificates soon. What is told while it is being asked counts too.
    pub fn tell(&self) {
        (self.tell)();
    }
}

impl fmt::Debug for Changed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Changed")
    }
}

/// Shows no key.
impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificate")
            .field("chain", &format_args!("{} bytes", self.chain.len()))
            .field("key", &"[hidden]")
            .field("ocsp_response", &self.ocsp_response.is_some())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_in_no_log() {
        let certificate = Certificate {
            chain: b"chain".to_vec(),
            key: b"secret".to_vec(),
            ocsp_response: None,
        };
        let shown = format!("{certificate:?}");
        assert!(shown.contains("5 bytes"), "{shown}");
        assert!(
            !shown.contains("secret") && !shown.contains("115"),
            "{shown}"
        );
    }
}
