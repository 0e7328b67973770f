//! The `http` network filter.

use std::time::Duration;

use crate::{HopOptions, Located, Use};

/// What the `http` filter does with a connection.
#[derive(Clone, Debug, PartialEq)]
pub struct Http {
    /// The name of this use: `http` unless `id` is given.
    pub id: String,
    /// What each stream passes, in this order.
    pub stream_filters: Vec<Use>,
    /// What records each stream when it is complete.
    pub access_logs: Vec<Use>,
    /// The route table.
    pub route_table: Located<String>,
    /// How paths are brought into one form before filters and routes see them.
    pub paths: PathOptions,
    /// What becomes of the request field that tells of the client's certificate.
    pub forward_client_certificate: ForwardClientCertificate,
    /// Who the client is taken for, and what is told of it.
    pub hop: HopOptions,
    /// The protocol that clients speak; `None` is HTTP/1.
    pub protocol: Option<Use>,
    /// In which order a response passes the stream filters.
    pub response_order: ResponseOrder,
    /// How the proxy's own replies look.
    pub local_reply: LocalReplyOptions,
    /// Names of protocols that clients may switch to by Upgrade, in lower case; `websocket`.
    pub upgrades: Vec<String>,
    /// What becomes of a request whose client ends its sending direction.
    pub half_close: HalfClose,
    /// Whether lines of a head may end in LF alone; no.
    pub allow_bare_lf: bool,
    /// What a request may not exceed.
    pub limits: HttpLimits,
    /// How long things may take.
    pub timeouts: HttpTimeouts,
    /// How many bytes of a body are held for a side that does not read before the other side is read no more; 64 KiB.
    pub watermark: u64,
}

/// What becomes of a request whose client ends its sending direction (FIN) before the answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HalfClose {
    /// It is answered.
    #[default]
    Serve,
    /// It ends, as if the client had gone.
    Abort,
}

/// How paths are brought into one form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PathOptions {
    /// `%2F` and `%5C`; kept.
    pub escaped_slashes: Treatment,
    /// `.` and `..` (RFC 3986, section 5.2.4), however they are written; normalised.
    pub dot_segments: Treatment,
    /// Makes one slash of several in a row; not done.
    pub merge_slashes: bool,
}

/// What is done with a part of a path that can be written in several ways.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Treatment {
    /// It stays.
    Keep,
    /// The request is answered 400.
    Reject,
    /// It is resolved, also for the upstream.
    Normalise,
}

/// What becomes of the request field `x-forwarded-client-cert`, which tells the upstream of the client's certificate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ForwardClientCertificate {
    /// It is taken away: nobody says who he is but by TLS.
    #[default]
    Sanitise,
    /// It stays as the client sent it: the client is a proxy that is trusted.
    Forward,
    /// It is the certificate of this connection; taken away where there is none.
    Set,
}

/// In which order a response passes the stream filters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ResponseOrder {
    /// Last to first: what touched the request last touches the response first.
    #[default]
    Reverse,
    /// First to last, as written.
    Config,
}

/// How the proxy's own replies look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LocalReplyOptions {
    /// The status when no host can be reached or none is healthy; 502.
    pub upstream_unavailable: u16,
    /// Whether a reply repeats the headers of the request.
    pub echo_request_headers: bool,
}

/// What a request may not exceed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HttpLimits {
    /// Fields in a head; 100.
    pub fields: u32,
    /// Bytes of a head; 60 KiB.
    pub head: u64,
    /// Bytes of a request line; 8 KiB.
    pub request_line: u64,
    /// Bytes of a request's body; `None` is no limit.
    pub request_body: Option<u64>,
}

/// How long things may take. Zero is for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HttpTimeouts {
    /// From a request's first byte to the end of its head; 10 s.
    pub header: Duration,
    /// Between two pieces of a request's body; 30 s.
    pub body_idle: Duration,
    /// Between two pieces that a client takes of a response; 30 s.
    pub write_idle: Duration,
    /// Between two requests of a connection; 60 s.
    pub idle: Duration,
    /// From the end of a request's head to the end of the response, where the route sets none; 60 s.
    pub stream: Duration,
    /// Without a byte either way in a tunnel; 5 min.
    pub tunnel_idle: Duration,
}
