//! Responses.

use transom_http1::encode::{self, Connection};
use transom_http1::{
    DecodeError, Eof, Event, Field, Framing, Limits, RequestKind, ResponseDecoder, ResponseHead,
    Version,
};

use crate::{Input, OwnedField, as_slices, forwarded, without};

/// What came of the bytes of a connection.
#[derive(Debug, Default, PartialEq)]
pub struct Decoded {
    pub messages: Vec<Message>,
    end: Option<Result<Eof, DecodeError>>,
    left: usize,
}

/// A response, or an interim one; whole if `over`.
#[derive(Debug, PartialEq)]
pub struct Message {
    answers: RequestKind,
    interim: bool,
    tunnel: bool,
    status: u16,
    framing: Framing,
    content_length: Option<u64>,
    fields: Vec<OwnedField>,
    data: Vec<u8>,
    trailers: Vec<OwnedField>,
    over: bool,
}

pub fn decode(pieces: &[&[u8]], input: &Input<'_>) -> Decoded {
    decode_answers(pieces, input.limits(), input.kinds())
}

fn decode_answers(
    pieces: &[&[u8]],
    limits: Limits,
    mut kinds: impl Iterator<Item = RequestKind>,
) -> Decoded {
    let mut decoder = ResponseDecoder::new(limits);
    let mut decoded = Decoded::default();
    let mut buffer = Vec::new();
    let mut answers = kinds.next().unwrap_or(RequestKind::Other);
    decoder.begin(answers);
    for piece in pieces {
        buffer.extend_from_slice(piece);
        loop {
            let mut fields: Vec<Field> = Vec::new();
            let (consumed, event) = match decoder.decode(&buffer, &mut fields) {
                Ok(step) => step,
                Err(error) => {
                    assert!(fields.is_empty(), "a head in error gives no field");
                    decoded.end = Some(Err(error));
                    return decoded;
                }
            };
            let waits = event == Event::NeedMore;
            decoded.take(answers, &event, &fields, &buffer);
            if decoder.is_idle()
                && let Some(kind) = kinds.next()
            {
                answers = kind;
                decoder.begin(kind);
            }
            buffer.drain(..consumed);
            if waits {
                break;
            }
        }
    }
    let end = decoder.eof();
    if end == Ok(Eof::End)
        && let Some(message) = decoded.messages.last_mut()
    {
        message.over = true;
    }
    decoded.end = Some(end);
    decoded.left = buffer.len();
    decoded
}

impl Decoded {
    fn take(
        &mut self,
        answers: RequestKind,
        event: &Event<ResponseHead>,
        fields: &[Field],
        buffer: &[u8],
    ) {
        match event {
            Event::Head(head) | Event::Interim(head) => {
                let interim = matches!(event, Event::Interim(_));
                self.messages.push(Message {
                    answers,
                    interim,
                    tunnel: head.tunnel,
                    status: head.status,
                    framing: head.framing,
                    content_length: head.content_length,
                    fields: forwarded(fields, buffer),
                    data: Vec::new(),
                    trailers: Vec::new(),
                    over: head.end || interim,
                });
            }
            Event::Data(span) => {
                assert!(!span.is_empty(), "empty data");
                let message = self.messages.last_mut().expect("data is behind a head");
                message.data.extend_from_slice(span.of(buffer));
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
        }
    }
}

/// Writes the message for the client and reads it again.
pub fn check_forwarded(message: &Message) {
    if message.tunnel || !message.over {
        return;
    }
    let mut out = Vec::new();
    if message.interim {
        encode::interim_head(&mut out, message.status, b"", as_slices(&message.fields))
            .expect("what was accepted can be written");
    } else {
        write(message, &mut out);
    }
    let limits = Limits {
        head: u32::MAX >> 8,
        fields: Limits::MOST_FIELDS,
        ..Limits::default()
    };
    let again = decode_answers(&[&out], limits, std::iter::once(message.answers));
    let seen = again
        .messages
        .first()
        .unwrap_or_else(|| panic!("{}", out.escape_ascii()));
    assert_eq!(
        (again.messages.len(), again.left),
        (1, 0),
        "{}",
        out.escape_ascii()
    );
    assert_eq!(
        (seen.interim, seen.status),
        (message.interim, message.status)
    );
    assert_eq!(
        without(&seen.fields, &["content-length"]),
        without(&message.fields, &["content-length"])
    );
    if message.interim {
        return;
    }
    assert!(
        matches!(again.end, Some(Ok(_))),
        "{:?} of {}",
        again.end,
        out.escape_ascii()
    );
    assert!(seen.over, "{}", out.escape_ascii());
    assert_eq!(seen.data, message.data);
    assert_eq!(
        seen.trailers,
        without(&message.trailers, &["expect", "trailer"])
    );
}

/// As the proxy's downstream end does.
fn write(message: &Message, out: &mut Vec<u8>) {
    let bodiless = message.answers == RequestKind::Head || message.status == 304;
    let framing = match message.content_length {
        Some(length) if bodiless => Framing::Length(length),
        _ => message.framing,
    };
    let connection = match framing {
        Framing::UntilClose => Connection::Close,
        _ => Connection::Default,
    };
    let head = encode::Response {
        version: Version::Http11,
        status: message.status,
        reason: b"",
        answers: message.answers,
        framing,
        connection,
    };
    let mut body = encode::response_head(out, &head, as_slices(&message.fields))
        .expect("what was accepted can be written");
    for piece in message.data.chunks(7) {
        body.data(out, piece)
            .expect("data is as long as it was promised");
    }
    body.finish(out, as_slices(&message.trailers))
        .expect("and so is its end");
}
