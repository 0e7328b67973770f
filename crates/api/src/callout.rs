//! Calls that a filter makes to a cluster while its stream waits.

use std::fmt;
use std::time::Duration;

/// An HTTP request to a cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HttpCall {
    /// The cluster: one that the extension named in [`Parsed::clusters`](crate::factory::Parsed::clusters).
    pub cluster: String,
    /// Headers, with `:method`, `:path` and `:authority` among them.
    pub headers: Vec<(Vec<u8>, Vec<u8>)>,
    /// The whole body.
    pub body: Vec<u8>,
    /// Trailers.
    pub trailers: Vec<(Vec<u8>, Vec<u8>)>,
    /// How long the whole call may take. Default 5 s.
    pub timeout: Option<Duration>,
}

impl HttpCall {
    /// A call with the three headers that each must have.
    #[must_use]
    pub fn new(cluster: &str, method: &str, authority: &str, path: &str) -> Self {
        Self {
            cluster: cluster.to_owned(),
            ..Self::default()
        }
        .header(":method", method)
        .header(":path", path)
        .header(":authority", authority)
    }

    /// The same with one more header.
    #[must_use]
    pub fn header(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.headers
            .push((name.as_bytes().to_vec(), value.as_ref().to_vec()));
        self
    }

    /// The same with a body.
    #[must_use]
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    /// The same with a timeout.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }
}

/// A unary gRPC request to a cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GrpcCall {
    /// The cluster; it must speak HTTP/2.
    pub cluster: String,
    /// The full service name, such as `envoy.service.auth.v3.Authorization`.
    pub service: String,
    /// The method.
    pub method: String,
    /// Metadata to send.
    pub metadata: Vec<(Vec<u8>, Vec<u8>)>,
    /// The encoded request message.
    pub message: Vec<u8>,
    /// How long the whole call may take. Default 5 s.
    pub timeout: Option<Duration>,
}

/// A streaming gRPC call to a cluster: messages go and come until one side ends it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GrpcOpen {
    /// The cluster; it must speak HTTP/2.
    pub cluster: String,
    /// The full service name.
    pub service: String,
    /// The method.
    pub method: String,
    /// Metadata to send.
    pub metadata: Vec<(Vec<u8>, Vec<u8>)>,
}

/// Something that came on a streaming gRPC call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GrpcEvent {
    /// The other side's metadata.
    Headers(Vec<(Vec<u8>, Vec<u8>)>),
    /// An encoded message.
    Message(Vec<u8>),
    /// The call is over.
    Closed {
        /// gRPC's status.
        status: u32,
        /// Its text.
        message: String,
        /// The trailers.
        trailers: Vec<(Vec<u8>, Vec<u8>)>,
    },
}

/// A callout under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CalloutId(pub u64);

/// A callout that ended. Each that was started ends once, unless it was cancelled or its stream is gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CalloutDone {
    /// Which.
    pub id: CalloutId,
    /// Its answer, or why there is none.
    pub result: Result<CalloutResponse, CalloutError>,
}

/// The answer to a callout.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CalloutResponse {
    /// Headers, `:status` first.
    pub headers: Vec<(Vec<u8>, Vec<u8>)>,
    /// The whole body.
    pub body: Vec<u8>,
    /// Trailers.
    pub trailers: Vec<(Vec<u8>, Vec<u8>)>,
}

impl CalloutResponse {
    /// The first value of `name`, without regard to case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&[u8]> {
        self.headers
            .iter()
            .find(|(key, _)| key.eq_ignore_ascii_case(name.as_bytes()))
            .map(|(_, value)| value.as_slice())
    }

    /// The status; 0 when the host gave none.
    #[must_use]
    pub fn status(&self) -> u16 {
        self.header(":status")
            .and_then(|value| std::str::from_utf8(value).ok()?.parse().ok())
            .unwrap_or(0)
    }
}

/// Why a callout was not made or not answered.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CalloutError {
    /// The extension did not name this cluster in its configuration.
    NotAllowed,
    /// There is no such cluster.
    NoCluster,
    /// The cluster does not speak what the call needs.
    Unsupported,
    /// The request itself is bad: a header is missing or malformed.
    BadRequest,
    /// No host could be connected.
    Unavailable,
    /// The time was over.
    Timeout,
    /// The host ended it.
    Reset,
    /// The answer was larger than a callout may keep (1 MiB).
    TooLarge,
}

impl fmt::Display for CalloutError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotAllowed => "the extension did not name this cluster in its configuration",
            Self::NoCluster => "there is no such cluster",
            Self::Unsupported => "the cluster does not speak what the call needs",
            Self::BadRequest => "a header of the call is missing or malformed",
            Self::Unavailable => "no host of the cluster could be connected",
            Self::Timeout => "the call's time was over",
            Self::Reset => "the host ended the call",
            Self::TooLarge => "the answer was larger than a callout may keep",
        })
    }
}

impl std::error::Error for CalloutError {}
