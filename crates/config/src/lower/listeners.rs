//! Listeners and their chains.

use std::path::PathBuf;
use std::sync::Arc;

use transom_api::Span;

use super::conditions::Stand;
use super::tls::is_host_name;
use super::{Lowering, Unique};
use crate::decode::Tried;
use crate::file;
use crate::file::chain as shape;
use crate::report::Problem;
use crate::{
    ChainIndex, ChainMatch, ExtensionName, FilterChain, ListenAddress, Listener, Located,
    OnTimeout, SourceType, TransportProtocol, Use,
};

/// Listener filters that look at the address of a socket, or at what comes before a client's own bytes.
const LOOK_AT_ADDRESSES: [&str; 3] = ["ip_access", "original_dst", "proxy_protocol"];

impl Lowering<'_> {
    pub(super) fn listeners(&mut self, listeners: file::Items<file::Listener>) {
        let mut unique = Unique::default();
        for (index, listener) in listeners.items.into_iter().enumerate() {
            // A listener without a good name is read on for the mistakes that are in it.
            let (name, name_span, is_new) = match listener.name.0 {
                Some(Located { value: name, span }) => {
                    let is_new = unique.check("listeners", &name.0, span, self.problems);
                    (name.0, span, is_new)
                }
                None => (String::new(), None, false),
            };
            // What cannot be kept under its name is put under another, which no name can be: its extensions are still to
            // be checked, and as there is a problem, nobody gets it.
            let key = if is_new {
                name.clone()
            } else {
                format!("/{index}")
            };
            let has_chains = !listener.filter_chains.items.is_empty();
            let network_filters = match listener.network_filters {
                Some(filters) => self.network_filters(&name, filters),
                None => {
                    if !has_chains && listener.filter_chains.whole {
                        self.problems.push(
                            Problem::new("the key `network_filters` is missing", name_span)
                                .with_help("say what becomes of connections: network_filters: [{name: http, config: {…}}], or write `filter_chains`"),
                        );
                    } else if let Some(Tried(tls)) = &listener.tls {
                        let place = tls.as_ref().and_then(|tls| tls.span);
                        self.problems.push(
                            Problem::new("`tls` has no meaning without `network_filters`", place)
                                .with_help("it is the default chain's; write it in each of `filter_chains` that speaks TLS"),
                        );
                    }
                    Vec::new()
                }
            };
            let listener_filters = self.chain(Stand::Other, listener.listener_filters);
            let access_logs = self.chain(Stand::ConnectionLog, listener.access_logs);
            let tls = listener
                .tls
                .and_then(|tls| self.listener_tls(tls.0?, &network_filters));
            let filter_chains =
                self.filter_chains(&name, listener.filter_chains, &listener_filters);
            let address = match listener.address.0 {
                Some(address) => {
                    self.address(format!("the listener `{name}`"), &address);
                    address
                }
                None => Located::new(ListenAddress::Unix(PathBuf::new())),
            };
            let socket = self.socket_options(
                &address,
                listener.accept_rate,
                listener.balance,
                listener.unix_socket,
                &listener.transparent,
            );
            let listener = Listener {
                name,
                address,
                listener_filters,
                listener_filters_timeout: listener.listener_filters_timeout.0,
                on_listener_filters_timeout: match listener.on_listener_filters_timeout {
                    shape::OnTimeout::Close => OnTimeout::Close,
                    shape::OnTimeout::Continue => OnTimeout::Continue,
                },
                access_logs,
                filter_chains,
                tls,
                network_filters,
                max_connections: listener.max_connections.map(|limit| limit.0),
                accept_rate: socket.accept_rate,
                balance: socket.balance,
                unix_socket: socket.unix_socket,
                transparent: socket.transparent,
            };
            self.check_datagrams(&listener);
            self.resources.listeners.insert(key, Arc::new(listener));
        }
    }

    fn filter_chains(
        &mut self,
        listener: &str,
        chains: file::Items<Located<shape::FilterChain>>,
        listener_filters: &[Use],
    ) -> Vec<FilterChain> {
        let mut unique = Unique::default();
        let mut lowered = Vec::new();
        let mut places = Vec::new();
        for Located { value: chain, span } in chains.items {
            let Located {
                value: matches,
                span: place,
            } = chain.matches;
            let place = place.or(span);
            let matches = self.chain_match(matches);
            self.check_inspection(&matches, place, listener_filters);
            let name = match chain.name {
                Some(Located { value: name, span }) => {
                    unique.check("filter chains", &name.0, span, self.problems);
                    name.0
                }
                None => matches.to_string(),
            };
            let scope = format!("{listener}/{name}");
            let network_filters = self.network_filters(&scope, chain.network_filters);
            let tls = chain
                .tls
                .and_then(|tls| self.listener_tls(tls.0?, &network_filters));
            lowered.push(FilterChain {
                name,
                matches,
                tls,
                network_filters,
            });
            places.push(place);
        }
        if let Err(same) = ChainIndex::new(lowered.iter().map(|chain| &chain.matches)) {
            let place = |index: usize| places.get(index).copied().flatten();
            self.problems.push(
                Problem::new(
                    "two filter chains match the same connections",
                    place(same.second),
                )
                .with_label(place(same.first), "so does this one")
                .with_help("a connection can take only one: let one of the two be more specific"),
            );
        }
        lowered
    }

    fn chain_match(&mut self, shape: shape::ChainMatch) -> ChainMatch {
        let server_names = shape.server_names.items.into_iter().map(|name| {
            let lower = name.value.to_ascii_lowercase();
            if !is_host_name(lower.strip_prefix("*.").unwrap_or(&lower)) {
                self.problems.push(
                    Problem::new(
                        format!("{:?} is no name that a client can ask for", name.value),
                        name.span,
                    )
                    .with_help("write a name, a.example.org, or all below one, *.example.org"),
                );
            }
            lower
        });
        let server_names = server_names.collect();
        let protocols = shape.application_protocols.items.into_iter().map(|name| {
            // RFC 7301, section 3.1.
            if name.is_empty() || name.len() > 255 {
                let message = "the name of a protocol has 1 to 255 bytes";
                self.problems.push(Problem::new(message, name.span));
            }
            name.value
        });
        let port = |port: u32| u16::try_from(port).unwrap_or(u16::MAX);
        ChainMatch {
            application_protocols: protocols.collect(),
            destination_port: shape.destination_port.map(|it| port(it.0)),
            destination_networks: shape.destination_networks.items,
            server_names,
            transport_protocol: shape.transport_protocol.map(|it| match it {
                shape::TransportProtocol::Tls => TransportProtocol::Tls,
                shape::TransportProtocol::Raw => TransportProtocol::Raw,
            }),
            direct_source_networks: shape.direct_source_networks.items,
            source_type: shape.source_type.map(|it| match it {
                shape::SourceType::Local => SourceType::Local,
                shape::SourceType::External => SourceType::External,
            }),
            source_networks: shape.source_networks.items,
            source_ports: shape
                .source_ports
                .items
                .iter()
                .map(|it| port(it.0))
                .collect(),
        }
    }

    /// A chain that waits for what nobody finds out would never be taken.
    fn check_inspection(
        &mut self,
        matches: &ChainMatch,
        place: Option<Span>,
        listener_filters: &[Use],
    ) {
        let inspects = |used: &Use| match &used.extension {
            ExtensionName::Builtin(name) => !LOOK_AT_ADDRESSES.contains(&name.as_str()),
            ExtensionName::Resource(_) | ExtensionName::Plugin(_) => true,
        };
        let mut active = listener_filters.iter().filter(|used| !used.disabled);
        if matches.needs_inspection() && !active.any(inspects) {
            self.problems.push(
                Problem::new(
                    "no listener filter finds out what this chain matches",
                    place,
                )
                .with_help(
                    "for names and protocols of TLS add to the listener: listener_filters: [{name: tls_inspector}], for HTTP without TLS {name: http_inspector}",
                ),
            );
        }
    }
}
