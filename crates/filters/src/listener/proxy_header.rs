//! The header of PROXY protocol, versions 1 and 2: haproxy's `doc/proxy-protocol.txt`, whose sections are cited.
//!
//! The reader is strict: it accepts nothing that the document does not define, since what is believed of such a header decides
//! who somebody is.

use std::net::{IpAddr, SocketAddr};

/// What the first bytes of a connection are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Read {
    /// A whole header.
    Header(Header),
    /// No header, whatever comes next.
    None,
    /// It may become a header, and is at least this long before more is known.
    Partial(usize),
    /// It begins as a header and is none, for this reason.
    Malformed(&'static str),
}

/// A header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// Its version, 1 or 2.
    pub version: u8,
    /// Its length in bytes.
    pub length: usize,
    /// Client and destination; `None`: the sender speaks for itself, or knows no IP addresses.
    pub addresses: Option<(SocketAddr, SocketAddr)>,
    /// The additional values (section 2.2.7), in their order.
    pub values: Vec<(u8, Vec<u8>)>,
}

/// Section 2.2.
const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// Section 2.1: the longest line of version 1, with its end.
const LONGEST_V1: usize = 107;
const CRC32C: u8 = 0x03;
const NOOP: u8 = 0x04;

/// Reads the header from the first bytes of a connection: all that have come.
#[must_use]
pub fn read(bytes: &[u8]) -> Read {
    if begins_alike(bytes, SIGNATURE) {
        return read_v2(bytes);
    }
    if begins_alike(bytes, b"PROXY ") {
        return read_v1(bytes);
    }
    Read::None
}

fn begins_alike(bytes: &[u8], whole: &[u8]) -> bool {
    bytes.iter().zip(whole).all(|(a, b)| a == b)
}

/// Section 2.1.
fn read_v1(bytes: &[u8]) -> Read {
    let window = bytes.get(..LONGEST_V1).unwrap_or(bytes);
    let Some(end) = window.iter().position(|byte| *byte == b'\n') else {
        return if window.len() == LONGEST_V1 {
            Read::Malformed("the line is too long")
        } else {
            Read::Partial(bytes.len() + 1)
        };
    };
    let Some(line) = window.get(..end).and_then(|line| line.strip_suffix(b"\r")) else {
        return Read::Malformed("the line ends without a carriage return");
    };
    let Ok(line) = std::str::from_utf8(line) else {
        return Read::Malformed("the line is no text");
    };
    let header = |addresses| {
        Read::Header(Header {
            version: 1,
            length: end + 1,
            addresses,
            values: Vec::new(),
        })
    };
    let mut words = line.split(' ');
    let (proxy, family) = (words.next(), words.next());
    if proxy != Some("PROXY") {
        return Read::Malformed("the line does not begin with PROXY and a space");
    }
    let is_v4 = match family {
        Some("TCP4") => true,
        Some("TCP6") => false,
        // Whatever follows is to be ignored.
        Some("UNKNOWN") => return header(None),
        _ => return Read::Malformed("the protocol is not TCP4, TCP6 or UNKNOWN"),
    };
    let mut ip = || -> Option<IpAddr> {
        let ip: IpAddr = words.next()?.parse().ok()?;
        (ip.is_ipv4() == is_v4).then_some(ip)
    };
    let ips = ip().zip(ip());
    let mut port = || -> Option<u16> {
        let digits = words.next()?;
        let is_number = digits.bytes().all(|byte| byte.is_ascii_digit())
            && (digits == "0" || !digits.starts_with('0'));
        digits.parse().ok().filter(|_| is_number)
    };
    let ports = port().zip(port());
    match (ips, ports, words.next()) {
        (Some((source, destination)), Some((from, to)), None) => header(Some((
            SocketAddr::new(source, from),
            SocketAddr::new(destination, to),
        ))),
        (None, ..) => Read::Malformed("an address is none of its protocol"),
        (_, None, _) => Read::Malformed("a port is no number from 0 to 65535"),
        (.., Some(_)) => Read::Malformed("something follows the ports"),
    }
}

/// Section 2.2.
fn read_v2(bytes: &[u8]) -> Read {
    const FIXED: usize = 16;
    let Some([command, family, high, low]) = bytes.get(12..FIXED) else {
        return Read::Partial(FIXED);
    };
    let length = usize::from(u16::from_be_bytes([*high, *low]));
    let is_local = match command {
        0x20 => true,
        0x21 => false,
        _ => return Read::Malformed("the version is not 2, or the command is unknown"),
    };
    // Known before the rest has come, so that nobody is waited for in vain.
    let address_length = match family {
        // Section 2.2: of a sender that speaks for itself the rest is passed over, whatever it is.
        _ if is_local => 0,
        0x00 => 0,
        0x11 => 12,
        0x21 => 36,
        0x31 => 216,
        // Datagrams do not come on a stream.
        _ => return Read::Malformed("the family is not one of streams"),
    };
    if length < address_length {
        return Read::Malformed("it is too short for its addresses");
    }
    let end = FIXED + length;
    let Some(header) = bytes.get(..end) else {
        return Read::Partial(end);
    };
    let body = header.get(FIXED..).unwrap_or_default();
    let (addresses, rest) = body.split_at_checked(address_length).unwrap_or_default();
    let addresses = match family {
        _ if is_local => None,
        0x11 => addresses_v4(addresses),
        0x21 => addresses_v6(addresses),
        _ => None,
    };
    // A sender that speaks for itself may say anything in the rest (section 2.2: to be discarded).
    let values = if is_local {
        Vec::new()
    } else {
        match read_values(header, FIXED + address_length, rest) {
            Ok(values) => values,
            Err(reason) => return Read::Malformed(reason),
        }
    };
    Read::Header(Header {
        version: 2,
        length: end,
        addresses,
        values,
    })
}

fn addresses_v4(bytes: &[u8]) -> Option<(SocketAddr, SocketAddr)> {
    let ip = |at: usize| {
        Some(IpAddr::from(
            <[u8; 4]>::try_from(bytes.get(at..at + 4)?).ok()?,
        ))
    };
    Some((
        SocketAddr::new(ip(0)?, port(bytes, 8)?),
        SocketAddr::new(ip(4)?, port(bytes, 10)?),
    ))
}

fn addresses_v6(bytes: &[u8]) -> Option<(SocketAddr, SocketAddr)> {
    let ip = |at: usize| {
        Some(IpAddr::from(
            <[u8; 16]>::try_from(bytes.get(at..at + 16)?).ok()?,
        ))
    };
    Some((
        SocketAddr::new(ip(0)?, port(bytes, 32)?),
        SocketAddr::new(ip(16)?, port(bytes, 34)?),
    ))
}

fn port(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

/// Section 2.2.7. `offset`: where `rest` begins in the header.
fn read_values(
    header: &[u8],
    offset: usize,
    rest: &[u8],
) -> Result<Vec<(u8, Vec<u8>)>, &'static str> {
    const CUT: &str = "an additional value is cut off";
    let mut values = Vec::new();
    let mut at = 0;
    while at < rest.len() {
        let Some([kind, high, low]) = rest.get(at..at + 3) else {
            return Err(CUT);
        };
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        let value = rest.get(at + 3..at + 3 + length).ok_or(CUT)?;
        match *kind {
            CRC32C => {
                // Section 2.2.3: a header with a wrong checksum is to be refused.
                let told = value.try_into().map(u32::from_be_bytes).ok();
                if told != Some(checksum(header, offset + at + 3)) {
                    return Err("the checksum is wrong");
                }
            }
            NOOP => {}
            kind => values.push((kind, value.to_vec())),
        }
        at += 3 + length;
    }
    Ok(values)
}

/// CRC-32C (RFC 9260 appendix A) of a header, whose four bytes at `hole` count as zero. Bit by bit: headers are short, and
/// few have it.
fn checksum(header: &[u8], hole: usize) -> u32 {
    const POLYNOMIAL: u32 = 0x82f6_3b78;
    let mut crc = u32::MAX;
    for (at, byte) in header.iter().enumerate() {
        let byte = if (hole..hole + 4).contains(&at) {
            0
        } else {
            *byte
        };
        crc ^= u32::from(byte);
        for _ in 0..8 {
            crc = (crc >> 1) ^ (POLYNOMIAL & 0_u32.wrapping_sub(crc & 1));
        }
    }
    !crc
}

#[cfg(test)]
mod tests;
