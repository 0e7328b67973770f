//! The shapes of what is said about the health of hosts.

use schemars::JsonSchema;
use serde::Deserialize;

use super::leaf::{Items, NonZeroTime, Ranged, StatusRange, Time, tried};
use crate::Located;

/// How it is found out whether hosts are well: a connection, TLS and all, is made to each again and again.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct HealthCheck {
    /// A request that is sent over the connection. That the connection can be made is enough when it is left out.
    #[serde(deserialize_with = "tried")]
    pub(crate) http: Option<HttpCheck>,
    /// From the beginning of a check to that of the next.
    #[serde(deserialize_with = "tried")]
    pub(crate) interval: NonZeroTime,
    /// By how much each check may be early, by chance, so that those of many proxies and hosts spread. A tenth of
    /// `interval` when it is left out.
    #[serde(deserialize_with = "tried")]
    pub(crate) jitter: Option<Located<Time>>,
    /// How long a check may take before it has failed.
    #[serde(deserialize_with = "tried")]
    pub(crate) timeout: NonZeroTime,
    /// After how many checks in a row that fail a healthy host is not used any more.
    #[serde(deserialize_with = "tried")]
    pub(crate) unhealthy_threshold: Ranged<1, 100>,
    /// After how many checks in a row that succeed an unhealthy host is used again.
    #[serde(deserialize_with = "tried")]
    pub(crate) healthy_threshold: Ranged<1, 100>,
    /// What a new host is until its first check, which decides alone.
    #[serde(deserialize_with = "tried")]
    pub(crate) initially: Initially,
    /// The port that is checked. Each host's own when it is left out.
    #[serde(deserialize_with = "tried")]
    pub(crate) port: Option<Ranged<1, 65_535>>,
}

/// A host that fails in traffic is left out for a while. A failure is a status of 500 to 599, or no answer.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct OutlierDetection {
    /// After how many failures in a row, of all workers together.
    #[serde(deserialize_with = "tried")]
    pub(crate) consecutive_failures: Ranged<1, { u32::MAX }>,
    /// For how long the first time. Each further time it is so much longer, until the host was well for as long.
    #[serde(deserialize_with = "tried")]
    pub(crate) base_ejection: NonZeroTime,
    /// For how long at most. Not shorter than `base_ejection`.
    #[serde(deserialize_with = "tried")]
    pub(crate) max_ejection: Located<Time>,
    /// How many percent of the hosts may be left out at once. One may be in any case.
    #[serde(deserialize_with = "tried")]
    pub(crate) max_ejected: Ranged<0, 100>,
}

/// The request of a health check.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct HttpCheck {
    /// The path, with its query.
    pub(crate) path: Located<String>,
    /// The authority that is asked for. The host's address when it is left out.
    pub(crate) host: Option<Located<String>>,
    /// The method.
    pub(crate) method: Located<String>,
    /// The statuses by which a check succeeds: numbers, or ranges such as `200..299`.
    #[serde(deserialize_with = "tried")]
    #[schemars(extend("default" = ["200..299"]))]
    pub(crate) statuses: Option<Located<Items<StatusRange>>>,
}

/// What a host is before anything is known of it.
#[derive(Clone, Copy, Debug, Default, Deserialize, serde::Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub(crate) enum Initially {
    #[default]
    Healthy,
    Unhealthy,
}

impl Default for HealthCheck {
    fn default() -> Self {
        Self {
            http: None,
            interval: NonZeroTime(std::time::Duration::from_secs(5)),
            jitter: None,
            timeout: NonZeroTime(std::time::Duration::from_secs(1)),
            unhealthy_threshold: Ranged(1),
            healthy_threshold: Ranged(1),
            initially: Initially::Healthy,
            port: None,
        }
    }
}

impl Default for OutlierDetection {
    fn default() -> Self {
        Self {
            consecutive_failures: Ranged(5),
            base_ejection: NonZeroTime(std::time::Duration::from_secs(30)),
            max_ejection: Located::new(Time::seconds(300)),
            max_ejected: Ranged(10),
        }
    }
}

impl Default for HttpCheck {
    fn default() -> Self {
        Self {
            path: Located::new("/".to_owned()),
            host: None,
            method: Located::new("GET".to_owned()),
            statuses: None,
        }
    }
}
