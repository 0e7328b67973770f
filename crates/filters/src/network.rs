//! The built-in network filters: they see the bytes of connections.
//!
//! - [`direct_response`]: answers every client with the same bytes;
//! - [`echo`]: sends back what comes;
//! - [`fault`]: delays connections, breaks them off and slows them down;
//! - [`ip_access`]: lets connections pass by the client's address;
//! - [`sni_cluster`]: chooses the cluster of `tcp_proxy` by the name that the client asked for.

pub mod direct_response;
pub mod echo;
pub mod fault;
pub mod ip_access;
pub mod sni_cluster;

use transom_api::{Counter, DuplicateExtension, MetricError, PrepareContext, Registry};

/// Puts all built-in network filters into a registry, under the names of the configuration.
pub(crate) fn register(registry: &mut Registry) -> Result<(), DuplicateExtension> {
    registry.register_network_builtin::<direct_response::DirectResponse>("direct_response")?;
    registry.register_network_builtin::<echo::Echo>("echo")?;
    registry.register_network_builtin::<fault::Fault>("fault")?;
    registry.register_network_builtin::<ip_access::IpAccess>("ip_access")?;
    registry.register_network_builtin::<sni_cluster::SniCluster>("sni_cluster")?;
    Ok(())
}

/// A counter with the label `filter`, the name of the use.
fn counter(
    context: &PrepareContext,
    name: &'static str,
    help: &'static str,
) -> Result<Counter, MetricError> {
    let labels = [("filter", &*context.instance)];
    context.metrics.counter(name, help, &labels)
}
