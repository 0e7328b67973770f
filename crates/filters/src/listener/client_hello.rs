//! What a client asks for in its hello of TLS (RFC 8446 section 4.1.2), read from the first bytes of a connection.
//!
//! Nothing is verified that is not needed to find the two extensions: whoever speaks TLS then does that. But what is not
//! formed as a hello is none.

/// What the first bytes of a connection are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FirstBytes {
    /// A whole hello.
    Hello(ClientHello),
    /// No hello, whatever comes next.
    Other,
    /// It may become a hello, and is at least this long (from the first byte) before more is known.
    Partial(usize),
}

/// A client's hello.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientHello {
    /// The name that it asks for (SNI, RFC 6066 section 3), in lower case. What cannot be a name counts as none.
    pub server_name: Option<String>,
    /// The protocols that it offers (ALPN, RFC 7301), the most wanted first. Those that are no text are left out.
    pub application_protocols: Vec<String>,
}

const HANDSHAKE: u8 = 22;
const CLIENT_HELLO: u8 = 1;
const RECORD_HEADER: usize = 5;
const HANDSHAKE_HEADER: usize = 4;
/// RFC 8446 section 5.1: a record has no more.
const LARGEST_RECORD: usize = 1 << 14;
const SERVER_NAME: u16 = 0;
const ALPN: u16 = 16;

impl FirstBytes {
    /// Reads the first bytes of a connection: all that have come.
    #[must_use]
    pub fn read(bytes: &[u8]) -> Self {
        let mut message = Message::default();
        let mut at = 0;
        loop {
            let Some(record) = bytes.get(at..) else {
                return Self::Other;
            };
            let length = match record_length(record) {
                Ok(length) => length,
                Err(NoRecord::Other) => return Self::Other,
                Err(NoRecord::Short) => return Self::Partial(at + RECORD_HEADER),
            };
            let end = at + RECORD_HEADER + length;
            let available = record.get(RECORD_HEADER..).unwrap_or_default();
            let available = available.get(..length).unwrap_or(available);
            let is_whole = available.len() == length;
            message.push(available);
            match message.wanted() {
                None => return Self::Other,
                Some(0) => {
                    return ClientHello::parse(message.body()).map_or(Self::Other, Self::Hello);
                }
                // What is missing is in this record, or there is at least one more.
                Some(wanted) if !is_whole => {
                    let missing = length - available.len();
                    return Self::Partial(bytes.len() + wanted.min(missing));
                }
                Some(_) => at = end,
            }
        }
    }
}

enum NoRecord {
    /// These are not the first bytes of a record of the handshake.
    Other,
    /// The header is not there as a whole.
    Short,
}

/// The length of a record's fragment.
fn record_length(record: &[u8]) -> Result<usize, NoRecord> {
    // Each byte that is there must fit, so that what is no TLS is known by its first.
    if record.first().is_some_and(|kind| *kind != HANDSHAKE)
        || record.get(1).is_some_and(|major| *major != 3)
        || record.get(2).is_some_and(|minor| *minor > 4)
    {
        return Err(NoRecord::Other);
    }
    let Some([high, low]) = record.get(3..5) else {
        return Err(NoRecord::Short);
    };
    match usize::from(u16::from_be_bytes([*high, *low])) {
        // RFC 8446 section 5.1: no empty fragments of handshakes.
        length @ 1..=LARGEST_RECORD => Ok(length),
        _ => Err(NoRecord::Other),
    }
}

/// The handshake message, put together from its records.
#[derive(Default)]
struct Message(Vec<u8>);

impl Message {
    fn push(&mut self, fragment: &[u8]) {
        self.0.extend_from_slice(fragment);
    }

    /// How many bytes are missing at least; `None`: this is no hello.
    fn wanted(&self) -> Option<usize> {
        if self.0.first().is_some_and(|kind| *kind != CLIENT_HELLO) {
            return None;
        }
        Some(match self.length() {
            Some(length) => (HANDSHAKE_HEADER + length).saturating_sub(self.0.len()),
            None => HANDSHAKE_HEADER - self.0.len(),
        })
    }

    fn length(&self) -> Option<usize> {
        match self.0.get(1..HANDSHAKE_HEADER)? {
            [high, middle, low] => Some(u32::from_be_bytes([0, *high, *middle, *low]) as usize),
            _ => None,
        }
    }

    fn body(&self) -> &[u8] {
        let end = HANDSHAKE_HEADER + self.length().unwrap_or_default();
        self.0.get(HANDSHAKE_HEADER..end).unwrap_or_default()
    }
}

impl ClientHello {
    /// Reads the body of the message; `None`: it is not formed as one.
    fn parse(body: &[u8]) -> Option<Self> {
        let mut reader = Reader(body);
        let [3, _version] = reader.take(2)? else {
            return None;
        };
        reader.take(32)?; // random
        let session = reader.vector8()?;
        if session.0.len() > 32 {
            return None;
        }
        let suites = reader.vector16()?;
        if suites.0.is_empty() || !suites.0.len().is_multiple_of(2) {
            return None;
        }
        if reader.vector8()?.0.is_empty() {
            return None; // compression methods
        }
        let mut hello = Self::default();
        if reader.0.is_empty() {
            // TLS 1.2 may have no extensions at all (RFC 5246 section 7.4.1.2).
            return Some(hello);
        }
        let mut extensions = reader.vector16()?;
        if !reader.0.is_empty() {
            return None;
        }
        let (mut seen_name, mut seen_alpn) = (false, false);
        while !extensions.0.is_empty() {
            let kind = extensions.u16()?;
            let data = extensions.vector16()?;
            match kind {
                // RFC 8446 section 4.2: no extension comes twice.
                SERVER_NAME if std::mem::replace(&mut seen_name, true) => return None,
                ALPN if std::mem::replace(&mut seen_alpn, true) => return None,
                SERVER_NAME => hello.server_name = server_name(data)?,
                ALPN => hello.application_protocols = protocols(data)?,
                _ => {}
            }
        }
        Some(hello)
    }
}

/// RFC 6066, section 3. The outer `None`: it is not formed as such an extension.
#[expect(
    clippy::option_option,
    reason = "no name is something else than no extension"
)]
fn server_name(mut data: Reader<'_>) -> Option<Option<String>> {
    const HOST_NAME: u8 = 0;
    let mut list = data.vector16()?;
    if !data.0.is_empty() || list.0.is_empty() {
        return None;
    }
    let mut name = None;
    while !list.0.is_empty() {
        let [kind] = list.take(1)? else { return None };
        let value = list.vector16()?;
        if *kind == HOST_NAME && name.is_none() {
            name = Some(host_name(value.0));
        }
    }
    Some(name.flatten())
}

/// A name of DNS in lower case. One that cannot be written as a server name of a chain is none.
fn host_name(bytes: &[u8]) -> Option<String> {
    let is_name = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    if bytes.is_empty() || bytes.len() > 253 || !bytes.iter().all(is_name) {
        return None;
    }
    let name = std::str::from_utf8(bytes).ok()?;
    Some(name.to_ascii_lowercase())
}

/// RFC 7301, section 3.1.
fn protocols(mut data: Reader<'_>) -> Option<Vec<String>> {
    let mut list = data.vector16()?;
    if !data.0.is_empty() || list.0.is_empty() {
        return None;
    }
    let mut protocols = Vec::new();
    while !list.0.is_empty() {
        let name = list.vector8()?.0;
        if name.is_empty() {
            return None;
        }
        // Names that are only there to be ignored (GREASE, RFC 8701) are no text.
        protocols.extend(std::str::from_utf8(name).ok().map(str::to_owned));
    }
    Some(protocols)
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn u16(&mut self) -> Option<u16> {
        match self.take(2)? {
            [high, low] => Some(u16::from_be_bytes([*high, *low])),
            _ => None,
        }
    }

    fn vector8(&mut self) -> Option<Self> {
        let [length] = self.take(1)? else { return None };
        self.take(usize::from(*length)).map(Self)
    }

    fn vector16(&mut self) -> Option<Self> {
        let length = self.u16()?;
        self.take(usize::from(length)).map(Self)
    }
}

#[cfg(test)]
pub(super) mod tests;
