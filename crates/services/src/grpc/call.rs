//! One call.

use std::collections::VecDeque;
use std::fmt;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::Bytes;
use h2::client::{ResponseFuture, SendRequest};
use h2::{RecvStream, SendStream};
use http::header::{CONTENT_TYPE, TE};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderMap, HeaderValue, Request, Uri, Version};

use super::frame::Reader;
use super::pool::{Acquired, Pool};
use super::status::{Code, Status};

/// How often a call is put on another connection because its own took no more.
const MOST_CONNECTIONS: u8 = 2;

/// A method of a service.
#[derive(Clone, Debug)]
pub struct Method(Uri);

impl Method {
    /// The method at `/package.Service/Method` of a server.
    #[must_use]
    pub fn new(pool: &Pool, path: &'static str) -> Self {
        Self::of(&pool.target.config.authority, path)
    }

    fn of(authority: &Authority, path: &'static str) -> Self {
        let mut parts = http::uri::Parts::default();
        parts.scheme = Some(Scheme::HTTP);
        parts.authority = Some(authority.clone());
        parts.path_and_query = Some(PathAndQuery::from_static(path));
        Self(Uri::from_parts(parts).unwrap_or_default())
    }
}

/// A call: messages go, messages come, a status ends it. Dropped before that it is cancelled; see [`Call::close`].
pub struct Call {
    pool: Rc<Pool>,
    method: Method,
    metadata: HeaderMap,
    waker: Waker,
    state: State,
    unsent: VecDeque<Bytes>,
    unsent_bytes: usize,
    /// Nothing follows what is unsent.
    ends: bool,
    reader: Reader,
    /// Connections that this call was put on.
    tried: u8,
}

enum State {
    /// For a connection, which is made in this attempt.
    Waiting(u64),
    Open {
        send: SendStream<Bytes>,
        half_closed: bool,
        response: Option<ResponseFuture>,
        body: Option<RecvStream>,
    },
    Over,
}

/// What comes on a call.
#[derive(Debug)]
pub enum Received {
    /// A message, without its frame.
    Message(Bytes),
    /// The end. Nothing follows.
    End(Status),
}

impl Call {
    /// Begins a call; `waker` is woken when [`Call::poll`] has something new. `metadata` goes beside what the server's configuration says.
    #[must_use]
    pub fn open(pool: &Rc<Pool>, method: &Method, metadata: HeaderMap, waker: Waker) -> Self {
        let mut call = Self {
            pool: Rc::clone(pool),
            method: method.clone(),
            metadata,
            state: State::Over,
            unsent: VecDeque::new(),
            unsent_bytes: 0,
            ends: false,
            reader: Reader::new(pool.target.config.max_message),
            tried: 0,
            waker,
        };
        call.acquire();
        call
    }

    /// Sends a message that [`frame`](super::frame()) has framed.
    pub fn send(&mut self, message: Bytes) {
        self.unsent_bytes += message.len();
        self.unsent.push_back(message);
        self.pump();
    }

    /// Sends a message that is the last.
    pub fn finish_with(&mut self, message: Bytes) {
        self.ends = true;
        self.send(message);
    }

    /// Bytes that the server has not made room for yet, or for which there is no connection yet.
    #[must_use]
    pub fn unsent(&self) -> usize {
        self.unsent_bytes
    }

    /// What has come. Pending registers the waker.
    pub fn poll(&mut self) -> Poll<Received> {
        if let State::Waiting(attempt) = self.state {
            match self.pool.outcome(attempt) {
                None => return Poll::Pending,
                Some(Err(status)) => return self.end(status),
                Some(Ok(())) => self.acquire(),
            }
        }
        self.pump();
        match ready!(self.poll_open()) {
            Ok(message) => Poll::Ready(Received::Message(message)),
            Err(status) => self.end(status),
        }
    }

    /// Ends the call in peace: what is unsent goes, and the server has so long for its last word.
    pub fn close(mut self, limit: Duration) {
        let State::Open {
            mut send,
            half_closed,
            response,
            body,
        } = std::mem::replace(&mut self.state, State::Over)
        else {
            return;
        };
        // An error says that the stream is gone: then all is said.
        for message in self.unsent.drain(..) {
            let _ = send.send_data(message, false);
        }
        if !half_closed {
            let _ = send.send_data(Bytes::new(), true);
        }
        self.pool.linger(response, body, limit);
    }

    fn acquire(&mut self) {
        match self.pool.acquire(&self.waker) {
            Acquired::Wait(attempt) => self.state = State::Waiting(attempt),
            Acquired::Ready(requests, id) => self.start(requests, id),
        }
    }

    fn start(&mut self, mut requests: SendRequest<Bytes>, id: u64) {
        match requests.send_request(self.request(), false) {
            Ok((response, send)) => {
                self.state = State::Open {
                    send,
                    half_closed: false,
                    response: Some(response),
                    body: None,
                };
                self.pump();
            }
            // The server is going away, or the connection has had its two billion streams.
            Err(_) => {
                self.pool.discard(id);
                self.tried += 1;
                if self.tried < MOST_CONNECTIONS {
                    self.acquire();
                } else {
                    // Told by the next look.
                    self.state = State::Over;
                    self.waker.wake_by_ref();
                }
            }
        }
    }

    fn request(&mut self) -> Request<()> {
        let mut request = Request::new(());
        *request.method_mut() = http::Method::POST;
        *request.uri_mut() = self.method.0.clone();
        *request.version_mut() = Version::HTTP_2;
        let headers = request.headers_mut();
        headers.reserve(2 + self.metadata.len());
        headers.insert(TE, HeaderValue::from_static("trailers"));
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        let own = &self.pool.target.config.metadata;
        for (name, value) in own.iter().chain(&self.metadata) {
            headers.append(name, value.clone());
        }
        request
    }

    /// Hands on what the server has room for.
    fn pump(&mut self) {
        let State::Open {
            send, half_closed, ..
        } = &mut self.state
        else {
            return;
        };
        let mut context = Context::from_waker(&self.waker);
        while let Some(message) = self.unsent.front_mut() {
            send.reserve_capacity(message.len());
            let mut room = send.capacity();
            if room == 0 {
                match send.poll_capacity(&mut context) {
                    Poll::Ready(Some(Ok(granted))) => room = granted,
                    // The receiving side tells what became of the call.
                    Poll::Ready(Some(Err(_)) | None) => {
                        self.unsent.clear();
                        self.unsent_bytes = 0;
                        return;
                    }
                    Poll::Pending => return,
                }
            }
            let piece = message.split_to(room.min(message.len()));
            let whole = message.is_empty();
            self.unsent_bytes -= piece.len();
            if whole {
                self.unsent.pop_front();
            }
            let last = self.ends && self.unsent.is_empty();
            // As above.
            let _ = send.send_data(piece, last);
            *half_closed |= last;
        }
        if self.ends && !*half_closed {
            let _ = send.send_data(Bytes::new(), true);
            *half_closed = true;
        }
    }

    fn poll_open(&mut self) -> Poll<Result<Bytes, Status>> {
        let State::Open { response, body, .. } = &mut self.state else {
            return Poll::Ready(Err(Status::new(Code::Unavailable, "the call is over")));
        };
        let mut context = Context::from_waker(&self.waker);
        if let Some(waiting) = response {
            let answer = ready!(Pin::new(waiting).poll(&mut context));
            *response = None;
            let answer = answer.map_err(|error| Status::of_h2(&error))?;
            let status = answer.status();
            let (head, incoming) = answer.into_parts();
            if status != http::StatusCode::OK {
                return Poll::Ready(Err(Status::of_http(status)));
            }
            if incoming.is_end_stream() {
                // The headers are the trailers too.
                return Poll::Ready(Err(
                    Status::of_trailers(&head.headers).unwrap_or_else(no_status)
                ));
            }
            *body = Some(incoming);
        }
        let Some(body) = body else {
            return Poll::Ready(Err(no_status()));
        };
        loop {
            if let Some(message) = self.reader.next()? {
                return Poll::Ready(Ok(message));
            }
            match ready!(body.poll_data(&mut context)) {
                Some(Ok(data)) => {
                    // An error says that the stream is gone, which the next look tells.
                    let _ = body.flow_control().release_capacity(data.len());
                    self.reader.push(data);
                }
                Some(Err(error)) => return Poll::Ready(Err(Status::of_h2(&error))),
                None => break,
            }
        }
        let trailers = ready!(body.poll_trailers(&mut context));
        let trailers = trailers.map_err(|error| Status::of_h2(&error))?;
        let status = trailers.as_ref().and_then(Status::of_trailers);
        Poll::Ready(Err(match status {
            Some(status) if status.is_ok() && !self.reader.is_between_messages() => {
                Status::new(Code::Internal, "the call ended inside a message")
            }
            Some(status) => status,
            None => no_status(),
        }))
    }

    fn end(&mut self, status: Status) -> Poll<Received> {
        self.state = State::Over;
        self.unsent.clear();
        self.unsent_bytes = 0;
        Poll::Ready(Received::End(status))
    }
}

fn no_status() -> Status {
    Status::new(Code::Unknown, "the call ended without a status")
}

impl fmt::Debug for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Call")
            .field("method", &self.method)
            .field("unsent", &self.unsent_bytes)
            .finish_non_exhaustive()
    }
}
