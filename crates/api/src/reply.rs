//! Answers that the proxy gives itself.

use std::borrow::Cow;

/// An answer in place of the host's. It passes the response callbacks of the chain like any other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalReply {
    /// Status, 200 to 599.
    pub status: u16,
    /// Fields beside those that the proxy sets (`content-length`, and `content-type: text/plain` for a body without one).
    pub headers: Vec<(Cow<'static, str>, Vec<u8>)>,
    /// The whole body.
    pub body: Vec<u8>,
    /// Why, for the access log (`response.code_details`): a word such as `header_match_denied`.
    pub details: Cow<'static, str>,
    /// Status for a gRPC client; by default made from `status`.
    pub grpc_status: Option<u32>,
}

impl LocalReply {
    /// An answer with a status and nothing else.
    #[must_use]
    pub fn new(status: u16) -> Self {
        Self {
            status,
            headers: Vec::new(),
            body: Vec::new(),
            details: Cow::Borrowed("filter_reply"),
            grpc_status: None,
        }
    }

    /// The same with a body.
    #[must_use]
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    /// The same with one more field.
    #[must_use]
    pub fn header(mut self, name: impl Into<Cow<'static, str>>, value: impl AsRef<[u8]>) -> Self {
        self.headers.push((name.into(), value.as_ref().to_vec()));
        self
    }

    /// The same with a reason for the access log.
    #[must_use]
    pub fn details(mut self, details: impl Into<Cow<'static, str>>) -> Self {
        self.details = details.into();
        self
    }

    /// The same with a gRPC status.
    #[must_use]
    pub fn grpc_status(mut self, status: u32) -> Self {
        self.grpc_status = Some(status);
        self
    }
}
