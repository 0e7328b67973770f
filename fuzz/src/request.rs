//! Requests.

use transom_http1::encode::{self, Connection};
use transom_http1::{
    DecodeError, Event, Field, Framing, Limits, RequestDecoder, RequestHead, Version,
};

use crate::{Input, OwnedField, as_slices, forwarded, without};

/// What came of the bytes of a connection.
#[derive(Debug, Default, PartialEq)]
pub struct Decoded {
    pub messages: Vec<Message>,
    error: Option<DecodeError>,
    left: usize,
}

/// A request, whole if `over`.
#[derive(Debug, PartialEq)]
pub struct Message {
    method: Vec<u8>,
    path: Vec<u8>,
    authority: Option<Vec<u8>>,
    framing: Framing,
    connect: bool,
    fields: Vec<OwnedField>,
    data: Vec<u8>,
    trailers: Vec<OwnedField>,
    over: bool,
}

pub fn decode(pieces: &[&[u8]], input: &Input<'_>) -> Decoded {
    let mut decoder = RequestDecoder::new(input.limits());
    let mut decoded = Decoded::default();
    let mut buffer = Vec::new();
    for piece in pieces {
        buffer.extend_from_slice(piece);
        loop {
            let mut fields: Vec<Field> = Vec::new();
            let (consumed, event) = match decoder.decode(&buffer, &mut fields) {
                Ok(step) => step,
                Err(error) => {
                    assert!(fields.is_empty(), "a head in error gives no field");
                    decoded.error = Some(error);
                    return decoded;
                }
            };
            let waits = event == Event::NeedMore;
            decoded.take(&event, &fields, &buffer);
            if decoder.is_held() {
                if input.switches() {
                    decoder.tunnel();
                } else {
                    decoder.proceed();
                }
            }
            buffer.drain(..consumed);
            if waits {
                break;
            }
        }
    }
    decoded.error = decoder.eof().err();
    decoded.left = buffer.len();
    decoded
}

impl Decoded {
    fn take(&mut self, event: &Event<RequestHead>, fields: &[Field], buffer: &[u8]) {
        match event {
            Event::Head(head) => {
                let authority = head.authority.map(|span| span.of(buffer).to_vec());
                self.messages.push(Message {
                    method: head.method.of(buffer).to_vec(),
                    path: path_of(head, buffer),
                    authority,
                    framing: head.framing,
                    connect: head.connect,
                    fields: forwarded(fields, buffer),
                    data: Vec::new(),
                    trailers: Vec::new(),
                    over: head.end,
                });
            }
            Event::Data(span) => {
                assert!(!span.is_empty(), "empty data");
                let message = self.messages.last_mut().expect("data is behind a head");
                // The bytes of a tunnel belong to no message.
                if !message.over {
                    message.data.extend_from_slice(span.of(buffer));
                }
            }
            Event::Trailers => {
                let message = self
                    .messages
                    .last_mut()
                    .expect("trailers are behind a head");
                message.trailers = forwarded(fields, buffer);
            }
            Event::End => {
                let message = self.messages.last_mut().expect("an end is behind a head");
                message.over = true;
            }
            Event::NeedMore => {}
            Event::Interim(_) => panic!("requests have no interim heads"),
        }
    }
}

/// What a proxy writes as the target.
fn path_of(head: &RequestHead, buffer: &[u8]) -> Vec<u8> {
    match head.path.of(buffer) {
        b"" if head.target.of(buffer) == b"*" => b"*".to_vec(),
        b"" => b"/".to_vec(),
        path if path.starts_with(b"/") => path.to_vec(),
        query => [b"/", query].concat(),
    }
}

/// Writes the message for the next hop and reads it again.
pub fn check_forwarded(message: &Message) {
    // A proxy makes no tunnel of a CONNECT, and gives a host to a request of HTTP/1.0 without one.
    if message.connect || !message.over {
        return;
    }
    let host = message.authority.as_deref().unwrap_or(b"localhost");
    let fields = without(&message.fields, &["host"]);
    let head = encode::Request {
        method: &message.method,
        target: &message.path,
        version: Version::Http11,
        framing: message.framing,
        connection: Connection::Default,
    };
    let mut out = Vec::new();
    let all = std::iter::once((&b"Host"[..], host)).chain(as_slices(&fields));
    let mut body =
        encode::request_head(&mut out, &head, all).expect("what was accepted can be written");
    for piece in message.data.chunks(7) {
        body.data(&mut out, piece)
            .expect("data is as long as it was promised");
    }
    body.finish(&mut out, as_slices(&message.trailers))
        .expect("and so is its end");

    // A proxy may write a little more than it read.
    let limits = Limits {
        head: u32::MAX >> 8,
        fields: Limits::MOST_FIELDS,
        request_line: u32::MAX >> 8,
        ..Limits::default()
    };
    let again = decode_again(&out, limits);
    assert_eq!(again.error, None, "{}", out.escape_ascii());
    assert_eq!(
        (again.messages.len(), again.left),
        (1, 0),
        "{}",
        out.escape_ascii()
    );
    let seen = &again.messages[0];
    assert!(seen.over, "{}", out.escape_ascii());
    assert_eq!(
        (
            &seen.method,
            &seen.path,
            seen.authority.as_deref(),
            seen.framing
        ),
        (&message.method, &message.path, Some(host), message.framing),
    );
    assert_eq!(
        without(&seen.fields, &["host", "content-length"]),
        without(&fields, &["content-length"])
    );
    assert_eq!(seen.data, message.data);
    assert_eq!(
        seen.trailers,
        without(&message.trailers, &["expect", "trailer"])
    );
}

fn decode_again(bytes: &[u8], limits: Limits) -> Decoded {
    let mut decoder = RequestDecoder::new(limits);
    let mut decoded = Decoded::default();
    let mut rest = bytes;
    loop {
        let mut fields: Vec<Field> = Vec::new();
        match decoder.decode(rest, &mut fields) {
            Err(error) => decoded.error = Some(error),
            Ok((consumed, event)) => {
                decoded.take(&event, &fields, rest);
                rest = &rest[consumed..];
                if event != Event::NeedMore {
                    continue;
                }
                decoded.error = decoder.eof().err();
                decoded.left = rest.len();
            }
        }
        return decoded;
    }
}
