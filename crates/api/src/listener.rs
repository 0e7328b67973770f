//! Listener filters: they see an accepted socket before its connection begins.

use std::net::SocketAddr;
use std::rc::Rc;

use crate::context::record_methods;
use crate::factory::{BuildError, FilterError};
use crate::host::RecordHost;
use crate::value::Metadata;
use crate::verdict::ListenerVerdict;
use crate::worker::{Worker, WorkerPart};

/// A filter of one accepted socket. Bytes are peeked, never eaten: what is behind sees them again.
pub trait ListenerFilter {
    /// The socket was accepted; this filter has seen no byte. To go on from here is to want none; to stop is to wait for
    /// [`on_peek`](Self::on_peek), if the filter [peeks](ListenerFilterConfig::peek) at all, as the default does.
    fn on_accept(&mut self, _socket: &mut Socket<'_>) -> ListenerVerdict {
        ListenerVerdict::StopIteration
    }

    /// Bytes are there to peek: all that have come, up to [`ListenerFilterConfig::peek`]. `end`: no more will come.
    fn on_peek(&mut self, _socket: &mut Socket<'_>, _bytes: &[u8], _end: bool) -> ListenerVerdict {
        ListenerVerdict::Continue
    }
}

/// A prepared configuration of a listener filter, shared by all workers.
pub trait ListenerFilterConfig: Send + Sync {
    /// How many bytes the filter may need to see; 0: none, `on_peek` is not called.
    fn peek(&self) -> usize {
        0
    }

    /// Builds the part that one worker has.
    fn on_worker(
        &self,
        worker: &mut Worker<'_>,
    ) -> Result<Rc<dyn ListenerFilterWorker>, BuildError>;
}

/// A worker's part of a listener filter.
pub trait ListenerFilterWorker: WorkerPart {
    /// Makes the filter of a socket.
    fn socket(&self, socket: &mut Socket<'_>) -> Result<Box<dyn ListenerFilter>, FilterError>;
}

/// What is known of an accepted socket. Filters set what they find out.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SocketInfo {
    /// The client's address; `None` for a Unix socket. A filter that reads PROXY protocol sets it.
    pub source: Option<SocketAddr>,
    /// The address that the client connected to; `None` for a Unix socket. A filter that asks for the original
    /// destination sets it.
    pub destination: Option<SocketAddr>,
    /// The peer of the socket, whatever PROXY protocol says of the client; `None` for a Unix socket.
    pub direct_source: Option<SocketAddr>,
    /// The server name of a TLS hello, in lower case.
    pub server_name: Option<String>,
    /// The protocols that the client offers in its TLS hello (ALPN), the most wanted first; without TLS the one that it
    /// was found to speak: `http/1.1`, `h2c`.
    pub application_protocols: Vec<String>,
    /// What the first bytes were found to be: `tls`, `http1`, `http2`, `raw`.
    pub detected: Option<&'static str>,
    /// What becomes dynamic metadata of the connection, and of its streams where they have none of that namespace.
    pub metadata: Metadata,
    /// In `on_peek`: how many of the bytes that are shown are read away for good (a PROXY protocol header). Later filters
    /// and the connection do not see them. Zero again at the next call.
    pub consumed: usize,
    /// Which listener serves the connection.
    pub hand_over: HandOver,
}

/// Which listener serves a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum HandOver {
    /// The one that accepted it.
    #[default]
    Stay,
    /// The one on its `destination`, or on all addresses with that port; else the one that accepted it. Its listener
    /// filters see the connection then; they cannot hand it on.
    ToDestination,
    /// The same; before the one that accepted it comes one on the loopback with that port.
    ToDestinationOrLoopback,
}

/// The host's side of [`Socket`].
pub trait SocketHost: RecordHost {
    /// What is known of the socket.
    fn info(&mut self) -> &mut SocketInfo;

    /// Where the client wanted to go before the kernel redirected it; `None` when it did not.
    fn original_destination(&self) -> Option<SocketAddr> {
        None
    }

    /// Reports that the extension failed on this socket: its failure policy holds, and it is not called again.
    fn fail(&mut self, error: FilterError);
}

/// What a listener filter can see and do during a callback.
pub struct Socket<'a> {
    host: &'a mut dyn SocketHost,
}

impl<'a> Socket<'a> {
    /// A context over a host.
    #[must_use]
    pub fn new(host: &'a mut dyn SocketHost) -> Self {
        Self { host }
    }

    /// What is known of the socket, to read and to set.
    pub fn info(&mut self) -> &mut SocketInfo {
        self.host.info()
    }

    /// Where the client wanted to go before the kernel brought its connection to this listener (netfilter's `REDIRECT`,
    /// `DNAT` and `TPROXY`). `None` when it did not, or does not tell.
    #[must_use]
    pub fn original_destination(&self) -> Option<SocketAddr> {
        self.host.original_destination()
    }

    /// Reports that the extension failed on this socket: its failure policy holds, and it is not called again.
    pub fn fail(&mut self, error: FilterError) {
        self.host.fail(error);
    }

    record_methods!();
}
