//! The header of PROXY protocol that a connection to a host begins with: haproxy's `doc/proxy-protocol.txt`, whose sections are
//! cited.

use std::hash::{BuildHasher, RandomState};
use std::net::{IpAddr, SocketAddr};
use std::sync::LazyLock;

use transom_config::{ProxyProtocol, ProxyValue, ProxyVersion};

use crate::stream::info::ConnectionInfo;

/// Section 2.2.
const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";
/// Version 2 with the command LOCAL, or PROXY.
const LOCAL: u8 = 0x20;
const PROXY: u8 = 0x21;
/// Family and protocol: none, TCP over IPv4, TCP over IPv6.
const UNSPECIFIED: u8 = 0x00;
const TCP4: u8 = 0x11;
const TCP6: u8 = 0x21;
/// Section 2.2.7.
const ALPN: u8 = 0x01;
const AUTHORITY: u8 = 0x02;
const UNIQUE_ID: u8 = 0x05;

/// The header for a client's connection; without one that of a connection that the proxy makes for itself.
pub(crate) fn header(config: &ProxyProtocol, client: Option<&ConnectionInfo>) -> Vec<u8> {
    let addresses = client.and_then(|client| client.source.zip(client.destination));
    match config.version {
        ProxyVersion::V1 => v1(addresses),
        ProxyVersion::V2 => {
            let mut values = Vec::new();
            for value in client.into_iter().flat_map(|_| &config.values) {
                add_value(&mut values, *value, client);
            }
            v2(client.is_some(), addresses, &values)
        }
    }
}

/// Section 2.1.
fn v1(addresses: Option<(SocketAddr, SocketAddr)>) -> Vec<u8> {
    let Some((source, destination)) = addresses.map(one_family) else {
        return b"PROXY UNKNOWN\r\n".to_vec();
    };
    let family = if source.is_ipv4() { "TCP4" } else { "TCP6" };
    format!(
        "PROXY {family} {} {} {} {}\r\n",
        source.ip(),
        destination.ip(),
        source.port(),
        destination.port()
    )
    .into_bytes()
}

/// Section 2.2.
fn v2(is_clients: bool, addresses: Option<(SocketAddr, SocketAddr)>, values: &[u8]) -> Vec<u8> {
    let mut body = Vec::with_capacity(36 + values.len());
    let family = match addresses.map(one_family) {
        None => UNSPECIFIED,
        Some((source, destination)) => {
            for address in [source, destination] {
                match address.ip() {
                    IpAddr::V4(ip) => body.extend_from_slice(&ip.octets()),
                    IpAddr::V6(ip) => body.extend_from_slice(&ip.octets()),
                }
            }
            body.extend_from_slice(&source.port().to_be_bytes());
            body.extend_from_slice(&destination.port().to_be_bytes());
            if source.is_ipv4() { TCP4 } else { TCP6 }
        }
    };
    body.extend_from_slice(values);
    let command = if is_clients { PROXY } else { LOCAL };
    // The longest is 36 bytes of addresses, a name of 255 bytes, a protocol of 255 and an identifier of 32.
    let length = u16::try_from(body.len()).unwrap_or_default();
    let mut header = Vec::with_capacity(16 + body.len());
    header.extend_from_slice(&SIGNATURE);
    header.extend_from_slice(&[command, family]);
    header.extend_from_slice(&length.to_be_bytes());
    header.extend_from_slice(&body);
    header
}

/// Both ends of one family: beside an address of IPv6 one of IPv4 is written as IPv6 does (RFC 4291 section 2.5.5.2).
fn one_family((source, destination): (SocketAddr, SocketAddr)) -> (SocketAddr, SocketAddr) {
    let mapped = |address: SocketAddr| match address.ip() {
        IpAddr::V4(ip) => SocketAddr::new(ip.to_ipv6_mapped().into(), address.port()),
        IpAddr::V6(_) => address,
    };
    if source.is_ipv4() == destination.is_ipv4() {
        (source, destination)
    } else {
        (mapped(source), mapped(destination))
    }
}

fn add_value(values: &mut Vec<u8>, value: ProxyValue, client: Option<&ConnectionInfo>) {
    let Some(client) = client else { return };
    let tls = client.tls.as_deref();
    let mut add = |kind: u8, bytes: &[u8]| {
        if let Ok(length) = u16::try_from(bytes.len()) {
            values.push(kind);
            values.extend_from_slice(&length.to_be_bytes());
            values.extend_from_slice(bytes);
        }
    };
    match value {
        ProxyValue::Authority => {
            if let Some(name) = client.server_name() {
                add(AUTHORITY, name.as_bytes());
            }
        }
        ProxyValue::Alpn => {
            if let Some(protocol) = tls.and_then(|tls| tls.alpn.as_deref()) {
                add(ALPN, protocol);
            }
        }
        ProxyValue::UniqueId => add(UNIQUE_ID, unique_id(client.id).as_bytes()),
    }
}

/// An identifier of a connection that no other process's has: as text, so that whoever logs it need not think about that.
fn unique_id(connection: u64) -> String {
    static PROCESS: LazyLock<u64> = LazyLock::new(|| RandomState::new().hash_one("process"));
    format!("{:016x}{connection:016x}", *PROCESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(source: &str, destination: &str) -> ConnectionInfo {
        ConnectionInfo {
            id: 7,
            source: source.parse().ok(),
            destination: destination.parse().ok(),
            ..ConnectionInfo::of_nobody()
        }
        .found(Some("a.test".to_owned()), transom_api::Metadata::new())
    }

    fn config(version: ProxyVersion, values: &[ProxyValue]) -> ProxyProtocol {
        ProxyProtocol {
            version,
            values: values.to_vec(),
        }
    }

    #[test]
    fn version_1_is_a_line() {
        let config = config(ProxyVersion::V1, &[]);
        for (source, destination, line) in [
            (
                "192.0.2.1:1",
                "192.0.2.2:2",
                "PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n",
            ),
            (
                "[::1]:65535",
                "[2001:db8::2]:2",
                "PROXY TCP6 ::1 2001:db8::2 65535 2\r\n",
            ),
            (
                "192.0.2.1:1",
                "[::1]:2",
                "PROXY TCP6 ::ffff:192.0.2.1 ::1 1 2\r\n",
            ),
            ("", "192.0.2.2:2", "PROXY UNKNOWN\r\n"),
        ] {
            let header = header(&config, Some(&client(source, destination)));
            assert_eq!(String::from_utf8(header).unwrap(), line);
        }
        assert_eq!(header(&config, None), b"PROXY UNKNOWN\r\n");
    }

    #[test]
    fn version_2_has_addresses_and_values() {
        let wanted = config(
            ProxyVersion::V2,
            &[
                ProxyValue::Authority,
                ProxyValue::Alpn,
                ProxyValue::UniqueId,
            ],
        );
        let bytes = header(&wanted, Some(&client("192.0.2.1:258", "192.0.2.2:80")));
        let fixed = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x38\xc0\0\x02\x01\xc0\0\x02\x02\x01\x02\0\x50\x02\0\x06a.test\x05\0\x20";
        assert_eq!(bytes.get(..fixed.len()), Some(&fixed[..]));
        let id = &bytes[fixed.len()..];
        assert_eq!(&id[16..], b"0000000000000007");
        // The process's part is the same each time.
        assert_eq!(
            header(&wanted, Some(&client("192.0.2.1:258", "192.0.2.2:80"))),
            bytes
        );

        let plain = config(ProxyVersion::V2, &[]);
        let bytes = header(&plain, Some(&client("[::1]:1", "[::2]:2")));
        assert_eq!(bytes[12..16], [0x21, 0x21, 0, 36]);
        assert_eq!(bytes.len(), 52);
        // Not of an IP address, and so without one, but still a client's.
        let bytes = header(&plain, Some(&client("", "")));
        assert_eq!(bytes[12..], [0x21, 0, 0, 0]);
    }

    #[test]
    fn what_the_proxy_does_for_itself_is_local() {
        let all = config(ProxyVersion::V2, &[ProxyValue::UniqueId]);
        assert_eq!(header(&all, None)[12..], [0x20, 0, 0, 0]);
    }
}
