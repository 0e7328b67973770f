//! Addresses of clients.

use std::net::{IpAddr, SocketAddr};

use transom_api::Stream;

/// The client's address; `None` for a client without one (on a Unix socket). One of IPv4 inside IPv6
/// (`::ffff:192.0.2.1`), as dual sockets show them, is that of IPv4. It is asked for each stream: through a trusted proxy the
/// streams of one connection come from different clients.
pub(crate) fn source_ip(stream: &Stream<'_>) -> Option<IpAddr> {
    stream
        .source_address()
        .map(|address| address.ip().to_canonical())
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
