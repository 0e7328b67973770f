//! Networks of IP addresses.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use transom_api::ParseError;

/// A network in CIDR notation (RFC 4632): `10.0.0.0/8`, `2001:db8::/32`. An address alone is a network of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IpNetwork {
    address: IpAddr,
    prefix: u8,
}

impl IpNetwork {
    /// The network of `address` with a prefix of so many bits; `None` if the address has no so many. Bits behind the
    /// prefix are cleared.
    #[must_use]
    pub fn new(address: IpAddr, prefix: u8) -> Option<Self> {
        let address = match address {
            IpAddr::V4(address) if prefix <= 32 => IpAddr::V4(mask_v4(address, prefix)),
            IpAddr::V6(address) if prefix <= 128 => IpAddr::V6(mask_v6(address, prefix)),
            _ => return None,
        };
        Some(Self { address, prefix })
    }

    /// The first address.
    #[must_use]
    pub fn address(&self) -> IpAddr {
        self.address
    }

    /// How many bits all its addresses share.
    #[must_use]
    pub fn prefix(&self) -> u8 {
        self.prefix
    }

    /// Whether an address is in it. An IPv4 address inside IPv6 (RFC 4291 section 2.5.5.2) is that of IPv4.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        Self::new(address.to_canonical(), self.prefix).is_some_and(|network| network == *self)
    }
}

impl FromStr for IpNetwork {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let refused = || {
            ParseError::new(format!("{text:?} is no network")).with_help(
                "write an address and the number of bits that its network shares, 10.0.0.0/8 or 2001:db8::/32, or one address",
            )
        };
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| refused())?;
        let widest = if address.is_ipv4() { 32 } else { 128 };
        let prefix = match prefix {
            // `08` and `+8` are no numbers of bits.
            Some(digits)
                if digits.bytes().all(|byte| byte.is_ascii_digit())
                    && (digits == "0" || !digits.starts_with('0')) =>
            {
                digits.parse().map_err(|_| refused())?
            }
            Some(_) => return Err(refused()),
            None => widest,
        };
        let network = Self::new(address, prefix).ok_or_else(|| {
            ParseError::new(format!(
                "an address of this family has {widest} bits, {text:?} asks for {prefix}"
            ))
        })?;
        if network.address != address {
            // Most likely another prefix was meant; guessing which could open what should be shut.
            return Err(
                ParseError::new(format!("{text:?} has bits behind its prefix")).with_help(format!(
                    "write {network}, or {address}/{widest} for the address"
                )),
            );
        }
        Ok(network)
    }
}

impl fmt::Display for IpNetwork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

fn mask_v4(address: Ipv4Addr, prefix: u8) -> Ipv4Addr {
    let mask = u32::MAX
        .checked_shl(32 - u32::from(prefix))
        .unwrap_or_default();
    Ipv4Addr::from_bits(address.to_bits() & mask)
}

fn mask_v6(address: Ipv6Addr, prefix: u8) -> Ipv6Addr {
    let mask = u128::MAX
        .checked_shl(128 - u32::from(prefix))
        .unwrap_or_default();
    Ipv6Addr::from_bits(address.to_bits() & mask)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_are_read_and_written_alike() {
        for text in [
            "0.0.0.0/0",
            "10.0.0.0/8",
            "192.0.2.1/32",
            "::/0",
            "2001:db8::/32",
            "::1/128",
        ] {
            assert_eq!(text.parse::<IpNetwork>().unwrap().to_string(), text);
        }
        assert_eq!(
            "192.0.2.1".parse::<IpNetwork>().unwrap().to_string(),
            "192.0.2.1/32"
        );
    }

    #[test]
    fn what_is_no_network_is_refused() {
        for text in [
            "",
            "10.0.0.0/33",
            "10.0.0.0/08",
            "10.0.0.0/+8",
            "10.0.0.0/",
            "10.0.0.1/8",
            "a/8",
            "::1/129",
            "::1/64",
        ] {
            assert!(text.parse::<IpNetwork>().is_err(), "{text}");
        }
        let error = "10.1.2.3/8".parse::<IpNetwork>().unwrap_err();
        assert_eq!(
            error.help.unwrap(),
            "write 10.0.0.0/8, or 10.1.2.3/32 for the address"
        );
    }

    #[test]
    fn addresses_are_in_their_networks() {
        let contains = |network: &str, address: &str| {
            let network: IpNetwork = network.parse().unwrap();
            network.contains(address.parse().unwrap())
        };
        assert!(contains("10.0.0.0/8", "10.255.0.1"));
        assert!(contains("10.0.0.0/8", "::ffff:10.0.0.1"));
        assert!(contains("0.0.0.0/0", "255.255.255.255"));
        assert!(contains("::/0", "2001:db8::1"));
        assert!(!contains("10.0.0.0/8", "11.0.0.0"));
        assert!(!contains("::/0", "10.0.0.1"));
        assert!(!contains("2001:db8::/33", "2001:db8:8000::"));
    }
}
