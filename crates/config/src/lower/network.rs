//! The network filters that carry bytes and datagrams to clusters.

use transom_api::{Node, Span};

use super::conditions::Stand;
use super::{Lowering, refer};
use crate::decode::decode;
use crate::file;
use crate::report::Problem;
use crate::{
    AddressRoute, ListenAddress, Listener, Located, NetworkFilter, Targets, TcpProxy, UdpProxy,
    Use, WeightedCluster,
};

impl Lowering<'_> {
    pub(super) fn tcp_proxy(&mut self, used: Use, whole: Option<Span>) -> Option<NetworkFilter> {
        let config = at_least_at(used.config, whole);
        let tcp_proxy: file::TcpProxy = decode(&config, self.problems)?;
        let written = Written {
            name: "tcp_proxy",
            place: config.span,
            cluster: tcp_proxy.cluster,
            weighted_clusters: tcp_proxy.weighted_clusters,
            routes: tcp_proxy.routes,
        };
        let access_logs = self.chain(Stand::ConnectionLog, tcp_proxy.access_logs);
        Some(NetworkFilter::TcpProxy(Box::new(TcpProxy {
            id: used.id,
            targets: self.targets(written),
            idle_timeout: tcp_proxy.idle_timeout.0,
            max_duration: tcp_proxy.max_duration.map(|limit| limit.0),
            connect_attempts: tcp_proxy.connect_attempts.0,
            access_logs,
        })))
    }

    pub(super) fn udp_proxy(&mut self, used: Use, whole: Option<Span>) -> Option<NetworkFilter> {
        let config = at_least_at(used.config, whole);
        let udp_proxy: file::UdpProxy = decode(&config, self.problems)?;
        let written = Written {
            name: "udp_proxy",
            place: config.span,
            cluster: udp_proxy.cluster,
            weighted_clusters: udp_proxy.weighted_clusters,
            routes: udp_proxy.routes,
        };
        let access_logs = self.chain(Stand::ConnectionLog, udp_proxy.access_logs);
        Some(NetworkFilter::UdpProxy(Box::new(UdpProxy {
            id: used.id,
            targets: self.targets(written),
            idle_timeout: udp_proxy.idle_timeout.0,
            max_sessions: udp_proxy.max_sessions.0,
            replies: udp_proxy.replies.map(|replies| replies.0),
            hash_source: matches!(udp_proxy.hash, Some(file::HashBy::SourceIp)),
            access_logs,
        })))
    }

    /// Datagrams are for `udp_proxy`, and `udp_proxy` is for datagrams.
    pub(super) fn check_datagrams(&mut self, listener: &Listener) {
        let place = listener.address.span;
        // One that could not be read is a mistake of its own.
        if matches!(&listener.address.value, ListenAddress::Unix(path) if path.as_os_str().is_empty())
        {
            return;
        }
        let is_udp = matches!(listener.address.value, ListenAddress::Udp(_));
        let name = &listener.name;
        let filters = listener.network_filters.as_slice();
        if is_udp {
            let problem = match filters {
                [NetworkFilter::UdpProxy(_)] => None,
                [] => return,
                _ => Some((
                    format!(
                        "the listener `{name}` takes datagrams, for which `udp_proxy` is the only network filter"
                    ),
                    "write `network_filters: [{name: udp_proxy, config: …}]`, or an address without `udp:`",
                )),
            };
            let others = [
                (listener.tls.is_some(), "tls"),
                (!listener.listener_filters.is_empty(), "listener_filters"),
                (!listener.filter_chains.is_empty(), "filter_chains"),
            ];
            if let Some((message, help)) = problem {
                self.problems
                    .push(Problem::new(message, place).with_help(help));
            }
            for (_, key) in others.into_iter().filter(|(given, _)| *given) {
                let message = format!("`{key}` has no meaning for datagrams");
                self.problems.push(Problem::new(message, place));
            }
        } else if listener
            .chains()
            .flat_map(|chain| chain.network_filters)
            .any(|filter| matches!(filter, NetworkFilter::UdpProxy(_)))
        {
            let message =
                format!("`udp_proxy` takes datagrams, and the listener `{name}` connections");
            let help = match &listener.address.value {
                ListenAddress::Tcp(address) => format!("write `address: udp:{address}`"),
                _ => "write an address such as udp:127.0.0.1:53".to_owned(),
            };
            self.problems
                .push(Problem::new(message, place).with_help(help));
        }
    }

    fn targets(&mut self, written: Written) -> Targets {
        let Written {
            name,
            place,
            cluster,
            weighted_clusters,
            routes,
        } = written;
        let mut targets = Targets::default();
        let has_routes = !routes.items.is_empty() || !routes.whole;
        for Located { value: route, span } in routes.items {
            let clusters = self.shares(route.cluster, route.weighted_clusters, span);
            if clusters.is_none() && !self.problems.any_within(span) {
                self.problems.push(
                    Problem::new("this route does not say where its clients go", span)
                        .with_help("write `cluster` or `weighted_clusters`"),
                );
            }
            targets.routes.push(AddressRoute {
                source: route.source,
                source_ports: route.source_ports,
                destination: route.destination,
                destination_ports: route.destination_ports,
                clusters: clusters.unwrap_or_default(),
            });
        }
        let others = self.shares(cluster, weighted_clusters, place);
        if others.is_none() && !has_routes && !self.problems.any_within(place) {
            self.problems.push(
                Problem::new(format!("`{name}` needs a cluster"), place)
                    .with_help("write `cluster`, `weighted_clusters` or `routes`"),
            );
        }
        targets.clusters = others.unwrap_or_default();
        targets
    }

    /// `None` when neither key is there.
    fn shares(
        &mut self,
        cluster: Option<Located<String>>,
        weighted: Option<Located<file::Items<Located<file::WeightedCluster>>>>,
        place: Option<Span>,
    ) -> Option<Vec<WeightedCluster>> {
        let clusters = match (cluster, weighted) {
            (None, None) => return None,
            (Some(cluster), None) => vec![WeightedCluster { cluster, weight: 1 }],
            (None, Some(weighted)) => self.weighted(weighted),
            (Some(_), Some(weighted)) => {
                let message = "`cluster` and `weighted_clusters` exclude each other";
                let place = weighted.span.or(place);
                self.problems.push(Problem::new(message, place));
                return Some(Vec::new());
            }
        };
        for WeightedCluster { cluster, .. } in &clusters {
            refer("cluster", cluster, &self.clusters, self.problems);
        }
        Some(clusters)
    }
}

/// Where a filter was told to send to.
struct Written {
    name: &'static str,
    place: Option<Span>,
    cluster: Option<Located<String>>,
    weighted_clusters: Option<Located<file::Items<Located<file::WeightedCluster>>>>,
    routes: file::Items<Located<file::AddressRoute>>,
}

/// A configuration that was left out is at fault where the use stands.
fn at_least_at(config: Node, whole: Option<Span>) -> Node {
    Node {
        span: config.span.or(whole),
        kind: config.kind,
    }
}
