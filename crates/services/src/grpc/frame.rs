//! Messages on the wire: a byte for compression, four for the length, the message (gRPC over HTTP/2, "Length-Prefixed-Message").

use bytes::{Buf, BufMut, Bytes, BytesMut};
use prost::Message;

use super::status::{Code, Status};

const PREFIX: usize = 5;

/// A message as it goes out.
pub fn frame(message: &impl Message) -> Bytes {
    let len = message.encoded_len();
    let mut buffer = BytesMut::with_capacity(PREFIX + len);
    buffer.put_u8(0);
    buffer.put_u32(u32::try_from(len).unwrap_or(u32::MAX));
    // The buffer grows as needed: there is always room.
    message.encode_raw(&mut buffer);
    buffer.freeze()
}

/// Cuts what comes in into messages.
#[derive(Debug)]
pub(super) struct Reader {
    /// Whole messages lie here as they were received.
    ready: Bytes,
    /// A message of which a part is missing.
    partial: BytesMut,
    limit: usize,
}

impl Reader {
    /// A reader that refuses messages of more than `limit` bytes.
    pub(super) fn new(limit: usize) -> Self {
        Self {
            ready: Bytes::new(),
            partial: BytesMut::new(),
            limit,
        }
    }

    pub(super) fn push(&mut self, data: Bytes) {
        if self.partial.is_empty() && self.ready.is_empty() {
            self.ready = data;
            return;
        }
        if !self.ready.is_empty() {
            // The caller takes all messages before it brings more, so this is rare.
            self.partial.extend_from_slice(&self.ready);
            self.ready = Bytes::new();
        }
        self.partial.extend_from_slice(&data);
    }

    /// The next message, if it has come whole.
    pub(super) fn next(&mut self) -> Result<Option<Bytes>, Status> {
        if self.partial.is_empty() {
            let Some(len) = self.message_len(&self.ready)? else {
                return Ok(None);
            };
            if self.ready.len() >= PREFIX + len {
                self.ready.advance(PREFIX);
                return Ok(Some(self.ready.split_to(len)));
            }
            self.partial.reserve(PREFIX + len);
            self.partial.extend_from_slice(&self.ready);
            self.ready = Bytes::new();
            return Ok(None);
        }
        let Some(len) = self.message_len(&self.partial)? else {
            return Ok(None);
        };
        if self.partial.len() < PREFIX + len {
            self.partial.reserve(PREFIX + len - self.partial.len());
            return Ok(None);
        }
        self.partial.advance(PREFIX);
        Ok(Some(self.partial.split_to(len).freeze()))
    }

    /// Whether the call may end here.
    pub(super) fn is_between_messages(&self) -> bool {
        self.ready.is_empty() && self.partial.is_empty()
    }

    fn message_len(&self, data: &[u8]) -> Result<Option<usize>, Status> {
        let Some((prefix, _)) = data.split_first_chunk::<PREFIX>() else {
            return Ok(None);
        };
        let [compressed, length @ ..] = *prefix;
        if compressed != 0 {
            return Err(Status::new(
                Code::Internal,
                "the server sent a compressed message, which was not offered",
            ));
        }
        let len = u32::from_be_bytes(length) as usize;
        if len > self.limit {
            return Err(Status::new(
                Code::ResourceExhausted,
                format!(
                    "the server sent a message of {len} bytes; max_message allows {}",
                    self.limit
                ),
            ));
        }
        Ok(Some(len))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(bodies: &[&[u8]]) -> Vec<u8> {
        let mut all = Vec::new();
        for body in bodies {
            all.push(0);
            all.extend_from_slice(&(body.len() as u32).to_be_bytes());
            all.extend_from_slice(body);
        }
        all
    }

    #[test]
    fn any_cut_gives_the_same_messages() {
        let wire = encoded(&[b"one", b"", b"three"]);
        for size in 1..=wire.len() {
            let mut reader = Reader::new(5);
            let mut seen = Vec::new();
            for piece in wire.chunks(size) {
                reader.push(Bytes::copy_from_slice(piece));
                while let Some(message) = reader.next().unwrap() {
                    seen.push(message);
                }
            }
            assert_eq!(seen, [&b"one"[..], b"", b"three"], "pieces of {size}");
            assert!(reader.is_between_messages());
        }
    }

    #[test]
    fn long_and_compressed_messages_are_refused_by_their_prefix() {
        let mut reader = Reader::new(4);
        reader.push(Bytes::from(encoded(&[b"12345"])));
        assert_eq!(reader.next().unwrap_err().code, Code::ResourceExhausted);
        let mut reader = Reader::new(4);
        reader.push(Bytes::from_static(&[1, 0, 0, 0, 1]));
        assert_eq!(reader.next().unwrap_err().code, Code::Internal);
    }
}
