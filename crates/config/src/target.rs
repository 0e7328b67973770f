//! Where connections and datagrams go: clusters with shares, which addresses may choose.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use transom_api::Networks;

use crate::WeightedCluster;

/// The clusters that `tcp_proxy` and `udp_proxy` send to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Targets {
    /// The first one that fits the addresses of a client decides.
    pub routes: Vec<AddressRoute>,
    /// Where all others go; without any they are refused.
    pub clusters: Vec<WeightedCluster>,
}

/// Clusters for clients with certain addresses. What is left out fits every client.
#[derive(Clone, Debug, PartialEq)]
pub struct AddressRoute {
    /// The client's address is one of these.
    pub source: Option<AddressSet>,
    /// The client's port is one of these.
    pub source_ports: Option<PortSet>,
    /// The address that the client sent to is one of these.
    pub destination: Option<AddressSet>,
    /// The port that the client sent to is one of these.
    pub destination_ports: Option<PortSet>,
    /// Where these clients go.
    pub clusters: Vec<WeightedCluster>,
}

/// Addresses and networks, and how they were written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AddressSet {
    pub(crate) networks: Networks,
    pub(crate) text: Vec<String>,
}

/// Ports and ranges of ports, first and last.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PortSet(pub(crate) Vec<(u16, u16)>);

impl Targets {
    /// The names of all clusters.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        let of_routes = self.routes.iter().flat_map(|route| &route.clusters);
        of_routes
            .chain(&self.clusters)
            .map(|weighted| weighted.cluster.as_str())
    }
}

impl AddressRoute {
    /// Whether a client with these addresses fits. One without (on a Unix socket) fits no condition.
    #[must_use]
    pub fn fits(&self, source: Option<SocketAddr>, destination: Option<SocketAddr>) -> bool {
        fn holds<T>(
            condition: Option<&T>,
            address: Option<SocketAddr>,
            contains: impl FnOnce(&T, SocketAddr) -> bool,
        ) -> bool {
            match (condition, address) {
                (None, _) => true,
                (Some(_), None) => false,
                (Some(condition), Some(address)) => contains(condition, address),
            }
        }
        let by_address = |set: &AddressSet, address: SocketAddr| set.contains(address.ip());
        let by_port = |set: &PortSet, address: SocketAddr| set.contains(address.port());
        holds(self.source.as_ref(), source, by_address)
            && holds(self.source_ports.as_ref(), source, by_port)
            && holds(self.destination.as_ref(), destination, by_address)
            && holds(self.destination_ports.as_ref(), destination, by_port)
    }
}

impl AddressSet {
    /// Whether an address is one of these.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        self.networks.contain(address)
    }

    /// How they were written.
    #[must_use]
    pub fn text(&self) -> &[String] {
        &self.text
    }
}

impl PortSet {
    /// Whether a port is one of these.
    #[must_use]
    pub fn contains(&self, port: u16) -> bool {
        self.0
            .iter()
            .any(|(first, last)| (*first..=*last).contains(&port))
    }

    /// Each port or range as it is written in a file.
    pub fn text(&self) -> impl Iterator<Item = String> {
        self.0.iter().map(|(first, last)| match first == last {
            true => first.to_string(),
            false => format!("{first}..{last}"),
        })
    }
}

/// What a client's addresses must be, in a few words: `source 10.0.0.0/8, destination port 80`.
impl fmt::Display for AddressRoute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let addresses = |set: &Option<AddressSet>| set.as_ref().map(|set| set.text.join(" "));
        let ports = |set: &Option<PortSet>| {
            set.as_ref()
                .map(|set| set.text().collect::<Vec<_>>().join(" "))
        };
        let conditions = [
            ("source", addresses(&self.source)),
            ("source port", ports(&self.source_ports)),
            ("destination", addresses(&self.destination)),
            ("destination port", ports(&self.destination_ports)),
        ];
        let mut first = true;
        for (name, value) in conditions {
            let Some(value) = value else { continue };
            if !std::mem::replace(&mut first, false) {
                f.write_str(", ")?;
            }
            write!(f, "{name} {value}")?;
        }
        if first {
            f.write_str("any client")
        } else {
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use transom_api::Node;

    use super::*;

    fn addresses(text: &str) -> Option<AddressSet> {
        Some(AddressSet {
            networks: Networks::parse(&Node::list([text.into()])).unwrap(),
            text: vec![text.to_owned()],
        })
    }

    #[test]
    fn all_conditions_must_hold() {
        let route = AddressRoute {
            source: addresses("10.0.0.0/8"),
            source_ports: None,
            destination: addresses("192.0.2.1"),
            destination_ports: Some(PortSet(vec![(1, 10), (80, 80)])),
            clusters: Vec::new(),
        };
        let at = |text: &str| text.parse().ok();
        for (source, destination, fits) in [
            ("10.1.1.1:5", "192.0.2.1:80", true),
            ("10.1.1.1:5", "192.0.2.1:10", true),
            ("10.1.1.1:5", "192.0.2.1:11", false),
            ("11.1.1.1:5", "192.0.2.1:80", false),
            ("10.1.1.1:5", "192.0.2.2:80", false),
        ] {
            assert_eq!(route.fits(at(source), at(destination)), fits, "{source}");
        }
        assert!(!route.fits(None, at("192.0.2.1:80")));
        assert_eq!(
            route.to_string(),
            "source 10.0.0.0/8, destination 192.0.2.1, destination port 1..10 80"
        );
    }

    #[test]
    fn no_condition_fits_every_client() {
        let route = AddressRoute {
            source: None,
            source_ports: None,
            destination: None,
            destination_ports: None,
            clusters: Vec::new(),
        };
        assert!(route.fits(None, None));
        assert_eq!(route.to_string(), "any client");
    }
}
