//! The answering side of connections.

use std::io;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use h2::server::SendResponse;
use http::{Request, Response};
use http_body::Body as _;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tonic::body::Body;
use tonic::{Code, Status};

use super::body::IncomingBody;
use super::coalesced::Coalesced;
use super::pump::Pump;
use super::{
    CONNECTION_WINDOW, MAX_CONCURRENT_CALLS, MAX_GIVEN_UP, MAX_HEADER_LIST, STREAM_WINDOW, status,
    timeout,
};
use crate::net::{Io, Listener};
use crate::services::Services;
use crate::task::raised;
use crate::tls::Tls;

/// How long a peer may take for the TLS and HTTP/2 openings. A stalled one costs a task, never the listener.
const OPENING: Duration = Duration::from_secs(10);

/// How long calls under way may go on after a stop was asked for. Hosts kill after 2 s.
const GRACE: Duration = Duration::from_millis(700);

/// How long to rest when the system has no descriptor left for a connection.
const EXHAUSTED: Duration = Duration::from_millis(50);

/// Serves `services` on every connection of a listener.
pub(crate) struct Server {
    pub(crate) services: Arc<Services>,
    pub(crate) tls: Option<Tls>,
    /// Becomes true when the server shall stop; a dropped sender says the same.
    pub(crate) stop: watch::Receiver<bool>,
    /// Shared by all its connections, so that others can tell whether there are any.
    pub(crate) presence: Presence,
}

/// Tells whether a server has connections: a clone for each.
#[derive(Clone, Default)]
pub(crate) struct Presence(Arc<()>);

impl Presence {
    /// Whether there are others beside the server's own and this one.
    pub(crate) fn is_alone(&self) -> bool {
        Arc::strong_count(&self.0) <= 2
    }
}

impl Server {
    /// Accepts until told to stop or until the listener ends; then gives calls a short time, and returns with no task left.
    pub(crate) async fn serve(self, mut listener: Listener) {
        let mut connections = JoinSet::new();
        let mut stop = self.stop.clone();
        loop {
            tokio::select! {
                biased;
                () = raised(&mut stop) => break,
                Some(_) = connections.join_next(), if !connections.is_empty() => {}
                accepted = listener.accept() => match accepted {
                    Ok(io) => {
                        let services = Arc::clone(&self.services);
                        let tls = self.tls.clone();
                        let stop = self.stop.clone();
                        let presence = self.presence.clone();
                        connections.spawn(async move {
                            if let Err(error) = connection(io, services, tls, stop).await {
                                tracing::debug!(%error, "connection ended");
                            }
                            drop(presence);
                        });
                    }
                    Err(_) if listener.is_over() => break,
                    Err(error) => {
                        tracing::warn!(%error, "cannot accept a connection");
                        tokio::time::sleep(EXHAUSTED).await;
                    }
                }
            }
        }
        drop(listener);
        // A task's own grace is shorter than this one, which only bounds what never yields its end.
        let _ = tokio::time::timeout(GRACE * 2, async {
            while connections.join_next().await.is_some() {}
        })
        .await;
        connections.shutdown().await;
    }
}

async fn connection(
    io: Io,
    services: Arc<Services>,
    tls: Option<Tls>,
    mut stop: watch::Receiver<bool>,
) -> io::Result<()> {
    let opening = async {
        let io = io.accept_secure(tls.as_ref()).await?;
        h2::server::Builder::new()
            .initial_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_header_list_size(MAX_HEADER_LIST)
            .max_concurrent_streams(MAX_CONCURRENT_CALLS)
            .max_pending_accept_reset_streams(MAX_GIVEN_UP)
            .max_concurrent_reset_streams(MAX_GIVEN_UP)
            .handshake(Coalesced::new(io))
            .await
            .map_err(io::Error::other)
    };
    let mut connection = tokio::select! {
        biased;
        () = raised(&mut stop) => return Ok(()),
        opened = tokio::time::timeout(OPENING, opening) => opened??,
    };
    let mut deadline: Option<Pin<Box<tokio::time::Sleep>>> = None;
    loop {
        tokio::select! {
            biased;
            () = raised(&mut stop), if deadline.is_none() => {
                connection.graceful_shutdown();
                deadline = Some(Box::pin(tokio::time::sleep(GRACE)));
            }
            () = wait(&mut deadline) => return Ok(()),
            accepted = connection.accept() => match accepted {
                Some(Ok((request, respond))) => {
                    // It ends with its stream, which ends with the connection.
                    tokio::spawn(call(Arc::clone(&services), request, respond));
                }
                Some(Err(error)) => return Err(io::Error::other(error)),
                None => return Ok(()),
            }
        }
    }
}

/// Waits for the deadline once there is one.
async fn wait(deadline: &mut Option<Pin<Box<tokio::time::Sleep>>>) {
    match deadline {
        Some(deadline) => deadline.await,
        None => std::future::pending().await,
    }
}

/// Answers one call.
async fn call(
    services: Arc<Services>,
    request: Request<h2::RecvStream>,
    mut respond: SendResponse<Bytes>,
) {
    let limit = timeout::read(request.headers());
    let request = request.map(IncomingBody::new);
    let answer = answer(&services, request);
    let answer = async {
        match limit {
            Some(limit) => tokio::time::timeout(limit, answer)
                .await
                .unwrap_or_else(|_| status::deadline().into_http()),
            None => answer.await,
        }
    };
    let response = tokio::select! {
        biased;
        // The caller went away: so does the work for it.
        _ = std::future::poll_fn(|cx| respond.poll_reset(cx)) => return,
        response = answer => response,
    };
    let (head, body) = response.into_parts();
    let ended = body.is_end_stream();
    if let Ok(stream) = respond.send_response(Response::from_parts(head, ()), ended)
        && !ended
    {
        Pump::new(body, stream).await;
    }
}

/// The service's answer. A panic in it is this call's failure, not the process's.
async fn answer(services: &Services, request: Request<IncomingBody>) -> Response<Body> {
    let path = request.uri().path();
    let Some(route) = services.route(path) else {
        let text = format!("unknown service or method {path}");
        return Status::new(Code::Unimplemented, text).into_http();
    };
    let mut work = route.call(request);
    let work = std::future::poll_fn(move |cx| {
        match std::panic::catch_unwind(AssertUnwindSafe(|| work.as_mut().poll(cx))) {
            Ok(Poll::Ready(response)) => Poll::Ready(Some(response)),
            Ok(Poll::Pending) => Poll::Pending,
            Err(_) => Poll::Ready(None),
        }
    });
    work.await
        .unwrap_or_else(|| Status::internal("the plugin's handler panicked").into_http())
}
