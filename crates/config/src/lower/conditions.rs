//! For which requests and connections a use works, and what it may have on its way to its plugin.

use transom_api::node::known;
use transom_api::{UseBounds, attribute};

use super::Lowering;
use super::matches::{Of, WrittenPath};
use crate::file;
use crate::report::Problem;
use crate::{Case, Condition, Located, PathMatch, RouteMatch};

/// What a use is in its chain: which keys it has, and what its condition may ask.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Stand {
    StreamFilter,
    NetworkFilter,
    /// An access log of streams.
    StreamLog,
    /// An access log of connections.
    ConnectionLog,
    /// A listener filter or a certificate provider.
    Other,
}

impl Stand {
    /// The attributes that are known when its condition is looked at.
    fn attributes(self) -> &'static [&'static [&'static str]] {
        match self {
            Self::StreamFilter => &[&OF_CONNECTIONS, &OF_REQUESTS],
            Self::NetworkFilter | Self::Other => &[&OF_CONNECTIONS],
            Self::StreamLog => &[&OF_CONNECTIONS, &OF_REQUESTS, &OF_ENDS, &OF_STREAMS],
            Self::ConnectionLog => &[&OF_CONNECTIONS, &OF_ENDS],
        }
    }

    fn sees_requests(self) -> bool {
        matches!(self, Self::StreamFilter | Self::StreamLog)
    }
}

/// Known of a connection from its beginning.
const OF_CONNECTIONS: [&str; 13] = [
    attribute::SOURCE_ADDRESS,
    attribute::SOURCE_PORT,
    attribute::DESTINATION_ADDRESS,
    attribute::DESTINATION_PORT,
    attribute::CONNECTION_REQUESTED_SERVER_NAME,
    attribute::CONNECTION_TLS_VERSION,
    attribute::CONNECTION_MTLS,
    attribute::CONNECTION_SUBJECT_PEER_CERTIFICATE,
    attribute::CONNECTION_DNS_SAN_PEER_CERTIFICATE,
    attribute::CONNECTION_URI_SAN_PEER_CERTIFICATE,
    attribute::CONNECTION_SHA256_PEER_CERTIFICATE_DIGEST,
    attribute::CONNECTION_ID,
    attribute::LISTENER_NAME,
];

/// Known of a request from its head.
const OF_REQUESTS: [&str; 8] = [
    attribute::REQUEST_PATH,
    attribute::REQUEST_URL_PATH,
    attribute::REQUEST_QUERY,
    attribute::REQUEST_HOST,
    attribute::REQUEST_SCHEME,
    attribute::REQUEST_METHOD,
    attribute::REQUEST_PROTOCOL,
    attribute::REQUEST_ID,
];

/// Known when a stream or a connection is over.
const OF_ENDS: [&str; 8] = [
    attribute::REQUEST_SIZE,
    attribute::RESPONSE_SIZE,
    attribute::RESPONSE_FLAGS,
    attribute::RESPONSE_CODE_DETAILS,
    attribute::UPSTREAM_ADDRESS,
    attribute::UPSTREAM_LOCAL_ADDRESS,
    attribute::UPSTREAM_REQUEST_ATTEMPT_COUNT,
    attribute::CLUSTER_NAME,
];

/// Known when a stream is over.
const OF_STREAMS: [&str; 3] = [
    attribute::RESPONSE_CODE,
    attribute::ROUTE_NAME,
    attribute::VIRTUAL_HOST_NAME,
];

impl Lowering<'_> {
    /// Keys that a use does not have where it stands.
    pub(super) fn refuse_keys(&mut self, stand: Stand, used: &file::Use) {
        let filters = "stream filters and network filters";
        let mut refuse = |key: &str, of: &str, span| {
            let message = format!("`{key}` is for {of} only");
            self.problems.push(Problem::new(message, span));
        };
        if let Some(phase) = &used.phase
            && stand != Stand::StreamFilter
        {
            refuse("phase", "stream filters", phase.span);
        }
        if stand == Stand::Other {
            let of = "stream filters, network filters and access logs";
            if let Some(when) = &used.when {
                refuse("when", of, when.span);
            }
            if let Some(sample) = &used.sample {
                refuse("sample", of, sample.span);
            }
        }
        if let Some(bounds) = &used.bounds
            && !matches!(stand, Stand::StreamFilter | Stand::NetworkFilter)
        {
            refuse("bounds", filters, bounds.span);
        }
    }

    /// When a use works. `None`: what is written is wrong, or was refused where the use stands.
    pub(super) fn condition(
        &mut self,
        stand: Stand,
        when: Located<file::Conditions>,
    ) -> Option<Condition> {
        let Located {
            value: file::Conditions(when),
            span,
        } = when;
        if stand == Stand::Other {
            return None;
        }
        if when.items.is_empty() && when.whole {
            self.problems.push(
                Problem::new("an empty list of conditions holds for nothing", span)
                    .with_help("leave `when` out for all, or write `disabled: true` for none"),
            );
        }
        let mut cases = Vec::new();
        for Located { value, span: own } in when.items {
            cases.extend(self.case(stand, value, own.or(span)));
        }
        (!cases.is_empty()).then_some(Condition { cases })
    }

    fn case(
        &mut self,
        stand: Stand,
        case: file::Condition,
        span: Option<transom_api::Span>,
    ) -> Option<Case> {
        let path = self.path_match(
            WrittenPath {
                prefix: case.prefix,
                path: case.path,
                regex: case.regex,
                connect: None,
            },
            span,
        )?;
        let request = RouteMatch {
            path,
            // A filter sees requests for tunnels as any others.
            methods: self.methods(case.methods, true),
            headers: self.fields(Of::Headers, case.headers),
            query: self.fields(Of::Query, case.query),
        };
        let asks_request = request.path != PathMatch::Any
            || !request.methods.is_empty()
            || !request.headers.is_empty()
            || !request.query.is_empty();
        if asks_request && !stand.sees_requests() {
            self.problems.push(
                Problem::new("there is no request yet that this could be asked of", span)
                    .with_help("of a connection `source_networks` and `attributes` can be asked"),
            );
        }
        let attributes = self.fields(Of::Attributes(stand.attributes()), case.attributes);
        let source_networks = case.source_networks.items;
        if !asks_request && attributes.is_empty() && source_networks.is_empty() {
            if !self.problems.any_within(span) {
                self.problems.push(
                    Problem::new("a condition that says nothing", span)
                        .with_help("write {prefix: /api/}, {methods: [POST]}, {headers: […]}, {source_networks: […]} or {attributes: […]}, or leave `when` out"),
                );
            }
            return None;
        }
        Some(Case {
            request: asks_request.then_some(request),
            source_networks,
            attributes,
            invert: case.invert,
        })
    }

    /// Refuses a name that no attribute has, or one that has no value yet.
    pub(super) fn check_attribute(
        &mut self,
        name: &Located<String>,
        there: &'static [&'static [&'static str]],
    ) {
        let is = |list: &[&str]| list.contains(&name.as_str());
        if there.iter().any(|list| is(list)) {
            return;
        }
        let later = [&OF_REQUESTS[..], &OF_ENDS, &OF_STREAMS]
            .into_iter()
            .any(is);
        let names: Vec<&str> = there.iter().flat_map(|list| list.iter().copied()).collect();
        let message = match later {
            true => format!("`{name}` is not known when this is asked"),
            false => format!("there is no attribute `{name}`"),
        };
        let help = known(name, "attributes", &names);
        self.problems
            .push(Problem::new(message, name.span).with_help(help));
    }
}

pub(super) fn bounds_of(written: &file::UseBounds) -> UseBounds {
    UseBounds {
        concurrency: written.concurrency.map(|it| it.0),
        queue: written.queue.map(|it| it.0),
        queue_time: written.queue_time.map(|it| it.0),
        time: written.time.map(|it| it.0),
        message_size: written.message_size.map(|it| it.0),
    }
}
