//! An HTTP/1 message as it stood on the wire. Strict and simple: what the proxy sends must be plain.

use std::io::{self, BufRead};

/// A message that was read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Message {
    /// The request or status line.
    pub start: String,
    /// Fields in their order and spelling.
    pub headers: Vec<(String, String)>,
    /// The body without its framing.
    pub body: Vec<u8>,
    /// How the body came.
    pub framing: Framing,
    /// Trailers.
    pub trailers: Vec<(String, String)>,
}

/// How a message's end was marked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Framing {
    /// No body can follow.
    #[default]
    None,
    /// `content-length`.
    Length,
    /// `transfer-encoding: chunked`.
    Chunked,
    /// The end of the connection.
    UntilClose,
}

impl Message {
    /// The status of a response.
    ///
    /// # Panics
    /// When the start line is not one of a response.
    #[must_use]
    pub fn status(&self) -> u16 {
        let status = self.start.split(' ').nth(1).and_then(|it| it.parse().ok());
        status.unwrap_or_else(|| panic!("no status line: {self:?}"))
    }

    /// The method of a request.
    #[must_use]
    pub fn method(&self) -> &str {
        self.start.split(' ').next().unwrap_or_default()
    }

    /// The target of a request.
    #[must_use]
    pub fn target(&self) -> &str {
        self.start.split(' ').nth(1).unwrap_or_default()
    }

    /// The first value of a field.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        value(&self.headers, name)
    }

    /// All values of a field, joined by commas.
    #[must_use]
    pub fn headers(&self, name: &str) -> String {
        let values = self.headers.iter();
        let values = values.filter(|(known, _)| known.eq_ignore_ascii_case(name));
        values
            .map(|(_, value)| value.as_str())
            .collect::<Vec<_>>()
            .join(",")
    }

    /// The first value of a trailer.
    #[must_use]
    pub fn trailer(&self, name: &str) -> Option<&str> {
        value(&self.trailers, name)
    }

    /// The body as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// Reads a request. `None` at the end of the connection.
    pub fn read_request(from: &mut impl BufRead) -> io::Result<Option<Self>> {
        let Some(mut message) = Self::read_head(from)? else {
            return Ok(None);
        };
        message.framing = message.announced().unwrap_or(Framing::None);
        message.read_body(from)?;
        Ok(Some(message))
    }

    /// Reads a response to a request with this method. `None` at the end of the connection. Interim responses are
    /// messages of their own.
    pub fn read_response(from: &mut impl BufRead, method: &str) -> io::Result<Option<Self>> {
        let Some(mut message) = Self::read_head(from)? else {
            return Ok(None);
        };
        let bodiless = method == "HEAD" || matches!(message.status(), 100..=199 | 204 | 304);
        if !bodiless {
            message.framing = message.announced().unwrap_or(Framing::UntilClose);
            message.read_body(from)?;
        }
        Ok(Some(message))
    }

    /// Reads a head and no body.
    pub fn read_head(from: &mut impl BufRead) -> io::Result<Option<Self>> {
        let Some(start) = read_line(from)? else {
            return Ok(None);
        };
        Ok(Some(Self {
            start,
            headers: read_fields(from)?,
            ..Self::default()
        }))
    }

    fn announced(&self) -> Option<Framing> {
        match (
            self.header("transfer-encoding"),
            self.header("content-length"),
        ) {
            (Some("chunked"), None) => Some(Framing::Chunked),
            (None, Some(_)) => Some(Framing::Length),
            (None, None) => None,
            other => panic!("doubtful framing: {other:?} in {self:?}"),
        }
    }

    fn read_body(&mut self, from: &mut impl BufRead) -> io::Result<()> {
        match self.framing {
            Framing::None => {}
            Framing::Length => {
                let length = self.header("content-length").and_then(|it| it.parse().ok());
                let length: usize = length.ok_or(io::ErrorKind::InvalidData)?;
                self.body.resize(length, 0);
                from.read_exact(&mut self.body)?;
            }
            Framing::Chunked => {
                while let Some(chunk) = read_chunk(from)? {
                    self.body.extend_from_slice(&chunk);
                }
                self.trailers = read_fields(from)?;
            }
            Framing::UntilClose => {
                from.read_to_end(&mut self.body)?;
            }
        }
        Ok(())
    }
}

/// Reads a chunk; `None` is the last one.
pub fn read_chunk(from: &mut impl BufRead) -> io::Result<Option<Vec<u8>>> {
    let line = read_line(from)?.ok_or(io::ErrorKind::UnexpectedEof)?;
    let length = usize::from_str_radix(&line, 16).map_err(io::Error::other)?;
    if length == 0 {
        return Ok(None);
    }
    let mut chunk = vec![0; length + 2];
    from.read_exact(&mut chunk)?;
    assert!(chunk.ends_with(b"\r\n"), "a chunk without its end");
    chunk.truncate(length);
    Ok(Some(chunk))
}

fn value<'m>(fields: &'m [(String, String)], name: &str) -> Option<&'m str> {
    fields
        .iter()
        .find(|(known, _)| known.eq_ignore_ascii_case(name))
        .map(|(_, value)| value.as_str())
}

fn read_fields(from: &mut impl BufRead) -> io::Result<Vec<(String, String)>> {
    let mut fields = Vec::new();
    loop {
        let line = read_line(from)?.ok_or(io::ErrorKind::UnexpectedEof)?;
        if line.is_empty() {
            return Ok(fields);
        }
        let (name, value) = line
            .split_once(':')
            .ok_or_else(|| io::Error::other(format!("no field: {line:?}")))?;
        fields.push((name.to_owned(), value.trim().to_owned()));
    }
}

fn read_line(from: &mut impl BufRead) -> io::Result<Option<String>> {
    let mut line = Vec::new();
    if from.read_until(b'\n', &mut line)? == 0 {
        return Ok(None);
    }
    if !line.ends_with(b"\r\n") {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    line.truncate(line.len() - 2);
    String::from_utf8(line).map(Some).map_err(io::Error::other)
}
