//! Answers: what all of them have in common.

use std::borrow::Cow;
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::{Body, Bytes, HttpBody};
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use axum::http::{HeaderValue, StatusCode};
use axum::response::Response;
use hyper::body::{Frame, SizeHint};

/// The most that is written at a time. A turn of the control thread writes up to 16 pieces (hyper's limit), which at this
/// size takes a tenth of the millisecond that it has.
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
    answer(status, "text/plain; charset=utf-8", text.into_bytes())
}

/// An answer of any type.
pub(crate) fn answer(status: StatusCode, content_type: &'static str, body: Vec<u8>) -> Response {
    let pieces = Pieces {
        rest: Bytes::from(body),
    };
    let mut answer = Response::new(Body::new(pieces));
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    // Every answer is about this moment.
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // Metrics and dumps hold words of others; no browser may take them for a page.
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    answer
}

/// A body of known length that goes out piece by piece.
struct Pieces {
    rest: Bytes,
}

impl HttpBody for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.rest.is_empty() {
            return Poll::Ready(None);
        }
        let length = self.rest.len().min(PIECE);
        Poll::Ready(Some(Ok(Frame::data(self.rest.split_to(length)))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.rest.len() as u64)
    }
}
