//! HTTP calls of filters: a small exchange of their own with a cluster.

use std::future::poll_fn;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use transom_api::{CalloutError, CalloutResponse, HeaderMap, HttpCall};

use super::Worker;
use crate::cluster::{Active, Identity, Lease, WorkerCluster, WorkerHost, connect};
use crate::http::attempts::is_idempotent;
use crate::http::head::{Presence, Pseudo};
use crate::http::host_peer::HostPeer;
use crate::http::peer::{PeerError, PeerEvent, Upstream};
use crate::stream::Message;

/// The default time limit of a callout.
const TIMEOUT: Duration = Duration::from_secs(5);
/// The answer is kept as a whole for the filter.
const LARGEST_ANSWER: usize = 1 << 20;

/// A call whose head was found good.
pub(super) struct Request {
    message: Message,
}

impl Request {
    /// Checks the call's headers as those of any filter are checked.
    pub(super) fn new(call: &HttpCall) -> Result<Self, CalloutError> {
        let mut message = Message::default();
        message.head.set_presence(Presence::Here);
        for (name, value) in &call.headers {
            message
                .head
                .add(HeaderMap::RequestHeaders, name, value)
                .map_err(|_| CalloutError::BadRequest)?;
        }
        for (name, value) in &call.trailers {
            message.trailers.set_presence(Presence::Here);
            message
                .trailers
                .add(HeaderMap::RequestTrailers, name, value)
                .map_err(|_| CalloutError::BadRequest)?;
        }
        let complete = [Pseudo::Method, Pseudo::Path, Pseudo::Authority]
            .iter()
            .all(|pseudo| message.head.pseudo(*pseudo).is_some());
        if !complete {
            return Err(CalloutError::BadRequest);
        }
        if call.trailers.is_empty() && !call.body.is_empty() {
            message.content_length = Some(call.body.len() as u64);
        }
        Ok(Self { message })
    }
}

/// Makes the call.
pub(super) async fn run(
    worker: &Rc<Worker>,
    cluster: &WorkerCluster,
    request: Request,
    call: &HttpCall,
) -> Result<CalloutResponse, CalloutError> {
    let exchange = exchange(worker, cluster, &request, call);
    match tokio::time::timeout(call.timeout.unwrap_or(TIMEOUT), exchange).await {
        Ok(result) => result,
        Err(_) => Err(CalloutError::Timeout),
    }
}

async fn exchange(
    worker: &Rc<Worker>,
    cluster: &WorkerCluster,
    request: &Request,
    call: &HttpCall,
) -> Result<CalloutResponse, CalloutError> {
    let host = cluster.pick(&[]).ok_or(CalloutError::Unavailable)?;
    let Some(_active) = Active::request(&host) else {
        worker.shard.add(host.metrics.overflows.requests.0, 1);
        return Err(CalloutError::Unavailable);
    };
    let authority = request.message.head.pseudo(Pseudo::Authority);
    let identity = host
        .identity(authority, None)
        .map_err(|_| CalloutError::Unavailable)?;
    let mut client = match host.take_idle(worker.now(), &identity) {
        Some(client) => client,
        None => fresh(worker, &host, identity.clone()).await?,
    };
    let mut response = Message::default();
    let mut answer = attempt(&mut *client, request, call, &mut response).await;
    // A connection that idled may have been closed meanwhile. Where nothing was answered it is sent once more, if that does
    // no harm.
    let method = request.message.head.pseudo(Pseudo::Method);
    let harmless = !client.has_sent() || method.is_some_and(is_idempotent);
    if answer.is_err() && client.requests() > 1 && !client.is_answered() && harmless {
        client = fresh(worker, &host, identity).await?;
        response = Message::default();
        answer = attempt(&mut *client, request, call, &mut response).await;
    }
    let body = answer.map_err(|error| match error {
        AttemptError::TooLarge => CalloutError::TooLarge,
        AttemptError::Peer(_) => CalloutError::Reset,
    })?;
    if client.rest() {
        host.give_idle(client, worker);
    }
    let entries = |head: &crate::http::head::Head| {
        (0..)
            .map_while(|index| {
                head.at(index)
                    .map(|(name, value)| (name.into_owned(), value.into_owned()))
            })
            .collect()
    };
    Ok(CalloutResponse {
        headers: entries(&response.head),
        trailers: entries(&response.trailers),
        body,
    })
}

async fn fresh(
    worker: &Rc<Worker>,
    host: &Rc<WorkerHost>,
    identity: Identity,
) -> Result<Lease, CalloutError> {
    let connected = connect(host, worker, identity).await;
    let (connected, slot) = connected.map_err(|_| CalloutError::Unavailable)?;
    let facts = Rc::clone(&connected.facts);
    Ok(Lease::new(
        HostPeer::new(connected, worker, host),
        slot,
        facts,
    ))
}

enum AttemptError {
    TooLarge,
    Peer(
        #[expect(
            dead_code,
            reason = "for debuggers: every fault of the host is a reset to the filter"
        )]
        PeerError,
    ),
}

impl From<PeerError> for AttemptError {
    fn from(error: PeerError) -> Self {
        Self::Peer(error)
    }
}

async fn attempt(
    client: &mut impl Upstream,
    request: &Request,
    call: &HttpCall,
    response: &mut Message,
) -> Result<Vec<u8>, AttemptError> {
    let complete = call.body.is_empty() && call.trailers.is_empty();
    client.send_head(&request.message, complete)?;
    if !complete {
        poll_fn(|cx| Poll::Ready(client.send_data(cx, &call.body))).await?;
        client.send_end(Some(&request.message.trailers))?;
    }
    let mut body = Vec::new();
    loop {
        let event = poll_fn(|cx| {
            if let Poll::Ready(Err(error)) = client.poll_flush(cx) {
                return Poll::Ready(Err(error));
            }
            client.poll_event(cx, response)
        });
        match event.await? {
            PeerEvent::Head { end: true } | PeerEvent::End | PeerEvent::Trailers => {
                return Ok(body);
            }
            PeerEvent::Head { end: false } | PeerEvent::Interim { .. } => {}
            PeerEvent::Data => {
                if body.len() + client.data().len() > LARGEST_ANSWER {
                    return Err(AttemptError::TooLarge);
                }
                body.extend_from_slice(client.data());
            }
        }
    }
}
