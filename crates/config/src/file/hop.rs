//! The shapes of what an `http` filter believes and tells as one hop of many.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::leaf::{Items, Percent, Ranged, tried};
use crate::decode::Tried;
use crate::{IpNetwork, Located};

/// Who the client is, and what the upstream is told of it.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Forwarded {
    /// What becomes of `x-forwarded-*` (all but `x-forwarded-client-cert`, which has an option of its own), `forwarded` and
    /// `x-real-ip`. `sanitise` takes away what a stranger sends; `keep` leaves all as it comes; `append` puts the address of
    /// who connected behind those in `x-forwarded-for` and tells the scheme in `x-forwarded-proto`; `set` does the same, but
    /// drops first what a stranger has written there.
    #[serde(deserialize_with = "tried")]
    pub(crate) mode: ForwardedMode,
    /// How many proxies there are before this one, all trusted: the client's address is the one that the first of them has
    /// put into `x-forwarded-for`. For a listener that nobody but those proxies reaches. Either this or `trusted_networks`.
    #[serde(deserialize_with = "tried")]
    pub(crate) trusted_hops: Located<Ranged<0, 100>>,
    /// The networks of the proxies that are trusted: from one of them, the client's address is the last in
    /// `x-forwarded-for` that is in none of these networks.
    #[serde(deserialize_with = "tried")]
    pub(crate) trusted_networks: Located<Items<IpNetwork>>,
    /// With `append` and `set`: tells the authority that the client asked for in `x-forwarded-host`.
    #[serde(deserialize_with = "tried")]
    pub(crate) host: Located<bool>,
    /// With `append` and `set`: tells the port that the client connected to in `x-forwarded-port`.
    #[serde(deserialize_with = "tried")]
    pub(crate) port: Located<bool>,
}

/// What becomes of the fields that tell of the client.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub(crate) enum ForwardedMode {
    #[default]
    Sanitise,
    Keep,
    Append,
    Set,
}

/// What becomes of `x-request-id`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RequestId {
    /// A request without one gets one, a random UUID (version 4).
    #[serde(deserialize_with = "tried")]
    pub(crate) generate: bool,
    /// One that a stranger sends stays, if it is of 1 to 128 visible characters. Otherwise only those of trusted proxies
    /// (`forwarded`) do, and a stranger's is replaced.
    #[serde(deserialize_with = "tried")]
    pub(crate) preserve: bool,
    /// The response tells it, the proxy's own answers included.
    #[serde(deserialize_with = "tried")]
    pub(crate) in_response: bool,
}

/// What becomes of the W3C trace context: `traceparent` and `tracestate`. One that breaks the specification is dropped.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Trace {
    /// A request without one begins a new trace.
    #[serde(deserialize_with = "tried")]
    pub(crate) generate: bool,
    /// In how many of a hundred new traces the flag `sampled` is set, by chance. Traces that come keep theirs.
    #[serde(deserialize_with = "tried")]
    pub(crate) sample: Percent,
    /// Makes this proxy a span of its own: the upstream gets its id as the parent's. For when an access log or a filter
    /// records it (`%SPAN_ID%`, `%PARENT_SPAN_ID%`): a span that nobody records is a hole in the trace.
    #[serde(deserialize_with = "tried")]
    pub(crate) span: bool,
    /// Drops what strangers send, so that they can neither choose ids of traces nor have them sampled.
    #[serde(deserialize_with = "tried")]
    pub(crate) trusted_only: bool,
}

/// The field `server` of responses.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Server {
    /// What it says.
    pub(crate) name: Tried<Located<String>>,
    /// Puts it in place of what the host says. Otherwise it is added where the host says nothing.
    #[serde(default, deserialize_with = "tried")]
    pub(crate) overwrite: bool,
}

impl Default for RequestId {
    fn default() -> Self {
        Self {
            generate: true,
            preserve: false,
            in_response: false,
        }
    }
}

impl Default for Trace {
    fn default() -> Self {
        Self {
            generate: false,
            sample: Percent(100.0),
            span: false,
            trusted_only: false,
        }
    }
}
