//! Events in, bytes out.
//!
//! Each function appends one head to a buffer that the caller owns, and leaves the buffer as it was when it fails. What
//! frames the message or belongs to the connection is written from arguments: fields named Connection, Content-Length,
//! Keep-Alive, Proxy-Connection, TE, Transfer-Encoding or Upgrade are passed over, so that neither a peer nor a filter can
//! slip one in. All other names and values are checked byte by byte; nothing written here can be read as two messages.
//! What a decoder of this crate has checked already, and nobody has changed, can be given as [`Line::Decoded`], which
//! is copied as it is.
//!
//! ```
//! use transom_http1::{Framing, Version, encode};
//!
//! let mut out = Vec::new();
//! let request = encode::Request {
//!     method: b"POST",
//!     target: b"/",
//!     version: Version::Http11,
//!     framing: Framing::Chunked,
//!     connection: encode::Connection::Default,
//! };
//! let fields = [(&b"Host"[..], &b"example.org"[..])];
//! let mut body = encode::request_head(&mut out, &request, fields)?;
//! body.data(&mut out, b"hello")?;
//! body.finish(&mut out, [])?;
//! assert_eq!(
//!     out,
//!     b"POST / HTTP/1.1\r\nHost: example.org\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
//! );
//! # Ok::<(), transom_http1::EncodeError>(())
//! ```

mod body;
mod line;

pub use body::BodyEncoder;
pub use line::Line;

use crate::bytes::{is_token, not_target, not_text};
use crate::error::EncodeError;
use crate::event::{Framing, RequestKind, Version};
use crate::field::Known;

/// The start of a request, and how it is framed.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// A token.
    pub method: &'a [u8],
    /// Visible ASCII without `#`.
    pub target: &'a [u8],
    /// What the line says. Towards HTTP/1.0 there are no chunks.
    pub version: Version,
    /// [`Framing::None`] writes no field; for a POST or PUT without a body `Length(0)` is better
    /// (RFC 9110 section 8.6).
    pub framing: Framing,
    /// What is told about the connection.
    pub connection: Connection<'a>,
}

/// The start of a response, and how it is framed.
#[derive(Clone, Copy, Debug)]
pub struct Response<'a> {
    /// What the line says: the client's own version, so that an HTTP/1.0 client never sees chunks;
    /// see [`Framing::for_client`].
    pub version: Version,
    /// 101, or 200 to 999.
    pub status: u16,
    /// Text; may be empty.
    pub reason: &'a [u8],
    /// What the response answers.
    pub answers: RequestKind,
    /// For an answer to HEAD and for a 304 this is what the body would have been: fields are written, but no body is
    /// taken. [`Framing::None`] on another response that could have a body writes `Content-Length: 0`, because
    /// without a field it would last until the connection closes.
    pub framing: Framing,
    /// What is told about the connection. A response that lasts until the connection closes wants
    /// [`Connection::Close`].
    pub connection: Connection<'a>,
}

/// What a head tells about its connection (RFC 9112 section 9.3, RFC 9110 section 7.8).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Connection<'a> {
    /// Nothing: HTTP/1.1 goes on, HTTP/1.0 closes.
    #[default]
    Default,
    /// `Connection: close`
    Close,
    /// `Connection: keep-alive`, for HTTP/1.0.
    KeepAlive,
    /// `Connection: upgrade`, and Upgrade with this value.
    Upgrade(&'a [u8]),
}

/// Appends the head of a request.
///
/// # Errors
/// See [`EncodeError`]; among others when HTTP/1.1 fields do not have exactly one Host.
#[inline]
pub fn request_head<'f>(
    out: &mut Vec<u8>,
    request: &Request<'_>,
    fields: impl IntoIterator<Item = impl Into<Line<'f>>>,
) -> Result<BodyEncoder, EncodeError> {
    restore_on_error(out, |out| {
        let body = request_body(request)?;
        if !is_token(request.method) {
            return Err(EncodeError::Method);
        }
        if request.target.is_empty() || not_target(request.target).is_some() {
            return Err(EncodeError::Target);
        }
        out.extend_from_slice(request.method);
        out.push(b' ');
        out.extend_from_slice(request.target);
        out.push(b' ');
        out.extend_from_slice(request.version.as_str().as_bytes());
        out.extend_from_slice(b"\r\n");
        let hosts = write_fields(out, fields)?;
        if hosts > 1 || (hosts == 0 && request.version == Version::Http11) {
            return Err(EncodeError::Host { count: hosts });
        }
        write_framing(out, request.framing);
        write_connection(out, request.connection)?;
        out.extend_from_slice(b"\r\n");
        Ok(body)
    })
}

/// Appends the head of a response that is not interim.
///
/// # Errors
/// See [`EncodeError`].
#[inline]
pub fn response_head<'f>(
    out: &mut Vec<u8>,
    response: &Response<'_>,
    fields: impl IntoIterator<Item = impl Into<Line<'f>>>,
) -> Result<BodyEncoder, EncodeError> {
    restore_on_error(out, |out| {
        let (body, framing) = response_body(response)?;
        write_status_line(out, response.version, response.status, response.reason)?;
        write_fields(out, fields)?;
        write_framing(out, framing);
        write_connection(out, response.connection)?;
        out.extend_from_slice(b"\r\n");
        Ok(body)
    })
}

/// Appends an interim head: 100 to 199 without 101. Not for HTTP/1.0 clients (RFC 9110 section 15.2).
///
/// # Errors
/// See [`EncodeError`].
pub fn interim_head<'f>(
    out: &mut Vec<u8>,
    status: u16,
    reason: &[u8],
    fields: impl IntoIterator<Item = (&'f [u8], &'f [u8])>,
) -> Result<(), EncodeError> {
    restore_on_error(out, |out| {
        if !matches!(status, 100 | 102..=199) {
            return Err(EncodeError::Status { status });
        }
        write_status_line(out, Version::Http11, status, reason)?;
        write_fields(out, fields)?;
        out.extend_from_slice(b"\r\n");
        Ok(())
    })
}

/// RFC 9112 section 6.
fn request_body(request: &Request<'_>) -> Result<BodyEncoder, EncodeError> {
    if request.method == b"CONNECT" {
        return match request.framing {
            Framing::None => Ok(BodyEncoder::tunnel()),
            _ => Err(EncodeError::BodyForbidden),
        };
    }
    match request.framing {
        Framing::Chunked if request.version == Version::Http10 => Err(EncodeError::ChunkedToHttp10),
        Framing::UntilClose => Err(EncodeError::RequestUntilClose),
        framing => Ok(BodyEncoder::new(framing)),
    }
}

/// RFC 9112 section 6.3. Gives what the body will be, and what the fields are to say.
fn response_body(response: &Response<'_>) -> Result<(BodyEncoder, Framing), EncodeError> {
    let status = response.status;
    let switches = status == 101;
    if switches != matches!(response.connection, Connection::Upgrade(_)) && status != 426 {
        return Err(EncodeError::Switch);
    }
    if !(switches || (200..1000).contains(&status)) {
        return Err(EncodeError::Status { status });
    }
    if response.framing == Framing::Chunked && response.version == Version::Http10 {
        return Err(EncodeError::ChunkedToHttp10);
    }
    let tunnel =
        switches || (response.answers == RequestKind::Connect && (200..300).contains(&status));
    if tunnel || status == 204 {
        if !response.framing.is_empty() {
            return Err(EncodeError::BodyForbidden);
        }
        let body = if tunnel {
            BodyEncoder::tunnel()
        } else {
            BodyEncoder::new(Framing::None)
        };
        return Ok((body, Framing::None));
    }
    if response.answers == RequestKind::Head || status == 304 {
        return Ok((BodyEncoder::new(Framing::None), response.framing));
    }
    let framing = match response.framing {
        Framing::None => Framing::Length(0),
        framing => framing,
    };
    Ok((BodyEncoder::new(framing), framing))
}

fn write_status_line(
    out: &mut Vec<u8>,
    version: Version,
    status: u16,
    reason: &[u8],
) -> Result<(), EncodeError> {
    if not_text(reason).is_some() {
        return Err(EncodeError::Reason);
    }
    // Three digits: the callers have seen to it.
    let digit = |place: u16| b'0' + (status / place % 10) as u8;
    let status = [b' ', digit(100), digit(10), digit(1), b' '];
    out.extend_from_slice(version.as_str().as_bytes());
    out.extend_from_slice(&status);
    out.extend_from_slice(reason);
    out.extend_from_slice(b"\r\n");
    Ok(())
}

/// Writes the fields that are let in, and counts those named Host.
#[inline]
fn write_fields<'f>(
    out: &mut Vec<u8>,
    fields: impl IntoIterator<Item = impl Into<Line<'f>>>,
) -> Result<u8, EncodeError> {
    let mut hosts: u8 = 0;
    for line in fields {
        let (name, value) = match line.into() {
            Line::Field(name, value) => (name, value),
            Line::Decoded(lines) => {
                debug_assert!(line::is_as_decoded(lines), "{:?}", lines.escape_ascii());
                out.extend_from_slice(lines);
                continue;
            }
        };
        let known = Known::of(name);
        match known {
            Known::Host => hosts = hosts.saturating_add(1),
            Known::ContentLength => continue,
            _ if known.is_hop_by_hop() => continue,
            _ => {}
        }
        write_field(out, name, value)?;
    }
    Ok(hosts)
}

/// Writes one field after a look at each of its bytes.
#[inline]
fn write_field(out: &mut Vec<u8>, name: &[u8], value: &[u8]) -> Result<(), EncodeError> {
    if !is_token(name) {
        return Err(EncodeError::FieldName);
    }
    if let Some(byte) = not_text(value) {
        return Err(EncodeError::FieldValue { byte });
    }
    out.reserve(name.len() + value.len() + 4);
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
    Ok(())
}

fn write_framing(out: &mut Vec<u8>, framing: Framing) {
    match framing {
        Framing::None | Framing::UntilClose => {}
        Framing::Length(length) => {
            out.extend_from_slice(b"Content-Length: ");
            write_decimal(out, length);
            out.extend_from_slice(b"\r\n");
        }
        Framing::Chunked => out.extend_from_slice(b"Transfer-Encoding: chunked\r\n"),
    }
}

fn write_connection(out: &mut Vec<u8>, connection: Connection<'_>) -> Result<(), EncodeError> {
    match connection {
        Connection::Default => {}
        Connection::Close => out.extend_from_slice(b"Connection: close\r\n"),
        Connection::KeepAlive => out.extend_from_slice(b"Connection: keep-alive\r\n"),
        Connection::Upgrade(protocol) => {
            out.extend_from_slice(b"Connection: upgrade\r\n");
            write_field(out, b"Upgrade", protocol)?;
        }
    }
    Ok(())
}

fn write_decimal(out: &mut Vec<u8>, mut value: u64) {
    // 20 digits hold every u64.
    let mut digits = [0; 20];
    let mut used = 0;
    for slot in digits.iter_mut().rev() {
        *slot = b'0' + (value % 10) as u8;
        value /= 10;
        used += 1;
        if value == 0 {
            break;
        }
    }
    out.extend_from_slice(digits.get(digits.len() - used..).unwrap_or_default());
}

/// Leaves no half of a head behind.
#[inline]
fn restore_on_error<T>(
    out: &mut Vec<u8>,
    write: impl FnOnce(&mut Vec<u8>) -> Result<T, EncodeError>,
) -> Result<T, EncodeError> {
    let before = out.len();
    let result = write(out);
    if result.is_err() {
        out.truncate(before);
    }
    result
}
