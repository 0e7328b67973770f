//! What leaves: a body's frames, written into a stream as its window allows.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use h2::SendStream;
use http_body::Body;

/// Sends one body to its end. Resolves when all is handed to the connection, or when the other side wants no more.
///
/// It looks one frame ahead, so that a body of one message and no trailers is one DATA frame that also ends the stream.
pub(super) struct Pump<B> {
    body: B,
    stream: SendStream<Bytes>,
    held: Option<Bytes>,
    next: Option<Bytes>,
    last: Option<Last>,
}

/// How the body ended, once that is known.
enum Last {
    Data,
    Trailers(http::HeaderMap),
    Failed,
}

impl<B> Pump<B> {
    pub(super) fn new(body: B, stream: SendStream<Bytes>) -> Self {
        Self {
            body,
            stream,
            held: None,
            next: None,
            last: None,
        }
    }
}

impl<B> Future for Pump<B>
where
    B: Body<Data = Bytes> + Unpin,
{
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        loop {
            if this.stream.poll_reset(cx).is_ready() {
                return Poll::Ready(());
            }
            // What follows the held piece decides whether that piece ends the stream.
            let mut waits = false;
            if this.next.is_none() && this.last.is_none() {
                match Pin::new(&mut this.body).poll_frame(cx) {
                    Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                        Ok(data) => this.next = Some(data),
                        Err(frame) => {
                            this.last = Some(match frame.into_trailers() {
                                Ok(trailers) => Last::Trailers(trailers),
                                Err(_) => Last::Failed,
                            });
                        }
                    },
                    Poll::Ready(Some(Err(_))) => this.last = Some(Last::Failed),
                    Poll::Ready(None) => this.last = Some(Last::Data),
                    Poll::Pending => waits = true,
                }
            }
            if let Some(held) = this.held.take() {
                let ends = this.next.is_none() && matches!(this.last, Some(Last::Data));
                match this.send(held, ends, cx) {
                    Ok(None) if ends => return Poll::Ready(()),
                    Ok(None) => {}
                    Ok(Some(rest)) => {
                        this.held = Some(rest);
                        return Poll::Pending;
                    }
                    Err(_) => return Poll::Ready(()),
                }
            }
            this.held = this.next.take();
            if this.held.is_some() {
                continue;
            }
            if waits {
                return Poll::Pending;
            }
            // An error below means that the stream is gone, and then there is nobody to tell.
            match this.last.take() {
                None => {}
                Some(Last::Data) => {
                    let _ = this.stream.send_data(Bytes::new(), true);
                    return Poll::Ready(());
                }
                Some(Last::Trailers(trailers)) => {
                    let _ = this.stream.send_trailers(trailers);
                    return Poll::Ready(());
                }
                Some(Last::Failed) => {
                    this.stream.send_reset(h2::Reason::INTERNAL_ERROR);
                    return Poll::Ready(());
                }
            }
        }
    }
}

impl<B> Pump<B> {
    /// Sends as much of `data` as the window takes; returns the rest, for which the waker is registered.
    fn send(
        &mut self,
        mut data: Bytes,
        ends: bool,
        cx: &mut Context<'_>,
    ) -> Result<Option<Bytes>, h2::Error> {
        if data.is_empty() {
            if ends {
                self.stream.send_data(data, true)?;
            }
            return Ok(None);
        }
        loop {
            self.stream.reserve_capacity(data.len());
            let mut capacity = self.stream.capacity();
            if capacity == 0 {
                match self.stream.poll_capacity(cx) {
                    Poll::Ready(Some(Ok(granted))) => capacity = granted,
                    Poll::Ready(Some(Err(error))) => return Err(error),
                    Poll::Ready(None) => return Err(h2::Reason::CANCEL.into()),
                    Poll::Pending => return Ok(Some(data)),
                }
            }
            let piece = data.split_to(capacity.min(data.len()));
            let all = data.is_empty();
            self.stream.send_data(piece, ends && all)?;
            if all {
                return Ok(None);
            }
        }
    }
}

/// Polls `pump` once: most messages leave at once, and then no task is needed. What is returned still has something to send.
pub(super) async fn start<B>(mut pump: Pump<B>) -> Option<Pump<B>>
where
    B: Body<Data = Bytes> + Unpin,
{
    let done = poll_fn(|cx| Poll::Ready(Pin::new(&mut pump).poll(cx).is_ready())).await;
    if done { None } else { Some(pump) }
}
