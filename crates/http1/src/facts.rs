//! What the fields of a head say about the message and the connection.

use crate::bytes::{decimal, is_token, trim};
use crate::error::DecodeError;
use crate::event::Version;
use crate::field::{Known, is_spelt};
use crate::nominated::Nominated;
use crate::span::Span;

/// Gathered field by field, then asked.
#[derive(Default)]
pub(crate) struct Facts {
    pub(crate) content_length: Option<u64>,
    pub(crate) host: Option<Span>,
    /// `Connection: close`.
    pub(crate) close: bool,
    /// `Connection: keep-alive`.
    pub(crate) keep_alive: bool,
    /// `Expect: 100-continue`.
    pub(crate) expect_continue: bool,
    pub(crate) nominated: Nominated,
    transfer_encoding: TransferEncoding,
    connection_upgrade: bool,
    upgrade: Option<Span>,
    upgrades: u16,
}

/// All Transfer-Encoding fields of a head taken together.
#[derive(Default)]
struct TransferEncoding {
    fields: u16,
    chunked: u16,
    /// A coding that is not `chunked`.
    other: bool,
    /// Something that is no coding at all.
    malformed: bool,
}

impl Facts {
    /// Takes one field. `value` is trimmed, `at` is where it lies in `input`.
    #[inline]
    pub(crate) fn note(
        &mut self,
        known: Known,
        value: &[u8],
        at: Span,
        input: &[u8],
    ) -> Result<(), DecodeError> {
        match known {
            Known::Host => match self.host.replace(at) {
                None => Ok(()),
                Some(_) => Err(DecodeError::HostRepeated),
            },
            Known::Connection => self.note_connection(value, input),
            Known::ContentLength => self.note_content_length(value),
            Known::TransferEncoding => {
                self.transfer_encoding.note(value);
                Ok(())
            }
            Known::Upgrade => {
                self.upgrade = Some(at);
                self.upgrades = self.upgrades.saturating_add(1);
                Ok(())
            }
            Known::Expect => self.note_expect(value),
            _ => Ok(()),
        }
    }

    /// Whether the body is chunked. Refuses Transfer-Encoding in all forms but the one, and Content-Length beside it.
    // RFC 9112 section 6.1 and 6.3 leave room here; each use of that room has been a way to smuggle requests.
    #[inline]
    pub(crate) fn chunked(&self, version: Version) -> Result<bool, DecodeError> {
        let coding = &self.transfer_encoding;
        if coding.fields == 0 {
            return Ok(false);
        }
        if self.content_length.is_some() {
            return Err(DecodeError::ContentLengthAndTransferEncoding);
        }
        if version == Version::Http10 {
            return Err(DecodeError::TransferEncodingInHttp10);
        }
        if coding.malformed {
            return Err(DecodeError::TransferEncoding);
        }
        if coding.other {
            return Err(DecodeError::TransferCoding);
        }
        if coding.fields != 1 || coding.chunked != 1 {
            return Err(DecodeError::TransferEncoding);
        }
        Ok(true)
    }

    /// Whether there is a Transfer-Encoding, of whatever value.
    pub(crate) fn has_transfer_encoding(&self) -> bool {
        self.transfer_encoding.fields > 0
    }

    /// RFC 9112 section 9.3. A response that lasts until the connection closes is the caller's to see.
    #[inline]
    pub(crate) fn persists(&self, version: Version) -> bool {
        !self.close && (version == Version::Http11 || self.keep_alive)
    }

    /// The value of Upgrade, when the sender asks for it in the way it must (RFC 9110 section 7.8). With several
    /// Upgrade fields there is no request to switch: a server may always pass over Upgrade.
    #[inline]
    pub(crate) fn upgrade(&self, version: Version) -> Option<Span> {
        if self.connection_upgrade && self.upgrades == 1 && version == Version::Http11 {
            self.upgrade.filter(|value| !value.is_empty())
        } else {
            None
        }
    }

    fn note_content_length(&mut self, value: &[u8]) -> Result<(), DecodeError> {
        let length = decimal(value).ok_or(DecodeError::ContentLength)?;
        match self.content_length.replace(length) {
            None => Ok(()),
            Some(_) => Err(DecodeError::ContentLengthRepeated),
        }
    }

    /// RFC 9110 section 10.1.1.
    fn note_expect(&mut self, value: &[u8]) -> Result<(), DecodeError> {
        if value.eq_ignore_ascii_case(b"100-continue") {
            self.expect_continue = true;
            Ok(())
        } else {
            Err(DecodeError::Expectation)
        }
    }

    /// RFC 9110 section 7.6.1.
    #[inline]
    fn note_connection(&mut self, value: &[u8], input: &[u8]) -> Result<(), DecodeError> {
        // What nearly every message has.
        if is_spelt(value, b"keep-alive") {
            self.keep_alive = true;
            return Ok(());
        }
        self.note_connection_options(value, input)
    }

    fn note_connection_options(&mut self, value: &[u8], input: &[u8]) -> Result<(), DecodeError> {
        for option in value.split(|&byte| byte == b',').map(trim) {
            if option.is_empty() {
                // RFC 9110 section 5.6.1.2: empty elements of a list mean nothing.
                continue;
            }
            if !is_token(option) {
                return Err(DecodeError::Connection);
            }
            if is_spelt(option, b"close") {
                self.close = true;
                continue;
            }
            match Known::of(option) {
                Known::KeepAlive => self.keep_alive = true,
                Known::Upgrade => self.connection_upgrade = true,
                Known::Host | Known::ContentLength => return Err(DecodeError::ConnectionNominates),
                // These go no further anyway.
                known if known.is_hop_by_hop() => {}
                _ => self.nominated.add(Span::locate(option, input))?,
            }
        }
        Ok(())
    }
}

impl TransferEncoding {
    fn note(&mut self, value: &[u8]) {
        self.fields = self.fields.saturating_add(1);
        for coding in value.split(|&byte| byte == b',').map(trim) {
            if is_spelt(coding, b"chunked") {
                self.chunked = self.chunked.saturating_add(1);
            } else if is_token(coding) {
                self.other = true;
            } else {
                // Empty elements too: nobody writes them here but to confuse.
                self.malformed = true;
            }
        }
    }
}
