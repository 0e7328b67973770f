//! The downstream end: a client's HTTP/1 connection.

use std::io;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use transom_http1::encode::{self, Connection, Response};
use transom_http1::{
    DecodeError, EncodeError, Eof, Event, Framing, RequestDecoder, RequestHead, RequestKind,
    Version,
};

use super::HttpOptions;
use super::head::{Head, Pseudo};
use super::peer::{Downstream, Peer, PeerError, PeerEvent};
use super::tunnel::{Tunnel, allowed};
use super::wire::{LARGEST_READ, Wire};
use crate::error::reason;
use crate::io::Io;
use crate::stream::{Message, Stream};
use crate::worker::Worker;
use transom_config::HalfClose;

const NO_FIELDS: [(&[u8], &[u8]); 0] = [];

/// A client's connection, and the request on it that is being served. Between requests only its socket is kept: see
/// [`Http1Server::is_at_rest`].
pub(crate) struct Http1Server {
    wire: Wire,
    /// Receives the next head once its first bytes are there; its start is when they came.
    pub(crate) stream: Option<Box<Stream>>,
    options: Rc<HttpOptions>,
    /// Clients speak TLS: the scheme is https.
    secure: bool,
    /// Of the request under way: between requests a connection has none.
    decoder: Option<RequestDecoder>,
    request: Request,
    /// Bytes of the request's body so far.
    received: u64,
}

/// What the answer depends on.
#[derive(Clone, Copy, Debug)]
struct Request {
    kind: RequestKind,
    version: Version,
    keep_alive: bool,
    expects_continue: bool,
    ended: bool,
    /// It asks for a tunnel.
    tunnel: Option<Tunnel>,
}

impl Http1Server {
    pub(crate) fn new(
        io: Io,
        worker: Rc<Worker>,
        options: Rc<HttpOptions>,
        scheme: &'static str,
    ) -> Self {
        Self {
            wire: Wire::new(io, worker),
            stream: None,
            secure: scheme == "https",
            decoder: None,
            options,
            request: Request {
                kind: RequestKind::Other,
                version: Version::Http11,
                keep_alive: true,
                expects_continue: false,
                ended: true,
                tunnel: None,
            },
            received: 0,
        }
    }

    /// Whether there is nothing to know of it but its socket: all is sent, and nothing of a request has come.
    #[inline]
    pub(crate) fn is_at_rest(&self) -> bool {
        self.stream.is_none() && self.decoder.is_none() && self.wire.is_at_rest()
    }

    /// The socket, and whether the event loop wakes this task when something comes on it.
    #[inline]
    // Taken in its box, so that it is not moved out of it to be taken apart.
    pub(crate) fn into_socket(self: Box<Self>) -> (Io, bool) {
        (self.wire.io, self.wire.awaited)
    }

    /// Waits for the first bytes of the next request. False: the client closed before them.
    pub(crate) fn poll_begin(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        while self.wire.read.is_empty() {
            if self.wire.eof {
                return Poll::Ready(Ok(false));
            }
            ready!(self.wire.poll_fill(cx, self.most_of_head()))?;
        }
        Poll::Ready(Ok(true))
    }

    /// Waits for the head of the next request. `None`: the client closed between requests.
    pub(crate) fn poll_request(
        &mut self,
        cx: &mut Context<'_>,
        message: &mut Message,
    ) -> Poll<Result<Option<RequestHead>, PeerError>> {
        loop {
            if !self.wire.read.is_empty() {
                let mut filler = message.head.filler();
                let decoder = in_use(&mut self.decoder, &self.options);
                let (consumed, event) = decoder.decode(self.wire.read.bytes(), &mut filler)?;
                if let Event::Head(head) = event {
                    self.begin(&head, message, consumed);
                    self.wire.read.consume(consumed);
                    self.wire.release_if_empty();
                    return Poll::Ready(Ok(Some(head)));
                }
                self.wire.read.consume(consumed);
            }
            if self.wire.eof {
                return match in_use(&mut self.decoder, &self.options).eof() {
                    Ok(_) => Poll::Ready(Ok(None)),
                    Err(error) => Poll::Ready(Err(error.into())),
                };
            }
            self.wire.release_if_empty();
            match self.wire.poll_fill(cx, self.most_of_head()) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error.into())),
                Poll::Pending => {
                    self.wire.release_if_empty();
                    return Poll::Pending;
                }
            }
        }
    }

    /// What is read of a head at the most: its limit, and empty lines before it.
    fn most_of_head(&self) -> usize {
        self.options.limits.head as usize + 4
    }

    /// Whether no byte of a request has come.
    pub(crate) fn is_idle(&self) -> bool {
        self.decoder.as_ref().is_none_or(RequestDecoder::is_idle) && self.wire.read.is_empty()
    }

    /// Answers a request that could not be understood; the connection closes afterwards.
    pub(crate) fn send_refusal(&mut self, error: &DecodeError) {
        let status = error.status();
        let text = format!("{}: {error}\n", reason(status));
        let response = Response {
            version: Version::Http11,
            status,
            reason: reason(status).as_bytes(),
            answers: RequestKind::Other,
            framing: Framing::Length(text.len() as u64),
            connection: Connection::Close,
        };
        let fields: [(&[u8], &[u8]); 1] = [(b"content-type", b"text/plain")];
        let tail = self.wire.tail();
        // The head is made of constants; if it were refused there would be nothing to send.
        if let Ok(mut body) = encode::response_head(tail, &response, fields)
            && body.data(tail, text.as_bytes()).is_ok()
        {
            let _ = body.finish(tail, []);
        }
    }

    /// Answers a request whose head did not come in time; the connection closes afterwards.
    pub(crate) fn send_timeout(&mut self) {
        let response = Response {
            version: Version::Http11,
            status: 408,
            reason: reason(408).as_bytes(),
            answers: RequestKind::Other,
            framing: Framing::Length(0),
            connection: Connection::Close,
        };
        // The head is made of constants; if it were refused there would be nothing to send.
        if let Ok(mut body) = encode::response_head(self.wire.tail(), &response, NO_FIELDS) {
            let _ = body.finish(&mut Vec::new(), []);
        }
    }

    /// Whether the connection can serve another request after this one.
    pub(crate) fn is_reusable(&self) -> bool {
        self.request.keep_alive && self.request.ended && self.expects_more()
    }

    /// Whether another request may come: one that was sent ahead may, also of a client that has ended its direction.
    fn expects_more(&self) -> bool {
        !self.wire.eof || !self.wire.read.is_empty()
    }

    /// Makes ready for the next request.
    pub(crate) fn end_exchange(&mut self) {
        self.wire.body = None;
        if let Some(decoder) = &mut self.decoder {
            decoder.proceed();
            if decoder.is_idle() {
                self.decoder = None;
            }
        }
    }

    pub(crate) fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.wire.io.poll_shutdown(cx)
    }

    /// Reads and drops, so that closing does not reset the connection under the answer (RFC 9112 section 9.6).
    pub(crate) fn poll_discard(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        self.wire.read.consume(usize::MAX);
        ready!(self.wire.poll_fill(cx, LARGEST_READ))?;
        let count = self.wire.read.bytes().len();
        self.wire.read.consume(usize::MAX);
        Poll::Ready(Ok(count))
    }

    fn begin(&mut self, head: &RequestHead, message: &mut Message, consumed: usize) {
        let bytes = self.wire.read.bytes().get(..consumed).unwrap_or_default();
        let base = message.head.adopt(bytes);
        message.head.adopt_pseudo(base, Pseudo::Method, head.method);
        match head.path.of(bytes) {
            // In absolute form the path may be missing (RFC 9112 section 3.2.2); `*` and authority form have none.
            path if path.first() == Some(&b'/') => {
                message.head.adopt_pseudo(base, Pseudo::Path, head.path);
            }
            b"" if head.target.of(bytes) == b"*" => message.head.set_pseudo(Pseudo::Path, b"*"),
            // RFC 9112 section 3.2.4: what a client of a proxy writes for `*`.
            b"" if head.method.of(bytes) == b"OPTIONS" => {
                message.head.set_pseudo(Pseudo::Path, b"*");
            }
            b"" if head.connect => {}
            b"" => message.head.set_pseudo(Pseudo::Path, b"/"),
            query => {
                let path = [b"/", query].concat();
                message.head.set_pseudo(Pseudo::Path, &path);
            }
        }
        if let Some(authority) = head.authority {
            message
                .head
                .adopt_pseudo(base, Pseudo::Authority, authority);
        }
        message
            .head
            .set_pseudo(Pseudo::Scheme, if self.secure { b"https" } else { b"http" });
        message.content_length = match head.framing {
            Framing::Length(length) => Some(length),
            _ => None,
        };
        let method = head.method.of(bytes);
        // RFC 9110 section 7.8: a server may ignore Upgrade. It does where a body comes first, whose end and the switch
        // would have to be told apart by both sides alike, and where an answer has no body by the request's method.
        let upgrade = head
            .upgrade
            .filter(|_| head.end && method != b"HEAD")
            .and_then(|upgrade| allowed(upgrade.of(bytes), &self.options.upgrades));
        message.tunnel = match &upgrade {
            Some(protocols) => {
                // Filters and routes see it; on the wire the codec writes it.
                message.head.push_own(b"Upgrade", protocols);
                Some(Tunnel::Upgrade)
            }
            None => head.connect.then_some(Tunnel::Connect),
        };
        self.request = Request {
            kind: RequestKind::of(method, upgrade.is_some()),
            version: head.version,
            // What follows a CONNECT may be meant for a tunnel already: it is not looked at as a request.
            keep_alive: head.keep_alive && !head.connect,
            expects_continue: head.expect_continue,
            ended: head.end,
            tunnel: message.tunnel,
        };
        self.received = 0;
        self.wire.forget_data();
    }

    fn next_event(&mut self, message: &mut Message) -> Result<Option<PeerEvent>, PeerError> {
        self.wire.take_back();
        loop {
            let mut filler = message.trailers.filler();
            let decoder = in_use(&mut self.decoder, &self.options);
            let (consumed, event) = decoder.decode(self.wire.read.bytes(), &mut filler)?;
            match event {
                Event::Data(span) => {
                    self.received += u64::from(span.len);
                    // It does not wait, or not any more.
                    self.request.expects_continue = false;
                    let most = self.options.request_body;
                    if !self.wire.tunnel && most.is_some_and(|most| self.received > most) {
                        return Err(PeerError::TooLarge);
                    }
                }
                Event::End => self.request.ended = true,
                _ => {}
            }
            let told = self
                .wire
                .take_event(consumed, &event, &mut message.trailers);
            // Behind trailers comes the end; the decoder gives a head only after that.
            if told.is_some() || event != Event::Trailers {
                return Ok(told);
            }
        }
    }
}

/// The decoder of the request under way, or of one that begins.
#[inline]
fn in_use<'d>(
    decoder: &'d mut Option<RequestDecoder>,
    options: &HttpOptions,
) -> &'d mut RequestDecoder {
    decoder.get_or_insert_with(|| RequestDecoder::new(options.limits))
}

impl Peer for Http1Server {
    fn poll_event(
        &mut self,
        cx: &mut Context<'_>,
        message: &mut Message,
    ) -> Poll<Result<PeerEvent, PeerError>> {
        loop {
            if let Some(event) = self.next_event(message)? {
                return Poll::Ready(Ok(event));
            }
            if self.wire.eof {
                return Poll::Ready(match in_use(&mut self.decoder, &self.options).eof() {
                    Ok(Eof::End) => {
                        self.request.ended = true;
                        Ok(PeerEvent::End)
                    }
                    Ok(Eof::Idle) => Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
                    Err(error) => Err(error.into()),
                });
            }
            let most = (self.options.limits.head as usize).max(LARGEST_READ);
            ready!(self.wire.poll_fill(cx, most))?;
        }
    }

    #[inline]
    fn data(&self) -> &[u8] {
        self.wire.data()
    }

    fn pause(&mut self) {
        self.wire.pause();
    }

    #[inline]
    fn send_data(&mut self, cx: &mut Context<'_>, data: &[u8]) -> Result<(), PeerError> {
        self.wire.send_data(cx, data)
    }

    #[inline]
    fn send_end(&mut self, trailers: Option<&Head>) -> Result<(), PeerError> {
        self.wire.send_end(trailers)
    }

    #[inline]
    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), PeerError>> {
        self.wire.poll_flush(cx)
    }

    #[inline]
    fn unsent(&self) -> usize {
        self.wire.unsent()
    }
}

impl Downstream for Http1Server {
    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        // Requests sent ahead are read up to this and then left to the kernel; so is the news of the client's end.
        const READ_AHEAD: usize = 4 << 10;
        while !self.wire.eof && self.wire.read.has_room(READ_AHEAD) {
            if ready!(self.wire.poll_fill(cx, READ_AHEAD)).is_err() {
                return Poll::Ready(());
            }
        }
        // A client that only has ended its direction still reads (RFC 9112 section 9.6 speaks of both); one that has closed
        // looks the same, until it resets what is written to it.
        if self.wire.eof && self.options.half_close == HalfClose::Abort {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }

    #[inline]
    fn request_ended(&self) -> bool {
        self.request.ended
    }

    fn invite_body(&mut self) -> Result<(), PeerError> {
        if std::mem::take(&mut self.request.expects_continue)
            && self.wire.read.is_empty()
            && self.wire.body.is_none()
        {
            let tail = self.wire.tail();
            encode::interim_head(tail, 100, b"Continue", [])?;
        }
        Ok(())
    }

    fn awaits_invitation(&self) -> bool {
        self.request.expects_continue && self.wire.body.is_none()
    }

    // HTTP/1.0 clients do not know interim responses (RFC 9110 section 15.2).
    fn send_interim(&mut self, status: u16, head: &Head) -> Result<(), PeerError> {
        // A 100 is passed on by `invite_body`, to those who wait for it.
        if self.request.version == Version::Http10 || status == 100 {
            return Ok(());
        }
        let tail = self.wire.tail();
        encode::interim_head(tail, status, b"", head.wire_fields())?;
        Ok(())
    }

    fn send_head(
        &mut self,
        message: &Message,
        complete: bool,
        close: bool,
    ) -> Result<(), PeerError> {
        let status = message.head.status();
        let opens = self
            .request
            .tunnel
            .is_some_and(|tunnel| tunnel.opens_with(status));
        // A status that opens a tunnel at the client, and no tunnel behind it, or the reverse: some filter changed it.
        if opens != message.tunnel.is_some() {
            return Err(EncodeError::Switch.into());
        }
        let framing = if opens {
            Framing::None
        } else if complete {
            match (self.request.kind, status) {
                // What the body would have been may be told (RFC 9110 section 8.6).
                (RequestKind::Head, _) | (_, 304) => message
                    .content_length
                    .map_or(Framing::None, Framing::Length),
                _ => Framing::None,
            }
        } else {
            match message.known_length() {
                Some(length) => Framing::Length(length),
                None => Framing::Chunked.for_client(self.request.version),
            }
        };
        // A client that waited and was not told to go on need not send what it announced.
        let uninvited = self.request.expects_continue && !self.request.ended;
        self.request.keep_alive &=
            !close && !uninvited && !opens && framing != Framing::UntilClose && self.expects_more();
        let connection = match (self.request.keep_alive, self.request.version) {
            _ if opens => message
                .head
                .get(b"upgrade", 0)
                .map_or(Connection::Default, Connection::Upgrade),
            (false, _) => Connection::Close,
            (true, Version::Http10) => Connection::KeepAlive,
            (true, Version::Http11) => Connection::Default,
        };
        let response = Response {
            version: self.request.version,
            status,
            reason: match message.head.own_reason() {
                Some(phrase) => phrase,
                None => reason(status).as_bytes(),
            },
            answers: self.request.kind,
            framing,
            connection,
        };
        let tail = self.wire.tail();
        self.wire.body = Some(encode::response_head(
            tail,
            &response,
            message.head.wire_lines(),
        )?);
        if opens {
            self.wire.tunnel = true;
            self.request.ended = false;
            in_use(&mut self.decoder, &self.options).tunnel();
        }
        Ok(())
    }
}
