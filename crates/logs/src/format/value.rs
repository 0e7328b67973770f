//! What an operator finds, and how it is written.

use std::borrow::Cow;
use std::io::Write;
use std::net::{IpAddr, SocketAddr};
use std::time::SystemTime;

use transom_api::{Attribute, MetadataValue, ResponseFlags};

use super::time::TimeFormat;
use super::{Limit, escape, number};

/// What an operator finds.
pub(super) enum Value<'a> {
    None,
    Number(u64),
    /// A number that may be negative.
    Signed(i64),
    Bool(bool),
    Bytes(Cow<'a, [u8]>),
    Address(SocketAddr),
    Ip(IpAddr),
    Time(SystemTime, &'a TimeFormat),
    Flags(ResponseFlags, FlagNames),
    Metadata(&'a MetadataValue),
}

/// How response flags are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FlagNames {
    Letters,
    Long,
}

impl<'a> Value<'a> {
    pub(super) fn text_of(text: Option<&'a str>) -> Self {
        match text {
            Some(text) if !text.is_empty() => Self::Bytes(Cow::Borrowed(text.as_bytes())),
            _ => Self::None,
        }
    }

    pub(super) fn bytes_of(bytes: Option<Cow<'a, [u8]>>) -> Self {
        bytes.map_or(Self::None, Self::Bytes)
    }

    pub(super) fn attribute(attribute: Option<Attribute<'a>>) -> Self {
        match attribute {
            None => Self::None,
            Some(Attribute::Bytes(bytes)) => Self::Bytes(bytes),
            Some(Attribute::Int(number)) => Self::Signed(number),
            Some(Attribute::Bool(value)) => Self::Bool(value),
            // Rare, and worth no shape of their own.
            Some(attribute @ (Attribute::Time(_) | Attribute::Duration(_))) => {
                Self::Bytes(Cow::Owned(attribute.to_string().into_bytes()))
            }
        }
    }

    /// Writes it into a text line.
    pub(super) fn text(&self, limit: Limit, out: &mut Vec<u8>) {
        match self {
            Self::None => out.push(b'-'),
            Self::Bytes(bytes) => escape::text(cut(bytes, limit), out),
            Self::Metadata(MetadataValue::String(text)) => {
                escape::text(cut(text.as_bytes(), limit), out);
            }
            Self::Metadata(value) => {
                let start = out.len();
                metadata(value, out);
                // Quotes of the JSON stay; what could break the line is escaped in it already.
                limited(start, limit, out);
            }
            plain => plain.plain(limit, out),
        }
    }

    /// Writes it inside a JSON string.
    pub(super) fn json_part(&self, limit: Limit, out: &mut Vec<u8>) {
        match self {
            Self::None => out.push(b'-'),
            Self::Bytes(bytes) => escape::json(cut(bytes, limit), out),
            Self::Metadata(MetadataValue::String(text)) => {
                escape::json(cut(text.as_bytes(), limit), out);
            }
            Self::Metadata(value) => {
                let mut inner = Vec::new();
                metadata(value, &mut inner);
                escape::json(cut(&inner, limit), out);
            }
            plain => plain.plain(limit, out),
        }
    }

    /// Writes it as a JSON value.
    pub(super) fn json(&self, limit: Limit, out: &mut Vec<u8>) {
        match self {
            Self::None => out.extend_from_slice(b"null"),
            Self::Number(_) | Self::Signed(_) | Self::Bool(_) => self.plain(None, out),
            Self::Time(_, format) if format.is_number() => self.plain(None, out),
            Self::Metadata(MetadataValue::String(_)) => self.json_string(limit, out),
            Self::Metadata(value) => metadata(value, out),
            _ => self.json_string(limit, out),
        }
    }

    fn json_string(&self, limit: Limit, out: &mut Vec<u8>) {
        out.push(b'"');
        self.json_part(limit, out);
        out.push(b'"');
    }

    /// Writes what needs no escaping anywhere.
    fn plain(&self, limit: Limit, out: &mut Vec<u8>) {
        let start = out.len();
        match self {
            Self::Number(value) => number::write(*value, out),
            Self::Signed(value) => {
                if *value < 0 {
                    out.push(b'-');
                }
                number::write(value.unsigned_abs(), out);
            }
            Self::Bool(value) => out.extend_from_slice(if *value { b"true" } else { b"false" }),
            Self::Address(address) => write_address(*address, out),
            Self::Ip(ip) => write_ip(*ip, out),
            Self::Time(time, format) => format.write(*time, out),
            Self::Flags(flags, _) if flags.is_empty() => out.push(b'-'),
            Self::Flags(flags, FlagNames::Letters) => separated(flags.letters(), out),
            Self::Flags(flags, FlagNames::Long) => separated(flags.names(), out),
            Self::None | Self::Bytes(_) | Self::Metadata(_) => {}
        }
        limited(start, limit, out);
    }
}

fn separated(names: impl Iterator<Item = &'static str>, out: &mut Vec<u8>) {
    for (index, name) in names.enumerate() {
        if index > 0 {
            out.push(b',');
        }
        out.extend_from_slice(name.as_bytes());
    }
}

/// The first bytes of a value, without the beginning of a character that does not fit.
fn cut(bytes: &[u8], limit: Limit) -> &[u8] {
    let Some(most) = limit.filter(|most| *most < bytes.len()) else {
        return bytes;
    };
    let continues = |at: usize| bytes.get(at).is_some_and(|byte| byte & 0xc0 == 0x80);
    let boundary = (most.saturating_sub(3)..=most)
        .rev()
        .find(|at| !continues(*at));
    bytes.get(..boundary.unwrap_or(most)).unwrap_or(bytes)
}

/// Cuts what was written since `start`.
fn limited(start: usize, limit: Limit, out: &mut Vec<u8>) {
    if let Some(limit) = limit {
        out.truncate(start.saturating_add(limit));
    }
}

fn write_address(address: SocketAddr, out: &mut Vec<u8>) {
    match address {
        SocketAddr::V4(address) => write_ip(IpAddr::V4(*address.ip()), out),
        SocketAddr::V6(address) => {
            out.push(b'[');
            write_ip(IpAddr::V6(*address.ip()), out);
            out.push(b']');
        }
    }
    out.push(b':');
    number::write(u64::from(address.port()), out);
}

fn write_ip(ip: IpAddr, out: &mut Vec<u8>) {
    match ip {
        IpAddr::V4(ip) => {
            for (index, octet) in ip.octets().into_iter().enumerate() {
                if index > 0 {
                    out.push(b'.');
                }
                number::write(u64::from(octet), out);
            }
        }
        // Writing to a vector does not fail.
        IpAddr::V6(ip) => drop(write!(out, "{ip}")),
    }
}

/// A value of metadata as JSON.
fn metadata(value: &MetadataValue, out: &mut Vec<u8>) {
    match value {
        MetadataValue::Null => out.extend_from_slice(b"null"),
        MetadataValue::Bool(value) => {
            out.extend_from_slice(if *value { b"true" } else { b"false" });
        }
        // JSON has no infinities.
        MetadataValue::Number(value) if !value.is_finite() => out.extend_from_slice(b"null"),
        MetadataValue::Number(value) => drop(write!(out, "{value}")),
        MetadataValue::String(text) => {
            out.push(b'"');
            escape::json(text.as_bytes(), out);
            out.push(b'"');
        }
        MetadataValue::List(values) => {
            out.push(b'[');
            for (index, value) in values.iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                metadata(value, out);
            }
            out.push(b']');
        }
        MetadataValue::Struct(values) => {
            out.push(b'{');
            for (index, (key, value)) in values.iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                out.push(b'"');
                escape::json(key.as_bytes(), out);
                out.extend_from_slice(b"\":");
                metadata(value, out);
            }
            out.push(b'}');
        }
    }
}
