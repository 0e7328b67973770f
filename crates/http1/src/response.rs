//! Responses from a server.

use std::mem::MaybeUninit;

use memchr::memchr;

use crate::body::{Body, Chunks, endless};
use crate::error::DecodeError;
use crate::event::{Eof, Event, Framing, RequestKind, ResponseHead, Version};
use crate::facts::Facts;
use crate::field::{FieldSink, Known};
use crate::head::{FEW, Gathered, MANY};
use crate::limits::Limits;
use crate::lines::{LineScanner, StartLine, version_of};
use crate::span::Span;

/// Turns the bytes that a server sends on one connection into events, answer after answer.
///
/// ```
/// use transom_http1::{Event, Limits, RequestKind, ResponseDecoder};
///
/// let input = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";
/// let mut fields = Vec::new();
/// let mut decoder = ResponseDecoder::new(Limits::default());
/// decoder.begin(RequestKind::Other);
/// let (head, event) = decoder.decode(input, &mut fields)?;
/// assert!(matches!(event, Event::Head(head) if head.status == 200 && head.keep_alive));
/// let (data, event) = decoder.decode(&input[head..], &mut fields)?;
/// assert!(matches!(event, Event::Data(span) if span.of(&input[head..]) == b"hello"));
/// let (_, event) = decoder.decode(&input[head + data..], &mut fields)?;
/// assert_eq!(event, Event::End);
/// # Ok::<(), transom_http1::DecodeError>(())
/// ```
#[derive(Debug)]
pub struct ResponseDecoder {
    phase: Phase,
    kind: RequestKind,
    /// Whether anything of the current answer was seen.
    answered: bool,
    scanner: LineScanner,
    limits: Limits,
}

/// What the next bytes are.
#[derive(Debug)]
enum Phase {
    /// Nothing was asked.
    Idle,
    Head,
    Body(Body),
    Tunnel,
    Failed(DecodeError),
}

impl ResponseDecoder {
    /// A decoder for a new connection.
    pub fn new(limits: Limits) -> Self {
        Self {
            phase: Phase::Idle,
            kind: RequestKind::Other,
            answered: false,
            scanner: LineScanner::default(),
            limits,
        }
    }

    /// Tells that a request was sent, or is being sent, whose answer comes next. To be called once per request, when
    /// the last answer is over; called earlier, the decoder fails with [`DecodeError::Overlap`].
    pub fn begin(&mut self, kind: RequestKind) {
        match self.phase {
            Phase::Idle => {
                self.phase = Phase::Head;
                self.kind = kind;
                self.answered = false;
            }
            Phase::Failed(_) => {}
            _ => self.phase = Phase::Failed(DecodeError::Overlap),
        }
    }

    /// The next event in `input`, and how many bytes at its beginning are consumed with it; as
    /// [`RequestDecoder::decode`](crate::RequestDecoder::decode).
    ///
    /// # Errors
    /// When the bytes are not what RFC 9112 and the limits allow, or when nothing was asked; see [`DecodeError`]. Every
    /// later call gives the same error.
    #[inline]
    pub fn decode<S: FieldSink>(
        &mut self,
        input: &[u8],
        sink: &mut S,
    ) -> Result<(usize, Event<ResponseHead>), DecodeError> {
        let result = match &mut self.phase {
            Phase::Idle if input.is_empty() => Ok((0, Event::NeedMore)),
            Phase::Idle => Err(DecodeError::Unasked),
            Phase::Head => self.decode_head(input, sink),
            Phase::Body(body) => {
                let result = body.decode(input, &self.limits, sink);
                if let Ok((_, Event::End)) = result {
                    self.phase = Phase::Idle;
                }
                result
            }
            Phase::Tunnel => Ok(endless(input)),
            Phase::Failed(error) => Err(*error),
        };
        if let Err(error) = &result {
            self.phase = Phase::Failed(*error);
        }
        result
    }

    /// Tells that the server sends no more.
    ///
    /// # Errors
    /// [`DecodeError::ClosedBeforeAnswer`] when a request waits and no byte of its answer came,
    /// [`DecodeError::Truncated`] within a message, or the error that the decoder had before.
    pub fn eof(&mut self) -> Result<Eof, DecodeError> {
        let error = match self.phase {
            Phase::Idle => return Ok(Eof::Idle),
            Phase::Tunnel | Phase::Body(Body::UntilClose) => {
                self.phase = Phase::Idle;
                return Ok(Eof::End);
            }
            Phase::Head if !self.answered => DecodeError::ClosedBeforeAnswer,
            Phase::Head | Phase::Body(_) => DecodeError::Truncated,
            Phase::Failed(error) => error,
        };
        self.phase = Phase::Failed(error);
        Err(error)
    }

    /// Whether no answer is being waited for: the connection may be used again (if the last head said `keep_alive`).
    pub fn is_idle(&self) -> bool {
        matches!(self.phase, Phase::Idle)
    }

    #[inline]
    fn decode_head<S: FieldSink>(
        &mut self,
        input: &[u8],
        sink: &mut S,
    ) -> Result<(usize, Event<ResponseHead>), DecodeError> {
        match input.first() {
            None => return Ok((0, Event::NeedMore)),
            // Whatever speaks another protocol may never send a line end.
            Some(b'H') => self.answered = true,
            Some(_) => return Err(DecodeError::StatusLine),
        }
        let fresh = self.scanner.is_fresh();
        if !fresh
            && self
                .scanner
                .scan(input, StartLine::Status, &self.limits)?
                .is_none()
        {
            return Ok((0, Event::NeedMore));
        }
        let parsed = self.parse_head(input, sink);
        match &parsed {
            Ok((_, Event::Head(_) | Event::Interim(_))) => return parsed,
            Err(_) if !fresh => return parsed,
            _ => {}
        }
        // Not whole, or at fault: the scanner says which.
        match self.scanner.scan(input, StartLine::Status, &self.limits)? {
            None => Ok((0, Event::NeedMore)),
            Some(_) => Err(parsed.err().unwrap_or(DecodeError::Malformed)),
        }
    }

    #[inline]
    fn parse_head<S: FieldSink>(
        &mut self,
        input: &[u8],
        sink: &mut S,
    ) -> Result<(usize, Event<ResponseHead>), DecodeError> {
        if self.limits.fields_in_force() as usize <= FEW {
            self.parse_with::<FEW, S>(input, sink)
        } else {
            self.parse_with::<MANY, S>(input, sink)
        }
    }

    #[inline]
    fn parse_with<const N: usize, S: FieldSink>(
        &mut self,
        input: &[u8],
        sink: &mut S,
    ) -> Result<(usize, Event<ResponseHead>), DecodeError> {
        let mut slots = [const { MaybeUninit::uninit() }; N];
        let mut kinds = [Known::Other; N];
        let mut response = httparse::Response::new(&mut []);
        let mut gathered = Gathered::new(&mut kinds);
        let result = self.take_head(input, &mut slots, &mut response, &mut gathered);
        if let Ok((_, Event::Head(_) | Event::Interim(_))) = &result {
            gathered.emit(response.headers, input, sink);
        }
        result
    }

    /// Takes a head. `NeedMore`: it is not whole, or not well formed.
    fn take_head<'h, 'b>(
        &mut self,
        input: &'b [u8],
        slots: &'h mut [MaybeUninit<httparse::Header<'b>>],
        response: &mut httparse::Response<'h, 'b>,
        gathered: &mut Gathered<'_>,
    ) -> Result<(usize, Event<ResponseHead>), DecodeError> {
        const NOT_TAKEN: (usize, Event<ResponseHead>) = (0, Event::NeedMore);
        // A head beyond its limit is never whole.
        let block = input.get(..self.limits.head as usize).unwrap_or(input);
        let slots = slots
            .get_mut(..usize::from(self.limits.fields_in_force()))
            .unwrap_or_default();
        let Ok(httparse::Status::Complete(length)) = httparse::ParserConfig::default()
            .parse_response_with_uninit_headers(response, block, slots)
        else {
            return Ok(NOT_TAKEN);
        };
        let (Some(version), Some(status)) = (response.version, response.code) else {
            return Ok(NOT_TAKEN);
        };
        let block = block.get(..length).unwrap_or_default();
        if status < 100 || !gathered.gather(response.headers, block, input, &self.limits)? {
            return Ok(NOT_TAKEN);
        }
        let facts = &gathered.facts;
        let head = self.judge(status, reason(input), version_of(version), facts)?;
        self.enter(&head, facts, input);
        let event = if head.status < 200 && !head.tunnel {
            Event::Interim(head)
        } else {
            Event::Head(head)
        };
        Ok((length, event))
    }

    /// What the head as a whole means (RFC 9112 section 6.3), or what is wrong with it.
    fn judge(
        &self,
        status: u16,
        reason: Span,
        version: Version,
        facts: &Facts,
    ) -> Result<ResponseHead, DecodeError> {
        let chunked = facts.chunked(version)?;
        let switches = status == 101;
        if switches && (self.kind != RequestKind::Upgrade || facts.upgrade(version).is_none()) {
            return Err(DecodeError::Switch);
        }
        let tunnel =
            switches || (self.kind == RequestKind::Connect && (200..300).contains(&status));
        let framing = if status < 200 || status == 204 || tunnel {
            // RFC 9110 section 8.6 and RFC 9112 section 6.1: neither field may be sent with these. Many a 204 has
            // `Content-Length: 0`, which says the same twice.
            if facts.has_transfer_encoding()
                || facts.content_length.is_some_and(|length| length > 0)
            {
                return Err(DecodeError::BodyForbidden);
            }
            Framing::None
        } else if self.kind == RequestKind::Head || status == 304 {
            Framing::None
        } else if chunked {
            Framing::Chunked
        } else {
            match facts.content_length {
                Some(length) => Framing::Length(length),
                None => Framing::UntilClose,
            }
        };
        Ok(ResponseHead {
            version,
            status,
            reason,
            framing,
            content_length: facts.content_length,
            keep_alive: facts.persists(version) && framing != Framing::UntilClose && !tunnel,
            tunnel,
            upgrade: if switches {
                facts.upgrade(version)
            } else {
                None
            },
            end: framing.is_empty() && !tunnel && status >= 200,
        })
    }

    /// Moves on behind the head.
    #[inline]
    fn enter(&mut self, head: &ResponseHead, facts: &Facts, input: &[u8]) {
        self.scanner = LineScanner::default();
        self.phase = match head.framing {
            _ if head.tunnel => Phase::Tunnel,
            _ if head.end => Phase::Idle,
            // An interim head.
            Framing::None => Phase::Head,
            Framing::Length(length) => Phase::Body(Body::Length(length)),
            Framing::Chunked => {
                let nominated = facts.nominated.for_trailers(input);
                Phase::Body(Body::Chunked(Chunks::new(nominated)))
            }
            Framing::UntilClose => Phase::Body(Body::UntilClose),
        };
    }
}

/// The reason phrase of a status line that `httparse` has taken. Its own account leaves out reasons in other scripts.
#[inline]
fn reason(input: &[u8]) -> Span {
    const START: usize = "HTTP/1.1 200 ".len();
    let rest = input.get(START - 1..).unwrap_or_default();
    let line = memchr(b'\n', rest)
        .and_then(|lf| rest.get(..lf))
        .unwrap_or_default();
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    Span::between(START, START + line.len().saturating_sub(1))
}
