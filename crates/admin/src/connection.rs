//! One connection: one request, within its time, and an end that does not cut the answer short.

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::Notify;
use tokio::time::timeout;

use crate::answer::PIECE;
use crate::routes::Routes;

/// From the connection's start to the end of its request's head. The proxy's own default.
const HEAD: Duration = Duration::from_secs(10);
/// From the end of the head to the last byte of the answer.
const REQUEST: Duration = Duration::from_secs(30);
/// Of that, for the answer itself. The rest is for saying that it took too long.
const ANSWER: Duration = Duration::from_secs(29);
/// How long, and for how many bytes, what the client still sends is read after the answer.
const LINGER: Duration = Duration::from_secs(1);
const LINGER_BYTES: usize = 1 << 20;

type Answer = Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>;

/// Serves the one request of `io`; when `stopped` comes before the request, there is none.
///
/// There is no keep-alive: a scrape every few seconds gains nothing by it, and so no idle connection holds one of the
/// few slots, and one clock covers the whole exchange.
pub(crate) async fn serve<Io>(io: Io, routes: Routes, stopped: impl Future<Output = ()> + Send)
where
    Io: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let arrived = Arc::new(Notify::new());
    let service = service_fn({
        let arrived = Arc::clone(&arrived);
        move |request: hyper::Request<hyper::body::Incoming>| -> Answer {
            arrived.notify_one();
            let routes = routes.clone();
            let request: Request = request.map(Body::new);
            let deadline = tokio::time::Instant::now() + ANSWER;
            Box::pin(async move { Ok(routes.answer(request, deadline).await) })
        }
    });
    let mut connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .keep_alive(false)
        // A client may close its half after the request (`nc -N`) and still wants the answer.
        .half_close(true)
        // The larger part of what a connection can make us hold; it bounds the head, too.
        .max_buf_size(PIECE)
        .serve_connection(TokioIo::new(io), service);

    let ended = {
        let mut exchange = poll_fn(|cx| connection.poll_without_shutdown(cx));
        tokio::select! {
            // In this order a request that is there already is served, even if the end was asked for meanwhile.
            biased;
            ended = &mut exchange => ended,
            () = arrived.notified() => match timeout(REQUEST, exchange).await {
                Ok(ended) => ended,
                Err(_) => return,
            },
            () = stopped => return,
        }
    };
    // A client that went away or spoke no HTTP is no fault of ours and is not worth a line in the log; the latter was told.
    let was_answered = match &ended {
        Ok(()) => true,
        Err(error) => error.is_parse(),
    };
    if was_answered {
        linger(connection.into_parts().io.into_inner()).await;
    }
}

/// Closes our half and reads on for a moment: closing with unread bytes would reset the connection, and the client could
/// lose the answer that it was sent (RFC 9112, section 9.6).
async fn linger(mut io: impl AsyncRead + AsyncWrite + Unpin) {
    if io.shutdown().await.is_err() {
        return;
    }
    let drained = async {
        let mut piece = [0; 4096];
        let mut left = LINGER_BYTES;
        while left > 0 {
            match io.read(&mut piece).await {
                Ok(0) | Err(_) => return,
                Ok(read) => left = left.saturating_sub(read),
            }
        }
    };
    let _ = timeout(LINGER, drained).await;
}
