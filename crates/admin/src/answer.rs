//! Answers: what all of them have in common.

use std::borrow::Cow;
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use axum::body::{Body, Bytes, HttpBody};
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use axum::http::{HeaderValue, StatusCode};
use axum::response::Response;
use hyper::body::{Frame, SizeHint};

/// The most that is written in one turn of the control thread: some microseconds, also for 64 answers at once.
pub(crate) const PIECE: usize = 16 << 10;

/// Why a request is not carried out.
#[derive(Debug)]
pub(crate) struct Refusal {
    status: StatusCode,
    why: Cow<'static, str>,
}

impl Refusal {
    pub(crate) fn new(status: StatusCode, why: impl Into<Cow<'static, str>>) -> Self {
        Self {
            status,
            why: why.into(),
        }
    }

    pub(crate) fn into_answer(self) -> Response {
        text(self.status, self.why)
    }
}

/// Text for people.
pub(crate) fn text(status: StatusCode, text: impl Into<String>) -> Response {
    let mut text = text.into();
    if !text.ends_with('\n') {
        text.push('\n');
    }
    answer(
        status,
        "text/plain; charset=utf-8",
        Pieces::cut(text.as_bytes()),
    )
}

/// An answer of any type.
pub(crate) fn answer(status: StatusCode, content_type: &'static str, body: Pieces) -> Response {
    let mut answer = Response::new(Body::new(body));
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    // Every answer is about this moment.
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // Metrics and dumps hold words of others; no browser may take them for a page.
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    answer
}

/// A body that goes out piece by piece, one per turn of the thread that writes it. Each piece has its own memory, because
/// freeing many megabytes at once takes a millisecond, too.
pub(crate) struct Pieces {
    pieces: std::vec::IntoIter<Bytes>,
    left: u64,
    /// Between two pieces: ready after the runtime has looked after its other tasks and its sockets.
    next_turn: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
}

impl Pieces {
    /// Copies, so a large body is cut where it was rendered and not on the control thread.
    pub(crate) fn cut(body: &[u8]) -> Self {
        let pieces: Vec<Bytes> = body.chunks(PIECE).map(Bytes::copy_from_slice).collect();
        Self {
            pieces: pieces.into_iter(),
            left: body.len() as u64,
            next_turn: None,
        }
    }
}

impl HttpBody for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if let Some(next_turn) = &mut self.next_turn {
            ready!(next_turn.as_mut().poll(context));
            self.next_turn = None;
        }
        let Some(piece) = self.pieces.next() else {
            return Poll::Ready(None);
        };
        self.left -= piece.len() as u64;
        if self.left > 0 {
            // Waking oneself would not do: the runtime polls a task that does so dozens of times before it looks elsewhere.
            self.next_turn = Some(Box::pin(tokio::task::yield_now()));
        }
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    #[tokio::test]
    async fn a_body_comes_whole_and_waits_a_turn_between_two_pieces() {
        let whole: Vec<u8> = (0..2 * PIECE + 1).map(|at| (at % 251) as u8).collect();
        let mut body = Pieces::cut(&whole);
        let (mut got, mut sizes, mut waits) = (Vec::new(), Vec::new(), 0);
        assert_eq!(body.size_hint().exact(), Some(whole.len() as u64));
        while let Some(frame) = poll_fn(|context| {
            let frame = Pin::new(&mut body).poll_frame(context);
            waits += usize::from(frame.is_pending());
            frame
        })
        .await
        {
            let piece = frame.unwrap().into_data().unwrap();
            sizes.push(piece.len());
            got.extend_from_slice(&piece);
        }
        assert_eq!((sizes, waits), (vec![PIECE, PIECE, 1], 2));
        assert_eq!(got, whole);
        assert!(body.is_end_stream());
    }
}
