//! Bodies: by length, in chunks, or until the connection closes (RFC 9112 sections 6 and 7).

use crate::error::DecodeError;
use crate::event::Event;
use crate::field::{Field, FieldSink, Known};
use crate::limits::Limits;
use crate::lines::{LineScanner, StartLine, field_line};
use crate::nominated::NominatedTrailers;
use crate::span::Span;

/// A body that is being decoded.
#[derive(Debug)]
pub(crate) enum Body {
    /// So many bytes are still to come.
    Length(u64),
    Chunked(Chunks),
    UntilClose,
}

impl Body {
    /// The next event; never a head. `End` is given once.
    pub(crate) fn decode<H, S: FieldSink>(
        &mut self,
        input: &[u8],
        limits: &Limits,
        sink: &mut S,
    ) -> Result<(usize, Event<H>), DecodeError> {
        match self {
            Self::Length(0) => Ok((0, Event::End)),
            Self::Length(left) => Ok(data(input, 0, left)),
            Self::Chunked(chunks) => chunks.decode(input, limits, sink),
            Self::UntilClose => Ok(endless(input)),
        }
    }
}

/// A chunked body, and where in it the decoder is.
///
/// ```text
///        digits       ext            data         CR  LF
///  Size ───┬────┬──► Extension ─┐
///    ▲     │    │               │
///    │     │    └─► Blank ──────┤
///    │     └────────────────────┴─► SizeLf ──► Data ──► DataCr ──► DataLf ─┐
///    │                                │ size 0                             │
///    │                                └──► Trailers ──► Over               │
///    └─────────────────────────────────────────────────────────────────────┘
/// ```
///
/// Every byte of a chunk's line is consumed as it is seen, so lines that come byte by byte cost no more than others.
#[derive(Debug)]
pub(crate) struct Chunks {
    state: ChunkState,
    /// Of the current chunk: its size while that is read, then what is left of it.
    left: u64,
    /// Hexadecimal digits seen of the size.
    digits: u8,
    /// Bytes of extensions in this chunk and in all so far.
    extension: u32,
    extensions: u32,
    trailers: LineScanner,
    nominated: NominatedTrailers,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ChunkState {
    Size,
    /// Blanks between size and extension: allowed only if an extension follows (RFC 9112 section 7.1.1).
    Blank,
    Extension,
    SizeLf,
    Data,
    DataCr,
    DataLf,
    Trailers,
    Over,
}

impl Chunks {
    pub(crate) fn new(nominated: NominatedTrailers) -> Self {
        Self {
            state: ChunkState::Size,
            left: 0,
            digits: 0,
            extension: 0,
            extensions: 0,
            trailers: LineScanner::default(),
            nominated,
        }
    }

    fn decode<H, S: FieldSink>(
        &mut self,
        input: &[u8],
        limits: &Limits,
        sink: &mut S,
    ) -> Result<(usize, Event<H>), DecodeError> {
        let mut at = 0;
        loop {
            match self.state {
                ChunkState::Data => {
                    let given = data(input, at, &mut self.left);
                    if self.left == 0 {
                        self.state = ChunkState::DataCr;
                    }
                    return Ok(given);
                }
                ChunkState::Trailers => return self.decode_trailers(input, at, limits, sink),
                ChunkState::Over => return Ok((at, Event::End)),
                _ => {}
            }
            let Some(&byte) = input.get(at) else {
                return Ok((at, Event::NeedMore));
            };
            self.step(byte, limits)?;
            at += 1;
        }
    }

    /// Takes one byte outside of data and trailers.
    fn step(&mut self, byte: u8, limits: &Limits) -> Result<(), DecodeError> {
        self.state = match (self.state, byte) {
            (ChunkState::Size, b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') => {
                self.add_digit(byte)?;
                ChunkState::Size
            }
            (ChunkState::Size, b' ' | b'\t') if self.digits > 0 => {
                self.count_extension(limits)?;
                ChunkState::Blank
            }
            (ChunkState::Blank, b' ' | b'\t') => {
                self.count_extension(limits)?;
                ChunkState::Blank
            }
            (ChunkState::Size | ChunkState::Blank, b';') if self.digits > 0 => {
                self.count_extension(limits)?;
                ChunkState::Extension
            }
            (ChunkState::Size | ChunkState::Extension, b'\r') if self.digits > 0 => {
                ChunkState::SizeLf
            }
            (ChunkState::Size | ChunkState::Blank | ChunkState::Extension, b'\n') => {
                return Err(DecodeError::BareLf);
            }
            (ChunkState::Size | ChunkState::Blank, _) => {
                return Err(DecodeError::ChunkSize { byte });
            }
            (ChunkState::Extension, b'\t' | b' '..=b'~' | 0x80..) => {
                self.count_extension(limits)?;
                ChunkState::Extension
            }
            (ChunkState::Extension, _) => return Err(DecodeError::ChunkExtension { byte }),
            (ChunkState::SizeLf, b'\n') => self.begin_data(),
            (ChunkState::SizeLf, _) => return Err(DecodeError::BareCr),
            (ChunkState::DataCr, b'\r') => ChunkState::DataLf,
            (ChunkState::DataLf, b'\n') => ChunkState::Size,
            (ChunkState::DataCr | ChunkState::DataLf, _) => {
                return Err(DecodeError::ChunkEnd { byte });
            }
            (state @ (ChunkState::Data | ChunkState::Trailers | ChunkState::Over), _) => state,
        };
        Ok(())
    }

    fn add_digit(&mut self, byte: u8) -> Result<(), DecodeError> {
        let digit = char::from(byte).to_digit(16).unwrap_or_default();
        self.left = (self.left << 4) | u64::from(digit);
        self.digits += 1;
        if self.digits > 16 || i64::try_from(self.left).is_err() {
            return Err(DecodeError::ChunkSizeTooLarge);
        }
        Ok(())
    }

    fn count_extension(&mut self, limits: &Limits) -> Result<(), DecodeError> {
        self.extension = self.extension.saturating_add(1);
        self.extensions = self.extensions.saturating_add(1);
        let limit = if self.extension > u32::from(limits.chunk_extension) {
            u32::from(limits.chunk_extension)
        } else if self.extensions > limits.chunk_extensions {
            limits.chunk_extensions
        } else {
            return Ok(());
        };
        Err(DecodeError::ChunkExtensionTooLong { limit })
    }

    fn begin_data(&mut self) -> ChunkState {
        self.digits = 0;
        self.extension = 0;
        if self.left == 0 {
            ChunkState::Trailers
        } else {
            ChunkState::Data
        }
    }

    /// RFC 9112 section 7.1.2. Trailers that frame or route the message, or speak to the next hop, are refused and
    /// not dropped: no honest sender has them (RFC 9110 section 6.5.1 forbids them), and whoever merges trailers
    /// into the head behind us would be fooled.
    fn decode_trailers<H, S: FieldSink>(
        &mut self,
        input: &[u8],
        at: usize,
        limits: &Limits,
        sink: &mut S,
    ) -> Result<(usize, Event<H>), DecodeError> {
        let block = input.get(at..).unwrap_or_default();
        let Some(length) = self.trailers.scan(block, StartLine::None, limits)? else {
            return Ok((at, Event::NeedMore));
        };
        let block = block.get(..length).unwrap_or_default();
        let lines = || {
            block
                .split(|&byte| byte == b'\n')
                .filter_map(|line| line.strip_suffix(b"\r"))
                .filter(|line| !line.is_empty())
        };
        for line in lines() {
            let (name, _) = field_line(line)?;
            if Known::of(name).is_forbidden_in_trailers() {
                return Err(DecodeError::TrailerForbidden);
            }
        }
        let mut any = false;
        for line in lines() {
            let (name, value) = field_line(line)?;
            any = true;
            sink.field(Field {
                name: Span::locate(name, input),
                value: Span::locate(value, input),
                known: Known::of(name),
                hop_by_hop: self.nominated.contains(name),
            });
        }
        self.state = ChunkState::Over;
        let event = if any { Event::Trailers } else { Event::End };
        Ok((at + length, event))
    }
}

/// All that `input` holds, where nothing but the end of the connection ends the body.
pub(crate) fn endless<H>(input: &[u8]) -> (usize, Event<H>) {
    let mut left = u64::MAX;
    data(input, 0, &mut left)
}

/// What `input` holds from `at` on, at most `left` bytes.
fn data<H>(input: &[u8], at: usize, left: &mut u64) -> (usize, Event<H>) {
    let here = input.len().saturating_sub(at);
    // A span counts in 32 bits; the rest comes with the next call.
    let length = u32::try_from(here).unwrap_or(u32::MAX);
    let length = u32::try_from(*left).unwrap_or(u32::MAX).min(length);
    match u32::try_from(at) {
        Ok(start) if length > 0 => {
            *left -= u64::from(length);
            let span = Span { start, len: length };
            (at + length as usize, Event::Data(span))
        }
        _ => (at, Event::NeedMore),
    }
}
