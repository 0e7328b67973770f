//! Finding the chain of a connection, without looking at every chain.
//!
//! The criteria are looked at one after the other, in the order of [`Criterion::ALL`], which is Envoy's. At each, the chains
//! that name the connection's value most specifically stay, and without such a chain those that do not look at it: a
//! decision is never taken back. So the index is a tree with a level for each criterion that any of its chains has.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

use crate::{ChainMatch, ConnectionFacts, IpNetwork, SourceType, TransportProtocol};

/// Which chain a connection takes.
#[derive(Clone, Debug)]
pub struct ChainIndex {
    root: Option<Node>,
}

/// Two chains that the same connections would match, by their indexes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SameMatch {
    /// The first of the two.
    pub first: usize,
    /// The second.
    pub second: usize,
}

#[derive(Clone, Debug)]
enum Node {
    Chain(usize),
    Level(Box<Level>),
}

#[derive(Clone, Debug)]
struct Level {
    criterion: Criterion,
    values: HashMap<Value, Node>,
    /// The lengths of prefixes of networks that are among the values, longest first.
    prefixes: Vec<u8>,
    /// Chains that do not look at the criterion.
    any: Option<Node>,
}

/// In the order in which they are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Criterion {
    DestinationPort,
    Destination,
    ServerName,
    Transport,
    Application,
    DirectSource,
    SourceType,
    Source,
    SourcePort,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Value {
    Port(u16),
    Network(IpNetwork),
    Text(String),
    Transport(TransportProtocol),
    SourceType(SourceType),
}

impl ChainIndex {
    /// An index of chains; their indexes are their places in `matches`.
    pub fn new<'m>(matches: impl IntoIterator<Item = &'m ChainMatch>) -> Result<Self, SameMatch> {
        let chains: Vec<(usize, &ChainMatch)> = matches.into_iter().enumerate().collect();
        Ok(Self {
            root: Node::build(&chains, Criterion::ALL)?,
        })
    }

    /// The index of the chain that a connection takes.
    #[must_use]
    pub fn find(&self, facts: &ConnectionFacts<'_>) -> Option<usize> {
        let mut node = self.root.as_ref()?;
        loop {
            node = match node {
                Node::Chain(index) => return Some(*index),
                Node::Level(level) => level.find(facts)?,
            };
        }
    }
}

impl Node {
    fn build(
        chains: &[(usize, &ChainMatch)],
        criteria: &[Criterion],
    ) -> Result<Option<Self>, SameMatch> {
        let Some((criterion, rest)) = criteria.split_first() else {
            return match chains {
                [] => Ok(None),
                [(index, _)] => Ok(Some(Self::Chain(*index))),
                [(first, _), (second, _), ..] => Err(SameMatch {
                    first: *first,
                    second: *second,
                }),
            };
        };
        let mut groups: BTreeMap<Value, Vec<(usize, &ChainMatch)>> = BTreeMap::new();
        let mut any = Vec::new();
        for (index, chain) in chains {
            let mut values = criterion.values(chain);
            if values.is_empty() {
                any.push((*index, *chain));
            }
            values.sort();
            values.dedup();
            for value in values {
                groups.entry(value).or_default().push((*index, *chain));
            }
        }
        let any = Self::build(&any, rest)?;
        if groups.is_empty() {
            return Ok(any);
        }
        let mut prefixes: Vec<u8> = groups
            .keys()
            .filter_map(|value| match value {
                Value::Network(network) => Some(network.prefix()),
                _ => None,
            })
            .collect();
        prefixes.sort_unstable_by(|a, b| b.cmp(a));
        prefixes.dedup();
        let mut values = HashMap::with_capacity(groups.len());
        for (value, group) in groups {
            if let Some(node) = Self::build(&group, rest)? {
                values.insert(value, node);
            }
        }
        Ok(Some(Self::Level(Box::new(Level {
            criterion: *criterion,
            values,
            prefixes,
            any,
        }))))
    }
}

impl Level {
    fn find(&self, facts: &ConnectionFacts<'_>) -> Option<&Node> {
        let found = match self.criterion {
            Criterion::DestinationPort => facts
                .destination
                .and_then(|address| self.values.get(&Value::Port(address.port()))),
            Criterion::Destination => self.network(facts.destination.map(|it| it.ip())),
            Criterion::ServerName => facts.server_name.and_then(|name| self.server_name(name)),
            Criterion::Transport => self.values.get(&Value::Transport(facts.transport_protocol)),
            Criterion::Application => facts
                .application_protocols
                .iter()
                .find_map(|name| self.text(name)),
            Criterion::DirectSource => self.network(facts.direct_source),
            Criterion::SourceType => self.values.get(&Value::SourceType(facts.source_type())),
            Criterion::Source => self.network(facts.source.map(|it| it.ip())),
            Criterion::SourcePort => facts
                .source
                .and_then(|address| self.values.get(&Value::Port(address.port()))),
        };
        found.or(self.any.as_ref())
    }

    /// The longest prefix that has the address.
    fn network(&self, address: Option<IpAddr>) -> Option<&Node> {
        let address = address?.to_canonical();
        self.prefixes.iter().find_map(|prefix| {
            let network = IpNetwork::new(address, *prefix)?;
            self.values.get(&Value::Network(network))
        })
    }

    /// The name itself, or the longest `*.name` that it is below of.
    fn server_name(&self, name: &str) -> Option<&Node> {
        self.text(name).or_else(|| {
            name.match_indices('.').find_map(|(at, _)| {
                let suffix = name.get(at..)?;
                self.text(&format!("*{suffix}"))
            })
        })
    }

    fn text(&self, text: &str) -> Option<&Node> {
        self.values.get(&Value::Text(text.to_owned()))
    }
}

impl Criterion {
    const ALL: &[Self] = &[
        Self::DestinationPort,
        Self::Destination,
        Self::ServerName,
        Self::Transport,
        Self::Application,
        Self::DirectSource,
        Self::SourceType,
        Self::Source,
        Self::SourcePort,
    ];

    /// What a chain says of it.
    fn values(self, chain: &ChainMatch) -> Vec<Value> {
        let networks = |networks: &[IpNetwork]| -> Vec<Value> {
            networks.iter().copied().map(Value::Network).collect()
        };
        let texts =
            |texts: &[String]| -> Vec<Value> { texts.iter().cloned().map(Value::Text).collect() };
        match self {
            Self::DestinationPort => chain
                .destination_port
                .map(Value::Port)
                .into_iter()
                .collect(),
            Self::Destination => networks(&chain.destination_networks),
            Self::ServerName => texts(&chain.server_names),
            Self::Transport => chain
                .transport_protocol
                .map(Value::Transport)
                .into_iter()
                .collect(),
            Self::Application => texts(&chain.application_protocols),
            Self::DirectSource => networks(&chain.direct_source_networks),
            Self::SourceType => chain
                .source_type
                .map(Value::SourceType)
                .into_iter()
                .collect(),
            Self::Source => networks(&chain.source_networks),
            Self::SourcePort => chain
                .source_ports
                .iter()
                .copied()
                .map(Value::Port)
                .collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chain(edit: impl FnOnce(&mut ChainMatch)) -> ChainMatch {
        let mut chain = ChainMatch::default();
        edit(&mut chain);
        chain
    }

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|&name| name.to_owned()).collect()
    }

    fn networks(texts: &[&str]) -> Vec<IpNetwork> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn facts() -> ConnectionFacts<'static> {
        ConnectionFacts {
            destination: Some("192.0.2.1:443".parse().unwrap()),
            server_name: None,
            transport_protocol: TransportProtocol::Raw,
            application_protocols: &[],
            direct_source: Some("198.51.100.7".parse().unwrap()),
            source: Some("198.51.100.7:50000".parse().unwrap()),
        }
    }

    #[test]
    fn without_chains_nothing_is_found() {
        assert_eq!(ChainIndex::new([]).unwrap().find(&facts()), None);
    }

    #[test]
    fn the_most_specific_server_name_is_taken() {
        let chains = [
            chain(|it| it.server_names = names(&["*.org"])),
            chain(|it| it.server_names = names(&["*.example.org"])),
            chain(|it| it.server_names = names(&["a.example.org", "example.org"])),
            chain(|_| {}),
        ];
        let index = ChainIndex::new(&chains).unwrap();
        let find = |name: &'static str| {
            index.find(&ConnectionFacts {
                server_name: Some(name),
                ..facts()
            })
        };
        assert_eq!(find("a.example.org"), Some(2));
        assert_eq!(find("example.org"), Some(2));
        assert_eq!(find("b.example.org"), Some(1));
        assert_eq!(find("c.b.example.org"), Some(1));
        assert_eq!(find("other.org"), Some(0));
        assert_eq!(find("org"), Some(3));
        assert_eq!(index.find(&facts()), Some(3));
    }

    #[test]
    fn the_longest_prefix_is_taken() {
        let chains = [
            chain(|it| it.source_networks = networks(&["0.0.0.0/0"])),
            chain(|it| it.source_networks = networks(&["198.51.0.0/16"])),
            chain(|it| it.source_networks = networks(&["198.51.100.0/24", "2001:db8::/32"])),
        ];
        let index = ChainIndex::new(&chains).unwrap();
        let find = |source: &str| {
            index.find(&ConnectionFacts {
                source: Some(source.parse().unwrap()),
                ..facts()
            })
        };
        assert_eq!(find("198.51.100.7:1"), Some(2));
        assert_eq!(find("[::ffff:198.51.100.7]:1"), Some(2));
        assert_eq!(find("198.51.99.7:1"), Some(1));
        assert_eq!(find("10.0.0.1:1"), Some(0));
        assert_eq!(find("[2001:db8::1]:1"), Some(2));
        assert_eq!(find("[::1]:1"), None);
    }

    #[test]
    fn criteria_are_looked_at_in_their_order_and_decisions_stand() {
        let chains = [
            chain(|it| {
                it.destination_port = Some(443);
                it.server_names = names(&["a.org"]);
            }),
            chain(|it| it.server_names = names(&["b.org"])),
        ];
        let index = ChainIndex::new(&chains).unwrap();
        // Port 443 has chains of its own: the name is looked for among them only.
        let at = |port: u16, name: &'static str| {
            index.find(&ConnectionFacts {
                destination: Some(([192, 0, 2, 1], port).into()),
                server_name: Some(name),
                ..facts()
            })
        };
        assert_eq!(at(443, "a.org"), Some(0));
        assert_eq!(at(443, "b.org"), None);
        assert_eq!(at(80, "b.org"), Some(1));
        assert_eq!(at(80, "a.org"), None);
    }

    #[test]
    fn the_clients_most_wanted_protocol_decides() {
        let chains = [
            chain(|it| it.application_protocols = names(&["http/1.1"])),
            chain(|it| it.application_protocols = names(&["h2"])),
            chain(|it| it.transport_protocol = Some(TransportProtocol::Tls)),
        ];
        let index = ChainIndex::new(&chains).unwrap();
        let find = |transport_protocol, offered: &[&str]| {
            index.find(&ConnectionFacts {
                transport_protocol,
                application_protocols: &names(offered),
                ..facts()
            })
        };
        let raw = TransportProtocol::Raw;
        assert_eq!(find(raw, &["h2", "http/1.1"]), Some(1));
        assert_eq!(find(raw, &["x", "http/1.1"]), Some(0));
        assert_eq!(find(raw, &[]), None);
        // The transport goes before the protocol.
        assert_eq!(find(TransportProtocol::Tls, &["h2"]), Some(2));
    }

    #[test]
    fn sources_are_told_apart() {
        let chains = [
            chain(|it| it.source_type = Some(SourceType::Local)),
            chain(|it| it.source_type = Some(SourceType::External)),
        ];
        let index = ChainIndex::new(&chains).unwrap();
        let find = |source: Option<&str>| {
            index.find(&ConnectionFacts {
                source: source.map(|source| source.parse().unwrap()),
                ..facts()
            })
        };
        assert_eq!(find(Some("127.0.0.1:1")), Some(0));
        assert_eq!(find(Some("192.0.2.1:1")), Some(0));
        assert_eq!(find(None), Some(0));
        assert_eq!(find(Some("192.0.2.2:1")), Some(1));
    }

    #[test]
    fn ports_and_peers_count() {
        let chains = [
            chain(|it| it.direct_source_networks = networks(&["198.51.100.7"])),
            chain(|it| it.source_ports = vec![50000, 50001]),
        ];
        let index = ChainIndex::new(&chains).unwrap();
        assert_eq!(index.find(&facts()), Some(0));
        let elsewhere = ConnectionFacts {
            direct_source: Some("198.51.100.8".parse().unwrap()),
            ..facts()
        };
        assert_eq!(index.find(&elsewhere), Some(1));
        let other_port = ConnectionFacts {
            source: Some("198.51.100.7:50002".parse().unwrap()),
            ..elsewhere
        };
        assert_eq!(index.find(&other_port), None);
    }

    #[test]
    fn two_chains_for_the_same_connections_are_refused() {
        let same = |a: ChainMatch, b: ChainMatch| ChainIndex::new([&a, &b]).err();
        let both = Some(SameMatch {
            first: 0,
            second: 1,
        });
        assert_eq!(same(chain(|_| {}), chain(|_| {})), both);
        assert_eq!(
            same(
                chain(|it| it.server_names = names(&["a.org", "b.org"])),
                chain(|it| it.server_names = names(&["b.org", "c.org"])),
            ),
            both
        );
        assert_eq!(
            same(
                chain(|it| it.server_names = names(&["a.org"])),
                chain(|it| {
                    it.server_names = names(&["a.org"]);
                    it.source_ports = vec![1];
                }),
            ),
            None
        );
    }

    #[test]
    fn a_thousand_chains_are_found_each() {
        let chains: Vec<ChainMatch> = (0..1000)
            .map(|n| chain(|it| it.server_names = vec![format!("{n}.example.org")]))
            .collect();
        let index = ChainIndex::new(&chains).unwrap();
        for n in [0, 500, 999] {
            let found = index.find(&ConnectionFacts {
                server_name: Some(&format!("{n}.example.org")),
                ..facts()
            });
            assert_eq!(found, Some(n));
        }
    }
}
