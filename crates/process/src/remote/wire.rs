//! Messages to a plugin, written straight into the buffer that leaves: no message is built first, and nothing is allocated for one.
//!
//! Lengths of nested messages take four bytes whatever they are, so that they can be filled in when the message is there. Protobuf reads
//! such numbers like any other.

use bytes::{BufMut, Bytes, BytesMut};
use transom_api::{Attribute, Body, CalloutError, CalloutResponse, Direction, ResetReason};

use crate::v1;

/// The longest length that four bytes of seven bits hold.
const LONGEST: usize = (1 << 28) - 1;

/// A message of gRPC that is being written.
pub(super) struct Message<'b>(&'b mut BytesMut);

/// Writes one message, with gRPC's five bytes before it (PROTOCOL-HTTP2: a flag for compression, and the length).
pub(super) fn message(
    buffer: &mut BytesMut,
    stream: u64,
    callback: u64,
    write: impl FnOnce(&mut Message<'_>),
) {
    let start = buffer.len();
    buffer.put_bytes(0, 5);
    let mut message = Message(buffer);
    message.number(1, stream);
    message.number(2, callback);
    write(&mut message);
    let length = u32::try_from(buffer.len() - start - 5).unwrap_or(u32::MAX);
    if let Some(place) = buffer.get_mut(start + 1..start + 5) {
        place.copy_from_slice(&length.to_be_bytes());
    }
}

/// A part of a message, for one that is put together later.
pub(super) fn piece(write: impl FnOnce(&mut Message<'_>)) -> Bytes {
    let mut buffer = BytesMut::new();
    write(&mut Message(&mut buffer));
    buffer.freeze()
}

/// Numbers of the fields of `LogBatch` and what is in it. Its first field is where other messages have their stream.
pub(super) mod log {
    pub(in crate::remote) const ENTRIES: u32 = 2;
    pub(in crate::remote) const LOST: u32 = 4;
    /// Of a `ValueMap`.
    pub(in crate::remote) const VALUES: u32 = 1;
}

/// Numbers of the fields of `ToPlugin`'s messages.
pub(super) mod field {
    pub(in crate::remote) const HELLO: u32 = 3;
    pub(in crate::remote) const CREDIT: u32 = 4;
    pub(in crate::remote) const STREAM_BEGIN: u32 = 5;
    pub(in crate::remote) const HEADERS: u32 = 6;
    pub(in crate::remote) const DATA: u32 = 7;
    pub(in crate::remote) const TRAILERS: u32 = 8;
    pub(in crate::remote) const COMPLETE: u32 = 9;
    pub(in crate::remote) const CONNECTION_BEGIN: u32 = 10;
    pub(in crate::remote) const BYTES: u32 = 11;
    pub(in crate::remote) const CLOSED: u32 = 12;
    pub(in crate::remote) const EVENT: u32 = 13;
    pub(in crate::remote) const GONE: u32 = 14;
}

impl Message<'_> {
    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.put_u8(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.put_u8(value as u8);
    }

    fn key(&mut self, field: u32, wire: u32) {
        self.varint(u64::from(field << 3 | wire));
    }

    /// A number that is left out when it is 0.
    pub(super) fn number(&mut self, field: u32, value: u64) {
        if value != 0 {
            self.key(field, 0);
            self.varint(value);
        }
    }

    /// The same for a field that tells 0 from nothing.
    fn some_number(&mut self, field: u32, value: u64) {
        self.key(field, 0);
        self.varint(value);
    }

    pub(super) fn bytes(&mut self, field: u32, value: &[u8]) {
        self.key(field, 2);
        self.varint(value.len() as u64);
        self.0.put_slice(value);
    }

    /// Bytes that are left out when there are none.
    fn some_bytes(&mut self, field: u32, value: &[u8]) {
        if !value.is_empty() {
            self.bytes(field, value);
        }
    }

    /// A nested message.
    pub(super) fn nested(&mut self, field: u32, write: impl FnOnce(&mut Message<'_>)) {
        self.key(field, 2);
        let start = self.0.len();
        self.0.put_bytes(0, 4);
        write(&mut Message(self.0));
        // Above it the plugin cannot read the message; nobody lets one grow so far.
        let length = (self.0.len() - start - 4).min(LONGEST);
        let seven = |shift: u32| (length >> shift) as u8 & 0x7f;
        if let Some(place) = self.0.get_mut(start..start + 4) {
            place.copy_from_slice(&[
                seven(0) | 0x80,
                seven(7) | 0x80,
                seven(14) | 0x80,
                seven(21),
            ]);
        }
    }

    /// A header field.
    pub(super) fn header(&mut self, field: u32, name: &[u8], value: &[u8]) {
        self.nested(field, |it| {
            it.bytes(1, name);
            it.bytes(2, value);
        });
    }

    /// What is shown of a body, from `from` on; `length` bytes.
    pub(super) fn body(&mut self, field: u32, body: Body<'_>, from: usize, length: usize) {
        if length == 0 {
            return;
        }
        self.key(field, 2);
        self.varint(length as u64);
        let mut skip = from;
        let mut left = length;
        for chunk in body.chunks() {
            let chunk = chunk.get(skip..).unwrap_or_else(|| {
                skip -= chunk.len();
                &[]
            });
            if !chunk.is_empty() {
                skip = 0;
            }
            let piece = chunk.get(..left).unwrap_or(chunk);
            self.0.put_slice(piece);
            left -= piece.len();
        }
    }

    pub(super) fn direction(&mut self, direction: Direction) {
        self.number(1, direction as u64);
    }

    /// An entry of a map from names to attributes.
    pub(super) fn attribute(&mut self, field: u32, name: &str, value: &Attribute<'_>) {
        self.nested(field, |entry| {
            entry.bytes(1, name.as_bytes());
            entry.nested(2, |it| it.value(value));
        });
    }

    /// What [`piece`] has made.
    pub(super) fn raw(&mut self, piece: &[u8]) {
        self.0.put_slice(piece);
    }

    /// An entry of a map from names to values, whose value is a map.
    pub(super) fn fields(&mut self, field: u32, name: &str, write: impl FnOnce(&mut Message<'_>)) {
        self.nested(field, |entry| {
            entry.bytes(1, name.as_bytes());
            entry.nested(2, |value| value.nested(7, write));
        });
    }

    /// A `Value`.
    pub(super) fn value(&mut self, value: &Attribute<'_>) {
        match value {
            Attribute::Bool(value) => self.some_number(1, u64::from(*value)),
            Attribute::Int(value) => self.some_number(2, zigzag(*value)),
            Attribute::Bytes(bytes) => match std::str::from_utf8(bytes) {
                Ok(text) => self.bytes(4, text.as_bytes()),
                Err(_) => self.bytes(5, bytes),
            },
            Attribute::Time(time) => {
                let since = time.duration_since(std::time::SystemTime::UNIX_EPOCH);
                self.double(3, since.unwrap_or_default().as_secs_f64());
            }
            Attribute::Duration(duration) => self.double(3, duration.as_secs_f64()),
        }
    }

    fn double(&mut self, field: u32, value: f64) {
        self.key(field, 1);
        self.0.put_f64_le(value);
    }

    /// A number that is there or not, as of an `optional` enum.
    pub(super) fn optional(&mut self, field: u32, value: Option<u64>) {
        if let Some(value) = value {
            self.some_number(field, value);
        }
    }

    /// A `CalloutDone`.
    pub(super) fn callout(
        &mut self,
        field: u32,
        number: u64,
        result: &Result<CalloutResponse, CalloutError>,
    ) {
        self.nested(field, |done| {
            done.number(1, number);
            match result {
                Ok(response) => done.nested(2, |it| {
                    for (name, value) in &response.headers {
                        it.header(1, name, value);
                    }
                    it.some_bytes(2, &response.body);
                    for (name, value) in &response.trailers {
                        it.header(3, name, value);
                    }
                }),
                Err(error) => done.some_number(3, callout_error(error) as u64),
            }
        });
    }

    /// A `SharedResult`.
    pub(super) fn shared(&mut self, field: u32, key: &str, result: &Shared) {
        self.nested(field, |it| {
            it.bytes(1, key.as_bytes());
            if let Some((value, version)) = &result.value {
                it.bytes(2, value);
                it.number(3, u64::from(*version));
            }
            it.number(4, u64::from(result.done));
        });
    }
}

/// What became of a look at shared data, or of a change.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Shared {
    pub(super) value: Option<(Vec<u8>, u32)>,
    pub(super) done: bool,
}

fn zigzag(value: i64) -> u64 {
    (value << 1 ^ value >> 63) as u64
}

/// The number of a reason on the wire.
pub(super) fn reason(reason: ResetReason) -> v1::ResetReason {
    match reason {
        ResetReason::Downstream => v1::ResetReason::Downstream,
        ResetReason::Upstream => v1::ResetReason::Upstream,
        ResetReason::Timeout => v1::ResetReason::Timeout,
        _ => v1::ResetReason::Local,
    }
}

fn callout_error(error: &CalloutError) -> v1::CalloutError {
    match error {
        CalloutError::NotAllowed => v1::CalloutError::NotAllowed,
        CalloutError::NoCluster => v1::CalloutError::NoCluster,
        CalloutError::Unsupported => v1::CalloutError::Unsupported,
        CalloutError::BadRequest => v1::CalloutError::BadRequest,
        CalloutError::Unavailable => v1::CalloutError::Unavailable,
        CalloutError::Timeout => v1::CalloutError::CalloutTimeout,
        CalloutError::Reset => v1::CalloutError::Reset,
        CalloutError::TooLarge => v1::CalloutError::TooLarge,
        _ => v1::CalloutError::Unspecified,
    }
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;
    use std::time::Duration;

    use prost::Message as _;

    use super::*;
    use crate::v1::{ToPlugin, to_plugin, value};

    fn read(buffer: &BytesMut) -> ToPlugin {
        let length = u32::from_be_bytes(buffer[1..5].try_into().unwrap());
        assert_eq!(buffer[0], 0);
        assert_eq!(length as usize, buffer.len() - 5);
        ToPlugin::decode(&buffer[5..]).unwrap()
    }

    #[test]
    fn what_is_written_is_what_the_proto_says() {
        let mut buffer = BytesMut::new();
        message(&mut buffer, 7, 300, |it| {
            it.nested(field::HEADERS, |it| {
                it.direction(Direction::Response);
                it.header(2, b":status", b"200");
                it.header(2, b"x", &[0xff]);
                it.number(3, 1);
                it.nested(4, |it| {
                    it.number(1, 9);
                    it.attribute(2, "i", &Attribute::Int(-3));
                    it.attribute(2, "b", &Attribute::Bool(false));
                    it.attribute(2, "t", &Attribute::Bytes(Cow::Borrowed(b"text")));
                    it.attribute(2, "r", &Attribute::Bytes(Cow::Borrowed(&[0xff])));
                    it.attribute(2, "d", &Attribute::Duration(Duration::from_millis(1500)));
                    it.bytes(3, b"{}");
                });
            });
        });
        let read = read(&buffer);
        assert_eq!((read.stream, read.callback), (7, 300));
        let Some(to_plugin::Message::Headers(headers)) = read.message else {
            panic!("no headers");
        };
        assert_eq!(headers.direction, v1::Direction::Response as i32);
        assert_eq!(headers.fields[0].name, b":status");
        assert_eq!(headers.fields[1].value, [0xff]);
        assert!(headers.end);
        let begin = headers.begin.unwrap();
        assert_eq!((begin.use_id, begin.route_config), (9, b"{}".to_vec()));
        let kind = |name: &str| begin.attributes[name].kind.clone().unwrap();
        assert_eq!(kind("i"), value::Kind::Integer(-3));
        assert_eq!(kind("b"), value::Kind::Boolean(false));
        assert_eq!(kind("t"), value::Kind::Text("text".to_owned()));
        assert_eq!(kind("r"), value::Kind::Bytes(vec![0xff]));
        assert_eq!(kind("d"), value::Kind::Number(1.5));
    }

    #[test]
    fn events_are_what_the_proto_says() {
        let mut buffer = BytesMut::new();
        message(&mut buffer, 1, 2, |it| {
            it.nested(field::EVENT, |it| {
                it.callout(
                    2,
                    5,
                    &Ok(CalloutResponse {
                        headers: vec![(b":status".to_vec(), b"200".to_vec())],
                        body: b"body".to_vec(),
                        trailers: vec![(b"t".to_vec(), b"1".to_vec())],
                    }),
                );
            });
        });
        let Some(to_plugin::Message::Event(event)) = read(&buffer).message else {
            panic!("no event");
        };
        let Some(v1::event::Event::Callout(done)) = event.event else {
            panic!("no callout");
        };
        assert_eq!(done.callout, 5);
        let Some(v1::callout_done::Result::Response(response)) = done.result else {
            panic!("no response");
        };
        assert_eq!(response.body, b"body");
        assert_eq!(response.trailers[0].name, b"t");

        buffer.clear();
        message(&mut buffer, 1, 2, |it| {
            it.nested(field::EVENT, |it| {
                it.callout(2, 5, &Err(CalloutError::TooLarge));
            });
        });
        let Some(to_plugin::Message::Event(event)) = read(&buffer).message else {
            panic!("no event");
        };
        let Some(v1::event::Event::Callout(done)) = event.event else {
            panic!("no callout");
        };
        assert_eq!(
            done.result,
            Some(v1::callout_done::Result::Error(
                v1::CalloutError::TooLarge as i32
            ))
        );

        buffer.clear();
        let result = Shared {
            value: Some((b"v".to_vec(), 3)),
            done: true,
        };
        message(&mut buffer, 1, 2, |it| {
            it.nested(field::EVENT, |it| it.shared(4, "k", &result));
        });
        let Some(to_plugin::Message::Event(event)) = read(&buffer).message else {
            panic!("no event");
        };
        let Some(v1::event::Event::Shared(shared)) = event.event else {
            panic!("no result");
        };
        assert_eq!(shared.value.as_deref(), Some(&b"v"[..]));
        assert_eq!((shared.version, shared.done), (3, true));
    }

    /// A length of more than 127 needs its second byte, one of more than 16,383 its third.
    #[test]
    fn long_messages_keep_their_lengths() {
        for length in [0, 1, 127, 128, 16_383, 16_384, 3_000_000] {
            let mut buffer = BytesMut::new();
            message(&mut buffer, 1, 1, |it| {
                it.nested(field::DATA, |it| it.bytes(2, &vec![b'x'; length]));
            });
            let Some(to_plugin::Message::Data(data)) = read(&buffer).message else {
                panic!("no data");
            };
            assert_eq!(data.data.len(), length);
        }
    }
}
