//! The network filters that carry bytes and datagrams to clusters.

use serde_json::{Map, Value, json};

use super::{duration, used, weighted};
use crate::{AddressRoute, AddressSet, PortSet, Targets, TcpProxy, UdpProxy, WeightedCluster};

pub(super) fn tcp_proxy(proxy: &TcpProxy) -> Value {
    let mut config = targets(&proxy.targets);
    config.extend([
        (
            "idle_timeout".to_owned(),
            json!(duration(proxy.idle_timeout)),
        ),
        (
            "max_duration".to_owned(),
            json!(proxy.max_duration.map(duration)),
        ),
        ("connect_attempts".to_owned(), json!(proxy.connect_attempts)),
        (
            "access_logs".to_owned(),
            proxy.access_logs.iter().map(used).collect(),
        ),
    ]);
    json!({"name": "tcp_proxy", "id": proxy.id, "config": config})
}

pub(super) fn udp_proxy(proxy: &UdpProxy) -> Value {
    let mut config = targets(&proxy.targets);
    config.extend([
        (
            "idle_timeout".to_owned(),
            json!(duration(proxy.idle_timeout)),
        ),
        ("max_sessions".to_owned(), json!(proxy.max_sessions)),
        ("replies".to_owned(), json!(proxy.replies)),
        (
            "hash".to_owned(),
            json!(proxy.hash_source.then_some("source_ip")),
        ),
        (
            "access_logs".to_owned(),
            proxy.access_logs.iter().map(used).collect(),
        ),
    ]);
    json!({"name": "udp_proxy", "id": proxy.id, "config": config})
}

fn targets(targets: &Targets) -> Map<String, Value> {
    let mut shown = Map::new();
    shown.insert("weighted_clusters".to_owned(), clusters(&targets.clusters));
    let routes = targets.routes.iter().map(route);
    shown.insert("routes".to_owned(), routes.collect());
    shown
}

fn clusters(clusters: &[WeightedCluster]) -> Value {
    clusters.iter().map(weighted).collect()
}

fn route(route: &AddressRoute) -> Value {
    let ports =
        |ports: &Option<PortSet>| ports.as_ref().map(|ports| ports.text().collect::<Vec<_>>());
    json!({
        "source": route.source.as_ref().map(AddressSet::text),
        "source_ports": ports(&route.source_ports),
        "destination": route.destination.as_ref().map(AddressSet::text),
        "destination_ports": ports(&route.destination_ports),
        "weighted_clusters": clusters(&route.clusters),
    })
}
