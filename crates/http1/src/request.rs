//! Requests from a client.

use std::mem::MaybeUninit;

use crate::body::{Body, Chunks, endless};
use crate::bytes::target_bytes;
use crate::error::DecodeError;
use crate::event::{Eof, Event, Framing, RequestHead, Version};
use crate::facts::Facts;
use crate::field::{FieldSink, Known};
use crate::head::{FEW, Gathered, MANY, line_length};
use crate::limits::Limits;
use crate::lines::{LineScanner, StartLine, version_of};
use crate::span::Span;
use crate::target::{TargetForm, agree, is_https, parse_target};

/// Turns the bytes that a client sends on one connection into events, message after message.
///
/// ```
/// use transom_http1::{Event, Limits, RequestDecoder};
///
/// let input = b"GET /hello HTTP/1.1\r\nHost: example.org\r\n\r\n";
/// let mut fields = Vec::new();
/// let mut decoder = RequestDecoder::new(Limits::default());
/// let (consumed, event) = decoder.decode(input, &mut fields)?;
/// let Event::Head(head) = event else { unreachable!() };
/// assert_eq!(head.target.of(input), b"/hello");
/// assert!(head.end, "a GET without a body is over with its head");
/// assert_eq!(fields[0].value.of(input), b"example.org");
/// assert_eq!(consumed, input.len());
/// # Ok::<(), transom_http1::DecodeError>(())
/// ```
#[derive(Debug)]
pub struct RequestDecoder {
    phase: Phase,
    after: After,
    scanner: LineScanner,
    /// Empty lines seen before the request line.
    empty_lines: u8,
    limits: Limits,
}

/// What the next bytes are.
#[derive(Debug)]
enum Phase {
    Head,
    Body(Body),
    /// Nothing is known about them until the answer to CONNECT or an upgrade is.
    Held,
    Tunnel,
    Failed(DecodeError),
}

/// What comes after the current message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum After {
    Head,
    Held,
    Tunnel,
}

/// RFC 9112 section 2.2 asks for at least one; some old clients send two after a form.
const MOST_EMPTY_LINES: u8 = 2;

impl RequestDecoder {
    /// A decoder for a new connection.
    pub fn new(limits: Limits) -> Self {
        Self {
            phase: Phase::Head,
            after: After::Head,
            scanner: LineScanner::default(),
            empty_lines: 0,
            limits,
        }
    }

    /// The next event in `input`, and how many bytes at its beginning are consumed with it. Spans in the event and in
    /// the fields are places in `input`. The caller drops what is consumed and calls again with the rest, and with more
    /// after [`Event::NeedMore`]; a head that comes in pieces is not consumed until it is whole, and is not looked at
    /// again from its beginning.
    ///
    /// # Errors
    /// When the bytes are not what RFC 9112 and the limits allow; see [`DecodeError`]. Every later call gives the
    /// same error.
    #[inline]
    pub fn decode<S: FieldSink>(
        &mut self,
        input: &[u8],
        sink: &mut S,
    ) -> Result<(usize, Event<RequestHead>), DecodeError> {
        let result = match &mut self.phase {
            Phase::Head => self.decode_head(input, sink),
            Phase::Body(body) => {
                let result = body.decode(input, &self.limits, sink);
                if let Ok((_, Event::End)) = result {
                    self.end_message();
                }
                result
            }
            Phase::Held => Ok((0, Event::NeedMore)),
            Phase::Tunnel => Ok(endless(input)),
            Phase::Failed(error) => Err(*error),
        };
        if let Err(error) = &result {
            self.phase = Phase::Failed(*error);
        }
        result
    }

    /// Tells that the client sends no more.
    ///
    /// # Errors
    /// [`DecodeError::Truncated`] within a message, or the error that the decoder had before.
    pub fn eof(&mut self) -> Result<Eof, DecodeError> {
        match self.phase {
            Phase::Head if self.scanner.is_fresh() => Ok(Eof::Idle),
            Phase::Held => Ok(Eof::Idle),
            Phase::Tunnel => Ok(Eof::End),
            Phase::Failed(error) => Err(error),
            Phase::Head | Phase::Body(_) => {
                self.phase = Phase::Failed(DecodeError::Truncated);
                Err(DecodeError::Truncated)
            }
        }
    }

    /// Whether the decoder is between messages: no byte of a request line has been seen since the last message ended.
    /// A connection may be closed for idleness or drained then.
    pub fn is_idle(&self) -> bool {
        matches!(self.phase, Phase::Head) && self.scanner.is_fresh()
    }

    /// Whether the decoder waits for [`RequestDecoder::proceed`] or [`RequestDecoder::tunnel`]: a request with CONNECT
    /// or an upgrade is over, and what the following bytes are is the server's to say.
    pub fn is_held(&self) -> bool {
        matches!(self.phase, Phase::Held)
    }

    /// Whether a request's body is still coming.
    pub fn is_in_body(&self) -> bool {
        matches!(self.phase, Phase::Body(_))
    }

    /// After CONNECT or an upgrade: the server did not switch, or the proxy does not want to. What follows the request
    /// is another request. Does nothing in other places.
    pub fn proceed(&mut self) {
        self.release(After::Head, Phase::Head);
    }

    /// After CONNECT or an upgrade: the server switched. What follows the request is given as `Data`. Does nothing in
    /// other places.
    pub fn tunnel(&mut self) {
        self.release(After::Tunnel, Phase::Tunnel);
    }

    fn release(&mut self, after: After, phase: Phase) {
        match self.phase {
            Phase::Held => self.phase = phase,
            Phase::Body(_) if self.after == After::Held => self.after = after,
            _ => {}
        }
    }

    fn end_message(&mut self) {
        self.phase = match self.after {
            After::Head => Phase::Head,
            After::Held => Phase::Held,
            After::Tunnel => Phase::Tunnel,
        };
    }

    #[inline]
    fn decode_head<S: FieldSink>(
        &mut self,
        input: &[u8],
        sink: &mut S,
    ) -> Result<(usize, Event<RequestHead>), DecodeError> {
        let start = self.skip_empty_lines(input)?;
        let head = input.get(start..).unwrap_or_default();
        match head.first() {
            None | Some(b'\r') => return Ok((start, Event::NeedMore)),
            // Whoever speaks another protocol (a TLS hello) may never send a line end.
            Some(&byte) if !crate::bytes::is_token(&[byte]) => {
                return Err(DecodeError::Method { byte });
            }
            Some(_) => {}
        }
        if self.scanner.is_fresh() {
            // Nearly always the head is whole and good. If it is not, the scanner says what to think of it.
            let parsed = self.parse_head(input, start, sink);
            if let Ok((_, Event::Head(_))) = &parsed {
                return parsed;
            }
            return match self.scanner.scan(head, StartLine::Request, &self.limits)? {
                None => Ok((start, Event::NeedMore)),
                Some(_) => Err(parsed.err().unwrap_or(DecodeError::Malformed)),
            };
        }
        if self
            .scanner
            .scan(head, StartLine::Request, &self.limits)?
            .is_none()
        {
            return Ok((start, Event::NeedMore));
        }
        match self.parse_head(input, start, sink) {
            Ok((_, Event::NeedMore)) => Err(DecodeError::Malformed),
            parsed => parsed,
        }
    }

    /// RFC 9112 section 2.2. Gives where the request line begins.
    #[inline]
    fn skip_empty_lines(&mut self, input: &[u8]) -> Result<usize, DecodeError> {
        let mut start = 0;
        loop {
            start += match input.get(start..).unwrap_or_default() {
                [b'\r', b'\n', ..] => 2,
                [b'\n', ..] if self.limits.allow_bare_lf_in_head => 1,
                [b'\n', ..] => return Err(DecodeError::BareLf),
                [b'\r', _, ..] => return Err(DecodeError::BareCr),
                _ => return Ok(start),
            };
            self.empty_lines += 1;
            if self.empty_lines > MOST_EMPTY_LINES {
                return Err(DecodeError::EmptyLines {
                    limit: MOST_EMPTY_LINES,
                });
            }
        }
    }

    #[inline]
    fn parse_head<S: FieldSink>(
        &mut self,
        input: &[u8],
        start: usize,
        sink: &mut S,
    ) -> Result<(usize, Event<RequestHead>), DecodeError> {
        if self.limits.fields_in_force() as usize <= FEW {
            self.parse_with::<FEW, S>(input, start, sink)
        } else {
            self.parse_many(input, start, sink)
        }
    }

    /// Apart, so that its 32 KiB of stack are taken, and touched page by page, only by those who ask for so many fields.
    #[cold]
    #[inline(never)]
    fn parse_many<S: FieldSink>(
        &mut self,
        input: &[u8],
        start: usize,
        sink: &mut S,
    ) -> Result<(usize, Event<RequestHead>), DecodeError> {
        self.parse_with::<MANY, S>(input, start, sink)
    }

    #[inline]
    fn parse_with<const N: usize, S: FieldSink>(
        &mut self,
        input: &[u8],
        start: usize,
        sink: &mut S,
    ) -> Result<(usize, Event<RequestHead>), DecodeError> {
        let mut slots = [const { MaybeUninit::uninit() }; N];
        let mut kinds = [Known::Other; N];
        let mut request = httparse::Request::new(&mut []);
        let mut gathered = Gathered::new(&mut kinds);
        let result = self.take_head(input, start, &mut slots, &mut request, &mut gathered);
        if let Ok((_, Event::Head(_))) = &result {
            gathered.emit(request.headers, input, sink);
        }
        result
    }

    /// Takes a head that begins at `start`. `NeedMore`: it is not whole, or not well formed.
    fn take_head<'h, 'b>(
        &mut self,
        input: &'b [u8],
        start: usize,
        slots: &'h mut [MaybeUninit<httparse::Header<'b>>],
        request: &mut httparse::Request<'h, 'b>,
        gathered: &mut Gathered<'_>,
    ) -> Result<(usize, Event<RequestHead>), DecodeError> {
        const NOT_TAKEN: (usize, Event<RequestHead>) = (0, Event::NeedMore);
        let block = input.get(start..).unwrap_or_default();
        // A head beyond its limit is never whole.
        let block = block.get(..self.limits.head as usize).unwrap_or(block);
        let slots = slots
            .get_mut(..usize::from(self.limits.fields_in_force()))
            .unwrap_or_default();
        let Ok(httparse::Status::Complete(length)) =
            request.parse_with_uninit_headers(block, slots)
        else {
            return Ok(NOT_TAKEN);
        };
        let (Some(method), Some(target), Some(version)) =
            (request.method, request.path, request.version)
        else {
            return Ok(NOT_TAKEN);
        };
        let method = Span::locate(method.as_bytes(), input);
        let target = Span::locate(target.as_bytes(), input);
        let version = version_of(version);
        let look = target_bytes(target.of(input));
        if !look.clean || line_length(start, target) > self.limits.request_line as usize {
            return Ok(NOT_TAKEN);
        }
        let block = block.get(..length).unwrap_or_default();
        if !gathered.gather(request.headers, block, input, &self.limits)? {
            return Ok(NOT_TAKEN);
        }
        let facts = &gathered.facts;
        let head = self.judge(method, target, look.escapes, version, facts, input)?;
        self.enter(&head, facts, input);
        Ok((start + length, Event::Head(head)))
    }

    /// What the head as a whole means, or what is wrong with it.
    #[inline]
    fn judge(
        &self,
        method: Span,
        target: Span,
        escapes: bool,
        version: Version,
        facts: &Facts,
        input: &[u8],
    ) -> Result<RequestHead, DecodeError> {
        let framing = match (facts.chunked(version)?, facts.content_length) {
            (true, _) => Framing::Chunked,
            (false, Some(length)) => Framing::Length(length),
            (false, None) => Framing::None,
        };
        let parts = parse_target(method.of(input), target, escapes, input)?;
        // RFC 9112 section 3.2.
        if facts.host.is_none() && version == Version::Http11 {
            return Err(DecodeError::HostMissing);
        }
        let https = parts.form == TargetForm::Absolute && is_https(target.of(input));
        let authority = agree(&parts, https, facts.host, input)?;
        let connect = parts.form == TargetForm::Authority;
        // RFC 9110 section 9.3.6: content of a CONNECT has no meaning, so its bytes could be the tunnel's.
        if connect && framing != Framing::None {
            return Err(DecodeError::BodyForbidden);
        }
        let upgrade = facts.upgrade(version).filter(|_| !connect);
        Ok(RequestHead {
            method,
            target,
            form: parts.form,
            path: parts.path,
            authority,
            version,
            framing,
            keep_alive: facts.persists(version),
            // RFC 9110 section 10.1.1: a server ignores it in HTTP/1.0.
            expect_continue: facts.expect_continue
                && version == Version::Http11
                && !framing.is_empty(),
            upgrade,
            connect,
            end: framing.is_empty(),
        })
    }

    /// Moves on behind the head.
    #[inline]
    fn enter(&mut self, head: &RequestHead, facts: &Facts, input: &[u8]) {
        self.empty_lines = 0;
        self.scanner = LineScanner::default();
        self.after = if head.connect || head.upgrade.is_some() {
            After::Held
        } else {
            After::Head
        };
        match head.framing {
            Framing::Length(length) if length > 0 => {
                self.phase = Phase::Body(Body::Length(length));
            }
            Framing::Chunked => {
                let nominated = facts.nominated.for_trailers(input);
                self.phase = Phase::Body(Body::Chunked(Chunks::new(nominated)));
            }
            _ => self.end_message(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::response::ResponseDecoder;

    /// Idle connections are many, and each holds a decoder.
    #[test]
    fn decoders_are_small() {
        assert!(
            size_of::<RequestDecoder>() <= 256,
            "{}",
            size_of::<RequestDecoder>()
        );
        assert!(
            size_of::<ResponseDecoder>() <= 256,
            "{}",
            size_of::<ResponseDecoder>()
        );
        assert!(
            size_of::<DecodeError>() <= 8,
            "{}",
            size_of::<DecodeError>()
        );
    }
}
