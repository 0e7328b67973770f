//! Response flags: what happened to a stream or connection, in a few letters. Meanings and letters are Envoy's
//! (`CoreResponseFlag` in its `stream_info.h`), so that what people know of its logs holds here.

use std::fmt;

/// A set of response flags. Each constant is a set of one.
///
/// ```
/// # use transom_api::ResponseFlags;
/// let mut flags = ResponseFlags::default();
/// assert_eq!(flags.to_string(), "-");
/// flags |= ResponseFlags::RATE_LIMITED;
/// flags |= ResponseFlags::NO_ROUTE;
/// assert_eq!(flags.to_string(), "NR,RL");
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct ResponseFlags(u32);

macro_rules! flags {
    ($($(#[$doc:meta])* $name:ident = $bit:literal, $letters:literal, $long:literal;)*) => {
        impl ResponseFlags {
            $($(#[$doc])* pub const $name: Self = Self(1 << $bit);)*

        /// Letters and name of each flag, by its bit and so in Envoy's order.
        const NAMES: &[(&str, &str)] = &[$(($letters, $long)),*];

        #[cfg(test)]
        const BITS: &[u32] = &[$($bit),*];
        }
    };
}

flags! {
    /// A health check that this proxy answers failed.
    FAILED_LOCAL_HEALTH_CHECK = 0, "LH", "FailedLocalHealthCheck";
    /// The cluster has no healthy host.
    NO_HEALTHY_UPSTREAM = 1, "UH", "NoHealthyUpstream";
    /// The host did not answer in time.
    UPSTREAM_REQUEST_TIMEOUT = 2, "UT", "UpstreamRequestTimeout";
    /// The proxy itself ended the stream.
    LOCAL_RESET = 3, "LR", "LocalReset";
    /// The host reset the stream.
    UPSTREAM_REMOTE_RESET = 4, "UR", "UpstreamRemoteReset";
    /// The host could not be connected.
    UPSTREAM_CONNECTION_FAILURE = 5, "UF", "UpstreamConnectionFailure";
    /// The host closed the connection.
    UPSTREAM_CONNECTION_TERMINATION = 6, "UC", "UpstreamConnectionTermination";
    /// A bound of the cluster (connections, requests, retries) was reached.
    UPSTREAM_OVERFLOW = 7, "UO", "UpstreamOverflow";
    /// No route matched; of a connection: nothing says where it goes.
    NO_ROUTE = 8, "NR", "NoRouteFound";
    /// A filter delayed it on purpose.
    DELAY_INJECTED = 9, "DI", "DelayInjected";
    /// A filter answered or ended it on purpose.
    FAULT_INJECTED = 10, "FI", "FaultInjected";
    /// A rate limit refused it.
    RATE_LIMITED = 11, "RL", "RateLimited";
    /// An external service refused it.
    UNAUTHORIZED_EXTERNAL_SERVICE = 12, "UAEX", "UnauthorizedExternalService";
    /// The service that counts rates failed.
    RATE_LIMIT_SERVICE_ERROR = 13, "RLSE", "RateLimitServiceError";
    /// The client went away.
    DOWNSTREAM_CONNECTION_TERMINATION = 14, "DC", "DownstreamConnectionTermination";
    /// All attempts failed.
    UPSTREAM_RETRY_LIMIT_EXCEEDED = 15, "URX", "UpstreamRetryLimitExceeded";
    /// Nothing happened for too long.
    STREAM_IDLE_TIMEOUT = 16, "SI", "StreamIdleTimeout";
    /// A header by which the request steers the proxy was malformed.
    INVALID_STEERING_HEADERS = 17, "IH", "InvalidEnvoyRequestHeaders";
    /// The client broke the protocol.
    DOWNSTREAM_PROTOCOL_ERROR = 18, "DPE", "DownstreamProtocolError";
    /// The host took longer than a stream may last.
    UPSTREAM_MAX_STREAM_DURATION = 19, "UMSDR", "UpstreamMaxStreamDurationReached";
    /// The response came from a cache.
    RESPONSE_FROM_CACHE = 20, "RFCF", "ResponseFromCacheFilter";
    /// A filter's configuration was not there.
    NO_FILTER_CONFIG_FOUND = 21, "NFCF", "NoFilterConfigFound";
    /// It lasted longer than it may.
    DURATION_TIMEOUT = 22, "DT", "DurationTimeout";
    /// The host broke the protocol.
    UPSTREAM_PROTOCOL_ERROR = 23, "UPE", "UpstreamProtocolError";
    /// The cluster is not there.
    NO_CLUSTER = 24, "NC", "NoClusterFound";
    /// The proxy was overloaded.
    OVERLOAD_MANAGER = 25, "OM", "OverloadManagerTerminated";
    /// The host's name could not be resolved.
    DNS_RESOLUTION_FAILED = 26, "DF", "DnsResolutionFailed";
    /// The cluster drops a share of its load.
    DROP_OVERLOAD = 27, "DO", "DropOverload";
    /// The client reset the stream.
    DOWNSTREAM_REMOTE_RESET = 28, "DR", "DownstreamRemoteReset";
    /// The cluster drops all of its load.
    UNCONDITIONAL_DROP_OVERLOAD = 29, "UDO", "UnconditionalDropOverload";
}

impl ResponseFlags {
    /// Puts the flags of another set in.
    pub fn add(&mut self, other: Self) {
        self.0 |= other.0;
    }

    /// Whether no flag is set.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether the sets have a flag in common.
    #[must_use]
    pub fn intersects(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// The flag of these letters, such as `UF`.
    #[must_use]
    pub fn from_letters(letters: &str) -> Option<Self> {
        let bit = Self::NAMES
            .iter()
            .position(|(known, _)| *known == letters)?;
        Some(Self(1 << bit))
    }

    /// The letters of all flags that there are.
    pub fn all_letters() -> impl Iterator<Item = &'static str> {
        Self::NAMES.iter().map(|(letters, _)| *letters)
    }

    /// The letters of the flags that are set, such as `UF`, in Envoy's order.
    pub fn letters(self) -> impl Iterator<Item = &'static str> {
        self.set().map(|(letters, _)| *letters)
    }

    /// The names of the flags that are set, such as `UpstreamConnectionFailure`, in Envoy's order.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        self.set().map(|(_, long)| *long)
    }

    fn set(self) -> impl Iterator<Item = &'static (&'static str, &'static str)> {
        let mut left = self.0;
        std::iter::from_fn(move || {
            if left == 0 {
                return None;
            }
            let bit = left.trailing_zeros() as usize;
            left &= left - 1;
            Self::NAMES.get(bit)
        })
    }
}

impl std::ops::BitOrAssign for ResponseFlags {
    fn bitor_assign(&mut self, other: Self) {
        self.add(other);
    }
}

impl std::ops::BitOr for ResponseFlags {
    type Output = Self;

    fn bitor(mut self, other: Self) -> Self {
        self.add(other);
        self
    }
}

/// The letters with commas between them, or `-`.
impl fmt::Display for ResponseFlags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut first = true;
        for letters in self.letters() {
            if !std::mem::replace(&mut first, false) {
                f.write_str(",")?;
            }
            f.write_str(letters)?;
        }
        if first { f.write_str("-") } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flag_stands_at_its_bit_and_is_found_by_its_letters() {
        for (index, bit) in ResponseFlags::BITS.iter().enumerate() {
            assert_eq!(index as u32, *bit);
        }
        for letters in ResponseFlags::all_letters() {
            let flag = ResponseFlags::from_letters(letters).unwrap();
            assert_eq!(flag.to_string(), letters);
        }
        assert_eq!(ResponseFlags::from_letters("XX"), None);
        assert_eq!(ResponseFlags::from_letters("uf"), None);
    }

    #[test]
    fn sets_are_shown_in_envoys_order() {
        let flags =
            ResponseFlags::DOWNSTREAM_CONNECTION_TERMINATION | ResponseFlags::DELAY_INJECTED;
        assert_eq!(flags.to_string(), "DI,DC");
        let names: Vec<&str> = flags.names().collect();
        assert_eq!(names, ["DelayInjected", "DownstreamConnectionTermination"]);
        assert!(flags.intersects(ResponseFlags::DELAY_INJECTED));
        assert!(!flags.intersects(ResponseFlags::NO_ROUTE));
    }
}
