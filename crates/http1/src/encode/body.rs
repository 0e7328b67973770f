//! Bodies, held to what their heads promised.

use crate::encode::{restore_on_error, write_field};
use crate::error::EncodeError;
use crate::event::Framing;
use crate::field::Known;

/// Frames the body of one message and counts it.
///
/// Small data is copied with [`BodyEncoder::data`]. Big data stays where it is for a vectored write:
/// [`BodyEncoder::begin_chunk`] appends what goes before it, [`BodyEncoder::end_chunk`] what goes behind. With a length
/// or until close these append nothing and only count, so the caller need not know which framing it is.
#[derive(Debug)]
#[must_use = "a body has to be finished"]
pub struct BodyEncoder {
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// So many bytes are still promised.
    Length(u64),
    Chunked,
    /// A chunk was begun whose end is still to be written.
    InChunk,
    UntilClose,
    Tunnel,
    Finished,
}

impl BodyEncoder {
    pub(crate) fn new(framing: Framing) -> Self {
        let state = match framing {
            Framing::None => State::Length(0),
            Framing::Length(length) => State::Length(length),
            Framing::Chunked => State::Chunked,
            Framing::UntilClose => State::UntilClose,
        };
        Self { state }
    }

    pub(crate) fn tunnel() -> Self {
        Self {
            state: State::Tunnel,
        }
    }

    /// Appends `data` as body. Empty data appends nothing.
    ///
    /// # Errors
    /// [`EncodeError::BodyTooLong`] when it is more than was promised, [`EncodeError::Order`] after the end; then
    /// nothing is appended.
    pub fn data(&mut self, out: &mut Vec<u8>, data: &[u8]) -> Result<(), EncodeError> {
        self.begin_chunk(out, data.len() as u64)?;
        out.extend_from_slice(data);
        self.end_chunk(out);
        Ok(())
    }

    /// Appends what goes before `length` bytes of body, which the caller sends itself.
    ///
    /// # Errors
    /// As [`BodyEncoder::data`].
    pub fn begin_chunk(&mut self, out: &mut Vec<u8>, length: u64) -> Result<(), EncodeError> {
        match &mut self.state {
            State::Finished | State::InChunk => return Err(EncodeError::Order),
            State::Length(left) => {
                *left = left.checked_sub(length).ok_or(EncodeError::BodyTooLong {
                    excess: length.saturating_sub(*left),
                })?;
            }
            // A chunk of nothing would be the end (RFC 9112 section 7.1).
            State::Chunked if length > 0 => {
                write_hexadecimal(out, length);
                out.extend_from_slice(b"\r\n");
                self.state = State::InChunk;
            }
            State::Chunked | State::UntilClose | State::Tunnel => {}
        }
        Ok(())
    }

    /// Appends what goes behind the bytes of [`BodyEncoder::begin_chunk`].
    pub fn end_chunk(&mut self, out: &mut Vec<u8>) {
        if self.state == State::InChunk {
            out.extend_from_slice(b"\r\n");
            self.state = State::Chunked;
        }
    }

    /// Ends the body. Trailers are written where there are chunks, and else dropped, as RFC 9110 section 6.5.1 has it;
    /// those that frame or route the message or are for one hop only are passed over.
    ///
    /// # Errors
    /// [`EncodeError::BodyTooShort`] when less was written than was promised: the connection has to be closed, so that
    /// the peer sees it too. [`EncodeError::Order`] when it is over already or within a chunk. A trailer may have
    /// a bad name or value. Then nothing is appended.
    pub fn finish<'f>(
        &mut self,
        out: &mut Vec<u8>,
        trailers: impl IntoIterator<Item = (&'f [u8], &'f [u8])>,
    ) -> Result<(), EncodeError> {
        match self.state {
            State::Finished | State::InChunk => return Err(EncodeError::Order),
            State::Length(0) | State::UntilClose | State::Tunnel => {}
            State::Length(missing) => return Err(EncodeError::BodyTooShort { missing }),
            State::Chunked => restore_on_error(out, |out| {
                out.extend_from_slice(b"0\r\n");
                for (name, value) in trailers {
                    if !Known::of(name).is_forbidden_in_trailers() {
                        write_field(out, name, value)?;
                    }
                }
                out.extend_from_slice(b"\r\n");
                Ok(())
            })?,
        }
        self.state = State::Finished;
        Ok(())
    }

    /// The server has switched: what follows the request is the tunnel's. For a request with Upgrade whose body is over, and
    /// for CONNECT, which is a tunnel's head from the start.
    ///
    /// # Errors
    /// [`EncodeError::Order`] while the request's own body is not over.
    pub fn switch(&mut self) -> Result<(), EncodeError> {
        match self.state {
            State::Tunnel => Ok(()),
            State::Length(0) => {
                self.state = State::Tunnel;
                Ok(())
            }
            _ => Err(EncodeError::Order),
        }
    }

    /// Whether trailers would be written.
    pub fn takes_trailers(&self) -> bool {
        matches!(self.state, State::Chunked | State::InChunk)
    }

    /// Whether only closing the connection tells the peer that the body is over.
    pub fn lasts_until_close(&self) -> bool {
        matches!(self.state, State::UntilClose | State::Tunnel)
    }

    /// How many bytes are still promised, where a length was.
    pub fn remaining(&self) -> Option<u64> {
        match self.state {
            State::Length(left) => Some(left),
            _ => None,
        }
    }

    /// Whether the body is over: finished, or all promised bytes are written.
    pub fn is_over(&self) -> bool {
        matches!(self.state, State::Length(0) | State::Finished)
    }
}

fn write_hexadecimal(out: &mut Vec<u8>, value: u64) {
    let digits = (u64::BITS - value.leading_zeros()).div_ceil(4).max(1);
    for place in (0..digits).rev() {
        let digit = (value >> (place * 4)) as u32 & 0xf;
        out.push(char::from_digit(digit, 16).unwrap_or('0') as u8);
    }
}
