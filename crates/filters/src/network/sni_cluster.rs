//! `sni_cluster`: chooses the cluster of `tcp_proxy` by the name that the client asked for (SNI, RFC 6066 section 3).
//!
//! | key | default | what |
//! |---|---|---|
//! | `clusters` | none | names that may be asked for and are names of clusters themselves |
//! | `names` | none | names that may be asked for, each with its cluster; `*.example.com` stands for every name below |
//! | `otherwise` | `close` | what becomes of other names, and of clients that ask for none: `close`, or `pass` to the cluster of `tcp_proxy` |
//!
//! ```yaml
//! network_filters:
//!   - name: sni_cluster
//!     config:
//!       clusters: [shop.example.com]
//!       names: {"*.example.org": org, example.org: org}
//!   - {name: tcp_proxy, config: {cluster: shop.example.com}}
//! ```
//!
//! The name is the one of the listener's TLS handshake, or the one that a listener filter (`tls_inspector`) has read from a
//! handshake that passes on as it is. Names are compared without case; an exact name goes before `*`, and a longer `*.…`
//! before a shorter one. No client reaches a cluster that is not named here.
//!
//! | metric | what |
//! |---|---|
//! | `transom_sni_cluster_chosen_total{filter}` | connections whose name has a cluster |
//! | `transom_sni_cluster_unknown_total{filter}` | connections with another name, or none |

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use transom_api::builtin::NetworkBuiltin;
use transom_api::{
    Connection, Counter, NetworkFilter, NetworkVerdict, NetworkWants, Node, ParseError,
    PrepareContext, PrepareError, Schema, Shape, attribute,
};

/// The configuration.
#[derive(Clone, Debug)]
pub struct SniCluster {
    clusters: Arc<Clusters>,
    metrics: Option<(Counter, Counter)>,
}

#[derive(Debug, Default)]
struct Clusters {
    /// By the name in lower case.
    exact: BTreeMap<String, String>,
    /// By what follows the star, with its dot.
    below: BTreeMap<String, String>,
    closes: bool,
}

impl NetworkBuiltin for SniCluster {
    type Filter = SniClusterFilter;

    fn schema() -> Schema {
        Schema::object()
            .optional(
                "clusters",
                Schema::list(Schema::string())
                    .describe("Names that may be asked for and are names of clusters themselves."),
            )
            .optional(
                "names",
                Schema::map_of(Schema::string()).describe(
                    "Names that may be asked for, each with its cluster; *.example.com stands for every name below.",
                ),
            )
            .optional(
                "otherwise",
                Schema::new(Shape::OneOf(vec!["close", "pass"]))
                    .describe("What becomes of other names, and of clients that ask for none: close, or pass to the cluster of tcp_proxy.")
                    .or("close"),
            )
            .describe("Chooses the cluster of tcp_proxy by the name that the client asked for (SNI).")
    }

    fn parse(node: &Node) -> Result<Self, ParseError> {
        let mut fields = node.as_fields()?;
        let mut clusters = Clusters::default();
        for name in fields
            .optional("clusters")
            .map_or(Ok(&[][..]), Node::as_list)?
        {
            let cluster = name.as_str()?;
            clusters.add(cluster, cluster, name)?;
        }
        if let Some(names) = fields.optional("names") {
            for (name, cluster) in names.as_entries()? {
                clusters.add(&name.name, cluster.as_str()?, cluster)?;
            }
        }
        clusters.closes = match fields.optional("otherwise") {
            None => true,
            Some(otherwise) => match otherwise.as_str()? {
                "close" => true,
                "pass" => false,
                other => {
                    return Err(otherwise
                        .error(format!(
                            "{other:?} is nothing that can become of a connection"
                        ))
                        .with_help("write `close` or `pass`"));
                }
            },
        };
        fields.finish()?;
        if clusters.exact.is_empty() && clusters.below.is_empty() {
            return Err(node.error("no name has a cluster").with_help(
                "write `clusters: [shop.example.com]` or `names: {\"*.example.com\": shop}`",
            ));
        }
        Ok(Self {
            clusters: Arc::new(clusters),
            metrics: None,
        })
    }

    fn clusters(&self) -> Vec<String> {
        let clusters = &self.clusters;
        let mut named: Vec<String> = clusters
            .exact
            .values()
            .chain(clusters.below.values())
            .cloned()
            .collect();
        named.sort_unstable();
        named.dedup();
        named
    }

    fn prepare(&mut self, context: &PrepareContext) -> Result<(), PrepareError> {
        let chosen = super::counter(
            context,
            "sni_cluster_chosen_total",
            "Connections whose server name has a cluster.",
        )?;
        let unknown = super::counter(
            context,
            "sni_cluster_unknown_total",
            "Connections whose server name has no cluster, or that have none.",
        )?;
        self.metrics = Some((chosen, unknown));
        Ok(())
    }

    fn wants(&self) -> NetworkWants {
        NetworkWants::CONNECTION
    }

    fn filter(&self) -> SniClusterFilter {
        SniClusterFilter(Rc::new(self.clone()))
    }
}

/// The filter of a connection.
#[derive(Debug)]
pub struct SniClusterFilter(Rc<SniCluster>);

impl NetworkFilter for SniClusterFilter {
    fn on_new_connection(&mut self, connection: &mut Connection<'_>) -> NetworkVerdict {
        let name = connection.attribute(attribute::CONNECTION_REQUESTED_SERVER_NAME);
        let cluster = name
            .as_ref()
            .and_then(|name| self.0.clusters.of(name.as_str()?));
        if let Some((chosen, unknown)) = self.0.metrics {
            connection.count(if cluster.is_some() { chosen } else { unknown }, 1);
        }
        match cluster {
            Some(cluster) => connection.choose_cluster(cluster),
            None if self.0.clusters.closes => {
                connection.close();
                return NetworkVerdict::StopIteration;
            }
            None => {}
        }
        NetworkVerdict::Continue
    }
}

impl Clusters {
    fn add(&mut self, name: &str, cluster: &str, node: &Node) -> Result<(), ParseError> {
        let name = name.to_ascii_lowercase();
        let (map, key) = match name.strip_prefix('*') {
            Some(below) if below.len() > 1 && below.starts_with('.') => (&mut self.below, below),
            Some(_) => {
                return Err(node
                    .error(format!("{name:?} is no name that a client asks for"))
                    .with_help("a star stands for all labels before a dot: *.example.com"));
            }
            None => (&mut self.exact, &*name),
        };
        if key.trim_matches('.').is_empty() || key.contains('*') || !key.is_ascii() {
            return Err(node
                .error(format!("{name:?} is no name that a client asks for"))
                .with_help(
                    "write shop.example.com or *.example.com; other letters than ASCII's as xn--…",
                ));
        }
        match map.insert(key.to_owned(), cluster.to_owned()) {
            Some(before) if before != cluster => Err(node
                .error(format!("the name {name:?} has two clusters"))
                .with_help(format!("it has `{before}` already"))),
            _ => Ok(()),
        }
    }

    fn of(&self, name: &str) -> Option<&str> {
        let name = name.to_ascii_lowercase();
        if let Some(cluster) = self.exact.get(&name) {
            return Some(cluster);
        }
        // From the longest part that begins with a dot to the shortest.
        let dots = name.bytes().enumerate().filter(|(_, byte)| *byte == b'.');
        dots.filter(|(at, _)| *at > 0)
            .find_map(|(at, _)| self.below.get(name.get(at..)?))
            .map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use transom_api::Attribute;
    use transom_api::testing::{FakeConnection, FakeNetworkUse, FakeWorker};

    use super::*;

    fn config(otherwise: &str) -> Node {
        Node::map([
            ("clusters", Node::list(["Shop.example.com".into()])),
            (
                "names",
                Node::map([
                    ("*.example.com", "any".into()),
                    ("*.deep.example.com", "deep".into()),
                    ("example.com", "apex".into()),
                ]),
            ),
            ("otherwise", otherwise.into()),
        ])
    }

    fn asking(used: &FakeNetworkUse, name: &'static str) -> FakeConnection {
        let name = Attribute::Bytes(Cow::Borrowed(name.as_bytes()));
        let connection = used.connection();
        let mut connection =
            connection.with_attribute(attribute::CONNECTION_REQUESTED_SERVER_NAME, name);
        connection.begin();
        connection
    }

    #[test]
    fn the_most_exact_name_decides() {
        let mut worker = FakeWorker::new();
        let used = worker
            .network_builtin::<SniCluster>(&config("close"))
            .unwrap();
        for (name, cluster) in [
            ("shop.example.com", Some("Shop.example.com")),
            ("SHOP.EXAMPLE.COM", Some("Shop.example.com")),
            ("other.example.com", Some("any")),
            ("a.b.example.com", Some("any")),
            ("a.deep.example.com", Some("deep")),
            ("deep.example.com", Some("any")),
            ("example.com", Some("apex")),
            ("xample.com", None),
            ("notexample.com", None),
            (".example.com", None),
            ("", None),
        ] {
            let connection = asking(&used, name);
            assert_eq!(connection.chosen_cluster(), cluster, "{name}");
            assert_eq!(connection.is_closed(), cluster.is_none(), "{name}");
        }
        assert_eq!(worker.process().metric("sni_cluster_chosen_total"), 7);
        assert_eq!(worker.process().metric("sni_cluster_unknown_total"), 4);
    }

    #[test]
    fn others_may_pass() {
        let mut worker = FakeWorker::new();
        let used = worker
            .network_builtin::<SniCluster>(&config("pass"))
            .unwrap();
        let mut nameless = used.connection();
        assert_eq!(nameless.begin(), Some(NetworkVerdict::Continue));
        assert_eq!(nameless.chosen_cluster(), None);
        assert!(!asking(&used, "elsewhere.test").is_closed());
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        let names = |name: &'static str| {
            let map = Node::map([(name, "c".into())]);
            SniCluster::parse(&Node::map([("names", map)]))
        };
        for name in [
            "*",
            "*example.com",
            "*.",
            "a.*.b",
            "",
            ".",
            "bücher.example",
        ] {
            assert!(names(name).is_err(), "{name}");
        }
        assert!(SniCluster::parse(&Node::null()).is_err());
        let twice = Node::map([
            ("clusters", Node::list(["a.test".into()])),
            ("names", Node::map([("A.test", "b".into())])),
        ]);
        let error = SniCluster::parse(&twice).unwrap_err();
        assert_eq!(error.message, "the name \"a.test\" has two clusters");
        let odd = Node::map([
            ("clusters", Node::list(["a.test".into()])),
            ("otherwise", "drop".into()),
        ]);
        assert!(SniCluster::parse(&odd).is_err());
    }
}
