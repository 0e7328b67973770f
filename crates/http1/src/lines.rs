//! The lines of a head, one by one: the slow way, which names the fault.
//!
//! A head that is whole and good goes past this file: one pass of `httparse` takes it. A head that comes in pieces is
//! looked at here line by line as the lines become complete, and a head that `httparse` or a later check refuses is
//! read again here to say why. So the fault that is reported is that of the first faulty line, however the bytes came.

use memchr::memchr;

use crate::bytes::{not_target, not_text, not_token, trim};
use crate::error::DecodeError;
use crate::event::Version;
use crate::limits::Limits;

/// Looks for the empty line that ends a head and checks each line on the way, looking at no byte twice.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct LineScanner {
    /// Bytes in which the end of a line was looked for.
    scanned: usize,
    /// Where the current line begins.
    line: usize,
    /// Lines before it.
    lines: u32,
}

/// What the first line of a block is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StartLine {
    Request,
    Status,
    /// Trailers: fields only.
    None,
}

impl LineScanner {
    /// Whether it has not seen a byte yet.
    pub(crate) fn is_fresh(&self) -> bool {
        self.scanned == 0
    }

    /// Goes on with `block`, which begins where it began at the last call and has grown at its end. Gives the number of
    /// bytes up to and with the empty line once that is there, and is then fresh for the next block.
    pub(crate) fn scan(
        &mut self,
        block: &[u8],
        start: StartLine,
        limits: &Limits,
    ) -> Result<Option<usize>, DecodeError> {
        let allow_bare_lf = limits.allow_bare_lf_in_head && start != StartLine::None;
        loop {
            let unseen = block.get(self.scanned..).unwrap_or_default();
            let Some(lf) = memchr(b'\n', unseen) else {
                self.scanned = block.len();
                self.check_open_line(start, limits)?;
                return Ok(None);
            };
            let lf = self.scanned + lf;
            let line = block.get(self.line..lf).unwrap_or_default();
            let (line, crlf) = match line {
                [line @ .., b'\r'] => (line, true),
                _ => (line, false),
            };
            self.check_size(start, line.len(), lf + 1, limits)?;
            if !crlf && !allow_bare_lf {
                return Err(DecodeError::BareLf);
            }
            match (start, self.lines) {
                (StartLine::Request, 0) => check_request_line(line)?,
                (StartLine::Status, 0) => check_status_line(line)?,
                _ if line.is_empty() => {
                    *self = Self::default();
                    return Ok(Some(lf + 1));
                }
                _ => {
                    field_line(line)?;
                    let fields = self.lines + u32::from(start == StartLine::None);
                    if fields > u32::from(limits.fields_in_force()) {
                        return Err(DecodeError::TooManyFields {
                            limit: limits.fields_in_force(),
                        });
                    }
                }
            }
            self.lines = self.lines.saturating_add(1);
            self.line = lf + 1;
            self.scanned = lf + 1;
        }
    }

    /// Limits for a complete line of `length` bytes, the block ending at `end` or later.
    fn check_size(
        &self,
        start: StartLine,
        length: usize,
        end: usize,
        limits: &Limits,
    ) -> Result<(), DecodeError> {
        let too_large = end > limits.head as usize;
        if start == StartLine::Request && self.lines == 0 {
            // The bound of the head bounds its first line too; which of the two it was must not depend on how much
            // of the line is here.
            if too_large || length > limits.request_line as usize {
                return Err(request_line_too_long(limits));
            }
        } else if too_large {
            return Err(head_too_large(limits));
        }
        Ok(())
    }

    /// The same for a line whose end is still to come: an error only if the line fails wherever it ends.
    fn check_open_line(&self, start: StartLine, limits: &Limits) -> Result<(), DecodeError> {
        // The LF will be at `scanned` at the earliest; a CR may stand before it.
        let least_end = self.scanned + 1;
        let least_length = (self.scanned - self.line.min(self.scanned)).saturating_sub(1);
        self.check_size(start, least_length, least_end, limits)
    }
}

/// Splits a field line, without its line end, into name and value (RFC 9112 section 5).
pub(crate) fn field_line(line: &[u8]) -> Result<(&[u8], &[u8]), DecodeError> {
    if let [b' ' | b'\t', ..] = line {
        return Err(DecodeError::ObsFold);
    }
    let Some((name, value)) = memchr(b':', line).and_then(|colon| line.split_at_checked(colon))
    else {
        return Err(match not_text(line) {
            Some(byte) => cr_or(byte, DecodeError::FieldName { byte }),
            None => DecodeError::NoColon,
        });
    };
    match name {
        [] => return Err(DecodeError::EmptyFieldName),
        [.., b' ' | b'\t'] => return Err(DecodeError::BlankBeforeColon),
        _ => {}
    }
    if let Some(byte) = not_token(name) {
        return Err(cr_or(byte, DecodeError::FieldName { byte }));
    }
    let value = trim(value.get(1..).unwrap_or_default());
    if let Some(byte) = not_text(value) {
        return Err(cr_or(byte, DecodeError::FieldValue { byte }));
    }
    Ok((name, value))
}

/// RFC 9112 section 3.
fn check_request_line(line: &[u8]) -> Result<(), DecodeError> {
    let (method, rest) = split_space(line);
    if let Some(byte) = not_token(method) {
        return Err(cr_or(byte, DecodeError::Method { byte }));
    }
    let (target, version) = split_space(rest.unwrap_or_default());
    if let Some(byte) = not_target(target) {
        return Err(cr_or(byte, DecodeError::Target { byte }));
    }
    match version {
        Some(version) if !method.is_empty() && !target.is_empty() => {
            if version.contains(&b' ') {
                return Err(DecodeError::RequestLine);
            }
            check_version(version)
        }
        _ => Err(DecodeError::RequestLine),
    }
}

/// RFC 9112 section 4, except that the space behind the status may be missing when there is no reason: many servers
/// leave it out, and nothing hangs on it.
fn check_status_line(line: &[u8]) -> Result<(), DecodeError> {
    let (version, rest) = split_space(line);
    check_version(version)?;
    let (status, reason) = split_space(rest.unwrap_or_default());
    if let Some(byte) = not_text(status) {
        return Err(cr_or(byte, DecodeError::StatusLine));
    }
    match status {
        [b'1'..=b'9', b'0'..=b'9', b'0'..=b'9'] => {}
        _ => return Err(DecodeError::StatusLine),
    }
    match not_text(reason.unwrap_or_default()) {
        Some(byte) => Err(cr_or(byte, DecodeError::Reason { byte })),
        None => Ok(()),
    }
}

/// RFC 9112 section 2.3.
fn check_version(version: &[u8]) -> Result<(), DecodeError> {
    match version {
        [b'H', b'T', b'T', b'P', b'/', b'1', b'.', b'0' | b'1'] => Ok(()),
        [
            b'H',
            b'T',
            b'T',
            b'P',
            b'/',
            major @ b'0'..=b'9',
            b'.',
            minor @ b'0'..=b'9',
        ] => Err(DecodeError::Version {
            major: major - b'0',
            minor: minor - b'0',
        }),
        _ if version.contains(&b'\r') => Err(DecodeError::BareCr),
        _ => Err(DecodeError::VersionSyntax),
    }
}

/// The version by the number that `httparse` gives.
pub(crate) fn version_of(minor: u8) -> Version {
    if minor == 0 {
        Version::Http10
    } else {
        Version::Http11
    }
}

fn split_space(bytes: &[u8]) -> (&[u8], Option<&[u8]>) {
    match memchr(b' ', bytes).and_then(|space| bytes.split_at_checked(space)) {
        Some((before, after)) => (before, after.get(1..)),
        None => (bytes, None),
    }
}

/// A CR in the wrong place is a fault of line ends, wherever it stands.
fn cr_or(byte: u8, error: DecodeError) -> DecodeError {
    if byte == b'\r' {
        DecodeError::BareCr
    } else {
        error
    }
}

fn request_line_too_long(limits: &Limits) -> DecodeError {
    DecodeError::RequestLineTooLong {
        limit: limits.request_line.min(limits.head),
    }
}

fn head_too_large(limits: &Limits) -> DecodeError {
    DecodeError::HeadTooLarge { limit: limits.head }
}
