//! Sets of IP addresses, as lists of who may connect name them.

use std::cmp::Ordering;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::node::{Node, ParseError};

/// Addresses and networks of both families: `192.0.2.1`, `10.0.0.0/8`, `2001:db8::/32`. Looking one up takes time with
/// the logarithm of their number.
///
/// ```
/// use transom_api::{Networks, Node};
///
/// let inside = Networks::parse(&Node::list(["10.0.0.0/8".into(), "::1".into()])).unwrap();
/// assert!(inside.contain("10.1.2.3".parse().unwrap()));
/// assert!(!inside.contain("192.0.2.1".parse().unwrap()));
/// assert!(Networks::parse(&Node::list(["10.1.2.3/8".into()])).is_err());
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Networks {
    v4: Ranges,
    v6: Ranges,
}

/// First and last address of each range, sorted, without overlaps.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Ranges(Vec<(u128, u128)>);

impl Networks {
    /// Reads a list of addresses and networks, which must not be empty. A network whose address has bits behind its
    /// prefix, and an IPv4 address inside IPv6, are errors.
    pub fn parse(node: &Node) -> Result<Self, ParseError> {
        let list = node.as_list()?;
        if list.is_empty() {
            return Err(node.error("at least one address must be named"));
        }
        let mut networks = Self::default();
        for item in list {
            let (address, prefix) = parse_network(item)?;
            let (ranges, range) = match address {
                IpAddr::V4(address) => (
                    &mut networks.v4,
                    range(address.to_bits().into(), prefix, 32),
                ),
                IpAddr::V6(address) => (&mut networks.v6, range(address.to_bits(), prefix, 128)),
            };
            ranges.0.push(range);
        }
        networks.v4.merge();
        networks.v6.merge();
        Ok(networks)
    }

    /// Whether an address is one of these. An IPv4 address inside IPv6 (`::ffff:192.0.2.1`, as dual sockets show it) is
    /// that of IPv4.
    #[must_use]
    pub fn contain(&self, address: IpAddr) -> bool {
        match address.to_canonical() {
            IpAddr::V4(address) => self.v4.contain(address.to_bits().into()),
            IpAddr::V6(address) => self.v6.contain(address.to_bits()),
        }
    }
}

impl Ranges {
    fn merge(&mut self) {
        self.0.sort_unstable();
        self.0.dedup_by(|next, before| {
            let touches = next.0 <= before.1.saturating_add(1);
            if touches {
                before.1 = before.1.max(next.1);
            }
            touches
        });
    }

    fn contain(&self, address: u128) -> bool {
        self.0
            .binary_search_by(|(first, last)| {
                if *last < address {
                    Ordering::Less
                } else if *first > address {
                    Ordering::Greater
                } else {
                    Ordering::Equal
                }
            })
            .is_ok()
    }
}

/// First and last address of a network whose address has no bits behind its prefix.
fn range(address: u128, prefix: u32, width: u32) -> (u128, u128) {
    (address, address | behind(prefix, width))
}

/// The bits behind a prefix, set.
fn behind(prefix: u32, width: u32) -> u128 {
    // All of IPv6 has 128 of them, by which no number of 128 bits can be shifted.
    u128::MAX
        .checked_shr(128 - (width - prefix))
        .unwrap_or_default()
}

fn parse_network(node: &Node) -> Result<(IpAddr, u32), ParseError> {
    let text = node.as_str()?;
    let refused = |message: String, help: &str| Err(node.error(message).with_help(help));
    let (address, prefix) = match text.split_once('/') {
        Some((address, prefix)) => (address, Some(prefix)),
        None => (text, None),
    };
    let Ok(address) = address.parse::<IpAddr>() else {
        return refused(
            format!("{text:?} is no address and no network"),
            "write 192.0.2.1, 10.0.0.0/8, 2001:db8::1 or 2001:db8::/32",
        );
    };
    if address != address.to_canonical() {
        return refused(
            format!("{text:?} is an IPv4 address inside IPv6"),
            "write it as IPv4: clients' addresses are compared so",
        );
    }
    let (bits, width) = match address {
        IpAddr::V4(address) => (u128::from(address.to_bits()), 32),
        IpAddr::V6(address) => (address.to_bits(), 128),
    };
    let Some(prefix) = prefix else {
        return Ok((address, width));
    };
    // `+8` is a number to Rust.
    let digits = prefix.bytes().all(|byte| byte.is_ascii_digit());
    let Some(prefix) = prefix
        .parse()
        .ok()
        .filter(|prefix| digits && *prefix <= width)
    else {
        return refused(
            format!("{text:?} has no prefix length from 0 to {width}"),
            "a network is written as its address and the number of its bits: 10.0.0.0/8",
        );
    };
    let network = bits & !behind(prefix, width);
    if network != bits {
        let network = match address {
            IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::from_bits(network as u32)),
            IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::from_bits(network)),
        };
        return refused(
            format!("{text:?} has bits behind its prefix"),
            &format!("the network is {network}/{prefix}, the address alone {address}"),
        );
    }
    Ok((address, prefix))
}

#[cfg(test)]
mod tests {
    use crate::testing::placed;

    use super::*;

    fn networks(list: &[&str]) -> Networks {
        Networks::parse(&Node::list(list.iter().map(|text| Node::from(*text)))).unwrap()
    }

    #[test]
    fn networks_have_their_first_and_last_address() {
        for (network, inside, outside) in [
            (
                "10.0.0.0/8",
                ["10.0.0.0", "10.255.255.255"],
                ["9.255.255.255", "11.0.0.0"],
            ),
            (
                "192.0.2.7",
                ["192.0.2.7", "192.0.2.7"],
                ["192.0.2.6", "192.0.2.8"],
            ),
            ("0.0.0.0/0", ["0.0.0.0", "255.255.255.255"], ["::", "::1"]),
            (
                "192.0.2.4/31",
                ["192.0.2.4", "192.0.2.5"],
                ["192.0.2.3", "192.0.2.6"],
            ),
            (
                "2001:db8::/32",
                ["2001:db8::", "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff"],
                ["2001:db7:ffff::", "2001:db9::"],
            ),
            ("::/0", ["::", "ffff::"], ["0.0.0.0", "10.0.0.1"]),
            ("::1", ["::1", "::1"], ["::", "::2"]),
        ] {
            let set = networks(&[network]);
            for address in inside {
                assert!(
                    set.contain(address.parse().unwrap()),
                    "{network}: {address}"
                );
            }
            for address in outside {
                assert!(
                    !set.contain(address.parse().unwrap()),
                    "{network}: {address}"
                );
            }
        }
    }

    #[test]
    fn what_touches_or_overlaps_becomes_one() {
        let set = networks(&["10.0.1.0/24", "10.0.0.0/24", "10.0.0.128/25", "10.0.3.0/24"]);
        assert_eq!(set.v4.0.len(), 2);
        assert!(set.contain("10.0.1.255".parse().unwrap()));
        assert!(!set.contain("10.0.2.0".parse().unwrap()));
        // The last address has none behind it.
        assert_eq!(networks(&["ffff::/16", "::/0"]).v6.0, [(0, u128::MAX)]);
    }

    #[test]
    fn what_is_no_network_is_refused() {
        for (text, expected) in [
            (
                "10.0.0.0/33",
                "\"10.0.0.0/33\" has no prefix length from 0 to 32",
            ),
            (
                "10.0.0.0/",
                "\"10.0.0.0/\" has no prefix length from 0 to 32",
            ),
            (
                "10.0.0.0/+8",
                "\"10.0.0.0/+8\" has no prefix length from 0 to 32",
            ),
            ("::/129", "\"::/129\" has no prefix length from 0 to 128"),
            ("10.0.0", "\"10.0.0\" is no address and no network"),
            ("localhost", "\"localhost\" is no address and no network"),
            ("", "\"\" is no address and no network"),
            (
                "::ffff:10.0.0.1",
                "\"::ffff:10.0.0.1\" is an IPv4 address inside IPv6",
            ),
        ] {
            let error = Networks::parse(&Node::list([text.into()])).unwrap_err();
            assert_eq!(error.message, expected);
        }
        let error = Networks::parse(&placed(&Node::list(["10.1.2.3/8".into()]))).unwrap_err();
        assert_eq!(
            error.to_string(),
            "line 1, column 3: \"10.1.2.3/8\" has bits behind its prefix (the network is 10.0.0.0/8, the address alone 10.1.2.3)"
        );
        assert!(Networks::parse(&Node::list([])).is_err());
    }
}
