//! What our codec makes of all the bytes of a connection, as a server would.

use transom_http1::{DecodeError, Event, Field, Limits, RequestDecoder, RequestHead};

/// A request that was accepted with all of its body.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Accepted {
    pub(crate) method: String,
    pub(crate) target: String,
    /// Names in lower case, sorted.
    pub(crate) fields: Vec<(String, Vec<u8>)>,
    pub(crate) body: Vec<u8>,
    /// As `fields`.
    pub(crate) trailers: Vec<(String, Vec<u8>)>,
}

/// All requests up to the first that closes the connection, asks for a tunnel or is refused, and why it is refused.
pub(crate) fn accepted(mut input: &[u8]) -> (Vec<Accepted>, Option<DecodeError>) {
    let mut decoder = RequestDecoder::new(Limits::default());
    let mut all = Vec::new();
    let mut request = Accepted::default();
    let mut last = false;
    loop {
        let mut fields = Vec::new();
        let (consumed, event) = match decoder.decode(input, &mut fields) {
            Ok(decoded) => decoded,
            Err(error) => return (all, Some(error)),
        };
        let over = match &event {
            Event::Head(head) => {
                request = begun(head, &fields, input);
                last = !head.keep_alive || head.connect;
                head.end
            }
            Event::Data(data) => {
                request.body.extend_from_slice(data.of(input));
                false
            }
            Event::Trailers => {
                request.trailers = readable(&fields, input);
                false
            }
            Event::End => true,
            Event::Interim(_) => unreachable!("requests have no interim heads"),
            Event::NeedMore => return (all, decoder.eof().err()),
        };
        input = &input[consumed..];
        if over {
            all.push(std::mem::take(&mut request));
            if last {
                return (all, None);
            }
            // The server does not switch protocols.
            decoder.proceed();
        }
    }
}

fn begun(head: &RequestHead, fields: &[Field], input: &[u8]) -> Accepted {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Accepted {
        method: text(head.method.of(input)),
        target: text(head.target.of(input)),
        fields: readable(fields, input),
        ..Accepted::default()
    }
}

fn readable(fields: &[Field], input: &[u8]) -> Vec<(String, Vec<u8>)> {
    let mut readable: Vec<_> = fields
        .iter()
        .map(|field| {
            let name = String::from_utf8_lossy(field.name.of(input)).to_ascii_lowercase();
            (name, field.value.of(input).to_vec())
        })
        .collect();
    readable.sort();
    readable
}
