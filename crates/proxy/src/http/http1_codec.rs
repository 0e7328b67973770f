//! HTTP/1.1 as a client and a server like those of extensions: the entries `http1` in their tables. A cluster or an `http` filter
//! that names it is served by the proxy's own ends, which do the same and tunnels besides; these are for whoever wraps them.

use std::iter;
use std::sync::Arc;

use transom_api::{
    Answer, Asked, ClientConnection, ClientProtocol, Clients, DuplicateExtension, Factory, Headers,
    Node, ParseError, Parsed, Prepare, PrepareContext, ProtocolError, Registry, Schema,
    ServerConnection, ServerProtocol, Servers,
};
use transom_http1::encode::{self, BodyEncoder, Connection, Line, Request, Response};
use transom_http1::{
    Eof, Event, Field, Framing, Limits, RequestDecoder, RequestKind, ResponseDecoder, Span, Version,
};

use crate::cluster::HTTP1;

/// Adds the client and the server `http1`.
pub(crate) fn register(registry: &mut Registry) -> Result<(), DuplicateExtension> {
    registry.register::<Clients>(HTTP1, Arc::new(Http1))?;
    registry.register::<Servers>(HTTP1, Arc::new(Http1))
}

#[derive(Clone, Copy)]
struct Http1;

impl Factory<Clients> for Http1 {
    fn schema(&self) -> Schema {
        Schema::object().describe("HTTP/1.1: what the proxy itself speaks.")
    }

    fn parse(&self, config: &Node) -> Result<Arc<dyn Parsed<Clients>>, ParseError> {
        if !config.is_null() {
            config.as_fields()?.finish()?;
        }
        Ok(Arc::new(*self))
    }
}

impl Parsed<Clients> for Http1 {
    fn prepare(&self, _context: PrepareContext) -> Prepare<Clients> {
        let client: Arc<dyn ClientProtocol> = Arc::new(*self);
        Box::pin(std::future::ready(Ok(client)))
    }
}

impl Factory<Servers> for Http1 {
    fn schema(&self) -> Schema {
        Schema::object().describe("HTTP/1.1 and 1.0: what the proxy itself speaks.")
    }

    fn parse(&self, config: &Node) -> Result<Arc<dyn Parsed<Servers>>, ParseError> {
        if !config.is_null() {
            config.as_fields()?.finish()?;
        }
        Ok(Arc::new(*self))
    }
}

impl Parsed<Servers> for Http1 {
    fn prepare(&self, _context: PrepareContext) -> Prepare<Servers> {
        let server: Arc<dyn ServerProtocol> = Arc::new(*self);
        Box::pin(std::future::ready(Ok(server)))
    }
}

impl ServerProtocol for Http1 {
    fn name(&self) -> &str {
        "HTTP/1.1"
    }

    fn connection(&self) -> Box<dyn ServerConnection> {
        Box::new(Http1Served {
            decoder: RequestDecoder::new(Limits::default()),
            kind: RequestKind::Other,
            version: Version::Http11,
            body: None,
            keep_alive: false,
        })
    }
}

struct Http1Served {
    decoder: RequestDecoder,
    kind: RequestKind,
    version: Version,
    body: Option<BodyEncoder>,
    keep_alive: bool,
}

impl ServerConnection for Http1Served {
    fn read(
        &mut self,
        bytes: &[u8],
        eof: bool,
        asked: &mut dyn Asked,
    ) -> Result<usize, ProtocolError> {
        let bad = |error: transom_http1::DecodeError| ProtocolError::new(error.to_string());
        let mut used = 0;
        loop {
            let rest = bytes.get(used..).unwrap_or_default();
            let mut fields: Vec<(Span, Span)> = Vec::new();
            let mut sink = |field: Field| fields.push((field.name, field.value));
            let (consumed, event) = self.decoder.decode(rest, &mut sink).map_err(bad)?;
            used += consumed;
            match event {
                Event::Head(head) => {
                    let method = head.method.of(rest);
                    if head.connect {
                        return Err(ProtocolError::new("it has no tunnels"));
                    }
                    self.kind = RequestKind::of(method, false);
                    self.version = head.version;
                    self.keep_alive = head.keep_alive;
                    let host = fields
                        .iter()
                        .find(|(name, _)| name.of(rest).eq_ignore_ascii_case(b"host"));
                    let host = host.map_or(&b""[..], |(_, value)| value.of(rest));
                    asked.request(method, head.path.of(rest), host);
                    for (name, value) in &fields {
                        if !name.of(rest).eq_ignore_ascii_case(b"host") {
                            asked.field(name.of(rest), value.of(rest));
                        }
                    }
                    asked.head_end();
                    if head.end {
                        asked.end();
                        return Ok(used);
                    }
                }
                Event::Data(data) => asked.data(data.of(rest)),
                Event::End => {
                    asked.end();
                    return Ok(used);
                }
                Event::NeedMore if eof => {
                    self.decoder.eof().map_err(bad)?;
                    return Ok(used);
                }
                Event::NeedMore => return Ok(used),
                Event::Interim(_) | Event::Trailers => {}
            }
        }
    }

    fn response(
        &mut self,
        head: Headers<'_>,
        end: bool,
        close: bool,
        out: &mut Vec<u8>,
    ) -> Result<(), ProtocolError> {
        let status = head.get(":status");
        let status = status.and_then(|it| it.to_str()?.parse::<u16>().ok());
        let status = status.ok_or_else(|| ProtocolError::unspeakable("there is no status"))?;
        let length = head.get("content-length");
        let length = length.and_then(|it| it.to_str()?.parse().ok());
        self.keep_alive &= !close;
        let response = Response {
            version: self.version,
            status,
            reason: crate::error::reason(status).as_bytes(),
            answers: self.kind,
            framing: match length {
                Some(length) => Framing::Length(length),
                None if end => Framing::Length(0),
                None if self.version == Version::Http10 => {
                    self.keep_alive = false;
                    Framing::UntilClose
                }
                None => Framing::Chunked,
            },
            connection: match self.keep_alive {
                true => Connection::Default,
                false => Connection::Close,
            },
        };
        let fields: Vec<_> = head
            .iter()
            .filter(|(name, _)| !name.as_bytes().starts_with(b":") && *name != "content-length")
            .collect();
        let fields = fields
            .iter()
            .map(|(name, value)| (name.as_bytes(), value.as_bytes()));
        let body = encode::response_head(out, &response, fields).map_err(unspeakable)?;
        self.body = (!end).then_some(body);
        Ok(())
    }

    fn data(&mut self, data: &[u8], out: &mut Vec<u8>) -> Result<(), ProtocolError> {
        write_data(self.body.as_mut(), data, out)
    }

    fn end(&mut self, trailers: Headers<'_>, out: &mut Vec<u8>) -> Result<(), ProtocolError> {
        write_end(self.body.take(), trailers, out)
    }

    fn is_reusable(&self) -> bool {
        self.keep_alive
    }
}

fn write_data(
    body: Option<&mut BodyEncoder>,
    data: &[u8],
    out: &mut Vec<u8>,
) -> Result<(), ProtocolError> {
    let Some(body) = body else {
        return Ok(());
    };
    body.begin_chunk(out, data.len() as u64)
        .map_err(unspeakable)?;
    out.extend_from_slice(data);
    body.end_chunk(out);
    Ok(())
}

fn write_end(
    body: Option<BodyEncoder>,
    trailers: Headers<'_>,
    out: &mut Vec<u8>,
) -> Result<(), ProtocolError> {
    let Some(mut body) = body else {
        return Ok(());
    };
    let fields: Vec<_> = trailers.iter().collect();
    let fields = fields
        .iter()
        .map(|(name, value)| (name.as_bytes(), value.as_bytes()));
    body.finish(out, fields).map_err(unspeakable)
}

impl ClientProtocol for Http1 {
    fn name(&self) -> &str {
        "HTTP/1.1"
    }

    fn connection(&self) -> Box<dyn ClientConnection> {
        Box::new(Http1Connection {
            decoder: ResponseDecoder::new(Limits::default()),
            body: None,
            keep_alive: false,
            in_body: false,
        })
    }
}

struct Http1Connection {
    decoder: ResponseDecoder,
    body: Option<BodyEncoder>,
    keep_alive: bool,
    in_body: bool,
}

fn unspeakable(error: impl std::fmt::Display) -> ProtocolError {
    ProtocolError::unspeakable(error.to_string())
}

impl ClientConnection for Http1Connection {
    fn request(
        &mut self,
        head: Headers<'_>,
        end: bool,
        out: &mut Vec<u8>,
    ) -> Result<(), ProtocolError> {
        let pseudo = |name| {
            let value = head.get(name);
            value
                .map(|value| value.as_bytes().to_vec())
                .unwrap_or_default()
        };
        let (method, path, authority) = (pseudo(":method"), pseudo(":path"), pseudo(":authority"));
        if method == b"CONNECT" {
            return Err(ProtocolError::unspeakable("it has no tunnels"));
        }
        let length = head.get("content-length");
        let length = length.and_then(|it| std::str::from_utf8(it.as_bytes()).ok()?.parse().ok());
        let request = Request {
            method: &method,
            target: &path,
            version: Version::Http11,
            framing: match length {
                _ if end => Framing::None,
                Some(length) => Framing::Length(length),
                None => Framing::Chunked,
            },
            connection: Connection::Default,
        };
        let fields: Vec<_> = head
            .iter()
            .filter(|(name, _)| !name.as_bytes().starts_with(b":") && *name != "content-length")
            .collect();
        let fields = fields
            .iter()
            .map(|(name, value)| Line::Field(name.as_bytes(), value.as_bytes()));
        let host = Line::Field(b"Host", &authority);
        let body = encode::request_head(out, &request, iter::once(host).chain(fields));
        self.body = Some(body.map_err(unspeakable)?);
        self.decoder.begin(RequestKind::of(&method, false));
        self.keep_alive = false;
        self.in_body = false;
        Ok(())
    }

    fn data(&mut self, data: &[u8], out: &mut Vec<u8>) -> Result<(), ProtocolError> {
        write_data(self.body.as_mut(), data, out)
    }

    fn end(&mut self, trailers: Headers<'_>, out: &mut Vec<u8>) -> Result<(), ProtocolError> {
        write_end(self.body.take(), trailers, out)
    }

    fn read(
        &mut self,
        bytes: &[u8],
        eof: bool,
        answer: &mut dyn Answer,
    ) -> Result<usize, ProtocolError> {
        let bad = |error: transom_http1::DecodeError| ProtocolError::new(error.to_string());
        let mut used = 0;
        loop {
            let rest = bytes.get(used..).unwrap_or_default();
            let mut fields: Vec<(Span, Span)> = Vec::new();
            let mut sink = |field: Field| fields.push((field.name, field.value));
            let (consumed, event) = self.decoder.decode(rest, &mut sink).map_err(bad)?;
            used += consumed;
            match event {
                Event::Head(head) => {
                    answer.status(head.status);
                    for (name, value) in fields {
                        answer.field(name.of(rest), value.of(rest));
                    }
                    answer.head_end();
                    self.keep_alive = head.keep_alive && head.framing != Framing::UntilClose;
                    self.in_body = !head.end;
                    if head.end {
                        answer.end();
                        return Ok(used);
                    }
                }
                Event::Data(data) => answer.data(data.of(rest)),
                Event::End => {
                    self.in_body = false;
                    answer.end();
                    return Ok(used);
                }
                Event::NeedMore if eof => {
                    if self.decoder.eof().map_err(bad)? == Eof::End && self.in_body {
                        self.in_body = false;
                        answer.end();
                    }
                    return Ok(used);
                }
                Event::NeedMore => return Ok(used),
                Event::Interim(_) | Event::Trailers => {}
            }
        }
    }

    fn is_reusable(&self) -> bool {
        self.keep_alive && !self.in_body && self.decoder.is_idle()
    }
}

#[cfg(test)]
mod tests {
    use transom_api::HeaderMap;

    use super::*;
    use crate::http::foreign::Shown;
    use crate::http::head::{Head, Presence, Pseudo};

    #[derive(Default)]
    struct Told(String);

    impl Answer for Told {
        fn status(&mut self, status: u16) {
            self.0 += &format!("{status} ");
        }
        fn field(&mut self, name: &[u8], value: &[u8]) {
            let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
            self.0 += &format!("{}={} ", text(name), text(value));
        }
        fn head_end(&mut self) {
            self.0 += "| ";
        }
        fn data(&mut self, data: &[u8]) {
            self.0 += &String::from_utf8_lossy(data);
        }
        fn end(&mut self) {
            self.0 += " end";
        }
    }

    #[test]
    fn a_request_is_written_and_its_answer_read() {
        let mut head = Head::default();
        head.set_presence(Presence::Here);
        head.set_pseudo(Pseudo::Method, b"POST");
        head.set_pseudo(Pseudo::Path, b"/a");
        head.set_pseudo(Pseudo::Authority, b"host");
        let mut connection = ClientProtocol::connection(&Http1);
        let mut out = Vec::new();
        let shown = Shown(&head);
        let none = Head::default();
        let none = Shown(&none);
        let headers = Headers::new(&shown, HeaderMap::RequestHeaders);
        connection.request(headers, false, &mut out).unwrap();
        connection.data(b"hello", &mut out).unwrap();
        let trailers = Headers::new(&none, HeaderMap::RequestTrailers);
        connection.end(trailers, &mut out).unwrap();
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "POST /a HTTP/1.1\r\nHost: host\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
        );
        let mut told = Told::default();
        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX: y\r\n\r\nok";
        let cut = answer.len() - 1;
        let used = connection.read(&answer[..cut], false, &mut told).unwrap();
        assert!(!connection.is_reusable());
        let used = used + connection.read(&answer[used..], false, &mut told).unwrap();
        assert_eq!(used, answer.len());
        assert_eq!(told.0, "200 Content-Length=2 X=y | ok end");
        assert!(connection.is_reusable());
        assert!(
            connection
                .read(b"nonsense\r\n\r\n", false, &mut told)
                .is_err()
        );
    }
}
