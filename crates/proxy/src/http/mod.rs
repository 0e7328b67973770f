//! HTTP: what the `http` network filter does with a connection.
//!
//! ```text
//!   Downstream ──events──▶ Exchange ──▶ Stream (filters, routes) ──▶ Exchange ──▶ Upstream
//!  (Http1Server) ◀──heads, data──┘                                      └──heads, data──▶ (HostPeer: Http1Client)
//! ```
//!
//! [`connection`] serves the requests of one connection, one after another; [`exchange`] drives one request and its
//! response between two ends that it knows as [`peer::Downstream`] and [`peer::Upstream`]: another protocol is another
//! of each. [`server`] and [`client`] are those of HTTP/1, with what they have alike in [`wire`]; [`foreign`] is the host's end of an
//! extension's codec, [`foreign_server`] the client's, which [`foreign_connection`] serves.

pub(crate) mod attempts;
pub(crate) mod body;
mod client;
pub(crate) mod connection;
pub(crate) mod exchange;
pub(crate) mod foreign;
pub(crate) mod foreign_connection;
mod foreign_server;
pub(crate) mod head;
pub(crate) mod host_peer;
pub(crate) mod http1_codec;
pub(crate) mod peer;
mod raw;
mod server;
pub(crate) mod tunnel;
mod wire;

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use transom_api::{Counter, Gauge, Histogram, ServerProtocol};
use transom_config::{
    ForwardClientCertificate, HalfClose, HttpTimeouts, LocalReplyOptions, PathOptions,
};
use transom_http1::Limits;

use crate::router::WorkerTable;
use crate::stream::chain::Chain;
use crate::stream::hop::Hop;

/// The `http` network filter of a listener, as one worker holds it.
pub(crate) struct HttpListener {
    pub(crate) chain: Rc<Chain>,
    pub(crate) table: WorkerTable,
    pub(crate) options: Rc<HttpOptions>,
    /// What clients speak; `None` is HTTP/1.
    pub(crate) protocol: Option<Arc<dyn ServerProtocol>>,
    pub(crate) local_reply: LocalReplyOptions,
    pub(crate) paths: PathOptions,
    pub(crate) forward_client_certificate: ForwardClientCertificate,
    pub(crate) hop: Arc<Hop>,
    pub(crate) watermark: usize,
}

/// What the codec and the exchange need of the configuration.
#[derive(Debug)]
pub(crate) struct HttpOptions {
    pub(crate) limits: Limits,
    /// The largest request body, in bytes.
    pub(crate) request_body: Option<u64>,
    pub(crate) timeouts: HttpTimeouts,
    pub(crate) metrics: HttpMetrics,
    /// Protocols that clients may switch to, in lower case.
    pub(crate) upgrades: Vec<Box<[u8]>>,
    pub(crate) half_close: HalfClose,
}

/// What is counted for a listener.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HttpMetrics {
    /// By the first digit of the status; 0 for streams without an answer.
    pub(crate) requests: [Counter; 6],
    pub(crate) active: Gauge,
    pub(crate) tunnels: Gauge,
    pub(crate) duration: Histogram,
}

/// A duration of configuration in which zero means "no limit".
pub(crate) fn limit(duration: Duration) -> Option<Duration> {
    (!duration.is_zero()).then_some(duration)
}
