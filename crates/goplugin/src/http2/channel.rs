//! The calling side of a connection.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use h2::client::SendRequest;
use http::{Request, Response, Uri, Version};
use http_body::Body as _;
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tonic::Status;
use tonic::body::Body;
use tower_service::Service;

use super::body::{AbortOnDrop, IncomingBody};
use super::coalesced::Coalesced;
use super::pump::{self, Pump};
use super::{CONNECTION_WINDOW, MAX_GIVEN_UP, MAX_HEADER_LIST, STREAM_WINDOW, status, timeout};
use crate::net::Io;
use crate::task::lock;

/// A gRPC connection to the other side; cheap to clone, and `tonic`'s generated clients take it as they are.
///
/// Calls of all clones share one HTTP/2 connection. When that ends while the other side lives, the next call opens a further one,
/// as grpc-go does; once the other side is gone, calls fail at once with `UNAVAILABLE`.
///
/// A connection's frames are moved by a task on the runtime where it was opened. `tonic`'s generated clients refuse answers above
/// 4 MiB unless told otherwise (`max_decoding_message_size`); Go's clients allow 2 GiB, which is [`MAX_MESSAGE`](crate::MAX_MESSAGE).
#[derive(Clone)]
pub struct Channel {
    shared: Arc<Shared>,
}

struct Shared {
    dialer: Dialer,
    current: Mutex<Option<Connection>>,
    /// Held while a further connection is opened, so that many calls open one.
    opening: tokio::sync::Mutex<()>,
    /// Becomes true when the other side is gone for good.
    gone: watch::Receiver<bool>,
}

#[derive(Clone)]
struct Connection {
    requests: SendRequest<Bytes>,
    /// Moves the frames. It ends by itself with the last call, and is aborted only to close the connection under its calls.
    task: AbortHandle,
}

/// Opens one more connection to the same place.
pub(crate) type Dialer =
    Arc<dyn Fn() -> Pin<Box<dyn Future<Output = std::io::Result<Io>> + Send>> + Send + Sync>;

/// How long the other side may take to let this one in, TLS and a broker's knock included.
const OPENING: Duration = Duration::from_secs(10);

impl Channel {
    /// Opens the first connection. `gone` must become true, or its sender go, when the other side has ended.
    pub(crate) async fn connect(
        dialer: Dialer,
        gone: watch::Receiver<bool>,
    ) -> std::io::Result<Self> {
        let channel = Self::lazy(dialer, gone);
        let connection = open(&channel.shared.dialer).await?;
        *lock(&channel.shared.current) = Some(connection);
        Ok(channel)
    }

    /// A channel that opens its connection with the first call.
    pub(crate) fn lazy(dialer: Dialer, gone: watch::Receiver<bool>) -> Self {
        Self {
            shared: Arc::new(Shared {
                dialer,
                current: Mutex::new(None),
                opening: tokio::sync::Mutex::new(()),
                gone,
            }),
        }
    }

    /// Ends the connection: calls under way fail, the socket closes.
    pub(crate) fn close(&self) {
        if let Some(connection) = lock(&self.shared.current).take() {
            connection.task.abort();
        }
    }
}

impl Shared {
    /// A connection with room for one more call.
    async fn ready(&self) -> Result<Connection, Status> {
        let current = lock(&self.current).clone();
        if let Some(connection) = current
            && let Some(connection) = connection.ready().await
        {
            return Ok(connection);
        }
        let _one = self.opening.lock().await;
        let current = lock(&self.current).clone();
        if let Some(connection) = current
            && let Some(connection) = connection.ready().await
        {
            return Ok(connection);
        }
        if *self.gone.borrow() || self.gone.has_changed().is_err() {
            return Err(Status::unavailable("the other side has ended"));
        }
        let connection = open(&self.dialer)
            .await
            .map_err(|error| Status::unavailable(format!("cannot connect: {error}")))?;
        *lock(&self.current) = Some(connection.clone());
        connection
            .ready()
            .await
            .ok_or_else(|| Status::unavailable("the new connection ended at once"))
    }

    async fn call(
        self: Arc<Self>,
        request: Request<Body>,
    ) -> Result<Response<IncomingBody>, Status> {
        let Connection { mut requests, .. } = self.ready().await?;
        let (mut head, body) = request.into_parts();
        head.version = Version::HTTP_2;
        head.uri = absolute(head.uri)?;
        let ended = body.is_end_stream();
        let (response, stream) = requests
            .send_request(Request::from_parts(head, ()), ended)
            .map_err(|error| status::from_h2(&error))?;
        let mut sender = None;
        if !ended && let Some(pump) = pump::start(Pump::new(body, stream)).await {
            sender = Some(AbortOnDrop(tokio::spawn(pump).abort_handle()));
        }
        let response = response.await.map_err(|error| status::from_h2(&error))?;
        Ok(response.map(|stream| IncomingBody::new(stream).with_sender(sender)))
    }
}

impl Connection {
    /// Waits until one more stream may be opened; `None` when the connection has ended.
    async fn ready(self) -> Option<Self> {
        let requests = self.requests.ready().await.ok()?;
        Some(Self {
            requests,
            task: self.task,
        })
    }
}

async fn open(dialer: &Dialer) -> std::io::Result<Connection> {
    // A peer that accepts and then says nothing must not hold the caller.
    let io = tokio::time::timeout(OPENING, dialer()).await??;
    let (requests, connection) = h2::client::Builder::new()
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_header_list_size(MAX_HEADER_LIST)
        .enable_push(false)
        .max_concurrent_reset_streams(MAX_GIVEN_UP)
        .handshake(Coalesced::new(io))
        .await
        .map_err(std::io::Error::other)?;
    let task = tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "connection ended");
        }
    });
    Ok(Connection {
        requests,
        task: task.abort_handle(),
    })
}

/// Adds the scheme and the authority that HTTP/2 asks for. The authority is a fixed name: a socket's path would not be one.
fn absolute(uri: Uri) -> Result<Uri, Status> {
    let mut parts = uri.into_parts();
    parts.scheme = Some(http::uri::Scheme::HTTP);
    parts.authority = Some(http::uri::Authority::from_static("localhost"));
    Uri::from_parts(parts).map_err(|error| Status::internal(format!("request path: {error}")))
}

impl Service<Request<Body>> for Channel {
    type Response = Response<IncomingBody>;
    type Error = Status;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Status>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Status>> {
        // Whether there is room is known only to the connection that the call will take.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let shared = Arc::clone(&self.shared);
        let Some(limit) = timeout::read(request.headers()) else {
            return Box::pin(shared.call(request));
        };
        Box::pin(async move {
            let mut deadline = Box::pin(tokio::time::sleep(limit));
            let response = tokio::select! {
                biased;
                response = shared.call(request) => response?,
                () = &mut deadline => return Err(status::deadline()),
            };
            Ok(response.map(|body| body.with_deadline(Some(deadline))))
        })
    }
}

impl std::fmt::Debug for Channel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Channel").finish_non_exhaustive()
    }
}
