//! Chains of extensions, and the network filters that are part of the proxy.

use transom_api::{FailurePolicy, Phase, Span, field};

use super::conditions::{Stand, bounds_of};
use super::extensions::Named;
use super::hop::WrittenHop;
use super::{Lowering, Unique, refer};
use crate::decode::{Tried, decode};
use crate::file;
use crate::report::Problem;
use crate::{
    ForwardClientCertificate, HalfClose, Http, HttpLimits, HttpTimeouts, LocalReplyOptions,
    Located, NetworkFilter, PathOptions, ResponseOrder, Treatment, Use,
};

/// The network filters that are part of the proxy and so in no registry. Each ends the chain.
pub(crate) const PARTS_OF_PROXY: [&str; 3] = [HTTP, TCP_PROXY, UDP_PROXY];

const HTTP: &str = "http";
const TCP_PROXY: &str = "tcp_proxy";
const UDP_PROXY: &str = "udp_proxy";

impl Lowering<'_> {
    /// A chain of extensions.
    pub(super) fn chain(
        &mut self,
        stand: Stand,
        uses: file::Items<Located<file::Use>>,
    ) -> Vec<Use> {
        let mut ids = Unique::default();
        let uses = uses.items.into_iter();
        uses.filter_map(|used| self.one(stand, used, &mut ids))
            .collect()
    }

    /// The network filters of a chain: any, then one that ends it. `scope` is what tables of routes in it are named after.
    pub(super) fn network_filters(
        &mut self,
        scope: &str,
        uses: Located<file::Items<Located<file::Use>>>,
    ) -> Vec<NetworkFilter> {
        let Located { value: uses, span } = uses;
        let mut ids = Unique::default();
        let mut filters = Vec::new();
        let mut places = Vec::new();
        for mut used in uses.items {
            let whole = used.span;
            let ends = Ends::of(&used.value);
            if let Some(ends) = ends {
                self.refuse_failure_options(ends, &used.value);
                // What is in them is of no interest then.
                used.value.when = None;
                used.value.sample = None;
                used.value.bounds = None;
            }
            let Some(used) = self.one(Stand::NetworkFilter, used, &mut ids) else {
                continue;
            };
            places.push(used.span.or(whole));
            let filter = match ends {
                None => Some(NetworkFilter::Extension(used)),
                Some(Ends::Http) => self.http(scope, used, whole),
                Some(Ends::TcpProxy) => self.tcp_proxy(used, whole),
                Some(Ends::UdpProxy) => self.udp_proxy(used, whole),
            };
            filters.push((ends.is_some(), filter));
        }
        self.check_end(&filters, &places, span, uses.whole);
        filters.into_iter().filter_map(|(_, it)| it).collect()
    }

    fn check_end(
        &mut self,
        filters: &[(bool, Option<NetworkFilter>)],
        places: &[Option<Span>],
        list: Option<Span>,
        whole: bool,
    ) {
        let last = filters.len().saturating_sub(1);
        for (index, place) in places.iter().enumerate().take(last) {
            if filters.get(index).is_some_and(|(ends, _)| *ends) {
                let next = places.get(index + 1).copied().flatten();
                self.problems.push(
                    Problem::new("this network filter must be the last one", *place)
                        .with_label(next, "what comes after it would see nothing")
                        .with_help("`http` and `tcp_proxy` end the chain: move it to the end, and keep only one"),
                );
            }
        }
        // Whether the last of other filters ends the chain is known to the registry.
        if whole && filters.is_empty() {
            self.problems.push(without_end(list));
        }
    }

    /// One use of an extension.
    fn one(&mut self, stand: Stand, used: Located<file::Use>, ids: &mut Unique) -> Option<Use> {
        let Located { value: used, span } = used;
        self.refuse_keys(stand, &used);
        let when = used.when.and_then(|when| self.condition(stand, when));
        let mut named = Named {
            name: used.name,
            plugin: used.plugin,
            extension: used.extension,
        };
        let mut id = used.id.map(|id| Located {
            value: id.value.0,
            span: id.span,
        });
        let (extension, place) = match used.go_plugin_config {
            None => self.extension_name(named, span)?,
            Some(library) => {
                // Any name goes: it is what the use is called.
                id = id.or(named.name.take());
                self.go_plugin(library.0?, named)?
            }
        };
        let id_place = id.as_ref().map_or(place, |id| id.span);
        let id = id.map_or_else(|| extension.id().to_owned(), |id| id.value);
        if let Some(first) = ids.seen.get(&id) {
            let problem =
                Problem::new(format!("two uses in this chain are named `{id}`"), id_place)
                    .with_label(*first, "first here")
                    .with_help("give one of them a name of its own: `id: …`");
            self.problems.push(problem);
        } else {
            ids.seen.insert(id.clone(), id_place);
        }
        let config = self.own_config(&extension, used.config.map(|config| config.0), span);
        Some(Use {
            extension,
            id,
            config,
            phase: used.phase.map(|phase| match phase.value {
                file::Phase::BeforeRoute => Phase::BeforeRoute,
                file::Phase::AfterRoute => Phase::AfterRoute,
                file::Phase::AfterChooseHost => Phase::AfterChooseHost,
            }),
            on_failure: match used.on_failure.map(|policy| policy.value) {
                Some(file::FailurePolicy::Open) => FailurePolicy::Open,
                Some(file::FailurePolicy::Closed) | None => FailurePolicy::Closed,
            },
            when,
            sample: used.sample.map(|share| share.value.0),
            bounds: used.bounds.map(|bounds| Box::new(bounds_of(&bounds))),
            disabled: used.disabled.value,
            span: place,
        })
    }

    /// A part of the proxy does not fail as an extension does, and the chain needs it.
    fn refuse_failure_options(&mut self, ends: Ends, used: &file::Use) {
        let name = ends.name();
        if let Some(policy) = &used.on_failure {
            let message = format!("`on_failure` has no meaning for `{name}`");
            self.problems.push(Problem::new(message, policy.span));
        }
        for (key, span) in [
            ("when", used.when.as_ref().map(|it| it.span)),
            ("sample", used.sample.as_ref().map(|it| it.span)),
            ("bounds", used.bounds.as_ref().map(|it| it.span)),
        ] {
            if let Some(span) = span {
                let message =
                    format!("`{key}` has no meaning for `{name}`: the chain needs its end");
                self.problems.push(Problem::new(message, span));
            }
        }
        if used.disabled.value {
            let message = format!("`{name}` cannot be disabled: the chain needs its end");
            self.problems
                .push(Problem::new(message, used.disabled.span));
        }
    }

    fn http(&mut self, scope: &str, used: Use, whole: Option<Span>) -> Option<NetworkFilter> {
        let http: file::Http = decode(&used.config, self.problems)?;
        let stream_filters = self.chain(Stand::StreamFilter, http.stream_filters);
        let access_logs = self.chain(Stand::StreamLog, http.access_logs);
        let place = used.config.span.or(whole);
        let route_table = match (http.route_table, http.virtual_hosts) {
            (Some(Tried(name)), None) => {
                let name = name?;
                refer("route table", &name, &self.route_tables, self.problems);
                name
            }
            (None, Some(Tried(virtual_hosts))) => {
                // No other table has such a name: names have no slash.
                let name = format!("{scope}/{}", used.id);
                self.route_table(&name, virtual_hosts.unwrap_or_default());
                Located::at(name, place)
            }
            (Some(Tried(name)), Some(_)) => {
                let message = "`route_table` and `virtual_hosts` exclude each other";
                let place = name.map_or(place, |name| name.span);
                self.problems.push(Problem::new(message, place));
                return None;
            }
            (None, None) if self.problems.any_within(used.config.span) => return None,
            (None, None) => {
                self.problems.push(
                    Problem::new("`http` needs routes", place)
                        .with_help("write them under `virtual_hosts`, or name a `route_table`"),
                );
                return None;
            }
        };
        let ids = stream_filters.iter().map(|used| used.id.clone());
        let chain = self.chains.entry(route_table.value.clone()).or_default();
        chain.extend(ids);
        let upgrades = self.upgrades(http.upgrades);
        let hop = self.hop(WrittenHop {
            forwarded: http.forwarded,
            request_id: http.request_id,
            trace: http.trace,
            via: http.via,
            server: http.server,
        });
        let limits = http.limits;
        if limits.request_line.value.0 > limits.head.0 {
            self.problems.push(Problem::new(
                format!(
                    "a request line of {} does not fit into a head of {}",
                    file::format_size(limits.request_line.value.0),
                    file::format_size(limits.head.0)
                ),
                limits.request_line.span.or(place),
            ));
        }
        Some(NetworkFilter::Http(Box::new(Http {
            id: used.id,
            stream_filters,
            access_logs,
            route_table,
            paths: PathOptions {
                escaped_slashes: treatment(http.paths.escaped_slashes),
                dot_segments: treatment(http.paths.dot_segments),
                merge_slashes: http.paths.merge_slashes,
            },
            forward_client_certificate: match http.forward_client_certificate {
                file::ForwardClientCertificate::Sanitise => ForwardClientCertificate::Sanitise,
                file::ForwardClientCertificate::Forward => ForwardClientCertificate::Forward,
                file::ForwardClientCertificate::Set => ForwardClientCertificate::Set,
            },
            hop,
            protocol: self.implementation(http.protocol),
            response_order: match http.response_order {
                file::ResponseOrder::Reverse => ResponseOrder::Reverse,
                file::ResponseOrder::Config => ResponseOrder::Config,
            },
            local_reply: LocalReplyOptions {
                upstream_unavailable: u16::try_from(http.local_reply.upstream_unavailable.0)
                    .ok()?,
                echo_request_headers: http.local_reply.echo_request_headers,
            },
            upgrades,
            half_close: match http.half_close {
                file::HalfClose::Serve => HalfClose::Serve,
                file::HalfClose::Abort => HalfClose::Abort,
            },
            allow_bare_lf: http.allow_bare_lf,
            limits: HttpLimits {
                fields: limits.fields.0,
                head: limits.head.0,
                request_line: limits.request_line.value.0,
                request_body: limits.request_body.map(|limit| limit.0),
            },
            timeouts: HttpTimeouts {
                header: http.timeouts.header.0,
                body_idle: http.timeouts.body_idle.0,
                write_idle: http.timeouts.write_idle.0,
                idle: http.timeouts.idle.0,
                stream: http.timeouts.stream.0,
                tunnel_idle: http.timeouts.tunnel_idle.0,
            },
            watermark: http.watermark.0,
        })))
    }

    fn upgrades(&mut self, tokens: file::Items<Located<String>>) -> Vec<String> {
        let mut upgrades = Vec::new();
        for token in tokens.items {
            let name = token.value.to_ascii_lowercase();
            let (problem, help) = if !field::is_name(name.as_bytes()) {
                (
                    "is no name of a protocol",
                    "write the name without a version, such as `websocket`",
                )
            } else if matches!(name.as_str(), "h2c" | "http" | "tls") {
                // Requests in such a tunnel would pass neither filters nor routes.
                (
                    "cannot be tunnelled",
                    "requests in the tunnel would pass neither filters nor routes",
                )
            } else {
                upgrades.push(name);
                continue;
            };
            let message = format!("{:?} {problem}", token.value);
            self.problems
                .push(Problem::new(message, token.span).with_help(help));
        }
        upgrades
    }
}

/// A chain of network filters in which nobody answers or goes on with the connection.
pub(crate) fn without_end(place: Option<Span>) -> Problem {
    Problem::new(
        "the network filters end without `http` or `tcp_proxy`",
        place,
    )
    .with_help("the last network filter says what becomes of the connection: add one of the two")
}

fn treatment(treatment: file::Treatment) -> Treatment {
    match treatment {
        file::Treatment::Keep => Treatment::Keep,
        file::Treatment::Reject => Treatment::Reject,
        file::Treatment::Normalise => Treatment::Normalise,
    }
}

/// The network filters that end a chain.
#[derive(Clone, Copy)]
enum Ends {
    Http,
    TcpProxy,
    UdpProxy,
}

impl Ends {
    fn of(used: &file::Use) -> Option<Self> {
        if used.go_plugin_config.is_some() {
            return None;
        }
        match used.name.as_ref()?.as_str() {
            HTTP => Some(Self::Http),
            TCP_PROXY => Some(Self::TcpProxy),
            UDP_PROXY => Some(Self::UdpProxy),
            _ => None,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Http => HTTP,
            Self::TcpProxy => TCP_PROXY,
            Self::UdpProxy => UDP_PROXY,
        }
    }
}
