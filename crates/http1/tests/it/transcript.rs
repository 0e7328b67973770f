//! Runs a decoder as a connection does, and writes down what it says, a line per event or field.
//!
//! Adjacent data is one line, so two transcripts of the same bytes are equal however the bytes were cut.

use transom_http1::{
    DecodeError, Eof, Event, Field, Framing, Limits, RequestDecoder, RequestHead, RequestKind,
    ResponseDecoder, ResponseHead, Span, Version,
};

/// What came of some bytes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Transcript {
    pub(crate) lines: Vec<String>,
    pub(crate) error: Option<DecodeError>,
    /// Bytes that were not used up.
    pub(crate) left: usize,
}

impl Transcript {
    /// The heads, by their first lines.
    pub(crate) fn heads(&self) -> Vec<&str> {
        let heads = self
            .lines
            .iter()
            .filter_map(|line| line.strip_prefix("head "));
        heads.collect()
    }
}

/// What the server does with a request that the decoder stops after.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Wait,
    Proceed,
    Tunnel,
}

/// Decodes requests that come in these pieces.
pub(crate) fn requests(pieces: &[&[u8]], limits: Limits, answer: Answer) -> Transcript {
    let mut decoder = RequestDecoder::new(limits);
    let mut log = Log::default();
    for piece in pieces {
        log.buffer.extend_from_slice(piece);
        loop {
            let mut fields: Vec<Field> = Vec::new();
            match decoder.decode(&log.buffer, &mut fields) {
                Err(error) => {
                    assert!(fields.is_empty(), "a head in error gives no field");
                    let again = decoder.decode(&log.buffer, &mut fields);
                    assert_eq!(again, Err(error), "a decoder that failed stays failed");
                    return log.end(Some(error));
                }
                Ok((consumed, event)) => {
                    if let Event::Head(head) = &event {
                        log.request(head);
                        match answer {
                            Answer::Wait => {}
                            Answer::Proceed => decoder.proceed(),
                            Answer::Tunnel => decoder.tunnel(),
                        }
                    }
                    if log.body(&event, &fields, consumed) {
                        break;
                    }
                }
            }
        }
    }
    log.line(match decoder.eof() {
        Ok(Eof::Idle) => "eof between messages",
        Ok(Eof::End) => "eof is the end",
        Err(error) => return log.end(Some(error)),
    });
    log.end(None)
}

/// All of `input` at once with the default limits, going on in HTTP after upgrades.
pub(crate) fn request(input: &[u8]) -> Transcript {
    requests(&[input], Limits::default(), Answer::Proceed)
}

/// Decodes answers to requests of these kinds, one after the other.
pub(crate) fn responses(kinds: &[RequestKind], pieces: &[&[u8]], limits: Limits) -> Transcript {
    let mut decoder = ResponseDecoder::new(limits);
    let mut log = Log::default();
    let mut kinds = kinds.iter();
    let mut begin = |decoder: &mut ResponseDecoder| {
        if decoder.is_idle()
            && let Some(&kind) = kinds.next()
        {
            decoder.begin(kind);
        }
    };
    begin(&mut decoder);
    for piece in pieces {
        log.buffer.extend_from_slice(piece);
        loop {
            let mut fields: Vec<Field> = Vec::new();
            match decoder.decode(&log.buffer, &mut fields) {
                Err(error) => {
                    assert!(fields.is_empty(), "a head in error gives no field");
                    let again = decoder.decode(&log.buffer, &mut fields);
                    assert_eq!(again, Err(error), "a decoder that failed stays failed");
                    return log.end(Some(error));
                }
                Ok((consumed, event)) => {
                    match &event {
                        Event::Head(head) => log.response("head", head),
                        Event::Interim(head) => log.response("interim", head),
                        _ => {}
                    }
                    let done = log.body(&event, &fields, consumed);
                    begin(&mut decoder);
                    if done {
                        break;
                    }
                }
            }
        }
    }
    log.line(match decoder.eof() {
        Ok(Eof::Idle) => "eof between messages",
        Ok(Eof::End) => "eof is the end",
        Err(error) => return log.end(Some(error)),
    });
    log.end(None)
}

/// All of `input` at once with the default limits, as the answer to one request.
pub(crate) fn response(kind: RequestKind, input: &[u8]) -> Transcript {
    responses(&[kind], &[input], Limits::default())
}

#[derive(Default)]
struct Log {
    buffer: Vec<u8>,
    lines: Vec<String>,
    data: Vec<u8>,
}

impl Log {
    fn line(&mut self, line: impl Into<String>) {
        if !self.data.is_empty() {
            let data = std::mem::take(&mut self.data);
            self.lines.push(format!("data {}", text(&data)));
        }
        self.lines.push(line.into());
    }

    fn text(&self, span: Span) -> String {
        assert!(
            span.end() as usize <= self.buffer.len(),
            "{span:?} out of range"
        );
        text(span.of(&self.buffer))
    }

    fn request(&mut self, head: &RequestHead) {
        let mut line = format!(
            "head {} {} {} {}",
            self.text(head.method),
            self.text(head.target),
            version(head.version),
            framing(head.framing)
        );
        assert_eq!(head.end, head.framing.is_empty());
        for (flag, word) in [
            (head.keep_alive, "keep-alive"),
            (head.expect_continue, "expects"),
            (head.connect, "connect"),
            (head.end, "over"),
        ] {
            if flag {
                line = format!("{line} {word}");
            }
        }
        if let Some(upgrade) = head.upgrade {
            line = format!("{line} upgrade={}", self.text(upgrade));
        }
        line = format!("{line} {:?} path={}", head.form, self.text(head.path));
        if let Some(authority) = head.authority {
            line = format!("{line} for={}", self.text(authority));
        }
        self.line(line);
    }

    fn response(&mut self, what: &str, head: &ResponseHead) {
        let mut line = format!(
            "{what} {} {} ({}) {}",
            version(head.version),
            head.status,
            self.text(head.reason),
            framing(head.framing)
        );
        if let Some(length) = head.content_length {
            line = format!("{line} length={length}");
        }
        for (flag, word) in [
            (head.keep_alive, "keep-alive"),
            (head.tunnel, "tunnel"),
            (head.end, "over"),
        ] {
            if flag {
                line = format!("{line} {word}");
            }
        }
        self.line(line);
    }

    /// What all heads and bodies have in common. Whether more bytes are needed.
    fn body<H>(&mut self, event: &Event<H>, fields: &[Field], consumed: usize) -> bool {
        assert!(
            consumed <= self.buffer.len(),
            "more consumed than there was"
        );
        match event {
            Event::Data(span) => {
                assert!(span.len > 0, "empty data");
                assert!(
                    span.end() as usize <= consumed,
                    "data that was not consumed"
                );
                self.data.extend_from_slice(span.of(&self.buffer));
            }
            Event::Trailers => self.line("trailers"),
            Event::End => self.line("end"),
            Event::NeedMore | Event::Head(_) | Event::Interim(_) => {}
        }
        for field in fields {
            let hop = if field.hop_by_hop { " (hop)" } else { "" };
            self.line(format!(
                "  {}: {}{hop}",
                self.text(field.name),
                self.text(field.value)
            ));
        }
        self.buffer.drain(..consumed);
        matches!(event, Event::NeedMore)
    }

    fn end(mut self, error: Option<DecodeError>) -> Transcript {
        if !self.data.is_empty() {
            let data = std::mem::take(&mut self.data);
            self.lines.push(format!("data {}", text(&data)));
        }
        Transcript {
            lines: self.lines,
            error,
            left: self.buffer.len(),
        }
    }
}

fn text(bytes: &[u8]) -> String {
    bytes.escape_ascii().to_string()
}

fn version(version: Version) -> &'static str {
    match version {
        Version::Http10 => "1.0",
        Version::Http11 => "1.1",
    }
}

fn framing(framing: Framing) -> String {
    match framing {
        Framing::None => "none".to_owned(),
        Framing::Length(length) => format!("{length} bytes"),
        Framing::Chunked => "chunked".to_owned(),
        Framing::UntilClose => "until close".to_owned(),
    }
}
