//! The built-in listener filters. They see an accepted socket, and its first bytes, before its chain is chosen.

pub mod client_hello;
pub mod http_inspector;
pub mod ip_access;
pub mod original_dst;
pub mod proxy_header;
pub mod proxy_protocol;
pub mod tls_inspector;

use transom_api::{DuplicateExtension, Registry};

/// Puts all built-in listener filters into a registry.
pub(crate) fn register(registry: &mut Registry) -> Result<(), DuplicateExtension> {
    registry.register_listener_builtin::<http_inspector::HttpInspector>("http_inspector")?;
    registry.register_listener_builtin::<ip_access::ListenerIpAccess>("ip_access")?;
    registry.register_listener_builtin::<original_dst::OriginalDst>("original_dst")?;
    registry.register_listener_builtin::<proxy_protocol::ProxyProtocol>("proxy_protocol")?;
    registry.register_listener_builtin::<tls_inspector::TlsInspector>("tls_inspector")?;
    Ok(())
}
