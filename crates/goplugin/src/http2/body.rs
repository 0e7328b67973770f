//! What arrives: the frames of one direction of a call.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::RecvStream;
use http_body::{Body, Frame, SizeHint};
use tokio::task::AbortHandle;
use tokio::time::Sleep;
use tonic::Status;

use super::status;

/// The body of a message that came from the other side.
///
/// Dropping it before its end resets the stream, which tells the other side to stop.
#[derive(Default)]
pub struct IncomingBody {
    stream: Option<RecvStream>,
    data_ended: bool,
    deadline: Option<Pin<Box<Sleep>>>,
    sender: Option<AbortOnDrop>,
}

impl IncomingBody {
    pub(super) fn new(stream: RecvStream) -> Self {
        Self {
            stream: Some(stream),
            ..Self::default()
        }
    }

    /// Ends with `DEADLINE_EXCEEDED` when `deadline` has passed.
    pub(super) fn with_deadline(mut self, deadline: Option<Pin<Box<Sleep>>>) -> Self {
        self.deadline = deadline;
        self
    }

    /// Keeps the task that still sends the other direction; it ends with this body.
    pub(super) fn with_sender(mut self, sender: Option<AbortOnDrop>) -> Self {
        self.sender = sender;
        self
    }

    fn end(&mut self) {
        self.stream = None;
        self.deadline = None;
    }
}

impl std::fmt::Debug for IncomingBody {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("IncomingBody").finish_non_exhaustive()
    }
}

impl Body for IncomingBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = &mut *self;
        let Some(stream) = &mut this.stream else {
            return Poll::Ready(None);
        };
        if !this.data_ended {
            match stream.poll_data(cx) {
                Poll::Ready(Some(Ok(data))) => {
                    // An error here means that the stream is gone; the next poll says so.
                    let _ = stream.flow_control().release_capacity(data.len());
                    return Poll::Ready(Some(Ok(Frame::data(data))));
                }
                Poll::Ready(Some(Err(error))) => {
                    this.end();
                    return Poll::Ready(Some(Err(status::from_h2(&error))));
                }
                Poll::Ready(None) => this.data_ended = true,
                Poll::Pending => {
                    if let Some(deadline) = &mut this.deadline {
                        ready!(deadline.as_mut().poll(cx));
                        this.end();
                        return Poll::Ready(Some(Err(status::deadline())));
                    }
                    return Poll::Pending;
                }
            }
        }
        let trailers = ready!(stream.poll_trailers(cx));
        this.end();
        match trailers {
            Ok(Some(trailers)) => Poll::Ready(Some(Ok(Frame::trailers(trailers)))),
            Ok(None) => Poll::Ready(None),
            Err(error) => Poll::Ready(Some(Err(status::from_h2(&error)))),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.stream.as_ref().is_none_or(RecvStream::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        if self.is_end_stream() {
            SizeHint::with_exact(0)
        } else {
            SizeHint::default()
        }
    }
}

/// Ends a task when its owner goes.
#[derive(Debug)]
pub(super) struct AbortOnDrop(pub(super) AbortHandle);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}
