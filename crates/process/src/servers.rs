//! Servers that speak a protocol of their own and are run as plugins: `ext_proc`, `ext_authz`, `als`.
//!
//! They are used by the extension of that name, which is not this crate's: it is found in the registry, and its configuration is filled in with
//! the address at which the plugin listens. So a use reads `{plugin: NAME, config: …}`, the server is started before the first request, and an
//! unknown plugin is found wrong when the configuration is read.

use std::sync::Arc;

use transom_api::kind::{AccessLogs, StreamFilters};
use transom_api::{
    ExtensionKind, Factory, Key, Node, NodeKind, ParseError, Parsed, Plugin, Registry, RouteConfig,
    Schema,
};

use crate::supervise::Protocol;

/// The key in which these extensions have the server that they ask.
const TARGET: &str = "grpc";

/// The extensions that ask such servers, as far as the program has them.
#[derive(Default)]
pub(crate) struct Askers {
    ext_proc: Option<Arc<dyn Factory<StreamFilters>>>,
    ext_authz: Option<Arc<dyn Factory<StreamFilters>>>,
    als: Option<Arc<dyn Factory<AccessLogs>>>,
}

impl Askers {
    /// Takes them from a registry.
    pub(crate) fn of(registry: &Registry) -> Self {
        Self {
            ext_proc: registry.find(Protocol::ExtProc.name()).ok(),
            ext_authz: registry.find(Protocol::ExtAuthz.name()).ok(),
            als: registry.find(Protocol::Als.name()).ok(),
        }
    }

    /// Adds what a plugin of this protocol can be used as.
    pub(crate) fn offer(&self, plugin: Plugin, protocol: Protocol, address: &str) -> Plugin {
        match protocol {
            Protocol::ExtProc => with(plugin, self.ext_proc.as_ref(), address),
            Protocol::ExtAuthz => with(plugin, self.ext_authz.as_ref(), address),
            Protocol::Als => with(plugin, self.als.as_ref(), address),
            _ => plugin,
        }
    }
}

impl std::fmt::Debug for Askers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Askers").finish_non_exhaustive()
    }
}

fn with<K: ExtensionKind>(
    plugin: Plugin,
    asker: Option<&Arc<dyn Factory<K>>>,
    address: &str,
) -> Plugin {
    let Some(asker) = asker.cloned() else {
        return plugin;
    };
    let address = address.to_owned();
    plugin.with::<K>(move |_| {
        Arc::new(ServerFactory {
            asker: Arc::clone(&asker),
            address: address.clone(),
        })
    })
}

/// The extension that asks the server of one plugin.
struct ServerFactory<K: ExtensionKind> {
    asker: Arc<dyn Factory<K>>,
    address: String,
}

impl<K: ExtensionKind> Factory<K> for ServerFactory<K> {
    fn schema(&self) -> Schema {
        self.asker.schema()
    }

    fn parse(&self, config: &Node) -> Result<Arc<dyn Parsed<K>>, ParseError> {
        self.asker.parse(&at_address(config, &self.address)?)
    }

    fn parse_route(&self, config: &Node) -> Result<RouteConfig, ParseError> {
        self.asker.parse_route(config)
    }
}

/// A configuration with the server's address in it.
fn at_address(config: &Node, address: &str) -> Result<Node, ParseError> {
    let mut config = config.clone();
    let target = entry(&mut config, TARGET)?;
    for key in ["address", "addresses"] {
        if let Some(other) = target.entry(key) {
            return Err(other
                .error("a server that runs as a plugin is asked where its declaration says")
                .with_help(format!("leave it out, or use the extension by its name and without `plugin`: the plugin listens at {address}")));
        }
    }
    entry(target, "address")?.kind = NodeKind::String(address.to_owned());
    Ok(config)
}

/// The entry of a map, which is put there if it is not; nothing reads as an empty map.
fn entry<'n>(node: &'n mut Node, name: &str) -> Result<&'n mut Node, ParseError> {
    // Says what is wrong with anything else.
    let entries = node.as_entries()?;
    let at = entries.iter().position(|(key, _)| key.name == name);
    let at = at.unwrap_or(entries.len());
    let empty = Node {
        kind: NodeKind::Null,
        span: node.span,
    };
    if node.is_null() {
        node.kind = NodeKind::Map(Vec::new());
    }
    let missing = node.error(format!("`{name}` is missing"));
    let NodeKind::Map(entries) = &mut node.kind else {
        return Err(missing);
    };
    if at == entries.len() {
        entries.push((Key::from(name), empty));
    }
    entries.get_mut(at).map(|(_, node)| node).ok_or(missing)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_is_filled_in_and_the_rest_is_kept() {
        let config = Node::map([
            ("grpc", Node::map([("connect_timeout", "2s".into())])),
            ("log_name", "all".into()),
        ]);
        let filled = at_address(&config, "127.0.0.1:9000").unwrap();
        let wanted = Node::map([
            (
                "grpc",
                Node::map([
                    ("connect_timeout", "2s".into()),
                    ("address", "127.0.0.1:9000".into()),
                ]),
            ),
            ("log_name", "all".into()),
        ]);
        assert_eq!(filled, wanted);
        let filled = at_address(&Node::null(), "unix:/run/x.sock").unwrap();
        let target = Node::map([("address", "unix:/run/x.sock".into())]);
        assert_eq!(filled, Node::map([("grpc", target)]));
    }

    #[test]
    fn an_address_of_its_own_is_refused() {
        for key in ["address", "addresses"] {
            let config = Node::map([("grpc", Node::map([(key, "127.0.0.1:1".into())]))]);
            let error = at_address(&config, "127.0.0.1:9000").unwrap_err();
            assert!(error.help.unwrap().contains("127.0.0.1:9000"));
        }
        assert!(at_address(&Node::list([]), "127.0.0.1:9000").is_err());
        let config = Node::map([("grpc", "127.0.0.1:1".into())]);
        assert!(at_address(&config, "127.0.0.1:9000").is_err());
    }
}
