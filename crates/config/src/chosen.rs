//! What was chosen for the whole process, put where a configuration names none.

use std::sync::Arc;

use transom_api::{Kind, Registry};

use crate::{Cluster, Listener, NetworkFilter, Resources, Use};

/// Puts what `registry` has [chosen](Registry::chosen) into every cluster and listener that leaves it open. So checks, dumps and the data
/// plane see what will be used.
pub(crate) fn put(resources: &mut Resources, registry: &Registry) {
    if Kind::CHOSEN
        .iter()
        .all(|kind| registry.chosen(*kind).is_none())
    {
        return;
    }
    let chosen = |kind| {
        registry
            .chosen(kind)
            .map(|chosen| Use::of(chosen.name.as_str().into(), chosen.config.clone()))
    };
    for cluster in resources.clusters.values_mut() {
        let mut next = Cluster::clone(cluster);
        if let Some(used) = chosen(Kind::Selector)
            && next.load_balancing.span.is_none()
        {
            next.load_balancing = used;
        }
        if let Some(discovery) = &mut next.discovery
            && discovery.registry.span.is_none()
            && let Some(used) = chosen(Kind::Registry)
        {
            discovery.registry = used;
        }
        next.transport = next.transport.or_else(|| chosen(Kind::Transport));
        next.client = next.client.or_else(|| chosen(Kind::Client));
        *cluster = Arc::new(next);
    }
    if let Some(server) = chosen(Kind::Server) {
        for listener in resources.listeners.values_mut() {
            let mut next = Listener::clone(listener);
            let of_chains = next.filter_chains.iter_mut();
            let filters = of_chains.flat_map(|chain| &mut chain.network_filters);
            for filter in filters.chain(&mut next.network_filters) {
                if let NetworkFilter::Http(http) = filter {
                    http.protocol.get_or_insert_with(|| server.clone());
                }
            }
            *listener = Arc::new(next);
        }
    }
}
