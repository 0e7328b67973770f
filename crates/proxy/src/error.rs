//! What can go wrong with a stream, whose fault it is, and what the client is told: the one place for it.

use std::borrow::Cow;

use transom_api::LocalReply;
pub(crate) use transom_api::ResponseFlags as Flags;
use transom_config::LocalReplyOptions;

/// A fault that the proxy itself answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The request was not understood; status and detail are the codec's.
    BadRequest { status: u16, detail: &'static str },
    /// The request's body stood still.
    BodyTimeout,
    /// The request's body is larger than the listener or a filter allows.
    RequestTooLarge,
    /// CONNECT, and no route of the table takes such.
    ConnectNotServed,
    /// No route matches.
    NoRoute,
    /// The route's cluster does not exist.
    NoCluster,
    /// The cluster has no healthy host.
    NoHealthyHost,
    /// The cluster has as many requests, or connections and requests that wait for one, as it may have.
    Overflow,
    /// The host could not be connected.
    ConnectFailed,
    /// The host could not be connected in time.
    ConnectTimeout,
    /// The host was connected, and the TLS handshake failed; why in one word.
    TlsFailed(&'static str),
    /// The host closed or reset before its answer began.
    UpstreamReset,
    /// The host's answer was not understood.
    UpstreamProtocol,
    /// A filter had to keep more of the response than its limit.
    ResponseTooLarge,
    /// The request's time was over.
    Timeout,
    /// The time of the last attempt was over.
    TryTimeout,
    /// An extension failed and its policy is `closed`.
    FilterFailed { name: String, status: u16 },
    /// The route's changes made a request that cannot be sent.
    UnfitRequest,
    /// A filter asked for another route or host more than ten times.
    TooManyRematches,
}

impl Fault {
    /// The answer to this fault. Statuses follow the plan: 502 where no host could be reached (as MOSN and nginx; an
    /// option for loaders of Envoy's files makes it 503), 504 when time was over.
    pub(crate) fn reply(&self, options: LocalReplyOptions) -> LocalReply {
        let (status, detail): (u16, Cow<'static, str>) = match self {
            Self::BadRequest { status, detail } => (*status, Cow::Borrowed(detail)),
            Self::BodyTimeout => (408, Cow::Borrowed("request_body_timeout")),
            Self::RequestTooLarge => (413, Cow::Borrowed("request_payload_too_large")),
            // RFC 9110 section 15.6.2: a method that is served for no resource.
            Self::ConnectNotServed => (501, Cow::Borrowed("connect_not_served")),
            Self::NoRoute => (404, Cow::Borrowed("route_not_found")),
            Self::NoCluster => (
                options.upstream_unavailable,
                Cow::Borrowed("cluster_not_found"),
            ),
            Self::NoHealthyHost => (
                options.upstream_unavailable,
                Cow::Borrowed("no_healthy_upstream"),
            ),
            Self::Overflow => (
                503,
                Cow::Borrowed("upstream_reset_before_response_started{overflow}"),
            ),
            Self::ConnectFailed => (
                options.upstream_unavailable,
                Cow::Borrowed("upstream_reset_before_response_started{connection_failure}"),
            ),
            Self::ConnectTimeout => (
                options.upstream_unavailable,
                Cow::Borrowed("upstream_reset_before_response_started{connection_timeout}"),
            ),
            Self::TlsFailed(cause) => (
                options.upstream_unavailable,
                Cow::Owned(format!(
                    "upstream_reset_before_response_started{{tls_failure:{cause}}}"
                )),
            ),
            Self::UpstreamReset => (
                options.upstream_unavailable,
                Cow::Borrowed("upstream_reset_before_response_started{connection_termination}"),
            ),
            Self::UpstreamProtocol => (
                502,
                Cow::Borrowed("upstream_reset_before_response_started{protocol_error}"),
            ),
            Self::ResponseTooLarge => (502, Cow::Borrowed("response_payload_too_large")),
            Self::Timeout => (504, Cow::Borrowed("response_timeout")),
            Self::TryTimeout => (504, Cow::Borrowed("upstream_per_try_timeout")),
            Self::FilterFailed { name, status } => {
                (*status, Cow::Owned(format!("filter_failed{{{name}}}")))
            }
            Self::UnfitRequest => (500, Cow::Borrowed("unfit_rewritten_request")),
            Self::TooManyRematches => (500, Cow::Borrowed("too_many_rematches")),
        };
        LocalReply::new(status)
            .body(format!("{}\n", reason(status)))
            .details(detail)
    }

    pub(crate) fn flags(&self) -> Flags {
        match self {
            Self::BadRequest { .. } => Flags::DOWNSTREAM_PROTOCOL_ERROR,
            Self::BodyTimeout => Flags::STREAM_IDLE_TIMEOUT,
            Self::NoRoute => Flags::NO_ROUTE,
            Self::NoCluster => Flags::NO_CLUSTER,
            Self::NoHealthyHost => Flags::NO_HEALTHY_UPSTREAM,
            Self::ConnectFailed | Self::ConnectTimeout | Self::TlsFailed(_) => {
                Flags::UPSTREAM_CONNECTION_FAILURE
            }
            Self::UpstreamReset => Flags::UPSTREAM_CONNECTION_TERMINATION,
            Self::UpstreamProtocol => Flags::UPSTREAM_PROTOCOL_ERROR,
            Self::Timeout | Self::TryTimeout => Flags::UPSTREAM_REQUEST_TIMEOUT,
            Self::Overflow => Flags::UPSTREAM_OVERFLOW,
            Self::ConnectNotServed
            | Self::RequestTooLarge
            | Self::ResponseTooLarge
            | Self::FilterFailed { .. }
            | Self::UnfitRequest
            | Self::TooManyRematches => Flags::default(),
        }
    }
}

/// The reason phrase of a status (RFC 9110 section 15), for status lines and plain bodies.
pub(crate) fn reason(status: u16) -> &'static str {
    match status {
        101 => "Switching Protocols",
        200 => "OK",
        201 => "Created",
        202 => "Accepted",
        204 => "No Content",
        206 => "Partial Content",
        301 => "Moved Permanently",
        302 => "Found",
        303 => "See Other",
        304 => "Not Modified",
        307 => "Temporary Redirect",
        308 => "Permanent Redirect",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        411 => "Length Required",
        413 => "Content Too Large",
        414 => "URI Too Long",
        417 => "Expectation Failed",
        426 => "Upgrade Required",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        505 => "HTTP Version Not Supported",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPTIONS: LocalReplyOptions = LocalReplyOptions {
        upstream_unavailable: 502,
        echo_request_headers: false,
    };

    #[test]
    fn an_option_changes_what_is_said_of_missing_hosts() {
        let mosn = OPTIONS;
        let envoy = LocalReplyOptions {
            upstream_unavailable: 503,
            ..mosn
        };
        for fault in [
            Fault::NoHealthyHost,
            Fault::ConnectFailed,
            Fault::UpstreamReset,
        ] {
            assert_eq!(fault.reply(mosn).status, 502);
            assert_eq!(fault.reply(envoy).status, 503);
        }
        assert_eq!(Fault::NoRoute.reply(envoy).status, 404);
        assert_eq!(Fault::Timeout.reply(envoy).status, 504);
    }

    #[test]
    fn the_detail_names_the_filter() {
        let fault = Fault::FilterFailed {
            name: "auth".to_owned(),
            status: 503,
        };
        let reply = fault.reply(OPTIONS);
        assert_eq!(
            (reply.status, &*reply.details),
            (503, "filter_failed{auth}")
        );
    }
}
