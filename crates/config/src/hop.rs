//! What an `http` filter believes, and tells, as one hop of many: who the client is, which request this is, which trace
//! it belongs to.

use crate::IpNetwork;

/// What the `http` filter believes of what comes in, and adds to what goes out.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct HopOptions {
    /// Whose word on the client counts.
    pub trust: Trust,
    /// What becomes of the fields that tell of the client.
    pub forwarded: Forwarded,
    /// `x-request-id`; `None` leaves it as it comes.
    pub request_id: Option<RequestId>,
    /// W3C Trace Context; `None` leaves it as it comes.
    pub trace: Option<Trace>,
    /// The name under which this proxy stands in `via`; `None` leaves the field as it comes.
    pub via: Option<String>,
    /// The field `server` of responses; `None` leaves it as it comes.
    pub server: Option<Server>,
}

/// Whose word on the client's address counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Trust {
    /// Nobody's: the client is who connected.
    #[default]
    Nobody,
    /// That of whoever connects, and of so many proxies in all, at least one. The client's address is the one that the
    /// first of them has put into `x-forwarded-for`.
    Hops(u32),
    /// That of proxies in these networks. The client's address is the last in `x-forwarded-for` that is in none of them.
    Networks(Vec<IpNetwork>),
}

/// What becomes of the fields that tell of the client.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Forwarded {
    /// What becomes of them.
    pub mode: ForwardedMode,
    /// Whether `append` and `set` tell the authority that was asked for, too; no.
    pub host: bool,
    /// Whether `append` and `set` tell the port that was asked, too; no.
    pub port: bool,
}

/// What becomes of the fields that tell of the client: `x-forwarded-*`, `forwarded` and `x-real-ip`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ForwardedMode {
    /// They are taken away, but for those of a trusted proxy.
    #[default]
    Sanitise,
    /// They stay as they come, whoever sends them.
    Keep,
    /// The address of who connected is put behind those in `x-forwarded-for`, and `x-forwarded-proto` tells the scheme.
    Append,
    /// The same, but what a stranger has written in `x-forwarded-for` is dropped.
    Set,
}

/// What becomes of `x-request-id`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestId {
    /// A request that has none gets one; yes.
    pub generate: bool,
    /// One that a stranger sends stays; no.
    pub preserve: bool,
    /// The response tells it; no.
    pub in_response: bool,
}

/// What becomes of the trace context.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Trace {
    /// A request that has none gets one; no.
    pub generate: bool,
    /// In how many of a hundred new traces the `sampled` flag is set; 100.
    pub sample: f64,
    /// This proxy is a span of its own in the trace; no.
    pub span: bool,
    /// A stranger's context is dropped; no.
    pub trusted_only: bool,
}

/// What becomes of the field `server` of responses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// What it says.
    pub name: String,
    /// In place of the host's word, and not only where the host says nothing; no.
    pub overwrite: bool,
}

impl ForwardedMode {
    /// The word in a configuration.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Sanitise => "sanitise",
            Self::Keep => "keep",
            Self::Append => "append",
            Self::Set => "set",
        }
    }
}
