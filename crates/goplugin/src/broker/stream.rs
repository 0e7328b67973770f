//! The stream of broker messages, from both ends.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use tokio_stream::{Stream, StreamExt};
use tonic::{Request, Response, Status, Streaming};

use super::GrpcBroker;
use crate::http2::Channel;
use crate::proto::ConnInfo;
use crate::proto::grpc_broker_client::GrpcBrokerClient;
use crate::proto::grpc_broker_server::GrpcBroker as Service;
use crate::task::raised;

/// Messages that may wait for a stream to leave by.
const MAX_QUEUED: usize = 1024;

/// What this side has to say. It may be filled before there is a stream; the newest stream takes what is there.
#[derive(Clone, Default)]
pub(crate) struct Outbox(Arc<Mutex<Queue>>);

#[derive(Default)]
struct Queue {
    messages: VecDeque<ConnInfo>,
    waker: Option<Waker>,
    closed: bool,
    /// Number of the stream that may take messages; older ones end.
    reader: u64,
}

impl Outbox {
    pub(super) fn send(&self, message: ConnInfo) -> io::Result<()> {
        let mut queue = self.lock();
        if queue.closed {
            return Err(super::closed());
        }
        if queue.messages.len() >= MAX_QUEUED {
            return Err(io::Error::other(
                "too many broker messages wait: the other side does not read its stream",
            ));
        }
        queue.messages.push_back(message);
        queue.wake();
        Ok(())
    }

    /// Ends the stream after what is queued.
    pub(super) fn close(&self) {
        let mut queue = self.lock();
        queue.closed = true;
        queue.wake();
    }

    /// The messages from now on. An older reader's stream ends.
    pub(crate) fn read(&self) -> Outgoing {
        let mut queue = self.lock();
        queue.reader += 1;
        queue.wake();
        Outgoing {
            outbox: self.clone(),
            number: queue.reader,
        }
    }

    /// What would leave next.
    #[cfg(test)]
    pub(super) fn next(&self) -> Option<ConnInfo> {
        self.lock().messages.pop_front()
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queue {
    fn wake(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

/// The outgoing half of the broker's stream.
pub(crate) struct Outgoing {
    outbox: Outbox,
    number: u64,
}

impl Outgoing {
    fn poll_message(&self, cx: &mut Context<'_>) -> Poll<Option<ConnInfo>> {
        let mut queue = self.outbox.lock();
        if queue.reader != self.number {
            return Poll::Ready(None);
        }
        if let Some(message) = queue.messages.pop_front() {
            return Poll::Ready(Some(message));
        }
        if queue.closed {
            return Poll::Ready(None);
        }
        queue.waker = Some(cx.waker().clone());
        Poll::Pending
    }
}

/// As a client sends it.
struct Plain(Outgoing);

impl Stream for Plain {
    type Item = ConnInfo;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<ConnInfo>> {
        self.0.poll_message(cx)
    }
}

/// As a server sends it.
pub(crate) struct Fallible(Outgoing);

impl Stream for Fallible {
    type Item = Result<ConnInfo, Status>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_message(cx).map(|message| message.map(Ok))
    }
}

/// The host's end: opens the stream and reads it until it ends, which ends the broker.
///
/// It is never waited for at start: grpc-go sends no response headers before its first message, which may never come.
pub(crate) async fn run_client(broker: GrpcBroker, channel: Channel) {
    let outgoing = Plain(broker.outbox().read());
    let started = GrpcBrokerClient::new(channel).start_stream(outgoing).await;
    match started {
        Ok(response) => read(&broker, response.into_inner()).await,
        Err(status) => tracing::debug!(%status, "the plugin has no broker"),
    }
    broker.close();
}

async fn read(broker: &GrpcBroker, mut incoming: Streaming<ConnInfo>) {
    while let Some(Ok(info)) = incoming.next().await {
        broker.receive(info);
    }
}

/// The plugin's end.
pub(crate) struct BrokerService(pub(crate) GrpcBroker);

#[tonic::async_trait]
impl Service for BrokerService {
    type StartStreamStream = Fallible;

    async fn start_stream(
        &self,
        request: Request<Streaming<ConnInfo>>,
    ) -> Result<Response<Fallible>, Status> {
        let broker = self.0.clone();
        let incoming = request.into_inner();
        // A host that goes does not end the broker: another may attach. The plugin's own stop does.
        let mut closed = broker.closed();
        tokio::spawn(async move {
            tokio::select! {
                () = read(&broker, incoming) => {}
                () = raised(&mut closed) => {}
            }
        });
        Ok(Response::new(Fallible(self.0.outbox().read())))
    }
}
