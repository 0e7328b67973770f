//! Bounds of a cluster, and retries.

use std::time::Duration;

use crate::Statuses;

/// What a cluster may have at once, over all workers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CircuitBreakers {
    /// Connections; `None` is no bound.
    pub max_connections: Option<u32>,
    /// Requests that wait for a connection because there are `max_connections`; 1024.
    pub max_pending: u32,
    /// Requests; `None` is no bound.
    pub max_requests: Option<u32>,
    /// Retries by the policies of routes, beside the budget; `None` is no bound.
    pub max_retries: Option<u32>,
    /// Retries by the policies of routes, beside the requests.
    pub retry_budget: RetryBudget,
}

/// How many retries there may be at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryBudget {
    /// So many for each hundred active requests; 20.
    pub percent: u32,
    /// But at least so many; 3.
    pub min: u32,
}

/// When a request of a route is sent again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RetryPolicy {
    /// After any of these.
    pub on: Vec<RetryOn>,
    /// So often beside the first time, 1 or more; 1.
    pub attempts: u32,
    /// How long each time may last until the head of the answer is there; `None` is no limit but the route's.
    pub per_try_timeout: Option<Duration>,
    /// The pause before the first retry is a random part of the first of these; its bound doubles with each further one, up
    /// to the second.
    pub backoff: (Duration, Duration),
    /// How many bytes of a body are kept to be sent again. A request with more is not sent again; 64 KiB.
    pub body_limit: u64,
}

/// What a request is sent again after.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RetryOn {
    /// The host could not be connected.
    ConnectFailure,
    /// The connection ended, or the time for the attempt was over, before an answer.
    Reset,
    /// A status of 502, 503 or 504, or what [`RetryOn::Reset`] and [`RetryOn::ConnectFailure`] are.
    GatewayError,
    /// A status of 500 to 599, or what [`RetryOn::Reset`] and [`RetryOn::ConnectFailure`] are.
    ServerError,
    /// One of these statuses.
    Status(Statuses),
}

impl RetryOn {
    /// The word for it in a configuration.
    #[must_use]
    pub fn name(self) -> String {
        match self {
            Self::ConnectFailure => "connect_failure".to_owned(),
            Self::Reset => "reset".to_owned(),
            Self::GatewayError => "gateway_error".to_owned(),
            Self::ServerError => "5xx".to_owned(),
            Self::Status(statuses) => statuses.to_string(),
        }
    }

    /// Whether an answer with this status is one.
    #[must_use]
    pub fn is_status(self, status: u16) -> bool {
        match self {
            Self::ConnectFailure | Self::Reset => false,
            Self::GatewayError => (502..=504).contains(&status),
            Self::ServerError => (500..=599).contains(&status),
            Self::Status(statuses) => statuses.contain(status),
        }
    }

    /// Whether an attempt without an answer is one; `connected`: the host was there.
    #[must_use]
    pub fn is_failure(self, connected: bool) -> bool {
        match self {
            Self::ConnectFailure => !connected,
            Self::Reset => connected,
            Self::GatewayError | Self::ServerError => true,
            Self::Status(_) => false,
        }
    }
}
