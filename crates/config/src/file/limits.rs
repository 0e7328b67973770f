//! The shapes of bounds and of retries.

use schemars::JsonSchema;
use serde::Deserialize;

use super::leaf::{Backoff, Items, NonZeroTime, Ranged, RetryOn, Size, tried};
use super::{KIB, MIB};
use crate::Located;

/// What a cluster may have at once, over all workers. What is beyond is answered 503.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct CircuitBreakers {
    /// Connections, idle ones among them. No bound when it is left out.
    #[serde(deserialize_with = "tried")]
    pub(crate) max_connections: Option<Ranged<1, { u32::MAX }>>,
    /// Requests that wait for a connection because there are `max_connections`, or `max_connections_per_host`. `0`: none
    /// waits.
    #[serde(deserialize_with = "tried")]
    pub(crate) max_pending: Ranged<0, { u32::MAX }>,
    /// Requests. No bound when it is left out.
    #[serde(deserialize_with = "tried")]
    pub(crate) max_requests: Option<Ranged<1, { u32::MAX }>>,
    /// Requests that are being sent again by a route's `retry`, beside `retry_budget`. `0`: none. No bound when it is left
    /// out.
    #[serde(deserialize_with = "tried")]
    pub(crate) max_retries: Option<Ranged<0, { u32::MAX }>>,
    /// Requests that are being sent again by a route's `retry`, measured by all that are active.
    #[serde(deserialize_with = "tried")]
    pub(crate) retry_budget: RetryBudget,
}

/// How many requests may be sent again at once. More are answered with what failed.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RetryBudget {
    /// So many for each hundred active requests of the cluster.
    #[serde(deserialize_with = "tried")]
    pub(crate) percent: Ranged<0, 100>,
    /// But at least so many.
    #[serde(deserialize_with = "tried")]
    pub(crate) min: Ranged<0, { u32::MAX }>,
}

/// When a request is sent again, to another host if there is one. Never after the answer has begun.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Retry {
    /// After any of these: `connect_failure`, `reset` (no answer came), `gateway_error` (502, 503, 504 or no answer), `5xx`
    /// (500 to 599 or no answer), or statuses (`429`, `"500..503"`). At least one.
    pub(crate) on: Located<Items<RetryOn>>,
    /// How often beside the first time.
    #[serde(default = "attempts", deserialize_with = "tried")]
    pub(crate) attempts: Ranged<1, 100>,
    /// How long each attempt may last until the head of its answer is there. No limit but that of the whole when it is left
    /// out.
    #[serde(default, deserialize_with = "tried")]
    pub(crate) per_try_timeout: Option<NonZeroTime>,
    /// The pause before another attempt is a random part of a time that begins with the first of these and doubles up to the
    /// second.
    #[serde(default = "backoff", deserialize_with = "tried")]
    pub(crate) backoff: Backoff,
    /// How many bytes of a body are kept to be sent again. A request with a longer body is sent once.
    #[serde(default = "body_limit", deserialize_with = "tried")]
    pub(crate) body_limit: Size<0, { 1024 * MIB }>,
}

fn attempts() -> Ranged<1, 100> {
    Ranged(1)
}

fn backoff() -> Backoff {
    Backoff(
        std::time::Duration::from_millis(25),
        std::time::Duration::from_millis(250),
    )
}

fn body_limit() -> Size<0, { 1024 * MIB }> {
    Size(64 * KIB)
}

impl Default for CircuitBreakers {
    fn default() -> Self {
        Self {
            max_connections: None,
            max_pending: Ranged(1024),
            max_requests: None,
            max_retries: None,
            retry_budget: RetryBudget::default(),
        }
    }
}

impl Default for RetryBudget {
    fn default() -> Self {
        Self {
            percent: Ranged(20),
            min: Ranged(3),
        }
    }
}
