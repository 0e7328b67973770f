//! How the health of hosts is found out.

use std::time::Duration;

/// Checks of a cluster's hosts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthCheck {
    /// The request that is sent; `None`: that a connection can be made is enough.
    pub http: Option<HttpCheck>,
    /// From the beginning of a check to that of the next; more than zero.
    pub interval: Duration,
    /// By how much a check may be early; at most `interval`.
    pub jitter: Duration,
    /// How long a check may take; more than zero.
    pub timeout: Duration,
    /// After how many failures in a row a healthy host is unhealthy; 1 or more.
    pub unhealthy_threshold: u32,
    /// After how many successes in a row an unhealthy host is healthy; 1 or more.
    pub healthy_threshold: u32,
    /// What a new host is until its first check.
    pub initially_healthy: bool,
    /// The port that is checked; `None` is the host's own.
    pub port: Option<u16>,
}

/// Hosts are left out for a while after failures in traffic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutlierDetection {
    /// After so many failures in a row, 1 or more; 5.
    pub consecutive_failures: u32,
    /// For how long the first time, and so much longer each further time; 30 s.
    pub base_ejection: Duration,
    /// For how long at most; 300 s, not shorter than `base_ejection`.
    pub max_ejection: Duration,
    /// How many percent of the hosts at once, but one at least; 10.
    pub max_ejected: u32,
}

/// The request of a health check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpCheck {
    /// The path with its query; it begins with a slash.
    pub path: String,
    /// The authority; `None` is the host's address.
    pub host: Option<String>,
    /// The method.
    pub method: String,
    /// The statuses that are good.
    pub statuses: Vec<Statuses>,
}

/// Statuses from the first to the last, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Statuses {
    /// The first.
    pub first: u16,
    /// The last.
    pub last: u16,
}

impl Statuses {
    /// Whether a status is one of them.
    #[must_use]
    pub fn contain(self, status: u16) -> bool {
        (self.first..=self.last).contains(&status)
    }
}

impl std::fmt::Display for Statuses {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.first == self.last {
            write!(f, "{}", self.first)
        } else {
            write!(f, "{}..{}", self.first, self.last)
        }
    }
}
