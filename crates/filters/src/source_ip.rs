//! The address of a stream's client, read once for each connection.

use std::net::{IpAddr, SocketAddr};

use transom_api::{Stream, attribute};

/// The key in the connection's state: filters of one connection share the value.
const STATE: &str = "transom.source_ip";

/// What was read; `None` for a client without an IP address (a Unix socket).
struct SourceIp(Option<IpAddr>);

/// The client's address. One of IPv4 inside IPv6 (`::ffff:192.0.2.1`), as dual sockets show them, is that of IPv4.
pub(crate) fn source_ip(stream: &mut Stream<'_>) -> Option<IpAddr> {
    if let Some(SourceIp(known)) = stream.connection_state().get(STATE) {
        return *known;
    }
    let address = stream.attribute(attribute::SOURCE_ADDRESS);
    let address = address.and_then(|address| address.as_str()?.parse::<SocketAddr>().ok());
    let address = address.map(|address| address.ip().to_canonical());
    stream.connection_state().set(STATE, SourceIp(address));
    address
}

/// An address as it stands in a header: alone, or with a port (`192.0.2.1:80`, `[2001:db8::1]`, `[2001:db8::1]:80`).
pub(crate) fn parse_ip(text: &str) -> Option<IpAddr> {
    let bare = text
        .strip_prefix('[')
        .and_then(|text| text.strip_suffix(']'));
    let address = bare.unwrap_or(text).parse().ok();
    let address = address.or_else(|| Some(text.parse::<SocketAddr>().ok()?.ip()));
    address.map(|address: IpAddr| address.to_canonical())
}
